from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.tui.series import Series, mean, plot_span, resampled

NAN = math.nan


def column(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def shown(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 3) for value in values.ravel()]


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_a_slot_is_the_mean_of_its_values() -> None:
    series = Series(2, 3)
    series.level(numbers(1, 10))
    series.level(numbers(3, 20))
    series.advance(1)
    series.level(numbers(7, NAN))
    series.level(numbers(NAN, 4))
    assert shown(series.values[:, 0]) == [None, 2, 7]
    assert shown(series.values[:, 1]) == [None, 15, 4]


@pytest.mark.parametrize(
    ("slots", "kept"),
    [
        (0, [None, None, 5]),
        (1, [None, 5, None]),
        (2, [5, None, None]),
        (3, [None] * 3),
        (99, [None] * 3),
    ],
)
def test_slots_that_nobody_filled_are_gaps(slots: int, kept: list[float | None]) -> None:
    series = Series(1, 3)
    series.level(numbers(5))
    series.advance(slots)
    assert shown(series.values) == kept


def test_counts_add_up_and_their_gaps_are_zero() -> None:
    series = Series(1, 4, gap=0.0)
    series.add(numbers(2))
    series.add(numbers(3))
    series.advance(2)
    series.add(numbers(1))
    assert shown(series.values) == [0, 5, 0, 1]
    assert shown(series.newest(2)) == [1]
    assert shown(series.newest(3)) == [6]


def test_rearranged_numbers_keep_their_past() -> None:
    series = Series(2, 2)
    series.level(numbers(1, 2))
    series.rearrange(np.array([1, -1, 0]))
    assert shown(series.values[-1]) == [2, None, 1]
    assert series.values.shape == (2, 3)


def test_means_over_equal_parts() -> None:
    values = column([1, 2, 3, 4, 5, 6])
    assert shown(resampled(values, 6, newest=5)) == [1, 2, 3, 4, 5, 6]
    assert shown(resampled(values, 99, newest=5)) == [1, 2, 3, 4, 5, 6]
    assert shown(resampled(values, 3, newest=5)) == [1.5, 3.5, 5.5]
    assert shown(resampled(values, 1, newest=5)) == [3.5]


def test_parts_stay_where_they_are_while_time_goes_on() -> None:
    # Seconds 0 to 6 in slots of which six are kept: the newest part has one second, then two.
    assert shown(resampled(column([1, 2, 3, 4, 5, 6]), 3, newest=6)) == [2.5, 4.5, 6]
    assert shown(resampled(column([2, 3, 4, 5, 6, 8]), 3, newest=7)) == [2.5, 4.5, 7]


def test_what_is_known_counts() -> None:
    values = column([NAN, NAN, 2, NAN, 4, 6])
    assert shown(resampled(values, 3, newest=5)) == [None, 2, 5]
    assert shown(mean(values, axis=0)) == [4]
    assert shown(mean(column([NAN]), axis=0)) == [None]


@given(st.integers(1, 40), st.integers(-3, 60), st.integers(0, 500), st.integers(1, 700))
def test_means_of_many_are_those_of_each(slots: int, width: int, newest: int, size: int) -> None:
    values = np.arange(slots * size, dtype=np.float32).reshape(slots, size) % 97
    means = resampled(values, width, newest)
    assert 1 <= len(means) <= max(1, width)
    assert means.shape[1] == size
    last = resampled(values[:, -1:], width, newest)
    np.testing.assert_array_equal(means[:, -1:], last)
    assert means.min() >= values.min()
    assert means.max() <= values.max()


def test_the_span_of_a_plot_is_at_least_what_was_asked_for() -> None:
    assert [plot_span(120, width) for width in (1, 7, 60, 119, 120, 121, 500)] == [
        120, 126, 120, 238, 120, 121, 500,
    ]  # fmt: skip
    assert plot_span(120, 0) == 0
