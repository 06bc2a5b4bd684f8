"""Names: local scopes, and the namespaces of modules and class bodies, where everything is evaluated when it is first used.

A name may be defined several times, each definition reading the one before (`X = dict(**X, ...)`); the definitions are kept
in order, and inside definition *i* the name means definition *i-1*.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from codegen.source.files import SourceFile
from ir.records import dataclass, field

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter
    from codegen.graph.objects import Function

Guard = tuple[ast.expr, bool]


class Missing(Exception):
    """A name that is not defined."""


@dataclass(slots=True, eq=False)
class Definition:
    """A statement that binds or changes a name. `statements` parses it, if that has not happened yet."""

    statements: Callable[[], list[ast.stmt]]
    guards: tuple[Guard, ...] = ()
    changes: bool = False


class Scope:
    """Local variables of a function, a comprehension or a block; ends in the namespace of a class body or module."""

    __slots__ = ("vars", "parent", "namespace", "function", "kind", "outer", "returns")

    def __init__(
        self, parent: Scope | None, namespace: Namespace, kind: str = "function", function: Function | None = None
    ):
        self.vars: dict[str, Any] = {}
        self.parent = parent
        self.namespace = namespace  # the module's, which gives files and globals
        self.function = function
        self.kind = (
            kind  # "function", "comprehension", "body" (of a module or class: names are looked up in its namespace)
        )
        self.outer: dict[str, Scope | None] | None = None  # names declared global (None) or nonlocal

    def target(self) -> Scope:
        """The scope that an assignment expression writes to."""
        scope = self
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        return scope


@dataclass(eq=False)
class Namespace:
    """The top-level names of a module or class body.

    `module` is the namespace of the module that a class body stands in, or itself.
    """

    name: str
    file: SourceFile
    scope: Scope | None = None
    module: Namespace | None = None
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    fallbacks: dict[str, list[Definition]] = field(default_factory=dict)  # imports under TYPE_CHECKING
    stars: list[ast.ImportFrom] = field(default_factory=list)
    annotations: list[tuple[str, ast.expr, ast.expr | None]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    statements: list[ast.stmt] = field(default_factory=list)

    def resolve(self, interpreter: Interpreter, name: str) -> Any:
        """The value of `name`.

        Raises:
            Missing: it is not defined here.
        """
        limit = self.limits.get(name)
        if limit is None and name in self.values:
            return self.values[name]
        definitions = self.definitions.get(name)
        if definitions is None:
            return self._elsewhere(interpreter, name)
        value = interpreter.instead(self, name)  # a helper's meaning is the same for the other functions of its file
        if value is None:
            value = self._evaluate(interpreter, name, definitions, len(definitions) if limit is None else limit)
        if limit is None:
            self.values[name] = value
        return value

    def has(self, name: str) -> bool:
        return name in self.values or name in self.definitions

    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.definitions, *self.values]))

    def _elsewhere(self, interpreter: Interpreter, name: str) -> Any:
        for star in self.stars:
            try:
                return interpreter.import_from(self, star, name)
            except Missing:
                continue
        definitions = self.fallbacks.get(name)
        if not definitions or self.limits.get(name) == 0:
            raise Missing(name)
        value = self._evaluate(interpreter, name, definitions, len(definitions))
        self.values[name] = value
        return value

    def _evaluate(self, interpreter: Interpreter, name: str, definitions: list[Definition], count: int) -> Any:
        before = self.limits.get(name)
        bound = count
        while bound > 0:
            bound -= 1
            definition = definitions[bound]
            if definition.changes or not interpreter.holds(self, definition.guards):
                continue
            self.limits[name] = bound
            try:
                value = interpreter.define(self, name, definition)
                break
            except Missing:
                continue
            finally:
                self._restore(name, before)
        else:
            raise Missing(name)
        for position in range(bound + 1, count):
            change = definitions[position]
            if not change.changes:
                continue
            self.limits[name] = position  # where it is asked whether a change is made, the name means what it is before
            try:
                if interpreter.holds(self, change.guards):
                    value = interpreter.change(self, name, value, change)
            finally:
                self._restore(name, before)
        return value

    def _restore(self, name: str, before: int | None) -> None:
        if before is None:
            self.limits.pop(name, None)
        else:
            self.limits[name] = before


def index_file(namespace: Namespace) -> None:
    """Note which statement of a module defines which name."""
    for chunk in namespace.file.chunks():
        if chunk.names is None:
            index_body(namespace, chunk.statements())
            continue
        definition = Definition(chunk.statements)
        for name in chunk.names:
            namespace.definitions.setdefault(name, []).append(definition)


def index_body(namespace: Namespace, body: list[ast.stmt], guards: tuple[Guard, ...] = ()) -> None:
    """The same for parsed statements, as of a class body."""
    for statement in body:
        _index(namespace, statement, guards)


def _index(namespace: Namespace, statement: ast.stmt, guards: tuple[Guard, ...]) -> None:
    if isinstance(statement, ast.If):
        if _is_type_checking(statement.test):
            _index_fallbacks(namespace, statement.body)
        else:
            index_body(namespace, statement.body, (*guards, (statement.test, True)))
        index_body(namespace, statement.orelse, (*guards, (statement.test, False)))
        return
    if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
        namespace.stars.append(statement)
        return
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        namespace.annotations.append((statement.target.id, statement.annotation, statement.value))
        if statement.value is None:
            return
    definition = Definition(lambda: [statement], guards)
    for name in bound_names(statement):
        namespace.definitions.setdefault(name, []).append(definition)
    change = changed_name(statement)
    if change is not None:
        namespace.definitions.setdefault(change, []).append(Definition(lambda: [statement], guards, changes=True))


def _is_type_checking(test: ast.expr) -> bool:
    return (
        test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    ) == "TYPE_CHECKING"


def _index_fallbacks(namespace: Namespace, body: list[ast.stmt]) -> None:
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            namespace.stars.append(statement)
            continue
        for name in bound_names(statement):
            definition = Definition(lambda statement=statement: [statement])  # type: ignore[misc]
            namespace.fallbacks.setdefault(name, []).append(definition)


def bound_names(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds, at any depth of its blocks."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            for alias in names:
                yield alias.asname or alias.name.partition(".")[0]
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _target_names(target)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            yield from _target_names(target)
        case ast.For(target=target, body=body, orelse=orelse):
            yield from _target_names(target)
            for inner in [*body, *orelse]:
                yield from bound_names(inner)
        case ast.If(body=body, orelse=orelse) | ast.While(body=body, orelse=orelse):
            for inner in [*body, *orelse]:
                yield from bound_names(inner)
        case ast.With(body=body):
            for inner in body:
                yield from bound_names(inner)
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            for inner in [*body, *(s for h in handlers for s in h.body), *orelse, *final]:
                yield from bound_names(inner)
        case _:
            return


def _target_names(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name(id=name):
            yield name
        case ast.Tuple(elts=items) | ast.List(elts=items):
            for item in items:
                yield from _target_names(item)
        case ast.Starred(value=value):
            yield from _target_names(value)
        case _:
            return


def changed_name(statement: ast.stmt) -> str | None:
    """The name whose object a statement changes: `X.update(...)`, `X[k] = v`, `X += y`, `X.a = v`."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name)) | ast.Attribute(value=ast.Name(id=name))]):
            return name
        case ast.AugAssign(target=ast.Name(id=name)):
            return name
        case _:
            return None
