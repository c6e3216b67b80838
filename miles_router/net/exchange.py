"""One relayed request, from the first byte in to the last byte out.

Theory of operation. The body is read ahead as far as it can be replayed; then attempts follow until
one yields the head of an answer. An attempt takes a lease (waiting in the queue), a connection, and
writes the request. From the head on, pieces are passed to the client as they come: each `send`
returns when the client's side took the piece, so a slow client slows the worker and nothing piles
up. The lease is held to the last byte.

Beside it, one task waits for the client to leave; that cancels the exchange. While a large body is
not read to its end the server must tell it, for then nobody may be there to receive the disconnect.
Whatever ends it, the lease is released, the connection goes back or is closed, and a generation
that was abandoned is aborted by its rid. Retries are decided in `core.retry`.

Invariant: after `Exchange.run` no lease of it is held, on every path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from miles_router.core import headers as header_rules
from miles_router.core.admission import Ticket
from miles_router.core.retry import Repeatable, may_retry
from miles_router.errors import AnswerCut, NoWorker, RequestAborted, RouterError, WorkerFault
from miles_router.net.attempt import Attempt
from miles_router.net.body import ClientGone, RequestBody

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.core.admission import Lease
    from miles_router.core.affinity import SessionKey
    from miles_router.core.headers import Headers
    from miles_router.core.inflight import Running
    from miles_router.core.worker import Worker
    from miles_router.net.services import Services
    from miles_router.net.upstream import AnswerHead

    Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """What is to be relayed."""

    method: str
    target: bytes  # path and query, as they came
    headers: Headers
    request_id: str
    path_class: str
    is_generation: bool
    session: SessionKey | None


class Exchange:
    """Relays one request. `run` is called once."""

    def __init__(
        self,
        services: Services,
        request: RelayRequest,
        body: RequestBody,
        send: Send,
        running: Running,
    ) -> None:
        self._services = services
        self._request = request
        self._body = body
        self._send = send
        self._running = running
        self._waited_s = 0.0  # for workers and clients; the rest is the router's own share
        self._has_started = False
        self._is_relayed = False  # the last piece is on its way to the client
        self._failure: RouterError | AnswerCut | ClientGone | None = None
        self._nursery: trio.Nursery

    async def run(self, *, read_s: float = 0.0) -> None:
        """Relay to the end. `read_s`: how long the body took to arrive.

        Raises:
            RouterError: nothing was sent to the client yet; the caller answers it.
            AnswerCut: the answer broke off after its head was sent.
            ClientGone: the client left; nothing is owed to it.
        """
        self._waited_s = read_s
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
            self._failure = AnswerCut(str(error)) if self._has_started else error
            self._nursery.cancel_scope.cancel()

    async def _watch_departure(self) -> None:
        """Wait for a client to leave of whose body something may be left."""
        await self._body.wait_left()
        self._end_for(ClientGone())

    def _end_for(self, gone: ClientGone) -> None:
        if not self._is_relayed:  # servers tell the end of an exchange in the same way
            self._failure = gone
            self._nursery.cancel_scope.cancel()

    async def _attempts(self) -> None:
        """Attempts on one worker after another, until one answers or none may follow."""
        tried: frozenset[str] = frozenset()
        failed: WorkerFault | None = None
        while True:
            try:
                lease = await self._wait_lease(tried)
            except NoWorker:
                if failed is not None and not self._serving(besides=tried):
                    raise failed from None  # what could have served it went while it waited
                raise
            worker = lease.worker
            self._running.worker = worker
            try:
                return await self._attempt(lease)
            except WorkerFault as fault:
                self._services.pool.note_fault(worker, fault, trio.current_time())
                tried |= {worker.id}
                self._waited_s += trio.current_time() - lease.taken_at  # lost to the worker
                if self._has_started or not self._may_retry(fault, tried):
                    raise
                failed = fault
                self._services.metrics.retries[type(fault).__name__] += 1
                self._services.log.info(
                    "retry", request_id=self._request.request_id, worker=worker.url, why=str(fault)
                )
            finally:
                self._running.worker = None
                self._running.is_sent = False
                lease.release(trio.current_time())

    def _may_retry(self, fault: WorkerFault, tried: frozenset[str]) -> bool:
        if self._running.is_aborted:  # and so not to be generated by another
            raise RequestAborted("aborted by /abort_request; its worker broke off") from fault
        repeatable = Repeatable(
            method=self._request.method,
            is_generation=self._request.is_generation,
            has_whole_body=self._body.is_replayable,
        )
        others = bool(self._serving(besides=tried))
        retries = self._services.settings.retries
        return may_retry(repeatable, fault, tries=len(tried), retries=retries, others=others)

    def _serving(self, *, besides: frozenset[str]) -> list[Worker]:
        """The workers that serve requests now, full or not, without those that were tried."""
        listed = self._services.pool.listed
        return [worker for worker in listed if worker.is_routable and worker.id not in besides]

    async def _wait_lease(self, tried: frozenset[str]) -> Lease:
        """A lease on a worker that was not tried, as soon as the queue grants one.

        Cancellation: the ticket is withdrawn, and a lease granted meanwhile is released.

        Raises:
            QueueFull, NoWorker: see `core.admission`.
        """
        services = self._services
        granted = trio.Event()
        ticket = Ticket(wake=granted.set, session=self._request.session, exclude=tried)
        asked_at = trio.current_time()
        stopped: list[RouterError] = []
        try:
            services.admission.enqueue(ticket, asked_at)
            if ticket.lease is None:
                with trio.move_on_after(services.settings.queue_timeout_s) as scope:

                    def stop(reason: RouterError) -> None:
                        stopped.append(reason)
                        scope.cancel()

                    self._running.stop = stop
                    await granted.wait()
            if stopped:
                raise stopped[0]
            if ticket.lease is None:
                raise self._no_worker(tried)
        except BaseException:
            services.admission.withdraw(ticket, trio.current_time())
            raise
        waited_s = trio.current_time() - asked_at
        self._waited_s += waited_s
        services.metrics.queue_wait.add(waited_s)
        return ticket.lease

    def _no_worker(self, tried: frozenset[str]) -> NoWorker:
        services = self._services
        states = services.pool.states()
        shown = ", ".join(f"{count} {state}" for state, count in states.items()) or "no worker"
        if tried:
            shown += f"; {len(tried)} failed this request"
        if self._serving(besides=tried):
            who = "all others that serve" if tried else "all that serve"
            shown += f"; {who} are full (--max-inflight-per-worker, --max-inflight-total)"
        return NoWorker(
            f"no worker became available within {services.settings.queue_timeout_s:g} s "
            f"(--queue-timeout-s); the pool has {shown}",
            retry_after_s=services.settings.health_interval_s,
            states=states,
        )

    async def _attempt(self, lease: Lease) -> None:
        """One worker: write the request, relay the answer."""
        attempt = Attempt(self._services, self._request, self._body, lease.worker, self._running)
        asked_at = trio.current_time()
        async with attempt:
            if attempt.is_pumped:
                self._nursery.start_soon(self._watch, attempt)
            head = await attempt.read_head()
            self._waited_s += trio.current_time() - asked_at
            self._services.metrics.first_byte.add(trio.current_time() - self._running.started_at)
            await self._start_answer(head, attempt)
            await self._relay_body(attempt)
            lease.worker.served += 1
        self._services.metrics.overhead.add(
            max(0.0, trio.current_time() - self._running.started_at - self._waited_s)
        )

    async def _start_answer(self, head: AnswerHead, attempt: Attempt) -> None:
        self._has_started = True
        headers = header_rules.to_client(head.headers, worker_id=attempt.worker.id)
        start = {"type": "http.response.start", "status": head.status, "headers": headers}
        await attempt.guard(partial(self._send, start))

    async def _relay_body(self, attempt: Attempt) -> None:
        """Pass the pieces on as they come.

        Raises:
            WorkerFault: the worker broke off.
        """
        metrics = self._services.metrics
        while True:
            asked_at = trio.current_time()
            chunk = await attempt.read_chunk()
            piece = chunk or b""
            metrics.bytes_out += len(piece)
            self._running.bytes_out += len(piece)
            self._is_relayed = chunk is None
            message = {"type": "http.response.body", "body": piece, "more_body": chunk is not None}
            await attempt.guard(partial(self._send, message))
            self._waited_s += trio.current_time() - asked_at
            if chunk is None:
                return
