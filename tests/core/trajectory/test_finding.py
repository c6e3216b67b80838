from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.match import match_text
from miles_router.core.radix.run import EMPTY
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory import finding, paths
from miles_router.core.trajectory.finding import find_ids, find_prompt
from miles_router.core.trajectory.turn import Prompt
from tests.core.trajectory.cases import AB, ABC, TENANT, A, B, C, D, Rig, new_turn, run_of
from tests.doubles.toy_tokenizer import EOS

if TYPE_CHECKING:
    import pytest

    from miles_router.core.trajectory.turn import Turn


def ids_of(rig: Rig, *ids: int, session: str | None = None) -> Prompt:
    return find_ids(rig.store.namespaces[TENANT], np.array(ids, dtype=np.int32), session)


def known(prompt: Prompt) -> tuple[Turn | None, int, list[int], bytes]:
    return prompt.parent, prompt.inherited, prompt.known.id_array.tolist(), prompt.rest


def test_of_a_new_prompt_nothing_is_known() -> None:
    rig = Rig()
    rig.answer("abc", [D])
    assert known(rig.find("xyz")) == (None, 0, [], b"xyz")
    # It was cut out of a longer text: a worker would have made other ids.
    assert known(rig.find("ab")) == (None, 0, [], b"ab")
    assert known(rig.find("abcx")) == (None, 0, [], b"abcx")


def test_an_equal_prompt_is_tokenized_once() -> None:
    rig = Rig(adds_bos=True)
    turn = rig.answer("abc", [D], session="one")
    for session in (None, "one", "two"):
        parent, inherited, ids, rest = known(rig.find("abc", session))
        assert (parent, inherited, rest) == (None, 0, b"")
        assert ids == [rig.tokenizer.vocab_size - 1, ABC]
    assert turn.prompt_end == 2


def test_an_answer_is_continued_from_its_last_token_that_agrees() -> None:
    rig = Rig()
    turn = rig.answer("q", [A, B, C, EOS])
    assert known(rig.find("qabc")) == (turn, 4, [], b"")
    assert known(rig.find("qabcd")) == (turn, 4, [], b"d")
    assert known(rig.find("qabc<e>d")) == (turn, 5, [], b"d")
    assert known(rig.find("qabd")) == (turn, 3, [], b"d")
    assert known(rig.find("qd")) == (None, 0, [], b"qd")


def test_an_equal_continuation_is_tokenized_once() -> None:
    rig = Rig()
    first = rig.answer("q", [A])
    rig.answer("qaabc", [D])
    assert known(rig.find("qaabc")) == (first, 2, [ABC], b"")
    assert known(rig.find("qaab")) == (first, 2, [], b"ab")


def test_a_session_continues_its_own_turns_only() -> None:
    rig = Rig()
    rig.answer("q", [A], session="one")
    own = rig.answer("q", [A], session="two")
    assert own.parent is None
    assert known(rig.find("qab", "two")) == (own, 2, [], b"b")
    assert known(rig.find("qab", "three")) == (None, 0, [], b"qab")
    newest = rig.answer("q", [A])
    assert known(rig.find("qab")) == (newest, 2, [], b"b")


def test_what_shows_nothing_is_not_continued_for_what_others_have_behind_it() -> None:
    rig = Rig()
    rig.answer("", [0xE2, D], session="s")
    ids = run_of((0xE2, ""), (A, "a"))
    rig.store.add(TENANT, new_turn(ids, run_of((B, "b"))), 0.0)
    assert known(rig.find("ab", "s")) == (None, 0, [], b"ab")


def test_a_prompt_behind_another_turn_is_not_taken() -> None:
    rig = Rig()
    one = rig.answer("q", [A], session="one")
    rig.answer("qabc", [D], session="one")  # its prompt: `bc` behind the answer `a`
    two = rig.answer("q", [A], session="two")
    assert known(rig.find("qabc", "one"))[:3] == (one, 2, [259])
    # The same text and ids, but behind this session's own turn: tokenized anew.
    assert known(rig.find("qabc", "two")) == (two, 2, [], b"bc")
    # And of a session that has nothing: as one text.
    assert known(rig.find("qabc", "three")) == (None, 0, [], b"qabc")


def test_a_prompt_that_begins_at_another_place_is_not_taken() -> None:
    rig = Rig()
    turn = rig.answer("q", [A, EOS])
    # It dropped the tail, and has the same token as the first one of its prompt.
    rest = run_of((EOS, "<e>"), (B, "b"))
    rig.store.add(TENANT, new_turn(rest, run_of((C, "c")), parent=turn, inherited=2), 0.0)
    assert known(rig.find("qa<e>b")) == (turn, 3, [], b"b")


def test_ids_that_a_client_brought_are_no_tokens_of_a_text() -> None:
    rig = Rig()
    prompt = run_of((A, "a"), (B, "b"))
    rig.store.add(TENANT, new_turn(prompt, run_of((C, "c")), is_text_prompt=False), 0.0)
    assert known(rig.find("ab")) == (None, 0, [], b"ab")
    rig.answer("ab", [C])
    assert known(rig.find("ab"))[2] == [AB]


