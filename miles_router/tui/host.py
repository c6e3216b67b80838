"""Hosts the screens in a process: with the router in a thread beside them, or alone.

Decides the order in which things start and stop, what signals mean, what is told on the terminal
when the screens are gone, and the exit code. It must not know what is shown, nor what a router is:
a `TrioThread` that stops when it is told to.

The screens go first and the router's end is waited for on the terminal as it was, so that a second
Ctrl-C is a signal again. Exit codes: 0 after `q` and after signals, 1 after a crash of either side,
74 where a terminal takes nothing any more.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from miles_router.tui import signals
from miles_router.tui.descriptors import Descriptors, open_default_log, open_log
from miles_router.tui.screen_run import ScreenFailed, ScreenRun, report
from miles_router.tui.stopped import RouterStopped
from miles_router.tui.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.app import App

    from miles_router.tui.bridge import TrioThread
    from miles_router.tui.terminal import Terminal

OnCrash = Literal["serve", "exit"]


class Hosted(Protocol):
    """What runs beside the screens, once it has started."""

    def outlook(self) -> str:
        """What it still waits for when it is told to stop, for people."""

    def shown(self) -> None:
        """The first screen is there, or none will be: what could wait need not wait any longer."""

    def unwatched(self) -> None:
        """Nobody looks any more: it need not keep anything fresh for screens."""


Started = TypeVar("Started", bound=Hosted)


@dataclass(frozen=True, slots=True)
class Place:
    """Where screens are shown and where everything else that is written goes.

    `log_path` is None where the log stays on a standard error that is no terminal.
    """

    terminal: Terminal
    descriptors: Descriptors
    log_path: Path | None

    def say(self, sentence: str) -> None:
        """One sentence on the terminal, when no screen is up."""
        self.terminal.say(f"miles-router: {sentence}\n")

    def say_where_the_log_is(self) -> None:
        """The last words of a run."""
        if self.log_path is not None:
            self.say(f"the log is in {self.log_path}")


def place_for(terminal: Terminal, log_file: Path | None, name: str) -> Place:
    """Screens on `terminal`, everything else in `log_file`.

    Without one: in the default one called `name`, which has a number more while another run writes
    to that, or on standard error where that is no terminal.

    Raises:
        ConfigFault: the log file cannot be written.
    """
    if log_file is None and not os.isatty(2):
        return Place(terminal, Descriptors(os.dup(2)), None)
    if log_file is not None:
        return Place(terminal, Descriptors(open_log(log_file)), log_file)
    log, path = open_default_log(name, os.environ)
    return Place(terminal, Descriptors(log), path)


def run_attached(make_app: Callable[[], App[Any]], place: Place) -> int:
    """Show the screens of a router that runs elsewhere; the exit code."""
    watchdog = Watchdog(place.terminal)
    watchdog.start()
    run: ScreenRun | None = None
    is_told = False

    def crashed(failure: ScreenFailed) -> None:
        watchdog.arm()
        _write_error(report(failure))

    def leave(_: str) -> None:
        nonlocal is_told
        is_told = True
        if run is not None:
            watchdog.arm()
            run.leave()

    def take_back() -> None:
        if run is not None:
            run.take_back()

    with signals.handled(leave, take_back):
        place.descriptors.divert()
        try:
            run = ScreenRun(
                make_app(),
                place.terminal,
                claim_streams=place.descriptors.claim_streams,
                on_crash=crashed,
            )
            if is_told:  # before there was a screen to leave
                run.leave()
            failure = run.run()
        finally:
            watchdog.disarm()
            place.descriptors.restore()
    if failure is None:
        return 0
    place.terminal.say(report(failure))
    place.say("the terminal UI failed; the router is not touched by that")
    place.say_where_the_log_is()
    return 1


def run_local(
    thread: TrioThread[Started],
    make_app: Callable[[Started], App[Any]],
    place: Place,
    *,
    on_crash: OnCrash,
) -> int:
    """Start the router, show its screens, and see it to its end; the exit code.

    Args:
        thread: the router; not started yet.
        make_app: the screens, once it has started.
        place: where.
        on_crash: what happens to the router when the screens crash.

    Raises:
        BaseException: what kept the router from starting; the terminal was not touched then.
    """
    return _Local(thread, make_app, place, on_crash).run()


class _Local(Generic[Started]):
    """One run of a router with its screens."""

    def __init__(
        self,
        thread: TrioThread[Started],
        make_app: Callable[[Started], App[Any]],
        place: Place,
        on_crash: OnCrash,
    ) -> None:
        self._thread = thread
        self._make_app = make_app
        self._place = place
        self._on_crash = on_crash
        self._watchdog = Watchdog(place.terminal)
        self._screen: ScreenRun | None = None
        self._stops = 0

    def run(self) -> int:
        self._watchdog.start()
        with signals.handled(self._stop, self._take_back):
            self._place.descriptors.divert()
            try:
                try:
                    started = self._thread.start()
                except RouterStopped:  # it was told so before it had started
                    self._thread.join()
                    return 0
                return self._show(started)
            finally:
                self._watchdog.disarm()
                self._place.descriptors.restore()

    def _stop(self, why: str) -> None:
        """The router is told first: the screens may be stuck."""
        self._stops += 1
        self._thread.stop(why)
        if self._stops > 2:
            self._thread.cancel()
        if self._screen is not None:
            self._screen.leave()

    def _take_back(self) -> None:
        if self._screen is not None:
            self._screen.take_back()

    def _screen_crashed(self, failure: ScreenFailed) -> None:
        """The log and the router are told before a terminal that may take nothing."""
        _write_error(report(failure))
        if self._on_crash == "exit" and not self._stops:
            self._stops += 1
            self._thread.stop("the terminal UI failed")

    def _router_ended(self) -> None:
        self._watchdog.arm()
        if self._screen is not None:
            self._screen.leave()

    def _show(self, started: Started) -> int:
        place = self._place
        try:
            self._screen = ScreenRun(
                self._make_app(started),
                place.terminal,
                claim_streams=place.descriptors.claim_streams,
                on_crash=self._screen_crashed,
                on_shown=started.shown,
            )
            self._thread.when_ended(self._router_ended)
            if self._stops:
                self._screen.leave()
            failure = self._screen.run()
        except Exception as error:  # noqa: BLE001  the router runs: it must not be left alone
            failure = ScreenFailed("the screen could not be made")
            failure.__cause__ = error
            self._screen_crashed(failure)
        self._watchdog.disarm()
        if failure is not None:
            place.terminal.say(report(failure))
        self._part(started, failure)
        code = 0 if failure is None else 1
        try:
            self._thread.join()
        except Exception as error:  # noqa: BLE001  its traceback is shown here
            _write_error(report(error))
            place.terminal.say(report(error))
            place.say("the router failed")
            code = 1
        place.say_where_the_log_is()
        return code

    def _part(self, started: Started, failure: ScreenFailed | None) -> None:
        """What becomes of a router whose screens are gone."""
        place = self._place
        if not self._thread.is_running:
            return
        started.unwatched()
        if failure is not None and self._on_crash == "serve" and not self._stops:
            started.shown()
            place.descriptors.restore()
            place.say(
                "the terminal UI failed; the router goes on without it, and its log follows here. "
                "Ctrl-C ends it"
            )
            return
        if failure is not None:
            place.say("the terminal UI failed")
        if not self._stops:
            self._stop("q")
        place.say(started.outlook())


def _write_error(text: str) -> None:
    """Into the log file, where standard error leads while there is a screen."""
    sys.stderr.write(text)
    sys.stderr.flush()
