"""Signal handlers while a screen is up: they pass a word on, and never raise or wait.

Decides which signals end a process with a screen and which must not stop it: where a router runs
in the process, stopping it would stop the router. Python runs handlers in the main thread, also
while that waits for a lock, so they work where the screens' loop is stuck.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a terminal sends to those in the background who touch it: ignored, reads fail and writes go
# through; with a handler, either would be interrupted again and again.
TOUCHING = (signal.SIGTTIN, signal.SIGTTOU)


@contextmanager
def handled(on_end: Callable[[str], None], on_continue: Callable[[], None]) -> Iterator[None]:
    """Within the block, handlers of this module are installed.

    Args:
        on_end: gets the name of each signal that asks for the end.
        on_continue: called when the process goes on after it was stopped.
    """

    def end(number: int, _: FrameType | None) -> None:
        on_end(signal.Signals(number).name)

    def go_on(_number: int, _: FrameType | None) -> None:
        on_continue()

    wanted: dict[signal.Signals, Callable[[int, FrameType | None], None] | signal.Handlers] = {
        **dict.fromkeys(ENDING, end),
        **dict.fromkeys(TOUCHING, signal.SIG_IGN),
        # A handler, as what is ignored stays ignored in children.
        signal.SIGTSTP: _nothing,
        signal.SIGCONT: go_on,
    }
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def kept(*numbers: signal.Signals) -> Iterator[None]:
    """Put the handlers of these signals back after the block, whatever it installs."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(_number: int, _: FrameType | None) -> None:
    """A handler for what would stop the process."""
