from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from miles_router.core.radix import marks, match
from miles_router.core.radix.children import children_that_may_follow
from miles_router.core.radix.marks import Wanted
from miles_router.core.radix.match import match_ids, match_text
from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.trajectory.namespace import Namespace
from miles_router.core.trajectory.paths import paths_to
from tests.core.trajectory.cases import TENANT, new_turn, run_of

if TYPE_CHECKING:
    from miles_router.core.radix.match import Made, Match
    from miles_router.core.radix.node import Node
    from miles_router.core.trajectory.turn import Turn


class Stored:
    """Turns of one namespace, numbered as they come."""

    def __init__(self) -> None:
        self.namespace = Namespace(TENANT)
        self.root = self.namespace.tree.root

    def add(self, prompt: TokenRun = EMPTY, output: TokenRun = EMPTY, **how: object) -> Turn:
        new = new_turn(prompt, output, **how)  # type: ignore[arg-type]
        return self.namespace.add_turn(new, self.namespace.turns + 1)

    def text(self, text: str, session: str | None = None) -> Match:
        return match_text(self.root, text.encode(), Wanted(session))

    def ids(self, *ids: int, session: str | None = None) -> Match:
        return match_ids(self.root, np.array(ids, dtype=np.int32), Wanted(session))


def made_of(found: Match) -> tuple[int, int, int] | None:
    """Turn, depth and size of what was made."""
    return made_of_place(found.made)


def made_of_place(made: Made | None) -> tuple[int, int, int] | None:
    return None if made is None else (made.turn.number, made.depth, made.size_bytes)


Q, A, B, C = run_of((9, "q")), run_of((1, "a")), run_of((2, "b")), run_of((3, "c"))
AB = run_of((4, "ab"))
HALF, EMOJI = run_of((5, "")), run_of((5, ""), (6, "é"))


@pytest.mark.parametrize(
    ("text", "expected", "furthest"),
    [
        ("", None, 0),
        ("x", None, 0),
        ("q", None, 1),
        ("qa", (1, 2, 2), 2),
        ("qax", (1, 2, 2), 2),
        ("qab", (1, 3, 3), 3),
        ("qabcx", (1, 4, 4), 4),
        ("qabcde", (1, 5, 6), 6),
        ("qabcd", (1, 4, 4), 4),  # inside of the token `de`
    ],
)
def test_a_cut_falls_behind_a_whole_token(
    text: str, expected: tuple[int, int, int] | None, furthest: int
) -> None:
    stored = Stored()
    stored.add(Q, run_of((1, "a"), (2, "b"), (3, "c"), (7, "de")))
    found = stored.text(text)
    assert made_of(found) == expected
    assert found.furthest.size_bytes == furthest


def test_the_branch_wins_on_which_produced_tokens_agree_furthest() -> None:
    stored = Stored()
    stored.add(Q + A + B)  # a prompt agrees further, but nothing of it was produced
    stored.add(Q, A)
    assert made_of(stored.text("qab")) == (2, 2, 2)
    assert stored.text("qab").furthest.size_bytes == 3


def test_of_equal_ones_the_branch_wins_that_agrees_further() -> None:
    stored = Stored()
    first = stored.add(Q, A + B)
    stored.add(C, EMPTY, parent=first)
    stored.add(Q, AB)
    assert made_of(stored.text("qabcx")) == (1, 3, 3)
    assert made_of(stored.text("qabx")) == (3, 2, 3)


def test_what_was_produced_counts_more_than_how_far_a_prompt_agrees() -> None:
    stored = Stored()
    first = stored.add(Q, A)
    stored.add(B + C + B, EMPTY, parent=first)
    stored.add(Q, AB)
    assert made_of(stored.text("qabcb")) == (3, 2, 3)
    assert stored.text("qabcb").furthest.size_bytes == 5
    assert [made_of_place(made) for _, made in stored.text("qabcb").whole] == [(1, 2, 2)]


