"""One relayed request: answers, retries, time limits, large bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.errors import (
    AnswerCut,
    DialFailed,
    NoWorker,
    QueueFull,
    WorkerBroke,
    WorkerTimeout,
)
from tests.doubles.relay_rig import GENERATE, Client, RelayRig, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen


async def hang(_peer: Peer, _seen: Seen) -> None:
    await trio.sleep_forever()


async def die(peer: Peer, _seen: Seen) -> None:
    peer.stream.shut()


async def die_midway(peer: Peer, _seen: Seen) -> None:
    await peer.begin_chunked(b"half")
    peer.stream.shut()


async def ask(rig: RelayRig, body: bytes = GENERATE, **how: str) -> Client:
    client = Client(body)
    await rig.ask(client, **how)  # type: ignore[arg-type]  # method and path
    return client


async def test_an_answer_crosses_unchanged_and_connections_are_reused(
    autojump_clock: Clock,
) -> None:
    async with open_rig() as rig:
        worker = rig.add()
        for number in range(5):
            client = await ask(rig, b'{"n": %d}' % number)
            assert (client.status, client.body) == (200, b'{"n": %d}' % number)
            assert client.is_complete
            assert len(rig.services.idle) == 1
        assert len(worker.streams) == 1
        await rig.assert_quiet()


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("HEAD", "/x")])
async def test_connections_are_reused_for_reads(
    method: str, path: str, autojump_clock: Clock
) -> None:
    async def answer(peer: Peer, seen: Seen) -> None:
        body = b"" if seen.method == "HEAD" else b"hello"
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + body)

    async with open_rig() as rig:
        worker = rig.add(answer)
        for _ in range(3):
            await ask(rig, b"", method=method, path=path)
        assert len(worker.streams) == 1


async def test_a_request_with_effects_gets_a_fresh_connection(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        worker = rig.add()
        await ask(rig)
        await ask(rig, path="/some_effect")
        assert len(worker.streams) == 2


async def test_streamed_pieces_arrive_as_they_come(autojump_clock: Clock) -> None:
    async def answer(peer: Peer, _seen: Seen) -> None:
        await peer.begin_chunked(b"one")
        await trio.sleep(10)
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    async with open_rig() as rig:
        rig.add(answer)
        client = Client(GENERATE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.ask, client)
            await trio.sleep(5)
            assert client.body == b"one"
        assert client.body == b"onetwo"
        await rig.assert_quiet()


# -- retries --------------------------------------------------------------------------------------


async def test_a_generation_moves_on_from_a_worker_that_dies_and_is_aborted_there(
    autojump_clock: Clock,
) -> None:
    async with open_rig() as rig:
        first, second = rig.add(die), rig.add()
        client = await ask(rig)
        assert client.body == GENERATE
        await rig.settle()
        assert (len(first.seen), len(second.seen)) == (1, 1)
        assert (first.aborted, second.aborted) == (["r1"], [])
        assert rig.services.metrics.retries == {"WorkerBroke": 1}
        await rig.assert_quiet()


async def test_never_twice_on_one_worker(autojump_clock: Clock) -> None:
    async with open_rig(retries=5) as rig:
        workers = [rig.add(die) for _ in range(3)]
        with pytest.raises(WorkerBroke):
            await ask(rig)
        assert [len(worker.seen) for worker in workers] == [1, 1, 1]
        await rig.assert_quiet()


async def test_no_more_tries_than_allowed(autojump_clock: Clock) -> None:
    async with open_rig(retries=1) as rig:
        workers = [rig.add(die) for _ in range(4)]
        with pytest.raises(WorkerBroke):
            await ask(rig)
        assert sum(len(worker.seen) for worker in workers) == 2


async def test_a_post_with_effects_is_not_repeated_once_it_was_sent(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        first, second = rig.add(die), rig.add()
        with pytest.raises(WorkerBroke):
            await ask(rig, path="/some_effect")
        assert (len(first.seen), len(second.seen)) == (1, 0)
        assert first.aborted == []


async def test_what_could_not_be_sent_is_sent_elsewhere_whatever_it_is(
    autojump_clock: Clock,
) -> None:
    async with open_rig() as rig:
        first, second = rig.add(), rig.add()
        first.is_refusing = True
        client = await ask(rig, path="/some_effect")
        assert client.status == 200
        assert len(second.seen) == 1
        await rig.settle()
        assert first.aborted == []
        await rig.assert_quiet()


async def test_all_refuse(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add().is_refusing = True
        with pytest.raises(DialFailed):
            await ask(rig)
        await rig.assert_quiet()


async def test_nothing_is_repeated_after_the_first_byte(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        first, second = rig.add(die_midway), rig.add()
        client = Client(GENERATE)
        with pytest.raises(AnswerCut):
            await rig.ask(client)
        assert client.body == b"half"
        assert not client.is_complete
        await rig.settle()
        assert (len(first.seen), len(second.seen)) == (1, 0)
        assert first.aborted == ["r1"]
        await rig.assert_quiet()


async def test_nothing_is_repeated_after_a_timeout(autojump_clock: Clock) -> None:
    async with open_rig(first_byte_timeout_s=3.0) as rig:
        first, second = rig.add(hang), rig.add()
        began_at = trio.current_time()
        with pytest.raises(WorkerTimeout) as caught:
            await ask(rig)
        assert (caught.value.status, caught.value.code) == (504, "worker_timeout")
        assert trio.current_time() - began_at == pytest.approx(3, abs=0.1)
        await rig.settle()
        assert (first.aborted, second.seen) == (["r1"], [])
        await rig.assert_quiet()


async def test_an_answer_that_pauses_too_long_is_cut(autojump_clock: Clock) -> None:
    async def pause(peer: Peer, _seen: Seen) -> None:
        await peer.begin_chunked(b"half")
        await trio.sleep_forever()

    async with open_rig(idle_timeout_s=3.0) as rig:
        worker = rig.add(pause)
        client = Client(GENERATE)
        with pytest.raises(AnswerCut):
            await rig.ask(client)
        await rig.settle()
        assert client.body == b"half"
        assert worker.aborted == ["r1"]
        await rig.assert_quiet()


async def test_a_client_that_takes_its_time_is_no_pause_of_the_worker(
    autojump_clock: Clock,
) -> None:
    async with open_rig(idle_timeout_s=3.0) as rig:
        rig.add()
        client = Client(GENERATE)
        client.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.ask, client)
            await trio.sleep(60)
            client.takes.set()
        assert client.body == GENERATE
        await rig.assert_quiet()


async def test_a_stale_idle_connection_is_replaced_unseen(autojump_clock: Clock) -> None:
    async def answer_once(peer: Peer, seen: Seen) -> None:
        if seen.header("content-length") == "3":
            peer.stream.shut()  # as a server does that gave up on the idle connection just now
        else:
            await peer.answer(seen.body)

    async with open_rig() as rig:
        worker = rig.add(answer_once)
        await ask(rig)
        calls = 0

        async def die_first(peer: Peer, seen: Seen) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                peer.stream.shut()
            else:
                await peer.answer(seen.body)

        worker.answer = die_first
        client = await ask(rig)
        assert client.body == GENERATE
        assert rig.services.metrics.stale_reconnects == 1
        assert rig.services.metrics.retries == {}
        assert (calls, len(worker.streams)) == (2, 2)
        await rig.assert_quiet()


@pytest.mark.parametrize("after_s", [0.03, 0.1, 1.0])
async def test_a_reused_connection_that_dies_late_is_a_failed_attempt(
    after_s: float, autojump_clock: Clock
) -> None:
    async with open_rig() as rig:
        worker = rig.add()
        await ask(rig)
        calls = 0

        async def work_and_die(peer: Peer, _seen: Seen) -> None:
            nonlocal calls
            calls += 1
            await trio.sleep(after_s)
            peer.stream.shut()

        worker.answer = work_and_die
        with pytest.raises(WorkerBroke):
            await ask(rig)
        assert calls == 1
        await rig.settle()
        assert worker.aborted == ["r1"], "it may still run"
        assert rig.services.metrics.stale_reconnects == 0
        await rig.assert_quiet()


# -- the queue ------------------------------------------------------------------------------------


async def test_no_worker_in_time(autojump_clock: Clock) -> None:
    async with open_rig(queue_timeout_s=2.0) as rig:
        with pytest.raises(NoWorker):
            await ask(rig)
        assert trio.current_time() > 1
        await rig.assert_quiet()


async def test_a_full_queue_refuses_at_once(autojump_clock: Clock) -> None:
    async with open_rig(queue_size=0) as rig:
        with pytest.raises(QueueFull):
            await ask(rig)
        await rig.assert_quiet()


async def test_a_waiting_request_is_served_when_a_worker_comes(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add(is_active=False)
        client = Client(GENERATE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.ask, client)
            await trio.sleep(5)
            assert rig.services.admission.queued == 1
            rig.passes(rig.workers[0])
        assert client.status == 200
        await rig.assert_quiet()
