"""The token cache as one immutable value: what `/cache/stats`, `/snapshot` and `/metrics` show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from miles_router.core.tokenizing import Tokenizer
    from miles_router.core.trajectory.counters import CacheCounters
    from miles_router.core.trajectory.store import TrajectoryStore


class NamespaceView(msgspec.Struct, frozen=True):
    """What one tenant has stored. `size_bytes`: tokens, texts and indexes, without turns."""

    trajectories: int
    turns: int
    tokens: int
    size_bytes: int


class CacheView(msgspec.Struct, frozen=True):
    """Everything about the token cache; counts are since the start."""

    is_on: bool
    tokenizer: str
    trajectories: int
    turns: int
    tokens: int
    size_bytes: int
    budget_bytes: int
    r3_size_bytes: int
    r3_budget_bytes: int
    prompts: dict[str, int]
    cached_tokens: int
    stored: int
    refused: dict[str, int]
    removed: dict[str, int]
    r3: dict[str, int]
    r3_received_bytes: int
    r3_removed: dict[str, int]
    reads: dict[str, int]
    failures: int
    journal: str
    journal_size_bytes: int
    journal_failures: int
    sweeps: int
    last_sweep_age_s: float | None
    last_sweep_removed: int
    namespaces: dict[str, NamespaceView] = msgspec.field(default_factory=dict)  # by tenant


class JournalState(Protocol):
    """What is shown of a journal."""

    is_on: bool

    @property
    def size_bytes(self) -> int:
        """Of all its files."""


class CacheParts(Protocol):
    """What a view is taken of."""

    store: TrajectoryStore
    tokenizer: Tokenizer
    counters: CacheCounters
    is_on: bool

    @property
    def journal_state(self) -> JournalState | None:
        """None where there is no journal."""


def view_cache(cache: CacheParts, now: float) -> CacheView:
    """The token cache as it is at `now` (monotonic seconds)."""
    store, counters, journal = cache.store, cache.counters, cache.journal_state
    swept_at = counters.last_sweep_at
    return CacheView(
        is_on=cache.is_on,
        tokenizer=cache.tokenizer.name,
        trajectories=store.trajectories,
        turns=store.turns,
        tokens=store.tokens,
        size_bytes=store.size_bytes,
        budget_bytes=store.limits.budget_bytes,
        r3_size_bytes=store.r3_size_bytes,
        r3_budget_bytes=store.limits.r3_budget_bytes,
        prompts=dict(counters.prompts),
        cached_tokens=counters.cached_tokens,
        stored=counters.stored,
        refused=dict(counters.refused),
        removed=dict(store.turns_removed),
        r3=dict(counters.r3),
        r3_received_bytes=counters.r3_received_bytes,
        r3_removed=dict(store.r3_removed),
        reads=dict(counters.reads),
        failures=counters.failures,
        journal="none" if journal is None else "on" if journal.is_on else "off",
        journal_size_bytes=0 if journal is None else journal.size_bytes,
        journal_failures=counters.journal_failures,
        sweeps=counters.sweeps,
        last_sweep_age_s=None if swept_at is None else round(now - swept_at, 3),
        last_sweep_removed=counters.last_sweep_removed,
        namespaces={tenant: view_namespace(store, tenant) for tenant in store.namespaces},
    )


def view_namespace(store: TrajectoryStore, tenant: str) -> NamespaceView:
    """What `tenant` has stored."""
    namespace = store.namespace(tenant)
    if namespace is None:
        return NamespaceView(0, 0, 0, 0)
    tree = namespace.tree
    return NamespaceView(
        trajectories=len(namespace.trajectories),
        turns=namespace.turns,
        tokens=tree.tokens,
        size_bytes=tree.size_bytes,
    )
