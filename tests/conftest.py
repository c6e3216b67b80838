"""Hypothesis profiles: `fast` by default, `deep` by HYPOTHESIS_PROFILE=deep."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.doubles.servers import SERVERS, Server, choose

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile(
    "fast",
    deadline=None,
    max_examples=60,
    derandomize=os.environ.get("CI", "").lower() in {"1", "true"},
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep",
    deadline=None,
    max_examples=2_000,
    stateful_step_count=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The test runs with each way to serve a connection; see `tests.doubles.servers`."""
    yield from choose(request.param)
