"""Tables: what stands in a row, and how rows line up."""

from __future__ import annotations

import io
import sys

import pytest

from miles_router.cli.tables import WORKER_HEADERS, aligned, show_age, worker_row, write_table
from miles_router.client import Probe, Worker

BUSY = Worker(
    id="w1",
    url="http://127.0.0.1:1",
    status="active",
    is_healthy=True,
    load=3,
    inflight=3,
    weight_version="v7",
    served=120,
    errors=1,
    last_probe=Probe(outcome="ok", age_s=4.2),
    since_s=7300.0,
    reason="added",
)


def test_a_row_has_a_cell_for_every_header() -> None:
    row = dict(zip(WORKER_HEADERS, worker_row(BUSY), strict=True))
    assert row["INFLIGHT"] == "3"
    assert row["PROBE"] == "ok 4s ago"
    assert row["SINCE"] == "2h"
    assert row["WEIGHTS"] == "v7"


def test_what_is_not_known_is_a_dash() -> None:
    fresh = Worker(
        id="w2", url="http://b:1", status="joining", is_healthy=False, load=0, inflight=0
    )
    row = dict(zip(WORKER_HEADERS, worker_row(fresh), strict=True))
    assert (row["WEIGHTS"], row["PROBE"], row["SINCE"], row["REASON"]) == ("-", "-", "-", "-")


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(None, "-"), (0.4, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (2e5, "2d")],
)
def test_ages_use_their_largest_unit(age_s: float | None, text: str) -> None:
    assert show_age(age_s) == text


def test_columns_line_up_and_lines_end_with_their_text() -> None:
    assert aligned(("A", "LONG", "C"), [("aaa", "b", "c"), ("a", "b", "")]) == (
        "A    LONG  C\naaa  b     c\na    b\n"
    )


def test_a_program_gets_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(WORKER_HEADERS, [worker_row(BUSY)])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == list(WORKER_HEADERS)
    assert row.index("active") == head.index("STATUS")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    write_table(WORKER_HEADERS, [worker_row(BUSY)])
    assert "\x1b[32mactive" in terminal.getvalue()
