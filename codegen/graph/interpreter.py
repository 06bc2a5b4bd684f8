"""The interpreter: statements, expressions and calls of the source, executed on values that know how they were computed.

Every value is concrete, so every branch goes one way; what a branch depended on is noted as a predicate. Names of modules and
class bodies are evaluated when they are first used. Errors of the interpreted program are `Raised`, which an interpreted `try`
can catch; what the interpreter has no meaning for is `Unsupported`, which nothing catches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from codegen.diagnostics import CompileError, Diagnostic, Label
from codegen.graph import (
    alternatives,
    beginnings,
    branches,
    builtins,
    classes,
    comprehensions,
    counting,
    effects,
    experts,
    fallbacks,
    formulas,
    gradients,
    halves,
    library,
    longer,
    operators,
    ragged,
    ragged_branches,
    remainders,
    rope,
    scalars,
    scans,
    selections,
    unmasked,
)
from codegen.graph.objects import (
    Bound,
    Builtin,
    Class,
    ClassMethod,
    External,
    Foreign,
    Function,
    Further,
    Grown,
    Instance,
    ModuleObject,
    Partial,
    Range,
    SDict,
    SourceModule,
    SSet,
    StaticMethod,
    Stream,
    Super,
    Unknown,
    container_class,
    per_layer,
    plain_key,
)
from codegen.graph.predicates import Kind, Predicates
from codegen.graph.recalled import LISTS, Recalled
from codegen.graph.repeating import Repeating
from codegen.graph.scope import Definition, Guard, Missing, Namespace, Scope, bound_names, index_body, index_file
from codegen.graph.values import Reads, Scalar, Tensor, Trace, value_of
from codegen.graph.within import Parts
from codegen.source.files import REPOSITORY, Library, SourceFile
from ir.expressions import Const, Environment, Expr, Index, Key, leaves, places
from ir.spans import Span

MAX_STEPS = 20_000_000
MAX_DEPTH = 400
STUBS, STUB_FILES = "stubs.", "stubs/"


class Raised(Exception):
    """An exception of the interpreted program."""

    def __init__(
        self, instance: Instance, where: Span | None = None, asked: Expr | None = None, choices: tuple[str, ...] = ()
    ):
        super().__init__(instance.cls.name)
        self.instance = instance
        self.where = where
        self.asked = asked  # of a table of the source that has no such entry, but `choices`
        self.choices = choices
        self.contexts: list[tuple[ast.AST | None, Scope | None]] = []  # what was being evaluated, innermost first


class Unsupported(CompileError):
    """Something that the interpreter has no meaning for: the place, the calls that led there, what would have to be taught."""


class Coincidence(Unsupported):
    """Something that has no meaning for the sizes of this trace, and may have one for others."""


def is_sequence(x: object) -> bool:
    """Whether calling a module is calling its items one after the other."""
    container = container_class(x.cls) if isinstance(x, ModuleObject) else None
    return container is not None and container.name == "Sequential"


def _is_list(module: ModuleObject) -> bool:
    container = container_class(module.cls)
    return container is not None and container.name == "ModuleList"


def _asks_for_attribute(node: ast.expr) -> bool:
    """Whether an expression is `getattr(a.b, "name", None)`."""
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(), ast.Constant(value=None)], keywords=[]):
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            return isinstance(owner, ast.Name)
    return False


def _is_path(node: ast.expr) -> bool:
    """Whether an expression is `self.a.b`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def _parts(item: Any) -> Iterator[Any]:
    """What an element of an enumeration of zipped lists consists of."""
    if isinstance(item, tuple):
        for part in item:
            yield from _parts(part)
    else:
        yield item


def is_item(module: ModuleObject) -> bool:
    """Whether a module is in a list of modules."""
    return (
        module.module_path is not None and module.module_path.rpartition(".")[2].isdigit() and not is_sequence(module)
    )


class Jump(Exception):
    """Control that leaves a block of the interpreted program."""


class _Return(Jump):
    def __init__(self, value: Any):
        self.value = value


class _Break(Jump):
    pass


class _Continue(Jump):
    pass


