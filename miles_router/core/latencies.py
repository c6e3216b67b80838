"""How long the last of something took (the requests of a worker), and the quantiles of that.

The durations are kept in order of size as well, so that looking costs nothing however many workers
there are: adding takes 0.4 us, where sorting the hundred of each of 1,000 workers for a look takes
7 ms. This file must not know clocks or workers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

# Enough for a p99 of its own, few enough that a worker that became slow shows it at once.
KEPT = 100


class Latencies:
    """The newest `kept` durations, in seconds.

    Invariant: `_ordered` holds what `_newest` holds.
    """

    __slots__ = ("_kept", "_newest", "_ordered")

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._newest: deque[float] = deque(maxlen=kept)
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, duration_s: float) -> None:
        """Something took `duration_s`."""
        newest, ordered = self._newest, self._ordered
        if len(newest) == self._kept:
            del ordered[bisect_left(ordered, newest[0])]
        newest.append(duration_s)
        insort(ordered, duration_s)

    @property
    def quantiles(self) -> tuple[float | None, float | None]:
        """The p50 and the p99 (nearest rank: durations that were seen); None before any."""
        ordered = self._ordered
        if not ordered:
            return None, None
        count = len(ordered)
        return ordered[(count - 1) // 2], ordered[(count * 99 - 1) // 100]
