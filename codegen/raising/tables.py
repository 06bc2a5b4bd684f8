"""Tables of cosines and sines: recognised where they are computed, and made as narrow as their use allows."""

from __future__ import annotations

from codegen.raising.view import Match, View
from ir.graph import Region

RULE = "rotary table"


def match(view: View, at: int) -> Match | str | None:
    return None


def narrowed(top: Region) -> Region:
    return top
