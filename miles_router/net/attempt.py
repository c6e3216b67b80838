"""One try of a request on one worker: connection, request bytes, answer pieces.

Used as an async context manager; leaving it returns or closes the connection, and aborts by rid
what was sent but not answered to the end. This file must not know leases, retries or clients.

A stale idle connection is replaced by a fresh one unseen: connections are only reused for requests
that may be repeated (generations and reads), so a POST with effects never meets the question
whether its bytes arrived.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import trio

from miles_router.core import headers as header_rules
from miles_router.errors import RouterError, WorkerBroke, WorkerTimeout
from miles_router.net.abort import abort_abandoned
from miles_router.net.upstream import Connection, request_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from miles_router.core.inflight import Running
    from miles_router.core.worker import Worker
    from miles_router.net.body import RequestBody
    from miles_router.net.exchange import RelayRequest
    from miles_router.net.services import Services
    from miles_router.net.upstream import AnswerHead

T = TypeVar("T")

# A connection that the worker closed as it was reused dies within a round trip: after 1 ms on
# loopback, and within 9 ms where 64 do at once on two shared cores. One that dies later died with
# the request, which its worker may still run: a failed attempt, aborted there and tried elsewhere.
STALE_WITHIN_S = 0.02

# Larger bodies are written while the answer is read: a worker may answer before it has read them,
# and what the system's buffers do not hold would wait for ever. Smaller ones fit into those.
DIRECT_BYTES = 262_144


class Attempt:
    """A try on `worker`."""

    def __init__(
        self,
        services: Services,
        request: RelayRequest,
        body: RequestBody,
        worker: Worker,
        running: Running,
    ) -> None:
        self.worker = worker
        self._services = services
        self._request = request
        self._body = body
        self._running = running
        self._connection: Connection | None = None
        self.is_pumped = not body.is_replayable or len(body.prefix) > DIRECT_BYTES
        self._was_sent = False
        self._sent_at = 0.0
        self._is_written = False  # to the last byte
        self._is_done = False
        self._scope: trio.CancelScope | None = None
        self._stopped: RouterError | None = None

    async def __aenter__(self) -> Self:
        """Connect and write the request.

        Raises:
            WorkerFault: no connection.
        """
        self._running.stop = self._stop
        if self._may_reuse:
            self._connection = self._services.idle.take(self.worker)
        if self._connection is None:
            self._connection = await self._connect()
        try:
            await self._write(self._connection)
        except BaseException:
            self._give_up()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection = self._connection
        if not self._is_done or connection is None:
            self._give_up()
        elif self._is_written:
            self._services.idle.give(connection)
        else:  # the worker would take the next request for the rest of this one
            connection.close()

    def _give_up(self) -> None:
        """Close the connection; a generation that was sent is aborted by its rid."""
        if self._connection is not None:
            self._connection.close()
        rids = self._running.rids
        if self._was_sent and rids and self._request.is_generation:
            self._services.background.start_soon(
                abort_abandoned, self._services, self.worker, rids, self._running
            )

    @property
    def _may_reuse(self) -> bool:
        request = self._request
        is_repeatable = request.is_generation or request.method in {"GET", "HEAD"}
        return is_repeatable and not self.is_pumped

    def _stop(self, reason: RouterError) -> None:
        self._stopped = reason
        if self._scope is not None:
            self._scope.cancel()

    async def guard(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run `step` in such a way that `Running.stop` ends it.

        Raises:
            RouterError: what `Running.stop` was called with.
        """
        await self._within(None, step)

    async def _within(
        self, timeout_s: float | None, step: Callable[[], Awaitable[T]], *, waiting_for: str = ""
    ) -> T:
        """Run one step of the attempt under its deadline and under `Running.stop`.

        Raises:
            WorkerTimeout: the deadline passed.
            RouterError: what `Running.stop` was called with.
        """
        if self._stopped is not None:
            raise self._stopped
        self._scope = trio.CancelScope()
        if timeout_s is not None:
            self._scope.deadline = trio.current_time() + timeout_s
        with self._scope:
            return await step()
        if self._stopped is not None:
            raise self._stopped
        raise WorkerTimeout(f"{self.worker.url}: {waiting_for}")

    async def _connect(self) -> Connection:
        worker = self.worker
        dialer = self._services.dialer
        stream = await self._within(
            None, partial(dialer.connect, worker.spec.url, worker.addresses)
        )
        return Connection(worker, stream)

    async def _write(self, connection: Connection) -> None:
        """Write what is there of the request; the rest of a large body follows by `pump`."""
        settings = self._services.settings
        head = request_head(
            self._request.method,
            self._request.target,
            self.worker.spec.url.authority,
            header_rules.to_worker(
                self._request.headers,
                request_id=self._request.request_id.encode("latin-1"),
                api_key=self.worker.spec.api_key,
                forward_authorization=settings.forward_authorization,
            ),
            framing=self._body.framing(),
        )
        connection.begin(is_head=self._request.method == "HEAD")
        self._was_sent = True
        self._sent_at = trio.current_time()
        self._running.is_sent = not self.is_pumped  # else its worker has no more than the head
        self._is_written = False
        data = head if self.is_pumped else head + self._body.framed_prefix()
        try:
            await self._within(
                settings.idle_timeout_s,
                partial(connection.send, data),
                waiting_for=f"took nothing of the request for {settings.idle_timeout_s} s",
            )
            self._is_written = not self.is_pumped
        except WorkerBroke:
            # The worker may have answered before it read everything, and closed: the answer, or
            # its absence, is found by reading.
            self._services.log.debug("request_cut_short", worker=self.worker.url)

    async def pump(self) -> None:
        """Write a large body, as it arrives from the client; only where `is_pumped`.

        Raises:
            ClientGone, TooLarge: see `RequestBody`.
        """
        connection = self._connection
        assert connection is not None, "pump is called inside the context"
        try:
            await self._push(connection, self._body.framed_prefix())
            while (piece := await self._body.next_piece()) is not None:
                await self._push(connection, self._body.framed(piece))
            self._running.is_sent = True
            await self._push(connection, self._body.framed_end())
            self._is_written = True
        except WorkerBroke:
            self._services.log.debug("request_cut_short", worker=self.worker.url)

    async def _push(self, connection: Connection, data: bytes) -> None:
        """Write `data`; a worker that takes none of it and does not answer either is given up."""
        timeout_s = self._services.settings.idle_timeout_s
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
            await connection.send(data)
            return
        if not connection.has_answer_bytes:
            reason = f"took nothing of the request for {timeout_s} s (--idle-timeout-s)"
            self._stop(WorkerTimeout(f"{self.worker.url}: {reason}"))
        raise WorkerBroke(f"{self.worker.url}: stopped reading the request")

    async def read_head(self) -> AnswerHead:
        """The head of the answer.

        Raises:
            WorkerFault: there is none, or not in time.
        """
        timeout_s = self._services.settings.first_byte_timeout_s
        while True:
            connection = self._connection
            assert connection is not None, "read_head is called inside the context"
            try:
                head = await self._within(
                    timeout_s,
                    connection.read_head,
                    waiting_for=f"no answer within {timeout_s} s (--first-byte-timeout-s)",
                )
            except WorkerBroke:
                age_s = trio.current_time() - self._sent_at
                is_stale = connection.is_reused and not connection.has_answer_bytes
                if not is_stale or age_s > STALE_WITHIN_S:
                    raise
                await self._replace_stale(connection)
            else:
                self.worker.last_bytes_at = trio.current_time()
                return head

    async def _replace_stale(self, stale: Connection) -> None:
        """An idle connection died as it was reused: the same worker, on a fresh one."""
        if self._stopped is not None:
            raise self._stopped
        self._services.metrics.stale_reconnects += 1
        stale.close()
        self._connection = None
        self._connection = await self._connect()
        await self._write(self._connection)

    async def read_chunk(self) -> bytes | None:
        """The next piece of the body; None after the last one.

        Raises:
            WorkerFault: the answer broke off, or paused for too long.
        """
        connection = self._connection
        assert connection is not None, "read_chunk is called inside the context"
        timeout_s = self._services.settings.idle_timeout_s
        chunk = await self._within(
            timeout_s,
            connection.read_chunk,
            waiting_for=f"the answer paused for {timeout_s} s (--idle-timeout-s)",
        )
        self.worker.last_bytes_at = trio.current_time()
        self._is_done = chunk is None
        return chunk
