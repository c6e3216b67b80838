"""The table of session homes: use, time to live, bound."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.affinity import MAX_SESSION_CHARS, AffinityTable

A, B, C, D = (("t", name) for name in "abcd")


def test_a_key_has_a_home_from_when_it_settles_until_it_is_forgotten() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=10)
    assert table.home(A, 0.0) is None
    table.settle(A, "w1", 0.0)
    table.settle(A, "w2", 0.0)
    assert table.home(A, 0.0) == "w2"
    assert table.home(("other", "a"), 0.0) is None
    assert table.forget(A) is True
    assert table.forget(A) is False
    assert table.home(A, 0.0) is None


def test_use_prolongs_and_time_ends_it() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=10)
    table.settle(A, "w1", 0.0)
    assert table.home(A, 59.9) == "w1"
    assert table.home(A, 119.8) == "w1"
    assert table.home(A, 119.8 + 60.0) is None
    assert len(table) == 0


def test_asking_for_one_key_drops_all_that_are_over() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=10)
    for key in (A, B, C):
        table.settle(key, "w1", 0.0)
    table.home(B, 30.0)
    table.home(D, 60.0)
    assert len(table) == 1
    assert table.home(B, 60.0) == "w1"


def test_the_least_recently_used_key_goes_first() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=2)
    table.settle(A, "w1", 0.0)
    table.settle(B, "w1", 1.0)
    table.home(A, 2.0)
    table.settle(C, "w1", 3.0)
    assert [table.home(key, 3.0) for key in (A, B, C)] == ["w1", None, "w1"]


def test_settling_again_is_a_use() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=2)
    table.settle(A, "w1", 0.0)
    table.settle(B, "w1", 1.0)
    table.settle(A, "w2", 2.0)
    table.settle(C, "w1", 3.0)
    assert [table.home(key, 3.0) for key in (A, B, C)] == ["w2", None, "w1"]


def test_a_long_session_is_told_from_every_other() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=10)
    longest = "k" * MAX_SESSION_CHARS
    sessions = [longest, longest + "k", longest + "l", "\udcff" * 200, longest * 9]
    for number, session in enumerate(sessions):
        table.settle(("t", session), f"w{number}", 0.0)
    assert [table.home(("t", session), 0.0) for session in sessions] == [
        "w0",
        "w1",
        "w2",
        "w3",
        "w4",
    ]
    assert table.home(("other", sessions[1]), 0.0) is None
    assert [table.forget(("t", session)) for session in sessions] == [True] * 5
    assert len(table) == 0


def test_the_memory_of_a_session_does_not_grow_with_its_name() -> None:
    table = AffinityTable(ttl_s=60.0, max_keys=1000)
    tracemalloc.start()
    try:
        for number in range(500):
            table.settle(("t", f"{number:06d}" + "k" * 60_000), "w1", 0.0)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == 500
    assert held_bytes < 500 * 2000


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.floats(0.0, 30.0), st.booleans())),
    st.integers(1, 3),
)
def test_it_never_holds_more_than_it_may_nor_what_is_over(
    uses: list[tuple[tuple[str, str], float, bool]], max_keys: int
) -> None:
    table = AffinityTable(ttl_s=20.0, max_keys=max_keys)
    used_at: dict[tuple[str, str], float] = {}
    now = 0.0
    for key, pause_s, settles in uses:
        now += pause_s
        found = table.home(key, now)
        if found is not None:
            assert now - used_at[key] < 20.0
            used_at[key] = now
        if settles:
            table.settle(key, "w1", now)
            used_at[key] = now
        assert len(table) <= max_keys
