"""The requests the router now holds: what they are, where they run, how to stop them.

For `/abort_request` (which matches rids by prefix, as SGLang does), for drain deadlines and for the
snapshot's list of stragglers. This file must not know tasks: stopping one is a callback.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from miles_router.core.worker import Worker


def nothing_to_stop(_reason: Exception) -> None:
    """What stops a request that waits for nothing."""


class Running(msgspec.Struct, eq=False):
    """One request between its first byte in and its last byte out."""

    request_id: str
    tenant: str
    path: str
    started_at: float
    rids: tuple[str, ...] = ()  # the ids under which its worker runs it
    names: tuple[str, ...] = ()  # what its caller calls it, where its worker makes ids of its own
    worker: Worker | None = None  # None while its body is read, and while it waits for one
    is_sent: bool = False  # its worker may have it: only an abort there ends it
    is_stopped: bool = False  # ended by the router: no abort needs to be sent for it
    is_aborted: bool = False  # its caller gave it up: no other worker may generate it again
    bytes_out: int = 0
    stop: Callable[[Exception], None] = nothing_to_stop
    """End the present wait or attempt with this error, as if it had happened there."""

    @property
    def is_stoppable(self) -> bool:
        """It waits for a worker or a connection, so that it can be ended without a trace."""
        return not self.is_sent and self.stop is not nothing_to_stop


class RidIndex:
    """Ids in order, so that whether one begins with a prefix is found without a look at all."""

    def __init__(self, rids: Iterable[str]) -> None:
        self._rids = sorted(rids)

    def has_any(self, prefix: str) -> bool:
        """Whether an id begins with `prefix`: such ids stand together, from where it would."""
        place = bisect_left(self._rids, prefix)
        return place < len(self._rids) and self._rids[place].startswith(prefix)


class InflightTable:
    """All running requests, oldest first."""

    def __init__(self) -> None:
        self._running: dict[int, Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def add(self, running: Running) -> None:
        """A request came in."""
        self._running[id(running)] = running

    def discard(self, running: Running) -> None:
        """It is over."""
        self._running.pop(id(running), None)

    def of_worker(self, worker: Worker) -> list[Running]:
        """What runs on `worker`."""
        return [running for running in self._running.values() if running.worker is worker]

    def of_tenant(self, tenant: str | None) -> list[Running]:
        """What runs for `tenant`; None means everyone's."""
        return [r for r in self._running.values() if tenant is None or r.tenant == tenant]

    def named(self, rid: str, tenant: str | None) -> list[Running]:
        """What `rid` names: SGLang aborts every request whose id begins with it."""
        return [
            running
            for running in self.of_tenant(tenant)
            if any(own.startswith(rid) for own in (*running.rids, *running.names))
        ]

    def others_on(self, worker: Worker, *, besides: Container[Running]) -> RidIndex:
        """The ids that run on `worker` and belong to requests that are not in `besides`."""
        return RidIndex(
            rid
            for running in self.of_worker(worker)
            if running not in besides
            for rid in running.rids
        )

    def oldest(self, count: int, *, worker: Worker | None = None) -> list[Running]:
        """The `count` that have run longest, on `worker` if it is given."""
        found: Iterable[Running] = self._running.values()
        if worker is not None:
            found = (running for running in found if running.worker is worker)
        return list(islice(found, count))

    def with_id(self, request_id: str, tenant: str | None) -> list[Running]:
        """The requests with the router's own `request_id`; callers may give theirs the same."""
        return [one for one in self.of_tenant(tenant) if one.request_id == request_id]
