"""What is kept of one answer's routed experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from miles_router.core.r3 import InvalidR3, MemoryPayload, R3Block

if TYPE_CHECKING:
    from miles_router.core.r3.block import Dtype


@pytest.mark.parametrize(
    ("dtype", "size_bytes"), [("|u1", 12), ("<u2", 24), ("<i4", 48)], ids=["u1", "u2", "i4"]
)
def test_a_block_is_as_large_as_its_payload(dtype: Dtype, size_bytes: int) -> None:
    block = R3Block(5, 3, 4, dtype, MemoryPayload(bytes(size_bytes)))
    assert block.size_bytes == size_bytes
    assert block.payload.load() == bytes(size_bytes)


def test_a_block_without_rows_needs_no_width() -> None:
    assert R3Block(9, 0, 0, "|u1", MemoryPayload(b"")).size_bytes == 0
    assert R3Block(9, 0, 480, "|u1", MemoryPayload(b"")).size_bytes == 0


@pytest.mark.parametrize(
    ("start", "rows", "width", "dtype", "size_bytes"),
    [
        (0, 3, 4, "|u1", 11),
        (0, 3, 4, "|u1", 13),
        (0, 3, 4, "<u2", 12),
        (0, 0, 0, "|u1", 1),
        (0, 3, 0, "|u1", 0),  # rows of nothing
        (-1, 3, 4, "|u1", 12),
        (0, -3, -4, "|u1", 12),
        (0, 3, 4, "<f4", 48),
        (0, 3, 4, "nonsense", 12),
    ],
)
def test_a_block_that_its_bytes_do_not_fit_is_refused(
    start: int, rows: int, width: int, dtype: Dtype, size_bytes: int
) -> None:
    with pytest.raises(InvalidR3) as caught:
        R3Block(start, rows, width, dtype, MemoryPayload(bytes(size_bytes)))
    assert caught.value.reason == "bad_block"


def test_a_discarded_payload_in_memory_still_serves_who_holds_it() -> None:
    payload = MemoryPayload(b"abc")
    payload.discard()
    assert (payload.size_bytes, payload.load()) == (3, b"abc")
