from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.marks import (
    FEW,
    Crowd,
    Wanted,
    copied,
    is_in_tail,
    size_bytes_of,
    with_turn,
    without_turn,
)
from miles_router.core.trajectory.store import TrajectoryStore
from tests.core.trajectory.cases import TENANT, limits, new_turn, run_of

if TYPE_CHECKING:
    from miles_router.core.radix.marks import Marks
    from miles_router.core.trajectory.turn import Turn

SESSIONS = st.lists(st.sampled_from([None, "a", "b"]), max_size=3 * FEW)


def turns_of(sessions: list[str | None]) -> list[Turn]:
    """Turns with the numbers 1, 2, ..."""
    store = TrajectoryStore(limits())
    output = run_of((1, "x"))
    return [store.add(TENANT, new_turn(output=output, session=one), 0.0) for one in sessions]


def marked(turns: list[Turn]) -> Marks:
    marks: Marks = ()
    for turn in turns:
        marks = with_turn(marks, turn)
    return marks


def test_a_few_turns_are_a_tuple_and_many_a_crowd() -> None:
    turns = turns_of([None] * (FEW + 1))
    assert marked(turns[:FEW]) == tuple(turns[:FEW])
    many = marked(turns)
    assert isinstance(many, Crowd)
    assert list(many) == turns
    # A turn that comes and goes at the limit does not build an index each time.
    assert without_turn(many, turns[-1]) is many
    for turn in turns[FEW // 2 : FEW]:
        many = without_turn(many, turn)
    assert many == tuple(turns[: FEW // 2])


def test_copies_do_not_share_what_can_be_changed() -> None:
    turns = turns_of(["a"] * (2 * FEW))
    for count in (3, 2 * FEW - 1):
        marks = marked(turns[:count])
        copy = copied(marks)
        assert list(with_turn(copy, turns[-1])) == [*turns[:count], turns[-1]]
        assert list(marks) == turns[:count]
        assert len(Wanted("a").own(marks)) == count


@given(sessions=SESSIONS, gone=st.sets(st.integers(0, 3 * FEW)), shuffled=st.randoms())
def test_marks_are_a_sorted_list(sessions, gone, shuffled) -> None:  # type: ignore[no-untyped-def]
    turns = turns_of(sessions)
    order = [*turns]
    shuffled.shuffle(order)
    marks = marked(order)
    left = [turn for place, turn in enumerate(turns) if place not in gone]
    for turn in order:
        if turn not in left:
            marks = without_turn(marks, turn)
    assert list(marks) == left
    for session in (None, "a", "b", "c"):
        own = [turn for turn in left if session in {None, turn.session}]
        assert Wanted(session).newest(marks) is (own[-1] if own else None)
        assert list(Wanted(session).own(marks)) == own
        for among in (turns[::3], turns[:2], []):
            chosen = [turn for turn in own if turn in among]
            assert Wanted(session, among).newest(marks) is (chosen[-1] if chosen else None)
            assert list(Wanted(session, among).own(marks)) == chosen


def test_a_tail_is_not_cut() -> None:
    store = TrajectoryStore(limits())
    output = run_of((1, "a"), (2, "<e>"), (3, "\n"), (4, ""))  # the last token shows nothing
    turn = store.add(TENANT, new_turn(output=output, visible=1, session="s"), 0.0)
    all_shown = store.add(TENANT, new_turn(output=output, session="s"), 0.0)
    places = range(turn.end + 1)
    assert [is_in_tail(turn, depth) for depth in places] == [False, False, True, False, False]
    assert not any(is_in_tail(all_shown, depth) for depth in places)
    newest = [Wanted("s").newest_cut((all_shown, turn), depth) for depth in places]
    assert newest == [turn, turn, all_shown, turn, turn]
    assert Wanted("s").newest_cut((turn,), 2) is None


def test_turns_of_one_number_are_told_apart() -> None:
    turns = turns_of(["a", "b", "a"])
    turns[1].number = turns[2].number = 1
    crowd = Crowd(turns)
    crowd.remove(turns[1])
    assert list(crowd) == [turns[0], turns[2]]
    assert turns[1] not in crowd
    assert turns[2] in crowd


@pytest.mark.parametrize("count", [0, 1, 2, FEW, FEW + 1, 3 * FEW])
def test_size_grows_with_the_turns(count: int) -> None:
    turns = turns_of([None] * (3 * FEW))
    sizes = [size_bytes_of(marked(turns[:size])) for size in range(count + 1)]
    # A turn alone is a tuple that all its places share: it is part of the turn's size.
    assert sizes[:2] == [0, 0][: count + 1]
    assert sizes[1:] == sorted(set(sizes[1:]))


def test_a_turn_that_is_alone_shares_its_tuple() -> None:
    turns = turns_of([None, None])
    alone = (turns[0],)
    assert with_turn((), turns[0], alone) is alone
    assert with_turn(alone, turns[1], (turns[1],)) == tuple(turns)
    assert with_turn((), turns[0]) == alone


def test_the_newest_of_a_session_is_found_without_asking_the_others() -> None:
    turns = turns_of([f"s{number}" for number in range(5_000)])
    crowd = marked(turns)
    asked = []

    class Asked:
        """Counts comparisons with the session."""

        def __eq__(self, other: object) -> bool:
            asked.append(other)
            return other == "s4"

        def __hash__(self) -> int:
            return hash("s4")

    assert Wanted(Asked()).newest(crowd) is turns[4]  # type: ignore[arg-type]
    assert len(asked) <= 3
