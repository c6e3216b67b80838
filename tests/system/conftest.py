"""One router for all tests that need no settings of their own; each brings its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.sim import SimSettings
from tests.doubles.servers import SERVERS
from tests.system.rig import QUICK_HEALTH, Router, joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from miles_router.sim import RunningSim


@pytest.fixture(scope="session", params=SERVERS)
def shared_router(request: pytest.FixtureRequest) -> Iterator[Router]:
    router = Router(*QUICK_HEALTH, server=request.param)
    try:
        yield router
        router.terminate()
        assert router.wait() == 0
    finally:
        router.close()


@pytest.fixture
async def router(shared_router: Router) -> Router:
    await shared_router.check_idle()
    return shared_router


@pytest.fixture
async def sim(router: Router) -> AsyncIterator[RunningSim]:
    """The only worker of `router`."""
    async with joined(router, SimSettings()) as (only,):
        yield only


# What these are about lies behind the server: once is enough.
ONE_SERVER = frozenset({"test_commands", "test_faults", "test_sessions", "test_token_cache"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of those, keep the runs with the lane."""
    items[:] = [item for item in items if not _is_spared(item)]


def _is_spared(item: pytest.Item) -> bool:
    given = getattr(item, "callspec", None)
    server = None if given is None else given.params.get("shared_router")
    return server == "hypercorn" and item.path.stem in ONE_SERVER
