"""The watchdog measures lag and sweeps idle connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

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
