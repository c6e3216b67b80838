from __future__ import annotations

import threading
import warnings

import pytest

from miles_router.tui.mishaps import Mishap, caught


def fail_in_a_thread() -> None:
    def fail() -> None:
        raise LookupError("lost")

    thread = threading.Thread(target=fail, name="helper")
    thread.start()
    thread.join()


@pytest.fixture
def heard() -> list[Mishap]:
    return []


def test_both_kinds_are_passed_on(heard: list[Mishap], capsys: pytest.CaptureFixture[str]) -> None:
    def take(mishap: Mishap) -> bool:
        heard.append(mishap)
        return True

    with warnings.catch_warnings(), caught() as mishaps:
        warnings.simplefilter("always")
        mishaps.pass_to(take)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        fail_in_a_thread()
    warned, failed = heard
    assert warned.what == "python_warning"
    assert warned.text.endswith("DeprecationWarning: old")
    assert __file__ in warned.text
    assert (failed.what, failed.text) == ("thread_failed", "helper")
    assert isinstance(failed.error, LookupError)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_there", [True, False], ids=["refused", "nobody"])
def test_what_nobody_takes_goes_where_python_sends_it(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: went.append(str(args.exc_value)))
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: went.append(str(message)))
    with caught() as mishaps:
        if is_there:
            mishaps.pass_to(lambda _: False)
        warnings.showwarning("old", UserWarning, "a.py", 1)
        fail_in_a_thread()
    assert went == ["old", "lost"]


def test_hooks_are_as_before_afterwards() -> None:
    before = threading.excepthook, warnings.showwarning
    with caught():
        assert threading.excepthook is not before[0]
    assert (threading.excepthook, warnings.showwarning) == before
