"""A set of workers that gives a random member in O(1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator

    from miles_router.core.worker import Worker

# Rejection sampling gives up after this many draws and lists the candidates instead: exclusions
# are the workers a request was already tried on, a handful at most.
_DRAWS = 8


class WorkerSet:
    """Workers in a list with their positions, so that removal swaps with the last."""

    def __init__(self) -> None:
        self._items: list[Worker] = []
        self._position: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._items)

    def __contains__(self, worker: Worker) -> bool:
        return worker.id in self._position

    def add(self, worker: Worker) -> None:
        """Add `worker`; nothing happens if it is a member."""
        if worker.id not in self._position:
            self._position[worker.id] = len(self._items)
            self._items.append(worker)

    def discard(self, worker: Worker) -> None:
        """Remove `worker`; nothing happens if it is not a member."""
        position = self._position.pop(worker.id, None)
        if position is None:
            return
        last = self._items.pop()
        if position < len(self._items):
            self._items[position] = last
            self._position[last.id] = position

    def choose(self, rng: random.Random, exclude: Collection[str]) -> Worker | None:
        """A uniformly random member that is not excluded; None if there is none."""
        if not self._items:
            return None
        if len(self._items) == 1:  # chance is not asked where there is no choice
            only = self._items[0]
            return None if only.id in exclude else only
        for _ in range(_DRAWS):
            worker = self._items[rng.randrange(len(self._items))]
            if worker.id not in exclude:
                return worker
        candidates = [worker for worker in self._items if worker.id not in exclude]
        return rng.choice(candidates) if candidates else None
