"""What is told of a screen that failed."""

from __future__ import annotations

from textual.worker import WorkerFailed

from miles_router.tui.screen_run import ScreenFailed, report


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


def test_without_a_cause_the_sentence_is_told() -> None:
    assert report(ScreenFailed("it ended")) == "it ended\n"