class Interpreter:
    """State of one run over one set of source files.

    `stage` is 1 while the configuration class runs and 2 after. With `framing`, calls open frames in `trace`.
    """

    def __init__(self, files: Library, trace: Trace | None = None):
        self.files = files
        self.trace = trace or Trace()
        self.framing = False
        self.stage = 1
        self.predicates = Predicates()
        self.environment = Environment()
        self.definitions: Mapping[tuple[str | int, ...], Expr] = {}  # of the attributes that the environment has
        self.namespaces: dict[str, Namespace] = {}
        self.scope: Scope | None = None
        self.node: ast.AST | None = None
        self.stack: list[tuple[str, Span | None]] = []
        self.loops = 0
        self.turns = 0  # loops over time that the statement at hand is in
        self.steps = 0
        self.builtins = builtins.table()
        self.classes: list[Class] = []
        self.yields: list[list[Any]] = []
        self.random: list[Tensor] = []  # whose numbers are drawn when the model is made
        self.handling: list[Raised] = []
        self.surroundings: Any = None  # of a forward pass, see state.py
        self.recordings: Any = None  # of layers that were traced, see replay.py
        self.repeating = Repeating()  # of layers that were made
        self.sought: set[Any] | None = (
            None  # of configurations: further arguments and attributes that were asked for, where that is noted
        )
        self.reads: Reads | None = None  # what a run of a configuration class asked of config.json
        self.parts = Parts()  # configurations within others, of such runs
        self.recalled = Recalled()  # lists that they made
        self.absent: list[tuple[Any, str]] | None = None  # attributes of which an `or` says what they stand for
        self.misfits: list[Diagnostic] | None = None  # values of other types than configurations declare, where noted
        self.rest: list[tuple[list[ast.stmt] | None, int, int]] = []  # what follows in the blocks being run, in loops
        self.grown: list[
            tuple[Any, Any]
        ] = []  # modules that a call wrote tables into, and what they held, see longer.py
        self.listed: dict[tuple[Expr, range], Mapping[int, Any]] = {}  # the elements of long lists by a formula
        self.leftovers: frozenset[tuple[str, str]] = frozenset()  # see leftovers.py
        self.keeps_tables = False  # those of modules are as long as they were made
        self.wanted: dict[Expr, int] = {}  # numbers of blocks, and how many a trace is to have of them at least
        self.counts: dict[
            Expr, tuple[int, ...]
        ] = {}  # numbers that follow from how many tokens there are, see remainders.py
        self.asked: list[tuple[Expr, object]] = []  # about the index of a layer
        self.key_reads: dict[tuple[str | int, ...], Span | None] = {}  # where the source first reads an attribute
        self.undecided: dict[tuple[Expr, Span | None], None] = {}  # questions of sizes, see alternatives.py
        self.open_numbers: dict[Expr, str] = {}  # and what the source calls them, see fallbacks.py
        self.lengths: dict[str, int] = {}  # how many modules each module has for children, by its path
        self.externals: dict[str, Callable[[Interpreter, list[Any], dict[str, Any]], Any]] = library.EXTERNALS

    # -- where we are ---------------------------------------------------------------------------------------------------

    def span(self, node: ast.AST | None = None) -> Span | None:
        """The place of `node`, or of what is being evaluated, in the innermost frame of the source."""
        node = node or self.node
        if self.scope is None or node is None or not hasattr(node, "lineno"):
            return None
        file = self.scope.namespace.file.name
        known: Span | None = node.__dict__.get("span")
        if known is None or known.file != file:
            known = Span(file, node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0)  # type: ignore[attr-defined]
            node.__dict__["span"] = known
        return known

    def place(self) -> Span | None:
        """The innermost place outside of the stub layers."""
        if self.scope is not None and not self.scope.namespace.name.startswith(STUBS):
            return self.span()
        for _, span in reversed(self.stack):
            if span is not None and not span.file.startswith(STUB_FILES):
                return span
        return self.span()

    def unsupported(
        self, message: str, help: str = "", code: str = "unsupported", error: type[Unsupported] = Unsupported
    ) -> NoReturn:
        span = self.place()
        calls = tuple(Label(span, f"called from here for `{name}`") for name, span in self.stack[::-1] if span)[:8]
        raise error(Diagnostic(code, message, Label(span) if span else None, calls, help))

    def throw(self, kind: str, message: str = "") -> NoReturn:
        """Raise an exception of the interpreted program."""
        cls = self.builtins[kind]
        raise Raised(Instance(cls, {"args": (message,)}), self.place())

    def throw_missing(self, index: Any, known: Iterable[Any]) -> NoReturn:
        """Raise that a table has nothing for a key."""
        key = plain_key(index)
        instance = Instance(self.builtins["KeyError"], {"args": (key if isinstance(key, str) else repr(key),)})
        asked = index.expr if isinstance(index, Scalar) else None
        raise Raised(instance, self.place(), asked, tuple(name for name in known if isinstance(name, str)))

    def function_name(self) -> str:
        return self.stack[-1][0] if self.stack else ""

    # -- modules and names ----------------------------------------------------------------------------------------------

    def module(self, dotted: str) -> Namespace | None:
        """The namespace of a source file, None if there is no such file."""
        if dotted in self.namespaces:
            return self.namespaces[dotted]
        file = library.stub(dotted) if dotted.startswith(STUBS) else self.files.module(dotted)
        if file is None:
            return None
        return self.add_module(file)

    def add_module(self, file: SourceFile) -> Namespace:
        namespace = Namespace(file.dotted, file)
        namespace.module = namespace
        namespace.scope = Scope(None, namespace, "body")
        namespace.values["__name__"] = file.dotted
        namespace.values["__file__"] = file.name
        self.namespaces[file.dotted] = namespace
        if file.dotted.startswith(STUBS):
            namespace.values.update(library.stub_names())
        index_file(namespace)
        if file.dotted.startswith(f"{REPOSITORY}."):
            effects.run(self, namespace)
        return namespace

    def run_once(self, statement: ast.stmt, scope: Scope) -> None:
        """Execute a statement of a module for what it does."""
        with _At(self, scope):
            self.exec(statement, scope)

    def find(self, dotted: str) -> Any:
        """What a dotted path names: a module, something in a module, or something outside of the source."""
        override = library.override(self, dotted)
        if override is not None:
            return override
        namespace = self.module(dotted)
        if namespace is not None:
            return SourceModule(namespace)
        parent, _, name = dotted.rpartition(".")
        namespace = self.module(parent) if parent else None
        if namespace is not None:
            return self.member(namespace, name)
        return library.external(self, dotted)

    def instead(self, namespace: Namespace, name: str) -> Any:
        """What stands for a name of a module that is not interpreted; None for all others."""
        dotted = f"{namespace.name}.{name}"
        found = self.externals.get(dotted)
        return found if found is None or isinstance(found, Foreign) else External(dotted)

    def member(self, namespace: Namespace, name: str) -> Any:
        """A name of a module.

        Raises:
            Missing: the module has no such name.
        """
        dotted = f"{namespace.name}.{name}"
        override = library.override(self, dotted)
        if override is not None:
            return override
        inner = None if namespace.has(name) else self.module(dotted)
        if inner is not None:
            return SourceModule(inner)
        try:
            return namespace.resolve(self, name)
        except Missing:
            pass
        found = library.lazy_member(self, namespace, name)
        if found is None:
            raise Missing(name)
        return found

    def import_from(self, namespace: Namespace, statement: ast.ImportFrom, name: str) -> Any:
        """`from X import name`, where `namespace` is the module that it stands in.

        Raises:
            Missing: X has no such name.
        """
        base = self.absolute(namespace, statement)
        module = self.module(base)
        if module is not None:
            return self.member(module, name)
        library.check_package(self, base)
        return self.find(f"{base}.{name}")

    def absolute(self, namespace: Namespace, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        assert namespace.module is not None
        package = namespace.module.file.package.split(".")
        kept = package[: len(package) - statement.level + 1]
        return ".".join([*kept, *([statement.module] if statement.module else [])])

    def lookup(self, name: str, scope: Scope) -> Any:
        current: Scope | None = scope
        while current is not None:
            if name in current.vars:
                return current.vars[name]
            if current.kind == "body":
                try:
                    return current.namespace.resolve(self, name)
                except Missing:
                    pass
            current = current.parent
        module = scope.namespace.module
        assert module is not None
        try:
            return module.resolve(self, name)
        except Missing:
            pass
        if name in self.builtins:
            return self.builtins[name]
        if name == "__class__":
            return self.enclosing_class(scope)
        self.throw("NameError", f"name '{name}' is not defined")

    def enclosing_class(self, scope: Scope | None) -> Class:
        while scope is not None:
            if scope.function is not None and scope.function.owner is not None:
                return scope.function.owner
            scope = scope.parent
        self.throw("RuntimeError", "super(): no arguments")

    # -- lazily evaluated definitions (called by Namespace) ----------------------------------------------------------------

    def holds(self, namespace: Namespace, guards: tuple[Guard, ...]) -> bool:
        assert namespace.scope is not None
        for test, expected in guards:
            with _At(self, namespace.scope):
                try:
                    outcome = operators.truth(self, self.eval(test, namespace.scope))
                except Raised:
                    return False
            if outcome is not expected:
                return False
        return True

    def define(self, namespace: Namespace, name: str, definition: Definition) -> Any:
        """Execute a statement of a module or class body for the sake of one name."""
        assert namespace.scope is not None
        scope = Scope(namespace.scope, namespace, "block")
        with _At(self, scope):
            for statement in definition.statements():
                if isinstance(statement, ast.ImportFrom):
                    for alias in statement.names:
                        if (alias.asname or alias.name) == name:
                            return self.import_name(namespace, statement, alias.name)
                self.exec(statement, scope)
        if name not in scope.vars:
            raise Missing(name)
        return scope.vars[name]

    def import_name(self, namespace: Namespace, statement: ast.ImportFrom, name: str) -> Any:
        try:
            return self.import_from(namespace, statement, name)
        except Missing:
            base = self.absolute(namespace, statement)
            self.throw("ImportError", f"cannot import name '{name}' from '{base}'")

    def change(self, namespace: Namespace, name: str, value: Any, definition: Definition) -> Any:
        assert namespace.scope is not None
        scope = Scope(namespace.scope, namespace, "block")
        scope.vars[name] = value
        with _At(self, scope):
            for statement in definition.statements():
                try:
                    self.exec(statement, scope)
                except Raised:  # the attribute stays undefined, and asking for it is an error
                    if not _sets_attribute(statement):
                        raise
        return scope.vars[name]

    # -- branches ----------------------------------------------------------------------------------------------------------

    def branch(self, value: Any, kind: Kind = Kind.STRUCTURE) -> bool:
        """The truth of a value, noted if the configuration decides it."""
        return operators.truth(self, value, kind)

    def note(self, kind: Kind, expr: Expr, value: Any, default: Expr | None = None) -> None:
        if isinstance(expr, Const):
            return
        if kind is Kind.STRUCTURE and self.in_helper():
            kind = Kind.HELPER
        if self.turns and any(map(scalars.is_turn, leaves(expr))):
            self.unsupported("what a loop over time does is decided by the number of the turn", code="loop-over-time")
        if per_layer(expr):
            self.note_layer(expr, value)
        self.predicates.add(kind, expr, value, self.place(), self.function_name(), self.stage, default)

    def note_layer(self, expr: Expr, value: object) -> None:
        """What is done for one layer rests on this value: others are like it only if theirs is the same."""
        if self.recordings is not None or self.repeating.busy:
            self.asked.append((expr, value))

    def in_helper(self) -> bool:
        """Whether the running function belongs to the library's machinery rather than to the model."""
        return self.scope is not None and library.is_helper(self.scope.namespace.file.dotted)

    def pin(self, value: Any, kind: Kind = Kind.STRUCTURE) -> Any:
        """The plain value, which from here on is a constant of the compiled program."""
        if isinstance(value, Scalar):
            self.note(kind, value.expr, value.value)
            return value.value
        return value

    def key(self, value: Any) -> Any:
        """A value as a key of a dict."""
        if isinstance(value, (Scalar, tuple, SSet)):
            self._note_key(value)
            return plain_key(value)
        if isinstance(value, (list, dict)):
            self.throw("TypeError", f"unhashable type: '{operators.type_name(value)}'")
        return value

    def _note_key(self, value: Any) -> None:
        if isinstance(value, Scalar):
            self.note(Kind.KEY, value.expr, value.value)
        elif isinstance(value, tuple):
            for item in value:
                self._note_key(item)

    # -- statements ----------------------------------------------------------------------------------------------------------

    def exec_body(self, body: list[ast.stmt], scope: Scope, start: int = 0) -> None:
        for at in range(start, len(body)):
            if not self.framing:
                self.exec(body[at], scope)
                continue
            self.rest.append((body, at + 1, self.loops))
            try:
                self.exec(body[at], scope)
            finally:
                self.rest.pop()

    def following(self) -> Iterator[ast.stmt]:
        """What follows the statement that is being run, up to the end of the function."""
        for body, start, _ in reversed(self.rest):
            if body is None:
                return
            yield from body[start:]

    def exec_rest(self, scope: Scope) -> None:
        """Run what follows the statement that is being run, up to the end of the function."""
        rest = self.rest
        end = next(level for level in range(len(rest) - 1, -1, -1) if rest[level][0] is None)
        for level in range(len(rest) - 1, end, -1):
            body, start, loops = rest[level]
            if loops != rest[end][2] or body is None:
                self.unsupported("a branch inside of a loop that one of its arms leaves", code="branch-on-length")
            self.rest = rest[:level]
            try:
                self.exec_body(body, scope, start)
            finally:
                self.rest = rest

    def exec(self, node: ast.stmt, scope: Scope) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            self.unsupported("the source takes too many steps", code="step-limit")
        self.node = node
        try:
            method = _STATEMENTS[type(node)]
        except KeyError:
            self.unsupported(f"`{type(node).__name__}` statements have no meaning here")
        method(self, node, scope)

    def _expr_statement(self, node: ast.Expr, scope: Scope) -> None:
        if not isinstance(node.value, ast.Constant):
            self.eval(node.value, scope)

    def _assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.eval(node.value, scope)
        fallbacks.called(self, node.targets[0], value)
        for target in node.targets:
            self.assign(target, value, scope)

    def _ann_assign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self.assign(node.target, self.eval(node.value, scope), scope)

    def _aug_assign(self, node: ast.AugAssign, scope: Scope) -> None:
        op = operators.BINARY[type(node.op)]
        target = node.target
        if isinstance(target, ast.Name):
            left = self.lookup(target.id, scope)
            right = self.eval(node.value, scope)
            self.node = node
            self.bind(target.id, operators.augmented(self, op, left, right), scope)
        elif isinstance(target, ast.Attribute):
            owner = self.eval(target.value, scope)
            left = self.getattr(owner, target.attr)
            right = self.eval(node.value, scope)
            self.node = node
            self.setattr(owner, target.attr, operators.augmented(self, op, left, right))
        elif isinstance(target, ast.Subscript):
            owner = self.eval(target.value, scope)
            index = self.eval(target.slice, scope)
            left = operators.getitem(self, owner, index)
            right = self.eval(node.value, scope)
            self.node = node
            result = operators.augmented(self, op, left, right)
            if not (isinstance(result, Tensor) and result is left and result.base is owner):  # it was written in place
                operators.setitem(self, owner, index, result)

    def assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            self.bind(target.id, value, scope)
        elif isinstance(target, ast.Attribute):
            owner = self.eval(target.value, scope)
            self.node = target
            self.setattr(owner, target.attr, value)
        elif isinstance(target, ast.Subscript):
            owner, index = self.eval(target.value, scope), self.eval(target.slice, scope)
            self.node = target
            operators.setitem(self, owner, index, value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target.elts, value, scope)
        else:
            self.unsupported("an assignment to this has no meaning here")

    def _unpack(self, targets: list[ast.expr], value: Any, scope: Scope) -> None:
        items = operators.listed(self, value, Kind.STRUCTURE)
        star = next((i for i, t in enumerate(targets) if isinstance(t, ast.Starred)), None)
        if star is None:
            if len(items) != len(targets):
                self.throw("ValueError", f"expected {len(targets)} values to unpack, got {len(items)}")
            for target, item in zip(targets, items, strict=True):
                self.assign(target, item, scope)
            return
        after = len(targets) - star - 1
        if len(items) < star + after:
            self.throw("ValueError", "not enough values to unpack")
        for target, item in zip(targets[:star], items[:star], strict=True):
            self.assign(target, item, scope)
        middle = targets[star]
        assert isinstance(middle, ast.Starred)
        self.assign(middle.value, items[star : len(items) - after], scope)
        for target, item in zip(targets[star + 1 :], items[len(items) - after :], strict=True):
            self.assign(target, item, scope)

    def bind(self, name: str, value: Any, scope: Scope) -> None:
        outer = scope.outer
        if outer is not None and name in outer:
            target = outer[name]
            if target is None:
                assert scope.namespace.module is not None
                scope.namespace.module.values[name] = value
            else:
                target.vars[name] = value
            return
        scope.vars[name] = value
        if scope.kind == "function" and (self.framing or isinstance(value, Tensor)):
            self.trace.bind(name, value)

    def _delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                if scope.vars.pop(target.id, Missing) is Missing:
                    self.throw("NameError", f"name '{target.id}' is not defined")
            elif isinstance(target, ast.Attribute):
                classes.delete(self, self.eval(target.value, scope), target.attr)
            elif isinstance(target, ast.Subscript):
                operators.delitem(self, self.eval(target.value, scope), self.eval(target.slice, scope))

    def _if(self, node: ast.If, scope: Scope) -> None:
        kind = Kind.GUARD if _raises(node.body) and not node.orelse else Kind.STRUCTURE
        known = len(self.surroundings.absence.asked) if self.framing else 0
        halved = self.trace.asked_for_halves
        test = self.eval(node.test, scope)
        self.node = node.test
        if not node.orelse and all(self._only_tells(statement, scope) for statement in node.body):
            return
        if not self.framing and not isinstance(test, Tensor):  # nothing below is about what no data decides
            if fallbacks.statement(self, node, scope, test):
                return
            self.exec_body(node.body if self.branch(test, kind) else node.orelse, scope)
            return
        if self.framing and test is False and self.trace.asked_for_halves > halved and halves.run(self, node, scope):
            return
        if self.framing and unmasked.question(self, node.test, scope):
            unmasked.run(self, node, scope)
            return
        if self.framing and beginnings.question(self, node.test, scope):
            beginnings.run(self, node, scope)
            return
        if self.framing and self._asks_for_masks(test, known):
            from codegen.graph import absence  # numpy takes its time

            absence.run(self, node, scope, test, self.surroundings.absence.asked[known:])
            return
        if isinstance(test, Tensor) and experts.branches(self, node, test, scope):
            return
        if branches.asks_for_one(self, test):
            branches.run(self, node, scope, test)
            return
        if self.framing and isinstance(test, Scalar) and ragged.is_ragged(test):
            ragged_branches.run(self, node, scope, test)
            return
        number = remainders.question(self, node, test)
        if number is not None and remainders.run(self, node, scope, test, number):
            return
        if longer.in_parts(self, node, test):
            self.exec_body(node.orelse, scope)
            return
        if longer.question(self, test) and longer.run(self, node, scope, test):
            return
        if alternatives.asks(self, test) and alternatives.statement(self, node, scope, test):
            return
        if isinstance(test, Tensor) and selections.decides(self, test):
            selections.statement(self, node, scope, test)
            return
        if self.branch(test, kind):
            self.exec_body(node.body, scope)
        elif self.framing and counting.asks_for_positions(self, node.test, scope):
            if not counting.take_default(self, node.test, node.body, scope):
                self.exec_body(node.orelse, scope)
        else:
            self.exec_body(node.orelse, scope)

    def _only_tells(self, statement: ast.stmt, scope: Scope) -> bool:
        """Whether a statement writes to a log, or warns, and no more."""
        match statement:
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(name)))) if scope.namespace.has(name):
                found = scope.namespace.resolve(self, name)
                return isinstance(found, External) and not {"logging", "warnings"}.isdisjoint(found.name.split("."))
            case _:
                return False

    def _asks_for_masks(self, test: Any, known: int) -> bool:
        """Whether a test has to do with whether something is padded, or a mask is there."""
        state = self.surroundings.absence
        if state.answers is not None:
            return False
        if isinstance(test, Tensor):
            from codegen.graph import absence  # numpy takes its time

            return absence.padding(self, test.value) is not None
        return len(state.asked) > known

    def _for(self, node: ast.For, scope: Scope) -> None:
        source = self.eval(node.iter, scope)
        self.node = node.iter
        if self.framing and scans.is_over_time(source) and not self.surroundings.sketch:
            scans.run(self, node, source, scope)
            return
        if self.framing and not self.surroundings.sketch and scans.run_counted(self, node, source, scope):
            return
        hook = library.LOOPS.get(type(source))
        if hook is not None:
            hook(self, node, source, scope)
            return
        if experts.is_loop(self, source):
            experts.run_loop(self, node, source, scope)
            return
        if self.framing and experts.is_over_counts(source):
            experts.run_turns(self, node, source, scope)
            return
        if not experts.may_be_over_experts(self, source):
            self._each(node, source, scope)
            return
        trial = experts.Trial(self, scope)
        depth = self.loops
        self.trace.trials.append(trial)
        try:
            self._each(node, source, scope)
        except experts.Together as found:
            if found.trial is not trial:
                raise
            trial.undo()
            self.loops = depth
        else:
            return
        finally:
            self.trace.trials.remove(trial)
        self.node = node.iter
        experts.run_turns(self, node, source, scope)

    def _each(self, node: ast.For, source: Any, scope: Scope) -> None:
        """Run the turns of a loop one after the other."""
        container = self._indexed_modules(node, scope) if isinstance(source, Range) else None
        lengths = {name: len(value) for name, value in scope.vars.items() if type(value) is list}
        items = operators.iterate(self, source, repeats=container is not None and operators.counts(source))
        count = 0
        self.loops += 1
        try:
            for item in items:
                self.steps += 1
                self.node = node.iter
                frame = self._enter_iteration(item if container is None else container[value_of(item)], count)
                try:
                    self.assign(node.target, item, scope)
                    self.exec_body(node.body, scope)
                except _Continue:
                    pass
                finally:
                    if frame is not None:
                        self.trace.leave(frame)
                count += 1
            broken = False
        except _Break:
            broken = True
        finally:
            self.loops -= 1
        if isinstance(source, Range) and count:
            if not broken:
                self._note_growth(scope, lengths, source)
                self._note_sums(node, scope, source)
            self._settle(node, scope, Index(operators.loop_name(self)), operators.last(source))
        if not broken:
            self.exec_body(node.orelse, scope)

    def ends_turn(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Run statements of the body of a loop; whether they end the turn early."""
        try:
            self.exec_body(body, scope)
        except _Continue:
            return True
        return False

    def skip_turn(self) -> NoReturn:
        raise _Continue

    def run_turn(self, body: list[ast.stmt], scope: Scope, refuse: Callable[[str], NoReturn]) -> None:
        """Run the body of a loop whose turns do not depend on each other."""
        try:
            self.ends_turn(body, scope)
        except (_Break, _Return) as end:
            refuse("`break`" if isinstance(end, _Break) else "`return`")

    def _enter_iteration(self, item: Any, count: int) -> Any:
        if not self.framing:
            return None
        module = next((part for part in _parts(item) if isinstance(part, ModuleObject)), None)
        if module is None or module.module_path is None:
            return None
        path, _, last = module.module_path.rpartition(".")
        if not last.isdigit():  # a module with a name of its own, not one of a list
            return None
        if self.scope is not None and is_sequence(self.scope.vars.get("self")):
            return None
        owner = self.trace.frame.within  # the list may be further down, in modules that have no code of their own
        container = path.removeprefix(f"{owner}.")
        if container == path and owner:
            owner, _, container = path.rpartition(".")
        self.trace.span = self.span()
        frame = self.trace.enter("iteration", container, owner, int(last))
        frame.count, frame.counter = self.lengths.get(path, 0), operators.loop_name(self, around=1)
        return frame

    def _indexed_modules(self, node: ast.For, scope: Scope) -> dict[Any, ModuleObject] | None:
        """The modules of the list that the body of a loop over indices takes one module from, by index."""
        if not self.framing or not isinstance(node.target, ast.Name):
            return None
        for inner in (inner for statement in node.body for inner in ast.walk(statement)):
            match inner:
                case ast.Subscript(value=ast.Attribute() as owner, slice=ast.Name(id=index)) if _is_path(owner):
                    found = self.eval(owner, scope) if index == node.target.id else None
                    if isinstance(found, ModuleObject) and _is_list(found):
                        return {i: module for i, module in enumerate(found.modules.values()) if module is not None}
                case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name), args=[ast.Name(id=index)]) if (
                    index == node.target.id and isinstance(model := scope.vars.get(owner), ModuleObject)
                ):
                    found = self._list_behind(model, name)
                    if found is not None:
                        return {i: module for i, module in enumerate(found.modules.values()) if module is not None}
        return None

    def _list_behind(self, model: ModuleObject, name: str) -> ModuleObject | None:
        """The list of modules that a method takes one from by its parameter, and does no more."""
        method = classes.find(self, model.cls, name)
        match method:
            case Function(
                node=ast.FunctionDef(
                    args=ast.arguments(args=[ast.arg(arg=me), ast.arg(arg=at)]),
                    body=[
                        *_,
                        ast.Return(ast.Subscript(ast.Attribute(ast.Name(id=owner), attr=held), ast.Name(id=index))),
                    ],
                )
            ) if owner == me and index == at:
                found = model.modules.get(held)
                return found if found is not None and _is_list(found) else None
            case _:
                return None

    def _note_growth(self, scope: Scope, lengths: dict[str, int], source: Range) -> None:
        """Lists that got one element with every index of a loop are as long as that loop is."""
        if value_of(source.step) != 1:
            return
        size = operators.binary(self, "-", source.stop, source.start)
        for name, before in lengths.items():
            found = scope.vars.get(name)
            if isinstance(size, Scalar) and type(found) is list and len(found) == before + len(source.host()):
                scope.vars[name] = Grown(found, operators.binary(self, "+", before, size))

    def _note_sums(self, node: ast.For, scope: Scope, source: Range) -> None:
        """A number that every turn of a loop adds to follows from how many turns there are, which is fixed then."""
        if self.framing or not isinstance(source.stop, Scalar) and not isinstance(source.start, Scalar):
            return
        targets = [inner.target for inner in ast.walk(node) if isinstance(inner, ast.AugAssign)]
        sums = [target for target in targets if isinstance(target, ast.Name) or _is_path(target)]
        if any(isinstance(value_of(self.eval(_loaded(target), scope)), (int, float)) for target in sums):
            self.pin(source.start)
            self.pin(source.stop)

    def _settle(self, node: ast.For, scope: Scope, loop: Index, last: int) -> None:
        """After a loop, its index is the last one in what the loop leaves behind."""
        for name in bound_names(node):
            value = scope.vars.get(name)
            if isinstance(value, Scalar):
                scope.vars[name] = operators.settled(self, value, loop, last)

    def _while(self, node: ast.While, scope: Scope) -> None:
        symbolic = False
        while True:
            test = self.eval(node.test, scope)
            self.node = node.test
            self.steps += 1
            symbolic = symbolic or isinstance(test, Scalar)
            if not self.branch(test):
                self.exec_body(node.orelse, scope)
                break
            try:
                self.exec_body(node.body, scope)
            except _Continue:
                continue
            except _Break:
                break
        if symbolic:
            for name in bound_names(node):
                if isinstance(scope.vars.get(name), Scalar):
                    scope.vars[name] = self.pin(scope.vars[name])

    def _function_def(self, node: ast.FunctionDef, scope: Scope) -> None:
        scope.vars[node.name] = self.decorate(node.decorator_list, self.make_function(node, scope, node.name), scope)

    def make_function(self, node: Any, scope: Scope, name: str) -> Function:
        arguments = node.args
        defaults = tuple(self.eval(default, scope) for default in arguments.defaults)
        pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        keywords = {arg.arg: self.eval(default, scope) for arg, default in pairs if default is not None}
        closure, owner = scope, None
        if scope.kind in ("body", "block") and scope.namespace.module is not scope.namespace:
            owner = scope.namespace.values.get("__class__")
            while closure.parent is not None and closure.namespace is scope.namespace:
                closure = closure.parent
        return Function(node, closure, defaults, keywords, name, owner, _is_generator(node))

    def decorate(self, decorators: list[ast.expr], value: Any, scope: Scope) -> Any:
        for node in reversed(decorators):
            value = library.decorate(self, node, value, scope)
        return value

    def _class_def(self, node: ast.ClassDef, scope: Scope) -> None:
        cls = self.make_class(node, scope)
        scope.vars[node.name] = self.decorate(node.decorator_list, cls, scope)

    def make_class(self, node: ast.ClassDef, scope: Scope) -> Class:
        bases = [self.eval(base, scope) for base in node.bases]
        keywords = {k.arg: self.eval(k.value, scope) for k in node.keywords if k.arg}
        module = scope.namespace.module
        assert module is not None
        namespace = Namespace(f"{module.name}.{node.name}", module.file, None, module)
        namespace.scope = Scope(scope, namespace, "body")
        namespace.statements = node.body
        index_body(namespace, node.body)
        cls = classes.make(self, node.name, bases, namespace, module.name, keywords, node)
        namespace.values["__class__"] = cls
        return cls

    def _return(self, node: ast.Return, scope: Scope) -> None:
        raise _Return(None if node.value is None else self.eval(node.value, scope))

    def _raise(self, node: ast.Raise, scope: Scope) -> None:
        if node.exc is None:
            if not self.handling:
                self.throw("RuntimeError", "No active exception to reraise")
            raise self.handling[-1]
        value = self.eval(node.exc, scope)
        self.node = node
        if isinstance(value, Class):
            value = self.call(value, [], {})
        if not isinstance(value, Instance):
            self.unsupported("this is no exception that can be raised")
        raise Raised(value, self.place())

    def _try(self, node: ast.Try, scope: Scope) -> None:
        try:
            try:
                self.exec_body(node.body, scope)
            except Raised as error:
                for handler in node.handlers:
                    if handler.type is None or classes.is_instance(
                        self, error.instance, self.eval(handler.type, scope)
                    ):
                        break
                else:
                    raise
                if handler.name:
                    scope.vars[handler.name] = error.instance
                self.handling.append(error)
                try:
                    self.exec_body(handler.body, scope)
                finally:
                    self.handling.pop()
            else:
                self.exec_body(node.orelse, scope)
        finally:
            if node.finalbody:
                self.exec_body(node.finalbody, scope)

    def _with(self, node: ast.With, scope: Scope) -> None:
        self._with_items(node, 0, scope)

    def _with_items(self, node: ast.With, index: int, scope: Scope) -> None:
        if index == len(node.items):
            self.exec_body(node.body, scope)
            return
        item = node.items[index]
        manager = self.eval(item.context_expr, scope)
        self.node = item.context_expr
        if gradients.stops(manager) and self.framing:
            gradients.without(self, scope, lambda: self._with_items(node, index + 1, scope))
            return
        entered = library.enter(self, manager)
        if item.optional_vars is not None:
            self.assign(item.optional_vars, entered, scope)
        error: Raised | None = None
        try:
            self._with_items(node, index + 1, scope)
        except Raised as raised:
            error = raised
        finally:
            suppressed = library.leave(self, manager, error)
        if error is not None and not suppressed:
            raise error

    def _import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            library.check_package(self, alias.name)
            value = self.find(alias.name if alias.asname else alias.name.partition(".")[0])
            scope.vars[alias.asname or alias.name.partition(".")[0]] = value

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            scope.vars[alias.asname or alias.name] = self.import_name(scope.namespace, node, alias.name)

    def _pass(self, node: ast.stmt, scope: Scope) -> None:
        pass

    def _break(self, node: ast.stmt, scope: Scope) -> None:
        raise _Break

    def _continue(self, node: ast.stmt, scope: Scope) -> None:
        raise _Continue

    def _assert(self, node: ast.Assert, scope: Scope) -> None:
        """What only the data of tensors can tell is the caller's promise: where it is broken, nothing is computed."""
        try:
            test = self.eval(node.test, scope)
            self.node = node.test
            held = self.branch(test, Kind.GUARD)
        except CompileError as error:
            if not self.framing or {found.code for found in error.diagnostics} - {"data-dependent", "branch-on-data"}:
                raise
            return
        if not held:
            self.throw("AssertionError", "")

    def _global(self, node: ast.Global, scope: Scope) -> None:
        scope.outer = {**(scope.outer or {}), **dict.fromkeys(node.names)}

    def _nonlocal(self, node: ast.Nonlocal, scope: Scope) -> None:
        for name in node.names:
            target = scope.parent
            while target is not None and name not in target.vars:
                target = target.parent
            scope.outer = {**(scope.outer or {}), name: target}

    # -- expressions ------------------------------------------------------------------------------------------------------------

    def eval(self, node: ast.expr, scope: Scope) -> Any:
        kind = type(node)
        if kind is _NAME:  # most of what is evaluated are names and literals
            self.node = node
            found = scope.vars.get(node.id, Missing)  # type: ignore[attr-defined]
            return self.lookup(node.id, scope) if found is Missing else found  # type: ignore[attr-defined]
        if kind is _CONSTANT:
            return node.value  # type: ignore[attr-defined]
        method = _EXPRESSIONS.get(kind)
        if method is None:
            self.node = node
            self.unsupported(f"`{kind.__name__}` expressions have no meaning here")
        return method(self, node, scope)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        owner = self.eval(node.value, scope)
        self.node = node
        found = classes.get(self, owner, node.attr)
        if isinstance(found, Scalar) and isinstance(owner, Instance) and isinstance(found.expr, Key):
            self.key_reads.setdefault(found.expr.path, self.span())
        return found

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        if isinstance(node.func, ast.Name):
            if node.func.id == "super" and not node.args:
                return self._super(scope)
            if self.reads is not None and node.func.id in LISTS:
                return self.recalled.make(self, node, scope, lambda: self._called(node, scope))
        return self._called(node, scope)

    def _called(self, node: ast.Call, scope: Scope) -> Any:
        function = self.eval(node.func, scope)
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                args.extend(operators.listed(self, self.eval(arg.value, scope), Kind.STRUCTURE))
            else:
                args.append(self.eval(arg, scope))
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.eval(keyword.value, scope)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            else:
                for key, item in operators.mapping(self, value).items():
                    if key in kwargs:
                        self.throw("TypeError", f"got multiple values for keyword argument '{key}'")
                    kwargs[key] = item
        self.node = node
        before = self.scope
        if function is _LOCALS:
            return dict(scope.target().vars)
        result = self.call(function, args, kwargs)
        self.scope = before
        self.node = node
        return result

    def _super(self, scope: Scope) -> Super:
        current: Scope | None = scope
        while current is not None and (current.function is None or current.function.owner is None):
            current = current.parent
        if current is None:
            self.throw("RuntimeError", "super(): no arguments")
        function = current.function
        assert function is not None and function.owner is not None
        arguments = function.node.args
        first = (arguments.posonlyargs + arguments.args)[0].arg
        return Super(function.owner, current.vars[first])

    def _bin_op(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self.eval(node.left, scope), self.eval(node.right, scope)
        self.node = node
        return operators.binary(self, operators.BINARY[type(node.op)], left, right)

    def _unary_op(self, node: ast.UnaryOp, scope: Scope) -> Any:
        value = self.eval(node.operand, scope)
        self.node = node
        return operators.unary(self, type(node.op), value)

    def _compare(self, node: ast.Compare, scope: Scope) -> Any:
        left = self.eval(node.left, scope)
        last = len(node.ops) - 1
        result: Any = True
        for position, op in enumerate(node.ops):
            right = self.eval(node.comparators[position], scope)
            self.node = node
            result = operators.compare(self, operators.COMPARE[type(op)], left, right)
            if position < last and not self.branch(result):
                return result
            left = right
        return result

    def _bool_op(self, node: ast.BoolOp, scope: Scope) -> Any:
        wanted = isinstance(node.op, ast.Or)
        value: Any = None
        absent: list[tuple[Any, str]] = []
        for position, operand in enumerate(node.values):
            if wanted and position + 1 < len(node.values) and _asks_for_attribute(operand):
                value = self._given_or(operand, scope, absent)
            else:
                value = self.eval(operand, scope)
            self.node = operand
            if position + 1 == len(node.values):
                break
            if not self.framing and self.trace.lifting is None:  # nothing below is about what no data decides
                if self.branch(value) is wanted:
                    break
                continue
            if experts.undecided(self, value):
                return self._rest_of_bool_op(node, position, value, scope)
            asks = branches.asks_for_one(self, value) and value.value is wanted
            if asks or alternatives.asks(self, value) or longer.question(self, value):
                others = (self.eval(other, scope) for other in node.values[position + 1 :])
                return next((other for other in others if self.branch(other) is wanted), value)
            if self.branch(value) is wanted:
                break
        for owner, name in absent:
            classes.note_presence(self, owner, name, False, value)
        return value

    def _given_or(self, operand: ast.expr, scope: Scope, absent: list[tuple[Any, str]]) -> Any:
        """An attribute that may be absent, before the `or` that says what it then stands for."""
        before, self.absent = self.absent, []
        try:
            return self.eval(operand, scope)
        finally:
            absent += self.absent
            self.absent = before

    def _rest_of_bool_op(self, node: ast.BoolOp, position: int, value: Any, scope: Scope) -> Any:
        """What follows an operand that holds for some experts: it decides for all of them, or says nothing."""
        wanted = isinstance(node.op, ast.Or)
        for operand in node.values[position + 1 :]:
            other = self.eval(operand, scope)
            self.node = operand
            if self.branch(other) is wanted:
                return other
        return value

    def _if_exp(self, node: ast.IfExp, scope: Scope) -> Any:
        if self.framing and beginnings.question(self, node.test, scope):
            return beginnings.expression(self, node, scope)
        test = self.eval(node.test, scope)
        self.node = node.test
        if (number := fallbacks.expression(self, node, scope, test)) is not None:
            return number
        if isinstance(test, Tensor) and selections.decides(self, test) and not self._asks_for_masks(test, 0):
            return selections.expression(self, node, scope, test)
        if alternatives.asks(self, test):
            chosen = alternatives.expression(self, node, scope, test)
            if chosen is not None:
                return self.eval(chosen, scope)
        return self.eval(node.body if self.branch(test) else node.orelse, scope)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        owner, index = self.eval(node.value, scope), self.eval(node.slice, scope)
        self.node = node
        return operators.getitem(self, owner, index)

    def _slice(self, node: ast.Slice, scope: Scope) -> slice:
        parts = (None if part is None else self.eval(part, scope) for part in (node.lower, node.upper, node.step))
        return slice(*parts)

    def _items(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        items: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                items.extend(operators.listed(self, self.eval(node.value, scope), Kind.STRUCTURE))
            else:
                items.append(self.eval(node, scope))
        return items

    def _tuple(self, node: ast.Tuple, scope: Scope) -> tuple[Any, ...]:
        return tuple(self._items(node.elts, scope))

    def _list(self, node: ast.List, scope: Scope) -> list[Any]:
        return self._items(node.elts, scope)

    def _set(self, node: ast.Set, scope: Scope) -> SSet:
        return SSet(self._items(node.elts, scope))

    def _dict(self, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                result.update(operators.mapping(self, self.eval(value, scope)))
            else:
                result[self.key(self.eval(key, scope))] = self.eval(value, scope)
        return result

    def _joined_str(self, node: ast.JoinedStr, scope: Scope) -> Any:
        result: Any = ""
        for part in node.values:
            text = part.value if isinstance(part, ast.Constant) else self.eval(part, scope)
            result = operators.joined(self, result, text)
        return result

    def _formatted(self, node: ast.FormattedValue, scope: Scope) -> Any:
        value = self.eval(node.value, scope)
        spec = "" if node.format_spec is None else value_of(self.eval(node.format_spec, scope))
        return operators.formatted(self, value, node.conversion, spec)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Function:
        return self.make_function(node, scope, "<lambda>")

    def _named(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self.eval(node.value, scope)
        self.bind(node.target.id, value, scope.target())
        return value

    def _list_comp(self, node: ast.ListComp, scope: Scope) -> Any:
        loop = self._indexed(node.generators)
        if loop and self.stage != 1 and not self.framing and (found := formulas.listed(self, node, scope)) is not None:
            return found
        return self.recalled.make(self, node, scope, lambda: self._listed(node, scope, loop))

    def _listed(self, node: ast.ListComp, scope: Scope, loop: bool) -> list[Any]:
        if loop and self.stage == 1 and comprehensions.reads_alone(node.elt):
            return operators.unrolled(self, comprehensions.elements(self, node, scope))
        source = self.eval(node.generators[0].iter, scope)
        items = list(self._comprehend(node.generators, scope, lambda inner: self.eval(node.elt, inner), source))
        return operators.unrolled(self, items, source) if loop else items

    def _indexed(self, generators: list[ast.comprehension]) -> bool:
        return len(generators) == 1 and not generators[0].ifs

    def _set_comp(self, node: ast.SetComp, scope: Scope) -> SSet:
        return SSet(self._comprehend(node.generators, scope, lambda inner: self.eval(node.elt, inner)))

    def _dict_comp(self, node: ast.DictComp, scope: Scope) -> dict[Any, Any]:
        def pair(inner: Scope) -> tuple[Any, Any]:
            return self.key(self.eval(node.key, inner)), self.eval(node.value, inner)

        return dict(self._comprehend(node.generators, scope, pair))

    def _generator(self, node: ast.GeneratorExp, scope: Scope) -> Stream:
        first = self.eval(node.generators[0].iter, scope)
        return Stream(
            self._comprehend(node.generators, scope, lambda inner: self.eval(node.elt, inner), first), "generator"
        )

    def _comprehend(
        self, generators: list[ast.comprehension], scope: Scope, give: Callable[[Scope], Any], first: Any = Missing
    ) -> Iterator[Any]:
        inner = Scope(scope, scope.namespace, "comprehension", None)

        def walk(position: int) -> Iterator[Any]:
            if position == len(generators):
                yield give(inner)
                return
            generator = generators[position]
            if position == 0 and first is not Missing:
                source = first
            else:
                source = self.eval(generator.iter, scope if position == 0 else inner)
            self.node = generator.iter
            self._note_literal(generator.iter, source)
            depth = self.loops
            for item in operators.iterate(self, source):
                self.steps += 1
                self.loops = depth + 1
                try:
                    self.assign(generator.target, item, inner)
                    if all(self.branch(self.eval(test, inner)) for test in generator.ifs):
                        yield from walk(position + 1)
                finally:
                    self.loops = depth

        return walk(0)

    def _note_literal(self, node: ast.expr, source: Any) -> None:
        """A list that is written out in the source is as long in every configuration."""
        plain = isinstance(source, Range) and all(isinstance(n, int) for n in (source.start, source.stop, source.step))
        if self.stage == 2 and not self.framing and (plain or isinstance(node, (ast.List, ast.Tuple))):
            count = len(source.host()) if isinstance(source, Range) else len(source)
            self.predicates.add(Kind.COUNT, Const(count), count, self.place(), self.function_name(), self.stage)

    def _yield(self, node: ast.Yield, scope: Scope) -> None:
        self.yields[-1].append(None if node.value is None else self.eval(node.value, scope))

    def _yield_from(self, node: ast.YieldFrom, scope: Scope) -> None:
        self.yields[-1].extend(operators.listed(self, self.eval(node.value, scope)))

    # -- attributes and calls ---------------------------------------------------------------------------------------------------

    def getattr(self, owner: Any, name: str) -> Any:
        return classes.get(self, owner, name)

    def setattr(self, owner: Any, name: str, value: Any) -> None:
        classes.set_attribute(self, owner, name, value)

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call anything that can be called."""
        match function:
            case Function():
                return self.call_function(function, args, kwargs)
            case Bound(function=inner, receiver=receiver):
                return self.call(inner, [receiver, *args], kwargs)
            case Builtin():
                return function.call(self, args, kwargs)
            case Class():
                return classes.instantiate(self, function, args, kwargs)
            case External():
                return library.call(self, function.name, args, kwargs)
            case ModuleObject():
                return self.call_module(function, args, kwargs)
            case Partial():
                return self.call(function.function, [*function.args, *args], {**function.kwargs, **kwargs})
            case StaticMethod() | ClassMethod():
                return self.call(function.function, args, kwargs)
            case Foreign():
                return function.call(self, args, kwargs)
            case Instance():
                method = classes.find(self, function.cls, "__call__")
                if method is not None:
                    return self.call(method, [function, *args], kwargs)
            case Unknown():
                self.unsupported(f"a call of what is not known: {function.reason}")
        self.throw("TypeError", f"'{operators.type_name(function)}' object is not callable")

    def call_module(self, module: ModuleObject, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """`module(...)`: its `forward`, in a frame of its own."""
        own = classes.find(self, module.cls, "__call__")
        name = "forward" if own is None else "__call__"
        if name == "forward" and name in module.dict:  # of this module alone
            return self.call(module.dict[name], args, kwargs)
        method = classes.find(self, module.cls, name)
        if not isinstance(method, Function):
            self.unsupported(f"`{module.cls.name}` has no `forward`")
        if module.cls.module == "stubs.nn" and "padding_idx" in module.dict:
            rows = self.call_function(method, [module, *args], kwargs, "module")
            return library.untrained(self, rows, args[0] if args else kwargs.get("input"), module.dict["padding_idx"])
        if self.recordings is None or not self.framing or not is_item(module):
            return self.call_function(method, [module, *args], kwargs, "module")
        given = (tuple(args), tuple(kwargs.items()))
        return self.recordings.call(
            self, module, given, lambda: self.call_function(method, [module, *args], kwargs, "module")
        )

    def call_function(self, function: Function, args: list[Any], kwargs: dict[str, Any], kind: str = "") -> Any:
        if len(self.stack) >= MAX_DEPTH:
            self.unsupported("calls nest too deeply", code="depth-limit")
        node = function.node
        scope = Scope(function.scope, function.scope.namespace, "function", function)
        as_tuple = False
        if function.decorators and "return_dict" in kwargs and not library.RETURNING.isdisjoint(function.decorators):
            kwargs = dict(kwargs)
            as_tuple = value_of(kwargs.pop("return_dict")) is False
        self._bind_arguments(function, args, kwargs, scope)
        span = self.span()
        frame = None
        if (
            self.framing
            and not isinstance(node, ast.Lambda)
            and not (args and function.owner is not None and self._is_passed_over(args[0], kind))
        ):
            frame = self._enter(function, args, kind, span, scope)
        saved = self.scope, self.node, self.loops
        self.stack.append((function.name, span))
        self.scope = scope
        if frame is not None and frame.module_path is not None:  # its own numbers have the names of the lists around it
            self.loops = max(self.loops, len(places(frame.module_path)))
        try:
            if frame is not None and rope.DECORATOR in function.decorators:
                rope.update(self, function, scope)
            result = self._run(function, scope)
            if as_tuple and isinstance(result, Instance):
                result = self.call(self.getattr(result, "to_tuple"), [], {})
            if frame is not None:
                frame.returned = result
            return result
        except (CompileError, Raised) as error:
            error.contexts.append((self.node, self.scope))
            raise
        finally:
            self.stack.pop()
            self.scope, self.node, self.loops = saved
            if frame is not None:
                self.trace.leave(frame)
            if kind == "module" and self.grown:
                longer.settle(self, args[0])

    def _is_passed_over(self, module: Any, kind: str) -> bool:
        """Whether a call of a module, or of a method of one, is what is called in it: containers have no code of their own."""
        if not isinstance(module, ModuleObject):
            return False
        lifting = self.trace.lifting
        if container_class(module.cls) is not None:
            return True
        return kind == "module" and lifting is not None and lifting.is_dissolved(module)

    def _enter(self, function: Function, args: list[Any], kind: str, span: Span | None, scope: Scope) -> Any:
        receiver = args[0] if args and isinstance(args[0], ModuleObject) and function.owner is not None else None
        self.trace.span = span
        kind = kind or ("function" if receiver is None else "method")
        name = "forward" if kind == "module" else function.name
        if receiver is not None and receiver.module_path is None:
            name = receiver.cls.name.lower()  # a module that is made in passing
        frame = self.trace.enter(kind, name, None if receiver is None else receiver.module_path)
        for name, value in scope.vars.items():
            self.trace.bind(name, value)
        return frame

    def _run(self, function: Function, scope: Scope) -> Any:
        node = function.node
        if isinstance(node, ast.Lambda):
            return self.eval(node.body, scope)
        if function.generator:
            self.yields.append([])
            try:
                self._body(node.body, scope)
                return Stream(iter(self.yields[-1]), "generator")
            finally:
                self.yields.pop()
        return self._body(node.body, scope)

    def _body(self, body: list[ast.stmt], scope: Scope) -> Any:
        self.rest.append((None, 0, self.loops))  # the end of the function
        try:
            self.exec_body(body, scope)
        except _Return as result:
            return result.value
        finally:
            self.rest.pop()
        return None

    def _bind_arguments(self, function: Function, args: list[Any], kwargs: dict[str, Any], scope: Scope) -> None:
        arguments, values = function.node.args, scope.vars
        positional = arguments.posonlyargs + arguments.args
        for parameter, value in zip(positional, args, strict=False):
            values[parameter.arg] = value
        if len(args) > len(positional):
            if arguments.vararg is None:
                self.throw(
                    "TypeError",
                    f"{function.name}() takes {len(positional)} positional arguments but {len(args)} were given",
                )
            values[arguments.vararg.arg] = tuple(args[len(positional) :])
        elif arguments.vararg is not None:
            values[arguments.vararg.arg] = ()
        named = _named(arguments)
        rest: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name not in named:
                rest[name] = value
            elif name in values and name != (arguments.vararg.arg if arguments.vararg else None):
                self.throw("TypeError", f"{function.name}() got multiple values for argument '{name}'")
            else:
                values[name] = value
        if arguments.kwarg is not None:
            values[arguments.kwarg.arg] = self._further(rest, kwargs)
        elif rest:
            self.throw("TypeError", f"{function.name}() got an unexpected keyword argument '{next(iter(rest))}'")
        first_default = len(positional) - len(function.defaults)
        for position, parameter in enumerate(positional):
            if parameter.arg not in values:
                if position < first_default:
                    self.throw("TypeError", f"{function.name}() missing required argument: '{parameter.arg}'")
                values[parameter.arg] = function.defaults[position - first_default]
        for parameter in arguments.kwonlyargs:
            if parameter.arg not in values:
                if parameter.arg not in function.keyword_defaults:
                    self.throw("TypeError", f"{function.name}() missing required argument: '{parameter.arg}'")
                values[parameter.arg] = function.keyword_defaults[parameter.arg]

    def _further(self, rest: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What `**` takes; of a configuration class, with a note of what is asked for in it."""
        expr = kwargs.expr if isinstance(kwargs, SDict) else None
        if self.sought is not None:
            return Further(rest, expr, self.sought)
        return rest if expr is None else SDict(rest, expr)

    def tensor_span(self) -> Trace:
        """The trace, told where the operation that is about to be recorded stands."""
        self.trace.span = self.place()
        return self.trace


class _At:
    """Evaluate in another scope for a while."""

    def __init__(self, interpreter: Interpreter, scope: Scope):
        self.interpreter, self.scope = interpreter, scope

    def __enter__(self) -> None:
        self.saved = self.interpreter.scope, self.interpreter.node, self.interpreter.loops
        self.framing = self.interpreter.framing
        self.interpreter.scope, self.interpreter.framing = self.scope, False
        self.interpreter.loops = 0

    def __exit__(self, *_: object) -> None:
        self.interpreter.scope, self.interpreter.node, self.interpreter.loops = self.saved
        self.interpreter.framing = self.framing


def _sets_attribute(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute)


def _loaded(target: ast.expr) -> ast.expr:
    """What an assignment writes, as an expression that reads it."""
    if isinstance(target, ast.Attribute):
        return ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target)
    assert isinstance(target, ast.Name)
    return ast.copy_location(ast.Name(target.id, ast.Load()), target)


def _raises(body: list[ast.stmt]) -> bool:
    """Whether a block does nothing but raise or warn."""
    return bool(body) and isinstance(body[-1], ast.Raise)


def _named(arguments: ast.arguments) -> frozenset[str]:
    """The parameters that may be given by name, worked out once for each function."""
    known: frozenset[str] | None = arguments.__dict__.get("named")
    if known is None:
        known = arguments.__dict__["named"] = frozenset(p.arg for p in (*arguments.args, *arguments.kwonlyargs))
    return known


_GENERATORS: dict[ast.AST, bool] = {}


def _is_generator(node: Any) -> bool:
    if isinstance(node, ast.Lambda):
        return False
    if node not in _GENERATORS:
        _GENERATORS[node] = any(_yields(statement) for statement in node.body)
    return _GENERATORS[node]


def _yields(node: ast.AST) -> bool:
    if isinstance(node, (ast.Yield, ast.YieldFrom)):
        return True
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
        return False
    return any(_yields(child) for child in ast.iter_child_nodes(node))


_LOCALS = builtins.LOCALS
_NAME, _CONSTANT = ast.Name, ast.Constant

_STATEMENTS: dict[type, Callable[[Interpreter, Any, Scope], None]] = {
    ast.Expr: Interpreter._expr_statement,
    ast.Assign: Interpreter._assign,
    ast.AnnAssign: Interpreter._ann_assign,
    ast.AugAssign: Interpreter._aug_assign,
    ast.Delete: Interpreter._delete,
    ast.If: Interpreter._if,
    ast.For: Interpreter._for,
    ast.While: Interpreter._while,
    ast.FunctionDef: Interpreter._function_def,
    ast.ClassDef: Interpreter._class_def,
    ast.Return: Interpreter._return,
    ast.Raise: Interpreter._raise,
    ast.Try: Interpreter._try,
    ast.With: Interpreter._with,
    ast.Import: Interpreter._import,
    ast.ImportFrom: Interpreter._import_from,
    ast.Pass: Interpreter._pass,
    ast.Break: Interpreter._break,
    ast.Continue: Interpreter._continue,
    ast.Assert: Interpreter._assert,
    ast.Global: Interpreter._global,
    ast.Nonlocal: Interpreter._nonlocal,
}

_EXPRESSIONS: dict[type, Callable[[Interpreter, Any, Scope], Any]] = {
    ast.Attribute: Interpreter._attribute,
    ast.Call: Interpreter._call,
    ast.BinOp: Interpreter._bin_op,
    ast.UnaryOp: Interpreter._unary_op,
    ast.Compare: Interpreter._compare,
    ast.BoolOp: Interpreter._bool_op,
    ast.IfExp: Interpreter._if_exp,
    ast.Subscript: Interpreter._subscript,
    ast.Slice: Interpreter._slice,
    ast.Tuple: Interpreter._tuple,
    ast.List: Interpreter._list,
    ast.Set: Interpreter._set,
    ast.Dict: Interpreter._dict,
    ast.JoinedStr: Interpreter._joined_str,
    ast.FormattedValue: Interpreter._formatted,
    ast.Lambda: Interpreter._lambda,
    ast.NamedExpr: Interpreter._named,
    ast.ListComp: Interpreter._list_comp,
    ast.SetComp: Interpreter._set_comp,
    ast.DictComp: Interpreter._dict_comp,
    ast.GeneratorExp: Interpreter._generator,
    ast.Yield: Interpreter._yield,
    ast.YieldFrom: Interpreter._yield_from,
}
