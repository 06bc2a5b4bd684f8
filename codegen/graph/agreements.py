"""What the operations of a trace need of sizes: that two are equal, that one divides another.

An operation notes every pair of sizes that it took for equal and that are not the same expression. Here these become
conditions, as few and as simple as they can be: what says that one size divides another comes first, and what follows from
the others is left out. Guards of the source that say the same are treated likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from codegen.graph.objects import per_layer
from codegen.graph.predicates import Kind, Predicate
from codegen.graph.scalars import (
    Monomial,
    Polynomial,
    built_of,
    common_part,
    only_term,
    polynomial_of,
    times,
    without_part,
)
from codegen.graph.values import Size, expr_of
from ir.expressions import Apply, Const, Dim, Environment, Expr, Local, evaluate, leaves, substitute
from ir.records import dataclass, field
from ir.spans import Span

Agreement = tuple[Size, Size, Span | None]
ONE: Monomial = frozenset()
ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Equation:
    """`left` and `right` are equal."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Divides:
    """`divisor` divides `number`."""

    divisor: Expr
    number: Expr


Fact = Equation | Divides


def conditions(
    predicates: Sequence[Predicate], agreements: Iterable[Agreement], resolved: Mapping[str, object]
) -> tuple[Predicate, ...]:
    """The predicates with those that the agreements amount to, without those that follow from others."""
    asked = [*predicates, *_of_agreements(agreements)]
    facts = {i: fact for i, p in enumerate(asked) if (fact := fact_of(p)) is not None}
    known = Facts(resolved)
    said: dict[int, list[Predicate]] = {i: [p] for i, p in enumerate(asked)}
    for i in sorted(facts, key=lambda i: (_rank(asked[i], facts[i]), i)):
        own: list[Predicate] = []
        for fact in known.parts(facts[i]):
            if not known.proves(fact):
                known.add(fact)
                own.append(_predicate(fact, asked[i]))
        if asked[i].kind in _SETTLED:
            said[i] = own
        elif not own:
            said[i] = []
    return tuple(p for i in said for p in said[i] if i in facts or not known.answers(p))


def _rank(predicate: Predicate, fact: Fact) -> int:
    """What is known first: that divisions leave nothing, then how the source branched, then equal sizes."""
    return (0 if isinstance(fact, Divides) else 2) if predicate.kind in _SETTLED else 1


_SETTLED = frozenset({Kind.GUARD, Kind.AGREEMENT})


def follows(predicate: Predicate, others: Iterable[Predicate], resolved: Mapping[str, object]) -> bool:
    """Whether what a predicate says of sizes follows from what others say."""
    wanted = fact_of(predicate)
    if wanted is None:
        return False
    known = Facts(resolved)
    facts = [fact for p in others if (fact := fact_of(p)) is not None]
    for fact in sorted(facts, key=lambda fact: not isinstance(fact, Divides)):
        known.add(fact)
    return known.proves(wanted)


def division_follows(
    pair: tuple[Expr, Expr], others: Iterable[tuple[Expr, Expr]], resolved: Mapping[str, object]
) -> bool:
    """Whether a division, of number and divisor, leaves nothing because others do not."""
    known = Facts(resolved)
    for number, divisor in others:
        known.add(Divides(divisor, number))
    return known.proves(Divides(pair[1], pair[0]))


def _of_agreements(agreements: Iterable[Agreement]) -> list[Predicate]:
    found: dict[tuple[Expr, Expr], Predicate] = {}
    for a, b, span in agreements:
        left, right = expr_of(a), expr_of(b)
        kind = Kind.LAYER if per_layer(left) or per_layer(right) else Kind.AGREEMENT
        found.setdefault((left, right), Predicate(kind, Apply("==", (left, right)), True, span))
    return list(found.values())


def fact_of(predicate: Predicate) -> Fact | None:
    """The equation that a predicate says of integers, in its simplest form; None if it says something else."""
    match predicate.expr, predicate.value:
        case (Apply("==", (left, right)), True) | (Apply("!=", (left, right)), False):
            pass
        case (Apply("%", _) as left, 0) | (Apply("bool", (Apply("%", _) as left,)), False):
            right = Const(0)
        case _:
            return None
    match left, right:
        case Apply("%", (number, divisor)), Const(0):
            return Divides(divisor, number)
        case (Const(found), _) | (_, Const(found)) if type(found) is not int:
            return None
        case (Apply("list" | "tuple"), _) | (_, Apply("list" | "tuple")):
            return None
    return divisibility(left, right) or Equation(left, right)


