"""Tracing `forward`: a batch of new tokens after some that are in the cache, with every size symbolic."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from itertools import islice
from typing import Any

from codegen.diagnostics import CompileError, Diagnostic
from codegen.graph import (
    blame,
    classes,
    counting,
    draws,
    equal_sizes,
    expert_lists,
    fallbacks,
    growing,
    histories,
    leftovers,
    lengths,
    maskings,
    operators,
    places,
    rope,
    single,
)
from codegen.graph.callbacks import unfold
from codegen.graph.construction import Built, deep_recursion, module_tree
from codegen.graph.dispatch import PREFERRED
from codegen.graph.ending import keep_last
from codegen.graph.interpreter import Coincidence, Interpreter, Raised
from codegen.graph.kept import Kept, UnsettledStates, check_start, handed_over, holders_of, leaves_of, settle
from codegen.graph.objects import Function, ModuleObject
from codegen.graph.ragged import Ragged
from codegen.graph.recurrent import States, UnknownState
from codegen.graph.regions import freeze, freeze_with_inputs, inputs_of, nodes_of
from codegen.graph.replay import Recordings
from codegen.graph.sinking import sink
from codegen.graph.sizes import Sizes, choices, larger, numbers_in
from codegen.graph.state import KeyValueCache, Mask, Surroundings
from codegen.graph.values import Frame, Node, Tensor, TensorValue, value_of
from ir.expressions import Environment, Expr, evaluate
from ir.graph import DType, Module, Parameter, Region
from ir.records import dataclass, field, replace
from ir.rewriting import replaced


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to call `forward`: on new tokens after those in a cache or on whole sequences; with a mask of all tokens or
    of the new ones, or none; with a cache of ours or what the source makes of its own; with what its modules keep, or on such
    that keep nothing. Loops over modules are written out where they do not fold.
    """

    cached: bool
    all_tokens: bool = True
    own: bool = False
    inside: bool = False
    masked: bool = True
    folds: bool = True  # loops over modules stay loops


@dataclass(frozen=True)
class Traced:
    """A model as it runs: its modules, what happens to the tokens, and what its top region takes, by name."""

    tree: Module
    region: Region
    inputs: tuple[str, ...]  # names of the region's parameters: "ids", "positions", "valid" or a mask's name
    masks: tuple[Mask, ...]
    constants: frozenset[str]  # paths of tensors that are computed from the configuration
    limits: tuple[Expr, ...] = ()  # how many tokens at once it is for, each over the configuration
    parts: tuple[Expr, ...] = ()  # how many at once the source itself takes of longer sequences
    stacks: tuple[tuple[str, str, int], ...] = ()  # parameters that a checkpoint holds in parts: see expert_lists
    way: Attempt | None = field(default=None, compare=False)  # how `forward` was called
    causes: tuple[Diagnostic, ...] = field(default=(), compare=False)  # why it was not called on a cache

    @property
    def runs_again(self) -> bool:
        """Whether nothing is kept of the tokens before, so that a step runs over all of them."""
        return self.way is not None and not self.way.cached

    @property
    def mask_parameters(self) -> tuple[int, ...]:
        """Which parameters of the region are masks."""
        names = {mask.name for mask in self.masks}
        return tuple(at for at, name in enumerate(self.inputs) if name in names)

    @property
    def both_ways(self) -> tuple[int, ...]:
        """Which of them hide no later tokens."""
        names = {mask.name for mask in self.masks if not mask.causal}
        return tuple(at for at, name in enumerate(self.inputs) if name in names)


