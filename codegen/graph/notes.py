"""Lists in which nothing is twice, and what is said meanwhile, be it new or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Noting(Generic[Entry]):
    """What is noted is also written into the logs that are open at the time."""

    _logs: tuple[list[Entry], ...] = ()

    def log(self, entry: Entry) -> None:
        for log in self._logs:
            log.append(entry)

    @contextmanager
    def noting(self) -> Iterator[list[Entry]]:
        """All that is added meanwhile, be it new or not."""
        before, log = self._logs, list[Entry]()
        self._logs = (*before, log)
        try:
            yield log
        finally:
            self._logs = before
