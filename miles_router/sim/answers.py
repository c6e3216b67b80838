"""From a generation's state to the JSON object SGLang 0.5.23 answers with, or a chunk of it.

Keys come in SGLang's order. A `Cursor` remembers what one stream has been sent; with incremental
streaming a chunk holds only what is new, otherwise everything so far. Nothing here changes what a
generation is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miles_router.sim.experts import ExpertRouter, encode_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.sim.generation import Generation, LogprobPairs
    from miles_router.sim.tokenizer import Tokenizer


@dataclass(slots=True)
class Cursor:
    """What one stream has already carried of one generation."""

    tokens: int = 0
    logprobs: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class AnswerWriter:
    """Makes answers; `router` is None where the worker does not return routed experts."""

    tokenizer: Tokenizer
    router: ExpertRouter | None

    def whole(self, generation: Generation, *, version: str) -> dict[str, Any]:
        """The answer of a request that did not ask for a stream, or a cumulative chunk."""
        return self._object(generation, Cursor(), generation.text.visible(), version)

    def delta(self, generation: Generation, cursor: Cursor, *, version: str) -> dict[str, Any]:
        """An incremental chunk with what is new since `cursor`, which moves on."""
        text = generation.text.visible()
        if generation.is_reduced and cursor.tokens:
            # SGLang repeats the last token in the chunk that reports an abort in the queue.
            cursor.tokens = min(cursor.tokens, len(generation.output_ids) - 1)
        chunk = self._object(generation, cursor, text[cursor.characters :], version)
        cursor.tokens = len(generation.output_ids)
        cursor.logprobs = len(generation.logprobs)
        cursor.characters = len(text)
        return chunk

    def _object(
        self, generation: Generation, cursor: Cursor, text: str, version: str
    ) -> dict[str, Any]:
        meta = (
            self._reduced_meta(generation, cursor, version)
            if generation.is_reduced
            else self._meta(generation, cursor, version)
        )
        answer: dict[str, Any] = {
            "text": text,
            "output_ids": generation.output_ids[cursor.tokens :],
            "meta_info": meta,
        }
        if generation.item.return_prompt_token_ids:
            answer["prompt_token_ids"] = list(generation.item.prompt_ids)
        return answer

    def _meta(self, generation: Generation, cursor: Cursor, version: str) -> dict[str, Any]:
        item = generation.item
        spans = generation.version_spans(version)
        meta: dict[str, Any] = {
            "id": item.rid,
            "finish_reason": generation.finish_reason,
            "prompt_tokens": len(item.prompt_ids),
            "weight_version": spans[-1][0] if generation.is_finished else version,
            "num_retractions": generation.num_retractions,
        }
        if item.return_logprob:
            meta.update(self._logprobs(generation, cursor, spans[0][0]))
        meta["reasoning_tokens"] = 0
        meta["completion_tokens"] = len(generation.output_ids)
        meta["cached_tokens"] = generation.cached_tokens
        if generation.is_finished:
            meta["weight_versions"] = [
                {"version": name, "start": start, "end": end} for name, start, end in spans
            ]
            rows = self.routed_experts(generation, version=version)
            if rows is not None:
                meta["routed_experts"] = rows
        meta["dp_rank"] = None
        if generation.finished_at is not None:
            meta["e2e_latency"] = generation.finished_at - generation.created_at
        return meta

    def _reduced_meta(self, generation: Generation, cursor: Cursor, version: str) -> dict[str, Any]:
        ended_at = generation.finished_at or generation.created_at
        meta: dict[str, Any] = {
            "id": generation.item.rid,
            "finish_reason": generation.finish_reason,
            "weight_version": version,
            "e2e_latency": ended_at - generation.created_at,
        }
        if generation.item.return_logprob:
            meta.update(self._logprobs(generation, cursor, version))
        meta["completion_tokens"] = len(generation.output_ids)
        return meta

    def _logprobs(
        self, generation: Generation, cursor: Cursor, prompt_version: str
    ) -> dict[str, Any]:
        item, start = generation.item, cursor.logprobs
        prompt = [] if generation.is_reduced else generation.prompt_logprobs(prompt_version)
        # With max_new_tokens 0 there is a log-probability but no token; SGLang reports the
        # token it would have been.
        tokens = generation.output_ids or [self.tokenizer.eos_id]
        pairs = list(zip(generation.logprobs[start:], tokens[start:], strict=False))
        found: dict[str, Any] = {
            "input_token_logprobs": self._triples(generation, prompt),
            "output_token_logprobs": self._triples(generation, pairs),
        }
        if item.top_logprobs_num > 0:
            tops = generation.prompt_tops(prompt_version) if prompt else []
            found["input_top_logprobs"] = self._columns(generation, tops, 0)
            found["output_top_logprobs"] = self._columns(generation, generation.top_logprobs, start)
        if item.token_ids_logprob is not None:
            asked = generation.prompt_chosen(prompt_version) if prompt else []
            found["input_token_ids_logprobs"] = self._columns(generation, asked, 0)
            found["output_token_ids_logprobs"] = self._columns(
                generation, generation.chosen_logprobs, start
            )
        found["output_token_logprobs_length"] = len(generation.logprobs)
        return found

    def _columns(
        self, generation: Generation, columns: Sequence[LogprobPairs | None], start: int
    ) -> list[list[list[Any]] | None]:
        return [
            None if column is None else self._triples(generation, column)
            for column in columns[start:]
        ]

    def _triples(
        self, generation: Generation, pairs: Sequence[tuple[float | None, int]]
    ) -> list[list[Any]]:
        if not generation.item.return_text_in_logprobs:
            return [[value, token, None] for value, token in pairs]
        return [[value, token, self.tokenizer.token_text(token)] for value, token in pairs]

    def routed_experts(self, generation: Generation, *, version: str) -> str | None:
        """The routed experts of a finished generation in wire form, made once.

        None unless the request asked for them, the worker has them switched on and it ran.
        """
        item = generation.item
        if self.router is None or not item.return_routed_experts or generation.is_reduced:
            return None
        if not generation.weight_version:
            return None  # Nothing was ever fed to the model.
        if generation.routed_experts is not None:
            return generation.routed_experts
        fed = [*item.prompt_ids, *generation.output_ids][:-1]
        spans = generation.version_spans(version)
        # The token at position p is fed in the step that produces the one at p + 1.
        ends = [(name, max(0, len(item.prompt_ids) + end - 1)) for name, _start, end in spans]
        rows = self.router.rows(fed, ends, item.routed_experts_start_len)
        generation.routed_experts = encode_rows(rows)
        return generation.routed_experts
