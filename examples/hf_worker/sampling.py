"""One draw from one row of logits.

The reported log-probability is that of the temperature-scaled distribution *before* top-k, top-p
and min-p (greedy: unscaled), as SGLang reports it. The draw inverts the cumulative distribution at
a point made from the sequence's seed and the token's position, so it depends on nothing else: not
on the other rows of the batch, not on when the request came.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Collection

    from .params import SamplingParams

# Sorting a whole vocabulary costs milliseconds; the nucleus nearly always lies in this many tokens.
_NUCLEUS_TOKENS = 1024


def draw(
    logits: torch.Tensor,
    params: SamplingParams,
    seed: int,
    position: int,
    banned: Collection[int] = (),
) -> tuple[int, float]:
    """The next token and its log-probability.

    Args:
        logits: shape [vocabulary], float32.
        params: temperature and filters.
        seed: of the sequence.
        position: index of the token in the answer.
        banned: ids that may not come yet (`min_new_tokens`).
    """
    if banned:
        logits = logits.clone()
        logits[list(banned)] = -torch.inf
    if params.greedy:
        logprobs = torch.log_softmax(logits, dim=-1)
        token = int(torch.argmax(logits))
    else:
        logprobs = torch.log_softmax(logits / params.temperature, dim=-1)
        point = random.Random(f"{seed}:{position}").random()  # noqa: S311 - sampling, not secrecy
        token = _invert(logprobs.exp(), params, point)
    return token, float(logprobs[token])


def _invert(probs: torch.Tensor, params: SamplingParams, point: float) -> int:
    """The token at `point` (0 to 1) of the filtered, renormalised cumulative distribution."""
    if params.top_k == -1 and params.top_p == 1.0:
        kept = probs
        if params.min_p > 0:
            kept = torch.where(probs >= probs.max() * params.min_p, probs, 0.0)
        return _at(kept, point)
    ranked, order = _ranked(probs, params)
    kept = _filtered(ranked, params)
    return int(order[_at(kept, point)])


def _ranked(probs: torch.Tensor, params: SamplingParams) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely tokens in order, at least as many as the filters can keep."""
    size = probs.shape[-1]
    count = min(size, params.top_k if params.top_k != -1 else _NUCLEUS_TOKENS)
    ranked, order = torch.topk(probs, count)
    if params.top_k == -1 and count < size and float(ranked.sum()) <= params.top_p:
        ranked, order = torch.sort(probs, descending=True, stable=True)
    return ranked, order


def _filtered(ranked: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """`ranked` with zeros where top-p or min-p cut; the most likely token always stays."""
    before = torch.cumsum(ranked, dim=-1) - ranked
    kept = torch.where(before > params.top_p, 0.0, ranked)
    return torch.where(ranked < ranked[0] * params.min_p, 0.0, kept)


def _at(weights: torch.Tensor, point: float) -> int:
    # float64: the float32 sum of a large vocabulary is off by more than its rare tokens weigh.
    cumulative = torch.cumsum(weights, dim=-1, dtype=torch.float64)
    index = int(torch.searchsorted(cumulative, point * float(cumulative[-1]), right=True))
    return min(index, len(weights) - 1)
