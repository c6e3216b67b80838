"""What a person sees while the demonstration runs: one live line, or lines where none can live."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from miles_router.client import RouterCallFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from miles_router.demo.steering import Steering
    from miles_router.demo.tally import Tally

_EVERY_S = 0.25
_PLAIN_EVERY_S = 2.0
_PLAIN_WIDTH = 140


def open_console(environment: Mapping[str, str]) -> Console:
    """The terminal, or plain wide lines where there is none or CI is set."""
    console = Console(highlight=False)
    in_ci = environment.get("CI", "").lower() in {"1", "true"}
    if console.is_terminal and not in_ci:
        return console
    return Console(highlight=False, force_terminal=False, no_color=True, width=_PLAIN_WIDTH)


class Ticker:
    """Shows how far the rollout is, and says what happens, each with the seconds since the start.

    The live line is refreshed here and nowhere else, so no thread draws.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.said: list[str] = []
        self._started_at: float | None = None
        self._live: Live | None = None

    def say(self, sentence: str) -> None:
        """Print one line that stays."""
        now = trio.current_time()
        if self._started_at is None:
            self._started_at = now
        line = f"{now - self._started_at:6.1f} s  {sentence}"
        self.said.append(sentence)
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Show the live line while the block runs, on a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    async def watch(self, tally: Tally, steering: Steering, names: Mapping[str, str]) -> NoReturn:
        """Show the state again and again, until cancelled."""
        while True:
            try:
                states = [
                    f"{names.get(worker.url, worker.url)} {worker.status} {worker.inflight}"
                    for worker in await steering.workers()
                ]
            except RouterCallFailed as failure:
                states = [failure.message]
            self._show(status_line(tally, states))
            await trio.sleep(_EVERY_S if self._live is not None else _PLAIN_EVERY_S)

    def _show(self, line: str) -> None:
        if self._live is None:
            self.say(line)
        else:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)


def status_line(tally: Tally, states: list[str]) -> str:
    """One line: turns answered, faults, and the workers with what they hold."""
    return (
        f"{tally.answered}/{tally.planned} turns  lost {len(tally.lost)}  "
        f"wrong {len(tally.wrong)}  |  " + "  |  ".join(states)
    )
