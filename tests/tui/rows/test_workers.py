from __future__ import annotations

from dataclasses import replace

import pytest

from miles_router.core.snapshot import ProbeView
from miles_router.tui.filters import FilterError, parse
from miles_router.tui.history import History
from miles_router.tui.rows.table import Sort
from miles_router.tui.rows.workers import DEFAULT_SORT, SORT_KEYS, WORKER_FIELDS, worker_rows
from tests.tui.views import a_snapshot, a_worker

WORKERS = (
    a_worker("a", url="http://10.0.0.10:1", inflight=3, served=50, latency_p99_s=2.0),
    a_worker("b", url="http://10.0.0.9:1", inflight=9, served=10, errors=4, labels={"zone": "x"}),
    a_worker(
        "c", url="http://10.0.0.11:1", status="quarantined", is_healthy=False, failures_in_row=5,
        last_probe=ProbeView("timeout", 4.0, 2.0, "no answer"), reason="5 failures in a row",
    ),
    a_worker(
        "d", url="http://10.0.0.8:1", status="stale", is_healthy=False, weight_version="127",
        is_newest_version=False, latency_p99_s=0.5,
    ),
    a_worker("e", url="http://10.0.0.7:1", inflight=3, served=50, last_probe=None),
)  # fmt: skip
SNAPSHOT = a_snapshot(WORKERS)


def history() -> History:
    """Two seconds in which b had an error and e finished most."""
    past = History()
    past.take(a_snapshot([a_worker("b", errors=3), a_worker("e", served=0), WORKERS[0]]), 0.0)
    past.take(SNAPSHOT, 2.0)
    return past


def ids(sort: Sort = DEFAULT_SORT, filter_text: str = "") -> str:
    where = parse(filter_text, WORKER_FIELDS)
    return "".join(row.id for row in worker_rows(SNAPSHOT, history(), sort=sort, where=where))


@pytest.mark.parametrize(
    ("key", "order", "turned"),
    [
        ("order", "abcde", "edcba"),
        ("attention", "cdbae", "aebdc"),
        ("state", "cdabe", "abedc"),
        ("name", "edbac", "cabde"),
        ("inflight", "cdaeb", "baecd"),
        ("errors", "acdeb", "bacde"),
        ("rate", "abecd", "ebacd"),
        ("p99", "dabce", "adbce"),  # what is not known is last, both ways
        ("weights", "dabce", "abced"),
        ("health", "cabde", "abdce"),
        ("failures", "abdec", "cabde"),
        ("served", "cdbae", "aebcd"),
        ("spark", "cdeab", "baecd"),
        ("id", "abcde", "edcba"),
        ("no such column", "abcde", "abcde"),
    ],
)
def test_orders(key: str, order: str, turned: str) -> None:
    sort = Sort(key)
    assert (ids(sort), ids(replace(sort, is_reversed=True))) == (order, turned)


@pytest.mark.parametrize("key", SORT_KEYS)
def test_every_order_keeps_every_row(key: str) -> None:
    assert sorted(ids(Sort(key))) == sorted(ids(Sort(key, is_reversed=True))) == list("abcde")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("state:up", "abe"),
        ("state:quar", "c"),
        ("err:>0", "b"),
        ("wt:!=128", "d"),
        ("stale:yes", "d"),
        ("health:timeout", "c"),
        ("health:!=passed", "ce"),
        ("p99:>1s", "a"),
        ("infl:>=3 -label:zone", "ae"),
        ("label:zone=x", "b"),
        ("fail:>0", "c"),
        ("why:failures", "c"),
        ("rate:>5", "e"),
        ("10.0.0.1", "ac"),
        ("quarantined", "c"),
        ("url:10.0.0.9:1", "b"),
        ("since:>1m model:tiny", "abcde"),
    ],
)
def test_filters(text: str, kept: str) -> None:
    assert ids(filter_text=text) == kept


def test_every_field_can_be_asked_for_and_is_explained() -> None:
    row = worker_rows(SNAPSHOT, history())[0]
    for field in WORKER_FIELDS.all:
        assert field.help
        text = f"{field.name}:x" if field.unit == "text" else f"{field.name}:>=0"
        assert parse(text, WORKER_FIELDS).matches(row) in {True, False}
    with pytest.raises(FilterError, match="no field 'colour'"):
        parse("colour:red", WORKER_FIELDS)
