"""Textual's driver on a terminal of its own descriptors, with the host's signal handlers.

Decides how Textual reaches the terminal, and must not know what is drawn. It differs from Textual's
own driver where that takes the whole process for a program with nothing but a screen: it stops the
process on SIGTSTP, starts a second pair of threads on SIGCONT, draws on standard error, takes its
size from standard output, ends its drawing thread when the terminal is hung up, and trusts what the
terminal sends.
"""

from __future__ import annotations

import os
import select
import signal
import time
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from miles_router.tui.bracketed import Bracketed, shown
from miles_router.tui.signals import kept
from miles_router.tui.terminal import TerminalFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App
    from textual.message import Message

    from miles_router.tui.terminal import Terminal

# What is written before the first frame are short sequences; a frame has every cell of the screen.
_FRAME_CHARS = 256
# How long the end of the screen waits for the thread that reads keys.
_PATIENCE_MS = 100


class TerminalDriver(LinuxDriver):
    """Draws on one terminal; `driver_for` makes the class for it."""

    terminal: Terminal
    on_start: Callable[[], None]
    on_first_frame: Callable[[], None]
    on_lost: Callable[[], None]

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        # Without a size Textual asks standard output, which is a file: it would lay everything out
        # for 80x25 first, and once more for the terminal.
        size = size or self.terminal.size()
        with kept(signal.SIGTSTP, signal.SIGCONT):
            super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file: Any = TerminalFile(self.terminal)
        self.fileno = self.terminal.input
        self.input_tty = True
        self._has_drawn = False
        self.is_away = False
        self.is_deaf = False  # nobody reads keys: they were a shell's as somebody tried
        self.is_up = False

    def _get_terminal_size(self) -> tuple[int, int]:
        return self.terminal.size()

    def start_application_mode(self) -> None:
        """Take the terminal."""
        self.is_up = True
        with kept(signal.SIGTTIN, signal.SIGTTOU):
            super().start_application_mode()  # type: ignore[no-untyped-call]  # Textual's
        self._loop.call_soon(type(self).on_start)

    def stop_application_mode(self) -> None:
        """Give the terminal back; its modes only where they are not a shell's by now."""
        self.is_away = False
        if not self.terminal.is_foreground:
            self.attrs_before = None
        elif self.is_up:
            # A terminal that lays long lines out anew (tmux, after a change of its size) may show
            # the last of this screen among the shell's.
            super().write("\x1b[2J")
        super().stop_application_mode()
        self.is_up = False

    def write(self, data: str) -> None:
        """Draw; waits while the terminal takes nothing and much is drawn already."""
        if self.is_away:
            return
        super().write(data)
        if not self._has_drawn and len(data) >= _FRAME_CHARS:
            self._has_drawn = True
            self._loop.call_soon(type(self).on_first_frame)

    def run_input_thread(self) -> None:
        """Read keys until the screen ends, or the terminal does, or it belongs to a shell."""
        try:
            self._read_keys()
        except OSError:
            # Whose the terminal is now says nothing of the moment before: a shell gives it back
            # while the read that it forbade fails.
            if self.terminal.is_gone:
                type(self).on_lost()
            else:
                self.is_deaf = True

    def _read_keys(self) -> None:
        """Textual's own loop ends the app over a byte that is not UTF-8, takes pasted sequences for
        keys, and waits in a read for what a shell has read in the meantime."""
        parser, bracketed = XTermParser(self._debug), Bracketed()
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        poll = select.poll()
        poll.register(self.fileno, select.POLLIN)
        while not self.exit_event.is_set():
            data = b""
            if poll.poll(_PATIENCE_MS):
                with suppress(BlockingIOError):
                    data = os.read(self.fileno, 4096)
                if not data:  # nothing, or an end of file, which a terminal may tell for ever
                    time.sleep(_PATIENCE_MS / 1000)
            text = bracketed.hide(decode(data))
            for message in parser.feed(text) if text else parser.tick():
                self.process_message(message)

    def process_message(self, message: Message) -> None:
        """Hand on what was read, pasted text as it was."""
        if isinstance(message, events.Paste):
            message.text = shown(message.text)
        super().process_message(message)

    def take_back(self) -> None:
        """After the process was stopped: take the terminal again, if it is this process's.

        A process that goes on in the background must not draw: the terminal is a shell's now. A
        shell does not tell a running process that it is put in front again: whoever has this driver
        tries again while `is_away` or `is_deaf`.
        """
        if self._writer_thread is None:
            return
        if self.terminal.is_foreground:
            self.is_away = False
            self.terminal.enter()
            self.suspend_application_mode()
            self.is_deaf = False  # not sooner: the thread that has just ended may have set it
            self.resume_application_mode()
            self._app.refresh(layout=True)
        elif not self.is_away:
            self.is_away = True
            self.terminal.leave()


def driver_for(
    terminal: Terminal,
    *,
    on_start: Callable[[], None],
    on_first_frame: Callable[[], None],
    on_lost: Callable[[], None],
) -> type[TerminalDriver]:
    """A driver class for one terminal; Textual makes the driver itself.

    Args:
        terminal: to draw on.
        on_start: called on the loop each time that the terminal was taken.
        on_first_frame: called on the loop once something was drawn.
        on_lost: called from a thread when nothing can be read from the terminal any more.
    """
    members = {
        "terminal": terminal,
        "on_start": staticmethod(on_start),
        "on_first_frame": staticmethod(on_first_frame),
        "on_lost": staticmethod(on_lost),
    }
    return type("DriverOfTerminal", (TerminalDriver,), members)
