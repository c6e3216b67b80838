"""What a drain leaves alone: requests in time, other workers, drains that are taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.tasks import drain
from tests.doubles.relay_rig import GENERATE, Client, RelayRig, open_rig

if TYPE_CHECKING:
    from miles_router.core.worker import Worker
    from tests.doubles.worker_double import Peer, Seen

DEADLINE_S = 5.0


async def after_ten_seconds(peer: Peer, seen: Seen) -> None:
    await trio.sleep(10)
    await peer.answer(b"late")


def state_of(worker: Worker) -> str:
    return worker.state.value


def deadline_events(rig: RelayRig) -> list[str]:
    events = rig.services.events.since(0)
    return [event.message for event in events if event.kind == "drain_deadline"]


async def test_without_a_deadline_a_drain_waits(autojump_clock: trio.abc.Clock) -> None:
    async with open_rig() as rig:
        rig.add(after_ten_seconds)
        worker = rig.workers[0]
        await rig.nursery.start(drain.run, rig.services)
        client = Client(GENERATE)
        rig.nursery.start_soon(rig.ask, client)
        await trio.sleep(1)
        rig.services.pool.drain(worker, trio.current_time())
        await trio.sleep(8)
        assert state_of(worker) == "draining"
        await trio.sleep(2)
        assert client.body == b"late"
        assert state_of(worker) == "drained"
        assert deadline_events(rig) == []


async def test_what_ends_in_time_is_not_touched(autojump_clock: trio.abc.Clock) -> None:
    async with open_rig() as rig:
        rig.add(after_ten_seconds)
        worker = rig.workers[0]
        await rig.nursery.start(drain.run, rig.services)
        client = Client(GENERATE)
        rig.nursery.start_soon(rig.ask, client)
        await trio.sleep(1)
        rig.services.pool.drain(worker, trio.current_time(), deadline_s=60)
        await trio.sleep(100)
        assert client.body == b"late"
        assert deadline_events(rig) == []


async def test_a_drain_that_is_taken_back_stops_nothing(autojump_clock: trio.abc.Clock) -> None:
    async with open_rig() as rig:
        rig.add(after_ten_seconds)
        worker = rig.workers[0]
        await rig.nursery.start(drain.run, rig.services)
        client = Client(GENERATE)
        rig.nursery.start_soon(rig.ask, client)
        await trio.sleep(1)
        rig.services.pool.drain(worker, trio.current_time(), deadline_s=DEADLINE_S)
        rig.services.pool.undrain(worker, trio.current_time())
        await trio.sleep(12)
        assert client.body == b"late"
        assert deadline_events(rig) == []


async def test_only_the_drained_worker_loses_its_requests(autojump_clock: trio.abc.Clock) -> None:
    async with open_rig() as rig:
        rig.add(after_ten_seconds)
        rig.add(after_ten_seconds)
        await rig.nursery.start(drain.run, rig.services)
        clients = [Client(GENERATE), Client(GENERATE)]
        for client in clients:
            rig.nursery.start_soon(rig.ask, client)
        await trio.sleep(1)
        assert [worker.inflight for worker in rig.workers] == [1, 1]
        rig.services.pool.drain(rig.workers[0], trio.current_time(), deadline_s=DEADLINE_S)
        await trio.sleep(11)
        # The one that stayed needed 10 s, the one that moved begins anew.
        assert sorted(client.status or 0 for client in clients) == [0, 200]
        await trio.sleep(10)
        assert [client.body for client in clients] == [b"late", b"late"]
