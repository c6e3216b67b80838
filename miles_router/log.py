"""Log lines on stderr: for people, or one JSON object a line. No secret and no prompt is in one.

The newest are kept in a ring besides, as people read them, for `/log` and the screens.

Lines are written in the middle of what they tell of, so writing one never raises: where nobody
reads any more, or the disk is full, lines are lost. What clients and workers sent cannot steer the
terminal of the one who reads: the console shows it with control characters escaped.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

    from miles_router.core.log_ring import LogRing

_MANY_LINES = ("stack", "exception")
# With 2,000 lines in the ring, at most some megabytes.
KEPT_CHARACTERS = 4_000
_NEEDS_QUOTES = re.compile(r"[\s=\"']")
# Tracebacks without local variables: those hold prompts and keys.
_render_exception = structlog.processors.ExceptionRenderer()


def make_log(
    log_format: Literal["console", "json"], level: str, *, ring: LogRing | None = None
) -> FilteringBoundLogger:
    """The logger of one router, whose lines also go to `ring`.

    The standard library's loggers keep their own ways.
    """
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    if ring is not None:
        processors.append(_Keeping(ring))
    processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    if log_format == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors += [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(),
        ]
    else:
        processors += [
            _render_exception,
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
    # Bound once: what `wrap_logger` returns would be bound anew at each call, for 7 us.
    return cast("FilteringBoundLogger", log.bind())


class _Keeping:
    """Copies each line to a ring, and leaves it as it is."""

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Keep what `event` says, in 8 us."""
        shown = dict(event)
        if shown.get("exc_info"):
            shown = dict(_render_exception(logger, method, shown))
        words = [str(shown.pop("event", ""))]
        level = str(shown.pop("level", method))
        traces = [str(shown.pop(key)) for key in _MANY_LINES if key in shown]
        words += [f"{key}={_spelled(value)}" for key, value in shown.items()]
        lines = [_printable(" ".join(words), keep=""), *(_printable(t, keep="\n") for t in traces)]
        now_s = time.time()  # noqa: TID251  lines carry Unix time
        self._ring.add(now_s, level, _shortened("\n".join(lines)))
        return event


def _spelled(value: object) -> str:
    """A value as the console shows it: text stands in quotes only where it has spaces."""
    if isinstance(value, str) and value and not _NEEDS_QUOTES.search(value):
        return value
    return repr(value)


def _shortened(text: str) -> str:
    """What a ring keeps of a line: of a long traceback the beginning and, above all, the end."""
    if len(text) <= KEPT_CHARACTERS:
        return text
    half = KEPT_CHARACTERS // 2
    return f"{text[:half]}\n[...]\n{text[-half:]}"


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