def trace_forward(built: Built, *, replay: bool = True, way: Attempt | None = None) -> Traced:
    """Run `forward` of the top module; with `replay`, layers that are alike are run once and copied.

    A model whose code cannot go on from a cache is traced on whole sequences. With `way`, it is called so or not at all.

    Raises:
        CompileError: something in it has no meaning here.
    """
    with deep_recursion():
        try:
            traced = _trace_with_sizes(built, replay=replay, way=way)
            return fallbacks.decided(built.interpreter, traced)
        except Raised as error:
            raise blame.raised(built.interpreter, error) from None
        except CompileError as error:
            explained = blame.explain(built.interpreter, error)
            drawn = tuple(draws.found(built.model))
            raise CompileError(*drawn, *explained.diagnostics) if drawn else explained from None


_REFUSALS = frozenset(
    {"AssertionError", "AttributeError", "IndexError", "KeyError", "NotImplementedError", "TypeError", "ValueError"}
)
"""Exceptions of the source after which `forward` is called otherwise: of steps of several tokens, of the cache it was given."""
_ANOTHER_WAY = frozenset({"shape-mismatch", "state-in-module", "unsupported", "unknown-state", "branch-on-length"})
_CACHES = ("past_key_values", "cache_params")
_ATTEMPTS = (
    Attempt(True),
    Attempt(True, all_tokens=False),
    Attempt(True, own=True),
    Attempt(True, all_tokens=False, own=True),
    Attempt(True, inside=True),
    Attempt(True, all_tokens=False, inside=True),
    Attempt(False),
)
_MAX_ROUNDS = 3  # until what calls keep has settled


_MAX_SIZES = 4  # that are tried where the source makes numbers of its own


def _trace_with_sizes(built: Built, *, replay: bool, way: Attempt | None) -> Traced:
    """A trace on sizes that mean nothing to the source."""
    interpreter, last = built.interpreter, None
    interpreter.wanted = {}
    numbers = tuple(numbers_in((built.raw, built.resolved)))

    def enough(sizes: Sizes) -> bool:
        env = interpreter.environment
        known = Environment(env.config, env.raw, sizes.dims)
        return all(evaluate(number, known) >= least for number, least in interpreter.wanted.items())  # type: ignore[operator]

    for attempt in range(_MAX_SIZES):
        found = larger(numbers, enough) if interpreter.wanted else choices(numbers)
        sizes = next(islice(found, attempt, None), None)
        if sizes is None:
            break
        try:
            return _trace_and_keep_tables(built, sizes, replay=replay, way=way)
        except Coincidence as error:
            last = error
    assert last is not None
    raise last


def _trace_and_keep_tables(built: Built, sizes: Sizes, *, replay: bool, way: Attempt | None) -> Traced:
    """A trace; where tables that grow would be made anew by every call, one with the tables that the modules hold."""
    interpreter = built.interpreter
    trace, made, known = interpreter.trace, list(interpreter.trace.root.body), interpreter.predicates.copy()
    interpreter.keeps_tables = False
    try:
        return _trace_either_way(built, sizes, replay=replay, way=way)
    except places.TableRemains:
        trace.frame, trace.root.body, interpreter.predicates = trace.root, made, known
        interpreter.grown, interpreter.keeps_tables = [], True
        return _trace_either_way(built, sizes, replay=replay, way=way)


