"""One request while it lives: its prompt, what was generated, why it ended.

A `Sequence` belongs to the trio thread; the model thread only reads it, and only during a step.
Invariant: `output_ids`, `versions` are equally long, and `logprobs` too except after
`max_new_tokens: 0`, where SGLang reports one log-probability (of `unkept_id`) and no token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .params import SamplingParams

Finish = dict[str, object]

ABORTED: Finish = {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
ABORTED_IN_QUEUE: Finish = {"type": "abort", "message": "Abort in waiting queue"}


class Notice:
    """Wakes the one HTTP answer that waits for news of its sequences."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def post(self) -> None:
        """Say that something changed; several posts may become one wake-up."""
        self._event.set()

    async def wait(self) -> None:
        """Wait for a post made since the last wake-up."""
        await self._event.wait()
        self._event = trio.Event()


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What the answer must carry beyond text and ids."""

    return_logprob: bool = False
    logprob_start_len: int = -1
    return_text_in_logprobs: bool = False
    return_prompt_token_ids: bool = False


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt with one answer in the making."""

    rid: str
    prompt_ids: list[int]
    params: SamplingParams
    options: AnswerOptions
    notice: Notice
    seed: int = 0
    arrived_s: float = 0.0
    finished_s: float = 0.0
    output_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    prompt_logprobs: list[float | None] | None = None
    cached_tokens: int | None = None
    retractions: int = 0
    unkept_id: int = 0
    finish: Finish | None = None

    @property
    def ids(self) -> list[int]:
        """Prompt and answer so far: what a prefill after a retraction has to compute."""
        return self.prompt_ids + self.output_ids

    @property
    def scored_from(self) -> int | None:
        """First prompt position whose log-probability is still to be computed, if any."""
        wanted = self.options.return_logprob and self.options.logprob_start_len >= 0
        return self.options.logprob_start_len if wanted and self.prompt_logprobs is None else None

    @property
    def never_ran(self) -> bool:
        """Whether it left the queue without having reached the model."""
        return self.cached_tokens is None
