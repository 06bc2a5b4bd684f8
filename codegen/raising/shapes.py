"""What shapes say of a reshape: whether it merges the axes of batch and heads, and nothing else."""

from __future__ import annotations

from collections import Counter

from ir.expressions import Apply, Const, Expr

Shape = tuple[Expr, ...]


def same_size(a: Expr, b: Expr) -> bool:
    """Whether two sizes are equal as products, in whichever order the factors stand."""
    return Counter(factors(a)) == Counter(factors(b))


def factors(size: Expr) -> tuple[Expr, ...]:
    """The factors of a size; one that is no product is its own. Ones are left out.

    `D // (D // N)` is N: heads divide what is split into them, or there would be no reshape that splits it.
    """
    match size:
        case Const(1):
            return ()
        case Apply("*", args):
            return tuple(factor for arg in args for factor in factors(arg))
        case Apply("//", (whole, Apply("//", (same, part)))) if whole == same:
            return factors(part)
        case Apply("//", (whole, divisor)):
            rest = Counter(factors(whole))
            if not Counter(factors(divisor)) <= rest:
                return (size,)
            return tuple((rest - Counter(factors(divisor))).elements())
        case _:
            return (size,)


def merges_heads(a: Shape, b: Shape) -> bool:
    """Whether one of two shapes of one tensor is [B, N, x, y] and the other [B * N, x, y].

    Of the three axes of the merged form two are compared: the number of elements says the third.
    """
    wide, flat = (a, b) if len(a) == 4 else (b, a)
    if len(wide) != 4 or len(flat) != 3:
        return False
    alike = (
        same_size(Apply("*", wide[:2]), flat[0]),
        same_size(wide[2], flat[1]),
        same_size(wide[3], flat[2]),
    )
    return sum(alike) >= 2
