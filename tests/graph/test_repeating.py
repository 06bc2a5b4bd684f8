"""Layers that are copied are what they would have been if they had been made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codegen.graph import library, repeating
from codegen.graph.construction import Built, build
from codegen.graph.objects import Bound, Instance, ModuleObject
from codegen.graph.values import Frame, Node, Scalar, Tensor, TensorValue
from codegen.source.files import find_library

DATA = Path(__file__).resolve().parent.parent / "data"
PUBLISHED: dict[str, dict[str, Any]] = json.loads(DATA.joinpath("published_configs.json").read_text())
FEW = sorted(PUBLISHED)[:: len(PUBLISHED) // 8]


def fingerprint(built: Built) -> list[object]:
    """All that building left: modules with all that they hold, operations, names, predicates; tensors by the order of occurrence."""
    order: dict[int, int] = {}

    def of(x: Any) -> object:
        match x:
            case TensorValue():
                number = order.setdefault(id(x), len(order))
                return ("value", number, tuple(map(of, x.shape)), x.dtype, of(x.everywhere))
            case Tensor():
                number = order.setdefault(id(x), len(order))
                flags = [getattr(x, name, None) for name in ("requires_grad", "persistent")]
                return (type(x).__name__, number, of(x.value), x.base is None, *flags)
            case Scalar():
                return (type(x.value).__name__, x.value, x.expr)
            case Node():
                return (x.op, of(x.args), of(x.results), x.span)
            case Frame():
                return (x.kind, x.name, of(x.body))
            case ModuleObject() | Instance():
                return (x.cls.name, order.setdefault(id(x), len(order)))
            case Bound():
                return ("bound", of(x.receiver))
            case tuple() | list():
                return [type(x).__name__, *map(of, x)]
            case dict():
                return [type(x).__name__, *((key, of(item)) for key, item in x.items())]
            case _:
                return (
                    type(x).__name__,
                    x if isinstance(x, (str, int, float)) else getattr(x, "name", type(x).__name__),
                )

    root = built.interpreter.trace.root
    found: list[object] = [of(root.body), of([list(pair) for pair in root.bindings])]
    for path, module in library.walk_modules(built.model, "", False, set()):
        parts = (module.dict, module.parameters, module.buffers, module.modules, sorted(module.transient))
        found.append((path, module.module_path, str(module.span), of(parts)))
    return [*found, *built.predicates, built.ties, of(built.interpreter.random)]


def check(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    copied = fingerprint(build(find_library(), raw))
    with monkeypatch.context() as patch:
        patch.setattr(repeating.Repeating, "make", lambda self, interpreter, cls, args, kwargs, make: make())
        made = fingerprint(build(find_library(), raw))
    assert copied == made


@pytest.mark.parametrize("name", FEW)
def test_copies_are_what_is_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(PUBLISHED[name], monkeypatch)


@pytest.mark.parametrize("name", ["jamba"])
def test_what_a_list_has_for_a_layer_tells_layers_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is computed, whose items are no function of the index."""
    check(json.loads((DATA / "other_cases" / f"{name}.json").read_text()), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_copies_are_what_is_made_in_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(PUBLISHED[name], monkeypatch)


CONFIGURATION = """
from transformers import PreTrainedConfig

class OwnConfig(PreTrainedConfig):
    model_type = "own"
    def __init__(self, n=6, width=4, kinds=None, **kwargs):
        self.n, self.width, self.kinds = n, width, kinds
        super().__init__(**kwargs)
"""
MODEL = """
import torch
from torch import nn
from transformers import PreTrainedModel, GenerationMixin
from .configuration_own import OwnConfig

MADE = []

class Layer(nn.Module):
    def __init__(self, config, index):
        super().__init__()
        self.index = index
        self.first = index == 0
        self.scale = index * 2 + 1
        self.kind = config.kinds[index]
        self.weight = nn.Parameter(torch.zeros(config.width))
        self.shared = self.weight
        if self.kind == "wide":
            self.wide = nn.Linear(config.width, 2 * config.width)
        self.register_buffer("steps", torch.arange(config.width), persistent=False)
        self.me = self.forward
{counting}
    def forward(self, x):
        return x * self.weight

class OwnForCausalLM(PreTrainedModel, GenerationMixin):
    config: OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList()
        for index in range(config.n):
            layer = Layer(config, index)
            if index == 0:
                layer.entry = True
            self.layers.append(layer)
        self.post_init()
"""
RAW = {
    "model_type": "own",
    "auto_map": {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"},
    "kinds": ["plain", "wide", "plain", "plain", "wide", "plain"],
}


def own(counting: str) -> tuple[Built, list[ModuleObject]]:
    files = {"configuration_own.py": CONFIGURATION, "modeling_own.py": MODEL.replace("{counting}", counting)}
    built = build(find_library(), RAW, files)
    layers = built.model.modules["layers"]
    assert layers is not None
    return built, [layer for layer in layers.modules.values() if layer is not None]


def copies(counting: str, monkeypatch: pytest.MonkeyPatch) -> int:
    made: list[object] = []
    before = repeating._Copy.made
    monkeypatch.setattr(repeating._Copy, "made", lambda *a: made.append(a) or before(*a))
    own(counting)
    return len(made)


def test_a_layer_has_its_own_number_kind_and_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    _, layers = own("")
    assert [layer.dict["index"].value for layer in layers] == [0, 1, 2, 3, 4, 5]
    assert [layer.dict["scale"].value for layer in layers] == [1, 3, 5, 7, 9, 11]
    assert [layer.dict["kind"].value for layer in layers] == RAW["kinds"]
    assert [layer.dict["first"].value for layer in layers] == [True, False, False, False, False, False]
    assert ["wide" in layer.modules for layer in layers] == [False, True, False, False, True, False]
    assert [layer.dict.get("entry") for layer in layers] == [True, None, None, None, None, None]
    assert len({id(layer.parameters["weight"]) for layer in layers}) == 6
    assert all(layer.parameters["shared"] is layer.parameters["weight"] for layer in layers)
    assert all(layer.dict["me"].receiver is layer for layer in layers)
    assert all(layer.transient == {"steps"} for layer in layers)
    assert copies("", monkeypatch) == 2  # the fourth and the last: the third is compared


def test_a_constructor_that_counts_is_run_for_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = "        MADE.append(index)\n        self.earlier = len(MADE)"
    assert copies(counting, monkeypatch) == 0
    _, layers = own(counting)
    assert [layer.dict["earlier"] for layer in layers] == [1, 2, 3, 4, 5, 6]
