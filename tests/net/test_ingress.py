"""Hypercorn behind the gate, on connections in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
import trio.testing

from miles_router.core.metrics import Metrics
from tests.doubles.memory_net import MemoryStream, memory_connection
from tests.doubles.servers import make_ingress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock as Clock

    from miles_router.net.ingress import App

pytestmark = pytest.mark.usefixtures("server")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


class Door:
    """An ingress and what came out of it."""

    def __init__(self, app: App, nursery: trio.Nursery) -> None:
        self.logged: list[str] = []
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[self._note])
        self.ingress = make_ingress(app, metrics=Metrics(), log=log)
        self._nursery = nursery
        nursery.start_soon(self.ingress.watch)

    def _note(self, _log: object, _name: str, event: Any) -> str:
        self.logged.append(event["event"])
        return ""

    def connect(self, capacity_bytes: int = 65_536) -> MemoryStream:
        near, far = memory_connection(capacity_bytes)
        self._nursery.start_soon(self.ingress.serve_connection, far)  # type: ignore[arg-type]  # in memory
        return near


@asynccontextmanager
async def open_door(app: App) -> AsyncIterator[Door]:
    async with trio.open_nursery() as nursery:
        yield Door(app, nursery)
        nursery.cancel_scope.cancel()


async def read_all(stream: MemoryStream) -> bytes:
    data = b""
    with trio.fail_after(1000):
        while piece := await stream.receive_some():
            data += piece
    return data


async def read_answer(stream: MemoryStream, ending: bytes = b"done") -> bytes:
    data = b""
    with trio.fail_after(1000):
        while not data.endswith(ending):
            piece = await stream.receive_some()
            assert piece, data
            data += piece
    return data


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def echo(scope: Any, receive: Any, send: Any, *_: object) -> None:
    body = await read_body(receive) + b"done"
    length = (b"content-length", b"%d" % len(body))
    await send({**START, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def never(_scope: Any, _receive: Any, _send: Any, *_: object) -> None:
    raise AssertionError("the app must not be called")


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        GET + b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_refused_bytes_reach_no_app(data: bytes, autojump_clock: Clock) -> None:
    async with open_door(never) as door:
        client = door.connect()
        await client.send_all(data)
        answer = await read_all(client)
        client.shut()
        await trio.sleep(1)
        assert door.ingress.busy == 0
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in head
    assert b"application/json" in head
    assert body.startswith(b'{"error":{"code":"bad_request"')
    assert door.ingress.metrics.refused_connections == {"bad_request": 1}


async def test_an_upgrade_is_answered_501(autojump_clock: Clock) -> None:
    async with open_door(never) as door:
        client = door.connect()
        await client.send_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert b"501 Not Implemented" in await read_all(client)


async def test_a_refused_client_that_stays_is_dropped_soon(autojump_clock: Clock) -> None:
    async with open_door(never) as door:
        client = door.connect()
        await client.send_all(b"nonsense\r\n\r\n")
        await trio.sleep(10)
        assert door.ingress.busy == 0


async def test_a_connection_serves_many_requests(autojump_clock: Clock) -> None:
    async with open_door(echo) as door:
        client = door.connect()
        for _ in range(3):
            await client.send_all(GET)
            assert (await read_answer(client)).startswith(b"HTTP/1.1 200")
            await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            assert (await read_answer(client)).endswith(b"\r\n\r\nabcdone")
            await client.send_all(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nxyz\r\n0\r\n\r\n"
            )
            assert (await read_answer(client)).endswith(b"\r\n\r\nxyzdone")
        assert door.ingress.busy == 1
        client.shut()
        await trio.sleep(1)
        assert door.ingress.busy == 0


async def test_garbage_in_a_body_ends_the_request(autojump_clock: Clock) -> None:
    seen: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any, *_: object) -> None:
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    async with open_door(app) as door:
        client = door.connect()
        await client.send_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        await trio.sleep(1)
        await client.send_all(b"zz\r\n")
        assert b"400 Bad Request" in await read_all(client)
        client.shut()
        await trio.sleep(3)
        assert seen[-1] == "http.disconnect"
        assert door.ingress.busy == 0


async def return_midway(_scope: Any, _receive: Any, send: Any, *_: object) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def raise_midway(scope: Any, receive: Any, send: Any, *_: object) -> None:
    await return_midway(scope, receive, send)
    raise RuntimeError("a mistake")


@pytest.mark.parametrize("app", [return_midway, raise_midway])
async def test_an_unfinished_answer_is_cut(app: Any, autojump_clock: Clock) -> None:
    async with open_door(app) as door:
        client = door.connect()
        await client.send_all(GET)
        answer = await read_all(client)
    assert answer.endswith(b"\r\n4\r\nhalf\r\n")


async def test_an_unfinished_answer_to_http_1_0_is_reset(autojump_clock: Clock) -> None:
    async with open_door(return_midway) as door:
        client = door.connect()
        await client.send_all(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await read_all(client)


async def test_a_finished_answer_to_http_1_0_ends_well(autojump_clock: Clock) -> None:
    async with open_door(echo) as door:
        client = door.connect()
        await client.send_all(b"GET / HTTP/1.0\r\n\r\n")
        assert (await read_all(client)).endswith(b"done")


async def test_one_broken_connection_leaves_the_others_alone(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_door(echo) as door:
        good, bad = door.connect(), door.connect()
        await trio.testing.wait_all_tasks_blocked()
        broken = next(iter(door.ingress.connections))
        gate = getattr(broken, "gate", None) or getattr(broken, "_gate")  # noqa: B009  private
        for reading in ("check", "read_head"):
            monkeypatch.setattr(gate, reading, None)  # what nobody foresaw
        for client in (good, bad):
            await client.send_all(GET)
        await trio.sleep(1)
        assert door.logged == ["connection_failed"]
        assert door.ingress.busy == 1


async def flood(_scope: Any, receive: Any, send: Any, *_: object) -> None:
    """Send without an end, until the client leaves."""
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})


async def test_a_stalled_client_is_ended_by_a_reset(autojump_clock: Clock) -> None:
    async with open_door(flood) as door:
        client = door.connect()
        await client.send_all(GET)
        await trio.sleep(5)
        assert door.ingress.busy == 1
        door.ingress.reset_all()
        door.ingress.reset_all()
        await trio.sleep(1)
        assert door.ingress.busy == 0
        assert client.is_readable()


async def test_an_app_that_gives_up_on_a_stalled_client_ends_the_connection(
    autojump_clock: Clock,
) -> None:
    gave_up = trio.Event()

    async def app(scope: Any, receive: Any, send: Any, *_: object) -> None:
        with trio.move_on_after(3):
            await flood(scope, receive, send)
        gave_up.set()

    async with open_door(app) as door:
        client = door.connect()
        await client.send_all(GET)
        await trio.sleep(10)
        assert gave_up.is_set()
        assert door.ingress.busy == 0


async def test_a_large_upload_is_answered_early(autojump_clock: Clock) -> None:
    async def refuse(_scope: Any, receive: Any, send: Any, *_: object) -> None:
        await receive()
        await send({**START, "status": 413, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    async with open_door(refuse) as door:
        client = door.connect()
        async with trio.open_nursery() as nursery:

            async def upload() -> None:
                with suppress(trio.BrokenResourceError):
                    while True:
                        await client.send_all(b"x" * 65_536)
                        await trio.sleep(0.1)

            await client.send_all(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"
            )
            nursery.start_soon(upload)
            assert b"413" in await read_answer(client)
        await trio.sleep(5)
        assert door.ingress.busy == 0


async def answer_at_once(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({**START, "status": 401})
        await send({"type": "http.response.body", "body": b"done"})


async def test_an_answer_ahead_of_the_body_says_that_the_connection_ends() -> None:
    async with open_door(answer_at_once) as door:
        client = door.connect()
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        answer = await read_all(client)
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert b"done" in answer


async def test_an_answer_behind_the_body_keeps_the_connection() -> None:
    async with open_door(answer_at_once) as door:
        client = door.connect()
        for _ in range(2):
            request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
            await client.send_all(request)
            answer = await read_answer(client, b"0\r\n\r\n")
            assert b"connection: close" not in answer.lower()


@pytest.mark.parametrize("behind", [b"\r\n", b"\x00garbage"])
async def test_bad_bytes_behind_a_request_wait_for_its_answer(
    behind: bytes, autojump_clock: Clock
) -> None:
    async def answer_later(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            await trio.sleep(100)
            await send({**START, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"done"})

    async with open_door(answer_later) as door:
        client = door.connect()
        await client.send_all(GET)
        await trio.sleep(1)
        await client.send_all(behind)
        answer = await read_all(client)
        first, _, second = answer.partition(b"done")
        assert first.startswith(b"HTTP/1.1 200")
        assert second.startswith(b"HTTP/1.1 400")