def _trace_either_way(built: Built, sizes: Sizes, *, replay: bool, way: Attempt | None) -> Traced:
    """The first attempt whose shapes fit together, and that the source does not refuse."""
    attempts = [attempt for attempt in _ATTEMPTS if attempt.own or not attempt.cached]
    if any(_knows(built, name) for name in _CACHES):
        attempts = list(_ATTEMPTS)
    elif not _knows(built, "use_cache"):
        attempts = [Attempt(False)]
    if way is not None:
        attempts = [way]
    interpreter = built.interpreter
    trace, made, known = interpreter.trace, list(interpreter.trace.root.body), interpreter.predicates.copy()
    last: CompileError | Raised | None = None  # without a cache: what is wrong with the network itself
    causes: list[Diagnostic] = []  # why the source is not followed on a cache

    kept_inside = way is not None

    def again() -> None:
        trace.frame, trace.root.body, interpreter.predicates = trace.root, list(made), known.copy()

    for attempt in attempts:
        try:
            if attempt.inside and not kept_inside:
                continue
            if attempt.own or attempt.inside:
                return _twice(built, again, partial(_trace_with_own, built, attempt, sizes, replay=replay, again=again))
            way_of = partial(_trace_with_states, built, attempt, sizes, replay=replay, again=again)
            traced = _twice(built, again, way_of)
            if not attempt.cached:
                histories.check(traced.region, traced.inputs, causes)
            return replace(traced, causes=tuple(causes))
        except Coincidence:
            again()
            raise
        except (CompileError, Raised) as error:
            causes += (blame.raised(interpreter, error) if isinstance(error, Raised) else error).diagnostics
            if attempt.own or attempt.inside:
                last = last or error
                again()
                continue
            if isinstance(error, CompileError) and error.diagnostics[0].code not in _ANOTHER_WAY:
                raise
            if isinstance(error, Raised) and error.instance.cls.name not in _REFUSALS:
                raise
            kept_inside |= isinstance(error, CompileError) and error.diagnostics[0].code == "state-in-module"
            last = error
            again()
    assert last is not None  # that of an attempt on nothing but what the source keeps, where there is no other
    if way is not None or not _shapes_do_not_fit(last):
        raise last
    try:
        traced = _trace_with_states(built, _WITHOUT_MASK, sizes, replay=replay, again=again)
    except (CompileError, Raised):
        raise last from None
    if set(traced.inputs) != {"ids"}:
        raise last  # something else would take padding for tokens
    return replace(traced, causes=tuple(causes))


_WITHOUT_MASK = Attempt(False, masked=False)
"""The last way: a source that adds a mask to what is too small for it takes none, of any batch."""


def _twice(built: Built, again: Callable[[], None], run: Callable[[], Traced]) -> Traced:
    """A trace; where a call leaves something in its modules, another that watches whether the next call could see it."""
    interpreter = built.interpreter
    interpreter.leftovers = frozenset()
    try:
        return run()
    except CompileError as error:
        if error.diagnostics[0].code != "state-in-module" or not interpreter.leftovers:
            raise
    again()
    return run()


def _shapes_do_not_fit(error: CompileError | Raised) -> bool:
    return isinstance(error, CompileError) and error.diagnostics[0].code == "shape-mismatch"


def _trace_with_states(
    built: Built, attempt: Attempt, sizes: Sizes, *, replay: bool, again: Callable[[], None]
) -> Traced:
    """A trace; where it asks for states that are not known yet, after one on an empty cache that tells them."""
    states = States(learning=True)
    try:
        return _trace_from_the_beginning(built, attempt, sizes, replay=replay, again=again)
    except _FilledLater as found:
        again()
        traced = _trace(built, attempt, sizes, replay=replay, filled=found.slots)
        if traced != found.traced:  # the first step would take another path than the others
            message = "the source takes another path where the cache of a layer is empty"
            raise CompileError(Diagnostic("filled-later", message)) from None
        return traced
    except UnknownState:
        again()
        _run(built, attempt, Surroundings(attempt.cached, sizes, states=states), replay=replay)
        again()
        return _trace_from_the_beginning(built, attempt, sizes, replay=replay, again=again, states=states)


def _trace_from_the_beginning(
    built: Built,
    attempt: Attempt,
    sizes: Sizes,
    *,
    replay: bool,
    again: Callable[[], None],
    states: States | None = None,
) -> Traced:
    """A trace; where the source asks whether anything is in the cache, beside one on an empty cache.

    Raises:
        CompileError: `branch-on-length`, the first call takes other inputs than the ones after it.
    """

    def kinds() -> States | None:
        return None if states is None else States(kinds=states.kinds)

    interpreter = built.interpreter
    traced = _trace(built, attempt, sizes, replay=replay, states=kinds())
    if not interpreter.surroundings.asked_whether_empty:
        return traced
    noted, asked = interpreter.surroundings, interpreter.predicates
    again()
    first = _inputs_at_the_beginning(built, attempt, sizes, replay=replay, states=kinds())
    again()
    if set(first) != set(traced.inputs):
        message = "the source takes other inputs where the cache is empty than where it is not"
        raise CompileError(Diagnostic("branch-on-length", message))
    interpreter.surroundings, interpreter.predicates = noted, asked  # of the call that is compiled
    return traced


