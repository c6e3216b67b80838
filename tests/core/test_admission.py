"""The queue, the caps and the leases; affinity has its own file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.admission import AdmissionLimits, Ticket
from miles_router.core.lifecycle import State
from miles_router.core.policies import POLICIES
from miles_router.errors import QueueFull
from tests.core.opcodes import count_opcodes
from tests.core.rig import Rig, bare_worker, granted

if TYPE_CHECKING:
    from miles_router.core.affinity import SessionKey
    from miles_router.core.worker import Worker


def test_a_request_gets_a_worker_at_once_and_holds_it_until_its_lease_is_released() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease = rig.lease()
    assert lease.worker is worker
    assert lease.taken_at == rig.now
    assert (worker.inflight, rig.admission.inflight, rig.admission.queued) == (1, 1, 0)
    lease.release(rig.now)
    assert (worker.inflight, rig.admission.inflight) == (0, 0)


def test_a_lease_is_released_once() -> None:
    rig = Rig()
    worker = rig.joined(1)
    lease, _other = rig.lease(), rig.lease()
    for _ in range(3):
        lease.release(rig.now)
    assert lease.is_released
    assert (worker.inflight, rig.admission.inflight) == (1, 1)


def test_requests_are_served_first_in_first_out() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    order: list[int] = []
    tickets = [Ticket(wake=lambda number=number: order.append(number)) for number in range(5)]  # type: ignore[misc]  # a default binds the loop variable
    for ticket in tickets:
        rig.admission.enqueue(ticket, rig.now)
    rig.joined(1)
    for ticket in tickets:
        assert ticket.lease is not None
        ticket.lease.release(rig.now)
    assert order == [0, 1, 2, 3, 4]


def test_a_ticket_remembers_when_it_was_queued_and_is_woken_once_with_its_lease() -> None:
    rig = Rig()
    woken: list[bool] = []
    ticket = Ticket(wake=lambda: woken.append(ticket.lease is not None))
    rig.admission.enqueue(ticket, 5.0)
    assert (ticket.queued_at, woken) == (5.0, [])
    rig.joined(1)
    assert woken == [True]


def test_a_full_queue_refuses_who_comes_last() -> None:
    rig = Rig(limits=AdmissionLimits(queue_size=2))
    waiting = [rig.ask(), rig.ask()]
    with pytest.raises(QueueFull) as refusal:
        rig.ask()
    assert refusal.value.status == 429
    assert refusal.value.headers == {"Retry-After": "1"}
    assert refusal.value.details == {"queued": 2}
    assert rig.admission.queued == 2
    rig.joined(1)
    assert granted(*waiting) == [True, True]


def test_a_queue_of_size_zero_still_serves_what_needs_no_wait() -> None:
    rig = Rig(limits=AdmissionLimits(queue_size=0, max_inflight_per_worker=1))
    rig.joined(1)
    assert granted(rig.ask()) == [True]
    with pytest.raises(QueueFull):
        rig.ask()
    assert rig.admission.queued == 0


def test_a_request_that_withdraws_while_it_waits_gets_nothing() -> None:
    rig = Rig()
    first, second = rig.ask(), rig.ask()
    rig.admission.withdraw(first, rig.now)
    assert rig.admission.queued == 1
    worker = rig.joined(1)
    assert granted(first, second) == [False, True]
    assert worker.inflight == 1


def test_a_request_that_withdraws_after_it_was_granted_gives_the_worker_to_the_next() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    worker = rig.joined(1)
    first, second = rig.ask(), rig.ask()
    rig.admission.withdraw(first, rig.now)
    rig.admission.withdraw(first, rig.now)
    assert granted(second) == [True]
    assert (worker.inflight, rig.admission.inflight) == (1, 1)


def test_who_never_waited_or_waits_no_more_takes_nobody_elses_place() -> None:
    rig = Rig()
    waiting = [rig.ask(), rig.ask()]
    rig.admission.withdraw(Ticket(wake=lambda: None), rig.now)
    assert rig.admission.queued == 2
    rig.admission.withdraw(waiting[1], rig.now)
    rig.admission.withdraw(waiting[1], rig.now)
    assert rig.admission.queued == 1
    rig.joined(1)
    assert granted(*waiting) == [True, False]


def test_the_cap_per_worker() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=2))
    workers = [rig.joined(1), rig.joined(2)]
    tickets = [rig.ask() for _ in range(5)]
    assert [worker.inflight for worker in workers] == [2, 2]
    assert granted(*tickets) == [True, True, True, True, False]
    assert tickets[0].lease is not None
    tickets[0].lease.release(rig.now)
    assert granted(tickets[4]) == [True]


def test_the_cap_over_all_workers() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_total=3))
    rig.joined(1)
    rig.joined(2)
    tickets = [rig.ask() for _ in range(4)]
    assert granted(*tickets) == [True, True, True, False]
    assert rig.admission.inflight == 3
    assert tickets[0].lease is not None
    tickets[0].lease.release(rig.now)
    assert granted(tickets[3]) == [True]


def test_requests_on_a_worker_that_left_still_count_against_the_total() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_total=1))
    worker = rig.joined(1)
    lease = rig.lease()
    rig.pool.quarantine(worker, rig.now)
    rig.joined(2)
    waiting = rig.ask()
    assert granted(waiting) == [False]
    lease.release(rig.now)
    assert granted(waiting) == [True]


@pytest.mark.parametrize("policy", POLICIES)
def test_suspect_workers_are_asked_only_when_no_active_one_is_available(policy: str) -> None:
    rig = Rig(policy=policy, limits=AdmissionLimits(max_inflight_per_worker=5))
    suspect, active = rig.joined(1), rig.joined(2)
    rig.fails(suspect)
    assert suspect.state is State.SUSPECT
    assert [rig.lease().worker for _ in range(5)] == [active] * 5
    assert rig.lease().worker is suspect  # the active one is full
    assert rig.lease(exclude=[active]).worker is suspect  # a retry of a request it failed


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "state",
    [
        State.JOINING,
        State.QUARANTINED,
        State.PROBATION,
        State.STALE,
        State.DRAINING,
        State.DRAINED,
        State.REMOVED,
    ],
)
def test_a_worker_that_is_not_routable_gets_nothing(policy: str, state: State) -> None:
    rig = Rig(policy=policy)
    worker = rig.joined(1)
    worker.state = state
    rig.admission.refresh(worker)
    assert granted(rig.ask()) == [False]
    worker.state = State.ACTIVE
    rig.admission.refresh(worker)
    rig.admission.dispatch(rig.now)
    assert granted(rig.ask()) == [True]


def test_the_policy_is_the_one_that_was_asked_for() -> None:
    rig = Rig(policy="round_robin")
    first, second = rig.joined(1), rig.joined(2)
    rig.load(first, 3)
    assert [rig.lease().worker for _ in range(4)] == [second, first, second, first]


@pytest.mark.parametrize("busy", [True, False])
def test_the_last_release_tells_that_a_worker_is_empty(busy: bool) -> None:
    rig = Rig()
    emptied: list[Worker] = []
    rig.admission.on_emptied = lambda worker, _now: emptied.append(worker)
    worker = rig.joined(1)
    leases = [rig.lease(), rig.lease()]
    leases[0].release(rig.now)
    assert emptied == []
    if not busy:
        leases[1].release(rig.now)
    assert emptied == ([] if busy else [worker])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("session", [None, ("default", "s")])
def test_a_lease_costs_the_same_with_a_thousand_workers(
    policy: str, session: SessionKey | None
) -> None:
    def cost(count: int) -> int:
        rig = Rig(policy=policy)
        for number in range(count):
            worker = bare_worker(number)
            worker.state = State.ACTIVE
            rig.workers[worker.id] = worker
            rig.admission.refresh(worker)

        def rounds() -> None:
            for _ in range(20):
                rig.lease(session).release(rig.now)

        return count_opcodes(rounds)

    assert cost(1_000) < 1.5 * cost(10)


# -- without a ticket -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_what_is_taken_is_what_a_ticket_would_be_granted(policy: str) -> None:
    taking, waiting = Rig(policy=policy), Rig(policy=policy)
    for rig in (taking, waiting):
        for number in range(3):
            rig.joined(number)
    for turn in range(12):
        session: SessionKey | None = ("default", f"s{turn % 4}") if turn % 2 else None
        lease = taking.admission.take(session, taking.now)
        ticket = Ticket(wake=lambda: None, session=session)
        waiting.admission.enqueue(ticket, waiting.now)
        assert lease is not None
        assert ticket.lease is not None
        assert lease.worker.id == ticket.lease.worker.id
        assert lease.taken_at == taking.now
        if turn % 3:
            lease.release(taking.now)
            ticket.lease.release(waiting.now)
    assert taking.admission.inflight == waiting.admission.inflight == 4


def test_nothing_is_taken_from_those_who_wait() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    assert rig.admission.take(None, rig.now) is None
    first = rig.joined(1)
    lease = rig.admission.take(None, rig.now)
    assert lease is not None
    assert rig.admission.take(None, rig.now) is None
    ticket = Ticket(wake=lambda: None, exclude=frozenset({first.id}))
    rig.admission.enqueue(ticket, rig.now)
    lease.release(rig.now)
    assert rig.admission.take(None, rig.now) is None, "the ticket came first"
    rig.admission.withdraw(ticket, rig.now)
    assert rig.admission.take(None, rig.now) is not None


def test_no_more_is_taken_than_all_may_hold() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_total=2))
    rig.joined(1)
    leases = [rig.admission.take(None, rig.now) for _ in range(3)]
    assert [lease is not None for lease in leases] == [True, True, False]
    assert rig.admission.inflight == 2
