from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest

from miles_router.cli import main
from miles_router.tui.glyphs import ASCII, UNICODE
from miles_router.tui.panels.empty import (
    add_by_cli,
    add_by_curl,
    empty_pool_lines,
    waiting_lines,
    wrapped,
)
from miles_router.tui.source import Link, LinkState

URL = "http://127.0.0.1:30000"


def drawn(width: int, url: str = URL, **options: Any) -> list[str]:
    return ["".join(cell.text for cell in line) for line in empty_pool_lines(url, width, **options)]


def test_the_commands_name_the_routers_own_url() -> None:
    assert drawn(79) == [
        "No workers yet",
        "",
        "Press a to add one here, or from a shell:",
        "",
        "curl -X POST 'http://127.0.0.1:30000/add_worker?url=http://HOST:PORT'",
        "",
        "miles-router add http://HOST:PORT --url http://127.0.0.1:30000",
        "",
        "or start the router with  --worker http://HOST:PORT",
    ]
    assert "Add one from a shell:" in drawn(79, can_add=False)


def test_with_an_admin_token_the_commands_carry_it() -> None:
    lines = drawn(79, needs_token=True)
    assert lines[4:8] == [
        'curl -X POST -H "Authorization: Bearer $ADMIN_TOKEN" \\',
        "  'http://127.0.0.1:30000/add_worker?url=http://HOST:PORT'",
        "",
        "miles-router add http://HOST:PORT --url http://127.0.0.1:30000 \\",
    ]
    assert lines[8] == '  --admin-token "$ADMIN_TOKEN"'


@pytest.mark.parametrize("width", [40, 60, 79, 200])
def test_what_is_copied_is_the_whole_command(width: int) -> None:
    """A shell that reads the lines runs the command with all its words."""
    for parts in (add_by_curl(URL, needs_token=True), add_by_cli(URL, needs_token=True)):
        script = "\n".join(wrapped(parts, width))
        shown = subprocess.run(
            ["sh", "-c", 'curl() { printf "%s\\n" "$@"; }; alias_() { curl "$@"; }\n'
             + script.replace("miles-router", "alias_", 1)],
            env={"ADMIN_TOKEN": "a b"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        expected = shlex.split(" ".join(parts).replace("$ADMIN_TOKEN", "a b"))
        assert shown.stdout.splitlines() == expected[1:]


@pytest.mark.loopback
def test_the_command_line_knows_that_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(" ".join(add_by_cli("http://127.0.0.1:1", needs_token=True)))
    assert words[0] == "miles-router"
    assert main(words[1:]) == 1
    assert "no router answers at http://127.0.0.1:1" in capsys.readouterr().err


def test_an_address_cannot_break_out_of_the_command() -> None:
    nasty = "http://h:1/';touch x;'\x1b"
    (query,) = shlex.split(" ".join(add_by_curl(nasty)))[3:]
    assert query == f"{nasty}/add_worker?url=http://HOST:PORT"
    assert all(line.isprintable() for line in drawn(79, nasty))
    in_ascii = [cell.text for line in empty_pool_lines("http://東", glyphs=ASCII) for cell in line]
    assert all(text.isascii() for text in in_ascii)
    assert wrapped(["http://東"], 40, UNICODE) == ["http://東"]


@pytest.mark.parametrize("height", range(1, 20))
def test_the_command_is_there_however_low_the_screen(height: int) -> None:
    lines = drawn(58, height=height)
    assert "miles-router add http://HOST:PORT \\" in lines
    assert len(lines) <= max(2, height)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_the_address_is_one_that_another_machine_can_use(host: str) -> None:
    lines = drawn(79, f"http://{host}:8000")
    assert "miles-router add http://HOST:PORT --url http://ROUTER_HOST:8000" in lines
    assert host not in "".join(lines)


def test_before_anything_came_there_is_the_whole_reason() -> None:
    link = Link(LinkState.LOST, 1.0, "no router answers at http://h:1 (name is not known)", 5.0)
    lines = [
        "".join(cell.text for cell in line) for line in waiting_lines(link, "http://h:1", 30, 2.0)
    ]
    assert lines[:4] == [
        "waiting for http://h:1",
        "",
        "no router answers at",
        "http://h:1 (name is not known)",
    ]
    assert lines[5].startswith("tried again in 3s")
