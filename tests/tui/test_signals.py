"""Signals while a screen is up: a word is passed on, nothing stops, all is put back."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from miles_router.tui.signals import handled, kept

ALL = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGCONT,
)  # fmt: skip


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in ALL]


def test_ending_signals_pass_their_names_on() -> None:
    seen: list[str] = []
    before = handlers()
    with handled(seen.append, lambda: seen.append("goes on")):
        for number in ALL:
            os.kill(os.getpid(), number)
    assert seen == ["SIGINT", "SIGTERM", "SIGHUP", "goes on"]
    assert handlers() == before


def test_handlers_are_put_back_after_an_error() -> None:
    before = handlers()
    with pytest.raises(ValueError, match="mine"), handled(print, print):
        raise ValueError("mine")
    assert handlers() == before


def test_what_others_install_does_not_last() -> None:
    with handled(print, print):
        before = handlers()
        with kept(*ALL):
            for number in ALL:
                signal.signal(number, signal.SIG_DFL)
        assert handlers() == before
