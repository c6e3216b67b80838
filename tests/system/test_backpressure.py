"""Large bodies cost the router no memory: whoever is slow slows the other side."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import SimSettings, open_fleet
from miles_router.sim.echo import pseudo_random_bytes
from tests.system.rig import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.sim import Fleet
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

MB = 1_000_000
ANSWER_BYTES = 67 * MB
ALLOWED_BYTES = 64 * 1024 * 1024


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with open_fleet(SimSettings()) as found:
        yield found


async def watch_rss(router: Router, seen: list[int]) -> None:
    while True:
        seen.append(router.rss_bytes)
        await trio.sleep(0.02)


async def read_slowly(router: Router, pause_s: float) -> str:
    """Fetch a large answer with pauses; its digest."""
    digest, received = hashlib.sha256(), 0
    async with router.connected() as client:
        await client.send("GET", f"/sim/bytes?size={ANSWER_BYTES}")
        await client.head()
        while received < ANSWER_BYTES:
            piece = await client.exactly(min(1 * MB, ANSWER_BYTES - received))
            received += len(piece)
            digest.update(piece)
            await trio.sleep(pause_s)
    return digest.hexdigest()


async def test_eight_large_answers_to_slow_readers_stay_out_of_memory(fleet: Fleet) -> None:
    expected = hashlib.sha256(pseudo_random_bytes(ANSWER_BYTES)).hexdigest()
    async with serving(workers=fleet.urls) as router:
        idle, seen, digests = router.rss_bytes, [0], []
        async with trio.open_nursery() as watching:
            watching.start_soon(watch_rss, router, seen)
            async with trio.open_nursery() as nursery:

                async def fetch() -> None:
                    digests.append(await read_slowly(router, 0.02))

                nursery.cancel_scope.deadline = trio.current_time() + 60
                for _ in range(8):
                    nursery.start_soon(fetch)
            watching.cancel_scope.cancel()
        assert digests == [expected] * 8
        print(f"8 answers of 67 MB: +{(max(seen) - idle) / MB:.1f} MB")  # noqa: T201  for people
        assert max(seen) - idle < ALLOWED_BYTES


async def test_a_client_that_stops_reading_stops_the_worker(fleet: Fleet) -> None:
    async with serving(workers=fleet.urls) as router:
        idle = router.rss_bytes
        async with router.connected() as client:
            await client.send("GET", f"/sim/bytes?size={ANSWER_BYTES}")
            await client.head()
            await trio.sleep(0.7)
            before = (await router.totals())["bytes_out"]
            await trio.sleep(0.5)
            assert (await router.totals())["bytes_out"] == before < 20 * MB
            assert router.rss_bytes - idle < ALLOWED_BYTES
        await router.check_idle(timeout_s=2)


async def test_a_slow_upload_is_not_gathered_in_memory(fleet: Fleet) -> None:
    size = 50 * MB
    data = pseudo_random_bytes(size)
    async with serving(workers=fleet.urls) as router:
        idle, seen = router.rss_bytes, [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_rss, router, seen)
            with trio.fail_after(20):
                target = "/sim/upload?rate_bytes_per_s=25000000"
                answer = await router.call("POST", target, data)
            nursery.cancel_scope.cancel()
        assert answer.json() == {"size": size, "sha256": hashlib.sha256(data).hexdigest()}
        print(f"upload of 50 MB: +{(max(seen) - idle) / MB:.1f} MB")  # noqa: T201  for people
        assert max(seen) - idle < ALLOWED_BYTES / 2
