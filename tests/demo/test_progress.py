from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from miles_router.demo.progress import Ticker, open_console, status_line
from miles_router.demo.tally import Tally

if TYPE_CHECKING:
    import pytest


def test_the_line_tells_turns_faults_and_workers() -> None:
    tally = Tally(5, lost=["x"], wrong=["y", "z"], answered=2)
    assert status_line(tally, ["worker 1 active 3", "worker 2 draining 0"]) == (
        "2/5 turns  lost 1  wrong 2  |  worker 1 active 3  |  worker 2 draining 0"
    )


def test_ci_gets_plain_lines_even_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert open_console({}).is_terminal
    assert not open_console({"CI": "true"}).is_terminal


async def test_sentences_carry_the_seconds_since_the_first(
    autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:
    ticker = Ticker(open_console({"CI": "1"}))
    ticker.say("begin [now]")
    await trio.sleep(2.5)
    with ticker.open():
        ticker.say("end")
    assert capsys.readouterr().out == "   0.0 s  begin [now]\n   2.5 s  end\n"
