"""Layers that compute with their numbers are not one program."""

from __future__ import annotations

import ast
from pathlib import Path

from codegen.lowering.numbered import compute_with_numbers
from codegen.pipeline import compile_package
from codegen.repo import load

LAYER = """
class Layer:
    def __init__(self, cfg, layer):
        self.layer = {kept}

    def __call__(self, x, kv):
        return {result}
"""
IDLE = "def conv(x, layer, kv):\n    return x, kv"
USED = "def conv(x, layer, kv):\n    return x / (layer + 1), kv"
PASSED_ON = "def outer(x, layer, kv):\n    return conv(x, layer, kv)"


def asks(result: str, *helpers: str, kept: str = "layer") -> bool:
    return compute_with_numbers(helpers, [LAYER.format(result=result, kept=kept)])


def test_a_number_in_a_sum() -> None:
    assert asks("x / (self.layer + 1)")
    assert not asks("x")


def test_a_module_that_is_called_layer_is_no_number() -> None:
    assert not asks("self.layer(x)", kept="Inner(cfg)")


def test_helpers_are_asked_whether_they_use_it() -> None:
    assert not asks("conv(x, self.layer, kv)", IDLE)
    assert asks("conv(x, self.layer, kv)", USED)
    assert asks("outer(x, self.layer, kv)", PASSED_ON, USED)
    assert not asks("outer(x, self.layer, kv)", PASSED_ON, IDLE)


def test_a_variable_of_the_source_is_not_called_as_the_cache_is() -> None:
    """The source's own `kv`, beside the cache that Flax hands on under that name."""
    source = Path(__file__).resolve().parent.parent / "data" / "repositories" / "newt"
    text = compile_package(load(str(source)), targets=("flax",)).files["flax_model.py"]
    methods = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    for method in methods:
        arguments = {arg.arg for arg in method.args.args}
        set_here = [ast.unparse(n.value) for n in ast.walk(method) if isinstance(n, ast.Assign) and _sets(n, "kv")]
        assert "kv" not in arguments or not any("kv_b" in value for value in set_here)


def _sets(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
