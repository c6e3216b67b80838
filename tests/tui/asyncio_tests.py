"""Tests of what runs on asyncio, in a suite whose async tests are trio's."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LIMIT_S = 20.0


def tui_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a sync test, with the same fixtures, of an async one that runs on asyncio."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*given, **named), LIMIT_S))

    # Plugins look through `__wrapped__`: they must see a sync function.
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]  # read by inspect
    del run.__wrapped__
    return run
