"""Answers in chunks, passed on as they come: by the express, and just so by a task."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from miles_router.errors import ShuttingDown, WorkerBroke
from miles_router.net.begun_stream import BegunStream
from tests.doubles.express_rig import Client, ExpressRig, needs_epoll, open_express, request
from tests.doubles.worker_double import Peer, Seen, echo
from tests.net.test_express_differential import Reply, both, counted, joined

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from miles_router.core.inflight import Running

pytestmark = [pytest.mark.loopback, needs_epoll]

BODY = b'{"rid": "r1", "text": "a", "stream": true}'
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
MEGABYTE = 1024 * 1024
both_ways = pytest.mark.parametrize("has_express", [True, False])


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def dechunked(body: bytes) -> bytes:
    """The body itself; where its chunks are cut is nobody's promise."""
    return joined(b"\r\n\r\n" + body)


class Script:
    """A worker that says what a test has it say, piece by piece."""

    def __init__(self) -> None:
        self._send, self._pieces = trio.open_memory_channel[bytes | None](1000)
        self.sent_bytes = 0
        self.is_dead = False

    async def __call__(self, peer: Peer, seen: Seen) -> None:
        if seen.header("x-warm"):
            await echo(peer, seen)
            return
        async for piece in self._pieces:
            if piece is None:
                peer.stream.shut()
                self.is_dead = True
                return
            await peer.send(piece)
            self.sent_bytes += len(piece)
            if piece.endswith(END):
                return

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._send.send_nowait(piece)

    def die(self) -> None:
        self._send.send_nowait(None)


class Stream:
    """A stream under way: its head and a first chunk, "one", are with the client."""

    def __init__(self, rig: ExpressRig, script: Script, client: Client) -> None:
        self.rig = rig
        self.script = script
        self.client = client
        self.raw = bytearray()

    @property
    def running(self) -> Running:
        (running,) = self.rig.services.inflight.oldest(2)
        return running

    async def read_until(self, ending: bytes, within_s: float = 5) -> None:
        with trio.fail_after(within_s):
            while not self.raw.endswith(ending):
                piece = bytes(await self.client.stream.receive_some(65_536))
                assert piece, self.raw[-200:]
                self.raw += piece


async def begin(rig: ExpressRig, *, first: bytes = HEAD + chunk(b"one"), **connect: Any) -> Stream:
    script = Script()
    await rig.add(script)
    await rig.warm()
    stream = Stream(rig, script, await rig.connect(**connect))
    by_task = rig.ingress.by_task
    await stream.client.send(request(BODY))
    script.say(first)
    await stream.read_until(chunk(b"one"))
    if rig.ingress.express is not None:
        assert rig.ingress.by_task == by_task
    return stream


def opened(*, has_express: bool, **how: Any) -> AbstractAsyncContextManager[ExpressRig]:
    return open_express(has_express=has_express, **{"retries": 2, **how})


def outcome(rig: ExpressRig) -> dict[str, Any]:
    """What the books say of the one request that was streamed."""
    metrics = rig.services.metrics
    worker = rig.workers[0]
    return {
        "requests": sum(metrics.requests.values()) - 1,  # without the warming up
        "cut": dict(metrics.cut_answers),
        "gone": dict(metrics.client_gone),
        "first_byte": metrics.first_byte.total,
        "served": worker.served,
        "errors": worker.errors,
        "aborted": rig.doubles[0].aborted,
    }


SERVED = {
    "requests": 1,
    "cut": {},
    "gone": {},
    "first_byte": 2,
    "served": 2,
    "errors": 0,
    "aborted": [],
}


