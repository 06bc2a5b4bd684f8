"""The stages, one line each. The first file to read.

SOURCE --repo--> files --source--> syntax trees --graph--> ir.graph --raising--> ir.arch --lowering--> views --render--> package
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from codegen import graph, raising, render
from codegen.diagnostics import CompileError, Diagnostic
from codegen.joints import (
    ACTIVATIONS,
    TARGETS,
    Front,
    both,
    configuration_class,
    in_a_spelling,
    input_names,
    lowering_input,
    naming_of,
    package_name,
    placed,
    program,
    record,
    reference_notes,
    sources,
    templates,
    uncollected,
    unpacked,
    unread_notes,
    views_of,
    windows,
)
from codegen.lowering.accounting import Accounts, Naming, account, recorded_layouts, stored_layouts
from codegen.lowering.layouts import Layout
from codegen.lowering.program import Lowering
from codegen.raising.describe import describe
from codegen.repo import Repository, index_total, tensor_bytes
from codegen.report import Report
from codegen.source.files import find_library
from ir.records import dataclass, replace
from ir.text import to_text

EMITS = ("graph", "arch")


@dataclass(frozen=True, slots=True)
class Package:
    """What is written: file names and texts, source.json among them, and what there is to note about them."""

    name: str
    files: Mapping[str, str]
    notes: tuple[Diagnostic, ...] = ()


@uncollected()
def compile_package(
    repository: Repository,
    *,
    targets: Iterable[str] = TARGETS,
    checkpoints: Mapping[str, Mapping[str, object]] | None = None,
    names: Mapping[str, object] | None = None,
    raise_components: bool = True,
) -> Package:
    """A package for the architecture of `repository`. `checkpoints`: name -> configuration of others that it also serves;
    `names`: how the checkpoint stores parameters, where nothing is there to read that from.

    Raises:
        CompileError: every finding, of whichever stage found them.
    """
    built = build(repository)
    naming = naming_of(built)
    accounts, front = both(
        lambda: check_weights(repository, built, naming),
        lambda: trace(repository, built, raise_components=raise_components),
    )
    naming = naming.with_stacks(front.traced.stacks)
    stored = stored_layouts(accounts, naming) if accounts else recorded_layouts(names or {}, naming)
    known = Known(accounts, naming, stored, tuple(targets), checkpoints or {})
    try:
        return emitted(front, known)
    except CompileError as error:
        if error.diagnostics[0].code not in FORMS:
            raise
    return emitted(written_out(front), known)


FORMS = ("unknown-pattern", "cache-order")
"""What loops over layers cannot say; layers that are written out one by one can."""


@dataclass(frozen=True, slots=True)
class Known:
    """What emitting takes beside what the source computes."""

    accounts: Accounts | None
    naming: Naming
    stored: Callable[[str], Layout]
    targets: tuple[str, ...]
    checkpoints: Mapping[str, Mapping[str, object]]


def emitted(front: Front, known: Known) -> Package:
    """The files of a package.

    Raises:
        CompileError: what cannot be written.
    """
    repository, accounts, naming = front.repository, known.accounts, known.naming
    configuration = configuration_class(front.built)
    lowering = Lowering(lowering_input(front))
    variant = Variants()
    spelled, config, unread, served = in_a_spelling(front, configuration, lowering, known.checkpoints, variant)
    views = views_of(spelled, configuration, lowering, config, naming, known.stored, unread, served)
    files = {name: render.fill(template, view) for name, (template, view) in templates(views, known.targets).items()}
    files |= {"arch.txt": to_text(front.arch) + "\n"} if front.arch is not None else {}
    texts = render.divide(render.format_python(files))
    facts = record(front, lowering, views, known.stored, naming, unread, known.targets, known.checkpoints)
    notes = (
        *(accounts.notes if accounts else ()),
        *unread_notes(repository.config, configuration.declared, config, unread),
        *([graph.note_runs_again(front.traced.causes)] if front.traced.runs_again else []),
    )
    name = package_name(repository.config)
    return Package(name, {**texts, render.SOURCE_RECORD: render.manifest(facts, texts)}, notes)


def build(repository: Repository, *, flat: bool = False) -> graph.Built:
    """The configuration and the modules. `flat`: modules of a list within a list know their numbers as plain numbers.

    Raises:
        CompileError: what is wrong with the configuration, or what the source does with it that has no meaning.
    """
    files = find_library(sources(repository))
    with placed(repository):
        graph.validate(files, repository.config)
        return graph.build(files, repository.config, flat=flat)


def trace(
    repository: Repository, built: graph.Built, *, raise_components: bool = True, way: graph.Attempt | None = None
) -> Front:
    """What the modules compute, and what that is in the terms of the field; with `way`, where `forward` is called so."""
    with placed(repository):
        traced = graph.trace_forward(built, way=way)
    if not raise_components:
        return Front(repository, built, traced, None, None)
    raised = raising.raise_program(traced.region, traced.mask_parameters, traced.both_ways, input_names(traced))
    return Front(repository, built, traced, raised, describe(raised.region, traced.tree, raised.masks, windows(traced)))


def written_out(front: Front) -> Front:
    """The same without loops over layers: each is written out."""
    way = front.traced.way
    assert way is not None
    again = build(front.repository, flat=True)
    return trace(front.repository, again, raise_components=front.raised is not None, way=replace(way, folds=False))


class Variants:
    """What other configurations of the same code compute; each is traced once, however it is spelled."""

    def __init__(self) -> None:
        self._known: dict[str, list[Front | None]] = {}

    def __call__(self, front: Front, config: Mapping[str, object]) -> Front | None:
        """None where a configuration has other modules.

        Raises:
            CompileError: it cannot be compiled.
        """
        other = replace(front.repository, config=config)
        built = graph.build(find_library(sources(other)), config, flat=front.built.flat)
        if graph.module_shapes(built) != graph.module_shapes(front.built):
            return None
        known = self._known.setdefault(graph.seen_configuration(built), [])
        for made in known:
            if made is None or graph.answered_alike(made.built, built):
                return made
        known.append(None)  # should it not be compiled
        known[-1] = trace(other, built, raise_components=front.raised is not None, way=front.traced.way)
        return known[-1]


def check_weights(repository: Repository, built: graph.Built, naming: Naming) -> Accounts | None:
    """Proof that every tensor of the checkpoint has its place; None where no tensors are known.

    Raises:
        CompileError: some have none; it names them all.
    """
    if repository.tensors is None:
        return None
    held, scales = unpacked(repository.tensors, repository.config)
    accounts = account(held, graph.state_entries(built), graph.transient_buffers(built), naming)
    return replace(accounts, ignored={**accounts.ignored, **dict.fromkeys(scales, ACTIVATIONS)})


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
    assert front.arch is not None and front.raised is not None
    if against is None:
        nearly = [(why.module, why.rule, why.reason) for why in front.raised.why_not]
        return inspection.report(repository.source, front.arch, front.built.resolved, nearly)
    other = trace(against, build(against))
    assert other.arch is not None
    ours = inspection.facts(front.arch, front.built.resolved)
    theirs = inspection.facts(other.arch, other.built.resolved)
    return inspection.gap_report(repository.source, ours, against.source, theirs)


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of a conversion: its plan in lines before it starts, and how many bytes were done of how many."""

    planned: Callable[[Sequence[str]], None] = lambda lines: None
    advanced: Callable[[int, int], None] = lambda done, total: None


