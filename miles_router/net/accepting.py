"""What becomes of a listener's trouble: a line in the router's own log, now and then.

Out of descriptors or memory, trio goes on accepting ten times a second, and each time writes a
traceback to the standard library's logger, which would put it on standard error as it is.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

_TRIO = logging.getLogger("trio.serve_listeners")
REPEAT_AFTER_S = 10.0


class _Troubles(logging.Handler):
    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log
        self._quiet_until = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the first one on, and one in `REPEAT_AFTER_S` after it."""
        now = trio.current_time()
        if now < self._quiet_until:
            return
        self._quiet_until = now + REPEAT_AFTER_S
        self._log.warning(
            "cannot_accept",
            why=record.getMessage(),
            advice="raise the limit of descriptors (ulimit -n)",
        )


@contextmanager
def accept_troubles_to(log: FilteringBoundLogger) -> Iterator[None]:
    """Write what `trio.serve_listeners` complains of to `log` for the length of the block."""
    troubles = _Troubles(log)
    _TRIO.addHandler(troubles)
    propagated, _TRIO.propagate = _TRIO.propagate, False
    try:
        yield
    finally:
        _TRIO.propagate = propagated
        _TRIO.removeHandler(troubles)
