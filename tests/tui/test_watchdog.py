"""The watchdog ends a process that is not disarmed in time, and no other."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

SCRIPT = """
import signal, sys, threading, time
from miles_router.tui.watchdog import Watchdog

class Terminal:
    def restore(self):
        print("restored", flush=True)

dog = Watchdog(Terminal(), patience_s=0.3)
dog.start()
signal.signal(signal.SIGALRM, lambda *_: dog.arm())
{steps}
time.sleep(1.0)
print("alive", threading.active_count(), flush=True)
"""
# `threading` guards its list of threads with a lock that a second taker waits for, for ever.
LOCK_HELD = "with threading._active_limbo_lock: signal.raise_signal(signal.SIGALRM)"


@pytest.mark.parametrize(
    ("steps", "code", "told"),
    [
        pytest.param("", 0, "alive 2", id="not armed"),
        pytest.param("dog.arm()", 74, "restored", id="armed"),
        pytest.param("dog.arm(); dog.arm(); dog.arm()", 74, "restored", id="armed again"),
        pytest.param("dog.arm(); dog.arm(); dog.disarm()", 0, "alive 1", id="disarmed in time"),
        pytest.param("dog.disarm(); dog.arm()", 0, "alive 1", id="disarmed before"),
        pytest.param(LOCK_HELD, 74, "restored", id="armed by a signal while a lock is held"),
    ],
)
def test_only_an_armed_one_ends_the_process(steps: str, code: int, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(steps=steps)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (code, told, "")


def test_a_second_word_does_not_put_the_end_off() -> None:
    steps = "\nfor _ in range(20): dog.arm(); time.sleep(0.1)"
    begun_at = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(steps=steps)],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 74
    assert time.monotonic() - begun_at < 2.0
