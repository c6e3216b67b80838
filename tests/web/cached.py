"""A router with the token cache on, and turns put into it without a worker."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from miles_router.core.trajectory.turn import NewTurn, SpelledOutput, Turn, VersionSpan
from miles_router.sim.tokenizer import tokenizer_dir
from tests.plugins.token_cache.rig import sim_tokenizer
from tests.web.rig import Rig, open_router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.net.token_cache import TokenCache


@asynccontextmanager
async def open_cached_router(**settings: Any) -> AsyncIterator[Rig]:
    """`open_router` with `--token-cache`; the tokenizer is loaded once for all tests."""
    with patch("miles_router.open_cache.load_tokenizer", lambda *_args, **_named: sim_tokenizer()):
        context = open_router(token_cache=True, tokenizer=str(tokenizer_dir()), **settings)
        async with context as rig:
            yield rig
            assert rig.services.token_cache is not None
            assert rig.services.token_cache.counters.failures == 0
            rig.services.token_cache.close()


def cache_in(rig: Rig) -> TokenCache:
    assert rig.services.token_cache is not None
    return rig.services.token_cache


async def keep(
    rig: Rig,
    prompt: str,
    output: list[int],
    parent: Turn | None = None,
    *,
    tenant: str = "default",
    version: str | None = "7",
    **more: Any,
) -> Turn:
    """Store a turn as if a worker had answered `prompt` with `output`."""
    tokenizer = sim_tokenizer()
    run = tokenizer.spell(np.array(output, dtype="<i4"), skip_special_tokens=False)
    new = NewTurn(
        session=more.pop("session", None),
        rid=more.pop("rid", None),
        parent=parent,
        inherited=0 if parent is None else parent.end,
        prompt=tokenizer.encode(prompt, is_continuation=parent is not None),
        is_text_prompt=True,
        output=SpelledOutput(run, len(run)),
        logprobs=(-np.arange(1, len(run) + 1, dtype="<f4")).tobytes(),
        versions=(VersionSpan(version, 0, len(run)),),
        finish="stop",
        **more,
    )
    return await cache_in(rig).keep(tenant, new)
