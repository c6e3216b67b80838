"""One draw: filters, determinism, and the distribution it follows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.real

PROBS = [0.4, 0.3, 0.15, 0.1, 0.05]


def drawn(draws: Iterable[int] = range(400), **params: Any) -> Counter[int]:
    """Tokens drawn from PROBS at many positions."""
    import torch

    from examples.hf_worker.params import SamplingParams
    from examples.hf_worker.sampling import draw

    logits = torch.tensor(PROBS).log()
    return Counter(draw(logits, SamplingParams(**params), 7, position)[0] for position in draws)


def test_draws_follow_the_distribution() -> None:
    counts = drawn(range(4000))
    shares = [counts[token] / 4000 for token in range(len(PROBS))]
    assert shares == pytest.approx(PROBS, abs=0.03)


def test_equal_seed_and_position_draw_the_same_token() -> None:
    assert drawn() == drawn()


@pytest.mark.parametrize(
    ("params", "possible"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.65}, {0, 1}),
        ({"top_p": 0.75}, {0, 1, 2}),
        ({"top_p": 1e-6}, {0}),
        ({"min_p": 0.3}, {0, 1, 2}),
        ({"min_p": 0.3, "top_k": 2}, {0, 1}),
        ({"top_k": 1}, {0}),
        ({"temperature": 0.0}, {0}),
        ({}, {0, 1, 2, 3, 4}),
    ],
)
def test_filters_leave_the_likely_tokens(params: dict[str, Any], possible: set[int]) -> None:
    assert set(drawn(**params)) == possible


def test_a_nucleus_larger_than_the_fast_path_keeps_every_token() -> None:
    import torch

    from examples.hf_worker.params import SamplingParams
    from examples.hf_worker.sampling import draw

    params = SamplingParams(top_p=0.99)
    tokens = {draw(torch.zeros(5000), params, 1, position)[0] for position in range(300)}
    assert max(tokens) > 4000
    assert len(tokens) > 200


def test_a_logprob_is_of_the_scaled_distribution_before_the_filters() -> None:
    import torch

    from examples.hf_worker.params import SamplingParams
    from examples.hf_worker.sampling import draw

    logits = torch.tensor(PROBS).log()
    params = SamplingParams(temperature=0.5, top_p=0.5, top_k=3)
    token, logprob = draw(logits, params, 1, 0)
    assert logprob == pytest.approx(float(torch.log_softmax(logits / 0.5, -1)[token]), abs=1e-6)


def test_banned_tokens_do_not_come() -> None:
    import torch

    from examples.hf_worker.params import SamplingParams
    from examples.hf_worker.sampling import draw

    token, _ = draw(torch.tensor(PROBS), SamplingParams(temperature=0.0), 0, 0, banned={0, 1})
    assert token == 2
