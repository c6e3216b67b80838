from __future__ import annotations

import random

import pytest

from miles_router.sim.faults import KINDS, Fault, FaultSyntaxError, FaultTable, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hang", Fault("hang")),
        ("hang:count=2,path=/v1/models", Fault("hang", path="/v1/models", count=2)),
        ("status=503", Fault("status", code=503)),
        ("status:code=429,count=all", Fault("status", code=429, count=None)),
        ("status:status=502", Fault("status", code=502)),
        ("reset:probability=0.1,count=all", Fault("reset", probability=0.1, count=None)),
        ("truncate:bytes=10,after=3", Fault("truncate", size_bytes=10, after=3)),
        ("truncate=10", Fault("truncate", size_bytes=10)),
        ("slow:delay_s=0.5,bytes=1", Fault("slow", delay_s=0.5, size_bytes=1)),
        ("refuse=2.5", Fault("refuse", seconds=2.5)),
        ("early", Fault("early", code=413)),
        ("exit", Fault("exit", code=13)),
    ],
)
def test_the_grammar(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("explode", "unknown fault 'explode'; known are: refuse, reset"),
        ("hang:bytes=3", "hang does not take 'bytes'; it takes after, count, path, probability."),
        ("hang=3", "hang takes no value; write 'hang'."),
        ("status=bad", "code=bad: code takes a number."),
        ("hang:count=-1", "count=-1: count must not be negative."),
        ("hang:path=generate", "path=generate: a path starts with '/'."),
        ("hang:probability=2", "probability=2 must be from 0 to 1."),
        ("refuse:path=/x", "refuse does not take 'path'; it takes seconds."),
    ],
)
def test_what_means_nothing_is_refused_with_what_would(text: str, message: str) -> None:
    with pytest.raises(FaultSyntaxError) as error:
        parse_fault(text)
    assert str(error.value).startswith(message)


def table(*texts: str, seed: int = 0) -> FaultTable:
    found = FaultTable(random.Random(seed))
    for text in texts:
        found.add(parse_fault(text))
    return found


def taken(faults: FaultTable, *paths: str) -> list[str | None]:
    found = [faults.take(path) for path in paths]
    return [None if fault is None else fault.kind for fault in found]


def test_a_fault_is_used_up() -> None:
    assert taken(table("hang:count=2"), *["/generate"] * 3) == ["hang", "hang", None]
    assert taken(table("hang:count=all"), *["/generate"] * 3) == ["hang"] * 3


def test_a_fault_belongs_to_its_path() -> None:
    faults = table("hang:count=all,path=/v1/*")
    paths = ["/generate", "/v1/models", "/v1/", "/v2/x"]
    assert taken(faults, *paths) == [None, "hang", "hang", None]


def test_control_routes_are_spared_unless_named() -> None:
    assert taken(table("hang:path=/*"), "/sim/stats") == [None]
    assert taken(table("hang:path=/sim/echo"), "/sim/echo") == ["hang"]


def test_some_requests_can_be_let_through_first() -> None:
    assert taken(table("hang:after=2"), *["/generate"] * 4) == [None, None, "hang", None]


def test_the_oldest_fault_that_applies_wins() -> None:
    assert taken(table("hang", "reset"), *["/generate"] * 3) == ["hang", "reset", None]


def test_chance_is_repeatable() -> None:
    def draw() -> list[str | None]:
        return taken(table("hang:probability=0.3,count=all", seed=4), *["/generate"] * 100)

    assert draw() == draw()
    assert 15 < draw().count("hang") < 45


def test_clearing_and_listing() -> None:
    faults = table("hang:count=2")
    faults.take("/generate")
    assert faults.listed() == [{"kind": "hang", "path": "/generate", "count": 2, "used": 1}]
    faults.clear()
    assert faults.listed() == []


def test_every_kind_parses_without_options() -> None:
    assert [parse_fault(kind).kind for kind in KINDS] == list(KINDS)
