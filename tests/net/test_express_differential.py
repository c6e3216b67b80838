"""With the express and without: workers get the same bytes, clients too, and the books agree.

Ids that the router makes differ, and so do the ports; of answers in chunks the chunks may.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.doubles.express_rig import Client, ExpressRig, needs_epoll, open_express, request

if TYPE_CHECKING:
    from tests.doubles.worker_double import Peer, Seen

pytestmark = [pytest.mark.loopback, needs_epoll]

# How often each is sent: with nothing known, with a head known, with both known.
TIMES = 3
_PORT = re.compile(rb"127\.0\.0\.1:[0-9]+")
_MADE_ID = re.compile(rb"x-request-id: [0-9a-f]{32}")
_WORKER = re.compile(rb"x-miles-worker: w[0-9a-f]{12}")
_CHUNKS = re.compile(rb"\r\n\r\n[0-9a-f]+\r\n.*?\r\n0\r\n\r\n", re.DOTALL)


@dataclass
class Reply:
    """The bytes a worker answers with, in pieces, and whether it closes behind them."""

    data: bytes
    cuts: tuple[int, ...] = ()
    closes: bool = False

    async def send(self, peer: Peer) -> None:
        places = sorted({0, len(self.data), *(cut % (len(self.data) + 1) for cut in self.cuts)})
        for start, end in itertools.pairwise(places):
            await peer.send(self.data[start:end])
            if end < len(self.data):
                await trio.sleep(0.002)
        if self.closes:
            peer.stream.shut()


@dataclass
class Run:
    """What came of a conversation."""

    to_worker: list[bytes] = field(default_factory=list)
    to_client: list[bytes] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=dict)
    concluded: int = 0


def plain(data: bytes) -> bytes:
    """`data` without what may differ."""
    data = _PORT.sub(b"127.0.0.1:1", data)
    data = _WORKER.sub(b"x-miles-worker: w", _MADE_ID.sub(b"x-request-id: made", data))
    return _CHUNKS.sub(lambda found: joined(found[0]), data)


def joined(body: bytes) -> bytes:
    """A chunked body without its chunks."""
    found, rest = b"", body[4:]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        found += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return b"\r\n\r\nchunked:" + found


def books(rig: ExpressRig) -> dict[str, Any]:
    """What the router counted."""
    metrics = rig.services.metrics
    names = (
        "requests client_gone cut_answers retries errors refused_connections aborts_sent"
        " stale_reconnects bytes_in bytes_out"
    )
    found = {name: getattr(metrics, name) for name in names.split()}
    found |= {name: getattr(metrics, name).total for name in ("queue_wait", "first_byte", "total")}
    found["overhead"] = metrics.overhead.total
    found["workers"] = [(w.served, w.errors, w.inflight, w.state.value) for w in rig.workers]
    found["idle"] = len(rig.services.idle)
    found["left"] = (rig.services.admission.inflight, len(rig.services.inflight))
    return found


async def ask(client: Client, pieces: list[bytes]) -> bytes:
    """Send a request and read its answer; how the connection ended, if it did before."""
    try:
        for piece in pieces:
            await client.send(piece)
            if piece is not pieces[-1]:
                await trio.sleep(0.002)
        await client.answer()
    except (ConnectionError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        return b"|" + type(error).__name__.encode()
    return b""


async def converse(
    requests: list[list[bytes]], replies: list[Reply], *, has_express: bool, **how: Any
) -> Run:
    """Send each request, in its pieces, and read its answer; the worker replies in turn."""
    spec = {"api_key": how.pop("api_key", None)}
    left = list(replies)
    run = Run()

    async def answer(peer: Peer, seen: Seen) -> None:
        if seen.header("x-warm"):
            await peer.answer(seen.body)
            return
        run.to_worker.append(plain(taken(peer)))
        await (left.pop(0) if left else Reply(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")).send(
            peer
        )

    def taken(peer: Peer) -> bytes:
        end: Any = peer.stream
        data = bytes(end.received)
        end.received.clear()
        return data

    async with open_express(has_express=has_express, retries=0, **how) as rig:
        await rig.add(answer, **spec)
        await rig.warm()
        for end in rig.ends:
            end.received.clear()
        client: Client | None = None
        for pieces in requests:
            if client is None:
                client = await rig.connect()
            before = len(client.raw)
            ended = await ask(client, pieces)
            run.to_client.append(plain(client.raw[before:]) + ended)
            if ended or b"connection: close" in client.raw[before:].lower():
                client.leave()
                client = None
            await rig.assert_quiet()
        run.books = books(rig)
        run.concluded = rig.express.concluded if has_express else 0
    return run


def both(requests: list[list[bytes]], replies: list[Reply], **how: Any) -> tuple[int, list[bytes]]:
    """Converse both ways and compare; how many the express has served, and the answers."""
    runs = [
        trio.run(partial(converse, requests, replies, has_express=has, **how))
        for has in (True, False)
    ]
    assert runs[0].to_worker == runs[1].to_worker
    assert runs[0].to_client == runs[1].to_client
    assert runs[0].books == runs[1].books
    assert runs[0].books["left"] == (0, 0)
    return runs[0].concluded, runs[0].to_client


def counted(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    head = (b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REPLIES = {
    "counted": counted(b'{"text": "b"}'),
    "empty": counted(b""),
    "headers": counted(b"hi", b"Date: Mon", b"X-A: 1", b"x-a: 2", b"Connection: x-a"),
    "keep-alive": counted(b"hi", b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
    "named": counted(b"hi", b"x-request-id: theirs", b"X-Miles-Worker: theirs"),
    "chunked": CHUNKED + b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n",
    "chunked-empty": CHUNKED + b"0\r\n\r\n",
    "chunked-trailers": CHUNKED + b"2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n",
    "chunked-broken": CHUNKED + b"5\r\nhello\r\nnonsense\r\n",
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no-content-counted": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "not-modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + counted(b"hi"),
    "early": b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + counted(b"hi"),
    "refused": counted(b'{"error": 1}', status=b"400 Bad Request"),
    "failed": counted(b"oh", status=b"503 Oh"),
    "odd": counted(b"oh", status=b"799 Odd"),
    "nameless": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
    "zeros": b"HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\nhi",
    "spaces": b"HTTP/1.1 200 OK\r\nContent-Length:   2  \r\n\r\nhi",
    "latin": counted(b"hi", b"X-A: \xe9"),
    "behind": counted(b"hi") + b"more",
    "behind-answer": counted(b"hi") + counted(b"ho"),
    "twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "unlike": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
    "zipped": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
    "garbage": b"\x16\x03\x01 no HTTP\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nhi",
    "upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "large": counted(b"x" * 300_000),
    "bare": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nhi",
}
CLOSING = {
    "close": counted(b"hi", b"Connection: close"),
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "until-close": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nall of it",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
    "short-chunked": CHUNKED + b"5\r\nhello\r\n",
    "nothing": b"",
    "half-head": b"HTTP/1.1 200 OK\r\nContent-Le",
}
# Served by the express, each time but for the first.
SERVED = {"counted", "empty", "headers", "keep-alive", "named", "chunked", "refused", "failed"}


@pytest.mark.parametrize("name", [*REPLIES, *CLOSING])
@pytest.mark.parametrize("is_cut", [False, True])
def test_answers_of_every_kind(name: str, is_cut: bool) -> None:
    data = {**REPLIES, **CLOSING}[name]
    cuts = (12, len(data) // 2, len(data) - 1) if is_cut else ()
    replies = [Reply(data, cuts if turn else (), name in CLOSING) for turn in range(TIMES)]
    concluded, answers = both([[request(b'{"a": %d}' % n)] for n in range(TIMES)], replies)
    assert len(answers) == TIMES
    if name in SERVED and not is_cut:
        assert concluded == TIMES


LINES = [
    b"Authorization: Bearer x",
    b"x-request-id: mine",
    b"X-Request-ID: " + b"y" * 200,
    b"X-Miles-Session: s",
    b"x-smg-routing-key: k",
    b"Accept: a",
    b"accept: b",
    b"Connection: keep-alive",
    b"Connection: X-Hop",
    b"Connection: close",
    b"X-Hop: 1",
    b"Content-Type: application/json",
    b"Expect: 100-continue",
    b"X-Empty:",
    b"X-Spaces:   a   ",
    b"traceparent: 00-1",
    b"Content-Length: 3",
]
BODIES = [b"", b"abc", b'{"rid": "r1", "text": "a"}', b"\r\n\r\n", b"z" * 49_152, b"z" * 49_153]


@settings(max_examples=25)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=5),
    bodies=st.lists(st.sampled_from(BODIES), min_size=2, max_size=4),
    cuts=st.lists(st.integers(0, 300), max_size=2),
    reply=st.sampled_from(["counted", "empty", "headers", "chunked", "large", "refused"]),
    reply_cuts=st.lists(st.integers(0, 300_000), max_size=2),
    target=st.sampled_from([b"/generate", b"/v1/chat/completions?a=b", b"/x", b"/generate?"]),
    how=st.sampled_from([{}, {"api_key": "own"}, {"forward_authorization": True}]),
)
@example([], [b"abc", b"abcd"], [], "counted", [], b"/generate", {})
@example([LINES[0]], [b"abc"] * 3, [90], "counted", [5], b"/generate", {"api_key": "own"})
def test_requests_of_every_kind(
    lines: list[bytes],
    bodies: list[bytes],
    cuts: list[int],
    reply: str,
    reply_cuts: list[int],
    target: bytes,
    how: dict[str, Any],
) -> None:
    requests = []
    for body in bodies:
        data = request(body, *lines, target=target)
        places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
        requests.append([data[a:b] for a, b in itertools.pairwise(places)])
    both(requests, [Reply(REPLIES[reply], tuple(reply_cuts)) for _ in bodies], **dict(how))


def test_the_express_served_the_second_and_third() -> None:
    requests = [[request(b'{"a": %d}' % n)] for n in range(5)]
    concluded, _ = both(requests, [Reply(REPLIES["counted"]) for _ in requests])
    assert concluded == 5
