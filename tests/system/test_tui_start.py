"""What the terminal UI refuses, before it takes the screen and in the words of `serve`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim.tokenizer import tokenizer_dir
from tests.doubles.pseudo_terminal import ALTERNATE, ROOT, on_terminal
from tests.system.test_process import run_serve
from tests.system.tui_rig import TUI, on_tui, tells_what_is_loaded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.rig import Router

pytestmark = pytest.mark.loopback

TAKEN = b"\x1b[?1049h"


async def refused(*flags: str) -> tuple[int, str]:
    """Exit code and words of a `tui` that is expected to refuse."""
    async with on_terminal(*TUI, *flags) as terminal:
        code = await terminal.exit_code()
        assert TAKEN not in terminal.output, "the screen was taken"
        assert terminal.is_restored
        return code, terminal.output.decode().replace("\r\n", "\n")


async def test_a_taken_port_is_told_as_serve_does(router: Router, tmp_path: Path) -> None:
    port = ("--port", str(router.port))
    code, said = await refused(*port, "--log-file", str(tmp_path / "log"))
    assert (code, said) == await run_serve(*port)
    assert "the port is taken by another process" in said


@pytest.mark.parametrize(
    "flags",
    [
        ("--host", "0.0.0.0"),
        ("--worker", "http://8.8.8.8:80"),
        ("--middleware", "no.such:Thing"),
        ("--config", "/no/such/file.toml"),
        ("--retries", "-1"),
        ("--token-cache",),
        ("--token-cache", "--tokenizer", "/no/such/tokenizer"),
    ],
    ids=" ".join,
)
async def test_bad_settings_are_told_as_serve_does(flags: tuple[str, ...], tmp_path: Path) -> None:
    _, wanted = await run_serve("--port", "0", *flags)
    code, said = await refused("--port", "0", "--log-file", str(tmp_path / "log"), *flags)
    assert code == 2
    assert said.splitlines()[-1] == wanted.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--attach", "http://127.0.0.1:1", "--port", "5"), "--port is a setting of a router"),
        (("--attach", "http://127.0.0.1:1", "--worker", "http://127.0.0.1:2"), "--worker is"),
        (("--attach", "http://127.0.0.1:1", "--on-ui-crash", "exit"), "--on-ui-crash is about"),
        (("--attach", "http://127.0.0.1:1", "--config", "x.toml"), "x.toml"),
        (("--attach", "nonsense"), "--attach nonsense"),
        (("--key", "quit"), "write ACTION=KEY"),
        (("--key", "nonsense=x"), "nonsense"),
        (("--key", "quit=d"), "both"),
        (("--log-file", "/no/such/directory/log"), "--log-file"),
        (("--nonsense",), "--nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_makes_no_sense_is_refused_in_one_line(
    flags: tuple[str, ...], words: str
) -> None:
    if flags[0] == "--log-file":  # root may make any directory
        flags = ("--log-file", "/proc/none/log")
    code, said = (
        await refused("--port", "0", *flags) if "--attach" not in flags else await refused(*flags)
    )
    assert code == 2
    assert said.startswith("miles-router: ")
    assert words in said
    assert said.count("\n") == 1


def test_without_a_terminal_serve_is_named() -> None:
    done = subprocess.run(
        [*TUI, "--port", "0"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert b"run miles-router serve here" in done.stderr
    assert done.stderr.count(b"\n") == 1


async def test_a_dumb_terminal_is_refused() -> None:
    async with on_terminal(*TUI, env={"TERM": "dumb"}) as terminal:
        assert await terminal.exit_code() == 2
        assert b"miles-router serve" in terminal.output


async def test_a_tokenizer_is_loaded_before_the_screen_and_a_line_says_so(tmp_path: Path) -> None:
    flags = ("--token-cache", "--tokenizer", str(tokenizer_dir()))
    async with on_tui(tmp_path / "log", *flags) as tui:
        before, taken, _ = bytes(tui.terminal.output).partition(TAKEN)
        assert taken
        assert b"loading the tokenizer" in before
        tui.terminal.press("q")
        assert await tui.terminal.exit_code() == 0


async def test_without_a_token_cache_nothing_that_works_on_tokens_is_loaded(tmp_path: Path) -> None:
    heavy = ("numpy", "transformers", "tokenizers", "safetensors", "miles_router.core.radix")
    async with on_tui(tmp_path / "log", mistake=tells_what_is_loaded(heavy)) as tui:
        tui.terminal.press("q")
        assert await tui.terminal.exit_code() == 0
        assert "LOADED first [] at the end []" in tui.terminal.after


async def test_what_serves_own_routes_is_loaded_after_the_first_frame(tmp_path: Path) -> None:
    heavy = ("quart", "jinja2", "hypercorn", "h2", "wsproto", "prometheus_client")
    async with on_tui(tmp_path / "log", mistake=tells_what_is_loaded(heavy)) as tui:
        assert (await tui.call("GET", "/livez")).status == 200
        tui.terminal.press("q")
        assert await tui.terminal.exit_code() == 0
        assert f"LOADED first [] at the end {sorted(heavy)}" in tui.terminal.after


async def test_a_router_that_cannot_load_its_own_routes_ends_with_the_traceback(
    tmp_path: Path,
) -> None:
    mistake = "import sys; sys.modules['quart_trio'] = None"
    async with on_tui(tmp_path / "log", mistake=mistake) as tui:
        assert await tui.terminal.exit_code() == 1
        assert tui.terminal.is_restored
        assert "ModuleNotFoundError: import of quart_trio halted" in tui.terminal.after
        assert "the router failed" in tui.terminal.after


async def test_a_standard_error_that_is_no_terminal_gets_the_log(tmp_path: Path) -> None:
    path = tmp_path / "errors"
    with path.open("wb") as errors:
        async with on_terminal(
            *TUI, "--port", "0", "--log-format", "json", stderr=errors.fileno()
        ) as terminal:
            await terminal.until("No workers yet")
            assert terminal.has(ALTERNATE)
            terminal.press("q")
            assert await terminal.exit_code() == 0
            assert terminal.is_restored
    assert '"event": "listening"' in await trio.Path(path).read_text(encoding="utf-8")


def test_help_names_the_flags_of_serve_and_of_the_screens() -> None:
    page = subprocess.run(
        [sys.executable, "-m", "miles_router", "tui", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    for flag in ("--attach URL", "--read-only", "--ascii", "--key", "--log-file", "--on-ui-crash"):
        assert flag in page
    assert "--max-inflight-per-worker" in page
