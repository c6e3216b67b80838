"""When the token cache is swept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from miles_router.config import Settings
from miles_router.core.versions import VersionHistory
from miles_router.tasks import cache_gc
from tests.net.test_token_cache import make_cache, new_turn

if TYPE_CHECKING:
    from trio.testing import MockClock as Clock

    from miles_router.net.token_cache import TokenCache


class Services:
    """What the task reads of the router."""

    def __init__(self, cache: TokenCache | None) -> None:
        self.token_cache = cache
        self.settings = Settings(gc_interval_s=30.0)
        self.pool = self
        self.versions = VersionHistory()


def services_of(cache: TokenCache | None) -> Any:
    return Services(cache)


async def test_it_sweeps_on_its_interval(autojump_clock: Clock) -> None:
    cache = make_cache()
    turn = await cache.keep("t", new_turn("abc", "de"))
    assert turn.trajectory is not None
    async with trio.open_nursery() as nursery:
        await nursery.start(cache_gc.run, services_of(cache))
        cache.store.evict(turn.trajectory, "deleted")
        await trio.sleep(29)
        # The turn's weight version was new, and called for a sweep at once.
        swept = cache.counters.sweeps
        await trio.sleep(31)
        assert cache.counters.sweeps == swept + 1
        assert cache.store.turns == 0
        nursery.cancel_scope.cancel()


async def test_an_answer_by_new_weights_is_swept_for_at_once(autojump_clock: Clock) -> None:
    cache = make_cache()
    async with trio.open_nursery() as nursery:
        await nursery.start(cache_gc.run, services_of(cache))
        await trio.sleep(1)
        before = cache.counters.sweeps
        for _ in range(2):  # the second time the weights are known
            await cache.keep("t", new_turn("abc", "de"))
            await trio.sleep(0.1)
            assert cache.counters.sweeps == before + 1
        nursery.cancel_scope.cancel()


async def test_new_weights_that_the_pool_found_are_swept_for_at_once(autojump_clock: Clock) -> None:
    cache = make_cache(keep_versions=1)
    services = services_of(cache)
    await cache.keep("t", new_turn("abc", "de"))
    async with trio.open_nursery() as nursery:
        await nursery.start(cache_gc.run, services)
        await trio.sleep(1)
        assert cache.store.turns == 1
        services.versions.arrive("8")
        cache.press()
        await trio.sleep(0.1)
        assert cache.store.turns == 0
        nursery.cancel_scope.cancel()


async def test_old_weights_go_and_what_continues_them_stays(autojump_clock: Clock) -> None:
    cache = make_cache()
    services = services_of(cache)
    first = await cache.keep("t", new_turn("abc", "de"))
    await cache.keep("t", new_turn("xyz", "uv"))
    for number in range(8):
        services.versions.arrive(f"v{number}")
        cache.note_version(f"v{number}")
    parent = first
    async with trio.open_nursery() as nursery:
        new = new_turn("f", "g", parent)
        versions = tuple(type(span)("v7", span.start, span.end) for span in new.versions)
        await cache.keep("t", type(new)(**{**_fields(new), "versions": versions}))
        await nursery.start(cache_gc.run, services)
        await trio.sleep(31)
        assert cache.store.turns == 2
        assert cache.store.turns_removed == {"version": 1}
        nursery.cancel_scope.cancel()


def _fields(new: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(new)


async def test_without_a_cache_it_sleeps(autojump_clock: Clock) -> None:
    with trio.move_on_after(1000) as waiting:
        await cache_gc.run(services_of(None))
    assert waiting.cancelled_caught