def _trace_with_own(built: Built, attempt: Attempt, sizes: Sizes, *, replay: bool, again: Callable[[], None]) -> Traced:
    """A trace on what a call before it left in objects of the source.

    Raises:
        CompileError: `unknown-state`, it leaves none, or others every time.
    """
    kept, states = Kept({}, sizes), States(learning=True)
    classes.announce(built.interpreter, built.model.cls)
    try:
        _sketch(built, attempt, kept, states)
        for _ in range(_MAX_ROUNDS):
            again()
            try:
                made = _trace(built, attempt, sizes, replay=replay, kept=kept, states=States(kinds=states.kinds))
                single.check(made.region)
                return made
            except UnsettledStates:
                continue
    except UnknownState:
        pass
    raise CompileError(Diagnostic("unknown-state", "what one call leaves for the next one has other shapes every time"))


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of `forward`: what it was given, what it gave, and what had been made before."""

    surroundings: Surroundings
    output: Any
    valid: TensorValue
    fresh: TensorValue
    parameters: dict[TensorValue, list[str]]
    setup: Frame  # what filled the buffers


def _sketch(built: Built, attempt: Attempt, kept: Kept, states: States) -> None:
    """Run `forward` on nothing, for what it leaves for the next call alone."""
    _run(built, attempt, Surroundings(attempt.cached, kept.sizes, kept=kept, states=states, sketch=True), replay=False)
    check_start(kept, built.interpreter.trace)


FORMS = (PREFERRED, "_supports_flash_attn", "_supports_flash_attn_2", "_supports_flex_attn")
"""What a model says of the forms of attention that the library has for it, beside the function of its file."""


def _is_supported(interpreter: Interpreter, model: ModuleObject, form: str) -> bool:
    return value_of(interpreter.call(interpreter.builtins["getattr"], [model, form, False], {})) is True


def _run(built: Built, attempt: Attempt, surroundings: Surroundings, *, replay: bool) -> _Run:
    """Run `forward` once."""
    interpreter, model, cached, kept = built.interpreter, built.model, attempt.cached, surroundings.kept
    trace = interpreter.trace
    for _, module in _modules(model, ""):
        rope.prepare(interpreter, module)
        _keep_wide(module)
    setup = replace(trace.root, body=list(trace.root.body), bindings=list(trace.root.bindings))
    interpreter.surroundings, interpreter.undecided = surroundings, {}
    surroundings.forms = tuple(form for form in FORMS if _is_supported(interpreter, model, form))
    if kept is not None:
        kept.begin()
    modules = tuple(_modules(model, "")) if attempt.inside else ()
    ids, positions, fresh = Tensor(surroundings.ids), Tensor(surroundings.positions), Tensor(surroundings.fresh)
    sizes = surroundings.sizes
    total = sizes.S if cached and not surroundings.sketch else sizes.T
    valid = Tensor(TensorValue((sizes.B, total), DType.INT64)) if attempt.all_tokens else fresh
    surroundings.valid = valid.value
    held = _held(model)
    dims = {**sizes.dims, **({} if cached and not surroundings.sketch else {"S": sizes.new, "P": 0})}
    environment = interpreter.environment
    trace.ragged = Ragged(trace)
    trace.evaluate = lambda expr: evaluate(expr, Environment(environment.config, environment.raw, dims))
    trace.default_dtype = DType.FLOAT32
    interpreter.framing = True
    interpreter.recordings = Recordings() if replay and not attempt.inside else None  # a copy would keep nothing
    if kept is not None:
        kept.place(modules)
    try:
        given = kept.given if attempt.own and kept is not None else None
        with leftovers.watching(_modules(model, ""), interpreter.leftovers, trace) as watched:
            output = interpreter.call_module(
                model, [], _arguments(built, ids, positions, valid if attempt.masked else None, cached, given)
            )
        if cached and not attempt.inside:
            _check_modules(interpreter, model, held, watched)
        if kept is not None:
            if attempt.inside:
                kept.take(modules, {id(slot): content for slot, content, _ in held})
            else:
                kept.given = handed_over(output, _state_parameters(built))
    finally:
        _restore(held)
        interpreter.framing = False
        trace.ragged = trace.evaluate = None
    parameters = _parameters(model)  # lists of experts may be stacked now
    if kept is not None and not kept.given:
        raise CompileError(Diagnostic("unknown-state", "forward hands nothing over to the next call"))
    return _Run(surroundings, output, valid.value, fresh.value, parameters, setup)


def _trace(
    built: Built,
    attempt: Attempt,
    sizes: Sizes,
    *,
    replay: bool,
    states: States | None = None,
    filled: frozenset[object] = frozenset(),
    kept: Kept | None = None,
) -> Traced:
    """Run `forward` once, and what it computes."""
    surroundings = Surroundings(attempt.cached, sizes, states=states or States(), filled=filled, kept=kept)
    return _frozen(built, attempt, _prepared(built, attempt, surroundings, replay=replay))


def _inputs_at_the_beginning(
    built: Built, attempt: Attempt, sizes: Sizes, *, replay: bool, states: States | None
) -> tuple[str, ...]:
    """What `forward` takes where nothing is in the cache: of a trace that is not compiled."""
    surroundings = Surroundings(attempt.cached, sizes, states=states or States(), begins=True)
    made = _prepared(built, attempt, surroundings, replay=replay)
    if surroundings.asked & (_filled(made.frame) - surroundings.filled):
        return _frozen(built, attempt, made).inputs  # and says that it is filled later
    return _input_names(made, inputs_of(made.frame, [made.logits.value], made.run.parameters, _constants(built.model)))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One call of `forward` as it is before it becomes a region. `same`: sizes that are equal by the names of others."""

    run: _Run
    frame: Frame
    logits: Tensor
    same: equal_sizes.Names


