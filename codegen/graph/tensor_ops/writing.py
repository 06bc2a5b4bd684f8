"""Writing in place: a write makes a new value, for the tensor, for what it is a view of, and for every other view of that."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from codegen.graph.tensor_ops.binding import emit, fail
from codegen.graph.tensor_ops.shapes import count, shown
from codegen.graph.values import Tensor, TensorValue, Trace
from ir.records import dataclass


@dataclass(frozen=True, slots=True)
class Derived:
    """How a view is made from its base, and how its base is made from a view that was written to."""

    forward: Callable[[Trace, Tensor], Tensor]
    back: Callable[[Trace, Tensor, Tensor], Tensor] | None  # of (base, view); None: cannot be written to


def view(trace: Trace, base: Tensor, result: Tensor, derived: Derived) -> Tensor:
    """`result`, known as a view of `base`."""
    result.base, result.index = base, derived
    trace.views.setdefault(base, WeakSet()).add(result)
    return result


def write(trace: Trace, x: Tensor, new: TensorValue) -> Tensor:
    """`x` has the value `new` from here on."""
    x.value = new
    if x in trace.watched:
        trace.watched[x](x)
    if x.base is not None:
        derived = x.index
        assert isinstance(derived, Derived)
        if derived.back is None:
            fail(trace, "unknown-op", "a write to a view of this kind", "write to the tensor that it is a view of")
        rewritten = derived.back(trace, x.base, Tensor(new))
        _refresh(trace, x, skip=None)
        base = x.base
        write_base(trace, base, rewritten.value, skip=x)
    else:
        _refresh(trace, x, skip=None)
    return x


def write_base(trace: Trace, base: Tensor, new: TensorValue, skip: Tensor) -> None:
    base.value = new
    if base in trace.watched:
        trace.watched[base](base)
    if base.base is not None:
        derived = base.index
        assert isinstance(derived, Derived)
        if derived.back is None:
            fail(trace, "unknown-op", "a write to a view of this kind", "write to the tensor that it is a view of")
        outer = derived.back(trace, base.base, Tensor(new))
        write_base(trace, base.base, outer.value, skip=base)
    _refresh(trace, base, skip)


def _refresh(trace: Trace, base: Tensor, skip: Tensor | None) -> None:
    views = sorted(trace.views.get(base, ()), key=id)
    for other in views:
        if other is skip or other.base is not base:
            continue
        assert isinstance(other.index, Derived)
        other.value = other.index.forward(trace, base).value
        _refresh(trace, other, None)


def store(trace: Trace, x: Tensor, new: Tensor) -> Tensor:
    """The end of an in-place operation: shape and type of `x` stay."""
    if [count(a) for a in new.shape] != [count(b) for b in x.shape]:
        fail(trace, "shape-mismatch", f"{shown(new.shape)} is written into {shown(x.shape)}")
    if new.dtype is not x.dtype:
        new = emit(trace, "cast", (new, x.dtype), x.shape, x.dtype)
    return write(trace, x, new.value)
