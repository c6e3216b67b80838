"""Every way a worker can misbehave, and what the client, the pool and the count of requests see."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.sim.raw_client import ConnectionEnded
from tests.system.rig import QUICK_HEALTH, joined, prompt, serving, wait_until

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.sim.raw_client import Answer
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback


def code_of(answer: Answer) -> str:
    return str(answer.json()["error"]["code"])


async def retries_of(router: Router) -> int:
    return int((await router.totals())["retries"])


@pytest.mark.parametrize("fault", ["reset", "close", "garbage"])
async def test_a_generation_that_dies_before_its_first_byte_is_repeated_elsewhere(
    router: Router, fault: str
) -> None:
    async with joined(router, SimSettings(), SimSettings()) as sims:
        before = await retries_of(router)
        for sim in sims:
            sim.worker.add_fault(fault)
        answers = [await router.post("/generate", prompt(rid=f"r{n}")) for n in range(6)]
        assert [answer.status for answer in answers] in ([200] * 6, [502] + [200] * 5)
        assert await retries_of(router) > before
        for sim in sims:
            await router.wait_state(sim.url, "active")


@pytest.mark.parametrize("fault", ["reset", "close", "garbage"])
async def test_the_only_worker_that_breaks_is_a_502_and_stays(
    router: Router, sim: RunningSim, fault: str
) -> None:
    sim.worker.add_fault(fault)
    answer = await router.post("/generate", prompt())
    assert (answer.status, code_of(answer)) == (502, "worker_failed")
    await router.wait_state(sim.url, "active")
    assert "quarantined" not in await router.history_of(sim.url)
    assert (await router.post("/generate", prompt())).status == 200


async def test_a_post_with_effects_is_never_repeated(router: Router) -> None:
    async with joined(router, SimSettings(), SimSettings()) as sims:
        for sim in sims:
            sim.worker.add_fault("close:path=/open_session,count=all")
        answer = await router.post("/open_session", {"capacity_of_str_len": 1})
        assert (answer.status, code_of(answer)) == (502, "worker_failed")
        assert sum(sim.worker.stats.requests["/open_session"] for sim in sims) == 1


async def test_a_refused_connection_ejects_the_worker_and_costs_no_request(
    router: Router,
) -> None:
    async with joined(router, SimSettings(), SimSettings()) as (first, second):
        first.worker.add_fault("refuse:seconds=1.5")
        await trio.sleep(0.05)
        answers = [await router.post("/generate", prompt()) for _ in range(8)]
        assert [answer.status for answer in answers] == [200] * 8
        assert second.worker.stats.requests["/generate"] == 8
        await router.wait_state(first.url, "quarantined")
        await router.wait_state(first.url, "active")
        history = await router.history_of(first.url)
        assert history[-3:] == ["quarantined", "probation", "active"]


async def test_a_worker_that_hangs_is_a_504_and_is_not_asked_twice() -> None:
    async with (
        running_sim() as sim,
        running_sim() as other,
        serving("--first-byte-timeout-s", "0.4", workers=[sim.url, other.url]) as router,
    ):
        for one in (sim, other):
            one.worker.add_fault("hang")
        with trio.fail_after(3):
            answer = await router.post("/generate", prompt(rid="slow"))
        assert (answer.status, code_of(answer)) == (504, "worker_timeout")
        assert (await router.totals())["retries"] == 0
        served = [one.worker.stats.requests["/generate"] for one in (sim, other)]
        assert sorted(served) == [0, 1]
        stats = (sim.worker.stats, other.worker.stats)
        await wait_until(lambda: stats[0].abort_requests or stats[1].abort_requests, timeout_s=2)
        assert await router.state_of(sim.url) == await router.state_of(other.url) == "active"


@pytest.mark.parametrize("fault", ["truncate", "truncate_chunked", "long_length"])
async def test_an_answer_that_breaks_off_is_never_taken_for_complete(
    router: Router, sim: RunningSim, fault: str
) -> None:
    before = await router.totals()
    sim.worker.add_fault(fault)
    with pytest.raises(ConnectionEnded), trio.fail_after(5):
        await router.post("/generate", prompt())
    after = await router.totals()
    assert after["cut_answers"] == before["cut_answers"] + 1
    assert after["retries"] == before["retries"]
    assert (await router.post("/generate", prompt())).status == 200


async def test_a_pause_longer_than_the_idle_timeout_cuts_the_answer() -> None:
    async with (
        running_sim() as sim,
        serving("--idle-timeout-s", "0.3", workers=[sim.url]) as router,
    ):
        sim.worker.add_fault("slow:bytes=16,delay_s=0.01")
        assert (await router.post("/generate", prompt())).status == 200
        sim.worker.add_fault("slow:bytes=16,delay_s=5")
        with pytest.raises(ConnectionEnded), trio.fail_after(3):
            await router.post("/generate", prompt())
        assert await router.state_of(sim.url) == "active"


async def test_bytes_behind_a_complete_answer_do_not_reach_the_next_request(
    router: Router, sim: RunningSim
) -> None:
    sim.worker.add_fault("short_length")
    async with router.connected() as client:
        with trio.fail_after(5):
            short = await client.post("/generate", prompt())
            assert short.header("content-length") == str(len(short.body))
            whole = await client.post("/generate", prompt())
    assert (short.status, whole.status) == (200, 200)
    assert whole.json()["meta_info"]["completion_tokens"] == 4


@pytest.mark.parametrize("status", [500, 503, 429, 400])
async def test_a_workers_refusal_is_relayed_and_neither_repeated_nor_counted(
    router: Router, status: int
) -> None:
    async with joined(router, SimSettings(), SimSettings()) as sims:
        before = await retries_of(router)
        for sim in sims:
            sim.worker.add_fault(f"status={status}:count=all")
        answers = [await router.post("/generate", prompt()) for _ in range(8)]
        assert [answer.status for answer in answers] == [status] * 8
        assert sum(sim.worker.stats.requests["/generate"] for sim in sims) == 8
        assert await retries_of(router) == before
        for sim in sims:
            assert await router.history_of(sim.url) == ["joining", "active"]


@pytest.mark.parametrize(
    ("fault", "expected"), [("html", b"It works!"), ("list", b'["unexpected",null]')]
)
async def test_an_answer_of_another_kind_is_the_clients_to_judge(
    router: Router, sim: RunningSim, fault: str, expected: bytes
) -> None:
    sim.worker.add_fault(fault)
    answer = await router.post("/generate", prompt())
    assert answer.status == 200
    assert expected in answer.body


async def test_gzip_and_slow_answers_are_complete(router: Router, sim: RunningSim) -> None:
    sim.worker.add_fault("slow:bytes=50,delay_s=0.01")
    slow = await router.post("/generate", prompt())
    sim.worker.add_fault("gzip")
    packed = await router.post("/generate", prompt())
    for body in (slow.body, gzip.decompress(packed.body)):
        assert json.loads(body)["meta_info"]["completion_tokens"] == 4


async def test_a_worker_that_fails_its_probes_is_quarantined_and_comes_back() -> None:
    async with (
        running_sim() as sim,
        running_sim() as other,
        serving(*QUICK_HEALTH, workers=[sim.url, other.url]) as router,
    ):
        sim.worker.add_fault("status=503:path=/health,count=3")
        await router.wait_state(sim.url, "quarantined")
        assert (await router.post("/generate", prompt())).status == 200
        await router.wait_state(sim.url, "active")
        assert await router.history_of(sim.url) == [
            *("joining", "active", "suspect", "quarantined", "probation", "active")
        ]
