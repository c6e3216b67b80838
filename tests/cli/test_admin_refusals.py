"""What a person may get wrong when they steer a router: one line, and an exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.cli import main
from tests.cli.test_admin import WORKER, StubRouter, running_stub

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.loopback


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubRouter]:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)
    with running_stub() as router:
        monkeypatch.setenv("MILES_ROUTER_URL", router.url)
        yield router


SECONDS = [
    ["add", "http://a:1", "--wait"],
    ["drain", "w1", "--wait"],
    ["drain", "w1", "--deadline-s"],
]


@pytest.mark.parametrize("argv", SECONDS, ids=str)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e999"])
def test_what_is_no_span_of_time_is_refused_before_the_router_is_asked(
    argv: list[str], text: str, stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv[:-1], f"{argv[-1]}={text}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert argv[-1] in err
    assert "Write a number of seconds, 0 or more" in err
    assert stub.seen == []


@pytest.mark.parametrize(
    ("token", "said"),
    [("ü x", "has spaces or characters"), ("a b", "has spaces"), ("", "is empty")],
)
def test_a_token_that_no_header_can_carry_is_refused(
    token: str, said: str, stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["workers", "--admin-token", token]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"miles-router: --admin-token {said}")
    assert stub.seen == []


def test_such_a_token_is_traced_to_its_variable(
    stub: StubRouter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILES_ROUTER_ADMIN_TOKEN", "hunter2 x")
    assert main(["workers"]) == 2
    err = capsys.readouterr().err
    assert "[from environment MILES_ROUTER_ADMIN_TOKEN]" in err
    assert "hunter2" not in err


@pytest.mark.parametrize("command", ["remove", "drain", "undrain", "quarantine", "release"])
@pytest.mark.parametrize("name", ["", " "])
def test_a_worker_without_a_name_is_refused(
    command: str, name: str, stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, name]) == 2
    err = capsys.readouterr().err
    assert "WORKER. Write the id or the URL of a worker" in err
    assert err.count("\n") == 1
    assert stub.seen == []


def test_bytes_that_are_no_text_are_refused_or_sent_but_no_traceback(
    stub: StubRouter, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = os.fsdecode(b"\xff")
    assert main(["quarantine", "w1", "--reason", broken]) == 1
    assert main(["drain", broken]) == 1
    assert main(["workers", "--url", f"http://127.0.0.1:1/{broken}"]) == 1
    assert main(["workers", "--url", "http://127.0.0.1:1/\x01"]) == 1
    assert capsys.readouterr().err.count("\n") == 4


# -- output in an encoding that lacks characters --------------------------------------------------

REASON = "kühlt nicht \U0001f525"


def printed_in_ascii(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> str:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(argv) == 0
    stdout.flush()
    found: Any = stdout.buffer
    return bytes(found.getvalue()).decode("ascii")


def test_a_table_shows_what_the_terminal_lacks_as_escapes(
    stub: StubRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"workers": [{**WORKER, "reason": REASON}], "total": 1}
    stub.answer("GET", "/workers", (200, answer))
    assert r"k\xfchlt nicht \U0001f525" in printed_in_ascii(monkeypatch, ["workers"])


@pytest.mark.parametrize("argv", [["workers", "--json"], ["snapshot", "--json"], ["snapshot"]])
def test_json_stays_json(
    argv: list[str], stub: StubRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"workers": [{**WORKER, "reason": REASON}], "total": 1}
    for path in ("/workers", "/snapshot"):
        stub.raw[path] = json.dumps(answer, ensure_ascii=False).encode()
    assert json.loads(printed_in_ascii(monkeypatch, argv)) == answer


def test_the_whole_command_with_an_ascii_terminal(stub: StubRouter) -> None:
    stub.answer("GET", "/workers", (200, {"workers": [{**WORKER, "reason": REASON}], "total": 1}))
    done = subprocess.run(
        [sys.executable, "-m", "miles_router", "workers"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"k\xfchlt nicht" in done.stdout
