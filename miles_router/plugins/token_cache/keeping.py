"""From a worker's answer to stored turns.

Each item of an answer is stored or refused alone; what is refused is counted with its reason, and
reaches its client all the same. This file must not know ASGI.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from miles_router.core.alignment import line_up
from miles_router.core.generate.answer import read_answer
from miles_router.core.generate.opened import open_answer, stripped
from miles_router.core.generate.reasons import RefusalReason
from miles_router.core.generate.usual import read_usual
from miles_router.core.r3 import InvalidR3, R3Block, decode_block
from miles_router.core.radix.run import UnfitRun
from miles_router.core.trajectory.turn import NewTurn, SpelledOutput
from miles_router.net.r3_files import R3FileError
from miles_router.plugins.token_cache.refused_answers import note_refused_answer
from miles_router.plugins.token_cache.refused_experts import note_refused_experts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from miles_router.core.generate.items import AnswerItem
    from miles_router.core.tokenizing import Tokenizer
    from miles_router.net.token_cache import TokenCache
    from miles_router.plugins.token_cache.continuing import PreparedPrompt
    from miles_router.plugins.token_cache.prepared import Prepared

# Decoding so much base64 takes the loop 0.1 ms; more goes to a thread.
DECODE_IN_THREAD_BYTES = 65_536
# Storing an item takes the loop 75 us.
AT_ONCE = 16


class Digest(msgspec.Struct, frozen=True, eq=False):
    """An item of an answer whose tokens are lined up with its text."""

    item: AnswerItem
    output: SpelledOutput


def read_whole(
    tokenizer: Tokenizer, prepared: Prepared, body: bytes
) -> tuple[list[Digest | RefusalReason], list[bytes | memoryview]]:
    """What an answer says, and what the client gets of it; may run in a thread."""
    if not any(prepared.drops):
        usual = read_usual(body, prepared.expected)
        if usual is not None:
            return digest(tokenizer, prepared, (usual,)), [body]
    opened = open_answer(body)
    digests = digest(tokenizer, prepared, read_answer(opened, prepared.expected))
    return digests, stripped(opened, prepared.drops) if any(prepared.drops) else [body]


def tell_versions(
    digests: Iterable[Digest | RefusalReason],
    worker_id: str,
    note_version: Callable[[str, str], None],
) -> None:
    """Tell the weight version that each item was made by."""
    for one in digests:
        version = None if isinstance(one, RefusalReason) else one.item.weight_version
        if version is not None:
            note_version(worker_id, version)


def digest(
    tokenizer: Tokenizer, prepared: Prepared, items: Iterable[AnswerItem | RefusalReason]
) -> list[Digest | RefusalReason]:
    """Line up each item with its text. About 60 us for 256 tokens; may run in a thread."""
    found: list[Digest | RefusalReason] = []
    for place, item in enumerate(items):
        if isinstance(item, RefusalReason):
            found.append(item)
            continue
        sampling = prepared.request.sampling[place // prepared.request.n]
        try:
            output = lined_up(
                tokenizer, item.output_ids, item.text, skips=sampling.skip_special_tokens
            )
        except UnfitRun:
            found.append(RefusalReason.UNALIGNED_TEXT)
        else:
            found.append(Digest(item, output))
    return found


def lined_up(
    tokenizer: Tokenizer, output_ids: NDArray[np.int32], text: bytes | None, *, skips: bool
) -> SpelledOutput:
    """The tokens of an answer lined up with the text that the client got.

    Args:
        tokenizer: of the workers' model.
        output_ids: int32 [tokens].
        text: UTF-8; None where the worker has no tokenizer, and its client knows the ids alone.
        skips: special tokens were to be left out. Where the text shows otherwise, it is believed.

    Raises:
        UnfitRun: the text is not that of these tokens, or an id is not in the vocabulary.
    """
    literal = tokenizer.spell(output_ids, skip_special_tokens=False)
    if text is None:
        return SpelledOutput(literal, len(literal))
    spelled = literal
    if skips and text != literal.text:
        spelled = tokenizer.spell(output_ids, skip_special_tokens=True)
    try:
        return line_up(spelled, literal, text)
    except UnfitRun:
        otherwise = tokenizer.spell(output_ids, skip_special_tokens=not skips)
        return line_up(otherwise, literal, text)


async def keep_items(
    cache: TokenCache, prepared: Prepared, digests: Iterable[Digest | RefusalReason]
) -> None:
    """Store every item that is good. Cancellation: the items before are stored."""
    for place, one in enumerate(digests):
        if place % AT_ONCE == AT_ONCE - 1:  # of thousands: the loop is not theirs alone
            await trio.lowlevel.cancel_shielded_checkpoint()
        if isinstance(one, RefusalReason):
            note_refused_answer(cache, one)
            continue
        prompt = prepared.prompts[place // prepared.request.n]
        block, missing = await _experts(cache, prepared, prompt, one.item)
        await cache.keep(prepared.tenant, new_turn(prepared, prompt, one, block, missing))


def new_turn(
    prepared: Prepared,
    prompt: PreparedPrompt,
    digest: Digest,
    block: R3Block | None = None,
    missing: str = "not_asked",
) -> NewTurn:
    """What is stored of an item: `prompt` is its own; `block` and `missing` as in `NewTurn`."""
    item = digest.item
    return NewTurn(
        session=prepared.session,
        rid=item.rid,
        parent=prompt.parent,
        inherited=prompt.inherited,
        prompt=prompt.run,
        is_text_prompt=prepared.is_text,
        output=digest.output,
        logprobs=item.logprobs,
        versions=item.versions,
        finish=item.finish,
        r3=block,
        r3_missing=missing,
    )


async def _experts(
    cache: TokenCache, prepared: Prepared, prompt: PreparedPrompt, item: AnswerItem
) -> tuple[R3Block | None, str]:
    """The routed experts of an item, and why there are none."""
    if prepared.experts_from is None:
        return None, "not_asked"
    if item.routed_experts is None:
        cache.counters.r3["not_sent"] += 1
        return None, "not_sent"
    encoded = item.routed_experts
    cache.counters.r3_received_bytes += len(encoded)
    work = partial(
        decode_block,
        encoded,
        prompt_tokens=len(prompt.ids),
        completion_tokens=len(item.output_ids),
        asked_start=prepared.experts_from,
        shape=cache.shape,
    )
    try:
        is_small = len(encoded) <= DECODE_IN_THREAD_BYTES
        decoded = work() if is_small else await cache.in_thread(work)
        block = await cache.keep_r3(decoded)
    except InvalidR3 as error:
        note_refused_experts(cache, error)
        return None, error.reason
    except R3FileError as error:
        cache.counters.r3["not_written"] += 1
        cache.log.warning("r3_not_written", why=str(error))
        return None, "not_written"
    cache.counters.r3["stored"] += 1
    return block, ""
