"""Available workers in turn: the one that waited longest for a request gets it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from miles_router.core.worker import Worker


class RoundRobin:
    """A queue of workers; the selected one goes to the back."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, Worker] = OrderedDict()

    def put(self, worker: Worker) -> None:
        """Put `worker` at the back, unless it already has its place."""
        self._turns.setdefault(worker.id, worker)

    def drop(self, worker: Worker) -> None:
        """Take `worker` out of the rotation."""
        self._turns.pop(worker.id, None)

    def select(
        self,
        rng: random.Random,  # noqa: ARG002  the order leaves nothing to chance
        exclude: Collection[str],
    ) -> Worker | None:
        """The worker whose turn it is."""
        for worker_id, worker in self._turns.items():
            if worker_id not in exclude:
                self._turns.move_to_end(worker_id)
                return worker
        return None
