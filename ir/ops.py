"""The vocabulary of tensor operations, at the granularity of PyTorch: printed back, they give the same bits.

A line of the table is a name, the parameters in order, and what it computes. `%x` is a tensor (or a number, where operands
broadcast), `%b?` may be None, `%xs*` is a tuple of tensors; all other parameters are sizes, axes, flags, types.
Axes count from the front but for the last one, which is -1; in `transpose` and `permute` all count from the front.
"""

from __future__ import annotations

from enum import IntEnum

from ir.graph import DType
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an operation. Only tensors can be many."""

    name: str
    tensor: bool = False
    optional: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of an operation in order, how many results it has (None: as many as it is asked for), its meaning."""

    name: str
    params: tuple[Param, ...]
    results: int | None
    meaning: str

    def position(self, param: str) -> int:
        return next(i for i, p in enumerate(self.params) if p.name == param)


_TABLE = """
# arithmetic, element by element; operands broadcast
add %a %b | a + b
sub %a %b | a - b
mul %a %b | a * b
div %a %b | a / b, of integers too
floor_divide %a %b | a // b
remainder %a %b | a % b, with the sign of b
fmod %a %b | a - b * trunc(a / b)
pow %a %b | a ** b
atan2 %a %b | the angle of the point (b, a)
logaddexp %a %b | log(exp(a) + exp(b))
maximum %a %b | the greater
minimum %a %b | the lesser
lerp %a %b %weight | a + weight * (b - a)
neg %x | -x
abs %x | absolute value
sign %x | -1, 0 or 1
floor %x | rounded down
ceil %x | rounded up
round %x | rounded, halves to even
trunc %x | rounded towards zero
reciprocal %x | 1 / x
sqrt %x | square root
rsqrt %x | 1 / sqrt(x)
exp %x | e ** x
exp2 %x | 2 ** x
expm1 %x | exp(x) - 1
log %x | natural logarithm
log1p %x | log(1 + x)
log2 %x | logarithm to base 2
log10 %x | logarithm to base 10
sin %x | sine
cos %x | cosine
tan %x | tangent
atan %x | inverse tangent
sinh %x | hyperbolic sine
cosh %x | hyperbolic cosine
erf %x | error function
detach %x | x, through which no gradient flows
erfinv %x | inverse of the error function
clamp %x %low? %high? | limited from below and above
nan_to_num %x nan posinf neginf | with other numbers for those that are not finite
isnan %x | whether it is NaN
isinf %x | whether it is infinite
isfinite %x | whether it is neither
# comparison, logic, bits
eq %a %b | a == b
ne %a %b | a != b
lt %a %b | a < b
le %a %b | a <= b
gt %a %b | a > b
ge %a %b | a >= b
logical_and %a %b | both are not zero
logical_or %a %b | one is not zero
logical_xor %a %b | exactly one is not zero
logical_not %x | it is zero
bitwise_and %a %b | a & b
bitwise_or %a %b | a | b
bitwise_xor %a %b | a ^ b
bitwise_not %x | ~x
left_shift %a %b | a << b
right_shift %a %b | a >> b
# activations
relu %x | max(x, 0)
relu6 %x | x between 0 and 6
silu %x | x * sigmoid(x)
gelu %x approximate | x * normal cdf of x; "tanh": by tanh
sigmoid %x | 1 / (1 + exp(-x))
logsigmoid %x | log(sigmoid(x))
tanh %x | hyperbolic tangent
softplus %x beta threshold | log(1 + exp(beta * x)) / beta, x where beta * x > threshold
leaky_relu %x slope | x, times slope where negative
elu %x alpha | x, alpha * (exp(x) - 1) where negative
selu %x | the self-normalising elu
mish %x | x * tanh(softplus(x))
hardswish %x | x * relu6(x + 3) / 6
hardsigmoid %x | relu6(x + 3) / 6
softsign %x | x / (1 + abs(x))
glu %x dim | first half * sigmoid(second half)
softmax %x dim dtype | exp(x) / sum(exp(x)), computed in dtype if one is given
log_softmax %x dim dtype | log(softmax(x))
# products and layers
matmul %a %b | a @ b
linear %x %w %b? | x @ w.T + b
addmm %b %x %w | x @ w + b
baddbmm %b %x %y beta alpha | beta * b + alpha * (x @ y)
einsum equation %xs* | sum of products
grouped_linear %x %w %sizes | x @ w[g].T for the rows of group g, which stand together in order; zero after the last group
grouped_matmul %x %w %sizes | x @ w[g] for the rows of group g, as in grouped_linear
outer %a %b | a[:, None] * b
embedding %ids %w | rows of w
layer_norm %x %w? %b? shape eps | over the last len(shape) axes
rms_norm %x %w? shape eps | over the last len(shape) axes
group_norm %x %w? %b? groups eps | over groups of axis 1 and all axes after it
conv1d %x %w %b? stride padding dilation groups | [N, C, L] with [O, C / groups, K]
conv2d %x %w %b? stride padding dilation groups | [N, C, H, W] with [O, C / groups, K, K]
attention %q %k %v %mask? is_causal scale enable_gqa | softmax(q @ k.T * scale + mask) @ v
solve_triangular %a %b upper left unitriangular | x with a @ x = b
# types
cast %x dtype | x as another type
# layout
reshape %x shape | the same elements in order; one size may be -1
transpose %x a b | two axes exchanged
permute %x dims | axes in another order
expand %x shape | broadcast to a shape
unsqueeze %x dim | with a new axis of size 1
squeeze %x dims | without these axes, of size 1 each
cat %xs* dim | joined along an axis
stack %xs* dim | joined along a new axis
repeat %x repeats | repeated along each axis, as a whole
repeat_interleave %x repeats dim | each element repeated
flip %x dims | in reverse order along these axes
roll %x shifts dims | shifted around along these axes
pad %x widths mode value | (before, after) for every axis; negative widths remove
unfold %x dim size step | windows along an axis, as a new last axis
diagonal %x offset a b | the diagonal of two axes as a new last axis
diag_embed %x | the last axis as the diagonal of a matrix
tril %x diagonal | zero above the diagonal
triu %x diagonal | zero below the diagonal
# parts
getitem %x index | x[index]
setitem %x index %y | x with x[index] = y
where %condition %a %b | a where the condition holds, else b
masked_fill %x %mask %value | value where the mask holds, else x
masked_scatter %x %mask %source | the elements of source, in order, where the mask holds
gather %x dim %index | one element of an axis for every index
scatter %x dim %index %source | x with elements of an axis replaced
scatter_add %x dim %index %source | x with elements of an axis added to
scatter_reduce %x dim %index %source reduce include_self | x with elements of an axis combined
index_select %x dim %index | slices of an axis
index_add %x dim %index %source | x with slices of an axis added to
index_copy %x dim %index %source | x with slices of an axis replaced
one_hot %x classes | 1 at the index on a new last axis
bucketize %x %boundaries right | how many boundaries lie below
searchsorted %sorted %x right | how many elements of the last axis lie below
nonzero %x | the indices of elements that are not zero, one a row
bincount %x length | how often 0, 1, ... length - 1 occur in x, which has one axis and holds nothing else
# reductions; dim is an axis, a tuple of axes, or None for all
sum %x dim keepdim dtype | sum
mean %x dim keepdim dtype | mean
prod %x dim keepdim dtype | product; of one axis or all
var %x dim keepdim correction | variance
std %x dim keepdim correction | standard deviation
amax %x dim keepdim | greatest
amin %x dim keepdim | least
argsort %x dim descending stable | where the elements of an axis would come from in order
argmax %x dim keepdim | index of the greatest
argmin %x dim keepdim | index of the least
all %x dim keepdim | whether none is zero
any %x dim keepdim | whether one is not zero
logsumexp %x dim keepdim | log(sum(exp(x)))
norm %x order dim keepdim | sum(abs(x) ** order) ** (1 / order)
cumsum %x dim dtype | running sum
cumprod %x dim dtype | running product
# creation
arange start stop step dtype | start, start + step, ... before stop; no dtype: of integers
linspace start stop steps dtype | evenly spaced, both ends included
zeros shape dtype | zeros
ones shape dtype | ones
full shape %value dtype | a value everywhere
zeros_like %x dtype | zeros in the shape of x
ones_like %x dtype | ones in the shape of x
full_like %x %value dtype | a value in the shape of x
eye rows columns dtype | the unit matrix
tensor data dtype | numbers written out, nested tuples
finfo_min dtype | the least finite number of a type
finfo_max dtype | the greatest finite number of a type
finfo_eps dtype | the distance from 1 to the next number of a type
finfo_tiny dtype | the least positive normal number of a type
# complex numbers
polar %radius %angle | radius * exp(i * angle)
complex %real %imag | real + i * imag
view_as_complex %x | the last axis, of size 2, as complex numbers
view_as_real %x | real and imaginary part as a new last axis
real %x | real part
imag %x | imaginary part
conj %x | real - i * imag
"""

