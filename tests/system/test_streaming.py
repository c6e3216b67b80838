"""Streams pass as they come: no piece waits for the next one."""

from __future__ import annotations

import json
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import SimSettings
from miles_router.sim.echo import pseudo_random_bytes
from tests.system.rig import joined, prompt

if TYPE_CHECKING:
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback


async def first_bytes_s(port: int, tokens: int) -> tuple[float, float]:
    """Seconds from the request to the head of the answer, and to its first streamed event."""
    from tests.sim.raw_client import connected

    async with connected(port) as client:
        asked_at = trio.current_time()
        await client.send("POST", "/generate", prompt(tokens=tokens, stream=True))
        await client.head()
        head_s = trio.current_time() - asked_at
        await client.chunk()
        return head_s, trio.current_time() - asked_at


@pytest.mark.parametrize("tokens_per_s", [0, 20])
async def test_the_first_streamed_bytes_come_within_20_ms_of_the_workers(
    router: Router, tokens_per_s: float
) -> None:
    """The quickest of several counts: others wait for the machine, not for the router."""
    async with joined(router, SimSettings(tokens_per_s=tokens_per_s)) as (sim,):
        direct, relayed = [], []
        for _ in range(15):
            direct.append(await first_bytes_s(sim.port, 40))
            relayed.append(await first_bytes_s(router.port, 40))
        for part, name in enumerate(("head", "first event")):
            added_s = min(one[part] for one in relayed) - min(one[part] for one in direct)
            print(f"{name}: the router adds {added_s * 1000:.1f} ms")  # noqa: T201  for people
            assert added_s < 0.02, name
        assert statistics.median(event_s for _, event_s in relayed) < 0.25, "not all 2 s of it"
        await router.check_idle()


@pytest.mark.parametrize("incremental", [False, True])
async def test_events_are_relayed_unchanged(router: Router, incremental: bool) -> None:
    settings = SimSettings(incremental_streaming=incremental)
    body = prompt(tokens=20, stream=True, rid="same", params={"temperature": 0})
    async with joined(router, settings) as (sim,):
        from tests.sim.raw_client import connected

        async with connected(sim.port) as client:
            direct = (await client.post("/generate", body)).events()
        relayed = (await router.post("/generate", body)).events()
        for event in (*direct, *relayed):
            event["meta_info"] = {
                key: value
                for key, value in event["meta_info"].items()
                if isinstance(value, str | int | list) and "latency" not in key
            }
        assert [event["text"] for event in relayed] == [event["text"] for event in direct]
        assert [event["output_ids"] for event in relayed] == [
            event["output_ids"] for event in direct
        ]
        lengths = [len(event["output_ids"]) for event in relayed]
        assert lengths[-1] == (1 if incremental else 20)


async def test_pieces_of_a_slow_answer_arrive_one_by_one(router: Router) -> None:
    async with joined(router, SimSettings()):
        async with router.connected() as client:
            with trio.fail_after(10):
                target = "/sim/bytes?size=50&chunk=10&delay_s=0.1&chunked=1"
                await client.send("GET", target)
                await client.head()
                arrivals, data = [], b""
                while piece := await client.chunk():
                    arrivals.append(trio.current_time())
                    data += piece
        gaps = [later - earlier for earlier, later in pairwise(arrivals)]
        assert data == pseudo_random_bytes(50)
        assert len(gaps) == 4
        assert min(gaps) > 0.03


async def test_a_long_pause_in_mid_stream_does_not_end_it(router: Router) -> None:
    async with joined(router, SimSettings()):
        with trio.fail_after(10):
            answer = await router.call("GET", "/sim/bytes?size=2&chunk=1&delay_s=1.5")
        assert answer.body == pseudo_random_bytes(2)


async def test_a_router_event_stream_tells_what_happens(router: Router) -> None:
    seq = (await router.snapshot())["last_event_seq"]
    async with router.connected() as client:
        await client.send("GET", f"/events?since={seq}")
        await client.head()
        async with joined(router, SimSettings()) as (sim,):
            with trio.fail_after(5):
                kinds = []
                while "worker_active" not in kinds:
                    event = json.loads((await client.until(b"\n\n")).split(b"data: ")[1])
                    assert event["url"] == sim.url
                    kinds.append(event["kind"])
        assert kinds[0] == "worker_joining"
