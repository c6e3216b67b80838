"""What is expected of a worker's answer, and the item that has met it.

Values only; how they are read and judged is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from miles_router.core.generate.opened import OpenedItem
    from miles_router.core.generate.request import GenerateRequest
    from miles_router.core.trajectory.turn import VersionSpan

_FLOAT32_MAX = 3.4e38
# Of what is 0 at most: in bfloat16 the logarithm of 1 may come out as 2**-7.
_ROUNDING = 0.01

Logprob = Annotated[float, msgspec.Meta(ge=-_FLOAT32_MAX, le=_ROUNDING)]
Triple = tuple[Logprob | None, int, str | None]
"""(log-probability, token id, its text) as SGLang lists them; null: not known, not asked for."""


class Expected(msgspec.Struct, frozen=True, eq=False):
    """What the answer of a request must agree with.

    Args:
        prompt_ids: int32 arrays, one for each prompt, as the worker got them.
        n: samples of each prompt.
        is_array: the answer is a JSON array; streamed chunks carry an index.
        asks_logprobs: for each prompt, whether log-probabilities were asked for.
        vocab_size: ids are below this.
    """

    prompt_ids: tuple[NDArray[np.int32], ...]
    n: int
    is_array: bool
    asks_logprobs: tuple[bool, ...]
    vocab_size: int

    @classmethod
    def of(
        cls,
        request: GenerateRequest,
        prompt_ids: Sequence[NDArray[np.int32]],
        *,
        ask_logprobs: bool,
        vocab_size: int,
    ) -> Expected:
        """What to expect for a request that went out with `prompt_ids`, asking for logprobs."""
        return cls(
            prompt_ids=tuple(prompt_ids),
            n=request.n,
            is_array=request.is_array_answer,
            asks_logprobs=tuple(ask_logprobs or asks for asks in request.asks_logprobs),
            vocab_size=vocab_size,
        )

    @property
    def items(self) -> int:
        """How many items the answer has: prompt by prompt, `n` of each."""
        return len(self.prompt_ids) * self.n


class AnswerItem(msgspec.Struct, frozen=True, eq=False):
    """One answer that passed all checks.

    Args:
        output_ids: int32 [completion_tokens].
        text: UTF-8, as the client got it; None where the worker has no tokenizer.
        logprobs: float32, little-endian, one for each output token; NaN: none known.
        finish: stop, length, or abort (partial).
        rid: the id it ran under.
        weight_version: of the last token; None where the worker named none.
        versions: cover the output tokens, in order; empty if there are none.
        routed_experts: base64 as it stands in the answer, not copied; None if there is none. What
            is no string is given as it stands too, and is no base64.
    """

    output_ids: NDArray[np.int32]
    text: bytes | None
    logprobs: bytes
    finish: str
    rid: str | None
    weight_version: str | None
    versions: tuple[VersionSpan, ...]
    routed_experts: memoryview | None


@dataclass(slots=True)
class Parts:
    """What one item says, before it is judged.

    Args:
        output_ids: numbers from 0 to 2**31 - 1.
        text: None where there is none.
        triples: (log-probability, id, text) of output tokens; None where there are none.
        last: the item, or the last chunk of it: all that a stream does not send in parts.
    """

    output_ids: list[int]
    text: str | None
    triples: list[Triple] | None
    last: OpenedItem
