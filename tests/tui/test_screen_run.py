"""What is told of a screen that failed."""

from __future__ import annotations

import termios
from typing import TYPE_CHECKING

from textual.app import App
from textual.worker import WorkerFailed

from miles_router.tui import screen_run
from miles_router.tui.screen_run import ScreenFailed, ScreenRun, report
from tests.tui.test_terminal import on_a_pair

if TYPE_CHECKING:
    import pytest


def test_the_failure_of_a_task_of_the_screens_is_told_with_its_own_traceback() -> None:
    def fail() -> None:
        secret = "a prompt"
        raise KeyError(len(secret))

    failure = ScreenFailed("the screen failed")
    try:
        fail()
    except KeyError as error:
        failure.__cause__ = WorkerFailed(error)
    told = report(failure)
    assert "in fail" in told
    assert told.endswith("KeyError: 8\n")
    assert "a prompt" not in told.replace('secret = "a prompt"', "")


def test_memory_is_settled_where_no_frame_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screens(App[None]):
        pass

    calls: list[str] = []
    monkeypatch.setattr(screen_run, "settle_memory", lambda: calls.append("settled"))
    monkeypatch.setattr(screen_run, "SETTLE_AT_LAST_S", 0.05)
    screens = Screens()

    def shown() -> None:
        calls.append("shown")
        screens.exit()

    with on_a_pair() as (terminal, _, slave):
        termios.tcsetwinsize(slave, (1, 4))
        run = ScreenRun(screens, terminal, claim_streams=lambda: None, on_shown=shown)
        assert run.run() is None
    assert calls == ["settled", "shown"]


def test_without_a_cause_the_sentence_is_told() -> None:
    assert report(ScreenFailed("it ended")) == "it ended\n"
