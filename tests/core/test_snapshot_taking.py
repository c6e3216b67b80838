"""What a snapshot shows, what it keeps back, how large it can get and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pytest

from miles_router.core.admission import AdmissionLimits
from miles_router.core.inflight import InflightTable, Running
from miles_router.core.lifecycle import State
from miles_router.core.log_ring import LogRing
from miles_router.core.metrics import Metrics
from miles_router.core.request import classify
from miles_router.core.snapshot import (
    FocusView,
    ProbeView,
    RequestView,
    Snapshot,
    Totals,
)
from miles_router.core.snapshot_taking import (
    SHOWN_EVENTS,
    SHOWN_REQUESTS,
    take_snapshot,
    view_worker,
    view_workers,
)
from miles_router.core.worker import ProbeOutcome, ProbeReport, WorkerSpec
from tests.core.opcodes import count_opcodes
from tests.core.rig import Rig, bare_worker

if TYPE_CHECKING:
    from miles_router.core.admission import Admission
    from miles_router.core.affinity import AffinityTable
    from miles_router.core.cache_view import CacheParts
    from miles_router.core.events import EventLog
    from miles_router.core.pool import Pool


@dataclass
class Parts:
    """What `Snapshot` is taken of, around a rig."""

    pool: Pool
    admission: Admission
    affinity: AffinityTable
    events: EventLog
    inflight: InflightTable = field(default_factory=InflightTable)
    metrics: Metrics = field(default_factory=Metrics)
    log_ring: LogRing = field(default_factory=LogRing)
    boot_id: str = "b1"
    url: str = "http://127.0.0.1:30000"
    policy: str = "least_inflight"
    shutdown_grace_s: float = 30.0
    started_at: float = 90.0
    is_stopping: bool = False
    token_cache: CacheParts | None = None

    def run(self, number: int, **values: object) -> Running:
        running = Running(f"r{number}", tenant="red", path="/generate", started_at=float(number))
        for name, value in values.items():
            setattr(running, name, value)
        self.inflight.add(running)
        return running


def parts_of(rig: Rig) -> Parts:
    return Parts(pool=rig.pool, admission=rig.admission, affinity=rig.affinity, events=rig.events)


def taken(parts: Parts, *, now: float = 100.0) -> Snapshot:
    return take_snapshot(parts, version="1.2", now=now)


def test_the_router_itself() -> None:
    parts = parts_of(Rig())
    parts.is_stopping = True
    shown = taken(parts)
    assert (shown.boot_id, shown.version, shown.is_stopping) == ("b1", "1.2", True)
    assert shown.uptime_s == 10.0
    assert (shown.url, shown.policy) == ("http://127.0.0.1:30000", "least_inflight")
    assert (shown.newest_weight_version, shown.weight_versions) == (None, ())
    assert (shown.workers, shown.requests, shown.events, shown.last_event_seq) == ((), (), (), 0)


def test_no_secret_is_in_the_encoded_snapshot() -> None:
    rig = Rig()
    worker = rig.joined(1)
    secret = WorkerSpec(
        worker.spec.url, api_key="sesame", labels={"gpu": "h100"}, extra={"token": "sesame"}
    )
    rig.pool.add(secret, rig.now)
    parts = parts_of(rig)
    rig.lease(("red", "sesame"))  # a session key names a conversation of a caller
    parts.run(1, worker=worker, rids=("a",))
    encoded = msgspec.json.encode(taken(parts))
    assert b"h100" in encoded
    assert b"sesame" not in encoded
    assert b"sesame" not in msgspec.json.encode(view_workers(rig.pool, rig.now))


def test_a_worker_with_all_that_is_shown_of_it() -> None:
    rig = Rig()
    worker = rig.joined(1, "7")
    rig.pool.add(WorkerSpec(worker.spec.url, labels={"gpu": "h100"}, worker_type="decode"), 100.0)
    report = ProbeReport(
        ProbeOutcome.PASSED, 101.0, 101.25, "fine", weight_version="7", model_path="/m"
    )
    rig.pool.note_probe(worker, report, 101.25)
    rig.lease()
    worker.served, worker.errors = 5, 2
    for duration_s in (0.5, 0.25, 4.0):
        worker.latencies.add(duration_s)
    rig.pool.drain(worker, 102.0, deadline_s=30.0)
    [shown] = view_workers(rig.pool, 104.5)
    assert msgspec.to_builtins(shown) == {
        "id": worker.id,
        "url": "http://10.0.0.1:8000",
        "status": "draining",
        "is_healthy": False,
        "load": 1,
        "inflight": 1,
        "weight_version": "7",
        "is_newest_version": True,
        "model_path": "/m",
        "served": 5,
        "errors": 2,
        "failures_in_row": 0,
        "passes_in_row": worker.passes_in_row,
        "last_probe": {"outcome": "passed", "age_s": 3.25, "duration_s": 0.25, "detail": "fine"},
        "since_s": 2.5,
        "reason": "drained by an operator",
        "is_held": False,
        "is_leaving": False,
        "drain_deadline_s": 27.5,
        "worker_type": "decode",
        "labels": {"gpu": "h100"},
        "latency_p50_s": 0.5,
        "latency_p99_s": 4.0,
        "load_share": 1.0,
    }


def test_what_a_worker_does_not_have_is_shown_as_nothing() -> None:
    shown = view_worker(bare_worker(1), newest="2", now=3.0)
    assert (shown.last_probe, shown.drain_deadline_s, shown.model_path) == (None, None, None)
    assert (shown.weight_version, shown.is_newest_version) == (None, False)
    assert (shown.latency_p50_s, shown.latency_p99_s, shown.load_share) == (None, None, 0.0)


def test_the_shares_of_the_load_are_parts_of_all_that_is_in_flight() -> None:
    rig = Rig()
    first, second, third = (rig.joined(number) for number in (1, 2, 3))
    rig.load(first, 3)
    rig.load(second, 1)
    assert third.inflight == 0
    shares = [one.load_share for one in view_workers(rig.pool, rig.now)]
    assert shares == [0.75, 0.25, 0.0]


def test_a_drain_deadline_beyond_all_time_is_shown() -> None:
    rig = Rig()
    worker = rig.joined(1)
    rig.load(worker, 1)
    rig.pool.drain(worker, rig.now, deadline_s=1e308)
    [shown] = view_workers(rig.pool, rig.now)
    assert shown.drain_deadline_s == pytest.approx(1e308)


@pytest.mark.parametrize("state", State)
def test_routable_workers_are_the_healthy_ones(state: State) -> None:
    worker = bare_worker(1)
    worker.state = state
    shown = view_worker(worker, newest=None, now=0.0)
    assert (shown.status, shown.is_healthy) == (
        state.value,
        state in {State.ACTIVE, State.SUSPECT},
    )


def test_a_held_worker_and_one_that_is_being_removed_say_so() -> None:
    rig = Rig()
    held, leaving = rig.joined(1), rig.joined(2)
    rig.load(leaving, 1)
    rig.pool.quarantine(held, rig.now, reason="odd answers")
    rig.pool.remove(leaving, rig.now)
    shown = view_workers(rig.pool, rig.now)
    assert [(one.is_held, one.is_leaving) for one in shown] == [(True, False), (False, True)]
    assert shown[0].reason == "by an operator: odd answers"


def test_times_are_ages_in_rounded_seconds() -> None:
    rig = Rig()
    rig.reports(rig.add(1), ProbeOutcome.TIMEOUT, started_at=99.98766)
    parts = parts_of(rig)
    parts.run(50)
    shown = taken(parts, now=160.12345)
    assert shown.uptime_s == 70.123
    assert shown.workers[0].since_s == 60.123
    assert shown.workers[0].last_probe == ProbeView("timeout", 60.123, 0.0123, "")
    assert shown.requests[0].age_s == 110.123


def test_workers_are_shown_in_order_of_registration_and_requests_oldest_first() -> None:
    rig = Rig()
    workers = [rig.joined(number) for number in (3, 1, 2)]
    parts = parts_of(rig)
    for number in (5, 4):  # by arrival, whatever the clock of a request says
        parts.run(number, stop=lambda _: None)
    parts.run(6, worker=workers[0], rids=("a", "b"), bytes_out=9)
    shown = taken(parts)
    assert [one.id for one in shown.workers] == [worker.id for worker in workers]
    assert shown.requests == (
        RequestView("r5", (), "red", "/generate", 95.0, None, 0, "queued"),
        RequestView("r4", (), "red", "/generate", 96.0, None, 0, "queued"),
        RequestView("r6", ("a", "b"), "red", "/generate", 94.0, workers[0].id, 9, "answering"),
    )


@pytest.mark.parametrize(
    ("has_worker", "values", "state"),
    [
        (False, {}, "reading"),
        (False, {"stop": lambda _: None}, "queued"),
        (True, {}, "generating"),
        (True, {"is_sent": True}, "generating"),
        (True, {"is_sent": True, "bytes_out": 1}, "answering"),
        (True, {"is_sent": True, "bytes_out": 1, "is_aborted": True}, "aborting"),
        (True, {"is_sent": True, "is_stopped": True}, "aborting"),
        (False, {"is_aborted": True}, "aborting"),
    ],
)
def test_what_a_request_is_at(has_worker: bool, values: dict[str, object], state: str) -> None:
    rig = Rig()
    parts = parts_of(rig)
    parts.run(1, worker=rig.joined(1) if has_worker else None, **values)
    assert [one.state for one in taken(parts).requests] == [state]


def test_the_requests_of_one_worker_are_shown_to_who_looks_at_it() -> None:
    rig = Rig()
    first, second = rig.joined(1), rig.joined(2)
    parts = parts_of(rig)
    for number in range(SHOWN_REQUESTS + 5):
        parts.run(number, worker=first)
    for number in (500, 501):
        parts.run(number, worker=second)
    assert taken(parts).focus is None
    shown = take_snapshot(parts, version="1", now=600.0, focus=second.id)
    assert shown.focus is not None
    assert (shown.focus.worker_id, [one.request_id for one in shown.focus.requests]) == (
        second.id,
        ["r500", "r501"],
    )
    crowded = take_snapshot(parts, version="1", now=600.0, focus=first.id).focus
    assert crowded is not None
    assert len(crowded.requests) == SHOWN_REQUESTS
    gone = take_snapshot(parts, version="1", now=600.0, focus="w0")
    assert gone.focus == FocusView("w0", ())


@pytest.mark.parametrize(
    ("asked", "shown"), [(0, []), (1, [5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5])]
)
def test_as_many_events_as_are_asked_for(asked: int, shown: list[int]) -> None:
    rig = Rig()
    for _ in range(5):
        rig.events.add("kind", "", 0.0)
    found = take_snapshot(parts_of(rig), version="1", now=100.0, event_count=asked)
    assert [event.seq for event in found.events] == shown
    assert found.last_event_seq == 5


def test_the_newest_line_of_the_log_is_numbered() -> None:
    parts = parts_of(Rig())
    parts.log_ring.add(0.0, "info", "one")
    parts.log_ring.add(0.0, "info", "two")
    assert taken(parts).log_seq == 2


def test_the_totals() -> None:
    rig = Rig(limits=AdmissionLimits(max_inflight_per_worker=1))
    parts = parts_of(rig)
    first, second, third = (rig.joined(number) for number in (1, 2, 3))
    rig.fails(second)
    rig.pool.quarantine(third, rig.now)
    rig.lease(("red", "s"))
    rig.lease()
    rig.ask()
    metrics = parts.metrics
    metrics.requests.update({("generate", 200): 5, ("chat", 200): 2, ("chat", 503): 1})
    metrics.requests.update({("own", 200): 90, ("control", 200): 4, ("other", 404): 2})
    metrics.retries.update({"dial": 1, "broke": 2})
    metrics.client_gone.update({"chat": 4})
    metrics.cut_answers.update({"chat": 1, "generate": 1})
    metrics.bytes_in, metrics.bytes_out = 10, 20
    metrics.loop_lag.add(9.0)  # over the whole life
    metrics.recent_lag.add(0.0001)
    for value_s in (0.0001, 0.0001, 0.004):
        metrics.overhead.add(value_s)
    assert first.inflight == 1
    assert taken(parts).totals == Totals(
        workers=3,
        healthy_workers=2,
        states={"active": 1, "suspect": 1, "quarantined": 1},
        inflight=2,
        queued=1,
        requests=104,
        responses={"200": 101, "503": 1, "404": 2},
        retries=3,
        client_gone=4,
        cut_answers=2,
        bytes_in=10,
        bytes_out=20,
        sessions=1,
        loop_lag_p99_s=0.0001,
        overhead_p50_s=0.0002,
        overhead_p99_s=0.005,
        relayed=10,
        queue_size=10_000,
    )


@pytest.mark.parametrize(
    ("path", "relayed"),
    [
        ("/generate", 1),
        ("/v1/embeddings", 1),
        ("/classify", 1),
        ("/v1/score", 1),
        ("/v1/rerank", 1),
        ("/a/route/of/a/newer/engine", 1),
        ("/snapshot", 0),
        ("/pause_generation", 0),
    ],
)
def test_every_relayed_request_counts_whatever_its_path(path: str, relayed: int) -> None:
    parts = parts_of(Rig())
    parts.metrics.requests[classify(path), 200] += 1
    assert taken(parts).totals.relayed == relayed


def test_it_says_how_long_running_requests_get_at_the_end() -> None:
    parts = parts_of(Rig())
    parts.shutdown_grace_s = 12.5
    assert taken(parts).shutdown_grace_s == 12.5


def test_the_newest_weight_versions_are_shown_oldest_first() -> None:
    rig = Rig()
    worker = rig.joined(1, "0")
    for number in range(1, 30):
        rig.passes(worker, str(number))
    shown = taken(parts_of(rig))
    assert shown.newest_weight_version == "29"
    assert shown.weight_versions == tuple(str(number) for number in range(10, 30))
    assert shown.workers[0].is_newest_version


def test_a_busy_router_has_a_small_snapshot() -> None:
    rig = Rig()
    parts = parts_of(rig)
    for number in range(SHOWN_REQUESTS + 5):
        parts.run(number)
    for _ in range(SHOWN_EVENTS + 5):
        rig.events.add("kind", "", 0.0)
    shown = taken(parts)
    assert [one.request_id for one in shown.requests] == [f"r{n}" for n in range(SHOWN_REQUESTS)]
    assert [event.seq for event in shown.events] == list(range(6, SHOWN_EVENTS + 6))
    assert shown.last_event_seq == SHOWN_EVENTS + 5


def test_a_young_router_shows_all_its_events() -> None:
    rig = Rig()
    rig.joined(1)
    shown = taken(parts_of(rig))
    assert list(shown.events) == rig.events.since(0)
    assert shown.last_event_seq == shown.events[-1].seq


def test_the_snapshot_is_json_and_reads_back_as_it_was() -> None:
    rig = Rig()
    worker = rig.joined(1, "1")
    rig.lease(("red", "s"))
    parts = parts_of(rig)
    parts.run(1, worker=worker, rids=("a",))
    shown = taken(parts)
    assert msgspec.json.decode(msgspec.json.encode(shown), type=Snapshot) == shown


def test_a_delay_beyond_all_buckets_is_still_json() -> None:
    parts = parts_of(Rig())
    parts.metrics.overhead.add(99.0)
    plain = msgspec.json.decode(msgspec.json.encode(taken(parts)))
    assert plain["totals"]["overhead_p99_s"] is None


def test_a_snapshot_does_not_change_with_the_router() -> None:
    rig = Rig()
    worker = rig.joined(1)
    parts = parts_of(rig)
    running = parts.run(1)
    worker.spec.labels["rack"] = "1"
    shown = taken(parts)
    before = msgspec.json.encode(shown)
    rig.pool.quarantine(worker, rig.now)
    worker.spec.labels["rack"] = "2"
    running.worker = worker
    parts.metrics.requests["chat", 200] += 1
    assert msgspec.json.encode(shown) == before
    with pytest.raises(AttributeError):
        shown.boot_id = "b2"  # type: ignore[misc]  # the point of the test


def cost(workers: int, *, event_count: int = 0) -> int:
    """Steps of the interpreter that a snapshot of so many workers takes."""
    rig = Rig()
    for number in range(workers):
        worker = rig.joined(number)
        for _ in range(100):
            worker.latencies.add(1.0)
    parts = parts_of(rig)
    return count_opcodes(
        lambda: take_snapshot(parts, version="1", now=100.0, event_count=event_count)
    )


def test_a_snapshot_costs_little_per_worker_and_nothing_for_what_is_left_out() -> None:
    few, many = cost(10), cost(110)
    assert (many - few) / 100 < 250
    assert cost(10, event_count=200) > few
