"""What clients get for the heads that workers send, found out once for all that are alike.

A worker's answers begin alike for a second, but for the length of the body (the date is among the
headers). One that llhttp has read to its end, and that was framed for a client, is remembered
without the digits of its length and without the id of its request. This file must not know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import msgspec

from miles_router.core import headers as header_rules
from miles_router.core.headers import REQUEST_ID_HEADER
from miles_router.net.framing import framing_of
from miles_router.net.plan import Key, cut

if TYPE_CHECKING:
    from miles_router.net.framing import Framing
    from miles_router.net.reading import AnswerHead
    from miles_router.net.upstream import Connection

# A few per worker and second.
MOST_HEADS = 2048
# What these say of a length is not their own.
_NO_BODY = frozenset({204, 304})


class ClientHead(msgspec.Struct, frozen=True):
    """The head of an answer for a client, without its length and the id of its request."""

    status: int
    before: bytes
    after: bytes
    is_json: bool  # what it begins

    def write(self, length: int, request_id: bytes, body: bytes = b"") -> bytes:
        """The bytes of the head, and of the body."""
        return b"%b%d%b%b\r\n\r\n%b" % (self.before, length, self.after, request_id, body)


class Counted(msgspec.Struct, eq=False):
    """An answer whose head is known, as far as it has come.

    Args:
        head: for the client.
        pieces: as they were read.
        end: where the head ends, in the first piece.
        size_bytes: of the body.
        missing_bytes: of the body; below 0 where more has come than belongs to it.
    """

    head: ClientHead
    pieces: list[bytes]
    end: int
    size_bytes: int
    missing_bytes: int

    def add(self, data: bytes) -> None:
        """The next piece."""
        self.pieces.append(data)
        self.missing_bytes -= len(data)

    def body(self) -> bytes:
        """The body, where nothing is missing."""
        begun = self.pieces[0][self.end :]
        return begun if len(self.pieces) == 1 else b"".join((begun, *self.pieces[1:]))


def _is_json(head: AnswerHead) -> bool:
    """Whether an answer is good, and JSON as it stands: no other is read by who changes answers."""
    kind = header_rules.first(head.headers, b"content-type") or b""
    encoding = header_rules.first(head.headers, b"content-encoding")
    is_kind = kind.split(b";")[0].strip().lower() == b"application/json"
    return head.status == 200 and is_kind and encoding is None


class AnswerHeads:
    """The heads that are remembered."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, Key], ClientHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def get(self, worker_id: str, key: Key) -> ClientHead | None:
        """What a client gets for a head that a worker sent."""
        return self._heads.get((worker_id, key))

    def begin(self, worker_id: str, data: bytes) -> Counted | None:
        """The answer that begins with `data`; None if its head is not known."""
        known = cut(data)
        if known is None:
            return None
        key, end, length = known
        head = self.get(worker_id, key)
        if head is None:
            return None
        return Counted(head, [data], end, length, end + length - len(data))

    def read(
        self, connection: Connection, data: bytes, request_id: bytes
    ) -> tuple[AnswerHead, Framing] | None:
        """Read what an answer begins with, and how it is written for a client; learn it.

        None: it is not to be written on a connection that goes on, or it is no HTTP for a client.

        Raises:
            WorkerFault: it is none for the router either.
        """
        worker_id = connection.worker.id
        connection.begin(is_head=False)
        connection.take(data)
        head = connection.early_head()
        if head is None:
            return None
        try:
            framing = self.frame(worker_id, head, request_id)
        except h11.LocalProtocolError:
            return None
        if framing.closes:
            return None
        if connection.goes_on:
            self.learn(worker_id, head, data, framing.head, request_id)
        return head, framing

    def frame(self, worker_id: str, head: AnswerHead, request_id: bytes) -> Framing:
        """How an answer with `head` is written for a client.

        Raises:
            h11.LocalProtocolError: it is no HTTP.
        """
        headers = header_rules.to_client(head.headers, worker_id=worker_id)
        headers.append((REQUEST_ID_HEADER, request_id))
        return framing_of({"status": head.status, "headers": headers}, closes=False)

    def learn(
        self, worker_id: str, head: AnswerHead, raw: bytes, written: bytes, request_id: bytes
    ) -> None:
        """Remember that `written` is the head for a client of what a worker sent.

        Args:
            worker_id: of the worker.
            head: of its answer.
            raw: its whole answer, read to its end by its length, on a connection that goes on.
            written: the head that was framed for a client.
            request_id: of the request.
        """
        theirs, ours = cut(raw), cut(written)
        if theirs is None or ours is None:
            return
        key, end, length = theirs
        (before, after), written_end, written_length = ours
        ending = request_id + b"\r\n\r\n"
        is_whole = end + length == len(raw) and length == written_length
        is_head = written_end == len(written) and after.endswith(ending)
        if not is_whole or not is_head or b"\r\n\r\n" in key[0]:
            return
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        if head.status in _NO_BODY:
            return
        after = after[: -len(ending)]
        self._heads[worker_id, key] = ClientHead(head.status, before, after, _is_json(head))
