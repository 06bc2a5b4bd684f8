"""How each framework writes components: a call of a fused form, or of a helper whose text is a template.

A helper is one file under `templates/<framework>/components/`; a model file holds those that its components call.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import assert_never

from codegen.lowering.syntax import copied
from ir.arch import (
    Attention,
    Cap,
    Component,
    Direction,
    Extent,
    Heads,
    MaskForm,
    Pairing,
    RootMeanSquare,
    Rotary,
    Sinks,
    Tables,
)
from ir.expressions import Expr
from ir.graph import Branch, Call, Loop, Raised, Region, Scan, Value, within

_ROPES = ("apply_rope", "apply_rope_full", "apply_rope_halves", "apply_rope_pairs", "apply_rope_full_pairs")
HELPER_NAMES = frozenset(
    {
        *_ROPES,
        *(f"{name}_partial" for name in _ROPES),
        "attend",
        "attend_additive",
        "attend_both_ways",
        "attend_capped",
        "attend_to_all",
        "attend_with_sinks",
        "share",
    }
)
"""Names that no function of the source may have in an emitted file."""


def torch_component(component: Component, args: tuple[object, ...]) -> ast.expr:
    """`component` on rendered arguments, in PyTorch."""
    match component:
        case Attention():
            helper = _torch_attend(component)
            return _attention_call(component, args) if helper is None else _call(helper, _trimmed(args))
        case Rotary():
            return _call(_rope(component), args)
        case RootMeanSquare():
            return _with("x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)", ("x", "eps"), args)
        case _:
            assert_never(component)


def flax_component(component: Component, args: tuple[object, ...]) -> ast.expr:
    """`component` on rendered arguments, in Flax."""
    match component:
        case Attention():
            given = _trimmed(args)
            return _call(
                _flax_attend(component), given if component.mask is not MaskForm.ABSENT else (*given[:3], *given[4:])
            )
        case Rotary():
            return _call(_rope(component), args)
        case RootMeanSquare():
            return _with("x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)", ("x", "eps"), args)
        case _:
            assert_never(component)


def torch_helper(component: Component) -> str | None:
    """The helper that the PyTorch form of a component calls."""
    match component:
        case Attention():
            return _torch_attend(component)
        case Rotary():
            return _rope(component)
        case RootMeanSquare():
            return None
        case _:
            assert_never(component)


def flax_helper(component: Component) -> str | None:
    """The helper that the Flax form of a component calls."""
    return _flax_attend(component) if isinstance(component, Attention) else torch_helper(component)


def helper_templates(region: Region, framework: str) -> tuple[str, ...]:
    """The templates of the helpers that the components below `region` call, by name."""
    helper = torch_helper if framework == "torch" else flax_helper
    names = {name for component in components(region) if (name := helper(component)) is not None}
    return tuple(f"{framework}/components/{name}.py.jinja" for name in sorted(names))


def components(region: Region) -> tuple[Component, ...]:
    """The components below `region`, each once, in order."""
    return tuple(dict.fromkeys(_components(region, set())))


def statements_first(node: Raised) -> tuple[Value, ...]:
    """Arguments that the spelling names more than once, so that they need a variable."""
    match node.component:
        case Attention(mask=MaskForm.BOOLEAN, direction=Direction.CAUSAL):
            return tuple(arg for arg in (node.args[0], node.args[3]) if isinstance(arg, Value))
        case RootMeanSquare():
            return tuple(arg for arg in node.args[:1] if isinstance(arg, Value))
        case _:
            return ()


def sizes_needed(node: Raised) -> tuple[Expr, ...]:
    """Sizes that the spelling names, beyond the arguments: of new tokens."""
    match node:
        case Raised(Attention(mask=MaskForm.BOOLEAN, direction=Direction.CAUSAL), (Value() as q, *_)):
            return (q.shape[2],)
        case _:
            return ()


def is_statement(component: Component) -> bool:
    """Whether a component reads best as a statement of its own, in the order of the source."""
    return isinstance(component, Rotary)


def _components(region: Region, seen: set[int]) -> Iterator[Component]:
    if id(region) in seen:
        return
    seen.add(id(region))
    for node in region.nodes:
        match node:
            case Raised(component):
                yield component
            case Call(_, inner):
                yield from _components(inner, seen)
            case Loop(bodies=bodies):
                for body in bodies:
                    yield from _components(body, seen)
            case Scan() | Branch():
                for inner in within(node):
                    yield from _components(inner, seen)


def _rope(component: Rotary) -> str:
    return _rope_of_head(component) + ("_partial" if component.extent is Extent.FIRST else "")


def _rope_of_head(component: Rotary) -> str:
    match component.pairing, component.tables:
        case Pairing.HALVES, Tables.SIGNED:
            return "apply_rope"
        case Pairing.HALVES, Tables.HALF:
            return "apply_rope_halves"
        case Pairing.HALVES, Tables.FULL:
            return "apply_rope_full"
        case Pairing.NEIGHBOURS, Tables.HALF:
            return "apply_rope_pairs"
        case _:
            return "apply_rope_full_pairs"


def _torch_attend(component: Attention) -> str | None:
    if component.sinks is Sinks.COLUMN:
        return "attend_with_sinks"
    return "attend_capped" if component.cap is Cap.TANH else None


def _flax_attend(component: Attention) -> str:
    elaborate = _torch_attend(component)
    if elaborate is not None:
        return elaborate
    match component.mask, component.direction:
        case MaskForm.ADDITIVE, _:
            return "attend_additive"
        case MaskForm.BOOLEAN, Direction.CAUSAL | Direction.GIVEN:
            return "attend"
        case MaskForm.BOOLEAN, _:
            return "attend_both_ways"
        case _:
            return "attend_to_all"


def _attention_call(component: Attention, args: tuple[object, ...]) -> ast.expr:
    """`F.scaled_dot_product_attention`; a boolean mask of None is plain causality, and one token sees everything."""
    q, k, v, mask, scale, _, _, *tokens = args
    keywords: list[ast.keyword] = []
    if component.mask is not MaskForm.ABSENT:
        keywords.append(ast.keyword("attn_mask", _expr(mask)))
    if component.mask is MaskForm.BOOLEAN and component.direction is Direction.CAUSAL:
        keywords.append(ast.keyword("is_causal", _is_causal(_expr(mask), _expr(*tokens))))
    keywords.append(ast.keyword("scale", _expr(scale)))
    if component.heads is Heads.GROUPED:
        keywords.append(ast.keyword("enable_gqa", ast.Constant(True)))
    function = ast.Attribute(ast.Name("F", ast.Load()), "scaled_dot_product_attention", ast.Load())
    return ast.Call(function, [_expr(q), _expr(k), _expr(v)], keywords)


def _is_causal(mask: ast.expr, tokens: ast.expr) -> ast.expr:
    """`mask is None and T > 1`"""
    absent = ast.Compare(mask, [ast.Is()], [ast.Constant(None)])
    return ast.BoolOp(ast.And(), [absent, ast.Compare(tokens, [ast.Gt()], [ast.Constant(1)])])


def _call(function: str, args: tuple[object, ...]) -> ast.expr:
    """A call with the arguments that there are."""
    return ast.Call(ast.Name(function, ast.Load()), [_expr(arg) for arg in args], [])


def _trimmed(args: tuple[object, ...]) -> tuple[object, ...]:
    """Without cap and sinks that are absent. A mask is never left out here."""
    return (*args[:5], *(arg for arg in args[5:7] if arg is not None))


def _expr(rendered: object) -> ast.expr:
    if isinstance(rendered, ast.expr):
        return rendered
    assert rendered is None or isinstance(rendered, (bool, int, float, str)), rendered
    return ast.Constant(rendered)


def _with(text: str, names: tuple[str, ...], args: tuple[object, ...]) -> ast.expr:
    """The expression `text` with arguments for its names."""
    given = {name: _expr(arg) for name, arg in zip(names, args, strict=True)}

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return copied(given[node.id]) if node.id in given else node

    filled = Fill().visit(ast.parse(text, mode="eval").body)
    assert isinstance(filled, ast.expr)
    return filled
