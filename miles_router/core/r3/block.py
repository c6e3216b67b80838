"""What is kept of one answer's routed experts: a description, and bytes that may lie elsewhere.

This file must not know where a payload lives, nor how a worker encodes it. Invariant: a block has
exactly the bytes that its description says, so rows cannot shift against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np

Dtype = Literal["|u1", "<u2", "<i4"]

# The narrowest first. An expert's number is an int32 from 0 on.
DTYPES: Final[tuple[Dtype, ...]] = get_args(Dtype)

Reason = Literal[
    "bad_counts",  # token counts or a start below zero
    "bad_base64",  # not standard base64 with padding
    "bad_length",  # no whole number of rows, however it is read
    "ambiguous",  # could begin at row 0 or at the start that was asked for
    "width_changed",  # rows of another width than this model's
    "negative_expert",  # a number that is no expert's
    "bad_block",  # the bytes kept do not fit their description
]


class InvalidR3(ValueError):
    """Routed experts that cannot be used; `reason` is stable, to be counted."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Payload(Protocol):
    """The bytes of a block: in memory, or in a file."""

    @property
    def size_bytes(self) -> int:
        """How many bytes `load` returns."""

    def load(self) -> bytes:
        """The bytes. May read a file, and raise what its owner says: call it in a thread."""

    def discard(self) -> None:
        """Give back what the payload holds; it is not loaded afterwards. May touch a file."""


@dataclass(frozen=True, slots=True)
class MemoryPayload:
    """Bytes in memory."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        """How many bytes `load` returns."""
        return len(self.data)

    def load(self) -> bytes:
        """The bytes, not copied."""
        return self.data

    def discard(self) -> None:
        """Nothing to give back: the memory goes with the last reference."""


@dataclass(frozen=True, slots=True)
class R3Block:
    """Consecutive rows of routed experts, C order [rows, width].

    Args:
        start: position in its sequence of the token that the first row belongs to.
        rows: how many.
        width: layers * top_k; may be 0 only where there are no rows.
        dtype: of the bytes, as numpy spells it.
        payload: rows * width numbers.

    Raises:
        InvalidR3: `payload` is not of that size, or a number is out of range ("bad_block").
    """

    start: int
    rows: int
    width: int
    dtype: Dtype
    payload: Payload

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or min(self.start, self.rows, self.width) < 0:
            raise InvalidR3("bad_block", f"no block: {self.start=} {self.rows=} {self.dtype=}")
        expected = self.rows * self.width * np.dtype(self.dtype).itemsize
        if self.payload.size_bytes != expected or (self.rows and not self.width):
            raise InvalidR3(
                "bad_block",
                f"{self.rows} rows of {self.width} {self.dtype} are {expected} bytes, "
                f"not {self.payload.size_bytes}",
            )

    @property
    def size_bytes(self) -> int:
        """Bytes of the payload."""
        return self.payload.size_bytes
