"""Two hundred clients, three workers that misbehave at random: nothing is lost, nothing is left."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import SimSettings
from tests.sim.raw_client import Answer, ConnectionEnded
from tests.system.rig import QUICK_HEALTH, joined, prompt, serving

if TYPE_CHECKING:
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

CLIENTS, TURNS = 200, 4
FAULTS = [
    "reset:probability=0.05,count=all",
    "close:probability=0.05,count=all",
    "garbage:probability=0.05,count=all",
    "truncate:probability=0.05,count=all",
    "truncate_chunked:probability=0.05,count=all",
    "status=503:probability=0.05,count=all",
    "slow:probability=0.05,count=all,bytes=200,delay_s=0.005",
    "short_length:probability=0.05,count=all",
    "hang:probability=0.02,count=all",
]


def judge(answer: Answer, tokens: int) -> str:
    """What kind of a proper answer this is; fails if it is none."""
    if answer.status == 200:
        if len(answer.body) == int(answer.header("content-length") or 0):
            try:
                body = json.loads(answer.body)
            except ValueError:
                return "short"  # the worker lied about the length
            assert body["meta_info"]["completion_tokens"] == tokens
        return "right"
    body = answer.json()
    if answer.header("x-miles-worker"):
        assert (answer.status, body["code"]) == (503, 503)
        return "worker said 503"
    assert answer.status in {502, 503, 504}
    assert body["error"]["message"]
    return str(body["error"]["code"])


async def one_client(router: Router, seed: int, seen: Counter[str]) -> None:
    rng = random.Random(seed)
    for turn in range(TURNS):
        tokens = rng.randint(1, 20)
        body = prompt(f"{seed}/{turn}", tokens=tokens, rid=f"s{seed}-{turn}")
        async with router.connected() as client:
            await client.send("POST", "/generate", body)
            if rng.random() < 0.1:
                await trio.sleep(rng.random() * 0.02)
                seen["left"] += 1
                continue
            try:
                seen[judge(await client.receive(), tokens)] += 1
            except (ConnectionEnded, trio.BrokenResourceError):
                seen["cut"] += 1


async def test_a_storm_of_faults_leaves_nothing_behind() -> None:
    seen: Counter[str] = Counter()
    flags = (*QUICK_HEALTH, "--first-byte-timeout-s", "3", "--max-inflight-per-worker", "40")
    async with serving(*flags) as router:
        settings = [SimSettings(seed=seed, tokens_per_s=500) for seed in range(3)]
        async with joined(router, *settings) as sims:
            before = router.descriptors
            for sim in sims:
                for fault in FAULTS:
                    sim.worker.add_fault(fault)
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    for seed in range(CLIENTS):
                        nursery.start_soon(one_client, router, seed, seen)
            print(dict(seen))  # noqa: T201  for people
            assert sum(seen.values()) == CLIENTS * TURNS
            assert seen["right"] > CLIENTS * TURNS / 2
            for sim in sims:
                sim.worker.faults.clear()
                await router.wait_state(sim.url, "active")
                assert "quarantined" not in await router.history_of(sim.url)
            await router.check_idle()
            await router.wait_descriptors(before + 4)
            assert (await router.post("/generate", prompt())).status == 200
