"""A short call to a worker on a connection of its own: probes, aborts, fan-outs.

These calls never share connections with relayed requests, so a pool full of long generations
cannot starve them. The whole answer is read, up to a bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import trio

from miles_router.core.headers import REQUEST_ID_HEADER, Headers, first, trace_of
from miles_router.errors import WorkerBroke, WorkerTimeout
from miles_router.net.request_bytes import request_head
from miles_router.net.upstream import Connection

if TYPE_CHECKING:
    from miles_router.core.worker import Worker
    from miles_router.net.dial import Dialer

# Metrics pages and engine answers are far below; a worker that sends more is not answering us.
MAX_REPLY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type with its parameters; empty if not given."""
        return (first(self.headers, b"content-type") or b"").decode("latin-1")

    def json(self) -> object:
        """The decoded body; None if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None  # msgspec raises UnicodeDecodeError for a string that is no UTF-8


@dataclass(frozen=True, slots=True)
class Call:
    """What to ask a worker."""

    method: str
    target: str
    body: bytes | None = None
    content_type: str = "application/json"
    request_id: str | None = None
    trace: tuple[tuple[bytes, bytes], ...] = ()

    def on_behalf_of(self, request_id: str, headers: Headers) -> Call:
        """This call as part of the request with that id and those headers: of its trace, too."""
        return replace(self, request_id=request_id, trace=tuple(trace_of(headers)))

    def encode(self, worker: Worker) -> bytes:
        """The bytes of the request; the worker's own key goes along."""
        headers: Headers = [(b"accept", b"*/*"), (b"connection", b"close")]
        if worker.spec.api_key is not None:
            headers.append((b"authorization", b"Bearer " + worker.spec.api_key.encode()))
        if self.request_id is not None:
            headers.append((REQUEST_ID_HEADER, self.request_id.encode("latin-1")))
        headers.extend(self.trace)
        framing: Headers = []
        if self.body is not None:
            headers.append((b"content-type", self.content_type.encode("latin-1")))
            framing = [(b"content-length", b"%d" % len(self.body))]
        head = request_head(
            self.method,
            self.target.encode("ascii"),
            worker.spec.url.authority,
            headers,
            framing=framing,
        )
        return head + (self.body or b"")


async def call_worker(
    dialer: Dialer, worker: Worker, call: Call, *, timeout_s: float | None
) -> Reply:
    """Ask `worker` on a fresh connection and read the whole answer.

    Cancellation: the connection is closed.

    Raises:
        WorkerFault: it cannot be reached, breaks off, or takes longer than `timeout_s`.
        CannotDial: the router's own system grants no connection.
    """
    try:
        with trio.fail_after(timeout_s if timeout_s is not None else float("inf")):
            connection = Connection(worker, await dialer.connect(worker.spec.url, worker.addresses))
            try:
                return await _ask(connection, call)
            finally:
                connection.close()
    except trio.TooSlowError:
        raise WorkerTimeout(
            f"{worker.url}: no complete answer to {call.method} {call.target} in {timeout_s:g} s"
        ) from None


async def _ask(connection: Connection, call: Call) -> Reply:
    connection.begin(is_head=call.method == "HEAD")
    await connection.send(call.encode(connection.worker))
    head = await connection.read_head()
    parts: list[bytes] = []
    size_bytes = 0
    while (chunk := await connection.read_chunk()) is not None:
        parts.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > MAX_REPLY_BYTES:
            raise WorkerBroke(f"{connection.worker.url}: the answer to {call.target} has no end")
    return Reply(head.status, head.headers, b"".join(parts))
