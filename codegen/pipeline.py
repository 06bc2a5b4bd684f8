"""The stages, one line each. The first file to read.

SOURCE --repo--> files --source--> syntax trees --graph--> ir.graph --raising--> ir.arch --lowering--> views --render--> package
"""

from __future__ import annotations

import keyword
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from codegen import __version__, graph, raising, render
from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.graph.exploration import ConfigurationClass, explore
from codegen.graph.predicates import Kind
from codegen.lowering.accounting import (
    Accounts,
    Naming,
    account,
    ignored_patterns,
    recorded_names,
    renamed,
    stored_names,
)
from codegen.lowering.checkpoint_names import Submodel
from codegen.lowering.config_view import ConfigLowering, unread_keys
from codegen.lowering.package import Facts, PackageViews, Ties, package_views
from codegen.lowering.program import Input, Lowering, MaskPlan
from codegen.lowering.provenance import Origins, provenance
from codegen.lowering.views import ConfigView, SourceView
from codegen.raising.describe import describe
from codegen.repo import Repository
from codegen.report import Report, columns
from codegen.source.files import find_library, library_version
from ir.arch import Arch, MaskForm
from ir.expressions import Const, Dim, Expr, Key, leaves
from ir.graph import Region
from ir.text import to_text

TARGETS = ("torch", "flax")
EMITS = ("graph", "arch")


@dataclass(frozen=True, slots=True)
class Package:
    """What is written: file names and texts, source.json among them, and what there is to note about them."""

    name: str
    files: Mapping[str, str]
    notes: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Front:
    """A source as far as it is understood before any choice of a framework. `arch` is None where nothing was raised."""

    repository: Repository
    built: graph.Built
    traced: graph.Traced
    raised: raising.RaisedProgram | None
    arch: Arch | None

    @property
    def region(self) -> Region:
        return self.traced.region if self.raised is None else self.raised.region


def compile_package(
    repository: Repository,
    *,
    targets: Iterable[str] = TARGETS,
    checkpoints: Mapping[str, Mapping[str, object]] | None = None,
    names: Mapping[str, str] | None = None,
    raise_components: bool = True,
) -> Package:
    """A package for the architecture of `repository`. `checkpoints`: name -> configuration of others that it also serves;
    `names`: how the checkpoint calls tensors, where nothing is there to read that from.

    Raises:
        CompileError: every finding, of whichever stage found them.
    """
    built = build(repository)
    naming = _naming(built)
    accounts = check_weights(repository, built, naming)
    front = trace(repository, built, raise_components=raise_components)
    lowering = Lowering(_lowering_input(front))
    published = stored_names(accounts, naming) if accounts else recorded_names(names or {}, naming)
    config, unread = _config(front, lowering, checkpoints or {})
    views = _views(front, lowering, config, naming, published)
    files = {name: render.fill(template, view) for name, (template, view) in _templates(views, targets).items()}
    files |= {"arch.txt": to_text(front.arch) + "\n"} if front.arch is not None else {}
    texts = render.format_python(files)
    served = {view.repository for view in views.config.checkpoints}
    facts = record(repository, targets, {name: raw for name, raw in (checkpoints or {}).items() if name in served})
    facts["code"] = built.source
    facts["names"] = renamed(published, naming, [row.path for table in views.weights.tables for row in table.rows])
    asked = tuple((predicate.expr, predicate.span) for predicate in built.interpreter.predicates.all())
    origins = Origins(built.definitions, built.raw, graph.class_places(built), asked)
    facts["provenance"] = provenance(lowering, views.weights, front.arch, origins, unread)
    notes = (*repository.notes, *(accounts.notes if accounts else ()))
    name = package_name(repository.config)
    return Package(name, {**texts, render.SOURCE_RECORD: render.manifest(facts, texts)}, notes)


def build(repository: Repository) -> graph.Built:
    """The configuration and the modules."""
    return graph.build(find_library(_sources(repository)), repository.config)


def trace(repository: Repository, built: graph.Built, *, raise_components: bool = True) -> Front:
    """What the modules compute, and what that is in the terms of the field."""
    traced = graph.trace_forward(built)
    if not raise_components:
        return Front(repository, built, traced, None, None)
    raised = raising.raise_program(traced.region, traced.mask_parameters, traced.both_ways, traced.inputs)
    return Front(
        repository, built, traced, raised, describe(raised.region, traced.tree, raised.masks, _windows(traced))
    )


