"""What was: two minutes of each worker and an hour of the totals, one slot a second.

Fed with snapshots, whenever they come; counters become rates here. Routers restart and links break
meanwhile: a counter that fell or belongs to another boot begins anew and never makes a negative
rate, seconds without a snapshot are gaps (NaN), and a worker that is missing keeps its past for two
minutes. Slots are aligned to the clock, so that a line of them moves but does not shimmer.

Times are monotonic seconds, given by the caller. Nothing here knows how anything is drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from miles_router.tui.series import Series, mean, plot_span, resampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miles_router.core.snapshot import Snapshot, Totals

SPAN_S = 120
TOTALS_SPAN_S = 3600
# A rate over one interval between snapshots (0.2 s) flickers between 0 and 5 for one request a
# second; over five seconds it is readable and still shows a stall soon.
RATE_SPAN_S = 5

_INFLIGHT, _QUEUED, _LAG = range(3)
_SERVED, _ERRORS = range(2)
_LEAST_ELAPSED_S = 1e-3


def _per_second(
    counted: NDArray[np.float32], elapsed_s: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Rates; NaN where hardly any time has passed."""
    rates = np.full(counted.shape, np.nan, dtype=np.float32)
    np.divide(counted, elapsed_s, out=rates, where=elapsed_s > _LEAST_ELAPSED_S)
    return rates


