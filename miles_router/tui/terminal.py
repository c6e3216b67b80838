"""The terminal of this process: whether it can show screens, and getting it back from them.

Decides what a usable terminal is, and writes to it in ways that never wait: what a terminal does
not take at once is lost. It must not know what is shown.

The terminal is reached over descriptors of its own, so that 0, 1 and 2 can lead elsewhere.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Callable

_INSTEAD = "run miles-router serve here, and miles-router tui --attach URL in a terminal"
# Back from everything that a full-screen program asks of a terminal: mouse, focus and paste
# reports, in-band sizes, key protocol, hidden cursor, no line wrap, alternate screen, colours. CAN
# goes first: it ends a sequence of which only a part has arrived.
_RESTORE = (
    "\x18\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?1004l\x1b[?2004l\x1b[?2048l"
    "\x1b[?2026l\x1b[<u\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[0m"
)

_PATIENCE_MS = 100


class Terminal:
    """A terminal that is open for reading and writing, and how it was when it was opened.

    Attributes:
        input: descriptor that keys come from.
        output: descriptor that is drawn on.
        is_silent: nothing is to be drawn any more.
    """

    def __init__(self, input_: int, output: int) -> None:
        """Open the terminals of two descriptors once more."""
        self.input = _that_never_waits(input_)
        self.output = _that_never_waits(output)
        self.is_silent = False
        self._is_left = False
        self._attributes = termios.tcgetattr(self.input)

    def size(self) -> tuple[int, int]:
        """Columns and lines, as the terminal itself says."""
        try:
            columns, lines = os.get_terminal_size(self.output)
        except OSError:
            columns, lines = 0, 0
        return columns or 80, lines or 24

    @property
    def is_foreground(self) -> bool:
        """Whether this process may read from the terminal and set its modes."""
        try:
            return os.tcgetpgrp(self.input) == os.getpgrp()
        except OSError:
            return True  # it controls no process: there is no background

    @property
    def is_gone(self) -> bool:
        """Whether the terminal was hung up: nobody will ever read or type again."""
        try:
            termios.tcgetattr(self.output)
        except termios.error:
            return True
        return False

    def say(self, text: str) -> None:
        """Write lines for people, once no screen is up; what is not taken within 1 s is lost."""
        give_up_at = time.monotonic() + 1.0
        self._write(text.encode(errors="backslashreplace"), lambda: time.monotonic() > give_up_at)

    def draw(self, text: str) -> None:
        """Write a part of a screen, not on one that is left; waits while it takes nothing."""
        self._write(text.encode(errors="replace"), lambda: self.is_silent or self._is_left)

    def _write(self, data: bytes, gives_up: Callable[[], bool]) -> None:
        poll = select.poll()
        poll.register(self.output, select.POLLOUT)
        with suppress(OSError):  # it was hung up
            while data and not gives_up():
                with suppress(BlockingIOError):
                    data = data[os.write(self.output, data) :]
                if data:
                    poll.poll(_PATIENCE_MS)

    def leave(self) -> None:
        """Leave the screen to others, who set the modes that they want.

        Frames that a thread still has to draw are dropped: they would be drawn over the others'.
        """
        self._is_left = True
        self.say(_RESTORE)

    def enter(self) -> None:
        """The screen is this process's again."""
        self._is_left = False

    def restore(self) -> None:
        """Bring the terminal back whatever state it is in; never waits for it.

        What it was sent and has not taken is thrown away: behind that, nothing would arrive.
        """
        self.is_silent = True
        with suppress(OSError, termios.error):
            termios.tcflush(self.output, termios.TCOFLUSH)
            os.write(self.output, _RESTORE.encode())
        with suppress(termios.error):
            termios.tcsetattr(self.input, termios.TCSANOW, self._attributes)

    def close(self) -> None:
        """Close its own descriptors."""
        os.close(self.input)
        os.close(self.output)


def _that_never_waits(descriptor: int) -> int:
    """A descriptor of the same terminal on which nothing waits, as far as the system allows.

    It is opened anew: whether reads and writes wait is shared with all duplicates, so with the
    programs that the terminal belongs to later. A thread that waits inside a write keeps all others
    from writing. One that was told of a key and finds that a shell has read it would wait for the
    next key, and whoever takes the terminal back for that thread.
    """
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(os.ttyname(descriptor), flags)
    except OSError:  # it has no name here, or belongs to another user, as after `su`
        return os.dup(descriptor)


class TerminalFile:
    """As much of a text file as draws on a terminal; the end of the terminal is no error.

    Without that, a hung up terminal would end the thread that draws, and then all wait for it.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def fileno(self) -> int:
        """The descriptor that is drawn on."""
        return self._terminal.output

    def isatty(self) -> bool:
        """It is one."""
        return True

    def write(self, text: str) -> None:
        """Draw `text`."""
        self._terminal.draw(text)

    def flush(self) -> None:
        """Everything was written."""


def open_terminal() -> Terminal:
    """The terminal on standard input and output.

    Raises:
        ConfigFault: there is none, or it belongs to another process now; says what to run instead.
    """
    for name, stream in (("input", sys.__stdin__), ("output", sys.__stdout__)):
        try:
            is_terminal = stream is not None and os.isatty(stream.fileno())
        except (OSError, ValueError):
            is_terminal = False
        if not is_terminal:
            raise ConfigFault(
                f"the terminal UI needs a terminal, and standard {name} is none: {_INSTEAD}"
            )
    if os.environ.get("TERM") == "dumb":
        raise ConfigFault(f"the terminal UI cannot draw where TERM is dumb: {_INSTEAD}")
    terminal = Terminal(0, 1)
    if not terminal.is_foreground:
        terminal.close()
        raise ConfigFault(
            "the terminal UI cannot run in the background: start miles-router serve there, "
            "and miles-router tui --attach URL in front"
        )
    return terminal