def divisibility(left: Expr, right: Expr) -> Divides | None:
    """`left == right` where it says no more than that a division leaves nothing: `b * (a // b) == a`."""
    difference = minus(canonical(left), canonical(right))
    for atom in dict.fromkeys(atom for monomial in difference for atom, _ in monomial):
        match atom:
            case Apply("//", (number, divisor)):
                factor, rest = _linear(difference, atom)
                total = plus(product(factor, canonical(number)), product(rest, canonical(divisor)))
                if factor and not total:
                    return Divides(divisor, number)
    return None


def _linear(polynomial: Polynomial, atom: Expr) -> tuple[Polynomial, Polynomial]:
    """`factor` and `rest` with polynomial == factor * atom + rest; an empty factor where the atom has a power."""
    part: Monomial = frozenset({(atom, 1)})
    factor: Polynomial = {}
    rest: Polynomial = {}
    for monomial, number in polynomial.items():
        powers = dict(monomial)
        if atom not in powers:
            rest[monomial] = number
            continue
        inner = without_part(monomial, part)
        if powers[atom] > 1 or inner is None:
            return {}, {}
        factor[inner] = number
    return factor, rest


def _predicate(fact: Fact, asked: Predicate) -> Predicate:
    match fact:
        case Divides(divisor, number):
            expr, value = Apply("%", (number, divisor)), 0
            return Predicate(Kind.AGREEMENT, expr, value, asked.span, asked.function, asked.stage)
        case Equation(left, right):
            return Predicate(asked.kind, Apply("==", (left, right)), True, asked.span, asked.function, asked.stage)


@dataclass
class Facts:
    """Equations between sizes, kept as what may be written for a size: for a number that b divides, b times another number."""

    resolved: Mapping[str, object]
    known: dict[Expr, Expr] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    origins: dict[Expr, Expr] = field(default_factory=dict)  # what the further numbers are in terms of the sizes
    nothing: set[frozenset[tuple[Monomial, int]]] = field(default_factory=set)  # differences that are known to be none

    def add(self, fact: Fact) -> None:
        match fact:
            case Divides(divisor, number):
                quotient = Apply("//", (number, divisor))
                number, divisor = self.reduced(number), self.reduced(divisor)
                term = only_term(canonical(number))
                if term is None or term[1] != 1 or len(term[0]) != 1:
                    return
                name = f"q{len(self.values)}"
                self.values[name] = self._value(Apply("//", (number, divisor)))
                self.known[number] = Apply("*", (divisor, Local(name)))
                self.origins[Local(name)] = quotient
            case Equation(left, right):
                left, right = self.reduced(left), self.reduced(right)
                for a, b in ((left, right), (right, left)):
                    self.nothing.add(frozenset(minus(canonical(a), canonical(b)).items()))
                for this, other in ((left, right), (right, left)):
                    if not isinstance(this, (Const, Apply)) and this not in leaves(other):
                        self.known[this] = other
                        return

    def parts(self, fact: Fact) -> list[Fact]:
        """A fact without sizes of the input: an equation that holds for all of these holds for every power of them.

        What an operation needs of the sizes of the input alone, or of a computation on them, is none of the configuration's.
        """
        if not _has_dims(fact):
            return [fact]
        if isinstance(fact, Divides):
            return []
        groups: dict[Monomial, Polynomial] = {}
        for monomial, number in minus(self._canonical(fact.left), self._canonical(fact.right)).items():
            dims = frozenset((atom, power) for atom, power in monomial if isinstance(atom, Dim))
            groups.setdefault(dims, {})[monomial - dims] = number
        found = [_nothing(group, self.origins) for group in groups.values()]
        return [] if any(map(_has_dims, found)) else found

    def proves(self, fact: Fact) -> bool:
        match fact:
            case Divides(divisor, number):
                return not self._canonical(Apply("%", (number, divisor)))
            case Equation(left, right):
                return self._is_nothing(minus(self._canonical(left), self._canonical(right)))

    def _is_nothing(self, difference: Polynomial) -> bool:
        return not difference or frozenset(difference.items()) in self.nothing

    def answers(self, predicate: Predicate) -> bool:
        """Whether a comparison of sizes has one answer for all that obeys the facts."""
        match predicate.expr:
            case Apply("==" | "!=", (left, right)) if self._is_int(left) and self._is_int(right):
                difference = minus(self._canonical(left), self._canonical(right))
                return self._is_nothing(difference) or set(difference) == {ONE}
        return False

    def _is_int(self, expr: Expr) -> bool:
        value = self._value(expr)
        return type(value) is int

    def _value(self, expr: Expr) -> object:
        dims = {leaf.name: 1009 for leaf in leaves(expr) if isinstance(leaf, Dim)}
        try:
            return evaluate(expr, Environment(config=self.resolved, dims=dims, locals=self.values))
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return None

    def reduced(self, expr: Expr) -> Expr:
        """`expr` by what is known."""
        for _ in range(ROUNDS):
            new = simplified(substitute(expr, self.known))
            if new == expr:
                break
            expr = new
        return expr

    def _canonical(self, expr: Expr) -> Polynomial:
        return canonical(self.reduced(expr))


