"""The token cache in Prometheus' text form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from miles_router.core.cache_view import CacheView


def cache_families(view: CacheView, prefix: str) -> Iterator[Metric]:
    """All families of the token cache; names begin with `prefix`."""
    prefix += "token_cache_"
    for name, text, value in (
        ("on", "0 after repeated failures switched it off", int(view.is_on)),
        ("trajectories", "Trajectories stored", view.trajectories),
        ("turns", "Turns stored", view.turns),
        ("tokens", "Tokens stored; shared ones count once", view.tokens),
        ("bytes", "Memory it accounts for", view.size_bytes),
        ("budget_bytes", "Memory it may take", view.budget_bytes),
        ("routed_experts_bytes", "Routed experts stored", view.r3_size_bytes),
        ("journal_on", "1 while turns are written to a journal", int(view.journal == "on")),
        ("journal_bytes", "Size of the journal's files", view.journal_size_bytes),
    ):
        yield GaugeMetricFamily(prefix + name, text, value=value)
    for name, text, label, counts in (
        ("prompts", "Prompts, by what was known of them", "kind", view.prompts),
        ("refused", "Requests and answers not stored", "reason", view.refused),
        ("removed_turns", "Turns removed", "reason", view.removed),
        ("routed_experts", "Answers with routed experts asked for", "outcome", view.r3),
        ("routed_experts_removed", "Routed experts removed", "reason", view.r3_removed),
        ("reads", "Texts asked for", "outcome", view.reads),
    ):
        family = CounterMetricFamily(prefix + name, text, labels=[label])
        for one, count in counts.items():
            family.add_metric([one], count)
        yield family
    for name, text, value in (
        ("stored_turns", "Turns stored since the start", view.stored),
        ("cached_tokens", "Tokens of prompts that were known", view.cached_tokens),
        ("routed_experts_received_bytes", "Base64 in answers", view.r3_received_bytes),
        ("failures", "Failures of the cache itself", view.failures),
        ("journal_failures", "Writes that the journal did not take", view.journal_failures),
        ("sweeps", "Sweeps", view.sweeps),
    ):
        yield CounterMetricFamily(prefix + name, text, value=value)
