"""Commands and their arguments, on argparse: the command line must start at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

USAGE = 2


@dataclass(frozen=True, slots=True)
class Argument:
    """What `ArgumentParser.add_argument` takes."""

    flags: tuple[str, ...]
    settings: Mapping[str, Any]


def argument(*flags: str, **settings: Any) -> Argument:
    """A positional argument, or an option if the flags start with dashes."""
    return Argument(flags, settings)


def switch(flag: str, help: str, **settings: Any) -> Argument:
    """An option without a value."""
    return Argument((flag,), {"action": "store_true", "help": help, **settings})


class Usage(Exception):
    """The arguments make no sense together."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"Try '{self.prog} --help' for help.\n\nError: {message}\n")


class Application:
    """Functions as commands of one program."""

    def __init__(self, name: str, description: str, epilog: str, version: str):
        layout = argparse.RawDescriptionHelpFormatter
        self.parser = _Parser(name, description=description, epilog=epilog, formatter_class=layout, allow_abbrev=False)
        self.parser.add_argument("--version", action="version", version=version, help="print the version and exit")
        self.commands = self.parser.add_subparsers(metavar="COMMAND", title="commands", prog=name, parser_class=_Parser)

    def command(self, name: str, *arguments: Argument) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Make a function a command; its parameters are called as the arguments, its doc string is the help."""

        def register(run: Callable[..., None]) -> Callable[..., None]:
            text = _dedent(run.__doc__ or "")
            parser = self.commands.add_parser(
                name,
                help=text.partition("\n")[0],
                description=text,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            for each in arguments:
                parser.add_argument(*each.flags, **each.settings)
            parser.set_defaults(_run=run, _parser=parser)
            return run

        return register

    def __call__(self, arguments: Sequence[str] | None = None) -> None:
        """Run a command line.

        Raises:
            SystemExit: with what the command says; 2 for wrong usage.
        """
        given = sys.argv[1:] if arguments is None else list(arguments)
        if not given:
            self.parser.print_help(sys.stderr)
            raise SystemExit(USAGE)
        known = vars(self.parser.parse_args(given))
        if "_run" not in known:
            self.parser.error("a command is missing")
        run, parser = known.pop("_run"), known.pop("_parser")
        try:
            run(**known)
        except Usage as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except BrokenPipeError:  # whoever reads has left; nothing more can be said
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None


def _dedent(text: str) -> str:
    head, _, rest = text.partition("\n")
    return "\n".join([head, *(line.removeprefix("    ") for line in rest.splitlines())]).strip()
