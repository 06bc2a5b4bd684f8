"""Loops over experts, by what they compute: for every token the sum, over the experts that it goes to, of what each makes of it.

    for expert in those that some token goes to:
        tokens = those that go to this expert
        total.index_add_(0, tokens, f(expert, x[tokens]) * weights[tokens])

`f` may be anything that treats the tokens one by one. The body runs once, for all experts together, see `pairs`. A loop that
looks like this and does something else is an error with its place: what one expert makes must not reach the next.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from codegen.graph import expert_lists
from codegen.graph.groups import Counts, Joined
from codegen.graph.objects import ModuleObject, Range, Stream
from codegen.graph.pairs import Edge, Pairs, RowCount
from codegen.graph.regions import nodes_of
from codegen.graph.routing import Routing, counted, depends_on_data, experts_hit
from codegen.graph.scope import Scope
from codegen.graph.undoing import mark
from codegen.graph.values import Frame, Node, Size, Tensor, TensorValue, tensors_in, value_of

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

HELP = (
    "a loop over experts takes the tokens of each by a mask over indices of experts, treats them one by one and adds the"
    " results to where they belong"
)


def is_loop(interpreter: Interpreter, source: Any) -> bool:
    """Whether a `for` statement runs over items whose number only the data decides."""
    return isinstance(source, Tensor) and bool(source.shape) and depends_on_data(source.shape[0])


def run_loop(interpreter: Interpreter, node: ast.For, source: Tensor, scope: Scope) -> None:
    """Run the body once for all experts.

    Raises:
        Unsupported: `data-dependent-loop`, the loop is over something else or has another body.
    """

    def refuse(message: str) -> NoReturn:
        interpreter.unsupported(f"in a loop over experts, {message} has no meaning", HELP, "data-dependent-loop")

    routing = experts_hit(interpreter.trace, source.value)
    if routing is None:
        interpreter.unsupported(
            "a loop whose number of turns depends on the data",
            "the indices of all experts that some token goes to are understood; " + HELP,
            "data-dependent-loop",
        )
    if interpreter.trace.lifting is not None:
        refuse("another loop over experts")
    loop = _Loop(interpreter, routing, refuse)
    loop.run(node, lambda: loop.pairs.expert(source.shape[1:]), scope)


# ------------------------------------------------------------------------------------------------ loops over all experts


class Together(Exception):
    """In a turn of the loop of `trial` rows are asked for whose number only the data knows."""

    def __init__(self, trial: Trial):
        super().__init__("a loop over experts")
        self.trial = trial


class Trial:
    """A loop over numbers or modules whose turns are run one by one, until one of them asks for rows of its own."""

    def __init__(self, interpreter: Interpreter, scope: Scope):
        self.interpreter, self.scope, self.frame = interpreter, scope, interpreter.trace.frame
        self.unrecorded = mark(interpreter)
        self.variables = dict(scope.vars)
        self.lists = [(value, list(value)) for value in scope.vars.values() if type(value) is list]
        parts = [*scope.vars.values(), *(item for _, held in self.lists for item in held)]
        self.values = [(tensor, tensor.value) for tensor in parts if isinstance(tensor, Tensor)]

    def end(self, frame: Frame | None) -> None:
        """Called where rows are asked for in a frame: within this loop, but in none of its modules, that is no turn of its own.

        Raises:
            Together: it is.
        """
        while frame is not None and frame is not self.frame:
            if frame.kind == "module":
                return
            frame = frame.parent
        if frame is self.frame:
            raise Together(self)

    def undo(self) -> None:
        """Leave no trace of the turns so far."""
        self.unrecorded()
        self.scope.vars.clear()
        self.scope.vars.update(self.variables)
        for held, items in self.lists:
            held[:] = items
        for tensor, value in self.values:
            tensor.value = value


def may_be_over_experts(interpreter: Interpreter, source: Any) -> bool:
    """Whether a loop over numbers or modules may be one over experts."""
    over = source.of if isinstance(source, Stream) else source
    if not interpreter.framing or interpreter.trace.lifting is not None:
        return False
    if isinstance(over, Range):
        return value_of(over.start) == 0 and value_of(over.step) == 1 and not over.of_input
    return isinstance(over, ModuleObject) and over.cls.qualified == "stubs.nn.ModuleList"


def is_over_counts(source: Any) -> bool:
    """Whether a loop runs over how many tokens go to each expert."""
    return isinstance(source, Counts) or (isinstance(source, Stream) and isinstance(source.of, Counts))


def run_turns(interpreter: Interpreter, node: ast.For, source: Any, scope: Scope) -> None:
    """Run the body of a loop over all experts once.

    Raises:
        Unsupported: `data-dependent-loop`.
    """

    def refuse(message: str) -> NoReturn:
        interpreter.unsupported(f"in a loop over experts, {message} has no meaning", HELP, "data-dependent-loop")

    over = source.of if isinstance(source, Stream) else source
    routing: Routing | None = None
    if isinstance(over, Counts):
        turns: Size = over.sizes.shape[0]
        routing = counted(interpreter.trace, over.sizes)
        if routing is None:
            refuse("a list of numbers that are not how many tokens go to each expert")
    elif isinstance(over, Range):
        turns = over.stop
    else:
        turns = expert_lists.length(interpreter, over)
    loop = _Loop(interpreter, routing, refuse, turns)
    loop.cuts = isinstance(over, Counts)

    def item() -> Any:
        number = loop.pairs.expert(())
        if isinstance(over, Range):
            one: Any = number
        elif isinstance(over, Counts):
            one = RowCount()
        else:
            one = expert_lists.item(interpreter, over, loop.pairs)
        return (number, one) if isinstance(source, Stream) else one

    loop.run(node, item, scope)


class _Loop:
    """One run of a body."""

    def __init__(self, interpreter: Interpreter, routing: Routing | None, refuse: Any, turns: Size | None = None):
        self.interpreter, self.trace = interpreter, interpreter.trace
        self.pairs = Pairs(self.trace, routing, refuse, turns)
        self.refuse = refuse
        self.cuts = False  # whether the rows of an expert are cut out of sorted ones

    def run(self, node: ast.For, item: Callable[[], Any], scope: Scope) -> None:
        interpreter, pairs = self.interpreter, self.pairs
        before = dict(scope.vars)
        lists = {name: len(value) for name, value in before.items() if type(value) is list}
        starts = self._starts(node, scope) if self.cuts else set()
        interpreter.loops += 1
        self.trace.lifting = pairs
        try:
            interpreter.assign(node.target, item(), scope)
            interpreter.run_turn(node.body, scope, self.refuse)
        finally:
            self.trace.lifting = None
            interpreter.loops -= 1
        for name in starts:
            if scope.vars.pop(name, None) != Edge(False):
                self.refuse(f"`{name}`, which is not where the next expert begins,")
        self._check_carried(node, {name: value for name, value in before.items() if name not in starts})
        self._check_sums()
        if pairs.index is None:
            self.refuse("a mask of tokens that does not follow from an index of experts")
        self._gather(lists, scope)
        pairs.close()
        self.trace.spent |= pairs.spent()
        interpreter.exec_body(node.orelse, scope)

    def _starts(self, node: ast.For, scope: Scope) -> set[str]:
        """Numbers that are 0 before the loop and that every turn sets: where the rows of the next expert begin."""
        zeros = {name for name, value in scope.vars.items() if type(value_of(value)) is int and value_of(value) == 0}
        found = {name for name in zeros if _is_set(node, name)}
        scope.vars.update(dict.fromkeys(found, Edge(True)))
        return found

    def _gather(self, lists: dict[str, int], scope: Scope) -> None:
        """Lists that every turn appends its rows to."""
        for name, length in lists.items():
            grown = scope.vars.get(name)
            if type(grown) is not list or len(grown) == length:
                continue
            last = grown[-1]
            if length or len(grown) > 1 or not isinstance(last, Tensor) or last.value not in self.pairs.rows:
                self.refuse(f"`{name}`, a list that does not get the rows of one expert after those of another,")
            if self.pairs.active is not None:
                self.refuse(f"`{name}`, which not every expert appends to,")
            self.pairs.kept.add(last.value)
            scope.vars[name] = Joined(last.value)

    def _check_carried(self, node: ast.For, before: dict[str, Any]) -> None:
        """No turn of the loop reads a variable that the one before it set."""
        written: set[str] = set()
        for statement in node.body:
            for name in _in_order(statement):
                if isinstance(name.ctx, ast.Store):
                    written.add(name.id)
                elif name.id not in written and name.id in before and _is_set(node, name.id):
                    held = before[name.id]
                    if not (isinstance(held, Tensor) and held.value in self.pairs.sums):
                        self.interpreter.node = name
                        self.refuse(f"`{name.id}`, which one expert reads and another sets,")

    def _check_sums(self) -> None:
        """Nothing in the body reads what the results are added to."""
        pairs = self.pairs
        start = Frame("function", "", None, None, None, body=pairs.outer.body[pairs.start :])
        for node, _ in nodes_of(start):
            if id(node) not in pairs.adding and self._reads(node, pairs.sums):
                self.refuse("reading the sum of what the experts made so far")

    def _reads(self, node: Node, sums: set[TensorValue]) -> bool:
        return any(value in sums for value in tensors_in(node.args))


def _in_order(node: ast.AST) -> list[ast.Name]:
    """Names of a statement in the order in which they are read and set: of an assignment, the value first."""
    match node:
        case ast.Assign(targets=targets, value=value):
            parts: list[ast.AST] = [value, *targets]
        case ast.AugAssign(target=ast.Name() as target, value=value):
            read = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            parts = [read, value, target]
        case ast.AugAssign(target=target, value=value):
            parts = [value, target]
        case ast.Name():
            return [node]
        case ast.FunctionDef() | ast.Lambda():
            return []
        case _:
            parts = list(ast.iter_child_nodes(node))
    return [name for part in parts for name in _in_order(part)]


def _is_set(node: ast.For, name: str) -> bool:
    return any(n.id == name and isinstance(n.ctx, ast.Store) for s in node.body for n in _in_order(s))


# ----------------------------------------------------------------------------------------------------------- branches


def branches(interpreter: Interpreter, node: ast.If, test: Any, scope: Scope) -> bool:
    """Run an `if` that some experts take and some do not; False if this is no such thing."""
    pairs = interpreter.trace.lifting
    if not isinstance(pairs, Pairs) or not pairs.undecided(test):
        return False
    condition = pairs.holds(test.value)
    around = pairs.active
    before = dict(scope.vars)
    then = _arm(interpreter, pairs, node.body, scope, pairs.restrict(condition, True))
    after_then, scope.vars = dict(scope.vars), dict(before)
    pairs.active = around
    otherwise = _arm(interpreter, pairs, node.orelse, scope, pairs.restrict(condition, False))
    pairs.active = around
    if then and otherwise:
        interpreter.skip_turn()
    if then or otherwise:
        pairs.active = pairs.restrict(condition, not then)
        if otherwise:
            scope.vars = after_then
        return True
    _merge(pairs, condition, after_then, scope)
    return True


def undecided(interpreter: Interpreter, value: Any) -> bool:
    """Whether a value is true for some experts of a loop and false for others."""
    pairs = interpreter.trace.lifting
    return isinstance(pairs, Pairs) and pairs.undecided(value)


def _arm(interpreter: Interpreter, pairs: Pairs, body: list[ast.stmt], scope: Scope, active: TensorValue) -> bool:
    """Run one arm for the rows that take it; whether it ends the turn."""
    pairs.active = active
    return interpreter.ends_turn(body, scope)


def _merge(pairs: Pairs, condition: Tensor, then: dict[str, Any], scope: Scope) -> None:
    """Variables that the arms set differently hold, for every row, what its own arm set."""
    for name in dict.fromkeys([*then, *scope.vars]):
        one, other = then.get(name), scope.vars.get(name)
        if one is other:
            continue
        if not isinstance(one, Tensor) or not isinstance(other, Tensor):
            scope.vars.pop(name, None)  # set by one arm: whoever reads it finds no such name
            continue
        if one.value is other.value:
            continue
        rows = one.value in pairs.rows and other.value in pairs.rows
        if not rows or len(one.shape) != len(other.shape) or one.dtype is not other.dtype:
            pairs.refuse(f"`{name}`, which is one thing for some experts and another for others,")
        scope.vars[name] = pairs.chosen(condition, one, other)
