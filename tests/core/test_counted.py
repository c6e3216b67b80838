from __future__ import annotations

from miles_router.core.counted import counted, noun


def test_counts_have_their_noun() -> None:
    assert counted(1, "request") == "1 request"
    assert counted(0, "request") == "0 requests"
    assert counted(1234, "trajectory", "trajectories") == "1,234 trajectories"


def test_a_noun_alone_goes_with_a_count_of_any_form() -> None:
    assert noun(1, "turn") == "turn"
    assert noun(12_300, "turn") == "turns"
