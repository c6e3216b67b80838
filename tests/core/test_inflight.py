"""The table of running requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.inflight import InflightTable, RidIndex, Running
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
    assert table.oldest(2) == requests[1:3]
    assert table.oldest(99) == requests[1:]
    assert table.oldest(0) == []


def test_the_oldest_of_one_worker() -> None:
    worker = bare_worker(1)
    here = [running(number) for number in range(3)]
    table = table_of(running(9), *here)
    for one in here:
        one.worker = worker
    assert table.oldest(2, worker=worker) == here[:2]
    assert table.oldest(9, worker=worker) == here
    assert table.oldest(9, worker=bare_worker(2)) == []


def test_a_request_is_found_by_the_id_it_has_here() -> None:
    first, twin = running(1), running(1)
    blue = running(1, tenant="blue")
    table = table_of(first, running(12), twin, blue)
    assert table.with_id("r1", "red") == [first, twin]  # callers may choose the same id
    assert table.with_id("r1", None) == [first, twin, blue]
    assert table.with_id("r", "red") == []


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
    assert table.others_on(worker, besides=(own,)).has_any("job")
    assert not table.others_on(worker, besides=(own, other)).has_any("job")
    assert not table.others_on(worker, besides=(other,)).has_any("job-2")
    assert not table.others_on(elsewhere, besides=(far,)).has_any("jo")


def test_a_request_is_also_found_by_what_only_its_caller_calls_it() -> None:
    samples = running(1)
    samples.names = ("job-7",)
    table = table_of(samples, running(2, rids=("job-8",)))
    assert table.named("job-7", "red") == [samples]
    assert len(table.named("job", "red")) == 2


def test_the_ids_of_others_on_a_worker() -> None:
    worker = bare_worker(1)
    own, other = running(1, rids=("job",)), running(2, rids=("job-2", "x"))
    samples, elsewhere = running(3), running(4, rids=("far",))
    samples.names = ("named",)
    own.worker = other.worker = samples.worker = worker
    elsewhere.worker = bare_worker(2)
    others = table_of(own, other, samples, elsewhere).others_on(worker, besides=(own,))
    found = {rid: others.has_any(rid) for rid in ("job", "job-2", "x", "job-3", "far", "named")}
    assert found == {
        "job": True,
        "job-2": True,
        "x": True,
        "job-3": False,
        "far": False,
        "named": False,  # its worker does not know it by that
    }


RIDS = st.text(alphabet="ab-\u00e9\U0001f389", max_size=4)


@given(st.lists(RIDS, max_size=12), RIDS)
def test_an_index_finds_what_looking_at_each_id_would(rids: list[str], prefix: str) -> None:
    assert RidIndex(rids).has_any(prefix) is any(rid.startswith(prefix) for rid in rids)
