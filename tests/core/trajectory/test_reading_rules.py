"""What is read back, rule by rule, and what must never happen again."""

from __future__ import annotations

import math

import numpy as np

from miles_router.core.trajectory.reading import (
    Span,
    with_rest,
)
from tests.core.trajectory.cases import (
    AB,
    ABC,
    BC,
    CD,
    TENANT,
    A,
    B,
    C,
    D,
    Q,
    Rig,
    mask_of,
    new_turn,
    run_of,
    tokens_of,
)
from tests.doubles.toy_tokenizer import EOS

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


def test_rule_10_a_tail_of_which_the_text_shows_a_part_is_dropped() -> None:
    rig = Rig()
    rig.answer("q", [A, B, CD, D], shown="a")
    assert tokens_of(rig.read("qa")) == [Q, A, B, CD, D]
    found = rig.read("qabcx")
    assert (tokens_of(found), mask_of(found), found.rest) == ([Q, A], [0, 1], b"bcx")
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
    rig.answer("q", [A, B, C, D], shown="a bcd")
    assert tokens_of(rig.read("qa bcd")) == [Q, A, B, C, D]
    found = rig.read("qa bcb")
    assert (tokens_of(found), found.rest) == ([Q, A], b" bcb")
    found = rig.read("qa bcdb")
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
