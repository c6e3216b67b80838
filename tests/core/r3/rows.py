"""Rows of routed experts as tests make them up, and as a worker would send them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from miles_router.core.r3 import (
    DecodedR3,
    ExpertShape,
    InvalidR3,
    MemoryPayload,
    R3Block,
    R3Piece,
    decode_block,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miles_router.core.r3.block import Dtype

WIDTH = 2


def wire(values: Any) -> bytes:
    return base64.b64encode(np.asarray(values, dtype="<i4").tobytes())


def table(rows: int, width: int, highest: int = 200) -> NDArray[np.int32]:
    """Rows that differ from each other."""
    numbers = np.arange(rows * width, dtype=np.int64) * 7919 % (highest + 1)
    numbers[-1:] = highest
    return numbers.astype(np.int32).reshape(rows, width)


def decode(
    encoded: bytes | memoryview,
    prompt: int = 2,
    completion: int = 2,
    start: int = 0,
    width: int | None = None,
) -> DecodedR3:
    shape = ExpertShape(None if width is None else (1, width))
    return decode_block(
        encoded,
        prompt_tokens=prompt,
        completion_tokens=completion,
        asked_start=start,
        shape=shape,
    )


def reason_for(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidR3) as caught:
        decode(*args, **kwargs)
    return caught.value.reason


def block(start: int, end: int, mark: int = 0, dtype: Dtype = "|u1", width: int = WIDTH) -> R3Block:
    """Rows [start, end); row r is [mark, r, r, ...]."""
    values = np.zeros((end - start, width), dtype)
    values[:, 1:] = np.arange(start, end)[:, None]
    values[:, :1] = mark
    return R3Block(start, end - start, width, dtype, MemoryPayload(values.tobytes()))


def in_memory(decoded: DecodedR3) -> R3Block:
    """A block that keeps a copy of the rows of an answer in memory."""
    return decoded.block(MemoryPayload(bytes(decoded.data)))


def piece(rows: tuple[int, int] | None, inherited: int, end: int, mark: int = 0) -> R3Piece:
    return R3Piece(None if rows is None else block(*rows, mark), inherited, end)
