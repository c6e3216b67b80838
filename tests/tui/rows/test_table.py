from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.tui.glyphs import ASCII, UNICODE
from miles_router.tui.rows.table import Cell, Column, Layout, Sort, in_order, lay_out


@dataclass(frozen=True)
class Row:
    name: str
    size: int | None = None


NAME: Column[Row] = Column(
    "name", "NAME", lambda r, w: Cell(r.name), width=6, rank=0, grows=1, most_width=10, cut="middle"
)
SIZE: Column[Row] = Column(
    "size", "SIZE", lambda r, w: Cell(str(r.size), "warn"), width=6, rank=1, align="right",
    has_mark=True,
)  # fmt: skip
NOTE: Column[Row] = Column("note", "NOTE", lambda r, w: Cell("-"), width=4, rank=3)
PAST: Column[Row] = Column(
    "past", "PAST", lambda r, w: Cell("#" * w), width=5, rank=2, grows=2, sizes=(5, 8, 20)
)
ALL = (NAME, NOTE, SIZE, PAST)


def widths(width: int) -> dict[str, int]:
    layout = lay_out(ALL, width)
    return {c.id: w for c, w in zip(layout.columns, layout.widths, strict=True)}


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (13, {"name": 6, "size": 6}),
        (18, {"name": 10, "size": 6}),
        (19, {"name": 6, "size": 6, "past": 5}),
        (24, {"name": 6, "note": 4, "size": 6, "past": 5}),
        (30, {"name": 10, "note": 4, "size": 6, "past": 5}),
        (31, {"name": 10, "note": 4, "size": 6, "past": 8}),
        (42, {"name": 10, "note": 4, "size": 6, "past": 8}),
        (90, {"name": 10, "note": 4, "size": 6, "past": 20}),
        (10, {"name": 6, "size": 3}),  # the first two are always there
        (3, {"name": 2, "size": 0}),
        (0, {"name": 0, "size": 0}),
    ],
)
def test_columns_that_have_room(width: int, expected: dict[str, int]) -> None:
    assert widths(width) == expected


@given(st.integers(1, 120))
def test_a_wider_table_never_lacks_a_column(width: int) -> None:
    assert set(widths(width)) <= set(widths(width + 1))
    assert lay_out(ALL, width).width <= width or width < 2


def test_cells_are_as_wide_as_their_columns() -> None:
    layout = lay_out(ALL, 24)
    row = Row("http://host:1", 7)
    assert layout.draw(row, UNICODE) == (
        Cell("htt…:1"), Cell("-   "), Cell("     7", "warn"), Cell("#####"),
    )  # fmt: skip
    assert layout.draw(row, ASCII)[0] == Cell("htt~:1")


@given(st.text(max_size=30), st.integers(-(10**9), 10**9), st.integers(0, 60))
def test_no_cell_is_wider_than_its_column(name: str, size: int, width: int) -> None:
    layout = lay_out(ALL, width)
    cells = layout.draw(Row(UNICODE.safe(name), size), UNICODE)
    assert [cell_len(cell.text) for cell in cells] == list(layout.widths)


def test_the_title_that_orders_has_an_arrow() -> None:
    layout = lay_out(ALL, 24)
    assert [c.text for c in layout.header(Sort("size"), UNICODE)] == [
        "NAME  ", "NOTE", " SIZE▲", "PAST ",
    ]  # fmt: skip
    turned = layout.header(Sort("name", is_reversed=True), UNICODE)
    assert [c.text for c in turned] == ["NAME▼ ", "NOTE", " SIZE ", "PAST "]
    assert [c.tone for c in turned] == ["accent", "dim", "dim", "dim"]


def test_the_column_under_the_mouse() -> None:
    layout = lay_out((NAME, SIZE), 13)
    found = [layout.column_at(x) for x in (-1, 0, 6, 7, 12, 13, 14)]
    assert [c and c.id for c in found] == [None, "name", "name", "size", "size", "size", None]
    assert Layout[Row]((), ()).width == 0


def test_order_is_stable_and_the_unknown_is_last() -> None:
    rows = [Row("a", 2), Row("b"), Row("c", 1), Row("d", 2), Row("e"), Row("f", 1)]

    def names(*, is_reversed: bool) -> str:
        ordered = in_order(rows, lambda r: r.size, is_reversed=is_reversed)
        return "".join(row.name for row in ordered)

    assert names(is_reversed=False) == "cfadbe"
    assert names(is_reversed=True) == "adcfbe"
