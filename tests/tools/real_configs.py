"""Compile published configurations, and see how many of a type one package serves.

    python -m tests.tools.real_configs FOLDER [--out docs/real-configs.md] [--type TYPE ...]

FOLDER holds a folder `organisation__name` with a config.json for each repository. No weights are read. Without --type, all types.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.diagnostics import CompileError
from codegen.pipeline import Package, compile_package
from codegen.repo import load

PREFIX = "this configuration does not fit the code of "


@dataclass(frozen=True, slots=True)
class Row:
    """One repository: whether it compiles or why not, and whether the package of another of its type serves it or why not."""

    repository: str
    model_type: str
    refusal: str
    package: str = ""
    unserved: str = ""


def rows(folder: Path, wanted: frozenset[str], jobs: int) -> Iterator[Row]:
    """Of all repositories whose type is `wanted`, or of all, type by type, `jobs` types at a time."""
    by_type: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/config.json")):
        model_type = str(json.loads(path.read_text()).get("model_type"))
        if not wanted or model_type in wanted:
            by_type.setdefault(model_type, {})[path.parent.name.replace("__", "/", 1)] = path
    with multiprocessing.Pool(jobs) as pool:
        for of_type in pool.imap(rows_of, sorted(by_type.items())):
            yield from of_type


def rows_of(item: tuple[str, Mapping[str, Path]]) -> list[Row]:
    """All of one type, with the package that serves most of them."""
    model_type, paths = item
    made = {name: compiled(path.parent) for name, path in paths.items()}
    raw = {name: json.loads(path.read_text()) for name, path in paths.items()}
    answers: dict[str, dict[str, str]] = {}
    for name, package in made.items():
        if isinstance(package, Package):
            config = config_class(package)
            answers[name] = {other: refused(config, raw[other]) for other in paths}
    best = min(answers, key=lambda name: sum(map(bool, answers[name].values())), default="")
    refusals = {name: package if isinstance(package, str) else "" for name, package in made.items()}
    return [
        Row(name, model_type, refusal, best, answers[best][name] if best else "") for name, refusal in refusals.items()
    ]


def compiled(folder: Path) -> Package | str:
    """The package, or the first line of each finding."""
    try:
        return compile_package(load(str(folder), weights=False))
    except CompileError as error:
        return "; ".join(diagnostic.message.splitlines()[0] for diagnostic in error.diagnostics)


def config_class(package: Package) -> Any:
    module = types.ModuleType(f"emitted_{package.name}")
    sys.modules[module.__name__] = module
    exec(compile(package.files["config.py"], "config.py", "exec"), module.__dict__)
    return module.__dict__["Config"]


def refused(config: Any, raw: Mapping[str, Any]) -> str:
    """Why an emitted Config refuses a configuration, empty if it does not."""
    try:
        config.from_hf(raw)
    except ValueError as error:
        text = str(error)
        return text.partition(": ")[2] if text.startswith(PREFIX) else text
    return ""


def page(found: Iterable[Row]) -> str:
    found = list(found)
    good = [row for row in found if not row.refusal]
    types_ = {row.model_type for row in found}
    served = [row for row in found if row.package and not row.unserved]
    lines = [
        "# Published configurations",
        "",
        f"{len(good)} of {len(found)} published configurations, of {len(types_)} types, compile. One package for each type, that which serves",
        f"most, serves {len(served)} of them; the others need other code, for the reason given.",
        "",
        "Written by `python -m tests.tools.real_configs FOLDER --out docs/real-configs.md`, from the configurations alone.",
        "",
        "| repository | type | compiles | served by one package for the type |",
        "|---|---|---|---|",
    ]
    for row in found:
        compiles = "yes" if not row.refusal else f"no: {shown(row.refusal)}"
        answer = "" if not row.package else "yes" if not row.unserved else f"no: {shown(row.unserved)}"
        answer = "yes, its own" if row.package == row.repository else answer
        lines.append(f"| {row.repository} | {row.model_type} | {compiles} | {answer} |")
    return "\n".join(lines) + "\n"


def shown(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= 300 else f"{text[:297]}..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--type", action="append", default=[])
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="types at a time; as many as there are processors"
    )
    arguments = parser.parse_args()
    wanted = frozenset(arguments.type)
    found = []
    for row in rows(arguments.folder, wanted, arguments.jobs):
        print(row.model_type, row.repository, row.refusal or "compiles", "|", row.unserved or "served", flush=True)
        found.append(row)
    text = page(found)
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
