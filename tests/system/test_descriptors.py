"""A router that has run out of file descriptors goes on, blames nobody, and recovers."""

from __future__ import annotations

import resource
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.system.rig import QUICK_HEALTH, prompt, serving, wait_until

if TYPE_CHECKING:
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

SLOW = SimSettings(tokens_per_s=20)


def limit_descriptors(router: Router, most: int) -> None:
    """From here on the process holds at most `most`."""
    resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (most, most))


async def held_descriptors(router: Router) -> int:
    """What it holds while no probe is under way."""
    seen = []
    for _ in range(75):
        seen.append(router.descriptors)
        await trio.sleep(0.02)
    return min(seen)


async def test_what_the_router_cannot_connect_is_its_own_trouble() -> None:
    async with (
        running_sim(SLOW) as sim,
        serving(*QUICK_HEALTH, workers=[sim.url]) as router,
        AsyncExitStack() as stack,
    ):
        running = [await stack.enter_async_context(router.connected()) for _ in range(3)]
        for number, client in enumerate(running):
            await client.send("POST", "/generate", prompt(tokens=400, rid=f"runs-{number}"))
        await router.wait_inflight(3)
        limit_descriptors(router, await held_descriptors(router) + 1)
        for _ in range(3):
            with trio.fail_after(5):
                refused = await router.post("/generate", prompt(rid="refused"))
            error = refused.json()["error"]
            assert (refused.status, error["code"]) == (503, "router_cannot_connect")
            assert error["reason"] == "EMFILE"
            assert "ulimit -n" in error["message"]
            assert refused.header("retry-after") == "1"
        waiting = [await stack.enter_async_context(router.connected()) for _ in range(4)]
        for client in waiting:  # the listener takes one at most
            await client.send("GET", "/livez")
        await wait_until(lambda: router.events("cannot_accept"))
        await wait_until(lambda: len(router.events("probe_not_sent")) > 4, timeout_s=10)
        for client in running:  # the aborts find no descriptor, or one that has come free
            await trio.aclose_forcefully(client.stream)
        await wait_until(lambda: not sim.worker.engine.live, timeout_s=6)
        for client in waiting:
            with trio.fail_after(5):
                assert (await client.receive()).status == 200
            await trio.aclose_forcefully(client.stream)
        assert router.process.poll() is None
        assert (await router.post("/generate", prompt())).status == 200
        assert await router.history_of(sim.url) == ["joining", "active"]
        view = (await router.snapshot())["workers"][0]
        assert (view["errors"], view["failures_in_row"]) == (0, 0)


async def test_aborts_without_a_descriptor_do_not_end_the_router() -> None:
    async with (
        running_sim(SLOW) as sim,
        serving(workers=[sim.url]) as router,
        AsyncExitStack() as stack,
    ):
        client = await stack.enter_async_context(router.connected())
        batch = {**prompt(tokens=400, rid="batch"), "text": ["a"] * 40}
        await client.send("POST", "/generate", batch)
        await wait_until(lambda: len(sim.worker.engine.live) == 40)
        limit_descriptors(router, await held_descriptors(router))
        crowd = [await stack.enter_async_context(router.connected()) for _ in range(30)]
        for other in crowd:  # take what comes free
            await other.send("POST", "/generate", prompt(tokens=400))
        await trio.aclose_forcefully(client.stream)
        await trio.sleep(1.5)
        assert router.process.poll() is None
        for other in crowd:
            await trio.aclose_forcefully(other.stream)
        await wait_until(lambda: not sim.worker.engine.live, timeout_s=6)
        await router.check_idle()
