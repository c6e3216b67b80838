"""The bytes of an HTTP/1.1 answer, made of what an ASGI app sends.

Answers as workers give them are written here; whatever is out of the ordinary (no body by its
status, a framing of the app's own, a header that may be none) is left to h11, which Hypercorn uses
for all of them: so both write, and refuse, the same. This file must not know sockets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import h11

if TYPE_CHECKING:
    from collections.abc import Iterable

    Message = dict[str, Any]

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_DIGITS = re.compile(rb"[0-9]{1,18}")
# What decides about the framing or the connection.
_SPECIAL = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_MOST_NAMES = 1_000
_NO_BODY = frozenset({204, 304})
_FINE = bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)) + b"\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_CLOSE = b"Connection: close\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Framing(Protocol):
    """How one answer is written."""

    head: bytes

    @property
    def closes(self) -> bool:
        """The connection ends with this answer."""

    def body(self, piece: bytes, *, is_last: bool) -> tuple[bytes, ...]:
        """The bytes of a piece of the body, possibly none.

        Raises:
            h11.LocalProtocolError: it is not the body that the head speaks of.
        """

    def skip(self, size_bytes: int) -> bool:
        """Whether so much of the body may be written as it is, without having been framed here."""


class _Plain:
    """An answer with a body, of a length that is known or in chunks."""

    __slots__ = ("_left_bytes", "closes", "head")

    def __init__(self, head: bytes, length: int | None, *, closes: bool) -> None:
        self.head = head
        self.closes = closes
        self._left_bytes = length  # None: in chunks

    def body(self, piece: bytes, *, is_last: bool) -> tuple[bytes, ...]:
        """See `Framing`."""
        left_bytes = self._left_bytes
        if left_bytes is None:
            end = (_LAST_CHUNK,) if is_last else ()
            return (b"%x\r\n" % len(piece), piece, b"\r\n", *end) if piece else end
        left_bytes = self._left_bytes = left_bytes - len(piece)
        if left_bytes < 0:
            raise h11.LocalProtocolError("Too much data for declared Content-Length")
        if is_last and left_bytes:
            raise h11.LocalProtocolError("Too little data for declared Content-Length")
        return (piece,) if piece else ()

    def skip(self, size_bytes: int) -> bool:
        """See `Framing`."""
        left_bytes = self._left_bytes
        if left_bytes is None or left_bytes < size_bytes:
            return False
        self._left_bytes = left_bytes - size_bytes
        return True


class _Careful:
    """Any answer, as h11 writes it."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], *, closes: bool) -> None:
        self._connection = h11.Connection(h11.SERVER)
        asked = b"connection: close\r\n" if closes else b""
        self._connection.receive_data(b"GET / HTTP/1.1\r\nhost: a\r\n%b\r\n" % asked)
        while not isinstance(self._connection.next_event(), h11.EndOfMessage):
            pass
        self._has_body = status not in _NO_BODY
        response = h11.Response(status_code=status, headers=headers)
        self.head = self._connection.send(response) or b""

    @property
    def closes(self) -> bool:
        """See `Framing`."""
        return self._connection.our_state not in {h11.SEND_BODY, h11.DONE}

    def body(self, piece: bytes, *, is_last: bool) -> tuple[bytes, ...]:
        """See `Framing`."""
        data = self._connection.send(h11.Data(data=piece)) if piece and self._has_body else b""
        end = self._connection.send(h11.EndOfMessage()) if is_last else b""
        return tuple(part for part in (data, end) if part)

    def skip(self, size_bytes: int) -> bool:  # noqa: ARG002  of any size
        """See `Framing`: h11 wants to see all."""
        return False


_names: set[bytes] = set()  # such as need no look: tokens that decide about nothing


def framing_of(message: Message, *, closes: bool) -> Framing:
    """How the answer that begins with the ASGI message `message` is written.

    Args:
        message: http.response.start
        closes: the connection ends with this answer.

    Raises:
        h11.LocalProtocolError: its head is no HTTP.
    """
    status: int = message["status"]
    headers: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
    parts = [b"HTTP/1.1 %d \r\n" % status]
    length: int | None = None
    lines = 2
    for name, value in headers:
        if name not in _names and not _is_plain_name(name):
            if name != b"content-length" or length is not None or not _DIGITS.fullmatch(value):
                return _careful(message, closes=closes)
            length = int(value)
        parts += (name, b": ", value, b"\r\n")
        lines += 1
    if length is None:
        parts.append(_CHUNKED)
        lines += 1
    if closes:
        parts.append(_CLOSE)
        lines += 1
    parts.append(b"\r\n")
    head = b"".join(parts)
    # A line break that is none of those written here would be a header of its own.
    is_odd = (
        head.count(b"\n") != lines
        or head.count(b"\r") != lines
        or b":  " in head
        or head.count(b" \r\n") != 1  # of the status line: no reason stands there
        or head.translate(None, _FINE)
    )
    if is_odd or status in _NO_BODY or not 200 <= status < 1000:
        return _careful(message, closes=closes)
    return _Plain(head, length, closes=closes)


def _is_plain_name(name: bytes) -> bool:
    if not _TOKEN.fullmatch(name) or name.lower() in _SPECIAL:
        return False
    if len(_names) < _MOST_NAMES:
        _names.add(bytes(name))
    return True


def _careful(message: Message, *, closes: bool) -> _Careful:
    headers = [(bytes(n).strip(), bytes(v).strip()) for n, v in message.get("headers", ())]
    return _Careful(int(message["status"]), headers, closes=closes)
