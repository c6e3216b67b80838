from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.trajectory.digest import digest_of
from miles_router.core.trajectory.reading import (
    Missing,
    Reading,
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
    CD,
    E_ACUTE,
    TENANT,
    A,
    B,
    C,
    D,
    Q,
    Rig,
    check_consistent,
    logprobs_of,
    mask_of,
    new_turn,
    run_of,
    tokens_of,
)
from tests.doubles.toy_tokenizer import EOS

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


def test_a_text_is_compared_where_its_digest_is_that_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = digest_of(b"qa")
    monkeypatch.setattr("miles_router.core.trajectory.reading.digest_of", lambda _text: digest)
    rig = Rig()
    rig.answer("q", [A, EOS])
    for text, ids in (("qa", [Q, A, EOS]), ("q", [Q]), ("qab", [Q, A])):
        assert tokens_of(rig.read(text)) == ids
    assert rig.missing("x").gone is None


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


# -- rule 13, and the shape of a reading -----------------------------------------------------------


def test_rule_13_no_log_probability_is_nan() -> None:
    rig = Rig()
    new = new_turn(run_of((Q, "q")), run_of((A, "a"), (B, "b")))
    unknown = logprobs_of([-0.25, math.nan])
    turn = rig.store.add(TENANT, msgspec.structs.replace(new, logprobs=unknown), 0.0)
    found = read_turn(turn)
    np.testing.assert_array_equal(found.logprobs, np.array([math.nan, -0.25, math.nan], "f4"))
    columns = (found.tokens, found.loss_mask, found.logprobs)
    assert [column.dtype.name for column in columns] == ["int32", "uint8", "float32"]


def test_one_answer_may_mix_versions() -> None:
    rig = Rig()
    new = new_turn(run_of((Q, "q")), run_of((A, "a"), (B, "b"), (C, "c")))
    spans = (VersionSpan("1", 0, 1), VersionSpan("2", 1, 3))
    rig.store.add(TENANT, msgspec.structs.replace(new, versions=spans), 0.0)
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


def test_what_was_evicted_is_not_taken_from_the_prompt_of_another_session() -> None:
    rig = Rig()
    turn = rig.answer("q", [A, B], session="one")
    rig.answer("qabcd", [C], session="two")
    rig.answer("q", [AB, C, D], session="three")
    assert turn.trajectory is not None
    rig.store.evict(turn.trajectory, "evicted")
    rig.sweep()
    assert rig.missing("qab").gone == "evicted"
    assert rig.missing("qab", session="one").gone == "evicted"
    # A session's own turns are no guess.
    assert tokens_of(rig.read("qab", session="three")) == [Q, AB]


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
