"""Counters and histograms as plain numbers: cheap to add to, read when someone scrapes.

This file must not know Prometheus; `web.observe` renders what stands here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from miles_router.core.latencies import Latencies

# Generations take from milliseconds to an hour.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
# The router's own share of a request: anything above 50 ms is trouble worth seeing.
OVERHEAD_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)

# Two minutes of samples: what is shown as the loop's lag is of now, not of a bad hour long ago.
RECENT_LAGS = 1200


class Histogram:
    """Counts per bucket (upper bounds in seconds), and the sum."""

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value_s)] += 1
        self.sum_s += value_s

    @property
    def total(self) -> int:
        """Observations so far."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket that holds this share of observations; None when empty."""
        total = self.total
        if not total:
            return None
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= share * total:
                return bound
        return float("inf")


class Metrics:
    """Everything the router counts."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # (path class, status)
        self.client_gone: Counter[str] = Counter()  # path class
        self.cut_answers: Counter[str] = Counter()  # path class
        self.retries: Counter[str] = Counter()  # reason
        self.probes: Counter[str] = Counter()  # outcome
        self.errors: Counter[str] = Counter()  # code of the router's own error answers
        self.refused_connections: Counter[str] = Counter()  # what was wrong with the bytes
        self.aborts_sent = 0
        self.stale_reconnects = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.queue_wait = Histogram(LATENCY_BUCKETS_S)
        self.first_byte = Histogram(LATENCY_BUCKETS_S)
        self.total = Histogram(LATENCY_BUCKETS_S)
        self.overhead = Histogram(OVERHEAD_BUCKETS_S)
        self.loop_lag = Histogram(OVERHEAD_BUCKETS_S)
        self.recent_lag = Latencies(RECENT_LAGS)
