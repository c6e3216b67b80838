"""Sessions, aborts and registration, end to end over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.system.rig import joined, prompt, serving, wait_until

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

SLOW = SimSettings(tokens_per_s=50)


@pytest.mark.parametrize("name", ["X-SMG-Routing-Key", "X-Miles-Session"])
async def test_a_session_stays_on_its_worker(router: Router, name: str) -> None:
    async with joined(router, *[SimSettings()] * 3):
        homes: dict[str, set[str | None]] = {}
        for _ in range(5):
            for key in ("a", "b", "c", "d"):
                answer = await router.post("/generate", prompt(), {name: f"{name}-{key}"})
                homes.setdefault(key, set()).add(answer.header("x-miles-worker"))
        assert [len(found) for found in homes.values()] == [1, 1, 1, 1]


async def test_our_own_session_header_wins_and_a_finished_session_is_forgotten(
    router: Router,
) -> None:
    async with joined(router, *[SimSettings()] * 2):
        homes = set()
        for number in range(6):
            headers = {"X-Miles-Session": "mine", "X-SMG-Routing-Key": f"other-{number}"}
            answer = await router.post("/generate", prompt(), headers)
            homes.add(answer.header("x-miles-worker"))
        assert len(homes) == 1
        finished = await router.call("POST", "/finish_session?session_id=mine")
        assert (finished.status, finished.json()["was_known"]) == (200, True)
        again = await router.call("POST", "/finish_session?session_id=mine")
        assert (again.status, again.json()["was_known"]) == (200, False)


async def test_a_session_moves_when_its_worker_goes(router: Router) -> None:
    async with joined(router, SimSettings(), SimSettings()) as sims:
        urls = {view["id"]: view["url"] for view in (await router.snapshot())["workers"]}
        headers = {"X-Miles-Session": "moving"}
        home = (await router.post("/generate", prompt(), headers)).header("x-miles-worker")
        await router.post(f"/workers/{home}/drain", {})
        moved = {
            (await router.post("/generate", prompt(), headers)).header("x-miles-worker")
            for _ in range(4)
        }
        assert len(moved) == 1
        assert home not in moved
        assert home in urls
        assert len(sims) == 2


async def collect(router: Router, into: list[Any], body: dict[str, Any]) -> None:
    into.append(await router.post("/generate", body))


async def test_an_abort_by_rid_reaches_the_worker_that_runs_it(router: Router) -> None:
    async with joined(router, SLOW, SLOW) as sims:
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(
                    collect, router, found, prompt(tokens=2000, rid=f"abort-{number}")
                )
            await router.wait_inflight(4)
            await wait_until(lambda: sum(len(sim.worker.engine.running) for sim in sims) == 4)
            answer = await router.post("/abort_request", {"rid": "abort-2"})
            assert (answer.status, answer.json()["matched"]) == (200, 1)
            await wait_until(lambda: len(found) == 1, timeout_s=2)
            told = [one["rid"] for sim in sims for one in sim.worker.stats.abort_requests]
            assert told == ["abort-2"]
            assert found[0].json()["meta_info"]["finish_reason"]["type"] == "abort"
            answer = await router.post("/abort_request", {"abort_all": True})
            assert answer.status == 200
        assert [one.status for one in found] == [200] * 4


async def test_an_abort_ends_what_still_waits_in_the_queue() -> None:
    flags = ("--max-inflight-per-worker", "1")
    async with running_sim(SLOW) as sim, serving(*flags, workers=[sim.url]) as router:
        found: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, router, [], prompt(tokens=60, rid="runs"))
            await router.wait_inflight(1)
            nursery.start_soon(collect, router, found, prompt(rid="waits"))
            await router.wait_queued(1)
            answer = await router.post("/abort_request", {"rid": "waits"})
            assert answer.json()["queued_aborted"] == 1
            await wait_until(lambda: found, timeout_s=2)
            meta = found[0].json()["meta_info"]
            assert (found[0].status, meta["finish_reason"]["type"]) == (200, "abort")
        assert sim.worker.stats.requests["/generate"] == 1
        assert sim.worker.stats.abort_requests == []


async def test_a_registered_worker_serves_only_after_a_probe(router: Router) -> None:
    async with running_sim(SimSettings(health_delay_s=0.6)) as sim:
        accepted = await router.post("/workers", {"url": sim.url, "priority": 5})
        assert (accepted.status, accepted.json()["status"]) == (202, "accepted")
        location = accepted.header("location") or ""
        assert (await router.call("GET", location)).json()["status"] == "joining"
        assert sim.worker.stats.requests["/generate"] == 0
        assert (await router.post("/generate", prompt())).status == 200
        assert await router.history_of(sim.url) == ["joining", "active"]
        assert (await router.call("DELETE", location)).status == 202
        assert (await router.call("GET", location)).status == 404


async def test_the_old_names_add_list_and_remove(router: Router, sim: RunningSim) -> None:
    async with running_sim() as other:
        added = await router.call("POST", f"/add_worker?url={quote(other.url, safe='')}")
        assert added.json() == {"status": "success", "worker_urls": {sim.url: 0, other.url: 0}}
        await router.wait_state(other.url, "active")
        again = await router.post(
            "/add_worker", {"worker_url": other.url, "worker_type": "regular"}
        )
        assert again.status == 200
        listed = (await router.call("GET", "/list_workers")).json()
        assert listed == {"urls": [sim.url, other.url]}
        for _ in range(2):
            removed = await router.call("POST", f"/remove_worker?url={other.url}")
            assert (removed.status, removed.json()) == (200, {"status": "success"})
    missing = await router.call("POST", "/add_worker")
    assert (missing.status, missing.json()["code"]) == (400, "url_missing")


async def test_what_is_no_worker_never_joins(router: Router) -> None:
    async with running_sim(SimSettings(fault=("html:path=/*,count=all",))) as web_site:
        answer = await router.post("/workers?wait=3", {"url": web_site.url})
        assert (answer.status, answer.json()["error"]["code"]) == (502, "not_a_worker")
        name = quote(web_site.url, safe="")
        assert (await router.call("DELETE", f"/workers/{name}")).status == 202
    refused = await router.post("/workers", {"url": "http://169.254.169.254/latest"})
    assert (refused.status, refused.json()["error"]["code"]) == (400, "url_refused")
