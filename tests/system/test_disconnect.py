"""A client that leaves: the worker stops within two seconds and is not blamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.system.rig import joined, prompt, serving, wait_until

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.sim.raw_client import RawClient
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

SLOW = SimSettings(tokens_per_s=20)
CHAT = {"model": "sim/bpe", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 400}


def running_on(sim: RunningSim) -> int:
    return len(sim.worker.engine.live)


async def expect_abort(router: Router, sim: RunningSim, *, rid: str | None) -> None:
    """Nothing generates any more, the worker was told by rid, and it is not blamed."""
    await wait_until(lambda: running_on(sim) == 0, timeout_s=2)
    if rid is not None:

        def told() -> list[str]:
            return [one["rid"] for one in sim.worker.stats.abort_requests]

        await wait_until(lambda: rid in told(), timeout_s=2)
    await router.check_idle(timeout_s=2)
    view = next(v for v in (await router.snapshot())["workers"] if v["url"] == sim.url)
    assert (view["status"], view["errors"], view["failures_in_row"]) == ("active", 0, 0)
    assert await router.history_of(sim.url) == ["joining", "active"]


async def leave(client: RawClient, *, how: str) -> None:
    if how == "half":
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
    else:
        await trio.aclose_forcefully(client.stream)


@pytest.mark.parametrize("how", ["close", "half"])
@pytest.mark.parametrize("rid", ["gone-1", None])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_its_generation(
    router: Router, stream: bool, rid: str | None, how: str
) -> None:
    async with joined(router, SLOW) as (sim,):
        body = prompt(tokens=400, stream=stream, **({"rid": rid} if rid else {}))
        async with router.connected() as client:
            await client.send("POST", "/generate", body)
            if stream:
                await client.head()
                await client.chunk()
            else:
                await wait_until(lambda: running_on(sim) == 1)
            assert (await router.totals())["inflight"] == 1
            await leave(client, how=how)
            await expect_abort(router, sim, rid=rid)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_client_that_leaves_stops_its_generation(router: Router, stream: bool) -> None:
    async with joined(router, SLOW) as (sim,):
        async with router.connected() as client:
            await client.send("POST", "/v1/chat/completions", {**CHAT, "stream": stream})
            await wait_until(lambda: running_on(sim) == 1)
        await expect_abort(router, sim, rid=None)


async def test_a_batch_is_aborted_by_every_one_of_its_ids(router: Router) -> None:
    async with joined(router, SLOW) as (sim,):
        async with router.connected() as client:
            body = {**prompt(tokens=400), "text": ["a", "b"], "rid": ["b1", "b2"]}
            await client.send("POST", "/generate", body)
            await wait_until(lambda: running_on(sim) == 2)
        await expect_abort(router, sim, rid="b1")
        await wait_until(lambda: len(sim.worker.stats.abort_requests) == 2)


async def test_a_client_that_leaves_in_mid_upload_leaves_nothing(
    router: Router, sim: RunningSim
) -> None:
    for declared, sent in ((1_000_000, 500_000), (20_000_000, 9_000_000)):
        head = b"POST /sim/upload HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % declared
        async with router.connected() as client:
            await client.stream.send_all(head + b"x" * sent)
            await trio.sleep(0.1)
        await router.check_idle(timeout_s=2)
    assert await router.history_of(sim.url) == ["joining", "active"]
    await wait_until(lambda: sim.worker.stats.connections_open == 0, timeout_s=6)


async def test_a_client_that_leaves_an_upload_nobody_takes_is_noticed(
    router: Router, sim: RunningSim
) -> None:
    sim.worker.add_fault("early=413:path=/stalled")  # which reads nothing for a second, then closes
    size = 50_000_000
    head = b"POST /stalled HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % size
    async with router.connected() as client:
        with trio.move_on_after(0.5):
            await client.stream.send_all(head + b"x" * size)
    await router.check_idle(timeout_s=3)


async def test_a_client_with_a_pipelined_request_that_leaves_is_noticed(router: Router) -> None:
    async with joined(router, SLOW) as (sim,):
        async with router.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=400, rid="first"))
            await client.send("GET", "/livez")
            await wait_until(lambda: running_on(sim) == 1)
            await trio.sleep(0.1)
        await expect_abort(router, sim, rid="first")


async def test_a_client_that_leaves_the_queue_never_reaches_a_worker() -> None:
    async with (
        running_sim(SLOW) as sim,
        serving("--max-inflight-per-worker", "1", workers=[sim.url]) as router,
        router.connected() as running,
    ):
        await running.send("POST", "/generate", prompt(tokens=400, rid="runs"))
        await router.wait_inflight(1)
        async with router.connected() as waiting:
            await waiting.send("POST", "/generate", prompt(rid="waits"))
            await router.wait_queued(1)
        await router.wait_queued(0)
        await leave(running, how="close")
        await expect_abort(router, sim, rid="runs")
        assert sim.worker.stats.requests["/generate"] == 1


async def test_many_clients_that_leave_at_once_leave_nothing(router: Router) -> None:
    async with joined(router, SLOW, SLOW) as sims:
        before = router.descriptors
        async with trio.open_nursery() as nursery:

            async def come_and_go(number: int) -> None:
                async with router.connected() as client:
                    body = prompt(tokens=400, rid=f"many-{number:03}", stream=number % 2 == 0)
                    await client.send("POST", "/generate", body)
                    await trio.sleep(0.5 + number % 7 * 0.03)

            for number in range(100):
                nursery.start_soon(come_and_go, number)
        await wait_until(lambda: sum(map(running_on, sims)) == 0, timeout_s=3)
        await router.check_idle()

        def told() -> set[Any]:
            return {one["rid"] for sim in sims for one in sim.worker.stats.abort_requests}

        await wait_until(lambda: len(told()) == 100)
        await router.wait_descriptors(before + 4)