def _prepared(built: Built, attempt: Attempt, surroundings: Surroundings, *, replay: bool) -> _Prepared:
    interpreter, model, cached = built.interpreter, built.model, attempt.cached
    trace, sizes, kept = interpreter.trace, surroundings.sizes, surroundings.kept
    run = _run(built, attempt, surroundings, replay=replay)
    lengths.check(interpreter)
    parameters = run.parameters
    logits = _logits(interpreter, run.output)
    _check_positions(logits, surroundings)
    frame = next(f for f in trace.root.body if isinstance(f, Frame) and f.kind == "module" and f.module_path == "")
    if kept is not None:
        settle(interpreter, kept, frame, logits.value)
    maskings.recognise(interpreter, frame)
    places.rewrite(frame, logits.value, sizes)
    growing.shorten(interpreter, places.needed(frame, logits.value))
    if not interpreter.keeps_tables:
        places.check(frame, logits.value)
    unfold(frame, dict(_modules(model, "")))
    sink(frame, parameters, {path for path, module in _modules(model, "") if module.cls.module.startswith("stubs.")})
    counting.share_the_count(frame, surroundings.ids, surroundings.positions, cached=cached)
    same = equal_sizes.names(frame, trace.agreements, lambda: module_tree(built))
    equal_sizes.rename_trace(frame, same)
    return _Prepared(run, frame, logits, same)


