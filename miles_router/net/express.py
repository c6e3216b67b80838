"""The express: what is plain enough needs no task of its own, neither to wait nor to be relayed.

Most requests are alike: a generation with a small body, a worker that is free, a connection to it
that stands idle, an answer that comes in one piece. Such a one is begun in the callback that tells
of its bytes, and ended in the callback that tells of its answer (`begun`); the task of the client's
connection sleeps meanwhile. Whatever is not so is the task's: before anything was sent it serves
the request as if there were no express, afterwards it takes up what was begun. So every rule about
faults, deadlines, aborts and departures stands in one place, and it is not here.

Where middleware wants to see each request there is no express; one that can say what it does
without a wait takes part in it (`passing`). This file must not know who may ask for what: its
`Planner` does.
"""

from __future__ import annotations

import os
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import trio

from miles_router.core.inflight import Running, nothing_to_stop
from miles_router.core.request import find_rids
from miles_router.net.abort import abort_abandoned
from miles_router.net.answer_heads import AnswerHeads
from miles_router.net.begun import Begun
from miles_router.net.lane_call import READ_BYTES, scope_of
from miles_router.net.plain import plain_target
from miles_router.net.plan import Plan, Plans, cut
from miles_router.net.wire import read_now

if TYPE_CHECKING:
    from miles_router.net.lane import Lane
    from miles_router.net.plain import Target
    from miles_router.net.readiness import Readiness
    from miles_router.net.request_head import RequestHead
    from miles_router.net.services import Services

# What the buffers of a connection take at once. Larger bodies take a task.
MOST_BODY_BYTES = 49_152
# How late a deadline may be noticed that is counted in seconds.
CHECK_INTERVAL_S = 0.1


class Planner(Protocol):
    """Who judges requests and keeps the books of them."""

    def plan(self, scope: dict[str, Any], head: RequestHead, target: Target) -> Plan | None:
        """What a request asks for by its head; None if it is not for the express."""

    def new_request_id(self) -> str:
        """An id for a request that brings none."""

    def count(self, path_class: str, status: int, request_id: str, duration_s: float) -> None:
        """A request was answered."""


