"""What is said of routed experts that cannot be kept: each reason once, with what may be done.

A `config.json` of another model beside the tokenizer refuses the rows of every answer; counters
alone would show that to nobody who does not look for it. This file must not know how rows are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.core.r3 import ExpertShape, InvalidR3
    from miles_router.net.token_cache import TokenCache


def note_refused_experts(cache: TokenCache, error: InvalidR3) -> None:
    """Count it; the first one of a reason is an event, and so a warning in the log."""
    cache.counters.r3[error.reason] += 1
    cache.tell_once(
        "r3_refused",
        error.reason,
        f"the routed experts of an answer are not kept ({error.reason}): {error}; expected "
        f"{cache.shape}; {_advice(error.reason, cache.shape)}; further ones are only counted",
    )


def _advice(reason: str, shape: ExpertShape) -> str:
    """What the operator can do."""
    if reason == "ambiguous":
        return "put the config.json of the workers' model beside the tokenizer"
    if reason != "width_changed":
        return "see whether the workers' SGLang is a version that this router knows"
    if shape.layers_and_top_k is None:
        return "let all workers serve one model, and restart the router if it is another one"
    return "put the config.json of the model that the workers serve beside the tokenizer"
