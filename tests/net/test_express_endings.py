"""However a request of the express ends, nothing of it is left: no lease, no task, no socket."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.errors import ShuttingDown, WorkerBroke
from tests.doubles.express_rig import Client, ExpressRig, needs_epoll, open_express, request
from tests.doubles.worker_double import Answer, Peer, Seen, echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.loopback, needs_epoll]

BODY = b'{"rid": "r1", "text": "a"}'
NAMELESS = b'{"text": "a"}'
HUGE = 16 * 1024 * 1024


class Script:
    """What the worker does; `hangs` once it is told to."""

    def __init__(self) -> None:
        self.then: Answer = echo

    async def __call__(self, peer: Peer, seen: Seen) -> None:
        await (echo if seen.header("x-warm") else self.then)(peer, seen)


async def hang(_peer: Peer, _seen: Seen) -> None:
    await trio.sleep_forever()


async def die(peer: Peer, _seen: Seen) -> None:
    peer.stream.shut()


async def die_late(peer: Peer, _seen: Seen) -> None:
    await trio.sleep(0.05)
    peer.stream.shut()


async def die_midway(peer: Peer, _seen: Seen) -> None:
    await peer.send(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf")
    await trio.sleep(0.02)
    peer.stream.shut()


async def die_at_once(peer: Peer, _seen: Seen) -> None:
    end: Any = peer.stream
    end.send_and_shut(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf")


async def garbage(peer: Peer, _seen: Seen) -> None:
    await trio.sleep(0.05)
    await peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def large(peer: Peer, _seen: Seen) -> None:
    """An answer that comes at once, and that no kernel takes at once for a client."""
    await peer.answer(b"x" * 200_000)


async def begun(rig: ExpressRig, then: Answer = hang, body: bytes = BODY, **how: Any) -> Client:
    """A client whose request is with the first worker, begun by the express and not answered."""
    script = Script()
    rig.doubles[0].answer = script
    await rig.warm()
    script.then = then
    client = await rig.connect()
    began, seen = rig.express.began, len(rig.doubles[0].seen)
    await client.send(request(body, **how))
    await rig.until(lambda: len(rig.doubles[0].seen) > seen)
    assert rig.express.began == began + 1
    return client


def stuck(rig: ExpressRig) -> bool:
    """Whether a client has got a part of an answer that has come whole."""
    parked = [lane.parking for lane in rig.ingress.lanes if lane.parking is not None]
    return any(parking.begun is not None and parking.begun.status for parking in parked)


def stuck_or_served(rig: ExpressRig, served: int) -> bool:
    return stuck(rig) or rig.workers[0].served > served


async def slow(rig: ExpressRig) -> Client:
    """A client that has not taken all of an answer which its worker has given to the end."""
    script = rig.doubles[0].answer = Script()
    script.then = large
    for _ in range(2):  # the second time, the head of the answer is learnt
        await rig.warm()
    assert len(rig.express.heads) == 1
    client = await rig.connect(buffer_bytes=4096)
    for _ in range(100):  # until the buffers are full
        served = rig.workers[0].served
        await client.send(request(BODY))
        await rig.until(partial(stuck_or_served, rig, served))
        if stuck(rig):
            break
    assert stuck(rig)
    return client


@pytest.fixture
async def rig() -> AsyncIterator[ExpressRig]:
    async with open_express(policy="round_robin") as made:
        await made.add()
        yield made


@pytest.mark.parametrize("way", ["close", "reset", "half"])
async def test_a_client_that_leaves_while_it_waits(rig: ExpressRig, way: str) -> None:
    client = await begun(rig)
    if way == "close":
        client.leave()
    elif way == "half":
        await client.stream.send_eof()
    else:
        from miles_router.net.closing import reset

        reset(client.stream)
    await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
    await rig.assert_quiet()
    assert rig.services.metrics.client_gone == {"generate": 1}
    await rig.until(lambda: not rig.ingress.lanes)


async def test_a_client_that_ends_its_side_with_its_request() -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm()
        requests = sum(rig.services.metrics.requests.values())
        client = await rig.connect()
        await client.send(request(BODY))
        await client.stream.send_eof()
        await client.end()
        await rig.assert_quiet()
        counted = sum(rig.services.metrics.requests.values()) - requests
        assert counted + rig.services.metrics.client_gone["generate"] == 1


async def test_a_client_that_leaves_in_mid_request(rig: ExpressRig) -> None:
    await rig.warm()
    client = await rig.connect()
    await client.ask(request(BODY))
    await client.send(request(BODY)[:-3])
    await trio.sleep(0.02)
    client.leave()
    await rig.until(lambda: rig.services.metrics.client_gone == {"generate": 1})
    await rig.assert_quiet()


async def test_a_client_that_leaves_while_its_answer_is_written(rig: ExpressRig) -> None:
    client = await slow(rig)
    client.leave()
    await rig.assert_quiet()
    assert rig.doubles[0].aborted == []
    await rig.until(lambda: not rig.ingress.lanes)


async def test_a_client_that_reads_slowly_gets_all_of_it(rig: ExpressRig) -> None:
    client = await slow(rig)
    concluded = rig.express.concluded
    raw = b""
    with trio.fail_after(10):
        while rig.express.concluded == concluded or len(rig.services.inflight):
            raw += await client.stream.receive_some(50_000)
        with trio.move_on_after(0.2):
            while True:
                raw += await client.stream.receive_some(50_000)
    answers = raw.split(b"HTTP/1.1 200 \r\n")[1:]
    assert {len(answer.partition(b"\r\n\r\n")[2]) for answer in answers} == {200_000}
    await rig.assert_quiet()


async def abort(rig: ExpressRig, named: dict[str, Any]) -> None:
    admin = await rig.connect()
    status, _ = await admin.ask(request(json.dumps(named).encode(), target=b"/abort_request"))
    assert status == 200
    admin.leave()


@pytest.mark.parametrize("named", [{"rid": "r1"}, {"rid": "r"}, {"abort_all": True}])
async def test_what_is_aborted_at_its_worker_runs_on_no_other(
    rig: ExpressRig, named: dict[str, Any]
) -> None:
    client = await begun(rig)
    second = await rig.add()
    await abort(rig, named)
    assert rig.doubles[0].aborted == ["" if "abort_all" in named else "r1"]
    assert len(rig.services.inflight) == 1, "its worker is to answer"
    for end in rig.ends:
        end.shut()
    status, body = await client.answer()
    assert (status, b"abort" in body.lower()) == (200, True)
    assert (second.seen, rig.services.metrics.retries) == ([], {})
    await rig.assert_quiet()


@pytest.mark.parametrize("body", [BODY, NAMELESS])
async def test_what_is_aborted_by_the_routers_own_id_ends_here(
    rig: ExpressRig, body: bytes
) -> None:
    client = await begun(rig, body=body)
    (running,) = rig.services.inflight.oldest(2)
    await abort(rig, {"request_id": running.request_id})
    if body == NAMELESS:  # no abort at its worker names it
        status, said = await client.answer()
        assert (status, b"abort" in said.lower()) == (200, True)
    else:
        client.leave()
    await rig.until(lambda: "r1" in rig.doubles[0].aborted or body == NAMELESS)
    await rig.assert_quiet()


async def test_a_request_that_is_cut_off_its_worker_is_tried_on_another(rig: ExpressRig) -> None:
    client = await begun(rig)
    second = await rig.add()
    (running,) = rig.services.inflight.of_worker(rig.workers[0])
    running.stop(WorkerBroke("its drain deadline passed"))
    assert await client.answer() == (200, BODY)
    await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
    assert len(second.seen) == 1
    assert rig.services.metrics.retries == {"WorkerBroke": 1}
    await rig.assert_quiet()


async def test_whoever_stops_what_is_being_handed_over_is_heard(rig: ExpressRig) -> None:
    client = await begun(rig)
    (running,) = rig.services.inflight.oldest(2)
    (lane,) = (lane for lane in rig.ingress.lanes if lane.parking and lane.parking.begun)
    assert lane.parking
    assert lane.parking.begun
    lane.parking.begun.hand_over()
    running.stop(ShuttingDown("now", retry_after_s=1.0))  # before the task runs
    assert (await client.answer())[0] == 503
    await rig.assert_quiet()


async def test_an_answer_that_is_cut_is_counted_so(rig: ExpressRig) -> None:
    client = await slow(rig)
    (running,) = rig.services.inflight.oldest(2)
    running.stop(WorkerBroke("its drain deadline passed"))
    raw = await client.end()
    assert len(raw.rpartition(b"\r\n\r\n")[2]) < 200_000
    assert rig.services.metrics.cut_answers == {"generate": 1}
    await rig.assert_quiet()


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_router_that_stops_hard(is_slow: bool) -> None:
    async with open_express() as rig:
        await rig.add()
        client = await (slow(rig) if is_slow else begun(rig))
        rig.services.is_stopping = True
        await rig.ingress.stop_accepting()
        await trio.sleep(0.05)
        for running in rig.services.inflight.of_tenant(None):
            running.stop(ShuttingDown("the router is shutting down", retry_after_s=5.0))
        if is_slow:
            await client.end()
        else:
            assert (await client.answer())[0] == 503
            assert await client.end() == b""
        await rig.until(lambda: not rig.ingress.connections)
        await rig.assert_quiet()


async def test_a_router_that_stops_gently_lets_requests_end() -> None:
    async def later(peer: Peer, seen: Seen) -> None:
        await trio.sleep(0.1)
        await peer.answer(seen.body)

    async with open_express() as rig:
        await rig.add()
        client = await begun(rig, later)
        idle = await rig.connect()
        await trio.sleep(0.02)
        rig.services.is_stopping = True
        await rig.ingress.stop_accepting()
        assert await idle.end(1) == b""
        assert await client.answer() == (200, BODY)
        assert await client.end(1) == b""
        await rig.until(lambda: not rig.ingress.connections)
        await rig.assert_quiet()


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_listener_that_is_cancelled(is_slow: bool) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    async with open_express() as rig:
        await rig.add()
        await (slow(rig) if is_slow else begun(rig))
        services = rig.services
        rig.rig.nursery.cancel_scope.cancel()
    assert services.admission.inflight == 0
    assert len(services.inflight) == 0
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


# -- workers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", [die_late, garbage], ids=lambda then: then.__name__)
async def test_a_worker_that_fails_before_its_answer_is_replaced(
    rig: ExpressRig, then: Answer
) -> None:
    client = await begun(rig, then)
    second = await rig.add()
    assert await client.answer() == (200, BODY)
    assert len(second.seen) == 1
    assert rig.services.metrics.retries == {"WorkerBroke": 1}
    await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
    await rig.assert_quiet()


async def test_an_idle_connection_that_was_stale_is_replaced_unseen(rig: ExpressRig) -> None:
    script = Script()
    rig.doubles[0].answer = script
    await rig.warm()

    async def die_once(peer: Peer, _seen: Seen) -> None:
        script.then = echo
        peer.stream.shut()

    script.then = die_once
    client = await rig.connect()
    assert await client.ask(request(BODY)) == (200, BODY)
    assert rig.services.metrics.stale_reconnects == 1
    assert rig.services.metrics.retries == {}
    await rig.assert_quiet()


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("dies", [die_midway, die_at_once])
async def test_an_answer_that_breaks_off_is_cut(
    rig: ExpressRig, is_known: bool, dies: Answer
) -> None:
    async def whole(peer: Peer, _seen: Seen) -> None:
        await peer.send(b"HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\nhalf")

    client = await begun(rig, whole if is_known else dies)
    if is_known:
        assert await client.answer() == (200, b"half")
        rig.doubles[0].answer = dies
        await client.send(request(BODY))
    raw = await client.end()
    assert raw.endswith(b"half")
    assert rig.services.metrics.cut_answers == {"generate": 1}
    await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
    await rig.assert_quiet()


async def test_a_worker_that_is_quarantined_meanwhile_answers_all_the_same(
    rig: ExpressRig,
) -> None:
    async def later(peer: Peer, seen: Seen) -> None:
        await trio.sleep(0.1)
        await peer.answer(seen.body)

    client = await begun(rig, later)
    rig.services.pool.quarantine(rig.workers[0], trio.current_time())
    assert await client.answer() == (200, BODY)
    await rig.assert_quiet()


async def test_no_answer_in_time() -> None:
    async with open_express(first_byte_timeout_s=0.4) as rig:
        await rig.add()
        client = await begun(rig)
        began_at = trio.current_time()
        status, body = await client.answer()
        assert (status, json.loads(body)["error"]["code"]) == (504, "worker_timeout")
        assert trio.current_time() - began_at < 0.7
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()


async def test_what_is_over_is_watched_by_no_deadline() -> None:
    async with open_express(first_byte_timeout_s=60.0) as rig:
        await rig.add()
        await begun(rig)  # the oldest, and in no hurry
        await rig.warm(2)
        client = await rig.connect()
        rig.doubles[0].answer = echo
        for _ in range(50):
            await client.ask(request(BODY))
        assert rig.express.concluded >= 50
        assert rig.express.timed == 1


async def test_an_answer_that_pauses_for_too_long_is_cut() -> None:
    async def pause(peer: Peer, seen: Seen) -> None:
        if seen.body == b"1":
            await peer.answer(b"half")
            return
        await peer.send(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf")
        await trio.sleep_forever()

    async with open_express(idle_timeout_s=0.3) as rig:
        await rig.add(pause)
        client = await rig.connect()
        for _ in range(3):
            await client.ask(request(b"1"))
        await client.send(request(BODY))
        assert (await client.end(3)).endswith(b"half")
        await rig.until(lambda: rig.doubles[0].aborted == ["r1"])
        await rig.assert_quiet()
