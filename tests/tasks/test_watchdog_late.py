"""The watchdog sees a loop that is late."""

from __future__ import annotations

import trio
import trio.testing

from miles_router.tasks import watchdog
from tests.doubles.relay_rig import open_rig


async def test_a_late_loop_shows_how_late(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rig() as rig:
        await rig.nursery.start(watchdog.run, rig.services)
        await trio.sleep(1.05)
        autojump_clock.jump(3.0)  # as a function does that holds the loop for 3 s
        await trio.sleep(1.0)
        lag = rig.services.metrics.loop_lag
        assert 2.8 < lag.sum_s <= 3.0
        assert lag.quantile(0.5) == lag.bounds[0]
