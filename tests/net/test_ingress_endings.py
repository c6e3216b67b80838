"""How connections of clients end: by silence, by leaving, by a cut, by the end of the listener."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import structlog.testing
import trio

from miles_router.core.metrics import Metrics
from miles_router.net.server_config import BODY_PAUSE_S, KEEP_ALIVE_S
from tests.doubles.memory_net import MemoryStream, memory_connection
from tests.doubles.servers import make_ingress
from tests.sim.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("server")

GET = b"GET /a HTTP/1.1\r\nHost: r\r\n\r\n"
SMUGGLING = (
    b"POST /a HTTP/1.1\r\nHost: r\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n"
)


class App:
    """Does what the path says."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.was_left = False
        self.is_waiting = trio.Event()
        self.may_go_on = trio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        self.seen.append(path)
        message = await receive()
        while path == "/all" and message.get("more_body"):
            message = await receive()
        if path == "/fail":
            raise LookupError("a mistake of the app")
        if path == "/wait":
            self.is_waiting.set()
            await self.may_go_on.wait()
        if path == "/until-left":
            self.was_left = (await receive())["type"] == "http.disconnect"
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if path != "/cut":
            await send({"type": "http.response.body", "body": b"whole"})


class Served:
    """An ingress, and clients of it in memory."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.app = App()
        self.logger = structlog.testing.CapturingLogger()
        log = structlog.wrap_logger(self.logger, processors=[])
        self.ingress = make_ingress(self.app, metrics=Metrics(), log=log)
        self._nursery = nursery
        nursery.start_soon(self.ingress.watch)
        self.server_end: MemoryStream
        self.ended_at: float | None = None

    def connect(self) -> RawClient:
        near, self.server_end = memory_connection()

        async def serve() -> None:
            await self.ingress.serve_connection(self.server_end)  # type: ignore[arg-type]  # memory
            self.ended_at = trio.current_time()

        self._nursery.start_soon(serve)
        return RawClient(near)


@pytest.fixture
async def served(nursery: trio.Nursery) -> Served:
    return Served(nursery)


@asynccontextmanager
async def listening(served: Served) -> AsyncIterator[int]:
    """The port on which `served` listens."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listeners[0].socket.getsockname()[1]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(served.ingress.run, listeners))
            yield port
            nursery.cancel_scope.cancel()


async def connect(port: int) -> RawClient:
    return RawClient(await trio.open_tcp_stream("127.0.0.1", port))


async def test_a_silent_connection_ends(served: Served, autojump_clock: trio.abc.Clock) -> None:
    client = served.connect()
    for _ in range(3):  # each request begins the silence anew
        await client.stream.send_all(GET)
        await client.receive()
        await trio.sleep(KEEP_ALIVE_S - 1)
        assert served.ended_at is None
    await trio.sleep(2)
    assert served.ended_at is not None
    assert served.ingress.busy == 0


