"""What Hypercorn would limit for small answers, and a router must not."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
import trio.testing

from miles_router import app as router_app
from miles_router.config import Settings
from miles_router.core.metrics import Metrics
from tests.doubles.memory_net import MemoryStream, memory_connection
from tests.doubles.servers import make_ingress
from tests.sim.raw_client import RawClient

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

pytestmark = pytest.mark.usefixtures("server")

# Between two phases of a rollout clients say nothing for minutes.
PAUSE_S = 300.0
REQUESTS = 1200
# Hypercorn's own bound of a head is 16 KiB; session keys and trace baggage may need more.
HEAD_BYTES = 48 * 1024
PIECES_HELD = 4
BURST = 300


class Client(RawClient):
    """A client of an ingress, in memory."""

    def __init__(self, nursery: trio.Nursery, app: Any) -> None:
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        self._ingress = make_ingress(app, metrics=Metrics(), log=log)
        near, self.far = memory_connection()
        super().__init__(near)
        nursery.start_soon(self._ingress.serve_connection, self.far)  # type: ignore[arg-type]  # memory


async def greet(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    head = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"hi"})


async def test_a_connection_outlasts_a_pause_between_phases(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    client = Client(nursery, greet)
    for _ in range(3):
        assert (await client.get("/a")).status == 200
        await trio.sleep(PAUSE_S)


async def test_a_connection_serves_requests_without_a_bound(nursery: trio.Nursery) -> None:
    client = Client(nursery, greet)
    for _ in range(REQUESTS):
        assert (await client.get("/a")).header("connection") is None


async def test_a_request_may_have_large_headers(nursery: trio.Nursery) -> None:
    client = Client(nursery, greet)
    head = b"GET /a HTTP/1.1\r\nHost: r\r\nBaggage: %b\r\n\r\n" % (b"x" * HEAD_BYTES)
    await client.stream.send_all(head[: HEAD_BYTES // 2])
    await trio.testing.wait_all_tasks_blocked()
    await client.stream.send_all(head[HEAD_BYTES // 2 :])
    assert (await client.receive()).status == 200


async def test_the_server_adds_no_header_of_its_own(nursery: trio.Nursery) -> None:
    answer = await Client(nursery, greet).get("/a")
    assert answer.headers == [("content-length", "2")]


async def test_an_app_that_reads_nothing_holds_its_client_back(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    async def take_nothing(_scope: object, _receive: object, _send: object) -> None:
        await trio.sleep_forever()

    client = Client(nursery, take_nothing)
    written = 0
    with trio.move_on_after(1):
        await client.stream.send_all(
            b"POST /a HTTP/1.1\r\nHost: r\r\nContent-Length: 9999999\r\n\r\n"
        )
        while written < 9_000_000:
            await client.stream.send_all(b"x" * 65_536)
            written += 65_536
    assert isinstance(client.far, MemoryStream)
    taken_bytes = written - client.far.unread_bytes
    # What the queue holds, what waits to enter it, and what is being read.
    assert 0 < taken_bytes <= (PIECES_HELD + 3) * 65_536


async def test_nothing_is_written_past_the_routers_own_log(
    nursery: trio.Nursery, capfd: pytest.CaptureFixture[str]
) -> None:
    async def greet_and_fail(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await greet(scope, receive, send)
        raise LookupError("a mistake of the app")

    client = Client(nursery, greet_and_fail)
    assert (await client.get("/a")).status == 200
    await trio.testing.wait_all_tasks_blocked()
    assert capfd.readouterr() == ("", "")


@pytest.mark.loopback
async def test_a_burst_of_clients_connects_before_any_is_accepted() -> None:
    """With Hypercorn's backlog of 100, all but the first 101 would wait until one is accepted."""
    connected = 0
    with ExitStack() as stack:
        listeners = await router_app._listen(Settings(port=0))
        for listener in listeners:
            stack.callback(listener.socket.close)
        address = listeners[0].socket.getsockname()
        with trio.move_on_after(5):
            while connected < BURST:
                await stack.enter_context(trio.socket.socket()).connect(address)
                connected += 1
    assert connected == BURST
