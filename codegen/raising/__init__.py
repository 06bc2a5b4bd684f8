from codegen.raising.program import RaisedProgram, raise_program

__all__ = ["RaisedProgram", "raise_program"]
