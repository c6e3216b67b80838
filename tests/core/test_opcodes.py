"""The counter counts work, not time."""

from __future__ import annotations

from tests.core.opcodes import count_opcodes


def test_a_loop_ten_times_as_long_counts_about_ten_times_as_much() -> None:
    short = count_opcodes(lambda: [number for number in range(100)])  # noqa: C416  a Python loop
    long = count_opcodes(lambda: [number for number in range(1_000)])  # noqa: C416  a Python loop
    assert 8 < long / short < 12


def test_the_same_call_counts_the_same_twice() -> None:
    assert count_opcodes(lambda: sum(range(9))) == count_opcodes(lambda: sum(range(9))) > 0
