"""One router for all tests that need no settings of their own; each brings its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.sim import SimSettings
from tests.system.rig import QUICK_HEALTH, Router, joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from miles_router.sim import RunningSim


@pytest.fixture(scope="session")
def shared_router() -> Iterator[Router]:
    router = Router(*QUICK_HEALTH)
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
