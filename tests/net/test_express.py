"""What the express serves by itself, and what it leaves to the task of a connection."""

from __future__ import annotations

import gc
import os
import socket
import ssl
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from miles_router.core.urlrules import AddressRules
from miles_router.net.begun import Begun
from miles_router.net.dial import Dialer
from miles_router.net.readiness import MOST_AT_ONCE
from tests.doubles.express_rig import needs_epoll, open_express, request
from tests.doubles.worker_double import Peer, Seen

if TYPE_CHECKING:
    from miles_router.net.lane import Lane

pytestmark = [pytest.mark.loopback, needs_epoll]

BODY = b'{"rid": "r1", "text": "a"}'


async def large(peer: Peer, seen: Seen) -> None:
    """As many bytes as the request's body names."""
    await peer.answer(b"x" * int(seen.body or b"2"))


async def test_plain_requests_are_served_without_a_task() -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm()
        by_task = rig.ingress.by_task
        client = await rig.connect()
        for number in range(5):
            assert await client.ask(request(b'{"n": %d}' % number)) == (200, b'{"n": %d}' % number)
        assert (rig.express.concluded, rig.ingress.by_task) == (5, by_task)
        assert 1 <= len(rig.express.plans) <= 2  # one may be that of the warming up
        assert len(rig.express.heads) == 1
        assert rig.workers[0].served == 6
        await rig.assert_quiet()


@pytest.mark.parametrize("policy", ["round_robin", "least_inflight"])
async def test_workers_take_turns_though_none_has_an_idle_connection(policy: str) -> None:
    async with open_express(policy=policy) as rig:
        doubles = [await rig.add() for _ in range(3)]
        client = await rig.connect()
        for _ in range(9):
            await client.ask(request(BODY))
        seen = [len(double.seen) for double in doubles]
        assert sum(seen) == 9
        if policy == "round_robin":
            assert seen == [3, 3, 3]
        await rig.assert_quiet()


@pytest.mark.parametrize("size_bytes", [1_000, 40_000, 49_152, 49_153, 66_000, 100_000, 1_000_000])
async def test_bodies_of_every_size_whose_head_is_known(size_bytes: int) -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm()
        client = await rig.connect()
        await client.ask(request(BODY))
        body = b"y" * size_bytes
        for _ in range(2):
            assert await client.ask(request(body)) == (200, body)
        # the rest comes later
        for cut in (len(request(body)) - size_bytes + 100, len(request(body)) - 1):
            await client.send(request(body)[:cut])
            await trio.sleep(0.02)
            assert await client.ask(request(body)[cut:]) == (200, body)
        await rig.assert_quiet()


@pytest.mark.parametrize(
    "size_bytes", [0, 1, 65_536, 262_144 - 4_096, 262_144 - 100, 262_144, 262_145, 3_000_000]
)
async def test_answers_of_every_size_whose_head_is_known(size_bytes: int) -> None:
    async with open_express() as rig:
        await rig.add(large)
        await rig.add(large)
        client = await rig.connect()
        for _ in range(4):
            await client.ask(request(b"2"))
        for _ in range(3):
            status, body = await client.ask(request(b"%d" % size_bytes))
            assert (status, len(body)) == (200, size_bytes)
        await rig.assert_quiet()


# -- what it leaves to the task -------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 50])
@pytest.mark.parametrize("is_known", [False, True])
async def test_requests_that_come_together_are_answered_in_turn(count: int, is_known: bool) -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm()
        client = await rig.connect()
        if is_known:
            await client.ask(request(b"000"))
        bodies = [b"%03d" % number for number in range(count)]
        for _ in range(2):
            await client.send(b"".join(map(request, bodies)))
            assert [await client.answer() for _ in bodies] == [(200, body) for body in bodies]
        await rig.assert_quiet()


async def test_a_request_behind_one_that_is_under_way_is_served_next() -> None:
    async def later(peer: Peer, seen: Seen) -> None:
        await trio.sleep(0.03)
        await peer.answer(seen.body)

    async with open_express() as rig:
        await rig.add(later)
        await rig.warm()
        by_task = rig.ingress.by_task
        client = await rig.connect()
        await client.send(request(b"000"))
        for number in range(5):
            await trio.sleep(0.01)
            await client.send(request(b"%03d" % (number + 1)))
            assert await client.answer() == (200, b"%03d" % number)
        assert await client.answer() == (200, b"005")
        assert (rig.express.concluded, rig.ingress.by_task) == (6, by_task)
        await rig.assert_quiet()


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_request_may_drip(is_known: bool) -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm()
        client = await rig.connect()
        if is_known:
            await client.ask(request(BODY))
        for _ in range(2):
            for place in range(len(request(BODY))):
                await client.send(request(BODY)[place : place + 1])
                await trio.sleep(0.0005)
            assert await client.answer() == (200, BODY)
        await rig.assert_quiet()


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_body_that_is_too_large_is_refused(is_known: bool) -> None:
    async with open_express(max_body_bytes=1000) as rig:
        await rig.add()
        await rig.warm()
        client = await rig.connect()
        if is_known:
            assert (await client.ask(request(b"x" * 1000)))[0] == 200
        assert (await client.ask(request(b"x" * 1001)))[0] == 413
        await rig.assert_quiet()


