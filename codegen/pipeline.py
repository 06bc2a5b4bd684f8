"""The stages, one line each. The first file to read.

SOURCE --repo--> files --source--> syntax trees --graph--> ir.graph --raising--> ir.arch --lowering--> views --render--> package
"""

from __future__ import annotations

import ast
import importlib.metadata
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from codegen import __version__, graph, raising, render
from codegen.diagnostics import CompileError, Diagnostic
from codegen.graph.predicates import Kind
from codegen.lowering.checkpoint_names import Submodel, conversions_of, published_name, read_conversions
from codegen.lowering.package import Facts, PackageViews, Ties, package_views
from codegen.lowering.plain_config import plain_config
from codegen.lowering.program import Input, Lowering, MaskPlan
from codegen.lowering.views import SourceView
from codegen.raising.describe import describe
from codegen.repo import Repository
from codegen.source.files import find_library
from ir.arch import Arch, MaskForm
from ir.graph import Region

TARGETS = ("torch", "flax")
EMITS = ("graph", "arch")


@dataclass(frozen=True, slots=True)
class Package:
    """What is written: file names and texts, source.json among them, and what there is to note about them."""

    name: str
    files: Mapping[str, str]
    notes: tuple[Diagnostic, ...] = ()


def compile_package(
    repository: Repository,
    *,
    targets: Iterable[str] = TARGETS,
    checkpoints: Mapping[str, Mapping[str, object]] | None = None,
    raise_components: bool = True,
) -> Package:
    """A package for the architecture of `repository`. `checkpoints`: name -> configuration of others that it also serves.

    Raises:
        CompileError: every finding, of whichever stage found them.
    """
    library = find_library(_sources(repository))
    built = graph.build(library, repository.config)
    traced = graph.trace_forward(built)
    raised = raising.raise_program(traced.region, traced.mask_parameters, traced.both_ways, traced.inputs) if raise_components else None
    lowering = Lowering(_lowering_input(built, traced, raised.region if raised else traced.region))
    arch = describe(raised.region, traced.tree, raised.masks) if raised else None
    views = _views(repository, built, lowering, arch, additive=raised is None or raised.masks is MaskForm.ADDITIVE)
    files = {name: render.fill(template, view) for name, (template, view) in _templates(views).items()}
    texts = render.format_python(files)
    record_ = record(repository, targets, checkpoints or {})
    name = package_name(repository.config)
    return Package(name, {**texts, render.SOURCE_RECORD: render.manifest(record_, texts)}, repository.notes)


def _sources(repository: Repository) -> dict[str, str]:
    """The Python files of a repository that brings its own code."""
    if "auto_map" not in repository.config:
        return {}
    return {name: text for name in repository.python_files() if (text := repository.text(name)) is not None}


def _lowering_input(built: graph.Built, traced: graph.Traced, region: Region) -> Input:
    predicates = built.interpreter.predicates.all()
    counts = tuple(p.expr for p in predicates if p.kind is Kind.COUNT)
    conditions = tuple(p.expr for p in predicates if p.kind is Kind.LAYER)
    masks = tuple(MaskPlan(mask.name, mask.causal, mask.window, mask.chunk) for mask in traced.masks)
    return Input(traced.tree, region, traced.inputs, masks, built.resolved, counts, conditions)


def _views(
    repository: Repository, built: graph.Built, lowering: Lowering, arch: Arch | None, *, additive: bool
) -> PackageViews:
    name = package_name(repository.config)
    source = SourceView(name, name, repository.name, repository.revision, f"codegen {__version__}")
    config = plain_config(lowering, source)
    ties = Ties(tuple((tie.target, tie.source) for tie in built.ties), "cfg.tie_word_embeddings")
    facts = Facts(f"a causal language model, compiled from {repository.source}")
    vocabulary = int(built.resolved.get("vocab_size", 0))
    return package_views(
        lowering,
        source,
        config,
        facts,
        ties,
        additive=additive,
        published=_published(built),
        tiny=repository.config,
        vocabulary=vocabulary,
        arch=arch,
    )


