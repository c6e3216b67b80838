"""Which words each foreign exception becomes."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import httptools
import pytest
import trio

from miles_router.errors import DialFailed, WorkerBroke, WorkerTimeout
from miles_router.net.tolerance import broken_answers, dial_fault

URL = "http://worker.test:1"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_message = "self-signed certificate"
    return error


DIAL = [
    (socket.gaierror(socket.EAI_NONAME, "not known"), "the host name does not resolve (not known)"),
    (untrusted(), "TLS certificate refused (self-signed certificate)"),
    (
        caused(trio.BrokenResourceError(), untrusted()),
        "TLS certificate refused (self-signed certificate)",
    ),
    (ssl.SSLError("wrong version number"), "TLS handshake failed"),
    (
        caused(trio.BrokenResourceError(), ssl.SSLError("wrong version number")),
        "TLS handshake failed",
    ),
    (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
    (
        OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)),
        "cannot connect (No route to host)",
    ),
    (OSError("it has no address"), "cannot connect (it has no address)"),
    (UnicodeError("label too long"), "cannot connect (label too long)"),
]


@pytest.mark.parametrize(("error", "words"), DIAL)
def test_why_there_is_no_connection(error: Exception, words: str) -> None:
    fault = dial_fault(URL, error)
    assert isinstance(fault, DialFailed)
    assert fault.message.startswith(f"{URL}: {words}")
    assert not fault.sent


BROKEN = [
    (httptools.HttpParserInvalidStatusError("bad status"), "the answer is not HTTP (bad status)"),
    (trio.BrokenResourceError(), "the connection broke (BrokenResourceError)"),
    (
        caused(trio.BrokenResourceError(), ConnectionResetError(errno.ECONNRESET, "reset by peer")),
        "the connection broke ([Errno 104] reset by peer)",
    ),
    (trio.ClosedResourceError("closed"), "the connection broke (closed)"),
    (BrokenPipeError(errno.EPIPE, "pipe"), "the connection broke"),
    (ssl.SSLError("bad record mac"), "the connection broke"),
]


@pytest.mark.parametrize(("error", "words"), BROKEN)
def test_why_an_answer_did_not_come(error: Exception, words: str) -> None:
    with pytest.raises(WorkerBroke) as caught, broken_answers(URL):
        raise error
    assert caught.value.message.startswith(f"{URL}: {words}")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [WorkerTimeout("late"), ZeroDivisionError("a mistake")])
def test_what_is_a_fault_already_or_a_mistake_of_ours_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, broken_answers(URL):
        raise error
    assert caught.value is error