def test_a_whole_answer_is_continued_rather_than_one_that_is_cut() -> None:
    stored = Stored()
    stored.add(Q, A)
    stored.add(Q, A + B)
    stored.add(Q, A + C)
    for text in ("qa", "qax"):
        assert made_of(stored.text(text)) == (1, 2, 2)
    assert made_of(stored.text("qab")) == (2, 3, 3)
    assert made_of(stored.ids(9, 1, 8)) == (1, 2, 2)


def test_an_answer_whose_stop_string_was_trimmed_is_whole() -> None:
    stored = Stored()
    stored.add(Q, A + run_of((7, "bcd")), visible=1, partial=b"b")
    stored.add(Q, A + run_of((8, "x")))
    assert made_of(stored.text("qab")) == (1, 2, 2)
    assert made_of(stored.text("qabz")) == (1, 2, 2)
    assert made_of(stored.text("qaz")) == (2, 2, 2)
    for text, is_whole in (("qa", False), ("qab", True), ("qabz", True), ("qaz", False)):
        made = stored.text(text).made
        assert made is not None
        assert made.is_whole is is_whole


def test_of_trimmed_stop_strings_the_longest_that_agrees_is_whole() -> None:
    stored = Stored()
    stored.add(Q, A + run_of((7, "bcd")), visible=1, partial=b"bc")
    stored.add(Q, A + run_of((7, "bcd")), visible=1, partial=b"b")
    stored.add(Q, A + run_of((8, "x")), visible=1)
    for text, turn in (("qabcz", 1), ("qabz", 2), ("qaz", 3)):
        assert made_of(stored.text(text)) == (turn, 2, 2)


def test_an_answer_of_which_only_a_part_of_a_token_is_shown() -> None:
    stored = Stored()
    stored.add(Q, run_of((7, "bcd")), visible=0, partial=b"b")
    assert made_of(stored.text("qb")) is None
    assert made_of(stored.text("qbx")) is None
    assert made_of(stored.text("qbcd")) == (1, 2, 4)


def test_of_whole_answers_the_newest_wins_also_where_one_ends_with_silence() -> None:
    stored = Stored()
    stored.add(Q, A + HALF)
    stored.add(Q, A)
    assert made_of(stored.text("qax")) == (2, 2, 2)
    stored.add(Q, A + HALF)
    assert made_of(stored.text("qax")) == (3, 3, 2)


def test_of_equal_ones_the_newest_wins() -> None:
    stored = Stored()
    stored.add(Q, A, session="one")
    stored.add(Q, A, session="two")
    assert made_of(stored.text("qa")) == (2, 2, 2)
    assert made_of(stored.text("qa", "one")) == (1, 2, 2)
    assert made_of(stored.text("qa", "three")) is None


def test_tokens_that_show_nothing_count_where_an_answer_may_be_cut_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(marks, "CUT_TOKENS", 2)
    stored = Stored()
    stored.add(Q, HALF + HALF + A + B + C)
    stored.add(Q + HALF + HALF + B, C)
    # One token that shows text agrees with the second prompt: behind two of the first answer.
    assert made_of(stored.text("qbx")) == (1, 3, 1)


def test_another_sample_does_not_begin_with_a_token_that_shows_nothing() -> None:
    stored = Stored()
    stored.add(Q, EMOJI)
    stored.add(Q, HALF + A)
    # Two answers begin with the same half of a character, so a node ends behind it.
    assert made_of(stored.text("q")) is None
    assert made_of(stored.text("qx")) is None
    assert made_of(stored.text("qé")) == (1, 3, 3)
    assert made_of(stored.text("qax")) == (2, 3, 2)


def test_tokens_that_show_nothing_go_with_the_text_behind_them() -> None:
    stored = Stored()
    first = stored.add(Q, A + HALF + HALF)
    stored.add(B + C, A, parent=first)
    stored.add(Q, A + HALF + C)
    # The whole first answer, with what shows nothing at its end, is continued.
    for text in ("qa", "qax", "qab", "qabx"):
        found = stored.text(text)
        assert found.made is not None
        assert (found.made.turn, found.made.depth) == (first, 4)
    assert made_of(stored.text("qac")) == (3, 4, 3)


