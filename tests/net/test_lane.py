"""What the lane serves by itself, what it hands over, and how its connections end."""

from __future__ import annotations

import functools
import gc
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
import trio.testing

from miles_router.core.metrics import Metrics
from miles_router.net import gated_server, hypercorn_parts
from miles_router.net.departures import LEFT_KEY
from miles_router.net.ingress import Ingress
from miles_router.net.lane_call import FOLLOWED_KEY, OutOfTurn
from tests.doubles.memory_net import MemoryStream, memory_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock as Clock

    from miles_router.net.ingress import App

POST = b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
OWN = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
END = {"type": "http.response.body", "body": b"done"}


def make(app: App, *, is_loaded: bool = True) -> Ingress:
    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
    made = Ingress(app, metrics=Metrics(), log=log)
    if is_loaded:  # without a thread: clocks of tests do not wait for one
        made.hypercorn.load()
    return made


@asynccontextmanager
async def connected(app: App) -> AsyncIterator[MemoryStream]:
    near, far = memory_connection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make(app).serve_connection, far)  # type: ignore[arg-type]  # in memory
        yield near
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(app: App) -> AsyncIterator[trio.SocketStream]:
    """A client of an ingress on a real port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(functools.partial(make(app).run, listeners))
        stream = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
        yield stream
        stream.socket.close()
        nursery.cancel_scope.cancel()


async def read_answer(stream: Any) -> bytes:
    data = b""
    with trio.fail_after(20):
        while not data.endswith(b"done"):
            piece = await stream.receive_some(65_536)
            assert piece, data
            data += piece
    return data


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive())["more_body"]:
        pass
    await send(START)
    await send(END)


async def test_hypercorn_is_asked_only_for_what_is_not_plain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handled = 0

    class Counted(gated_server.GatedServer):
        def __init__(self, *parts: Any) -> None:
            nonlocal handled
            handled += 1
            super().__init__(*parts)

    monkeypatch.setattr(gated_server, "GatedServer", Counted)
    async with connected(answer) as client:
        for _ in range(3):
            await client.send_all(POST)
            await read_answer(client)
        assert handled == 0
        for request in (OWN, POST, OWN, POST, POST, OWN):  # it may go to and fro from here on
            await client.send_all(request)
            await read_answer(client)
        assert handled == 1


async def test_hypercorn_is_loaded_by_the_first_connection_that_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_go_on = threading.Event()
    parts: list[Ingress] = []

    class Slow(hypercorn_parts.HypercornParts):
        def __init__(self, app: App, terminated: trio.Event) -> None:
            assert may_go_on.wait(20)
            parts.append(door)
            super().__init__(app, terminated)

    monkeypatch.setattr(hypercorn_parts, "HypercornParts", Slow)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            door = make(answer, is_loaded=False)
            clients = []
            for _ in range(3):
                near, far = memory_connection()
                nursery.start_soon(door.serve_connection, far)  # type: ignore[arg-type]  # in memory
                await near.send_all(POST)
                await read_answer(near)
                clients.append(near)
            assert not door.hypercorn.is_loaded.is_set()
            for client in clients[:2]:
                await client.send_all(OWN)
            await trio.testing.wait_all_tasks_blocked()
            assert door.busy == 3, "who waits for Hypercorn is among those that the end waits for"
            await clients[2].send_all(POST)
            await read_answer(clients[2])
            assert parts == []
            may_go_on.set()
            for client in clients[:2]:
                await read_answer(client)
            assert parts == [door]
            nursery.cancel_scope.cancel()


@pytest.mark.loopback
async def test_who_waits_for_hypercorn_is_served_before_connections_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_go_on = threading.Event()

    class Slow(hypercorn_parts.HypercornParts):
        def __init__(self, app: App, terminated: trio.Event) -> None:
            assert may_go_on.wait(20)
            super().__init__(app, terminated)

    monkeypatch.setattr(hypercorn_parts, "HypercornParts", Slow)
    door = make(answer, is_loaded=False)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(door.run, listeners)
            client = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
            await client.send_all(OWN)
            while not door.unserved:  # noqa: ASYNC110  it tells nobody
                await trio.sleep(0.002)
            nursery.start_soon(door.stop_accepting)
            await trio.sleep(0.02)
            may_go_on.set()
            await read_answer(client)
            assert await client.receive_some(1) == b""
            assert not door.unserved
            client.socket.close()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_followed", [True, False])
async def test_a_head_leaves_with_what_follows_it_or_at_once(
    is_followed: bool, autojump_clock: Clock
) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**START, FOLLOWED_KEY: True} if is_followed else START)
        await trio.sleep(10)
        await send(END)

    async with connected(app) as client:
        await client.send_all(POST)
        await trio.sleep(1)
        assert client.is_readable() is not is_followed
        await read_answer(client)


async def test_an_app_that_waits_on_learns_of_the_end_of_the_answer(autojump_clock: Clock) -> None:
    told: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                told.append((await receive())["type"])

            await receive()
            nursery.start_soon(wait)
            await trio.sleep(1)
            await send(START)
            await send(END)
        assert not scope[LEFT_KEY].is_set()
        told.append((await receive())["type"])

    async with connected(app) as client:
        for number in range(1, 3):
            await client.send_all(POST)
            await trio.sleep(0.5)
            await client.send_all(POST)  # early: it must not be lost
            await read_answer(client)
            await read_answer(client)
            await trio.sleep(1)
            assert told == ["http.disconnect"] * 4 * number


@pytest.mark.loopback
async def test_a_client_that_leaves_is_told_at_once_though_nobody_reads() -> None:
    told_after_s: list[float] = []
    is_served, is_told = trio.Event(), trio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        left_at = trio.current_time()
        is_served.set()
        await scope[LEFT_KEY].wait()
        told_after_s.append(trio.current_time() - left_at)
        is_told.set()

    with trio.fail_after(10):
        async with listening(app) as client:
            await client.send_all(POST)
            await is_served.wait()
            await client.send_all(b"GET /behind HTTP/1.1\r\n")
            await client.aclose()
            await is_told.wait()
    assert told_after_s[0] < 0.9, "no sweep was waited for"


@pytest.mark.parametrize(
    "messages", [[END], [START, START], [START, END, END], [START, {"type": "http.response.push"}]]
)
async def test_messages_out_of_turn_are_refused(messages: list[dict[str, Any]]) -> None:
    refused: list[Exception] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages[:-1]:
            await send(message)
        with pytest.raises(OutOfTurn) as caught:
            await send(messages[-1])
        refused.append(caught.value)

    async with connected(app) as client:
        await client.send_all(POST)
        await trio.testing.wait_all_tasks_blocked()
        assert len(refused) == 1


async def test_a_body_is_read_no_further_than_to_its_end() -> None:
    seen: list[bytes] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            seen.append(message["body"])
            more = message["more_body"]
        await send(START)
        await send(END)

    async with connected(app) as client:
        await client.send_all(POST[:-4])
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"el")
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"lo" + POST)
        await read_answer(client)
        await read_answer(client)
    assert [b"".join(seen[:3]), *seen[3:]] == [b"hello", b"hello"]


@pytest.mark.loopback
async def test_requests_leave_nothing_for_the_garbage_collector() -> None:
    async with listening(answer) as client:
        for _ in range(10):
            await client.send_all(POST)
            await read_answer(client)
        gc.collect()
        gc.disable()
        try:
            for _ in range(200):
                await client.send_all(POST)
                await read_answer(client)
            assert gc.collect() < 50
        finally:
            gc.enable()