class History:
    """The past of one router's workers and totals."""

    def __init__(self) -> None:
        self._slot: int | None = None  # number of the newest second
        self._taken_at = 0.0
        self._boot_id = ""
        self._ids: list[str] = []  # of the rows
        self._places: dict[str, int] = {}
        self._shown: list[str] = []  # ids of the last snapshot, in its order
        self._rows: NDArray[np.intp] = np.zeros(0, dtype=np.intp)  # their rows
        self._seen_slots: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._counters: NDArray[np.float64] = np.zeros((2, 0))
        self._inflight = Series(0, SPAN_S)
        self._served = Series(0, SPAN_S, gap=0.0)
        self._errors = Series(0, SPAN_S, gap=0.0)
        self._elapsed = Series(0, SPAN_S, gap=0.0)  # seconds over which `served` rose
        self._levels = Series(3, TOTALS_SPAN_S)
        self._requests = Series(1, TOTALS_SPAN_S, gap=0.0)
        self._total_elapsed = Series(1, TOTALS_SPAN_S, gap=0.0)
        self._request_counter = math.nan
        self._rates: list[float] | None = None
        self._recent_errors: list[float] | None = None
        self._means: list[float] | None = None
        self._lines: dict[int, NDArray[np.float32]] = {}
        self._top: float | None = None

    # Reading. What is asked for often is worked out once after each snapshot, for all workers.

    def rate(self, worker_id: str) -> float | None:
        """Requests per second that it finished, over the last seconds; None if it is not known."""
        place = self._places.get(worker_id)
        if place is None:
            return None
        if self._rates is None:
            served, elapsed_s = self._served.newest(RATE_SPAN_S), self._elapsed.newest(RATE_SPAN_S)
            self._rates = _per_second(served, elapsed_s).tolist()
        rate = self._rates[place]
        return None if math.isnan(rate) else rate

    def recent_errors(self, worker_id: str) -> int:
        """Its errors of the last two minutes."""
        place = self._places.get(worker_id)
        if place is None:
            return 0
        if self._recent_errors is None:
            self._recent_errors = self._errors.newest(SPAN_S).tolist()
        return round(self._recent_errors[place])

    def inflight(self, worker_id: str, width: int = SPAN_S) -> Sequence[float]:
        """Its requests in flight over two minutes, oldest first, at most `width` means.

        NaN where nobody knows; empty if the worker is unknown.
        """
        place = self._places.get(worker_id)
        if place is None or self._slot is None:
            return ()
        lines = self._lines.get(width)
        if lines is None:
            lines = resampled(self._inflight.values, width, self._slot)
            self._lines[width] = lines
        line: list[float] = lines[:, place].tolist()
        return line

    def inflight_mean(self, worker_id: str) -> float | None:
        """The mean of its requests in flight over two minutes."""
        place = self._places.get(worker_id)
        if place is None or self._slot is None:
            return None
        if self._means is None:
            self._means = mean(self._inflight.values, axis=0).tolist()
        own = self._means[place]
        return None if math.isnan(own) else own

    def inflight_top(self) -> float:
        """The most that any worker had in flight in two minutes, at least 1: one scale for all."""
        if self._top is None:
            self._top = float(np.fmax.reduce(self._inflight.values, axis=None, initial=1.0))
        return self._top

    def throughput(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """Requests per second of the whole router, oldest first: `width` means.

        They span `series.plot_span(span_s, width)` seconds; NaN where nobody knows.
        """
        rates = _per_second(self._requests.values[:, 0], self._total_elapsed.values[:, 0])
        return self._total(rates, span_s, width)

    def throughput_now(self) -> float | None:
        """Requests per second over the last seconds; None if that is not known."""
        elapsed_s = self._total_elapsed.newest(RATE_SPAN_S)
        rate = float(_per_second(self._requests.newest(RATE_SPAN_S), elapsed_s)[0])
        return None if math.isnan(rate) else rate

    def inflight_total(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """Requests in flight on all workers, as `throughput`."""
        return self._total(self._levels.values[:, _INFLIGHT], span_s, width)

    def queued(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """Requests that waited for a worker, as `throughput`."""
        return self._total(self._levels.values[:, _QUEUED], span_s, width)

    def lag(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """The event loop's lag, p99, in seconds, as `throughput`."""
        return self._total(self._levels.values[:, _LAG], span_s, width)

    def _total(self, values: NDArray[np.float32], span_s: int, width: int) -> list[float]:
        if self._slot is None or width <= 0:
            return []
        slots = min(plot_span(span_s, width), len(values))
        line: list[float] = resampled(values[-slots:, None], width, self._slot)[:, 0].tolist()
        return line

    # Writing.

    def take(self, snapshot: Snapshot, now: float) -> None:
        """Take in `snapshot`, which is how things are at `now`; time that runs back counts as 0.

        Taken in again, a snapshot says that nothing has changed: leave it out while a link is lost.
        """
        is_new_boot = snapshot.boot_id != self._boot_id
        is_first = is_new_boot or self._slot is None
        elapsed_s = 0.0 if is_first else max(0.0, now - self._taken_at)
        self._taken_at = now
        self._advance(int(now))
        if is_new_boot:
            self._counters[:] = np.nan
            self._request_counter = math.nan
            self._boot_id = snapshot.boot_id
        self._place(snapshot)
        self._take_workers(snapshot, elapsed_s)
        self._take_totals(snapshot.totals)
        self._total_elapsed.add(np.array([elapsed_s], dtype=np.float32))
        self._rates = self._recent_errors = self._means = self._top = None
        self._lines = {}

    def _advance(self, slot: int) -> None:
        later = 0 if self._slot is None else slot - self._slot
        self._slot = slot if self._slot is None else max(slot, self._slot)
        for series in (self._inflight, self._served, self._errors, self._elapsed):
            series.advance(later)
        for series in (self._levels, self._requests, self._total_elapsed):
            series.advance(later)

    def _take_workers(self, snapshot: Snapshot, elapsed_s: float) -> None:
        views, rows, size = snapshot.workers, self._rows, len(self._ids)
        level = np.full(size, np.nan, dtype=np.float32)
        level[rows] = np.fromiter((view.inflight for view in views), np.float32, len(views))
        self._inflight.level(level)
        counters = np.full((2, size), np.nan)
        counters[_SERVED, rows] = [view.served for view in views]
        counters[_ERRORS, rows] = [view.errors for view in views]
        risen = counters - self._counters
        risen = np.where(risen > 0, risen, 0).astype(np.float32)
        self._served.add(risen[_SERVED])
        self._errors.add(risen[_ERRORS])
        is_counted = ~np.isnan(counters[_SERVED] - self._counters[_SERVED])
        self._elapsed.add(np.where(is_counted, elapsed_s, 0).astype(np.float32))
        self._counters = np.where(np.isnan(counters), self._counters, counters)

    def _take_totals(self, totals: Totals) -> None:
        lag_s = totals.loop_lag_p99_s
        level = (totals.inflight, totals.queued, math.nan if lag_s is None else lag_s)
        self._levels.level(np.array(level, dtype=np.float32))
        before = self._request_counter
        count = totals.requests if totals.relayed is None else totals.relayed
        risen = 0.0 if math.isnan(before) else count - before
        self._requests.add(np.array([max(0.0, risen)], dtype=np.float32))
        self._request_counter = count

    def _place(self, snapshot: Snapshot) -> None:
        """Give each worker a row; forget those that nobody has seen for as long as is kept."""
        assert self._slot is not None
        ids = [view.id for view in snapshot.workers]
        gone_since = self._slot - SPAN_S
        is_stale = len(self._ids) > len(ids) and bool((self._seen_slots < gone_since).any())
        if ids != self._shown or is_stale:
            shown = set(ids)
            absent = [
                each
                for each, seen in zip(self._ids, self._seen_slots.tolist(), strict=True)
                if each not in shown and seen >= gone_since
            ]
            self._rearrange([*dict.fromkeys(ids), *absent])
            self._shown = ids
            self._rows = np.array([self._places[each] for each in ids], dtype=np.intp)
        self._seen_slots[self._rows] = self._slot

    def _rearrange(self, ids: list[str]) -> None:
        places = np.array([self._places.get(each, -1) for each in ids], dtype=np.intp)
        known = places >= 0
        for series in (self._inflight, self._served, self._errors, self._elapsed):
            series.rearrange(places)
        counters = np.full((2, len(ids)), np.nan)
        counters[:, known] = self._counters[:, places[known]]
        seen = np.zeros(len(ids), dtype=np.int64)
        seen[known] = self._seen_slots[places[known]]
        self._counters, self._seen_slots, self._ids = counters, seen, ids
        self._places = {each: place for place, each in enumerate(ids)}
