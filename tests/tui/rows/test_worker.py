from __future__ import annotations

import pytest

from miles_router.core.lifecycle import State
from miles_router.tui.glyphs import ASCII, UNICODE
from miles_router.tui.history import History
from miles_router.tui.rows.worker import SEVERITY, STATE_TONES, WorkerRow, natural, short_url
from tests.tui.views import a_worker


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://10.0.0.1:30000", "10.0.0.1:30000"),
        ("http://10.0.0.1:30000/", "10.0.0.1:30000"),
        ("https://worker.example:443/a", "https://worker.example:443/a"),
        ("http://evil\x1b[2J:1", r"evil\x1b[2J:1"),
    ],
)
def test_a_worker_is_called_by_its_url(url: str, name: str) -> None:
    assert short_url(url) == name
    assert WorkerRow(a_worker(url=url), 0, History(), UNICODE).name == name


def test_a_name_in_ascii_has_ascii_only() -> None:
    assert short_url("http://東:1", ASCII) == r"\u6771:1"


def test_numbers_in_texts_are_ordered_as_numbers() -> None:
    urls = ["10.0.0.10:3", "10.0.0.9:30", "10.0.0.9:4", "a", "", "7"]
    assert sorted(urls, key=natural) == ["", "7", "10.0.0.9:4", "10.0.0.9:30", "10.0.0.10:3", "a"]


def test_every_state_has_a_tone_and_a_severity() -> None:
    assert set(STATE_TONES) == set(SEVERITY) == {state.value for state in State}


def test_a_state_that_nobody_knows_needs_attention() -> None:
    row = WorkerRow(a_worker(status="confused"), 0, History(), UNICODE)
    assert row.tone == ""
    assert row.attention < WorkerRow(a_worker(), 0, History(), UNICODE).attention
