"""Runs a Textual app on a terminal until it ends, by whatever way, and says how it ended.

Decides what happens to the process for that time: its memory, its environment, whose the printed
words are. It must not know what is shown, nor whether a router runs in the process.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  Textual's loop
import gc
import os
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from textual.worker import WorkerFailed

from miles_router.memory import settle_memory
from miles_router.tui.driver import TerminalDriver, driver_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from textual.app import App

    from miles_router.tui.terminal import Terminal

# Not sooner: it takes 0.1 s, and what the first frames lack would be drawn so much later.
SETTLE_AFTER_S = 1.0
# ... and where nothing is drawn that counts as a frame: a terminal may have a dozen cells.
SETTLE_AT_LAST_S = 10.0
# The thread that serves waits for the interpreter's lock several times a request, each time for so
# long while a screen is drawn: with Python's 5 ms, p99 at 100 requests/s is 6 to 7 ms above that
# without a screen, with 1 ms 2 to 5 ms, with 0.2 ms 1 to 2 ms; a shorter one gains nothing more.
SWITCH_INTERVAL_S = 0.0002
WATCH_INTERVAL_S = 0.5


class ScreenFailed(Exception):
    """The screen ended by itself; the cause, if it is known, is `__cause__`."""


class ScreenRun:
    """One app on one terminal.

    Args:
        app: to run; its driver and its report of crashes become this module's.
        terminal: to run it on.
        claim_streams: gives Python's output streams back, which Textual takes.
        on_crash: called once when the app has failed, before the terminal is given back if that can
            be: it waits where the terminal takes nothing.
        on_shown: called once when the first frames are drawn, and memory is settled.
    """

    def __init__(
        self,
        app: App[Any],
        terminal: Terminal,
        *,
        claim_streams: Callable[[], None],
        on_crash: Callable[[ScreenFailed], None] = lambda _: None,
        on_shown: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._terminal = terminal
        self._claim_streams = claim_streams
        self._on_crash = on_crash
        self._on_shown = on_shown
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_leaving = False
        self._is_settled = False
        self._failure: ScreenFailed | None = None

    def leave(self) -> None:
        """End the screen; from any thread and from signal handlers, at any time."""
        self._is_leaving = True
        self._soon(self._exit)

    def take_back(self) -> None:
        """After the process was stopped; from signal handlers."""
        self._soon(self._take_back)

    def run(self) -> ScreenFailed | None:
        """Show the app until it ends; what went wrong."""
        if self._is_leaving:
            return None
        with _quick_switches(), _without_sizes_of_others():
            try:
                asyncio.run(self._run())
            except Exception as error:  # noqa: BLE001  whatever it is, it is a crash of the screen
                return self._fail(error)
            finally:
                self._give_back()
                # Where the screen ended before memory was settled: a process that ends now would
                # collect it all once more, for 0.1 s in which nobody handles signals any longer.
                gc.freeze()
                gc.enable()
        crash = self._app._exception  # Textual keeps it, and tells nobody
        if crash is not None:
            return self._fail(crash)
        if not self._app._exit:
            return self._fail(None)
        return None

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._app.driver_class = driver_for(
            self._terminal,
            on_start=self._claim_streams,
            on_first_frame=self._drawn,
            on_lost=self.leave,
        )
        # Textual's own report of a crash shows local variables: prompts and keys.
        setattr(self._app, "_fatal_error", self._crashed)  # noqa: B010
        watching = self._loop.create_task(self._watch_terminal())
        self._loop.call_later(SETTLE_AT_LAST_S, self._settle)
        try:
            if not self._is_leaving:
                await self._app.run_async()
        finally:
            watching.cancel()
            self._loop = None

    async def _watch_terminal(self) -> None:
        """What the system tells nobody: the terminal was hung up, or is this process's again."""
        while not self._terminal.is_gone:
            await asyncio.sleep(WATCH_INTERVAL_S)
            driver = self._app._driver
            if isinstance(driver, TerminalDriver) and (driver.is_away or driver.is_deaf):
                driver.take_back()
        self.leave()

    def _crashed(self) -> None:
        self._fail(self._app._exception)
        self._app._close_messages_no_wait()

    def _fail(self, cause: BaseException | None) -> ScreenFailed:
        if self._failure is None:
            self._failure = _failed(cause)
            self._on_crash(self._failure)
        return self._failure

    def _give_back(self) -> None:
        """The terminal, where Textual has not done so: it failed on its way out."""
        driver = self._app._driver
        if isinstance(driver, TerminalDriver) and driver.is_up:
            self._terminal.restore()

    def _drawn(self) -> None:
        if self._loop is not None:
            self._loop.call_later(SETTLE_AFTER_S, self._settle)

    def _settle(self) -> None:
        if not self._is_settled:
            self._is_settled = True
            settle_memory()
            self._on_shown()

    def _exit(self) -> None:
        if not self._app._exit:  # it may be on its way out with a code of its own
            self._app.exit()

    def _take_back(self) -> None:
        driver = self._app._driver
        if isinstance(driver, TerminalDriver):
            driver.take_back()

    def _soon(self, call: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call)


def report(failure: BaseException) -> str:
    """A traceback for people and the log, without local variables."""
    shown = failure.__cause__ if isinstance(failure, ScreenFailed) else failure
    if isinstance(shown, WorkerFailed):  # Textual's, which was raised nowhere
        shown = shown.error
    if shown is None:
        return f"{failure}\n"
    return "".join(traceback.format_exception(shown))


def _failed(cause: BaseException | None) -> ScreenFailed:
    if cause is None:
        return ScreenFailed("the screen ended although nobody had ended it")
    failure = ScreenFailed(f"the screen failed: {type(cause).__name__}")
    failure.__cause__ = cause
    return failure


@contextmanager
def _quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _without_sizes_of_others() -> Iterator[None]:
    """Within the block nothing but the terminal says how large it is: it may change."""
    before = {name: os.environ.pop(name, None) for name in ("COLUMNS", "LINES")}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})