class Express:
    """Begins and ends requests, for all connections of a listener."""

    def __init__(self, services: Services, planner: Planner, readiness: Readiness) -> None:
        self.services = services
        self.now = services.now
        self.heads = AnswerHeads()
        self.plans = Plans()
        self._planner = planner
        self._readiness = readiness
        self._most_body_bytes = min(MOST_BODY_BYTES, services.settings.max_body_bytes)
        self._timeout_s = services.settings.first_byte_timeout_s
        self._timed: dict[Begun, None] = {}  # what runs, in the order of the deadlines

    # -- the request ------------------------------------------------------------------------------

    def serve(self, lane: Lane) -> None:
        """Read what the client of an idle connection sends; wake its task if it is not served here.

        A task that is woken finds the bytes in `lane.data`, if there are any.
        """
        read = read_now(lane.descriptor, READ_BYTES)
        if read is None:
            return
        data = lane.data = lane.data + read if lane.data else read
        # What is left in the kernel is told of by nobody: whoever waits for it asks anew.
        is_all = 0 < len(read) < READ_BYTES
        if not is_all or lane.has_hung_up or not self._begin(lane, data):
            lane.wake()

    def _begin(self, lane: Lane, data: bytes) -> bool:
        """Begin the request that `data` holds, or wait for the rest of its body; False: neither."""
        known = cut(data)
        if known is None:
            return self._begin_new(lane, data)
        key, end, length = known
        plan = self.plans.get(key)
        if plan is None:
            return self._begin_new(lane, data)
        missing_bytes = end + length - len(data)
        if not missing_bytes:
            return self._send(lane, plan, data[end:])
        is_served = missing_bytes > 0 and length <= self._most_body_bytes
        return is_served and lane.wait_for_rest()

    def _begin_new(self, lane: Lane, data: bytes) -> bool:
        """The same for a head that is new; `lane` keeps what is read of it."""
        raw = lane.take_head(data)
        if raw is None:
            return False
        head, body = lane.gate.head, lane.data
        assert head is not None, "it was read"
        target = plain_target(head, raw)
        if target is None or head.closes or len(body) != head.body_bytes:
            return False
        plan = self._planner.plan(scope_of(lane, head, target), head, target)
        if plan is None or not self._send(lane, plan, body):
            return False
        lane.pass_over_head()
        self.plans.learn(raw, plan)
        return True

    def _send(self, lane: Lane, plan: Plan, body: bytes) -> bool:
        """Begin a request if a worker is free now; its task sends it where no connection is idle.

        It keeps the lease: a worker that is passed over whenever none of its connections is idle
        would never get one.
        """
        services = self.services
        if len(body) > self._most_body_bytes or services.is_stopping:
            return False
        passage = None
        if plan.passing is not None:
            passage = plan.passage(body) if services.admission.may_take() else None
            if passage is None or len(passage.body) > self._most_body_bytes:
                return False  # ids may be several times as long as their text
        now = self.now()
        lease = services.admission.take(plan.session, now)
        if lease is None:
            return False
        if passage is None:
            rids = find_rids(body)
        else:
            passage.begin()
            body, rids = passage.body, passage.rids
        worker = lease.worker
        is_plain = worker.spec.url.scheme == "http"  # what TLS makes of bytes takes a task
        connection = services.idle.take(worker) if is_plain else None
        request_id = plan.request_id or self._planner.new_request_id()
        running = Running(request_id, plan.caller.tenant, plan.path, now, *rids, worker)
        begun = Begun(self, lane, plan, body, lease, running, connection, now, passage=passage)
        running.stop = begun.stop
        services.inflight.add(running)
        services.metrics.queue_wait.add(0.0)
        lane.begin(begun)
        if connection is None:
            begun.hand_over()
            return True
        running.is_sent = True
        data = plan.write(connection, request_id, body)
        try:
            sent_bytes = os.write(connection.descriptor, data)
        except OSError:  # no room, or it died in the moment of its reuse, which its reader finds
            sent_bytes = 0
        if sent_bytes < len(data):
            begun.unsent = memoryview(data)[sent_bytes:]
            begun.hand_over()
            return True
        connection.watch.tell(begun, self._readiness)
        if self._timeout_s is not None:
            self._timed[begun] = None
        return True

    # -- the end ----------------------------------------------------------------------------------

    def conclude(self, begun: Begun) -> None:
        """The answer of `begun` has been passed on, as far as its client takes it."""
        services, running, lease = self.services, begun.running, begun.lease
        now, metrics, worker = self.now(), services.metrics, lease.worker
        connection = begun.connection
        assert connection is not None, "the answer came by it"
        connection.watch.pause()
        services.idle.give(connection)
        worker.served += 1
        worker.latencies.add(now - lease.taken_at)
        if begun.stream is None:
            self.note_started(begun)
        begun.note_own(now)
        metrics.overhead.add(begun.own_s)
        metrics.bytes_in += len(begun.body)
        metrics.bytes_out += begun.answer_bytes
        running.stop = nothing_to_stop
        services.inflight.discard(running)
        lease.release(now)
        self._end(begun)
        duration_s = now - running.started_at
        self._planner.count(begun.plan.path_class, begun.status, running.request_id, duration_s)
        begun.lane.end_begun()

    def note_started(self, begun: Begun) -> None:
        """The client gets an answer."""
        self.forget(begun)
        begun.lease.worker.note_status(begun.status)
        self.services.metrics.first_byte.add(begun.answered_at - begun.running.started_at)

    def abandon(self, begun: Begun) -> None:
        """`begun` ends on both sides at once; a generation that was sent is aborted by its rid."""
        services, running = self.services, begun.running
        if running.is_sent and running.rids and not begun.is_answered:
            services.background.start_soon(
                abort_abandoned, services, begun.lease.worker, running.rids, running
            )
        running.stop = nothing_to_stop
        services.inflight.discard(running)
        services.metrics.bytes_in += len(begun.body)
        begun.lease.release(self.now())
        self._end(begun)

    def _end(self, begun: Begun) -> None:
        begun.is_over = True
        if begun.passage is not None:
            begun.passage.end()
        self.forget(begun)

    def note_cut(self, begun: Begun, reason: Exception) -> None:
        """The client gets no more of an answer that it got a part of."""
        running, services = begun.running, self.services
        services.metrics.cut_answers[begun.plan.path_class] += 1
        services.log.warning(
            "answer_cut", request_id=running.request_id, path=running.path, why=str(reason)
        )

    def forget(self, begun: Begun) -> None:
        """No deadline of it is watched any more; may be repeated."""
        if self._timeout_s is not None:
            self._timed.pop(begun, None)

    # -- deadlines --------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Hand over what waits for its answer for too long, until cancelled."""
        if self._timeout_s is None:
            await trio.sleep_forever()
        while True:
            await trio.sleep(CHECK_INTERVAL_S)
            self._hand_over_late(self.now() - self._timeout_s)

    def _hand_over_late(self, sent_before: float) -> None:
        for begun in list(takewhile(lambda begun: begun.sent_at <= sent_before, self._timed)):
            if begun.status:
                self.forget(begun)
            else:
                begun.hand_over()
