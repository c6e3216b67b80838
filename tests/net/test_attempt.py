"""An exchange may end at every step, in every way; nothing of it is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.core.inflight import Running
from miles_router.errors import AnswerCut, RouterError, ShuttingDown, WorkerBroke
from miles_router.net.body import ClientGone
from miles_router.net.departures import Departure
from tests.doubles.relay_rig import GENERATE, Client, RelayRig, open_rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock as Clock

    from tests.doubles.worker_double import Peer, Seen

MB = b"x" * 1024 * 1024
LARGE = [b'{"rid": "r1", "text": "', *[MB] * 8, b'"}']


async def hang(_peer: Peer, _seen: Seen) -> None:
    await trio.sleep_forever()


async def half(peer: Peer, _seen: Seen) -> None:
    await peer.begin_chunked(b"half")
    await trio.sleep_forever()


async def head_only(peer: Peer, _seen: Seen) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\n")
    await trio.sleep_forever()


@dataclass
class Step:
    """How far an exchange gets, and what must follow when it is ended there."""

    prepare: Callable[[RelayRig, Client], None]
    client: Callable[[], Client] = lambda: Client(GENERATE)
    is_aborted: bool = False
    has_started: bool = False  # the head was sent to the client, or stands before it
    leaves_idle: int = 0


def queued(rig: RelayRig, _client: Client) -> None:
    rig.add(is_active=False)


def dialing(rig: RelayRig, _client: Client) -> None:
    rig.add().is_hanging = True


def writing(rig: RelayRig, _client: Client) -> None:
    double = rig.add(hang)
    double.capacity_bytes = 10
    double.reads_bodies = False


def writing_large(rig: RelayRig, _client: Client) -> None:
    rig.add(hang).reads_bodies = False


def waiting_for_head(rig: RelayRig, _client: Client) -> None:
    rig.add(hang)


def in_mid_head(rig: RelayRig, _client: Client) -> None:
    rig.add(head_only)


def in_mid_body(rig: RelayRig, _client: Client) -> None:
    rig.add(half)


def client_stalls(rig: RelayRig, client: Client) -> None:
    rig.add(half)
    client.stall()


def last_piece(rig: RelayRig, client: Client) -> None:
    async def answer(peer: Peer, _seen: Seen) -> None:
        await peer.answer(b"")

    rig.add(answer)
    client.stall_at_last = True


STEPS = {
    "queued": Step(queued),
    "dialing": Step(dialing),
    "writing": Step(writing, is_aborted=True),
    "writing a large body": Step(
        writing_large,
        client=lambda: Client(b'{"rid": "r1", "text": "' + MB + b'"}'),
        is_aborted=True,
    ),
    "queued with a large body": Step(queued, client=lambda: Client(*LARGE)),
    "uploading": Step(writing_large, client=lambda: Client(*LARGE), is_aborted=True),
    "waiting for the head": Step(waiting_for_head, is_aborted=True),
    "in mid-head": Step(in_mid_head, is_aborted=True),
    "in mid-body": Step(in_mid_body, is_aborted=True, has_started=True),
    "client does not take": Step(client_stalls, is_aborted=True, has_started=True),
    "last piece": Step(last_piece, has_started=True, leaves_idle=1),
}
ALL = pytest.mark.parametrize("name", STEPS)


async def assert_left_clean(rig: RelayRig, step: Step) -> None:
    await rig.assert_quiet()
    assert rig.doubles[0].aborted == (["r1"] if step.is_aborted else [])
    assert len(rig.services.idle) == step.leaves_idle


@ALL
async def test_cancelled_from_outside(name: str, autojump_clock: Clock) -> None:
    step = STEPS[name]
    async with open_rig() as rig:
        client = step.client()
        step.prepare(rig, client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.ask, client)
            await trio.sleep(1)
            assert len(rig.services.inflight) == 1, "it has got this far and no further"
            nursery.cancel_scope.cancel()
        await assert_left_clean(rig, step)


# Servers tell the end of an exchange as they tell that the client left. What they tell with the
# body reaches nobody while the worker does not take it, or while it waits for a worker.
@pytest.mark.parametrize("name", sorted(set(STEPS) - {"last piece"}))
@pytest.mark.parametrize("is_told_aside", [False, True])
async def test_the_client_leaves(name: str, is_told_aside: bool, autojump_clock: Clock) -> None:
    step = STEPS[name]
    is_streamed = name in {"uploading", "queued with a large body"}
    async with open_rig() as rig:
        client = step.client()
        step.prepare(rig, client)
        departure = Departure() if is_told_aside or is_streamed else None

        async def ask() -> None:
            with pytest.raises(ClientGone):
                await rig.ask(client, departure=departure)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            if departure is not None:
                departure.set()
            if not is_streamed:
                client.leave()
        assert trio.current_time() < 3
        await assert_left_clean(rig, step)
        assert rig.workers[0].errors == 0, "a client that leaves is no fault of the worker"


@ALL
async def test_stopped_by_the_router(name: str, autojump_clock: Clock) -> None:
    step = STEPS[name]
    async with open_rig() as rig:
        client = step.client()
        step.prepare(rig, client)
        running = Running("req", "default", "/generate", 0.0)
        caught: list[Exception] = []

        async def ask() -> None:
            try:
                await rig.ask(client, running=running)
            except (RouterError, AnswerCut) as error:
                caught.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            running.stop(ShuttingDown("stopping"))
            await trio.sleep(1)
            assert [type(error) for error in caught] == [
                AnswerCut if step.has_started else ShuttingDown
            ]
        await assert_left_clean(rig, step)


async def test_an_upload_under_way_is_not_yet_the_workers(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        double = rig.add(hang)
        double.reads_bodies = False
        running = Running("req", "default", "/generate", 0.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: rig.ask(Client(*LARGE), running=running))
            await trio.sleep(1)
            assert running.rids == ("r1",)
            assert running.is_stoppable, "an abort sent to the worker would come too early"
            double.reads_bodies = True
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: rig.ask(Client(*LARGE), running=running))
            await trio.sleep(1)
            assert running.is_sent
            nursery.cancel_scope.cancel()
        await rig.assert_quiet()


@pytest.mark.parametrize("name", ["dialing", "waiting for the head", "writing a large body"])
async def test_a_generation_that_is_stopped_as_by_its_worker_moves_on(
    name: str, autojump_clock: Clock
) -> None:
    step = STEPS[name]
    async with open_rig() as rig:
        client = step.client()
        step.prepare(rig, client)
        other = rig.add()
        running = Running("req", "default", "/generate", 0.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: rig.ask(client, running=running))
            await trio.sleep(1)
            running.stop(WorkerBroke("its drain deadline passed"))
        assert client.status == 200
        assert len(other.seen) == 1
        await rig.assert_quiet()


async def test_stopping_in_mid_answer_never_asks_another_worker(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        first, second = rig.add(half), rig.add()
        client = Client(GENERATE)
        client.stall()
        running = Running("req", "default", "/generate", 0.0)

        async def ask() -> None:
            with pytest.raises(AnswerCut):
                await rig.ask(client, running=running)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            running.stop(WorkerBroke("its drain deadline passed"))
        await rig.assert_quiet()
        assert (first.aborted, second.seen) == (["r1"], [])


async def test_a_stop_that_comes_with_the_lease_releases_it(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add(is_active=False)
        running = Running("req", "default", "/generate", 0.0)

        async def ask() -> None:
            with pytest.raises(ShuttingDown):
                await rig.ask(Client(GENERATE), running=running)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            rig.passes(rig.workers[0])  # grants
            assert rig.services.admission.inflight == 1
            running.stop(ShuttingDown("stopping"))
        await rig.assert_quiet()
        assert rig.doubles[0].seen == []