def test_an_answer_that_shows_nothing_is_continued_only_by_what_follows_it() -> None:
    stored = Stored()
    first = stored.add(Q, HALF)
    assert made_of(stored.text("q")) is None
    assert made_of(stored.text("qb")) is None
    stored.add(B, C, parent=first)
    assert made_of(stored.text("q")) is None
    assert made_of(stored.text("qb")) == (1, 2, 1)
    assert made_of(stored.text("qbc")) == (2, 4, 3)
    later = stored.add(B + C + B, C, parent=first)
    stored.namespace.remove_turn(later)
    stored.add(B + C, A, parent=first)
    assert made_of(stored.text("qbx")) == (1, 2, 1)  # inside of a prompt behind it


def test_where_the_whole_text_is_spelled() -> None:
    stored = Stored()
    stored.add(Q + A + B, C)
    stored.add(Q + AB, C)
    stored.add(Q + A + B, HALF + C)
    whole = stored.text("qab").whole
    assert sorted(place.depth for place, _ in whole) == [2, 3]
    assert {place.size_bytes for place, _ in whole} == {3}
    stops = {node.end for node in stored.text("qab").stops}
    assert stops == {2, 3}
    assert stored.text("qabx").whole == []
    stored.add(Q + A + B, HALF + A)  # a node ends behind the token that shows nothing
    assert len(stored.text("qab").whole) == 2
    assert len(stored.text("qab").stops) == 3


def test_all_prompts_that_end_with_a_text_are_told() -> None:
    stored = Stored()
    stored.add(Q + HALF, A)  # a tokenizer that ends prompts with a token of its own
    stops = [node.end for node in stored.text("q").stops]
    assert stops == [2]
    assert [place.depth for place, _ in stored.text("q").whole] == [1]


def test_ids_are_found_whatever_they_show() -> None:
    stored = Stored()
    first = stored.add(Q, run_of((1, "a"), (7, "<e>")))
    stored.add(Q, run_of((1, "a"), (7, "")))
    assert made_of(stored.ids(9)) is None
    assert made_of(stored.ids(9, 1)) == (2, 2, 2)
    found = stored.ids(9, 1, 7, 5)
    assert made_of(found) in {(1, 3, 3), (2, 3, 3)}
    assert made_of(stored.ids(8, 1)) is None
    assert made_of(stored.ids()) is None
    later = stored.add(B, C, parent=first)
    assert made_of(stored.ids(9, 1, 7, 2, 3)) == (later.number, 5, 5)
    assert made_of(stored.ids(9, 1, 7, 2, 8)) == (first.number, 3, 3)
    assert [place.depth for place, _ in stored.ids(9, 1, 7).whole] == [3, 3]
    assert [place.depth for place, _ in stored.ids(9, 1, 7, 2).whole] == [4]


# -- cost, in nodes and not in time ----------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for each node that is visited, and one for each child that is looked at."""
    visits: list[int] = []

    def asked(node: Node, text: bytes, position: int) -> list[Node]:
        found = list(children_that_may_follow(node, text, position))
        visits.append(1 + len(found))
        return found

    monkeypatch.setattr(match, "children_that_may_follow", asked)
    return visits


def test_cost_does_not_grow_with_prompts_that_begin_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = counted(monkeypatch)
    costs = {}
    shared = TokenRun.of(range(500), [4] * 500, b"long" * 500)
    for number in (100, 10_000):
        stored = Stored()
        for place in range(number):
            prompt = shared + run_of((1_000 + place, f"{place:05}"), (1, "?"))
            stored.add(prompt, A + B if place % 2 else AB)
        visits.clear()
        found = stored.text("long" * 500 + "00042?abx")
        assert made_of(found) == (43, 503, 2_008)
        costs[number] = sum(visits)
    assert costs[10_000] == costs[100] <= 10


def test_cost_does_not_grow_with_samples_of_one_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = counted(monkeypatch)
    stored = Stored()
    for number in range(10_000):
        stored.add(Q, run_of((10_000 + number, f"{number:05}"), (1, "a")))
    visits.clear()
    assert made_of(stored.text("q00042ax")) == (43, 3, 7)
    assert sum(visits) <= 5


