"""A package from hand-made views, rendered into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codegen.joints import TARGETS, templates
from codegen.lowering.package import PackageViews
from codegen.lowering.views import CardView, ConfigView, FlaxView, TestView, TorchView, WeightsView
from codegen.render.python import format_python
from codegen.render.templates import fill


@dataclass(frozen=True)
class Package:
    config: ConfigView
    torch: TorchView
    flax: FlaxView
    weights: WeightsView
    card: CardView
    test: TestView


def render(package: Package, out: Path) -> Path:
    """`out`, with the package in it."""
    files = templates(PackageViews(**vars(package)), TARGETS)
    texts = format_python({name: fill(template, view) for name, (template, view) in files.items()})
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text)
    return out
