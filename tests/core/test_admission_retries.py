"""Tickets that exclude workers: who is passed over, who keeps which place, what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.admission import AdmissionLimits, Ticket
from tests.core.opcodes import count_opcodes
from tests.core.rig import Rig, bare_worker, granted

if TYPE_CHECKING:
    from miles_router.core.worker import Worker


def test_a_retry_waits_for_a_worker_it_was_not_tried_on_and_keeps_its_place() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=2))
    first = rig.joined(1)
    retry = rig.ask(exclude=[first])
    others = [rig.ask(), rig.ask(), rig.ask()]
    assert granted(retry, *others) == [False, True, True, False]
    second = rig.joined(2)
    assert retry.lease is not None
    assert retry.lease.worker is second
    assert granted(others[2]) == [True]  # behind the retry, on the second place of the worker


def test_excluding_tickets_keep_their_order_among_each_other() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    first = rig.joined(1)
    retries = [rig.ask(exclude=[first]) for _ in range(3)]
    rig.lease().release(rig.now)  # each dispatch passes them over
    second = rig.joined(2)
    seen = []
    for _ in range(3):
        seen.append(granted(*retries).count(True))
        newest = next(t for t in reversed(retries) if t.lease is not None)
        assert newest.lease is not None
        assert newest.lease.worker is second
        newest.lease.release(rig.now)
    assert seen == [1, 2, 3]


def test_the_earliest_that_can_be_served_comes_first_whatever_each_excludes() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    workers = [rig.joined(1), rig.joined(2)]
    running = [rig.lease(exclude=workers[1:]), rig.lease(exclude=workers[:1])]
    order: list[str] = []

    def wait(name: str, *exclude: Worker) -> Ticket:
        ids = frozenset(worker.id for worker in exclude)
        ticket = Ticket(wake=lambda: order.append(name), exclude=ids)
        rig.admission.enqueue(ticket, rig.now)
        return ticket

    waiting = [
        wait("not first, 1", workers[0]),
        wait("any, 1"),
        wait("not second", workers[1]),
        wait("not first, 2", workers[0]),
        wait("any, 2"),
    ]
    running[0].release(rig.now)  # of the first worker
    waiting[1].lease.release(rig.now)  # type: ignore[union-attr]  # granted a line above
    waiting[2].lease.release(rig.now)  # type: ignore[union-attr]  # as above
    assert order == ["any, 1", "not second", "any, 2"]
    running[1].release(rig.now)
    rig.admission.withdraw(waiting[0], rig.now)
    assert order[3:] == ["not first, 1", "not first, 2"]
    assert rig.admission.queued == 0


@pytest.mark.parametrize("excluding", ["everything waits for another", "for one of many others"])
def test_a_lease_costs_the_same_however_many_wait_for_another_worker(excluding: str) -> None:
    def cost(waiting: int) -> int:
        rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
        available = rig.joined(1)
        others = [bare_worker(number) for number in range(2, 6)]
        for number in range(waiting):
            more = [] if excluding.startswith("everything") else [others[number % len(others)]]
            rig.ask(exclude=[available, *more])

        def rounds() -> None:
            for _ in range(20):
                rig.lease().release(rig.now)

        return count_opcodes(rounds)

    assert cost(1_000) < 1.5 * cost(10)
