"""What a router does to its own process before it serves."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
import structlog.testing

from miles_router import app

ROOT = Path(__file__).parent.parent
NO_LIMIT = resource.RLIM_INFINITY
# Runs a router of its own and ends it once it serves, then tells what became of the process.
SCRIPT = """
import gc, json, os, resource, signal
from miles_router import app
from miles_router.config import Settings

resource.setrlimit(resource.RLIMIT_NOFILE, (300, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
announce = app._announce

def announce_and_leave(services, listeners):
    announce(services, listeners)
    seen.update(frozen=gc.get_freeze_count(), thresholds=gc.get_threshold())
    os.kill(os.getpid(), signal.SIGTERM)

seen = {}
app._announce = announce_and_leave
seen["code"] = app.main(Settings(port=0, log_level="error"))
seen["descriptors"] = resource.getrlimit(resource.RLIMIT_NOFILE)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def process() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["code"] == 0
    return found


@pytest.mark.loopback
def test_what_was_loaded_is_kept_from_the_garbage_collector(process: dict[str, Any]) -> None:
    assert process["frozen"] > 10_000
    assert process["thresholds"][0] >= 10_000


@pytest.mark.loopback
def test_the_process_may_open_as_many_connections_as_the_system_grants(
    process: dict[str, Any],
) -> None:
    soft, hard = process["descriptors"]
    assert soft == (65_536 if hard == NO_LIMIT else min(65_536, hard))


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1_000_000), (65_536, 1_000_000)),
        ((1024, NO_LIMIT), (65_536, NO_LIMIT)),
        ((65_536, 1_000_000), None),
        ((4096, 4096), None),
        ((NO_LIMIT, NO_LIMIT), None),
    ],
)
def test_the_limit_of_descriptors_is_raised_and_never_lowered(
    limits: tuple[int, int], wanted: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    app._raise_descriptor_limit(structlog.get_logger())
    assert asked == ([] if wanted is None else [wanted])


def test_a_system_that_refuses_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, _pair: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    logger = structlog.testing.CapturingLogger()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    app._raise_descriptor_limit(structlog.wrap_logger(logger, processors=[]))
    [call] = logger.calls
    assert (call.method_name, call.kwargs["event"]) == ("warning", "descriptor_limit")
    assert call.kwargs["limit"] == 256
