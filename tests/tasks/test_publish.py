"""When snapshots are taken for screens in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.core.snapshot import FocusView
from miles_router.tasks import publish
from tests.doubles.relay_rig import RelayRig, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from miles_router.core.snapshot import Snapshot


async def seen_during(rig: RelayRig, seconds: float) -> list[Snapshot]:
    """The snapshots that are published meanwhile, looked for every 10 ms."""
    seen: list[Snapshot] = []
    for _ in range(round(seconds * 100)):
        await trio.sleep(0.01)
        latest = rig.services.latest
        if latest is not None and (not seen or latest is not seen[-1]):
            seen.append(latest)
    return seen


async def test_nobody_who_looks_is_no_snapshot(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        await rig.nursery.start(publish.run, rig.services)
        await trio.sleep(100)
        assert rig.services.latest is None


@pytest.mark.parametrize(("rate_hz", "count"), [(1.0, 10), (5.0, 50), (10.0, 100), (1000.0, 100)])
async def test_as_many_a_second_as_are_wanted_and_never_more_than_ten(
    rate_hz: float, count: int, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "thread_time", lambda: 0.0)
    async with open_rig() as rig:
        rig.add()
        await rig.nursery.start(publish.run, rig.services)
        rig.services.want_snapshots(rate_hz)
        seen = await seen_during(rig, 10)
        assert abs(len(seen) - count) <= 2
        assert [worker.url for worker in seen[-1].workers] == [rig.workers[0].url]
        assert seen[-1].boot_id == rig.services.boot_id
        assert seen[-1].events == ()
        assert seen[-1].last_event_seq > 0


async def test_one_who_no_longer_looks_ends_it(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        await rig.nursery.start(publish.run, rig.services)
        rig.services.want_snapshots(5.0)
        await trio.sleep(3)
        rig.services.want_snapshots(0.0)
        await trio.sleep(0.01)
        last = rig.services.latest
        assert last is not None
        await trio.sleep(100)
        assert rig.services.latest is last
        rig.services.want_snapshots(1.0)
        await trio.sleep(0.01)
        assert rig.services.latest is not last  # at once: the last one is long ago


async def test_asking_again_and_again_does_not_make_it_more_often(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "thread_time", lambda: 0.0)
    async with open_rig() as rig:
        await rig.nursery.start(publish.run, rig.services)
        seen = set()
        for _ in range(1000):
            rig.services.want_snapshots(5.0)
            await trio.sleep(0.01)
            seen.add(id(rig.services.latest))
        uptimes = rig.services.latest
        assert uptimes is not None
        assert len(seen) <= 52


async def test_what_is_expensive_is_taken_less_often(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that costs 50 ms is taken once a second."""
    readings = iter(number * 0.05 for number in range(10_000))
    monkeypatch.setattr(publish, "thread_time", lambda: next(readings))
    async with open_rig() as rig:
        await rig.nursery.start(publish.run, rig.services)
        rig.services.want_snapshots(10.0)
        assert abs(len(await seen_during(rig, 10)) - 10) <= 1


async def test_who_looks_at_one_worker_sees_its_requests(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        rig.add()
        [worker] = rig.workers
        await rig.nursery.start(publish.run, rig.services)
        rig.services.want_snapshots(5.0)
        await trio.sleep(0.3)
        assert rig.services.latest is not None
        assert rig.services.latest.focus is None
        rig.services.focus = worker.id
        await trio.sleep(0.3)
        assert rig.services.latest.focus == FocusView(worker.id, ())
