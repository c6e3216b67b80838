"""The thread of the token cache lives as long as its task."""

from __future__ import annotations

import threading

import trio
import trio.testing

from miles_router.tasks import quick_thread
from tests.net.test_token_cache import make_cache
from tests.tasks.test_cache_gc import services_of


async def test_the_cache_is_given_one_thread_while_the_task_runs(nursery: trio.Nursery) -> None:
    cache = make_cache()
    await nursery.start(quick_thread.run, services_of(cache))
    places = {await cache.quick_thread.call(threading.get_ident) for _ in range(3)}
    assert len(places) == 1
    assert places != {threading.get_ident()}
    nursery.cancel_scope.cancel()


async def test_without_a_cache_it_sleeps(nursery: trio.Nursery) -> None:
    await nursery.start(quick_thread.run, services_of(None))
    await trio.testing.wait_all_tasks_blocked()
    assert len(nursery.child_tasks) == 1
    nursery.cancel_scope.cancel()
