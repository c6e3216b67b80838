"""Queue, limits per worker and draining."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.sim.raw_client import ConnectionEnded
from tests.system.rig import joined, prompt, read_chunks, serving, wait_until

if TYPE_CHECKING:
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

SLOW = SimSettings(tokens_per_s=50)


async def ask(router: Router, into: list[Any], body: dict[str, Any]) -> None:
    into.append(await router.post("/generate", body))


async def test_a_full_queue_refuses_at_once_and_the_waiting_are_served() -> None:
    flags = ("--max-inflight-per-worker", "2", "--queue-size", "3")
    async with running_sim(SLOW) as sim, serving(*flags, workers=[sim.url]) as router:
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, router, found, prompt(tokens=40))
            await router.wait_queued(3)
            assert len(sim.worker.engine.live) == 2
            refused = await router.post("/generate", prompt())
            assert (refused.status, refused.json()["error"]["code"]) == (429, "queue_full")
            assert refused.header("retry-after")
        assert [answer.status for answer in found] == [200] * 5


async def test_the_limit_of_all_workers_together_holds() -> None:
    flags = ("--max-inflight-total", "3")
    async with (
        running_sim(SLOW) as one,
        running_sim(SLOW) as two,
        serving(*flags, workers=[one.url, two.url]) as router,
    ):
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(ask, router, found, prompt(tokens=15))
            await router.wait_queued(6)
            assert (await router.totals())["inflight"] == 3
        assert [answer.status for answer in found] == [200] * 9


async def test_the_queue_has_a_deadline() -> None:
    flags = ("--max-inflight-per-worker", "1", "--queue-timeout-s", "0.3")
    async with running_sim(SLOW) as sim, serving(*flags, workers=[sim.url]) as router:
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, router, found, prompt(tokens=60))
            await router.wait_inflight(1)
            late = await router.post("/generate", prompt())
            error = late.json()["error"]
            assert (late.status, error["code"]) == (503, "no_available_worker")
            assert error["states"] == {"active": 1}
        assert found[0].status == 200


async def test_load_is_spread_evenly(router: Router) -> None:
    async with joined(router, SLOW, SLOW, SLOW) as sims:
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask, router, found, prompt(tokens=20))
        assert [sim.worker.stats.requests["/generate"] for sim in sims] == [10, 10, 10]


async def test_a_drained_worker_finishes_and_gets_nothing_new(router: Router) -> None:
    async with joined(router, SLOW, SLOW) as (first, second):
        name = quote(first.url, safe="")
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask, router, found, prompt(tokens=40))
            await router.wait_inflight(2)
            assert (await router.post(f"/workers/{name}/drain", {})).json()["status"] == "draining"
            for _ in range(3):
                assert (await router.post("/generate", prompt())).status == 200
            assert first.worker.stats.requests["/generate"] == 1
        assert [answer.status for answer in found] == [200, 200]
        await router.wait_state(first.url, "drained")
        assert (await router.post(f"/workers/{name}/undrain", {})).status == 200
        await router.wait_state(first.url, "active")
        assert second.worker.stats.requests["/generate"] == 4


async def test_a_drain_deadline_moves_what_has_not_begun_and_cuts_what_has(
    router: Router,
) -> None:
    async with joined(router, SLOW) as (first,):
        found: list[Any] = []
        async with router.connected() as streaming, trio.open_nursery() as nursery:
            await streaming.send("POST", "/generate", prompt(tokens=500, stream=True, rid="cut"))
            await streaming.head()
            nursery.start_soon(ask, router, found, prompt(tokens=100, rid="moved"))
            await router.wait_inflight(2)
            async with joined(router, SLOW) as (second,):
                name = quote(first.url, safe="")
                await router.post(f"/workers/{name}/drain", {"deadline_s": 0.3})
                with pytest.raises(ConnectionEnded):
                    await read_chunks(streaming)
                await wait_until(lambda: found)
                assert second.worker.stats.requests["/generate"] == 1
        assert found[0].status == 200
        await router.wait_state(first.url, "drained")
        assert {one["rid"] for one in first.worker.stats.abort_requests} == {"cut", "moved"}


async def test_a_removed_worker_finishes_what_it_has(router: Router) -> None:
    async with joined(router, SLOW, SLOW) as (first, _):
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask, router, found, prompt(tokens=40))
            await router.wait_inflight(2)
            answer = await router.post(f"/remove_worker?url={quote(first.url)}", {})
            assert answer.json() == {"status": "success"}
            listed = (await router.call("GET", "/list_workers")).json()["urls"]
            assert first.url not in listed
        assert [answer.status for answer in found] == [200, 200]
        await router.wait_state(first.url, "gone")
        await router.post("/workers?wait=5", {"url": first.url})
