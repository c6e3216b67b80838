"""What a client may send: a strict reading of HTTP/1.1 ahead of the server.

Hypercorn's parser (h11) is forgiving where RFC 9112 allows it: bare LF, folded headers, both
Content-Length and Transfer-Encoding. A proxy that forgives can be made to disagree with the worker
behind it about where a request ends (request smuggling). So every byte is first read by llhttp,
which forgives nothing; what it refuses never reaches the server. Pure: bytes in, verdict out.

Invariant: after a refusal the connection is over; no byte of the refused data was handed on.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import httptools

from miles_router.net.request_head import Refusal, RequestHead

# An OpenAI client sends 1 KB of headers, a browser with cookies 8 KB.
MAX_HEAD_BYTES = 65_536
# So fine is the measure of what stands between the data of chunks.
CHUNKED_PIECE_BYTES = 16_384


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
_SPACES = Refusal(400, "bad_request", "single spaces divide a request line")
_LENGTH = Refusal(400, "bad_request", "Content-Length is one number")
_FRAMING_TOO_LARGE = Refusal(
    400, "bad_request", f"chunk extensions or trailers are larger than {MAX_HEAD_BYTES} bytes"
)
_EMPTY_LINE = Refusal(400, "bad_request", "a request begins with its request line")
_LINE_ENDS = (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")
_LINE_END_BYTES = len(_LINE_ENDS[0])
# What more than the worker and the app need to know.
_WATCHED = frozenset(
    {b"host", b"upgrade", b"content-length", b"transfer-encoding", b"connection", b"expect"}
)
_LENGTH_DIGITS = 20  # of 2**64; h11 takes no more
_NEWLINES = frozenset({b"\r", b"\n"})
_EMPTY = b"\r\n\r\n"  # the end of a line, and an empty one
_HOST = Refusal(400, "bad_request", "an HTTP/1.1 request carries exactly one Host header")


class _Part(Enum):
    """Where in a request the next byte is."""

    HEAD = "head"
    COUNTED = "counted"  # a body of a known length
    CHUNKED = "chunked"


class Gate:
    """Reads one connection's requests, one after another.

    llhttp does not tell where in its data a request ended, nor which protocol a request line named.
    So it is fed pieces: a head ends with an empty line, a counted body with its last byte, and a
    chunked one with an empty line too. A request that ends, ends with a piece.
    """

    def __init__(self) -> None:
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._targets: deque[bytes] = deque()
        self.requests = 0  # heads read completely
        self.head: RequestHead | None = None  # the last one that was read completely
        self._begin()

    def _begin(self) -> None:
        """Expect a request from here on."""
        self._part = _Part.HEAD
        self._head_bytes = 0
        self._body_bytes = 0  # what is left of a counted body
        self._loose_bytes = 0  # of chunk lines or trailers since anything came of them
        self._hosts = 0
        self._is_headed = False
        self._is_chunked = False
        self._is_complete = False
        self._spaces = 0  # in the request line
        self._line_end = b""  # its last bytes
        self._has_line = False
        self._last_bytes = b""  # three of them, where an empty line may have begun
        self._target_parts: list[bytes] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._closes = False
        self._has_expectation = False

    def read_head(self, data: bytes) -> int | Refusal:
        """Read `data` up to the end of a request's head, or all; how much of it that was.

        `head` is None until the end of the head was among it.
        """
        self.head = None
        end = data.find(_EMPTY) + len(_EMPTY)
        if not self.is_between_requests or not len(_EMPTY) <= end <= MAX_HEAD_BYTES:
            end = self._end_of_piece(data, 0)
            return self._check_piece(data[:end]) or end
        return self._check_whole_head(data if end == len(data) else data[:end]) or end

    def _check_whole_head(self, raw: bytes) -> Refusal | None:
        """What `_check_piece` does, for a head that came in one piece: a third of the steps."""
        if raw[:1] in _NEWLINES:
            return _EMPTY_LINE
        line_bytes = raw.index(b"\n") + 1
        self._spaces = raw.count(b" ", 0, line_bytes)
        self._line_end = raw[max(0, line_bytes - _LINE_END_BYTES) : line_bytes]
        self._has_line = True
        self._head_bytes = self._loose_bytes = len(raw)
        refusal = self._feed(raw)
        if refusal is None:
            self._advance(raw)
        return refusal

    def pass_over_body(self) -> None:
        """Expect a request next: the body behind `head` is counted by whoever takes it."""
        self._targets.pop()
        if self._part is not _Part.HEAD:
            self._parser = httptools.HttpRequestParser(self)
            self._begin()

    def close(self) -> None:
        """Nothing more comes. The parser refers to this object, and would be garbage with it."""
        self._parser = None

    @property
    def is_between_requests(self) -> bool:
        """Nothing of a request has come that is not over."""
        return self._part is _Part.HEAD and not self._head_bytes

    def check(self, data: bytes) -> Refusal | None:
        """Read `data`; None if all of it may be handed on."""
        start = 0
        while start < len(data):
            end = self._end_of_piece(data, start)
            refusal = self._check_piece(data[start:end])
            if refusal is not None:
                return refusal
            start = end
        return None

    @property
    def is_in_body(self) -> bool:
        """More of a request's body is to come."""
        return self._part is not _Part.HEAD

    def take_target(self) -> bytes:
        """The target of the oldest request whose target was not taken yet, to the byte."""
        return self._targets.popleft()

    def _end_of_piece(self, data: bytes, start: int) -> int:
        if self._part is _Part.COUNTED:
            return min(len(data), start + max(1, self._body_bytes))
        most = start + CHUNKED_PIECE_BYTES if self._part is _Part.CHUNKED else len(data)
        place = (self._last_bytes + data[start : start + 3]).find(_EMPTY)
        if place >= 0:
            return start + place + len(_EMPTY) - len(self._last_bytes)
        place = data.find(_EMPTY, start, most)
        return min(len(data), most) if place < 0 else place + len(_EMPTY)

    def _check_piece(self, piece: bytes) -> Refusal | None:
        if self._part is _Part.HEAD:
            if not self._head_bytes and piece[:1] in _NEWLINES:
                return _EMPTY_LINE
            self._note_line(piece)
            self._head_bytes += len(piece)
        self._loose_bytes += len(piece)
        refusal = self._feed(piece)
        if refusal is not None:
            return refusal
        if self._part is _Part.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            return _HEAD_TOO_LARGE
        if self._part is _Part.CHUNKED and self._loose_bytes > MAX_HEAD_BYTES:
            return _FRAMING_TOO_LARGE
        self._advance(piece)
        return None

    def _note_line(self, piece: bytes) -> None:
        if not self._has_line:
            line, newline, _ = piece.partition(b"\n")
            self._spaces += line.count(b" ")
            self._line_end = (self._line_end + line + newline)[-_LINE_END_BYTES:]
            self._has_line = bool(newline)

    def _feed(self, piece: bytes) -> Refusal | None:
        assert self._parser is not None, "nothing comes after `close`"
        try:
            self._parser.feed_data(piece)
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
        return None

    def _advance(self, piece: bytes) -> None:
        """Say where the byte after `piece` is."""
        if self._is_complete:
            self._begin()
            return
        self._last_bytes = (self._last_bytes + piece[-3:])[-3:]
        if self._part is _Part.COUNTED:
            self._body_bytes -= len(piece)
        elif self._part is _Part.HEAD and self._is_headed:
            self._part = _Part.CHUNKED if self._is_chunked else _Part.COUNTED

    # -- callbacks of llhttp --------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target_parts.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        if self._part is not _Part.HEAD:
            return
        lowered = name.lower()
        self._headers.append((lowered, value))
        if lowered in _WATCHED:
            self._note_header(lowered, value)

    def _note_header(self, lowered: bytes, value: bytes) -> None:
        if lowered == b"host":
            self._hosts += 1
        elif lowered == b"connection":
            self._closes = self._closes or b"close" in _tokens(value)
        elif lowered == b"expect":
            self._has_expectation = True
        elif lowered == b"upgrade":
            raise _Refused(_UPGRADE)
        elif lowered == b"content-length":
            digits = value.strip()
            if not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
                raise _Refused(_LENGTH)
            self._body_bytes = int(digits)
        else:
            # A Transfer-Encoding in HTTP/1.0 is a faulty framing (RFC 9112, 6.1).
            is_old = self._parser is None or self._parser.get_http_version() != "1.1"
            if is_old or value.strip().lower() != b"chunked":
                raise _Refused(_ENCODING)
            self._is_chunked = True

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._is_headed = True
        self.requests += 1
        if self._line_end not in _LINE_ENDS:  # llhttp also takes RTSP/1.0 and ICE/1.0
            raise _Refused(_VERSION)
        if self._spaces != 2:
            raise _Refused(_SPACES)
        if self._hosts > 1 or (self._hosts == 0 and self._line_end == _LINE_ENDS[0]):
            raise _Refused(_HOST)
        target = b"".join(self._target_parts)
        self._targets.append(target)
        self._note_head(target)

    def _note_head(self, target: bytes) -> None:
        assert self._parser is not None, "it is the one that calls"
        head = self.head = RequestHead(self._parser.get_method(), target, self._headers)
        head.body_bytes = self._body_bytes
        head.closes = self._closes
        is_new = self._line_end == _LINE_ENDS[0]
        head.is_plain = is_new and not self._is_chunked and not self._has_expectation

    def on_chunk_header(self) -> None:
        """A chunk's size, and what stands behind it."""
        self._loose_bytes = 0

    def on_body(self, _piece: bytes) -> None:
        """A piece of a body."""
        self._loose_bytes = 0

    def on_message_complete(self) -> None:
        """A request ends."""
        self._is_complete = True


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]
