"""How busy a worker says it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from miles_router.sim import SimSettings
from tests.sim.raw_client import open_bench, open_client

if TYPE_CHECKING:
    from tests.sim.raw_client import Bench

LONG = {"text": "a", "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}}
CORE = {
    *("timestamp", "dp_rank", "num_running_reqs", "num_waiting_reqs", "num_used_tokens"),
    *("num_total_tokens", "max_total_num_tokens", "max_running_requests", "token_usage"),
    *("gen_throughput", "cache_hit_rate", "utilization"),
}


async def make_busy(bench: Bench, count: int) -> None:
    for _ in range(count):
        await bench.connect().send("POST", "/generate", LONG)
        await bench.settle()


async def test_loads_and_metrics_show_what_runs_and_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench(SimSettings(tokens_per_s=10, max_running=1)) as bench:
        await make_busy(bench, 3)
        control = bench.connect()
        (load,) = (await control.get("/v1/loads?include=core")).json()["loads"]
        assert (load["num_running_reqs"], load["num_waiting_reqs"]) == (1, 2)
        text = (await control.get("/metrics")).body.decode()
        assert 'sglang:num_running_reqs{model_name="sim/bpe"} 1.0\n' in text
        assert 'sglang:num_queue_reqs{model_name="sim/bpe"} 2.0\n' in text


@pytest.mark.parametrize(
    ("query", "sections"),
    [
        ("", {"memory", "queues"}),
        ("?include=all", {"memory", "queues"}),
        ("?include=core", set()),
        ("?include=core,memory", {"memory"}),
        ("?include=queues,%20spec", {"queues"}),
    ],
)
async def test_sections_are_those_that_are_asked_for(query: str, sections: set[str]) -> None:
    async with open_client() as client:
        [load] = (await client.get(f"/v1/loads{query}")).json()["loads"]
        assert load.keys() == CORE | sections


async def test_queues_tell_what_waits_and_why(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=10, max_running=1)) as bench:
        await make_busy(bench, 3)
        control = bench.connect()
        await control.post("/pause_generation", {"mode": "retract"})
        [load] = (await control.get("/v1/loads")).json()["loads"]
        assert (load["queues"]["waiting"], load["queues"]["retracted"]) == (3, 1)
        assert load["memory"]["token_capacity"] == load["max_total_num_tokens"]


@pytest.mark.parametrize(("rank", "count"), [("0", 1), ("1", 0), ("-1", 0)])
async def test_a_worker_is_one_rank(rank: str, count: int) -> None:
    async with open_client() as client:
        found = await client.get(f"/v1/loads?dp_rank={rank}")
        assert len(found.json()["loads"]) == count


@pytest.mark.parametrize("query", ["dp_rank=x", "include=everything"])
async def test_what_cannot_be_asked_is_400(query: str) -> None:
    async with open_client() as client:
        found = await client.get(f"/v1/loads?{query}")
        assert (found.status, found.json()["object"]) == (400, "error")


async def test_loads_as_a_page_for_prometheus(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=10, max_running=1)) as bench:
        await make_busy(bench, 2)
        found = await bench.connect().get("/v1/loads?format=prometheus")
        assert str(found.header("content-type")).startswith("text/plain; version=0.0.4")
        families = {one.name: one for one in text_string_to_metric_families(found.body.decode())}
        [sample] = families["sglang_num_waiting_reqs"].samples
        assert (sample.labels, sample.value) == ({"dp_rank": "0"}, 1)
        assert families["sglang_queues_waiting"].samples[0].value == 1
        assert "sglang_dp_rank" not in families


async def test_metrics_show_which_requests_are_active(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        control = bench.connect()

        async def active() -> dict[tuple[str, ...], float]:
            page = (await control.get("/metrics")).body.decode()
            return {
                tuple(sample.labels.values()): sample.value
                for family in text_string_to_metric_families(page)
                if family.name == "sglang:http_requests_active"
                for sample in family.samples
            }

        await make_busy(bench, 2)
        assert await active() == {("/generate", "POST"): 2, ("/metrics", "GET"): 1}
        await control.request("GET", '/no"such\\path')
        await trio.sleep(60)
        assert await active() == {("/metrics", "GET"): 1}
