"""The token cache as its readers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from miles_router.core.cache_view import view_cache, view_namespace
from miles_router.core.radix.run import TokenRun
from miles_router.core.trajectory.counters import CacheCounters
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.core.trajectory.turn import NewTurn, SpelledOutput, VersionSpan
from tests.doubles.toy_tokenizer import ToyTokenizer

if TYPE_CHECKING:
    from miles_router.core.cache_view import JournalState
    from miles_router.core.tokenizing import Tokenizer


@dataclass
class State:
    is_on: bool = True
    size_bytes: int = 77


@dataclass
class Parts:
    store: TrajectoryStore = field(
        default_factory=lambda: TrajectoryStore(StoreLimits(1000_000, 2000, None, 8))
    )
    tokenizer: Tokenizer = field(default_factory=ToyTokenizer)
    counters: CacheCounters = field(default_factory=CacheCounters)
    is_on: bool = True
    journal_state: JournalState | None = None


def add(store: TrajectoryStore, tenant: str) -> None:
    run = TokenRun.of([97, 98], [1, 1], b"ab")
    output = SpelledOutput(run, 2)
    new = NewTurn(
        None, None, None, 0, run, True, output, b"\0" * 8, (VersionSpan(None, 0, 2),), "stop"
    )
    store.add(tenant, new, 0.0)


def test_an_empty_cache() -> None:
    view = view_cache(Parts(), 10.0)
    assert (view.trajectories, view.size_bytes, view.stored) == (0, 0, 0)
    assert (view.budget_bytes, view.r3_budget_bytes) == (1000_000, 2000)
    assert (view.journal, view.last_sweep_age_s, view.tokenizer) == ("none", None, "toy")


def test_what_is_stored_and_counted_is_shown() -> None:
    parts = Parts(journal_state=State(is_on=False))
    add(parts.store, "t")
    add(parts.store, "u")
    parts.counters.refused["multimodal"] += 2
    parts.counters.last_sweep_at = 4.0
    view = view_cache(parts, 10.0)
    assert (view.trajectories, view.turns, view.tokens) == (2, 2, 8)
    assert view.size_bytes == parts.store.size_bytes > 0
    assert view.refused == {"multimodal": 2}
    assert (view.journal, view.journal_size_bytes) == ("off", 77)
    assert view.last_sweep_age_s == 6.0


def test_a_view_does_not_change_with_the_cache() -> None:
    parts = Parts()
    view = view_cache(parts, 0.0)
    parts.counters.prompts["tokenized"] += 1
    add(parts.store, "t")
    assert (view.prompts, view.turns) == ({}, 0)
    assert msgspec.json.decode(msgspec.json.encode(view), type=type(view)) == view


def test_a_namespace_shows_its_own() -> None:
    parts = Parts()
    add(parts.store, "t")
    own, other = view_namespace(parts.store, "t"), view_namespace(parts.store, "nobody")
    assert (own.trajectories, own.turns, own.tokens) == (1, 1, 4)
    assert own.size_bytes > 0
    assert (other.trajectories, other.size_bytes) == (0, 0)
    assert set(parts.store.namespaces) == {"t"}


def test_the_view_lists_what_each_tenant_has() -> None:
    parts = Parts()
    add(parts.store, "t")
    add(parts.store, "u")
    view = view_cache(parts, 0.0)
    assert view.namespaces == {name: view_namespace(parts.store, name) for name in ("t", "u")}
    assert sum(one.tokens for one in view.namespaces.values()) == view.tokens
    assert view_cache(Parts(), 0.0).namespaces == {}
