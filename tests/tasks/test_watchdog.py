"""The watchdog sees a loop that is late, and closes what stood idle for too long."""

from __future__ import annotations

import trio
import trio.testing

from miles_router.net.idle import MAX_IDLE_S
from miles_router.tasks import watchdog
from tests.doubles.relay_rig import GENERATE, Client, open_rig


async def test_a_loop_in_time_shows_no_lag(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rig() as rig:
        await rig.nursery.start(watchdog.run, rig.services)
        await trio.sleep(10.05)
        lag = rig.services.metrics.loop_lag
        assert lag.total in range(99, 102)
        assert lag.sum_s < 0.001


async def test_a_late_loop_shows_how_late(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rig() as rig:
        await rig.nursery.start(watchdog.run, rig.services)
        await trio.sleep(1.05)
        autojump_clock.jump(3.0)  # as a function does that holds the loop for 3 s
        await trio.sleep(1.0)
        lag = rig.services.metrics.loop_lag
        assert 2.8 < lag.sum_s <= 3.0
        assert lag.quantile(0.5) == lag.bounds[0]


async def test_connections_that_stand_idle_are_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig() as rig:
        rig.add()
        await rig.nursery.start(watchdog.run, rig.services)
        client = Client(GENERATE)
        await rig.ask(client)
        assert client.status == 200
        await trio.sleep(MAX_IDLE_S - 0.5)
        assert len(rig.services.idle) == rig.doubles[0].open_count == 1
        await trio.sleep(2.0)
        assert len(rig.services.idle) == rig.doubles[0].open_count == 0
