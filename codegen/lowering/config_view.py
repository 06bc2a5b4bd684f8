"""The emitted Config: fields, how they are read from config.json, and what is refused."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering.config_syntax import unparsed
from codegen.lowering.expectations import expected, expected_each, flag, handed_on, inlined, types_of
from codegen.lowering.numbers import Leaf, to_syntax
from codegen.lowering.views import CheckpointView, ConfigView, FieldView, KeyView, RefusalView, SourceView
from ir.expressions import Apply, Const, Environment, Expr, Index, Key, Raw, evaluate, indexed_lists, leaves, substitute
from ir.reading import (
    DROPOUT,
    INERT,
    QUANTISED,
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
    expressions,
    lookup,
    raw_paths,
    read,
    unpacks,
    value,
)
from ir.records import dataclass, replace

LOCAL = "="  # begins the name of a local variable where a key of config.json would stand
LONG = 80  # characters of a message before it is broken
MISSING = "the configuration has no "  # how a reading says that an attribute is not there
COUNT = re.compile(r"(num|n|d)_.*|.*_(size|dim|heads|layers)|head_dim")
NUMBERS = ("int", "float")
Division = tuple[Expr, Expr]  # number and divisor


@dataclass(frozen=True, slots=True)
class _Fact:
    """Something known where an expression is printed."""

    test: Expr
    truth: bool


class ConfigLowering:
    """Config for one checkpoint.

    `names` are the fields by the attributes that the emitted code reads; `letters` are the axes that they are the size of;
    `used` are the expressions that the emitted code computes of them. `implied` says whether a division, of number and
    divisor, leaves nothing because others leave nothing. `left_open` are numbers that may be null.
    """

    def __init__(
        self,
        explored: Explored,
        names: Mapping[Path, str],
        letters: Mapping[Path, str] | None = None,
        used: Iterable[Expr] = (),
        implied: Callable[[Division, Sequence[Division]], bool] = lambda division, others: False,
        left_open: Iterable[Path] = (),
    ):
        self.explored = explored
        self.left_open = frozenset(left_open)
        self.letters = dict(letters or {})
        self.fields = {path: names[path] for path in self._in_order(names)}
        used = tuple(used)
        sizes = (path for path in self.fields if path in self.letters or self._counts(path, used))
        self.sizes = tuple(path for path in sizes if path not in self.left_open)
        plain = [c for c in explored.conditions if c.reading is None and c.kind != "default"]
        needed = [division for condition in plain if (division := _needed_division(condition)) is not None]
        computed = [*used, *(condition.expr for condition in plain if _needed_division(condition) is None)]
        divisions = (found for expr in computed for found in _exact_divisions(expr, explored.resolved))
        self.divisions: tuple[Division, ...] = ()
        for division in dict.fromkeys([*needed, *divisions]):
            if not implied(division, self.divisions):
                self.divisions = (*self.divisions, division)
        self.conditions = tuple(
            c
            for c in _merged(explored.conditions, explored)
            if not (c.value is True and self._says_positive(c.expr))
            and not self._said_by_a_reading(c)
            and (c.reading is not None or _needed_division(c) is None)
        )
        self.names = {**self.fields, **self._further_names()}
        self.merged: dict[tuple[Path, ...], str] = {}
        self.never_null: set[Path] = set()
        self.readings = {
            path: self._shortened(self._pruned(_frozen_values(explored.readings[path], explored), ()))
            for path in self.names
        }
        self.validity = self._pruned(_as_compiled(explored.validity, explored), ())
        self.types = self._types()

    def _open_sizes(self) -> tuple[Path, ...]:
        """Sizes that a configuration may leave open."""
        return tuple(path for path in self.fields if path in self.left_open)

    def _says_positive(self, expr: Expr) -> bool:
        """Whether an expression asks if something is there that is made of sizes, which are at least one."""
        return isinstance(expr, Apply) and expr.op == "bool" and self._positive(expr.args[0])

    def _positive(self, expr: Expr) -> bool:
        match expr:
            case Key(path):
                return path in self.sizes
            case Apply("*" | "+", (a, b)):
                return self._positive(a) and self._positive(b)
            case Apply("//", (a, b)):
                return (a, b) in self.divisions and self._positive(a) and self._positive(b)
        return False

    def _said_by_a_reading(self, condition: Condition) -> bool:
        """Whether a condition is that something is there which a field reads, and so refuses the absence of."""
        match condition.expr:
            case Apply("in", (Const(name), Key(path))) if condition.value is True and path:
                return (*path, name) in self.fields
        return False

    def _counts(self, path: Path, used: Sequence[Expr]) -> bool:
        """Whether a number that the emitted code computes with is a size or a count, going by what the field calls these."""
        found = self._resolved(path)
        named = COUNT.fullmatch(str(path[-1])) is not None and type(found) is int and found > 0
        return named and any(Key(path) in leaves(expr) for expr in used)

    # ---------------------------------------------------------------------------------------------------------- view

    def view(self, source: SourceView, checkpoints: Mapping[str, Mapping[str, Json]] | None = None) -> ConfigView:
        """The view, with those of `checkpoints` that the package serves."""
        known = self._local_paths()
        locals_: list[tuple[str, str]] = [
            (name, unparsed(_merged_syntax(owners)))
            for owners, name in sorted(self.merged.items(), key=lambda item: item[1])
        ]
        ready: dict[Expr, str] = {}
        for path in self._dependencies(known):
            locals_.append((self.names[path], self._read_expr(path, ready)))
            ready |= self._ready(path)
        fields: tuple[FieldView, ...] = tuple(
            self._field(path, self.names[path] if path in known else self._read_expr(path, ready))
            for path in self.fields
        )
        refusals = (*self._early(), *self._refusals(ready), *self._unknown())
        variables = tuple(locals_)
        if self.sizes:
            sizes = {self.names[path]: self._least(path) for path in self.sizes}
            variables, fields = handed_on(sizes, variables, fields, refusals)
        variables, refusals = inlined(variables, fields, refusals)
        texts = [expr for _, expr in variables] + [field.read_expr for field in fields]
        texts += [text for refusal in refusals for text in (refusal.condition_expr, refusal.call_expr)]
        return ConfigView(
            source,
            fields,
            self._keys(),
            variables,
            tuple(dict.fromkeys(refusals)),
            self._checkpoints(source.repository, checkpoints or {}),
            any("math." in text for text in texts),
            any(re.search(r"\binf\b", text) for text in texts),
            lengths=tuple(
                (self.fields[items.path], self.fields[count.path])
                for items, count in filter(None, map(_counted, self.conditions))
                if items.path in self.fields and count.path in self.fields
            ),
        )

    def _least(self, path: Path) -> str:
        name = self.names[path]
        return f"min({name})" if isinstance(self._resolved(path), (list, tuple)) else name

    def served(self, raw: Mapping[str, Json]) -> dict[Path, Json] | str:
        """The values that the fields have for another configuration, or why it is refused."""
        filled = self.explored.filled(raw)
        own = self.explored.raw.get("model_type")
        if raw.get("model_type", own) != own:
            return f"model_type is {raw['model_type']!r}"
        try:
            for name, types in self.types.items():
                problem = _misfit(raw, name, types)
                if problem:
                    return problem
            for path in self.explored.frozen:
                if lookup(filled, path) != lookup(self.explored.filled(self.explored.raw), path):
                    return f"{_dotted(path)} is {lookup(raw, path)!r}"
            for owner, known in self._objects().items():
                inside = lookup(raw, owner)
                if isinstance(inside, Mapping) and any(
                    isinstance(item, Mapping) and name not in known for name, item in inside.items()
                ):
                    return f"{_dotted(owner)} holds objects that this code does not know"
            read(self.explored.validity, filled)
            values = {
                path: read(reading, filled) for path, reading in self.explored.readings.items() if path in self.names
            }
            for condition in self.conditions:
                if not condition.holds(values, filled):
                    return _about(condition.keys, values)
            if any(_number(values[path]) < 1 for path in self.sizes):
                return "a size is not positive"
            if any(values[path] is not None and _number(values[path]) < 1 for path in self._open_sizes()):
                return "a size is not positive"
            for numerator, divisor in self.divisions:
                if evaluate(Apply("%", (numerator, divisor)), _environment(values)):
                    return "a size does not divide another"
        except DoesNotRead as error:
            return str(error)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return {path: values[path] for path in self.fields}

    def refused(self, raw: Mapping[str, Json]) -> tuple[str, ...]:
        """Changes of a configuration, of one flag or text each, with which it is no longer served."""
        given = {**self.explored.declared, **raw}  # what a key that is absent stands for
        changes: list[dict[str, Json]] = []
        for name in dict.fromkeys(("model_type", *self.types)):
            match given.get(name):
                case bool(flag):
                    changes.append({name: not flag})
                case str():
                    changes.append({name: f"another {name}"})
                case _:
                    pass
        return tuple(repr(change) for change in changes if isinstance(self.served({**raw, **change}), str))

    def _checkpoints(self, own: str, others: Mapping[str, Mapping[str, Json]]) -> tuple[CheckpointView, ...]:
        found = [CheckpointView(own, (), not unpacks(self.explored.raw))]
        for repository, raw in sorted(others.items()):
            if repository == own or not unpacks(raw):
                continue
            if raw.get("architectures") != self.explored.raw.get("architectures"):  # which may have no head, or another
                continue
            values = self.served(raw)
            if isinstance(values, str):
                continue
            changes = tuple(
                f"{self.fields[path]}={_literal(new)}"
                for path, new in values.items()
                if _frozen(new) != _frozen(self._resolved(path))
            )
            found.append(CheckpointView(repository, changes))
        return tuple(found)

    # -------------------------------------------------------------------------------------------------------- fields

    def _in_order(self, names: Mapping[Path, str]) -> list[Path]:
        """Sizes, constants, kinds, flags; each in the order in which the configuration class declares them."""
        order = {name: i for i, name in enumerate(dict.fromkeys([*self.explored.declared, *sorted(self.explored.raw)]))}

        def rank(path: Path) -> tuple[int, int, str]:
            found = self._resolved(path)
            group = (
                3 if isinstance(found, bool) else 0 if isinstance(found, int) else 1 if isinstance(found, float) else 2
            )
            group = 0 if path in self.left_open else group
            return group, order.get(str(path[0]), len(order)), str(path)

        return sorted(names, key=rank)

    def _resolved(self, path: Path) -> Json:
        return lookup(self.explored.resolved, path)

    def _field(self, path: Path, read_expr: str) -> FieldView:
        found = self._resolved(path)
        annotation = self._annotation(path, found)
        if annotation.startswith("tuple") and not read_expr.startswith("tuple("):
            read_expr = f"tuple({read_expr})"
        default = float(found) if annotation == "float" and isinstance(found, int) else found
        return FieldView(self.fields[path], annotation, _literal(default), read_expr, self.letters.get(path, ""))

    def _annotation(self, path: Path, found: Json) -> str:
        if isinstance(found, (list, tuple)):
            types = dict.fromkeys(type(item).__name__ for item in found if item is not None)
            inner = " | ".join([*types, *(["None"] if None in found else [])]) or "int"
            return f"tuple[{inner}, ...]"
        if path in self.left_open:
            return "int | None"
        if found is None:
            return "None"
        name = type(found).__name__
        allowed = self.types.get(_dotted(path), ())
        if name == "int" and path not in self.sizes and "float" in allowed:
            name = "float"
        return name

    # -------------------------------------------------------------------------------------------------------- locals

    def _further_names(self) -> dict[Path, str]:
        """Names for what only refusals read."""
        read = [key.path for condition in self.conditions if condition.reading is None for key in condition.keys]
        read += [leaf.path for pair in self.divisions for leaf in _keys_of(pair)]
        further = [path for path in dict.fromkeys(read) if path not in self.fields]
        taken = {*self.fields.values(), *(str(path[0]) for path in further if len(path) == 1)}
        names: dict[Path, str] = {}
        for path in further:
            name = str(path[-1])
            if len(path) > 1 and (name in taken or not name.isidentifier()):
                name = "_".join(str(step) for step in path)
            names[path] = name
            taken.add(name)
        return names

    def _local_paths(self) -> list[Path]:
        """Attributes that are read into variables: refusals or other readings speak of them."""
        wanted: dict[Path, None] = {}
        for condition in self.conditions:
            if condition.reading is None:
                wanted |= {key.path: None for key in condition.keys}
        wanted |= dict.fromkeys([*self.sizes, *self._open_sizes()])
        for pair in self.divisions:
            wanted |= {leaf.path: None for leaf in _keys_of(pair)}
        simple: dict[Expr, Path] = {
            reading: path for path, reading in self.readings.items() if isinstance(reading, Raw)
        }
        for path, reading in self.readings.items():
            for expr in expressions(reading):
                wanted |= {simple[leaf]: None for leaf in leaves(expr) if leaf in simple and simple[leaf] != path}
        return [path for path in self.names if path in wanted]

    def _dependencies(self, paths: Sequence[Path]) -> list[Path]:
        """Variables whose readings are a key come first: the others may speak of them."""
        return sorted(
            paths, key=lambda path: (not isinstance(self.readings[path], Raw), isinstance(self.readings[path], Each))
        )

    def _ready(self, path: Path) -> dict[Expr, str]:
        reading = self.readings[path]
        return {reading: self.names[path]} if isinstance(reading, Raw) else {}

    def _read_expr(self, path: Path, ready: Mapping[Expr, str]) -> str:
        reading = self.readings[path]
        others = {expr: name for expr, name in ready.items() if name != self.names[path]}
        return unparsed(self._syntax(reading, (), others))

    def _pruned(self, reading: Reading, facts: tuple[_Fact, ...]) -> Reading:
        """The reading without what is refused for being null: the check of types does that."""
        match reading:
            case Choice(Apply("is", (Raw(path), Const(None))), Refused(), otherwise) if (
                _Fact(Apply("in", (Const(path[-1]), Raw(path[:-1]))), True) in facts
            ):
                self.never_null.add(path)
                return self._pruned(otherwise, facts)
            case Choice(test, then, otherwise):
                then = self._pruned(then, (*facts, _Fact(test, True)))
                otherwise = self._pruned(otherwise, (*facts, _Fact(test, False)))
                return then if then == otherwise else Choice(test, then, otherwise)
            case _:
                return reading

    def _shortened(self, reading: Reading) -> Reading:
        """The reading with keys that stand in one of several objects taken from the first that is there."""
        found = merge(reading)
        if found is None:
            return reading
        owners, inner = found
        if owners not in self.merged:
            name = str(owners[-1][-1])
            if name in self.names.values() or name in self.merged.values():
                name = f"{name}_given"
            self.merged[owners] = name
        return _renamed(inner, owners[-1], (LOCAL + self.merged[owners],))

    # ------------------------------------------------------------------------------------------------------ printing

    def _syntax(self, reading: Reading, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        match reading:
            case Refused():
                return ast.Constant(None)
            case Each():
                return self._each(reading, facts, ready)
            case Choice(test, then, otherwise):
                short = self._get(reading, facts, ready)
                if short is not None:
                    return short
                if isinstance(then, Refused) or isinstance(otherwise, Refused):
                    return self._syntax(otherwise if isinstance(then, Refused) else then, facts, ready)
                yes = self._syntax(then, (*facts, _Fact(test, True)), ready)
                no = self._syntax(otherwise, (*facts, _Fact(test, False)), ready)
                match then, otherwise:
                    case Const(True), Const(False):
                        return self._expr(test, facts, ready)
                    case Const(False), Const(True):
                        return ast.UnaryOp(ast.Not(), self._expr(test, facts, ready))
                return ast.IfExp(self._expr(test, facts, ready), yes, no)
            case Apply("list", args) if len(args) > 3 and all(isinstance(arg, Const) for arg in args):
                items = tuple(arg.value for arg in args if isinstance(arg, Const))
                return ast.parse(_sequence(items), mode="eval").body
            case _:
                return self._expr(reading, facts, ready)

    def _condition(self, reading: Reading, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        """A reading that is true or false, with `and`, `or` and `not`."""
        if not isinstance(reading, Choice):
            return self._syntax(reading, facts, ready)
        test = self._expr(reading.test, facts, ready)
        negated = ast.UnaryOp(ast.Not(), test)
        yes = self._condition(reading.then, (*facts, _Fact(reading.test, True)), ready)
        no = self._condition(reading.otherwise, (*facts, _Fact(reading.test, False)), ready)
        match reading.then, reading.otherwise:
            case Const(True), Const(False):
                return test
            case Const(False), Const(True):
                return negated
            case Const(True), _:
                return _flat(ast.Or(), test, no)
            case Const(False), _:
                return _flat(ast.And(), negated, no)
            case _, Const(False):
                return _flat(ast.And(), test, yes)
            case _, Const(True):
                return _flat(ast.Or(), negated, yes)
        return ast.IfExp(test, yes, no)

    def _get(self, reading: Choice, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr | None:
        """`owner.get(name, default)`, where the default costs nothing and cannot fail."""
        match reading:
            case Choice(Apply("in", (Const(str() as name), Raw(path))), Raw(inner), otherwise) if inner == (
                *path,
                name,
            ):
                default = self._syntax(otherwise, (*facts, _Fact(reading.test, False)), ready)
                if not _cheap(default):
                    return None
                call = ast.Attribute(self._owner(path, facts, ready), "get", ast.Load())
                if isinstance(default, ast.Constant) and default.value is None:
                    return ast.Call(call, [ast.Constant(name)], [])
                return ast.Call(call, [ast.Constant(name), default], [])
        return None

    def _each(self, each: Each, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        """A comprehension over the index, or a tuple repeated."""
        if each.test is None and isinstance(each.element, Const):
            count = self._expr(each.count, facts, ready)
            return ast.BinOp(ast.Tuple([ast.Constant(each.element.value)], ast.Load()), ast.Mult(), count)
        element = self._expr(each.element, facts, ready)
        if each.test is not None and each.otherwise is not None:
            test = self._question(each.test, facts, ready)
            element = ast.IfExp(test, element, self._expr(each.otherwise, facts, ready))
        count = ast.Call(ast.Name("range", ast.Load()), [self._expr(each.count, facts, ready)], [])
        target = ast.Name(each.index.name, ast.Store())
        loop = ast.GeneratorExp(element, [ast.comprehension(target, count, [], 0)])
        return ast.Call(ast.Name("tuple", ast.Load()), [loop], [])

    def _question(self, expr: Expr, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        """An expression of which only counts whether it is true."""
        match expr:
            case Apply("bool", (inner,)):
                return self._question(inner, facts, ready)
            case Apply("if", (first, second, Const(False))):
                return ast.BoolOp(ast.And(), [self._question(part, facts, ready) for part in (first, second)])
            case Apply("if", (first, Const(True), second)):
                return ast.BoolOp(ast.Or(), [self._question(part, facts, ready) for part in (first, second)])
            case _:
                return self._expr(expr, facts, ready)

    def _expr(self, expr: Expr, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        match expr:
            case Apply("in", (Const(str() as name), Raw(path))):
                return ast.Compare(ast.Constant(name), [ast.In()], [self._owner(path, facts, ready)])
            case Apply("bool", (inner,)):
                return self._expr(inner, facts, ready)
            case Apply("if", (test, then, otherwise)):
                return self._syntax(Choice(test, then, otherwise), facts, ready)
            case Apply(op, args) if any(_special(arg) for arg in args):
                named = {arg: Key((f"\0{i}",)) for i, arg in enumerate(args)}
                printed = {f"\0{i}": self._expr(arg, facts, ready) for i, arg in enumerate(args)}
                return to_syntax(
                    Apply(op, tuple(named[arg] for arg in args)),
                    lambda leaf: printed[str(leaf.path[0])] if isinstance(leaf, Key) else _name(leaf),
                )
            case _:
                return to_syntax(expr, lambda leaf: self._leaf(leaf, facts, ready))

    def _leaf(self, leaf: Leaf, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        if leaf in ready:
            return ast.Name(ready[leaf], ast.Load())
        if isinstance(leaf, Key):
            return ast.Name(self.names[leaf.path], ast.Load())
        if isinstance(leaf, Raw):
            return self._raw(leaf.path, facts, ready)
        return _name(leaf)

    def _raw(self, path: Path, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        """A key of config.json: subscribed where it is known to be there."""
        if not path:
            return ast.Name("raw", ast.Load())
        *owner, last = path
        if not owner and isinstance(last, str) and last.startswith(LOCAL):
            return ast.Name(last[len(LOCAL) :], ast.Load())
        if isinstance(last, int):  # of a list: nothing stands for one that is absent
            return ast.Subscript(self._raw(tuple(owner), facts, ready), ast.Constant(last), ast.Load())
        base = self._owner(tuple(owner), facts, ready)
        if self._present(path, facts):
            return ast.Subscript(base, ast.Constant(last), ast.Load())
        default = self.explored.declared.get(last) if not owner else None
        arguments: list[ast.expr] = [ast.Constant(last)]
        if default is not None:
            arguments.append(_constant(default))
        return ast.Call(ast.Attribute(base, "get", ast.Load()), arguments, [])

    def _owner(self, path: Path, facts: tuple[_Fact, ...], ready: Mapping[Expr, str]) -> ast.expr:
        """The object at `path`, an empty one if it may be absent or null."""
        found = self._raw(path, facts, ready)
        sure = not path or (isinstance(path[0], str) and path[0].startswith(LOCAL) and len(path) == 1)
        if sure or self._present(path, facts) or self._truthy(path, facts):
            return found
        return ast.BoolOp(ast.Or(), [found, ast.Dict([], [])])

    def _present(self, path: Path, facts: tuple[_Fact, ...]) -> bool:
        own = Raw(path)
        inside = Apply("in", (Const(path[-1]), Raw(path[:-1])))
        if any(fact.truth and fact.test == inside for fact in facts) and not self._nullable(path):
            return True
        if _dotted(path) in self.explored.declared and lookup(self.explored.declared, path) is not None:
            return False
        return any((fact.test == Apply("is", (own, Const(None))) and not fact.truth) for fact in facts) or self._truthy(
            path, facts
        )

    def _truthy(self, path: Path, facts: tuple[_Fact, ...]) -> bool:
        if not path:
            return True
        if path == path[:1] and self.explored.declared.get(str(path[0])) is not None:
            return False
        return any(fact.truth and fact.test == Apply("bool", (Raw(path),)) for fact in facts)

    def _nullable(self, path: Path) -> bool:
        return "NoneType" in self.types.get(_dotted(path), ())

    # ------------------------------------------------------------------------------------------------------ refusals

    def _early(self) -> Iterator[RefusalView]:
        """What config.json itself says that cannot be served, whatever the fields come to."""
        own = self.explored.raw.get("model_type")
        if isinstance(own, str):
            found = f"raw.get('model_type', {own!r})"
            yield expected("model_type", found, own)
        for path in self.explored.frozen:
            compiled = lookup(self.explored.raw, path)
            found = unparsed(self._raw(path, (), {}))
            known = compiled if path[0] in self.explored.raw else self.explored.declared.get(str(path[0]))
            yield expected(_dotted(path), found, known)
        frozen = {f"{_dotted(path)!r} in raw" for path in self.explored.frozen}
        for condition_expr, reason in self._impossible(self.validity):
            if condition_expr in frozen:
                continue
            yield RefusalView(condition_expr, repr(f"the configuration class refuses this: {_brief(reason)}"))
        for owner, known_names in self._objects().items():
            found = _bracketed(unparsed(self._owner(owner, (), {})))
            loop = f"name, item in {found}.items()" if known_names else f"item in {found}.values()"
            unknown = (
                f"isinstance(item, dict) and name not in {list(known_names)!r}"
                if known_names
                else "isinstance(item, dict)"
            )
            reason = f"{_dotted(owner)} holds objects that this code does not know"
            yield RefusalView(f"any({unknown} for {loop})", repr(reason))

    def _unknown(self) -> Iterator[RefusalView]:
        """Attributes that a configuration does not give."""
        found: dict[tuple[str, str], list[Path]] = {}  # what is not given, by the test for that and what is said of it
        for path in self.names:
            ways: dict[str, list[str]] = {}
            for condition_expr, reason in self._impossible(self.readings[path]):
                said = "missing" if reason.startswith(MISSING) else f"cannot be known: {_brief(reason)}"
                ways.setdefault(said, []).append(condition_expr)
            for said, tests in ways.items():
                joined = " or ".join(f"({test})" for test in tests) if len(tests) > 1 else tests[0]
                found.setdefault((joined, said), []).append(path)
        for (test, said), all_paths in found.items():
            paths = list(dict.fromkeys(path[:-1] if isinstance(path[-1], int) else path for path in all_paths))
            verb = "" if said != "missing" else "is " if len(paths) == 1 else "are "
            yield RefusalView(test, repr(f"{_together(paths)} {verb}{said}"))

    def _objects(self) -> dict[Path, tuple[str, ...]]:
        """Objects of config.json of which keys are read, and which keys of these may be objects themselves: those that are
        read, and those that config.json has, or might have, without any code that reads them."""
        paths = set().union(*(raw_paths(self.explored.readings[path]) for path in self.names)) if self.names else set()
        owners = {
            path[:i]
            for path in paths
            for i in range(1, len(path))
            if all(isinstance(step, str) for step in path[: i + 1])
        }
        found = {}
        for owner in sorted(owners, key=repr):
            here = lookup(self.explored.raw, owner)
            unread = (
                {name for name, item in here.items() if isinstance(item, Mapping)} if isinstance(here, Mapping) else ()
            )
            made = lookup(self.explored.resolved, owner)
            unread = {*unread, *(name for name in INERT if isinstance(made, Mapping) and _holds_object(made, name))}
            inner = {str(path[len(owner)]) for path in owners if path[: len(owner)] == owner and len(path) > len(owner)}
            found[owner] = tuple(sorted(inner.union(unread)))
        return found

    def _impossible(self, reading: Reading, facts: tuple[_Fact, ...] = ()) -> Iterator[tuple[str, str]]:
        """The ways to `Refused`, as conditions."""
        match reading:
            case Refused(reason):
                tests: list[ast.expr] = []
                for i, fact in enumerate(facts):
                    test = self._expr(fact.test, facts[:i], {})
                    tests.append(test if fact.truth else ast.UnaryOp(ast.Not(), test))
                made: ast.expr = (
                    tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests) if tests else ast.Constant(True)
                )
                yield unparsed(made), reason
            case Choice(test, then, otherwise):
                yield from self._impossible(then, (*facts, _Fact(test, True)))
                yield from self._impossible(otherwise, (*facts, _Fact(test, False)))
            case _:
                return

    def _refusals(self, ready: Mapping[Expr, str]) -> Iterator[RefusalView]:
        if self.sizes:
            small = "{name: size for name, size in sizes.items() if size < 1}"
            yield RefusalView("min(sizes.values()) < 1", _f("a size is not positive: ", small, ""))
        for path in self._open_sizes():
            name = self.names[path]
            yield RefusalView(f"{name} is not None and {name} < 1", _f(f"{name} is not positive: ", name, ""))
        for numerator, divisor in self.divisions:
            text, by = self._over_names(numerator), self._over_names(divisor)
            test = unparsed(to_syntax(Apply("%", (numerator, divisor)), lambda leaf: self._leaf(leaf, (), {})))
            shown = text if isinstance(divisor, Const) else f"({text}, {by})"
            yield RefusalView(test, _f(f"{by} does not divide {text}: ", shown, ""))
        for condition in self.conditions:
            if not self._implied(condition):
                yield self._refusal(condition, ready)

    def _implied(self, condition: Condition) -> bool:
        """Whether a list must lack an item that the kinds which it may hold exclude already, or a key be given that has no None."""
        match condition.expr:
            case Apply("is" | "is not" as op, (Key(path), Const(None))) if condition.value is (op == "is not"):
                ends = _ends(self.explored.readings[path]) if path in self.explored.readings else set()
                known = types_of(ends, self.types)
                declared = all(self._is_declared(end.path) for end in ends if isinstance(end, Raw))
                return declared and bool(known) and "NoneType" not in known  # KEYS says so first
            case Apply("in", (Const(item), Key() as key)) if condition.value is False:
                kinds = [other.value for other in self.conditions if other.kind == "elements" and other.keys == (key,)]
                return any(item not in known for known in kinds)  # type: ignore[operator]
        return False

    def _is_declared(self, path: Path) -> bool:
        """Whether a key that is left out is something all the same."""
        return len(path) == 1 and self.explored.declared.get(str(path[0])) is not None

    def _refusal(self, condition: Condition, ready: Mapping[Expr, str]) -> RefusalView:
        if condition.kind == "elements":
            (key,) = condition.keys
            name = self.names[key.path]
            return expected_each(name, name, tuple(condition.value))  # type: ignore[arg-type]
        if condition.kind == "kinds":
            return expected_each("layers", self._kinds(condition.expr), tuple(condition.value))  # type: ignore[arg-type]
        if condition.kind == "choice":
            (key,) = condition.keys
            name = self.names[key.path]
            compiled = self._resolved(key.path)
            allowed: list[Json] = [*condition.value]  # type: ignore[misc]
            others = [other for other in allowed if other != compiled]
            if len(others) < len(allowed):
                return expected(_dotted(key.path), name, compiled, *others)
            return RefusalView(f"{name} not in {condition.value!r}", _message(_dotted(key.path), name, compiled))
        if condition.kind == "default":
            return self._departure(condition)
        if condition.reading is not None:
            shortened = self._shortened_late(condition.reading)
            if isinstance(condition.value, bool):
                node = self._condition(shortened, (), ready)
                test = unparsed(ast.UnaryOp(ast.Not(), node) if condition.value else node)
            else:
                test = _truth(unparsed(self._syntax(shortened, (), ready)), condition.value)
            return RefusalView(test, repr(_compiled_without(condition)))
        if len(condition.keys) == 1 and condition.expr == condition.keys[0]:
            path, wanted = condition.keys[0].path, condition.value
            name = self.names[path]
            if not isinstance(wanted, bool):
                return expected(_dotted(path), name, list(wanted) if isinstance(wanted, tuple) else wanted)
            found_types = types_of(_ends(self.explored.readings[path]), self.types)
            plain = flag(_dotted(path), name, wanted, found_types)
            return plain or RefusalView(_truth(name, wanted), _message(_dotted(path), name, wanted))
        match condition.kind, condition.expr:
            case "agreement", Apply("==", (left, right)):
                a, b = self._over_names(left), self._over_names(right)
                if len(a) + len(b) <= LONG:
                    return RefusalView(f"{a} != {b}", _f(f"{a} is not {b}: ", f"({a}, {b})", ""))
                names = [self.names[key.path] for key in condition.keys]
                values = ", ".join(f"{name}={{{name}!r}}" for name in names)
                return RefusalView(f"{a} != {b}", _fstring(f"sizes that have to be equal are not for {values}", names))
        text = self._over_names(condition.expr)
        shown = ", ".join(f"{self.names[key.path]}={{{self.names[key.path]}!r}}" for key in condition.keys)
        said = f"{shown}; this code was compiled for {_asserted(text, condition.value)}"
        match condition.expr, condition.value:
            case (Apply("is", (Key(), Const(None))), False) | (Apply("is not", (Key(), Const(None))), True):
                said = f"{text.partition(' ')[0]} is None; this code was compiled for a value"
            case _:
                pass
        if len(text) > 2 * LONG:
            said = f"the source does something else for {shown}"
        if condition.kind == "guard":
            said = f"the configuration class refuses {shown}"
            if (counted := _counted(condition)) is not None:
                few, many = self._over_names(Apply("len", (counted[0],))), self._over_names(counted[1])
                return RefusalView(f"{few} != {many}", _f(f"{few} is not {many}: ", f"({few}, {many})", ""))
        return RefusalView(
            _truth(text, condition.value), _fstring(said, [self.names[key.path] for key in condition.keys])
        )

    def _departure(self, condition: Condition) -> RefusalView:
        """That a key is given with another value than its absence stands for."""
        match condition.expr:
            case Apply("==", (Raw((*owner, name) as path), default)):
                found, inside = self._owner(tuple(owner), (), {}), ast.Constant(name)
                get = ast.Attribute(found, "get", ast.Load())
                stood = ast.parse(self._over_names(default), mode="eval").body
                constant = isinstance(default, Const)
                dull = constant and default.value is None  # type: ignore[union-attr]
                if isinstance(default, Const):
                    call = ast.Call(get, [inside] if dull else [inside, stood], [])
                    return expected(_dotted(path), unparsed(call), default.value)
                given = ast.Call(get, [inside] if dull else [inside, stood], [])
                single = constant and isinstance(default.value, (bool, type(None)))  # type: ignore[union-attr]
                test = ast.Compare(given, [ast.IsNot() if single else ast.NotEq()], [stood])
                shown = unparsed(ast.Subscript(found, inside, ast.Load()))
                compiled = repr(default.value) if isinstance(default, Const) else f"`{unparsed(stood)}`"
                said = _f(f"{_dotted(path)} is ", shown, f"; this code was compiled for {compiled}")
                return RefusalView(unparsed(test), said)
        raise AssertionError(condition.expr)

    def _shortened_late(self, reading: Reading) -> Reading:
        found = merge(reading)
        if found is None or found[0] not in self.merged:
            return reading
        owners, inner = found
        return _renamed(inner, owners[-1], (LOCAL + self.merged[owners],))

    def _over_names(self, expr: Expr) -> str:
        if isinstance(expr, Apply) and expr.op == "bool":
            expr = expr.args[0]
        listed = self._listed(expr)

        def leaf(found: Leaf) -> ast.expr:
            node = self._leaf(found, (), {})
            return ast.List([ast.Starred(node, ast.Load())], ast.Load()) if found in listed else node

        return unparsed(to_syntax(expr, leaf))

    def _kinds(self, expr: Expr) -> str:
        """What is asked of layers, of each of them."""
        assert isinstance(expr, Apply)
        count, *asked = expr.args
        lists = [found for question in asked for found in indexed_lists(question)]
        if lists == [*map(_list_of, asked)]:
            return f"zip({', '.join(map(self._over_names, lists))})"
        return f"[({', '.join(map(self._over_names, asked))},) for layer in range({self._over_names(count)})]"

    def _listed(self, expr: Expr) -> frozenset[Leaf]:
        """Keys that are compared with a list and whose readings may give a tuple."""
        match expr:
            case Apply("==" | "!=", (Key() as key, Apply("list", _)) | (Apply("list", _), Key() as key)):
                if not isinstance(self.explored.readings.get(key.path), Raw):
                    return frozenset({key})
            case Apply(_, arguments):
                return frozenset().union(*(self._listed(argument) for argument in arguments))
        return frozenset()

    # ---------------------------------------------------------------------------------------------------------- keys

    def _all_readings(self) -> list[Reading]:
        found = [self.explored.readings[path] for path in self.names]
        found += [condition.reading for condition in self.conditions if condition.reading is not None]
        return [*found, self.explored.validity]

    def _types(self) -> dict[str, tuple[str, ...]]:
        """What is read of config.json, with the types that it may have."""
        paths = sorted(set().union(*(raw_paths(reading) for reading in self._all_readings())), key=repr)
        tested = {test for reading in self._all_readings() for test in _tests(reading)}
        types: dict[str, tuple[str, ...]] = {}
        for path in paths:
            if not path or not all(isinstance(step, str) for step in path):
                continue
            for i in range(1, len(path)):
                types.setdefault(
                    _dotted(path[:i]), ("dict", "NoneType") if self._may_be_absent(path[:i], tested) else ("dict",)
                )
        for path in paths:
            if not path or not all(isinstance(step, str) for step in path) or _dotted(path) in types:
                continue
            allowed = self._allowed(path)
            if not allowed:
                continue
            null = Apply("is", (Raw(path), Const(None))) in tested or Apply("bool", (Raw(path),)) in tested
            null = null and path not in self.never_null
            null = null or self._is_null(path) or any(self.readings.get(at) == Raw(path) for at in self.left_open)
            allowed = tuple(name for name in allowed if name != "NoneType")
            if not allowed and not null:
                continue
            types[_dotted(path)] = (*allowed, *(("NoneType",) if null and self._may_be_null(path) else ()))
        return {name: found for name, found in types.items() if found and found != ("NoneType",)}

    def _may_be_absent(self, path: Path, tested: set[Expr]) -> bool:
        """Whether null will do where an object is read."""
        asked = Apply("is", (Raw(path), Const(None))) in tested or Apply("bool", (Raw(path),)) in tested
        return (asked and len(path) == 1) or self._is_null(path)

    def _is_null(self, path: Path) -> bool:
        """Whether null is what the configuration that was compiled has, as it stands or for what it leaves out."""
        filled = self.explored.filled(self.explored.raw)
        return _written(filled, path) and lookup(filled, path) is None

    def _may_be_null(self, path: Path) -> bool:
        declared = self.explored.types.get(str(path[0]), ()) if len(path) == 1 else ()
        return not declared or "NoneType" in declared or self.explored.declared.get(str(path[0])) is None

    def _allowed(self, path: Path) -> tuple[str, ...]:
        """As declared, or the type of what the attribute is here."""
        if len(path) == 1 and self.explored.types.get(str(path[0])):
            found = self.explored.types[str(path[0])]
            own = self._attribute_types(path)
            concrete = tuple(name for name in found if name != "NoneType")
            if own and len(concrete) > 1 and not set(concrete) <= set(NUMBERS):
                own |= self._asked_types(path)
                kept = tuple(name for name in concrete if name in own or (name in NUMBERS and own & set(NUMBERS)))
                return (*(kept or concrete), *(("NoneType",) if "NoneType" in found else ()))
            return found
        own = self._attribute_types(path)
        if own & set(NUMBERS) and not self._is_size(path):
            own |= set(NUMBERS)
        now = lookup(self.explored.raw, path)
        if now is not None:
            own.add("list" if isinstance(now, (list, tuple)) else type(now).__name__)
        resolved = lookup(self.explored.resolved, path)
        if not own and path in self.never_null and isinstance(resolved, (bool, int, float, str)):
            own.add(type(resolved).__name__)
        return tuple(sorted(own - {"NoneType"}))

    def _attribute_types(self, path: Path) -> set[str]:
        """Types of the attributes that are nothing but this key in some way."""
        found = set()
        for at, reading in self.explored.readings.items():
            if at in self.names and Raw(path) in _ends(reading):
                now = self._resolved(at)
                found.add("list" if isinstance(now, (list, tuple)) else type(now).__name__)
        return found - {"NoneType"}

    def _asked_types(self, path: Path) -> set[str]:
        """Types of the values that a reading asks for in particular: `"auto"` where a number is read otherwise."""
        tests = (test for reading in self._all_readings() for test in _tests(reading))
        equal = (test.args for test in tests if isinstance(test, Apply) and test.op == "==")
        return {type(b.value).__name__ for a, b in equal if a == Raw(path) and isinstance(b, Const)} - {"NoneType"}

    def _is_size(self, path: Path) -> bool:
        return any(Raw(path) in _ends(self.explored.readings[at]) for at in self.sizes)

    def _keys(self) -> tuple[KeyView, ...]:
        order = {name: i for i, name in enumerate(dict.fromkeys([*self.explored.declared, *sorted(self.explored.raw)]))}
        views = []
        for name, types in self.types.items():
            concrete = ", ".join(kind for kind in types if kind != "NoneType")
            views.append(KeyView(name, concrete, False, "NoneType" in types))
        return tuple(sorted(views, key=lambda view: (order.get(view.path.split(".")[0], len(order)), view.path)))


# ------------------------------------------------------------------------------------------------------------- merging


def merge(reading: Reading) -> tuple[tuple[Path, ...], Reading] | None:
    """A reading that takes the same keys from the first of several objects that is not empty: the objects, and the reading of the last."""
    owners = sorted({path[:1] for path in raw_paths(reading) if len(path) > 1 and isinstance(path[1], str)}, key=repr)
    if not 1 < len(owners) <= 3:
        return None
    for order in itertools.permutations(owners):
        inner = _first_of(reading, order)
        if inner is not None:
            return order, inner
    return None


def _first_of(reading: Reading, owners: tuple[Path, ...]) -> Reading | None:
    """What every object gives in the same way, if an empty one gives what the absence of all does."""
    arms: list[Reading] = []
    rest = reading
    for owner in owners:
        full = _hoisted(_assumed(rest, owner, True), owner)
        if not _reads_inside(full, owner):
            return None
        arms.append(full)
        rest = _assumed(rest, owner, False)
    last = owners[-1]
    if any(_renamed(arm, owner, last) != arms[-1] for owner, arm in zip(owners, arms, strict=True)):
        return None
    return arms[-1] if _emptied(arms[-1], last) == rest else None


def _hoisted(reading: Reading, owner: Path) -> Reading:
    """The reading with the questions of what is in an object before all others."""
    for test in sorted((test for test in _tests(reading) if _is_inside(test, owner)), key=repr, reverse=True):
        then, otherwise = _answered(reading, test, True), _answered(reading, test, False)
        reading = then if then == otherwise else Choice(test, then, otherwise)
    return reading


def _is_inside(test: Expr, owner: Path) -> bool:
    return isinstance(test, Apply) and test.op == "in" and test.args[1] == Raw(owner)


def _answered(reading: Reading, test: Expr, truth: bool) -> Reading:
    match reading:
        case Choice(found, then, otherwise):
            if found == test:
                return _answered(then if truth else otherwise, test, truth)
            then, otherwise = _answered(then, test, truth), _answered(otherwise, test, truth)
            return then if then == otherwise else Choice(found, then, otherwise)
        case _:
            return Const(truth) if reading == test else reading


def _assumed(reading: Reading, owner: Path, full: bool) -> Reading:
    """The reading where the object at `owner` is not empty, or is empty or null or absent."""
    match reading:
        case Choice(test, then, otherwise):
            known = _known(test, owner, full)
            if known is not None:
                return _assumed(then if known else otherwise, owner, full)
            then, otherwise = _assumed(then, owner, full), _assumed(otherwise, owner, full)
            return then if then == otherwise else Choice(test, then, otherwise)
        case Apply("in", _) | Apply("is", _) | Apply("bool", _):
            known = _known(reading, owner, full)
            return reading if known is None else Const(known)
        case _:
            return reading


def _known(test: Expr, owner: Path, full: bool) -> bool | None:
    match test:
        case Apply("bool", (Raw(path),)) if path == owner:
            return full
        case Apply("is", (Raw(path), Const(None))) if path == owner and full:
            return False
        case Apply("in", (Const(name), Raw(()))) if (name,) == owner and full:
            return True
        case Apply("in", (Const(), Raw(path))) if path == owner and not full:
            return False
    return None


def _reads_inside(reading: Reading, path: Path) -> bool:
    """Whether everything that a reading takes of an object is asked for by name first."""
    inside = [found for found in raw_paths(reading) if found[: len(path)] == path]
    return all(len(found) > len(path) for found in inside)


def _emptied(reading: Reading, path: Path) -> Reading:
    """The reading where the object holds nothing."""
    match reading:
        case Choice(Apply("in", (Const(), Raw(owner))), _, otherwise) if owner == path:
            return _emptied(otherwise, path)
        case Choice(test, then, otherwise):
            then, otherwise = _emptied(then, path), _emptied(otherwise, path)
            return then if then == otherwise else Choice(test, then, otherwise)
        case Apply("in", (Const(), Raw(owner))) if owner == path:
            return Const(False)
        case _:
            return reading


def _renamed(reading: Reading, old: Path, new: Path) -> Reading:
    """The reading with another object in the place of one."""
    match reading:
        case Choice(test, then, otherwise):
            return Choice(_renamed_expr(test, old, new), _renamed(then, old, new), _renamed(otherwise, old, new))
        case Refused():
            return reading
        case Each():
            return replace(
                reading, count=_renamed_expr(reading.count, old, new), element=_renamed_expr(reading.element, old, new)
            )
        case _:
            return _renamed_expr(reading, old, new)


def _renamed_expr(expr: Expr, old: Path, new: Path) -> Expr:
    changes: dict[Expr, Expr] = {
        leaf: Raw((*new, *leaf.path[len(old) :]))
        for leaf in leaves(expr)
        if isinstance(leaf, Raw) and leaf.path[: len(old)] == old
    }
    return substitute(expr, changes)


def _merged_syntax(owners: tuple[Path, ...]) -> ast.expr:
    calls: list[ast.expr] = [
        ast.Call(ast.Attribute(ast.Name("raw", ast.Load()), "get", ast.Load()), [ast.Constant(owner[0])], [])
        for owner in owners
    ]
    return ast.BoolOp(ast.Or(), [*calls, ast.Dict([], [])])


# ------------------------------------------------------------------------------------------------------------ conditions


def _merged(conditions: Sequence[Condition], explored: Explored) -> tuple[Condition, ...]:
    """Conditions on one string or flag alone become that it is what it is; types that are checked anyway are left out."""
    found: dict[Condition, None] = {}
    resolved = explored.resolved
    for condition in conditions:
        if condition.kind == "type":
            continue
        keys = condition.keys
        kinds = ("elements", "kinds", "guard", "choice", "default")
        if condition.reading is None and condition.kind not in kinds and len(keys) == 1:
            now = lookup(resolved, keys[0].path)
            if now is None and _is_flag(keys[0], conditions, explored):
                found[Condition("choice", keys[0], (None, False))] = None
                continue
            if isinstance(now, (bool, str)) or now is None:
                found[Condition("structure", keys[0], now)] = None
                continue
        found[condition] = None
    pinned = {
        condition.expr for condition in found if isinstance(condition.expr, Key) and condition.kind == "structure"
    }
    return tuple(
        c for c in found if not (set(c.keys) <= pinned and c.expr not in pinned and c.reading is None and c.keys)
    )


def _is_flag(key: Key, conditions: Sequence[Condition], explored: Explored) -> bool:
    """Whether a key may be true or false, and whether it is true is all that is asked of it."""
    asked = [condition for condition in conditions if condition.keys == (key,)]
    truths = (key, Apply("bool", (key,)), Apply("not", (key,)))
    flag = len(key.path) == 1 and "bool" in explored.types.get(str(key.path[0]), ())
    return flag and all(condition.expr in truths and condition.reading is None for condition in asked)


def _list_of(question: Expr) -> Key | None:
    """The list of which a question is the entry of a layer, and nothing else."""
    match question:
        case Apply("getitem", (Key() as key, Index())):
            return key
    return None


def _about(keys: Sequence[Key], values: Mapping[Path, Json]) -> str:
    known = (f"{_dotted(key.path)} is {values[key.path]!r}" for key in keys if key.path in values)
    return (
        ", ".join(known)
        or f"{' and '.join(_dotted(key.path) for key in keys)} hold other things than the model was made of"
    )


def _as_compiled(reading: Reading, explored: Explored) -> Reading:
    """A reading without questions on keys that must be as they were."""
    match reading:
        case Choice(test, then, otherwise):
            then, otherwise = _as_compiled(then, explored), _as_compiled(otherwise, explored)
            if all(_is_frozen(path, explored) for path in raw_paths(test)):
                return then if value(test, explored.filled(explored.raw)) else otherwise
            return then if then == otherwise else Choice(test, then, otherwise)
        case _:
            return reading


def _together(paths: Sequence[Path]) -> str:
    """Several attributes, with the object that holds all of them said once."""
    if len(paths) == 1:
        return _dotted(paths[0])
    shared = max(at for at in range(min(map(len, paths))) if len({path[:at] for path in paths}) == 1)
    names = ", ".join(_dotted(path[shared:]) for path in paths)
    return f"{names} of {_dotted(paths[0][:shared])}" if shared else names


def _is_frozen(path: Path, explored: Explored) -> bool:
    return any(path[: len(key)] == key for key in explored.frozen)


def _frozen_values(reading: Reading, explored: Explored) -> Reading:
    """A reading of keys that must be as they were, as what they were; others are left as they are."""
    if not any(_is_frozen(path, explored) for path in raw_paths(reading)):
        return reading
    return _with_constants(_as_compiled(reading, explored), explored)


def _with_constants(reading: Reading, explored: Explored) -> Reading:
    match reading:
        case Choice(test, then, otherwise):
            return choice(test, _with_constants(then, explored), _with_constants(otherwise, explored))
        case Refused() | Each():
            return reading
        case _:
            filled = explored.filled(explored.raw)
            known: dict[Expr, Expr] = {
                leaf: Const(found)
                for leaf in leaves(reading)
                if isinstance(leaf, Raw) and _is_frozen(leaf.path, explored)
                if isinstance(found := lookup(filled, leaf.path), (bool, int, float, str))
            }
            return substitute(reading, known)


def _needed_division(condition: Condition) -> tuple[Expr, Expr] | None:
    """Number and divisor, where a condition says that a division leaves nothing."""
    match condition.expr, condition.value:
        case Apply("%", (number, divisor)), 0 if condition.value is not False:
            return number, divisor
    return None


def _keys_of(pair: Division) -> list[Key]:
    return [leaf for expr in pair for leaf in sorted(leaves(expr), key=repr) if isinstance(leaf, Key)]


def _exact_divisions(expr: Expr, resolved: Mapping[str, Json]) -> Iterator[tuple[Expr, Expr]]:
    """Divisions of sizes that leave nothing here, and so must elsewhere."""
    match expr:
        case Apply("//", (numerator, divisor)):
            names = leaves(expr)
            if names and all(isinstance(leaf, Key) for leaf in names):
                try:
                    if not evaluate(Apply("%", (numerator, divisor)), Environment(config=resolved)):
                        yield numerator, divisor
                except (ArithmeticError, LookupError, TypeError, ValueError):
                    pass
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from _exact_divisions(arg, resolved)


def _environment(values: Mapping[Path, Json]) -> Environment:
    nested: dict[str, object] = {}
    for path, found in values.items():
        owner = nested
        for step in path[:-1]:
            owner = owner.setdefault(step, {})  # type: ignore[assignment, arg-type]
        owner[path[-1]] = found  # type: ignore[index]
    return Environment(config=nested)


def _number(found: Json) -> float:
    return min(found) if isinstance(found, (list, tuple)) else found  # type: ignore[return-value]


def _misfit(raw: Mapping[str, Json], name: str, types: tuple[str, ...]) -> str:
    found: Json = raw
    for step in name.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return ""
        found = found[step]
    allowed = {*types, *(["int"] if "float" in types else [])}
    kind = "list" if isinstance(found, tuple) else type(found).__name__
    return "" if kind in allowed else f"{name} is {found!r}"


# --------------------------------------------------------------------------------------------------------------- pieces


def _written(raw: Mapping[str, Json], path: Path) -> bool:
    owner = lookup(raw, path[:-1])
    return isinstance(owner, Mapping) and path[-1] in owner


def _holds_object(owner: Mapping[str, Json], name: str) -> bool:
    return isinstance(owner.get(name), Mapping)


def _ends(reading: Reading) -> set[Expr]:
    match reading:
        case Choice(_, then, otherwise):
            return _ends(then) | _ends(otherwise)
        case Refused() | Each():
            return set()
        case _:
            return {reading}


def _tests(reading: Reading) -> set[Expr]:
    match reading:
        case Choice(test, then, otherwise):
            return {test} | _tests(then) | _tests(otherwise)
        case _:
            return set()


def _flat(op: ast.boolop, left: ast.expr, right: ast.expr) -> ast.expr:
    values = [*(left.values if isinstance(left, ast.BoolOp) and type(left.op) is type(op) else [left])]
    values += right.values if isinstance(right, ast.BoolOp) and type(right.op) is type(op) else [right]
    return ast.BoolOp(op, values)


def _special(expr: Expr) -> bool:
    """Whether an expression prints otherwise than `to_syntax` has it."""
    return isinstance(expr, Apply) and (expr.op in ("if", "in", "bool") or any(map(_special, expr.args)))


def _cheap(node: ast.expr) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=args):
            return all(map(_cheap, args))
        case ast.Name():
            return True
        case _:
            return False


def _name(leaf: Leaf) -> ast.expr:
    return ast.Name(str(getattr(leaf, "name", leaf)), ast.Load())


def _dotted(path: Path) -> str:
    return ".".join(str(step) for step in path)


def _counted(condition: Condition) -> tuple[Key, Key] | None:
    """A list and what its length has to be, if that is what a condition asks for."""
    match condition.expr, condition.value:
        case Apply("==", (Apply("len", (Key() as items,)), Key() as count)), True:
            return items, count
        case Apply("==", (Key() as count, Apply("len", (Key() as items,)))), True:
            return items, count
        case _:
            return None


def _truth(found: str, wanted: Json) -> str:
    """A condition that is true where `found` is not `wanted`."""
    if wanted is True:
        return _denied(found)
    if wanted is False:
        return found
    if wanted is None:
        return f"{_bracketed(found)} is not None"
    return f"{_bracketed(found)} != {_plain_literal(wanted)}"


def _bracketed(text: str) -> str:
    return (
        text
        if text.isidentifier()
        or isinstance(ast.parse(text, mode="eval").body, (ast.Call, ast.Subscript, ast.Attribute))
        else f"({text})"
    )


def _message(key: str, found: str, compiled: Json) -> str:
    return _f(f"{key} is ", found, f"; this code was compiled for {compiled!r}")


def _f(before: str, expr: str, after: str) -> str:
    """An f-string that shows the value of an expression between two texts; in two pieces where it is long."""
    shown = ast.FormattedValue(ast.parse(expr, mode="eval").body, ord("r"))
    first: list[ast.expr] = [ast.Constant(before), shown]
    last: list[ast.expr] = [ast.Constant(after)] if after else []
    if len(before) + len(expr) + len(after) <= LONG:
        return unparsed(ast.JoinedStr([*first, *last]))
    if len(expr) + len(after) <= LONG:
        return f"{before!r} {unparsed(ast.JoinedStr([shown, *last]))}"
    return " ".join([unparsed(ast.JoinedStr(first)), *([repr(after)] if after else [])])


def _fstring(text: str, names: Sequence[str]) -> str:
    """`text` with `{name!r}` for each of `names` made a value; a long one in pieces."""
    pieces = [""]
    for part in re.split(r"(?<=, )|(?<=; )|(?<=refuses )", text):
        if pieces[-1] and len(pieces[-1]) + len(part) > LONG:
            pieces.append("")
        pieces[-1] += part
    return " ".join(_fpiece(piece, names) for piece in pieces)


def _fpiece(text: str, names: Sequence[str]) -> str:
    parts: list[ast.expr] = []
    rest = text
    for name in names:
        before, found, after = rest.partition(f"{{{name}!r}}")
        if found:
            parts += [ast.Constant(before), ast.FormattedValue(ast.Name(name, ast.Load()), ord("r"))]
            rest = after
    return unparsed(ast.JoinedStr([*parts, ast.Constant(rest)]) if parts else ast.Constant(text))


def _compiled_without(condition: Condition) -> str:
    """What a configuration has that the compiled code was not made for, or lacks."""
    match condition.expr:
        case Apply("in", (Const(name), Key(path))) if condition.value is False:
            return f"{_dotted((*path, name))} is given; this code was compiled without it"  # type: ignore[arg-type]
        case Apply("in", (Const(name), Key(path))):
            return f"{_dotted((*path, name))} is missing; this code was compiled with it"  # type: ignore[arg-type]
    return f"this code was compiled for {_asserted(_readable(condition.expr), condition.value)}"


def _asserted(text: str, value: object) -> str:
    """That the expression `text` has this value, in words of Python."""
    if not isinstance(value, bool):
        return f"`{text}` being {value!r}"
    return f"`{text if value else _denied(text)}`"


def _denied(text: str) -> str:
    """The opposite of a condition."""
    match ast.parse(text, mode="eval").body:
        case ast.Compare(ops=[operator]) as asked if type(operator) in _OPPOSITES:
            asked.ops = [_OPPOSITES[type(operator)]()]
            return ast.unparse(asked)
        case _:
            return f"not {_bracketed(text)}"


_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


def _brief(reason: str) -> str:
    return reason.splitlines()[0][:160] if reason else "no reason given"


def _readable(expr: Expr) -> str:
    def leaf(found: Leaf) -> ast.expr:
        return _place(found.path) if isinstance(found, (Key, Raw)) else _name(found)

    return unparsed(to_syntax(expr, leaf))


def _place(path: Path) -> ast.expr:
    """A place in the configuration, as Python would reach it."""
    first, *rest = path
    found: ast.expr = ast.Name(str(first), ast.Load())
    for step in rest:
        if isinstance(step, str) and step.isidentifier():
            found = ast.Attribute(found, step, ast.Load())
        else:
            found = ast.Subscript(found, ast.Constant(step), ast.Load())
    return found


def _constant(found: Json) -> ast.expr:
    return ast.parse(_plain_literal(found), mode="eval").body


def _plain_literal(found: Json) -> str:
    return repr(found)


def _literal(found: Json) -> str:
    """A value as the default of a field: lists are tuples, and written short where they repeat."""
    if isinstance(found, (list, tuple)):
        return _sequence(tuple(found))
    return repr(found)


def _sequence(items: tuple[Json, ...]) -> str:
    for period in range(1, len(items) // 2 + 1):
        times, rest = divmod(len(items), period)
        if not rest and items == items[:period] * times:
            return f"{_tuple(items[:period])} * {times}"
    for period in range(1, len(items) // 2 + 1):
        times, rest = divmod(len(items), period)
        if rest and items == items[:period] * times + items[:rest] and times > 1:
            return f"{_tuple(items[:period])} * {times} + {_tuple(items[:rest])}"
    return _tuple(items)


def _tuple(items: tuple[Json, ...]) -> str:
    return f"({', '.join(_literal(item) for item in items)}{',' if len(items) == 1 else ''})"


def _frozen(found: Json) -> Json:
    return tuple(map(_frozen, found)) if isinstance(found, (list, tuple)) else found


# ----------------------------------------------------------------------------------------------------------- unread keys


KEPT = "kept by the configuration class; no result of the model depends on it"
UNDECLARED = "not declared by the configuration class, which keeps it; no result of the model depends on it"


def unread_keys(
    explored: Explored, read_paths: Iterable[Path], asked: Collection[str] = ()
) -> tuple[tuple[str, str], ...]:
    """The keys of config.json that no code reads, each with the reason why that is right. Keys of objects of which others
    are read stand with a dot. `asked`: the keys that the source's own modules ask for when they are made or run.

    Raises:
        CompileError: `unknown-key`, for every key that has no reason.
    """
    wanted = {path[0] for path in read_paths}
    paths = {found for at, reading in explored.readings.items() if at[0] in wanted for found in raw_paths(reading)}
    for condition in explored.conditions:
        readings = (
            [condition.reading]
            if condition.reading is not None
            else [explored.readings[key.path] for key in condition.keys]
        )
        paths |= {found for reading in readings for found in raw_paths(reading)}
    paths |= set(explored.frozen)
    known = {"model_type", *(str(path[0]) for path in paths if path)}
    found: list[tuple[str, str]] = []
    unknown: list[Diagnostic] = []
    for name in explored.raw:
        if name in known:
            if not any(path == (name,) for path in explored.frozen):
                found += _unread_inside(explored.raw[name], (name,), paths)
            continue
        kept = KEPT if _declares(explored, name) else UNDECLARED
        if name in INERT and (INERT[name] != DROPOUT or name in asked):
            found.append((name, INERT[name]))
        elif name in explored.resolved:
            found.append((name, _why_unread(name, kept, asked)))
        elif name in explored.dropped:
            found.append((name, _why_unread(name, "dropped by the configuration class", asked)))
        else:
            unknown.append(Diagnostic("unknown-key", f"nothing is known of `{name}` in config.json"))
    if unknown:
        raise CompileError(*unknown)
    return tuple(found)


def _why_unread(name: str, otherwise: str, asked: Collection[str]) -> str:
    """What to say of a key that no code reads, whose name says what it is for."""
    if name == "quantization_config":
        return QUANTISED
    return DROPOUT if name in asked and name.endswith(("dropout", "dropout_prob", "pdrop")) else otherwise


def _declares(explored: Explored, name: str) -> bool:
    return name in explored.declared or name in explored.types


def _unread_inside(owner: Json, path: Path, paths: set[Path]) -> Iterator[tuple[str, str]]:
    """Keys of an object that no code reads, where it reads others of them by name."""
    if not isinstance(owner, Mapping) or not any(
        len(found) > len(path) and found[: len(path)] == path for found in paths
    ):
        return
    for name, inner in owner.items():
        here = (*path, name)
        if any(found[: len(here)] == here for found in paths):
            yield from _unread_inside(inner, here, paths)
        else:
            yield _dotted(here), INERT.get(name, "no result of the model depends on it")
