from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from miles_router.demo.latency import Latency, quantile
from miles_router.demo.plan import Interruption
from miles_router.demo.report import (
    Outcome,
    exactness_rows,
    latency_rows,
    print_report,
    print_verdict,
    state_history,
    summary_rows,
    worker_rows,
)
from miles_router.demo.retrieval import Exactness
from miles_router.demo.tally import Tally
from tests.demo.conversations import exchange_of

EVENTS: list[dict[str, Any]] = [
    {"url": "u1", "to_state": "joining"},
    {"url": "u2", "to_state": "joining"},
    {"url": "u1", "from_state": "joining", "to_state": "active"},
    {"url": "u1", "kind": "weight_version"},
    {"url": "u1", "to_state": "active"},
    {"url": "u1", "from_state": "active", "to_state": "quarantined"},
    {"kind": "started"},
]
SNAPSHOT: dict[str, Any] = {
    "events": EVENTS,
    "workers": [
        {"url": "u1", "served": 5, "errors": 2},
        {"url": "u2", "served": 6, "errors": 0},
    ],
    "totals": {"retries": 3},
}


def test_the_history_of_a_worker_is_its_own_states_in_order() -> None:
    assert state_history(EVENTS, "u1") == "joining > active > quarantined"
    assert state_history(EVENTS, "u2") == "joining"
    assert state_history(EVENTS, "u3") == ""


def test_a_row_for_each_worker() -> None:
    assert worker_rows(SNAPSHOT, {"u1": "worker 1"}) == [
        ("worker 1", "u1", "5", "2", "joining > active > quarantined"),
        ("?", "u2", "6", "0", "joining"),
    ]


def outcome() -> Outcome:
    tally = Tally(3)
    aborted = {
        "text": "",
        "output_ids": [1],
        "meta_info": {"finish_reason": {"type": "abort"}},
    }
    tally.note(exchange_of({"rid": "a"}, {"text": "", "output_ids": [1, 2]}), ["bad"])
    tally.note(exchange_of({"rid": "b"}, aborted, interruption=Interruption.ABORT), [])
    tally.note(exchange_of({"rid": "c"}, None), [])
    latency = Latency(direct_s=(0.010, 0.020), routed_s=(0.012, 0.025))
    retrieval = Exactness("ids")
    retrieval.at(1).compared = 3
    retrieval.at(1).differing = 1
    retrieval.at(1).changed_by_tokenizing = 2
    retrieval.facts += ["one fact", "another"]
    names = {"u1": "worker 1"}
    return Outcome(tally, SNAPSHOT, names, latency, 4.0, "all compared", retrieval)


def test_the_summary_counts_what_happened() -> None:
    assert summary_rows(outcome()) == [
        ("turns answered", "2 of 3 in 4.0 s"),
        ("requests lost", "0"),
        ("wrong answers", "1 (all compared)"),
        ("tokens generated", "3"),
        ("sent again by the router", "3 (their worker died)"),
        ("aborted by rid", "1"),
        ("left by their clients", "1"),
        ("slowest answer", "0.10 s"),
    ]


def test_streams_that_were_cut_are_told_where_there_are_any() -> None:
    cut = outcome()
    exchange = exchange_of({"rid": "d"}, None)
    cut.tally.note(replace(exchange, was_cut=True), [])
    rows = summary_rows(cut)
    assert ("streams cut, asked again", "1 (their worker died)") in rows
    assert ("left by their clients", "1") in rows


def test_what_was_read_back_is_told_by_the_number_of_turns() -> None:
    assert exactness_rows(outcome().retrieval) == [
        ("1", "0", "0", "0 of 0"),
        ("2", "3", "1", "2 of 3"),
    ]


def test_latency_is_told_both_ways_and_as_a_difference() -> None:
    assert latency_rows(outcome().latency) == [
        ("straight to a worker", "10.00 ms", "20.00 ms"),
        ("through the router", "12.00 ms", "25.00 ms"),
        ("added by the router", "2.00 ms", "5.00 ms"),
    ]


def test_a_difference_below_zero_is_no_number() -> None:
    rows = latency_rows(Latency(direct_s=(0.010, 0.030), routed_s=(0.012, 0.025)))
    assert rows[-1] == ("added by the router", "2.00 ms", "-")


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.99, 4), (1.0, 4)]
)
def test_a_quantile_is_one_of_the_values(share: float, expected: float) -> None:
    assert quantile([4, 2, 1, 3], share) == expected


def printed(reasons: list[str]) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_verdict(console, reasons)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_verdict_names_the_reasons() -> None:
    assert printed([]) == "OK: nothing lost, nothing wrong\n"
    assert printed(["lost [request] a"]) == "FAILED: lost [request] a\n"
    many = printed([str(number) for number in range(13)])
    assert many.endswith("FAILED: 9\n... and 3 more\n")


def test_the_report_says_how_latency_was_measured() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_report(console, outcome())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "joining > active > quarantined" in shown
    assert "2 one-token requests each way" in shown
    assert "Compared: ids.\none fact\nanother\n" in shown
