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

from miles_router.tui.series import Counts, Levels, mean, newest_part, plot_span, resampled

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from miles_router.core.snapshot import Snapshot, Totals, WorkerView

SPAN_S = 120
TOTALS_SPAN_S = 3600
# A rate over one interval between snapshots (0.2 s) flickers between 0 and 5 for one request a
# second; over five seconds it is readable and still shows a stall soon.
RATE_SPAN_S = 5
# A worker's rate is shown anew so often, each worker's at its own moment: at 5 Hz it would be what
# changes in nearly every row, and drawing rows is most of what a screen costs. With 1 s it still is
# all that differs in every other row that is drawn.
RATE_EVERY_S = 2.0
_RATE_TURNS = 10

_LEAST_ELAPSED_S = 1e-3


def _per_second(counted: float, elapsed_s: float) -> float:
    """A rate; NaN where hardly any time has passed."""
    return counted / elapsed_s if elapsed_s > _LEAST_ELAPSED_S else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


class _Worker:
    """The past of one worker. Counters are None before they were seen in this boot."""

    __slots__ = (
        "elapsed_s", "errors", "errors_counter", "inflight", "line_of", "means", "rate", "rate_due",
        "seen_slot", "served", "served_counter", "turn",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.turn = number % _RATE_TURNS / _RATE_TURNS * RATE_EVERY_S
        self.rate: float | None = None
        self.rate_due = 0.0
        self.seen_slot = 0
        self.inflight = Levels(SPAN_S)
        self.errors = Counts(SPAN_S)
        self.served = Counts(RATE_SPAN_S)
        self.elapsed_s = Counts(RATE_SPAN_S)  # over which `served` rose
        self.served_counter: int | None = None
        self.errors_counter: int | None = None
        self.line_of = (0, 0)  # width and slot of `means`
        self.means: list[float] = []

    def advance(self, slots: int) -> None:
        self.inflight.advance(slots)
        self.errors.advance(slots)
        self.served.advance(slots)
        self.elapsed_s.advance(slots)

    def take(self, view: WorkerView, elapsed_s: float, now: float) -> None:
        self.inflight.take(view.inflight)
        if self.served_counter is not None:
            self.elapsed_s.add(elapsed_s)
            if view.served > self.served_counter:
                self.served.add(view.served - self.served_counter)
        self.served_counter = view.served
        if self.errors_counter is not None and view.errors > self.errors_counter:
            self.errors.add(view.errors - self.errors_counter)
        self.errors_counter = view.errors
        if self.rate is None or now >= self.rate_due:
            self.rate = _known(_per_second(self.served.sum, self.elapsed_s.sum))
            begun = math.floor((now - self.turn) / RATE_EVERY_S)
            self.rate_due = (begun + 1) * RATE_EVERY_S + self.turn

    def line(self, width: int, slot: int) -> list[float]:
        """Means of `inflight`; in the course of a second only the newest one changes."""
        values = self.inflight.values
        if self.line_of != (width, slot):
            self.line_of = width, slot
            self.means = resampled(values, width, slot)
        else:
            self.means[-1] = mean(values[-newest_part(len(values), width, slot) :])
        return self.means

    def forget_counters(self) -> None:
        self.served_counter = self.errors_counter = None


class History:
    """The past of one router's workers and totals."""

    def __init__(self) -> None:
        self._slot: int | None = None  # number of the newest second
        self._taken_at = 0.0
        self._boot_id = ""
        self._workers: dict[str, _Worker] = {}
        self._tops = Levels(SPAN_S)  # the most that any worker had in flight
        self._inflight = Levels(TOTALS_SPAN_S)
        self._queued = Levels(TOTALS_SPAN_S)
        self._lag_s = Levels(TOTALS_SPAN_S)
        self._requests = Counts(TOTALS_SPAN_S)
        self._elapsed_s = Counts(TOTALS_SPAN_S)
        self._top: float | None = None  # worked out once after each snapshot

    # Reading.

    def rate(self, worker_id: str) -> float | None:
        """Requests per second that it finished, over the last seconds; None if it is not known."""
        worker = self._workers.get(worker_id)
        return None if worker is None else worker.rate

    def moment(self, worker_id: str) -> Hashable:
        """Changes with whatever is told of this worker: while it is equal, all of that is."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return None
        newest = worker.inflight.values[-1]
        return self._slot, newest, worker.rate, worker.errors.sum, self.inflight_top()

    def recent_errors(self, worker_id: str) -> int:
        """Its errors of the last two minutes."""
        worker = self._workers.get(worker_id)
        return 0 if worker is None else round(worker.errors.sum)

    def inflight(self, worker_id: str, width: int = SPAN_S) -> Sequence[float]:
        """Its requests in flight over two minutes, oldest first, at most `width` means.

        NaN where nobody knows; empty if the worker is unknown.
        """
        worker = self._workers.get(worker_id)
        if worker is None or self._slot is None:
            return ()
        return worker.line(width, self._slot)

    def inflight_mean(self, worker_id: str) -> float | None:
        """The mean of its requests in flight over two minutes."""
        worker = self._workers.get(worker_id)
        return None if worker is None else _known(mean(worker.inflight.values))

    def inflight_top(self) -> float:
        """The most that any worker had in flight in two minutes, at least 1: one scale for all."""
        if self._top is None:
            self._top = max([1.0, *(top for top in self._tops.values if not math.isnan(top))])
        return self._top

    def throughput(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """Requests per second that all workers finished, oldest first: `width` means.

        Not what the router itself refused: a queue that is full would look like a busy pool. They
        span `series.plot_span(span_s, width)` seconds; NaN where nobody knows.
        """
        slots = min(plot_span(span_s, width), TOTALS_SPAN_S)
        counted, elapsed_s = self._requests.values[-slots:], self._elapsed_s.values[-slots:]
        rates = list(map(_per_second, counted, elapsed_s))
        return self._total(rates, span_s, width)

    def throughput_now(self) -> float | None:
        """Requests per second over the last seconds; None if that is not known."""
        counted = self._requests.newest(RATE_SPAN_S)
        return _known(_per_second(counted, self._elapsed_s.newest(RATE_SPAN_S)))

    def inflight_total(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """Requests in flight on all workers, as `throughput`."""
        return self._total(self._inflight.values, span_s, width)

    def queued(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """Requests that waited for a worker, as `throughput`."""
        return self._total(self._queued.values, span_s, width)

    def lag(self, span_s: int = SPAN_S, width: int = SPAN_S) -> list[float]:
        """The event loop's lag, p99, in seconds, as `throughput`."""
        return self._total(self._lag_s.values, span_s, width)

    def _total(self, values: Sequence[float], span_s: int, width: int) -> list[float]:
        if self._slot is None or width <= 0:
            return []
        slots = min(plot_span(span_s, width), len(values))
        return resampled(values[-slots:], width, self._slot)

    # Writing.

    def take(self, snapshot: Snapshot, now: float) -> None:
        """Take in `snapshot`, which is how things are at `now`; time that runs back counts as 0.

        Taken in again, a snapshot says that nothing has changed: leave it out while a link is lost.
        """
        is_new_boot = snapshot.boot_id != self._boot_id
        is_first = is_new_boot or self._slot is None
        elapsed_s = 0.0 if is_first else max(0.0, now - self._taken_at)
        self._taken_at = now
        slot = self._advance(int(now))
        if is_new_boot:
            for worker in self._workers.values():
                worker.forget_counters()
            self._boot_id = snapshot.boot_id
        self._take_workers(snapshot, elapsed_s, slot, now, is_first=is_first)
        self._take_totals(snapshot.totals, is_told=bool(snapshot.boot_id))
        self._elapsed_s.add(elapsed_s)

    def _advance(self, slot: int) -> int:
        """Begin the slot, unless it has passed already; the newest one."""
        later = 0 if self._slot is None else slot - self._slot
        self._slot = slot if self._slot is None else max(slot, self._slot)
        if later > 0:
            for worker in self._workers.values():
                worker.advance(later)
            for series in (self._tops, self._inflight, self._queued, self._lag_s):
                series.advance(later)
            self._requests.advance(later)
            self._elapsed_s.advance(later)
        return self._slot

    def _take_workers(
        self, snapshot: Snapshot, elapsed_s: float, slot: int, now: float, *, is_first: bool
    ) -> None:
        workers = self._workers
        shown = {view.id: view for view in snapshot.workers}
        finished = 0
        for each, view in shown.items():
            worker = workers.get(each)
            if worker is None:
                worker = workers[each] = _Worker(len(workers))
            worker.seen_slot = slot
            if not is_first:  # one that is new has answered what it has since the last snapshot
                finished += max(0, view.served - (worker.served_counter or 0))
            worker.take(view, elapsed_s, now)
        self._requests.add(finished)
        if len(workers) > len(shown):
            gone_since = slot - SPAN_S
            for each in [each for each, one in workers.items() if one.seen_slot < gone_since]:
                del workers[each]
        top = 0.0
        for worker in workers.values():
            top = max(top, worker.inflight.values[-1])  # which NaN is not
        self._tops.values[-1] = top
        self._top = None

    def _take_totals(self, totals: Totals, *, is_told: bool) -> None:
        """Totals, of which only the admin `is_told` all; the others' are gaps, not zeros."""
        self._inflight.take(totals.inflight)
        if is_told:
            self._queued.take(totals.queued)
        if is_told and totals.loop_lag_p99_s is not None:
            self._lag_s.take(totals.loop_lag_p99_s)
