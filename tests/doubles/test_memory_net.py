"""The memory connection behaves as a TCP connection does where the router looks."""

from __future__ import annotations

import socket

import pytest
import trio

from tests.doubles.memory_net import memory_connection


async def test_bytes_and_the_end_arrive() -> None:
    near, far = memory_connection()
    await near.send_all(b"hello")
    await near.send_eof()
    assert far.socket.is_readable()
    assert await far.receive_some() == b"hello"
    assert await far.receive_some() == b""
    await far.send_all(b"back")
    assert await near.receive_some(2) == b"ba"
    assert near.unread_bytes == 2


async def test_a_writer_waits_for_its_reader(autojump_clock: trio.abc.Clock) -> None:
    near, far = memory_connection(10)
    with trio.move_on_after(1) as scope:
        await near.send_all(b"x" * 25)
    assert scope.cancelled_caught
    assert far.unread_bytes == 10


async def test_closing_ends_the_peer_and_own_waits(autojump_clock: trio.abc.Clock) -> None:
    near, far = memory_connection()

    async def wait_here() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_here)
        await trio.sleep(1)
        near.socket.close()
    assert await far.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")


async def test_a_reset_takes_what_was_not_read() -> None:
    near, far = memory_connection()
    await near.send_all(b"lost")
    near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"")
    near.socket.close()
    assert near.was_reset
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()
