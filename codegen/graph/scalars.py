"""Arithmetic on scalars: the value is computed at once, the expression beside it.

Only identities that are exact for integers of any value simplify an expression; floats keep the operations of the source in
their order. An integer expression made of `+ - * //` and negation has integers for all its terms, so that the type of the
value alone tells whether the identities apply.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd

from codegen.graph.values import Scalar, Size, expr_of, tested, value_of
from ir.expressions import OPERATIONS, Apply, Const, Dim, Expr, Plain

MAX_BITS = 1 << 14
MAX_TEXT = 1 << 20

Monomial = frozenset[tuple[Expr, int]]
Polynomial = dict[Monomial, int]
_ONE: Monomial = frozenset()
_ZERO, _UNIT = Const(0), Const(1)


def apply(op: str, *args: Plain | Scalar) -> Plain | Scalar:
    """`op` on scalars and literals; a literal when all are literals or when the result does not depend on them.

    Raises:
        ArithmeticError, TypeError, ValueError: as the operation itself, and for results of unreasonable size.
    """
    values = (tested(op, args) if op in _TESTS else None) or [value_of(arg) for arg in args]
    if op in _GROWING:
        _guard_size(op, values)
    value: Plain = OPERATIONS[op](*values)  # type: ignore[assignment]
    if not any(isinstance(arg, Scalar) for arg in args) or _of_different_iterations(args):
        return value
    if op in ("is", "is not") and None in values and any(map(_computed, args)):
        return value
    return scalar(value, simplify(op, value, values, tuple(expr_of(arg) for arg in args)))


_TESTS = frozenset({"is", "is not", "==", "!=", "<", "<=", ">", ">=", "in", "not", "bool"})


def _computed(arg: Plain | Scalar) -> bool:
    """Whether an argument is the result of an operation that never gives None."""
    return isinstance(arg, Scalar) and isinstance(arg.expr, Apply) and arg.expr.op not in ("getitem", "if")


def _of_different_iterations(args: tuple[Plain | Scalar, ...]) -> bool:
    """Whether two arguments speak of the same loop's index at different times; no expression says that."""
    if len(args) != 2 or not isinstance(args[0], Scalar) or not isinstance(args[1], Scalar):
        return False
    return args[0].expr == args[1].expr and args[0].value != args[1].value


