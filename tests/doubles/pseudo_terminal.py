"""A program on a pseudo terminal of its own, and what a person would see there."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

ROOT = Path(__file__).parents[2]
ALTERNATE, MOUSE, PASTE = 1049, 1003, 2004
# Becomes the leader of a session whose terminal is its standard input, then the program itself.
_LAUNCHER = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
# Sequences that the emulator would print instead of leaving out.
_UNKNOWN = re.compile(rb"\x1b\[[<>=][0-9;]*u|\x1b\[\?[0-9]+\$p|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_LEFT = b"\x1b[?1049l"


class PseudoTerminal:
    """What is on the terminal, and what can be done to it; made by `on_terminal`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int],
        env: dict[str, str],
        stderr: int | None,
    ) -> None:
        columns, lines = size
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.modes = termios.tcgetattr(slave)
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = bytearray()
        self.is_read = True
        self.is_understood = True  # else what is drawn is read and thrown away
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *command],
            cwd=ROOT,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave if stderr is None else stderr,
            start_new_session=True,
        )
        os.close(slave)

    async def read(self) -> None:
        """Show what the program draws, until nobody can draw any more."""
        while self.master >= 0:
            if not self.is_read:
                await trio.sleep(0.02)
                continue
            with trio.move_on_after(0.1):
                await trio.lowlevel.wait_readable(self.master)
                try:
                    data = os.read(self.master, 65_536)
                except OSError as error:
                    if error.errno == errno.EIO:  # nobody has it open any more
                        return
                    raise
                if not self.is_understood:
                    continue
                self.output += data
                self._stream.feed(_UNKNOWN.sub(b"", data))

    @property
    def text(self) -> str:
        """The screen's lines."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def after(self) -> str:
        """What was written after the alternate screen was left."""
        _, left, rest = bytes(self.output).rpartition(_LEFT)
        plain = re.sub(rb"\x1b\[[0-9;?<>=]*[A-Za-z]", b"", rest if left else b"")
        return plain.decode(errors="replace").replace("\r\n", "\n")

    def has(self, mode: int) -> bool:
        """Whether a private mode, such as `ALTERNATE`, is set."""
        return (mode << 5) in self.screen.mode

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was: screen, mouse, paste, cursor, line settings."""
        is_plain = not any(map(self.has, (ALTERNATE, MOUSE, PASTE)))
        is_visible = not self.screen.cursor.hidden
        return is_plain and is_visible and termios.tcgetattr(self.master) == self.modes

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the window's size, as dragging its corner does."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def until(self, seen: str | Callable[[], object], *, timeout_s: float = 15.0) -> None:
        """Return when the screen shows the text, or the condition holds."""
        holds = (lambda: seen in self.text) if isinstance(seen, str) else seen
        with trio.move_on_after(timeout_s):
            while not holds():  # noqa: ASYNC110  it happens in another process
                await trio.sleep(0.02)
            return
        raise AssertionError(f"not seen within {timeout_s:g} s: {seen!r}; the screen:\n{self.text}")

    async def exit_code(self, *, timeout_s: float = 20.0) -> int:
        """How the program ends."""
        with trio.move_on_after(timeout_s):
            while self.process.poll() is None:  # noqa: ASYNC110  it is another process
                await trio.sleep(0.01)
            await trio.sleep(0.1)  # what it wrote last is read
            return self.process.wait()
        raise AssertionError(f"it does not end; the screen:\n{self.text}\n---\n{self.after}")

    async def hang_up(self) -> None:
        """Close the window."""
        self.is_read = False
        await trio.sleep(0.2)
        os.close(self.master)
        self.master = -1


@asynccontextmanager
async def on_terminal(
    *command: str,
    size: tuple[int, int] = (120, 40),
    env: dict[str, str] | None = None,
    stderr: int | None = None,
) -> AsyncIterator[PseudoTerminal]:
    """Run a program on a terminal; afterwards it is gone."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "LINES", "NO_COLOR"} and not name.startswith("MILES_ROUTER_")
    }
    environment = {**kept, "TERM": "xterm-256color", **(env or {})}
    terminal = PseudoTerminal(command, size=size, env=environment, stderr=stderr)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminal.read)
            yield terminal
            nursery.cancel_scope.cancel()
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
        terminal.process.wait()
        if terminal.master >= 0:
            os.close(terminal.master)
