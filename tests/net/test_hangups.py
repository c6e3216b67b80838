"""Clients that leave are told at once, and nobody else."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.net.hangups import Hangups

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.loopback


class One:
    """A connection."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.told = 0

    def note_hangup(self) -> None:
        self.told += 1


@pytest.fixture
def ones() -> Iterator[list[One]]:
    made = [One() for _ in range(4)]
    yield made
    for one in made:
        one.client.close()
        one.server.close()


async def test_those_that_close_are_told_once(ones: list[One], nursery: trio.Nursery) -> None:
    hangups = Hangups()
    assert hangups.are_told
    for one in ones:
        hangups.add(one.server.fileno(), one)
    nursery.start_soon(hangups.run)
    await trio.sleep(0.01)
    ones[0].client.send(b"bytes in front of the end")
    ones[0].client.close()
    ones[1].client.shutdown(socket.SHUT_WR)
    ones[2].client.send(b"no end")
    hangups.discard(ones[3].server.fileno(), ones[3])
    ones[3].client.close()
    await trio.sleep(0.05)
    assert [one.told for one in ones] == [1, 1, 0, 0]
    ones[1].client.close()
    await trio.sleep(0.05)
    assert [one.told for one in ones] == [1, 1, 0, 0]


async def test_one_that_left_before_it_was_added(ones: list[One], nursery: trio.Nursery) -> None:
    hangups = Hangups()
    nursery.start_soon(hangups.run)
    ones[0].client.close()
    hangups.add(ones[0].server.fileno(), ones[0])
    await trio.sleep(0.05)
    assert ones[0].told == 1


async def test_the_number_of_a_closed_socket_may_be_anothers(ones: list[One]) -> None:
    hangups = Hangups()
    number = ones[0].server.fileno()
    hangups.add(number, ones[0])
    ones[0].server.close()
    again = One()
    assert again.client.fileno() == number or again.server.fileno() == number
    other = again.client if again.client.fileno() == number else again.server
    hangups.add(other.fileno(), again)
    hangups.discard(number, ones[0])
    peer = again.server if other is again.client else again.client
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hangups.run)
        peer.close()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert (ones[0].told, again.told) == (0, 1)
    other.close()


async def test_nobody_is_told_after_the_end(ones: list[One]) -> None:
    hangups = Hangups()
    hangups.add(ones[0].server.fileno(), ones[0])
    with trio.move_on_after(0):
        await hangups.run()
    hangups.add(ones[1].server.fileno(), ones[1])
    for one in ones:
        one.client.close()
    assert not hangups.are_told
    assert [one.told for one in ones] == [0, 0, 0, 0]


async def test_what_is_no_socket_of_the_system_is_not_watched(ones: list[One]) -> None:
    hangups = Hangups()
    hangups.add(-1, ones[0])
    hangups.discard(-1, ones[0])
    assert ones[0].told == 0
