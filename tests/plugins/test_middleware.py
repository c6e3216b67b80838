"""Middleware around a whole router, on real connections where the end of an answer matters."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from miles_router.sim import SimSettings
from tests.plugins.samples import ScopeRecorder
from tests.web.rig import LONG, SHORT, SLOW, Rig, open_router, open_sims, until

S = "tests.plugins.samples"
STREAM = {**SHORT, "stream": True}
TRANSPARENT = [(), (f"{S}:Plain",), (f"{S}:WithRouter",), (f"{S}:Plain", f"{S}.Second")]


async def raw(rig: Rig, data: bytes) -> bytes:
    """Everything the router's listener sends until it closes the connection."""
    port = await rig.listen()
    received = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        with trio.fail_after(10):
            try:
                async for piece in stream:
                    received += piece
            except trio.BrokenResourceError:  # reset: as good as an end
                pass
    return received


def post(path: str, body: Any, version: str = "1.1") -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/{version}\r\nHost: r\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def is_whole(answer: bytes) -> bool:
    """Whether an HTTP/1.1 client would take `answer` for a complete one."""
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) == int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return True


# -- passing through ------------------------------------------------------------------------------


@pytest.mark.loopback
@pytest.mark.parametrize("middleware", TRANSPARENT)
async def test_an_answer_passes_unchanged(middleware: tuple[str, ...]) -> None:
    async with open_sims(1) as [sim], open_router(middleware=middleware) as rig:
        rig.join(sim.url)
        plain = await rig.client.post("/generate", SHORT)
        assert (plain.status, plain.is_complete) == (200, True)
        assert plain.json()["meta_info"]["completion_tokens"] == 3
        assert plain.header("x-miles-worker") == rig.services.pool.find(sim.url).id
        stream = await rig.client.post("/generate", STREAM)
        assert stream.is_complete
        assert stream.body.count(b"data: ") == 4
        assert stream.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.loopback
async def test_the_first_named_is_outermost() -> None:
    async with (
        open_sims(1) as [sim],
        open_router(middleware=(f"{S}:Plain", f"{S}:Second")) as rig,
    ):
        rig.join(sim.url)
        answer = await rig.client.post("/sim/echo", {})
        assert dict(answer.json()["headers"])["x-trail"] == "plain,second"
        assert answer.header("x-seen") == "second,plain"


@pytest.mark.loopback
async def test_a_middleware_is_given_the_router() -> None:
    async with open_sims(1) as [sim], open_router(middleware=(f"{S}:WithRouter",)) as rig:
        worker = rig.join(sim.url)
        answer = await rig.client.post("/generate", SHORT)
        assert answer.header("x-workers") == sim.url
        assert worker.weight_version == "seen-by-middleware"


@pytest.mark.loopback
async def test_a_middleware_may_read_the_body_before_the_router_does() -> None:
    async with open_sims(1) as [sim], open_router(middleware=(f"{S}:BodyReader",)) as rig:
        rig.join(sim.url)
        body = json.dumps(SHORT).encode()
        answer = await rig.client.post("/generate", [body[:5], body[5:]])
        assert (answer.status, answer.is_complete) == (200, True)
        assert answer.header("x-body-bytes") == str(len(body))
        assert answer.json()["meta_info"]["completion_tokens"] == 3


@pytest.mark.loopback
async def test_a_middleware_may_answer_with_another_body() -> None:
    async with open_sims(1) as [sim], open_router(middleware=(f"{S}:Shouting",)) as rig:
        rig.join(sim.url)
        answer = await rig.client.post("/generate", SHORT)
        assert (answer.status, answer.is_complete) == (200, True)
        assert b'"META_INFO"' in answer.body
        assert answer.header("content-length") == str(len(answer.body))


async def test_a_middleware_may_answer_by_itself() -> None:
    async with open_router(middleware=(f"{S}:AnswersItself",)) as rig:
        answer = await rig.client.get("/mine", **{"X-Request-Id": "id-1"})
        assert (answer.status, answer.json()) == (418, {"by": "middleware"})
        assert answer.header("x-request-id") == "id-1"
        assert (await rig.client.get("/livez")).status == 200
        assert rig.services.metrics.requests["other", 418] == 1


