from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.demo.processes import ChildDied, child_environment, free_ports, open_children

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.loopback


def worker_command(port: int) -> list[str]:
    return [sys.executable, "-m", "miles_router.sim", "--port", str(port)]


def test_ports_are_free_and_different() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5


def test_settings_of_another_router_do_not_reach_the_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MILES_ROUTER_PORT", "1")
    assert "MILES_ROUTER_PORT" not in child_environment()
    assert child_environment()["PATH"] == os.environ["PATH"]


async def test_a_child_can_be_killed_and_come_back_on_its_port(tmp_path: Path) -> None:
    with trio.fail_after(40):
        async with open_children(tmp_path) as children:
            (port,) = free_ports(1)
            child = children.add("worker 1", worker_command(port), port)
            await child.start()
            await child.wait_ready("/health", timeout_s=20)
            assert children.dead() == []
            await child.kill()
            assert children.dead() == [child]
            assert child.ending() == "ended with code -9"
            await child.start()
            await child.wait_ready("/health", timeout_s=20)
        assert not child.is_alive
        assert (tmp_path / "worker-1.log").is_file()


async def test_a_child_that_ends_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with trio.fail_after(20):
        async with open_children(tmp_path) as children:
            child = children.add("worker 1", command, 1)
            await child.start()
            with pytest.raises(ChildDied, match=r"ended with code 1\n  worker 1: no such model"):
                await child.wait_ready("/health", timeout_s=15)


async def test_a_child_that_never_answers_is_told_and_ended(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with trio.fail_after(20):
        async with open_children(tmp_path) as children:
            child = children.add("worker 1", command, port)
            await child.start()
            with pytest.raises(ChildDied, match=r"worker 1 is not ready after 0.3 s"):
                await child.wait_ready("/health", timeout_s=0.3)
        assert not child.is_alive


async def test_a_block_that_is_cancelled_leaves_no_child(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with trio.fail_after(20):
        with trio.CancelScope() as scope:
            async with open_children(tmp_path) as children:
                child = children.add("worker 1", worker_command(port), port)
                await child.start()
                assert child.is_alive
                scope.cancel()
                await trio.sleep_forever()
        assert not child.is_alive
