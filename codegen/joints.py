"""What one stage hands to the next, where they know nothing of each other: the pipeline's own plumbing."""

from __future__ import annotations

import difflib
import gc
import itertools
import keyword
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from codegen import __version__, graph, raising
from codegen.diagnostics import CompileError, Diagnostic, Severity, printable
from codegen.graph.agreements import conditions, division_follows
from codegen.graph.exploration import ConfigurationClass, Unserved, explore, newer_names, normal_spelling
from codegen.graph.predicates import Kind, Predicate
from codegen.lowering import layouts, towers
from codegen.lowering.accounting import NO_PART, Naming, departures, ignored_patterns
from codegen.lowering.config_view import ConfigLowering, unread_keys
from codegen.lowering.conversion_table import Submodel
from codegen.lowering.ignoring import meant
from codegen.lowering.layouts import Layout
from codegen.lowering.package import Facts, PackageViews, Ties, package_views
from codegen.lowering.program import Input, Lowering, MaskPlan
from codegen.lowering.provenance import Origins, provenance
from codegen.lowering.shared import shared_parts
from codegen.lowering.views import ConfigView, MaskKind, PackedView, SourceView, is_repository
from codegen.repo import Repository, TensorHeader, heads_apart, place_of
from codegen.source.files import LIBRARY, REPOSITORY, library_version
from codegen.variation import Run, deciding
from ir.arch import Arch, MaskForm
from ir.expressions import Apply, Const, Expr, Key, indexed_lists, leaves
from ir.graph import Region
from ir.reading import INERT, UNTRAINED, lookup, same
from ir.records import dataclass, replace

if TYPE_CHECKING:
    from codegen.verify.interpreted import Program

TARGETS = ("torch", "flax")
PACKED = Path(__file__).parent / "weights" / "packed.py"  # which packages bring along as it is
ACTIVATIONS = "scales activations, which are not rounded here"
QUANTISED = {"quantization_config", "compression_config"}
LIKE = 0.85  # of 1, from which on one key may be meant for another
A = TypeVar("A")
Z = TypeVar("Z")


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is looked for meanwhile: nearly all that is made is needed to the end, and to look through all of it takes long."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def placed(repository: Repository) -> Iterator[None]:
    """Findings about a key of config.json show where it stands, before where the source speaks of it."""
    try:
        yield
    except CompileError as error:
        error.diagnostics = _explained(tuple(_placed(found, repository) for found in error.diagnostics), repository)
        raise


def _explained(found: tuple[Diagnostic, ...], repository: Repository) -> tuple[Diagnostic, ...]:
    """Findings, those of sizes that do not agree under the head of a value of config.json that would explain them."""
    apart = [one for one in found if one.code == "shape-mismatch"]
    faults = heads_apart(repository.config, repository.config_text, repository.config_file)
    if not apart or not faults:
        return found
    labels = tuple(label for one in apart for label in (one.primary, *one.secondary) if label is not None)
    notes = tuple(dict.fromkeys(one.message for one in apart))
    return (*(replace(fault, secondary=labels, notes=notes) for fault in faults), *(x for x in found if x not in apart))


def _placed(found: Diagnostic, repository: Repository) -> Diagnostic:
    keys = tuple(itertools.takewhile(lambda step: isinstance(step, str), found.key))
    label = place_of(repository.config_text, repository.config_file, keys) if keys else None  # type: ignore[arg-type]
    if label is None or found.primary == label:
        return found
    others = (found.primary, *found.secondary) if found.primary is not None else found.secondary
    return replace(found, primary=label, secondary=others)


def both(first: Callable[[], A], second: Callable[[], Z]) -> tuple[A, Z]:
    """What two steps give.

    Raises:
        CompileError: the findings of both, where one fails or both do.
    """
    try:
        made = first()
    except CompileError as error:
        try:
            second()
        except CompileError as other:
            raise CompileError(*error.diagnostics, *other.diagnostics) from None
        raise
    return made, second()


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


def sources(repository: Repository) -> dict[str, str]:
    """The Python files of a repository that brings its own code."""
    if "auto_map" not in repository.config:
        return {}
    return {name: text for name in repository.python_files() if (text := repository.text(name)) is not None}


