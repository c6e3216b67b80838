"""A paused worker is not failing: SGLang 0.5.23 answers /ping while /health waits."""

from __future__ import annotations

import httpx
import pytest
import trio

from miles_router.core.urlrules import AddressRules, parse_worker_url
from miles_router.core.worker import ProbeOutcome, Worker, WorkerSpec
from miles_router.net.dial import Dialer
from miles_router.net.probe import probe
from miles_router.sim import running_sim

pytestmark = pytest.mark.loopback


async def test_a_paused_worker_is_told_from_a_dead_one() -> None:
    dialer = Dialer(AddressRules(), connect_timeout_s=5.0)
    async with running_sim() as sim, httpx.AsyncClient(base_url=sim.url, trust_env=False) as client:
        worker = Worker(id="w1", spec=WorkerSpec(url=parse_worker_url(sim.url)), added_at=0.0)

        async def outcome() -> ProbeOutcome:
            return (await probe(dialer, worker, health_path="/health", timeout_s=0.3)).outcome

        with trio.fail_after(20):
            assert await outcome() is ProbeOutcome.PASSED
            await client.post("/pause_generation", json={"mode": "in_place"})
            assert await outcome() is ProbeOutcome.PAUSED
            await client.post("/continue_generation", json={})
            assert await outcome() is ProbeOutcome.PASSED
            sim.worker.add_fault("hang:path=/health")
            assert await outcome() is ProbeOutcome.TIMEOUT
