"""Bytes in, bytes out: over real sockets, and over streams in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from miles_router.net.wire import SocketWire, StreamWire, wire_of
from tests.doubles.memory_net import memory_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.loopback

LARGE = bytes(range(256)) * 40_000  # more than the kernels keep


@pytest.fixture(params=["socket", "memory"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any]]:
    """Both ends of a connection."""
    if request.param == "memory":
        yield memory_connection()
        return
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        near = await trio.open_tcp_stream(*listener.socket.getsockname())
        far = await listener.accept()
        yield near, far
        near.socket.close()
        far.socket.close()


async def test_what_is_written_arrives_in_order(pair: tuple[Any, Any]) -> None:
    near, far = pair
    wire = wire_of(near)
    assert isinstance(wire, SocketWire if isinstance(near, trio.SocketStream) else StreamWire)
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            await wire.write(b"a", LARGE, b"b")
            await wire.write(b"c")
            await near.send_eof()

        nursery.start_soon(write)
        arrived = b""
        while data := await wire_of(far).read(100_000):
            assert len(data) <= 100_000
            arrived += data
    assert arrived == b"a" + LARGE + b"bc"


async def test_a_read_waits_for_something_to_come(pair: tuple[Any, Any]) -> None:
    near, far = pair
    wire = wire_of(near)
    assert not wire.is_readable()
    with trio.move_on_after(0.05) as waiting:
        await wire.read(10)
    assert waiting.cancelled_caught
    await far.send_all(b"here")
    assert await wire.read(2) == b"he"
    assert wire.is_readable()
    assert await wire.read(10) == b"re"


async def test_an_end_is_something_to_read(pair: tuple[Any, Any]) -> None:
    near, far = pair
    wire = wire_of(near)
    await far.send_eof()
    with trio.fail_after(2):
        assert await wire.read(10) == b""
    assert wire.is_readable()


async def test_a_connection_that_was_closed_here_is_not_touched(pair: tuple[Any, Any]) -> None:
    near, _far = pair
    wire = wire_of(near)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wire.read(10)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        near.socket.close()
    with pytest.raises(trio.ClosedResourceError):
        await wire.read(10)
    with pytest.raises(trio.ClosedResourceError):
        await wire.write(b"a")


async def test_a_peer_that_is_gone_ends_a_write(pair: tuple[Any, Any]) -> None:
    near, far = pair
    far.socket.close()
    wire = wire_of(near)

    async def write() -> None:
        for _ in range(100):
            await wire.write(LARGE)

    with trio.fail_after(2), pytest.raises((OSError, trio.BrokenResourceError)):
        await write()
