"""Foreign exceptions become faults of the worker, in words."""

from __future__ import annotations

import errno
import socket
import ssl

import httptools
import pytest
import trio

from miles_router.errors import CannotDial, WorkerBroke, WorkerTimeout
from miles_router.net.tolerance import BROKEN_ANSWER, broken_answer, dial_fault

URL = "http://gpu:1"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "does not resolve (Name not known)"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "cannot connect (No route to host)"),
        (ssl.SSLError(1, "wrong version number"), "TLS handshake failed"),
        (trio.BrokenResourceError("gone"), "TLS handshake failed (gone)"),
        (UnicodeError("label too long"), "cannot connect (label too long)"),
    ],
)
def test_why_no_connection_came_about(error: Exception, words: str) -> None:
    fault = dial_fault(URL, error)
    assert fault.message.startswith(URL)
    assert words in fault.message


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOBUFS, "memory"),
        (errno.ENOMEM, "memory"),
        (errno.EAFNOSUPPORT, "IPv6"),
        (errno.EADDRNOTAVAIL, "ip_local_port_range"),
    ],
)
def test_what_the_own_system_refuses_is_no_fault_of_the_worker(number: int, words: str) -> None:
    fault = dial_fault(URL, OSError(number, "words of the system"))
    assert isinstance(fault, CannotDial)
    assert (fault.status, fault.code) == (503, "router_cannot_connect")
    assert fault.details == {"reason": errno.errorcode[number]}
    assert fault.headers == {"Retry-After": "1"}
    assert URL in fault.message
    assert words in fault.message


@pytest.mark.parametrize(
    "error",
    [
        trio.BrokenResourceError(),
        trio.ClosedResourceError(),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        ssl.SSLError(1, "bad record"),
        httptools.HttpParserError("bad"),
    ],
)
def test_what_a_dying_connection_raises(error: Exception) -> None:
    assert isinstance(error, BROKEN_ANSWER)
    fault = broken_answer(URL, error)
    assert isinstance(fault, WorkerBroke)
    assert URL in fault.message
    assert not fault.message.endswith("()")


def test_faults_and_mistakes_are_none_of_a_dying_connection() -> None:
    assert not isinstance(WorkerTimeout("late"), BROKEN_ANSWER)
    assert not isinstance(KeyError("a mistake"), BROKEN_ANSWER)
