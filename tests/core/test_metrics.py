"""Histograms: the bucket of a value, the sum, the quantiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.metrics import LATENCY_BUCKETS_S, OVERHEAD_BUCKETS_S, Histogram, Metrics

BOUNDS = (0.1, 1.0, 10.0)


@pytest.mark.parametrize(
    ("value_s", "counts"),
    [
        (0.0, [1, 0, 0, 0]),
        (0.1, [1, 0, 0, 0]),  # a bound belongs to its bucket, as in Prometheus' `le`
        (0.11, [0, 1, 0, 0]),
        (10.0, [0, 0, 1, 0]),
        (10.1, [0, 0, 0, 1]),
    ],
)
def test_the_bucket_of_a_value(value_s: float, counts: list[int]) -> None:
    histogram = Histogram(BOUNDS)
    histogram.add(value_s)
    assert histogram.counts == counts
    assert histogram.sum_s == value_s
    assert histogram.total == 1


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram(BOUNDS).quantile(0.5) is None


@pytest.mark.parametrize(
    ("share", "bound"),
    [(0.5, 0.1), (0.51, 1.0), (0.75, 1.0), (0.8, float("inf")), (1.0, float("inf"))],
)
def test_quantiles_are_upper_bounds(share: float, bound: float) -> None:
    histogram = Histogram(BOUNDS)
    for value_s in (0.05, 0.05, 0.5, 99.0):
        histogram.add(value_s)
    assert histogram.quantile(share) == bound


@given(st.lists(st.floats(0.0, 20.0), min_size=1), st.floats(0.01, 1.0))
def test_at_least_the_share_lies_at_or_below_its_quantile(
    values: list[float], share: float
) -> None:
    histogram = Histogram(BOUNDS)
    for value_s in values:
        histogram.add(value_s)
    bound = histogram.quantile(share)
    assert bound is not None
    assert sum(value_s <= bound for value_s in values) >= share * len(values)


@pytest.mark.parametrize("bounds", [LATENCY_BUCKETS_S, OVERHEAD_BUCKETS_S])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_counting_starts_at_zero_and_shares_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.requests["generate", 200] += 1
    first.total.add(1.0)
    assert second.requests["generate", 200] == 0
    assert second.total.total == 0
