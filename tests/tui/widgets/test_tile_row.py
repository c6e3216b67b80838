from __future__ import annotations

import pytest

from miles_router.tui.glyphs import UNICODE
from miles_router.tui.history import History
from miles_router.tui.panels import tiles
from miles_router.tui.widgets.tile_row import MIN_BOX_WIDTH, boxes
from tests.tui import pool_pictures as pictures

TILES = tiles(pictures.picture(troubled=True), History())


@pytest.mark.parametrize("width", range(MIN_BOX_WIDTH, 201))
def test_no_title_is_cut_and_every_line_is_full(width: int) -> None:
    lines = ["".join(cell.text for cell in line) for line in boxes(TILES, width, UNICODE)]
    assert [len(line) for line in lines] == [width] * 3
    titles = [box.strip("\u2500 ") for box in lines[0].replace("\u256e", "").split("\u256d")[1:]]
    for title, tile in zip(titles, TILES, strict=False):
        assert title in {tile.title, tile.short}


def test_the_long_titles_are_taken_where_they_have_room() -> None:
    top = "".join(cell.text for cell in boxes(TILES, 126, UNICODE)[0])
    assert "quarantined" in top
    assert "loop lag p99" in top
