"""The invisible tail of an answer is consumed whole, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from miles_router.core.radix import marks
from miles_router.core.trajectory.finding import find_ids
from tests.core.trajectory.cases import (
    TENANT,
    A,
    B,
    C,
    Q,
    Rig,
    new_turn,
    run_of,
    tokens_of,
)

NL, U, S = 10, ord("U"), ord("s")
STOP = [NL, U, S]  # the stop string "\nUs", in as many tokens as letters

callers = pytest.mark.parametrize("session", ["s", None])


def trimmed(session: str | None, *, shown: str = "ab") -> Rig:
    """An answer `ab`, behind which a stop string was trimmed."""
    rig = Rig()
    rig.answer("q", [A, B, *STOP], shown=shown, session=session)
    return rig


@callers
@pytest.mark.parametrize(
    ("behind", "inherited", "rest"),
    [
        ("", 3, ""),
        ("c", 3, "c"),
        # It begins like the tail: in its first token, in all but the last, inside of the last.
        ("\n", 3, "\n"),
        ("\nTool", 3, "\nTool"),
        ("\nU", 3, "\nU"),
        ("\nU: x", 3, "\nU: x"),
        ("\nUs", 6, ""),
        ("\nUser: x", 6, "er: x"),
    ],
)
def test_a_text_that_begins_like_the_tail_drops_it(
    session: str | None, behind: str, inherited: int, rest: str
) -> None:
    rig = trimmed(session)
    found = rig.find(f"qab{behind}", session)
    assert (found.inherited, found.rest.decode()) == (inherited, rest)


@callers
def test_so_do_ids(session: str | None) -> None:
    namespace = trimmed(session).store.namespaces[TENANT]
    for ids, inherited in (
        ([Q, A, B], 3),
        ([Q, A, B, NL], 3),
        ([Q, A, B, NL, C], 3),
        ([Q, A, B, NL, U, C], 3),
        ([Q, A, B, *STOP], 6),
        ([Q, A, B, *STOP, C], 6),
    ):
        assert find_ids(namespace, np.array(ids, "<i4"), session).inherited == inherited


@callers
def test_what_was_tokenized_in_its_place_has_mask_0(session: str | None) -> None:
    rig = trimmed(session)
    rig.answer("qab\nTool", [C], session=session)
    reading = rig.read("qab\nToolc", session)
    assert tokens_of(reading) == [Q, A, B, *b"\nTool", C]
    assert reading.loss_mask.tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 1]


@callers
def test_where_other_samples_end_inside_the_tail_it_is_still_whole_or_nothing(
    session: str | None,
) -> None:
    rig = trimmed(session)
    rig.answer("q", [A, B, NL, C, C], shown="ab", session=session)  # parts the tail's node
    assert rig.find("qab\nx", session).inherited == 3
    assert rig.find("qab\nUx", session).inherited == 3
    assert rig.find("qab\nUsx", session).inherited == 6
    assert rig.find("qab\nccx", session).inherited == 6


def test_a_sample_that_shows_those_tokens_is_continued_from_them() -> None:
    rig = Rig()
    shown = rig.answer("q", [A, B, NL, U], session="s")
    rig.answer("q", [A, B, *STOP], shown="ab", session="s")
    found = rig.find("qab\nUx", "s")
    assert (found.parent, found.inherited) == (shown, 5)
    found = rig.find("qab\nx", "s")
    assert (found.parent, found.inherited) == (shown, 4)


@callers
def test_the_part_of_a_token_that_is_shown_does_not_make_a_tail_shorter(
    session: str | None,
) -> None:
    rig = Rig()
    rig.answer("q", [A, 257, C, C], shown="aa", session=session)  # abc, of which "a" is shown
    for text, inherited, rest in (
        ("qaa", 2, "a"),
        ("qaax", 2, "ax"),
        ("qaabcx", 2, "abcx"),
        ("qaabccx", 2, "abccx"),
        ("qaabcccx", 5, "x"),
    ):
        found = rig.find(text, session)
        assert (found.inherited, found.rest.decode()) == (inherited, rest)


@callers
def test_a_tail_that_ends_in_silence_is_consumed_with_its_last_letter(session: str | None) -> None:
    rig = Rig()
    output = run_of((A, "a"), (7, "<e>"), (8, ""))  # 8 began a character that never came
    turn = rig.store.add(TENANT, new_turn(run_of((Q, "q")), output, visible=1, session=session), 0)
    found = rig.find("qa<e>x", session)
    assert (found.parent, found.inherited) == (turn, 3)
    assert rig.find("qa<x", session).inherited == 2


@callers
def test_silence_before_a_tail_that_is_dropped_is_no_tail(session: str | None) -> None:
    rig = Rig()
    output = run_of((8, ""), (NL, "\n"), (U, "U"))
    rig.store.add(TENANT, new_turn(run_of((Q, "q")), output, visible=1, session=session), 0)
    assert rig.find("q\nUx", session).inherited == 4
    assert rig.find("q\nx", session).inherited <= 2


def test_of_many_turns_the_newest_that_is_not_in_its_tail_is_continued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks, "FEW", 2)
    rig = Rig()
    shown = rig.answer("q", [A, B, NL], session="s")
    for _ in range(5):
        rig.answer("q", [A, B, *STOP], shown="ab", session="s")
    assert rig.find("qab\nx", "s").parent is shown