def _published(built: graph.Built) -> Callable[[str], str]:
    """What a checkpoint calls the tensor at a path of the module tree: the library's conversion mapping, read as data."""
    file = built.interpreter.files.module("transformers.conversion_mapping")
    if file is None:
        return lambda path: path
    table = read_conversions(ast.parse(file.text), file.name)
    conversions = conversions_of(table, [Submodel(*part) for part in graph.submodels(built)], graph.base_prefix(built))

    def name(path: str) -> str:
        found = published_name(path, conversions)
        if isinstance(found, str):
            return found
        raise CompileError(Diagnostic("weight-operation", f"`{path}` is stored in another form, which is not supported yet"))

    return name


def _templates(views: PackageViews) -> dict[str, tuple[str, object]]:
    """File -> template and what it renders."""
    return {
        "__init__.py": ("init.py.jinja", views.card),
        "config.py": ("config.py.jinja", views.config),
        "torch_model.py": ("torch/model.py.jinja", views.torch),
        "flax_model.py": ("flax/model.py.jinja", views.flax),
        "weights.py": ("weights.py.jinja", views.weights),
        "sharding.py": ("sharding.py.jinja", views.weights),
        "README.md": ("card.md.jinja", views.card),
        "test_model.py": ("test_model.py.jinja", views.test),
    }


def package_name(config: Mapping[str, object]) -> str:
    """The name of the package for a configuration: its type, as an identifier."""
    name = re.sub(r"\W+", "_", str(config.get("model_type") or "model"), flags=re.ASCII).strip("_").lower() or "model"
    return f"{name}_" if keyword.iskeyword(name) else f"model_{name}" if name[0].isdigit() else name


def record(
    repository: Repository, targets: Iterable[str], checkpoints: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """What source.json says a package was compiled from: all that emitting it again takes."""
    return {
        "repository": repository.name,
        "revision": repository.revision,
        "codegen": __version__,
        "transformers": importlib.metadata.version("transformers"),
        "targets": list(targets),
        "config": dict(repository.config),
        "checkpoints": {name: dict(config) for name, config in sorted(checkpoints.items())},
    }


def emit(repository: Repository, level: str) -> str:
    """The text of one level of the IR: `graph` or `arch`."""
    not_available(f"--emit {level}")


def write(package: Package, out: Path, *, force: bool = False, merge: bool = False) -> render.Written:
    """Put the package where it belongs, all of it or nothing.

    Raises:
        CompileError: `edited-by-hand`, `not-a-package`, `cannot-write`.
    """
    return render.write_package(package.files, out, force=force, merge=merge)


@dataclass(frozen=True, slots=True)
class Report:
    """An answer for people and the same for machines. `passed` is None where nothing was measured."""

    text: str
    facts: Mapping[str, object]
    passed: bool | None = None


def inspect(repository: Repository, against: Repository | None = None) -> Report:
    """The architecture of a source, or the gap between two."""
    not_available("inspect")


def explain(package: Path, fact: str | None = None) -> Report:
    """Which source line and which config key every fact of a package came from."""
    not_available("explain")


def verify(source: str) -> Report:
    """The bring-up checklist, measured. Runs the frameworks in processes of their own."""
    not_available("verify")


def convert(source: str, to: str, out: Path, *, scanned: bool) -> Report:
    """A checkpoint in another layout."""
    not_available("convert")


def generate(package: Path, weights: str, prompt: str, *, chat: bool) -> Report:
    """Text from a package and published weights."""
    not_available("generate")


def not_available(what: str, detail: str = "") -> NoReturn:
    """
    Raises:
        CompileError: `not-available`.
    """
    raise CompileError(Diagnostic("not-available", f"{what} is not available yet", notes=(detail,) if detail else ()))
