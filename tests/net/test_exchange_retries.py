"""Where a failed request may go, and what its client hears where it may go nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.core.inflight import Running
from miles_router.core.lifecycle import Trigger
from miles_router.errors import CannotDial, DialFailed, NoWorker, RequestAborted, WorkerBroke
from tests.doubles.relay_rig import GENERATE, Client, RelayRig, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from miles_router.errors import WorkerFault
    from tests.doubles.memory_net import MemoryStream
    from tests.doubles.worker_double import Peer, Seen

MB = b"x" * 1024 * 1024
LARGE = [b'{"rid": "r1", "text": "', *[MB] * 6, b'"}']


async def die(peer: Peer, _seen: Seen) -> None:
    peer.stream.shut()


async def hang(_peer: Peer, _seen: Seen) -> None:
    await trio.sleep_forever()


def quarantine(rig: RelayRig, index: int) -> None:
    rig.services.pool.quarantine(rig.workers[index], trio.current_time())


async def occupy(rig: RelayRig, nursery: trio.Nursery) -> None:
    """Fill the second worker with a request that does not end."""
    rig.services.pool.drain(rig.workers[0], trio.current_time())
    nursery.start_soon(rig.ask, Client(b'{"rid": "occupies"}'))
    await trio.sleep(0.1)
    assert rig.workers[1].inflight == 1
    rig.services.pool.undrain(rig.workers[0], trio.current_time())
    rig.passes(rig.workers[0])
    rig.passes(rig.workers[0])


# -- large bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/generate", "/some_effect"])
async def test_a_large_body_of_which_nothing_was_sent_goes_to_another_worker(
    path: str, autojump_clock: Clock
) -> None:
    async with open_rig() as rig:
        refusing, other = rig.add(), rig.add()
        refusing.is_refusing = True
        client = Client(*LARGE)
        await rig.ask(client, path=path)
        assert (client.status, client.body) == (200, b"".join(LARGE))
        assert other.seen[0].body == b"".join(LARGE)
        assert rig.services.metrics.retries == {"DialFailed": 1}
        await rig.assert_quiet()


async def test_a_large_body_that_was_begun_is_not_sent_again(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        first, second = rig.add(die), rig.add()
        with pytest.raises(WorkerBroke):
            await rig.ask(Client(*LARGE))
        await rig.settle()
        assert (first.aborted, second.seen) == (["r1"], [])
        await rig.assert_quiet()


# -- nobody else ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WorkerBroke, DialFailed])
async def test_where_nobody_else_serves_the_fault_is_told_at_once(
    kind: type[WorkerFault], autojump_clock: Clock
) -> None:
    async with open_rig() as rig:
        rig.add(die).is_refusing = kind is DialFailed
        for _ in range(4):
            rig.add()
        quarantine(rig, 1)
        rig.services.pool.drain(rig.workers[2], trio.current_time())
        rig.services.pool.remove(rig.workers[3], trio.current_time())
        rig.services.pool.step(rig.workers[4], Trigger.HOLD_STALE, "old", trio.current_time())
        with pytest.raises(kind):
            await rig.ask(Client(GENERATE))
        assert trio.current_time() < 1
        assert rig.services.metrics.retries == {}
        await rig.assert_quiet()


async def test_a_full_worker_is_waited_for(autojump_clock: Clock) -> None:
    async with open_rig(max_inflight_per_worker=1) as rig:
        rig.add(die)
        full = rig.add(hang)
        async with trio.open_nursery() as asking, trio.open_nursery() as nursery:
            await occupy(rig, nursery)
            client = Client(GENERATE)
            asking.start_soon(rig.ask, client)
            await trio.sleep(5)
            assert rig.services.admission.queued == 1
            full.answer = rig.doubles[0].answer = answer_ok
            nursery.cancel_scope.cancel()
        assert client.body == b"ok"
        await rig.assert_quiet()


async def answer_ok(peer: Peer, _seen: Seen) -> None:
    await peer.answer(b"ok")


async def test_a_full_worker_that_does_not_come_free_is_named_as_such(
    autojump_clock: Clock,
) -> None:
    async with open_rig(max_inflight_per_worker=1, queue_timeout_s=4.0) as rig:
        rig.add(die)
        rig.add(hang)
        async with trio.open_nursery() as nursery:
            await occupy(rig, nursery)
            with pytest.raises(NoWorker) as caught:
                await rig.ask(Client(GENERATE))
            assert "1 failed this request" in caught.value.message
            assert "all others that serve are full" in caught.value.message
            nursery.cancel_scope.cancel()
        await rig.assert_quiet()


async def test_a_full_worker_that_goes_meanwhile_leaves_the_fault(autojump_clock: Clock) -> None:
    async with open_rig(max_inflight_per_worker=1, queue_timeout_s=4.0) as rig:
        rig.add(die)
        rig.add(hang)
        async with trio.open_nursery() as nursery:
            await occupy(rig, nursery)

            async def go_after_a_while() -> None:
                await trio.sleep(1)
                quarantine(rig, 1)

            nursery.start_soon(go_after_a_while)
            with pytest.raises(WorkerBroke):
                await rig.ask(Client(GENERATE))
            nursery.cancel_scope.cancel()
        await rig.assert_quiet()


async def test_workers_that_do_not_serve_are_not_called_full(autojump_clock: Clock) -> None:
    async with open_rig(queue_timeout_s=1.0) as rig:
        rig.add()
        quarantine(rig, 0)
        with pytest.raises(NoWorker) as caught:
            await rig.ask(Client(GENERATE))
        assert "1 quarantined" in caught.value.message
        assert "full" not in caught.value.message


# -- the router's own trouble ---------------------------------------------------------------------


@pytest.mark.parametrize("body", [[GENERATE], LARGE])
async def test_a_router_that_cannot_connect_blames_no_worker(
    body: list[bytes], autojump_clock: Clock
) -> None:
    async with open_rig() as rig:
        double = rig.add()
        rig.dialer.free_descriptors = 0
        for _ in range(5):
            with pytest.raises(CannotDial):
                await rig.ask(Client(*body))
        worker = rig.workers[0]
        assert (worker.state.value, worker.errors, worker.failures_in_row) == ("active", 0, 0)
        assert double.aborted == []
        assert trio.current_time() < 3
        rig.dialer.free_descriptors = None
        client = Client(*body)
        await rig.ask(client)
        assert client.status == 200
        await rig.assert_quiet()


@pytest.mark.parametrize("is_while_dialing", [False, True])
async def test_a_request_that_was_given_up_is_not_sent_again_on_a_fresh_connection(
    is_while_dialing: bool, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running("req", "default", "/generate", 0.0)
    async with open_rig() as rig:
        worker, connect = rig.add(), rig.dialer.connect
        await rig.ask(Client(GENERATE))

        def give_up() -> None:  # as an /abort_request does that comes just then
            assert running.is_sent
            running.is_aborted = True

        async def die_idle(peer: Peer, _seen: Seen) -> None:
            if not is_while_dialing:
                give_up()
            peer.stream.shut()

        async def dial(*target: Any) -> MemoryStream:
            if not running.is_aborted:
                give_up()
            return await connect(*target)

        worker.answer = die_idle
        monkeypatch.setattr(rig.dialer, "connect", dial)
        with pytest.raises(RequestAborted):
            await rig.ask(Client(GENERATE), running=running)
        assert len(worker.seen) == 2, "the one before, and this one once"
        assert rig.workers[0].errors == 0, "to close an idle connection is no fault"
        await rig.assert_quiet()