def _has_dims(fact: Fact) -> bool:
    exprs = (fact.left, fact.right) if isinstance(fact, Equation) else (fact.divisor, fact.number)
    return any(isinstance(leaf, Dim) for expr in exprs for leaf in leaves(expr))


def _nothing(difference: Polynomial, origins: Mapping[Expr, Expr]) -> Fact:
    """That a polynomial is nothing, as an equation between sizes."""
    left = substitute(built_of({m: n for m, n in difference.items() if n > 0}), origins)
    right = substitute(built_of({m: -n for m, n in difference.items() if n < 0}), origins)
    return divisibility(left, right) or Equation(left, right)


# ------------------------------------------------------------------------------------------------------------ polynomials


def simplified(expr: Expr) -> Expr:
    """`expr` with what holds for integers of any value."""
    match expr:
        case Apply("int", (Apply("*", (inner, Const(1.0))),)) | Apply("int", (Apply("*", (Const(1.0), inner)),)):
            return simplified(inner)
        case Apply("//" | "%" | "+" | "-" | "*", _):
            return built_of(canonical(expr))
        case Apply(op, args):
            return Apply(op, tuple(map(simplified, args)))
        case _:
            return expr


def canonical(expr: Expr) -> Polynomial:
    """A sum of products of sizes; halves rounded up are written by those rounded down."""
    match expr:
        case Apply("+" | "-" as op, (a, b)):
            return plus(canonical(a), canonical(b)) if op == "+" else minus(canonical(a), canonical(b))
        case Apply("*", (a, b)):
            return product(canonical(a), canonical(b))
        case Apply("neg", (a,)):
            return minus({}, canonical(a))
        case Apply("//", (a, b)):
            return _quotient(canonical(a), canonical(b))
        case Apply("%", (a, b)):
            number, divisor = canonical(a), canonical(b)
            return minus(number, product(divisor, _quotient(number, divisor)))
        case Apply():
            return polynomial_of(simplified(expr))
        case _:
            return polynomial_of(expr)


def _quotient(number: Polynomial, divisor: Polynomial) -> Polynomial:
    """The whole of a division: what the divisor divides, and an atom for the rest."""
    factor_ = _multiple(number, divisor)
    if factor_ is not None:
        return factor_
    term = only_term(divisor)
    if term is None or term[1] <= 0:
        return {frozenset({(Apply("//", (built_of(number), built_of(divisor))), 1)}): 1}
    by, factor = term
    whole: Polynomial = {}
    rest: Polynomial = {}
    for monomial, count in number.items():
        inner = without_part(monomial, by)
        if inner is not None and count % factor == 0:
            whole[inner] = count // factor
        elif inner is not None and by == ONE and count // factor and monomial != ONE:
            whole[inner] = count // factor
            rest[monomial] = count % factor
        else:
            rest[monomial] = count
    if not rest or (by == ONE and set(rest) == {ONE} and 0 <= rest[ONE] < factor):
        return whole
    if by == ONE and factor == 2 and rest.get(ONE) == 1:  # half of n, rounded up: n - n // 2
        rounded = {monomial: count for monomial, count in rest.items() if monomial != ONE}
        return plus(whole, minus(rounded, _quotient(rounded, divisor)))
    shared: Monomial = by
    for monomial in rest:
        shared = common_part(shared, monomial)
    below = {without_part(by, shared) or ONE: factor}
    above = {without_part(monomial, shared) or ONE: count for monomial, count in rest.items()}
    return plus(whole, {frozenset({(Apply("//", (built_of(above), built_of(below))), 1)}): 1})


def _multiple(number: Polynomial, divisor: Polynomial) -> Polynomial | None:
    """The one term that a divisor of several terms has to be multiplied by; None if there is none."""
    if len(divisor) < 2 or len(number) != len(divisor):
        return None
    by, factor = next(iter(divisor.items()))
    for monomial, count in number.items():
        inner = without_part(monomial, by)
        if inner is not None and count % factor == 0 and product({inner: count // factor}, divisor) == number:
            return {inner: count // factor}
    return None


def plus(a: Polynomial, b: Polynomial) -> Polynomial:
    result = dict(a)
    for monomial, number in b.items():
        result[monomial] = result.get(monomial, 0) + number
    return {m: n for m, n in result.items() if n}


def minus(a: Polynomial, b: Polynomial) -> Polynomial:
    return plus(a, {m: -n for m, n in b.items()})


def product(a: Polynomial, b: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for m, f in a.items():
        for n, g in b.items():
            monomial = times(m, n)
            result[monomial] = result.get(monomial, 0) + f * g
    return {m: n for m, n in result.items() if n}
