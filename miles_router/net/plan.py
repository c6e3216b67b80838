"""What the head of a plain request asks for, found out once for all requests that begin alike.

Clients send the same head again and again, but for the length of the body: reading it, judging who
asks for what, and writing it anew for a worker is half of what relaying costs. So a head that was
read by the gate and judged by the router is remembered without the digits of its length. Two heads
that differ in nothing else mean the same. This file must not know sockets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from miles_router.core.affinity import SessionKey
    from miles_router.core.auth import Caller
    from miles_router.core.headers import Headers
    from miles_router.net.passing import Passage, Passing
    from miles_router.net.plain import Target
    from miles_router.net.request_head import RequestHead
    from miles_router.net.upstream import Connection

_EMPTY = b"\r\n\r\n"
# Neither sign nor space, no zero in front, and no overflow: what llhttp reads as the same number,
# and what is written again to the byte.
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: (0|[1-9][0-9]{0,14})\r\n")
# Longer heads carry what no other carries.
MOST_HEAD_BYTES = 4096
# Every key may come with every session. Beyond this, what is remembered is begun anew.
MOST_HEADS = 4096

Key = tuple[bytes, bytes]


class Plan(msgspec.Struct, frozen=True):
    """One kind of request.

    `line` and `rest` are what a worker gets before and after its name in the Host header, without
    the id of the request and the length of its body.
    """

    head: RequestHead
    target: Target
    path: str  # decoded and normalised
    path_class: str
    caller: Caller
    session: SessionKey | None
    request_id: str | None  # as the client chose it
    line: bytes
    rest: bytes
    takes_key: bool  # a worker that wants a key is sent its own
    passing: Passing | None = None  # what changes such requests, and their answers

    def __repr__(self) -> str:  # keys stay out of logs and tracebacks
        return f"<Plan {self.path}>"

    def passage(self, body: bytes) -> Passage | None:
        """How a request with `body` is changed, where there is a `passing`; None: in a task."""
        if self.passing is None:
            return None
        session = None if self.session is None else self.session[1]
        return self.passing.prepare(self.caller.tenant, session, body)

    def write(self, connection: Connection, request_id: str, body: bytes) -> bytes:
        """The bytes of one request of this kind for the worker behind `connection`."""
        api_key = connection.worker.spec.api_key if self.takes_key else None
        return b"%b%b%b%b\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            self.line,
            connection.authority.encode("ascii"),
            self.rest,
            b"" if api_key is None else b"\r\nauthorization: Bearer " + api_key.encode(),
            request_id.encode("latin-1"),
            len(body),
            body,
        )

    def headers(self, body_bytes: int) -> Headers:
        """The headers of one request of this kind."""
        length = b"%d" % body_bytes
        return [
            (name, length if name == b"content-length" else value)
            for name, value in self.head.headers
        ]


# A head, cut at the digits of its length: what stands around them, where it ends, the length. (A
# NamedTuple takes three times as long to make.)
Cut = tuple[Key, int, int]


def cut(data: bytes) -> Cut | None:
    """The head that `data` begins with; None if it does not look like one that is remembered.

    That it is a head at all, only its being remembered says.
    """
    found = _LENGTH.search(data, 0, MOST_HEAD_BYTES)
    if found is None:
        return None
    start, stop = found.span(1)
    end = data.find(_EMPTY, stop, MOST_HEAD_BYTES) + len(_EMPTY)
    if end < stop:
        return None
    return (data[:start], data[stop:end]), end, int(data[start:stop])


class Plans:
    """The plans that are remembered."""

    def __init__(self) -> None:
        self._plans: dict[Key, Plan] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def get(self, key: Key) -> Plan | None:
        """The plan of a head."""
        return self._plans.get(key)

    def learn(self, raw: bytes, plan: Plan) -> None:
        """Remember `plan` for heads like `raw`, which the gate has read and found plain."""
        known = cut(raw)
        if known is None:
            return
        key, end, length = known
        if end != len(raw) or length != plan.head.body_bytes:
            return
        if len(self._plans) >= MOST_HEADS:
            self._plans.clear()
        self._plans[key] = plan
