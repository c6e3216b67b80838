"""Worker processes that die and come back, as crashes and node failures do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings, open_fleet
from tests.sim.raw_client import ConnectionEnded
from tests.system.rig import QUICK_HEALTH, eventually, prompt, read_chunks, serving

if TYPE_CHECKING:
    from miles_router.sim import Fleet
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

SEEDED = {"sampling_seed": 7, "temperature": 1.0}
SLOW = SimSettings(tokens_per_s=40)


def index_of_busy(snapshot: dict[str, Any], fleet: Fleet) -> int:
    return next(fleet.urls.index(v["url"]) for v in snapshot["workers"] if v["inflight"])


async def start_one(router: Router, body: dict[str, Any], nursery: trio.Nursery) -> list[Any]:
    """Send a request that runs; its answer will be in the list."""
    found: list[Any] = []

    async def ask() -> None:
        found.append(await router.post("/generate", body))

    nursery.start_soon(ask)
    await router.wait_inflight(1)
    await trio.sleep(0.2)
    return found


async def test_a_generation_survives_the_death_of_its_worker_with_the_same_tokens() -> None:
    body = prompt("once", tokens=60, rid="survivor", params=SEEDED)
    async with (
        open_fleet(SLOW, 2) as fleet,
        serving(*QUICK_HEALTH, workers=fleet.urls) as router,
    ):
        expected = (await router.post("/generate", body)).json()["output_ids"]
        async with trio.open_nursery() as nursery:
            found = await start_one(router, body, nursery)
            dead = index_of_busy(await router.snapshot(), fleet)
            await fleet.kill(dead)
        assert found[0].status == 200
        assert found[0].json()["output_ids"] == expected
        assert (await router.totals())["retries"] == 1
        await router.wait_state(fleet.urls[dead], "quarantined", timeout_s=4)
        answers = [await router.post("/generate", prompt()) for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        await fleet.restart(dead)
        await router.wait_state(fleet.urls[dead], "active")
        history = await router.history_of(fleet.urls[dead])
        assert history[-3:] == ["quarantined", "probation", "active"]


async def test_a_stream_whose_worker_dies_is_cut_and_not_repeated() -> None:
    async with (
        open_fleet(SLOW, 2) as fleet,
        serving(*QUICK_HEALTH, workers=fleet.urls) as router,
    ):
        async with router.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=100, stream=True))
            await client.head()
            await client.chunk()
            await fleet.kill(index_of_busy(await router.snapshot(), fleet))
            with pytest.raises(ConnectionEnded):
                await read_chunks(client)
        assert (await router.totals())["retries"] == 0
        assert (await router.totals())["cut_answers"] == 1


async def test_without_any_worker_requests_wait_and_are_then_refused_with_the_reason() -> None:
    async with (
        open_fleet(SimSettings(), 2) as fleet,
        serving(*QUICK_HEALTH, "--queue-timeout-s", "1.5", workers=fleet.urls) as router,
    ):
        for index in range(2):
            await fleet.kill(index)
        with trio.fail_after(10):
            first = await router.post("/generate", prompt())
            for url in fleet.urls:
                await router.wait_state(url, "quarantined")
            refused = await router.post("/generate", prompt())
        assert first.status in {502, 503}
        error = refused.json()["error"]
        assert (refused.status, error["code"]) == (503, "no_available_worker")
        assert error["states"] == {"quarantined": 2}
        assert int(refused.header("retry-after") or 0) >= 1
        assert (await router.call("GET", "/readyz")).status == 503
        assert (await router.call("GET", "/health")).status == 503
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await router.post("/generate", prompt()))

            nursery.start_soon(ask)
            await router.wait_queued(1)
            await fleet.restart(0)
        assert answers[0].status in {200, 503}
        await router.wait_state(fleet.urls[0], "active")
        assert (await router.call("GET", "/readyz")).status == 200


async def test_a_worker_that_restarts_with_old_weights_is_held_until_it_is_released() -> None:
    settings = [SimSettings(weight_version="v1"), SimSettings(weight_version="v1", seed=1)]
    async with (
        open_fleet(settings) as fleet,
        serving(*QUICK_HEALTH, workers=fleet.urls) as router,
    ):
        url = fleet.urls[0]
        updated = await router.post("/update_weight_version", {"new_version": "v2"})
        assert (updated.status, updated.json()["succeeded"]) == (200, 2)

        async def is_noticed() -> bool:
            return bool((await router.snapshot())["newest_weight_version"] == "v2")

        await eventually(is_noticed)
        await fleet.kill(0)
        await router.wait_state(url, "quarantined")
        await fleet.restart(0)
        await router.wait_state(url, "stale")
        answers = [await router.post("/generate", prompt()) for _ in range(6)]
        versions = {answer.json()["meta_info"]["weight_version"] for answer in answers}
        assert versions == {"v2"}
        worker_id = next(v["id"] for v in (await router.snapshot())["workers"] if v["url"] == url)
        again = await router.post(
            f"/update_weight_version?worker={worker_id}", {"new_version": "v2"}
        )
        assert again.status == 200
        await router.wait_state(url, "active")
        await fleet.restart(0)
        await router.wait_state(url, "stale")
        assert (await router.post(f"/workers/{worker_id}/release", {})).status == 200
        assert await router.state_of(url) == "active"


async def test_killing_and_restarting_under_load_loses_no_request() -> None:
    results: list[int] = []
    async with (
        open_fleet(SimSettings(tokens_per_s=200), 3) as fleet,
        serving(*QUICK_HEALTH, workers=fleet.urls) as router,
    ):
        async with trio.open_nursery() as nursery:

            async def client(number: int) -> None:
                for turn in range(6):
                    body = prompt(f"{number} {turn}", tokens=30, params=SEEDED)
                    results.append((await router.post("/generate", body)).status)

            for number in range(20):
                nursery.start_soon(client, number)
            for index in (0, 1):
                await trio.sleep(0.25)
                await fleet.kill(index)
                await router.wait_state(fleet.urls[index], "quarantined", timeout_s=5)
                await fleet.restart(index)
                await router.wait_state(fleet.urls[index], "active")
        assert results == [200] * 120
