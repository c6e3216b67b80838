"""Who ends which of the requests that an abort names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.abort_plan import plan_abort, plan_abort_all, plan_abort_exactly
from miles_router.core.inflight import InflightTable, Running
from tests.core.opcodes import count_opcodes
from tests.core.rig import bare_worker

if TYPE_CHECKING:
    from miles_router.core.worker import Worker

WORKER = bare_worker(1)


def nothing(_reason: Exception) -> None:
    """What ends a request in these tests."""


def on_worker(
    table: InflightTable,
    *rids: str,
    tenant: str = "red",
    names: tuple[str, ...] = (),
    path: str = "/generate",
    worker: Worker = WORKER,
) -> Running:
    """A request that `worker` has."""
    running = Running(
        request_id="r",
        tenant=tenant,
        path=path,
        started_at=0.0,
        rids=rids,
        names=names,
        worker=worker,
        is_sent=True,
        stop=nothing,
    )
    table.add(running)
    return running


def waiting(table: InflightTable, *rids: str, tenant: str = "red") -> Running:
    """A request that waits for a worker."""
    running = on_worker(table, *rids, tenant=tenant)
    running.worker, running.is_sent = None, False
    return running


def test_a_worker_ends_what_it_knows_and_the_router_the_rest() -> None:
    table = InflightTable()
    known, batch = on_worker(table, "job-1"), on_worker(table, "job-2_0", "other")
    samples, queued = on_worker(table, names=("job-3",)), waiting(table, "job-4")
    plan = plan_abort(table, table.named("job", "red"), rid="job", tenant="red")
    assert plan.unsent == [queued]
    assert plan.closed == [samples]
    assert plan.without_rid == 1
    assert list(plan.calls) == [(WORKER, "job-1"), (WORKER, "job-2_0")]
    assert all(one.is_aborted for one in (known, batch, samples, queued))


def test_all_of_a_tenant_are_those_without_an_id_too() -> None:
    table = InflightTable()
    named, nameless, queued = on_worker(table, "a"), on_worker(table), waiting(table)
    chat = on_worker(table, path="/v1/chat/completions")
    read, foreign = on_worker(table, path="/v1/models"), on_worker(table, tenant="blue")
    plan = plan_abort(table, table.of_tenant("red"), rid="", tenant="red")
    assert plan.unsent == [queued]
    assert plan.closed == [nameless, chat]
    assert list(plan.calls) == [(WORKER, "a")]
    assert named.is_aborted
    assert not read.is_aborted  # it generates nothing
    assert not foreign.is_aborted


def test_what_would_end_the_request_of_another_is_ended_by_the_router() -> None:
    table = InflightTable()
    elsewhere = bare_worker(2)
    tangled, longer = on_worker(table, "job"), on_worker(table, "job-10")
    far = on_worker(table, "job", worker=elsewhere)
    on_worker(table, "job-1", tenant="blue")
    plan = plan_abort(table, table.named("job", "red"), rid="job", tenant="red")
    assert plan.closed == [tangled]
    assert plan.without_rid == 0
    assert list(plan.calls) == [(WORKER, "job-10"), (elsewhere, "job")]
    assert longer.is_aborted
    assert far.is_aborted


def test_who_may_abort_everything_is_in_nobodys_way() -> None:
    table = InflightTable()
    on_worker(table, "job")
    on_worker(table, "job-1", tenant="blue")
    samples = on_worker(table, names=("job-2",), tenant="blue")
    plan = plan_abort(table, table.named("job", None), rid="job", tenant=None)
    assert list(plan.calls) == [(WORKER, "job"), (WORKER, "job-1")]
    assert plan.closed == [samples]


def test_workers_that_end_all_they_have_leave_the_router_what_waits() -> None:
    table = InflightTable()
    here, nameless, queued = on_worker(table, "a"), on_worker(table), waiting(table, "b")
    read = on_worker(table, path="/v1/models")
    plan = plan_abort_all(table.of_tenant(None))
    assert (plan.unsent, plan.closed, plan.calls) == ([queued], [], {})
    assert [one.is_aborted for one in (here, nameless, queued, read)] == [True, True, True, False]


def test_what_the_router_has_ended_is_not_ended_again() -> None:
    table = InflightTable()
    on_worker(table, "a").is_stopped = True
    on_worker(table).is_stopped = True
    plan = plan_abort(table, table.of_tenant("red"), rid="", tenant="red")
    assert (plan.closed, plan.calls) == ([], {})


def test_one_request_is_ended_without_those_that_share_its_ids() -> None:
    table = InflightTable()
    alone, tangled = on_worker(table, "a"), on_worker(table, "job")
    other, twin = on_worker(table, "job-1"), on_worker(table, "job")
    plan = plan_abort_exactly(table, [alone])
    assert (plan.unsent, plan.closed, list(plan.calls)) == ([], [], [(WORKER, "a")])
    plan = plan_abort_exactly(table, [tangled])
    assert (plan.closed, plan.calls) == ([tangled], {})
    assert [one.is_aborted for one in (other, twin)] == [False, False]
    plan = plan_abort_exactly(table, [tangled, other, twin])
    assert (plan.closed, list(plan.calls)) == ([], [(WORKER, "job"), (WORKER, "job-1")])


def test_one_request_is_ended_whatever_it_is() -> None:
    table = InflightTable()
    read, queued, nameless = on_worker(table, path="/v1/models"), waiting(table), on_worker(table)
    ended = on_worker(table, path="/v1/models")
    ended.is_stopped = True
    arriving = Running(request_id="r", tenant="red", path="/generate", started_at=0.0)
    table.add(arriving)
    for one, unsent, closed in (
        (read, [], [read]),
        (queued, [queued], []),
        (nameless, [], [nameless]),
        (ended, [], []),
        (arriving, [], []),
    ):
        plan = plan_abort_exactly(table, [one])
        assert (plan.unsent, plan.closed, plan.calls) == (unsent, closed, {})
        assert one.is_aborted is bool(unsent or closed)


def test_a_request_that_is_still_coming_in_is_later_than_the_abort() -> None:
    table = InflightTable()
    arriving = Running(request_id="r", tenant="red", path="/generate", started_at=0.0)
    table.add(arriving)
    plan = plan_abort(table, [arriving], rid="", tenant="red")
    assert (plan.unsent, plan.closed, arriving.is_aborted) == ([], [], False)


def test_the_effort_grows_with_the_number_of_ids_and_not_with_its_square() -> None:
    def effort(count: int) -> int:
        table = InflightTable()
        for number in range(count):
            on_worker(table, f"red-{number}")
            on_worker(table, f"blue-{number}", tenant="blue")
        named = table.of_tenant("red")
        return count_opcodes(lambda: plan_abort(table, named, rid="", tenant="red"))

    assert effort(800) < 9 * effort(100)
