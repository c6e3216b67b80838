"""Short calls to a worker: what is sent, what is read, and how they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.core.urlrules import parse_worker_url
from miles_router.core.worker import Worker, WorkerSpec
from miles_router.errors import DialFailed, WorkerBroke, WorkerTimeout
from miles_router.net import call as call_module
from miles_router.net.call import Call, Reply, call_worker
from tests.doubles.worker_double import Answer, MemoryDialer, WorkerDouble, echo

if TYPE_CHECKING:
    from tests.doubles.worker_double import Peer, Seen

URL = "http://127.0.0.1:9001"
ASK = Call("POST", "/ask?x=1", b'{"a": 1}')


class Rig:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.double = WorkerDouble(nursery)
        self.dialer = MemoryDialer()
        self.dialer.workers[9001] = self.double

    async def call(
        self,
        call: Call = ASK,
        answer: Answer = echo,
        *,
        timeout_s: float | None = 5.0,
        api_key: str | None = None,
    ) -> Reply:
        self.double.answer = answer
        spec = WorkerSpec(parse_worker_url(URL), api_key=api_key)
        worker = Worker(id="w1", spec=spec, added_at=0.0)
        return await call_worker(self.dialer, worker, call, timeout_s=timeout_s)


@pytest.fixture
async def rig(nursery: trio.Nursery) -> Rig:
    return Rig(nursery)


async def test_a_call_belongs_to_the_request_that_caused_it(rig: Rig) -> None:
    headers = [
        (b"host", b"router"),
        (b"traceparent", b"00-a-b-01"),
        (b"authorization", b"Bearer caller"),
        (b"tracestate", b"a=1"),
        (b"tracestate", b"b=2"),
        (b"baggage", b"x=y"),
        (b"x-request-id", b"not this one"),
    ]
    await rig.call(ASK.on_behalf_of("r7", headers))
    seen = rig.double.seen[0].headers
    assert [pair for pair in seen if pair[0].startswith(("trace", "bag"))] == [
        ("traceparent", "00-a-b-01"),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
        ("baggage", "x=y"),
    ]
    assert [value for name, value in seen if name == "x-request-id"] == ["r7"]
    assert "authorization" not in dict(seen)


async def test_a_call_with_a_body(rig: Rig) -> None:
    call = Call("POST", "/ask?x=1", b"data", content_type="text/plain", request_id="r1")
    reply = await rig.call(call, api_key="secret")
    assert (reply.status, reply.body) == (200, b"data")
    seen = rig.double.seen[0]
    assert (seen.method, seen.target, seen.body) == ("POST", "/ask?x=1", b"data")
    assert dict(seen.headers) == {
        "host": "127.0.0.1:9001",
        "accept": "*/*",
        "connection": "close",
        "authorization": "Bearer secret",
        "x-request-id": "r1",
        "content-type": "text/plain",
        "content-length": "4",
    }


async def test_a_call_without_a_body_carries_no_framing(rig: Rig) -> None:
    await rig.call(Call("GET", "/ask"))
    assert {name for name, _ in rig.double.seen[0].headers} == {"host", "accept", "connection"}


async def test_a_call_with_an_empty_body_says_so(rig: Rig) -> None:
    await rig.call(Call("POST", "/ask", b""))
    assert rig.double.seen[0].header("content-length") == "0"


async def test_each_call_has_a_connection_of_its_own_and_closes_it(rig: Rig) -> None:
    for _ in range(3):
        await rig.call()
    assert len(rig.double.streams) == 3
    assert rig.double.open_count == 0


async def test_a_streamed_answer_is_read_whole(rig: Rig) -> None:
    async def in_pieces(peer: Peer, seen: Seen) -> None:
        await peer.begin_chunked(b"one ", b"two ")
        await trio.sleep(0.01)
        await peer.send(b"5\r\nthree\r\n0\r\n\r\n")

    assert (await rig.call(answer=in_pieces)).body == b"one two three"


async def test_an_answer_without_a_length_ends_with_its_connection(rig: Rig) -> None:
    async def until_closed(peer: Peer, seen: Seen) -> None:
        await peer.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        peer.stream.shut()

    reply = await rig.call(answer=until_closed)
    assert (reply.body, reply.content_type) == (b"all of it", "text/plain")


async def test_an_answer_to_head_has_no_body(rig: Rig) -> None:
    async def like_get(peer: Peer, seen: Seen) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")

    reply = await rig.call(Call("HEAD", "/ask"), like_get)
    assert (reply.status, reply.body) == (200, b"")


async def test_an_error_status_is_an_answer(rig: Rig) -> None:
    async def refuse(peer: Peer, seen: Seen) -> None:
        await peer.answer(b"no", status=503)

    reply = await rig.call(answer=refuse)
    assert (reply.status, reply.body) == (503, b"no")


async def test_an_answer_cut_short_is_a_fault(rig: Rig) -> None:
    async def cut(peer: Peer, seen: Seen) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        peer.stream.shut()

    with pytest.raises(WorkerBroke, match="in mid-answer"):
        await rig.call(answer=cut)
    assert rig.double.open_count == 0


async def test_an_answer_that_is_not_http_is_a_fault(rig: Rig) -> None:
    async def babble(peer: Peer, seen: Seen) -> None:
        await peer.send(b"* OK IMAP4rev1 ready\r\n")

    with pytest.raises(WorkerBroke, match="not HTTP"):
        await rig.call(answer=babble)
    assert rig.double.open_count == 0


async def test_an_answer_without_end_is_a_fault(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "MAX_REPLY_BYTES", 100_000)

    async def on_and_on(peer: Peer, seen: Seen) -> None:
        await peer.begin_chunked()
        while True:
            await peer.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")

    with pytest.raises(WorkerBroke, match=r"the answer to /ask.* has no end"):
        await rig.call(answer=on_and_on)
    assert rig.double.open_count == 0


@pytest.mark.parametrize("begins", [False, True])
async def test_one_deadline_bounds_the_whole_call(
    rig: Rig, autojump_clock: trio.abc.Clock, begins: bool
) -> None:
    async def drip(peer: Peer, seen: Seen) -> None:
        if begins:
            await peer.begin_chunked()
        while True:
            await trio.sleep(1)
            if begins:
                await peer.send(b"1\r\nx\r\n")

    started_at = trio.current_time()
    with pytest.raises(WorkerTimeout, match=r"no complete answer to POST /ask\?x=1 in 5 s"):
        await rig.call(answer=drip)
    assert trio.current_time() - started_at == pytest.approx(5.0)
    assert rig.double.open_count == 0


async def test_without_a_timeout_the_caller_decides(
    rig: Rig, autojump_clock: trio.abc.Clock
) -> None:
    async def late(peer: Peer, seen: Seen) -> None:
        await trio.sleep(3000)
        await peer.answer(b"late")

    assert (await rig.call(answer=late, timeout_s=None)).body == b"late"


async def test_a_cancelled_call_closes_its_connection(
    rig: Rig, autojump_clock: trio.abc.Clock
) -> None:
    async def never(peer: Peer, seen: Seen) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        await rig.call(answer=never)
    assert scope.cancelled_caught
    assert len(rig.double.streams) == 1
    assert rig.double.open_count == 0


async def test_nobody_there_is_a_fault_of_the_connection(rig: Rig) -> None:
    rig.double.is_refusing = True
    with pytest.raises(DialFailed):
        await rig.call()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b"3", 3),
        (b"", None),
        (b"<html>", None),
        (b'{"a": 1', None),
        (b"\xff\xfe", None),
        (b'{"model_path": "\xff"}', None),
        (b'{"\xff": 1}', None),
        (b"[" * 100_000, None),
    ],
)
def test_json_that_is_none_is_none(body: bytes, value: object) -> None:
    assert Reply(200, [], body).json() == value


def test_a_missing_content_type_is_empty() -> None:
    assert Reply(200, [], b"").content_type == ""
    assert Reply(200, [(b"content-type", b"text/plain")], b"").content_type == "text/plain"
