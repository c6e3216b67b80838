"""The terminal UI with the real router in its process: what is seen, and what keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from miles_router.sim.fleet import open_fleet
from tests.system.rig import prompt
from tests.system.tui_rig import QUICK_HEALTH, on_tui

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sim.raw_client import Answer
    from tests.system.tui_rig import Tui

pytestmark = pytest.mark.loopback


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tui.log"


def row_of(tui: Tui, url: str) -> str:
    """The line of the worker at `url`; empty if there is none."""
    name = url.removeprefix("http://")
    lines = [line for line in tui.terminal.text.splitlines() if name in line]
    return lines[0] if lines else ""


async def until_row(tui: Tui, url: str, *words: str, timeout_s: float = 15.0) -> None:
    def is_there() -> bool:
        return any(word in row_of(tui, url) for word in words)

    await tui.terminal.until(is_there, timeout_s=timeout_s)


async def select(tui: Tui, url: str) -> None:
    """Move the cursor to the worker at `url`."""
    for _ in range(10):
        if row_of(tui, url).startswith(("▌", "│▌")):
            return
        tui.terminal.press("\x1b[B")
        await trio.sleep(0.3)
    raise AssertionError(f"the cursor does not get to {url}:\n{tui.terminal.text}")


async def test_a_killed_worker_is_seen_and_a_busy_one_drained_by_key(log: Path) -> None:
    async with open_fleet(SimSettings(tokens_per_s=40), 3) as fleet:
        first, second, third = fleet.urls
        async with on_tui(log, *QUICK_HEALTH, workers=(first, second, third)) as tui:
            for url in fleet.urls:
                await until_row(tui, url, "active")
            answers: list[Answer] = []

            async def ask(tokens: int) -> None:
                answers.append(await tui.call("POST", "/generate", prompt(tokens=tokens)))

            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(ask, 120)
                await tui.wait_inflight(6)
                await fleet.kill(2)
                await until_row(tui, third, "quar")
                await select(tui, first)
                tui.terminal.press("d")
                await until_row(tui, first, "drain")
                assert await tui.inflight() > 0
            assert [answer.status for answer in answers] == [200] * 6
            await until_row(tui, first, "drained")
            tui.terminal.press("u")
            await until_row(tui, first, "active")
            await fleet.restart(2)
            await until_row(tui, third, "active")
            tui.terminal.press("q")
            assert await tui.terminal.exit_code() == 0
            assert tui.terminal.is_restored


async def test_a_worker_is_added_from_the_empty_screen(log: Path) -> None:
    flags = (*QUICK_HEALTH, "--admin-token", "s3cret")
    async with running_sim() as sim, on_tui(log, *flags) as tui:
        await tui.terminal.until("No workers yet")
        await tui.terminal.until("/add_worker?url=http://HOST:PORT")
        assert '-H "Authorization: Bearer $ADMIN_TOKEN"' in tui.terminal.text
        assert f"127.0.0.1:{tui.port}" in tui.terminal.text
        tui.terminal.press(f"a{sim.url}\r")
        await until_row(tui, sim.url, "active")
        assert (await tui.call("POST", "/generate", prompt())).status == 200


async def test_a_read_only_screen_changes_nothing(log: Path) -> None:
    async with running_sim() as sim, on_tui(log, "--read-only", workers=(sim.url,)) as tui:
        await until_row(tui, sim.url, "active")
        assert "read-only" in tui.terminal.text
        tui.terminal.press("d")
        await trio.sleep(0.7)
        assert "active" in row_of(tui, sim.url)


async def test_other_keys_can_be_chosen(log: Path) -> None:
    flags = ("--key", "quit=Q", "drain=D", "--ascii")
    async with on_tui(log, *flags) as tui:
        tui.terminal.press("q")
        await trio.sleep(0.3)
        assert tui.terminal.process.poll() is None
        tui.terminal.press("Q")
        assert await tui.terminal.exit_code() == 0


async def test_log_lines_are_seen_in_the_log_view_only(log: Path) -> None:
    async with on_tui(log) as tui:
        await tui.call("POST", "/workers", {"url": "http://127.0.0.1:9"})
        tui.terminal.press("5")
        await tui.terminal.until("listening")


SCREEN_HAS_MISHAPS = """
import threading, warnings
from miles_router.tui.screens.deeds import Deeds
def fail():
    raise LookupError("in a thread")
def happen(self):
    warnings.warn("something is old", UserWarning)
    threading.Thread(target=fail, name="helper").start()
Deeds._theme = happen
"""


async def test_warnings_and_failed_threads_are_lines_of_the_log_view(log: Path) -> None:
    async with on_tui(log, mistake=SCREEN_HAS_MISHAPS) as tui:
        tui.terminal.press("5t")
        await tui.terminal.until("something is old")
        await tui.terminal.until("LookupError: in a thread")
        (warned,) = tui.events("python_warning")
        assert "UserWarning: something is old" in warned["text"]
        assert tui.events("thread_failed")[0]["thread"] == "helper"


async def served(tui: Tui, seconds: float) -> float:
    """Requests a second that a client gets answered, one after the other."""
    count = 0
    began_at = trio.current_time()
    while trio.current_time() < began_at + seconds:
        with trio.fail_after(3):
            assert (await tui.call("POST", "/generate", prompt(tokens=1))).status == 200
        count += 1
        await trio.sleep(0.02)
    return count / seconds


async def test_a_terminal_that_is_not_read_costs_no_request(log: Path) -> None:
    async with running_sim() as sim, on_tui(log, workers=(sim.url,)) as tui:
        await until_row(tui, sim.url, "active")
        before = await served(tui, 3)
        tui.terminal.is_read = False
        unread = await served(tui, 10)
        assert unread > before / 2, (before, unread)
        tui.terminal.is_read = True
        shown = tui.terminal.text.splitlines()[0]
        await tui.terminal.until(lambda: tui.terminal.text.splitlines()[0] != shown)
        tui.terminal.press("qq")  # the newest snapshot may be of a moment when one ran
        assert await tui.terminal.exit_code() == 0
        assert tui.terminal.is_restored
