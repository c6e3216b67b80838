"""How a client's connection ends so that its client can take what it is told.

A connection that is closed while bytes of the client are unread is reset by the kernel, and the
answer with it may be lost: so the client is read on for a moment.
"""

from __future__ import annotations

import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import trio

if TYPE_CHECKING:
    from miles_router.net.request_head import Refusal

# How long a client may take to read why its request is refused, or the rest of an early answer.
LINGER_S = 2.0
_DROPPED_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


def refusal_answer(refusal: Refusal) -> bytes:
    """The answer to bytes that the gate refuses."""
    body = msgspec.json.encode({"error": {"code": refusal.code, "message": refusal.message}})
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


async def end_gently(stream: trio.SocketStream, last: bytes = b"") -> None:
    """Send `last` and the end, then drop what the client still sends, for `LINGER_S` in all.

    Raises:
        trio.BrokenResourceError, trio.ClosedResourceError: the client is gone.
    """
    with trio.move_on_after(LINGER_S):
        await stream.send_all(last)
        await stream.send_eof()
        while await stream.receive_some(_DROPPED_BYTES):
            pass


def reset(stream: trio.SocketStream) -> None:
    """Close at once with a TCP reset; may be repeated."""
    sock = stream.socket
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        return  # closed already
    sock.close()
