"""Hypercorn's trio TCP server behind the gate: what the lane does not serve.

Every connection's bytes pass `gate` before Hypercorn sees them. An app that returns in mid-answer
cuts its connection: the client cannot take what it got for a complete answer, HTTP/1.0 included. A
connection that fails in an unforeseen way ends alone, with its traceback in the log, instead of
taking the listener down. A connection ends when its client has closed it, not at the end of its
keep-alive time. An answer that comes before the request was read to its end reaches the client;
what is left of the request is read and dropped.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.trio.tcp_server import TCPServer

from miles_router.net.closing import LINGER_S, end_gently, refusal_answer, reset
from miles_router.net.departures import LEFT_KEY
from miles_router.net.gate import Gate
from miles_router.net.inbox import Inbox
from miles_router.net.intake import Intake
from miles_router.net.lane_call import GONE
from miles_router.net.lane_states import HandedOver
from miles_router.net.request_head import TARGET_KEY, Refusal
from miles_router.net.server_config import BODY_PAUSE_S

if TYPE_CHECKING:
    from hypercorn.events import Event

    from miles_router.net.hypercorn_parts import HypercornParts
    from miles_router.net.ingress import Ingress
    from miles_router.net.lane import Lane

# Where no answer is half sent: one that is DONE has left for the socket.
_BETWEEN_ANSWERS = frozenset({h11.IDLE, h11.SEND_RESPONSE, h11.DONE})


class GatedServer(TCPServer):
    """One client connection."""

    def __init__(
        self,
        ingress: Ingress,
        parts: HypercornParts,
        stream: trio.SocketStream,
        lane: Lane | None = None,
        handed: HandedOver | None = None,
    ) -> None:
        """`lane` serves what of the connection it can; `handed` is what it could not."""
        super().__init__(
            self._call_app,  # type: ignore[arg-type]  # Hypercorn wants the wrapper's signature only
            parts.config,
            parts.context,
            {},  # no app has a state that begins with the server
            stream,  # type: ignore[arg-type]  # annotated for TLS; plain streams are served too
        )
        self._ingress = ingress
        self._app = parts.app
        self._lane = lane
        self._handed = handed
        self._gate = Gate() if lane is None else lane.gate
        self.intake = Intake(stream, ingress.room, None if lane is None else lane.departure)
        self._must_reset = False
        self._is_lingering = False
        self._inbox: Inbox | None = None

    async def _call_app(
        self, scope: dict[str, Any], receive: Any, send: Any, *spawners: Any
    ) -> None:
        if self._lane is not None:
            self._ingress.unserved.discard(self._lane)
        # An HTTP/1.0 body ends with its connection: until it is complete, only a reset tells the
        # client that it is not.
        self._must_reset = scope["type"] == "http" and scope["http_version"] == "1.0"

        # ASGI splits the target, and so loses whether an empty query was there.
        scope[TARGET_KEY] = self._gate.take_target()
        # What stands in front of it in the queue may keep the disconnect from an app that is busy.
        scope[LEFT_KEY] = self.intake.has_ended
        inbox = self._inbox = Inbox(receive)

        async def track(message: dict[str, Any]) -> None:
            is_early = self._has_unread_body and self._gate.is_in_body
            if message["type"] == "http.response.start" and is_early:  # no request may follow it
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._must_reset = False
                inbox.drain_by(self._task_group)
            await send(message)

        await self._app(scope, inbox.receive, track, *spawners)  # type: ignore[arg-type]  # dicts
        inbox.drain_by(self._task_group)

    async def run(self) -> None:
        """Serve the connection to its end; never raises what belongs to it alone."""
        self._ingress.connections.add(self)
        self._ingress.intakes.add(self.intake)
        try:
            await super().run()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away while something was written
        except* Exception:
            self._ingress.log.exception("connection_failed")
        finally:
            self._ingress.connections.discard(self)
            self._ingress.intakes.discard(self.intake)
            if self._lane is not None:
                self._lane.forget()
            self.intake.close()
            self._gate.close()

    async def _read_data(self) -> None:
        while True:
            try:
                data = await self._next_data()
            except GONE:
                break
            # The end is told below: told as bytes, it would wait behind the pieces of a body.
            if not data or not await self.intake.hand_on(
                partial(self.protocol.handle, RawData(data))
            ):
                break
        self.intake.has_ended.set()
        if self._inbox is not None:
            self._inbox.end()
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _next_data(self) -> bytes:
        """What Hypercorn is to serve next; empty at the end, and after what the gate refused."""
        handed, self._handed = self._handed, None
        if handed is None:
            data = await self._read_in_time()
            if self._lane is None or not data or not self._is_at_rest:
                handed = HandedOver(data)
            else:
                await self.idle_task.stop()
                handed = await self._lane.run(data)
                if handed is None:
                    await self._lane.close()
                    return b""
        refusal = self._gate.check(handed.data[handed.checked_bytes :])
        if refusal is not None:
            await self._refuse(refusal)
            return b""
        return handed.data

    async def _read_in_time(self) -> bytes:
        """The next bytes; none, as at the end, where a body does not go on."""
        with trio.move_on_after(BODY_PAUSE_S if self._gate.is_in_body else float("inf")):
            return await self.intake.read()
        self.reset()
        return b""

    @property
    def _is_at_rest(self) -> bool:
        """No request is under way, nor one begun: the next byte begins one."""
        connection = getattr(self.protocol.protocol, "connection", None)
        return (
            isinstance(connection, h11.Connection)
            and connection.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}
            and not connection.trailing_data[0]
            and self._gate.is_between_requests
            and self.intake.is_empty
        )

    async def protocol_send(self, event: Event) -> None:
        """Carry out what Hypercorn's protocol wants of the connection."""
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
            return
        if isinstance(event, Updated) and event.idle and self.intake.has_ended.is_set():
            return  # there is no next request to wait for
        if isinstance(event, Closed) and not self._must_reset and self._has_unread_body:
            if not self._is_lingering:
                self._is_lingering = True
                self._task_group.spawn(self._linger)
            return
        await super().protocol_send(event)

    async def _send_bytes(self, data: bytes) -> None:
        """Write to the client. Cancellation: the connection is reset, for bytes are missing on it.

        Hypercorn shields its writes instead: nothing could end an app whose client reads nothing.
        """
        try:
            async with self.send_lock:
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())
        except trio.Cancelled:
            self.reset()
            raise

    @property
    def _their_state(self) -> object:
        return getattr(getattr(self.protocol.protocol, "connection", None), "their_state", None)

    @property
    def _has_unread_body(self) -> bool:
        return self._their_state is h11.SEND_BODY and not self.intake.has_ended.is_set()

    async def _linger(self) -> None:
        """Let a client that is still sending take the answer before the connection is closed."""
        with trio.move_on_after(LINGER_S):
            async with self.send_lock:
                await self.stream.send_eof()
            await self.intake.has_ended.wait()
        await self._close()

    async def _refuse(self, refusal: Refusal) -> None:
        """Answer in JSON once no other answer is half sent, then close."""
        self._ingress.metrics.refused_connections[refusal.code] += 1
        if not await self.intake.hand_on(self._wait_answered):
            return  # the client has left
        with trio.move_on_after(LINGER_S) as waiting:
            while self._is_in_mid_answer:  # noqa: ASYNC110  h11 tells nobody; rare, and short
                await trio.sleep(0.005)
        if waiting.cancelled_caught:
            return
        async with self.send_lock:
            await end_gently(self.stream, refusal_answer(refusal))  # type: ignore[arg-type]  # plain

    async def _wait_answered(self) -> None:
        """Return when no whole request waits for its answer, which bad bytes behind it are not."""
        while self._their_state is h11.DONE:  # noqa: ASYNC110  h11 tells nobody
            await trio.sleep(0.02)

    @property
    def _is_in_mid_answer(self) -> bool:
        """Also true while an answer lacks nothing but its end, which may have no bytes."""
        connection = getattr(self.protocol.protocol, "connection", None)
        return getattr(connection, "our_state", None) not in _BETWEEN_ANSWERS

    async def _close(self) -> None:
        if self._must_reset:
            self.reset()
            return
        await super()._close()

    def reset(self) -> None:
        """Close at once with a TCP reset; may be repeated."""
        reset(self.stream)  # type: ignore[arg-type]  # annotated for TLS; it is plain
