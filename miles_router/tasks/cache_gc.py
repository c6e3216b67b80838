"""Sweeps the token cache: on its interval, when it is nearly full, and for a new weight version."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from miles_router.net.services import Services


async def run(
    services: Services, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Sweep for ever; without a token cache, sleep."""
    task_status.started()
    cache = services.token_cache
    if cache is None:
        await trio.sleep_forever()
    while True:
        with trio.move_on_after(services.settings.gc_interval_s):
            await cache.wait_pressed()
        cache.note_version(services.pool.versions.newest)
        await cache.sweep()
