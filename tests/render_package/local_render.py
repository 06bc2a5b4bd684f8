"""A package from hand-made views, rendered into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    files = {
        "config.py": ("config.py.jinja", package.config),
        "torch_model.py": ("torch/model.py.jinja", package.torch),
        "torch_generation.py": ("torch/generation.py.jinja", package.torch),
        "flax_model.py": ("flax/model.py.jinja", package.flax),
        "flax_stack.py": ("flax/stack/module.py.jinja", package.flax),
        "flax_generation.py": ("flax/generation.py.jinja", package.flax),
        "weights.py": ("weights.py.jinja", package.weights),
        "sharding.py": ("sharding.py.jinja", package.weights),
        "__init__.py": ("init.py.jinja", package.card),
        "README.md": ("card.md.jinja", package.card),
        "test_model.py": ("test_model.py.jinja", package.test),
    }
    texts = format_python({name: fill(template, view) for name, (template, view) in files.items()})
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text)
    return out
