"""Bytes that go through a pipe of the kernel's arrive as they were, and it ends clean."""

from __future__ import annotations

import contextlib
import os
import resource
import socket

import pytest

from miles_router.net.pipe import PIPE_BYTES, Pipe

pytestmark = pytest.mark.loopback


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.setblocking(False)
    return near, far


def opened() -> Pipe:
    pipe = Pipe.open()
    assert pipe is not None
    return pipe


def test_what_comes_out_is_what_went_in() -> None:
    (near, far), pipe = pair(), opened()
    (sink, client) = pair()
    client.setblocking(True)
    sink.setblocking(False)
    data = os.urandom(100_000)
    near.sendall(data)
    seen = b""
    while len(seen) < len(data):
        moved = pipe.fill(far.fileno(), len(data) - len(seen))
        assert moved == len(pipe) > 0
        while len(pipe):
            pipe.pour(sink.fileno())
        seen += client.recv(moved, socket.MSG_WAITALL)
    assert seen == data
    pipe.close()
    for one in (near, far, sink, client):
        one.close()


def test_no_more_is_taken_than_asked_for() -> None:
    (near, far), pipe = pair(), opened()
    near.sendall(b"one answer, and the next")
    assert pipe.fill(far.fileno(), 10) == 10
    assert pipe.take() == b"one answer"
    assert len(pipe) == 0
    assert far.recv(100) == b", and the next"
    pipe.close()
    near.close()
    far.close()


def test_the_end_and_nothing_yet_are_told_apart() -> None:
    (near, far), pipe = pair(), opened()
    with pytest.raises(BlockingIOError):
        pipe.fill(far.fileno(), PIPE_BYTES)
    near.close()
    assert pipe.fill(far.fileno(), PIPE_BYTES) == 0
    pipe.close()
    far.close()


def test_a_reader_that_is_full_or_gone_is_told() -> None:
    (near, far), pipe = pair(), opened()
    (sink, client) = pair()
    sink.setblocking(False)
    near.setblocking(False)
    is_full = False
    while not is_full:
        with contextlib.suppress(BlockingIOError):
            near.send(bytes(PIPE_BYTES))
        pipe.fill(far.fileno(), PIPE_BYTES)
        try:
            while len(pipe):
                pipe.pour(sink.fileno())
        except BlockingIOError:
            is_full = True
    assert len(pipe) > 0
    client.close()
    ended = None
    while ended is None:
        try:
            pipe.pour(sink.fileno())
        except BlockingIOError:
            continue
        except ConnectionError as error:
            ended = error
    pipe.close()
    for one in (near, far, sink):
        one.close()


def test_without_descriptors_there_is_none() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        assert Pipe.open() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_where_the_system_has_no_splice_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "splice")
    assert Pipe.open() is None
