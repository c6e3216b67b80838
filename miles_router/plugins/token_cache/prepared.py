"""What a request becomes on its way to a worker: known ids, and what has to be asked for.

The turns that it continues are held until it is over. This file must not know ASGI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import trio

from miles_router.core.generate.items import Expected
from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.rewrite import drops, rewritten
from miles_router.core.r3 import R3Piece, start_to_ask
from miles_router.core.radix.run import TokenRun, UnfitRun
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.finding import find_ids, find_prompt
from miles_router.core.trajectory.trajectory import chain_of
from miles_router.core.trajectory.turn import Prompt
from miles_router.net.tokenizing import spell_literally, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miles_router.core.generate.request import GenerateRequest
    from miles_router.core.trajectory.turn import Turn
    from miles_router.net.token_cache import TokenCache

# Writing so many ids as JSON takes the loop about a millisecond.
WRITE_IN_THREAD_TOKENS = 65_536
# Finding a prompt takes the loop 40 us, putting it together 10.
AT_ONCE = 16


class PreparedPrompt(msgspec.Struct, frozen=True, eq=False):
    """One prompt as its worker gets it.

    Args:
        parent: turn whose first `inherited` tokens it begins with; None if there is none.
        run: its tokens behind those.
        ids: int32, all of them.
    """

    parent: Turn | None
    inherited: int
    run: TokenRun
    ids: NDArray[np.int32]


@dataclass(slots=True, eq=False)
class Prepared:
    """A request with everything that is known before it is sent.

    Args:
        body: what the worker gets.
        expected: what the answer must agree with.
        drops: for each item, the keys that the client did not ask for.
        experts_from: first row of routed experts that was asked for; None: none were.
    """

    tenant: str
    session: str | None
    request: GenerateRequest
    prompts: list[PreparedPrompt]
    body: bytes
    expected: Expected
    drops: Sequence[frozenset[str]]
    experts_from: int | None

    @property
    def is_text(self) -> bool:
        """Whether the prompts were tokenized here."""
        return self.request.ids is None


@dataclass(slots=True, eq=False)
class Holds:
    """The turns that one request continues, kept until it is over."""

    cache: TokenCache
    turns: list[Turn] = field(default_factory=list)

    def __enter__(self) -> Holds:
        return self

    def __exit__(self, *_: object) -> None:
        for turn in self.turns:
            self.cache.store.release(turn)

    def add(self, turn: Turn) -> None:
        """Keep one more."""
        self.cache.store.hold(turn, trio.current_time())
        self.turns.append(turn)


async def prepare(
    cache: TokenCache, holds: Holds, tenant: str, session: str | None, request: GenerateRequest
) -> Prepared:
    """What goes to the worker for `request`.

    Raises:
        Uncached: the cache has no part in it after all.
    """
    try:
        if request.ids is not None:
            prompts = await _given(cache, holds, tenant, session, request.ids)
        else:
            prompts = await _found(cache, holds, tenant, session, request.texts or ())
    except UnfitRun:
        is_text = request.ids is None
        reason = RefusalReason.BAD_TEXT if is_text else RefusalReason.OUT_OF_VOCABULARY
        raise Uncached(reason) from None
    if any(not prompt.ids.size for prompt in prompts):
        raise Uncached(RefusalReason.NO_PROMPT)
    work = partial(_assembled, cache, tenant, session, request, prompts)
    tokens = sum(len(prompt.ids) for prompt in prompts)
    return work() if tokens <= WRITE_IN_THREAD_TOKENS else await cache.in_thread(work)


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
    if is_text:
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
        expected=Expected.of(
            request, ids, ask_logprobs=is_text, vocab_size=cache.tokenizer.vocab_size
        ),
        drops=drops(request, ask_logprobs=is_text, ask_routed_experts=captures),
        experts_from=experts_from if cache.captures_r3 else None,
    )


async def _found(
    cache: TokenCache, holds: Holds, tenant: str, session: str | None, texts: Sequence[str]
) -> list[PreparedPrompt]:
    """Prompts of text, continued from what is stored."""
    found: list[Prompt] = []
    rests: list[tuple[str, bool]] = []  # what has to be tokenized, and whether it continues
    for place, text in enumerate(texts):
        await _give_way(place)
        prompt = _find(cache, holds, tenant, session, text)
        found.append(prompt)
        if _has_rest(prompt):
            is_whole = prompt.parent is None and not prompt.known.ids
            rests.append((text if is_whole else prompt.rest.decode(), prompt.parent is not None))
    tokenized = iter(await tokenize(cache, rests))
    prompts = []
    for place, prompt in enumerate(found):
        await _give_way(place)
        run = prompt.known + next(tokenized) if _has_rest(prompt) else prompt.known
        prompts.append(_prompt(prompt.parent, prompt.inherited, run))
    return prompts


def _has_rest(prompt: Prompt) -> bool:
    """Also an empty prompt has to be tokenized: it may get a BOS."""
    return bool(prompt.rest) or (prompt.parent is None and not prompt.known.ids)


def _find(cache: TokenCache, holds: Holds, tenant: str, session: str | None, text: str) -> Prompt:
    data = text.encode()
    namespace = cache.store.namespace(tenant)
    prompt = Prompt(rest=data) if namespace is None else find_prompt(namespace, data, session)
    if prompt.parent is not None:
        holds.add(prompt.parent)
    kind = "continued" if prompt.parent else "repeated" if prompt.known.ids else "tokenized"
    cache.counters.prompts[kind] += 1
    cache.counters.cached_tokens += prompt.inherited + len(prompt.known)
    return prompt


async def _given(
    cache: TokenCache,
    holds: Holds,
    tenant: str,
    session: str | None,
    lists: Sequence[NDArray[np.int32]],
) -> list[PreparedPrompt]:
    """Prompts that their client brought as ids: they are the truth."""
    namespace = cache.store.namespace(tenant)
    found: list[Prompt] = []
    for place, ids in enumerate(lists):
        await _give_way(place)
        prompt = Prompt() if namespace is None else find_ids(namespace, ids, session)
        if prompt.parent is not None:
            holds.add(prompt.parent)
        found.append(prompt)
    pairs = list(zip(found, lists, strict=True))
    rests = [ids[prompt.inherited :] for prompt, ids in pairs]
    runs = await spell_literally(cache, rests)
    cache.counters.prompts["given"] += len(pairs)
    return [
        PreparedPrompt(prompt.parent, prompt.inherited, run, ids)
        for (prompt, ids), run in zip(pairs, runs, strict=True)
    ]


async def _give_way(place: int) -> None:
    """Leave the loop to others now and then: a batch may have thousands of prompts."""
    if place % AT_ONCE == AT_ONCE - 1:
        await trio.lowlevel.checkpoint()


def _prompt(parent: Turn | None, inherited: int, run: TokenRun) -> PreparedPrompt:
    if parent is None:
        return PreparedPrompt(None, 0, run, run.id_array)
    before = run_between(parent.node, 0, inherited)
    ids = np.frombuffer(before.ids + run.ids, dtype="<i4")
    return PreparedPrompt(parent, inherited, run, ids)


def _experts_from(prompt: PreparedPrompt) -> int:
    """The first row of routed experts that is not known yet."""
    if prompt.parent is None:
        return 0
    chain = [R3Piece(turn.r3, turn.inherited, turn.end) for turn in chain_of(prompt.parent)]
    return start_to_ask(chain, prompt.inherited)
