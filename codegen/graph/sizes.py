"""The sizes of the input that a trace runs with: distinct, more than one token, something in the cache. The tokens that are
new and all tokens are primes in number, so that no blocks of them come out even, and none of the sizes is a number of the
configuration, so that nothing is taken for equal by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from codegen.graph.values import Scalar
from ir.expressions import Const, Dim, Environment, Expr, evaluate, leaves, substitute
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows a batch has, how many of their tokens are new, and how many are in the cache."""

    batch: int = 3
    new: int = 7
    past: int = 6

    @property
    def B(self) -> Scalar:
        return Scalar(self.batch, Dim("B"))

    @property
    def T(self) -> Scalar:
        return Scalar(self.new, Dim("T"))

    @property
    def S(self) -> Scalar:
        return Scalar(self.new + self.past, Dim("S"))

    @property
    def P(self) -> Scalar:
        return Scalar(self.past, Dim("P"))

    @property
    def dims(self) -> dict[str, int]:
        return {"B": self.batch, "T": self.new, "S": self.new + self.past, "P": self.past}


USUAL = Sizes()
_PRIMES = (7, 5, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61)
_PAST = (6, 4, 10, 12, 16, 18)
_BATCHES = (3, 5, 2, 7, 11)


def choices(numbers: Iterable[int]) -> Iterator[Sizes]:
    """Sizes that are none of some numbers, no two with as many new or as many tokens; the usual ones where no others are left."""
    taken = set(numbers)
    seen: set[int] = set()
    for new in _PRIMES:
        for past in _PAST:
            free = next((b for b in _BATCHES if b not in {*taken, new, past, new + past}), USUAL.batch)
            if new + past in _PRIMES and not {new, past, new + past} & taken and not {new, new + past} & seen:
                seen |= {new, new + past}
                yield Sizes(free, new, past)
    if not seen:
        yield USUAL


def larger(numbers: Iterable[int], fits: Callable[[Sizes], bool]) -> Iterator[Sizes]:
    """Sizes with more tokens, as many as something needs."""
    taken = set(numbers)
    for new in filter(_is_prime, range(_PRIMES[0], _MOST)):
        for past in _PAST:
            batch = next((b for b in _BATCHES if b not in {*taken, new, past, new + past}), USUAL.batch)
            sizes = Sizes(batch, new, past)
            if _is_prime(new + past) and not {new, past, new + past} & taken and fits(sizes):
                yield sizes
                break


_MOST = 5000  # tokens


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


@cache
def may_be_none(length: Expr) -> bool:
    """Whether a number of blocks of tokens, or of those that they leave over, is zero for some number of tokens."""
    if not any(isinstance(leaf, Dim) for leaf in leaves(length)):
        return False
    sizes: dict[Expr, Expr] = {leaf: Const(_SIZE) for leaf in leaves(length) if not isinstance(leaf, Dim)}
    plain = substitute(length, sizes)
    try:
        return any(evaluate(plain, Environment(dims=dict.fromkeys("BTS", n))) == 0 for n in range(1, _LENGTHS))
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return False


_SIZE, _LENGTHS = 8, 600  # of what the configuration says, and of the tokens


def numbers_in(value: object) -> Iterator[int]:
    """The integers in a configuration."""
    match value:
        case bool():
            return
        case int():
            yield value
        case Mapping():
            for item in value.values():
                yield from numbers_in(item)
        case list() | tuple():
            for item in value:
                yield from numbers_in(item)
        case _:
            return
