"""Sends replies, properly or with a fault, byte by byte as the fault wants.

`faults` decides which request gets which fault; this file does it on the connection. Both
functions tell whether the connection may carry another request.
"""

from __future__ import annotations

import gzip
import socket
import struct
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import trio

from miles_router.sim.http import ClientGone, Reply, head_bytes, may_have_body
from miles_router.sim.refusals import error_object

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from miles_router.sim.faults import Fault
    from miles_router.sim.http import Connection, Request
    from miles_router.sim.worker import Worker

GARBAGE = b"\x15\x03\x01\x00\x02\x02\x16 this is not HTTP\r\n\r\n"
SLOW_PIECE_BYTES = 64
LIE_BYTES = 10
LINGER_S = 1.0
"""How long `early` waits for the client to read the answer before the connection is torn down."""

_SERVER = ("server", "uvicorn")
_ONE_SEND_BYTES = 65_536
_STATUS_MESSAGES = {429: "Too many requests.", 503: "The request queue is full."}


@asynccontextmanager
async def _opened(body: bytes | AsyncGenerator[bytes, None]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body as pieces; a generator is closed at the end, whatever happens."""
    async with aclosing(_single(body) if isinstance(body, bytes) else body) as pieces:
        yield pieces


async def _single(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _collected(reply: Reply) -> bytes:
    async with _opened(reply.body) as pieces:
        return b"".join([piece async for piece in pieces])


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def send_reply(connection: Connection, request: Request, reply: Reply) -> bool:
    """Send a reply as a well-behaved server."""
    keep = request.keep_alive
    headers = [_SERVER, *reply.headers]
    has_body = may_have_body(reply.status, request.method)
    if isinstance(reply.body, bytes):
        if may_have_body(reply.status, "GET"):
            headers.append(("content-length", str(len(reply.body))))
        if not keep:
            headers.append(("connection", "close"))
        head = head_bytes(reply.status, headers)
        await _send_parts(connection, head, reply.body if has_body else b"")
        return keep
    is_framed = any(name == "content-length" for name, _ in headers)
    is_chunked = not is_framed and request.http_version == "1.1"
    if is_chunked:
        headers.append(("transfer-encoding", "chunked"))
    elif not is_framed:
        keep = False
    if not keep:
        headers.append(("connection", "close"))
    await connection.send(head_bytes(reply.status, headers))
    async with _opened(reply.body) as pieces:
        async for piece in pieces:
            if has_body and piece:
                await connection.send(_chunk(piece) if is_chunked else piece)
    if is_chunked and has_body:
        await connection.send(b"0\r\n\r\n")
    return keep


async def _send_parts(connection: Connection, head: bytes, body: bytes) -> None:
    if len(body) <= _ONE_SEND_BYTES:
        await connection.send(head + body)
    else:
        await connection.send(head)
        await connection.send(body)


async def misbehave(
    worker: Worker,
    connection: Connection,
    request: Request,
    fault: Fault,
    answer: Callable[[], Awaitable[Reply]],
) -> bool:
    """Answer with a fault; `answer` makes the proper reply for the faults that spoil one."""
    if fault.kind == "early":
        return await _early(connection, fault)
    if fault.kind in _INSTEAD:
        worker.stats.note_body(request, await request.body())
        return await _INSTEAD[fault.kind](worker, connection, request, fault)
    reply = await answer()
    if fault.kind == "slow":
        await _slow(connection, reply, fault)
        return request.keep_alive
    if fault.kind == "truncate_chunked":
        return await _truncate_chunked(connection, reply, fault)
    return await _spoil_whole(connection, request, reply, fault)


async def _early(connection: Connection, fault: Fault) -> bool:
    body = msgspec.json.encode(
        error_object(fault.code, "Refused before the body was read.", "early")
    )
    headers = [
        _SERVER,
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    await connection.send(head_bytes(fault.code, headers) + body)
    with trio.move_on_after(LINGER_S):
        await trio.sleep_forever()
    return False


async def _reset(_worker: Worker, connection: Connection, _request: Request, _fault: Fault) -> bool:
    stream = connection.stream
    if isinstance(stream, trio.SocketStream):
        # Linger on with zero seconds: closing sends RST and not FIN.
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)
    raise ClientGone


async def _close(
    _worker: Worker, _connection: Connection, _request: Request, _fault: Fault
) -> bool:
    return False


async def _hang(_worker: Worker, _connection: Connection, _request: Request, _fault: Fault) -> bool:
    await trio.sleep_forever()
    return False


async def _garbage(
    _worker: Worker, connection: Connection, _request: Request, _fault: Fault
) -> bool:
    await connection.send(GARBAGE)
    return False


async def _exit(worker: Worker, _connection: Connection, _request: Request, fault: Fault) -> bool:
    if worker.exit_process is None:
        raise RuntimeError("the fault exit needs a worker that is a process of its own")
    worker.exit_process(fault.code)


async def _status(_worker: Worker, connection: Connection, request: Request, fault: Fault) -> bool:
    if fault.code == 500:
        reply = Reply.text("Internal Server Error", 500)
    else:
        message = _STATUS_MESSAGES.get(fault.code, f"Simulated status {fault.code}.")
        reply = Reply.json(error_object(fault.code, message, str(fault.code)), fault.code)
    return await send_reply(connection, request, reply)


async def _html(_worker: Worker, connection: Connection, request: Request, _fault: Fault) -> bool:
    page = "<!doctype html><html><body><h1>It works!</h1></body></html>\n"
    reply = Reply.text(page, kind="text/html; charset=utf-8")
    return await send_reply(connection, request, reply)


async def _list(_worker: Worker, connection: Connection, request: Request, _fault: Fault) -> bool:
    return await send_reply(connection, request, Reply.json(["unexpected", None]))


_INSTEAD = {
    "reset": _reset,
    "close": _close,
    "hang": _hang,
    "garbage": _garbage,
    "exit": _exit,
    "status": _status,
    "html": _html,
    "list": _list,
}


async def _slow(connection: Connection, reply: Reply, fault: Fault) -> None:
    """The reply in small pieces, each behind a pause, chunked if the proper one would be."""
    is_whole = isinstance(reply.body, bytes)
    framing = ("content-length", str(len(reply.body))) if isinstance(reply.body, bytes) else None
    headers = [_SERVER, *reply.headers, framing or ("transfer-encoding", "chunked")]
    size = fault.size_bytes or SLOW_PIECE_BYTES
    await connection.send(head_bytes(reply.status, headers))
    async with _opened(reply.body) as pieces:
        async for piece in pieces:
            for start in range(0, len(piece), size):
                await trio.sleep(fault.delay_s)
                part = piece[start : start + size]
                await connection.send(part if is_whole else _chunk(part))
    if not is_whole:
        await connection.send(b"0\r\n\r\n")


async def _truncate_chunked(connection: Connection, reply: Reply, fault: Fault) -> bool:
    """Chunks up to `bytes` (half of a whole body, one piece of a stream), then the end."""
    headers = [_SERVER, *reply.headers, ("transfer-encoding", "chunked")]
    await connection.send(head_bytes(reply.status, headers))
    left = fault.size_bytes
    if left is None and isinstance(reply.body, bytes):
        left = len(reply.body) // 2
    async with _opened(reply.body) as pieces:
        async for piece in pieces:
            part = piece if left is None else piece[:left]
            if part:
                await connection.send(_chunk(part))
            left = 0 if left is None else left - len(part)
            if left <= 0:
                break
    return False


async def _spoil_whole(
    connection: Connection, request: Request, reply: Reply, fault: Fault
) -> bool:
    body = await _collected(reply)
    headers = [pair for pair in reply.headers if pair[0] != "content-length"]
    length, cut, keep = len(body), len(body), False
    if fault.kind == "truncate":
        cut = length // 2 if fault.size_bytes is None else fault.size_bytes
    elif fault.kind == "long_length":
        length += LIE_BYTES if fault.size_bytes is None else fault.size_bytes
    elif fault.kind == "short_length":
        lie = LIE_BYTES if fault.size_bytes is None else fault.size_bytes
        length, keep = max(0, length - lie), request.keep_alive
    elif fault.kind == "gzip":
        body = gzip.compress(body, mtime=0)
        headers.append(("content-encoding", "gzip"))
        length, cut, keep = len(body), len(body), request.keep_alive
    headers.append(("content-length", str(length)))
    await connection.send(head_bytes(reply.status, [_SERVER, *headers]) + body[:cut])
    return keep
