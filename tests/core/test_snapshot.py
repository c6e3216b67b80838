"""The snapshot as a value: it goes over the wire and comes back, also from an older router."""

from __future__ import annotations

import msgspec
import pytest

from miles_router.core.snapshot import FocusView, RequestView, Snapshot, Totals, WorkerView

TOTALS = Totals(
    workers=1,
    healthy_workers=1,
    states={"active": 1},
    inflight=1,
    queued=0,
    requests=3,
    responses={"200": 3},
    retries=0,
    client_gone=0,
    cut_answers=0,
    bytes_in=1,
    bytes_out=2,
    sessions=0,
    loop_lag_p99_s=None,
    overhead_p50_s=0.0002,
    overhead_p99_s=0.0005,
)
WORKER = WorkerView(
    id="w1",
    url="http://10.0.0.1:8000",
    status="active",
    is_healthy=True,
    load=1,
    inflight=1,
    weight_version="7",
    is_newest_version=True,
    model_path="/m",
    served=3,
    errors=0,
    failures_in_row=0,
    passes_in_row=2,
    last_probe=None,
    since_s=3.0,
    reason="joined",
    is_held=False,
    is_leaving=False,
    drain_deadline_s=None,
    worker_type="regular",
    labels={},
    latency_p50_s=0.5,
    latency_p99_s=1.5,
    load_share=1.0,
)
REQUEST = RequestView("r1", ("a",), "red", "/generate", 1.5, "w1", 9, "answering")
SNAPSHOT = Snapshot(
    boot_id="b1",
    version="1.2",
    uptime_s=10.0,
    is_stopping=False,
    newest_weight_version="7",
    weight_versions=("6", "7"),
    totals=TOTALS,
    workers=(WORKER,),
    requests=(REQUEST,),
    token_cache=None,
    events=(),
    last_event_seq=4,
    url="http://127.0.0.1:30000",
    policy="random",
    log_seq=12,
    focus=FocusView("w1", (REQUEST,)),
)
NEW_FIELDS = ("url", "policy", "log_seq", "focus")
NEW_WORKER_FIELDS = ("latency_p50_s", "latency_p99_s", "load_share")


def test_a_snapshot_comes_back_from_json_as_it_was() -> None:
    assert msgspec.json.decode(msgspec.json.encode(SNAPSHOT), type=Snapshot) == SNAPSHOT


def test_a_snapshot_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SNAPSHOT.boot_id = "b2"  # type: ignore[misc]  # the point of the test


def test_the_snapshot_of_an_older_router_is_read() -> None:
    plain = msgspec.to_builtins(SNAPSHOT)
    for name in NEW_FIELDS:
        del plain[name]
    for name in NEW_WORKER_FIELDS:
        del plain["workers"][0][name]
    del plain["requests"][0]["state"]
    read = msgspec.json.decode(msgspec.json.encode(plain), type=Snapshot)
    assert (read.url, read.policy, read.log_seq, read.focus) == ("", "", 0, None)
    assert (read.workers[0].latency_p50_s, read.workers[0].load_share) == (None, 0.0)
    assert (read.workers[0].url, read.requests[0].request_id) == (WORKER.url, "r1")


def test_fields_that_a_newer_router_sends_are_passed_over() -> None:
    plain = msgspec.to_builtins(SNAPSHOT) | {"mood": "good"}
    assert msgspec.json.decode(msgspec.json.encode(plain), type=Snapshot) == SNAPSHOT
