"""The fast lane: one client connection, as long as its requests are plain.

Hypercorn's way costs a request some 800 us: tasks, queues, locks, a parser in Python. Most requests
need none of that. Theory of operation: the head of a request is read by the gate, as every head is.
One that is plain (`plain`: HTTP/1.1, a data path, a body that is counted and small) is served here
and now, in the task of its connection: the app is called, the body is read as the app asks for it,
the answer is written as the app sends it. What is not plain goes to Hypercorn untouched, head and
all; the next request on the connection may be served here again.

Between requests the task of the connection sleeps where there is an express (`net.express`), which
reads for it, and wakes it for what it does not serve itself, or not to the end.

While a request is served, nothing behind it is read, except where the app itself waits for the end
of its client. That a client leaves is told by the kernel (`readiness`); one that says nothing for
too long is found by a sweep over all connections (`end_if_idle`).

Invariant: one request at a time; an answer is complete, or its connection is closed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from miles_router.net.begun import BEGUN_KEY
from miles_router.net.closing import end_gently, refusal_answer, reset
from miles_router.net.departures import Departure
from miles_router.net.gate import Gate
from miles_router.net.lane_call import GONE, READ_BYTES, Call, scope_of
from miles_router.net.lane_states import HandedOver, State
from miles_router.net.parking import Parking
from miles_router.net.plain import Target, plain_target
from miles_router.net.request_head import Refusal
from miles_router.net.wire import SocketWire, wire_of

if TYPE_CHECKING:
    from miles_router.net.begun import Begun
    from miles_router.net.ingress import Ingress
    from miles_router.net.request_head import RequestHead


class Lane:
    """One client connection."""

    def __init__(self, ingress: Ingress, stream: trio.SocketStream) -> None:
        """`stream` must be connected."""
        self.stream = stream
        self.gate = Gate()
        self.departure = Departure()
        self.wire = wire_of(stream)
        self.data = b""  # what was read and belongs to nothing yet
        self.ingress = ingress
        self._state = State.IDLE
        self._now = trio.lowlevel.current_clock().current_time
        self._idle_since = self._now()
        self._has_unread_body = False
        self.has_hung_up = False
        self._raw = b""  # the head of a request, as far as it was read
        self._refusal: Refusal | None = None
        self.parking: Parking | None = None
        express = ingress.express if ingress.readiness.is_told else None
        if express is not None and isinstance(self.wire, SocketWire):
            self.parking = Parking(self, express, ingress.readiness)
        socket = stream.socket
        self.descriptor = socket.fileno()
        self.client: tuple[str, int] = socket.getpeername()[:2]  # names of IPv6 have four parts
        self.server: tuple[str, int] = socket.getsockname()[:2]

    async def serve(self) -> HandedOver | None:
        """Serve the connection until a request is not to be served here; never raises its ends.

        Returns what is Hypercorn's to serve, or None: the connection was closed.
        """
        ingress = self.ingress
        ingress.connections.add(self)
        ingress.lanes.add(self)
        ingress.readiness.add(self.descriptor, self, only_left=True)
        handed = None
        try:
            handed = await self.run()
            if handed is None:
                await self.close()
        except* GONE:
            pass  # the client went away while something was written
        except* Exception:
            ingress.log.exception("connection_failed")
        finally:
            ingress.connections.discard(self)
            if handed is None:
                self.forget()
                self.stream.socket.close()
        return handed

    def forget(self) -> None:
        """The connection is over: it is watched no more, and leaves no garbage."""
        self.ingress.lanes.discard(self)
        self.ingress.readiness.discard(self.descriptor, self)
        self.gate.close()

    async def run(self, data: bytes = b"") -> HandedOver | None:
        """Serve requests, of which `data` was read already, until one is not to be served here.

        Returns what is Hypercorn's to serve, or None: the connection is over.

        Raises:
            OSError, trio.BrokenResourceError, trio.ClosedResourceError: the client is gone.
        """
        self.data = data
        terminated = self.ingress.terminated
        while not terminated.is_set():
            self._state = State.IDLE
            begun = None
            if self.parking is not None and not self.data:
                begun = await self.parking.sleep()
                if begun is None and not self.data and not self._raw:
                    return None  # the client has ended
            if begun is not None:
                self._state = State.SERVING
                may_go_on = await self._call(begun.plan.head, begun.plan.target, begun)
            elif not (raw := await self._read_head()):
                return None
            else:
                head = self.gate.head
                assert head is not None, "it was read"
                target = plain_target(head, raw)
                if target is None or len(self.data) > head.body_bytes:
                    self._state = State.AWAY
                    return HandedOver(raw + self.data, len(raw))
                self._state = State.SERVING
                self.gate.pass_over_body()
                may_go_on = await self._call(head, target)
            if not may_go_on:
                return None
            self._idle_since = self._now()
        return None

    async def _read_head(self) -> bytes:
        """The bytes of the next head; empty if there is none."""
        raw = self._raw if self._raw and self.gate.head is not None else None
        while raw is None:
            if self._refusal is not None:
                self.ingress.metrics.refused_connections[self._refusal.code] += 1
                await end_gently(self.stream, refusal_answer(self._refusal))
                return b""
            data = self.data or await self.wire.read(READ_BYTES)
            if not data:
                return b""
            raw = self.take_head(data)
        self._raw = b""
        return raw

    def take_head(self, data: bytes) -> bytes | None:
        """Read on in the head of a request; its bytes if that is its end. The rest is in `data`."""
        size_bytes = self.gate.read_head(data)
        if isinstance(size_bytes, Refusal):
            self._refusal = size_bytes
            return None
        self.data = data[size_bytes:]
        self._raw = self._raw + data[:size_bytes] if self._raw else data[:size_bytes]
        return None if self.gate.head is None else self._raw

    async def _call(self, head: RequestHead, target: Target, begun: Begun | None = None) -> bool:
        """Let the app serve one request; whether the connection may go on."""
        if self.has_hung_up:
            self.departure.set()
        scope = scope_of(self, head, target)
        if begun is None:
            call = Call(self, head.body_bytes, closes=head.closes)
        else:
            call = Call(self, 0, closes=False, framing=begun.framing)
            scope["headers"] = begun.plan.headers(len(begun.body))
            scope[BEGUN_KEY] = begun
        with suppress(Exception):  # the app's own log has it; here it ends the answer
            await self.ingress.plain_app(scope, call.receive, call.send)
        may_go_on = await call.finish()
        self._has_unread_body = call.left_bytes > 0
        return may_go_on and not self.departure.is_set()

    def take(self, most_bytes: int) -> bytes:
        """Up to `most_bytes` of what was read."""
        data = self.data
        if len(data) <= most_bytes:
            self.data = b""
            return data
        self.data = data[most_bytes:]
        return data[:most_bytes]

    async def close(self) -> None:
        """Close, and let a client that is still sending take the answer before.

        Raises:
            OSError, trio.BrokenResourceError, trio.ClosedResourceError: the client is gone.
        """
        if self._has_unread_body and not self.departure.is_set():
            await end_gently(self.stream)
        elif self.stream.socket.fileno() >= 0:
            await self.stream.send_eof()

    def reset(self) -> None:
        """Close at once with a TCP reset; may be repeated."""
        reset(self.stream)

    def end_if_idle(self, now: float, most_s: float) -> None:
        """Close if nothing was asked for `most_s`, now being `now` (monotonic seconds)."""
        if now - self._idle_since >= most_s and self._state is State.IDLE:
            self.data = b""
            self.end_now()

    def end_now(self) -> None:
        """Close if no request is under way, not even one of whose body the rest is to come."""
        if self._state is State.IDLE:
            if not self.data:
                self.stream.socket.close()
            self.wake()

    @property
    def held_descriptor(self) -> int | None:
        """See `departures`: nobody reads while a request is served."""
        if self._state is not State.SERVING:
            return None
        descriptor = self.stream.socket.fileno()
        return None if descriptor < 0 else descriptor

    def note_hangup(self) -> None:
        """The client has closed its side."""
        self.has_hung_up = True
        if self._state is State.SERVING:
            self.departure.set()
            if self.parking is not None and self.parking.begun is not None:
                self.parking.begun.note_client_left()

    def end_hold(self) -> None:
        """See `departures`."""
        self.departure.set()

    def read_on(self, most_bytes: int) -> int:
        """See `departures`: what a request of the lane brings fits into the kernel's buffers."""
        del most_bytes
        return 0

    def pass_over_head(self) -> None:
        """The express has taken the request whose head was read last, with its body."""
        self._raw = b""
        self.gate.pass_over_body()

    # -- in the express ---------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """See `readiness`."""
        if self.parking is not None:
            self.parking.on_ready(events)
        else:
            self.note_hangup()

    def fail(self) -> None:
        """See `readiness`."""
        begun = None if self.parking is None else self.parking.take_begun()
        if begun is not None:
            begun.drop()
        self.reset()
        self.note_hangup()
        self.wake()

    def wake(self) -> None:
        """The task of the connection has something to do, if it sleeps."""
        if self.parking is not None:
            self.parking.wake()

    def wait_for_rest(self) -> bool:
        """Whether the rest of what `data` holds a part of is waited for in the express."""
        self._idle_since = self._now()
        return self.parking is not None and self.parking.wait_for_rest()

    def begin(self, begun: Begun) -> None:
        """The express has begun a request."""
        self._state = State.SERVING
        self.data = b""
        if self.parking is not None:
            self.parking.begin(begun)

    def end_begun(self) -> None:
        """The express has ended it."""
        if self.parking is None:
            return
        self._state = State.IDLE
        self._idle_since = self._now()
        is_last = self.has_hung_up or self.ingress.terminated.is_set()
        self.parking.end(is_last=is_last)
