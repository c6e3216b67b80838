"""Which token shows a character that several share, against a decoder that goes one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.plugins.tokenizer.utf8 import find_broken, settle
from tests.doubles.toy_tokenizer import characters

# Beginnings, middles and ends of characters, good and bad ones: surrogates, overlong, too large.
BYTES = st.sampled_from(bytes.fromhex("61 C3 A9 E2 82 AC FF F0 9F 98 80 ED A0 E0 F4 90"))
PIECES = st.lists(st.lists(BYTES, max_size=4).map(bytes), max_size=12)


def settled(*pieces: bytes) -> tuple[str, list[int]]:
    text, lengths = settle(b"".join(pieces), np.array([len(p) for p in pieces], dtype=np.int64))
    return text.decode(), lengths.tolist()


@pytest.mark.parametrize(
    ("pieces", "text", "lengths"),
    [
        ([], "", []),
        ([b"ab", b"c"], "abc", [2, 1]),
        ([b"\xc3", b"\xa9"], "é", [0, 2]),
        ([b"a\xe2", b"\x82", b"\xacb"], "a€b", [1, 0, 4]),
        ([b"\xf0\x9f", b"", b"\x98\x80"], "😀", [0, 0, 4]),
        ([b"\xff", b"a"], "\ufffda", [3, 1]),
        # What was begun and not completed shows itself; the next token keeps its own text.
        ([b"\xe2\x82", b"a"], "\ufffda", [3, 1]),
        ([b"\xe2", b"\x82", b"a"], "\ufffda", [0, 3, 1]),
        ([b"a", b"\xe2\x82"], "a\ufffd", [1, 3]),
        ([b"\xe2\x82", b"\xe2\x82\xac"], "\ufffd€", [3, 3]),
        ([b"\x80\x80"], "\ufffd\ufffd", [6]),
        ([b"\xed\xa0", b"\x80"], "\ufffd\ufffd\ufffd", [6, 3]),
    ],
)
def test_characters_belong_to_the_token_that_completes_them(
    pieces: list[bytes], text: str, lengths: list[int]
) -> None:
    assert settled(*pieces) == (text, lengths)


@given(PIECES)
def test_every_character_is_shown_by_the_token_with_its_last_byte(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    text, lengths = settled(*pieces)
    assert text == data.decode(errors="replace")
    ends = np.cumsum([len(piece) for piece in pieces])
    expected = [0] * len(pieces)
    for end, shown in characters(data):
        expected[int(np.searchsorted(ends, end))] += len(shown)
    assert lengths == expected


@given(st.lists(BYTES, max_size=60).map(bytes))
def test_broken_ranges_are_those_that_replace_replaces(data: bytes) -> None:
    text, ranges = find_broken(data)
    assert text == data.decode(errors="replace")
    shown, place = "", 0
    for start, end in ranges:
        shown += data[place:start].decode() + "\ufffd"
        place = end
    assert shown + data[place:].decode() == text


def test_threads_note_what_is_broken_apart() -> None:
    datas = [b"a" * size + b"\xff" for size in range(200)] * 10
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(find_broken, datas))
    assert [ranges for _, ranges in found] == [[(len(d) - 1, len(d))] for d in datas]


def test_many_broken_bytes_cost_no_more_than_their_number() -> None:
    data = b"\xff" * 200_000  # 20 GB would be copied if each error copied the rest of it
    text, lengths = settle(data, np.ones(len(data), dtype=np.int64))
    assert text == "\ufffd".encode() * len(data)
    assert set(lengths.tolist()) == {3}
