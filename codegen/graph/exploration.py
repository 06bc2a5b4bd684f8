"""How the resolved configuration follows from config.json, found by running its class on variants of it.

A run goes one way at every branch and notes what it asked. For every value that the compiled code needs, each question is
answered the other way by a changed configuration; where that leads to another expression, the value becomes a choice. In the
end every key is disturbed alone: what the choices then predict wrongly is frozen, so that no guess gets into the package.
"""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from codegen.diagnostics import CompileError
from codegen.graph import classes, configuration, construction, operators
from codegen.graph.interpreter import Interpreter, Raised, Unsupported
from codegen.graph.objects import Class
from codegen.graph.predicates import Kind, Predicate, Predicates
from codegen.graph.registry import equivalents
from codegen.graph.scope import Missing
from codegen.source.files import Library
from ir.expressions import OPERATIONS, Apply, Const, Expr, Index, Key, Plain, Raw, leaves, substitute
from ir.reading import (
    INERT,
    Choice,
    Condition,
    DoesNotRead,
    Each,
    Explored,
    Json,
    Path,
    Reading,
    Refused,
    choice,
    lookup,
    raw_paths,
    read,
    value,
)

MAX_DEPTH = 14  # choices below each other
MAX_RUNS = 4000
MAX_WITNESSES = (
    2  # configurations that answer a question otherwise and change nothing, before it is taken not to matter
)
MAX_CANDIDATES = 4
MAX_SETTINGS = 24
MAX_REFINEMENTS = 24
MAX_COMPARED = 24
FAILS = "!"
NOT_THERE = "the configuration has no "
MAX_LIST = 4096
ABSENT = object()


@dataclass(frozen=True)
class Outcome:
    """One run of the configuration class. `failure` is what the source said if it refused."""

    definitions: Mapping[Path, Expr] = field(default_factory=dict)
    resolved: Mapping[str, Json] = field(default_factory=dict)
    predicates: tuple[Predicate, ...] = ()
    failure: str | None = None
    raw: Mapping[str, Json] = field(default_factory=dict)


Test = tuple[Expr, bool]


_LABELS = frozenset({"id2label", "label2id"})


class Unclear(Exception):
    """A value that no expression gives."""


class Uniform(Unclear):
    """A list whose elements are equal here, though questions were asked for each."""

    def __init__(self, each: Each):
        super().__init__("a list whose elements are told apart by what does not occur here")
        self.each = each


def validate(files: Library, raw: Mapping[str, Json], repository_files: Mapping[str, str] | None = None) -> None:
    """Run the configuration class and the checks of its source on what is to be compiled, before anything else is done with it.

    Raises:
        CompileError: `source-raises`, with what the source says and where; or there is no such class.
    """
    ConfigurationClass(files, raw, repository_files).check(raw)


def explore(
    cls: ConfigurationClass, raw: Mapping[str, Json], keys: Iterable[Key], predicates: Iterable[Predicate]
) -> Explored:
    """Readings of `keys`, and conditions for `predicates` (over Key) that tie the code to this configuration.

    Raises:
        CompileError: the configuration class refuses `raw` itself.
    """
    cls.check(raw)
    explorer = _Explorer(cls, dict(raw))
    keys, predicates = tuple(keys), tuple(predicates)
    explorer.vocabulary = _vocabulary([*keys, *(predicate.expr for predicate in predicates)])
    wanted: dict[Path, Reading] = {}
    for key in keys:
        wanted.setdefault(key.path, explorer.reading(key))
    conditions = []
    for predicate in _with_elements(predicates, explorer.base.resolved):
        if predicate.stage == 2 and predicate.kind not in _FREE and not cls.repeats(predicate, explorer.base):
            conditions += explorer.conditions(predicate)
    conditions = _with_choices(cls, list(dict.fromkeys(conditions)))
    for condition in conditions:
        for key in condition.keys:
            if key.path not in wanted and not isinstance(lookup(explorer.base.resolved, key.path), Mapping):
                wanted[key.path] = explorer.reading(key)
    validity = explorer.validity(wanted, conditions)
    frozen = explorer.frozen(wanted, conditions, validity)
    dropped = frozenset(name for name in raw if name not in explorer.base.resolved)
    return Explored(
        dict(raw), cls.declared, cls.types, wanted, tuple(dict.fromkeys(conditions)), validity, frozen, dropped,
        explorer.base.resolved,
    )  # fmt: skip


def _with_choices(cls: ConfigurationClass, conditions: Sequence[Condition]) -> list[Condition]:
    """Conditions on a name of a registry, where nothing else is asked of it, with the names that mean the same."""
    found = []
    for condition in conditions:
        others = [other for other in conditions if other is not condition and set(other.keys) & set(condition.keys)]
        if (
            condition.kind == Kind.KEY.value
            and isinstance(condition.expr, Key)
            and isinstance(condition.value, str)
            and not others
        ):
            names = equivalents(cls.interpreter.files, condition.value)
            if len(names) > 1:
                condition = Condition("choice", condition.expr, names)
        found.append(condition)
    return found


def _vocabulary(targets: Iterable[Expr]) -> frozenset[str]:
    """Names that are looked for within objects of the configuration."""
    words: set[str] = set()
    for target in targets:
        words |= {
            step for leaf in leaves(target) if isinstance(leaf, Key) for step in leaf.path[1:] if isinstance(step, str)
        }
        words |= _sought(target)
    return frozenset(words)


def _sought(expr: Expr) -> set[str]:
    match expr:
        case Apply("in" | "not in", (Const(str() as name), container)):
            return {name} | _sought(container)
        case Apply(_, args):
            return set().union(*map(_sought, args)) if args else set()
        case _:
            return set()


def _with_elements(predicates: Iterable[Predicate], resolved: Mapping[str, Json]) -> list[Predicate]:
    """The predicates with single elements of a list taken from the list, and names taken from lists as what they are here."""
    found = [replace(p, expr=_elements(p.expr, resolved)) for p in predicates]
    pins: dict[Expr, Expr] = {}
    for predicate in found:
        match predicate:
            case Predicate(kind=Kind.KEY, expr=Apply("getitem", (Key(), Const(int()))) as expr):
                pins[expr] = Const(predicate.value)
    return [p if p.expr in pins else replace(p, expr=_stepped(substitute(p.expr, pins))) for p in found]


def _elements(expr: Expr, resolved: Mapping[str, Json]) -> Expr:
    match expr:
        case Key((*owner, int() as i)) if owner and isinstance(lookup(resolved, tuple(owner)), (list, tuple)):
            return Apply("getitem", (Key(tuple(owner)), Const(i)))
        case Apply(op, args):
            return Apply(op, tuple(_elements(arg, resolved) for arg in args))
        case _:
            return expr


def _stepped(expr: Expr) -> Expr:
    """`expr` with what is taken from an object under a known name as a longer path."""
    match expr:
        case Apply("getitem", (owner, Const(str() as name))):
            inner = _stepped(owner)
            return Key((*inner.path, name)) if isinstance(inner, Key) else Apply("getitem", (inner, Const(name)))
        case Apply(op, args):
            return Apply(op, tuple(map(_stepped, args)))
        case _:
            return expr


_FREE = frozenset({Kind.COUNT, Kind.TIE, Kind.HELPER})


# --------------------------------------------------------------------------------------------------------- running a class