def scalar(value: Plain, expr: Expr) -> Plain | Scalar:
    """A scalar, or the literal if that is all it is."""
    return value if isinstance(expr, Const) else Scalar(value, expr)


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are the same axis: equal for every configuration and input, not only in this one."""
    if value_of(a) != value_of(b):
        return False
    x, y = expr_of(a), expr_of(b)
    return x == y or polynomial_of(x) == polynomial_of(y)


def product(sizes: Iterable[Size]) -> Size:
    """The number of elements of a shape."""
    result: Size = 1
    for size in sizes:
        result = apply("*", result, size)  # type: ignore[assignment]
    return result


def total(sizes: Iterable[Size]) -> Size:
    """The sum of sizes, as of axes that are concatenated."""
    result: Size = 0
    for size in sizes:
        result = apply("+", result, size)  # type: ignore[assignment]
    return result


_GROWING = frozenset({"**", "<<", "*", "+"})


def _guard_size(op: str, values: list[object]) -> None:
    left, right = values
    if op == "+":
        if isinstance(left, str) and isinstance(right, str) and len(left) + len(right) > MAX_TEXT:
            raise OverflowError("a string of unreasonable length")
        return
    if op == "*":
        if isinstance(left, str) and isinstance(right, int) and len(left) * right > MAX_TEXT:
            raise OverflowError("a string of unreasonable length")
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MAX_BITS:
            raise OverflowError("an integer of unreasonable size")
        return
    if isinstance(left, int) and isinstance(right, int) and right > 0:
        bits = left.bit_length() * right if op == "**" else left.bit_length() + right
        if bits > MAX_BITS:
            raise OverflowError("an integer of unreasonable size")


def simplify(op: str, value: Plain, values: list[object], exprs: tuple[Expr, ...]) -> Expr:
    """The expression `op(*exprs)`, whose value is `value`, with exact identities applied."""
    if op in _CONVERSIONS and type(values[0]) is _CONVERSIONS[op] and len(exprs) == 1:
        return exprs[0]
    if op == "int" and len(exprs) == 1 and (whole := _exact_quotient(exprs[0]) or _unscaled(exprs[0])) is not None:
        return whole
    if (
        op == "*"
        and len(exprs) == 2
        and all(type(v) is float for v in values)
        and (same := _unscaled(Apply(op, exprs)))
    ):
        return same
    if op in ("max", "min") and all(expr == exprs[0] for expr in exprs):
        return exprs[0]
    if op in ("max", "min") and len(exprs) == 2 and all(type(v) is int for v in values):
        return _larger(op, exprs) or Apply(op, exprs)
    if type(value) is int and len(exprs) == 2 and all(type(v) is int for v in values):
        return _integer(op, value, values, exprs) or Apply(op, exprs)
    return Apply(op, exprs)


_CONVERSIONS: dict[str, type] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "round": int,
    "ceil": int,
    "floor": int,
}


def _integer(op: str, value: int, values: list[object], exprs: tuple[Expr, ...]) -> Expr | None:
    a, b = exprs
    zero, one = _ZERO, _UNIT
    match op:
        case "+":
            if a == zero:
                return b
            if b == zero:
                return a
            return _shorter(op, a, b)
        case "-":
            return a if b == zero else zero if a == b else _shorter(op, a, b)
        case "*":
            if zero in (a, b):
                return zero
            return b if a == one else a if b == one else None
        case "//":
            return a if b == one else one if a == b else _divide(a, b)
        case "%":
            if b == one or a == b:
                return zero
            return zero if _divides(b, a) else None
        case "**":
            return one if b == zero else a if b == one else None
        case _:
            return None


def _larger(op: str, exprs: tuple[Expr, ...]) -> Expr | None:
    """`max` or `min` of two, if it is the same one for all inputs: a batch has a token at least, a cache may be empty."""
    a, b = exprs
    difference = polynomial_of(Apply("-", (a, b)))
    if all_tokens := difference.pop(_monomial(_ALL), 0):
        for part in (_PAST, _NEW):
            difference[_monomial(part)] = difference.get(_monomial(part), 0) + all_tokens
        difference = {m: f for m, f in difference.items() if f}
    least = {monomial: _least(monomial) for monomial in difference}
    if all(low is not None for low in least.values()):
        bound = sum(factor * (low or 0) for factor, low in zip(difference.values(), least.values(), strict=True))
        signs = {factor > 0 for monomial, factor in difference.items() if monomial != _ONE}
        if bound >= 0 and signs <= {True}:
            return a if op == "max" else b
        if bound <= 0 and signs <= {False}:
            return b if op == "max" else a
    return None


def _least(monomial: Monomial) -> int | None:
    """The least value of a product of sizes of the input; None if something else is in it."""
    least = 1
    for atom, _ in monomial:
        if not isinstance(atom, Dim):
            return None
        least *= 0 if atom == _PAST or is_turn(atom) else 1
    return least


def is_turn(expr: Expr) -> bool:
    """Whether this is the number of a turn of a loop over time, the first of which is 0."""
    return isinstance(expr, Dim) and expr.name.startswith("@")


_NEW, _PAST, _ALL = Dim("T"), Dim("P"), Dim("S")
"""Tokens that are new, in the cache, and both together."""


def _shorter(op: str, a: Expr, b: Expr) -> Expr | None:
    """`a op b` where terms cancel; None where nothing does, so that the source's own form stays."""
    is_less = op == "-" and isinstance(a, Apply) and a.op == "*" and b in a.args  # `2 * x - x`
    if not (_is_sum(a) or _is_sum(b) or is_less or {a, b} in ({_NEW, _PAST}, {_ALL, _NEW}, {_ALL, _PAST})):
        return None
    left, right = polynomial_of(a), polynomial_of(b)
    sign = 1 if op == "+" else -1
    result = dict(left)
    for monomial, factor in right.items():
        result[monomial] = result.get(monomial, 0) + sign * factor
    result = _with_past({m: f for m, f in result.items() if f})
    return built_of(result) if len(result) < len(_with_past(left)) + len(_with_past(right)) else None


def _with_past(polynomial: Polynomial) -> Polynomial:
    """All tokens but the new ones are those in the cache."""
    factor = polynomial.get(_monomial(_ALL))
    if factor is None or polynomial.get(_monomial(_NEW)) != -factor:
        return polynomial
    rest = {m: f for m, f in polynomial.items() if m not in (_monomial(_ALL), _monomial(_NEW))}
    return {_monomial(_PAST): factor, **rest}


def _monomial(atom: Expr) -> Monomial:
    return frozenset({(atom, 1)})


def _is_sum(expr: Expr) -> bool:
    return isinstance(expr, Apply) and expr.op in ("+", "-", "neg")


