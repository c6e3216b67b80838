"""The ring of events and its listeners."""

from __future__ import annotations

import msgspec
import pytest

from miles_router.core import events
from miles_router.core.events import Event, EventLog


def test_events_are_numbered_without_gaps_and_carry_unix_time() -> None:
    log = EventLog(unix_offset_s=1_000.0)
    assert log.last_seq == 0
    added = [log.add("kind", f"message {number}", float(number)) for number in range(3)]
    assert [event.seq for event in added] == [1, 2, 3]
    assert [event.time_s for event in added] == [1_000.0, 1_001.0, 1_002.0]
    assert log.last_seq == 3


@pytest.mark.parametrize(
    ("seq", "seqs"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (99, []), (-5, [1, 2, 3])]
)
def test_what_came_after_a_number(seq: int, seqs: list[int]) -> None:
    log = EventLog()
    for _ in range(3):
        log.add("kind", "", 0.0)
    assert [event.seq for event in log.since(seq)] == seqs


def test_the_ring_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_KEPT", 2)
    log = EventLog()
    for _ in range(5):
        log.add("kind", "", 0.0)
    assert [event.seq for event in log.since(0)] == [4, 5]


def test_listeners_hear_each_event_until_they_unsubscribe_even_while_they_hear_one() -> None:
    log = EventLog()
    heard: list[tuple[str, int]] = []

    def once(event: Event) -> None:
        heard.append(("once", event.seq))
        end_once()

    end_once = log.subscribe(once)
    end_both = log.subscribe(lambda event: heard.append(("both", event.seq)))
    log.add("kind", "", 0.0)
    log.add("kind", "", 0.0)
    end_both()
    log.add("kind", "", 0.0)
    assert heard == [("once", 1), ("both", 1), ("both", 2)]


def test_the_json_of_an_event_leaves_out_what_it_does_not_have() -> None:
    log = EventLog()
    event = log.add("worker_joining", "it is joining", 5.0, worker_id="w1", to_state="joining")
    assert msgspec.to_builtins(event) == {
        "seq": 1,
        "time_s": 5.0,
        "kind": "worker_joining",
        "message": "it is joining",
        "worker_id": "w1",
        "to_state": "joining",
    }


def test_events_cannot_be_changed() -> None:
    event = EventLog().add("kind", "", 0.0)
    with pytest.raises(AttributeError):
        event.kind = "other"  # type: ignore[misc]  # the point of the test
