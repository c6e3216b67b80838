"""What counts as a failure of a background task, and how it is told."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import structlog.testing
import trio

from miles_router.tasks.supervise import HEALTHY_AFTER_S, supervise
from tests.doubles.relay_rig import open_rig

if TYPE_CHECKING:
    from miles_router.net.services import Services


class Task:
    """Fails after the given times; runs for ever after the last one."""

    def __init__(self, *lives_s: float) -> None:
        self._lives_s = list(lives_s)
        self.started: list[float] = []

    async def __call__(self, services: Services) -> Any:
        self.started.append(trio.current_time())
        if not self._lives_s:
            await trio.sleep_forever()
        await trio.sleep(self._lives_s.pop(0))
        raise LookupError("no such thing")

    @property
    def pauses_s(self) -> list[float]:
        """The times between its starts."""
        return [b - a for a, b in pairwise(self.started)]


async def test_a_task_that_ran_long_starts_again_soon(autojump_clock: trio.abc.Clock) -> None:
    life_s = HEALTHY_AFTER_S + 1
    task = Task(0.0, 0.0, 0.0, life_s, 0.0)
    async with open_rig() as rig:
        rig.nursery.start_soon(supervise, rig.services, "health", task)
        await trio.sleep(1000)
    assert task.pauses_s == pytest.approx([0.5, 1, 2, life_s + 0.5, 1])


async def test_each_failure_is_told(autojump_clock: trio.abc.Clock) -> None:
    logger = structlog.testing.CapturingLogger()
    async with open_rig() as rig:
        rig.services.log = structlog.wrap_logger(logger, processors=[])
        rig.nursery.start_soon(supervise, rig.services, "health", Task(0.0, 0.0))
        await trio.sleep(10)
        events = [e for e in rig.services.events.since(0) if e.kind == "task_failed"]
    assert [event.reason for event in events] == ["LookupError", "LookupError"]
    assert "the health task failed" in events[0].message
    assert "no such thing" in events[0].message
    assert "in 0.5 s" in events[0].message
    assert "in 1 s" in events[1].message
    assert [call.kwargs["task"] for call in logger.calls] == ["health", "health"]
    assert all(call.kwargs["exc_info"] for call in logger.calls)


async def test_a_failure_of_several_parts_at_once_is_one_failure(
    autojump_clock: trio.abc.Clock,
) -> None:
    runs = 0

    async def fall_apart(services: Services) -> Any:
        nonlocal runs
        runs += 1
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    async with open_rig() as rig:
        rig.nursery.start_soon(supervise, rig.services, "health", fall_apart)
        await trio.sleep(0.6)
    assert runs == 2


async def test_cancellation_is_no_failure(autojump_clock: trio.abc.Clock) -> None:
    task = Task()
    async with open_rig() as rig:
        with trio.move_on_after(5) as scope:
            await supervise(rig.services, "health", task)
        assert scope.cancelled_caught
        assert len(task.started) == 1
        assert rig.services.events.since(0) == []
