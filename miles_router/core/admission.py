"""Who gets a worker, when, and for how long.

A request enters as a `Ticket`, waits first in, first out, and leaves with a `Lease` on one worker;
the lease is held to the last answer byte. Theory of operation:

- Available workers (routable, not full) are indexed in two tiers: active ones, and suspect ones
  that are only asked when no active one is available. `refresh` keeps the index true; it is called
  whenever state or inflight of a worker changes.
- Tickets that exclude the same workers (a retry excludes those it was tried on) wait in one line:
  if the first of a line finds no worker, none of the line does.
- Every change that may free room ends in `dispatch`, which grants to the earliest ticket that can
  be served. One that excludes all available workers is passed over and keeps its place.
- Session affinity comes before the policy: see `_choose`.

Invariant: the sum of all `Worker.inflight` equals the number of unreleased leases.
This file must not know HTTP, clocks or tasks: a waiting task is one callback, `Ticket.wake`.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from miles_router.core.counted import counted
from miles_router.core.lifecycle import LEAVING, State
from miles_router.core.policies import POLICIES, LeastInflight, Policy
from miles_router.errors import QueueFull

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from miles_router.core.affinity import AffinityTable, SessionKey
    from miles_router.core.worker import Worker


_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Bounds; None means none."""

    queue_size: int = 10_000
    max_inflight_per_worker: int | None = None
    max_inflight_total: int | None = None
    affinity_margin: int = 2


