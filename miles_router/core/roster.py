"""The workers by name, and the one way their state changes.

`step` takes a step of the `lifecycle` table, tells it as an event with its reason, and keeps the
index of `admission` true. Why a step is taken is decided in `pool`. This file must not know
sockets, HTTP or clocks.

Invariant: a step that the table does not have raises and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from miles_router.core.lifecycle import ROUTABLE, State, Trigger, next_state
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.versions import VersionHistory
from miles_router.core.worker import NEVER_S, Worker, worker_id
from miles_router.errors import UnknownWorker, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.core.admission import Admission
    from miles_router.core.events import EventLog


class Roster:
    """All workers by id, in order of registration."""

    def __init__(
        self, *, workers: dict[str, Worker], admission: Admission, events: EventLog
    ) -> None:
        """`workers` is the (empty) dict that `admission` also reads."""
        self.workers = workers
        self.admission = admission
        self.events = events
        self.versions = VersionHistory()
        self.on_probe_wanted: Callable[[], None] = lambda: None

    def find(self, name: str) -> Worker:
        """The worker with this id or URL, in any spelling of the URL.

        Raises:
            UnknownWorker: there is none.
        """
        worker = self.workers.get(name)
        if worker is None:
            try:
                worker = self.workers.get(worker_id(parse_worker_url(name)))
            except UrlRefused:
                worker = None
        if worker is None:
            raise UnknownWorker(f"no worker {name!r}; GET /workers lists them")
        return worker

    @property
    def listed(self) -> list[Worker]:
        """Workers that are registered: all but those being removed."""
        return [worker for worker in self.workers.values() if not worker.is_leaving]

    def count(self, *states: State) -> int:
        """How many workers are in one of `states`."""
        return sum(worker.state in states for worker in self.workers.values())

    def states(self) -> dict[str, int]:
        """How many workers are in each state that has any."""
        return dict(Counter(worker.state.value for worker in self.workers.values()))

    def due_probes(self, now: float) -> list[Worker]:
        """Workers whose next probe is due and that are not being probed."""
        return [w for w in self.workers.values() if not w.is_probing and w.next_probe_at <= now]

    def next_probe_at(self) -> float:
        """When the next probe is due; infinite while every worker is being probed."""
        waiting = (w.next_probe_at for w in self.workers.values() if not w.is_probing)
        return min(waiting, default=float("inf"))

    def due_drains(self, now: float) -> list[Worker]:
        """Draining workers whose deadline has passed while requests still run on them."""
        return [
            worker
            for worker in self.workers.values()
            if worker.state is State.DRAINING
            and worker.drain_deadline is not None
            and worker.drain_deadline <= now
        ]

    def others_serve(self, worker: Worker) -> bool:
        """Whether any worker but this one is routable."""
        return any(other.is_routable for other in self.workers.values() if other is not worker)

    def others_answer(self, worker: Worker) -> bool:
        """Whether any other routable worker answers, well or badly: one that is silent does not."""
        return any(
            other.is_routable
            and (
                other.failures_in_row == 0
                or (other.last_probe is not None and other.last_probe.answered)
            )
            for other in self.workers.values()
            if other is not worker
        )

    def probe_soon(self, worker: Worker) -> None:
        """Make the next probe of `worker` due at once."""
        worker.next_probe_at = NEVER_S
        self.on_probe_wanted()

    def ask_stale(self) -> None:
        """Make the next probe of every stale worker due at once: it may serve from here on."""
        for worker in self.workers.values():
            if worker.state is State.STALE:
                self.probe_soon(worker)

    def step(self, worker: Worker, trigger: Trigger, reason: str, now: float) -> None:
        """Take one step of the table, tell it, and keep the index true."""
        before = worker.state
        after = next_state(before, trigger)
        if after is before:
            return
        worker.state = after
        worker.since = now
        worker.reason = reason
        if after is State.REMOVED:
            del self.workers[worker.id]
        self.admission.refresh(worker)
        if before in ROUTABLE and not self.count(*ROUTABLE):
            self.ask_stale()  # a version that nobody else serves may count as newest from here on
        self.emit(worker, before, now)
        self.admission.dispatch(now)

    def emit(self, worker: Worker, before: State | None, now: float) -> None:
        """Tell the state `worker` is in, coming from `before` (None: it was just registered)."""
        self.events.add(
            f"worker_{worker.state.value}",
            f"{worker.url} is {worker.state.value}: {worker.reason}",
            now,
            worker_id=worker.id,
            url=worker.url,
            from_state=None if before is None else before.value,
            to_state=worker.state.value,
            reason=worker.reason,
        )
