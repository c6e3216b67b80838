"""Help pages need no manual: every flag, its default, and what miles calls it."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from miles_router.cli import main
from miles_router.config import Settings
from miles_router.config.checks import flag_of
from miles_router.config.values import show_size

COMMANDS = (
    "serve", "tui", "check-config", "sim", "demo", "workers", "add", "remove", "drain", "undrain",
    "quarantine", "release", "snapshot",
)  # fmt: skip


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def help_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main([*argv, "--help"]) == 0
    return capsys.readouterr().out


def default_of(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return show_size(value)
    if value is None or value == ():
        return "none"
    if value is False:
        return "off"
    return str(value)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("command", ["serve", "tui", "check-config"])
def test_every_flag_is_explained_with_its_default(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = help_of(capsys, command).splitlines()
    for field in fields(Settings):
        flag = flag_of(field.name)
        row = next(line for line in lines if re.search(rf"│ {flag} ", line))
        assert f"[default: {default_of(field.name, field.default)}]" in row, row
        assert len(row.strip("│ ").removeprefix(flag).split("[")[0].split()) >= 4, row


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    ("flag", "alias"),
    [
        ("--host", "--sglang-router-ip"),
        ("--port", "--sglang-router-port"),
        ("--middleware", "--miles-router-middleware-paths"),
        ("--first-byte-timeout-s", "--miles-router-timeout"),
        ("--max-inflight-total", "--miles-router-max-connections"),
        ("--health-failures", "--miles-router-health-check-failure-threshold"),
        ("--health-interval-s", "--rollout-health-check-interval"),
    ],
)
def test_names_of_miles_stand_beside_ours(
    flag: str, alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(rf"│ {flag} .*In miles: {alias}\.", help_of(capsys, "serve"))


def test_the_first_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    page = help_of(capsys)
    assert [name for name in COMMANDS if not re.search(rf"│ {name} ", page)] == []


def test_no_arguments_show_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: miles-router COMMAND" in capsys.readouterr().out


def test_help_says_how_flags_files_and_variables_relate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = " ".join(help_of(capsys, "serve").split())
    assert "MILES_ROUTER_PORT=30001" in page
    assert "A flag beats the environment, the environment beats the file." in page


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("command", COMMANDS[5:])
def test_commands_for_a_running_router_say_how_to_find_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = help_of(capsys, command)
    assert re.search(r"--url .*MILES_ROUTER_URL.*\[default: http://127\.0\.0\.1:30000\]", page)
    assert re.search(r"--admin-token TOKEN .*MILES_ROUTER_ADMIN_TOKEN", page)
    assert "--json" in page
