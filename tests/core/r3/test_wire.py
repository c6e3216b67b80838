"""SGLang's encoding of routed experts: which rows an answer has, and both ways of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.r3 import (
    DecodedR3,
    ExpertShape,
    InvalidR3,
    decode_block,
    encode_chunks,
    encode_int32,
)
from miles_router.core.r3.wire import CHUNK_CHARS, CHUNK_INTS
from tests.core.r3.rows import decode, in_memory, reason_for, table, wire

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Literal example (1) of the worker's contract: 2 layers, top 2, prompt 2 + output 2.
LITERAL = b"AAAAAAMAAAABAAAAAgAAAAIAAAABAAAAAAAAAAMAAAADAAAAAAAAAAIAAAABAAAA"
LITERAL_ROWS = [[0, 3, 1, 2], [2, 1, 0, 3], [3, 0, 2, 1]]


def test_the_literal_example() -> None:
    shape = ExpertShape((2, 2))
    decoded = decode_block(
        LITERAL, prompt_tokens=2, completion_tokens=2, asked_start=0, shape=shape
    )
    assert decoded.values.tolist() == LITERAL_ROWS
    assert shape.unfold(decoded.values).tolist() == [
        [[0, 3], [1, 2]],
        [[2, 1], [0, 3]],
        [[3, 0], [2, 1]],
    ]
    assert (decoded.start, decoded.rows, decoded.width, decoded.dtype) == (0, 3, 4, "|u1")
    assert decoded.ignored_start is False
    assert encode_int32(decoded.values) == LITERAL.decode()


def test_a_block_holds_what_was_decoded() -> None:
    decoded = decode(LITERAL)
    block = in_memory(decoded)
    assert (block.start, block.rows, block.width, block.dtype) == (0, 3, 4, "|u1")
    assert block.payload.load() == bytes([0, 3, 1, 2, 2, 1, 0, 3, 3, 0, 2, 1])
    assert decoded.data == block.payload.load()


@pytest.mark.parametrize(
    ("highest", "dtype"),
    [
        (0, "|u1"),
        (255, "|u1"),
        (256, "<u2"),
        (65_535, "<u2"),
        (65_536, "<i4"),
        (2**31 - 1, "<i4"),
    ],
)
def test_numbers_are_kept_in_the_narrowest_dtype(highest: int, dtype: str) -> None:
    rows = table(3, 4, highest)
    decoded = decode(wire(rows))
    assert decoded.dtype == dtype
    assert (decoded.values == rows).all()
    assert len(decoded.data) == rows.size * np.dtype(dtype).itemsize
    assert in_memory(decoded).payload.load() == rows.astype(dtype).tobytes()


# prompt 4 + output 3: rows 0..5 in all, rows 2..5 from start 2.
WHOLE = table(6, 4)


@pytest.mark.parametrize(
    ("sent", "start", "width", "first", "ignored"),
    [
        (WHOLE, 0, None, 0, False),
        (WHOLE, 0, 4, 0, False),
        (WHOLE[2:], 2, 4, 2, False),
        (WHOLE, 2, 4, 2, True),
        (WHOLE[3:], 3, 4, 3, False),
        (WHOLE[5:], 5, 4, 5, False),
        (WHOLE, 5, 4, 5, True),
        (WHOLE[6:], 6, 4, 6, False),  # no rows
        (WHOLE[6:], 6, None, 6, False),
        (WHOLE[6:], 99, 4, 6, False),  # workers clamp
        (WHOLE, 6, 4, 6, True),
        (WHOLE, 99, None, 6, True),  # no rows were asked for, so these begin at 0
        (WHOLE[2:], 2, None, 2, False),  # 16 numbers are 4 rows, not 6
        (WHOLE[:, :3], 2, None, 2, True),  # 18 numbers are 6 rows, not 4
    ],
)
def test_rows_begin_at_the_start_or_at_zero(
    sent: NDArray[np.int32], start: int, width: int | None, first: int, ignored: bool
) -> None:
    decoded = decode(wire(sent), 4, 3, start, width)
    assert (decoded.start, decoded.ignored_start) == (first, ignored)
    expected = sent[first:] if ignored else sent
    assert decoded.values.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("ints", "start", "width", "reason"),
    [
        (24, 2, None, "ambiguous"),  # 4 rows of 6, or 6 rows of 4
        (24, 5, None, "ambiguous"),
        (23, 0, None, "bad_length"),
        (23, 0, 4, "bad_length"),
        (20, 0, 4, "bad_length"),  # a row is missing
        (28, 0, 4, "bad_length"),  # a row too many: of the last token, which has none
        (12, 2, 4, "width_changed"),  # 4 rows of 3, or 6 rows of 2
        (30, 0, 4, "width_changed"),
        (0, 0, None, "bad_length"),
        (0, 5, 4, "bad_length"),
        (4, 6, 4, "bad_length"),  # no rows were asked for
        (1, 0, None, "bad_length"),
    ],
)
def test_what_is_no_whole_number_of_rows_is_invalid(
    ints: int, start: int, width: int | None, reason: str
) -> None:
    assert reason_for(wire(np.zeros(ints)), 4, 3, start, width) == reason


def test_a_width_that_is_not_the_models_is_named() -> None:
    with pytest.raises(InvalidR3, match="18 numbers are rows of 3, not of 4"):
        decode(wire(WHOLE[:, :3]), 4, 3, 0, 4)
    with pytest.raises(InvalidR3, match="12 numbers are rows of 3 or 2, not of 4"):
        decode(wire(np.zeros(12)), 4, 3, 2, 4)


def test_a_width_once_learnt_settles_what_was_ambiguous() -> None:
    shape = ExpertShape()

    def read(rows: NDArray[np.int32], start: int) -> DecodedR3:
        return decode_block(
            wire(rows), prompt_tokens=4, completion_tokens=3, asked_start=start, shape=shape
        )

    with pytest.raises(InvalidR3):
        read(WHOLE, 2)
    assert shape.width is None  # invalid data teaches nothing
    read(WHOLE, 0)
    assert shape.width == 4
    assert read(WHOLE, 2).values.tolist() == WHOLE[2:].tolist()
    with pytest.raises(InvalidR3) as caught:
        read(table(6, 5), 0)
    assert caught.value.reason == "width_changed"
    assert shape.width == 4


@pytest.mark.parametrize(("prompt", "completion"), [(0, 0), (1, 0), (0, 1)])
def test_a_sequence_of_one_token_has_no_rows(prompt: int, completion: int) -> None:
    decoded = decode(b"", prompt, completion)
    assert (decoded.start, decoded.rows, decoded.values.shape) == (0, 0, (0, 0))
    assert in_memory(decoded).size_bytes == 0
    assert decode(b"", prompt, completion, width=4).values.shape == (0, 4)
    assert reason_for(wire([0, 1]), prompt, completion) == "bad_length"


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(0, 20),
    st.booleans(),
    st.booleans(),
)
def test_honest_rows_are_never_misread(
    prompt: int, completion: int, width: int, start: int, ignores: bool, known: bool
) -> None:
    whole = table(prompt + completion - 1, width)
    sent = whole if ignores else whole[start:]
    try:
        decoded = decode(wire(sent), prompt, completion, start, width if known else None)
    except InvalidR3 as error:
        assert error.reason == "ambiguous"  # noqa: PT017
        assert not known
        assert start > 0
    else:
        assert decoded.values.tolist() == whole[start:].tolist()


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<i4"])
@pytest.mark.parametrize("rows", [0, 1, 3, CHUNK_INTS // 6 + 5])
def test_encoding_is_what_a_worker_sends(dtype: str, rows: int) -> None:
    whole = table(rows, 6).astype(dtype)
    assert encode_int32(whole).encode() == wire(whole)
    assert b"".join(encode_chunks(whole)) == wire(whole)
    assert all(len(chunk) <= CHUNK_CHARS for chunk in encode_chunks(whole))


def test_encoding_follows_the_rows_of_a_view() -> None:
    whole = table(6, 4).reshape(6, 2, 2)
    assert encode_int32(whole[::2]).encode() == wire(whole[::2])
    assert encode_int32(whole[1:3]).encode() == wire(whole[1:3])
