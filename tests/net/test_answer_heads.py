"""The remembered head of an answer is what framing it anew would give."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.errors import WorkerFault
from miles_router.net.answer_heads import MOST_HEADS, AnswerHeads
from miles_router.net.plan import cut
from miles_router.net.reading import AnswerHead
from miles_router.net.upstream import Connection
from tests.doubles.memory_net import memory_connection

ID = b"request-1"
OTHER_ID = b"another"
WORKER = Worker("w1", WorkerSpec(parse_worker_url("http://127.0.0.1:9000")), 0.0)


def fresh(raw: bytes, request_id: bytes) -> tuple[Connection, bytes | None]:
    """The client's head for the answer `raw`, read and framed as a new one; None if it is none."""
    connection = Connection(WORKER, memory_connection()[0])  # type: ignore[arg-type]  # memory
    try:
        connection.take(raw)
        head = connection.early_head()
        if head is None:
            return connection, None
        framing = AnswerHeads().frame("w1", head, request_id)
        if framing.closes:
            return connection, None
        body = b"".join(connection.take_chunks())
        return connection, framing.head + b"".join(framing.body(body, is_last=True))
    except (WorkerFault, h11.LocalProtocolError):
        return connection, None


def learned(raw: bytes) -> AnswerHeads:
    """What is remembered after the answer `raw`."""
    heads = AnswerHeads()
    connection = Connection(WORKER, memory_connection()[0])  # type: ignore[arg-type]  # memory
    try:
        connection.take(raw)
        head = connection.early_head()
        framing = None if head is None else heads.frame("w1", head, ID)
    except (WorkerFault, h11.LocalProtocolError):
        return heads
    connection.take_chunks()
    if head is not None and framing and not framing.closes and connection.is_reusable:
        heads.learn("w1", head, raw, framing.head, ID)
    return heads


LINES = [
    b"Content-Length: 5",
    b"content-length: 5",
    b"Content-Length: 05",
    b"CONTENT-LENGTH: 5",
    b"Content-Length: 6",
    b"Content-Type: application/json",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: content-length",
    b"Transfer-Encoding: chunked",
    b"X-Miles-Worker: other",
    b"x-request-id: request-1",
    b"x-mine: request-1",
    b"Date: Mon",
    b"X:\ta",
]
STATUSES = [b"200 OK", b"204 No Content", b"304 Not Modified", b"500 Oh", b"404", b"999 X"]
BEFORE = [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 C\r\nContent-Length: 0\r\n\r\n"]
ANSWERS = st.builds(
    lambda before, version, status, lines: (
        b"%b%b %b\r\n%b\r\n\r\n" % (before, version, status, b"\r\n".join(lines))
    ),
    st.sampled_from(BEFORE),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]),
    st.sampled_from(STATUSES),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=5),
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@given(
    first=ANSWERS,
    body=st.sampled_from([b"hello", b"", b"hello!", b"5\r\nhello\r\n0\r\n\r\n"]),
    length=st.integers(0, 30),
)
@example(first=PLAIN, body=b"hello", length=11)
@example(first=b"HTTP/1.1 304 N\r\nContent-Length: 0\r\n\r\n", body=b"", length=7)
def test_what_is_remembered_is_what_would_be_framed(first: bytes, body: bytes, length: int) -> None:
    heads = learned(first + body)
    found = cut(first)
    if found is None:
        assert len(heads) == 0
        return
    (start, stop), _, _ = found
    raw = start + b"%d" % length + stop + b"y" * length
    known = heads.get("w1", found[0])
    if known is None:
        return
    connection, expected = fresh(raw, OTHER_ID)
    assert expected is not None
    assert known.write(length, OTHER_ID, b"y" * length) == expected
    assert connection.is_reusable
    assert b" %d " % known.status in expected[:14]


def test_a_plain_answer_is_remembered() -> None:
    heads = learned(PLAIN + b"hello")
    (found, *_) = cut(PLAIN) or ((b"", b""),)
    head = heads.get("w1", found)
    assert head is not None
    assert head.status == 200
    assert heads.get("w2", found) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 204 N\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 N\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"18\r\n\r\nContent-Length: 2\r\n\r\no\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_not_remembered(raw: bytes) -> None:
    assert len(learned(raw)) == 0


def test_what_is_remembered_has_a_bound() -> None:
    heads = AnswerHeads()
    written = b"HTTP/1.1 200 \r\ncontent-length: 2\r\nx-request-id: request-1\r\n\r\n"
    for number in range(MOST_HEADS + 10):
        raw = b"HTTP/1.1 200 OK\r\nDate: %d\r\nContent-Length: 2\r\n\r\nok" % number
        heads.learn("w1", AnswerHead(200, []), raw, written, ID)
        assert 0 < len(heads) <= MOST_HEADS
    assert len(heads) == 10
