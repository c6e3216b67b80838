"""The whole demonstration with its processes: what it shows, and that it fails when it must."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from miles_router.demo import main
from miles_router.demo.progress import open_console
from miles_router.demo.run import SimVerifier, play, scenario_of
from miles_router.demo.settings import DemoSettings
from miles_router.sim.settings import SimSettings

if TYPE_CHECKING:
    from pathlib import Path

    from miles_router.demo.scenario import Scenario

pytestmark = pytest.mark.loopback

TINY = DemoSettings(prompts=2, samples=2, turns=2, max_new_tokens=24, tokens_per_s=40, workers=2)


def without_incidents(sim: SimSettings) -> Scenario:
    scenario = scenario_of(TINY, sim)
    return replace(scenario, with_kill=False, latency_pairs=1, aborts=0, disconnects=0)


async def played(sim: SimSettings, expected: SimSettings) -> int:
    """The exit code of a tiny demonstration whose worker should be as `expected` says."""
    scenario = replace(without_incidents(sim), workers=1)
    with trio.fail_after(60):
        return await play(scenario, SimVerifier(expected), open_console({"CI": "true"}), None)


def test_a_tiny_demonstration_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CI", "true")
    assert main(replace(TINY, keep_logs=tmp_path / "logs")) == 0
    shown = capsys.readouterr().out
    assert "worker 1 killed while it held" in shown
    assert "joining > active > " in shown
    assert "quarantined > probation > active" in shown
    assert "draining > drained" in shown
    assert "8 of 8 in" in shown
    assert "all workers have the weights step-8" in shown
    rows = [line.split("│")[1:-1] for line in shown.splitlines() if line.count("│") == 5]
    read_back = [[cell.strip() for cell in row] for row in rows if row[0].strip() in {"1", "2"}]
    assert [row[1:3] for row in read_back] == [["4", "0"], ["4", "0"]]
    assert "that a killed worker forgot" in " ".join(shown.split())
    assert shown.endswith("OK: nothing lost, nothing wrong\n")
    kept = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert kept == ["exchanges.jsonl", "router.log", "worker-1.log", "worker-2.log"]
    lines = (tmp_path / "logs" / "exchanges.jsonl").read_bytes().splitlines()
    exchanges = [msgspec.json.decode(line) for line in lines]
    assert sum(one["answer"] is not None for one in exchanges) == 8


async def test_answers_of_other_weights_fail_it(capsys: pytest.CaptureFixture[str]) -> None:
    sim = SimSettings(tokens_per_s=200, weight_version="step-6")
    assert await played(sim, replace(sim, weight_version="step-7")) == 1
    assert "FAILED: wrong answer: p000-s000-t000-000: answer." in capsys.readouterr().out


async def test_a_router_without_the_token_cache_fails_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sim = SimSettings(tokens_per_s=200, drift=1.0)
    scenario = replace(without_incidents(sim), workers=1, router_flags=())
    with trio.fail_after(60):
        code = await play(scenario, SimVerifier(sim), open_console({"CI": "true"}), None)
    assert code == 1
    shown = capsys.readouterr().out
    # A worker that tokenizes the text of the first turn again gets other ids for it.
    assert re.search(r"FAILED: wrong answer: p00\d-s00\d-t001-000: answer\.", shown)
    assert "-t000-000: answer." not in shown
    assert "after turn 1: it cannot be read back" in shown


async def test_a_router_that_forgets_fails_it(capsys: pytest.CaptureFixture[str]) -> None:
    sim = SimSettings(tokens_per_s=200)
    scenario = replace(without_incidents(sim), workers=1)
    forgetful = (*scenario.router_flags, "--cache-ttl-s", "0.001", "--gc-interval-s", "0.05")
    scenario = replace(scenario, router_flags=forgetful)
    with trio.fail_after(60):
        code = await play(scenario, SimVerifier(sim), open_console({"CI": "true"}), None)
    assert code == 1
    assert "after turn 1: it cannot be read back: 410 " in capsys.readouterr().out


async def test_a_lost_request_fails_it(capsys: pytest.CaptureFixture[str]) -> None:
    # Eight requests measure the latency first.
    fault = "status=500:after=10,count=1"
    sim = SimSettings(tokens_per_s=200, fault=(fault,))
    assert await played(sim, sim) == 1
    shown = capsys.readouterr().out
    assert "FAILED: lost request: p00" in shown
    assert ": 500 " in shown


async def test_a_worker_that_does_not_start_fails_it(capsys: pytest.CaptureFixture[str]) -> None:
    sim = SimSettings()
    scenario = replace(
        without_incidents(sim),
        worker_command=lambda _port: [sys.executable, "-c", "raise SystemExit('no model')"],
    )
    with trio.fail_after(60):
        code = await play(scenario, SimVerifier(sim), open_console({"CI": "true"}), None)
    assert code == 1
    shown = capsys.readouterr().out
    assert "ended with code 1" in shown
    assert "no model" in shown


def test_the_time_limit_ends_it_with_what_was_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    assert main(replace(TINY, time_limit_s=0.5)) == 1
    shown = capsys.readouterr().out
    assert "FAILED: the time limit of 0.5 s passed\n" in shown
    assert "FAILED: 8 of 8 turns were never answered\n" in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_no_process(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "miles_router", "demo", "--time-limit-s", "30"]
    demo = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ}
    )
    assert demo.stdout is not None
    with demo, demo.stdout:
        try:
            for line in demo.stdout:
                if "workers active" in line:
                    break
            demo.send_signal(number)
            assert demo.wait(timeout=20) == 128 + number
            # It was the leader of its group: what is left of the group would be its children.
            with pytest.raises(ProcessLookupError):
                os.killpg(demo.pid, 0)
        finally:
            demo.kill()
