"""How workers are called in sentences. Pure text, no layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.snapshot import Snapshot, WorkerView

# What a person is willing to type; more only where two ids begin alike.
SHORT_ID_CHARS = 6


def short_url(url: str) -> str:
    """A worker's URL as people say it: without `http://`."""
    return url.removeprefix("http://")


def short_id(worker_id: str, others: Iterable[str]) -> str:
    """The beginning of an id that no other id shares; what a user types to confirm."""
    rivals = [other for other in others if other != worker_id]
    for length in range(min(SHORT_ID_CHARS, len(worker_id)), len(worker_id)):
        if not any(other.startswith(worker_id[:length]) for other in rivals):
            return worker_id[:length]
    return worker_id


def worker_of(snapshot: Snapshot | None, worker_id: str) -> WorkerView | None:
    """The worker with this id, if the snapshot has it."""
    workers = () if snapshot is None else snapshot.workers
    return next((worker for worker in workers if worker.id == worker_id), None)


def is_partial(snapshot: Snapshot | None) -> bool:
    """Whether it has workers alone: all that a caller without the admin token is told."""
    return snapshot is not None and not snapshot.boot_id


NOT_SHOWN = "needs the admin token: --admin-token-file"
"""What stands where a caller without that token is told nothing."""
NO_MATCH = "nothing matches the filter"
