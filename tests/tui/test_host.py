"""A screen and a thread in one process, on a real terminal: every way in which they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.doubles.pseudo_terminal import ALTERNATE, MOUSE, ROOT, on_terminal
from tests.tui.toy_host import SECRET

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.doubles.pseudo_terminal import PseudoTerminal

pytestmark = pytest.mark.loopback

TOY = (sys.executable, "-m", "tests.tui.toy_host")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "toy.log"


def toy(
    log: Path, on_crash: str = "exit", **env: str
) -> AbstractAsyncContextManager[PseudoTerminal]:
    plain = {"PYTHON_COLORS": "0", **env}  # Python 3.13 colours the tracebacks that it writes
    return on_terminal(*TOY, str(log), on_crash, size=(100, 30), env=plain)


def logged(log: Path) -> str:
    return log.read_text(encoding="utf-8")


def said(log: Path) -> list[str]:
    """What the thread noted."""
    path = log.with_suffix(".said")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def count(log: Path) -> int:
    text = log.with_suffix(".count").read_text(encoding="ascii")
    return int(text or 0)


def shown_count(terminal: PseudoTerminal) -> int:
    return int(terminal.text.split()[1])


async def test_q_ends_both_and_gives_the_terminal_back(log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        assert terminal.has(ALTERNATE)
        assert terminal.has(MOUSE)
        assert not terminal.is_restored
        terminal.press("q")
        assert await terminal.exit_code() == 0
        assert terminal.is_restored
        assert "waiting at" in terminal.after
        assert f"the log is in {log}" in terminal.after
    assert said(log) == ["unwatched", "stopping: q", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_both(number: signal.Signals, log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        terminal.process.send_signal(number)
        assert await terminal.exit_code() == 0
        assert terminal.is_restored
    assert [line for line in said(log) if line != "unwatched"] == [
        f"stopping: {number.name}",
        "stopped",
    ]


async def test_the_screen_goes_first_and_a_second_signal_hurries(log: Path) -> None:
    async with toy(log, TOY_GRACE_S="60") as terminal:
        await terminal.until("count")
        terminal.press("q")
        await terminal.until(lambda: "waiting at" in terminal.after)
        assert terminal.is_restored
        before = count(log)
        await terminal.until(lambda: count(log) > before)
        terminal.press("\x03")  # Ctrl-C is a signal again
        assert await terminal.exit_code() == 0
    assert said(log) == ["unwatched", "stopping: q", "hurried: SIGINT", "stopped"]


async def test_a_third_signal_cancels(log: Path) -> None:
    async with toy(log, TOY_GRACE_S="60") as terminal:
        await terminal.until("count")
        for _ in range(3):
            terminal.process.send_signal(signal.SIGTERM)
            await trio.sleep(0.2)
        assert await terminal.exit_code() == 0
        assert terminal.is_restored


async def test_a_crash_of_the_thread_shows_its_traceback_on_a_clean_terminal(log: Path) -> None:
    async with toy(log, "serve") as terminal:
        await terminal.until("count")
        terminal.press("r")
        assert await terminal.exit_code() == 1
        assert terminal.is_restored
        assert "ValueError: the counter failed" in terminal.after
        assert terminal.after.count("ValueError: the counter failed") == 1
        assert "the router failed" in terminal.after
    assert "ValueError: the counter failed" in logged(log)


async def test_a_crash_of_the_screen_ends_all_where_it_is_to(log: Path) -> None:
    async with toy(log, "exit") as terminal:
        await terminal.until("count")
        terminal.press("x")
        assert await terminal.exit_code() == 1
        assert terminal.is_restored
        assert "ZeroDivisionError: the screen failed" in terminal.after
        assert SECRET not in terminal.output.decode()
    assert [line for line in said(log) if line != "unwatched"] == [
        "stopping: the terminal UI failed",
        "stopped",
    ]
    assert SECRET not in logged(log)


async def test_a_crash_of_the_screen_leaves_the_thread_running(log: Path) -> None:
    async with toy(log, "serve") as terminal:
        await terminal.until("count")
        terminal.press("x")
        await terminal.until(lambda: "goes on without it" in terminal.after)
        assert terminal.is_restored
        assert "ZeroDivisionError: the screen failed" in terminal.after
        assert SECRET not in terminal.output.decode()
        before = count(log)
        await terminal.until(lambda: count(log) > before + 10)
        assert terminal.process.poll() is None
        terminal.press("\x03")
        assert await terminal.exit_code() == 1
    assert said(log) == ["unwatched", "stopping: SIGINT", "stopped"]


async def test_a_crash_on_a_terminal_that_takes_nothing_ends_the_thread_first(log: Path) -> None:
    async with toy(log, "exit") as terminal:
        await terminal.until("count")
        terminal.is_read = False
        await trio.sleep(0.7)  # the terminal is full, and the screen does not know yet
        terminal.press("x")
        await terminal.until(lambda: said(log)[:1] == ["stopping: the terminal UI failed"])
        assert await terminal.exit_code() == 74
        terminal.is_read = True
        await terminal.until(lambda: terminal.is_restored)
    assert said(log) == ["stopping: the terminal UI failed", "stopped"]
    assert "ZeroDivisionError: the screen failed" in logged(log)


async def test_when_both_crash_both_are_told(log: Path) -> None:
    async with toy(log, "serve") as terminal:
        await terminal.until("count")
        terminal.press("b")
        assert await terminal.exit_code() == 1
        assert terminal.is_restored
        assert "ZeroDivisionError" in terminal.after
        assert "ValueError" in terminal.after


async def test_what_keeps_the_thread_from_starting_is_told_before_the_screen(log: Path) -> None:
    async with toy(log, TOY_FAILS="1") as terminal:
        assert await terminal.exit_code() == 1
        assert b"\x1b[?1049h" not in terminal.output
        assert b"OSError: the port is taken" in terminal.output
        assert terminal.is_restored


async def test_whatever_is_printed_is_in_the_log_and_not_on_the_screen(log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        terminal.press("p")
        await terminal.until(lambda: "LookupError: WROTE thread" in logged(log))
        await trio.sleep(0.2)
        assert b"WROTE" not in terminal.output
        terminal.press("q")
        assert await terminal.exit_code() == 0
    kept = logged(log)
    ways = ("print", "stderr", "warning", "logging", "fd 1", "fd 2", "C", "child", "child error")
    assert [way for way in ways if f"WROTE {way}\n" not in kept] == []
    assert os.stat(log).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["", "x"])
async def test_what_waits_for_the_first_screen_waits_no_longer_when_there_is_one_or_none(
    key: str, log: Path
) -> None:
    async with toy(log, "serve") as terminal:
        await terminal.until("count")
        terminal.press(key)
        await terminal.until(lambda: log.with_suffix(".shown").exists())
        if key:
            await terminal.until(lambda: "goes on without it" in terminal.after)
        terminal.press("\x03" if key else "q")
        assert await terminal.exit_code() == bool(key)


@pytest.mark.parametrize(
    "sent",
    [b"\x1b[200~\x1b[31mq\x1b[0m xx\x1bq\x1b[201~", b"\xff\xe9\xc3"],
    ids=["paste with sequences", "no text"],
)
async def test_what_is_no_key_ends_nothing(log: Path, sent: bytes) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        os.write(terminal.master, sent)
        shown = shown_count(terminal)
        await terminal.until(lambda: shown_count(terminal) > shown + 20)
        terminal.press("q")
        assert await terminal.exit_code() == 0


async def test_being_stopped_and_continued_leaks_no_thread_and_draws_again(log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("threads 5")
        for _ in range(3):
            terminal.process.send_signal(signal.SIGSTOP)
            await trio.sleep(0.1)
            terminal.screen.reset()  # what a shell makes of the screen meanwhile
            terminal.process.send_signal(signal.SIGCONT)
            await terminal.until(lambda: terminal.has(ALTERNATE) and "count" in terminal.text)
        await trio.sleep(0.3)
        await terminal.until("threads 5")
        terminal.press("q")
        assert await terminal.exit_code() == 0
        assert terminal.is_restored


@pytest.mark.parametrize("reads_late", ["", "1"])
async def test_in_the_background_it_leaves_the_terminal_to_the_shell(
    reads_late: str, log: Path
) -> None:
    shell = ("bash", "--norc", "--noprofile", "-i")
    env = {"PS1": "READY ", "TOY_READS_LATE": reads_late}
    async with on_terminal(*shell, size=(100, 30), env=env) as terminal:
        await terminal.until("READY")
        terminal.press(" ".join((*TOY, str(log), "exit\r")))
        await terminal.until("threads")
        pid = int(log.with_suffix(".pid").read_text(encoding="ascii"))
        os.kill(pid, signal.SIGSTOP)
        await terminal.until("Stopped")
        terminal.press("bg\r")
        await terminal.until(lambda: not terminal.has(ALTERNATE))
        before = count(log)
        terminal.press("echo shell $((6 * 7))\r")
        await terminal.until("shell 42")
        await terminal.until(lambda: count(log) > before + 10)
        terminal.screen.reset()
        terminal.press("fg\r")
        await terminal.until("threads 5")
        assert terminal.has(ALTERNATE)
        terminal.press("q")
        await terminal.until(lambda: "the log is in" in terminal.after)
        terminal.press("echo code $?\r")
        await terminal.until("code 0")


async def test_a_stop_from_the_keyboard_of_another_terminal_stops_nothing(log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            terminal.process.send_signal(number)
        before = count(log)
        await terminal.until(lambda: count(log) > before + 5)
        terminal.press("q")
        assert await terminal.exit_code() == 0


async def test_the_size_is_the_terminals_whatever_the_environment_says(log: Path) -> None:
    async with toy(log, COLUMNS="40", LINES="10") as terminal:
        await terminal.until("size 100x30")
        terminal.resize(90, 20)
        await terminal.until("size 90x20")
        terminal.press("q")
        assert await terminal.exit_code() == 0


async def test_a_terminal_that_is_not_read_stops_nothing(log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        terminal.is_read = False
        await trio.sleep(4)
        before = count(log)
        await terminal.until(lambda: count(log) > before + 20, timeout_s=5)
        terminal.is_read = True
        await terminal.until(lambda: shown_count(terminal) > before)
        terminal.press("q")
        assert await terminal.exit_code() == 0
        assert terminal.is_restored


async def test_a_terminal_that_is_not_read_does_not_keep_the_process(log: Path) -> None:
    async with toy(log) as terminal:
        await terminal.until("count")
        terminal.is_read = False
        await trio.sleep(3)
        terminal.process.terminate()
        began_at = trio.current_time()
        assert await terminal.exit_code() == 74
        assert 4 < trio.current_time() - began_at < 9
        assert said(log) == ["stopping: SIGTERM", "stopped"]
        terminal.is_read = True
        await terminal.until(lambda: terminal.is_restored)


@pytest.mark.parametrize("on_crash", ["exit", "attached"])
async def test_a_closed_window_ends_all(on_crash: str, log: Path) -> None:
    async with toy(log, on_crash) as terminal:
        await terminal.until("count")
        await terminal.hang_up()
        assert await terminal.exit_code(timeout_s=10) == 0
    if on_crash == "exit":
        assert "stopping: SIGHUP" in said(log)
        assert said(log)[-1] == "stopped"


@pytest.mark.parametrize(
    ("how", "code"), [("q", 0), ("x", 1), ("SIGTERM", 0), ("SIGINT", 0), ("SIGHUP", 0)]
)
async def test_screens_alone_end_cleanly_too(how: str, code: int, log: Path) -> None:
    async with toy(log, "attached") as terminal:
        await terminal.until("count")
        if len(how) == 1:
            terminal.press(how)
        else:
            terminal.process.send_signal(signal.Signals[how])
        assert await terminal.exit_code() == code
        assert terminal.is_restored
        assert ("ZeroDivisionError" in terminal.after) == (code == 1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
async def test_a_signal_before_the_screens_are_made_ends_them_cleanly(name: str, log: Path) -> None:
    async with toy(log, "attached", TOY_SIGNALLED=name) as terminal:
        assert await terminal.exit_code() == 0
        assert terminal.is_restored
        assert b"\x1b[?1049h" not in terminal.output


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_without_a_terminal_it_says_what_to_run_instead(stream: str, log: Path) -> None:
    reader, writer = os.openpty()
    try:
        streams = {"stdin": writer, "stdout": writer, stream: subprocess.DEVNULL}
        done = subprocess.run(
            [*TOY, str(log), "exit"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
            **streams,  # type: ignore[call-overload]
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 1
    name = {"stdin": "input", "stdout": "output"}[stream]
    words = f"standard {name} is none: run miles-router serve here"
    assert words.encode() in done.stderr


async def test_in_the_background_it_says_what_to_run_instead(log: Path) -> None:
    # As a shell with job control starts `command &`: in a group that is not the terminal's.
    script = (
        "import os, subprocess, sys; "
        "done = subprocess.run(sys.argv[1:], process_group=0); sys.exit(done.returncode)"
    )
    async with on_terminal(sys.executable, "-c", script, *TOY, str(log), "exit") as terminal:
        assert await terminal.exit_code() == 1
        assert b"cannot run in the background: start miles-router serve" in terminal.output
        assert b"\x1b[?1049h" not in terminal.output
