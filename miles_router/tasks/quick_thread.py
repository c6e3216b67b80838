"""Keeps the thread that reads answers for the token cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from miles_router.net.services import Services


async def run(
    services: Services, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Keep the thread until cancelled; without a token cache, sleep."""
    cache = services.token_cache
    if cache is None:
        task_status.started()
        await trio.sleep_forever()
    await cache.quick_thread.run(task_status=task_status)