def test_cost_does_not_grow_with_equal_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = counted(monkeypatch)
    stored = Stored()
    for number in range(3_000):
        stored.add(Q, A + B, session=f"s{number}", visible=1, partial=b"b"[: number % 2])
    visits.clear()
    assert made_of(stored.text("qaz", "s42")) == (43, 2, 2)
    assert made_of(stored.text("qaz", "s43")) == (44, 2, 2)
    assert sum(visits) <= 12


def spelled_at_random(stored: Stored, number: int) -> list[Turn]:
    """Samples of `q` and 60 times `=`, nearly each in ids of its own."""
    rng, turns = random.Random(7), []
    for place in range(number):
        lengths: list[int] = []
        while sum(lengths) < 60:
            lengths.append(min(rng.choice([1, 2, 3, 4, 8]), 60 - sum(lengths)))
        output = TokenRun.of(lengths, lengths, b"=" * 60)
        turns.append(stored.add(Q, output, session=f"s{place}"))
    return turns


def test_cost_does_not_grow_with_the_ways_to_spell_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = counted(monkeypatch)
    text, costs = "q" + "=" * 60, {}
    for number in (500, 4_000):
        stored = Stored()
        turns = spelled_at_random(stored, number)
        assert stored.namespace.tree.nodes > number  # most of them are branches
        for asked in (text, text + " and more", text[:-1]):
            visits.clear()
            found = stored.text(asked)
            costs[number, asked] = len(visits)
            assert found.made is not None
            assert found.made.size_bytes >= len(text) - 3
            if asked != text[:-1]:  # of whole answers the newest is on a branch that is followed
                assert (found.made.turn, found.made.is_whole) == (turns[-1], True)
            assert len(found.whole) <= 1 + match.MAX_FORKS
            assert len({place.node for place, _ in found.whole}) == len(found.whole)
    assert max(costs.values()) < 1_000
    assert costs[4_000, text] < 2 * costs[500, text]


@pytest.mark.parametrize("session", ["s42", "s999"])
def test_a_walk_is_kept_to_some_paths(monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    stored = Stored()
    turns = spelled_at_random(stored, 1_000)
    turn = turns[int(session[1:])]
    entered: list[Node] = []
    through = match._through

    def noted(branch: match._Branch, child: Node, text: bytes, wanted: Wanted) -> match._Branch:
        entered.append(child)
        return through(branch, child, text, wanted)

    monkeypatch.setattr(match, "_through", noted)
    for text in ("q" + "=" * 60, "q" + "=" * 60 + "!", "q" + "=" * 29):
        entered.clear()
        found = match_text(stored.root, text.encode(), Wanted(session), paths_to([turn]))
        assert found.made is not None
        assert found.made.turn is turn
        assert found.made.size_bytes > min(len(text), 61) - 8
        assert len(entered) <= len(paths_to([turn])) < 10
    assert len(match_text(stored.root, b"q" + b"=" * 60, Wanted(), paths_to([turn])).whole) == 1


@pytest.mark.parametrize("forks", [0, 1, 3])
def test_of_more_branches_those_of_the_newest_turns_are_followed(
    monkeypatch: pytest.MonkeyPatch, forks: int
) -> None:
    monkeypatch.setattr(match, "MAX_FORKS", forks)
    stored = Stored()
    for number in range(9):
        stored.add(Q, run_of((number, "ab")), session=f"s{number % 3}")
    found = stored.text("qabx")
    assert made_of(found) == (9, 2, 3)
    assert made_of(stored.text("qabx", "s0")) == (7, 2, 3)
    assert made_of(stored.text("qax")) is None
    assert len(stored.text("qab").whole) == 1 + forks
    assert {made.turn.number for _, made in stored.text("qab").whole if made} == {
        *range(9 - forks, 10)
    }


def test_a_dialogue_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = counted(monkeypatch)
    stored = Stored()
    turn = None
    for _ in range(5_000):
        turn = stored.add(Q, A, parent=turn)
    visits.clear()
    assert made_of(stored.text("qa" * 5_000 + "x")) == (5_000, 10_000, 10_000)
    assert len(visits) == 10_001
