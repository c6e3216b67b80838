"""The router's counters in Prometheus' text form, read at the moment of the scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from miles_router import __version__
from miles_router.core.cache_view import view_cache
from miles_router.core.lifecycle import State
from miles_router.web.prometheus_cache import cache_families

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from miles_router.core.metrics import Histogram
    from miles_router.net.services import Services

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "miles_router_"


class Exporter(Collector):
    """Renders the metrics of one router."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The page as it is now."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing ahead of time: registering must not collect."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._gauges()
        yield from self._workers()
        yield from self._counters()
        if self._services.token_cache is not None:
            view = view_cache(self._services.token_cache, trio.current_time())
            yield from cache_families(view, _PREFIX)
        metrics = self._services.metrics
        yield _histogram("queue_wait_seconds", "Wait for a worker", metrics.queue_wait)
        yield _histogram("first_byte_seconds", "Until the answer began", metrics.first_byte)
        yield _histogram("request_seconds", "Until the answer ended", metrics.total)
        yield _histogram(
            "overhead_seconds", "The router's own share of a relayed request", metrics.overhead
        )
        yield _histogram("loop_lag_seconds", "How late the event loop runs", metrics.loop_lag)

    def _gauges(self) -> Iterator[Metric]:
        services = self._services
        info = GaugeMetricFamily(_PREFIX + "info", "Version of the router", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for name, text, value in (
            ("inflight", "Requests now held by workers", services.admission.inflight),
            ("queued", "Requests that wait for a worker", services.admission.queued),
            ("sessions", "Session keys with a worker", len(services.affinity)),
            ("idle_connections", "Open connections to workers, unused", len(services.idle)),
            ("stopping", "1 while the router shuts down", int(services.is_stopping)),
        ):
            yield GaugeMetricFamily(_PREFIX + name, text, value=value)

    def _workers(self) -> Iterator[Metric]:
        workers = list(self._services.pool.workers.values())
        state = GaugeMetricFamily(
            _PREFIX + "worker_state", "1 for the state a worker is in", labels=["worker", "state"]
        )
        inflight = GaugeMetricFamily(
            _PREFIX + "worker_inflight", "Requests now held by a worker", labels=["worker"]
        )
        served = CounterMetricFamily(
            _PREFIX + "worker_served", "Answers relayed to their end", labels=["worker"]
        )
        errors = CounterMetricFamily(
            _PREFIX + "worker_errors", "Requests that failed because of it", labels=["worker"]
        )
        for worker in workers:
            for each in State:
                state.add_metric([worker.url, each.value], int(worker.state is each))
            inflight.add_metric([worker.url], worker.inflight)
            served.add_metric([worker.url], worker.served)
            errors.add_metric([worker.url], worker.errors)
        yield from (state, inflight, served, errors)

    def _counters(self) -> Iterator[Metric]:
        metrics = self._services.metrics
        requests = CounterMetricFamily(
            _PREFIX + "requests", "Requests answered", labels=["path_class", "status"]
        )
        for (path_class, status), count in metrics.requests.items():
            requests.add_metric([path_class, str(status)], count)
        yield requests
        yield _counter("client_gone", "Clients that left", "path_class", metrics.client_gone)
        yield _counter("cut_answers", "Answers cut off", "path_class", metrics.cut_answers)
        yield _counter("retries", "Attempts repeated elsewhere", "reason", metrics.retries)
        yield _counter("probes", "Health probes", "outcome", metrics.probes)
        yield _counter("errors", "Errors of the router's own", "code", metrics.errors)
        yield _counter(
            "refused_connections", "Connections refused", "code", metrics.refused_connections
        )
        for name, text, value in (
            ("aborts_sent", "Aborts sent to workers", metrics.aborts_sent),
            ("stale_reconnects", "Idle connections found dead", metrics.stale_reconnects),
            ("received_bytes", "Request bodies", metrics.bytes_in),
            ("relayed_bytes", "Answer bodies", metrics.bytes_out),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=value)


def _counter(name: str, text: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        total += count
        buckets.append((str(float(bound)), total))
    buckets.append(("+Inf", total + histogram.counts[-1]))
    return HistogramMetricFamily(_PREFIX + name, text, buckets=buckets, sum_value=histogram.sum_s)
