"""The operator's commands against a running router."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import running_sim
from tests.system.rig import ROOT

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.system.rig import Router

pytestmark = pytest.mark.loopback


async def command(url: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    with trio.fail_after(20):
        done = await trio.run_process(
            [sys.executable, "-m", "miles_router", *arguments, "--url", url],
            cwd=ROOT,
            check=False,
            capture_stdout=True,
            capture_stderr=True,
            stdin=subprocess.DEVNULL,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_a_worker_goes_through_every_command(router: Router, sim: RunningSim) -> None:
    steps = [
        (("drain", sim.url, "--wait", "5"), "drained"),
        (("undrain", sim.url), "active"),
        (("quarantine", sim.url, "--reason", "hot"), "quarantined"),
        (("release", sim.url), "active"),
    ]
    for arguments, state in steps:
        code, out, err = await command(router.url, *arguments)
        assert (code, err) == (0, ""), arguments
        assert sim.url.removeprefix("http://") in out
        await router.wait_state(sim.url, state)
    code, out, _ = await command(router.url, "workers", "--json")
    assert (code, json.loads(out)["workers"][0]["url"]) == (0, sim.url)


async def test_add_and_remove(router: Router, sim: RunningSim) -> None:
    async with running_sim() as other:
        code, out, _ = await command(router.url, "add", other.url, "--wait", "5")
        assert (code, "active" in out) == (0, True)
        assert await router.state_of(other.url) == "active"
        code, out, _ = await command(router.url, "remove", other.url)
        assert (code, await router.state_of(other.url)) == (0, "gone")


async def test_the_snapshot_is_json(router: Router, sim: RunningSim) -> None:
    code, out, _ = await command(router.url, "snapshot")
    assert (code, json.loads(out)["totals"]["healthy_workers"]) == (0, 1)


async def test_failures_are_one_line_and_exit_1(router: Router, sim: RunningSim) -> None:
    for arguments, words in (
        (("drain", "http://127.0.0.1:9"), "worker_not_found"),
        (("undrain", sim.url), "illegal_transition"),
        (("add", "http://169.254.169.254"), "url_refused"),
    ):
        code, out, err = await command(router.url, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert words in err
    code, _, err = await command("http://127.0.0.1:9", "workers")
    assert (code, err.count("\n")) == (1, 1)
    assert "no_router" in err
