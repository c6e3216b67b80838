"""What a client sends: handed out in order, held back, and read on until its end is in sight."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from miles_router.net import intake as module
from miles_router.net.departures import READ_ON_BYTES, sweep
from miles_router.net.intake import READ_BYTES, Intake, SpareRoom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.loopback

MB = 1024 * 1024


class Client:
    """A client over TCP and the intake of its connection."""

    def __init__(self, near: socket.socket, far: socket.socket, room: SpareRoom) -> None:
        self.socket = near
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(far))
        self.intake = Intake(self.stream, room)
        self.written = b""

    def write_all_that_fits(self) -> None:
        """Write until neither kernel takes any more."""
        self.socket.setblocking(False)
        number = 0
        try:
            while True:
                piece = (b"%09d," % number) * 6000
                self.written += piece[: self.socket.send(piece)]
                number += 1
        except BlockingIOError:
            pass

    async def read_everything(self) -> bytes:
        parts = []
        with trio.fail_after(5):
            while data := await self.intake.read():
                parts.append(data)
        return b"".join(parts)


@asynccontextmanager
async def connected(room: SpareRoom | None = None) -> AsyncIterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    client = Client(near, far, room or SpareRoom())
    try:
        yield client
    finally:
        near.close()
        await client.stream.aclose()


@asynccontextmanager
async def held(client: Client) -> AsyncIterator[list[bool]]:
    """The first bytes wait to be taken within the block; whether they were, or the client left."""
    taken: list[bool] = []
    release = trio.Event()

    async def hand_on() -> None:
        taken.append(await client.intake.hand_on(release.wait))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_on)
        await trio.testing.wait_all_tasks_blocked()
        yield taken
        await trio.testing.wait_all_tasks_blocked()
        release.set()


async def test_what_is_not_held_is_left_alone() -> None:
    async with connected() as client:
        client.socket.send(b"x")
        assert client.intake.held_descriptor is None
        assert client.intake.read_on(MB) == 0
        client.intake.end_hold()
        assert await client.intake.read() == b"x"
        async with held(client) as taken:
            assert client.intake.held_descriptor == client.stream.socket.fileno()
        assert taken == [True]
        assert client.intake.held_descriptor is None


async def test_what_was_read_on_comes_first_and_in_order() -> None:
    async with connected() as client:
        client.write_all_that_fits()
        async with held(client) as taken:
            assert client.intake.read_on(MB) == 0, "it may be taken in the next moment"
            assert client.intake.read_on(MB) == MB
            assert taken == []
        client.socket.close()
        assert taken == [True]
        assert await client.read_everything() == client.written


async def test_a_hold_that_is_new_each_time_is_not_read_on() -> None:
    async with connected() as client:
        client.socket.send(b"x" * 1000)
        for _ in range(3):
            async with held(client):
                sweep([client.intake])
        assert len(await client.intake.read()) == 1000


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_end_behind_megabytes_comes_into_sight(how: str) -> None:
    async with connected() as client:
        client.write_all_that_fits()
        if how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        async with held(client) as taken:
            sweep([client.intake])
            sweep([client.intake])
            await trio.testing.wait_all_tasks_blocked()
            assert taken == [], "it is still there"
            client.write_all_that_fits()
            client.socket.close()
            with trio.move_on_after(2):
                while not taken:
                    sweep([client.intake])
                    await trio.sleep(0.01)
            assert taken == [False]


async def test_neither_one_client_nor_all_of_them_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", 300_000)
    room = SpareRoom(500_000)
    async with connected(room) as one, connected(room) as other:
        one.write_all_that_fits()
        other.write_all_that_fits()
        async with held(one), held(other):
            sweep([one.intake, other.intake])
            for _ in range(3):
                sweep([one.intake, other.intake])
            assert room.left_bytes == 0
        one.intake.close()
        assert room.left_bytes == 300_000
        assert len(await other.intake.read()) == READ_BYTES
        assert room.left_bytes == 300_000 + READ_BYTES
        other.intake.close()
        assert room.left_bytes == 500_000


async def test_what_a_sweep_reads_has_a_bound() -> None:
    asked: list[int] = []

    class Endless:
        held_descriptor = 0

        def end_hold(self) -> None:
            raise AssertionError("it is there")

        def read_on(self, most_bytes: int) -> int:
            asked.append(most_bytes)
            return min(most_bytes, READ_ON_BYTES * 2 // 3)

    pairs = [socket.socketpair() for _ in range(3)]
    connections = []
    for _, far in pairs:
        connections.append(Endless())
        connections[-1].held_descriptor = far.fileno()
    sweep(connections)
    for pair in pairs:
        for end in pair:
            end.close()
    assert asked == [READ_ON_BYTES, READ_ON_BYTES - READ_ON_BYTES * 2 // 3]
