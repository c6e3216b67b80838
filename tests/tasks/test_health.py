"""The schedule of probes, in virtual time."""

from __future__ import annotations

import itertools
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.core.lifecycle import State
from miles_router.tasks import health
from tests.core.rig import state_of
from tests.doubles.relay_rig import open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from tests.doubles.memory_net import MemoryStream
    from tests.doubles.worker_double import WorkerDouble


def note_dials(double: WorkerDouble, times: list[float]) -> None:
    """Note when each probe of `double` begins: its first dial is for the health path."""
    connect = double.connect

    def noted() -> MemoryStream:
        if not times or trio.current_time() > times[-1]:
            times.append(trio.current_time())
        return connect()

    double.connect = noted  # type: ignore[method-assign]  # a spy


async def test_probes_follow_their_interval_with_jitter(autojump_clock: Clock) -> None:
    async with open_rig(health_interval_s=10.0) as rig:
        times: dict[int, list[float]] = defaultdict(list)
        for number in range(3):
            note_dials(rig.add(), times[number])
        with trio.move_on_after(300):
            await health.run(rig.services)
        for one in times.values():
            gaps = [b - a for a, b in itertools.pairwise(one)]
            assert len(gaps) >= 27
            assert all(9 <= gap <= 11 for gap in gaps)
            assert max(gaps) - min(gaps) > 0.2
        assert times[0] != times[1]


async def test_one_that_hangs_delays_nobody(autojump_clock: Clock) -> None:
    async with open_rig(health_interval_s=10.0, health_timeout_s=30.0) as rig:
        hanging, fine = rig.add(), rig.add()
        rig.dialer.workers[9001].is_hanging = True
        times: list[float] = []
        note_dials(fine, times)
        with trio.move_on_after(100):
            await health.run(rig.services)
        assert len(times) >= 9
        assert state_of(rig.workers[1]) is State.ACTIVE
        assert state_of(rig.workers[0]) is not State.ACTIVE
        assert hanging.streams == []


async def test_a_joining_worker_is_asked_every_second_and_serves_at_once(
    autojump_clock: Clock,
) -> None:
    async with open_rig(health_interval_s=10.0) as rig:
        double = rig.add(is_active=False)
        double.is_refusing = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(health.run, rig.services))
            await trio.sleep(20.2)
            probes = sum(rig.services.metrics.probes.values())
            assert 18 <= probes <= 24
            double.is_refusing = False
            await trio.sleep(1.2)
            assert state_of(rig.workers[0]) is State.ACTIVE
            nursery.cancel_scope.cancel()


async def test_a_worker_that_never_answers_leaves_one_event(autojump_clock: Clock) -> None:
    async with open_rig(health_interval_s=10.0) as rig:
        rig.add(is_active=False).is_refusing = True
        with trio.move_on_after(100):
            await health.run(rig.services)
        told = [event for event in rig.services.events.since(0) if event.to_state is None]
        assert [event.kind for event in told] == ["first_probe_failed"]
        assert "connection refused" in told[0].message
        assert sum(rig.services.metrics.probes.values()) > 50


async def test_a_wanted_probe_is_sent_at_once(autojump_clock: Clock) -> None:
    async with open_rig(health_interval_s=1000.0) as rig:
        times: list[float] = []
        note_dials(rig.add(), times)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(health.run, rig.services))
            await trio.sleep(100)
            assert len(times) == 1
            rig.services.pool.probe_soon(rig.workers[0])
            await trio.sleep(0.1)
            assert times[1:] == pytest.approx([times[0] + 100], abs=0.05)
            nursery.cancel_scope.cancel()


async def test_a_cancelled_run_leaves_no_probe_under_way(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add().is_hanging = True
        with trio.move_on_after(1):
            await health.run(rig.services)
        assert not rig.workers[0].is_probing
        assert rig.workers[0].last_probe is None or rig.workers[0].last_probe.passed
