"""Rings of one-second slots for one number: means or counts by slot, gaps as NaN or 0.

Plain arrays and the interpreter's own `sum`: for 1,000 workers a snapshot costs 3 ms, for 64 as
much as with numpy, which would take a tenth of the time to the first screen to load. Nothing here
knows what the numbers mean.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Levels:
    """A number that is looked at now and then.

    `values`: the mean of what was seen in each slot, the newest slot last; NaN where nothing was.
    """

    __slots__ = ("_seen", "values")

    def __init__(self, slots: int) -> None:
        self.values = array("d", [math.nan]) * slots
        self._seen = 0  # values that the newest slot is the mean of

    def advance(self, slots: int) -> None:
        """Begin the slot that is `slots` later; those between are gaps."""
        if slots > 0:
            _shift(self.values, slots, math.nan)
            self._seen = 0

    def take(self, value: float) -> None:
        """One more value for the newest slot."""
        before = self._seen
        self._seen = before + 1
        self.values[-1] = (self.values[-1] * before + value) / self._seen if before else value


class Counts:
    """Something that is counted.

    `values`: how much in each slot, the newest slot last; `sum`: of all slots.
    """

    __slots__ = ("sum", "values")

    def __init__(self, slots: int) -> None:
        self.values = array("d", [0.0]) * slots
        self.sum = 0.0

    def advance(self, slots: int) -> None:
        """Begin the slot that is `slots` later; nothing was counted between."""
        if slots > 0:
            is_less = self.sum != 0 and any(self.values[:slots])
            _shift(self.values, slots, 0.0)
            if is_less:
                self.sum = sum(self.values)

    def add(self, count: float) -> None:
        """Count in the newest slot."""
        self.values[-1] += count
        self.sum += count

    def newest(self, slots: int) -> float:
        """The sum over the newest `slots` slots."""
        return sum(self.values[-slots:])


def _shift(values: array[float], slots: int, gap: float) -> None:
    length = len(values)
    del values[:slots]
    values.extend([gap] * (length - len(values)))


def resampled(values: Sequence[float], width: int, newest: int) -> list[float]:
    """Means over equal numbers of slots, at most `width` of them, oldest first.

    `newest` is the number of the newest slot: means begin at multiples of their length, so that
    they stay what they are while time goes on, and the newest one fills up. A mean is NaN where all
    of its slots are.
    """
    slots = len(values)
    step = _step(slots, width)
    first = slots - (slots // step - 1) * step - newest_part(slots, width, newest)
    listed = list(values)  # slices of lists are added up in half the time
    means = []
    for begin in range(first, slots, step):
        part = listed[begin : begin + step]
        total = sum(part)
        means.append(mean(part) if math.isnan(total) else total / len(part))
    return means


def newest_part(slots: int, width: int, newest: int) -> int:
    """The number of slots that the newest mean of `resampled` is of."""
    return newest % _step(slots, width) + 1


def _step(slots: int, width: int) -> int:
    return -(-slots // max(1, min(width, slots)))


def mean(values: Sequence[float]) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def plot_span(span_s: int, width: int) -> int:
    """The seconds that `width` columns span which show at least `span_s`: whole seconds each."""
    return width * max(1, -(-span_s // max(1, width)))
