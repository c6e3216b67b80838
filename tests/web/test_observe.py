from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from miles_router.core.log_ring import LogRing
from miles_router.log import make_log
from tests.web.rig import LONG, SHORT, SLOW, open_router, open_sims, until

if TYPE_CHECKING:
    from tests.web.asgi_client import Call

A, B = "http://127.0.0.1:31001", "http://127.0.0.1:31002"


async def test_health_follows_the_workers() -> None:
    async with open_router() as rig:
        assert (await rig.client.get("/livez")).json() == {"status": "ok"}
        assert (await rig.client.get("/readyz")).status == 503
        found = await rig.client.get("/health")
        assert (found.status, found.json()["healthy_workers"]) == (503, 0)
        worker = rig.add(A)
        rig.add(B)
        assert (await rig.client.get("/readyz")).status == 503  # registered is not probed
        rig.passes(worker)
        assert (await rig.client.get("/readyz")).status == 200
        found = await rig.client.get("/health")
        assert found.status == 200
        assert found.json() == {"status": "ok", "healthy_workers": 1, "total_workers": 2}
        rig.services.pool.quarantine(worker, trio.current_time())
        assert (await rig.client.get("/readyz")).status == 503
        assert (await rig.client.get("/health")).status == 503
        assert (await rig.client.get("/livez")).status == 200


async def test_a_router_that_stops_is_not_ready_whatever_its_workers_are() -> None:
    async with open_router() as rig:
        rig.join(A)
        assert (await rig.client.get("/readyz")).status == 200
        rig.services.is_stopping = True
        found = await rig.client.get("/readyz")
        assert (found.status, found.json()) == (503, {"status": "stopping"})
        assert (await rig.client.get("/livez")).status == 200


@pytest.mark.loopback
async def test_loads_are_the_requests_in_flight() -> None:
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        worker = rig.join(sim.url)
        rig.add(A)
        async with rig.client.opened("POST", "/generate", LONG):
            await rig.until_inflight(worker, 1)
            loads = (await rig.client.get("/get_loads")).json()
            assert loads == {"workers": [{"worker": sim.url, "load": 1}, {"worker": A, "load": 0}]}
            listed = (await rig.client.get("/workers")).json()["workers"]
            assert [(one["load"], one["inflight"]) for one in listed] == [(1, 1), (0, 0)]


@pytest.mark.loopback
async def test_the_snapshot_shows_workers_requests_and_events() -> None:
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        worker = rig.join(sim.url)
        async with rig.client.opened(
            "POST", "/generate", {**LONG, "rid": "r1"}, {"X-Request-Id": "id-1"}
        ):
            await rig.until_inflight(worker, 1)
            value = (await rig.client.get("/snapshot")).json()
            assert value["boot_id"] == rig.services.boot_id
            assert value["totals"]["inflight"] == value["totals"]["healthy_workers"] == 1
            assert [one["url"] for one in value["workers"]] == [sim.url]
            [shown] = value["requests"]
            assert (shown["request_id"], shown["rids"]) == ("id-1", ["r1"])
            assert (shown["worker_id"], shown["path"]) == (worker.id, "/generate")
            assert [one["seq"] for one in value["events"]] == [1, 2]
            assert value["last_event_seq"] == 2


@pytest.mark.loopback
async def test_the_snapshot_lists_the_requests_of_the_worker_that_is_looked_at() -> None:
    async with open_sims(2, SLOW) as sims, open_router(policy="round_robin") as rig:
        workers = [rig.join(sim.url) for sim in sims]
        rig.services.url = "http://127.0.0.1:30000"
        async with (
            rig.client.opened("POST", "/generate", LONG, {"X-Request-Id": "id-1"}),
            rig.client.opened("POST", "/generate", LONG, {"X-Request-Id": "id-2"}),
        ):
            for worker in workers:
                await rig.until_inflight(worker, 1)
            value = (await rig.client.get(f"/snapshot?focus={workers[1].id}&events=1")).json()
            assert (value["url"], value["policy"]) == ("http://127.0.0.1:30000", "round_robin")
            [shown] = value["focus"]["requests"]
            assert (shown["worker_id"], shown["state"]) == (workers[1].id, "generating")
            assert value["focus"]["worker_id"] == workers[1].id
            assert [one["seq"] for one in value["events"]] == [value["last_event_seq"]]
            assert [one["load_share"] for one in value["workers"]] == [0.5, 0.5]


async def test_a_snapshot_without_events_and_of_a_worker_that_is_gone() -> None:
    async with open_router() as rig:
        rig.join(A)
        value = (await rig.client.get("/snapshot?focus=w0123456789ab&events=0")).json()
        assert (value["events"], value["last_event_seq"]) == ([], 2)
        assert value["focus"] == {"worker_id": "w0123456789ab", "requests": []}
        plain = (await rig.client.get("/snapshot")).json()
        assert (len(plain["events"]), plain["focus"]) == (2, None)