def notices_of(built: graph.Built) -> tuple[str, ...]:
    """The copyright lines of the modeling code."""
    dotted = built.source.removesuffix(".py").replace("/", ".")
    files = built.interpreter.files
    file = files.module(dotted if dotted.startswith(f"{LIBRARY}.") else f"{REPOSITORY}.{dotted}")
    return () if file is None else file.notices()


def naming_of(built: graph.Built) -> Naming:
    """How checkpoints name tensors: the library's conversion mapping, read as data. It is for models of the library alone."""
    base, dropped = graph.base_prefix(built), meant(graph.dropped_patterns(built))
    file = built.interpreter.files.module("transformers.conversion_mapping")
    if file is None:
        return Naming(base=base, dropped=dropped)
    submodels = [Submodel(*part) for part in graph.submodels(built, own_code=False)]
    parameters = {entry.name: entry.sizes for entry in graph.state_entries(built)}
    return Naming.read(file.text, file.name, submodels, base, dropped, built.resolved, parameters)


def unpacked(
    tensors: Mapping[str, TensorHeader], config: Mapping[str, object]
) -> tuple[Mapping[str, TensorHeader], Collection[str]]:
    """The tensors of a checkpoint, in place of those of few bits what they stand for; those that scale activations.

    Raises:
        CompileError: `weights-quantised`, in a way that is not known.
    """
    if not QUANTISED & config.keys() and not isinstance(config.get("text_config"), Mapping):
        return tensors, ()
    from codegen.weights import packed  # which needs numpy

    held = {name: (one.dtype, one.shape) for name, one in tensors.items() if one.shape is not None}
    try:
        settings = packed.settings_of(config)
        found = packed.packed(held, settings) if settings else {}
    except ValueError as error:
        raise CompileError(Diagnostic("weights-quantised", f"the checkpoint is quantised: {error}")) from None
    parts, scales = packed.beside(tensors, found) if settings else (set(), set())
    made = {name: TensorHeader(one.shape, "F32", tensors[one.parts["values"]].file) for name, one in found.items()}
    gone = parts | scales
    return {name: one for name, one in tensors.items() if name not in gone} | made, sorted(scales)


def windows(traced: graph.Traced) -> dict[int, Expr]:
    """How many tokens the masks among the inputs let through, by index."""
    windows = {mask.name: mask.window for mask in traced.masks}
    return {at: window for at, name in enumerate(traced.inputs) if (window := windows.get(name)) is not None}


def mask_names(traced: graph.Traced) -> dict[str, str]:
    """What the emitted code calls the masks: one alone is the mask, of several each says which it is."""
    if len(traced.masks) == 1:
        return {mask.name: "mask" for mask in traced.masks}
    return {mask.name: "full_mask" if mask.name == "mask" else mask.name for mask in traced.masks}


def input_names(traced: graph.Traced) -> tuple[str, ...]:
    """What the emitted code calls what the network takes."""
    called = mask_names(traced)
    return tuple(called.get(name, name) for name in traced.inputs)


def lowering_input(front: Front) -> Input:
    traced, predicates = front.traced, front.built.interpreter.predicates.all()
    counts = tuple((p.expr, p.span) for p in predicates if p.kind is Kind.COUNT)
    conditions = tuple(p.expr for p in predicates if p.kind is Kind.LAYER)
    called = mask_names(traced)
    taken = sorted(traced.masks, key=lambda mask: traced.inputs.index(mask.name))  # one order in all that takes them
    masks = tuple(MaskPlan(called[mask.name], mask.causal, mask.window, mask.chunk) for mask in taken)
    flags = tuple(tie.condition for tie in front.built.ties)
    submodels = _submodels(front.built)
    ties = tuple((tie.target, tie.source) for tie in front.built.ties)
    resolved = front.built.resolved
    answers = graph.kept_answers(front.built)
    return Input(
        traced.tree,
        front.region,
        input_names(traced),
        masks,
        resolved,
        counts,
        flags,
        conditions,
        submodels,
        ties,
        answers,
        limits=traced.limits,
        parts=traced.parts,
        open_numbers=front.built.interpreter.open_numbers,
    )


