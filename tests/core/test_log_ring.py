"""The newest lines of the log."""

from __future__ import annotations

import pytest

from miles_router.core.log_ring import MAX_KEPT, LogLine, LogRing


def ring_of(count: int) -> LogRing:
    ring = LogRing()
    for number in range(1, count + 1):
        ring.add(float(number), "info", f"line {number}")
    return ring


def test_an_empty_ring() -> None:
    assert (LogRing().last_seq, LogRing().since(0), LogRing().since(7)) == (0, [], [])


def test_lines_are_numbered_and_kept_as_they_came() -> None:
    ring = LogRing()
    ring.add(12.5, "warning", "retry why=broken")
    ring.add(13.0, "error", "failed\nTraceback")
    assert ring.since(0) == [
        LogLine(1, 12.5, "warning", "retry why=broken"),
        LogLine(2, 13.0, "error", "failed\nTraceback"),
    ]
    assert ring.last_seq == 2


@pytest.mark.parametrize(
    ("kept", "since", "first", "count"),
    [
        (5, 0, 1, 5),
        (5, 3, 4, 2),
        (5, 4, 5, 1),
        (5, 5, None, 0),
        (5, 99, None, 0),
        (MAX_KEPT + 10, 0, 11, MAX_KEPT),  # what is older is gone
        (MAX_KEPT + 10, 10, 11, MAX_KEPT),
        (MAX_KEPT + 10, 11, 12, MAX_KEPT - 1),
        (MAX_KEPT + 10, MAX_KEPT + 9, MAX_KEPT + 10, 1),
    ],
)
def test_lines_after_a_number(kept: int, since: int, first: int | None, count: int) -> None:
    lines = ring_of(kept).since(since)
    assert len(lines) == count
    assert [line.seq for line in lines[:1]] == ([] if first is None else [first])
    assert [line.seq for line in lines] == list(range(lines[0].seq, kept + 1)) if lines else True


def test_what_was_read_does_not_change() -> None:
    ring = ring_of(3)
    lines = ring.since(0)
    ring.add(9.0, "info", "more")
    assert len(lines) == 3
