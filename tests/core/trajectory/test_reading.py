"""What is read back: the numbers of tokens.md's rules stand in the names of tests."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.trajectory.reading import (
    Missing,
    Reading,
    Span,
    read_path,
    read_text,
    read_turn,
    text_of,
    with_rest,
)
from miles_router.core.trajectory.turn import VersionSpan
from tests.core.trajectory.cases import (
    AB,
    ABC,
    BC,
    CD,
    TENANT,
    Rig,
    check_consistent,
    logprobs_of,
    mask_of,
    new_turn,
    run_of,
    tokens_of,
)
from tests.doubles.toy_tokenizer import EOS

A, B, C, D = b"abcd"
E_ACUTE = 261  # the merged token; its bytes are 0xC3 and 0xA9
Q = ord("q")


# -- bugs of the original --------------------------------------------------------------------------


def test_a_longer_spelling_loses_no_token() -> None:
    rig = Rig()
    rig.insert("ab", [A, B])
    rig.insert("abcd", [AB, C, D])
    assert tokens_of(rig.read("abcd")) == [AB, C, D]
    assert tokens_of(rig.read("ab")) == [A, B]
    check_consistent(rig.store)


def test_a_token_that_begins_like_a_stored_text_is_found() -> None:
    rig = Rig()
    rig.insert("a", [A])
    rig.store.add(TENANT, new_turn(output=run_of((300, "ab"))), 0.0)
    assert tokens_of(rig.read("ab")) == [300]


def test_two_spellings_of_one_text_are_two_candidates() -> None:
    rig = Rig()
    rig.insert("abc", [AB, C], rid="1")
    rig.insert("abc", [ABC], rid="2")
    found = rig.read("abc")
    assert (tokens_of(found), found.candidates) == ([ABC], 2)
    assert tokens_of(rig.read("abc", rid="1")) == [AB, C]
    assert rig.read("abc", rid="1").candidates == 1


def test_the_beginning_of_a_text_shares_its_edge() -> None:
    rig = Rig()
    words = run_of((1, "Hello"), (2, " world"))
    rig.store.add(TENANT, new_turn(words), 0.0)
    namespace = rig.store.namespaces[TENANT]
    found = rig.read("Hello")
    assert (tokens_of(found), found.is_exact) == ([1], True)
    rig.store.add(TENANT, new_turn(words.cut(0, 1)), 0.0)
    assert (namespace.tree.tokens, namespace.tree.nodes) == (2, 2)
    assert tokens_of(rig.read("Hello")) == [1]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_insertion_does_not_matter(order: tuple[int, int]) -> None:
    rig = Rig()
    runs = [run_of((300, "ab")), run_of((A, "a"), (CD, "cd"))]
    for place in order:
        rig.store.add(TENANT, new_turn(output=runs[place]), 0.0)
    assert tokens_of(rig.read("ab")) == [300]
    assert tokens_of(rig.read("acd")) == [A, CD]
    assert tokens_of(rig.read("a")) == [A]


def test_reading_what_is_not_there_changes_nothing() -> None:
    rig = Rig()
    rig.answer("ab", [C])
    before = (rig.store.size_bytes, rig.store.tokens, rig.store.turns, len(rig.store.gone))
    namespace = rig.store.namespaces[TENANT]
    nodes = (namespace.tree.nodes, dict(namespace.by_rid), list(namespace.trajectories))
    for number in range(1_000):
        rig.missing(f"unseen {number}")
        rig.find(f"ab unseen {number}")
        rig.read(f"abc and more {number}")
    assert before == (rig.store.size_bytes, rig.store.tokens, rig.store.turns, len(rig.store.gone))
    assert nodes == (namespace.tree.nodes, namespace.by_rid, list(namespace.trajectories))
    check_consistent(rig.store)


def test_a_generated_text_in_another_sessions_prompt_has_mask_0() -> None:
    rig = Rig()
    rig.answer("q", [A, B], session="one")
    other = rig.answer("qabcd", [C], session="two")
    assert other.parent is None
    found = rig.read("qabcdc", session="two")
    assert (tokens_of(found), mask_of(found)) == ([Q, ABC, D, C], [0, 0, 0, 1])
    assert mask_of(rig.read("qabcd", session="two")) == [0, 0, 0]
    assert mask_of(rig.read("qab", session="one")) == [0, 1, 1]
    assert rig.missing("qab", session="three").gone is None


# -- rules 2 and 3: what is two stays two ----------------------------------------------------------


def test_rule_2_the_same_text_with_other_ids_is_another_trajectory() -> None:
    rig = Rig()
    rig.store.add(TENANT, new_turn(output=run_of((53122, " Pant"), (316, "om"))), 0.0)
    rig.store.add(TENANT, new_turn(output=run_of((393, " P"), (30002, "antom"))), 0.0)
    found = rig.read(" Pantom")
    assert (tokens_of(found), found.candidates) == ([393, 30002], 2)
    assert rig.store.tokens == 4


def test_rule_3_the_same_tokens_of_two_versions_stay_two() -> None:
    rig = Rig()
    rig.answer("q", [A], rid="old", version="1", logprob=-1.0)
    rig.answer("q", [A], rid="new", version="2", logprob=-2.0)
    assert rig.store.tokens == 2
    for rid, version, logprob in (("old", "1", -1.0), ("new", "2", -2.0), (None, "2", -2.0)):
        found = rig.read("qa", rid=rid)
        assert (found.spans[-1].weight_version, found.logprobs[-1]) == (version, logprob)
        assert found.candidates == (2 if rid is None else 1)


def test_16_samples_of_one_prompt_are_each_read_exactly() -> None:
    rig = Rig()
    spellings = [[A, B, C], [AB, C], [A, BC], [ABC]]
    for number in range(16):
        ids = [*spellings[number % 4], D][: 4 if number < 12 else None]
        rig.answer("q", ids, session=f"s{number}", rid=f"r{number}", logprob=-1.0 - number)
    for number in range(16):
        ids = [Q, *spellings[number % 4], D]
        for named in ({"session": f"s{number}"}, {"rid": f"r{number}"}):
            found = rig.read("qabcd", **named)
            assert (tokens_of(found), found.candidates) == (ids, 1)
            assert found.logprobs[-1] == -1.0 - number
            assert found.rids == (f"r{number}",)
    found = rig.read("qabcd")
    assert (found.candidates, found.rids) == (16, ("r15",))
    assert rig.missing("qabcd", session="s1", rid="r2").gone is None


# -- rule 4: tenants and sessions ------------------------------------------------------------------


def test_rule_4_nothing_crosses_tenants() -> None:
    rig = Rig()
    rig.answer("q", [A, B], tenant="one", rid="r")
    assert rig.missing("qab", tenant="two").matched_bytes == 0
    rig.answer("x", [A], tenant="two")
    found = rig.missing("qab", tenant="two", rid="r")
    assert (found.matched_bytes, found.gone) == (0, None)
    assert rig.find("qabc", tenant="two").parent is None


def test_rule_4_without_a_session_equal_text_is_a_continuation() -> None:
    rig = Rig()
    rig.answer("q", [A, B])
    turn = rig.answer("qabd", [C])
    assert mask_of(rig.read("qabdc")) == [0, 1, 1, 0, 1]
    assert turn.parent is not None


# -- rule 10: tails that no text shows -------------------------------------------------------------


def test_rule_10_a_text_that_ends_with_the_answer_has_its_tail() -> None:
    rig = Rig()
    rig.answer("q", [A, EOS])
    found = rig.read("qa")
    assert (tokens_of(found), mask_of(found), found.is_exact) == ([Q, A, EOS], [0, 1, 1], True)


def test_rule_10_the_literal_of_a_tail_is_the_tail() -> None:
    rig = Rig()
    rig.answer("q", [A, EOS])
    rig.answer("q", [AB, EOS])
    found = rig.read("qa<e>")
    assert (tokens_of(found), mask_of(found), found.candidates) == ([Q, A, EOS], [0, 1, 1], 1)
    rig.answer("q", [A, EOS], rid="2")
    assert rig.read("qa<e>").candidates == 2
    assert rig.read("qa<e>", rid="2").candidates == 1
    rig.answer("qa<e>b", [C])
    found = rig.read("qa<e>bc")
    assert tokens_of(found) == [Q, A, EOS, B, C]
    assert mask_of(found) == [0, 1, 1, 0, 1]


def test_rule_10_a_text_that_goes_on_otherwise_drops_the_tail_there() -> None:
    rig = Rig()
    first = rig.answer("q", [A, EOS])
    second = rig.answer("qad", [C])
    assert tokens_of(rig.read("qadc")) == [Q, A, D, C]
    assert tokens_of(rig.read("qa")) == [Q, A, EOS]
    assert second.parent is first
    assert second.trajectory is not None
    assert (second.trajectory.id, first.trajectory) == ("t1", None)


def test_rule_10_a_stop_string_that_ended_inside_a_token_is_trimmed() -> None:
    rig = Rig()
    rig.answer("q", [A, CD], shown="ac")
    assert tokens_of(rig.read("qac")) == [Q, A, CD]
    assert tokens_of(rig.read("qacd")) == [Q, A, CD]
    found = rig.read("qacx")
    assert (tokens_of(found), found.rest) == ([Q, A], b"cx")
    assert (tokens_of(rig.read("qa")), rig.read("qa").is_exact) == ([Q, A], True)
    later = rig.answer("qacx", [B])
    assert tokens_of(rig.read("qacxb")) == [Q, A, C, ord("x"), B]
    assert later.trajectory is not None
    assert later.trajectory.id == "t1"


def test_rule_10_a_tail_of_which_the_text_shows_a_part_is_consumed_as_far() -> None:
    rig = Rig()
    rig.answer("q", [A, B, CD, D], shown="a")
    assert tokens_of(rig.read("qa")) == [Q, A, B, CD, D]
    found = rig.read("qabcx")
    assert (tokens_of(found), mask_of(found), found.rest) == ([Q, A, B], [0, 1, 1], b"cx")
    assert tokens_of(rig.read("qabcdd")) == [Q, A, B, CD, D]


# -- rule 11: tokens that text cannot tell apart ---------------------------------------------------


def test_rule_11_a_character_of_several_tokens_is_not_cut() -> None:
    rig = Rig()
    rig.answer("q", [A, 0xC3, 0xA9, B])
    assert tokens_of(rig.read("qaéb")) == [Q, A, 0xC3, 0xA9, B]
    assert tokens_of(rig.read("qaé")) == [Q, A, 0xC3, 0xA9]
    assert tokens_of(rig.read("qa")) == [Q, A]
    found = rig.read("qaè")
    assert (tokens_of(found), found.rest) == ([Q, A], "è".encode())


def test_rule_11_ids_that_are_no_text_are_returned_whole() -> None:
    rig = Rig()
    rig.answer("q", [A, 0xFF, 0xE2, 0x82])
    assert tokens_of(rig.read("qa\ufffd\ufffd")) == [Q, A, 0xFF, 0xE2, 0x82]
    found = rig.read("qa\ufffd\ufffdb")
    assert (tokens_of(found)[:3], found.rest) == ([Q, A, 0xFF], b"b")


def test_rule_11_no_cut_falls_into_a_lump() -> None:
    rig = Rig()
    # The worker's text disagrees with the ids from the second token on.
    rig.answer("q", [A, B, C, D], shown="aXYZ")
    assert tokens_of(rig.read("qaXYZ")) == [Q, A, B, C, D]
    found = rig.read("qaXYb")
    assert (tokens_of(found), found.rest) == ([Q, A], b"XYb")
    found = rig.read("qaXYZb")
    assert (tokens_of(found), found.rest) == ([Q, A, B, C, D], b"b")


def test_rule_11_where_a_cut_falls_does_not_depend_on_other_turns() -> None:
    rig = Rig()
    rig.answer("q", [A, 0xC3, 0xA9, B])
    before = tokens_of(rig.read("qax"))
    # It begins with the same half of a character, so the path is split behind that.
    rig.answer("q", [A, 0xC3, 0xFF, C], shown="a\ufffdc")
    assert tokens_of(rig.read("qax")) == before == [Q, A]
    assert tokens_of(rig.read("qaéb")) == [Q, A, 0xC3, 0xA9, B]


# -- rule 12: altered texts ------------------------------------------------------------------------


def test_rule_12_a_cut_answer_keeps_its_whole_tokens() -> None:
    rig = Rig()
    first = rig.answer("q", [A, BC, D, EOS], logprob=-1.0)
    second = rig.answer("qabx", [C], logprob=-2.0)
    found = rig.read("qabxc")
    assert tokens_of(found) == [Q, A, B, ord("x"), C]
    assert mask_of(found) == [0, 1, 0, 0, 1]
    expected = [math.nan, -1.0, math.nan, math.nan, -2.0]
    np.testing.assert_array_equal(found.logprobs, np.array(expected, dtype=np.float32))
    assert [turn.number for turn in found.turns] == [1, 2]
    # The original stays what it was, under its own name.
    assert tokens_of(rig.read("qabcd")) == [Q, A, BC, D, EOS]
    assert (first.trajectory, second.trajectory) != (None, None)
    assert first.trajectory is not second.trajectory


def test_rule_12_spans_say_what_is_exact_and_who_made_it() -> None:
    rig = Rig()
    rig.answer("q", [A], version="1")
    rig.answer("qad", [B], version="2")
    found = rig.read("qadb and more")
    assert found.rest == b" and more"
    assert not found.is_exact
    whole = with_rest(found, run_of((7, " and"), (8, " more")))
    assert tokens_of(whole) == [Q, A, D, B, 7, 8]
    assert mask_of(whole) == [0, 1, 0, 1, 0, 0]
    assert whole.spans == (
        Span(0, 1, "prompt", exact=True),
        Span(1, 2, "generated", exact=True, weight_version="1"),
        Span(2, 3, "prompt", exact=True),
        Span(3, 4, "generated", exact=True, weight_version="2"),
        Span(4, 6, "prompt", exact=False),
    )
    assert not whole.is_exact
    assert np.isnan(whole.logprobs[4:]).all()
    assert (whole.rest, whole.matched_bytes) == (b" and more", 4)


def test_what_a_worker_has_seen_needs_no_rest() -> None:
    rig = Rig()
    rig.answer("q", [A])
    rig.answer("qa tool result", [B])
    found = rig.read("qa tool result")
    assert (found.rest, found.is_exact) == (b"", True)
    assert sum(mask_of(found)) == 1
    assert tokens_of(found)[:2] == [Q, A]
    assert found.matched_bytes == len("qa tool result")


def test_what_is_seen_is_seen_by_those_who_may() -> None:
    rig = Rig()
    rig.answer("qabc", [D], session="one", rid="1")
    assert tokens_of(rig.read("q")) == [Q]
    assert tokens_of(rig.read("qabc", session="one")) == [Q, ABC]
    assert tokens_of(rig.read("qabc", rid="1")) == [Q, ABC]
    for named in ({"session": "two"}, {"rid": "2"}, {"session": "two", "rid": "1"}):
        assert rig.missing("qabc", **named).gone is None


def test_a_whole_text_counts_once_for_each_of_its_spellings() -> None:
    rig = Rig()
    for prompt in (run_of((AB, "ab"), (C, "c")), run_of((A, "a"), (BC, "bc"))):
        for output in (run_of((1, "x")), run_of((2, "y"))):
            rig.store.add(TENANT, new_turn(prompt, output, session="s"), 0.0)
    found = rig.read("abc")
    assert (found.candidates, mask_of(found)) == (2, [0, 0])
    assert rig.read("abc", session="s").candidates == 2
    assert rig.read("abcx").candidates == 2


# -- rule 13, and the shape of a reading -----------------------------------------------------------


def test_rule_13_no_log_probability_is_nan() -> None:
    rig = Rig()
    new = new_turn(run_of((Q, "q")), run_of((A, "a"), (B, "b")))
    unknown = logprobs_of([-0.25, math.nan])
    turn = rig.store.add(TENANT, dataclasses.replace(new, logprobs=unknown), 0.0)
    found = read_turn(turn)
    np.testing.assert_array_equal(found.logprobs, np.array([math.nan, -0.25, math.nan], "f4"))
    columns = (found.tokens, found.loss_mask, found.logprobs)
    assert [column.dtype.name for column in columns] == ["int32", "uint8", "float32"]


def test_one_answer_may_mix_versions() -> None:
    rig = Rig()
    new = new_turn(run_of((Q, "q")), run_of((A, "a"), (B, "b"), (C, "c")))
    spans = (VersionSpan("1", 0, 1), VersionSpan("2", 1, 3))
    rig.store.add(TENANT, dataclasses.replace(new, versions=spans), 0.0)
    versions = [(s.start, s.end, s.weight_version) for s in rig.read("qabc").spans]
    assert versions == [(0, 1, None), (1, 2, "1"), (2, 4, "2")]
    found = rig.read("qab")  # cut inside of the second span
    assert [(s.start, s.end, s.weight_version) for s in found.spans] == [*versions[:2], (2, 3, "2")]


def test_a_chain_is_read_as_far_as_any_later_turn_kept_it() -> None:
    rig = Rig()
    one = rig.store.add(TENANT, new_turn(EMPTY, run_of((1, "a"), (2, "b"), (3, "c"))), 0.0)
    two = rig.store.add(TENANT, new_turn(EMPTY, run_of((4, "d")), parent=one), 0.0)
    # It cuts away the whole answer of the turn that it continues, and some of the one before.
    new = new_turn(run_of((5, "x"), (6, "y")), run_of((7, "z")), parent=two, inherited=2)
    found = read_turn(rig.store.add(TENANT, new, 0.0))
    assert (tokens_of(found), mask_of(found)) == ([1, 2, 5, 6, 7], [1, 1, 0, 0, 1])


def test_how_far_a_reading_is_on_the_path_of_its_last_turn() -> None:
    rig = Rig()
    rig.answer("q", [A, B, C, D])
    rig.answer("qaxyz", [C])
    found = rig.read("qaxyz")
    # The first turn has other tokens behind the second one: its routed experts end there.
    assert (found.path_tokens, len(found.tokens)) == (2, 5)
    assert [turn.number for turn in found.turns] == [1]
    assert rig.read("qabcd").path_tokens == 5
    assert rig.read("qabx").path_tokens == 3


def test_the_text_of_a_turn_is_what_its_client_knows() -> None:
    rig = Rig()
    assert text_of(rig.answer("q", [A, EOS])) == b"qa"
    assert text_of(rig.answer("q", [A, CD, D], shown="ac")) == b"qac"


def test_an_empty_text_is_nothing() -> None:
    rig = Rig()
    rig.answer("q", [A])
    assert rig.missing("").matched_bytes == 0
    empty = read_path(rig.store.namespaces[TENANT].tree.root, 0, [], 0)
    assert (tokens_of(empty), empty.spans, empty.is_exact) == ([], (), True)


def test_what_was_evicted_is_gone_and_not_guessed() -> None:
    rig = Rig()
    first = rig.answer("q", [A, CD, EOS], shown="ac")
    second = rig.answer("qacx", [B, EOS])
    for turn in (second, first):
        if turn.trajectory is not None:
            rig.store.evict(turn.trajectory, "ttl")
    rig.sweep()
    texts = ("qacxb", "qacxb<e>", "qac", "qacd<e>")
    assert [rig.missing(text).gone for text in texts] == ["ttl"] * 4
    assert rig.missing("qa").gone is None
    assert rig.missing("qacxb", tenant="other").gone is None
    check_consistent(rig.store)


def test_what_was_evicted_is_not_guessed_from_what_it_continued() -> None:
    rig = Rig()
    rig.answer("q", [A, B])
    kept, gone = rig.answer("qabx", [C]), rig.answer("qaby", [C])
    assert gone.trajectory is not None
    rig.store.evict(gone.trajectory, "evicted")
    rig.sweep()
    assert kept.parent is gone.parent
    assert rig.missing("qabyc") == Missing(3, "evicted")
    assert tokens_of(rig.read("qabxc"))[-1] == C


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_of_several_spellings_the_one_with_the_most_that_was_produced_is_read(
    order: tuple[int, ...],
) -> None:
    rig = Rig()
    question, end = run_of((Q, "q")), run_of((C, "c"))
    turns = [
        (run_of((300, "abxy")), EMPTY),
        (run_of((301, "xy")), run_of((A, "a"), (B, "b"))),
        (run_of((302, "bxy")), run_of((A, "a"))),
    ]
    for rest, output in [turns[place] for place in order]:
        first = rig.store.add(TENANT, new_turn(question, output), 0.0)
        rig.store.add(TENANT, new_turn(rest, end, parent=first), 0.0)
    found = rig.read("qabxy")
    assert (tokens_of(found), mask_of(found)) == ([Q, A, B, 301], [0, 1, 1, 0])
    assert found.candidates == 3


def test_bytes_that_are_no_utf_8_are_missed() -> None:
    rig = Rig()
    rig.answer("q", [A, E_ACUTE])
    namespace = rig.store.namespaces[TENANT]
    found = read_text(namespace, rig.store.gone, b"qa\xc3", session=None, rid=None)
    assert isinstance(found, Reading)
    assert (tokens_of(found), found.rest) == ([Q, A], b"\xc3")


def test_a_dialogue_of_5000_turns() -> None:
    rig = Rig()
    turn, outputs = None, (run_of((AB, "ab")), run_of((A, "a"), (B, "b")))
    for number in range(5_000):
        new = new_turn(
            run_of((Q, "q")), outputs[number % 2], parent=turn, session="s", rid=f"r{number}"
        )
        turn = rig.store.add(TENANT, new, 0.0)
    text = "qab" * 5_000
    found = rig.read(text, session="s")
    assert len(found.turns) == 5_000
    assert int(found.loss_mask.sum()) == 2_500 + 5_000
    assert tokens_of(found) == [Q, AB, Q, A, B] * 2_500
    assert rig.read(text, rid="r0").candidates == 1
    assert tokens_of(rig.read(text[:-2], session="s")) == tokens_of(found)[:-2]
    assert tokens_of(rig.read(text[:-2], rid="r4999")) == tokens_of(found)[:-2]
    assert len(repr(turn)) < 100
    assert rig.find(text + "c", "s").parent is turn
    trajectory = found.turns[-1].trajectory
    assert trajectory is not None
    rig.store.evict(trajectory, "evicted")
    rig.sweep()
    assert (rig.store.size_bytes, rig.store.turns, rig.store.tokens) == (0, 0, 0)
    check_consistent(rig.store)


def test_with_rest_of_nothing_changes_nothing() -> None:
    rig = Rig()
    rig.answer("q", [A])
    found = rig.read("qa")
    same = with_rest(found, TokenRun.of([], [], b""))
    assert (tokens_of(same), same.spans) == (tokens_of(found), found.spans)
