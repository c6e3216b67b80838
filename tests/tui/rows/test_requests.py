from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.tui.filters import parse
from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.rows.requests import (
    REQUEST_COLUMNS,
    REQUEST_FIELDS,
    REQUEST_SORT,
    REQUEST_SORT_KEYS,
    RequestRow,
    request_layout,
    request_rows,
)
from miles_router.tui.rows.table import Sort
from tests.tui.views import a_request, a_snapshot, a_worker

SNAPSHOT = a_snapshot(
    [a_worker(latency_p99_s=3.0), a_worker("w1", url="http://10.0.0.2:30000")],
    [
        a_request("a", age_s=61.5, state="answering", bytes_out=5 * 2**20),
        a_request("b", age_s=5.0, rids=("r-1", "r-2"), tenant="team-b"),
        a_request("c", age_s=99.0, worker_id="w1", path="/v1/chat/completions"),
        a_request("d", age_s=0.5, worker_id=None, rids=(), state="queued"),
        a_request("e", age_s=0.5, worker_id="gone", state="aborting"),
    ],
)


def ids(text: str = "", sort: Sort = REQUEST_SORT) -> str:
    where = parse(text, REQUEST_FIELDS)
    return "".join(row.id for row in request_rows(SNAPSHOT, sort=sort, where=where))


def line(row: RequestRow, width: int) -> str:
    return " ".join(cell.text for cell in row.cells(request_layout(width)))


def test_the_longest_running_is_first() -> None:
    assert ids() == "cabde"
    assert ids(sort=Sort("age")) == "debac"
    assert ids(sort=Sort("bytes", is_reversed=True)) == "abcde"
    for key in REQUEST_SORT_KEYS:
        assert sorted(ids(sort=Sort(key))) == list("abcde")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("age:>30s", "ca"),
        ("state:gen", "cb"),
        ("worker:10.0.0.2", "c"),
        ("worker:=gone", "e"),
        ("tenant:team-b", "b"),
        ("bytes:>4MiB", "a"),
        ("rid:r-2", "b"),
        ("chat", "c"),
        ("id:=d", "d"),
    ],
)
def test_filters(text: str, kept: str) -> None:
    assert ids(text) == kept


def test_lines_at_three_widths() -> None:
    rows = {row.id: row for row in request_rows(SNAPSHOT)}
    assert line(rows["a"], 79).split() == [
        "1m01s!", "▸", "answering", "rollout-1", "10.0.0.1:30000", "5.0", "MiB",
    ]  # fmt: skip
    assert line(rows["b"], 79).split()[:5] == ["5s", "●", "generating", "r-1", "+1"]
    assert line(rows["d"], 116).split()[:6] == ["0s", "…", "queued", "d", "-", "0"]
    assert line(rows["d"], 116).split()[6:] == ["B", "/generate", "default"]
    assert "gone" in line(rows["e"], 79)
    assert "/v1/chat/completions" in line(rows["c"], 196)
    assert {column.id for column in request_layout(196).columns} == {c.id for c in REQUEST_COLUMNS}


def test_a_straggler_is_marked() -> None:
    rows = {row.id: row for row in request_rows(SNAPSHOT)}
    assert rows["a"].is_straggler  # 61 s where 99 of 100 took 3
    assert not rows["b"].is_straggler
    assert not rows["c"].is_straggler  # nobody knows how long its worker takes
    assert rows["a"].cells(request_layout(79))[0].text == " 1m01s!"
    assert rows["b"].cells(request_layout(79))[0].text == "    5s "


def test_other_requests_than_the_oldest_can_be_shown() -> None:
    rows = request_rows(SNAPSHOT, requests=[a_request("z", worker_id="w1")])
    assert [(row.id, row.worker_name) for row in rows] == [("z", "10.0.0.2:30000")]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(st.text(max_size=30), st.integers(0, 220), st.floats(0, 1e9))
def test_no_cell_is_wider_than_its_column(
    glyphs: Glyphs, text: str, width: int, age_s: float
) -> None:
    request = a_request(
        text, rids=(text, text), tenant=text, path=text, worker_id=text, state=text, age_s=age_s
    )
    (row,) = request_rows(a_snapshot([], [request]), glyphs=glyphs)
    layout = request_layout(width)
    cells = row.cells(layout)
    assert [cell_len(cell.text) for cell in cells] == list(layout.widths)
    assert all(cell.text.isprintable() for cell in cells)
    assert not glyphs.is_ascii or all(cell.text.isascii() for cell in cells)
