"""A configuration class, run on variants of a config.json."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.diagnostics import CompileError, Diagnostic, raise_all
from codegen.graph import blame, classes, configuration, construction, operators
from codegen.graph.exploration.declarations import asked_keys, is_json, json_types
from codegen.graph.exploration.questions import Test, questions_of
from codegen.graph.exploration.variants import plain
from codegen.graph.interpreter import Interpreter, Raised, Unsupported
from codegen.graph.objects import Function, Instance, StaticMethod
from codegen.graph.predicates import Kind, Predicate, Predicates
from codegen.graph.scope import Missing
from codegen.graph.values import Looked, Read, Reads
from codegen.source.files import Library
from ir.expressions import Expr
from ir.reading import Json, Path
from ir.records import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """One run of the configuration class. `failure` is what the source said if it refused."""

    definitions: Mapping[Path, Expr] = field(default_factory=dict)
    resolved: Mapping[str, Json] = field(default_factory=dict)
    predicates: tuple[Predicate, ...] = ()
    failure: str | None = None
    raw: Mapping[str, Json] = field(default_factory=dict)
    reads: tuple[Read, ...] = ()  # keys that were looked at, or what was asked of them, in order
    asked: frozenset[str] = frozenset()
    like: Outcome | None = None  # the run that went the same way, if this was none
    _questions: tuple[Test, ...] | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def questions(self) -> tuple[Test, ...]:
        """What was asked of config.json, as tests with their answers."""
        run = self.like or self
        if run._questions is None:
            object.__setattr__(run, "_questions", tuple(questions_of(run.predicates)))
        return run._questions  # type: ignore[return-value]

    def sought(self, name: str) -> bool:
        """Whether the run asked for an argument or attribute of that name, be it there or not."""
        return name in self.asked or "__dict__" in self.asked


_NOT_CHECKED = frozenset({"validate_token_ids", "validate_output_attentions"})


class ConfigurationClass:
    """The configuration class of a config.json, to be run on variants of it.

    Raises:
        CompileError: there is no such class, or the library cannot be read.
    """

    def __init__(self, files: Library, raw: Mapping[str, Json], repository_files: Mapping[str, str] | None = None):
        self.interpreter = Interpreter(files.with_repository(repository_files) if repository_files else files)
        with construction.deep_recursion():
            self.cls = construction._configuration_class(self.interpreter, raw)
            self.declared, self.types = self._fields()
            self.spellings = self._spellings()
            self.fills = self._fills()
            self.asked = tuple(dict.fromkeys(name for name in asked_keys(self.cls.mro) if not name.startswith("_")))

    def __call__(self, raw: Mapping[str, Json]) -> Outcome:
        """Run it on `raw`. Whatever goes wrong with a variant means that it is not known to work."""
        reads = Reads()
        try:
            return self._run(raw, reads)
        except Raised as error:
            failure = self._text(error)
        except CompileError as error:
            failure = str(error)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            failure = f"{type(error).__name__}: {error}"
        finally:
            self._reset()
        return Outcome(failure=failure, raw=raw, reads=tuple(reads))

    def check(self, raw: Mapping[str, Json]) -> None:
        """Run it on the configuration that is to be compiled, with the checks that its source has.

        Raises:
            CompileError: values of types that are not declared; else what the source says of the rest, and where.
        """
        interpreter = self.interpreter
        found: list[Diagnostic] = []
        interpreter.misfits = found
        with construction.deep_recursion():
            try:
                config = configuration.construct(interpreter, self.cls, raw)
                if not found:
                    found += self._refusals(config)
            except Raised as error:
                raise (CompileError(*found) if found else blame.raised(interpreter, error)) from None
            except CompileError as error:
                raise (CompileError(*found) if found else blame.explain(interpreter, error)) from None
            finally:
                interpreter.misfits = None
                self._reset()
        raise_all(dict.fromkeys(found))

    def guards(self, raw: Mapping[str, Json]) -> tuple[Predicate, ...]:
        """What the checks of the source asked of the resolved configuration, as far as their meaning is known."""
        with construction.deep_recursion():
            try:
                config = configuration.construct(self.interpreter, self.cls, raw)
                configuration.Seeding().seed(config)
                self.interpreter.predicates = Predicates()
                self.interpreter.stage = 2
                for name in self._checks(config):
                    self._checked(config, name)
                return tuple(p for p in self.interpreter.predicates if p.kind is Kind.GUARD)
            except Raised as error:
                raise blame.raised(self.interpreter, error) from None
            finally:
                self._reset()

    def repeats(self, predicate: Predicate, outcome: Outcome) -> bool:
        """Whether a predicate of the model's code comes from a method that the configuration class has run before, on its own result.

        Such a method brings a configuration into its standard form; in that form it finds nothing to do.
        """
        before = {p.function for p in outcome.predicates}
        files = {
            base.namespace.file.name
            for base in self.cls.mro
            if base.node is not None and base.namespace.has(predicate.function)
        }
        return predicate.function in before and predicate.span is not None and predicate.span.file in files

    def _run(self, raw: Mapping[str, Json], reads: Reads) -> Outcome:
        with construction.deep_recursion():
            sought = self.interpreter.sought = set()
            self.interpreter.reads = reads
            config = configuration.construct(self.interpreter, self.cls, raw, reads)
            found, asked = self.interpreter.predicates.all(), list(reads)
            seeding = configuration.Seeding()
            resolved = seeding.seed(config)
            kept = [read for read in list(reads)[len(asked) :] if isinstance(read, Looked)]  # as it is: in its form
            return Outcome(seeding.definitions, resolved, found, None, raw, (*asked, *kept), frozenset(sought))

    def _refusals(self, config: Instance) -> list[Diagnostic]:
        """What the checks of the source say of a configuration and of those within it, each by itself."""
        found: list[Diagnostic] = []
        for part in [config, *_within(config)]:
            for name in self._checks(part):
                try:
                    self._checked(part, name)
                except Raised as error:
                    found += blame.raised(self.interpreter, error).diagnostics
        return found

    def _checks(self, config: Instance) -> list[str]:
        names = {name for cls in config.cls.mro for name in cls.namespace.names() if name.startswith("validate_")}
        return sorted(names - _NOT_CHECKED)

    def _checked(self, config: Instance, name: str) -> None:
        try:
            self.interpreter.call(self.interpreter.getattr(config.cls, name), [config], {})
        except Unsupported:
            pass  # its meaning is not known

    def _text(self, error: Raised) -> str:
        try:
            return f"{error.instance.cls.name}: {operators.describe(self.interpreter, error.instance)}"
        except Exception:
            return error.instance.cls.name

    def _reset(self) -> None:
        interpreter = self.interpreter
        interpreter.predicates = Predicates()
        interpreter.stage = 1
        interpreter.scope = interpreter.node = None
        interpreter.sought = interpreter.reads = None
        interpreter.loops = 0
        interpreter.stack.clear()

    def _fills(self) -> bool:
        """Whether a field that is absent is by construction as if its default were given."""
        first = self.cls.mro[0]
        own = first.namespace.has("__init__") or isinstance(
            classes.find(self.interpreter, self.cls, "__new__"), (Function, StaticMethod)
        )
        reading = configuration.reads_keys_itself(self.cls)
        return classes.is_configuration(first) and not own and not reading

    def _spellings(self) -> dict[str, tuple[str, ...]]:
        """Other names of attributes."""
        table = operators.plain(classes.find(self.interpreter, self.cls, "attribute_map") or {})
        found: dict[str, tuple[str, ...]] = {}
        if isinstance(table, dict):
            for alias, name in table.items():
                found[str(name)] = (*found.get(str(name), ()), str(alias))
        return found

    def _fields(self) -> tuple[dict[str, Json], dict[str, tuple[str, ...]]]:
        """The declared fields with their defaults, and the types that they may have."""
        declared: dict[str, Json] = {}
        types: dict[str, tuple[str, ...]] = {}
        for name, default, owner in classes.fields(self.interpreter, self.cls):
            if name.startswith("_"):
                continue
            for annotated, annotation, _ in owner.namespace.annotations:
                if annotated == name:
                    types[name] = json_types(annotation)
            try:
                found = plain(operators.plain(classes.default_of(self.interpreter, name, default, owner)))
            except Missing:
                continue
            if is_json(found):
                declared[name] = found
        return declared, types


def _within(config: Instance) -> list[Instance]:
    """The configurations that one has among its attributes, and those within them."""
    parts = [part for part in config.dict.values() if isinstance(part, Instance) and classes.is_configuration(part.cls)]
    return [inner for part in parts for inner in (part, *_within(part))]