def check_weights(repository: Repository, built: graph.Built, naming: Naming) -> Accounts | None:
    """Proof that every tensor of the checkpoint has its place; None where no tensors are known.

    Raises:
        CompileError: some have none; it names them all.
    """
    if repository.tensors is None:
        return None
    return account(repository.tensors, graph.state_entries(built), graph.transient_buffers(built), naming)


def _sources(repository: Repository) -> dict[str, str]:
    """The Python files of a repository that brings its own code."""
    if "auto_map" not in repository.config:
        return {}
    return {name: text for name in repository.python_files() if (text := repository.text(name)) is not None}


def _lowering_input(front: Front) -> Input:
    traced, predicates = front.traced, front.built.interpreter.predicates.all()
    counts = tuple(p.expr for p in predicates if p.kind is Kind.COUNT)
    conditions = tuple(p.expr for p in predicates if p.kind is Kind.LAYER)
    masks = tuple(MaskPlan(mask.name, mask.causal, mask.window, mask.chunk) for mask in traced.masks)
    flags = tuple(tie.condition for tie in front.built.ties)
    return Input(traced.tree, front.region, traced.inputs, masks, front.built.resolved, counts, flags, conditions)


def _views(
    front: Front, lowering: Lowering, config: ConfigView, naming: Naming, published: Callable[[str], str]
) -> PackageViews:
    repository, built = front.repository, front.built
    ties = _ties(built, lowering)
    facts = Facts(f"a causal language model, compiled from {repository.source}")
    return package_views(
        lowering,
        config.source,
        config,
        facts,
        ties,
        additive=front.raised is None or front.raised.masks is MaskForm.ADDITIVE,
        published=published,
        tiny=repository.config,
        vocabulary=int(built.resolved.get("vocab_size", 0)),
        ignored=ignored_patterns(graph.transient_buffers(built), naming),
        arch=front.arch,
    )


def _config(
    front: Front, lowering: Lowering, checkpoints: Mapping[str, Mapping[str, object]]
) -> tuple[ConfigView, Mapping[str, str]]:
    """Config: the attributes that the emitted code reads, how each follows from config.json, and what is refused; then the
    keys that nothing reads, each with the reason.

    Raises:
        CompileError: `config-refused`, `unknown-key`.
    """
    repository, interpreter = front.repository, front.built.interpreter
    configuration = ConfigurationClass(interpreter.files, repository.config)
    predicates = [p for p in interpreter.predicates.all() if p.stage == 2 and not _of_the_input(p.expr)]
    keys = [Key(path) for path in lowering.fields]
    guards = configuration.guards(repository.config)
    explored = explore(configuration, repository.config, keys, [*predicates, *guards])
    made = ConfigLowering(explored, lowering.fields, lowering.letters(), tuple(lowering.numbers()))
    own = made.served(repository.config)
    if isinstance(own, str):
        message = f"no emitted code could serve this configuration: {printable(own, 500)}"
        raise CompileError(Diagnostic("config-refused", message))
    name = package_name(repository.config)
    source = SourceView(name, name, repository.name, repository.revision, f"codegen {__version__}")
    return made.view(source, checkpoints), dict(unread_keys(explored, lowering.fields))


def _ties(built: graph.Built, lowering: Lowering) -> Ties:
    """Tied tensors, and the flag of the configuration that says whether they are."""
    conditions = [tie.condition for tie in built.ties if not isinstance(tie.condition, Const)]
    pairs = tuple((tie.target, tie.source) for tie in built.ties)
    return Ties(pairs, lowering.over_cfg(conditions[0]) if conditions else "")


def _naming(built: graph.Built) -> Naming:
    """How checkpoints name tensors: the library's conversion mapping, read as data."""
    base, dropped = graph.base_prefix(built), graph.dropped_patterns(built)
    file = built.interpreter.files.module("transformers.conversion_mapping")
    if file is None:
        return Naming(base=base, dropped=dropped)
    submodels = [Submodel(*part) for part in graph.submodels(built)]
    return Naming.read(file.text, file.name, submodels, base, dropped)


def _of_the_input(expr: Expr) -> bool:
    """Whether an expression depends on the size of what the model is given."""
    return any(isinstance(leaf, Dim) for leaf in leaves(expr))


