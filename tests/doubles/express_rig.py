"""A whole router on a real port, with the express or without, and workers that a test writes.

The express lives on the kernel's sockets, so everything here is on loopback.
"""

from __future__ import annotations

import os
import select
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import h11
import pytest
import trio

from miles_router.net.express import Express
from miles_router.net.ingress import Ingress
from miles_router.web.build import planner_of
from tests.doubles.worker_double import Answer, WorkerDouble, echo
from tests.web.rig import Rig, open_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from miles_router.core.worker import Worker
    from miles_router.net.begun import Begun
    from tests.doubles.memory_net import MemoryStream

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the express lives on epoll")


def request(
    body: bytes = b"{}", *headers: bytes, target: bytes = b"/generate", length: bool = True
) -> bytes:
    """The bytes of a POST."""
    lines = [b"POST %b HTTP/1.1" % target, b"Host: router", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class CountedExpress(Express):
    """Counts what it did."""

    concluded = 0
    abandoned = 0
    began = 0

    def _send(self, *parts: Any) -> bool:
        has_begun = super()._send(*parts)
        self.began += has_begun
        return has_begun

    @property
    def timed(self) -> int:
        """How many requests a deadline is watched of."""
        return len(self._timed)

    def conclude(self, begun: Begun) -> None:
        self.concluded += 1
        super().conclude(begun)

    def abandon(self, begun: Begun) -> None:
        self.abandoned += 1
        super().abandon(begun)


class CountedIngress(Ingress):
    """Counts the requests that it gave to the app, which is what a task does."""

    def __init__(self, app: Any, **parts: Any) -> None:
        self.by_task = 0

        async def counted(scope: dict[str, Any], receive: Any, send: Any, *more: Any) -> None:
            self.by_task += scope["type"] == "http"
            await app(scope, receive, send, *more)

        super().__init__(counted, **parts)


class SocketEnd:
    """A worker's end of a connection, as `WorkerDouble` wants it; remembers what came."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = bytearray()
        self._is_shut = False

    @property
    def is_closed(self) -> bool:
        """The router has closed the connection, or the worker has."""
        if self._is_shut or self.stream.socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.stream.socket.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    async def receive_some(self, most_bytes: int = 65_536) -> bytes:
        data = bytes(await self.stream.receive_some(most_bytes))
        self.received += data
        return data

    async def send_all(self, data: bytes) -> None:
        await self.stream.send_all(data)

    def send_and_shut(self, data: bytes) -> None:
        """Both at once, so that the router is told of both at once."""
        os.write(self.stream.socket.fileno(), data)
        self.shut()

    def shut(self) -> None:
        self._is_shut = True
        self.stream.socket.close()


class Client:
    """One connection to the router; `raw` is every byte that came."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.raw = b""
        self._reading = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, within_s: float = 10) -> tuple[int, bytes]:
        """The next answer: status and body.

        Raises:
            ConnectionError: the connection ended first.
        """
        reading = self._reading
        if reading.states[h11.CLIENT] is h11.DONE:
            reading.start_next_cycle()
        reading.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
        reading.send(h11.EndOfMessage())
        status, body = 0, b""
        with trio.fail_after(within_s):
            while True:
                event = reading.next_event()
                if event is h11.NEED_DATA:
                    reading.receive_data(await self._read())
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return status, body
                else:
                    assert isinstance(event, h11.InformationalResponse), event

    async def _read(self) -> bytes:
        data = bytes(await self.stream.receive_some(65_536))
        self.raw += data
        if not data and self._reading.their_state is not h11.SEND_BODY:
            raise ConnectionAbortedError("the router closed the connection")
        return data

    async def ask(self, data: bytes, within_s: float = 10) -> tuple[int, bytes]:
        """Send one request and read its answer."""
        await self.send(data)
        return await self.answer(within_s)

    async def end(self, within_s: float = 10) -> bytes:
        """Read to the end of the connection; empty also where it was reset."""
        data = b""
        with trio.fail_after(within_s):
            try:
                while piece := bytes(await self.stream.receive_some(65_536)):
                    data += piece
            except trio.BrokenResourceError:
                pass
        return data

    def leave(self) -> None:
        self.stream.socket.close()


