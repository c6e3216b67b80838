"""Whatever bytes come, and however they are cut: the lane and Hypercorn make the same of them.

A request that one of them reads and the other does not, or reads differently, would let a client
say one thing to the router and another to a worker.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest
import structlog
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from miles_router.core.metrics import Metrics
from miles_router.net.ingress import Ingress
from tests.doubles.memory_net import memory_connection
from tests.net.test_gate import ACCEPTED, MUTATIONS, REFUSED

POST = b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET /v1/models?a=%20b& HTTP/1.1\r\nHost: a\r\n\r\n"
OWN = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, Close\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = (
    b"POST /generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n"
)
EXPECT = (
    b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi"
)
ODD = (
    b"PUT /a/../b//c HTTP/1.1\r\nHOST:  a \r\nX-Empty:\r\nX: \ta, b\t \r\nX: c\r\n"
    b"Content-Length: 0\r\n\r\n"
)
PLAIN = (POST, GET, OWN, CLOSE, OLD, HEAD, CHUNKED, EXPECT, ODD)
CORPUS = sorted(
    data for data, *_ in (*ACCEPTED.values(), *REFUSED.values()) if 0 < len(data) < 5_000
)
KEYS = ("method", "http_version", "path", "raw_path", "query_string", "headers", "root_path")


@dataclass
class Made:
    """What a server made of some bytes."""

    requests: list[tuple[Any, ...]] = field(default_factory=list)
    answers: bytes = b""
    refused: int = 0

    @property
    def request_lines(self) -> list[tuple[bytes, bytes, bytes]]:
        """Method, target and body of each."""
        return [
            (r[0].encode(), r[3] + (b"?" + r[4] if r[4] else b""), r[-1]) for r in self.requests
        ]


def serve(pieces: list[bytes], *, has_lane: bool) -> Made:
    """What comes of `pieces`, each sent when the one before has been worked on."""
    made = Made()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            more = message["more_body"]
        keys = sorted(set(scope) - {"state", "miles_router.left", "miles_router.target"})
        made.requests.append((*(scope[key] for key in KEYS), keys, body))
        head = [(b"x-length", b"%d" % len(body))]
        if len(body) != 5:
            head.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        ingress = Ingress(app, metrics=Metrics(), log=log, has_lane=has_lane)
        ingress.hypercorn.load()  # no thread: this clock does not wait for one
        near, far = memory_connection()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingress.serve_connection, far)  # type: ignore[arg-type]  # in memory
            with suppress(trio.BrokenResourceError):
                for piece in pieces:
                    await near.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(1)
            with trio.move_on_after(1), suppress(trio.BrokenResourceError):
                while data := await near.receive_some(65_536):
                    made.answers += data
            made.refused = sum(ingress.metrics.refused_connections.values())
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return made


def read_by_h11(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of each complete request that h11 reads of `data`."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=262_144)
    server.receive_data(data)
    found: list[tuple[bytes, bytes, bytes]] = []
    method, target, body = b"", b"", b""
    with suppress(h11.RemoteProtocolError, h11.LocalProtocolError):
        while (event := server.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                method, target, body = event.method, event.target, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
            elif event is h11.PAUSED:
                server.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
                server.send(h11.EndOfMessage())
                server.start_next_cycle()
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces; places beyond its end count from its beginning."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def assert_same(pieces: list[bytes]) -> None:
    """The lane serves what Hypercorn serves.

    Bytes that are refused end what came with them: Hypercorn may then have served fewer of the
    requests before, which are whole and good all the same.
    """
    lane, stock = serve(pieces, has_lane=True), serve(pieces, has_lane=False)
    if not stock.refused:
        assert lane == stock
    else:
        assert lane.refused == stock.refused
        assert lane.requests[: len(stock.requests)] == stock.requests
    whole = read_by_h11(b"".join(pieces))
    assert lane.request_lines == whole[: len(lane.requests)]


CUTS = st.lists(st.integers(0, 400), max_size=4)


@pytest.mark.parametrize("data", CORPUS, ids=range(len(CORPUS)))
def test_of_every_known_trick_both_make_the_same(data: bytes) -> None:
    assert_same([data])
    assert_same(cut(data, [len(data) // 3, 2 * len(data) // 3]))


@given(data=st.lists(st.sampled_from(PLAIN), min_size=1, max_size=4), cuts=CUTS)
@example(data=[POST, OWN, POST, GET], cuts=[len(POST), len(POST + OWN)])
@example(data=[GET, CHUNKED, POST], cuts=[len(GET), len(GET + CHUNKED)])
@example(data=[POST, POST], cuts=[len(POST) - 2])
def test_requests_of_all_kinds_may_follow_each_other(data: list[bytes], cuts: list[int]) -> None:
    assert_same(cut(b"".join(data), cuts))


@given(
    data=st.lists(st.sampled_from(PLAIN), min_size=1, max_size=2),
    mutations=MUTATIONS,
    cuts=CUTS,
)
def test_bytes_that_were_changed_mean_the_same(
    data: list[bytes], mutations: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    changed = bytearray(b"".join(data))
    for position, replacement in mutations:
        changed[position : position + 1] = replacement
    assert_same(cut(bytes(changed), cuts))


@given(
    data=st.sampled_from(CORPUS),
    mutations=MUTATIONS,
    cuts=CUTS,
)
def test_tricks_that_were_changed_mean_the_same(
    data: bytes, mutations: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    changed = bytearray(data)
    for position, replacement in mutations:
        changed[position : position + 1] = replacement
    assert_same(cut(bytes(changed), cuts))
