"""The bytes behind each token, for the decoders that work token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miles_router.plugins.tokenizer.table import TokenTable, byte_of_character, token_table

BYTE_LEVEL = {"type": "ByteLevel"}
REPLACE = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
LLAMA = {"type": "Sequence", "decoders": [REPLACE, {"type": "ByteFallback"}, {"type": "Fuse"}]}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}


def table_of(decoder: dict[str, Any] | None, *names: str) -> TokenTable:
    table = token_table(decoder, dict(enumerate(names)), len(names))
    assert table is not None
    return table


def test_byte_level_names_are_bytes() -> None:
    table = table_of(BYTE_LEVEL, "a", "Ġb", "Ã", "<\uff5cx\u2581y\uff5c>", "Ã©")
    expected = [b"a", b" b", b"\xc3", "<\uff5cx\u2581y\uff5c>".encode(), "é".encode()]
    assert table.data.tolist() == expected
    assert table.lengths.tolist() == [len(piece) for piece in expected]
    assert table.is_whole.tolist() == [True, True, False, True, True]
    assert not table.has_bytes


def test_the_byte_level_alphabet_has_every_byte_once() -> None:
    assert sorted(byte_of_character().values()) == list(range(256))


@pytest.mark.parametrize("decoder", [LLAMA, METASPACE])
def test_marks_are_spaces(decoder: dict[str, Any]) -> None:
    assert table_of(decoder, "\u2581a\u2581", "b").data.tolist() == [b" a ", b"b"]


def test_fallback_bytes_are_bytes_where_the_decoder_knows_them() -> None:
    names = ("<0x0A>", "<0xE4>", "<0xZZ>", "<0x0A", "x")
    table = table_of(LLAMA, *names)
    assert table.data.tolist() == [b"\n", b"\xe4", b"<0xZZ>", b"<0x0A", b"x"]
    assert table.is_byte.tolist() == [True, True, False, False, False]
    assert table.has_bytes
    assert table_of(METASPACE, *names).data[0] == b"<0x0A>"


def test_an_id_without_a_token_stands_for_nothing() -> None:
    table = token_table(BYTE_LEVEL, {0: "a", 2: "c"}, 4)
    assert table is not None
    assert table.data.tolist() == [b"a", b"", b"c", b""]


def test_tokens_can_be_left_out() -> None:
    table = table_of(LLAMA, "a", "<0xE4>", "</s>")
    without = table.without(np.array([False, True, True]))
    assert without.data.tolist() == [b"a", b"", b""]
    assert without.lengths.tolist() == [1, 0, 0]
    assert without.is_whole.all()
    assert not without.has_bytes
    assert table.data.tolist() == [b"a", b"\xe4", b"</s>"]


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "Sequence", "decoders": []},
        {"type": "Sequence", "decoders": [BYTE_LEVEL, {"type": "Strip"}]},
        {"type": "Sequence", "decoders": [{"type": "Sequence", "decoders": [{"type": "CTC"}]}]},
    ],
)
def test_other_decoders_get_no_table(decoder: dict[str, Any] | None) -> None:
    assert token_table(decoder, {0: "a"}, 1) is None


def test_tokens_too_long_to_be_packed_are_noticed() -> None:
    assert not table_of(BYTE_LEVEL, "a" * 65_000).may_overflow
    assert table_of(BYTE_LEVEL, "a" * 65_536).may_overflow