def convert(
    source: str, to: str, out: Path, *, scanned: bool = False, flax: bool = False, listener: Listener | None = None
) -> Report:
    """A checkpoint in another layout. Nothing is computed with its numbers: they are the same bit for bit.

    Raises:
        CompileError: what is wrong with the source, with `out`, with what is read or written.
    """
    from codegen.checkpoints import open_source
    from codegen.weights import conversion
    from codegen.weights.parameters import Layout

    listener = listener or Listener()
    opened = open_source(source, compile_into)
    made = conversion.plan(opened, to, Layout(flax or scanned or to == "orbax", scanned))
    facts, lines = conversion.describe(made, out)
    listener.planned(lines)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        listener.advanced(done, made.writes)

    outcome = conversion.run(made, out, progress)
    said = f"wrote {out}: {outcome.written} files" if outcome.written else f"{out} is up to date"
    kept = f", {outcome.kept} kept from an earlier run" if outcome.written and outcome.kept else ""
    return Report(said + kept, {"out": str(out), "plan": facts, "written": outcome.written, "kept": outcome.kept})


def compile_into(repository: Repository, folder: Path) -> Path:
    """The package of a repository, written below a folder."""
    package = compile_package(repository)
    write(package, folder / package.name)
    return folder / package.name


def verify(repository: Repository, *, execute: bool = False) -> Report:
    """Compile a source, and measure the bring-up checklist of what came out. Code that the source brings is evaluated by the
    interpreter; it is run only if `execute` says so, without network or tokens.

    Raises:
        CompileError: it cannot be compiled.
    """
    from codegen.verify import checklist

    package = compile_package(repository)

    def own_code(config: Mapping[str, object], out: Path) -> str:
        if execute:
            return checklist.execute(config, out, code=sources(repository))
        return evaluate(replace(repository, config=config), out)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / package.name
        write(package, out)
        held = repository.tensors
        checks = [checklist.weights(None if held is None else len(held)), *checklist.run(out, own_code)]
        report = checklist.report(repository.source, checks)
    return replace(report, notes=(*repository.notes, *package.notes, *reference_notes(sources(repository), execute)))


def verify_weights(repository: Repository) -> Report:
    """Prove by the headers of a checkpoint alone that every tensor has one place and every parameter one source.

    Raises:
        CompileError: some have not, all of them named; `weights-absent` where there are no headers.
    """
    from codegen.verify import checklist, tensors

    if repository.tensors is None:
        raise CompileError(Diagnostic("weights-absent", "the source holds no safetensors, nor a list of tensors"))
    built = build(repository)
    accounts = check_weights(repository, built, naming_of(built))
    assert accounts is not None
    held = [
        tensors.Held(name, tensor_bytes(stored), accounts.ignored.get(name, ""))
        for name, stored in repository.tensors.items()
    ]
    checks = tensors.checks(held, len(accounts.layouts), accounts.tied, accounts.layouts, index_total(repository.files))
    return replace(checklist.report(repository.source, list(checks)), notes=(*repository.notes, *accounts.notes))


def evaluate(repository: Repository, out: Path) -> str:
    """Record in a folder what the graph of a source computes; why that cannot be done, or nothing."""
    from codegen.verify import interpreted

    front = trace(repository, build(repository), raise_components=False)
    return interpreted.record(program(front), out)


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


__all__ = [
    "EMITS",
    "TARGETS",
    "Listener",
    "Package",
    "build",
    "check_weights",
    "compile_into",
    "compile_package",
    "convert",
    "emit",
    "generate",
    "inspect",
    "not_available",
    "package_name",
    "trace",
    "verify",
    "verify_package",
    "verify_weights",
    "write",
]
