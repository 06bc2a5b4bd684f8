"""The two levels of intermediate representation. Imports nothing of the compiler and nothing heavy."""
