"""Rows are loaded late, one payload at a time, into what is wide enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miles_router.core.r3 import (
    InvalidR3,
    R3Block,
    R3Piece,
    assemble,
    covers,
    load_rows,
    plan_rows,
    splice,
)
from tests.core.r3.rows import WIDTH, block, piece

ONE = piece((0, 9), 0, 10)


def test_the_result_is_as_wide_as_its_widest_block() -> None:
    chain = [
        R3Piece(block(0, 9, 200), 0, 10),
        R3Piece(block(9, 14, 60_000, "<u2"), 10, 15),
    ]
    rows = splice(chain, num_tokens=15)
    assert rows is not None
    assert rows.dtype == np.dtype("<u2")
    assert rows[:, 0].tolist() == [200] * 9 + [60_000] * 5
    chain.append(R3Piece(block(14, 19, 70_000, "<i4"), 15, 20))
    rows = splice(chain, num_tokens=20)
    assert rows is not None
    assert rows.dtype == np.dtype("<i4")
    assert rows[:, 0].tolist() == [200] * 9 + [60_000] * 5 + [70_000] * 5
    assert rows[:, 1].tolist() == list(range(19))


def test_a_plan_is_not_assembled_in_another_width() -> None:
    plan = plan_rows([ONE], 10)
    assert plan is not None
    with pytest.raises(InvalidR3) as caught:
        assemble(plan, WIDTH + 1)
    assert caught.value.reason == "width_changed"


class Watched:
    """A payload that counts how often it is loaded, and may come back shorter than it was."""

    def __init__(self, data: bytes, *, missing_bytes: int = 0) -> None:
        self.size_bytes = len(data)
        self.loads = 0
        self._data = data[: len(data) - missing_bytes]

    def load(self) -> bytes:
        self.loads += 1
        return self._data

    def discard(self) -> None:
        self._data = b""


def watched(start: int, end: int, **kwargs: Any) -> tuple[R3Block, Watched]:
    plain = block(start, end)
    payload = Watched(plain.payload.load(), **kwargs)
    return R3Block(start, plain.rows, plain.width, plain.dtype, payload), payload


def test_planning_loads_nothing_and_loading_only_what_is_needed() -> None:
    first, first_payload = watched(0, 9)
    second, second_payload = watched(0, 14)
    chain = [R3Piece(first, 0, 10), R3Piece(second, 10, 15)]
    assert covers(chain, 14)
    plan = plan_rows(chain, 10)
    assert (first_payload.loads, second_payload.loads) == (0, 0)
    assert plan is not None
    assert [rows.tolist() for rows in load_rows(plan)] == [[[0, row] for row in range(9)]]
    assert (first_payload.loads, second_payload.loads) == (1, 0)


def test_a_payload_that_lost_bytes_is_noticed() -> None:
    short, _ = watched(0, 9, missing_bytes=WIDTH)
    with pytest.raises(InvalidR3) as caught:
        splice([R3Piece(short, 0, 10)], num_tokens=5)
    assert caught.value.reason == "bad_block"
