"""A diagnostic reads as a compiler's does."""

from __future__ import annotations

import json

from codegen.diagnostics import Diagnostic, Label, Severity, printable, to_json, to_text
from ir.spans import Span

SOURCE = "class AcmeNorm:\n    def forward(self, x):\n        return x * torch.rsqrt(x.var(-1) + self.eps)\n"


def read(file: str) -> str | None:
    return SOURCE if file == "modeling_acme.py" else None


def test_labelled_excerpt() -> None:
    found = Diagnostic(
        "unknown-norm",
        "`AcmeNorm.forward` is not a normalisation this compiler knows",
        Label(Span("modeling_acme.py", 3, 31, 3, 40), "divides by the variance"),
        (Label(Span("modeling_acme.py", 1, 6, 1, 14), "called here"),),
        help="RMSNorm takes the mean\nof squares",
        notes=("one",),
    )
    assert to_text(found, read) == (
        "error[unknown-norm]: `AcmeNorm.forward` is not a normalisation this compiler knows\n"
        " --> modeling_acme.py:3:32\n"
        "  |\n"
        "3 |         return x * torch.rsqrt(x.var(-1) + self.eps)\n"
        "  |                                ^^^^^^^^^ divides by the variance\n"
        " ::: modeling_acme.py:1:7\n"
        "  |\n"
        "1 | class AcmeNorm:\n"
        "  |       -------- called here\n"
        "  = note: one\n"
        "  = help: RMSNorm takes the mean\n"
        "          of squares"
    )


def test_several_lines() -> None:
    found = Diagnostic("x", "m", Label(Span("modeling_acme.py", 2, 4, 3, 52)))
    assert to_text(found, read).splitlines()[3:] == [
        "2 |     def forward(self, x):",
        "3 |         return x * torch.rsqrt(x.var(-1) + self.eps)",
        "  |         " + "^" * 44,
    ]


def test_source_that_cannot_be_shown() -> None:
    found = Diagnostic("x", "m", Label(Span("other.py", 7, 0, 7, 1), "here"), severity=Severity.NOTE)
    assert to_text(found, read) == "note[x]: m\n --> other.py:7:1\n  = here"


def test_span_beyond_the_file_raises_nothing() -> None:
    for span in (
        Span("modeling_acme.py", 99, 0, 99, 1),
        Span("modeling_acme.py", 3, 500, 3, 600),
        Span("modeling_acme.py", 0, 0, 0, 0),
    ):
        to_text(Diagnostic("x", "m", Label(span)), read)


def test_text_from_the_input_cannot_drive_a_terminal() -> None:
    assert printable("a\x1b[31m\u202eb\r") == "a\\x1b[31m\\u202eb\\r"
    assert len(printable("x" * 100_000)) < 3000
    assert "\x1b" not in to_text(Diagnostic("x", "\x1b[2J", Label(Span("\x1b", 1, 0, 1, 1), "\x1b"), help="\x1b"), read)


def test_json() -> None:
    found = Diagnostic("x", "m", Label(Span("a.py", 1, 2, 3, 4), "l"), notes=("n",), help="h")
    assert json.loads(json.dumps(to_json(found))) == {
        "code": "x",
        "severity": "error",
        "message": "m",
        "primary": {"file": "a.py", "line": 1, "column": 2, "end_line": 3, "end_column": 4, "text": "l"},
        "secondary": [],
        "notes": ["n"],
        "help": "h",
        "key": None,
    }
