"""The fast lane: one client connection, as long as its requests are plain.

Hypercorn's way costs a request some 800 us: tasks, queues, locks, a parser in Python. Most requests
need none of that. Theory of operation: the head of a request is read by the gate, as every head is.
One that is plain (`plain`: HTTP/1.1, a data path, a body that is counted and small) is served here
and now, in the task of its connection: the app is called, the body is read as the app asks for it,
the answer is written as the app sends it. What is not plain goes to Hypercorn untouched, head and
all; the next request on the connection may be served here again.

While a request is served, nothing behind it is read, except where the app itself waits for the end
of its client. That a client leaves is told by the kernel (`hangups`); one that says nothing for too
long is found by a sweep over all connections (`end_if_idle`).

Invariant: one request at a time; an answer is complete, or its connection is closed.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.utils import parse_socket_addr

from miles_router.net.closing import end_gently, refusal_answer, reset
from miles_router.net.departures import LEFT_KEY, Departure
from miles_router.net.gate import Gate
from miles_router.net.lane_call import GONE, Call
from miles_router.net.plain import Target, plain_target
from miles_router.net.request_head import TARGET_KEY, Refusal
from miles_router.net.wire import wire_of

if TYPE_CHECKING:
    from miles_router.net.ingress import Ingress
    from miles_router.net.request_head import RequestHead

READ_BYTES = 65_536


class HandedOver:
    """Bytes that are Hypercorn's to serve."""

    __slots__ = ("checked_bytes", "data")

    def __init__(self, data: bytes, checked_bytes: int = 0) -> None:
        self.data = data
        self.checked_bytes = checked_bytes  # so many have passed the gate


class State(Enum):
    """What a connection does."""

    IDLE = "idle"  # it waits for a request
    SERVING = "serving"
    AWAY = "away"  # its request is Hypercorn's


class Lane:
    """One client connection."""

    def __init__(self, ingress: Ingress, stream: trio.SocketStream) -> None:
        """`stream` must be connected."""
        self.stream = stream
        self.gate = Gate()
        self.departure = Departure()
        self.wire = wire_of(stream)
        self.data = b""  # what was read and belongs to nothing yet
        self._ingress = ingress
        self._state = State.IDLE
        self._now = trio.lowlevel.current_clock().current_time
        self._idle_since = self._now()
        self._has_unread_body = False
        self._has_hung_up = False
        socket = stream.socket
        self._descriptor = socket.fileno()
        self._client = parse_socket_addr(socket.family, socket.getpeername())
        self._server = parse_socket_addr(socket.family, socket.getsockname())

    async def serve(self) -> HandedOver | None:
        """Serve the connection until a request is not to be served here; never raises its ends.

        Returns what is Hypercorn's to serve, or None: the connection was closed.
        """
        ingress = self._ingress
        ingress.connections.add(self)
        ingress.lanes.add(self)
        ingress.hangups.add(self._descriptor, self)
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
        self._ingress.lanes.discard(self)
        self._ingress.hangups.discard(self._descriptor, self)
        self.gate.close()

    async def run(self, data: bytes = b"") -> HandedOver | None:
        """Serve requests, of which `data` was read already, until one is not to be served here.

        Returns what is Hypercorn's to serve, or None: the connection is over.

        Raises:
            OSError, trio.BrokenResourceError, trio.ClosedResourceError: the client is gone.
        """
        self.data = data
        terminated = self._ingress.context.terminated
        while not terminated.is_set():
            self._state = State.IDLE
            raw = await self._read_head()
            if not raw:
                return None
            head = self.gate.head
            assert head is not None, "it was read"
            target = plain_target(head, raw)
            if target is None or len(self.data) > head.body_bytes:
                self._state = State.AWAY
                return HandedOver(raw + self.data, len(raw))
            self._state = State.SERVING
            if self._has_hung_up:
                self.departure.set()
            if not await self._call(head, target):
                return None
            self._idle_since = self._now()
        return None

    async def _read_head(self) -> bytes:
        """The bytes of the next head; empty if there is none."""
        gate = self.gate
        raw = b""
        while True:
            data = self.data or await self.wire.read(READ_BYTES)
            if not data:
                return b""
            size_bytes = gate.read_head(data)
            if isinstance(size_bytes, Refusal):
                self._ingress.metrics.refused_connections[size_bytes.code] += 1
                await end_gently(self.stream, refusal_answer(size_bytes))
                return b""
            self.data = data[size_bytes:]
            raw = raw + data[:size_bytes] if raw else data[:size_bytes]
            if gate.head is not None:
                return raw

    async def _call(self, head: RequestHead, target: Target) -> bool:
        """Let the app serve one request; whether the connection may go on."""
        self.gate.pass_over_body()
        call = Call(self, head.body_bytes, closes=head.closes)
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": head.method.decode("ascii"),
            "scheme": "http",
            "path": target.path,
            "raw_path": target.raw_path,
            "query_string": target.query,
            "root_path": "",
            "headers": head.headers,
            "client": self._client,
            "server": self._server,
            "state": self._ingress.lifespan_state.copy(),
            "extensions": {},
            TARGET_KEY: head.target,
            LEFT_KEY: self.departure,
        }
        with suppress(Exception):  # the app's own log has it; here it ends the answer
            await self._ingress.plain_app(scope, call.receive, call.send)
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
        if now - self._idle_since >= most_s:
            self.end_now()

    def end_now(self) -> None:
        """Close if no request is under way."""
        if self._state is State.IDLE:
            self.stream.socket.close()

    @property
    def held_descriptor(self) -> int | None:
        """See `departures`: nobody reads while a request is served."""
        if self._state is not State.SERVING:
            return None
        descriptor = self.stream.socket.fileno()
        return None if descriptor < 0 else descriptor

    def note_hangup(self) -> None:
        """See `hangups`."""
        self._has_hung_up = True
        if self._state is State.SERVING:
            self.departure.set()

    def end_hold(self) -> None:
        """See `departures`."""
        self.departure.set()

    def read_on(self, most_bytes: int) -> int:
        """See `departures`: what a request of the lane brings fits into the kernel's buffers."""
        del most_bytes
        return 0