def needs_of(
    front: Front, configuration: ConfigurationClass, compiled: Callable[[Mapping[str, object]], Front | None]
) -> tuple[Predicate, ...]:
    """What a configuration must be like to be served by what was compiled. `compiled` traces and raises another one; None if
    that is seen to be another program."""
    config = front.repository.config

    def run(raw: Mapping[str, object]) -> Run | None:
        other = compiled(raw)
        return None if other is None else _run(other, raw)

    return deciding(_run(front, config), run, configuration)


def configuration_class(built: graph.Built) -> ConfigurationClass:
    """The class that made the configuration, to be run on others."""
    return ConfigurationClass(built.interpreter.files, built.raw)


def in_a_spelling(
    front: Front,
    configuration: ConfigurationClass,
    lowering: Lowering,
    checkpoints: Mapping[str, Mapping[str, object]],
    compiled: Callable[[Front, Mapping[str, object]], Front | None],
) -> tuple[Front, ConfigView, Mapping[str, str], ConfigLowering]:
    """Config for the spelling that all spellings of the configuration have in common, or for the one that was given where
    that does not serve it. `compiled` traces and raises another configuration of what it is given.

    Raises:
        CompileError: `config-refused`, `unknown-key`.
    """
    given = front.repository.config
    *others, last = spellings(front, configuration)
    for spelled in others:
        try:
            return spelled, *_config_in(spelled, configuration, lowering, checkpoints, compiled, given)
        except CompileError:
            continue
    return last, *_config_in(last, configuration, lowering, checkpoints, compiled, given)


def _config_in(
    front: Front,
    configuration: ConfigurationClass,
    lowering: Lowering,
    checkpoints: Mapping[str, Mapping[str, object]],
    compiled: Callable[[Front, Mapping[str, object]], Front | None],
    given: Mapping[str, object],
) -> tuple[ConfigView, Mapping[str, str], ConfigLowering]:
    needs = needs_of(front, configuration, lambda config: compiled(front, config))
    return config_of(front, configuration, lowering, needs, checkpoints, given)


def spellings(front: Front, configuration: ConfigurationClass) -> Iterator[Front]:
    """The same as if it had been given in the one spelling that all spellings of its configuration have; then as it is, but
    for keys that every class has under two names."""
    repository = front.repository
    normal, own = normal_spelling(configuration, repository.config), newer_names(configuration, repository.config)
    for config in [normal] if normal == own else [normal, own]:
        yield replace(front, repository=replace(repository, config=config))


def _run(front: Front, raw: Mapping[str, object]) -> Run:
    built, traced = front.built, front.traced
    ties = tuple((tie.target, tie.source) for tie in built.ties)
    program = (traced.tree, front.region, traced.inputs, traced.masks, ties)
    left_out = _settings_of(built, towers.towers(traced.tree, traced.region, _submodels(built), ties))
    asked = tuple(p for p in built.interpreter.predicates.all() if not _only_about(p.expr, left_out))
    return Run.of(raw, built.resolved, asked, built.interpreter.trace.agreements, program)


def _of_kinds(wanted: Sequence[Predicate], lowering: Lowering) -> list[Predicate]:
    """With the kinds of layers that are known, in the place of what each question on the index of a layer says by itself."""
    about = [p for p in wanted if p.kind is Kind.LAYER and (isinstance(p.value, bool) or indexed_lists(p.expr))]
    count, known = lowering.known_kinds(predicate.expr for predicate in about)
    said = {p for p in about if p.expr in known.covered and not indexed_lists(p.expr)}
    kinds = Predicate(Kind.KINDS, Apply("tuple", (count, *known.asked)), known.seen, None)  # type: ignore[arg-type]
    return [*(predicate for predicate in wanted if predicate not in said), *([kinds] if known.seen else [])]