class ConfigurationClass:
    """The configuration class of a config.json, to be run on variants of it.

    Raises:
        CompileError: there is no such class, or the library cannot be read.
    """

    def __init__(self, files: Library, raw: Mapping[str, Json], repository_files: Mapping[str, str] | None = None):
        self.interpreter = Interpreter(Library(files.root, repository_files) if repository_files else files)
        with construction.deep_recursion():
            self.cls = construction._configuration_class(self.interpreter, raw)
            self.declared, self.types = self._fields()
            self.spellings = self._spellings()
            self.asked = tuple(dict.fromkeys(name for name in _asked(self.cls.mro) if not name.startswith("_")))

    def __call__(self, raw: Mapping[str, Json]) -> Outcome:
        """Run it on `raw`. Whatever goes wrong with a variant means that it is not known to work."""
        try:
            return self._run(raw)
        except Raised as error:
            return Outcome(failure=self._text(error), raw=raw)
        except CompileError as error:
            return Outcome(failure=str(error), raw=raw)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            return Outcome(failure=f"{type(error).__name__}: {error}", raw=raw)
        finally:
            self._reset()

    def check(self, raw: Mapping[str, Json]) -> None:
        """Run it on the configuration that is to be compiled, with the checks that its source has.

        Raises:
            CompileError: what the source says of it, and where.
        """
        with construction.deep_recursion():
            try:
                config = configuration.construct(self.interpreter, self.cls, raw)
                self._validate(config)
            except Raised as error:
                raise construction.failure(self.interpreter, error) from None
            finally:
                self._reset()

    def guards(self, raw: Mapping[str, Json]) -> tuple[Predicate, ...]:
        """What the checks of the source asked of the resolved configuration, as far as their meaning is known."""
        with construction.deep_recursion():
            try:
                config = configuration.construct(self.interpreter, self.cls, raw)
                configuration.Seeding().seed(config)
                self.interpreter.predicates = Predicates()
                self.interpreter.stage = 2
                self._validate(config)
                return tuple(p for p in self.interpreter.predicates if p.kind is Kind.GUARD)
            except Raised as error:
                raise construction.failure(self.interpreter, error) from None
            finally:
                self._reset()

    def repeats(self, predicate: Predicate, outcome: Outcome) -> bool:
        """Whether a predicate of the model's code comes from a method that the configuration class has run before, on its own result.

        Such a method brings a configuration into its standard form; in that form it finds nothing to do.
        """
        before = {p.function for p in outcome.predicates}
        files = {
            base.namespace.file.name
            for base in self.cls.mro
            if base.node is not None and base.namespace.has(predicate.function)
        }
        return predicate.function in before and predicate.span is not None and predicate.span.file in files

    def _run(self, raw: Mapping[str, Json]) -> Outcome:
        with construction.deep_recursion():
            config = configuration.construct(self.interpreter, self.cls, raw)
            seeding = configuration.Seeding()
            found = self.interpreter.predicates.all()
            resolved = seeding.seed(config)
            return Outcome(seeding.definitions, resolved, found, None, raw)

    def _validate(self, config: Any) -> None:
        names = {name for cls in config.cls.mro for name in cls.namespace.names() if name.startswith("validate_")}
        for name in sorted(names - _NOT_CHECKED):
            try:
                self.interpreter.call(self.interpreter.getattr(config, name), [], {})
            except Unsupported:
                continue

    def _text(self, error: Raised) -> str:
        try:
            return f"{error.instance.cls.name}: {operators.describe(self.interpreter, error.instance)}"
        except Exception:
            return error.instance.cls.name

    def _reset(self) -> None:
        interpreter = self.interpreter
        interpreter.predicates = Predicates()
        interpreter.stage = 1
        interpreter.scope = interpreter.node = None
        interpreter.loops = 0
        interpreter.stack.clear()

    def _spellings(self) -> dict[str, tuple[str, ...]]:
        """Other names of attributes."""
        table = operators.plain(classes.find(self.interpreter, self.cls, "attribute_map") or {})
        found: dict[str, tuple[str, ...]] = {}
        if isinstance(table, dict):
            for alias, name in table.items():
                found[str(name)] = (*found.get(str(name), ()), str(alias))
        return found

    def _fields(self) -> tuple[dict[str, Json], dict[str, tuple[str, ...]]]:
        """The declared fields with their defaults, and the types that they may have."""
        declared: dict[str, Json] = {}
        types: dict[str, tuple[str, ...]] = {}
        for name, default, owner in classes.fields(self.interpreter, self.cls):
            if name.startswith("_"):
                continue
            for annotated, annotation, _ in owner.namespace.annotations:
                if annotated == name:
                    types[name] = json_types(annotation)
            try:
                found = plain(operators.plain(classes.default_of(self.interpreter, name, default, owner)))
            except Missing:
                continue
            if _is_json(found):
                declared[name] = found
        return declared, types


def _asked(mro: Iterable[Class]) -> Iterator[str]:
    """Keys that the text of a configuration class takes out of its further arguments, in methods that get all of them."""
    methods = [
        item
        for cls in mro
        if cls.node is not None
        for item in cls.node.body
        if isinstance(item, ast.FunctionDef) and item.args.kwarg
    ]
    wanted = {"__init__", "__post_init__"}
    for _ in range(4):
        for method in methods:
            if method.name in wanted:
                wanted |= set(_receivers(method))
    for method in methods:
        if method.name in wanted:
            yield from _taken(method)


def _receivers(method: ast.FunctionDef) -> Iterator[str]:
    """The methods that get all further arguments of one."""
    for call in ast.walk(method):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and any(k.arg is None for k in call.keywords)
        ):
            yield call.func.attr


def _taken(method: ast.FunctionDef) -> Iterator[str]:
    for inner in ast.walk(method):
        match inner:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="kwargs"), attr="pop" | "get" | "setdefault"),
                args=[ast.Constant(value=str() as name), *_],
            ):
                yield name
            case ast.Compare(
                left=ast.Constant(value=str() as name),
                ops=[ast.In() | ast.NotIn()],
                comparators=[ast.Name(id="kwargs")],
            ):
                yield name
            case ast.Subscript(value=ast.Name(id="kwargs"), slice=ast.Constant(value=str() as name)):
                yield name


_NOT_CHECKED = frozenset({"validate_token_ids", "validate_output_attentions"})
_TYPES = {"int": "int", "float": "float", "str": "str", "bool": "bool", "list": "list", "tuple": "list", "dict": "dict"}