def test_a_prompt_whose_answers_show_nothing_is_still_the_prompt() -> None:
    rig = Rig()
    for ids in ([EOS], [], [0xC3, 0xA9], [0xC3, 0xFF], [0xE2]):
        rig.answer("abc", ids, shown="" if ids == [0xE2] else None)
        assert known(rig.find("abc")) == (None, 0, [ABC], b"")


def test_prompts_with_a_token_at_their_end_that_shows_nothing() -> None:
    rig = Rig()
    prompt = run_of((ABC, "abc"), (EOS, ""))
    rig.store.add(TENANT, new_turn(prompt, run_of((D, "d"))), 0.0)
    assert known(rig.find("abc"))[2] == [ABC, EOS]


def test_a_session_is_looked_for_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    own = rig.answer("q", [A, AB, A], session="s")
    walks = []

    def noted(root, text, wanted, within=None):  # type: ignore[no-untyped-def]
        walks.append(None if within is None else len(within))
        return match_text(root, text, wanted, within)

    monkeypatch.setattr(finding, "match_text", noted)
    assert known(rig.find("qaabax", "s")) == (own, 4, [], b"x")
    assert walks == [3]
    for number in range(40):  # as many ways to spell it do not change it
        output = run_of((A, "a"), (A, "a"), (300 + number, "b"), (A, "a"))
        new = new_turn(run_of((ord("q"), "q")), output, session=f"r{number}")
        rig.store.add(TENANT, new, 0.0)
    walks.clear()
    assert known(rig.find("qaabax", "s")) == (own, 4, [], b"x")
    assert walks[0] is not None
    assert walks[0] <= 6
    assert len(walks) == 1
    walks.clear()
    rig.find("q", "new")
    assert walks == [0, None]
    monkeypatch.setattr(paths, "MAX_NODES", 0)
    walks.clear()
    assert known(rig.find("qaabax", "s")) == (own, 4, [], b"x")
    assert walks == [None]


def test_ids_are_continued_where_they_agree() -> None:
    rig = Rig()
    turn = rig.answer("q", [A, B, EOS], session="s")
    q = ord("q")
    assert ids_of(rig, q) == Prompt()
    assert known(ids_of(rig, q, A, B, EOS, D)) == (turn, 4, [], b"")
    assert known(ids_of(rig, q, A, D)) == (turn, 2, [], b"")
    assert ids_of(rig, q, AB, D) == Prompt()
    assert ids_of(rig, q, A, B, session="x") == Prompt()
    assert known(ids_of(rig, q, A, B, session="s"))[:2] == (turn, 3)


def test_only_some_of_those_at_the_end_of_a_prompt_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    empty = run_of((EOS, ""))
    for number in range(500):
        # A thousand prompts and answers at one place; none of these prompts is of text.
        new = new_turn(run_of((A, "a")), empty, is_text_prompt=False, session=f"s{number}")
        rig.store.add(TENANT, new, 0.0)
        other = new_turn(run_of((A, "a")), run_of((300 + number, "x")), is_text_prompt=False)
        rig.store.add(TENANT, other, 0.0)
        rig.store.add(TENANT, new_turn(run_of((A, "a")), is_text_prompt=False), 0.0)
    asked = []

    def counted(items, count):  # type: ignore[no-untyped-def]
        for item in islice(items, count):
            asked.append(item)
            yield item

    monkeypatch.setattr(finding, "islice", counted)
    assert known(rig.find("a")) == (None, 0, [], b"a")
    assert len(asked) < 16 * 18 * 3


@given(
    texts=st.lists(
        st.tuples(st.text("abcd é", max_size=6), st.lists(st.sampled_from([A, B, AB, C]))),
        max_size=6,
    ),
    asked=st.text("abcd é", max_size=10),
)
def test_a_prompt_is_its_text(texts: list[tuple[str, list[int]]], asked: str) -> None:
    rig = Rig()
    for text, ids in texts:
        rig.answer(text, ids)
    prompt = rig.find(asked)
    before = (
        b""
        if prompt.parent is None
        else rig.tokenizer.spell(ids_before(prompt), skip_special_tokens=True).text
    )
    assert before + prompt.known.text + prompt.rest == asked.encode()
    assert prompt.known == EMPTY or prompt.rest == b""


def ids_before(prompt: Prompt) -> list[int]:
    assert prompt.parent is not None
    return run_between(prompt.parent.node, 0, prompt.inherited).id_array.tolist()


def test_bytes_that_are_no_utf_8_are_looked_for_all_the_same() -> None:
    rig = Rig()
    turn = rig.answer("q", [A])
    found = find_prompt(rig.store.namespaces[TENANT], b"qa\xff", None)
    assert known(found) == (turn, 2, [], b"\xff")
