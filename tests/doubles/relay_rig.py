"""A router's real parts around workers in memory, and clients that behave as a test says."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
import trio
import trio.testing

from miles_router.assemble import assemble
from miles_router.config import Settings
from miles_router.core.inflight import Running
from miles_router.core.opening import opening
from miles_router.core.request import classify, find_rids, is_generation
from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import ProbeOutcome, ProbeReport, Worker, WorkerSpec
from miles_router.net.body import RequestBody
from miles_router.net.exchange import Exchange
from miles_router.net.relay_request import RelayRequest
from tests.doubles.worker_double import Answer, MemoryDialer, WorkerDouble, echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.net.departures import Departure
    from miles_router.net.services import Services

GENERATE = b'{"rid": "r1", "text": "a"}'


class Client:
    """The ASGI side of one request."""

    def __init__(self, *pieces: bytes, is_endless: bool = False) -> None:
        self._pieces = list(pieces) or [b""]
        self._is_endless = is_endless
        self._left = trio.Event()
        self.takes = trio.Event()  # answers wait for it
        self.takes.set()
        self.stall_at_last = False
        self.messages: list[dict[str, Any]] = []
        self.pieces_read = 0

    def length_header(self) -> list[tuple[bytes, bytes]]:
        """What frames the body, where its length is known and not 0."""
        size_bytes = sum(len(piece) for piece in self._pieces)
        return [(b"content-length", b"%d" % size_bytes)] if size_bytes else []

    def leave(self) -> None:
        self._left.set()

    def stall(self) -> None:
        self.takes = trio.Event()

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self._left.is_set():
            return {"type": "http.disconnect"}
        if not self._pieces:
            await self._left.wait()
            return {"type": "http.disconnect"}
        self.pieces_read += 1
        piece = self._pieces.pop(0)
        more = bool(self._pieces) or self._is_endless
        return {"type": "http.request", "body": piece, "more_body": more}

    async def send(self, message: dict[str, Any]) -> None:
        if self.stall_at_last and message.get("more_body") is False:
            self.stall()
        await self.takes.wait()
        await trio.lowlevel.checkpoint()
        self.messages.append(message)

    @property
    def status(self) -> int | None:
        return next((m["status"] for m in self.messages if "status" in m), None)

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


class RelayRig:
    """`ask` relays one request, as the front does."""

    def __init__(self, services: Services, dialer: MemoryDialer, nursery: trio.Nursery) -> None:
        self.services = services
        self.dialer = dialer
        self.nursery = nursery
        self.doubles: list[WorkerDouble] = []
        self.workers: list[Worker] = []

    def add(self, answer: Answer = echo, *, is_active: bool = True) -> WorkerDouble:
        """A worker that serves; the first one added is preferred by `ask`'s order of tries."""
        double = WorkerDouble(self.nursery, answer)
        port = 9001 + len(self.doubles)
        self.dialer.workers[port] = double
        url = parse_worker_url(f"http://127.0.0.1:{port}")
        addresses = () if url.address is None else (url.address,)
        worker = self.services.pool.add(WorkerSpec(url, addresses=addresses), trio.current_time())
        if is_active:
            self.passes(worker)
        self.doubles.append(double)
        self.workers.append(worker)
        return double

    def passes(self, worker: Worker) -> None:
        now = trio.current_time()
        self.services.pool.note_probe(worker, ProbeReport(ProbeOutcome.PASSED, now, now), now)

    async def ask(
        self,
        client: Client,
        *,
        method: str = "POST",
        path: str = "/generate",
        headers: list[tuple[bytes, bytes]] | None = None,
        running: Running | None = None,
        departure: Departure | None = None,
    ) -> None:
        """`departure`: what the server tells of the client beside the body; by default nothing."""
        if headers is None:
            headers = client.length_header()
        running = running or Running("req", "default", path, trio.current_time())
        services = self.services
        body = RequestBody(
            client.receive,
            headers,
            max_bytes=services.settings.max_body_bytes,
            departure=departure,
            is_told=departure is not None,
        )
        services.inflight.add(running)
        try:
            await body.read_ahead()
            generates = is_generation(path)
            if generates:
                known = body.prefix if body.is_replayable else opening(body.prefix)
                running.rids, running.names = find_rids(known)
            request = RelayRequest(
                method=method,
                target=path.encode(),
                headers=headers,
                request_id="req",
                path_class=classify(path),
                is_generation=generates,
                session=None,
            )
            await Exchange(services, request, body, client.send, running).run()
        finally:
            services.inflight.discard(running)

    async def settle(self) -> None:
        """Let aborts and closing connections finish."""
        await trio.sleep(0.5)

    async def assert_quiet(self) -> None:
        """Nothing of any request is left; every open connection to a worker is an idle one."""
        await self.settle()
        services = self.services
        assert services.admission.inflight == 0
        assert services.admission.queued == 0
        assert len(services.inflight) == 0
        assert [worker.inflight for worker in self.workers] == [0] * len(self.workers)
        assert sum(double.open_count for double in self.doubles) == len(services.idle)


async def _fail_after_an_hour() -> None:
    await trio.sleep(3600)
    raise AssertionError("the test hangs")


@asynccontextmanager
async def open_rig(**settings: Any) -> AsyncIterator[RelayRig]:
    """A rig without workers; everything in it ends with the block, or after an hour."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_fail_after_an_hour)
        services = assemble(
            Settings(policy="round_robin", **settings),
            background=nursery,
            log=structlog.wrap_logger(structlog.ReturnLogger(), processors=[]),
            rng=random.Random(1),
        )
        dialer = MemoryDialer(connect_timeout_s=services.settings.connect_timeout_s)
        services.dialer = dialer
        yield RelayRig(services, dialer, nursery)
        services.idle.close_all()
        nursery.cancel_scope.cancel()
