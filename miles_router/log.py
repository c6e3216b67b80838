"""Log lines on stderr: for people, or one JSON object a line. No secret and no prompt is in one.

Lines are written in the middle of what they tell of, so writing one never raises: where nobody
reads any more, or the disk is full, lines are lost. What clients and workers sent cannot steer the
terminal of the one who reads: the console shows it with control characters escaped.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

_MANY_LINES = frozenset({"exception", "stack"})


def make_log(log_format: Literal["console", "json"], level: str) -> FilteringBoundLogger:
    """The logger of one router. The standard library's loggers keep their own ways."""
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables: those hold prompts and keys.
    if log_format == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors += [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(),
        ]
    else:
        processors += [
            structlog.processors.ExceptionRenderer(),
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr is not None and sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    log = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _LossyStream(sys.stderr))),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return cast("FilteringBoundLogger", log)


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what is not printable: control characters of both sets, changes of direction."""
    return {
        key: _printable(value, keep="\n" if key in _MANY_LINES else "")
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _printable(text: str, *, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


class _LossyStream:
    """As much of a text stream as a logger needs; what cannot be written at once is lost.

    A pipe whose reader is there and does not read takes nothing once it is full, and neither does a
    terminal that was stopped: waiting for them would stop the router.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None in a process that was started without one."""
        self._stream = stream
        self._descriptor = _that_may_block(stream)

    def write(self, text: str) -> None:
        """Write `text` if that is possible, or as much of it as is taken."""
        with suppress(OSError, ValueError):  # ValueError: it was closed
            if self._descriptor is not None:
                _write_at_once(self._descriptor, text.encode(errors="backslashreplace"))
            elif self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        """Pass on what was written if that is possible."""
        with suppress(OSError, ValueError):
            if self._stream is not None and self._descriptor is None:
                self._stream.flush()


def _that_may_block(stream: TextIO | None) -> int | None:
    """The descriptor of a pipe, socket or terminal; None for files, and what is no file at all."""
    try:
        descriptor = -1 if stream is None else stream.fileno()
        is_file = descriptor < 0 or stat.S_ISREG(os.fstat(descriptor).st_mode)
    except (OSError, ValueError, AttributeError):
        return None
    return None if is_file else descriptor


def _write_at_once(descriptor: int, data: bytes) -> None:
    """Write what is taken without waiting: where a poll says so, a pipe takes PIPE_BUF bytes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    for at in range(0, len(data), select.PIPE_BUF):
        if not poll.poll(0):
            return
        os.write(descriptor, data[at : at + select.PIPE_BUF])
