"""Who may import whom. The rules are those of docs/how-it-works.md; imports inside functions count too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STAGES = ("repo", "source", "graph", "raising", "lowering", "render", "weights", "verify")
ALLOWED_BETWEEN_STAGES = {("graph", "source"), ("render", "lowering")}
FRAMEWORKS = {"torch", "jax", "jaxlib", "flax", "transformers", "optax", "orbax"}
NETWORK = {"httpx", "requests", "urllib3", "socket", "http", "ftplib", "aiohttp"}
RUNNING = {"pickle", "runpy", "marshal", "dill", "cloudpickle", "imp", "code"}
CALLS = {"eval", "exec", "compile", "__import__"}
OURS = {"codegen", "ir", "templates", "generated", "tests"}
EMITTED = {"numpy", "safetensors", "torch", "jax", "flax", "huggingface_hub", "ml_dtypes"}
EMITTED_TESTS = EMITTED | {"pytest", "transformers"}


def files(*parts: str) -> list[Path]:
    return sorted(path for part in parts for path in (ROOT / part).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of what a file imports, and the line."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def broken(paths: list[Path], wrong) -> list[str]:
    """`file:line imports name` for every import that `wrong(path, name)` objects to."""
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in paths
        for name, line in imports(path)
        if wrong(path, name)
    ]


def top(name: str) -> str:
    return name.partition(".")[0]


def stage(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "codegen" and len(parts) > 1 and parts[1] in STAGES else None


def test_the_ir_imports_the_standard_library_and_itself() -> None:
    allowed = sys.stdlib_module_names | {"ir", "numpy"}  # numpy: the evaluator
    assert broken(files("ir"), lambda path, name: top(name) not in allowed) == []


def test_numpy_is_for_the_evaluator_alone() -> None:
    found = broken(files("ir"), lambda path, name: top(name) == "numpy" and not path.stem.startswith("eval"))
    assert found == []


def test_the_compiler_imports_no_framework() -> None:
    """Only what measures and converts does, in processes of its own. Stubs are sources for the interpreter."""

    def wrong(path: Path, name: str) -> bool:
        return top(name) in FRAMEWORKS and not {"verify", "weights", "stubs"} & set(path.parts)

    assert broken(files("codegen", "ir"), wrong) == []


def test_stubs_are_read_and_never_imported() -> None:
    assert broken(files("codegen", "ir"), lambda path, name: name.startswith("codegen.graph.stubs")) == []


def test_the_source_is_read_through_the_hubs_client_or_from_disk() -> None:
    assert broken(files("codegen", "ir"), lambda path, name: top(name) in NETWORK) == []
    hub = broken(files("codegen", "ir"), lambda path, name: top(name) == "huggingface_hub" and "repo" not in path.parts)
    assert hub == []


def test_a_stage_imports_no_other() -> None:
    def wrong(path: Path, name: str) -> bool:
        mine = stage(".".join(path.relative_to(ROOT).parts))
        theirs = stage(name)
        return None not in (mine, theirs) and mine != theirs and (mine, theirs) not in ALLOWED_BETWEEN_STAGES

    assert broken(files("codegen"), wrong) == []


def test_no_stage_imports_the_pipeline_or_the_command_line() -> None:
    above = {"codegen.pipeline", "codegen.cli", "codegen.regenerate"}

    def wrong(path: Path, name: str) -> bool:
        module = ".".join(name.split(".")[:2])
        return module in above and stage(".".join(path.relative_to(ROOT).parts)) is not None

    assert broken(files("codegen"), wrong) == []


def test_templates_are_filled_in_one_place() -> None:
    assert broken(files("codegen", "ir"), lambda path, name: top(name) == "jinja2" and "render" not in path.parts) == []


def test_libcst_is_for_merging_alone() -> None:
    assert broken(files("codegen", "ir"), lambda path, name: top(name) == "libcst" and path.name != "merge.py") == []


def test_nothing_that_could_run_a_source_is_used() -> None:
    assert broken(files("codegen", "ir"), lambda path, name: top(name) in RUNNING) == []
    assert broken(files("codegen", "ir"), lambda path, name: name.endswith("import_module")) == []


@pytest.mark.parametrize("path", files("codegen", "ir"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_text_is_evaluated(path: Path) -> None:
    calls = [
        f"{path.name}:{node.lineno} calls {node.func.id}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS
    ]
    assert calls == []


def test_emitted_packages_stand_alone() -> None:
    def wrong(path: Path, name: str) -> bool:
        if name.startswith("generated."):
            return name.split(".")[1] != path.relative_to(ROOT).parts[1]  # a relative import must stay inside
        allowed = EMITTED_TESTS if path.name.startswith("test_") else EMITTED
        return top(name) not in sys.stdlib_module_names | allowed

    assert broken(files("generated"), wrong) == []


def test_no_file_names_a_place_of_one_machine() -> None:
    paths = [path for part in ("codegen", "ir", "templates", "generated", "docs") for path in (ROOT / part).rglob("*")]
    homes = (*(f"/{name}/" for name in ("home", "root", "Users")), f"{Path.home()}/", f"{ROOT}/")
    found = [
        f"{path.relative_to(ROOT)} names {home}"
        for path in paths
        if path.is_file() and path.suffix not in {".pyc", ".gz", ".safetensors"}
        for home in homes
        if home in path.read_text(encoding="utf-8")
    ]
    assert found == []
