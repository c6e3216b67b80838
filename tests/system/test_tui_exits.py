"""Every way in which the terminal UI ends: the terminal is restored, requests end as with serve."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings, running_sim
from tests.sim.raw_client import ConnectionEnded
from tests.system.rig import prompt, read_chunks
from tests.system.tui_rig import ROUTER_CRASHES, SCREEN_CRASHES, on_tui

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.loopback

SLOW = SimSettings(tokens_per_s=40)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tui.log"


@pytest.mark.parametrize("way", ["q", "ctrl+c", "SIGINT", "SIGTERM", "SIGHUP"])
async def test_running_requests_finish_first(way: str, log: Path) -> None:
    async with running_sim(SLOW) as sim, on_tui(log, workers=(sim.url,)) as tui:
        await tui.terminal.until("active")
        async with tui.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=100))
            await tui.wait_inflight(1)
            if way.startswith("SIG"):
                tui.terminal.process.send_signal(signal.Signals[way])
            else:
                await tui.terminal.until("1 Workers")
                await trio.sleep(0.5)  # the screen knows of the request, and asks
                key = {"q": "q", "ctrl+c": "\x03"}[way]
                tui.terminal.press(key)
                await tui.terminal.until("Quit?")
                tui.terminal.press(key)
            await tui.terminal.until(lambda: "1 running request may take" in tui.terminal.after)
            assert tui.terminal.is_restored
            screen, _, _ = bytes(tui.terminal.output).partition(b"\x1b[?1049l")
            assert screen.rfind(b"\x1b[2J") > screen.rfind(b"active")  # nothing of it is left
            with trio.fail_after(8):
                assert (await client.receive()).status == 200
        assert await tui.terminal.exit_code() == 0
        assert tui.terminal.is_restored
        assert str(log) in tui.terminal.after
    assert len(tui.events("stopped")) == 1


async def test_ctrl_c_after_q_cuts_what_runs(log: Path) -> None:
    async with running_sim(SLOW) as sim, on_tui(log, workers=(sim.url,)) as tui:
        await tui.terminal.until("active")
        async with tui.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=4000, stream=True))
            await client.head()
            await tui.wait_inflight(1)
            tui.terminal.process.terminate()
            await tui.terminal.until(lambda: "Ctrl-C cuts" in tui.terminal.after)
            tui.terminal.press("\x03")
            with pytest.raises(ConnectionEnded):
                await read_chunks(client)
        assert await tui.terminal.exit_code() == 0
    assert len(tui.events("shutting_down_now")) == 1


async def test_a_crash_of_the_screen_leaves_the_router_serving(log: Path) -> None:
    async with (
        running_sim(SLOW) as sim,
        on_tui(log, workers=(sim.url,), mistake=SCREEN_CRASHES) as tui,
    ):
        await tui.terminal.until("active")
        async with tui.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=60))
            await tui.wait_inflight(1)
            tui.terminal.press("t")
            await tui.terminal.until(lambda: "goes on without it" in tui.terminal.after)
            assert tui.terminal.is_restored
            assert "ZeroDivisionError: the screen's mistake" in tui.terminal.after
            assert (await client.receive()).status == 200
        assert (await tui.call("POST", "/generate", prompt())).status == 200
        assert b"nobody may see" not in tui.terminal.output
        tui.terminal.press("\x03")
        assert await tui.terminal.exit_code() == 1
        assert '"event": "shutting_down"' in tui.terminal.after, "the log is on the terminal again"


async def test_a_crash_of_the_screen_ends_the_router_where_it_is_to(log: Path) -> None:
    flags = ("--on-ui-crash", "exit")
    async with (
        running_sim(SLOW) as sim,
        on_tui(log, *flags, workers=(sim.url,), mistake=SCREEN_CRASHES) as tui,
    ):
        await tui.terminal.until("active")
        async with tui.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=60))
            await tui.wait_inflight(1)
            tui.terminal.press("t")
            assert (await client.receive()).status == 200
        assert await tui.terminal.exit_code() == 1
        assert tui.terminal.is_restored
        assert "ZeroDivisionError" in tui.terminal.after


async def test_a_crash_of_the_router_is_told_on_a_clean_terminal(log: Path) -> None:
    async with on_tui(log, mistake=ROUTER_CRASHES) as tui:
        assert await tui.terminal.exit_code() == 1
        assert tui.terminal.is_restored
        assert "LookupError: the router's mistake" in tui.terminal.after
        assert "the router failed" in tui.terminal.after


async def test_a_closed_window_ends_the_router_as_a_signal_does(log: Path) -> None:
    async with running_sim(SLOW) as sim, on_tui(log, workers=(sim.url,)) as tui:
        await tui.terminal.until("active")
        async with tui.connected() as client:
            await client.send("POST", "/generate", prompt(tokens=100))
            await tui.wait_inflight(1)
            await tui.terminal.hang_up()
            with trio.fail_after(8):
                assert (await client.receive()).status == 200
        assert await tui.terminal.exit_code() == 0
    assert tui.events("shutting_down")[0]["signal"] == "SIGHUP"


async def test_a_dead_terminal_does_not_keep_a_router_that_was_told_to_end(log: Path) -> None:
    async with running_sim() as sim, on_tui(log, workers=(sim.url,)) as tui:
        await tui.terminal.until("active")
        tui.terminal.is_read = False

        async def is_stuck() -> None:
            for _ in range(400):
                assert (await tui.call("POST", "/generate", prompt(tokens=1))).status == 200

        await is_stuck()
        await trio.sleep(6)
        tui.terminal.process.terminate()
        assert await tui.terminal.exit_code() in {0, 74}
        assert len(tui.events("stopped")) == 1
        tui.terminal.is_read = True
        await tui.terminal.until(lambda: tui.terminal.is_restored)


async def test_the_log_keeps_what_was_there(log: Path) -> None:
    (await trio.Path(log).write_text("earlier\n", encoding="utf-8"))
    async with on_tui(log) as tui:
        tui.terminal.press("q")
        assert await tui.terminal.exit_code() == 0
    assert (await trio.Path(log).read_text(encoding="utf-8")).startswith("earlier\n")


async def test_each_ui_has_a_default_log_of_its_own_in_the_users_directory_for_state(
    tmp_path: Path,
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    logs = [tmp_path / "miles-router" / name for name in ("tui-0.log", "tui-0-2.log")]
    options: Any = {"env": env, "names_log": False}
    async with on_tui(logs[0], **options) as one, on_tui(logs[1], **options) as other:
        assert one.port != other.port
        for tui in (other, one):
            tui.terminal.press("q")
            assert await tui.terminal.exit_code() == 0
            assert f"the log is in {tui.log_path}\n" in tui.terminal.after
    assert [os.stat(log).st_mode & 0o777 for log in logs] == [0o600, 0o600]
