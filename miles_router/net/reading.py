"""One answer of a worker as llhttp reads it: head, pieces of the body, end.

This file must not know connections: bytes in, values out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from miles_router.core.headers import Headers


class AnswerHead:
    """Status line and headers of an answer; names in lower case."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers


class AnswerReading:
    """What llhttp calls back while it reads one answer (interim ones are skipped)."""

    __slots__ = (
        "chunks",
        "has_more",
        "headers",
        "is_complete",
        "is_headed",
        "keeps_alive",
        "parser",
        "status",
    )

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.begin()

    def begin(self) -> None:
        """Expect an answer."""
        self.status = 0
        self.headers: Headers = []
        self.chunks: deque[bytes] = deque()
        self.is_headed = False
        self.is_complete = False
        self.keeps_alive = False
        self.has_more = False  # something came behind the answer

    def feed(self, data: bytes) -> None:
        """Read `data`.

        Raises:
            httptools.HttpParserError: it is no HTTP.
        """
        if self.parser is None:
            self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        """An answer begins."""
        self.has_more = self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        if not self.is_headed:  # trailers come after the body and stop here
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head of an answer is complete."""
        if self.is_complete:
            return
        parser = self.parser
        assert parser is not None, "it is the one that calls"
        self.status = parser.get_status_code()
        if self.status < 100:
            raise ValueError("there is no such status")
        if self.status == 101:
            raise ValueError("the worker switched protocols without being asked")
        self.is_headed = self.status >= 200
        # llhttp forgets what decides this when the message is complete.
        self.keeps_alive = bool(parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self.is_complete:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        """An answer ends."""
        if self.is_headed:
            self.is_complete = True
        else:
            self.headers = []

    def end(self) -> None:
        """It is complete without llhttp having seen its end.

        The parser and this object refer to each other: apart, no garbage has to be collected.
        """
        self.is_complete = True
        self.parser = None
