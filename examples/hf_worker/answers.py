"""The JSON of one sequence, as SGLang 0.5.23 writes it on /generate.

A chunk of a stream is the complete state so far (SGLang's default, cumulative form). A request
aborted while it waited has a reduced `meta_info`: no token counts but `completion_tokens`.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sequences import Sequence
    from .spelling import Speller

Json = dict[str, object]
Entry = list[object]


def answer(seq: Sequence, speller: Speller, version: str) -> Json:
    """The answer, or the chunk if the sequence still runs; `version` is the worker's own now."""
    body: Json = {
        "text": speller.text(seq),
        "output_ids": list(seq.output_ids),
        "meta_info": meta_info(seq, speller, version),
    }
    if seq.options.return_prompt_token_ids:
        body["prompt_token_ids"] = list(seq.prompt_ids)
    return body


def meta_info(seq: Sequence, speller: Speller, version: str) -> Json:
    """Counts, versions, log-probabilities and the reason of the end (null while it runs)."""
    meta: Json = {"id": seq.rid, "finish_reason": seq.finish}
    if not (seq.finish and seq.never_ran):
        meta["prompt_tokens"] = len(seq.prompt_ids)
        meta["cached_tokens"] = seq.cached_tokens or 0
        meta["num_retractions"] = seq.retractions
        meta["reasoning_tokens"] = 0
        meta["dp_rank"] = None
    meta["completion_tokens"] = len(seq.output_ids)
    meta["weight_version"] = seq.versions[-1] if seq.finish and seq.versions else version
    if seq.options.return_logprob:
        meta["input_token_logprobs"] = _prompt_entries(seq, speller)
        meta["output_token_logprobs"] = _output_entries(seq, speller)
        meta["output_token_logprobs_length"] = len(seq.logprobs)
    if seq.finish:
        meta["weight_versions"] = version_spans(seq.versions)
        meta["e2e_latency"] = seq.finished_s - seq.arrived_s
    return meta


def version_spans(versions: list[str]) -> list[Json]:
    """Half-open spans over the generated tokens, one for each run of equal weight versions."""
    spans: list[Json] = []
    start = 0
    for version, run in groupby(versions):
        end = start + len(list(run))
        spans.append({"version": version, "start": start, "end": end})
        start = end
    return spans


def _prompt_entries(seq: Sequence, speller: Speller) -> list[Entry]:
    if not seq.prompt_logprobs:
        return []
    ids = seq.prompt_ids[len(seq.prompt_ids) - len(seq.prompt_logprobs) :]
    return [_entry(p, t, seq, speller) for p, t in zip(seq.prompt_logprobs, ids, strict=True)]


def _output_entries(seq: Sequence, speller: Speller) -> list[Entry]:
    # With max_new_tokens 0 there is one log-probability, of a token that is not in the answer.
    ids = seq.output_ids or [seq.unkept_id] * len(seq.logprobs)
    return [_entry(p, t, seq, speller) for p, t in zip(seq.logprobs, ids, strict=True)]


def _entry(logprob: float | None, token: int, seq: Sequence, speller: Speller) -> Entry:
    text = speller.spell([token]) if seq.options.return_text_in_logprobs else None
    finite = logprob if logprob is not None and math.isfinite(logprob) else None
    return [finite, token, text]
