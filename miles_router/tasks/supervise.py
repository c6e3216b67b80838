"""Keeps a background task alive: what it does not survive itself ends up here.

A task that raises is started again after a pause that doubles, with an event and its traceback in
the log. A router with a broken health loop still relays; one without this would stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from miles_router.net.services import Services

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# A task that ran this long before it failed is not in a failing loop.
HEALTHY_AFTER_S = 60.0


async def supervise(
    services: Services, name: str, task: Callable[[Services], Awaitable[NoReturn]]
) -> NoReturn:
    """Run `task` for ever."""
    pause_s = FIRST_PAUSE_S
    while True:
        started_at = trio.current_time()
        try:
            await task(services)
        except Exception as error:
            if trio.current_time() - started_at > HEALTHY_AFTER_S:
                pause_s = FIRST_PAUSE_S
            services.log.exception("task_failed", task=name)
            services.events.add(
                "task_failed",
                f"the {name} task failed and starts again in {pause_s:g} s: "
                f"{type(error).__name__}: {error}",
                trio.current_time(),
                reason=type(error).__name__,
            )
        await trio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
