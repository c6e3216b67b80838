"""Calls to many workers, and one call alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.errors import DialFailed, WorkerBroke, WorkerTimeout
from miles_router.net import call as call_module
from miles_router.net.call import Call, call_worker
from miles_router.net.fanout import CALLS_PER_WORKER, fan_out
from tests.doubles.relay_rig import open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen


async def hang(_peer: Peer, _seen: Seen) -> None:
    await trio.sleep_forever()


async def test_each_fails_alone_and_order_is_kept(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add(hang)
        rig.add().is_refusing = True
        rig.add()
        call = Call("POST", "/x", b'{"a": 1}', request_id="abc")
        calls = [(worker, call) for worker in rig.workers]
        replies = await fan_out(rig.services.dialer, calls, timeout_s=3.0)
        assert [reply.worker for reply in replies] == rig.workers
        assert [type(reply.fault) for reply in replies] == [WorkerTimeout, DialFailed, type(None)]
        assert [reply.is_success for reply in replies] == [False, False, True]
        assert replies[2].reply is not None
        assert replies[2].reply.json() == {"a": 1}
        assert trio.current_time() < 4
        seen = rig.doubles[2].seen[0]
        assert (seen.header("x-request-id"), seen.header("connection")) == ("abc", "close")
        assert seen.header("content-type") == "application/json"
        await rig.assert_quiet()


async def test_many_calls_to_one_worker_share_few_connections(autojump_clock: Clock) -> None:
    most = 0

    async def count(peer: Peer, seen: Seen) -> None:
        nonlocal most
        most = max(most, rig.doubles[0].open_count)
        await trio.sleep(0.1)
        await peer.answer(seen.body)

    async with open_rig() as rig:
        rig.add(count)
        rig.add()
        calls = [
            (rig.workers[number % 2], Call("POST", "/x", b"%d" % number)) for number in range(200)
        ]
        replies = await fan_out(rig.services.dialer, calls, timeout_s=3.0)
        assert [reply.reply.json() for reply in replies if reply.reply] == list(range(200))
        assert [reply.worker for reply in replies] == [worker for worker, _ in calls]
        assert most == CALLS_PER_WORKER
        await rig.assert_quiet()


async def test_a_worker_that_does_not_answer_is_not_asked_again(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add(hang)
        rig.add()
        rig.add().is_hanging = True
        calls = [(worker, Call("POST", "/x", b"1")) for worker in rig.workers for _ in range(50)]
        replies = await fan_out(rig.services.dialer, calls, timeout_s=3.0)
        assert [type(reply.fault) for reply in replies[:50]] == [WorkerTimeout] * 50
        assert all(reply.is_success for reply in replies[50:100])
        assert not any(reply.is_success for reply in replies[100:])
        assert [reply.worker for reply in replies] == [worker for worker, _ in calls]
        assert len(rig.doubles[0].seen) == CALLS_PER_WORKER
        assert trio.current_time() < 6
        await rig.assert_quiet()


async def test_one_broken_call_leaves_the_others_of_its_worker(autojump_clock: Clock) -> None:
    async def break_one(peer: Peer, seen: Seen) -> None:
        if seen.body == b"3":
            peer.stream.shut()
        else:
            await peer.answer(seen.body)

    async with open_rig() as rig:
        rig.add(break_one)
        calls = [(rig.workers[0], Call("POST", "/x", b"%d" % number)) for number in range(100)]
        replies = await fan_out(rig.services.dialer, calls, timeout_s=3.0)
        assert [number for number, one in enumerate(replies) if not one.is_success] == [3]


async def test_an_error_status_is_an_answer_but_no_success(autojump_clock: Clock) -> None:
    async def refuse(peer: Peer, _seen: Seen) -> None:
        await peer.answer(b"no json", status=500)

    async with open_rig() as rig:
        rig.add(refuse)
        calls = [(rig.workers[0], Call("GET", "/x"))]
        (reply,) = await fan_out(rig.services.dialer, calls, timeout_s=None)
        assert not reply.is_success
        assert reply.reply is not None
        assert (reply.reply.status, reply.reply.json()) == (500, None)


async def test_an_answer_without_an_end_is_given_up(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(peer: Peer, _seen: Seen) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.send(b"x" * 10_000)

    monkeypatch.setattr(call_module, "MAX_REPLY_BYTES", 100_000)
    async with open_rig() as rig:
        rig.add(endless)
        with pytest.raises(WorkerBroke):
            await call_worker(
                rig.services.dialer, rig.workers[0], Call("GET", "/x"), timeout_s=None
            )
        await rig.assert_quiet()


async def test_a_cancelled_call_closes_its_connection(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add(hang)
        with trio.move_on_after(1):
            await call_worker(
                rig.services.dialer, rig.workers[0], Call("GET", "/x"), timeout_s=None
            )
        await rig.assert_quiet()