def _templates(views: PackageViews, targets: Iterable[str]) -> dict[str, tuple[str, object]]:
    """File -> template and what it renders, without the models that are not asked for."""
    unwanted = {f"{target}_model.py" for target in TARGETS if target not in targets}
    files: dict[str, tuple[str, object]] = {
        "__init__.py": ("init.py.jinja", views.card),
        "config.py": ("config.py.jinja", views.config),
        "torch_model.py": ("torch/model.py.jinja", views.torch),
        "flax_model.py": ("flax/model.py.jinja", views.flax),
        "weights.py": ("weights.py.jinja", views.weights),
        "sharding.py": ("sharding.py.jinja", views.weights),
        "README.md": ("card.md.jinja", views.card),
        "test_model.py": ("test_model.py.jinja", views.test),
    }
    return {name: rendered for name, rendered in files.items() if name not in unwanted}


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
        "transformers": library_version(),
        "targets": list(targets),
        "config": dict(repository.config),
        "checkpoints": {name: dict(config) for name, config in sorted(checkpoints.items())},
    }


def emit(repository: Repository, level: str) -> str:
    """The text of one level of the IR: `graph`, the modules and what they compute, or `arch`."""
    front = trace(repository, build(repository), raise_components=level != "graph")
    return to_text((front.traced.tree, front.region) if front.arch is None else front.arch)


def write(package: Package, out: Path, *, force: bool = False, merge: bool = False) -> render.Written:
    """Put the package where it belongs, all of it or nothing.

    Raises:
        CompileError: `edited-by-hand`, `not-a-package`, `cannot-write`.
    """
    return render.write_package(package.files, out, force=force, merge=merge)


def inspect(repository: Repository, against: Repository | None = None) -> Report:
    """The architecture of a source, or the gap between two."""
    from codegen.lowering import inspection

    front = trace(repository, build(repository))
    found, raised = inspection.facts(_arch(front), front.built.resolved), front.raised
    rows = inspection.described(_arch(front))
    nearly = [(why.module, why.rule, why.reason) for why in raised.why_not] if raised is not None else []
    if against is None:
        lines = [repository.source, "", *columns(rows, "  "), "", "Facts", *columns(list(found.items()), "  ")]
        lines += ["", "Rules that nearly fired", *columns(nearly, "  ")] if nearly else []
        return Report(
            "\n".join(lines), {"source": repository.source, "modules": rows, "facts": found, "nearly": nearly}
        )
    other = trace(against, build(against))
    gap = inspection.gap(found, inspection.facts(_arch(other), other.built.resolved))
    table = columns([("", repository.source, against.source), *gap], "  ")
    lines = ["the same architecture, and the same sizes"] if not gap else [f"{len(gap)} facts differ", *table]
    names = {"source": repository.source, "against": against.source}
    return Report("\n".join(lines), {**names, "gap": [{"fact": f, "here": x, "there": y} for f, x, y in gap]})


def _windows(traced: graph.Traced) -> dict[int, Expr]:
    """How many tokens the masks among the inputs let through, by index."""
    windows = {mask.name: mask.window for mask in traced.masks}
    return {at: window for at, name in enumerate(traced.inputs) if (window := windows.get(name)) is not None}


def _arch(front: Front) -> Arch:
    assert front.arch is not None
    return front.arch


def convert(source: str, to: str, out: Path, *, scanned: bool) -> Report:
    """A checkpoint in another layout."""
    not_available("convert")


def verify(repository: Repository) -> Report:
    """Compile a source, and measure the bring-up checklist of what came out.

    Raises:
        CompileError: it cannot be compiled.
    """
    from codegen.verify import checklist

    package = compile_package(repository)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / package.name
        write(package, out)
        held = repository.tensors
        checks = [checklist.weights(None if held is None else len(held)), *checklist.run(out)]
        report = checklist.report(repository.source, checks)
    return replace(report, notes=package.notes)


def verify_package(folder: Path) -> Report:
    """Measure the bring-up checklist of a package that was emitted before."""
    from codegen.verify import checklist

    return checklist.report(folder.name, checklist.run(folder))


def generate(package: Path, weights: str, prompt: str, *, chat: bool) -> Report:
    """Text from a package and published weights. Runs a framework in a process of its own."""
    from codegen.verify import generation

    made = generation.generate(package, weights, prompt, chat=chat)
    return Report(made.text, {"text": made.text, "tokens": made.tokens, "framework": made.framework})


def not_available(what: str, detail: str = "") -> NoReturn:
    """
    Raises:
        CompileError: `not-available`.
    """
    raise CompileError(Diagnostic("not-available", f"{what} is not available yet", notes=(detail,) if detail else ()))
