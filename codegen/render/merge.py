"""Hand edits carried over: the definitions that were edited stay, the rest is emitted again."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping, Sequence

import libcst as cst

from codegen.render.definitions import definitions, keys
from ir.records import dataclass

Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement


@dataclass(frozen=True, slots=True)
class Merged:
    """`kept`: definitions that were edited. `conflicts`: those that the compiler meanwhile emits differently too."""

    text: str
    kept: tuple[str, ...]
    conflicts: tuple[str, ...]


def merge(edited: str, emitted: str, base: Mapping[str, str]) -> Merged:
    """What the compiler emits now, with the definitions of `edited` that differ from `base` in place of its own.

    `base` has the digests of the definitions as they were emitted before the edit. A definition that was added stays behind
    the one it followed; one that was deleted stays deleted. Raises SyntaxError if `edited` is no Python.
    """
    mine, theirs = definitions(edited), definitions(emitted)
    changed = {key for key, value in mine.items() if base.get(key) != value}
    deleted = base.keys() - mine.keys()
    clashes = {key for key in changed | deleted if key in base and theirs.get(key) != base[key]}
    both_added = {key for key in changed if key not in base and key in theirs and theirs[key] != mine[key]}
    same = {key for key, value in mine.items() if theirs.get(key) == value}  # but for blank lines
    plan = _Plan(changed | same, set(deleted))
    old, new = cst.parse_module(edited), cst.parse_module(emitted)
    result = new.with_changes(body=plan.merged(old.body, new.body, ""))
    order = [*mine, *sorted(deleted)]
    clashes |= both_added
    return Merged(
        result.code,
        tuple(key for key in order if key in changed or key in deleted),
        tuple(key for key in order if key in clashes and (key in deleted or theirs.get(key) != mine.get(key))),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    mine: set[str]  # definitions to take from the edited text
    deleted: set[str]

    def merged(self, old: Sequence[cst.CSTNode], new: Sequence[cst.CSTNode], prefix: str) -> list[cst.CSTNode]:
        """The statements of a body: `new` in its order, with what was edited in `old`."""
        mine, theirs = _keyed(old), _keyed(new)
        result: list[tuple[str, cst.CSTNode]] = []
        for key, node in theirs.items():
            if prefix + key in self.deleted:
                continue
            result.append((key, self._one(mine.get(key), node, prefix + key)))
        before = ""
        for key, node in mine.items():
            if key not in theirs and prefix + key in self.mine:
                place = next(
                    (i + 1 for i, (other, _) in enumerate(result) if other == before), 0 if not before else len(result)
                )
                result.insert(place, (key, node))
            if any(other == key for other, _ in result):
                before = key
        return [node for _, node in result]

    def _one(self, mine: cst.CSTNode | None, theirs: cst.CSTNode, key: str) -> cst.CSTNode:
        if isinstance(mine, cst.ClassDef) and isinstance(theirs, cst.ClassDef):
            shell = mine if key in self.mine else theirs
            body = self.merged(mine.body.body, theirs.body.body, f"{key}.")
            return shell.with_changes(body=shell.body.with_changes(body=body))
        return mine if mine is not None and key in self.mine else theirs


def _keyed(body: Sequence[cst.CSTNode]) -> dict[str, cst.CSTNode]:
    """Statements by the keys that `definitions` gives them."""
    module = cst.Module([])
    parsed = [ast.parse(textwrap.dedent(module.code_for_node(node))).body[0] for node in body]
    return dict(zip(keys(parsed), body, strict=True))