def _input_names(made: _Prepared, takes: tuple[TensorValue, ...]) -> tuple[str, ...]:
    """
    Raises:
        CompileError: `hidden-state`.
    """
    run, surroundings = made.run, made.run.surroundings
    names = {surroundings.ids: "ids", surroundings.positions: "positions", run.valid: "valid", run.fresh: "fresh"}
    names |= {value: mask.name for mask, value in surroundings.masks.items()}
    unknown = [value for value in takes if value not in names]
    if unknown:
        raise CompileError(
            Diagnostic("hidden-state", "forward reads a tensor that is neither an input nor a parameter")
        )
    return tuple(names[value] for value in takes)


def _frozen(built: Built, attempt: Attempt, made: _Prepared) -> Traced:
    model, run, surroundings, frame = built.model, made.run, made.run.surroundings, made.frame
    region, takes = freeze_with_inputs(
        frame, [made.logits.value], run.parameters, _constants(model), folds=attempt.folds
    )
    inputs = _input_names(made, takes)
    masks = tuple(mask for mask, value in surroundings.masks.items() if value in takes)
    tree, constants = _with_constants(module_tree(built), model, run.parameters, run.setup)
    stacks = tuple(expert_lists.templates(model))
    traced = Traced(
        tree,
        keep_last(region),
        inputs,
        masks,
        constants,
        tuple(surroundings.limits),
        tuple(surroundings.parts),
        stacks,
        attempt,
    )
    traced = replaced(traced, made.same)
    if surroundings.asked & (_filled(frame) - surroundings.filled):
        raise _FilledLater(traced, _filled(frame))
    return traced


@dataclass(frozen=True)
class _FilledLater(Exception):
    """A trace fills slots of the cache that it was told are empty."""

    traced: Traced
    slots: frozenset[object]


def _filled(root: Frame) -> frozenset[object]:
    """The slots of the cache that a trace fills."""
    return frozenset(_slot(node, frame) for node, frame in nodes_of(root) if node.op == "cache_update")


def _slot(node: Node, frame: Frame | None) -> object:
    """Which slot of the cache a layer fills. A copy of a traced layer has the number of its iteration."""
    while frame is not None and frame.kind != "iteration":
        frame = frame.parent
    return value_of(node.args[2]) if frame is None else frame.index


def _arguments(
    built: Built, ids: Tensor, positions: Tensor, valid: Tensor | None, cached: bool, given: dict[str, Any] | None
) -> dict[str, Any]:
    """What `forward` is called with, as far as it knows the parameters."""
    arguments = {
        "input_ids": ids,
        "attention_mask": valid,
        "position_ids": positions,
        **{name: KeyValueCache() if cached and given is None else None for name in _CACHES},
        **(given or {}),
        "use_cache": cached,
    }
    passes_on = _forward(built).args.kwarg is not None
    return {n: v for n, v in arguments.items() if _knows(built, n) or (passes_on and n == "position_ids")}


def _forward(built: Built) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda:
    method = classes.find(built.interpreter, built.model.cls, "forward")
    assert isinstance(method, Function)
    return method.node


def _state_parameters(built: Built) -> list[str]:
    """The parameters of `forward` that are no input of every call."""
    arguments = _forward(built).args
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    return [name for name in names if name not in _INPUTS]


_INPUTS = frozenset({"self", "input_ids", "attention_mask", "position_ids", "inputs_embeds", "labels", "use_cache"})


def _knows(built: Built, name: str) -> bool:
    """Whether `forward` has a parameter of this name."""
    arguments = _forward(built).args
    return any(a.arg == name for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])


def _check_positions(logits: Tensor, surroundings: Surroundings) -> None:
    """
    Raises:
        CompileError: `some-logits`, where there are not as many positions as tokens.
    """
    if len(logits.shape) == 3 and value_of(logits.shape[1]) != value_of(surroundings.sizes.T):
        raise CompileError(
            Diagnostic(
                "some-logits",
                "logits of some positions alone",
                help="a model answers with the logits of all positions of all rows",
            )
        )


