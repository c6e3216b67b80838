"""The watchdog measures lag and sweeps idle connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.core.metrics import RECENT_LAGS
from miles_router.tasks import watchdog
from tests.doubles.relay_rig import GENERATE, Client, open_rig

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock


async def test_idle_connections_are_closed_in_time(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        worker = rig.add()
        await rig.ask(Client(GENERATE))
        assert (len(rig.services.idle), worker.open_count) == (1, 1)
        with trio.move_on_after(6):
            await watchdog.run(rig.services)
        assert (len(rig.services.idle), worker.open_count) == (0, 0)


async def test_lag_is_measured(autojump_clock: Clock) -> None:
    async with open_rig() as rig:
        with trio.move_on_after(10):
            await watchdog.run(rig.services)
        assert 95 <= rig.services.metrics.loop_lag.total <= 101
        assert rig.services.metrics.loop_lag.sum_s < 0.01


async def test_the_recent_lag_forgets_the_start_and_what_is_long_past(
    autojump_clock: Clock,
) -> None:
    async with open_rig() as rig:
        recent = rig.services.metrics.recent_lag
        await rig.nursery.start(watchdog.run, rig.services)
        await trio.sleep(1.05)
        autojump_clock.jump(1.0)  # what is imported at the start
        await trio.sleep(3.0)
        assert recent.quantiles == (None, None)
        await trio.sleep(2.0)
        autojump_clock.jump(3.0)  # a function that holds the loop
        await trio.sleep(1.0)
        p50_s, p99_s = recent.quantiles
        assert p50_s is not None
        assert p99_s is not None
        assert p50_s < 0.001
        assert 2.8 < p99_s <= 3.0
        await trio.sleep(125.0)
        assert len(recent) == RECENT_LAGS
        assert (recent.quantiles[1] or 0.0) < 0.001
