"""From a traced model to the parts of its model files: classes, functions, the top model's bodies, masks, cache, legend."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping

from codegen.diagnostics import CompileError, Diagnostic
from codegen.lowering import towers, turns
from codegen.lowering.axes import HEADS, Axis, name_axes
from codegen.lowering.batches import works_on_rows
from codegen.lowering.classes import Program, holes, plan
from codegen.lowering.components import components
from codegen.lowering.derived import Derived, head_size, open_numbers, renamed, with_values
from codegen.lowering.dialect import Dialect, attribute, name, unparse
from codegen.lowering.emission import Emitter, lists_run
from codegen.lowering.fields import Path, field_names, keys_in, used_keys
from codegen.lowering.flax_dialect import FlaxDialect
from codegen.lowering.functions import ambients
from codegen.lowering.instances import CONTAINERS, absolute, collect, lists_beside, simplify, walk, without_unread
from codegen.lowering.leaves import Leaves
from codegen.lowering.missing import missing
from codegen.lowering.names import words_of_layers
from codegen.lowering.numbers import Leaf, to_syntax
from codegen.lowering.patterns import LAYER, Decision, KnownKinds, LayerKinds, Parts, Patterns, is_recorded
from codegen.lowering.reach import limits
from codegen.lowering.states import layer_states, sizes_of, states_view
from codegen.lowering.syntax import Unspellable
from codegen.lowering.torch_dialect import TorchDialect, over_kinds, question
from codegen.lowering.views import CacheView, MaskKind, MaskView, PropertyView
from ir.arch import Attention, Heads, Precision
from ir.expressions import Apply, Const, Dim, Environment, Expr, Index, Key, Local, Raw, evaluate, indexed_lists, leaves
from ir.graph import Loop, Module, ModuleTarget, Raised, Region, Value
from ir.records import dataclass, field, replace
from ir.spans import Span


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """A mask that the top region takes, as the trace described it."""

    name: str
    causal: bool
    window: Expr | None
    chunk: Expr | None


@dataclass(frozen=True, slots=True)
class Input:
    """What lowering needs of a compiled model. `resolved` is the configuration as its class left it."""

    tree: Module
    region: Region
    inputs: tuple[str, ...]
    masks: tuple[MaskPlan, ...]
    resolved: Mapping[str, object]
    counts: tuple[tuple[Expr, Span | None], ...]  # how often something is repeated, and where the source says so
    flags: tuple[Expr, ...] = ()  # conditions that stay free: whether tensors are tied
    conditions: tuple[Expr, ...] = ()  # what the source asked about the index of a layer
    submodels: tuple[str, ...] = ()  # paths of the modules that are models of their own
    ties: tuple[tuple[str, str], ...] = ()  # paths of parameters that may be one tensor
    answers: Mapping[Expr, str] = field(default_factory=dict)  # what its modules keep the answers as
    limits: tuple[Expr, ...] = ()  # how many tokens at once the model is for
    parts: tuple[Expr, ...] = ()  # and beyond how many it is to be given them in parts
    open_numbers: Mapping[Expr, str] = field(default_factory=dict)  # see graph/fallbacks.py, with their names


@dataclass(frozen=True, slots=True)
class Lowered:
    """The printed parts of one model file."""

    helpers: tuple[str, ...]
    classes: tuple[str, ...]
    init_body: tuple[str, ...]
    run_body: tuple[str, ...]
    anchor: str
    templates: tuple[str, ...] = ()  # of helpers that the text calls
    indexed: bool = False  # the body of a loop over modules reads the number of the iteration
    unused: Mapping[int, frozenset[str]] = field(default_factory=dict)  # class -> what its constructor has no use for


class Lowering:
    """Decisions that both frameworks share: names of fields, kinds of layers, axes."""

    def __init__(self, given: Input):
        self.towers = towers.towers(given.tree, given.region, given.submodels, given.ties)
        given = replace(given, tree=towers.without(given.tree, self.towers))
        derived: list[Derived] = []
        for found in (*open_numbers(given.open_numbers, given.resolved), head_size(given.region, given.resolved)):
            if found is not None:
                derived.append(found)
                given = replace(
                    renamed(replace(given, resolved={}), found), resolved=with_values(given.resolved, found)
                )
        self.given = given
        self.patterns = Patterns(given.resolved, given.conditions, given.answers)
        self.modules = dict(walk(given.tree))
        self.region = simplify(given.region, "", dict(walk(without_unread(given.tree, given.region))))
        self.program: Program = plan(
            collect(without_unread(given.tree, self.region), self.region),
            lambda body: (ambients(body), len(body.params), len(body.results)),
            tuple(words_of_layers(given.resolved, self.layers()[1]).values()),
        )
        self.require_flat_loops()
        for made in self.program.plans:
            made.with_types(given.resolved)
        keys = list(used_keys(self.program))
        for mask in given.masks:
            keys += [key for e in (mask.window, mask.chunk) if e is not None for key in keys_in(e)]
        keys += [key for shape, slot in self.slots() for e in (*shape, slot) for key in keys_in(e)]
        self.states = layer_states(self.program.instances, self.layers()[1])
        self.steps = tuple(turns.alone(self.region, given.resolved))
        self.alone = frozenset(step.path for step in self.steps if isinstance(step, turns.Alone))
        keys += [key for e in sizes_of(self.states) for key in keys_in(e)]
        keys += [key for e in self.sizes() for key in keys_in(e)]
        counted = [*self.lists(), *self.alike()]
        keys += [key for path, length in counted for key in keys_in(self.count(path, length))]
        mixed = [*(loop.kinds for loop in self.loops() if len(loop.bodies) > 1), *self.mixed_lists()]
        asked = [kinds for parts in mixed for kinds in self.patterns.asked(parts)]
        keys += [key for kinds in asked for key in keys_in(kinds.element)]
        self.pins = self.patterns.pins() if any(is_recorded(kinds.element) for kinds in asked) else ()
        if any(kinds.element == LAYER for kinds in asked):
            self.pins = (*self.patterns.fixed(), *self.lengths(self.lists()))
        self.pins = tuple(dict.fromkeys((*self.pins, *self.lengths(self.written_out()))))
        held = [self.patterns.finer(parts) for parts in self.partial_lists()]
        keys += [key for kinds in held for key in keys_in(kinds.element)]
        self.asked = (*asked, *held)
        self.reach = limits(given.region, given.inputs)
        keys += [key for expr in (*given.flags, *given.limits, *given.parts, *self.reach) for key in keys_in(expr)]
        self.derived = tuple(found for found in derived if found.key in keys)
        keys += [key for found in self.derived for key in keys_in(found.expr)]
        self.names: dict[Path, str] = field_names(dict.fromkeys(keys))
        self.patterns = replace(self.patterns, held=frozenset(self.names))
        own = {found.key.path for found in self.derived}
        self.fields: dict[Path, str] = {path: name for path, name in self.names.items() if path not in own}
        self.leaves = Leaves(self.program, self.fields.values())
        self.axes: tuple[Axis, ...] = name_axes(self.sizes(), {found.key: found.word for found in self.derived})

    def require_flat_loops(self) -> None:
        """That no loop over layers that keep something is in another loop over modules.

        Raises:
            CompileError: `unknown-pattern`.
        """
        for loop in turns.nested(self.region):
            message = f"the loop over `{loop.container}` is inside a loop over other modules"
            raise CompileError(Diagnostic("unknown-pattern", message))

    # ---------------------------------------------------------------------------------------------------- facts

    def sizes(self) -> Iterator[Expr]:
        """The sizes of all parameters that a checkpoint holds, in order."""
        for _, module in walk(self.given.tree):
            for parameter in module.parameters:
                if not parameter.buffer or parameter.persistent:
                    yield from parameter.shape

    def lists(self) -> Iterator[tuple[str, int]]:
        for path, module in walk(self.given.tree):
            if module.kind == "ModuleList" and module.children:
                yield path, len(module.children)

    def lengths(self, lists: Iterable[tuple[str, int]]) -> Iterator[Expr]:
        """That lists are as long as they are here, where the configuration decides it."""
        for path, length in lists:
            pin = Apply("==", (self.count(path, length), Const(length)))
            if any(keys_in(pin)):
                yield pin

    def written_out(self) -> Iterator[tuple[str, int]]:
        """The lists whose items, or what is in these, run outside of loops, each by its number."""
        used = set(turns.used_alone(self.region))
        for path, length in (*self.lists(), *self.alike()):
            if any(f"{path}.{at}" in used for at in range(length)):
                yield path, length

    def alike(self) -> Iterator[tuple[str, int]]:
        """Lists of parameters of one shape, and their lengths."""
        for path, module in walk(self.given.tree):
            if module.kind == "ParameterList" and len({parameter.shape for parameter in module.parameters}) == 1:
                yield path, len(module.parameters)

    def layers(self) -> tuple[str, int]:
        """The list of layers, the longest that is not within another, and its length; no path where there is none."""
        lists = dict(self.lists())
        outer = {path: n for path, n in lists.items() if not any(path.startswith(f"{other}.") for other in lists)}
        return max(outer.items(), key=lambda pair: pair[1], default=("", 0))

    def count(self, path: str, length: int) -> Expr:
        """How long a list of modules is, over the configuration: what its items were counted by, where it was made."""
        env = Environment(config=self.given.resolved)
        made = self.modules[path].span
        ranked = sorted(self.given.counts, key=lambda counted: _distance(counted[1], made))
        for expr, _ in ranked:
            try:
                if not any(isinstance(leaf, Raw) for leaf in leaves(expr)) and evaluate(expr, env) == length:
                    return (
                        expr.args[1]
                        if isinstance(expr, Apply) and expr.op == "max" and expr.args[0] == _NONE_AT_LEAST
                        else expr
                    )
            except (KeyError, TypeError, IndexError, ArithmeticError):
                continue
        return Const(length)

    def mixed_lists(self) -> Iterator[tuple[int | None, ...]]:
        """How the items of the lists of modules are divided among classes, where they are of several."""
        looped = {path for made in self.program.plans for path in lists_run(made)}
        for path, module in walk(self.given.tree):
            made = [self.program.by_path.get(f"{path}.{name}") for name, _ in module.children]
            classes = list(dict.fromkeys(id(plan) for plan in made))
            if module.kind != "ModuleList" or len(classes) == 1:
                continue
            parts = tuple(classes.index(id(plan)) for plan in made)
            counted = not isinstance(self.count(path, len(made)), Const)  # others are written out one by one
            if (path in looped or counted) and self.told_apart(path, parts) is not None:
                yield parts
        for owner in self.program.plans:
            for child in owner.chosen:
                yield self.program.choice(owner, child)[1]

    def told_apart(self, path: str, parts: Parts) -> Decision | None:
        """What tells the items of a list apart; None where nothing does and each is written out.

        Raises:
            CompileError: `unknown-pattern`, nothing does, and a loop goes through them.
        """
        try:
            return self.patterns.decision(parts)
        except CompileError:
            if path not in dict(self.written_out()) or any(path in lists_run(made) for made in self.program.plans):
                raise
        return None

    def partial_lists(self) -> Iterator[tuple[int, ...]]:
        """Which layers hold a parameter or a state that others do not."""
        lists = {path: n for path, n in self.lists() if not isinstance(self.count(path, n), Const)}
        outer = {path: n for path, n in lists.items() if not any(path.startswith(f"{other}.") for other in lists)}
        holders: dict[tuple[str, object], list[int]] = {}
        for path, module in walk(self.given.tree):
            stack = next((stack for stack in outer if path.startswith(f"{stack}.")), None)
            if stack is None:
                continue
            at, _, rest = path[len(stack) + 1 :].partition(".")
            for parameter in module.parameters:
                if not parameter.buffer or parameter.persistent:
                    what = (rest, parameter.name, parameter.shape, parameter.dtype)
                    holders.setdefault((stack, what), []).append(int(at))
        partial = [
            (stack, tuple(int(layer in at) for layer in range(outer[stack])))
            for (stack, _), at in holders.items()
            if len(at) < outer[stack]
        ]
        yield from dict.fromkeys(parts for stack, parts in partial if self.told_apart(stack, parts) is not None)
        if len(set(self.states)) > 1:
            options = list(dict.fromkeys(self.states))
            yield tuple(options.index(layer) for layer in self.states)

    def loops(self) -> Iterator[Loop]:
        for made in self.program.plans:
            yield from made.loops()

    def one_a_layer(self) -> tuple[Expr, ...]:
        """That lists which layers are told apart by have an entry for each layer, and so have those that loops go through together."""
        path, length = self.layers()
        count = self.count(path, length) if path else Const(length)
        lists = {key for kinds in self.asked for key in indexed_lists(kinds.element)}
        sizes = {Apply("len", (key,)) for key in lists} - {count}
        together = dict.fromkeys(pair for pair in self._together() if pair[0] != pair[1])
        return (*(Apply("==", (size, count)) for size in sorted(sizes, key=repr)), *(Apply("==", p) for p in together))

    def _together(self) -> Iterator[tuple[Expr, Expr]]:
        """How long the list of a loop is, and every other that the loop goes through and that is as long here."""
        known = dict(self.lists())
        for made in self.program.plans:
            for loop in made.loops():
                path, *others = (
                    absolute(container, made.instances[0].path) for container in (loop.container, *lists_beside(loop))
                )
                for other in others:
                    if known.get(path) == known.get(other) is not None:
                        yield self.count(path, known[path]), self.count(other, known[other])

    def known_kinds(self, conditions: Iterable[Expr]) -> tuple[Expr, KnownKinds]:
        """How many layers there are, and which kinds of them; `conditions` are what the source asks of layers that matters."""
        path, length = self.layers()
        patterns = replace(self.patterns, conditions=tuple(dict.fromkeys(conditions)))
        known = KnownKinds() if self.pins or not path else patterns.known(length, self.asked)
        return self.count(path, length) if path else Const(0), known

    def stacked_kinds(self, unused: Mapping[int, frozenset[str]]) -> tuple[int, ...]:
        """Which layers are made of the same classes, with the same arguments but for those that are `unused`, and run alike:
        their parameters can be stacked."""
        path, count = self.layers()
        run = next((loop.kinds for loop in self.loops() if len(loop.bodies) > 1), (0,) * count)
        if len(run) != count:
            return run
        rows = [(kind, *self.made_of(f"{path}.{at}", at, unused)) for at, kind in enumerate(run)]
        options = list(dict.fromkeys(rows))
        return tuple(options.index(row) for row in rows)

    def made_of(self, layer: str, number: int, unused: Mapping[int, frozenset[str]]) -> Iterator[object]:
        """The classes of the modules of a layer, and what their constructors are given that depends on its number."""
        env = Environment(self.given.resolved, indices={"layer": number})
        for path, made in sorted(self.program.by_path.items()):
            if path == layer or path.startswith(f"{layer}."):
                yield path[len(layer) :], id(made)
                idle = unused.get(id(made), frozenset())
                for name, expr in zip(made.parameters, made.arguments.get(path, ()), strict=False):
                    if name not in idle and any(isinstance(leaf, Index) for leaf in leaves(expr)):
                        yield name, repr(evaluate(expr, env))

    def kinds(self, partition: tuple[int, ...]) -> LayerKinds:
        """What of the configuration tells the layers apart in exactly this way, or in a finer one."""
        return self.patterns.kinds(partition)

    def sequence(self, kinds: LayerKinds) -> str:
        """One label a layer, over `cfg`."""
        match kinds.element:
            case Apply("getitem", (Key() as key, Index())):
                return self.over_cfg(key)
            case _:
                path, length = self.layers()
                count = self.over_cfg(self.count(path, length))
                return f"[{self.over_cfg(self.patterns.spelled(kinds))} for layer in range({count})]"

    def slots(self) -> Iterator[tuple[tuple[Expr, Expr, Expr], Expr]]:
        """Heads, key size and value size of every cache update, with the slot that it goes to."""
        yield from dict.fromkeys(turns.updates(self.region))

    # -------------------------------------------------------------------------------------------------- spelling

    def field(self, key: Key) -> str:
        return self.names[key.path]

    def over_cfg(self, expr: Expr, owner: str = "cfg") -> str:
        """`expr` as Python over `cfg`."""

        def resolve(leaf: Leaf) -> ast.expr:
            if isinstance(leaf, Key):
                return attribute(name(owner.split(".")[0]), ".".join([*owner.split(".")[1:], self.names[leaf.path]]))
            if isinstance(leaf, Index):
                return name("layer")
            if isinstance(leaf, Local):
                return name(leaf.name)
            raise AssertionError(f"{leaf} over the configuration")

        return unparse(to_syntax(expr, resolve))

    def size_over_cfg(self, size: Expr) -> str:
        """A size as Python over `cfg`; 0 for the layers that have no such axis."""
        needed = missing(size, self.given.resolved, self.layers()[1])
        made = self.over_cfg(size)
        return f"{made} if {' and '.join(map(self.over_cfg, needed))} else 0" if needed else made

    def emit(self, dialect: Dialect) -> Lowered:
        """
        Raises:
            CompileError: `no-spelling`, among others.
        """
        try:
            return self._emit(dialect)
        except Unspellable as error:
            raise CompileError(Diagnostic("no-spelling", f"this cannot be written: {error}")) from error

    def total(self, dialect: Dialect) -> str:
        """How many tokens there are in all, where no tensor says so: in Flax those that the cache has room for."""
        if not dialect.functional_cache:
            return "S = ids.shape[1] if cache is None else cache.length + ids.shape[1]"
        if self.states or not list(self.slots()):
            raise Unspellable("no value at hand has the axis S")
        return "S = ids.shape[1] if kv is None else jax.tree.leaves(kv)[0].shape[-2]"

    def _emit(self, dialect: Dialect) -> Lowered:
        def count_of(path: str, length: int) -> str:
            return self.over_cfg(self.count(path, length))

        def spelled(kinds: LayerKinds) -> str:
            return self.over_cfg(self.patterns.spelled(kinds))

        dialect.letters = self.axis_letters()
        emitter = Emitter(
            self.program,
            dialect,
            self.names,
            count_of,
            self.patterns,
            self.told_apart,
            spelled,
            self.sequence,
            self.leaves,
            count_of(*self.layers()) if self.layers()[0] else "",
            self.alone,
        )
        classes = emitter.classes()
        init_body, run_body = emitter.top(self.given.inputs)
        if dialect.functional_cache and emitter.indexed and emitter.unindexed:  # one function runs them all
            emitter = replace(emitter, all_count=True, kept={}, unused={})
            classes = emitter.classes()
            init_body, run_body = emitter.top(self.given.inputs)
        if "dtype" in ambients(self.program.top.example.methods["forward"][0]):
            read = f"{self.anchor(dialect)}[...]" if dialect.functional_cache else self.anchor(dialect)
            run_body.insert(0, f"dtype = {read}.dtype")
        if "total" in ambients(self.program.top.example.methods["forward"][0]):
            run_body.insert(0, self.total(dialect))
        run_body = [*self.guards(), *run_body]
        functions = list(emitter.functions.texts.values())
        bodies = [
            "\n".join(["def body():", "    pass", *("    " + line for line in body)]) for body in (init_body, run_body)
        ]
        return Lowered(
            (*emitter.spelled_helpers([*functions, *classes, *bodies]), *functions),
            tuple(classes),
            tuple(init_body),
            tuple(run_body),
            self.anchor(dialect),
            tuple(emitter.templates()),
            emitter.indexed,
            emitter.unused,
        )

    def guards(self) -> Iterator[str]:
        """Refusals of inputs that the source has another path for."""
        for limit in self.given.limits:
            yield f"if ids.shape[1] > (limit := {self.over_cfg(limit, 'self.cfg')}):"
            yield '    raise ValueError(f"{ids.shape[1]} tokens at once: beyond {limit} the network is another one")'
        for limit in self.given.parts:
            yield f"if ids.shape[1] > (limit := {self.over_cfg(limit, 'self.cfg')}):"
            yield '    raise ValueError(f"{ids.shape[1]} tokens at once: give them to `step` in parts of {limit}")'
        if not set(self.reach) <= set(self.given.limits):
            yield f"if ids.shape[1] > (limit := {self.positions()}):"
            yield '    raise ValueError(f"{ids.shape[1]} tokens: the network has positions for {limit}")'

    def positions(self) -> str:
        """How many tokens there are positions for; nothing where these do not end."""
        found = [self.over_cfg(limit, "self.cfg") for limit in self.reach]
        return f"min({', '.join(found)})" if len(found) > 1 else "".join(found)

    def anchor(self, dialect: Dialect) -> str:
        """A parameter that has the type of the model: the first that an embedding reads."""
        for path, module in walk(self.given.tree):
            stored = [p.name for p in module.parameters if not p.buffer and len(p.shape) > 1]
            if module.kind in CONTAINERS or not stored:
                continue
            held = f"{path}.{stored[0]}" if path else stored[0]
            return unparse(attribute(name("self"), self.leaves.path(held) if dialect.functional_cache else held))
        raise CompileError(Diagnostic("no-parameters", "the model has no parameters"))

    def masks(self, kind: MaskKind) -> tuple[MaskView, ...]:
        return tuple(
            MaskView(
                mask.name,
                mask.causal,
                self.over_cfg(mask.window, "self.cfg") if mask.window is not None else "",
                self.over_cfg(mask.chunk, "self.cfg") if mask.chunk is not None else "",
                kind,
                by_row=works_on_rows(self.given.region, self.given.inputs.index(mask.name)),
            )
            for mask in self.given.masks
        )

    def turns(self) -> list[str]:
        """The lists of layers whose runs share the cache, in the order of execution; nothing where one runs once.

        Raises:
            CompileError: `cache-order`, the runs do not take its slots one after the other.
        """
        found = list(turns.runs(self.region))
        if len(found) < 2:
            return []
        turns.check(found, self.given.resolved)
        return [path for path, _ in found]

    def slots_per_layer(self) -> int:
        """How many slots of the cache every layer takes.

        Raises:
            CompileError: `cache-order`, they are not taken one after the other.
        """
        return turns.slots_per_layer(list(turns.runs(self.region)), self.given.resolved)

    def cache(self) -> CacheView:
        """What the cache holds: one shape for all layers, or one for each kind of layer.

        Raises:
            CompileError: `cache-slots`, a layer has several slots of several shapes, or beside other states.
        """
        shapes = list(dict.fromkeys(shape for shape, _ in self.slots()))
        lists = dict(self.lists())
        lengths = {path: self.over_cfg(self.count(path, length)) for path, length in lists.items()}
        count = next(iter(lengths.values()), "0")
        if self.alone:
            count = self.count_of_slots(lengths, alike=len(shapes) == 1 and not self.states)
        elif runs := self.turns():
            times = {path: runs.count(path) for path in runs}
            count = " + ".join(f"{n} * {lengths[path]}" if n > 1 else lengths[path] for path, n in times.items())
        slots = self.slots_per_layer()
        if slots > 1 and (self.states or len(shapes) > 1):
            what = (
                "keeps states beside the keys and values" if self.states else "keeps keys and values of several sizes"
            )
            raise CompileError(Diagnostic("cache-slots", f"a layer of {slots} attentions {what}"))
        if self.states:
            turns.check_states(self.region, self.given.resolved)
            states, flax = states_view(self.states, self)
            return CacheView(count if shapes else "0", states=states, flax_expr=flax)
        if not shapes:
            return CacheView("0", "0", "0", "0")
        if len(shapes) > 1:
            return CacheView(count, shapes_expr=self.shapes_by_kind())
        heads, key, value = shapes[0]
        if any(isinstance(leaf, Index) for size in shapes[0] for leaf in leaves(size)):
            row = ", ".join(self.size_over_cfg(size) for size in shapes[0])
            return CacheView(count, shapes_expr=f"[({row}) for layer in range({count})]")
        return CacheView(count, self.over_cfg(heads), self.over_cfg(key), self.over_cfg(value), slots=slots)

    def count_of_slots(self, lengths: Mapping[str, str], *, alike: bool) -> str:
        """How many slots the cache has, over `cfg`, where some layers run outside of loops: as many as a list has layers, if
        all are of it.

        Raises:
            CompileError: `cache-order`.
        """
        number = turns.slots_of_all(self.steps, self.given.resolved, alike=alike)
        whole = (path for path, n in self.lists() if n == number and self.alone == {f"{path}.{at}" for at in range(n)})
        return next((lengths[path] for path in whole), str(number))

    def shapes_by_kind(self) -> str:
        """Heads, key size and value size of every layer, where they differ, over `cfg`."""
        by_layer: dict[int, tuple[Expr, Expr, Expr]] = {}
        for path, instance in self.program.instances.items():
            layer = next((int(part) for part in path.split(".") if part.isdigit()), None)
            found = [shape for rs in instance.methods.values() for r in rs for shape, _ in turns.updates(r)]
            if layer is not None and found:
                by_layer.setdefault(layer, found[0])
        first = next(iter(by_layer.values()))
        rows = [by_layer.get(layer, first) for layer in range(self.layers()[1])]
        options = list(dict.fromkeys(rows))
        kinds = self.patterns.finer(tuple(options.index(row) for row in rows))
        texts = {label: ", ".join(self.over_cfg(e) for e in row) for label, row in zip(kinds.labels, rows, strict=True)}
        *others, (_, text) = texts.items()
        text = f"({text})"
        each, kind = over_kinds(self.sequence(kinds))
        for label, made in reversed(others):
            text = f"({made}) if {question(kind, label)} else {text}"
        return f"[{text} for {each}]"

    def letters(self) -> dict[Path, str]:
        """Axis letters of the fields that are sizes."""
        counts = {e.path: "L" for path, length in self.lists() if isinstance(e := self.count(path, length), Key)}
        sizes = {size.path: letter for size, letter in self.axis_letters().items() if isinstance(size, Key)}
        return counts | {path: letter for path, letter in sizes.items() if path in self.fields}

    def numbers(self) -> Iterator[Expr]:
        """Every number that the emitted code computes from the configuration."""
        yield from dict.fromkeys(self.original(expr) for expr in self._numbers())
        yield from (self.original(found.expr) for found in self.derived)

    def original(self, expr: Expr) -> Expr:
        """`expr` over what the configuration itself has."""
        for found in reversed(self.derived):
            expr = found.original(expr)
        return expr

    def left_open(self) -> tuple[Path, ...]:
        """Fields that may be null."""
        return tuple(found.left_open for found in self.derived if found.left_open is not None)

    def properties(self) -> tuple[PropertyView, ...]:
        """Derived numbers of the configuration."""
        letters = self.axis_letters()
        return tuple(
            PropertyView(
                self.names[found.key.path],
                self.over_cfg(found.expr, "self"),
                found.meaning + (f": {letters[found.key]}" if found.key in letters else ""),
            )
            for found in self.derived
        )

    def _numbers(self) -> Iterator[Expr]:
        for made in self.program.plans:
            for instance in made.instances:
                yield from (expr for _, expr in holes(instance))
        yield from self.sizes()

    def legend(self) -> tuple[str, ...]:
        named = [f"{axis.letter} {self.names[axis.size.path]}" for axis in self.axes if isinstance(axis.size, Key)]
        taken = {axis.letter for axis in self.axes}
        if any(isinstance(component, Attention) for component in components(self.region)):
            taken |= set() if self.groups_heads() else {"K"}
            named = [f"{letter} {words}" for letter, words in HEADS if letter not in taken] + named
        return _wrap("Axes: B batch, T new tokens, S attended tokens, ", named)

    def groups_heads(self) -> bool:
        """Whether groups of query heads share keys and values, or nothing is known of heads."""
        found = [component.heads for component in components(self.region) if isinstance(component, Attention)]
        return not found or Heads.GROUPED in found

    def widens_softmax(self) -> bool:
        """Whether the softmax of attention that no library call computes is in float32."""
        return any(
            component.softmax is Precision.FLOAT32
            for component in components(self.region)
            if isinstance(component, Attention)
        )

    def axis_letters(self) -> dict[Expr, str]:
        """What the sizes of values are called: the axes of parameters and of attention."""
        found: dict[Expr, str] = {Dim(letter): letter for letter in "BTS"}
        found |= {axis.size: axis.letter for axis in self.axes}
        for instance in self.program.instances.values():
            for region in (region for regions in instance.methods.values() for region in regions):
                for node in region.nodes:
                    match node:
                        case Raised(Attention(), (Value() as q, Value() as k, *_)) if len(q.shape) == len(k.shape) == 4:
                            for size, letter in ((q.shape[1], "N"), (k.shape[1], "K"), (q.shape[3], "H")):
                                found.setdefault(size, letter)
                        case _:
                            pass
        return found


_NONE_AT_LEAST = Const(0)
"""As in `max(0, n)`, which a range takes care of."""


def _distance(place: Span | None, made: Span | None) -> tuple[int, int]:
    """How far what was counted at `place` is from a list that was made at another: within it, near it, elsewhere."""
    if place is None or made is None or place.file != made.file:
        return (2, 0)
    if (made.line, made.column) <= (place.line, place.column) and place.end_line <= made.end_line:
        return (0, 0)
    return (1, abs(place.line - made.line))


def _wrap(start: str, items: list[str], width: int = 116) -> tuple[str, ...]:
    out, line = [], start
    for number, item in enumerate(items):
        piece = item + (", " if number + 1 < len(items) else ".")
        if len(line) + len(piece) > width:
            out.append(line.rstrip())
            line = ""
        line += piece
    return (*out, line)


Resolve = Callable[[Leaf], ast.expr]
__all__ = [
    "FlaxDialect",
    "Input",
    "Lowered",
    "Lowering",
    "MaskPlan",
    "ModuleTarget",
    "TorchDialect",
    "absolute",
    "leaves",
]
