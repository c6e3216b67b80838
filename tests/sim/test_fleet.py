from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import trio

from miles_router.sim import SimSettings, open_fleet
from miles_router.sim.fleet import WorkerDied, arguments
from tests.sim.raw_client import connected


async def info(port: int) -> Any:
    async with connected(port) as client:
        return (await client.get("/server_info")).json()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_settings_become_flags() -> None:
    settings = SimSettings(
        tokens_per_s=2.5, routed_experts=False, incremental_streaming=True, fault=("hang", "gzip")
    )
    assert arguments(settings) == [
        *("--tokens-per-s", "2.5", "--incremental-streaming", "--no-routed-experts"),
        *("--fault", "hang", "--fault", "gzip"),
    ]
    assert arguments(SimSettings()) == []


@pytest.mark.loopback
async def test_workers_can_be_killed_and_brought_back() -> None:
    with trio.fail_after(60):
        async with open_fleet(SimSettings(seed=5, weight_version="7"), 2) as fleet:
            ports = [worker.port for worker in fleet.workers]
            assert len(set(ports)) == 2
            assert fleet.urls == [f"http://127.0.0.1:{port}" for port in ports]
            assert [(await info(port))["random_seed"] for port in ports] == [5, 6]
            await fleet.kill(0)
            assert [worker.is_alive for worker in fleet.workers] == [False, True]
            with pytest.raises(OSError, match="connect"):
                await info(ports[0])
            await fleet.restart(0)
            assert (await info(ports[0]))["weight_version"] == "7"
            pids = [worker.process.pid for worker in fleet.workers if worker.process]
            assert all(map(is_running, pids))
        assert not any(map(is_running, pids))


@pytest.mark.loopback
async def test_a_cancelled_block_leaves_no_process() -> None:
    pids = []
    with trio.fail_after(60):
        with trio.CancelScope() as scope:
            async with open_fleet(SimSettings()) as fleet:
                pids = [worker.process.pid for worker in fleet.workers if worker.process]
                scope.cancel()
                await trio.sleep_forever()
        assert len(pids) == 1
        assert not any(map(is_running, pids))


@pytest.mark.loopback
async def test_the_fault_exit_ends_the_process() -> None:
    with trio.fail_after(60):
        async with open_fleet(SimSettings(fault=("exit=7",))) as fleet:
            (worker,) = fleet.workers
            async with connected(worker.port) as client:
                await client.send("POST", "/generate", {"text": "a"})
                with pytest.raises((trio.BrokenResourceError, AssertionError)):
                    assert await client.rest()
            assert worker.process is not None
            assert await worker.process.wait() == 7


@pytest.mark.loopback
async def test_a_worker_that_cannot_start_says_why() -> None:
    with trio.fail_after(60), pytest.raises(BaseExceptionGroup) as group:
        async with open_fleet(SimSettings(fault=("explode",))):
            raise AssertionError("not reached")
    assert group.group_contains(WorkerDied, match="unknown fault 'explode'")


@pytest.mark.loopback
async def test_term_is_a_clean_end() -> None:
    with trio.fail_after(60):
        async with open_fleet(
            [SimSettings()], command=(sys.executable, "-m", "miles_router.sim")
        ) as f:
            (worker,) = f.workers
            await worker.stop()
            assert worker.process is not None
            assert worker.process.returncode == 0