def _logits(interpreter: Any, output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)):
        found = next((item for item in output if isinstance(item, Tensor)), None)
        if found is None:
            interpreter.unsupported("`forward` answers with no tensor")
        assert found is not None
        return found
    logits = interpreter.getattr(output, "logits")
    if not isinstance(logits, Tensor):
        interpreter.unsupported(f"`forward` answers with logits that are of type `{operators.type_name(logits)}`")
    assert isinstance(logits, Tensor)
    return logits


def _parameters(model: ModuleObject) -> dict[TensorValue, list[str]]:
    """Paths of every tensor that a module holds: parameters, buffers, and plain attributes."""
    paths: dict[TensorValue, list[str]] = {}
    for path, module in _modules(model, ""):
        for name, tensor in _tensors(module):
            paths.setdefault(tensor.value, []).append(f"{path}.{name}" if path else name)
    return paths


def _tensors(module: ModuleObject) -> Iterator[tuple[str, Tensor]]:
    for source in (expert_lists.parameters(module), module.buffers):
        for name, value in source.items():
            if isinstance(value, Tensor):
                yield name, value
    yield from _attributes(module)


def _attributes(module: ModuleObject) -> Iterator[tuple[str, Tensor]]:
    """The tensors among the attributes of a module, those in lists, dicts and objects of its own as well; the way to one is its name."""
    for steps, tensor in leaves_of(module.dict):
        name = re.sub(r"\W", "_", "_".join(map(str, steps)))
        yield name.removeprefix("__"), tensor  # which Python would call otherwise in a class


def _keep_wide(module: ModuleObject) -> None:
    """What a checkpoint holds of tensors that are made in float32 stays so in a narrower model, and widens with a wider one."""
    for name, tensor in (*module.parameters.items(), *module.buffers.items()):
        if tensor is not None and name not in module.transient and tensor.dtype is DType.FLOAT32:
            tensor.value.dtype = DType.PROMOTED


def _constants(model: ModuleObject) -> frozenset[TensorValue]:
    """Tensors that modules hold and no checkpoint does."""
    return frozenset(
        tensor.value
        for _, module in _modules(model, "")
        for name, tensor in _tensors(module)
        if _is_constant(module, name)
    )


def _is_constant(module: ModuleObject, name: str) -> bool:
    """Whether no checkpoint holds a tensor of a module."""
    return name not in expert_lists.parameters(module) and (name in module.transient or name not in module.buffers)


def _modules(module: ModuleObject, path: str) -> Iterator[tuple[str, ModuleObject]]:
    yield path, module
    for name, child in expert_lists.children(module).items():
        if child is not None:
            yield from _modules(child, f"{path}.{name}" if path else name)


Held = list[tuple[Any, Any, list[tuple[Tensor, TensorValue]]]]


def _held(model: ModuleObject) -> Held:
    """What every module holds: slots, what is in them, and the values of the tensors among that."""
    slots: dict[int, Any] = {}
    for _, module in _modules(model, ""):
        for slot in (module.parameters, module.buffers, module.dict, *holders_of(module.dict)):
            slots[id(slot)] = slot
    values = {key: list(slot.values()) if isinstance(slot, dict) else slot for key, slot in slots.items()}
    return [(s, copy(s), [(t, t.value) for t in values[key] if isinstance(t, Tensor)]) for key, s in slots.items()]


