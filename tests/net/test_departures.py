"""Clients that leave behind bytes that nobody reads."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from miles_router.net import departures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock as Clock

pytestmark = pytest.mark.loopback


class Held:
    """A connection with bytes that were not taken."""

    def __init__(self) -> None:
        self.client, self._server = socket.socketpair()
        self.client.send(b"not taken")
        self.is_held = True
        self.ended = 0
        self.read_on_times = 0

    @property
    def held_descriptor(self) -> int | None:
        return self._server.fileno() if self.is_held else None

    def end_hold(self) -> None:
        self.ended += 1

    def read_on(self, most_bytes: int) -> int:
        self.read_on_times += most_bytes > 0
        return 0

    def close(self) -> None:
        self.client.close()
        self._server.close()


@pytest.fixture
def connections() -> Iterator[list[Held]]:
    made = [Held() for _ in range(3)]
    yield made
    for one in made:
        one.close()


def test_those_that_closed_or_half_closed_are_told_apart_from_those_that_wait(
    connections: list[Held],
) -> None:
    connections[0].client.close()
    connections[1].client.shutdown(socket.SHUT_WR)
    departures.sweep(connections)
    assert [one.ended for one in connections] == [1, 1, 0]
    assert [one.read_on_times for one in connections] == [0, 0, 1]


def test_what_is_read_or_closed_is_left_alone(connections: list[Held]) -> None:
    for one in connections:
        one.client.close()
        one.is_held = False
    departures.sweep(connections)
    departures.sweep([])
    assert [one.ended for one in connections] == [0, 0, 0]
    assert [one.read_on_times for one in connections] == [0, 0, 0]


async def test_sweeps_follow_one_another_and_see_who_came_later(
    connections: list[Held], autojump_clock: Clock
) -> None:
    present = connections[:1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(departures.run, present)
        await trio.sleep(1.5)
        assert connections[0].ended == 0
        present.append(connections[1])
        for one in present:
            one.client.close()
        await trio.sleep(1.0)
        assert [one.ended for one in connections] == [1, 1, 0]
        nursery.cancel_scope.cancel()


async def test_a_departure_is_told_in_every_way() -> None:
    departure, told = departures.Departure(), []
    departure.tell(lambda: told.append("nobody"))
    departure.tell(None)
    departure.tell(lambda: told.append("callback"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(departure.wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not departure.is_set()
        departure.set()
        departure.set()
    assert departure.is_set()
    assert told == ["callback"], "once"
    departure.tell(lambda: told.append("late"))
    assert told == ["callback", "late"]
    with trio.fail_after(1):
        await departure.wait()
