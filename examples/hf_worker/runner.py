"""The model's own thread: one step is at most one chunk of a prefill and one token for each row.

`step` is called with the sequences that shall run; what is no longer among them is dropped first.
It reads sequences and never changes them: results go back as values, and the engine applies them.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .kvcache import Batch, PrefixStore, columns, make_cache
from .loading import cache_name
from .sampling import draw

if TYPE_CHECKING:
    from collections.abc import Collection

    from transformers.cache_utils import Cache

    from .sequences import Sequence

# Long prompts are computed in pieces so that running requests get a token in between.
CHUNK_TOKENS = 256


@dataclass(slots=True)
class Prefill:
    """A prompt on its way into the cache."""

    seq: Sequence
    ids: list[int]
    cache: Cache
    cached_tokens: int
    score_from: int | None
    scores: list[float | None] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every token has been computed."""
        return columns(self.cache) == len(self.ids)


@dataclass(frozen=True, slots=True)
class Sampled:
    """One new token of one sequence; the first one also brings what the prefill found out."""

    seq: Sequence
    token: int
    logprob: float
    cached_tokens: int | None = None
    prompt_logprobs: list[float | None] | None = None


class Runner:
    """Runs one causal language model; every method belongs to one thread at a time."""

    def __init__(self, model: Any, eos_ids: Collection[int], cache_tokens: int) -> None:
        self.eos_ids = frozenset(eos_ids)
        self.prefixes = PrefixStore(cache_tokens)
        self._model = model
        self._accepts = frozenset(inspect.signature(model.forward).parameters)
        self._cache_name = cache_name(model)
        self._batch = Batch()
        self._prefill: Prefill | None = None

    def step(self, running: list[Sequence], joining: Sequence | None) -> list[Sampled]:
        """Advance everything once: a prefill that ends and every decoding row give one token."""
        with torch.inference_mode():
            self._drop_all_but(running)
            sampled = self._decode() if self._batch.sequences else []
            first = self._advance(joining)
        return sampled if first is None else [*sampled, first]

    def release(self) -> None:
        """Forget every running sequence (their prefixes stay), as before a retraction."""
        with torch.inference_mode():
            self._drop_all_but([])
        self._prefill = None

    def flush(self) -> None:
        """Forget every stored prefix too."""
        self.release()
        self.prefixes.clear()

    def _drop_all_but(self, running: list[Sequence]) -> None:
        wanted = set(map(id, running))
        kept: list[int] = []
        for index, seq in enumerate(self._batch.sequences):
            if id(seq) in wanted:
                kept.append(index)
            elif self.prefixes.capacity_tokens:
                row = self._batch.row(index)
                self.prefixes.store(seq.ids[: row[0][0].shape[-2]], row)
        self._batch.keep(kept)

    def _decode(self) -> list[Sampled]:
        logits = self._forward(self._batch.cache, logits_to_keep=1, **self._batch.inputs())
        return [
            Sampled(seq, *self._draw(seq, logits[row, -1]))
            for row, seq in enumerate(self._batch.sequences)
        ]

    def _advance(self, joining: Sequence | None) -> Sampled | None:
        """One chunk of the prefill of `joining`; its first token if that was the last chunk."""
        if joining is None:
            self._prefill = None
            return None
        if self._prefill is None or self._prefill.seq is not joining:
            self._prefill = self._begin(joining)
        prefill = self._prefill
        last_logits = self._chunk(prefill)
        if not prefill.done:
            return None
        self._prefill = None
        if self.prefixes.capacity_tokens:
            rows = [(layer.keys.clone(), layer.values.clone()) for layer in prefill.cache.layers]
            self.prefixes.store(prefill.ids, rows)
        self._batch.join(joining, prefill.cache)
        scores = None if prefill.score_from is None else prefill.scores
        return Sampled(joining, *self._draw(joining, last_logits), prefill.cached_tokens, scores)

    def _begin(self, seq: Sequence) -> Prefill:
        ids = seq.ids
        start = seq.scored_from
        # The last token must be computed for its logits, and so must all that predict a scored one.
        limit = len(ids) - 1 if start is None else min(start, len(ids) - 1)
        count, rows = self.prefixes.longest(ids, limit)
        prefill = Prefill(seq, ids, make_cache(rows), count, start)
        if start is not None and start < len(ids):
            prefill.scores.append(None)
        return prefill

    def _chunk(self, prefill: Prefill) -> torch.Tensor:
        """Compute the next tokens of a prompt; returns the logits after the last of them."""
        begin = columns(prefill.cache)
        ids = prefill.ids[begin : begin + CHUNK_TOKENS]
        positions = torch.arange(begin, begin + len(ids))[None]
        logits = self._forward(
            prefill.cache,
            input_ids=torch.tensor([ids]),
            position_ids=positions,
            logits_to_keep=1 if prefill.score_from is None else 0,
        )[0]
        if prefill.score_from is not None:
            prefill.scores += _scores(logits, prefill.ids, begin, prefill.score_from)
        return logits[-1]

    def _forward(self, cache: Cache, **inputs: Any) -> torch.Tensor:
        """Logits in float32, shape [rows, tokens, vocabulary]."""
        accepted = {name: value for name, value in inputs.items() if name in self._accepts}
        output = self._model(**{self._cache_name: cache}, use_cache=True, **accepted)
        return output.logits.float()

    def _draw(self, seq: Sequence, logits: torch.Tensor) -> tuple[int, float]:
        position = len(seq.output_ids)
        params = seq.params
        early = position < params.min_new_tokens
        banned = self.eos_ids.union(params.stop_token_ids) if early else ()
        return draw(logits, params, seq.seed, position, banned)


def _scores(logits: torch.Tensor, ids: list[int], begin: int, start: int) -> list[float | None]:
    """Log-probabilities of the prompt tokens that these logits predict, from `start` + 1 on."""
    first = max(start, begin)
    targets = ids[first + 1 : begin + logits.shape[0] + 1]
    if not targets:
        return []
    rows = torch.log_softmax(logits[first - begin : first - begin + len(targets)], dim=-1)
    found = rows.gather(1, torch.tensor(targets)[:, None])[:, 0]
    return [float(value) for value in found]
