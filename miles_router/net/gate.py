"""What a client may send: a strict reading of HTTP/1.1 ahead of the server.

Hypercorn's parser (h11) is forgiving where RFC 9112 allows it: bare LF, folded headers, both
Content-Length and Transfer-Encoding. A proxy that forgives can be made to disagree with the worker
behind it about where a request ends (request smuggling). So every byte is first read by llhttp,
which forgives nothing; what it refuses never reaches the server. Pure: bytes in, verdict out.

Invariant: after a refusal the connection is over; no byte of the refused data was handed on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import httptools

# An OpenAI client sends 1 KB of headers, a browser with cookies 8 KB.
MAX_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is ended."""

    status: int
    code: str
    message: str


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


_HEAD_TOO_LARGE = Refusal(
    400, "head_too_large", f"request line and headers are larger than {MAX_HEAD_BYTES} bytes"
)
_UPGRADE = Refusal(
    501, "upgrade_unsupported", "protocol upgrades (WebSocket, h2c, CONNECT) are not supported"
)
_ENCODING = Refusal(400, "bad_request", "the only Transfer-Encoding understood here is: chunked")
_VERSION = Refusal(400, "bad_request", "the versions understood here are HTTP/1.1 and HTTP/1.0")
_EMPTY_LINE = Refusal(400, "bad_request", "a request begins with its request line")
_HOST = Refusal(400, "bad_request", "an HTTP/1.1 request carries exactly one Host header")


class Gate:
    """Reads one connection's requests, one after another."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._parsed_bytes = 0
        self._in_head = True
        self._at_boundary = True
        self._hosts = 0
        self._target_parts: list[bytes] = []
        self._targets: deque[bytes] = deque()
        self.requests = 0  # heads read completely

    def check(self, data: bytes) -> Refusal | None:
        """Read `data`; None if all of it may be handed on."""
        if self._at_boundary and data[:1] in {b"\r", b"\n"}:
            return _EMPTY_LINE
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return _UPGRADE
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                return cause.refusal
            raise
        except httptools.HttpParserInvalidMethodError:
            return Refusal(400, "bad_request", "not an HTTP request: unknown method")
        except httptools.HttpParserError as error:
            return Refusal(400, "bad_request", f"not a valid HTTP/1.1 request: {error}")
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            return _HEAD_TOO_LARGE
        return None

    def take_target(self) -> bytes:
        """The target of the oldest request whose target was not taken yet, to the byte."""
        return self._targets.popleft()

    # -- callbacks of llhttp --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._at_boundary = False
        self._in_head = True
        self._head_bytes = 0
        self._parsed_bytes = 0
        self._hosts = 0
        self._target_parts.clear()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._count(len(url))
        self._target_parts.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        if not self._in_head:
            return
        self._count(len(name) + len(value) + 4)
        lowered = name.lower()
        if lowered == b"host":
            self._hosts += 1
        elif lowered == b"upgrade":
            raise _Refused(_UPGRADE)
        elif lowered == b"transfer-encoding":
            # A Transfer-Encoding in HTTP/1.0 is a faulty framing (RFC 9112, 6.1).
            is_old = self._parser.get_http_version() != "1.1"
            if is_old or value.strip().lower() != b"chunked":
                raise _Refused(_ENCODING)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self.requests += 1
        version = self._parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise _Refused(_VERSION)
        if self._hosts > 1 or (self._hosts == 0 and version == "1.1"):
            raise _Refused(_HOST)
        self._targets.append(b"".join(self._target_parts))

    def on_message_complete(self) -> None:
        """A request ends."""
        self._at_boundary = True

    def _count(self, size_bytes: int) -> None:
        self._parsed_bytes += size_bytes
        if self._parsed_bytes > MAX_HEAD_BYTES:
            raise _Refused(_HEAD_TOO_LARGE)
