"""Model files that are too long for one reading, divided: what the layers are made of, and the experts, get files of their own.

A definition stays in the model file if it is handed the cache or a mask, if the top model uses it as a function, or if it
uses such a definition: the cache, attention, the layers, the decoder. Where that is still too long, the cache and what
mixes tokens have a file of their own too. Files import each other in one direction alone. Both frameworks are divided alike.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from codegen.render.python import format_python
from ir.records import dataclass

LIMIT = 300  # lines of a model file
TOP = "Model"
CACHES = frozenset({"Cache", "State", "KV"})
HANDED = frozenset({"cache", "kv", "mask"})  # parameters of what works on a sequence
EXPERTS = frozenset({"grouped_linear", "grouped_dot"})  # products that each row has a matrix of its own in
ABOUT = {
    "layers": "What the layers in {model} are made of. Axes as there.",
    "mixers": "The cache, and what mixes tokens with those in it. Axes as in {model}.",
    "experts": "The experts and what chooses among them. Axes as in {model}.",
}


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, class or constant of a module, with the statements that follow it and define nothing."""

    name: str
    text: str
    uses: frozenset[str]
    node: ast.stmt


@dataclass(frozen=True, slots=True)
class Module:
    """A module taken apart. `head`: the comments and the docstring; `imports`: those of the module, as text."""

    head: str
    header: str
    imports: str
    definitions: tuple[Definition, ...]


def divide(files: Mapping[str, str]) -> dict[str, str]:
    """The files of a package, with model files of more than `LIMIT` lines divided; formatted like the others."""
    models = [name for name in files if name.endswith("_model.py") and name != "test_model.py"]
    if all(len(files[name].splitlines()) <= LIMIT for name in models):
        return dict(files)
    for mixers in (False, True):
        parts = {name: dict(_divided(name, files[name], mixers=mixers)) for name in models}
        made = format_python({file: text for texts in parts.values() for file, text in texts.items()})
        if all(len(made[name].splitlines()) <= LIMIT for name in models):
            break
    result: dict[str, str] = {}
    for name, text in files.items():
        result |= {file: made[file] for file in parts[name]} if name in parts else {name: text}
    return result


def _divided(name: str, text: str, *, mixers: bool) -> Iterator[tuple[str, str]]:
    module = _taken_apart(text)
    where = places(module.definitions)
    if mixers:
        where |= dict.fromkeys(_mixers(module.definitions, where), "mixers")
    stem = name.removesuffix("_model.py")
    yield name, _written(module.head, module, where, "model", stem)
    for place in ABOUT:
        if place in where.values():
            head = f'{module.header}"""{ABOUT[place].format(model=name)}"""\n'
            yield f"{stem}_{place}.py", _written(head, module, where, place, stem)


def _written(head: str, module: Module, where: Mapping[str, str], place: str, stem: str) -> str:
    """One of the files; that imports are used is seen to when it is formatted."""
    own = [definition for definition in module.definitions if where[definition.name] == place]
    used = frozenset().union(*(definition.uses for definition in own))
    taken: dict[str, list[str]] = {}
    for definition in module.definitions:
        if definition.name in used and where[definition.name] != place:
            taken.setdefault(where[definition.name], []).append(definition.name)
    from_others = "".join(f"from .{stem}_{other} import {', '.join(names)}\n" for other, names in taken.items())
    return f"{head}\n{module.imports}{from_others}\n\n" + "\n\n\n".join(definition.text for definition in own) + "\n"


def places(definitions: Sequence[Definition]) -> dict[str, str]:
    """Definition -> `model`, `layers` or `experts`."""
    known = {definition.name: definition for definition in definitions}
    top = known[TOP]
    model = {TOP} | CACHES & known.keys()
    model |= {name for name in top.uses & known.keys() if not isinstance(known[name].node, ast.ClassDef)}
    model |= {name for name, definition in known.items() if _is_handed(definition.node)}
    experts = set(EXPERTS & known.keys())
    for name, definition in known.items():  # callees stand above callers
        if definition.uses & model:
            model.add(name)
        elif definition.uses & experts:
            experts.add(name)
    experts -= model
    for name in reversed(known):
        users = {user for user, definition in known.items() if name in definition.uses and user != name}
        if name not in model and users and users <= experts:
            experts.add(name)
    return {name: "model" if name in model else "experts" if name in experts else "layers" for name in known}


def _mixers(definitions: Sequence[Definition], where: Mapping[str, str]) -> set[str]:
    """Of what works on the cache that which the layers hold: it uses nothing that works on the cache itself."""
    found: set[str] = set()
    for definition in definitions:
        below = {name for name in definition.uses & where.keys() if where[name] == "model"} - {definition.name}
        if where[definition.name] == "model" and definition.name != TOP and below <= found:
            holds = any(
                isinstance(other.node, ast.ClassDef) and _is_handed(other.node)
                for other in definitions
                if other.name in below
            )
            if not holds:
                found.add(definition.name)
    return found


def _is_handed(node: ast.stmt) -> bool:
    """Whether a class works on a whole sequence: its methods take masks or what is kept of earlier tokens."""
    methods = (
        [item for item in node.body if isinstance(item, ast.FunctionDef)] if isinstance(node, ast.ClassDef) else []
    )
    return any(argument.arg in HANDED for method in methods for argument in method.args.args)


def _taken_apart(text: str) -> Module:
    body, lines = ast.parse(text).body, text.splitlines(keepends=True)
    docstring = body[0].end_lineno or 1
    header = "".join(lines[: body[0].lineno - 1])
    imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    last = max(node.end_lineno or 1 for node in imports)
    definitions: list[Definition] = []
    start = last
    for node in body:
        if node.lineno <= last:
            continue
        chunk = "".join(lines[start : node.end_lineno])
        start = node.end_lineno or start
        name = _defined(node)
        if name or not definitions:
            definitions.append(Definition(name, chunk.strip("\n"), _names(node), node))
        else:
            before = definitions.pop()
            definitions.append(
                Definition(before.name, f"{before.text}\n{chunk.rstrip()}", before.uses | _names(node), before.node)
            )
    return Module("".join(lines[:docstring]), header, "".join(lines[docstring:last]), tuple(definitions))


def _defined(node: ast.stmt) -> str:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case _:
            return ""


def _names(node: ast.AST) -> frozenset[str]:
    return frozenset(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
