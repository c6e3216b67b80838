"""One try of a request on one worker: connection, request bytes, answer pieces.

Its caller enters `scope`, then calls `begin` and the rest, and `end` in any case: that returns or
closes the connection, and aborts by rid what was sent but not answered to the end. The one scope is
for every deadline and for whoever stops it. This file must not know leases, retries or clients.

A stale idle connection is replaced by a fresh one unseen: connections are only reused for requests
that may be repeated (generations and reads), so a POST with effects never meets the question
whether its bytes arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.core import headers as header_rules
from miles_router.errors import RequestAborted, WorkerBroke, WorkerTimeout
from miles_router.net.abort import abort_abandoned
from miles_router.net.request_bytes import request_head
from miles_router.net.upstream import Connection

if TYPE_CHECKING:
    from miles_router.core.inflight import Running
    from miles_router.core.worker import Worker
    from miles_router.net.begun import Begun
    from miles_router.net.body import RequestBody
    from miles_router.net.pipe import Pipe
    from miles_router.net.reading import AnswerHead
    from miles_router.net.relay_request import RelayRequest
    from miles_router.net.services import Services

# A connection that the worker closed as it was reused dies within a round trip: after 1 ms on
# loopback, and within 9 ms where 64 do at once on two shared cores. One that dies later died with
# the request, which its worker may still run: a failed attempt, aborted there and tried elsewhere.
STALE_WITHIN_S = 0.02

_TOOK_NOTHING = "took nothing of the request for {} s (--idle-timeout-s)"
_NO_ANSWER = "no answer within {} s (--first-byte-timeout-s)"
_PAUSED = "the answer paused for {} s (--idle-timeout-s)"


class Attempt:
    """A try on `worker`."""

    def __init__(
        self,
        services: Services,
        request: RelayRequest,
        body: RequestBody,
        worker: Worker,
        running: Running,
        begun: Begun | None = None,
    ) -> None:
        """`begun`: what the express did of this attempt; it is taken up where it stands."""
        self.worker = worker
        self._begun = begun
        self._services = services
        self._request = request
        self._body = body
        self._running = running
        self._connection: Connection | None = None if begun is None else begun.connection
        self.is_pumped = body.is_pumped
        self.scope = trio.CancelScope()
        self._was_sent = running.is_sent
        self._sent_at = 0.0 if begun is None else begun.sent_at
        self._is_written = False  # to the last byte
        self._late = ""  # what the attempt waits for under a deadline
        self._stopped: Exception | None = None

    async def begin(self) -> None:
        """Connect and write the request, or what is left of it.

        Raises:
            WorkerFault: no connection, or a faulty answer as far as it came.
            Exception: what the request was stopped with before.
        """
        self._running.stop = self._stop
        begun = self._begun
        if begun is not None:
            reason = begun.stopped or begun.fault
            if reason is not None:
                raise reason
            if begun.connection is not None:
                await self._send(begun.connection, begun.unsent)
                return
        if self._may_reuse:
            self._connection = self._services.idle.take(self.worker)
        if self._connection is None:
            self._connection = await self._connect()
        await self._write(self._connection)

    def end(self) -> None:
        """Give the connection back, or close it; whatever happened."""
        connection = self._connection
        if connection is None or not connection.is_answered:
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

    def _stop(self, reason: Exception) -> None:
        self._stopped = reason
        self.scope.cancel()

    def interruption(self) -> Exception:
        """What ended the attempt, where its scope did: `Running.stop`, or a deadline."""
        if self._stopped is not None:
            return self._stopped
        return WorkerTimeout(f"{self.worker.url}: {self._late}")

    def _expect(self, timeout_s: float | None, late: str, since: float | None = None) -> None:
        """From here on the worker has `timeout_s`; else `late` is what is said of it."""
        if timeout_s is not None:
            self._late = late.format(timeout_s)
            self.scope.deadline = (self._services.now() if since is None else since) + timeout_s
        elif self._late:
            self._rest()

    def _rest(self) -> None:
        """From here on nothing is asked of the worker."""
        if self._late:
            self._late = ""
            self.scope.deadline = float("inf")

    async def _connect(self) -> Connection:
        worker = self.worker
        stream = await self._services.dialer.connect(worker.spec.url, worker.addresses)
        return Connection(worker, stream)

    async def _write(self, connection: Connection) -> None:
        """Write what is there of the request; the rest of a large body follows by `pump`."""
        head = request_head(
            self._request.method,
            self._request.target,
            connection.authority,
            header_rules.to_worker(
                self._request.headers,
                request_id=self._request.request_id.encode("latin-1"),
                api_key=self.worker.spec.api_key,
                forward_authorization=self._services.settings.forward_authorization,
            ),
            framing=self._body.framing(),
        )
        connection.begin(is_head=self._request.method == "HEAD")
        self._was_sent = True
        self._sent_at = self._services.now()
        self._running.is_sent = not self.is_pumped  # else its worker has no more than the head
        self._is_written = False
        await self._send(connection, head if self.is_pumped else head + self._body.framed_prefix())

    async def _send(self, connection: Connection, data: bytes | memoryview) -> None:
        """Write what of the request goes out before its answer is read."""
        idle_timeout_s = self._services.settings.idle_timeout_s
        try:
            if idle_timeout_s is not None:
                self._expect(idle_timeout_s, _TOOK_NOTHING)
            await connection.send(data)
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
        assert connection is not None, "`begin` comes first"
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
            reason = _TOOK_NOTHING.format(timeout_s)
            self._stop(WorkerTimeout(f"{self.worker.url}: {reason}"))
        raise WorkerBroke(f"{self.worker.url}: stopped reading the request")

    async def read_head(self) -> AnswerHead:
        """The head of the answer.

        Raises:
            WorkerFault: there is none, or not in time.
            RequestAborted: it would have to be sent again, and its caller gave it up.
        """
        timeout_s = self._services.settings.first_byte_timeout_s
        while True:
            connection = self._connection
            assert connection is not None, "`begin` comes first"
            if timeout_s is not None or self._late:
                self._expect(timeout_s, _NO_ANSWER, since=self._sent_at if self._begun else None)
            try:
                head = await connection.read_head()
            except WorkerBroke:
                age_s = self._services.now() - self._sent_at
                is_stale = connection.is_reused and not connection.has_answer_bytes
                if not is_stale or age_s > STALE_WITHIN_S:
                    raise
                await self._replace_stale(connection)
            else:
                if self._late:
                    self._rest()
                self.worker.last_bytes_at = self._services.now()
                return head

    async def _replace_stale(self, stale: Connection) -> None:
        """An idle connection died as it was reused: the same worker, on a fresh one.

        Raises:
            WorkerFault: no connection.
            RequestAborted: its caller gave the request up, so that it is not sent again.
            Exception: what `Running.stop` was called with.
        """
        self._check_wanted()
        self._services.metrics.stale_reconnects += 1
        stale.close()
        self._connection = None
        self._rest()
        self._connection = await self._connect()
        self._check_wanted()
        await self._write(self._connection)

    def _check_wanted(self) -> None:
        if self._stopped is not None:
            raise self._stopped
        if self._running.is_aborted:
            raise RequestAborted("aborted by /abort_request; its connection was closed")

    async def read_chunk(self, pipe: Pipe | None = None) -> bytes | None:
        """The next piece of the body; None after the last one.

        With a `pipe`, only where `is_pipeable`: it is there then, and what is returned is empty.

        Raises:
            WorkerFault: the answer broke off, or paused for too long.
        """
        connection = self._connection
        assert connection is not None, "`begin` comes first"
        self._expect(self._services.settings.idle_timeout_s, _PAUSED)
        if pipe is None:
            chunk = await connection.read_chunk()
        else:
            await connection.fill(pipe)
            chunk = b""
        self._rest()
        self.worker.last_bytes_at = self._services.now()
        return chunk

    @property
    def is_pipeable(self) -> bool:
        """What is to come of the answer may go through a pipe, and is worth one."""
        return self._connection is not None and self._connection.is_pipeable

    def take_chunk(self) -> bytes | None:
        """A piece of the body that has come already; None if there is none."""
        return None if self._connection is None else self._connection.take_chunk()

    @property
    def is_answered(self) -> bool:
        """The answer is complete, and every piece of it was taken."""
        return self._connection is not None and self._connection.is_answered

    @property
    def has_more_at_hand(self) -> bool:
        """A piece of the body has come already, or its end."""
        return self._connection is not None and self._connection.has_more_at_hand
