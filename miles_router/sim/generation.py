"""One generation from its first token to its finish reason.

Stepping is synchronous and pure: the weight version comes in with each step, time does not
matter. The order of SGLang 0.5.23's `update_finish_state` holds inside a step: stop string, then
stop token, then length. Invariant: `len(logprobs) == len(output_ids)` unless `max_new_tokens` is
0, where SGLang reports one log-probability for no token.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from miles_router.sim.context import BLOCK_TOKENS, block_ends, extend, fingerprints
from miles_router.sim.text import AnswerText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from miles_router.sim.batch import Item
    from miles_router.sim.sampler import Sampler
    from miles_router.sim.tokenizer import Tokenizer

LogprobPairs = list[tuple[float, int]]
PromptColumns = list[LogprobPairs | None]


class Stage(enum.Enum):
    """Where a generation is in its worker."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"


class Generation:
    """The state of one answer.

    Args:
        item: what was asked.
        seed: of this answer; ignored by greedy requests.
        sampler: the simulated model.
        tokenizer: for text and the end-of-turn id.
        now: when the request came, seconds.
    """

    def __init__(
        self, item: Item, *, seed: int, sampler: Sampler, tokenizer: Tokenizer, now: float
    ) -> None:
        self.item = item
        self.seed = seed
        self.stage = Stage.HELD
        self.created_at = now
        self.finished_at: float | None = None
        self.paced_from: tuple[float, int] = (now, 0)
        self.output_ids: list[int] = []
        self.logprobs: list[float] = []
        self.top_logprobs: list[LogprobPairs] = []
        self.chosen_logprobs: list[LogprobPairs] = []
        self.version_changes: list[tuple[str, int]] = []
        self.weight_version = ""
        self.finish_reason: dict[str, Any] | None = None
        self.is_reduced = False
        self.is_client_gone = False
        self.num_retractions = 0
        self.cached_tokens = 0
        self.routed_experts: str | None = None
        self._sampler = sampler
        self._eos_id = tokenizer.eos_id
        self._greedy_or_seed = None if item.params.is_greedy else seed
        self.text = AnswerText(tokenizer, item.params)
        contexts = fingerprints(item.prompt_ids)
        self.blocks = block_ends(contexts)
        self._context = contexts[-1]

    @property
    def is_finished(self) -> bool:
        """Whether the finish reason is known."""
        return self.finish_reason is not None

    def step(self, weight_version: str) -> None:
        """Generate one token, or only the finish reason when no token may be generated."""
        self._note_version(weight_version)
        params = self.item.params
        if params.max_new_tokens == 0:
            self._score(self._draw(weight_version), weight_version)
            self._finish({"type": "length", "length": 0}, None)
            return
        token = self._draw(weight_version)
        self._score(token, weight_version)
        self._context = extend(self._context, token)
        self.output_ids.append(token)
        if (len(self.item.prompt_ids) + len(self.output_ids)) % BLOCK_TOKENS == 0:
            self.blocks.append(self._context)
        matched = self.text.push(token)
        if matched is not None:
            self.text.show(token)
            self._finish({"type": "stop", "matched": matched}, matched)
        elif self._is_stop_token(token):
            if params.no_stop_trim:
                self.text.show(token)
            self._finish({"type": "stop", "matched": token}, None)
        else:
            self.text.show(token)
            if len(self.output_ids) >= params.max_new_tokens:
                self._finish({"type": "length", "length": params.max_new_tokens}, None)

    def abort(self, finish_reason: dict[str, Any], *, is_reduced: bool) -> None:
        """End the generation with what it has.

        Args:
            finish_reason: SGLang's object, type "abort".
            is_reduced: the answer has the short meta_info of a request aborted in the queue.
        """
        self.is_reduced = is_reduced
        self._finish(finish_reason, None)

    def version_spans(self, current_version: str) -> list[tuple[str, int, int]]:
        """(weight version, start, end) over the output tokens, neighbours of one version merged."""
        total = len(self.output_ids)
        spans: list[tuple[str, int, int]] = []
        for version, end in [
            *self.version_changes,
            (self.weight_version or current_version, total),
        ]:
            start = spans[-1][2] if spans else 0
            if spans and end <= start:
                continue
            if spans and spans[-1][0] == version:
                spans[-1] = (version, spans[-1][1], end)
            else:
                spans.append((version, start, end))
        return spans

    def prompt_logprobs(self, weight_version: str) -> list[tuple[float | None, int]]:
        """The prompt's (log-probability, token) from `logprob_start_len` on; the first has none."""
        start, ids = self.item.logprob_start_len, self.item.prompt_ids
        if not 0 <= start < len(ids):
            return []
        places = self._scored_places()
        scores = [(self._sampler.logprob(weight_version, *one), one[1]) for one in places]
        return [(None, ids[start]), *scores]

    def prompt_tops(self, weight_version: str) -> PromptColumns:
        """The likeliest tokens at the same places of the prompt; the first has none."""
        count, sampler = self.item.top_logprobs_num, self._sampler
        return self._prompt_columns(
            lambda context, token: sampler.top(weight_version, context, count, following=token)
        )

    def prompt_chosen(self, weight_version: str) -> PromptColumns:
        """The tokens that were asked for at the same places of the prompt; the first has none."""
        chosen, sampler = self.item.token_ids_logprob or (), self._sampler
        return self._prompt_columns(
            lambda context, token: sampler.logprobs(
                weight_version, context, chosen, following=token
            )
        )

    def _prompt_columns(self, column: Callable[[int, int], LogprobPairs]) -> PromptColumns:
        if not 0 <= self.item.logprob_start_len < len(self.item.prompt_ids):
            return []
        return [None, *(column(*place) for place in self._scored_places())]

    def _scored_places(self) -> Iterator[tuple[int, int]]:
        """(fingerprint before it, token) of the prompt's tokens that have a log-probability."""
        first, ids = self.item.logprob_start_len + 1, self.item.prompt_ids
        return zip(fingerprints(ids)[first:-1], ids[first:], strict=True)

    def _note_version(self, weight_version: str) -> None:
        if self.weight_version and self.weight_version != weight_version and self.output_ids:
            self.version_changes.append((self.weight_version, len(self.output_ids)))
        self.weight_version = weight_version

    def _draw(self, weight_version: str) -> int:
        params = self.item.params
        may_end = not params.ignore_eos and len(self.output_ids) >= params.min_new_tokens
        return self._sampler.draw(
            weight_version, self._greedy_or_seed, self._context, may_end=may_end
        )

    def _score(self, token: int, weight_version: str) -> None:
        if not self.item.return_logprob:
            return
        temperature, sampler = self.item.params.temperature, self._sampler
        self.logprobs.append(sampler.logprob(weight_version, self._context, token, temperature))
        count, chosen = self.item.top_logprobs_num, self.item.token_ids_logprob
        if count > 0:
            column = sampler.top(
                weight_version, self._context, count, following=token, temperature=temperature
            )
            self.top_logprobs.append(column)
        if chosen is not None:
            column = sampler.logprobs(
                weight_version, self._context, chosen, following=token, temperature=temperature
            )
            self.chosen_logprobs.append(column)

    def _is_stop_token(self, token: int) -> bool:
        params = self.item.params
        if params.ignore_eos or len(self.output_ids) <= params.min_new_tokens:
            return False
        return token == self._eos_id or token in params.stop_token_ids

    def _finish(self, finish_reason: dict[str, Any], matched: str | None) -> None:
        self.finish_reason = finish_reason
        self.stage = Stage.FINISHED
        self.text.finish(matched)
