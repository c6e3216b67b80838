"""Counts begin at nothing and belong to one cache."""

from __future__ import annotations

from miles_router.core.trajectory.counters import CacheCounters


def test_two_caches_count_apart() -> None:
    one, other = CacheCounters(), CacheCounters()
    one.prompts["continued"] += 1
    one.refused["multimodal"] += 1
    one.stored += 1
    assert (other.prompts, other.refused, other.stored) == ({}, {}, 0)
    assert other.last_sweep_at is None
