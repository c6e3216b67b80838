"""Whole numbers are never rounded, wherever they are written."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, get_args, get_type_hints

import pytest

from miles_router.cli import main
from miles_router.config import Settings
from miles_router.demo.settings import DemoSettings
from miles_router.sim.__main__ import app as sim_app
from miles_router.sim.settings import SimSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)


def whole(settings: type) -> list[str]:
    """The flags of `settings` that take whole numbers."""
    hints = get_type_hints(settings)
    names = [field.name for field in fields(settings)]
    taken = [name for name in names if int in (hints[name], *get_args(hints[name]))]
    return ["--" + name.replace("_", "-") for name in taken]


SERVE, SIM, DEMO = whole(Settings), whole(SimSettings), whole(DemoSettings)
PLACES = [
    *(("check-config", flag) for flag in SERVE),
    *(("sim", flag) for flag in SIM),
    *(("demo", flag) for flag in DEMO),
]


def test_there_are_whole_numbers_everywhere() -> None:
    assert {"--port", "--retries", "--max-inflight-per-worker", "--max-body-bytes"} <= set(SERVE)
    assert {"--port", "--max-queued", "--seed"} <= set(SIM)
    assert {"--prompts", "--seed"} <= set(DEMO)


@pytest.mark.parametrize(("command", "flag"), PLACES)
@pytest.mark.parametrize("text", ["3.7", "2.5"])
def test_a_fraction_is_refused_by_every_flag(
    command: str, flag: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, flag, text]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert flag in err
    assert text in err


@pytest.mark.parametrize("flag", SIM)
def test_a_fraction_is_refused_where_the_worker_runs_alone(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        sim_app([flag, "3.7"])
    assert caught.value.code == 2
    assert '"3.7"' in capsys.readouterr().err


@pytest.mark.parametrize("value", ["3.5", "'3.5'"])
@pytest.mark.parametrize("key", ["port", "max-inflight-per-worker", "retries"])
def test_a_fraction_in_the_file_is_traced_to_it(
    key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "router.toml"
    path.write_text(f"{key} = {value}", encoding="utf-8")
    assert main(["check-config", "--config", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"from file {path}" in err
    assert '"3.5"' in err


def test_a_fraction_in_the_environment_is_traced_to_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILES_ROUTER_HEALTH_FAILURES", "2.5")
    assert main(["check-config"]) == 2
    err = capsys.readouterr().err
    assert "environment MILES_ROUTER_HEALTH_FAILURES" in err
    assert '"2.5"' in err


def test_whole_numbers_and_numbers_of_seconds_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "router.toml"
    path.write_text("port = 30005.0\nqueue-timeout-s = 2.5\nretries = 4", encoding="utf-8")
    assert main(["check-config", "--config", str(path), "--health-interval-s", "0.5"]) == 0
    shown = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert (shown["port"], shown["retries"]) == ("30005", "4")
    assert (shown["queue_timeout_s"], shown["health_interval_s"]) == ("2.5", "0.5")
