"""What still runs when a drain deadline passes is ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.core.lifecycle import State
from miles_router.errors import AnswerCut
from miles_router.tasks import drain
from tests.core.rig import state_of
from tests.doubles.relay_rig import GENERATE, Client, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen


async def hang(_peer: Peer, _seen: Seen) -> None:
    await trio.sleep_forever()


async def half(peer: Peer, _seen: Seen) -> None:
    await peer.begin_chunked(b"half")
    await trio.sleep_forever()


async def test_a_generation_without_an_answer_moves_on(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        first, second = rig.add(hang), rig.add()
        client = Client(GENERATE)
        async with trio.open_nursery() as nursery:
            task = await nursery.start(partial(drain.run, rig.services))
            assert task is None
            nursery.start_soon(rig.ask, client)
            await trio.sleep(1)
            rig.services.pool.drain(rig.workers[0], trio.current_time(), deadline_s=5)
            await trio.sleep(4.5)
            assert client.status is None
            await trio.sleep(1)
            assert client.status == 200
            nursery.cancel_scope.cancel()
        assert (first.aborted, len(second.seen)) == (["r1"], 1)
        assert state_of(rig.workers[0]) is State.DRAINED
        (told,) = (e for e in rig.services.events.since(0) if e.kind == "drain_deadline")
        assert told.message.endswith("the drain deadline passed with 1 request running")
        await rig.assert_quiet()


@pytest.mark.parametrize("stalls", [False, True])
async def test_an_answer_under_way_is_cut(stalls: bool, autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        worker = rig.add(half)
        client = Client(GENERATE)
        if stalls:
            client.stall()

        async def ask() -> None:
            with pytest.raises(AnswerCut):
                await rig.ask(client)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(partial(drain.run, rig.services))
            await trio.sleep(1)
            rig.services.pool.drain(rig.workers[0], trio.current_time(), deadline_s=5)
            await trio.sleep(6)
            assert state_of(rig.workers[0]) is State.DRAINED
            nursery.cancel_scope.cancel()
        await rig.assert_quiet()
        assert worker.aborted == ["r1"]
