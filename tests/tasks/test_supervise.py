"""A background task that fails comes back."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NoReturn

import pytest
import trio

from miles_router.tasks.supervise import supervise
from tests.doubles.relay_rig import open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from miles_router.net.services import Services


async def test_pauses_double_up_to_a_bound_and_are_told(autojump_clock: Clock) -> None:
    began: list[float] = []

    async def fail(_services: Services) -> NoReturn:
        began.append(trio.current_time())
        raise ValueError("broken")

    async with open_rig() as rig:
        with trio.move_on_after(110):
            await supervise(rig.services, "sample", fail)
        events = [e for e in rig.services.events.since(0) if e.kind == "task_failed"]
    pauses = [b - a for a, b in itertools.pairwise(began)]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])
    assert len(events) == len(began)
    assert "sample" in events[0].message
    assert "ValueError: broken" in events[0].message
    assert "in 0.5 s" in events[0].message


async def test_a_task_that_ran_long_is_back_soon(autojump_clock: Clock) -> None:
    began: list[float] = []

    async def fail_late(_services: Services) -> NoReturn:
        began.append(trio.current_time())
        await trio.sleep(0 if len(began) < 5 else 100)
        raise ValueError("broken")

    async with open_rig() as rig:
        with trio.move_on_after(200):
            await supervise(rig.services, "sample", fail_late)
    assert began[5] - began[4] == pytest.approx(100.5)