def json_types(annotation: ast.expr) -> tuple[str, ...]:
    """The types of JSON values that an annotation allows, () where it allows all."""
    match annotation:
        case ast.Constant(value=None):
            return ("NoneType",)
        case ast.Constant(value=str() as text):
            try:
                return json_types(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return ()
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([json_types(left), json_types(right)])
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _union([json_types(inner), ("NoneType",)])
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
            return _union([json_types(part) for part in parts])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            names = {type(part.value).__name__ for part in parts if isinstance(part, ast.Constant)}
            return tuple(sorted(names))
        case ast.Subscript(value=inner):
            return json_types(inner)
        case ast.Name(id=name):
            return (_TYPES[name],) if name in _TYPES else (("dict",) if name.endswith(("Parameters", "Config")) else ())
        case _:
            return ()


def _union(parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return () if () in parts else tuple(dict.fromkeys(name for part in parts for name in part))


def _is_json(x: Json) -> bool:
    match x:
        case bool() | int() | float() | str() | None:
            return True
        case list():
            return all(map(_is_json, x))
        case dict():
            return all(isinstance(key, str) and _is_json(inner) for key, inner in x.items())
        case _:
            return False


# ------------------------------------------------------------------------------------------------------------ exploring


class _Explorer:
    def __init__(self, cls: ConfigurationClass, raw: dict[str, Json]):
        self._run = cls
        self.declared = cls.declared
        self.outcomes: dict[str, Outcome] = {}
        self.raw = self.filled(raw)
        self.given = raw
        self.base = self.outcome(self.raw)
        self.vocabulary: frozenset[str] = frozenset()
        self._pool: list[dict[str, Json]] | None = None
        self.words: tuple[str, ...] = ()  # names that the value at hand may have within an object
        self.effects: dict[str, frozenset[str]] = {}
        self.samples: dict[str, Json] = {}
        self.further = tuple(name for name in cls.asked if name not in INERT)
        self.pinned: dict[Path, None] = {}  # attributes whose meaning for the layers was not followed
        self.strings = _strings(raw, set())

    def filled(self, raw: Mapping[str, Json]) -> dict[str, Json]:
        return {**{name: default for name, default in self.declared.items() if name not in raw}, **raw}

    def outcome(self, raw: Mapping[str, Json]) -> Outcome:
        text = json.dumps(raw, sort_keys=False, default=str)
        if text not in self.outcomes:
            self.outcomes[text] = self._run(copy.deepcopy(dict(raw)))
        return self.outcomes[text]

    # -- readings

    def reading(self, target: Expr) -> Reading:
        tops = frozenset(str(leaf.path[0]) for leaf in leaves(target) if isinstance(leaf, Key) and leaf.path)
        if any(leaf == Key(()) for leaf in leaves(target)):
            tops |= {word for word in _constants(target) if isinstance(word, str)}
        steps = [
            step for leaf in leaves(target) if isinstance(leaf, Key) for step in leaf.path[1:] if isinstance(step, str)
        ]
        constants = [word for word in _constants(target) if isinstance(word, str)] if not self._scalar(target) else []
        self.words = tuple(sorted({*steps, *constants}))
        own = self._names(target)

        def lifted(outcome: Outcome) -> Reading:
            return self._lifted(target, outcome)

        return self._refined(self._explore(lifted, self.raw, [], own, tops), lifted, own, tops)

    def validity(self, wanted: Mapping[Path, Reading], conditions: Sequence[Condition]) -> Reading:
        """Where the class itself refuses; looked for among configurations that the readings let pass."""
        self.words = ()
        found = self._explore(lambda outcome: Const(True), self.raw, [], (), frozenset({FAILS}))
        passing = [raw for raw in self.pool() if accepted(raw, wanted, conditions)]
        for raw in passing:
            outcome = self.outcome(raw)
            if outcome.failure is not None and _end(found, raw) == Const(True):
                found = self._refusing(found, raw, outcome.failure, passing)
        return found

    def _refusing(
        self, validity: Reading, raw: Mapping[str, Json], failure: str, passing: Sequence[Mapping[str, Json]]
    ) -> Reading:
        """A validity that refuses `raw` for a key that is missing or null in it alone; as before if there is no such key."""
        way = _way(validity, raw)
        good = [other for other in passing if self.outcome(other).failure is None and _way(validity, other) == way]
        paths = {path for other in good[:MAX_COMPARED] for path in _differing(raw, other)}
        paths |= {(name, word) for name, inner in raw.items() if isinstance(inner, Mapping) for word in self.vocabulary}
        for path in sorted(paths, key=repr):
            inside, owner = Apply("in", (Const(path[-1]), Raw(path[:-1]))), Apply("bool", (Raw(path[:-1]),))
            null = Apply("is", (Raw(path), Const(None)))
            for tests in (((inside, False), (owner, True)), ((null, True), (inside, True))):
                if all(_holds(test, raw) is truth for test, truth in tests) and not any(
                    all(_holds(test, other) is truth for test, truth in tests) for other in good
                ):
                    further = tuple(test for test in tests if test not in way)
                    return _at_end(validity, way, lambda end, tests=further: _unless(tests, end, Refused(failure)))  # type: ignore[misc]
        return validity

    def _lifted(self, target: Expr, outcome: Outcome) -> Reading:
        """`target` as a run had it; where a list is all of one kind, as one that asked the same and has both kinds."""
        try:
            return lift(target, outcome)
        except Uniform as uniform:
            asked = [p.expr for p in outcome.predicates if p.kind is Kind.LAYER]
            questions = list(_questions(outcome.predicates))
            for path in sorted(
                {leaf.path for expr in asked for leaf in leaves(expr) if isinstance(leaf, Raw)}, key=repr
            ):
                for new in (1, 2, 3):
                    variant = changed(outcome.raw, path, new)
                    other = self.outcome(variant) if variant is not None else None
                    if other is None or other.failure is not None or list(_questions(other.predicates)) != questions:
                        continue
                    try:
                        return lift(target, other)
                    except Unclear:
                        continue
            if target == _only_key(target):
                return uniform.each
            raise

    def _names(self, target: Expr) -> tuple[str, ...]:
        """Keys of config.json that may be meant by what `target` speaks of: its own, other spellings, what the class asks for."""
        names: dict[str, None] = {}
        for key in sorted((leaf for leaf in leaves(target) if isinstance(leaf, Key)), key=repr):
            for step in key.path:
                if isinstance(step, str):
                    names |= dict.fromkeys([step, *self._run.spellings.get(step, ())])
        asked = any(leaf == Key(()) for leaf in leaves(target))
        names |= dict.fromkeys(
            word for word in _constants(target) if isinstance(word, str) and (asked or word in self.further)
        )
        return tuple(names)

    def _explore(
        self,
        lifted: Callable[[Outcome], Reading],
        raw: dict[str, Json],
        fixed: list[Test],
        own: Sequence[str],
        tops: frozenset[str],
        settled: frozenset[Expr] = frozenset(),
    ) -> Reading:
        """The reading below the choices `fixed`, of which `raw` is an example. `settled` questions do not matter for `raw`."""
        outcome = self.outcome(raw)
        if outcome.failure is not None:
            return Refused(outcome.failure)
        try:
            here = lifted(outcome)
        except Unclear as error:
            return Refused(str(error))
        if len(fixed) > MAX_DEPTH or len(self.outcomes) > MAX_RUNS:
            return Refused("the configuration class asks more than was followed here")
        further = [] if self._unrelated(lifted, here, raw, self.further) else [n for n in self.further if n not in raw]
        for test in self._tests(outcome, here, raw, [*own, *further]):
            if (
                test[0] in settled
                or any(test[0] == known for known, _ in fixed)
                or self._aside(test[0], here, [*own, *further], tops)
            ):
                continue
            settled |= {test[0]}
            there = self._other(lifted, here, raw, fixed, test, FAILS in tops)
            if there is None:
                continue
            same = self._explore(lifted, raw, [*fixed, test], own, tops, settled)
            expr, outcome_here = test
            if isinstance(there, Refused):
                other: Reading = there
            else:
                other = self._explore(lifted, there, [*fixed, (expr, not outcome_here)], own, tops)
            return chosen(expr, same, other) if outcome_here else chosen(expr, other, same)
        return here

    def _aside(self, question: Expr, here: Reading, own: Sequence[str], tops: frozenset[str]) -> bool:
        """Whether a question is about keys that have nothing to do with the value."""
        near = {*own, *(str(path[0]) for path in raw_paths(here))}
        names = {str(path[0]) for path in _paths(question)}
        return not any(name in near or tops & self.affected(name) for name in names)

    def affected(self, name: str) -> frozenset[str]:
        """The attributes that a key decides in the given configuration; FAILS if that goes wrong for some value."""
        if name not in self.effects:
            found: set[str] = set()
            candidates = list(self._candidates(self.raw, (name,), Raw((name,))))
            if name in self.raw and name not in self.declared:
                candidates.insert(0, ABSENT)
            for new in candidates[:MAX_CANDIDATES]:
                variant = changed(self.raw, (name,), new)
                if variant is not None:
                    found |= self._difference(self.outcome(self.filled(variant)))
                    if len(found) > 1 or (found and FAILS not in found and name not in found):
                        break
            self.effects[name] = frozenset(found)
        return self.effects[name]

    def _difference(self, outcome: Outcome) -> set[str]:
        if outcome.failure is not None:
            return {FAILS}
        here, there = self.base.definitions, outcome.definitions
        found = {str(path[0]) for path in here.keys() | there.keys() if here.get(path) != there.get(path)}
        if _per_layer(self.base) != _per_layer(outcome):
            found |= {name for name, item in outcome.resolved.items() if isinstance(item, (list, tuple))}
        return found

    def _unrelated(
        self, lifted: Callable[[Outcome], Reading], here: Reading, raw: dict[str, Json], names: Sequence[str]
    ) -> bool:
        """Whether further arguments that are absent, all given at once, leave the value alone."""
        absent = {name: new for name in names if name not in raw and (new := self._harmless(name)) is not None}
        if not absent:
            return True
        outcome = self.outcome(self.filled({**raw, **absent}))
        if outcome.failure is not None:
            return False
        try:
            return lifted(outcome) == here
        except Unclear:
            return False

    def _harmless(self, name: str) -> Json:
        """A value of an absent key with which the class still runs; None if none is known."""
        if name not in self.samples:
            self.samples[name] = next(
                (
                    new
                    for new in self._candidates(self.raw, (name,), Raw((name,)))
                    if new is not None and new is not ABSENT and self.outcome({**self.raw, name: new}).failure is None
                ),
                None,
            )
        return self.samples[name]

    def _other(
        self,
        lifted: Callable[[Outcome], Reading],
        here: Reading,
        raw: dict[str, Json],
        fixed: list[Test],
        test: Test,
        refusing: bool,
    ) -> dict[str, Json] | Refused | None:
        """A configuration for which `test` goes the other way and the value is another; Refused where all of them fail."""
        failures: list[str] = []
        unclear: dict[str, Json] | None = None
        fine = 0
        for variant in self._flips(raw, fixed, test):
            outcome = self.outcome(variant)
            if outcome.failure is not None:
                failures.append(outcome.failure)
                if len(failures) > MAX_CANDIDATES:
                    break
                continue
            if fine >= MAX_WITNESSES + len(self.words):
                break
            fine += 1
            try:
                if lifted(outcome) != here:
                    return variant
            except Unclear:
                unclear = unclear or variant
        if refusing and failures and not fine:
            return Refused(failures[0])
        return unclear

    def _tests(self, outcome: Outcome, here: Reading, raw: Mapping[str, Json], own: Sequence[str]) -> Iterator[Test]:
        """The questions of a run and whether keys that matter are null or absent; what is about a whole object first."""
        found: dict[Expr, bool] = {}
        for name in self.further:
            if isinstance(raw.get(name), (Mapping, type(None))):
                self._presence(found, raw, name)
        for test, truth in sorted(
            _questions(outcome.predicates), key=lambda item: max(map(len, _paths(item[0])), default=0)
        ):
            found.setdefault(test, truth)
        names = [*own, *sorted(str(path[0]) for path in raw_paths(here) if len(path) == 1)]
        for name in dict.fromkeys(names):
            self._presence(found, raw, name)
        for name, inner in raw.items():
            if isinstance(inner, Mapping):
                for word in self.words:
                    found.setdefault(Apply("in", (Const(word), Raw((name,)))), word in inner)
        yield from found.items()

    def _presence(self, found: dict[Expr, bool], raw: Mapping[str, Json], name: str) -> None:
        null = Apply("is", (Raw((name,)), Const(None)))
        inside = Apply("in", (Const(name), Raw(())))
        expressions = (null,) if name in self.declared else (null, inside) if name in raw else (inside, null)
        for expr in expressions:
            found.setdefault(expr, bool(value(expr, raw)))

    def _flips(self, raw: dict[str, Json], fixed: list[Test], test: Test) -> Iterator[dict[str, Json]]:
        """Changed configurations for which `test` goes the other way and all of `fixed` stay."""
        expr, before = test
        for path in sorted(_paths(expr), key=repr):
            for candidate in self._candidates(raw, path, expr):
                variant = changed(raw, path, candidate)
                if variant is None:
                    continue
                variant = self.filled(variant)
                if _holds(expr, variant) is (not before) and all(
                    _holds(known, variant) is truth for known, truth in fixed
                ):
                    yield variant

    def _candidates(self, raw: Mapping[str, Json], path: Path, expr: Expr) -> Iterator[Json]:
        """What a key could hold instead, what is most like a published configuration first."""
        now = lookup(raw, path)
        inside = _inside(raw, path)
        if not inside or now is None:
            yield from self._plausible(path)
        yield from _constants(expr)
        if inside:
            if isinstance(expr, Apply) and expr.op == "in":
                yield ABSENT
            yield None
        match now:
            case bool():
                yield not now
            case int():
                yield from (now * 2, now + 1, max(now - 1, 1), now // 2, 1, 0)
            case float():
                yield from (now * 2, now / 2, 1.0, 0.0)
            case str():
                yield from (word for word in sorted(self.strings) if word != now)
                yield "something else"
            case list() if now:
                yield from (now[:-1], [*now, now[-1]], [])
            case list():
                yield [1]
            case dict() if now:
                yield {}

    def _plausible(self, path: Path) -> Iterator[Json]:
        """Values for a key that holds nothing: what the resolved configuration has under that name, then objects of it."""
        name = path[-1]
        yield from _named(self.base.resolved, name)
        for attribute, others in self._run.spellings.items():
            if name in others and attribute in self.base.resolved:
                yield plain(self.base.resolved[attribute])
        if isinstance(name, str) and name in self.declared and self.declared[name] is not None:
            yield self.declared[name]
        if len(path) == 1:
            objects = [
                (name, inner) for name, inner in self.base.resolved.items() if isinstance(inner, Mapping) and inner
            ]
            for _, inner in sorted(objects, key=lambda item: item[0] in _LABELS):
                if _simple(inner):
                    yield from self._objects(inner)
        yield from (2, 0.5, True, "something else", [1], {"something": 1})

    def _objects(self, inner: Mapping[str, Json]) -> Iterator[Json]:
        """An object as it is, with what is asked for in it, and without."""
        yield plain(inner)
        words = [item for item in inner.values() if isinstance(item, str)]
        for name in self.words:
            if name in inner:
                yield {key: plain(item) for key, item in inner.items() if key != name}
            else:
                for new in (*words[:1], 0.5):
                    yield {**{key: plain(item) for key, item in inner.items()}, name: new}

    # -- what one question at a time does not show

    def _refined(
        self, reading: Reading, lifted: Callable[[Outcome], Reading], own: Sequence[str], tops: frozenset[str]
    ) -> Reading:
        """The reading with further choices, until it is right for every configuration of the pool."""
        for _ in range(MAX_REFINEMENTS):
            wrong = [raw for raw in self.pool() if not self._right(reading, lifted, raw) and not self._pinned(raw)]
            if not wrong:
                break
            reading = self._split(reading, lifted, own, tops, wrong)
        return reading

    def _right(self, reading: Reading, lifted: Callable[[Outcome], Reading], raw: Mapping[str, Json]) -> bool:
        """Whether a reading refuses a configuration, or agrees with its class."""
        outcome = self.outcome(raw)
        if outcome.failure is not None:
            return True
        try:
            predicted = read(reading, raw)
        except DoesNotRead as refusal:
            return not str(refusal).startswith(NOT_THERE) or self._nothing(lifted, outcome)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return True
        if isinstance(predicted, Mapping):
            return True  # no attribute that is read is an object: its type refuses it
        try:
            return same(predicted, read(lifted(outcome), raw))
        except (Unclear, DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return False

    def _pin(self, raw: Mapping[str, Json]) -> None:
        """Freeze a key in which `raw` differs from what is compiled: what it does here is not understood."""
        names = [name for name in sorted(raw.keys() | self.raw.keys()) if raw.get(name) != self.raw.get(name)]
        plain_first = sorted(
            names, key=lambda name: (isinstance(self.raw.get(name), bool), len(self.affected(name)), name)
        )
        if plain_first:
            self.pinned[(plain_first[-1],)] = None

    def _pinned(self, raw: Mapping[str, Json]) -> bool:
        return any(raw.get(str(path[0])) != self.raw.get(str(path[0])) for path in self.pinned)

    def _nothing(self, lifted: Callable[[Outcome], Reading], outcome: Outcome) -> bool:
        """Whether a run gives no value."""
        try:
            lifted(outcome)
        except Unclear:
            return True
        return False

    def _split(
        self,
        reading: Reading,
        lifted: Callable[[Outcome], Reading],
        own: Sequence[str],
        tops: frozenset[str],
        wrong: Sequence[dict[str, Json]],
    ) -> Reading:
        """The reading with a choice where a configuration in `wrong` ends, by the question that best tells those apart that end there."""
        first = wrong[0]
        fixed = _way(reading, first)
        ending = [
            raw for raw in [self.raw, *self.pool()] if _way(reading, raw) == fixed and self.outcome(raw).failure is None
        ]
        bad = [raw for raw in ending if any(raw is other for other in wrong)]
        good = [raw for raw in ending if not any(raw is other for other in wrong)]
        here = any(raw is self.raw for raw in good)
        differing = {name for name in first.keys() | self.raw.keys() if first.get(name) != self.raw.get(name)}
        best: tuple[int, int, int, Expr] | None = None
        for position, question in enumerate(self._distinctions(first, good)):
            truth = _holds(question, first)
            if truth is None or any(question == known for known, _ in fixed):
                continue
            if (
                here
                and _holds(question, self.raw) is truth
                or not {str(path[0]) for path in _paths(question)} & differing
            ):
                continue
            errors = sum(_holds(question, raw) is truth for raw in good)
            errors += sum(_holds(question, raw) is not truth for raw in bad)
            score = (errors, max(map(len, _paths(question)), default=0), position, question)
            best = score if best is None or score[:3] < best[:3] else best
        if best is None and _way(reading, self.raw) == fixed:
            self._pin(first)
            return reading
        if best is None:
            return _at_end(reading, fixed, lambda end: Refused("no question tells what decides this"))
        question = best[3]
        truth = bool(_holds(question, first))
        there = self._explore(lifted, first, [*fixed, (question, truth)], own, tops)
        return _at_end(
            reading, fixed, lambda end: chosen(question, there, end) if truth else chosen(question, end, there)
        )

    def _distinctions(self, raw: Mapping[str, Json], others: Sequence[Mapping[str, Json]]) -> list[Expr]:
        """Questions that may be answered differently for one configuration and some others."""
        found = dict.fromkeys(test for test, _ in _questions(self.outcome(raw).predicates))
        for other in others[:MAX_COMPARED]:
            found |= dict.fromkeys(test for test, _ in _questions(self.outcome(other).predicates))
            for path in _differing(raw, other):
                found[Apply("in", (Const(path[-1]), Raw(path[:-1])))] = None
                found[Apply("is", (Raw(path), Const(None)))] = None
        return [question for question in found if all(path[:1] != () for path in _paths(question))]

    def pool(self) -> list[dict[str, Json]]:
        """Configurations that every reading has to be right about: each key disturbed, objects in each place that may hold them."""
        if self._pool is None:
            found = [self.filled(variant) for _, variant in disturbed(self.given, self.declared, self._plausible)]
            found += [self.filled(variant) for variant in self._respelled()]
            found += list(self._pairs())
            self._pool = list({json.dumps(raw, default=str): raw for raw in found}.values())
        return self._pool

    def _pairs(self) -> Iterator[dict[str, Json]]:
        """Flags that decide more than themselves the other way, each together with every number made small."""
        for name, now in self.raw.items():
            if not isinstance(now, bool) or len(self.affected(name)) < 2:
                continue
            for other, number in self.raw.items():
                if type(number) is int and number > 1:
                    yield {**self.raw, name: not now, other: 1}
            for other, found in self.raw.items():
                if found is not None and other in self.declared and self.declared[other] is None:
                    yield {**self.raw, name: not now, other: None}

    def _respelled(self) -> Iterator[dict[str, Json]]:
        places = [name for name, types in self._run.types.items() if "dict" in types and name not in _LABELS]
        places += [name for name in self.further if isinstance(self.given.get(name), (Mapping, type(None)))]
        objects = [
            plain(inner)
            for name, inner in self.base.resolved.items()
            if isinstance(inner, Mapping) and inner and name not in _LABELS and _simple(inner)
        ]
        bare = {key: item for key, item in self.given.items() if key not in places}
        places = [name for name in dict.fromkeys(places) if any(self._takes(bare, name, inner) for inner in objects)]
        words = {path[-1] for path in self._asked_inside(self.raw)} | self.vocabulary
        for place in places:
            for cleared in (False, True):
                base = {key: item for key, item in self.given.items() if not cleared or key not in places}
                for inner in objects:
                    assert isinstance(inner, dict)
                    more = words | {path[-1] for path in self._asked_inside(self.filled({**base, place: inner}))}
                    yield {**base, place: inner}
                    for name in sorted(inner.keys() | more, key=str):
                        yield {**base, place: {key: item for key, item in inner.items() if key != name}}
                        yield {**base, place: {**inner, name: None}}
                        if name not in inner:
                            strings = [item for item in inner.values() if isinstance(item, str)]
                            yield {**base, place: {**inner, name: next(iter(strings), 0.5)}}
                            yield {**base, place: {**inner, name: 0.5}}

    def _takes(self, bare: Mapping[str, Json], place: str, inner: Json) -> bool:
        """Whether an object in that place matters, where no other place has one."""
        before, after = self.outcome(self.filled(bare)), self.outcome(self.filled({**bare, place: inner}))
        return after.failure is None and before.definitions != after.definitions

    def _asked_inside(self, raw: Mapping[str, Json]) -> set[Path]:
        """Keys of objects that a run asked for."""
        return {path for test, _ in _questions(self.outcome(raw).predicates) for path in _paths(test) if len(path) > 1}

    # -- conditions

    def conditions(self, predicate: Predicate) -> list[Condition]:
        """What must hold of other configurations for a predicate of the model's code."""
        if predicate.kind is Kind.LAYER:
            return self._of_layers(predicate)
        expr, wanted = predicate.expr, predicate.value
        if predicate.kind is Kind.TYPE and isinstance(expr, Apply) and expr.op == "type" and wanted in ("int", "float"):
            inner = Apply("in", (expr, Apply("list", (Const("int"), Const("float")))))
            expr, wanted = inner, True
        if not leaves(expr):
            return []
        if Key(()) not in leaves(expr) and self._scalar(expr):
            return [Condition(predicate.kind.value, expr, wanted)]
        reading = self.reading(expr)
        if isinstance(reading, Const) and reading.value == wanted:
            return []
        return [Condition(predicate.kind.value, expr, wanted, reading)]

    def _scalar(self, expr: Expr) -> bool:
        """Whether an expression takes no objects from the configuration."""
        found = [lookup(self.base.resolved, leaf.path) for leaf in leaves(expr) if isinstance(leaf, Key)]
        return not any(
            isinstance(item, Mapping) or (isinstance(item, (list, tuple)) and not _plain_list(item)) for item in found
        )

    def _of_layers(self, predicate: Predicate) -> list[Condition]:
        """Elements of a list must be among those seen; other facts about a layer's index stay as they are."""
        lists = sorted(_indexed(predicate.expr), key=repr)
        found = []
        for key in lists:
            elements = lookup(self.base.resolved, key.path)
            if isinstance(elements, (list, tuple)) and all(isinstance(item, (str, int, bool)) for item in elements):
                found.append(Condition("elements", key, tuple(dict.fromkeys(elements))))
            else:
                self.pinned[key.path[:1]] = None
        rest = [leaf for leaf in leaves(predicate.expr) if isinstance(leaf, Key) and leaf not in lists]
        for key in sorted(rest, key=repr):
            resolved = lookup(self.base.resolved, key.path)
            if isinstance(resolved, (Mapping, list, tuple)):
                self.pinned[key.path[:1]] = None
            else:
                found.append(Condition("layer", key, resolved))
        return found

    # -- the proof

    def frozen(
        self, wanted: Mapping[Path, Reading], conditions: Sequence[Condition], validity: Reading
    ) -> tuple[Path, ...]:
        """Keys of config.json that are not understood: disturbing them alone changes what was predicted."""
        bad: dict[Path, None] = dict.fromkeys(self._not_understood(wanted, conditions))
        for path, variant in disturbed(self.given, self.declared, self._plausible):
            top = path[:1]
            if top in bad:
                continue
            if path[0] in variant:
                variant = self.filled(variant)
            outcome = self.outcome(variant)
            if outcome.failure is not None:
                continue
            if not self.predicted(variant, outcome, wanted, conditions, validity):
                bad[top] = None
        return tuple(bad)

    def _not_understood(self, wanted: Mapping[Path, Reading], conditions: Sequence[Condition]) -> Iterator[Path]:
        """Keys behind attributes that were not followed, and keys that the class takes but refused in the forms that were tried."""
        yield from self.pinned
        known = set(INERT)
        for reading in [*wanted.values(), *(c.reading for c in conditions if c.reading is not None)]:
            known |= {str(path[0]) for path in raw_paths(reading)}
        for name in self._run.asked:
            if name in known or name in self.raw:
                continue
            variants = [self.outcome({**self.raw, name: new}) for new in (2, "something else", {"something": 1}, [1])]
            if any(outcome.failure is not None for outcome in variants):
                yield (name,)

    def predicted(
        self,
        raw: Mapping[str, Json],
        outcome: Outcome,
        wanted: Mapping[Path, Reading],
        conditions: Sequence[Condition],
        validity: Reading,
    ) -> bool:
        """Whether the readings refuse `raw` or give what the configuration class made of it."""
        filled = self.filled(raw)
        try:
            if not read(validity, filled) or not accepted(filled, wanted, conditions):
                return True
            found = {path: read(reading, filled) for path, reading in wanted.items()}
            if any(c.reading is not None and not self._true(c, outcome, filled) for c in conditions):
                return False
            return all(same(found[path], plain(lookup(outcome.resolved, path))) for path in wanted)
        except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return True

    def _true(self, condition: Condition, outcome: Outcome, filled: Mapping[str, Json]) -> bool:
        """Whether a condition holds of what the configuration class made."""
        try:
            return same(read(lift(condition.expr, outcome), filled), condition.value)
        except (Unclear, DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return False


def accepted(filled: Mapping[str, Json], wanted: Mapping[Path, Reading], conditions: Sequence[Condition]) -> bool:
    """Whether readings and conditions let a configuration pass."""
    try:
        found = {path: read(reading, filled) for path, reading in wanted.items()}
        return all(met(condition, found, filled) for condition in conditions) and not nested(filled, wanted)
    except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


def met(condition: Condition, found: Mapping[Path, Json], filled: Mapping[str, Json]) -> bool:
    """Whether the compiled code serves a configuration with the values `found`."""
    if condition.reading is not None:
        result = read(condition.reading, filled)
    else:
        known: dict[Expr, Expr] = {key: Const(found[key.path]) for key in condition.keys}  # type: ignore[arg-type]
        result = value(substitute(condition.expr, known), {})
    if condition.kind == "elements":
        return isinstance(result, (list, tuple)) and set(result) <= set(condition.value)  # type: ignore[call-overload]
    if condition.kind == "choice":
        return isinstance(condition.value, tuple) and result in condition.value
    return same(result, condition.value)


def nested(raw: Mapping[str, Json], wanted: Mapping[Path, Reading]) -> bool:
    """Whether an object of which single values are read holds objects that nobody reads."""
    paths = set().union(*(raw_paths(reading) for reading in wanted.values())) if wanted else set()
    for owner in {path[:-1] for path in paths if len(path) > 1}:
        found = lookup(raw, owner)
        if isinstance(found, Mapping) and any(
            isinstance(item, Mapping) and not any(path[: len(owner) + 1] == (*owner, name) for path in paths)
            for name, item in found.items()
        ):
            return True
    return False


def same(a: Json, b: Json) -> bool:
    """Equal values of equal types, where an int is as good as a float."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


# --------------------------------------------------------------------------------------------------------------- lifting


def lift(target: Expr, outcome: Outcome) -> Reading:
    """`target` over Key as an expression over Raw, as one run had it.

    Raises:
        Unclear: no expression tells.
    """
    lifted = _lift(target, outcome)
    if isinstance(lifted, _Object):
        raise Unclear("an object of the configuration is no value")
    return lifted


@dataclass(frozen=True, slots=True)
class _Object:
    """An object of the resolved configuration: what it has is decided by the run."""

    items: tuple[tuple[Plain, object], ...]

    def get(self, name: object) -> object:
        for key, item in self.items:
            if key == name:
                return item
        raise Unclear(f"{NOT_THERE}{name!r} here")


def _lift(expr: Expr, outcome: Outcome) -> Expr | Each | _Object:
    match expr:
        case Key(path):
            return _lift_key(path, outcome)
        case Apply(("in" | "not in") as op, (Const(name), Key(()))):
            return Const((name in outcome.resolved) is (op == "in"))
        case Apply(op, args):
            return _fold(op, [_lift(arg, outcome) for arg in args])
        case _:
            return expr


def _lift_key(path: Path, outcome: Outcome) -> Expr | Each | _Object:
    defined = outcome.definitions.get(path)
    whole = isinstance(lookup(outcome.resolved, path), Mapping)
    if defined is not None and not whole and not (isinstance(defined, Apply) and defined.op == "list"):
        return defined
    found: Json = outcome.resolved
    for step in path:
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, (list, tuple)) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            raise Unclear(f"{NOT_THERE}{'.'.join(map(str, path))}")
    if isinstance(found, Mapping):
        return _Object(tuple((name, _lift_key((*path, name), outcome)) for name in found))
    if isinstance(found, (list, tuple)):
        items = [_lift_key((*path, i), outcome) for i in range(min(len(found), MAX_LIST))]
        return _each(items, outcome) or Apply("list", tuple(_expression(item) for item in items))
    if not isinstance(found, (bool, int, float, str, type(None))):
        return Const(str(found))
    return Const(found)


def _expression(lifted: Expr | Each | _Object) -> Expr:
    if isinstance(lifted, (_Object, Each)):
        raise Unclear("a list of lists or objects")
    return lifted


def _fold(op: str, args: list[Expr | Each | _Object]) -> Expr | _Object:
    """`op` on lifted arguments, done where they decide it."""
    match op, args:
        case "in", [Const(name), _Object() as owner]:
            return Const(any(key == name for key, _ in owner.items))
        case "not in", [Const(name), _Object() as owner]:
            return Const(all(key != name for key, _ in owner.items))
        case "keys", [_Object() as owner]:
            return Apply("list", tuple(Const(key) for key, _ in owner.items))
        case (("bool" | "not"), [_Object() as owner]):
            return Const(bool(owner.items) is (op == "bool"))
        case (("bool" | "not"), [Apply("list", items)]):
            return Const(bool(items) is (op == "bool"))
        case (("is" | "is not"), [(_Object() | Apply("list") | Each()), Const(None)]):
            return Const(op == "is not")
        case (("==" | "!="), [_Object(), Const()]):
            return Const(op == "!=")
        case "type", [_Object()]:
            return Const("dict")
        case "type", [Apply("list") | Each()]:
            return Const("list")
        case "len", [_Object() as owner]:
            return Const(len(owner.items))
        case "len", [Each() as each]:
            return each.count
        case "len", [Apply("list", items)]:
            return Const(len(items))
        case "getitem", [_Object() as owner, Const(name)]:
            found = owner.get(name)
            assert not isinstance(found, Each)
            return found  # type: ignore[return-value]
        case "getitem", [Apply("list", items), Const(int() as i)] if i < len(items):
            return items[i]
        case "getitem", [Raw(path), Const((int() | str()) as step)] if not isinstance(step, bool):
            return Raw((*path, step))
    plain_args = tuple(_expression(arg) for arg in args)
    if all(_literal(arg) for arg in plain_args) and op in OPERATIONS and op != "list":
        try:
            result = value(Apply(op, plain_args), {})
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Unclear(str(error)) from None
        if isinstance(result, (bool, int, float, str, type(None))):
            return Const(result)
        if isinstance(result, list) and all(isinstance(item, (bool, int, float, str, type(None))) for item in result):
            return Apply("list", tuple(Const(item) for item in result))
    return Apply(op, plain_args)


def _literal(expr: Expr) -> bool:
    return isinstance(expr, Const) or (isinstance(expr, Apply) and expr.op == "list" and all(map(_literal, expr.args)))


def _each(items: Sequence[Expr | Each | _Object], outcome: Outcome) -> Each | None:
    """A list that a loop over indices made: equal elements, or two kinds that a question about the index tells apart."""
    if not items or not (
        all(item == items[0] for item in items) or all(isinstance(item, Const) or _speaks(item) for item in items)
    ):
        return None
    if isinstance(items[0], (_Object, Each)):
        return None
    counts = [
        p.expr
        for p in outcome.predicates
        if p.kind is Kind.COUNT and p.value == len(items) and not isinstance(p.expr, Const) and not _is_length(p.expr)
    ]
    kinds = list(dict.fromkeys(items))
    if not counts or len(kinds) > 2:
        return None
    count, first = counts[0], _expression(kinds[0])
    asked = [p for p in outcome.predicates if p.kind is Kind.LAYER]
    if len(kinds) == 1:
        index = next((leaf for leaf in leaves(first) if isinstance(leaf, Index)), Index("layer"))
        if asked:
            raise Uniform(Each(index, count, first))
        return Each(index, count, first)
    second = _expression(kinds[1])
    for predicate in asked:
        indices = [leaf for leaf in leaves(predicate.expr) if isinstance(leaf, Index)]
        if len(set(indices)) != 1:
            continue
        truths = [_at(predicate.expr, indices[0], i, outcome) for i in range(len(items))]
        if (
            all((item == kinds[0]) is (truth is truths[0]) for item, truth in zip(items, truths, strict=True))
            and None not in truths
        ):
            then, otherwise = (first, second) if truths[0] else (second, first)
            return Each(indices[0], count, then, predicate.expr, otherwise)
    return None


def _is_length(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op == "len"


def _per_layer(outcome: Outcome) -> set[tuple[Kind, Expr]]:
    """What a run asked about the indices of loops and how long they are."""
    return {(p.kind, p.expr) for p in outcome.predicates if p.kind in (Kind.LAYER, Kind.COUNT)}


def _only_key(target: Expr) -> Expr | None:
    return target if isinstance(target, Key) else None


def _speaks(item: object) -> bool:
    return not isinstance(item, (_Object, Each)) and any(isinstance(leaf, Index) for leaf in leaves(item))  # type: ignore[arg-type]


def _at(expr: Expr, index: Index, i: int, outcome: Outcome) -> bool | None:
    try:
        return bool(value(substitute(expr, {index: Const(i)}), outcome.raw))
    except (ArithmeticError, LookupError, TypeError, ValueError, KeyError):
        return None


# ------------------------------------------------------------------------------------------------------------- questions


def _questions(predicates: Iterable[Predicate]) -> Iterator[Test]:
    """What a run asked of config.json, as tests and their outcomes."""
    for predicate in predicates:
        if predicate.kind in (Kind.COUNT, Kind.LAYER, Kind.TYPE) or not any(
            isinstance(leaf, Raw) for leaf in leaves(predicate.expr)
        ):
            continue
        if any(not isinstance(leaf, Raw) for leaf in leaves(predicate.expr)) or _about_keys(predicate.expr):
            continue
        if isinstance(predicate.value, bool):
            yield normal(
                predicate.expr if _boolean(predicate.expr) else Apply("bool", (predicate.expr,)), predicate.value
            )
        else:
            yield Apply("==", (predicate.expr, Const(predicate.value))), True


def _about_keys(expr: Expr) -> bool:
    """Whether a question is about all the keys of an object; single ones are asked for by name as well."""
    return isinstance(expr, Apply) and (expr.op == "keys" or any(map(_about_keys, expr.args)))


_OPPOSITE = {"is not": "is", "!=": "==", "not in": "in"}
_BOOLEAN = frozenset({"is", "is not", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "not", "bool"})


def _boolean(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op in _BOOLEAN


def normal(expr: Expr, truth: bool) -> Test:
    """A question without negation."""
    while isinstance(expr, Apply):
        if expr.op == "not":
            expr, truth = expr.args[0], not truth
            if not _boolean(expr):
                expr = Apply("bool", (expr,))
        elif expr.op in _OPPOSITE:
            expr, truth = Apply(_OPPOSITE[expr.op], expr.args), not truth
        elif expr.op == "bool" and _boolean(expr.args[0]):
            expr = expr.args[0]
        else:
            break
    return expr, truth


def chosen(test: Expr, then: Reading, otherwise: Reading) -> Reading:
    """A choice; that a key is there need not be asked where the next question says the same of None."""
    match test, then:
        case Apply("in", (Const(str() as name), Raw(path))), Choice(inner, yes, no) if raw_paths(inner) == {
            (*path, name)
        }:
            absent = _holds(inner, {})
            if absent is not None and (yes if absent else no) == otherwise and _boolean(inner) and inner.op != "in":  # type: ignore[union-attr]
                return then
        case Apply("in", (Const(str() as name), Raw(path))), _ if then == Raw((*path, name)) and otherwise == Const(
            None
        ):
            return then
        case Apply("is", (Raw() as owner, Const(None))), _:
            match otherwise:
                case Choice(Apply("bool", (again,)), _, empty) if again == owner and empty == then:
                    return otherwise
        case Apply("bool", (Raw() as owner,)), _:
            match otherwise:
                case Choice(Apply("is", (again, Const(None))), null, other) if again == owner and null == other:
                    return choice(test, then, other)
        case _, Each() if isinstance(otherwise, Each):
            joined = _joined_lists(test, then, otherwise)
            if joined is not None:
                return joined
    if isinstance(then, Choice) and isinstance(otherwise, Choice) and then.test == otherwise.test:
        if then.otherwise == otherwise.otherwise:
            return chosen(then.test, chosen(test, then.then, otherwise.then), then.otherwise)
        if then.then == otherwise.then:
            return chosen(then.test, then.then, chosen(test, then.otherwise, otherwise.otherwise))
    return choice(test, then, otherwise)


def _way(reading: Reading, raw: Mapping[str, Json]) -> list[Test]:
    """The choices that lead `raw` to its end."""
    found: list[Test] = []
    while isinstance(reading, Choice):
        truth = bool(_holds(reading.test, raw))
        found.append((reading.test, truth))
        reading = reading.then if truth else reading.otherwise
    return found


def _end(reading: Reading, raw: Mapping[str, Json]) -> Reading:
    while isinstance(reading, Choice):
        reading = reading.then if _holds(reading.test, raw) else reading.otherwise
    return reading


def _unless(tests: Sequence[Test], end: Reading, other: Reading) -> Reading:
    """`other` where all tests turn out so, else `end`."""
    found = other
    for test, truth in tests:
        found = Choice(test, found, end) if truth else Choice(test, end, found)
    return found


def _at_end(reading: Reading, way: Sequence[Test], change: Callable[[Reading], Reading]) -> Reading:
    """The reading with another end of one way."""
    if not way or not isinstance(reading, Choice):
        return change(reading)
    (_, truth), *rest = way
    if truth:
        return Choice(reading.test, _at_end(reading.then, rest, change), reading.otherwise)
    return Choice(reading.test, reading.then, _at_end(reading.otherwise, rest, change))


def _differing(a: Mapping[str, Json], b: Mapping[str, Json], path: Path = ()) -> Iterator[Path]:
    """The keys in which two configurations differ."""
    for name in a.keys() | b.keys():
        left, right = a.get(name, ABSENT), b.get(name, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from _differing(left, right, (*path, name))
        elif left is ABSENT or right is ABSENT or left is None or right is None:
            if left is not right:
                yield (*path, name)


def _joined_lists(test: Expr, then: Each, otherwise: Each) -> Each | None:
    """Two loops that differ in numbers alone, as one loop that chooses the numbers."""
    if then.index != otherwise.index:
        return None
    pairs = [
        (then.count, otherwise.count), (then.element, otherwise.element), (then.test, otherwise.test), (then.otherwise, otherwise.otherwise)
    ]  # fmt: skip
    if any((a is None) != (b is None) for a, b in pairs):
        return None
    made = [a if a is None or b is None else _joined(test, a, b) for a, b in pairs]
    count, element, condition, other = made
    assert count is not None and element is not None
    return Each(then.index, count, element, condition, other)


def _joined(test: Expr, a: Expr, b: Expr) -> Expr:
    if a == b:
        return a
    if isinstance(a, Apply) and isinstance(b, Apply) and a.op == b.op and len(a.args) == len(b.args):
        return Apply(a.op, tuple(_joined(test, x, y) for x, y in zip(a.args, b.args, strict=True)))
    return Apply("if", (test, a, b))


def _holds(expr: Expr, raw: Mapping[str, Json]) -> bool | None:
    try:
        return bool(value(expr, raw))
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        return None


def _simple(inner: Mapping[str, Json]) -> bool:
    """Whether an object holds settings, not a configuration of its own."""
    return len(inner) <= MAX_SETTINGS and "model_type" not in inner and all(isinstance(key, str) for key in inner)


def _plain_list(items: Sequence[Json]) -> bool:
    return all(isinstance(item, (bool, int, float, str, type(None))) for item in items)


def _paths(expr: Expr) -> set[Path]:
    return {path for path in raw_paths(expr) if path}


def _constants(expr: Expr) -> Iterator[Json]:
    match expr:
        case Apply(_, args):
            for arg in args:
                if isinstance(arg, Const):
                    yield arg.value
                yield from _constants(arg)
        case _:
            return


def _indexed(expr: Expr) -> set[Key]:
    """The lists of the configuration that an expression takes the element of a layer from."""
    match expr:
        case Apply("getitem", (Key() as key, Index())):
            return {key}
        case Apply(_, args):
            return set().union(*(_indexed(arg) for arg in args))
        case _:
            return set()


# -------------------------------------------------------------------------------------------------------------- variants


def changed(raw: Mapping[str, Json], path: Path, new: Json) -> dict[str, Json] | None:
    """`raw` with another value at `path`; None if there is no such place."""
    made = copy.deepcopy(dict(raw))
    owner: Json = made
    for step in path[:-1]:
        if isinstance(owner, dict) and isinstance(owner.get(step), (dict, list)):
            owner = owner[step]
        elif isinstance(owner, list) and isinstance(step, int) and step < len(owner):
            owner = owner[step]
        else:
            return None
    last = path[-1]
    if isinstance(owner, dict):
        if new is ABSENT:
            if owner.pop(last, ABSENT) is ABSENT:
                return None
        else:
            owner[last] = copy.deepcopy(new)
    elif isinstance(owner, list) and isinstance(last, int) and last < len(owner) and new is not ABSENT:
        owner[last] = copy.deepcopy(new)
    else:
        return None
    return made


def disturbed(
    raw: Mapping[str, Json],
    declared: Mapping[str, Json],
    plausible: Callable[[Path], Iterator[Json]] = lambda path: iter(()),
) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Every key of `raw` doubled, flipped, nulled, removed and retyped, one at a time, and every other field given."""
    for path in list(_all_paths(raw)):
        now = lookup(raw, path)
        for new in _disturbances(now):
            variant = changed(raw, path, new)
            if variant is not None:
                yield path, variant
    for name, default in declared.items():
        if name in raw:
            continue
        candidates = (
            [*_disturbances(default)]
            if default is not None
            else [v for v, _ in zip(plausible((name,)), range(3), strict=False)]
        )
        for new in candidates:
            if new is not ABSENT:
                yield (name,), {**copy.deepcopy(dict(raw)), name: new}


def _disturbances(now: Json) -> Iterator[Json]:
    yield ABSENT
    if now is not None:
        yield None
    match now:
        case bool():
            yield not now
        case int():
            yield from (now * 2, now + 1)
        case float():
            yield from (now * 2, now * 0.5)
        case str():
            yield now + "x"
        case list() if now:
            yield from (now[:-1], now[::-1])
        case dict() if now:
            yield {}


def retyped(raw: Mapping[str, Json]) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Every key of `raw` with a value of another type."""
    for path in list(_all_paths(raw)):
        now = lookup(raw, path)
        new: Json = str(now) if not isinstance(now, str) else 7
        variant = changed(raw, path, new)
        if variant is not None:
            yield path, variant


def _all_paths(raw: Json, path: Path = ()) -> Iterator[Path]:
    if isinstance(raw, Mapping):
        for name, inner in raw.items():
            yield (*path, name)
            yield from _all_paths(inner, (*path, name))


def _inside(raw: Json, path: Path) -> bool:
    owner = lookup(raw, path[:-1])
    if isinstance(owner, Mapping):
        return path[-1] in owner
    return isinstance(owner, (list, tuple))


def _named(resolved: Json, name: str | int) -> Iterator[Json]:
    """Values under `name` anywhere in the resolved configuration."""
    if isinstance(resolved, Mapping):
        if name in resolved and resolved[name] is not None:
            yield plain(resolved[name])
        for inner in resolved.values():
            yield from _named(inner, name)


def _strings(raw: Json, found: set[str]) -> set[str]:
    if isinstance(raw, str) and len(raw) < 40:
        found.add(raw)
    elif isinstance(raw, Mapping):
        for inner in raw.values():
            _strings(inner, found)
    elif isinstance(raw, (list, tuple)):
        for inner in raw:
            _strings(inner, found)
    return found


def plain(x: Json) -> Json:
    """A value as JSON has it."""
    if isinstance(x, Mapping):
        return {key: plain(inner) for key, inner in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(inner) for inner in x]
    return x


__all__ = ["Choice", "Outcome", "disturbed", "explore", "met", "retyped", "same"]
