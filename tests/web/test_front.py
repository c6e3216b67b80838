from __future__ import annotations

import base64

import pytest
import trio

from tests.web.rig import ADMIN, SHORT, open_router, open_sims, until


@pytest.mark.loopback
@pytest.mark.parametrize(
    "target",
    ["/sim/echo?a=1&b=%20", "http://elsewhere/sim/echo?a=1&b=%20", "HTTPS://x/sim/echo?a=1&b=%20"],
)
async def test_path_and_query_arrive_as_they_came(target: str) -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        worker = rig.join(sim.url)
        answer = await rig.client.request("PUT", target, b"body \x00\xff")
        assert (answer.status, answer.header("x-miles-worker")) == (200, worker.id)
        seen = answer.json()
        assert (seen["method"], seen["target"]) == ("PUT", "/sim/echo?a=1&b=%20")
        assert base64.b64decode(seen["body"]) == b"body \x00\xff"


@pytest.mark.parametrize(
    "target",
    ["*", "elsewhere", "ftp://x/generate", "mailto:x", "/x?a#b", "/pause_generation%0a", "/%00"],
)
async def test_a_target_that_is_no_path_is_refused(target: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.request("OPTIONS", target)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


@pytest.mark.loopback
async def test_the_callers_key_stays_here_and_the_worker_gets_its_own() -> None:
    async with open_sims(1) as [sim], open_router(api_keys=("red=key-of-red-1",)) as rig:
        rig.join(sim.url, api_key="worker-key")
        answer = await rig.as_caller("key-of-red-1").post("/sim/echo", {})
        headers = dict(answer.json()["headers"])
        assert headers["authorization"] == "Bearer worker-key"


@pytest.mark.loopback
async def test_trace_headers_arrive_at_the_worker() -> None:
    """Names and meaning: W3C Trace Context and Baggage."""
    trace = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1,b=2",
        "baggage": "x=y",
    }
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url)
        seen = (await rig.client.post("/sim/echo", {}, **trace)).json()
        assert trace.items() <= dict(seen["headers"]).items()


async def test_a_router_that_stops_takes_nothing_new() -> None:
    async with open_router(queue_timeout_s=0) as rig:
        rig.services.is_stopping = True
        answer = await rig.client.post("/generate", SHORT)
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")
        assert answer.header("retry-after") == "5"
        assert (await rig.client.get("/readyz")).status == 503
        assert (await rig.client.get("/livez")).status == 200


async def test_calls_to_the_router_are_counted_while_they_run() -> None:
    async with open_router() as rig:
        services = rig.services
        rig.add("http://127.0.0.1:9")
        async with trio.open_nursery() as nursery:
            body = {"url": "http://127.0.0.1:9"}
            nursery.start_soon(rig.client.post, "/workers?wait=20", body)
            await until(lambda: services.own_calls == 1)
            assert (await rig.client.get("/livez")).status == 200
            assert (await rig.client.post("/pause_generation?worker=nobody", {})).status == 404
            assert (await rig.client.post("/workers", {})).status == 400
            assert services.own_calls == 1
            nursery.cancel_scope.cancel()
        assert services.own_calls == 0


async def test_no_worker_is_503_with_the_state_of_the_pool() -> None:
    async with open_router(queue_timeout_s=0) as rig:
        rig.add("http://127.0.0.1:1")
        answer = await rig.client.post("/generate", SHORT)
        assert (answer.status, answer.error["code"]) == (503, "no_available_worker")
        assert answer.error["states"] == {"joining": 1}
        assert answer.header("retry-after") == "10"
        assert rig.services.metrics.errors["no_available_worker"] == 1


async def test_a_full_queue_is_429() -> None:
    async with open_router(queue_size=0) as rig:
        answer = await rig.client.post("/generate", SHORT)
        assert (answer.status, answer.error["code"]) == (429, "queue_full")
        assert answer.header("retry-after") == "1"


async def test_a_body_beyond_the_limit_is_413() -> None:
    async with open_router(max_body_bytes=10) as rig:
        for body in (b"x" * 11, [b"x" * 6, b"x" * 6]):
            answer = await rig.client.post("/generate", body)
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert len(rig.services.inflight) == 0


@pytest.mark.loopback
@pytest.mark.parametrize(
    "path", ["/add_workers", "/snapshots", "/list_workers/x", "/healthz", "/", "/v1/loads"]
)
async def test_every_other_path_is_the_workers(path: str) -> None:
    async with open_sims(1) as [sim], open_router(admin_token=ADMIN) as rig:
        worker = rig.join(sim.url)
        assert (await rig.client.get(path)).header("x-miles-worker") == worker.id
