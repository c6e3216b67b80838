from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.tui.series import Counts, Levels, mean, plot_span, resampled

NAN = math.nan


def shown(values: object) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 3) for value in values]  # type: ignore[attr-defined]


def test_a_slot_is_the_mean_of_its_values() -> None:
    series = Levels(3)
    series.take(10)
    series.take(20)
    series.advance(1)
    series.take(4)
    assert shown(series.values) == [None, 15, 4]


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
    series = Levels(3)
    series.take(5)
    series.advance(slots)
    assert shown(series.values) == kept


def test_counts_add_up_and_their_gaps_are_zero() -> None:
    series = Counts(4)
    series.add(2)
    series.add(3)
    series.advance(2)
    series.add(1)
    assert shown(series.values) == [0, 5, 0, 1]
    assert series.newest(2) == 1
    assert series.newest(3) == series.sum == 6
    series.advance(1)
    assert series.sum == 6
    series.advance(1)
    assert series.sum == 1
    series.advance(99)
    assert series.sum == 0


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=30))
def test_the_sum_is_that_of_all_slots(steps: list[tuple[int, int]]) -> None:
    series = Counts(5)
    for slots, count in steps:
        series.advance(slots)
        series.add(count)
        assert series.sum == sum(series.values)
        assert len(series.values) == 5


def test_means_over_equal_parts() -> None:
    values = [1, 2, 3, 4, 5, 6]
    assert shown(resampled(values, 6, newest=5)) == [1, 2, 3, 4, 5, 6]
    assert shown(resampled(values, 99, newest=5)) == [1, 2, 3, 4, 5, 6]
    assert shown(resampled(values, 3, newest=5)) == [1.5, 3.5, 5.5]
    assert shown(resampled(values, 1, newest=5)) == [3.5]


def test_parts_stay_where_they_are_while_time_goes_on() -> None:
    # Seconds 0 to 6 in slots of which six are kept: the newest part has one second, then two.
    assert shown(resampled([1, 2, 3, 4, 5, 6], 3, newest=6)) == [2.5, 4.5, 6]
    assert shown(resampled([2, 3, 4, 5, 6, 8], 3, newest=7)) == [2.5, 4.5, 7]


def test_what_is_known_counts() -> None:
    values = [NAN, NAN, 2, NAN, 4, 6]
    assert shown(resampled(values, 3, newest=5)) == [None, 2, 5]
    assert shown([mean(values), mean([NAN])]) == [4, None]


@given(st.lists(st.integers(0, 96), min_size=1), st.integers(-3, 60), st.integers(0, 500))
def test_there_are_at_most_as_many_means_as_asked_for(
    values: list[int], width: int, newest: int
) -> None:
    means = resampled(values, width, newest)
    assert 1 <= len(means) <= max(1, width)
    assert min(values) <= min(means) <= max(means) <= max(values)


def test_the_span_of_a_plot_is_at_least_what_was_asked_for() -> None:
    assert [plot_span(120, width) for width in (1, 7, 60, 119, 120, 121, 500)] == [
        120, 126, 120, 238, 120, 121, 500,
    ]  # fmt: skip
    assert plot_span(120, 0) == 0
