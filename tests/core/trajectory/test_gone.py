from __future__ import annotations

from miles_router.core.trajectory.gone import Gone


def test_what_went_is_known_with_its_reason_to_its_tenant() -> None:
    gone = Gone()
    gone.add("one", 7, "ttl")
    gone.add("one", "t1", "evicted")
    assert gone.reason("one", 7) == "ttl"
    assert gone.reason("one", "t1") == "evicted"
    assert gone.reason("two", 7) is None
    assert gone.reason("one", 8) is None
    assert gone.reason("one", "7") is None


def test_the_latest_are_remembered() -> None:
    gone = Gone(remembered=3)
    for key in range(3):
        gone.add("t", key, "ttl")
    gone.add("t", 0, "version")  # once more: it is the latest, and counts once
    gone.add("t", 3, "evicted")
    assert len(gone) == 3
    assert [gone.reason("t", key) for key in range(4)] == ["version", None, "ttl", "evicted"]
    for key in range(1_000):
        gone.add("t", key, "ttl")
        assert len(gone) == 3
