"""Turns are found by the whole of their text, with a tail and without."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from miles_router.core.radix.marks import size_bytes_of
from miles_router.core.trajectory.digest import digest_of
from miles_router.core.trajectory.namespace import Namespace
from miles_router.core.trajectory.text_index import ENTRY_BYTES, TextIndex, digests_of
from tests.core.trajectory.cases import new_turn, run_of

if TYPE_CHECKING:
    from miles_router.core.trajectory.turn import Turn

Q, A, END = run_of((9, "q")), run_of((1, "a")), run_of((7, "<e>"))


def turns_of(count: int, partial: bytes = b"") -> list[Turn]:
    """Turns whose text is `qa`, and whose tail is `<e>`."""
    namespace = Namespace("t")
    new = new_turn(Q, A + END, visible=1, partial=partial)
    return [namespace.add_turn(new, number) for number in range(count)]


@pytest.mark.parametrize(
    ("partial", "tail", "texts"),
    [
        (b"", b"", [b"qa"]),
        (b"", b"<e>", [b"qa", b"qa<e>"]),
        (b"<", b"<e>", [b"qa<", b"qa<e>"]),
        (b"<e>", b"<e>", [b"qa<e>"]),
    ],
)
def test_a_turn_ends_with_one_text_or_two(partial: bytes, tail: bytes, texts: list[bytes]) -> None:
    (turn,) = turns_of(1, partial)
    assert digests_of(turn, tail) == tuple(map(digest_of, texts))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_what_is_added_is_found_until_it_is_removed(count: int) -> None:
    index, turns = TextIndex(), turns_of(count)
    for turn in reversed(turns):
        index.add(turn, b"<e>", (turn,))
    for text in (b"qa", b"qa<e>"):
        assert list(index.of(digest_of(text))) == turns
    marks = index.of(digest_of(b"qa"))
    assert index.size_bytes == 2 * (ENTRY_BYTES + size_bytes_of(marks))
    assert (len(index), index.of(digest_of(b"q"))) == (2, ())
    for turn in turns[:-1]:
        index.remove(turn, b"<e>")
    assert list(index.of(digest_of(b"qa<e>"))) == turns[-1:]
    assert index.size_bytes == 2 * ENTRY_BYTES
    index.remove(turns[-1], b"<e>")
    assert (len(index), index.size_bytes, index.of(digest_of(b"qa"))) == (0, 0, ())


def test_it_is_accounted_for_what_it_takes() -> None:
    namespace, alone = Namespace("t"), []
    for number in range(22_000):  # a dict has just grown
        new = new_turn(run_of((9, f"{number}")), A)
        alone.append((namespace.add_turn(new, number),))
    tracemalloc.start()
    index = TextIndex()
    for one in alone:
        index.add(one[0], b"", one)
    used_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.5 * index.size_bytes < used_bytes <= index.size_bytes