def config_of(
    front: Front,
    configuration: ConfigurationClass,
    lowering: Lowering,
    needs: Iterable[Predicate],
    checkpoints: Mapping[str, Mapping[str, object]],
    given: Mapping[str, object],
) -> tuple[ConfigView, Mapping[str, str], ConfigLowering]:
    """Config: the attributes that the emitted code reads, how each follows from config.json, and what is refused; then the
    keys that nothing reads, each with the reason, and what says which configurations are served. `given` is config.json as it
    was given, whatever spelling `front` has.

    Raises:
        CompileError: `config-refused`, `unknown-key`.
    """
    repository = front.repository
    keys = [Key(path) for path in lowering.fields]
    guards = configuration.guards(repository.config)
    pins = [Predicate(Kind.STRUCTURE, expr, True, None) for expr in lowering.pins]
    pins += [Predicate(Kind.AGREEMENT, expr, True, None) for expr in lowering.one_a_layer()]
    wanted = _of_kinds(conditions([*needs, *pins, *guards], (), front.built.resolved), lowering)
    try:
        explored = explore(configuration, repository.config, keys, wanted, given)
    except Unserved as error:
        raise _unserved(str(error)) from None
    resolved = front.built.resolved
    made = ConfigLowering(
        explored,
        lowering.fields,
        lowering.letters(),
        tuple(lowering.numbers()),
        lambda division, others: division_follows(division, others, resolved),
        lowering.left_open(),
    )
    own = made.served(given)
    if isinstance(own, str):
        raise _unserved(own)
    unlike = [path for path, found in own.items() if not same(found, lookup(front.built.resolved, path))]
    if unlike:
        names = ", ".join(".".join(map(str, path)) for path in unlike)
        raise CompileError(
            Diagnostic("config-refused", f"it is not known how this configuration comes to {printable(names, 200)}")
        )
    name = package_name(repository.config)
    source = SourceView(
        name,
        title(repository.config),
        repository.name,
        repository.revision,
        f"codegen {__version__}",
        notices_of(front.built),
    )
    view = replace(made.view(source, checkpoints), properties=lowering.properties())
    dropped = frozenset(name for name in given if name not in explored.resolved)
    asked = {str(path[-1]) for path in front.built.interpreter.key_reads if path}
    unread = dict(unread_keys(replace(explored, raw=given, dropped=dropped), lowering.fields, asked))
    return view, {name: UNTRAINED if name in _untrained(front) else reason for name, reason in unread.items()}, made


def _untrained(front: Front) -> dict[str, str]:
    """The keys of rows that the original does not train where it looks them up, with what is done here."""
    return {".".join(map(str, path)): UNTRAINED for path in graph.untrained_rows(front.built)}


def _unserved(why: str) -> CompileError:
    message = f"no emitted code could serve this configuration: {printable(why, 500)}"
    return CompileError(Diagnostic("config-refused", message))


