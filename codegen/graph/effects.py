"""What a file of the repository does when it is imported, beyond defining names.

Names are evaluated when they are first used, so that a statement that only changes what others defined would never run: a class
that a decorator enters into a table, a loop that fills one, a function of the library that is replaced by another. These run when
the file is first met, in their order, after those of the files that it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from codegen.graph.objects import Class, ClassMethod, Function
from codegen.graph.scope import Missing, Namespace, Scope, bound_names, changed_name
from codegen.source.files import LIBRARY, REPOSITORY

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

_CHANGING = frozenset({"setattr", "delattr", "exec", "eval"})
_HOOK = "__init_subclass__"
_CHANGED = frozenset({LIBRARY, "torch"})
"""Packages whose parts a model is made of: what is set in others changes no number."""


def run(interpreter: Interpreter, namespace: Namespace) -> None:
    """Do what importing the file does.

    Raises:
        Unsupported: a statement has no meaning here.
    """
    statements = [statement for chunk in namespace.file.chunks() for statement in chunk.statements()]
    _run(interpreter, namespace, statements)


def _run(interpreter: Interpreter, namespace: Namespace, statements: list[ast.stmt]) -> None:
    for statement in statements:
        if isinstance(statement, ast.ImportFrom):
            _import(interpreter, namespace, statement)
        elif not _changes(interpreter, namespace, statement):
            continue
        elif isinstance(statement, ast.If):
            taken = interpreter.holds(namespace, ((statement.test, True),))
            _run(interpreter, namespace, statement.body if taken else statement.orelse)
        else:
            _execute(interpreter, namespace, statement)


def _import(interpreter: Interpreter, namespace: Namespace, statement: ast.ImportFrom) -> None:
    """Meet the files of the repository that an import runs."""
    base = interpreter.absolute(namespace, statement)
    if base == REPOSITORY or base.startswith(f"{REPOSITORY}."):
        for name in (base, *(f"{base}.{alias.name}" for alias in statement.names)):
            interpreter.module(name)


def _execute(interpreter: Interpreter, namespace: Namespace, statement: ast.stmt) -> None:
    name = statement.name if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) else changed_name(statement)
    if name is not None:  # making the name does what the statement does
        try:
            made = namespace.resolve(interpreter, name)
        except Missing:
            return
        if isinstance(statement, ast.ClassDef) and isinstance(made, Class):
            _enter(interpreter, namespace, statement, made)
        return
    assert namespace.scope is not None
    scope = Scope(namespace.scope, namespace, "block")
    interpreter.run_once(statement, scope)
    for name in bound_names(statement):
        if name in scope.vars:
            namespace.values[name] = scope.vars[name]  # not to be done again for the sake of the name


def _enter(interpreter: Interpreter, namespace: Namespace, statement: ast.ClassDef, made: Class) -> None:
    """Tell the class that a module is derived from that it is there; `classes.announce` tells those of other objects."""
    owner = next((base for base in made.mro[1:] if base.namespace.has(_HOOK)), None)
    if owner is None or owner.namespace.module is None or not _is_repository_name(owner.namespace.module.name):
        return
    if all(base.qualified != "stubs.nn.Module" for base in made.mro):
        return
    hook = owner.namespace.resolve(interpreter, _HOOK)
    function = hook.function if isinstance(hook, ClassMethod) else hook
    assert isinstance(function, Function) and namespace.scope is not None
    given = {node.arg: interpreter.eval(node.value, namespace.scope) for node in statement.keywords if node.arg}
    interpreter.call(function, [made], given)


def _changes(interpreter: Interpreter, namespace: Namespace, statement: ast.stmt) -> bool:
    """Whether a statement does more than define names, going by how it is written."""
    match statement:
        case ast.If(test=test, body=body, orelse=orelse):
            return not _only_when_run(test) and any(_changes(interpreter, namespace, s) for s in [*body, *orelse])
        case ast.ClassDef(decorator_list=decorators):
            hooked = any(_HOOK in text for text in interpreter.files.repository.values())
            return hooked or any(_of_the_repository(namespace, node) for node in decorators)
        case ast.FunctionDef(decorator_list=decorators):
            return any(_of_the_repository(namespace, node) for node in decorators)
        case ast.Expr(value=ast.Call(func=func)):
            return _of_the_repository(namespace, func)
        case ast.Assign(targets=targets):
            return any(_sets(namespace, target) for target in targets)
        case ast.AugAssign(target=target):
            return _sets(namespace, target)
        case ast.For() | ast.While() | ast.With() | ast.Try():
            return any(_changes(interpreter, namespace, inner) for inner in _within(statement))
    return False


def _within(statement: ast.For | ast.While | ast.With | ast.Try) -> Iterator[ast.stmt]:
    yield from statement.body
    if not isinstance(statement, ast.With):
        yield from statement.orelse
    if isinstance(statement, ast.Try):
        yield from (inner for handler in statement.handlers for inner in handler.body)
        yield from statement.finalbody


def _only_when_run(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id in ("__name__", "TYPE_CHECKING") for node in ast.walk(test))


def _sets(namespace: Namespace, target: ast.expr) -> bool:
    """Whether an assignment changes an object of the repository's, or one that models are made of."""
    if not isinstance(target, (ast.Attribute, ast.Subscript)):
        return False
    packages = _packages(namespace, _root(target))
    return packages is None or not packages.isdisjoint(_CHANGED)


def _of_the_repository(namespace: Namespace, node: ast.expr) -> bool:
    """Whether what is called is the repository's, or a function that changes what it is given."""
    root = _root(node)
    if root not in namespace.definitions:
        return root in _CHANGING
    return _packages(namespace, root) is None


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _packages(namespace: Namespace, name: str) -> frozenset[str] | None:
    """The packages that a name is imported from; None if it is the repository's own."""
    found = set()
    for definition in namespace.definitions.get(name, ()):
        for statement in () if definition.changes else definition.statements():
            match statement:
                case ast.Import(names=names):
                    found |= {
                        each.name.partition(".")[0]
                        for each in names
                        if name in (each.asname, each.name.partition(".")[0])
                    }
                case ast.ImportFrom(module=module, level=0):
                    found.add((module or "").partition(".")[0])
                case _:
                    return None
    return frozenset(found)


def _is_repository_name(module: str) -> bool:
    return module == REPOSITORY or module.startswith(f"{REPOSITORY}.")
