"""Large answers go through a pipe where nothing wants to see them, and arrive as they were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from miles_router.net.pipe import Pipe
from tests.doubles.express_rig import ExpressRig, needs_epoll, open_express, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.doubles.worker_double import Peer, Seen

pytestmark = [pytest.mark.loopback, needs_epoll]

BODY = b'{"rid": "r1", "text": "a"}'
LARGE = os.urandom(3_000_000)


class Counted(Pipe):
    """Counts the pipes, and the bytes that went through them as they were."""

    __slots__ = ()
    opened = closed = poured_bytes = 0

    @classmethod
    def open(cls) -> Pipe | None:
        Counted.opened += 1
        return super().open()

    def pour(self, descriptor: int) -> None:
        before = len(self)
        super().pour(descriptor)
        Counted.poured_bytes += before - len(self)

    def close(self) -> None:
        Counted.closed += 1
        super().close()


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr("miles_router.net.exchange.Pipe", Counted)
    Counted.opened = Counted.closed = Counted.poured_bytes = 0
    return Counted


@pytest.fixture
async def rig() -> AsyncIterator[ExpressRig]:
    async with open_express() as made:
        await made.add()
        yield made
    assert Counted.opened == Counted.closed


async def large(peer: Peer, _seen: Seen) -> None:
    await peer.answer(LARGE)


async def huge(peer: Peer, _seen: Seen) -> None:
    """What all buffers on the way together do not hold."""
    await peer.answer(LARGE * 20)


async def strange(peer: Peer, _seen: Seen) -> None:
    await peer.answer(LARGE, headers={"x-odd": "a\tb"})


async def chunked(peer: Peer, _seen: Seen) -> None:
    await peer.begin_chunked(LARGE)
    await peer.send(b"0\r\n\r\n")


async def cut(peer: Peer, _seen: Seen) -> None:
    await peer.send(b"HTTP/1.1 200 X\r\ncontent-length: 9000000\r\n\r\n" + LARGE)
    peer.stream.shut()


async def test_most_of_it_goes_through_the_pipe(rig: ExpressRig) -> None:
    rig.doubles[0].answer = large
    client = await rig.connect()
    for number in range(1, 3):  # the connections are used again
        assert await client.ask(request(BODY)) == (200, LARGE)
        assert Counted.opened == number
        assert rig.services.metrics.bytes_out == number * len(LARGE)
    assert Counted.poured_bytes > len(LARGE)
    await rig.assert_quiet()


async def test_what_must_be_framed_anew_is_copied_after_all(rig: ExpressRig) -> None:
    rig.doubles[0].answer = strange  # h11 writes the head, and wants to see the body
    client = await rig.connect()
    assert await client.ask(request(BODY)) == (200, LARGE)
    assert (Counted.opened, Counted.poured_bytes) == (1, 0)


async def test_of_chunks_nobody_knows_the_length(rig: ExpressRig) -> None:
    rig.doubles[0].answer = chunked
    client = await rig.connect()
    assert await client.ask(request(BODY)) == (200, LARGE)
    assert Counted.opened == 0


async def test_middleware_sees_every_piece() -> None:
    async with open_express(has_express=False) as rig:
        (await rig.add()).answer = large
        client = await rig.connect()
        assert await client.ask(request(BODY)) == (200, LARGE)
        assert Counted.opened == 0


async def test_an_answer_that_breaks_off_is_cut(rig: ExpressRig) -> None:
    rig.doubles[0].answer = cut
    client = await rig.connect()
    await client.send(request(BODY))
    raw = await client.end()
    assert LARGE.startswith(raw.partition(b"\r\n\r\n")[2])
    assert rig.services.metrics.cut_answers == {"generate": 1}
    await rig.assert_quiet()


async def test_a_client_that_leaves_ends_it(rig: ExpressRig) -> None:
    rig.doubles[0].answer = huge
    client = await rig.connect(buffer_bytes=4096)
    await client.send(request(BODY))
    while not Counted.poured_bytes:  # what came first is copied
        assert await client.stream.receive_some(65_536)
    client.leave()
    await rig.until(lambda: Counted.closed)
    await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
    await rig.assert_quiet()
