"""The page over all architectures: what it says follows from the facts alone."""

from __future__ import annotations

from dataclasses import replace

from codegen.lowering.overview import Entry, features, page
from ir.arch import (
    Arch,
    Embedding,
    Gate,
    LayerKind,
    Mlp,
    Norm,
    NormKind,
    NormWeight,
    Part,
    Precision,
    Scaling,
    Stack,
    Wiring,
)
from ir.expressions import Const

KEPT = ("keys and values",)


def arch(kind: NormKind, activation: str = "silu", scaled: bool = False) -> Arch:
    norm = Part("norm", "Norm", Norm(kind, NormWeight.PLAIN, Precision.FLOAT32, Scaling.BEFORE_CAST))
    layer = LayerKind((0, 1), Wiring.PRE_NORM, (norm, Part("mlp", "MLP", Mlp(Gate.SEPARATE, activation))))
    embedding = Part("embed", "Embedding", Embedding(Const(2.0) if scaled else None))
    return Arch((embedding,), (Stack("layers", (layer,)),))


def rows(*entries: Entry) -> dict[str, list[str]]:
    lines = [line for line in page(entries).splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("` "): row for row in cells}


def test_the_nearest_relative_differs_in_the_fewest_facts() -> None:
    found = rows(
        Entry("a", "org/a", 1_500_000_000, KEPT, arch(NormKind.RMS)),
        Entry("b", "org/b", 0, KEPT, arch(NormKind.RMS, "gelu")),
        Entry("c", "org/c", 0, KEPT, arch(NormKind.LAYER, "gelu", scaled=True)),
    )
    assert found["a"][-2:] == ["`b`", "feed-forward: gated MLP (silu) instead of gated MLP (gelu)"]
    assert found["c"][-2] == "`b`" and "norm" in found["c"][-1] and "embedding" in found["c"][-1]
    assert found["a"][2] == "1.5 B"


def test_sizes_have_three_digits() -> None:
    sizes = {"a": 999_885_952, "b": 999_400_000, "c": 12}
    found = rows(*(Entry(name, "", size, (), arch(NormKind.RMS)) for name, size in sizes.items()))
    assert [row[2] for row in found.values()] == ["1 B", "999 M", "12"]


def test_what_is_kept_tells_too() -> None:
    one = arch(NormKind.RMS)
    found = rows(Entry("a", "org/a", 0, KEPT, one), Entry("b", "org/b", 0, (), one))
    assert found["a"][-1] == "cache: keys and values instead of none: run again"


def test_names_and_sizes_are_no_facts() -> None:
    one = arch(NormKind.RMS)
    other = replace(one, stacks=(replace(one.stacks[0], path="blocks"),), sizes=(("D", Const(8)),))
    assert features(one) == features(other)


def test_every_aspect_tells() -> None:
    base = features(arch(NormKind.RMS))
    for changed in (arch(NormKind.LAYER), arch(NormKind.RMS, "gelu"), arch(NormKind.RMS, scaled=True)):
        assert features(changed) != base
