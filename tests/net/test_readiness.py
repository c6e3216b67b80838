"""What happens to sockets is told at once, to whom it concerns."""

from __future__ import annotations

import select
import socket
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.net.readiness import LEFT, Readiness

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.loopback


def mistaken() -> None:
    raise AssertionError


class One:
    """A connection."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.told = 0  # that the other side has left
        self.events = 0
        self.is_broken = self.has_failed = False

    def on_ready(self, events: int) -> None:
        self.told += bool(events & LEFT)
        self.events |= events
        if self.is_broken:
            raise LookupError("a mistake")

    def fail(self) -> None:
        self.has_failed = True


@pytest.fixture
def ones() -> Iterator[list[One]]:
    made = [One() for _ in range(4)]
    yield made
    for one in made:
        one.client.close()
        one.server.close()


async def test_those_that_close_are_told(ones: list[One], nursery: trio.Nursery) -> None:
    readiness = Readiness(mistaken)
    assert readiness.is_told
    for one in ones:
        readiness.add(one.server.fileno(), one, only_left=True)
    nursery.start_soon(readiness.run)
    await trio.sleep(0.01)
    ones[0].client.send(b"bytes in front of the end")
    ones[0].client.close()
    ones[1].client.shutdown(socket.SHUT_WR)
    ones[2].client.send(b"no end")
    readiness.discard(ones[3].server.fileno(), ones[3])
    ones[3].client.close()
    await trio.sleep(0.05)
    assert [one.told for one in ones] == [1, 1, 0, 0]
    assert not ones[2].events


async def test_one_that_left_before_it_was_added(ones: list[One], nursery: trio.Nursery) -> None:
    readiness = Readiness(mistaken)
    nursery.start_soon(readiness.run)
    ones[0].client.close()
    readiness.add(ones[0].server.fileno(), ones[0])
    await trio.sleep(0.05)
    assert ones[0].told == 1


async def test_the_number_of_a_closed_socket_may_be_anothers(ones: list[One]) -> None:
    readiness = Readiness(mistaken)
    number = ones[0].server.fileno()
    readiness.add(number, ones[0])
    ones[0].server.close()
    again = One()
    assert again.client.fileno() == number or again.server.fileno() == number
    other = again.client if again.client.fileno() == number else again.server
    readiness.add(other.fileno(), again)
    readiness.discard(number, ones[0])
    peer = again.server if other is again.client else again.client
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        peer.close()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert (ones[0].told, again.told) == (0, 1)
    other.close()


async def test_nobody_is_told_after_the_end(ones: list[One]) -> None:
    readiness = Readiness(mistaken)
    readiness.add(ones[0].server.fileno(), ones[0])
    with trio.move_on_after(0):
        await readiness.run()
    readiness.add(ones[1].server.fileno(), ones[1])
    for one in ones:
        one.client.close()
    assert not readiness.is_told
    assert [one.told for one in ones] == [0, 0, 0, 0]


async def test_what_is_no_socket_of_the_system_is_not_watched(ones: list[One]) -> None:
    readiness = Readiness(mistaken)
    readiness.add(-1, ones[0])
    readiness.discard(-1, ones[0])
    assert ones[0].told == 0


async def test_every_change_is_told_until_it_is_nobodys(
    ones: list[One], nursery: trio.Nursery
) -> None:
    readiness, (one, *_) = Readiness(mistaken), ones
    nursery.start_soon(readiness.run)
    descriptor = one.server.fileno()
    readiness.add(descriptor, one)
    await trio.sleep(0.02)
    assert one.events == select.EPOLLOUT  # what is so already is told
    for _ in range(2):
        one.events = 0
        one.client.send(b"bytes")
        await trio.sleep(0.02)
        assert one.events & select.EPOLLIN
    readiness.add(descriptor, one, only_left=True)
    one.events = 0
    one.client.send(b"bytes")
    await trio.sleep(0.02)
    assert not one.events
    readiness.add(descriptor, one)  # nobody has read them
    await trio.sleep(0.02)
    assert one.events & select.EPOLLIN
    readiness.remove(descriptor, one)
    one.events = 0
    one.client.close()
    await trio.sleep(0.02)
    assert not one.events


async def test_a_mistake_ends_its_own_connection_alone(
    ones: list[One], nursery: trio.Nursery
) -> None:
    mistakes: list[BaseException | None] = []
    readiness = Readiness(lambda: mistakes.append(sys.exception()))
    for one in ones:
        readiness.add(one.server.fileno(), one, only_left=True)
    ones[0].is_broken = True
    nursery.start_soon(readiness.run)
    for one in ones:
        one.client.close()
    await trio.sleep(0.05)
    assert [type(mistake) for mistake in mistakes] == [LookupError]
    assert [one.has_failed for one in ones] == [True, False, False, False]
    assert [one.told for one in ones] == [1, 1, 1, 1]
