"""The sizes of the input that a trace runs with: distinct, more than one token, something in the cache. The tokens that are
new and all tokens are primes in number, so that no blocks of them come out even by chance."""

from __future__ import annotations

from codegen.graph.values import Scalar
from ir.expressions import Dim

BATCH, NEW, PAST = 3, 7, 6

B, T, S = Scalar(BATCH, Dim("B")), Scalar(NEW, Dim("T")), Scalar(NEW + PAST, Dim("S"))
P = Scalar(PAST, Dim("P"))
