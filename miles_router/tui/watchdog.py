"""Ends a process whose terminal takes nothing any more, so that it cannot outlive its work.

A terminal that is not read (a link that is down, a machine asleep) blocks whoever draws on it, for
good. That costs a running router nothing; once the router has ended, nobody is left to wait for.

It is armed in signal handlers, which may have interrupted whoever holds a lock of `threading`: so
its thread waits from the beginning, and words reach it through a queue that is made for that.
"""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.tui.terminal import Terminal

PATIENCE_S = 5.0
# EX_IOERR of sysexits.h.
EXIT_CODE = 74


class Watchdog:
    """Once armed, ends the process after a while unless it is disarmed."""

    def __init__(self, terminal: Terminal, *, patience_s: float = PATIENCE_S) -> None:
        self._terminal = terminal
        self._patience_s = patience_s
        self._words: SimpleQueue[bool] = SimpleQueue()  # whether to count
        self._thread = threading.Thread(target=self._watch, name="terminal-watchdog", daemon=True)

    def start(self) -> None:
        """Make its thread, once; not in a signal handler."""
        self._thread.start()

    def arm(self) -> None:
        """Begin to count; a second time changes nothing. From any thread and signal handler."""
        self._words.put(True)

    def disarm(self) -> None:
        """The terminal is back: nothing needs to be ended any more, whoever arms it."""
        self._words.put(False)

    def _watch(self) -> None:
        if self._words.get() and not self._is_disarmed_in_time():
            self._terminal.restore()
            os._exit(EXIT_CODE)

    def _is_disarmed_in_time(self) -> bool:
        until = time.monotonic() + self._patience_s
        try:
            while self._words.get(timeout=max(0.0, until - time.monotonic())):
                pass  # armed again
        except Empty:
            return False
        return True
