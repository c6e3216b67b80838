"""Warnings and failures of threads while screens are up: passed on to whoever logs them.

Python writes both to standard error, which leads to the log file then; handed to the router's log
they stand in that file as its other lines do, and in the view of the log. What nobody takes goes
where Python sends it.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


@dataclass(frozen=True, slots=True)
class Mishap:
    """One of them. `what` names it; `error` has a traceback, or is None."""

    what: str
    text: str
    error: BaseException | None = None


class Taker(Protocol):
    """Takes mishaps, in whatever thread they happen."""

    def __call__(self, mishap: Mishap, /) -> bool:
        """Whether it was taken; it must not raise."""


class Mishaps:
    """Where they go; nowhere until `pass_to` is called."""

    def __init__(self) -> None:
        self._take: Taker | None = None

    def pass_to(self, take: Taker) -> None:
        """From now on `take` gets them."""
        self._take = take

    def tell(self, mishap: Mishap) -> bool:
        """Whether somebody took it."""
        return self._take is not None and self._take(mishap)


@contextmanager
def caught() -> Iterator[Mishaps]:
    """Within the block, mishaps of the whole process go to what it yields."""
    mishaps = Mishaps()
    show_before, hook_before = warnings.showwarning, threading.excepthook

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"{filename}:{lineno}: {category.__name__}: {message}"
        if file is not None or not mishaps.tell(Mishap("python_warning", text)):
            show_before(message, category, filename, lineno, file, line)

    def hook(args: threading.ExceptHookArgs, /) -> None:
        name = "a thread" if args.thread is None else args.thread.name
        if args.exc_value is None or not mishaps.tell(
            Mishap("thread_failed", name, args.exc_value)
        ):
            hook_before(args)

    warnings.showwarning, threading.excepthook = show, hook
    try:
        yield mishaps
    finally:
        warnings.showwarning, threading.excepthook = show_before, hook_before
