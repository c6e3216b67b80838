"""What a trajectory looks like to its reader: JSON as miles reads it, or safetensors.

Log-probabilities that are not known are 0.0 in JSON, because old clients need numbers there; the
mask says which ones count. safetensors has NaN.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from miles_router.core.r3 import InvalidR3, R3Piece, encode_chunks, splice
from miles_router.net.r3_files import R3FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miles_router.core.r3 import ExpertShape
    from miles_router.core.trajectory.reading import Reading
    from miles_router.net.token_cache import TokenCache

NOT_READABLE = "not_readable"
# Where the base64 of routed experts goes in an answer that was encoded without it.
_EXPERTS_PLACE = b'"routed_experts":""'


def reading_fields(
    reading: Reading, text: str, *, matched_chars: int, with_logprobs: bool = True
) -> dict[str, Any]:
    """The fields of an answer to /retrieve_from_text."""
    fields: dict[str, Any] = {
        "response": text,
        "tokens": reading.tokens.tolist(),
        "loss_mask": reading.loss_mask.tolist(),
    }
    if with_logprobs:
        fields["rollout_logp"] = np.nan_to_num(reading.logprobs, nan=0.0).tolist()
    return fields | {
        "token_length": len(reading.tokens),
        "loss_mask_length": len(reading.loss_mask),
        "exact": reading.is_exact,
        "spans": [
            {
                "start": span.start,
                "end": span.end,
                "origin": span.origin,
                "exact": span.exact,
                "weight_version": span.weight_version,
            }
            for span in reading.spans
        ],
        "candidates": reading.candidates,
        "matched_chars": matched_chars,
        "rids": list(reading.rids),
        "trajectory": trajectory_id(reading),
    }


def trajectory_id(reading: Reading) -> str | None:
    """The id of the trajectory that ends where the reading does; None where it goes on."""
    last = reading.turns[-1] if reading.turns else None
    if last is None or last.trajectory is None or len(reading.tokens) != last.end:
        return None
    return last.trajectory.id


def encode_reading(fields: dict[str, Any], rows: NDArray[np.integer] | None) -> bytes:
    """JSON with routed experts as a worker would send them: base64 of int32, C order.

    0.2 s for 67 MB: call it in a thread where there are many.
    """
    if rows is None:
        return msgspec.json.encode(fields)
    body = msgspec.json.encode({**fields, "routed_experts": ""})
    before, _, behind = body.rpartition(_EXPERTS_PLACE)
    head = b'%b"routed_experts":"' % before
    return b"".join([head, *encode_chunks(rows), b'"', behind])


def read_experts(reading: Reading) -> tuple[NDArray[np.integer] | None, str | None]:
    """Routed experts [n - 1, layers * top_k] of a reading, or why there are none.

    Reads files: call it in a thread.
    """
    if not reading.is_exact:
        return None, "not_exact"
    # A reading may leave its last turn before that ends: what follows there is of other tokens.
    until = reading.path_tokens
    chain = [R3Piece(turn.r3, turn.inherited, min(turn.end, until)) for turn in reading.turns]
    try:
        rows = splice(chain, num_tokens=len(reading.tokens))
    except InvalidR3 as error:
        return None, error.reason
    except R3FileError:
        return None, NOT_READABLE
    if rows is not None:
        return rows, None
    reasons = [turn.r3_missing for turn in reading.turns if turn.r3 is None]
    return None, reasons[0] if reasons else "incomplete"


async def experts_of(
    cache: TokenCache, reading: Reading
) -> tuple[NDArray[np.integer] | None, str | None]:
    """`read_experts` in a thread; what is lost for good is forgotten."""
    rows, missing = await cache.in_thread(partial(read_experts, reading))
    if missing == NOT_READABLE:
        cache.drop_unreadable(reading.turns)
    return rows, missing


def as_safetensors(
    reading: Reading,
    rows: NDArray[np.integer] | None,
    shape: ExpertShape,
    metadata: dict[str, Any],
) -> bytes:
    """tokens int32, loss_mask uint8, logprobs float32 with NaN, routed_experts as they are kept."""
    # Imported with the first trajectory that is asked for: it takes 50 ms.
    from safetensors.numpy import save  # noqa: PLC0415

    tensors: dict[str, NDArray[Any]] = {
        "tokens": np.ascontiguousarray(reading.tokens),
        "loss_mask": reading.loss_mask,
        "logprobs": reading.logprobs,
    }
    if rows is not None:
        tensors["routed_experts"] = np.ascontiguousarray(shape.unfold(rows))
    told = {"miles_router": msgspec.json.encode(metadata).decode()}
    return save(tensors, metadata=told)
