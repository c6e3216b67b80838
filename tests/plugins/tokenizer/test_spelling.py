"""Ids to text by a table and by windows: both say the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import EMPTY, UnfitRun
from miles_router.plugins.tokenizer.spelling import TableSpeller, WindowSpeller
from miles_router.plugins.tokenizer.table import token_table
from tests.plugins.tokenizer.vocabularies import NAMES, SPECIAL, int32, load

if TYPE_CHECKING:
    from miles_router.core.radix.run import TokenRun

LLAMA = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"},
    ],
}
PIECES = ["\u2581Paris", "a", "</s>", "<0xE4>", "<0xBD>", "<0xA0>", "<0x61>", "<0xFF>"]
PARIS, A, EOS, E4, BD, A0, LOWER_A, FF = range(len(PIECES))


def llama() -> TableSpeller:
    table = token_table(LLAMA, dict(enumerate(PIECES)), len(PIECES))
    assert table is not None
    return TableSpeller(table, np.arange(len(PIECES)) == EOS)


def shares(run: TokenRun) -> list[str]:
    text, found, start = run.text.decode(), [], 0
    for end in run.ends().tolist():
        found.append(run.text[start:end].decode())
        start = end
    assert "".join(found) == text
    return found


@pytest.mark.parametrize(
    ("ids", "skipped", "literal"),
    [
        ([PARIS, PARIS], [" Paris", " Paris"], [" Paris", " Paris"]),
        ([A, EOS], ["a", ""], ["a", "</s>"]),
        ([E4, BD, A0], ["", "", "你"], ["", "", "你"]),
        # A run of bytes that is no text: U+FFFD for each, also for the good one.
        ([LOWER_A, FF], ["\ufffd"] * 2, ["\ufffd"] * 2),
        ([E4, BD, A], ["\ufffd", "\ufffd", "a"], ["\ufffd", "\ufffd", "a"]),
        ([E4, BD, A0, A, FF], ["", "", "你", "a", "\ufffd"], ["", "", "你", "a", "\ufffd"]),
        # A special token parts a run only where it is shown.
        ([E4, EOS, BD, A0], ["", "", "", "你"], ["\ufffd", "</s>", "\ufffd", "\ufffd"]),
    ],
)
def test_bytes_as_a_fallback(ids: list[int], skipped: list[str], literal: list[str]) -> None:
    speller = llama()
    assert shares(speller.spell(int32(ids), skip_special_tokens=True)) == skipped
    assert shares(speller.spell(int32(ids), skip_special_tokens=False)) == literal


@pytest.mark.parametrize("ids", [[-1], [len(PIECES)], [A, 2**31 - 1]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    for speller in (llama(), WindowSpeller(lambda _: "", [], np.zeros(len(PIECES), np.bool_))):
        with pytest.raises(UnfitRun, match="not in the vocabulary of 8"):
            speller.spell(int32(ids), skip_special_tokens=False)


def test_no_ids_show_nothing() -> None:
    for speller in (llama(), WindowSpeller(lambda _: "", [], np.zeros(8, np.bool_))):
        assert speller.spell(int32([]), skip_special_tokens=True) == EMPTY


def test_a_token_too_long_to_be_packed_is_refused() -> None:
    table = token_table({"type": "ByteLevel"}, {0: "a" * 65_536, 1: "b"}, 2)
    assert table is not None
    speller = TableSpeller(table, np.zeros(2, np.bool_))
    assert speller.spell(int32([1]), skip_special_tokens=False).text == b"b"
    with pytest.raises(UnfitRun, match="65535"):
        speller.spell(int32([0]), skip_special_tokens=False)


@functools.cache
def windows(name: str) -> WindowSpeller:
    loaded = load(name)
    is_special = np.zeros(loaded.adapter.vocab_size, dtype=np.bool_)
    added = loaded.worker.added_tokens_decoder
    is_special[[token for token, value in added.items() if value.special]] = True
    return WindowSpeller(
        lambda ids: str(loaded.worker.decode(ids, clean_up_tokenization_spaces=False)),
        loaded.worker_ids("x a", add_special_tokens=False),
        is_special,
    )


@pytest.mark.parametrize("name", NAMES)
def test_windows_show_what_the_table_shows(name: str) -> None:
    loaded = load(name)
    text = f"the work\n 日本語 naïve 🎉🎉 the{SPECIAL[name]}\nof the work"
    ids = loaded.adapter.encode(text, is_continuation=True).id_array
    for skips in (False, True):
        by_table = loaded.adapter.spell(ids, skip_special_tokens=skips)
        assert windows(name).spell(ids, skip_special_tokens=skips) == by_table


@pytest.mark.parametrize("name", ["sim", "always"])
@given(data=st.data())
def test_windows_show_all_of_any_ids(name: str, data: st.DataObject) -> None:
    size = load(name).adapter.vocab_size
    ids = int32(data.draw(st.lists(st.integers(0, size - 1), max_size=40)))
    by_window = windows(name).spell(ids, skip_special_tokens=False)
    assert by_window.ids == ids.tobytes()
    # Bytes that are no text may be parted elsewhere; what is text is the same.
    shown = by_window.text.decode().replace("\ufffd", "")
    whole = load(name).adapter.spell(ids, skip_special_tokens=False).text.decode()
    if "\ufffd" not in whole:
        assert shown == whole


def test_windows_stay_short_whatever_the_tokens_show() -> None:
    longest = 0

    def decode(ids: list[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return "\ufffd" * (len(ids) // 2) if ids and ids[-1] else "b" * len(ids)

    speller = WindowSpeller(decode, [], np.zeros(2, np.bool_))
    run = speller.spell(int32([1] * 500 + [0] * 500), skip_special_tokens=False)
    assert len(run) == 1000
    assert longest <= 65


def test_characters_that_never_end_with_a_token() -> None:
    pieces = [b"\xf0", b"\x9f\x8e\x89\xf0", b"\x9f\x8e\x89"]

    def decode(ids: list[int]) -> str:
        return b"".join(pieces[i] for i in ids).decode(errors="replace")

    run = WindowSpeller(decode, [], np.zeros(3, np.bool_)).spell(
        int32([0] + [1] * 200 + [2]), skip_special_tokens=False
    )
    assert shares(run) == ["", *["🎉"] * 201]
