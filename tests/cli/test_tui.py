"""`tui`: its own flags, and what does not go together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from miles_router.cli import main
from miles_router.cli.tui import read_keys
from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(autouse=True)
def _no_variables_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILES_ROUTER_")]:
        monkeypatch.delenv(name)


def test_keys_are_read_by_action() -> None:
    assert read_keys(["drain=D", "quit=Q,f10"]) == {"drain": "D", "quit": "Q,f10"}


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("drain", "ACTION=KEY"),
        ("=D", "ACTION=KEY"),
        ("drain=", "ACTION=KEY"),
        ("dance=D", "dance"),
        ("drain=nokey", "nokey"),
        ("drain=q", "quit"),
    ],
)
def test_keys_that_cannot_work_are_refused(entry: str, word: str) -> None:
    with pytest.raises(ConfigFault, match=word):
        read_keys([entry])


@pytest.mark.parametrize(
    ("flags", "flag"),
    [
        (("--port", "1"), "--port"),
        (("--worker", "http://127.0.0.1:1"), "--worker"),
        (("--token-cache", "--tokenizer", "x"), "--token"),
        (("--on-ui-crash", "serve"), "--on-ui-crash"),
    ],
)
def test_settings_of_a_router_do_not_go_with_attach(
    flags: Sequence[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tui", "--attach", "http://127.0.0.1:1", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"miles-router: {flag}")
    assert "--attach" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("flags", [(), ("--admin-token", "x"), ("--read-only", "--ascii")])
def test_without_a_terminal_it_says_what_to_do(
    flags: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILES_ROUTER_PORT", "1234")  # stays unused
    monkeypatch.setattr("os.isatty", lambda _: False)
    assert main(["tui", "--attach", "http://127.0.0.1:1", *flags]) == 2
    assert "run miles-router serve here" in capsys.readouterr().err
