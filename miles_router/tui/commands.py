"""What an operator can tell a router to do, as values.

Screens make them, `Controls` carries them out. Nothing here knows keys, screens or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drain:
    """Give a worker nothing new; its running requests finish."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Undrain:
    """Let a draining or drained worker take requests again."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Take a worker out until it is released."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Release:
    """Put a quarantined worker on probation."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget a worker: when its running requests have finished, or, with `cuts`, now."""

    worker_id: str
    cuts: bool = False


@dataclass(frozen=True, slots=True)
class Add:
    """Register the worker at a URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Check a worker's health now."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Abort:
    """End one running request as `/abort_request` does."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Run the token cache's garbage collection."""


@dataclass(frozen=True, slots=True)
class ClearNamespace:
    """Delete all trajectories of one tenant."""

    tenant: str


Command = (
    Drain | Undrain | Quarantine | Release | Remove | Add | Probe | Abort | Sweep | ClearNamespace
)


class CommandRefused(Exception):
    """A command was not carried out; the message says why, for the screen."""
