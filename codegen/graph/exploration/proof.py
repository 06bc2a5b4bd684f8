"""The proof: every key disturbed alone, against what was predicted for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from codegen.graph.exploration.lifting import Unclear, lift
from codegen.graph.exploration.running import Outcome
from codegen.graph.exploration.serving import accepted
from codegen.graph.exploration.variants import disturbed, key_at, plain
from ir.reading import INERT, Condition, DoesNotRead, Json, PastTheEnd, Path, Reading, lookup, raw_paths, read, same

if TYPE_CHECKING:
    from codegen.graph.exploration.exploring import Explorer


def frozen_keys(
    explorer: Explorer, wanted: Mapping[Path, Reading], conditions: Sequence[Condition], validity: Reading
) -> tuple[Path, ...]:
    """Keys of config.json that are not understood: disturbing them alone changes what was predicted."""
    runs = explorer.runs
    bad: dict[Path, None] = dict.fromkeys(_not_understood(explorer, wanted, conditions))
    for path, variant in disturbed(runs.given, runs.declared, runs.candidates.plausible):
        key = key_at(path, runs.raw)
        if key in bad or key[:1] in bad:
            continue
        if path[0] in variant or runs.cls.fills:
            variant = runs.filled(variant)
        outcome = runs.outcome(variant)
        if outcome.failure is not None:
            continue
        if not predicted(explorer, variant, outcome, wanted, conditions, validity):
            bad[key] = None
    return tuple(bad)


def _not_understood(
    explorer: Explorer, wanted: Mapping[Path, Reading], conditions: Sequence[Condition]
) -> Iterator[Path]:
    """Keys behind attributes that were not followed, and keys that the class takes but refused in the forms that were tried,
    be it only where no list says already what they would."""
    runs = explorer.runs
    yield from explorer.pinned
    known = set(INERT)
    bare = runs.filled({name: item for name, item in runs.raw.items() if not isinstance(item, (list, dict))})
    for reading in [*wanted.values(), *(c.reading for c in conditions if c.reading is not None)]:
        known |= {str(path[0]) for path in raw_paths(reading)}
    for name in runs.cls.asked:
        if name in known or name in runs.raw:
            continue
        for raw in (runs.raw, bare) if runs.outcome(bare).failure is None else (runs.raw,):
            variants = [runs.outcome({**raw, name: new}) for new in (2, "something else", {"something": 1}, [1])]
            if any(outcome.failure is not None for outcome in variants):
                yield (name,)
                break


def predicted(
    explorer: Explorer,
    raw: Mapping[str, Json],
    outcome: Outcome,
    wanted: Mapping[Path, Reading],
    conditions: Sequence[Condition],
    validity: Reading,
) -> bool:
    """Whether the readings refuse `raw` or give what the configuration class made of it."""
    filled = explorer.runs.filled(raw)
    if _too_short(filled, outcome, wanted):
        return False
    try:
        if not read(validity, filled) or not accepted(filled, wanted, conditions, explorer.runs.raw):
            return True
        found = {path: read(reading, filled) for path, reading in wanted.items()}
        if any(c.reading is not None and not _true(c, outcome, filled) for c in conditions):
            return False
        return all(same(found[path], plain(lookup(outcome.resolved, path))) for path in wanted)
    except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return True


def _too_short(filled: Mapping[str, Json], outcome: Outcome, wanted: Mapping[Path, Reading]) -> bool:
    """Whether a reading counts past the end of a list from which the configuration class made a value all the same."""
    for path, reading in wanted.items():
        try:
            read(reading, filled)
        except PastTheEnd:
            if lookup(outcome.resolved, path) is not None:
                return True
        except (DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            continue
    return False


def _true(condition: Condition, outcome: Outcome, filled: Mapping[str, Json]) -> bool:
    """Whether a condition holds of what the configuration class made."""
    try:
        return same(read(lift(condition.expr, outcome), filled), condition.value)
    except (Unclear, DoesNotRead, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False