@pytest.mark.loopback
@pytest.mark.parametrize("middleware", TRANSPARENT)
async def test_a_stream_passes_piece_by_piece(middleware: tuple[str, ...]) -> None:
    async with open_sims(1, SLOW) as [sim], open_router(middleware=middleware) as rig:
        worker = rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", {**LONG, "stream": True}) as call:
            assert (await call.chunk()).startswith(b"data: ")
            assert (await call.chunk()).startswith(b"data: ")
            assert not call.is_over.is_set()
        assert worker.inflight == 0


@pytest.mark.loopback
@pytest.mark.parametrize("middleware", TRANSPARENT)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_client_that_leaves_ends_its_request(
    middleware: tuple[str, ...], is_stream: bool
) -> None:
    body = {**LONG, "stream": is_stream, "rid": "gone"}
    async with open_sims(1, SLOW) as [sim], open_router(middleware=middleware) as rig:
        worker = rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", body):
            await until(lambda: sim.worker.engine.running)
        await until(lambda: not sim.worker.engine.running)
        assert worker.inflight == 0
        assert not [e for e in rig.services.events.since(0) if e.kind == "middleware_failed"]


@pytest.mark.loopback
async def test_an_answer_that_a_middleware_abandons_is_not_generated_to_the_end() -> None:
    async with open_sims(1, SLOW) as [sim], open_router(middleware=(f"{S}:Careless",)) as rig:
        worker = rig.join(sim.url)
        answer = await rig.client.post("/generate", {**LONG, "stream": True})
        assert (answer.status, answer.json()) == (200, {"by": "careless"})
        assert answer.is_complete
        assert worker.inflight == 0
        await until(lambda: not sim.worker.engine.running)


@pytest.mark.parametrize("target", ["/generate", "/list_workers", "/events?since=x", "/workers/no"])
async def test_the_routers_errors_are_answers_to_a_middleware(target: str) -> None:
    async with open_router(middleware=(f"{S}:Plain",), queue_timeout_s=0) as rig:
        method = "POST" if target == "/generate" else "GET"
        answer = await rig.client.request(method, target, SHORT if method == "POST" else None)
        expected = {"/generate": 503, "/list_workers": 200, "/workers/no": 404}.get(target, 400)
        assert answer.status == expected
        assert (answer.header("x-seen"), answer.header("x-status-seen")) == ("plain", str(expected))
        assert not [e for e in rig.services.events.since(0) if e.kind == "middleware_failed"]


async def test_a_refused_caller_does_not_get_as_far_as_a_middleware() -> None:
    async with open_router(
        middleware=(f"{S}:RaisesBefore",), api_keys=("a=key-of-a-12345",)
    ) as rig:
        assert (await rig.client.post("/generate", SHORT)).status == 401


# -- failing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RaisesBefore", "RaisesInNursery"])
async def test_a_middleware_that_raises_is_500_and_an_event(name: str) -> None:
    async with open_router(middleware=(f"{S}:{name}",)) as rig:
        answer = await rig.client.post("/generate", SHORT, **{"X-Request-Id": "id-1"})
        assert (answer.status, answer.error["code"]) == (500, "middleware_failed")
        assert "LookupError" in answer.error["message"]
        assert "id-1" in answer.error["message"]
        assert b"nobody may read" not in answer.body
        assert answer.header("x-request-id") == "id-1"
        [event] = [e for e in rig.services.events.since(0) if e.kind == "middleware_failed"]
        assert event.reason == "LookupError"
        assert "nobody may read" not in event.message
        assert rig.services.metrics.errors["middleware_failed"] == 1


async def test_a_middleware_that_exits_fails_its_request_alone() -> None:
    async with open_router(middleware=(f"{S}:Exits",)) as rig:
        for _ in range(2):
            answer = await rig.client.post("/generate", SHORT)
            assert (answer.status, answer.error["code"]) == (500, "middleware_failed")


async def test_a_middleware_cannot_lift_a_request_to_other_rights() -> None:
    async with open_router(middleware=(f"{S}:Rewrites",)) as rig:
        for target in ("/pause_generation", "/snapshot"):
            answer = await rig.client.post("/v1/completions", SHORT, **{"x-path": target})
            assert (answer.status, answer.error["code"]) == (403, "forbidden")


