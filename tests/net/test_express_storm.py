"""Hundreds of clients that leave at random, workers that fail at random: every answer is its own.

The express runs in this process, so that what is left can be looked at.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import h11
import pytest
import trio

from tests.doubles.express_rig import Client, ExpressRig, needs_epoll, open_express, request

if TYPE_CHECKING:
    from tests.doubles.worker_double import Answer, Peer, Seen

pytestmark = [pytest.mark.loopback, needs_epoll]

CLIENTS, TURNS, WORKERS = 150, 8, 3
GONE = (ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError)


def faulty(seed: int) -> Answer:
    """A worker that mostly answers with what it was sent."""
    rng = random.Random(seed)

    async def answer(peer: Peer, seen: Seen) -> None:
        luck = rng.random()
        if luck < 0.3:
            await trio.sleep(rng.random() * 0.02)
        fault = rng.random()
        if fault < 0.03:
            peer.stream.shut()
        elif fault < 0.05:
            await peer.send(b"no HTTP\r\n\r\n")
        elif fault < 0.08:
            await peer.send(b"HTTP/1.1 200 X\r\ncontent-length: 99999\r\n\r\n" + seen.body)
            await trio.sleep(0.002)
            peer.stream.shut()
        elif fault < 0.12:
            await peer.begin_chunked(seen.body[:3], seen.body[3:])
            await trio.sleep(0.002)
            await peer.send(b"0\r\n\r\n")
        elif fault < 0.16:
            head = b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n" % len(seen.body)
            await peer.send(head + seen.body[:5])
            await trio.sleep(0.002)
            await peer.send(seen.body[5:])
        elif fault < 0.18:
            await peer.answer(seen.body, headers={"connection": "close"})
            peer.stream.shut()
        else:
            await peer.answer(seen.body)

    return answer


class Storm:
    """What the clients of one router did and saw."""

    def __init__(self, rig: ExpressRig) -> None:
        self.rig = rig
        self.seen: Counter[str] = Counter()
        self.answered: set[str] = set()

    async def client(self, number: int) -> None:
        """Ask `TURNS` times; leave, or end the connection, now and then."""
        rng = random.Random(number)
        client = await self.rig.connect()
        for turn in range(TURNS):
            rid = f"<{number}.{turn}>"
            filling = "y" * rng.choice([1, 100, 40_000, 60_000])
            body = json.dumps({"rid": rid, "text": filling}).encode()
            try:
                await self.send(client, rng, request(body))
                if rng.random() < 0.1:
                    await trio.sleep(rng.random() * 0.01)
                    client = await self.again(client, "left")
                    continue
                status, answer = await client.answer()
            except (*GONE, h11.RemoteProtocolError):
                client = await self.again(client, "cut")
                continue
            self.seen[str(status)] += 1
            if status == 200:
                assert answer == body, "an answer that is another's"
                self.answered.add(rid)
            else:
                assert status in {502, 503}, answer
        client.leave()

    async def again(self, client: Client, why: str) -> Client:
        """Another connection instead of that of `client`."""
        self.seen[why] += 1
        client.leave()
        return await self.rig.connect()

    async def send(self, client: Client, rng: random.Random, data: bytes) -> None:
        """Send `data` at once, or in two pieces."""
        place = rng.randrange(1, len(data)) if rng.random() < 0.2 else len(data)
        await client.send(data[:place])
        if place < len(data):
            await trio.sleep(0.001)
            await client.send(data[place:])


async def test_a_storm_leaves_nothing_and_mixes_nothing_up() -> None:
    async with open_express(within_s=60, policy="round_robin", retries=2) as rig:
        for seed in range(WORKERS):
            await rig.add(faulty(seed))
        storm = Storm(rig)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_active, rig, nursery.cancel_scope)
            async with trio.open_nursery() as clients:
                for number in range(CLIENTS):
                    clients.start_soon(storm.client, number)
            nursery.cancel_scope.cancel()
        assert sum(storm.seen.values()) == CLIENTS * TURNS
        assert storm.seen["200"] > CLIENTS * TURNS / 2
        assert rig.express.concluded > CLIENTS * TURNS / 4
        assert rig.ingress.by_task > CLIENTS
        await rig.assert_quiet()
        await rig.until(lambda: not rig.ingress.connections)
        sent_to = Counter(
            json.loads(seen.body)["rid"]
            for double in rig.doubles
            for seen in double.seen
            if seen.body
        )
        aborted = Counter(rid for double in rig.doubles for rid in double.aborted)
        # A worker that was told to abort is one that did not answer: another may have.
        needless = [rid for rid in aborted if rid in storm.answered and sent_to[rid] < 2]
        assert needless == []


async def keep_active(rig: ExpressRig, _scope: trio.CancelScope) -> None:
    """Faults make workers suspect; probes bring them back."""
    while True:
        await trio.sleep(0.02)
        for worker in rig.workers:
            with suppress(Exception):
                rig.rig.passes(worker)
