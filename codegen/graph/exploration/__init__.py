"""How the resolved configuration follows from config.json, found by running its class on variants of it.

A run goes one way at every branch and notes what it asked. For every value that the compiled code needs, each question is
answered the other way by a changed configuration; where that leads to another expression, the value becomes a choice. In the
end every key is disturbed alone: what the choices then predict wrongly is frozen, so that no guess gets into the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codegen.graph.exploration.conditions import conditions_of, is_free, with_choices
from codegen.graph.exploration.exploring import Explorer
from codegen.graph.exploration.expressions import vocabulary_of, with_elements
from codegen.graph.exploration.memory import Memory
from codegen.graph.exploration.pool import Pool
from codegen.graph.exploration.proof import frozen_keys
from codegen.graph.exploration.running import ConfigurationClass, Outcome
from codegen.graph.exploration.runs import Runs
from codegen.graph.exploration.spelling import newer_names, normal_spelling
from codegen.graph.exploration.unserved import Unserved, require_unpinned, require_values
from codegen.graph.exploration.variants import disturbed, retyped
from codegen.graph.predicates import Predicate
from codegen.source.files import Library
from ir.expressions import Key
from ir.reading import Choice, Condition, Explored, Json, Path, Reading, lookup


def validate(files: Library, raw: Mapping[str, Json], repository_files: Mapping[str, str] | None = None) -> None:
    """Run the configuration class and the checks of its source on what is to be compiled, before anything else is done with it.

    Raises:
        CompileError: `config-value`, of types that are not declared; `unknown-choice`, `source-raises`, with what the source
            says and where; or there is no such class.
    """
    ConfigurationClass(files, raw, repository_files).check(raw)


def explore(
    cls: ConfigurationClass,
    raw: Mapping[str, Json],
    keys: Iterable[Key],
    predicates: Iterable[Predicate],
    given: Mapping[str, Json] | None = None,
) -> Explored:
    """Readings of `keys`, and conditions for `predicates` (over Key) that tie the code to this configuration. `given` is what
    it is to serve, where that is another spelling of it.

    Raises:
        CompileError: the configuration class refuses `raw` itself.
        Unserved: it is seen before the end that `given` would be refused.
    """
    cls.check(raw)
    keys, predicates = tuple(keys), tuple(predicates)
    vocabulary = vocabulary_of([*keys, *(predicate.expr for predicate in predicates)])
    runs = Runs(cls, dict(raw))
    explorer = Explorer(runs, Pool(runs, vocabulary))
    asked = [
        predicate
        for predicate in with_elements(predicates, runs.base.resolved)
        if predicate.stage == 2 and not is_free(predicate, runs.base.resolved) and not cls.repeats(predicate, runs.base)
    ]
    require_values(explorer, keys, asked)
    wanted: dict[Path, Reading] = {}
    for key in keys:
        wanted.setdefault(key.path, explorer.reading(key))
        require_unpinned(explorer, raw if given is None else given)
    conditions: list[Condition] = []
    for predicate in asked:
        conditions += conditions_of(explorer, predicate)
        require_unpinned(explorer, raw if given is None else given)
    conditions = with_choices(cls, list(dict.fromkeys(conditions)))
    for condition in conditions:
        for key in condition.keys:
            if key.path not in wanted and not isinstance(lookup(runs.base.resolved, key.path), Mapping):
                wanted[key.path] = explorer.reading(key)
    validity = explorer.validity(wanted, conditions)
    frozen = frozen_keys(explorer, wanted, conditions, validity)
    dropped = frozenset(name for name in raw if name not in runs.base.resolved)
    return Explored(
        dict(raw), cls.declared, cls.types, wanted, tuple(dict.fromkeys(conditions)), validity, frozen, dropped,
        runs.base.resolved,
    )  # fmt: skip


__all__ = [
    "Choice",
    "ConfigurationClass",
    "Memory",
    "Outcome",
    "Unserved",
    "disturbed",
    "explore",
    "newer_names",
    "normal_spelling",
    "retyped",
    "validate",
]
