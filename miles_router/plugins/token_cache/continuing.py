"""Where the prompts of a request continue what is stored, and which ids they then are.

Found at once where that is quick and there is one prompt (`prompt_now`), else in turns of the loop
and in threads (`found_prompts`, `given_prompts`). The turns that are continued are held until the
request is over. This file must not know the bytes of requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import trio

from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.finding import find_ids, find_prompt
from miles_router.core.trajectory.turn import Prompt
from miles_router.net.tokenizing import is_quick, spell_literally, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miles_router.core.generate.request import GenerateRequest
    from miles_router.core.radix.run import TokenRun
    from miles_router.core.trajectory.turn import Turn
    from miles_router.net.token_cache import TokenCache

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
class Holds:
    """The turns that one request continues, kept until it is over."""

    cache: TokenCache
    turns: list[Turn] = field(default_factory=list)

    def __enter__(self) -> Holds:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of all; may be repeated."""
        turns, self.turns = self.turns, []
        for turn in turns:
            self.cache.store.release(turn)

    def add(self, turn: Turn) -> None:
        """Keep one more."""
        self.cache.store.hold(turn, trio.current_time())
        self.turns.append(turn)


class FoundPrompt(msgspec.Struct, frozen=True, eq=False):
    """A prompt that was found without a wait; nothing is held or counted yet."""

    is_text: bool
    found: Prompt
    prepared: PreparedPrompt

    def note(self, cache: TokenCache, holds: Holds) -> None:
        """Hold what it continues, and count it."""
        if self.is_text:
            _note(cache, holds, self.found)
        else:
            _note_given(cache, holds, self.found)


def prompt_now(
    cache: TokenCache, tenant: str, session: str | None, request: GenerateRequest
) -> FoundPrompt | None:
    """The one prompt of `request`; None: there are more, or it takes a thread to tokenize it.

    Raises:
        UnfitRun: it cannot be tokenized.
    """
    if request.prompts != 1:
        return None
    if request.ids is not None:
        return _given_now(cache, tenant, session, request.ids[0])
    text = (request.texts or ("",))[0]
    found = _find(cache, tenant, session, text)
    run = found.known
    if _has_rest(found):
        rest, is_continuation = _rest(found, text)
        if not is_quick([(rest, is_continuation)]):
            return None
        run += cache.tokenizer.encode(rest, is_continuation=is_continuation)
    return FoundPrompt(True, found, _prompt(found.parent, found.inherited, run))


def _given_now(
    cache: TokenCache, tenant: str, session: str | None, ids: NDArray[np.int32]
) -> FoundPrompt | None:
    found = _find_given(cache, tenant, session, ids)
    rest = ids[found.inherited :]
    if len(rest) > cache.tokenizer.quick_tokens:
        return None
    run = cache.tokenizer.spell(rest, skip_special_tokens=False)
    return FoundPrompt(False, found, PreparedPrompt(found.parent, found.inherited, run, ids))


async def found_prompts(
    cache: TokenCache, holds: Holds, tenant: str, session: str | None, texts: Sequence[str]
) -> list[PreparedPrompt]:
    """Prompts of text, continued from what is stored.

    Raises:
        UnfitRun: a text cannot be tokenized.
    """
    found: list[Prompt] = []
    rests: list[tuple[str, bool]] = []  # what has to be tokenized, and whether it continues
    for place, text in enumerate(texts):
        await _give_way(place)
        prompt = _find(cache, tenant, session, text)
        _note(cache, holds, prompt)
        found.append(prompt)
        if _has_rest(prompt):
            rests.append(_rest(prompt, text))
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


def _rest(prompt: Prompt, text: str) -> tuple[str, bool]:
    """What of `text` has to be tokenized, and whether it continues known tokens."""
    is_whole = prompt.parent is None and not prompt.known.ids
    return text if is_whole else prompt.rest.decode(), prompt.parent is not None


def _find(cache: TokenCache, tenant: str, session: str | None, text: str) -> Prompt:
    data = text.encode()
    namespace = cache.store.namespace(tenant)
    return Prompt(rest=data) if namespace is None else find_prompt(namespace, data, session)


def _note(cache: TokenCache, holds: Holds, prompt: Prompt) -> None:
    """Hold and count what was found of a text."""
    if prompt.parent is not None:
        holds.add(prompt.parent)
    kind = "continued" if prompt.parent else "repeated" if prompt.known.ids else "tokenized"
    cache.counters.prompts[kind] += 1
    cache.counters.cached_tokens += prompt.inherited + len(prompt.known)


async def given_prompts(
    cache: TokenCache,
    holds: Holds,
    tenant: str,
    session: str | None,
    lists: Sequence[NDArray[np.int32]],
) -> list[PreparedPrompt]:
    """Prompts that their client brought as ids: they are the truth.

    Raises:
        UnfitRun: an id is not in the vocabulary.
    """
    found: list[Prompt] = []
    for place, ids in enumerate(lists):
        await _give_way(place)
        prompt = _find_given(cache, tenant, session, ids)
        _note_given(cache, holds, prompt)
        found.append(prompt)
    pairs = list(zip(found, lists, strict=True))
    rests = [ids[prompt.inherited :] for prompt, ids in pairs]
    runs = await spell_literally(cache, rests)
    return [
        PreparedPrompt(prompt.parent, prompt.inherited, run, ids)
        for (prompt, ids), run in zip(pairs, runs, strict=True)
    ]


def _find_given(
    cache: TokenCache, tenant: str, session: str | None, ids: NDArray[np.int32]
) -> Prompt:
    namespace = cache.store.namespace(tenant)
    return Prompt() if namespace is None else find_ids(namespace, ids, session)


def _note_given(cache: TokenCache, holds: Holds, prompt: Prompt) -> None:
    """Hold and count what was found of ids."""
    if prompt.parent is not None:
        holds.add(prompt.parent)
    cache.counters.prompts["given"] += 1


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
