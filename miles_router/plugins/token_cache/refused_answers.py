"""What is said of answers that cannot be kept, where there is something that the operator can do.

With another `--tokenizer` than the workers' no answer is kept, and none either where something
between router and workers changes requests; counters alone would show that to nobody who does not
look for it. Each reason is said once. This file must not know how answers are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.generate.reasons import RefusalReason

if TYPE_CHECKING:
    from miles_router.core.tokenizing import Tokenizer
    from miles_router.net.token_cache import TokenCache


def note_refused_answer(cache: TokenCache, reason: RefusalReason) -> None:
    """Count it; the first one of a reason that is known here is an event, and so a warning."""
    cache.counters.refused[reason.value] += 1
    told = _told(reason, cache.tokenizer)
    if told is not None:
        cache.tell_once(
            "answer_refused",
            reason.value,
            f"an answer is not kept ({reason.value}): {told}; further ones are only counted, "
            "see refused and stored in GET /cache/stats",
        )


def _told(reason: RefusalReason, tokenizer: Tokenizer) -> str | None:
    """What is wrong, and what it means if it is so of most answers; None: nothing to be done."""
    match reason:
        case RefusalReason.UNALIGNED_TEXT:
            what = "its text is not what its token ids spell"
        case RefusalReason.OUT_OF_VOCABULARY:
            what = f"it has token ids above the {tokenizer.vocab_size} of the tokenizer"
        case RefusalReason.PROMPT_TOKENS | RefusalReason.PROMPT_TOKEN_IDS:
            return (
                "its worker had another prompt than it was sent; if that is so of most answers, "
                "something between router and worker changes requests, or the worker takes no "
                "input_ids: send it some, and compare meta_info.prompt_tokens"
            )
        case _:
            return None
    return (
        f"{what}; if that is so of most answers, --tokenizer {tokenizer.name} is not the workers' "
        "own: compare it with tokenizer_path in GET /model_info of a worker"
    )