def _exact_quotient(expr: Expr) -> Expr | None:
    """`int(a / b)` is `a / b` in the integers when `b` divides `a` for all values of their terms."""
    if not (isinstance(expr, Apply) and expr.op == "/"):
        return None
    a, b = expr.args
    return _divide(a, b) if _divides(b, a) else None


def _unscaled(expr: Expr) -> Expr | None:
    """`x` for `x * 1.0`. Of a float that is the float itself; so what is left in an expression is of an integer, a size that
    a float holds exactly.
    """
    match expr:
        case Apply("*", (inner, Const(float() as factor)) | (Const(float() as factor), inner)) if factor == 1.0:
            return inner
        case _:
            return None


def _divides(b: Expr, a: Expr) -> bool:
    divisor = only_term(polynomial_of(b))
    if divisor is None:
        return False
    monomial, factor = divisor
    return factor != 0 and all(
        f % factor == 0 and without_part(m, monomial) is not None for m, f in polynomial_of(a).items()
    )


def _divide(a: Expr, b: Expr) -> Expr | None:
    """`a // b` with equal terms cancelled; None where there are none."""
    numerator, divisor = polynomial_of(a), only_term(polynomial_of(b))
    if divisor is None or not numerator:
        return None
    monomial, factor = divisor
    common = monomial
    for m in numerator:
        common = common_part(common, m)
    number = abs(gcd(factor, *numerator.values()))
    if not common and number <= 1 or number == 0:
        return None
    rest = {without_part(m, common) or _ONE: f // number for m, f in numerator.items()}
    below = {without_part(monomial, common) or _ONE: factor // number}
    return built_of(rest) if below == {_ONE: 1} else Apply("//", (built_of(rest), built_of(below)))


def only_term(polynomial: Polynomial) -> tuple[Monomial, int] | None:
    return next(iter(polynomial.items())) if len(polynomial) == 1 else None


def common_part(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(b)
    return frozenset((atom, min(power, powers[atom])) for atom, power in a if atom in powers)


def without_part(a: Monomial, b: Monomial) -> Monomial | None:
    """`a` divided by `b`, None if it is not divisible."""
    powers = dict(a)
    for atom, power in b:
        left = powers.get(atom, 0) - power
        if left < 0:
            return None
        powers[atom] = left
    return frozenset((atom, power) for atom, power in powers.items() if power)


def polynomial_of(expr: Expr) -> Polynomial:
    match expr:
        case Const(value) if type(value) is int:
            return {_ONE: value} if value else {}
        case Dim("P"):
            return {_monomial(_ALL): 1, _monomial(_NEW): -1}
        case Apply("+" | "-" as op, (a, b)):
            result = dict(polynomial_of(a))
            for monomial, factor in polynomial_of(b).items():
                result[monomial] = result.get(monomial, 0) + (factor if op == "+" else -factor)
            return {m: f for m, f in result.items() if f}
        case Apply("neg", (a,)):
            return {m: -f for m, f in polynomial_of(a).items()}
        case Apply("*", (a, b)):
            result = {}
            for m, f in polynomial_of(a).items():
                for n, g in polynomial_of(b).items():
                    monomial = times(m, n)
                    result[monomial] = result.get(monomial, 0) + f * g
            return {m: f for m, f in result.items() if f}
        case _:
            return {frozenset({(expr, 1)}): 1}


def times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return frozenset(powers.items())


def built_of(polynomial: Polynomial) -> Expr:
    """A readable expression, in an order that does not depend on hashing."""
    polynomial = _with_past(polynomial)
    terms = sorted(polynomial.items(), key=lambda item: (item[0] == _ONE, item[1] < 0, _order(item[0])))
    if not terms:
        return Const(0)
    result: Expr | None = None
    for monomial, factor in terms:
        term = _term(monomial, abs(factor))
        if result is None:
            result = Apply("neg", (term,)) if factor < 0 else term
        else:
            result = Apply("-" if factor < 0 else "+", (result, term))
    assert result is not None
    return result


def _term(monomial: Monomial, factor: int) -> Expr:
    atoms = [atom for atom, power in sorted(monomial, key=lambda item: repr(item[0])) for _ in range(power)]
    parts: list[Expr] = atoms if factor == 1 and atoms else [Const(factor), *atoms]
    result = parts[0]
    for part in parts[1:]:
        result = Apply("*", (result, part))
    return result


def _order(monomial: Monomial) -> str:
    return " ".join(sorted(repr(atom) for atom, _ in monomial))