def unread_notes(
    raw: Mapping[str, object], declared: Collection[str], config: ConfigView, unread: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Which keys of config.json change nothing, and why; of one that might be misspelled, what it is like."""
    if not unread:
        return
    reasons: dict[str, list[str]] = {}
    for name, reason in unread.items():
        reasons.setdefault(reason, []).append(f"`{printable(name, 80)}`")
    read = [key.path for key in config.keys if "." not in key.path]
    free = [name for name in dict.fromkeys([*declared, *read]) if name not in raw]
    likely = {name: difflib.get_close_matches(name, free, 1, LIKE) for name in unread if name not in declared}
    meant = [
        f"`{printable(name, 80)}` is like `{found[0]}`: is it misspelled?" for name, found in likely.items() if found
    ]
    yield Diagnostic(
        "keys-unread",
        f"{len(unread)} keys of config.json change nothing in the emitted code",
        notes=tuple(f"{reason}: {', '.join(names)}" for reason, names in reasons.items()),
        help="\n".join(meant),
        severity=Severity.NOTE,
    )


def _submodels(built: graph.Built) -> tuple[str, ...]:
    return tuple(path for path, _, _ in graph.submodels(built))


def _settings_of(built: graph.Built, towers_: Sequence[str]) -> list[tuple[str | int, ...]]:
    """The parts of the configuration that models within the model have for themselves, where these are left out."""
    parts = graph.submodel_settings(built)
    kept = {settings for path, settings in parts.items() if not towers.within(path, towers_)}
    return [settings for path, settings in parts.items() if settings not in kept and settings]


def _only_about(expr: Expr, parts: Sequence[tuple[str | int, ...]]) -> bool:
    """Whether an expression reads the configuration in these parts of it alone."""
    keys = [leaf.path for leaf in leaves(expr) if isinstance(leaf, Key)]
    return bool(keys) and all(any(path[: len(part)] == part for part in parts) for path in keys)


def views_of(
    front: Front,
    configuration: ConfigurationClass,
    lowering: Lowering,
    config: ConfigView,
    naming: Naming,
    stored: Callable[[str], Layout],
    unread: Mapping[str, str],
    made: ConfigLowering,
) -> PackageViews:
    repository, built = front.repository, front.built
    ties = _ties(built, lowering)
    facts = Facts(
        f"a causal language model, compiled from {repository.source}",
        parameters=parameter_count(built),
        unread=tuple(sorted({**_untrained(front), **unread}.items())),
        library=f"transformers {library_version()}" if built.source.startswith("transformers/") else "",
        runs_again=_sentence(graph.note_runs_again(front.traced.causes)) if front.traced.runs_again else "",
        end_tokens=_end_tokens(repository.config),
    )
    return package_views(
        lowering,
        config.source,
        config,
        facts,
        ties,
        masks=_mask_form(front),
        stored=stored,
        tiny=dict(sorted({**_default_numbers(configuration), **repository.config}.items())),
        vocabulary=int(built.resolved.get("vocab_size", 0)),
        ignored={
            **ignored_patterns(graph.transient_buffers(built), naming),
            **dict.fromkeys(
                towers.stored_names(front.traced.tree, lowering.towers, lambda path: layouts.names(stored(path))),
                NO_PART,
            ),
        },
        arch=front.arch,
        base=naming.base,
        serves=lambda config: not isinstance(made.served(config), str),
        refused=made.refused,
    )


def _end_tokens(config: Mapping[str, object]) -> tuple[int, ...]:
    """The tokens that end a text, where a configuration has several."""
    found = config.get("eos_token_id")
    return tuple(token for token in found if isinstance(token, int)) if isinstance(found, (list, tuple)) else ()


def _sentence(note: Diagnostic) -> str:
    return f"{note.message[0].upper()}{note.message[1:]}."


def _default_numbers(configuration: ConfigurationClass) -> dict[str, object]:
    """Sizes and counts that a configuration has without saying so."""
    declared = configuration.declared if configuration.fills else {}
    return {name: number for name, number in declared.items() if type(number) is int and name not in INERT}


def _mask_form(front: Front) -> MaskKind:
    """What masks the emitted code makes."""
    if front.raised is None or front.raised.masks is MaskForm.ADDITIVE:
        return MaskKind.ADDITIVE
    return MaskKind.OPTIONAL if front.raised.optional else MaskKind.BOOLEAN


def _ties(built: graph.Built, lowering: Lowering) -> Ties:
    """Tied tensors, and the flag of the configuration that says whether they are."""
    conditions = [tie.condition for tie in built.ties if not isinstance(tie.condition, Const)]
    pairs = tuple((t.target, t.source) for t in built.ties if not towers.within(t.target, lowering.towers))
    shared, single = shared_parts(pairs, lowering.given.tree, [path for path, _ in lowering.lists()])
    return Ties(single, lowering.over_cfg(conditions[0]) if conditions else "", shared)


def templates(views: PackageViews, targets: Iterable[str]) -> dict[str, tuple[str, object]]:
    """File -> template and what it renders, without the models that are not asked for."""
    unwanted = tuple(f"{target}_" for target in TARGETS if target not in targets)
    files: dict[str, tuple[str, object]] = {
        "__init__.py": ("init.py.jinja", views.card),
        "config.py": ("config.py.jinja", views.config),
        "torch_model.py": ("torch/model.py.jinja", views.torch),
        "torch_generation.py": ("torch/generation.py.jinja", views.torch),
        "flax_model.py": ("flax/model.py.jinja", views.flax),
        "flax_stack.py": ("flax/stack/module.py.jinja", views.flax),
        "flax_generation.py": ("flax/generation.py.jinja", views.flax),
        "weights.py": ("weights.py.jinja", views.weights),
        "packed.py": ("packed.py.jinja", PackedView(views.config.source, PACKED.read_text(encoding="utf-8"))),
        "sharding.py": ("sharding.py.jinja", views.weights),
        "README.md": ("card.md.jinja", views.card),
        "test_model.py": ("test_model.py.jinja", views.test),
    }
    return {name: rendered for name, rendered in files.items() if not name.startswith(unwanted)}


def package_name(config: Mapping[str, object]) -> str:
    """The name of the package for a configuration: its type, as an identifier."""
    name = re.sub(r"\W+", "_", str(config.get("model_type") or "model"), flags=re.ASCII).strip("_").lower() or "model"
    return f"{name}_" if keyword.iskeyword(name) else f"model_{name}" if name[0].isdigit() else name


def program(front: Front) -> Program:
    """What the interpreter understood, to be evaluated on numbers."""
    from codegen.verify.interpreted import Program, Seen

    built, traced = front.built, front.traced
    entries = graph.state_entries(built)
    return Program(
        front.repository.config,
        built.resolved,
        traced.tree,
        traced.region,
        traced.inputs,
        tuple(Seen(mask.name, mask.causal, mask.window, mask.chunk) for mask in traced.masks),
        {entry.name: entry.sizes for entry in entries if entry.tied is None},
        {entry.name: entry.tied for entry in entries if entry.tied is not None},
        int(built.resolved.get("vocab_size", 0)),
    )


def reference_notes(own_code: Mapping[str, str], executed: bool) -> Iterator[Diagnostic]:
    """What stood in for the original where that is code of its repository."""
    if own_code and executed:
        message = "code of the repository was run, in a process of its own without network or tokens"
        yield Diagnostic("original-executed", message, severity=Severity.NOTE)
    elif own_code:
        message = (
            "no code of the repository was run: its graph, as the interpreter understood it, was evaluated instead"
        )
        yield Diagnostic(
            "original-evaluated",
            message,
            help="--execute-original runs it, in a process of its own without network or tokens",
            severity=Severity.NOTE,
        )


def title(config: Mapping[str, object]) -> str:
    """What people call the architecture: its class, without what it is for."""
    names = config.get("architectures")
    made = str(names[0]) if isinstance(names, list) and names else ""
    return re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", made) or package_name(config)


def parameter_count(built: graph.Built) -> int:
    """Elements of all parameters, tied ones once."""
    entries = graph.state_entries(built)
    return sum(math.prod(entry.sizes) for entry in entries if entry.kind == "parameter" and entry.tied is None)


def record(
    front: Front,
    lowering: Lowering,
    views: PackageViews,
    stored: Callable[[str], Layout],
    naming: Naming,
    unread: Mapping[str, str],
    targets: Iterable[str],
    checkpoints: Mapping[str, Mapping[str, object]],
) -> dict[str, object]:
    """What source.json says a package was compiled from: all that emitting it again takes, and where its facts came from."""
    repository, built = front.repository, front.built
    served = {view.repository for view in views.config.checkpoints}
    asked = tuple((predicate.expr, predicate.span) for predicate in built.interpreter.predicates.all())
    origins = Origins(built.definitions, built.raw, graph.class_places(built), asked, dict(built.interpreter.key_reads))
    paths = [row.path for table in views.weights.tables for row in table.rows]
    return {
        "repository": repository.name if is_repository(repository.name) else None,
        "name": repository.name,
        "revision": repository.revision or None,  # where it is not known
        "codegen": __version__,
        "transformers": library_version(),
        "code": built.source,
        "targets": list(targets),
        "config": dict(repository.config),
        "checkpoints": {name: dict(config) for name, config in sorted(checkpoints.items()) if name in served},
        "parameters": parameter_count(built),
        "cache": list(lowering.cache().kinds),
        "names": departures(stored, naming, paths),
        "provenance": provenance(lowering, views.weights, front.arch, origins, unread),
    }