class ExpressRig:
    """The router; `express` is None where it runs without."""

    def __init__(self, rig: Rig, ingress: CountedIngress, port: int) -> None:
        self.rig = rig
        self.services = rig.services
        self.ingress = ingress
        self.port = port
        self.doubles: list[WorkerDouble] = []
        self.ends: list[SocketEnd] = []
        self.clients: list[Client] = []
        self.workers: list[Worker] = []

    @property
    def express(self) -> CountedExpress:
        assert isinstance(self.ingress.express, CountedExpress)
        return self.ingress.express

    async def add(self, answer: Answer = echo, **spec: Any) -> WorkerDouble:
        """An active worker on a port of its own."""
        double = WorkerDouble(self.rig.nursery, answer)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve(stream: trio.SocketStream) -> None:
            end = SocketEnd(stream)
            self.ends.append(end)
            double.streams.append(cast("MemoryStream", end))
            await double.serve(cast("MemoryStream", end))

        await self.rig.nursery.start(partial(trio.serve_listeners, serve, listeners))
        port = listeners[0].socket.getsockname()[1]
        self.workers.append(self.rig.join(f"http://127.0.0.1:{port}", **spec))
        self.doubles.append(double)
        return double

    async def connect(self, *, buffer_bytes: int | None = None) -> Client:
        """A client; `buffer_bytes`: what its kernel takes of answers that it does not read."""
        sock = trio.socket.socket()
        if buffer_bytes is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, buffer_bytes)
        await sock.connect(("127.0.0.1", self.port))
        client = Client(trio.SocketStream(sock))
        self.clients.append(client)
        return client

    async def warm(self, count: int = 1) -> None:
        """Have `count` connections to workers stand idle; counted as the task's."""
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self._warm_one)
        await self.until(lambda: len(self.services.idle) >= count)

    async def _warm_one(self) -> None:
        client = await self.connect()
        assert (await client.ask(request(b'{"warm": 1}', b"x-warm: 1")))[0] == 200
        client.leave()

    async def until(self, holds: Callable[[], object], within_s: float = 5) -> None:
        """Return as soon as `holds()` is true."""
        with trio.fail_after(within_s):
            while not holds():  # noqa: ASYNC110  what is waited for tells nobody
                await trio.sleep(0.002)

    async def assert_quiet(self) -> None:
        """Nothing of any request is left; every open connection to a worker is an idle one."""
        services = self.services
        await self.until(lambda: not (services.admission.inflight or len(services.inflight)))
        assert services.admission.queued == 0
        assert [worker.inflight for worker in self.workers] == [0] * len(self.workers)
        await self.until(
            lambda: sum(double.open_count for double in self.doubles) == len(services.idle)
        )
        for lane in self.ingress.lanes:
            assert lane.parking is None or lane.parking.begun is None


@asynccontextmanager
async def open_express(
    *, has_express: bool = True, within_s: float = 30, **settings: Any
) -> AsyncIterator[ExpressRig]:
    """A router that listens, without workers."""
    async with open_router(within_s=within_s, **settings) as rig:
        services = rig.services
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        ingress = CountedIngress(rig.app, metrics=services.metrics, log=services.log)
        planner = planner_of(services, rig.app)
        if has_express and planner is not None:
            ingress.express = CountedExpress(services, planner, ingress.readiness)
        await rig.nursery.start(ingress.run, listeners)
        express_rig = ExpressRig(rig, ingress, listeners[0].socket.getsockname()[1])
        try:
            yield express_rig
        finally:
            for client in express_rig.clients:
                client.leave()
