"""The worker with the fewest requests in flight; ties are broken at random.

Workers sit in one set per inflight count; the lowest count is found through a heap whose outdated
entries are dropped when they surface. Put, drop and select are O(log n) at worst.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from miles_router.core.policies.worker_set import WorkerSet

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from miles_router.core.worker import Worker


class LeastInflight:
    """Index of workers by inflight."""

    def __init__(self) -> None:
        self._levels: dict[int, WorkerSet] = {}
        self._level_of: dict[str, int] = {}
        self._heap: list[int] = []
        self._in_heap: set[int] = set()

    def __len__(self) -> int:
        return len(self._level_of)

    def __contains__(self, worker: Worker) -> bool:
        return worker.id in self._level_of

    def put(self, worker: Worker) -> None:
        """Index `worker` under its present inflight."""
        level, before = worker.inflight, self._level_of.get(worker.id)
        if before == level:
            return
        if before is not None:
            if self._moved_alone(worker, before, level):
                return
            self.drop(worker)
        members = self._levels.get(level)
        if members is None:
            members = self._levels[level] = WorkerSet()
            if level not in self._in_heap:
                heapq.heappush(self._heap, level)
                self._in_heap.add(level)
        members.add(worker)
        self._level_of[worker.id] = level

    def _moved_alone(self, worker: Worker, before: int, level: int) -> bool:
        """Take the set of a worker that is alone in it from one level to another, empty one.

        With few workers nearly every lease and release is such a move.
        """
        members = self._levels[before]
        if len(members) > 1 or level in self._levels:
            return False
        del self._levels[before]
        self._levels[level] = members
        self._level_of[worker.id] = level
        if level not in self._in_heap:
            heapq.heappush(self._heap, level)
            self._in_heap.add(level)
        return True

    def drop(self, worker: Worker) -> None:
        """Forget `worker`."""
        level = self._level_of.pop(worker.id, None)
        if level is None:
            return
        members = self._levels[level]
        members.discard(worker)
        if not members:
            del self._levels[level]

    def lowest(self) -> int | None:
        """The smallest inflight of any indexed worker; None when empty."""
        while self._heap and self._heap[0] not in self._levels:
            self._in_heap.discard(heapq.heappop(self._heap))
        return self._heap[0] if self._heap else None

    def select(self, rng: random.Random, exclude: Collection[str] = ()) -> Worker | None:
        """A random worker among those with the fewest requests in flight."""
        lowest = self.lowest()
        if lowest is None:
            return None
        chosen = self._levels[lowest].choose(rng, exclude)
        if chosen is not None or not exclude:
            return chosen
        for level in sorted(self._levels):
            chosen = self._levels[level].choose(rng, exclude)
            if chosen is not None:
                return chosen
        return None
