from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.lifecycle import State
from miles_router.core.snapshot import ProbeView, WorkerView
from miles_router.tui.glyphs import ASCII, UNICODE
from miles_router.tui.history import History
from miles_router.tui.rows.worker import SEVERITY, STATE_TONES, WorkerRow, natural, short_url
from miles_router.tui.rows.worker_columns import worker_layout
from tests.tui.views import a_snapshot, a_worker

if TYPE_CHECKING:
    from collections.abc import Hashable

    from miles_router.tui.rows.table import Line

ALL = worker_layout(196)
PASSED = ProbeView("passed", 3.2, 0.004, "")
_OTHERS: dict[str, Any] = {
    "bool": True,
    "str": "another",
    "int": 71,
    "float": 0.71,
    "str | None": "another",
    "float | None": 0.71,
    "ProbeView | None": ProbeView("timeout", 3.2, 0.004, ""),
    "dict[str, str]": {"zone": "a"},
}


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


@pytest.mark.parametrize("field", WorkerView.__struct_fields__)
def test_a_worker_that_draws_other_cells_looks_different(field: str) -> None:
    before = a_worker(is_newest_version=False, is_healthy=False)
    other = _OTHERS[WorkerView.__annotations__[field]]
    after = msgspec.structs.replace(before, **{field: other})
    one, two = (WorkerRow(view, 0, History(), UNICODE) for view in (before, after))
    assert (one.cells(ALL) == two.cells(ALL)) or (one.looks != two.looks or one.id != two.id)


def test_ages_of_a_fraction_of_a_second_are_no_other_look() -> None:
    views = [
        a_worker(since_s=61.0 + part, last_probe=msgspec.structs.replace(PASSED, age_s=3.2 + part))
        for part in (0.0, 0.7)
    ]
    one, two = (WorkerRow(view, 0, History(), UNICODE) for view in views)
    assert one.looks == two.looks


_STEPS = st.tuples(
    st.sampled_from((0.1, 0.2, 0.9, 3.0)),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from((0.4, 9.8, 59.9, 75.0)),
    st.sampled_from(("passed", "timeout")),
    st.booleans(),
)


@given(st.lists(_STEPS, min_size=2, max_size=30))
def test_what_looks_the_same_has_the_same_cells(steps: list[tuple[Any, ...]]) -> None:
    history, now, served, errors = History(), 100.0, 0, 0
    drawn: dict[Hashable, Line] = {}
    for later_s, inflight, more, failed, age_s, outcome, is_there in steps:
        now, served, errors = now + later_s, served + more, errors + failed
        view = a_worker(
            inflight=inflight, served=served, errors=errors, since_s=age_s,
            last_probe=ProbeView(outcome, age_s, 0.01, ""),
        )  # fmt: skip
        history.take(a_snapshot([view] if is_there else []), now)
        row = WorkerRow(view, 0, history, UNICODE)
        cells = row.cells(ALL)
        assert drawn.setdefault(row.looks, cells) == cells
