"""What a middleware gets as `router`: a small, stable view of the running router.

Middleware is wrapped outside the relay: it sees ASGI requests and answers, and reads here what the
router knows. Nothing in here does I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.snapshot_taking import view_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.config import Settings
    from miles_router.core.pool import Pool
    from miles_router.core.snapshot import WorkerView


class RouterApi:
    """The router, as middleware sees it."""

    def __init__(self, *, settings: Settings, pool: Pool, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._pool = pool
        self._clock = clock

    @property
    def workers(self) -> tuple[WorkerView, ...]:
        """All workers, in order of registration."""
        return view_workers(self._pool, self._clock())

    @property
    def newest_weight_version(self) -> str | None:
        """The weight version that arrived last; None before any did."""
        return self._pool.versions.newest

    def note_weight_version(self, worker_id: str, version: str) -> None:
        """Report the weight version that an answer of a worker carried.

        `worker_id` is the value of the answer's `X-Miles-Worker` header; an unknown one is ignored.
        """
        worker = self._pool.workers.get(worker_id)
        if worker is not None:
            self._pool.note_weight_version(worker, version, self._clock())