@pytest.mark.parametrize(
    "query",
    [
        "events=x",
        "events=-1",
        "events=",
        "events=10001",
        "events=" + "9" * 5000,
        "focus=",
        "focus=x",
    ],
)
async def test_a_snapshot_that_cannot_be_is_refused(query: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.get(f"/snapshot?{query}")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


@pytest.mark.loopback
async def test_the_latencies_of_a_worker_are_those_of_its_answers() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        worker = rig.join(sim.url)
        for _ in range(3):
            assert (await rig.client.post("/generate", SHORT)).status == 200
        shown = (await rig.client.get(f"/workers/{worker.id}")).json()
        assert len(worker.latencies) == shown["served"] == 3
        assert 0 < shown["latency_p50_s"] <= shown["latency_p99_s"] < 5


# -- /log -----------------------------------------------------------------------------------------


async def test_the_log_is_read_from_where_the_reader_was() -> None:
    ring = LogRing()
    log = make_log("json", "info", ring=ring)
    async with open_router(log=log, log_ring=ring) as rig:
        rig.join(A)
        value = (await rig.client.get("/log")).json()
        assert value["boot_id"] == rig.services.boot_id
        assert [line["seq"] for line in value["lines"]] == [1, 2]
        assert value["last_seq"] == (await rig.client.get("/snapshot")).json()["log_seq"] == 2
        assert value["lines"][1]["level"] == "info"
        assert value["lines"][1]["text"].startswith(f"worker_active message='{A} is active")
        assert [one["seq"] for one in (await rig.client.get("/log?since=1")).json()["lines"]] == [2]
        assert (await rig.client.get("/log?since=2")).json()["lines"] == []


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "9" * 5000])
async def test_a_line_is_named_by_its_number(since: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.get(f"/log?since={since}")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


# -- /events --------------------------------------------------------------------------------------


async def next_event(call: Call) -> Any:
    with trio.fail_after(5):
        lines = (await call.chunk()).decode().split("\n")
    fields = dict(line.split(": ", 1) for line in lines if line)
    value = json.loads(fields["data"])
    assert (fields["id"], fields["event"]) == (str(value["seq"]), value["kind"])
    return value


async def test_a_head_of_the_events_ends_without_a_body() -> None:
    async with open_router() as rig:
        listeners: list[Any] = rig.services.events._listeners
        before = list(listeners)
        answer = await rig.client.request("HEAD", "/events")
        assert (answer.status, answer.body, answer.is_complete) == (200, b"", True)
        assert str(answer.header("content-type")).startswith("text/event-stream")
        assert answer.header("content-length") is None  # as little as that of a GET is known
        assert listeners == before


@pytest.mark.loopback
async def test_the_connection_of_a_head_of_the_events_serves_on() -> None:
    async with open_router() as rig:
        port = await rig.listen()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with trio.fail_after(5):
                await stream.send_all(b"HEAD /events HTTP/1.1\r\nHost: r\r\n\r\n")
                received = await stream.receive_some()
                assert received.startswith(b"HTTP/1.1 200 ")
                assert received.endswith(b"\r\n\r\n")
                await stream.send_all(b"GET /livez HTTP/1.1\r\nHost: r\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_events_are_replayed_and_then_come_as_they_happen() -> None:
    async with open_router() as rig:
        worker = rig.add(A)
        async with rig.client.opened("GET", "/events") as call:
            answer = await call.start()
            assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
            assert answer.header("cache-control") == "no-cache"
            first = await next_event(call)
            assert (first["seq"], first["kind"], first["url"]) == (1, "worker_joining", A)
            rig.passes(worker)
            second = await next_event(call)
            assert (second["seq"], second["to_state"]) == (2, "active")
            assert not call.is_over.is_set()


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/events?since=2", {}),
        ("/events", {"Last-Event-ID": "2"}),
        ("/events?since=2", {"Last-Event-ID": "1"}),
    ],
)
async def test_events_are_taken_up_where_the_reader_was(
    target: str, headers: dict[str, str]
) -> None:
    async with open_router() as rig:
        rig.join(A)
        worker = rig.add(B)
        async with rig.client.opened("GET", target, None, headers) as call:
            assert (await next_event(call))["seq"] == 3
            rig.passes(worker)
            assert (await next_event(call))["seq"] == 4


async def test_a_reader_that_leaves_is_forgotten() -> None:
    async with open_router() as rig:
        rig.add(A)
        listeners: list[Any] = rig.services.events._listeners
        before = len(listeners)
        async with rig.client.opened("GET", "/events") as call:
            await next_event(call)
            assert len(listeners) == before + 1
        await until(lambda: len(listeners) == before)
        assert call.is_over.is_set()


async def test_a_stream_of_events_has_no_time_limit(autojump_clock: trio.testing.MockClock) -> None:
    """Quart by itself would end it after 60 s."""
    async with open_router(within_s=1000) as rig, rig.client.opened("GET", "/events") as call:
        for _ in range(20):
            assert (await call.chunk()).startswith(b":")
        assert trio.current_time() > 250
        rig.add(A)
        assert (await next_event(call))["kind"] == "worker_joining"


async def test_a_quiet_stream_shows_that_it_lives(autojump_clock: trio.testing.MockClock) -> None:
    async with open_router() as rig, rig.client.opened("GET", "/events") as call:
        assert (await call.chunk()).startswith(b":")
        assert trio.current_time() == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "%D9%A3", "9" * 5000])
async def test_since_is_a_number(since: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.get(f"/events?since={since}")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
