"""Lists that configurations make of what they know, made once for the same values: in all runs of a configuration class, and for
all layers that ask such a configuration for one.

Most variants of a configuration change nothing that says which layers there are. A comprehension, or a `list(...)`, that only
reads follows from the values of the names in it; what making it noted (questions, keys that were looked at, names that were
asked for) is noted again. Where a value is not there yet, is worked out when it is asked for, or is of an unknown kind, the list
is made anew.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from codegen.graph import classes, operators
from codegen.graph.objects import Instance, Property, SList
from codegen.graph.predicates import Noted
from codegen.graph.scope import Scope
from codegen.graph.values import Read, Reads, Scalar, Watched
from codegen.graph.within import Unlike, copied, form_of
from ir.expressions import Dim, Expr, leaves
from ir.records import dataclass

if TYPE_CHECKING:
    from codegen.graph.interpreter import Interpreter

Chain = tuple[str, ...]  # a name, and the attributes that are taken from it

_PARTS = (
    ast.Constant,
    ast.BoolOp,
    ast.IfExp,
    ast.Compare,
    ast.BinOp,
    ast.UnaryOp,
    ast.Subscript,
    ast.expr_context,
    ast.boolop,
    ast.cmpop,
    ast.operator,
    ast.unaryop,
)
LISTS = frozenset({"list", "tuple", "sorted"})  # functions that make one
_SERIES = frozenset({"range", "enumerate", "zip", "reversed"})
_FUNCTIONS = frozenset({"len", "int", "float", "str", "bool", "abs", "max", "min", "round"}) | LISTS | _SERIES
_ELEMENTS = frozenset({str, int, float, bool, type(None), Scalar, Watched})


class _Anew(Exception):
    """It cannot be told what a list follows from."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an expression reads: values, and functions that are Python's own."""

    values: tuple[Chain, ...]
    functions: frozenset[str]


@dataclass(frozen=True, slots=True)
class _List:
    items: list[Any]
    noted: tuple[Noted, ...]
    reads: tuple[Read, ...]
    sought: frozenset[Any]
    asked: tuple[tuple[Expr, object], ...]  # about the index of a layer
    node: ast.AST | None  # what was evaluated last

    def again(self, interp: Interpreter) -> list[Any]:
        """The list, with all that making it noted."""
        for noted in self.noted:
            interp.predicates.add(*noted)
        interp.asked += self.asked
        interp.node = self.node
        if interp.reads is None:
            return _copy(self.items, Reads())
        for read in self.reads:
            interp.reads.add(read)
        if interp.sought is not None:
            interp.sought |= self.sought
        return _copy(self.items, interp.reads)


def _is_plain(made: Any) -> bool:
    """Whether a list holds scalars and nothing else."""
    if type(made) not in (list, SList) or isinstance(getattr(made, "size", None), Watched):
        return False
    return all(type(item) in _ELEMENTS for item in made)


def _copy(items: list[Any], reads: Reads) -> list[Any]:
    made = copied(items, reads)
    if isinstance(items, SList) and isinstance(made, SList):
        made.size = items.size
    return made


def _speaks_of_input(noted: Noted) -> bool:
    """Whether something that was noted is about the sizes of the input: such questions do more than that."""
    return any(isinstance(leaf, Dim) for leaf in leaves(noted[1]))


class Recalled:
    """The lists that are known, by what they follow from."""

    def __init__(self) -> None:
        self._recipes: dict[ast.expr, _Recipe | None] = {}
        self._known: dict[Hashable, _List] = {}

    def make(self, interp: Interpreter, node: ast.expr, scope: Scope, anew: Callable[[], Any]) -> Any:
        """What `anew` gives for an expression."""
        if interp.stage == 1 and (interp.reads is None or interp.sought is None):
            return anew()
        try:
            key = self._key(interp, node, scope)
        except (_Anew, Unlike):
            return anew()
        known = self._known.get(key)
        if known is not None:
            return known.again(interp)
        predicates, sought, start = interp.predicates, interp.sought, len(interp.asked)
        reads = Reads() if interp.reads is None else interp.reads
        before = set(sought or ())
        if sought is not None:
            sought.clear()
        with predicates.noting() as noted, reads.noting() as read:
            try:
                made = anew()
            finally:
                found = frozenset(sought or ())
                if sought is not None:
                    sought |= before
        if _is_plain(made) and interp.predicates is predicates and not any(map(_speaks_of_input, noted)):
            asked = tuple(interp.asked[start:])
            kept = _copy(made, reads)
            self._known[key] = _List(kept, tuple(noted), tuple(dict.fromkeys(read)), found, asked, interp.node)
        return made

    def _key(self, interp: Interpreter, node: ast.expr, scope: Scope) -> Hashable:
        """Equal where an expression gives the same and notes the same."""
        if node not in self._recipes:
            self._recipes[node] = _recipe(node)
        recipe, place = self._recipes[node], interp.scope
        if recipe is None or place is None or place.namespace.name.startswith("stubs."):
            raise _Anew
        for name in recipe.functions:
            if _found(name, scope) is not None:
                raise _Anew
        values = tuple(_form(interp, chain, scope) for chain in recipe.values)
        where = scope.namespace.name, place.namespace.name, interp.function_name()
        at_index = interp.recordings is not None or interp.repeating.busy  # what is asked about one is noted
        state = interp.stage, interp.framing, interp.loops, interp.reads is None, interp.sought is None, at_index
        return node, where, state, operators.of_a_configuration(interp), values


