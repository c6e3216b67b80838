"""The newest lines of the router's log, for those who read it elsewhere than on stderr.

Lines come as they are shown to people: escaped, without secrets (see `log`). This file must not
know where they come from, nor who reads.

Threads: one adds; any may read. A copy of the deque is one step of the interpreter, so that a
reader in another thread sees a whole state of it.
"""

from __future__ import annotations

from collections import deque

import msgspec

MAX_KEPT = 2_000


class LogLine(msgspec.Struct, frozen=True):
    """One line. `seq` counts from 1 without gaps; `time_s` is Unix time.

    `level` is the logger's word (debug, info, warning, error, critical). Tracebacks make `text`
    more than one line.
    """

    seq: int
    time_s: float
    level: str
    text: str


class LogRing:
    """The newest `MAX_KEPT` lines."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=MAX_KEPT)
        self._seq = 0

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest line; 0 before any."""
        return self._seq

    def add(self, time_s: float, level: str, text: str) -> None:
        """Append one line."""
        self._seq += 1
        self._lines.append(LogLine(self._seq, time_s, level, text))

    def since(self, seq: int) -> list[LogLine]:
        """The kept lines after `seq`, oldest first."""
        lines = list(self._lines)
        if not lines:
            return lines
        return lines[max(0, seq + 1 - lines[0].seq) :]
