from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from miles_router.tui.glyphs import ASCII, UNICODE
from miles_router.tui.screens.totals import total_lines
from tests.tui.views import a_snapshot

if TYPE_CHECKING:
    from miles_router.tui.glyphs import Glyphs

WIDTH = 40


def shown(glyphs: Glyphs = UNICODE, **totals: Any) -> dict[str, tuple[str, str]]:
    """By label: the text and its tone."""
    lines = total_lines(a_snapshot([], totals=totals).totals, WIDTH, glyphs)
    assert {len(label.text) + len(value.text) for label, value in lines} == {WIDTH}
    return {label.text.strip(): (value.text.strip(), value.tone) for label, value in lines}


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_what_the_pool_could_not_serve_is_marked(glyphs: Glyphs) -> None:
    found = shown(
        glyphs, requests=4, responses={"200": 1_900, "404": 2, "429": 1_785, "503": 3, "502": 0}
    )
    assert found["200"] == ("1,900", "")
    assert found["404"] == ("2", "")
    assert found["429"] == ("1,785!", "warn")
    assert found["503"] == ("3!", "warn")
    assert found["502"] == ("0", "")


def test_polls_of_screens_are_told_apart_from_what_workers_are_for() -> None:
    found = shown(requests=1_859, relayed=1_790)
    assert (found["requests"][0], found["for workers"][0]) == ("1,859", "1,790")
    assert "for workers" not in shown(requests=1_859, relayed=None)


def test_the_queue_has_its_size() -> None:
    assert shown(queued=3, queue_size=10_000)["queued"][0] == "3 of at most 10,000"
    assert shown(queued=512, queue_size=512)["queued"][0] == "512 of at most 512, full"
    assert shown(queued=3, queue_size=None)["queued"][0] == "3"


def test_one_worker_takes_requests_and_two_take_them() -> None:
    assert shown(workers=3, healthy_workers=1)["workers"][0] == "3, 1 takes requests"
    assert shown(workers=3, healthy_workers=2)["workers"][0] == "3, 2 take requests"
