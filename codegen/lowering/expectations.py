"""What the emitted Config writes short: values that it expects of keys, and sizes that are handed on as they are."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from codegen.lowering.views import FieldView, RefusalView
from ir.expressions import Const, Expr, Raw
from ir.reading import Json
from ir.records import replace

SHORT = 80  # characters of an expression that is written where it is read
FLAGS = frozenset({"bool", "NoneType"})


def expected(key: str, found: str, compiled: Json, *others: Json) -> RefusalView:
    """That `key`, whose value is the expression `found`, is what was compiled for, or one of `others`, which mean the same."""
    allowed = ", ".join(map(repr, (compiled, *others)))
    return RefusalView(call_expr=f"problems.expect({key!r}, {found}, {allowed})")


def expected_each(key: str, found: str, kinds: Sequence[Json]) -> RefusalView:
    """That a list holds nothing but these kinds."""
    return RefusalView(call_expr=f"problems.expect_each({key!r}, {found}, {', '.join(map(repr, kinds))})")


def flag(key: str, found: str, wanted: bool, types: Collection[str]) -> RefusalView | None:
    """That a flag is set, or is not; None where other values than flags may stand for it."""
    if not types or not set(types) <= FLAGS:
        return None
    return expected(key, found, wanted) if wanted or "NoneType" not in types else expected(key, found, False, None)


def types_of(ends: Collection[Expr], types: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The types of what a reading may come to; nothing where they are not known."""
    found: set[str] = set()
    for end in ends:
        match end:
            case Const(value):
                found.add(type(value).__name__)
            case Raw(path) if (kinds := types.get(".".join(map(str, path)))) is not None:
                found |= set(kinds)
            case _:
                return frozenset()
    return frozenset(found)


def handed_on(
    sizes: Mapping[str, str],
    locals_: Sequence[tuple[str, str]],
    fields: Sequence[FieldView],
    refusals: Sequence[RefusalView],
) -> tuple[tuple[tuple[str, str], ...], tuple[FieldView, ...]]:
    """The variables, `sizes` the last of them, and the fields: what only `sizes` holds is read where that is made, and the fields
    that are in it are taken from it. `sizes` has what each is, by the name of its field."""
    plain = all(name == text for name, text in sizes.items())
    kept = [field for field in fields if not (plain and field.name in sizes)]
    texts = [expr for _, expr in locals_] + [field.read_expr for field in kept]
    texts += [text for refusal in refusals for text in refusal.texts]
    read = set().union(*map(_names, texts)) if texts else set()
    inlined = {name: expr for name, expr in locals_ if plain and name in sizes and name not in read}
    made = ", ".join(f"{name}={inlined.get(name, text)}" for name, text in sizes.items())
    left = (*((name, expr) for name, expr in locals_ if name not in inlined), ("sizes", f"dict({made})"))
    if not plain:
        return left, tuple(fields)
    return left, tuple(replace(field, read_expr="") if field.name in sizes else field for field in fields)


def inlined(
    locals_: Sequence[tuple[str, str]], fields: Sequence[FieldView], refusals: Sequence[RefusalView]
) -> tuple[tuple[tuple[str, str], ...], tuple[RefusalView, ...]]:
    """The variables and the refusals; what is short and expected to be something, but read nowhere else, is no variable."""
    texts = [expr for _, expr in locals_] + [field.read_expr for field in fields if field.read_expr]
    texts += [text for refusal in refusals for text in refusal.texts]
    uses = Counter(name for text in texts for name in _loaded(text))
    called = {name for refusal in refusals if refusal.call_expr for name in _loaded(refusal.call_expr)}
    short = {name: expr for name, expr in locals_ if uses[name] == 1 and name in called and len(expr) <= SHORT}
    made = tuple(replace(r, call_expr=_put(r.call_expr, short)) if r.call_expr else r for r in refusals)
    return tuple((name, expr) for name, expr in locals_ if name not in short), made


def _put(text: str, short: Mapping[str, str]) -> str:
    """A call with expressions in the place of names."""

    class Putting(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return ast.parse(short[node.id], mode="eval").body if node.id in short else node

    return ast.unparse(Putting().visit(ast.parse(text, mode="eval")))


def _loaded(text: str) -> list[str]:
    return [node.id for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)]


def _names(text: str) -> set[str]:
    return set(_loaded(text))
