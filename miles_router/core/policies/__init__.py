"""Policies: which of the available workers gets the next request.

A policy keeps its own index over the workers it was given with `put` and answers `select` in O(1)
or O(log n). It sees only available workers (routable, not full): the pool puts and drops them.
A new policy is one file in here and one line in `POLICIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from miles_router.core.policies.least_inflight import LeastInflight
from miles_router.core.policies.random_choice import RandomChoice
from miles_router.core.policies.round_robin import RoundRobin

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection

    from miles_router.core.worker import Worker


class Policy(Protocol):
    """Picks a worker."""

    def put(self, worker: Worker) -> None:
        """Make `worker` selectable, or take note that its inflight changed."""

    def drop(self, worker: Worker) -> None:
        """Make `worker` not selectable; nothing happens if it is not."""

    def select(self, rng: random.Random, exclude: Collection[str]) -> Worker | None:
        """One selectable worker whose id is not in `exclude`; None if there is none."""


POLICIES: dict[str, Callable[[], Policy]] = {
    "least_inflight": LeastInflight,
    "round_robin": RoundRobin,
    "random": RandomChoice,
}

__all__ = ["POLICIES", "LeastInflight", "Policy", "RandomChoice", "RoundRobin"]