@pytest.mark.loopback
async def test_a_middleware_that_raises_in_mid_answer_cuts_it() -> None:
    async with open_sims(1) as [sim], open_router(middleware=(f"{S}:RaisesAfterStart",)) as rig:
        worker = rig.join(sim.url)
        for body in (SHORT, STREAM):
            answer = await rig.client.post("/generate", body)
            assert (answer.status, answer.is_complete) == (200, False)
        assert worker.inflight == 0
        assert worker.state.value == "active"  # not the worker's fault
        kinds = [e.kind for e in rig.services.events.since(0)]
        assert kinds.count("middleware_failed") == 2
        assert rig.services.metrics.cut_answers["generate"] == 2
        received = await raw(rig, post("/generate", STREAM))
        assert received.startswith(b"HTTP/1.1 200")
        assert not is_whole(received)


CUTTING = [*TRANSPARENT, (f"{S}:Swallows",), (f"{S}:Plain", f"{S}:Swallows")]


@pytest.mark.loopback
@pytest.mark.parametrize("middleware", CUTTING)
@pytest.mark.parametrize("fault", ["truncate", "truncate_chunked"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_truncated_answer_never_looks_complete(
    middleware: tuple[str, ...], fault: str, is_stream: bool
) -> None:
    settings = SimSettings(fault=(f"{fault}:count=all",))
    async with open_sims(1, settings) as [sim], open_router(middleware=middleware) as rig:
        worker = rig.join(sim.url)
        answer = await rig.client.post("/generate", STREAM if is_stream else SHORT)
        assert not answer.is_complete
        assert rig.services.metrics.cut_answers["generate"] == 1
        kinds = [e.kind for e in rig.services.events.since(0)]
        assert "middleware_failed" not in kinds  # it is the worker's failure
        assert worker.errors == 1
        for version in ("1.1", "1.0"):
            received = await raw(rig, post("/generate", SHORT, version))
            assert not is_whole(received) or b"content-length" not in received.lower()


@pytest.mark.loopback
async def test_a_middleware_may_say_itself_that_an_answer_broke_off() -> None:
    settings = SimSettings(fault=("truncate:count=all",))
    async with open_sims(1, settings) as [sim], open_router(middleware=(f"{S}:Repairs",)) as rig:
        rig.join(sim.url)
        answer = await rig.client.post("/generate", SHORT)
        assert (answer.status, answer.is_complete) == (502, True)
        assert answer.json() == {"by": "middleware"}


@pytest.mark.loopback
async def test_an_answer_that_broke_off_before_anything_was_sent_is_an_error() -> None:
    """A middleware that reads the whole answer first would pass the part for the whole."""
    settings = SimSettings(fault=("truncate:count=all",))
    async with open_sims(1, settings) as [sim], open_router(middleware=(f"{S}:Shouting",)) as rig:
        rig.join(sim.url)
        answer = await rig.client.post("/generate", SHORT)
        assert (answer.status, answer.error["code"]) == (502, "worker_failed")
        assert answer.is_complete


@pytest.mark.loopback
async def test_a_middleware_that_asks_again_may_pass_on_the_good_answer() -> None:
    settings = SimSettings(fault=("truncate:path=/sim/echo",))
    async with open_sims(1, settings) as [sim], open_router(middleware=(f"{S}:AsksAgain",)) as rig:
        rig.join(sim.url)
        answer = await rig.client.get("/sim/echo")
        assert (answer.status, answer.is_complete) == (200, True)
        assert answer.json()["target"] == "/sim/echo"
        assert sim.worker.stats.faults["truncate"] == 1


# -- lifespan -------------------------------------------------------------------------------------


async def test_start_and_stop_of_a_server_do_not_pass_through_middleware() -> None:
    ScopeRecorder.seen.clear()
    told = iter(("lifespan.startup", "lifespan.shutdown"))
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {"type": next(told)}

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message["type"])

    async with open_router(middleware=(f"{S}:ScopeRecorder",)) as rig:
        await rig.app({"type": "lifespan"}, receive, send)
        assert (ScopeRecorder.seen, next(told, None)) == ([], None)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        await rig.client.get("/livez")
        assert ScopeRecorder.seen == ["http"]
