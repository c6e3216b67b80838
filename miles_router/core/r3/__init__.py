"""Routed experts (R3): read from answers, kept narrow, spliced for a whole trajectory.

`wire` is SGLang's encoding, `block` what is kept of one answer, `shape` what is known of the model,
`splice` which rows of which blocks make up a trajectory. A row is never guessed: data that could be
read in two ways is invalid, and a trajectory with a row missing has none.
"""

from miles_router.core.r3.block import InvalidR3, MemoryPayload, Payload, R3Block, Reason
from miles_router.core.r3.shape import ExpertShape
from miles_router.core.r3.splice import (
    R3Piece,
    RowSlice,
    assemble,
    covers,
    load_rows,
    plan_rows,
    splice,
    start_to_ask,
)
from miles_router.core.r3.wire import DecodedR3, decode_block, encode_chunks, encode_int32

__all__ = [
    "DecodedR3",
    "ExpertShape",
    "InvalidR3",
    "MemoryPayload",
    "Payload",
    "R3Block",
    "R3Piece",
    "Reason",
    "RowSlice",
    "assemble",
    "covers",
    "decode_block",
    "encode_chunks",
    "encode_int32",
    "load_rows",
    "plan_rows",
    "splice",
    "start_to_ask",
]
