"""Which texts are taken for what tokens spell."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.agreement import agrees

TEXTS = st.text(st.sampled_from("abc é你🎉\n<>"), max_size=12)
OPEN = "\ufffd"


def same(text: str, spelled: str) -> bool:
    return agrees(text.encode(), spelled.encode())


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("ab", "ab"),
        ("", "ab"),
        ("", ""),
        # Trimmed: a stop token or stop string at the end.
        ("ab", "ab<e>"),
        ("ab\nUs", "ab\nUser:"),
        # Spaces between special tokens, taken away by a clean-up, marks of a beginning.
        ("ab <x> c", "ab<x>c"),
        ("it's, ok.", "it 's , ok ."),
        ("Paris", " Paris"),
        (" Paris", "Paris"),
        ("a b <x>", "ab<x>STOP"),
        # Halves of characters: shown or not, once or for each byte, held back at the end.
        (f"a{OPEN}b", "ab"),
        ("ab", f"a{OPEN}{OPEN}b"),
        (f"a{OPEN}", f"a{OPEN}{OPEN}{OPEN}"),
        ("a", f"a{OPEN}"),
        # Fallback bytes: all of them are U+FFFD, or only those that are no text.
        (f"a你{OPEN}", f"a{OPEN * 4}"),
        (f"a你好{OPEN * 2} b", f"a{OPEN * 8} b"),
        (f"a{OPEN * 4}", f"a你{OPEN}"),
        (f"a{OPEN * 4}b", "a你bc"),
        # Trimmed behind such bytes: in them, inside of what follows, behind it.
        ("a你", f"a{OPEN * 9}b"),
        ("a你b", f"a{OPEN * 4}bcd"),
        ("a你b", f"a{OPEN * 4}b"),
        (f"你{OPEN}a好{OPEN}b", f"{OPEN * 4}a{OPEN * 4}bc"),
    ],
)
def test_what_detokenizers_do_is_agreed(text: str, spelled: str) -> None:
    assert same(text, spelled)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("b", "a"),
        ("abc", "ab"),
        ("ab and more", "ab"),
        ("a", ""),
        ("totally different", " Hello there"),
        ("aXb", "ab"),
        ("ab", "aXb"),
        ("a\nb", "ab"),  # a clean-up takes spaces and nothing else
        ("a\tb", "ab"),
        ("ab", "a\u00a0b"),
        ("éê", "éè"),
        # As much as there are bytes, and no more; what stands around them agrees.
        ("axyzb", f"a{OPEN * 2}b"),
        ("a你", f"b{OPEN * 3}"),
        ("a你c", f"a{OPEN * 3}b"),
        ("a你", f"a{OPEN * 2}b"),
        ("a你bx", f"a{OPEN * 3}b"),
        ("a你bx", f"a{OPEN * 3}bc"),
        (f"a{OPEN}c", "ab你c"),
        (f"a{OPEN * 3}b", "a你c"),
        (f"a{OPEN * 3}b", "a你"),
    ],
)
def test_anything_else_is_another_answer(text: str, spelled: str) -> None:
    assert not same(text, spelled)


@given(TEXTS, TEXTS, st.data())
def test_spaces_and_halves_of_characters_may_be_anywhere(
    spelled: str, tail: str, data: st.DataObject
) -> None:
    text = list(spelled)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(text)))
        text.insert(place, data.draw(st.sampled_from([" ", OPEN])))
    assert same("".join(text), spelled + tail)
    assert same(spelled, "".join(text) + tail)


@given(TEXTS, TEXTS)
def test_without_spaces_and_halves_it_is_a_beginning_or_nothing(text: str, spelled: str) -> None:
    assert same(text, spelled) == spelled.replace(" ", "").startswith(text.replace(" ", ""))


@given(TEXTS, st.sampled_from("abé你"), TEXTS, st.sampled_from("XYZ"))
def test_a_character_that_is_another_one_is_seen(
    before: str, old: str, behind: str, new: str
) -> None:
    assert not same(before + new + behind, before + old + behind)


def test_a_lie_of_many_halves_costs_no_more_than_milliseconds() -> None:
    halves = OPEN * 30_000 + "a" * 30_000
    started_at = time.perf_counter()
    assert not same("a" * 60_000 + "b", halves)
    assert not same("b" * 60_000 + "b", halves)
    assert not same((OPEN + "a") * 20_000 + "b", (OPEN + "a") * 20_000)
    assert time.perf_counter() - started_at < 5.0
