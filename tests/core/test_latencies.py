"""The last durations of a worker and their quantiles."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.latencies import KEPT, Latencies
from tests.core.opcodes import count_opcodes


def of(*durations_s: float) -> Latencies:
    latencies = Latencies()
    for duration_s in durations_s:
        latencies.add(duration_s)
    return latencies


@pytest.mark.parametrize(
    ("durations_s", "p50_s", "p99_s"),
    [
        ((), None, None),
        ((2.0,), 2.0, 2.0),
        ((3.0, 1.0), 1.0, 3.0),
        ((3.0, 1.0, 2.0), 2.0, 3.0),
        (tuple(float(n) for n in range(100, 0, -1)), 50.0, 99.0),
        ((9.0,) + (1.0,) * 99, 1.0, 1.0),
        ((9.0, 9.0) + (1.0,) * 98, 1.0, 9.0),
        ((9.0,) * 200 + (1.0,) * 100, 1.0, 1.0),
    ],
)
def test_quantiles_are_durations_that_were_seen(
    durations_s: tuple[float, ...], p50_s: float | None, p99_s: float | None
) -> None:
    assert of(*durations_s).quantiles == (p50_s, p99_s)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=3 * KEPT))
def test_only_the_newest_count(durations_s: list[float]) -> None:
    latencies = of(*durations_s)
    ordered = sorted(durations_s[-KEPT:])
    assert len(latencies) == len(ordered) <= KEPT
    count = len(ordered)
    assert latencies.quantiles == (
        ordered[ceil(count / 2) - 1],
        ordered[ceil(count * 99 / 100) - 1],
    )


def test_looking_does_not_sort() -> None:
    latencies = of(*(float(n) for n in range(KEPT)))
    assert count_opcodes(lambda: latencies.quantiles) < 40
    assert count_opcodes(lambda: latencies.add(0.5)) < 60