_SEVERAL = """
split %x sizes dim | parts of an axis, by their sizes
chunk %x chunks dim | equal parts of an axis, the last may be smaller
unbind %x dim | the slices of an axis
topk %x k dim largest sorted | the k greatest of an axis, and their indices
topk_first %x %count k | the k greatest of the first count entries of an only axis, and their indices; any others where these are fewer
sort %x dim descending stable | in order along an axis, and where each came from
max_dim %x dim keepdim | the greatest of an axis, and its index
min_dim %x dim keepdim | the least of an axis, and its index
cummax %x dim | running maximum of an axis, and its index
aminmax %x dim keepdim | the least and the greatest
"""

_PAIRS = frozenset({"topk", "topk_first", "sort", "max_dim", "min_dim", "cummax", "aminmax"})


def _param(word: str) -> Param:
    tensor = word.startswith("%")
    return Param(word.strip("%?*"), tensor, word.endswith("?"), word.endswith("*"))


def _signatures() -> dict[str, Signature]:
    table: dict[str, Signature] = {}
    for several, text in ((False, _TABLE), (True, _SEVERAL)):
        for line in text.strip().splitlines():
            if line.startswith("#"):
                continue
            head, _, meaning = line.partition(" | ")
            name, *words = head.split()
            results = 1 if not several else 2 if name in _PAIRS else None
            table[name] = Signature(name, tuple(_param(word) for word in words), results, meaning)
    return table


