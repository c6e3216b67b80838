"""One relayed request, from the first byte in to the last byte out.

Theory of operation. The body is read ahead as far as it can be replayed; then attempts follow until
one yields the head of an answer. An attempt takes a lease (waiting in the queue), a connection, and
writes the request. From the head on, pieces are passed to the client as they come: each `send`
returns when the client's side took the piece, so a slow client slows the worker and nothing piles
up. The lease is held to the last byte.

A client that leaves ends the exchange. Where the server tells it aside, a callback is all it takes;
else a task beside the exchange waits for it. While a large body is not read to its end the server
must tell it, for then nobody may be there to receive the disconnect.
Whatever ends it, the lease is released, the connection goes back or is closed, and a generation
that was abandoned is aborted by its rid. Retries are decided in `core.retry`.

Invariant: after `Exchange.run` no lease of it is held, on every path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from miles_router.core import headers as header_rules
from miles_router.core.inflight import nothing_to_stop
from miles_router.core.retry import Repeatable, may_retry
from miles_router.errors import AnswerCut, NoWorker, RequestAborted, RouterError, WorkerFault
from miles_router.net.attempt import Attempt
from miles_router.net.body import ClientGone, RequestBody
from miles_router.net.lane_call import FOLLOWED_KEY, PIPE_KEY
from miles_router.net.pipe import Pipe
from miles_router.net.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.core.admission import Lease
    from miles_router.core.inflight import Running
    from miles_router.net.begun import Begun
    from miles_router.net.reading import AnswerHead
    from miles_router.net.relay_request import RelayRequest
    from miles_router.net.services import Services

    Send = Callable[[dict[str, Any]], Awaitable[None]]


class Exchange:
    """Relays one request. `run` is called once."""

    def __init__(
        self,
        services: Services,
        request: RelayRequest,
        body: RequestBody,
        send: Send,
        running: Running,
        begun: Begun | None = None,
    ) -> None:
        """`begun`: the first attempt, as far as the express has made it."""
        self._begun = begun
        self._services = services
        self._request = request
        self._body = body
        self._send = send
        self._running = running
        self._queue = Queue(services, running)
        self._waited_s = 0.0  # for workers and clients; the rest is the router's own share
        self._has_started = begun is not None and begun.stream is not None
        self._is_relayed = False  # the last piece is on its way to the client
        self._failure: RouterError | AnswerCut | ClientGone | None = None
        self._nursery: trio.Nursery | None = None

    async def run(self, *, read_s: float = 0.0) -> None:
        """Relay to the end. `read_s`: how long the body took to arrive.

        Raises:
            RouterError: nothing was sent to the client yet; the caller answers it.
            AnswerCut: the answer broke off after its head was sent.
            ClientGone: the client left; nothing is owed to it.
        """
        self._waited_s = read_s
        body = self._body
        if body.departure is None or not body.is_told or body.is_pumped:
            await self._run_watched()
            return
        body.departure.tell(self._leave)
        try:
            await self._attempts()
        except RouterError as error:
            if self._has_started:
                raise AnswerCut(str(error)) from error
            raise
        finally:
            body.departure.tell(None)

    def _leave(self) -> None:
        """The client has left; told in the middle of whatever noticed it."""
        self._failure = ClientGone()
        self._running.stop(self._failure)

    async def _run_watched(self) -> None:
        """Relay beside a task that waits for the client to leave, or passes its body on."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if self._body.is_whole:
                nursery.start_soon(self._watch, None)
            else:
                nursery.start_soon(self._watch_departure)
            try:
                await self._attempts()
            except (RouterError, AnswerCut) as error:  # raised below, outside the nursery
                is_late = self._has_started and isinstance(error, RouterError)
                self._failure = AnswerCut(str(error)) if is_late else error
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _watch(self, attempt: Attempt | None) -> None:
        """Pass a large body to `attempt`, then wait for the client to leave."""
        try:
            if attempt is not None:
                await attempt.pump()
                if self._body.is_replayable:  # the client is watched already
                    return
            if not self._body.is_whole:  # the worker stopped reading: its answer is what matters
                return
            await self._body.wait_client_gone()
            raise ClientGone
        except ClientGone as gone:
            self._end_for(gone)
        except RouterError as error:
            self._end(AnswerCut(str(error)) if self._has_started else error)

    async def _watch_departure(self) -> None:
        """Wait for a client to leave of whose body something may be left."""
        await self._body.wait_left()
        self._end_for(ClientGone())

    def _end_for(self, gone: ClientGone) -> None:
        if not self._is_relayed:  # servers tell the end of an exchange in the same way
            self._end(gone)

    def _end(self, failure: AnswerCut | ClientGone | RouterError) -> None:
        assert self._nursery is not None, "only what runs beside the exchange ends it so"
        self._failure = failure
        self._nursery.cancel_scope.cancel()

    async def _attempts(self) -> None:
        """Attempts on one worker after another, until one answers or none may follow."""
        tried: frozenset[str] = frozenset()
        failed: WorkerFault | None = None
        while True:
            begun, self._begun = self._begun, None
            if self._failure is not None and begun is None:  # the client left between two waits
                raise self._failure
            try:
                lease = begun.lease if begun else await self._next_lease(tried)
            except NoWorker:
                if failed is not None and not self._queue.serving(besides=tried):
                    raise failed from None  # what could have served it went while it waited
                raise
            worker = lease.worker
            self._running.worker = worker
            try:
                return await self._attempt(lease, begun)
            except WorkerFault as fault:
                self._services.pool.note_fault(worker, fault, self._services.now())
                tried |= {worker.id}
                self._waited_s += self._services.now() - lease.taken_at  # lost to the worker
                if self._has_started or not self._may_retry(fault, tried):
                    raise
                failed = fault
                self._services.metrics.retries[type(fault).__name__] += 1
                self._services.log.info(
                    "retry", request_id=self._request.request_id, worker=worker.url, why=str(fault)
                )
            finally:
                self._running.stop = nothing_to_stop
                self._running.worker = None
                self._running.is_sent = False
                lease.release(self._services.now())

    async def _next_lease(self, tried: frozenset[str]) -> Lease:
        lease = await self._queue.wait(self._request.session, tried)
        self._waited_s += lease.taken_at - self._queue.asked_at
        return lease

    def _may_retry(self, fault: WorkerFault, tried: frozenset[str]) -> bool:
        if self._running.is_aborted:  # and so not to be generated by another
            raise RequestAborted("aborted by /abort_request; its worker broke off") from fault
        repeatable = Repeatable(
            method=self._request.method,
            is_generation=self._request.is_generation,
            has_whole_body=self._body.is_replayable,
        )
        others = bool(self._queue.serving(besides=tried))
        retries = self._services.settings.retries
        return may_retry(repeatable, fault, tries=len(tried), retries=retries, others=others)

    async def _attempt(self, lease: Lease, begun: Begun | None) -> None:
        """One worker: write the request, relay the answer."""
        attempt = Attempt(
            self._services, self._request, self._body, lease.worker, self._running, begun
        )
        with attempt.scope:
            try:
                if self._failure is not None:  # the client has left what was begun
                    raise self._failure
                await self._relay(attempt, lease)
            finally:
                attempt.end()
            return
        raise attempt.interruption()

    async def _relay(self, attempt: Attempt, lease: Lease) -> None:
        metrics = self._services.metrics
        await attempt.begin()
        if attempt.is_pumped:
            assert self._nursery is not None, "a body that is pumped is watched"
            self._nursery.start_soon(self._watch, attempt)
        if not self._has_started:
            head = await attempt.read_head()
            now = attempt.worker.last_bytes_at  # of this very answer: nothing was waited for since
            self._waited_s += now - lease.taken_at
            lease.worker.note_status(head.status)
            metrics.first_byte.add(now - self._running.started_at)
            await self._start_answer(head, attempt)
        now = await self._relay_body(attempt)
        lease.worker.served += 1
        lease.worker.latencies.add(now - lease.taken_at)
        metrics.overhead.add(max(0.0, now - self._running.started_at - self._waited_s))

    async def _start_answer(self, head: AnswerHead, attempt: Attempt) -> None:
        self._has_started = True
        start = {
            "type": "http.response.start",
            "status": head.status,
            "headers": header_rules.to_client(head.headers, worker_id=attempt.worker.id),
        }
        if attempt.has_more_at_hand:
            start[FOLLOWED_KEY] = True
        await self._send(start)

    async def _relay_body(self, attempt: Attempt) -> float:
        """Pass the pieces on as they come; the last one says so, where that is known.

        Returns when the last one was taken.

        Raises:
            WorkerFault: the worker broke off.
        """
        clock = self._services.now
        piece = attempt.take_chunk()
        pipe: Pipe | None = None
        try:
            while True:
                if piece is None and not attempt.is_answered:
                    asked_at = clock()
                    if pipe is None and self._request.takes_pipes and attempt.is_pipeable:
                        pipe = Pipe.open()
                    piece = await attempt.read_chunk(pipe)
                    self._waited_s += clock() - asked_at
                self._is_relayed = attempt.is_answered
                now = await self._send_piece(piece or b"", pipe)
                if self._is_relayed:
                    return now
                piece = attempt.take_chunk()
        finally:
            if pipe is not None:
                pipe.close()

    async def _send_piece(self, piece: bytes, pipe: Pipe | None) -> float:
        """Pass on a piece, or what is in `pipe`; when it was taken."""
        clock = self._services.now
        size_bytes = len(piece) if pipe is None else len(pipe)
        self._services.metrics.bytes_out += size_bytes
        self._running.bytes_out += size_bytes
        message = {
            "type": "http.response.body",
            "body": piece,
            "more_body": not self._is_relayed,
        }
        if pipe is not None:
            message[PIPE_KEY] = pipe
        sent_at = clock()
        await self._send(message)
        now = clock()
        self._waited_s += now - sent_at
        return now
