"""Which rows of which turns make up the routed experts of a trajectory.

The rule. A sequence of n tokens has n - 1 rows: row r is how token r was routed on the way to token
r + 1. So row r of a turn is a row of the trajectory exactly where both have the same tokens
0 .. r + 1. Turn i of a chain shares its first `s` tokens with the trajectory, `s` being the least
of its own end, of what each later turn inherited and of the length asked for; its rows [0, s - 1)
count, as far as its block has them. Where several turns have a row, the first one's counts: it is
from the run that produced the tokens, while a later worker may have computed it again with other
weights.

It follows that the row of the last inherited token is the child's, even where its parent has one:
it decided the child's first own token. That is why a child asks for rows from `inherited - 1` on.

Planning is pure and reads no payload; `load_rows`, `assemble` and `splice` load payloads, so they
run in a thread. This file must not know where payloads live.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from miles_router.core.r3.block import DTYPES, InvalidR3, R3Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class R3Piece:
    """One turn of a chain, from the first to the last.

    Args:
        block: its rows; None: it has none that are valid.
        inherited: so many tokens are the first ones of the turn before it; of no meaning in the
            first.
        end: how many tokens it has, prompt and output.
    """

    block: R3Block | None
    inherited: int
    end: int


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Rows [start, start + rows) of a trajectory, to be taken from `block`."""

    block: R3Block
    start: int
    rows: int


def plan_rows(chain: Sequence[R3Piece], num_tokens: int) -> tuple[RowSlice, ...] | None:
    """Where the rows [0, num_tokens - 1) of the last turn are; None if one is missing.

    The slices are in order, without a gap; none for fewer than two tokens. None also where blocks
    differ in width, which are of two models. O(n log n) in the turns.
    """
    gaps = [(0, num_tokens - 1)] if num_tokens > 1 else []
    slices: list[RowSlice] = []
    for piece, limit in zip(chain, _row_limits(chain, num_tokens), strict=True):
        if not gaps:
            break
        block = piece.block
        if block is not None:
            parts = _take(gaps, block.start, min(block.start + block.rows, limit))
            slices += [RowSlice(block, start, end - start) for start, end in parts]
    if gaps or len({part.block.width for part in slices}) > 1:
        return None
    return tuple(sorted(slices, key=lambda part: part.start))


def covers(chain: Sequence[R3Piece], until: int) -> bool:
    """Whether the rows [0, until) of the last turn are complete, for one that inherits them."""
    return plan_rows(chain, until + 1) is not None


def start_to_ask(chain: Sequence[R3Piece], matched_tokens: int) -> int:
    """The `routed_experts_start_len` of a turn whose first `matched_tokens` are the last turn's.

    With the rows asked for, the new turn's are complete: from the last matched token on, or all.
    """
    if matched_tokens > 0 and covers(chain, matched_tokens - 1):
        return matched_tokens - 1
    return 0


def _row_limits(chain: Sequence[R3Piece], num_tokens: int) -> list[int]:
    """For each turn: its rows below this one are rows of the trajectory."""
    limits: list[int] = []
    shared = num_tokens
    for piece in reversed(chain):
        shared = min(shared, piece.end)
        limits.append(shared - 1)
        shared = min(shared, piece.inherited)
    return limits[::-1]


def _take(gaps: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """The parts of [start, end) that lie in `gaps` (ascending, apart); `gaps` loses them."""
    if start >= end:
        return []
    first = bisect_right(gaps, start, key=lambda gap: gap[1])
    behind = bisect_left(gaps, end, key=lambda gap: gap[0])
    hit = gaps[first:behind]
    if not hit:
        return []
    rest = [(hit[0][0], start), (end, hit[-1][1])]
    gaps[first:behind] = [gap for gap in rest if gap[0] < gap[1]]
    return [(max(gap[0], start), min(gap[1], end)) for gap in hit]


def load_rows(slices: Sequence[RowSlice]) -> Iterator[NDArray[np.integer]]:
    """The rows of each slice, [rows, width] in the dtype of its block, read-only, in order.

    One payload is in memory at a time, if the caller lets go of the rows before.

    Raises:
        InvalidR3: a payload is not of the size its block says ("bad_block").
        Exception: what `Payload.load` raises.
    """
    loaded: R3Block | None = None
    data = b""
    for part in slices:
        block = part.block
        if block is not loaded:
            data = b""  # let go of one before the next is loaded
            data = block.payload.load()
            loaded = block
            if len(data) != block.size_bytes:
                raise InvalidR3("bad_block", f"{len(data)} bytes were kept of {block.size_bytes}")
        first = (part.start - block.start) * block.width
        flat = np.frombuffer(data, block.dtype)[first : first + part.rows * block.width]
        yield flat.reshape(part.rows, block.width)
        del flat


def assemble(slices: Sequence[RowSlice], width: int) -> NDArray[np.integer]:
    """All rows of a plan, [rows, width], in the widest dtype among their blocks.

    Raises:
        InvalidR3: as `load_rows`; or a block is not `width` wide ("width_changed").
        Exception: what `Payload.load` raises.
    """
    wrong = next((part.block.width for part in slices if part.block.width != width), None)
    if wrong is not None:
        raise InvalidR3("width_changed", f"rows of {wrong} numbers among rows of {width}")
    widest = max((DTYPES.index(part.block.dtype) for part in slices), default=0)
    whole: NDArray[np.integer] = np.empty(
        (sum(part.rows for part in slices), width), np.dtype(DTYPES[widest])
    )
    done = 0
    for rows in load_rows(slices):
        whole[done : done + len(rows)] = rows
        done += len(rows)
        del rows
    return whole


def splice(chain: Sequence[R3Piece], *, num_tokens: int) -> NDArray[np.integer] | None:
    """The rows of the last turn's first `num_tokens` tokens; None if one is missing.

    Returns:
        Shape [max(num_tokens - 1, 0), width]; width 0 where no turn has a block.

    Raises:
        InvalidR3, Exception: as `assemble`.
    """
    plan = plan_rows(chain, num_tokens)
    if plan is None:
        return None
    blocks = [part.block for part in plan] or [piece.block for piece in chain if piece.block]
    return assemble(plan, max((block.width for block in blocks), default=0))