@both_ways
async def test_chunks_are_passed_on_as_they_come(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        by_task = rig.ingress.by_task
        for number in range(20):
            stream.script.say(chunk(b"<%d>" % number))
            await stream.read_until(chunk(b"<%d>" % number))
        assert stream.running.bytes_out == len(b"one" + b"".join(b"<%d>" % n for n in range(20)))
        assert stream.running.worker is rig.workers[0]
        stream.script.say(chunk(b"last") + END)
        await stream.read_until(chunk(b"last") + END)
        await rig.assert_quiet()
        assert len(rig.services.idle) == 1
        assert outcome(rig) == SERVED
        if has_express:
            assert (rig.express.concluded, rig.ingress.by_task) == (1, by_task)


@both_ways
@pytest.mark.parametrize(
    "pieces",
    [
        [chunk(b"a"), chunk(b"b"), END],
        [chunk(b"a") + chunk(b"b") + END],
        [b"1", b"\r\na", b"\r\n", b"0", b"\r\n\r", b"\n"],
        [chunk(b"a"), b"0\r\nX-Trailer: 1\r\n\r\n"],
        [END],
    ],
)
async def test_wherever_the_bytes_are_cut(has_express: bool, pieces: list[bytes]) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        for piece in pieces:
            stream.script.say(piece)
            await trio.sleep(0.005)
        await stream.read_until(END)
        assert stream.raw.count(b"one") == 1
        await rig.assert_quiet()
        expected = len(b"one") + sum(piece.count(letter) for piece in pieces for letter in (b"a",))
        assert rig.services.metrics.bytes_out >= expected
        assert outcome(rig) == SERVED


@both_ways
async def test_a_head_that_comes_alone_is_passed_on_alone(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        script = Script()
        await rig.add(script)
        await rig.warm()
        stream = Stream(rig, script, await rig.connect())
        await stream.client.send(request(BODY))
        script.say(HEAD)
        await stream.read_until(b"\r\n\r\n")
        script.say(chunk(b"a"), END)
        await stream.read_until(chunk(b"a") + END)
        await rig.assert_quiet()
        assert outcome(rig) == SERVED


@both_ways
async def test_a_request_behind_a_stream_is_served_next(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        await stream.client.send(request(BODY))
        await trio.sleep(0.02)
        stream.script.say(END, HEAD + chunk(b"two"), END)
        await stream.read_until(chunk(b"two") + END)
        assert stream.raw.count(END) == 2
        await rig.assert_quiet()


@both_ways
async def test_megabytes_of_chunks_that_come_at_once(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        said = b"".join(chunk(bytes([number]) * 100_000) for number in range(80)) + END
        stream.script.say(said)
        stream.raw.clear()
        await stream.read_until(END)
        assert dechunked(bytes(stream.raw)) == dechunked(said)
        await rig.assert_quiet()
        assert outcome(rig) == SERVED


@both_ways
@pytest.mark.parametrize("status", [499, 500, 503])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_answers_that_say_the_worker_failed_are_its_errors(
    has_express: bool, status: int, is_stream: bool
) -> None:
    head = b"HTTP/1.1 %d X\r\n" % status
    whole = counted(b"oh", status=b"%d X" % status)
    async with opened(has_express=has_express) as rig:
        script = Script()
        await rig.add(script)
        await rig.warm()
        client = await rig.connect()
        script.say(head + b"Transfer-Encoding: chunked\r\n\r\n" if is_stream else whole, END)
        assert (await client.ask(request(BODY)))[0] == status
        assert rig.workers[0].errors == int(status >= 500)


# -- ends -----------------------------------------------------------------------------------------


@both_ways
async def test_a_client_that_leaves_in_mid_stream(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        stream.client.leave()
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        await rig.until(lambda: not rig.ingress.lanes)
        assert outcome(rig) == {**SERVED, "served": 1, "aborted": ["r1"]}
        assert len(rig.services.idle) == 0, "its worker may still say something"


async def dies(script: Script) -> None:
    script.die()


async def talks_on_and_dies(script: Script) -> None:
    script.say(chunk(b"two"))
    script.die()


async def talks_nonsense(script: Script) -> None:
    script.say(chunk(b"two"))
    await trio.sleep(0.02)
    script.say(b"nonsense\r\n")


async def dies_in_a_chunk(script: Script) -> None:
    script.say(b"ff\r\nhalf")
    await trio.sleep(0.02)
    script.die()


@both_ways
@pytest.mark.parametrize("fails", [dies, talks_on_and_dies, talks_nonsense, dies_in_a_chunk])
async def test_a_worker_that_fails_in_mid_stream(has_express: bool, fails: Any) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        second = await rig.add()
        await fails(stream.script)
        rest = await stream.client.end()
        assert END not in rest, "a broken answer never looks complete"
        if fails in {talks_on_and_dies, talks_nonsense}:
            assert rest == chunk(b"two")
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        assert second.seen == [], "what was begun is not begun anew"
        cut = {"cut": {"generate": 1}, "served": 1, "errors": 1, "aborted": ["r1"]}
        assert outcome(rig) == {**SERVED, **cut}


@both_ways
@pytest.mark.parametrize(
    "reason", [WorkerBroke("its drain deadline passed"), ShuttingDown("now", retry_after_s=1.0)]
)
async def test_what_is_stopped_in_mid_stream_is_cut(has_express: bool, reason: Exception) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig)
        stream.running.stop(reason)
        assert END not in await stream.client.end()
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        errors = int(isinstance(reason, WorkerBroke))
        cut = {"cut": {"generate": 1}, "served": 1, "errors": errors, "aborted": ["r1"]}
        assert outcome(rig) == {**SERVED, **cut}


async def test_a_listener_that_is_cancelled_in_mid_stream() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    async with opened(has_express=True) as rig:
        await begin(rig)
        services = rig.services
        rig.rig.nursery.cancel_scope.cancel()
    assert services.admission.inflight == 0
    assert len(services.inflight) == 0
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


@both_ways
async def test_a_stream_that_pauses_for_too_long_is_cut(has_express: bool) -> None:
    async with opened(has_express=has_express, idle_timeout_s=0.3) as rig:
        script = Script()
        await rig.add(script)
        await rig.warm()
        client = await rig.connect()
        await client.send(request(BODY))
        script.say(HEAD + chunk(b"one"))
        assert (await client.end(3)).endswith(chunk(b"one"))
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()


async def test_a_mistake_of_the_routers_own_ends_one_stream_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(has_express=True) as rig:
        stream = await begin(rig)

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(BegunStream, "take", fail)
            stream.script.say(chunk(b"two"))
            assert END not in await stream.client.end()
            await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        client = await rig.connect()
        assert (await client.ask(request(b"{}", b"x-warm: 1")))[0] == 200


# -- clients that read slowly ---------------------------------------------------------------------


async def stuck(rig: ExpressRig) -> tuple[Stream, bytes]:
    """A stream whose client takes nothing more; all that its worker has to say, without the end."""
    stream = await begin(rig, buffer_bytes=4096)
    pieces = [chunk(b"%08d" % number + b"x" * 200_000) for number in range(100)]
    stream.script.say(*pieces)
    sent_bytes = -1
    while sent_bytes != stream.script.sent_bytes:
        sent_bytes = stream.script.sent_bytes
        await trio.sleep(0.1)
    assert sent_bytes < 15 * MEGABYTE, "a slow client slows its worker"
    return stream, b"".join(pieces)


@both_ways
async def test_a_slow_client_slows_its_worker_and_gets_all(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream, said = await stuck(rig)
        stream.script.say(END)
        stream.raw.clear()
        await stream.read_until(END, within_s=20)
        assert dechunked(bytes(stream.raw)) == dechunked(said + END)
        await rig.assert_quiet()
        assert outcome(rig) == SERVED


@both_ways
async def test_a_slow_client_that_leaves(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream, _ = await stuck(rig)
        stream.client.leave()
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        assert outcome(rig) == {**SERVED, "served": 1, "aborted": ["r1"]}


@both_ways
async def test_a_slow_client_whose_stream_is_stopped(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream, _ = await stuck(rig)
        stream.running.stop(WorkerBroke("its drain deadline passed"))
        assert END not in await stream.client.end()
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        assert rig.services.metrics.cut_answers == {"generate": 1}


@both_ways
async def test_a_slow_client_whose_worker_dies_gets_what_was_said(has_express: bool) -> None:
    async with opened(has_express=has_express) as rig:
        stream = await begin(rig, buffer_bytes=4096)
        said = b"".join(chunk(b"%08d" % number + b"x" * 1_000) for number in range(100))
        stream.script.say(said)
        stream.script.die()
        await rig.until(lambda: stream.script.is_dead)
        await trio.sleep(0.1)
        assert dechunked(await stream.client.end() + END) == dechunked(said + END)
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
        cut = {"cut": {"generate": 1}, "served": 1, "errors": 1, "aborted": ["r1"]}
        assert outcome(rig) == {**SERVED, **cut}


# -- alike ----------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    ending=st.sampled_from(
        [END, b"0\r\nX-T: 1\r\n\r\n", b"", b"zz\r\n", b"5\r\nab", END + b"more"]
    ),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    closes=st.booleans(),
)
def test_streams_of_every_kind(
    chunks: list[bytes], ending: bytes, cuts: list[int], closes: bool
) -> None:
    if ending in {b"", b"5\r\nab"}:
        closes = True  # else its client would wait for ever
    elif ending.startswith(b"0"):
        closes = False  # an idle connection that its worker closes is another matter
    said = Reply(HEAD + b"".join(map(chunk, chunks)) + ending, tuple(cuts), closes)
    both([[request(BODY)], [request(b"{}")]], [said, Reply(counted(b"hi"))])
