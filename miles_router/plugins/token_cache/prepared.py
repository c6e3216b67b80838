"""What a request becomes on its way to a worker: known ids, and what has to be asked for.

The turns that it continues are held until it is over. This file must not know ASGI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from miles_router.core.generate.items import Expected
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.rewrite import drops, rewritten, rids_of
from miles_router.core.r3 import R3Piece, start_to_ask
from miles_router.core.radix.run import UnfitRun
from miles_router.core.trajectory.trajectory import chain_of
from miles_router.plugins.token_cache.continuing import (
    FoundPrompt,
    Holds,
    PreparedPrompt,
    found_prompts,
    given_prompts,
    prompt_now,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.core.generate.request import GenerateRequest
    from miles_router.core.request import Rids
    from miles_router.net.token_cache import TokenCache

# Writing so many ids as JSON takes the loop about a millisecond.
WRITE_IN_THREAD_TOKENS = 65_536


@dataclass(slots=True, eq=False)
class Prepared:
    """A request with everything that is known before it is sent.

    Args:
        body: what the worker gets.
        rids: the ids that it names.
        expected: what the answer must agree with.
        drops: for each item, the keys that the client did not ask for.
        experts_from: first row of routed experts that was asked for; None: none were.
    """

    tenant: str
    session: str | None
    request: GenerateRequest
    prompts: list[PreparedPrompt]
    body: bytes
    rids: Rids
    expected: Expected
    drops: Sequence[frozenset[str]]
    experts_from: int | None

    @property
    def is_text(self) -> bool:
        """Whether the prompts were tokenized here."""
        return self.request.ids is None


async def prepare(
    cache: TokenCache, holds: Holds, tenant: str, session: str | None, request: GenerateRequest
) -> Prepared:
    """What goes to the worker for `request`.

    Raises:
        Uncached: the cache has no part in it after all.
    """
    try:
        if request.ids is not None:
            prompts = await given_prompts(cache, holds, tenant, session, request.ids)
        else:
            prompts = await found_prompts(cache, holds, tenant, session, request.texts or ())
    except UnfitRun:
        raise Uncached(_unfit(request)) from None
    if any(not prompt.ids.size for prompt in prompts):
        raise Uncached(RefusalReason.NO_PROMPT)
    work = partial(_assembled, cache, tenant, session, request, prompts)
    tokens = sum(len(prompt.ids) for prompt in prompts)
    return work() if tokens <= WRITE_IN_THREAD_TOKENS else await cache.in_thread(work)


def prepare_now(
    cache: TokenCache, tenant: str, session: str | None, request: GenerateRequest
) -> tuple[Prepared, FoundPrompt] | None:
    """`prepare` without a wait, for one prompt; None where it takes one. Nothing is held yet.

    Raises:
        Uncached: the cache has no part in it after all.
    """
    try:
        found = prompt_now(cache, tenant, session, request)
    except UnfitRun:
        raise Uncached(_unfit(request)) from None
    if found is None:
        return None
    prompt = found.prepared
    if not prompt.ids.size:
        raise Uncached(RefusalReason.NO_PROMPT)
    if len(prompt.ids) > WRITE_IN_THREAD_TOKENS:
        return None
    return _assembled(cache, tenant, session, request, [prompt]), found


def _unfit(request: GenerateRequest) -> RefusalReason:
    is_text = request.ids is None
    return RefusalReason.BAD_TEXT if is_text else RefusalReason.OUT_OF_VOCABULARY


def _assembled(
    cache: TokenCache,
    tenant: str,
    session: str | None,
    request: GenerateRequest,
    prompts: list[PreparedPrompt],
) -> Prepared:
    is_text = request.ids is None
    captures = cache.captures_r3 and is_text
    starts = [_experts_from(prompt) for prompt in prompts] if captures else None
    ids = [prompt.ids for prompt in prompts]
    body = request.body
    rids: list[str] = []
    if is_text:
        if request.rid is None:
            rids = [os.urandom(16).hex() for _ in prompts]
        body = rewritten(request, ids, rids=rids, ask_logprobs=True, ask_routed_experts=starts)
    experts_from: int | None = None
    if any(request.asks_routed_experts):
        experts_from = request.routed_experts_start
    elif starts is not None:
        experts_from = min(starts)
    return Prepared(
        tenant=tenant,
        session=session,
        request=request,
        prompts=prompts,
        body=body,
        rids=rids_of(request, rids),
        expected=Expected.of(
            request, ids, ask_logprobs=is_text, vocab_size=cache.tokenizer.vocab_size
        ),
        drops=drops(request, ask_logprobs=is_text, ask_routed_experts=captures),
        experts_from=experts_from if cache.captures_r3 else None,
    )


def _experts_from(prompt: PreparedPrompt) -> int:
    """The first row of routed experts that is not known yet."""
    if prompt.parent is None:
        return 0
    chain = [R3Piece(turn.r3, turn.inherited, turn.end) for turn in chain_of(prompt.parent)]
    return start_to_ask(chain, prompt.inherited)