OPS: dict[str, Signature] = _signatures()

CREATES = frozenset({"arange", "linspace", "zeros", "ones", "full", "eye", "tensor"})
"""Operations that make a tensor out of nothing, on a device that nothing implies."""

FRESH = CREATES | {"zeros_like", "ones_like", "full_like", "setitem"}
"""Operations whose result shares its elements with nothing in any framework."""

DATA_DEPENDENT = frozenset({"nonzero"})
"""Operations whose shape depends on the data."""


class Category(IntEnum):
    """What kind of number a type holds; the greater category wins."""

    BOOL = 0
    INTEGER = 1
    FLOAT = 2
    COMPLEX = 3


_BITS = {
    DType.UINT8: 8,
    DType.INT8: 8,
    DType.INT16: 16,
    DType.INT32: 32,
    DType.INT64: 64,
}


class UnknownPromotion(ValueError):
    """The result depends on the type that the model is loaded in, in a way that no DType expresses."""


def category(dtype: DType) -> Category:
    if dtype is DType.BOOL:
        return Category.BOOL
    if dtype in _BITS:
        return Category.INTEGER
    return Category.COMPLEX if dtype is DType.COMPLEX64 else Category.FLOAT


def promote(a: DType, b: DType) -> DType:
    """The type that holds what either holds, as torch has it.

    Raises:
        UnknownPromotion: of MODEL with a half type.
    """
    if a is b:
        return a
    if category(a) != category(b):
        low, high = (a, b) if category(a) < category(b) else (b, a)
        if high is DType.COMPLEX64 and low in (DType.FLOAT64, DType.MODEL, DType.PROMOTED):
            raise UnknownPromotion(f"{low!r} with {high!r}")
        return high
    if category(a) is Category.INTEGER:
        return _promote_integers(a, b)
    return _promote_floats(a, b)


def _promote_integers(a: DType, b: DType) -> DType:
    if {a, b} == {DType.UINT8, DType.INT8}:
        return DType.INT16
    return a if (_BITS[a], a is not DType.UINT8) > (_BITS[b], b is not DType.UINT8) else b


def _promote_floats(a: DType, b: DType) -> DType:
    if DType.FLOAT64 in (a, b):
        return DType.FLOAT64
    if DType.PROMOTED in (a, b):
        return DType.PROMOTED
    if DType.MODEL in (a, b):
        other = b if a is DType.MODEL else a
        if other is DType.FLOAT32:
            return DType.PROMOTED
        raise UnknownPromotion(f"{DType.MODEL!r} with {other!r}")
    return DType.FLOAT32  # of float32, bfloat16 and float16, any two


def result_type(
    tensors: tuple[DType, ...], zero_dim: tuple[DType, ...], numbers: tuple[object, ...], default: DType
) -> DType:
    """The type of an operation on tensors with axes, tensors without, and Python numbers, in this order of rank.

    `default` is the type of a float that meets no floating tensor. Source: c10's `combine_categories`.

    Raises:
        UnknownPromotion: see `promote`.
    """
    kinds = tuple(
        DType.BOOL if isinstance(n, bool) else DType.INT64 if isinstance(n, int) else default for n in numbers
    )
    result: DType | None = None
    for group in (tensors, zero_dim, kinds):
        kind: DType | None = None
        for dtype in group:
            kind = dtype if kind is None else promote(kind, dtype)
        result = _combine(result, kind)
    assert result is not None, "an operation without operands"
    return result


def _combine(higher: DType | None, lower: DType | None) -> DType | None:
    if higher is None or lower is None:
        return lower if higher is None else higher
    if category(higher) >= Category.FLOAT:
        return promote(higher, lower) if category(lower) > category(higher) else higher
    return promote(higher, lower) if higher is DType.BOOL or category(lower) >= Category.FLOAT else higher