def _check_modules(
    interpreter: Interpreter, model: ModuleObject, held: Held, watched: Mapping[str, leftovers.Watched]
) -> None:
    """What a call leaves in a module for the next one is no part of the cache that a step is given. Nothing is left where all
    that it changed in the module was written before it was read, as is known where that was `watched`.

    Raises:
        CompileError: `state-in-module`; without a cache nothing is left, so whole sequences are right.
    """
    before = {id(slot): content for slot, content, _ in held}
    kept: list[tuple[str, str]] = []
    changed: set[leftovers.Leftover] = set()
    for path, module in _modules(model, ""):
        old = before.get(id(module.dict), {})  # nothing, of a module that the call made
        if path in watched and not watched[path].read:
            continue
        tensors = [name for name, x in module.dict.items() if isinstance(x, Tensor) and old.get(name, x) is None]
        kept += [(path, name) for name in tensors]
        if tensors:
            changed |= {(path, name) for name, value in module.dict.items() if old.get(name) is not value}
        inner = (slot for slot in holders_of(module.dict) if slot is not module.dict)
        kept += [(path, str(key)) for slot in inner for key in _new_in(slot, before.get(id(slot)))]
    if not kept:
        return
    interpreter.leftovers = frozenset(changed)
    path, name = kept[0]
    message = f"`{name}` of `{path}` is kept from one call to the next outside of the cache"
    raise CompileError(Diagnostic("state-in-module", message))


def _new_in(slot: Any, old: Any) -> list[Any]:
    """The keys of a dict of the source, or the places of a list, that hold another tensor than before the call."""
    if old is None:
        return []
    items = slot.items() if isinstance(slot, dict) else enumerate(slot)
    known = old if isinstance(slot, dict) else dict(enumerate(old))
    return [key for key, x in items if isinstance(x, Tensor) and known.get(key) is not x]


def _restore(held: Held) -> None:
    """Take back what `forward` wrote into its modules: the next call starts from what the constructor made."""
    for slot, content, values in held:
        slot.clear()
        slot.update(content) if isinstance(slot, dict) else slot.extend(content)
        for tensor, value in values:
            tensor.value = value


# ------------------------------------------------------------------------------------------------------ constants


def _with_constants(
    tree: Module, model: ModuleObject, parameters: dict[TensorValue, list[str]], setup: Frame
) -> tuple[Module, frozenset[str]]:
    """The tree with, for every tensor that no checkpoint holds, the code that computes it."""
    defined = {result for node, _ in nodes_of(setup) for result in node.results}
    flat = Frame("module", "constants", "", None, None, body=[node for node, _ in nodes_of(setup)])
    flat.bindings += _tensor_bindings(setup)
    constants: set[str] = set()

    def visit(node: Module, source: ModuleObject, path: str) -> Module:
        stored = {p.name: p for p in node.parameters}
        fills: list[Parameter] = []
        for name, tensor in _tensors(source):
            where = f"{path}.{name}" if path else name
            transient = _is_constant(source, name)
            known = stored.get(name)
            if not transient:
                if known is not None:
                    fills.append(known)
                continue
            if tensor.value not in defined:
                continue
            region = freeze(flat, [tensor.value], {})
            constants.add(where)
            shape = known.shape if known is not None else tuple(_expr(size) for size in tensor.shape)
            fills.append(Parameter(name, shape, tensor.dtype, buffer=True, persistent=False, fill=region))
        below = expert_lists.children(source)
        order = [p for p in node.parameters if p.name not in {f.name for f in fills}]
        children = tuple(
            (name, visit(child, below[name], f"{path}.{name}" if path else name))  # type: ignore[arg-type]
            for name, child in node.children
        )
        return replace(node, parameters=(*fills, *order), children=children)

    return visit(tree, model, ""), frozenset(constants)


def _tensor_bindings(frame: Frame) -> Iterator[tuple[str, TensorValue]]:
    """The local variables below `frame` that hold tensors."""
    yield from ((name, value) for name, value in frame.bindings if isinstance(value, TensorValue))
    for item in frame.body:
        if isinstance(item, Frame):
            yield from _tensor_bindings(item)


def _expr(size: Any) -> Any:
    from codegen.graph.values import expr_of

    return expr_of(size)
