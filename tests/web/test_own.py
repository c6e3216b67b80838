"""What every route of the router's own does with requests that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from quart import request

from miles_router.web.compat import MAX_OBJECT_BYTES
from miles_router.web.own import make_quart
from tests.web.asgi_client import AsgiClient
from tests.web.rig import open_router

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from miles_router.web.replies import App

WRONG_METHODS = [
    ("GET", "/add_worker", "POST"),
    ("DELETE", "/list_workers", "GET, HEAD"),
    ("PUT", "/workers", "GET, HEAD, POST"),
    ("POST", "/workers/w1", "DELETE, GET, HEAD"),
    ("GET", "/abort_request", "POST"),
    ("PUT", "/flush_cache", "GET, HEAD, POST"),
    ("POST", "/livez", "GET, HEAD"),
    ("OPTIONS", "/snapshot", "GET, HEAD"),
    ("PATCH", "/finish_session", "POST"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHODS)
async def test_another_method_is_405_with_those_that_would_do(
    method: str, path: str, allowed: str
) -> None:
    async with open_router() as rig:
        answer = await rig.client.request(method, path)
        assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
        assert answer.header("allow") == allowed


async def test_an_own_path_without_a_route_is_404_in_json() -> None:
    async with open_router() as rig:
        answer = await rig.client.request("GET", "/workers/", None)
        assert answer.status == 200  # a trailing slash is no other route
        answer = await rig.client.get("/workers/a/b/c")
        assert (answer.status, answer.error["code"]) == (404, "worker_not_found")


JSON_ROUTES = ["/add_worker", "/remove_worker", "/workers", "/abort_request", "/finish_session"]


@pytest.mark.parametrize("route", JSON_ROUTES)
@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b'"x"', b"null", b"\xff", b"{}x", b"nan"])
async def test_a_body_that_is_no_object_is_400(route: str, body: bytes) -> None:
    async with open_router() as rig:
        answer = await rig.client.post(route, body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert "JSON object" in answer.error["message"]


@pytest.mark.parametrize("route", JSON_ROUTES)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_huge_body_is_413(route: str, in_pieces: bool) -> None:
    body: Any = b" " * (MAX_OBJECT_BYTES + 1)
    if in_pieces:
        body = [b" " * 65536] * (MAX_OBJECT_BYTES // 65536 + 1)
    async with open_router() as rig:
        answer = await rig.client.post(route, body)
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/livez", "/health", "/list_workers", "/metrics", "/snapshot"])
async def test_head_is_answered_as_get_is(path: str) -> None:
    async with open_router() as rig:
        got = await rig.client.get(path)
        headed = await rig.client.request("HEAD", path)
        assert headed.status == got.status  # the server leaves the body out
        assert headed.header("content-type") == got.header("content-type")


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_route_may_take_a_text_beyond_the_16_mib_of_quart(in_pieces: bool) -> None:
    body = [b"x" * 2**20] * 60
    async with open_router() as rig:
        app = make_quart(rig.services)

        @app.post("/length")
        async def length() -> str:
            return str(len(await request.get_data()))

        client = AsgiClient(cast("App", app))
        answer = await client.post("/length", body if in_pieces else b"".join(body))
    assert (answer.status, answer.body) == (200, b"%d" % (60 * 2**20))


async def test_an_answer_is_not_cut_because_its_reader_is_slow(autojump_clock: Clock) -> None:
    """Quart by itself would drop what is left of an answer after 60 s, without a word."""
    async with open_router(within_s=1000) as rig:
        call = rig.client._call("GET", "/snapshot", None, {})

        async def send_slowly(message: dict[str, Any]) -> None:
            await trio.sleep(70)
            await call.send(message)

        await rig.app(call.scope, call.receive, send_slowly)
        assert trio.current_time() > 100
        assert call.answer.is_complete
        assert call.answer.json()["workers"] == []


async def test_a_body_that_never_ends_is_not_waited_for(autojump_clock: Clock) -> None:
    async with open_router(within_s=1000) as rig:
        call = rig.client._call("POST", "/abort_request", [b"{"], {})

        async def receive_without_end() -> dict[str, Any]:
            message = await call.receive()
            return {**message, "more_body": True}

        await rig.app(call.scope, receive_without_end, call.send)
        assert (call.answer.status, call.answer.error["code"]) == (408, "bad_request")
        assert trio.current_time() == pytest.approx(60, abs=1)


@pytest.mark.loopback
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("path", ["/livez", "/list_workers", "/workers/nobody", "/metrics"])
async def test_a_connection_that_is_to_be_closed_is_closed(path: str, version: str) -> None:
    async with open_router() as rig:
        port = await rig.listen()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = f"GET {path} HTTP/{version}\r\nHost: r\r\nConnection: close\r\n\r\n"
            await stream.send_all(head.encode())
            received = b""
            with trio.fail_after(5):
                async for piece in stream:
                    received += piece
            assert received.startswith(b"HTTP/1.1 ")
            assert b"\r\n\r\n" in received


@pytest.mark.loopback
async def test_a_connection_serves_one_own_route_after_another() -> None:
    async with open_router() as rig:
        port = await rig.listen()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            for path in ("/livez", "/list_workers", "/workers/nobody", "/livez"):
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
                received = b""
                with trio.fail_after(5):
                    while not received.endswith(b"}"):
                        received += await stream.receive_some()
