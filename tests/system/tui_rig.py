"""The real `miles-router tui` on a pseudo terminal, and the router in it over HTTP."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.doubles.pseudo_terminal import on_terminal
from tests.system.rig import Connecting, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from tests.doubles.pseudo_terminal import PseudoTerminal
    from tests.sim.raw_client import Answer

TUI = (sys.executable, "-m", "miles_router", "tui")
QUICK_HEALTH = ("--health-interval-s", "0.3", "--health-timeout-s", "1")
# Runs the command line with a mistake in it, or with an ear, which its first argument puts there.
BROKEN = "import sys; from miles_router.cli import main; exec(sys.argv.pop(1)); sys.exit(main())"
_TELLS_WHAT_IS_LOADED = """
import atexit, sys
from miles_router.tui.screen_run import ScreenRun
first, drawn = set(), ScreenRun._drawn
def note(run):
    first.update(sys.modules)
    drawn(run)
ScreenRun._drawn = note
def tell():
    last = set(sys.modules)
    sys.stderr.write(f"LOADED first {sorted(heavy & first)} at the end {sorted(heavy & last)}\\n")
atexit.register(tell)
"""
SCREEN_CRASHES = """
from miles_router.tui.screens.deeds import Deeds
def fail(self):
    prompt = "a prompt that nobody may see"
    raise ZeroDivisionError("the screen's mistake")
Deeds._theme = fail
"""
ROUTER_CRASHES = """
import trio
from miles_router import app
async def fail(*args):
    with trio.move_on_after(1.5):
        await trio.sleep_forever()
    raise LookupError("the router's mistake")
app._shut_down_when_told = fail
"""


class Tui:
    """One `tui` process whose router listens on a port of its own."""

    def __init__(self, terminal: PseudoTerminal, log_path: Path) -> None:
        self.terminal = terminal
        self.log_path = log_path

    def log(self) -> list[dict[str, Any]]:
        """Log lines of the router; what others printed is left out."""
        if not self.log_path.exists():
            return []
        lines = self.log_path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == name]

    @property
    def port(self) -> int:
        (line,) = self.events("listening")
        return int(line["url"].rpartition(":")[2])

    def connected(self) -> Connecting:
        """A raw client on a connection of its own."""
        return Connecting(self.port)

    async def call(self, method: str, target: str, body: Any = None) -> Answer:
        async with self.connected() as client:
            return await client.request(method, target, body)

    async def inflight(self) -> int:
        shown = (await self.call("GET", "/snapshot")).json()
        return int(shown["totals"]["inflight"])

    async def wait_inflight(self, count: int) -> None:
        async def is_there() -> bool:
            return await self.inflight() == count

        await eventually(is_there)


def tells_what_is_loaded(heavy: Collection[str]) -> str:
    """A program whose last line says which of these modules it had loaded, and when."""
    return f"heavy = {set(heavy)!r}\n{_TELLS_WHAT_IS_LOADED}"


@asynccontextmanager
async def on_tui(
    log_path: Path,
    *flags: str,
    workers: tuple[str, ...] = (),
    mistake: str = "",
    size: tuple[int, int] = (120, 40),
    env: dict[str, str] | None = None,
    names_log: bool = True,
) -> AsyncIterator[Tui]:
    """A `tui` that has painted its first screen; without `names_log`, its log is where its default
    is, at `log_path`."""
    command = [sys.executable, "-c", BROKEN, mistake, "tui"] if mistake else [*TUI]
    command += ["--port", "0", "--log-format", "json"]
    if names_log:
        command += ["--log-file", str(log_path)]
    for url in workers:
        command += ["--worker", url]
    async with on_terminal(*command, *flags, size=size, env=env) as terminal:
        tui = Tui(terminal, log_path)
        await terminal.until(lambda: tui.events("listening") and "Workers" in terminal.text)
        for url in workers:
            await terminal.until(url.removeprefix("http://"))
        yield tui
        if terminal.process.poll() is None:
            terminal.process.kill()
            await trio.to_thread.run_sync(terminal.process.wait)
