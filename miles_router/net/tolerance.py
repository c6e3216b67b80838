"""Foreign exceptions, translated once: what trio, ssl and httptools raise, as faults of a worker.

What the router's own system refuses is no fault of a worker, and is told apart here. This file must
not decide what a fault leads to (`core.retry`, `core.health` do).
"""

from __future__ import annotations

import errno
import socket
import ssl

import httptools
import trio

from miles_router.errors import CannotDial, DialFailed, WorkerBroke

# What can end a connection that was established.
BROKEN_CONNECTION = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    ConnectionError,
    OSError,
    ssl.SSLError,
)


# A shortage lets no connection come about, whatever the address.
SHORTAGES = {
    errno.EMFILE: "the router has no file descriptor left: raise its limit (ulimit -n)",
    errno.ENFILE: "the machine has no file descriptor left: raise its limit (sysctl fs.file-max)",
    errno.ENOBUFS: "the router's machine has no memory left for connections",
    errno.ENOMEM: "the router's machine has no memory left for connections",
}
# Another address may still do.
_OWN_TROUBLES = SHORTAGES | {
    errno.EAFNOSUPPORT: "the router's machine has no network of this kind (IPv6 is off?)",
    errno.EADDRNOTAVAIL: "the router's machine has no address or port left to connect from "
    "(sysctl net.ipv4.ip_local_port_range)",
}
# Descriptors come free as soon as one of the running requests ends.
_SHORTAGE_RETRY_S = 1.0


def is_own_trouble(error: BaseException | None) -> bool:
    """Whether the router's own system, not the worker, is what `error` speaks of."""
    return isinstance(error, OSError) and error.errno in _OWN_TROUBLES


def dial_fault(url: str, error: BaseException) -> DialFailed | CannotDial:
    """Why no connection to `url` came about, in words."""
    if isinstance(error, OSError) and error.errno in _OWN_TROUBLES:
        return CannotDial(
            f"cannot connect to {url}: {_OWN_TROUBLES[error.errno]}",
            retry_after_s=_SHORTAGE_RETRY_S,
            reason=errno.errorcode[error.errno],
        )
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


# What reading an answer raises, besides the faults themselves.
BROKEN_ANSWER = (*BROKEN_CONNECTION, httptools.HttpParserError)


def broken_answer(url: str, error: BaseException) -> WorkerBroke:
    """What a dying connection or a wrong answer raised (`BROKEN_ANSWER`), in words."""
    if isinstance(error, httptools.HttpParserError):
        return WorkerBroke(f"{url}: the answer is not HTTP ({error})")
    reason = error.__cause__ or error
    return WorkerBroke(f"{url}: the connection broke ({str(reason) or type(reason).__name__})")
