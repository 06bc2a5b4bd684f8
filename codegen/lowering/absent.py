"""Masks that a caller may leave out: what hides nothing is None, where an attention knows what that means."""

from __future__ import annotations

from ir.arch import Attention, Direction, MaskForm
from ir.graph import Call, Loop, Operand, Raised, Region, Value


def may_be_none(region: Region, value: Value) -> bool:
    """Whether a value is the mask of an attention to which None means something, here or in what it is handed to."""
    for node in region.nodes:
        match node:
            case Raised(Attention(mask=MaskForm.BOOLEAN, direction=direction), (_, _, _, mask, *_)):
                if mask == value and direction is not Direction.GIVEN:
                    return True
            case Call(_, inner, args):
                if _handed_on(value, args, inner):
                    return True
            case Loop(bodies=bodies, carried=carried, invariant=invariant, varying=varying):
                kinds = zip(bodies, varying, strict=True)
                if any(_handed_on(value, (*carried, *invariant, *own), body) for body, own in kinds):
                    return True
            case _:
                pass
    return False


def _handed_on(value: Value, args: tuple[Operand, ...], inner: Region) -> bool:
    params = [param for arg, param in zip(args, inner.params, strict=True) if arg == value]
    return any(isinstance(param, Value) and may_be_none(inner, param) for param in params)
