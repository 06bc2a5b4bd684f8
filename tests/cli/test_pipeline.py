"""Small parts of the pipeline."""

from __future__ import annotations

import pytest

from codegen.pipeline import package_name


@pytest.mark.parametrize(
    ("model_type", "name"),
    (
        ("acme", "acme"),
        ("Acme-3.5", "acme_3_5"),
        ("3d", "model_3d"),
        ("lambda", "lambda_"),
        (None, "model"),
        ("..", "model"),
        ("é", "model"),
    ),
)
def test_the_name_of_a_package_can_be_imported(model_type: str | None, name: str) -> None:
    assert package_name({"model_type": model_type}) == name
    assert name.isidentifier()