def _recipe(node: ast.expr) -> _Recipe | None:
    values: dict[Chain, None] = {}
    functions: set[str] = set()
    try:
        if isinstance(node, ast.ListComp):
            _read_comprehension(node, values, functions)
        else:
            _read(node, values, functions)
    except _Anew:
        return None
    return _Recipe(tuple(values), frozenset(functions))


def _read_comprehension(node: ast.ListComp, values: dict[Chain, None], functions: set[str]) -> None:
    if len(node.generators) != 1 or node.generators[0].is_async:
        raise _Anew
    generator = node.generators[0]
    targets = set(_targets(generator.target))
    _read(generator.iter, values, functions)
    if any(chain[0] in targets for chain in values) or functions & targets:
        raise _Anew
    inner: dict[Chain, None] = {}
    for part in (node.elt, *generator.ifs):
        _read(part, inner, functions)
    if functions & targets:
        raise _Anew
    values |= {chain: None for chain in inner if chain not in {(name,) for name in targets}}
    if any(chain[0] in targets for chain in values):  # an attribute of an element
        raise _Anew


def _targets(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name(id=name):
            yield name
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from _targets(part)
        case _:
            raise _Anew


def _read(node: ast.AST, values: dict[Chain, None], functions: set[str]) -> None:
    """Note what an expression reads.

    Raises:
        _Anew: it may do more than that.
    """
    match node:
        case ast.Name() | ast.Attribute():
            values[_chain(node)] = None
        case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=args, keywords=[]):
            for part in (owner, *args):
                _read(part, values, functions)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            functions.add(name)
            for part in args:
                _read(part, values, functions)
        case _ if isinstance(node, _PARTS):
            for child in ast.iter_child_nodes(node):
                _read(child, values, functions)
        case _:
            raise _Anew


def _chain(node: ast.AST) -> Chain:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=inner, attr=name):
            return (*_chain(inner), name)
    raise _Anew


def _found(name: str, scope: Scope) -> tuple[Any] | None:
    """What a name stands for in the source, as `Interpreter.lookup` finds it; None for what Python itself brings.

    Raises:
        _Anew: it is defined there, and was not asked for yet.
    """
    current: Scope | None = scope
    while current is not None:
        if name in current.vars:
            return (current.vars[name],)
        if current.kind == "body":
            found = _in_namespace(name, current.namespace)
            if found is not None:
                return found
        current = current.parent
    module = scope.namespace.module
    return None if module is None else _in_namespace(name, module)


def _in_namespace(name: str, namespace: Any) -> tuple[Any] | None:
    if name in namespace.values and name not in namespace.limits:
        return (namespace.values[name],)
    if namespace.has(name) or name in namespace.fallbacks or namespace.stars:
        raise _Anew
    return None


def _form(interp: Interpreter, chain: Chain, scope: Scope) -> Hashable:
    """The value of a chain, and of what class the objects on the way are. Nothing is noted."""
    found = _found(chain[0], scope)
    if found is None:
        raise _Anew
    (value,) = found
    owners = []
    for name in chain[1:]:
        owners.append(getattr(value, "cls", None))
        value = _attribute(interp, value, name)
    return tuple(owners), form_of(value)


def _attribute(interp: Interpreter, owner: Any, name: str) -> Any:
    """What is stored in a configuration under a name, where asking for it does no more than look there."""
    if type(owner) is not Instance or not classes.is_configuration(owner.cls):
        raise _Anew
    if name.startswith("__") or "_heterogeneity_spec" in owner.dict or "attribute_map" in owner.dict:
        raise _Anew
    known = classes.canonical(interp, owner, name)
    found = owner.cls.cache
    if known not in owner.dict or known not in found or isinstance(found[known], Property):
        raise _Anew
    return owner.dict[known]


__all__ = ["LISTS", "Recalled"]