async def test_a_head_that_never_ends_is_not_waited_for(
    served: Served, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(b"GET /a HTTP/1.1\r\nHost:")
    await trio.sleep(KEEP_ALIVE_S + 1)
    assert served.ended_at is not None
    assert served.app.seen == []


async def test_a_head_that_drips_is_not_waited_for(
    served: Served, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(b"GET /a HTTP/1.1\r\nX: ")
    with contextlib.suppress(trio.BrokenResourceError):
        while trio.current_time() < 3 * KEEP_ALIVE_S:
            await client.stream.send_all(b"a")
            await trio.sleep(10)
    await trio.sleep(1)
    assert served.ended_at == pytest.approx(KEEP_ALIVE_S, abs=1)


@pytest.mark.parametrize(
    "body", [b"Content-Length: 9\r\n\r\nhell", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhell"]
)
async def test_a_body_that_stops_coming_is_not_waited_for(
    served: Served, body: bytes, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(b"POST /until-left HTTP/1.1\r\nHost: r\r\n" + body)
    await trio.sleep(BODY_PAUSE_S - 1)
    assert served.ended_at is None
    await trio.sleep(2)
    assert served.app.was_left
    assert served.ended_at is not None
    assert served.ingress.busy == 0


async def test_a_body_that_drips_is_waited_for(
    served: Served, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(b"POST /all HTTP/1.1\r\nHost: r\r\nContent-Length: 9\r\n\r\n")
    for _ in range(9):
        await trio.sleep(BODY_PAUSE_S - 1)
        await client.stream.send_all(b"a")
    assert (await client.receive()).status == 200


async def test_a_long_answer_is_not_silence(served: Served, autojump_clock: trio.abc.Clock) -> None:
    client = served.connect()
    await client.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: r\r\n\r\n")
    await trio.sleep(5 * KEEP_ALIVE_S)
    served.app.may_go_on.set()
    assert (await client.receive()).status == 200


async def test_a_connection_ends_with_its_client(
    served: Served, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(GET)
    await client.receive()
    left_at = trio.current_time()
    await client.stream.aclose()
    await trio.sleep(1)
    assert served.ended_at == pytest.approx(left_at)
    assert served.ingress.busy == 0
    assert served.logger.calls == []


async def test_the_app_learns_that_its_client_left(
    served: Served, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(b"GET /until-left HTTP/1.1\r\nHost: r\r\n\r\n")
    await trio.sleep(30)
    assert not served.app.was_left
    await client.stream.aclose()
    await trio.sleep(1)
    assert served.app.was_left
    assert served.ended_at is not None


async def test_nothing_behind_a_refused_request_is_served(
    served: Served, autojump_clock: trio.abc.Clock
) -> None:
    client = served.connect()
    await client.stream.send_all(SMUGGLING + GET)
    assert (await client.receive()).status == 400
    with contextlib.suppress(trio.BrokenResourceError):
        await client.stream.send_all(GET)
    assert await client.rest() == b""
    assert served.app.seen == []


async def test_all_connections_can_be_cut(served: Served, autojump_clock: trio.abc.Clock) -> None:
    client = served.connect()
    await client.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: r\r\n\r\n")
    await trio.sleep(1)
    assert served.ingress.busy == 1
    served.ingress.reset_all()
    with pytest.raises(trio.BrokenResourceError):
        await client.stream.receive_some()
    assert served.server_end.was_reset
    served.ingress.reset_all()


@pytest.mark.loopback
async def test_an_app_that_fails_does_not_end_the_listener(served: Served) -> None:
    async with listening(served) as port:
        for request, status in ((b"GET /fail HTTP/1.1\r\nHost: r\r\n\r\n", 500), (GET, 200)):
            client = await connect(port)
            await client.stream.send_all(request)
            assert (await client.receive()).status == status
            await client.stream.aclose()


@pytest.mark.loopback
async def test_a_client_that_resets_before_it_is_accepted_does_not_end_the_listener(
    served: Served,
) -> None:
    async with listening(served) as port:
        for _ in range(20):  # without a pause, in which the listener would take them
            early = socket.create_connection(("127.0.0.1", port))
            early.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            early.close()
        client = await connect(port)
        await client.stream.send_all(GET)
        assert (await client.receive()).status == 200
        await client.stream.aclose()


@pytest.mark.loopback
async def test_a_real_client_of_http_1_0_sees_the_cut(served: Served) -> None:
    async with listening(served) as port:
        client = await connect(port)
        await client.stream.send_all(b"GET /cut HTTP/1.0\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()
        await client.stream.aclose()
        client = await connect(port)
        await client.stream.send_all(b"GET /a HTTP/1.0\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\nhalfwhole")
        await client.stream.aclose()


@pytest.mark.loopback
async def test_stopping_lets_running_requests_finish(served: Served) -> None:
    async with listening(served) as port:
        idle, busy = await connect(port), await connect(port)
        await idle.stream.send_all(GET)
        await idle.receive()
        await busy.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: r\r\n\r\n")
        await served.app.is_waiting.wait()
        await served.ingress.stop_accepting()
        assert await idle.rest() == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await connect(port)
        served.app.may_go_on.set()
        assert (await busy.receive()).status == 200
        assert await busy.rest() == b""
        for client in (idle, busy):
            await client.stream.aclose()
