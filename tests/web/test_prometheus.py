from __future__ import annotations

import json

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.web.rig import SHORT, Rig, open_router, open_sims

FAMILIES = {
    "info": "gauge",
    "inflight": "gauge",
    "queued": "gauge",
    "sessions": "gauge",
    "idle_connections": "gauge",
    "stopping": "gauge",
    "worker_state": "gauge",
    "worker_inflight": "gauge",
    "worker_served": "counter",
    "worker_errors": "counter",
    "requests": "counter",
    "client_gone": "counter",
    "cut_answers": "counter",
    "retries": "counter",
    "probes": "counter",
    "errors": "counter",
    "refused_connections": "counter",
    "aborts_sent": "counter",
    "stale_reconnects": "counter",
    "received_bytes": "counter",
    "relayed_bytes": "counter",
    "queue_wait_seconds": "histogram",
    "first_byte_seconds": "histogram",
    "request_seconds": "histogram",
    "overhead_seconds": "histogram",
    "loop_lag_seconds": "histogram",
}


async def scrape(rig: Rig) -> dict[tuple[str, ...], float]:
    """Value by sample name and label values."""
    answer = await rig.client.get("/metrics")
    assert answer.status == 200
    assert str(answer.header("content-type")).startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("miles_router_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_the_page_has_every_family_and_parses() -> None:
    async with open_router() as rig:
        page = (await rig.client.get("/metrics")).body.decode()
        families = {
            family.name.removeprefix("miles_router_"): family.type
            for family in text_string_to_metric_families(page)
        }
        assert families == FAMILIES
        assert all(
            family.documentation and family.name.startswith("miles_router_")
            for family in text_string_to_metric_families(page)
        )


@pytest.mark.loopback
async def test_counts_follow_what_happens() -> None:
    async with open_sims(1) as [sim], open_router(queue_timeout_s=0) as rig:
        worker = rig.join(sim.url)
        answer = await rig.client.post("/generate", SHORT, **{"X-Miles-Session": "s"})
        await rig.client.get("/workers/nobody")
        found = await scrape(rig)
        assert found["requests_total", "generate", "200"] == 1
        assert found["requests_total", "own", "404"] == 1
        assert found["errors_total", "worker_not_found"] == 1
        assert found["worker_state", "active", sim.url] == 1
        assert found["worker_state", "quarantined", sim.url] == 0
        assert found["worker_inflight", sim.url] == found["inflight",] == 0
        assert found["worker_served_total", sim.url] == 1
        assert found["relayed_bytes_total",] == len(answer.body)
        assert found["sessions",] == 1
        assert found["idle_connections",] == 1
        assert found["first_byte_seconds_count",] == 1
        assert found["request_seconds_bucket", "+Inf"] == found["request_seconds_count",] == 2
        worker.errors = 3
        assert (await scrape(rig))["worker_errors_total", sim.url] == 3


@pytest.mark.loopback
async def test_bytes_and_seconds_of_a_request_are_counted() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        worker = rig.add(sim.url)
        async with rig.client.opened("POST", "/generate", SHORT) as call:
            await rig.until_queued(1)
            assert (await scrape(rig))["queued",] == 1
            await trio.sleep(0.3)
            rig.passes(worker)
            await call.is_over.wait()
        found = await scrape(rig)
        assert found["received_bytes_total",] == len(json.dumps(SHORT))
        assert found["relayed_bytes_total",] == len(call.answer.body)
        for name in ("queue_wait", "first_byte", "request"):
            assert found[f"{name}_seconds_count",] >= 1, name
            assert found[f"{name}_seconds_sum",] >= 0.3, name
        assert found["overhead_seconds_count",] == 1
        assert 0 < found["overhead_seconds_sum",] < 0.3, "waiting for a worker is no overhead"
        assert found["queued",] == found["inflight",] == 0


async def test_a_body_that_is_refused_counts_as_received() -> None:
    async with open_router(queue_timeout_s=0) as rig:
        assert (await rig.client.post("/generate", b"x" * 1000)).status == 503
        assert (await rig.client.post("/generate", [b"x" * 500] * 3)).status == 503
        assert (await scrape(rig))["received_bytes_total",] == 2500


async def test_what_goes_wrong_is_counted() -> None:
    async with open_router() as rig:
        metrics = rig.services.metrics
        metrics.client_gone["generate"] += 2
        metrics.cut_answers["other"] += 3
        metrics.retries["refused"] += 4
        metrics.probes["timeout"] += 5
        metrics.refused_connections["bad_request"] += 6
        metrics.aborts_sent += 7
        metrics.stale_reconnects += 8
        metrics.loop_lag.add(0.25)
        rig.services.is_stopping = True
        found = await scrape(rig)
        assert found["client_gone_total", "generate"] == 2
        assert found["cut_answers_total", "other"] == 3
        assert found["retries_total", "refused"] == 4
        assert found["probes_total", "timeout"] == 5
        assert found["refused_connections_total", "bad_request"] == 6
        assert found["aborts_sent_total",] == 7
        assert found["stale_reconnects_total",] == 8
        assert found["loop_lag_seconds_sum",] == 0.25
        assert found["stopping",] == 1


async def test_buckets_add_up() -> None:
    async with open_router() as rig:
        for value_s in (0.0001, 0.003, 0.04, 99.0):
            rig.services.metrics.overhead.add(value_s)
        found = await scrape(rig)
        buckets = [value for key, value in found.items() if key[0] == "overhead_seconds_bucket"]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found["overhead_seconds_count",] == 4
        assert found["overhead_seconds_bucket", "0.005"] == 2
        assert found["overhead_seconds_sum",] == pytest.approx(99.0431)
