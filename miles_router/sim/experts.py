"""Routed experts (R3): which experts each layer chose for each token, in SGLang's encoding.

Rows are a function of (weight version, position, token), so they can be recomputed; the experts
of one row and layer are distinct. Wire form: base64 of little-endian int32, C order, shape [rows,
num_layers, top_k], rows [start, prompt + completion - 1): the last sampled token was never fed to
the model.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from miles_router.sim.sampler import version_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ODD_POSITION = np.uint64(0x9E3779B97F4A7C15)
_ODD_TOKEN = np.uint64(0xC2B2AE3D27D4EB4F)
_ODD_LAYER = np.uint64(0x165667B19E3779F9)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finish: every bit of the input changes about half of the output."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class ExpertRouter:
    """The simulated mixture-of-experts router."""

    num_layers: int
    num_experts: int
    top_k: int

    def rows(
        self, tokens: Sequence[int], versions: Sequence[tuple[str, int]], start: int
    ) -> NDArray[np.int32]:
        """Rows `[start, len(tokens))`, shape [rows, num_layers, top_k].

        Args:
            tokens: the tokens that were fed: all but the last of the sequence.
            versions: (weight version, end position) in order; the last end is len(tokens).
            start: first row wanted; values past the end give no rows.
        """
        start = min(start, len(tokens))
        ids = np.asarray(tokens[start:], dtype=np.uint64)
        positions = np.arange(start, len(tokens), dtype=np.uint64)
        salts = np.zeros(len(tokens), dtype=np.uint64)
        begin = 0
        for version, end in versions:
            salts[begin:end] = int.from_bytes(version_key(version)[:8], "little")
            begin = end
        mixed = _mixed(
            salts[start:] ^ (positions * _ODD_POSITION) ^ ((ids + np.uint64(1)) * _ODD_TOKEN)
        )
        layers = np.arange(1, self.num_layers + 1, dtype=np.uint64) * _ODD_LAYER
        per_layer = _mixed(mixed[:, None] + layers[None, :])
        widest = max(1, (self.num_experts - 1) // max(1, self.top_k - 1))
        # Multiplying and shifting scales 32 random bits to a range without a slow division.
        half = np.uint64(32)
        first = (((per_layer >> half) * np.uint64(self.num_experts)) >> half).astype("<i4")
        low = per_layer & np.uint64(0xFFFFFFFF)
        stride = ((low * np.uint64(widest)) >> half).astype("<i4") + np.int32(1)
        chosen: NDArray[np.int32] = first[:, :, None] + stride[:, :, None] * np.arange(
            self.top_k, dtype="<i4"
        )
        # All strides together stay below num_experts: one subtraction wraps, nothing repeats.
        chosen -= (chosen >= self.num_experts) * np.int32(self.num_experts)
        return chosen


def encode_rows(rows: NDArray[np.int32]) -> str:
    """Base64 of the rows' bytes; an empty string for no rows."""
    return base64.b64encode(rows.tobytes()).decode()
