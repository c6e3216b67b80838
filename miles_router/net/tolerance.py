"""Foreign exceptions, translated once: what trio, ssl and httptools raise, as faults of a worker.

This file must not decide what a fault leads to (`core.retry`, `core.health` do).
"""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httptools
import trio

from miles_router.errors import DialFailed, WorkerBroke, WorkerFault

if TYPE_CHECKING:
    from collections.abc import Iterator

# What can end a connection that was established.
BROKEN_CONNECTION = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    ConnectionError,
    OSError,
    ssl.SSLError,
)


def dial_fault(url: str, error: BaseException) -> DialFailed:
    """Why no connection to `url` came about, in words."""
    if isinstance(error, socket.gaierror):
        return DialFailed(f"{url}: the host name does not resolve ({error.strerror})")
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialFailed(f"{url}: TLS certificate refused ({error.verify_message})")
    if isinstance(error, trio.BrokenResourceError | ssl.SSLError):
        reason = error.__cause__ or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return DialFailed(f"{url}: TLS certificate refused ({reason.verify_message})")
        return DialFailed(f"{url}: TLS handshake failed ({reason})")
    if isinstance(error, ConnectionRefusedError):
        return DialFailed(f"{url}: connection refused")
    if isinstance(error, OSError):
        return DialFailed(f"{url}: cannot connect ({error.strerror or error})")
    return DialFailed(f"{url}: cannot connect ({error})")


@contextmanager
def broken_answers(url: str) -> Iterator[None]:
    """Turn what a dying connection or a wrong answer raises into `WorkerBroke`."""
    try:
        yield
    except WorkerFault:
        raise
    except httptools.HttpParserError as error:
        raise WorkerBroke(f"{url}: the answer is not HTTP ({error})") from error
    except BROKEN_CONNECTION as error:
        reason = error.__cause__ or error
        raise WorkerBroke(
            f"{url}: the connection broke ({str(reason) or type(reason).__name__})"
        ) from error
