"""Standard input, output and error while a screen is up: nothing but the screen may draw.

Decides where they lead. What is printed, by whatever means (Python, C, a thread's traceback, a
warning), goes to the log file; a write to the terminal would land in the middle of the screen and
could split an escape sequence. Keys are nobody else's to read either.
"""

from __future__ import annotations

import fcntl
import io
import os
import select
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Mapping

# A log file that has grown larger than this is set aside when the next run begins.
LARGEST_BYTES = 16 * 1024**2
_PRIVATE = 0o600


class Descriptors:
    """Leads descriptors 0, 1 and 2 away from the terminal, and back."""

    def __init__(self, log: int) -> None:
        """`log` is the descriptor of the log file, open for appending."""
        self._log = log
        self._before: tuple[int, int, int] | None = None
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)

    def divert(self) -> None:
        """From now on input is empty, and output and errors are in the log file."""
        if self._before is not None:
            return
        _flush()
        self._before = (os.dup(0), os.dup(1), os.dup(2))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(self._log, 1)
        os.dup2(self._log, 2)

    def claim_streams(self) -> None:
        """Give Python's own streams back to those who print: Textual swallows what they get."""
        sys.stdout, sys.stderr = self._streams

    def restore(self) -> None:
        """Everything leads where it led before `divert`."""
        if self._before is None:
            return
        self.claim_streams()
        _flush()
        for number, before in enumerate(self._before):
            os.dup2(before, number)
            os.close(before)
        self._before = None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()


def default_log_path(name: str, environ: Mapping[str, str]) -> Path:
    """Where logs go that nobody named a place for: the user's directory for state.

    By the XDG Base Directory Specification: $XDG_STATE_HOME, or else ~/.local/state; a relative
    path in the variable is ignored.
    """
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        state = Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return state / "miles-router" / f"{name}.log"


def open_default_log(name: str, environ: Mapping[str, str]) -> tuple[int, Path]:
    """A descriptor that appends to a log file of this run alone, and its path.

    The first of NAME.log, NAME-2.log, ... that no running process has opened so: lines of two runs
    in one file could not be told apart, and one would set aside what the other still writes to.

    Raises:
        ConfigFault: it cannot be written.
    """
    for number in count(1):
        path = default_log_path(name if number == 1 else f"{name}-{number}", environ)
        log = _opened(path)
        if _is_claimed(log) and _is_set_aside(path):
            os.close(log)
            log = _opened(path)
        if _is_claimed(log):
            return log, path
        os.close(log)
    raise AssertionError("there are numbers without end")


def open_log(path: Path) -> int:
    """A descriptor that appends to the log file; nobody else may read a new one.

    Raises:
        ConfigFault: it cannot be written.
    """
    with suppress(OSError):  # it is not there yet, or opening it says what is wrong
        _is_set_aside(path)
    return _opened(path)


def _is_set_aside(path: Path) -> bool:
    """Whether the file was so large that it has another name now."""
    if not path.is_file() or path.stat().st_size <= LARGEST_BYTES:
        return False
    path.replace(path.with_name(f"{path.name}.1"))
    return True


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigFault(
            f"the log file {path} cannot be written: {reason}; choose another with --log-file",
            key="log_file",
        ) from None


def _is_claimed(log: int) -> bool:
    """Whether the file is this process's until it, and whoever inherits the descriptor, ends."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system keeps no locks: shared is better than none
        return True
    return True


class LogStream(io.TextIOBase):
    """Standard error, wherever it leads at the moment; what it does not take at once is lost.

    A logger made on it writes to the log file while a screen is up, and to the terminal once there
    is none, which must not stop the router by not being read.
    """

    def isatty(self) -> bool:
        """No colours: most of it goes to a file."""
        return False

    def write(self, text: str) -> int:
        """Write `text`, or as much of it as is taken."""
        data = text.encode(errors="backslashreplace")
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        with suppress(OSError):
            for at in range(0, len(data), select.PIPE_BUF):
                if not poll.poll(0):
                    break
                os.write(2, data[at : at + select.PIPE_BUF])
        return len(text)
