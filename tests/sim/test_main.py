from __future__ import annotations

import subprocess
import sys

import pytest

from miles_router.sim import SimSettings
from miles_router.sim.__main__ import app
from miles_router.sim.fleet import arguments


def test_the_flags_a_fleet_passes_are_understood() -> None:
    settings = SimSettings(
        port=5, tokens_per_s=2.5, routed_experts=False, api_key="k", fault=("hang", "status=503")
    )
    _, bound, *_ = app.parse_args(arguments(settings), exit_on_error=False, print_error=False)
    assert bound.arguments == {"settings": settings}


@pytest.mark.loopback
def test_help_names_every_setting_and_what_it_is_for() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "miles_router.sim", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for words in ("--tokens-per-s", "--incremental-streaming", "queue-full", "--fault"):
        assert words in done.stdout
