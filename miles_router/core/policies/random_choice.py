"""Any available worker, uniformly at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.policies.worker_set import WorkerSet

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from miles_router.core.worker import Worker


class RandomChoice:
    """Uniform choice."""

    def __init__(self) -> None:
        self._workers = WorkerSet()

    def put(self, worker: Worker) -> None:
        """Make `worker` selectable."""
        self._workers.add(worker)

    def drop(self, worker: Worker) -> None:
        """Make `worker` not selectable."""
        self._workers.discard(worker)

    def select(self, rng: random.Random, exclude: Collection[str]) -> Worker | None:
        """A uniformly random worker."""
        return self._workers.choose(rng, exclude)
