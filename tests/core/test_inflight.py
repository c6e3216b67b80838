"""The table of running requests."""

from __future__ import annotations

from miles_router.core.inflight import InflightTable, Running
from miles_router.errors import RequestAborted
from tests.core.rig import bare_worker


def running(number: int, *, tenant: str = "red", rids: tuple[str, ...] = ()) -> Running:
    return Running(
        request_id=f"r{number}", tenant=tenant, path="/generate", started_at=0.0, rids=rids
    )


def table_of(*requests: Running) -> InflightTable:
    table = InflightTable()
    for request in requests:
        table.add(request)
    return table


def test_a_request_is_there_from_when_it_comes_in_until_it_is_over() -> None:
    first, second = running(1), running(2)
    table = table_of(first, second)
    assert len(table) == 2
    table.discard(first)
    table.discard(first)
    assert table.of_tenant(None) == [second]


def test_two_requests_that_look_the_same_are_two() -> None:
    first, second = running(1), running(1)
    table = table_of(first, second)
    table.discard(second)
    assert table.of_tenant(None)[0] is first
    assert len(table) == 1


def test_rids_are_matched_by_prefix_within_the_tenant() -> None:
    one = running(1, rids=("abc",))
    batch = running(2, rids=("x", "abd"))
    blue = running(3, tenant="blue", rids=("abc",))
    table = table_of(one, batch, blue, running(4))
    assert table.named("abc", "red") == [one]
    assert table.named("ab", "red") == [one, batch]
    assert table.named("b", "red") == []
    assert table.named("abcd", "red") == []
    assert table.named("abc", None) == [one, blue]


def test_what_runs_where_and_for_whom() -> None:
    worker = bare_worker(1)
    here, waiting, elsewhere = running(1), running(2, tenant="blue"), running(3)
    here.worker, elsewhere.worker = worker, bare_worker(1)
    table = table_of(here, waiting, elsewhere)
    assert table.of_worker(worker) == [here]
    assert table.of_tenant("blue") == [waiting]
    assert table.of_tenant("green") == []


def test_the_oldest_come_first() -> None:
    requests = [running(number) for number in range(5)]
    table = table_of(*requests)
    table.discard(requests[0])
    assert list(table.oldest(2)) == requests[1:3]
    assert list(table.oldest(99)) == requests[1:]
    assert list(table.oldest(0)) == []


def test_a_request_that_runs_nowhere_can_be_told_to_stop() -> None:
    running(1).stop(RequestAborted("aborted"))


def test_an_abort_that_would_end_another_request_is_seen() -> None:
    worker, elsewhere = bare_worker(1), bare_worker(2)
    own, other, far = (
        running(1, rids=("job",)),
        running(2, rids=("job-2",)),
        running(3, rids=("jo",)),
    )
    own.worker = other.worker = worker
    far.worker = elsewhere
    table = table_of(own, other, far)
    assert table.shares_prefix("job", worker, besides=(own,))
    assert not table.shares_prefix("job", worker, besides=(own, other))
    assert not table.shares_prefix("job-2", worker, besides=(other,))
    assert not table.shares_prefix("jo", elsewhere, besides=(far,))