class Lease:
    """The right to one request on one worker. Released exactly once; `release` may be repeated."""

    __slots__ = ("_release", "is_released", "taken_at", "worker")

    def __init__(
        self, worker: Worker, taken_at: float, release: Callable[[Lease, float], None]
    ) -> None:
        self.worker = worker
        self.taken_at = taken_at
        self.is_released = False
        self._release = release

    def release(self, now: float) -> None:
        """Give the worker back; every call after the first does nothing."""
        if not self.is_released:
            self.is_released = True
            self._release(self, now)


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that wants a worker.

    `wake` is called once, when `lease` is set, in the middle of a dispatch: it must neither raise
    nor call back into admission or pool. `place` is its position in the order of arrival.
    """

    wake: Callable[[], None]
    session: SessionKey | None = None
    exclude: frozenset[str] = frozenset()
    queued_at: float = 0.0
    place: int = 0
    lease: Lease | None = None


class _Tier:
    """The available workers of one state: by policy, and by inflight for affinity."""

    def __init__(self, policy_name: str) -> None:
        self.least = LeastInflight()
        chosen = POLICIES[policy_name]
        self.policy: Policy = self.least if chosen is LeastInflight else chosen()

    def put(self, worker: Worker) -> None:
        self.least.put(worker)
        if self.policy is not self.least:
            self.policy.put(worker)

    def drop(self, worker: Worker) -> None:
        self.least.drop(worker)
        if self.policy is not self.least:
            self.policy.drop(worker)


class Admission:
    """The queue, the index of available workers and the leases."""

    def __init__(
        self,
        *,
        workers: Mapping[str, Worker],
        policy: str,
        limits: AdmissionLimits,
        affinity: AffinityTable,
        rng: random.Random,
    ) -> None:
        self._workers = workers
        self._limits = limits
        self._affinity = affinity
        self._rng = rng
        self._tiers = {State.ACTIVE: _Tier(policy), State.SUSPECT: _Tier(policy)}
        self._active = self._tiers[State.ACTIVE]
        self._lines: dict[frozenset[str], OrderedDict[int, Ticket]] = {}  # by what they exclude
        self._places = count(1)
        self.queued = 0  # tickets that wait
        self.queue_size = limits.queue_size  # as many may
        self.inflight = 0
        self.on_emptied: Callable[[Worker, float], None] = lambda _worker, _now: None

    def enqueue(self, ticket: Ticket, now: float) -> None:
        """Let `ticket` wait for a worker; it may be granted before this returns.

        Raises:
            QueueFull: too many wait, and this one cannot be granted at once.
        """
        if not self._lines and self._has_room():  # nobody waits who could come first
            worker = self._choose(ticket.session, ticket.exclude, now)
            if worker is not None:
                self._grant(ticket, worker, now)
                return
        ticket.queued_at = now
        ticket.place = next(self._places)
        self._lines.setdefault(ticket.exclude, OrderedDict())[ticket.place] = ticket
        self.queued += 1
        self.dispatch(now)
        if ticket.lease is None and self.queued > self.queue_size:
            self._leave_line(ticket)
            raise QueueFull(
                f"the queue is full, with {counted(self.queued, 'request')} in it (--queue-size)",
                retry_after_s=1.0,
                queued=self.queued,
            )

    def may_take(self) -> bool:
        """Whether `take` may give a lease: for finding out what else it takes is some work."""
        return not self._lines and self._has_room()

    def take(self, session: SessionKey | None, now: float) -> Lease | None:
        """A lease at once, where nobody waits who could come first; None: `enqueue` then."""
        total = self._limits.max_inflight_total
        if self._lines or (total is not None and self.inflight >= total):
            return None
        worker = self._choose(session, _NOBODY, now)
        return None if worker is None else self._lease(worker, now)

    def withdraw(self, ticket: Ticket, now: float) -> None:
        """Take `ticket` out: it no longer waits, and a lease it was granted is released."""
        self._leave_line(ticket)
        if ticket.lease is not None:
            ticket.lease.release(now)

    def refresh(self, worker: Worker) -> None:
        """Index `worker` where it belongs by its present state and inflight."""
        limit = self._limits.max_inflight_per_worker
        is_full = limit is not None and worker.inflight >= limit
        for state, tier in self._tiers.items():
            if worker.state is state and not is_full:
                tier.put(worker)
            elif worker in tier.least:
                tier.drop(worker)

    def _count_anew(self, worker: Worker) -> None:
        """`refresh` where only the inflight of `worker` has changed: it stays in its tier."""
        limit = self._limits.max_inflight_per_worker
        if worker.state is State.ACTIVE and limit is None:
            self._active.put(worker)
        else:
            self.refresh(worker)

    def dispatch(self, now: float) -> None:
        """Grant leases, the earliest ticket first, as long as there is room.

        The cost grows with the lines, not with the tickets: what is available only shrinks here,
        so a line that finds no worker once is done.
        """
        if not self._has_room():
            return
        heads = [(next(iter(line)), exclude) for exclude, line in self._lines.items()]
        heapq.heapify(heads)  # places are unique: the sets are never compared
        while heads and self._has_room():
            place, exclude = heapq.heappop(heads)
            ticket = self._lines[exclude][place]
            worker = self._choose(ticket.session, ticket.exclude, now)
            if worker is None:
                continue
            self._leave_line(ticket)
            if exclude in self._lines:
                heapq.heappush(heads, (next(iter(self._lines[exclude])), exclude))
            self._grant(ticket, worker, now)

    def _leave_line(self, ticket: Ticket) -> None:
        line = self._lines.get(ticket.exclude)
        if line is None or line.pop(ticket.place, None) is None:
            return
        self.queued -= 1
        if not line:
            del self._lines[ticket.exclude]

    def _grant(self, ticket: Ticket, worker: Worker, now: float) -> None:
        ticket.lease = self._lease(worker, now)
        ticket.wake()

    def _lease(self, worker: Worker, now: float) -> Lease:
        worker.inflight += 1
        self.inflight += 1
        self._count_anew(worker)
        return Lease(worker, now, self._take_back)

    def _take_back(self, lease: Lease, now: float) -> None:
        worker = lease.worker
        worker.inflight -= 1
        self.inflight -= 1
        self._count_anew(worker)
        if worker.inflight == 0:
            self.on_emptied(worker, now)
        if self.queued:
            self.dispatch(now)

    def _has_room(self) -> bool:
        total = self._limits.max_inflight_total
        if total is not None and self.inflight >= total:
            return False
        return any([len(tier.least) for tier in self._tiers.values()])  # noqa: C419  a third faster

    def _choose(
        self, session: SessionKey | None, exclude: frozenset[str], now: float
    ) -> Worker | None:
        """The worker for a request of `session`, none of those in `exclude`.

        A session's home is kept while it is active, not full, and holds at most `affinity_margin`
        more requests than the least loaded; otherwise this request goes elsewhere and the home
        stays. A home that is leaving or gone is replaced for good.
        """
        for tier in self._tiers.values():
            if session is None:
                chosen = tier.policy.select(self._rng, exclude)
            else:
                chosen = self._choose_for_session(tier, session, exclude, now)
            if chosen is not None:
                return chosen
        return None

    def _choose_for_session(
        self, tier: _Tier, session: SessionKey, exclude: frozenset[str], now: float
    ) -> Worker | None:
        home = self._workers.get(self._affinity.home(session, now) or "")
        if home is None or home.state in LEAVING:
            chosen = tier.least.select(self._rng, exclude)
            if chosen is not None:
                self._affinity.settle(session, chosen.id, now)
            return chosen
        lowest = tier.least.lowest()
        if (
            home in tier.least
            and home.id not in exclude
            and lowest is not None
            and home.inflight - lowest <= self._limits.affinity_margin
        ):
            return home
        return tier.policy.select(self._rng, exclude)