async def test_a_router_that_stops_begins_nothing() -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm()
        client = await rig.connect()
        assert (await client.ask(request(BODY)))[0] == 200
        rig.services.is_stopping = True
        began = rig.express.began
        assert (await client.ask(request(BODY)))[0] == 503
        assert rig.express.began == began
        await rig.assert_quiet()


async def test_where_all_workers_are_full_requests_wait_in_turn() -> None:
    async def later(peer: Peer, seen: Seen) -> None:
        await trio.sleep(0.02)
        await peer.answer(seen.body)

    async with open_express(max_inflight_per_worker=1) as rig:
        await rig.add(later)
        await rig.warm()
        order: list[int] = []

        async def ask(number: int) -> None:
            await trio.sleep(number * 0.003)
            client = await rig.connect()
            assert await client.ask(request(b"%d" % number)) == (200, b"%d" % number)
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(ask, number)
            await rig.until(lambda: rig.services.admission.queued)
        assert [int(seen.body) for seen in rig.doubles[0].seen[1:]] == order
        assert rig.services.admission.inflight == 0
        await rig.assert_quiet()


@pytest.mark.parametrize("is_first", [False, True])
async def test_a_worker_behind_tls_gets_no_byte_in_clear(is_first: bool) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    first_bytes: list[int] = []

    async def serve(stream: trio.SocketStream) -> None:
        first_bytes.extend(await stream.socket.recv(1, socket.MSG_PEEK))
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        peer = Peer(secure)  # type: ignore[arg-type]  # a stream
        with suppress(trio.BrokenResourceError):
            while (seen := await peer.read_head()) is not None:
                await peer.answer(await peer.read_body(seen))

    async with open_express(policy="round_robin") as rig:
        rig.services.dialer = Dialer(
            AddressRules.parse(()), connect_timeout_s=5, ssl_context=trusting
        )
        if not is_first:
            await rig.add()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await rig.rig.nursery.start(partial(trio.serve_listeners, serve, listeners))
        port = listeners[0].socket.getsockname()[1]
        rig.workers.append(rig.rig.join(f"https://127.0.0.1:{port}"))
        if is_first:
            await rig.add()
        client = await rig.connect()
        for number in range(12):
            body = b'{"n": %d}' % number
            assert await client.ask(request(body)) == (200, body)
        assert [worker.served for worker in rig.workers] == [6, 6]
        assert set(first_bytes) == {0x16}, "a TLS record with a handshake"
        assert rig.express.concluded == 5  # the other worker's, but for the first


# -- fairness, and what is left -------------------------------------------------------------------


async def test_many_at_once_do_not_hold_the_loop() -> None:
    async with open_express() as rig:
        await rig.add()
        await rig.warm(20)
        clients = [await rig.connect() for _ in range(300)]
        for client in clients[:5]:
            await client.ask(request(BODY))
        told: list[int] = []
        served = rig.express.serve
        turns = 0

        def counted(lane: Lane) -> None:
            told.append(turns)
            served(lane)

        rig.express.serve = counted  # type: ignore[method-assign]

        async def turn() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn)
            await rig.until(lambda: turns)
            for client in clients:  # all at once, as far as the router sees
                os.write(client.stream.socket.fileno(), request(BODY))
            await rig.until(lambda: len(told) >= len(clients))
            most = max(Counter(told).values())  # before `turn` ends
            nursery.cancel_scope.cancel()
        # A task that runs once a turn may run before the burst of one, and behind that of the next.
        assert most <= 2 * MOST_AT_ONCE
        for client in clients:
            assert await client.answer() == (200, BODY)
        await rig.assert_quiet()


async def test_requests_leave_nothing_for_the_garbage_collector() -> None:
    async with open_express(first_byte_timeout_s=60.0) as rig:
        await rig.add()
        await rig.warm()
        client = await rig.connect()
        for _ in range(20):
            await client.ask(request(BODY))
        gc.collect()
        gc.disable()
        try:
            concluded = rig.express.concluded
            for _ in range(200):
                await client.send(request(BODY))
                await client.stream.receive_some(65_536)
            assert rig.express.concluded == concluded + 200
            assert gc.collect() < 50
        finally:
            gc.enable()


async def test_what_is_handed_over_leaves_nothing_for_the_garbage_collector() -> None:
    async def chunked(peer: Peer, _seen: Seen) -> None:
        await peer.begin_chunked(b"half")
        await peer.send(b"4\r\ndone\r\n0\r\n\r\n")

    async with open_express() as rig:
        await rig.add(chunked)
        client = await rig.connect()
        for _ in range(20):
            assert await client.ask(request(BODY)) == (200, b"halfdone")
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await client.send(request(BODY))
                data = b""
                while not data.endswith(b"0\r\n\r\n"):
                    data += await client.stream.receive_some(65_536)
            found = gc.collect()
            alive = [o for o in gc.get_objects() if isinstance(o, Begun) and not o.is_over]
            assert alive == []
            assert found < 100
        finally:
            gc.enable()
