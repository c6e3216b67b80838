"""What may come in place of routed experts: garbage, escapes, and megabytes of them."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.r3 import ExpertShape, InvalidR3, decode_block
from miles_router.core.r3.wire import CHUNK_CHARS, CHUNK_INTS
from tests.core.r3.rows import decode, reason_for, table, wire

# Three rows of four numbers.
LITERAL = b"AAAAAAMAAAABAAAAAgAAAAIAAAABAAAAAAAAAAMAAAADAAAAAAAAAAIAAAABAAAA"
LITERAL_ROWS = [[0, 3, 1, 2], [2, 1, 0, 3], [3, 0, 2, 1]]


@pytest.mark.parametrize("sent", [wire(np.full(12, -1)), b"!" * 64], ids=["negative", "not base64"])
def test_a_width_is_not_learnt_from_numbers_that_are_invalid(sent: bytes) -> None:
    shape = ExpertShape()
    with pytest.raises(InvalidR3):
        decode_block(sent, prompt_tokens=2, completion_tokens=2, asked_start=0, shape=shape)
    assert shape.width is None


@pytest.mark.parametrize("counts", [(-1, 5, 0), (5, -1, 0), (2, 2, -1)])
def test_counts_below_zero_are_invalid(counts: tuple[int, int, int]) -> None:
    assert reason_for(LITERAL, *counts) == "bad_counts"


@pytest.mark.parametrize("value", [-1, -(2**31)])
def test_no_expert_has_a_negative_number(value: int) -> None:
    rows = table(3, 4)
    rows[2, 3] = value
    assert reason_for(wire(rows)) == "negative_expert"


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (LITERAL[:-1], "bad_base64"),
        (LITERAL[:-4] + b"AA=A", "bad_base64"),
        (LITERAL[:-4] + b"A===", "bad_length"),
        (LITERAL[:-2] + "é".encode(), "bad_base64"),
        (b"=" * 64, "bad_length"),
        (LITERAL[:-4] + b"AA==", "bad_length"),  # 46 bytes
        (LITERAL[:-4] + b"AAA=", "bad_length"),
        (b"____" + LITERAL[4:], "bad_base64"),  # the alphabet for URLs
        (b"AA A" + LITERAL[4:], "bad_base64"),
        (b"AA\nA" + LITERAL[4:], "bad_base64"),
        (b"AA\x00A" + LITERAL[4:], "bad_base64"),
        (b'AA"A' + LITERAL[4:], "bad_base64"),
        (b"AA\xffA" + LITERAL[4:], "bad_base64"),
        (b"AA\\A" + LITERAL[4:], "bad_base64"),
        (b"A\\n" + LITERAL[2:], "bad_base64"),
        (LITERAL[:-1] + b"\\", "bad_base64"),
        (LITERAL[:-6] + b"\\ud800", "bad_base64"),  # half a surrogate pair
        (LITERAL[:-6] + b"\\u00e9AAA", "bad_base64"),
        (b"null", "bad_length"),  # base64 by chance, but no int32
    ],
)
def test_garbage_is_invalid(encoded: bytes, reason: str) -> None:
    assert reason_for(encoded) == reason


def test_padding_inside_is_invalid_even_between_two_chunks() -> None:
    encoded = bytearray(wire(table(2 * CHUNK_INTS // 4, 4)))
    rows = 2 * CHUNK_INTS // 4
    assert decode(bytes(encoded), rows, 1).rows == rows
    encoded[CHUNK_CHARS - 1] = ord("=")
    assert reason_for(bytes(encoded), rows, 1) == "bad_base64"


# Nearly always base64, and often of whole int32, with one character changed or escaped.
NEAR_BASE64 = st.builds(
    lambda raw, at, insert: base64.b64encode(raw)[:at] + insert + base64.b64encode(raw)[at:],
    st.binary(max_size=40).map(lambda raw: raw[: len(raw) // 4 * 4]),
    st.integers(0, 60),
    st.sampled_from([b"", b"", b"", b"\\/AAA", b"=", b"AAAA", b"\\", b'"', b"\xff"]),
)


@given(
    st.binary(max_size=80) | NEAR_BASE64,
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 12),
)
def test_any_bytes_are_rows_or_invalid(
    encoded: bytes, prompt: int, completion: int, start: int
) -> None:
    all_rows = max(prompt + completion - 1, 0)
    try:
        decoded = decode(encoded, prompt, completion, start)
    except InvalidR3:
        return
    assert decoded.start + decoded.rows == all_rows
    if start == 0:  # then every number is looked at
        plain = json.loads(b'"%b"' % encoded) if encoded else ""
        sent = np.frombuffer(base64.b64decode(plain, validate=True), "<i4")
        assert decoded.values.reshape(-1).tolist() == sent.tolist()


@pytest.mark.parametrize("start", [0, 1, 2, 3, 5_000, CHUNK_INTS // 7 + 1])
def test_rows_from_zero_are_cut_at_any_row(start: int) -> None:
    rows = CHUNK_INTS // 7 + 50  # two chunks; 7 numbers a row never end with a group of three
    whole = table(rows, 7)
    decoded = decode(wire(whole), rows, 1, start, 7)
    assert decoded.ignored_start is (start > 0)
    assert (decoded.values == whole[start:]).all()


def test_a_wide_number_in_a_late_chunk_widens_what_came_before() -> None:
    whole = table(3 * CHUNK_INTS // 8, 8)
    whole[CHUNK_INTS // 8 + 1, 3] = 300
    whole[-1, -1] = 70_000
    decoded = decode(wire(whole), len(whole), 1, width=8)
    assert decoded.dtype == "<i4"
    assert (decoded.values == whole).all()


@pytest.mark.parametrize("of", [bytes, bytearray, memoryview])
def test_bytes_may_come_as_a_view(of: Any) -> None:
    assert decode(of(LITERAL)).values.tolist() == LITERAL_ROWS
    assert decode(memoryview(b"x" + LITERAL + b'"')[1:-1]).values.tolist() == LITERAL_ROWS


@pytest.mark.parametrize(
    "escaped", [b"\\/", b"\\u002f", b"\\u002F"], ids=["slash", "unicode", "upper case"]
)
def test_escapes_of_a_json_writer_are_resolved(escaped: bytes) -> None:
    rows = np.full((3, 4), 255)
    assert wire(rows).count(b"/") > 0
    decoded = decode(wire(rows).replace(b"/", escaped))
    assert decoded.values.tolist() == rows.tolist()


@pytest.mark.parametrize("shift", range(8))
def test_escapes_are_whole_wherever_a_chunk_ends(shift: int) -> None:
    ints = CHUNK_INTS // 2
    plain = wire(np.full(ints, 0x7FFFFFFF))
    # `shift` characters written in six put the escapes behind them at each place of a chunk's end.
    head = b"".join(b"\\u%04x" % char for char in plain[:shift])
    encoded = head + plain[shift:].replace(b"/", b"\\u002f")
    assert len(encoded) > CHUNK_CHARS
    decoded = decode(encoded, ints, 1, width=1)
    assert (decoded.values == 0x7FFFFFFF).all()


@pytest.mark.parametrize(
    ("highest", "escape", "bound"),
    [(200, False, 0.6), (40_000, False, 1.0), (100_000, False, 1.3), (200, True, 1.6)],
    ids=["uint8", "uint16", "int32", "escaped"],
)
def test_memory_beside_the_text_stays_below_two_of_it(
    highest: int, escape: bool, bound: float
) -> None:
    rows = table(2_000, 480, highest)
    encoded = wire(rows)
    if escape:
        encoded = encoded.replace(b"/", b"\\/")
    tracemalloc.start()
    try:
        decoded = decode(encoded, 1_990, 11, width=480)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoded.rows == 2_000
    assert peak_bytes < bound * len(encoded)


def test_rows_that_were_not_asked_for_take_no_memory() -> None:
    encoded = wire(table(4_000, 480))
    tracemalloc.start()
    try:
        decoded = decode(encoded, 3_990, 11, start=3_980, width=480)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoded.rows == 20
    assert peak_bytes < 6 * CHUNK_CHARS


def test_a_width_is_not_learnt_from_rows_that_nobody_looked_at() -> None:
    shape = ExpertShape()
    decoded = decode_block(
        b"!" * 64, prompt_tokens=2, completion_tokens=2, asked_start=3, shape=shape
    )
    assert (decoded.start, decoded.rows, decoded.ignored_start) == (3, 0, True)
    assert shape.width is None
