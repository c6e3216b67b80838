"""Rings of one-second slots for many numbers at once: means and sums by slot, gaps as NaN.

A column is one number's past, a row is one second, the newest last: with time as the first axis,
all numbers of a second lie together, and means over seconds cost a tenth. Nothing here knows what
the numbers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Arrays below the allocator's 128 KiB are reused; above, each is mapped anew, and the page faults
# make the means of 1,000 workers four times as dear (0.8 ms against 0.2).
_BLOCK_BYTES = 100_000


class Series:
    """`values`: float32, shape [slots, numbers], newest slot last; one without a value is `gap`."""

    def __init__(self, numbers: int, slots: int, *, gap: float = np.nan) -> None:
        self.gap = gap
        self.values: NDArray[np.float32] = np.full((slots, numbers), gap, dtype=np.float32)
        self._count = 0  # values that the newest slot is the mean of

    def advance(self, slots: int) -> None:
        """Begin the slot that is `slots` later; those between are gaps."""
        if slots <= 0:
            return
        length = len(self.values)
        kept = max(0, length - slots)
        self.values[:kept] = self.values[length - kept :]
        self.values[kept:] = self.gap
        self._count = 0

    def level(self, now: NDArray[np.float32]) -> None:
        """One more value of each number for the newest slot, which is the mean of its values.

        `now` has the shape [numbers]; NaN is a number that nobody knows.
        """
        newest = self.values[-1]
        if self._count == 0:
            self.values[-1] = now
        else:
            mean = (newest * self._count + now) / (self._count + 1)
            known = np.where(np.isnan(newest), now, mean)
            self.values[-1] = np.where(np.isnan(now), newest, known)
        self._count += 1

    def add(self, now: NDArray[np.float32]) -> None:
        """Add to the newest slot what was counted since the last call, shape [numbers]."""
        self.values[-1] += now

    def newest(self, slots: int) -> NDArray[np.float32]:
        """The sums over the newest `slots` slots, shape [numbers]."""
        sums: NDArray[np.float32] = self.values[-slots:].sum(axis=0)
        return sums

    def rearrange(self, places: NDArray[np.intp]) -> None:
        """Let number `n` be what number `places[n]` was; -1: a new one, all gaps."""
        values = np.full((len(self.values), len(places)), self.gap, dtype=np.float32)
        known = places >= 0
        values[:, known] = self.values[:, places[known]]
        self.values = values


def resampled(values: NDArray[np.float32], width: int, newest: int) -> NDArray[np.float32]:
    """Means over equal numbers of slots, at most `width` of them, shape [means, numbers].

    `newest` is the number of the newest slot: means begin at multiples of their length, so that
    they stay what they are while time goes on, and the newest one fills up. A mean is NaN where all
    of its slots are.
    """
    slots, numbers = values.shape
    step = -(-slots // max(1, min(width, slots)))
    means_shown = slots // step
    used = (means_shown - 1) * step + newest % step + 1
    means = np.empty((means_shown, numbers), dtype=np.float32)
    block = max(1, _BLOCK_BYTES // (4 * means_shown * step))
    for first in range(0, numbers, block):
        part = values[slots - used :, first : first + block]
        padded = np.full((means_shown * step, part.shape[1]), np.nan, dtype=np.float32)
        padded[:used] = part
        grouped = padded.reshape(means_shown, step, part.shape[1])
        means[:, first : first + block] = mean(grouped, axis=1)
    return means


def mean(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The mean of what is known along `axis`; NaN where nothing is."""
    known = ~np.isnan(values)
    sums = np.where(known, values, np.float32(0)).sum(axis=axis)
    counts = known.sum(axis=axis, dtype=np.float32)
    means = np.full(sums.shape, np.nan, dtype=np.float32)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def plot_span(span_s: int, width: int) -> int:
    """The seconds that `width` columns span which show at least `span_s`: whole seconds each."""
    return width * max(1, -(-span_s // max(1, width)))
