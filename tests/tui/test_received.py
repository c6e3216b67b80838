from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui.received import LOG_LINES_KEPT, RESTARTED, Received
from miles_router.tui.source import EVENTS_KEPT
from tests.tui import pool_pictures as pictures

if TYPE_CHECKING:
    from miles_router.core.snapshot import Snapshot

PICTURE = pictures.picture(3)


def of_boot(boot_id: str, *, events: int = 0, lines: int = 0, uptime_s: float = 3.0) -> Snapshot:
    return msgspec.structs.replace(
        PICTURE, boot_id=boot_id, last_event_seq=events, log_seq=lines, uptime_s=uptime_s
    )


def event(seq: int) -> Event:
    return Event(seq, float(seq), "state", f"event {seq}")


def line(seq: int) -> LogLine:
    return LogLine(seq, float(seq), "info", f"line {seq}")


def test_a_first_snapshot_says_where_to_begin() -> None:
    received = Received()
    assert received.take(of_boot("a", events=7, lines=5), unix_now_s=1.0)
    assert (received.events_seq, received.log_seq) == (0, 0)
    assert not received.take(of_boot("a", events=9, lines=5), unix_now_s=1.2)
    long = Received()
    long.take(of_boot("a", events=9_000, lines=8_000), unix_now_s=1.0)
    assert (long.events_seq, long.log_seq) == (9_000 - EVENTS_KEPT, 8_000 - LOG_LINES_KEPT)


def test_what_is_known_is_not_taken_twice() -> None:
    received = Received()
    received.take(of_boot("a"), unix_now_s=1.0)
    received.take_events([event(1), event(2)])
    shown = received.events()
    received.take_events([event(1), event(2)])
    assert received.events() is shown
    received.take_events([event(2), event(3)])
    assert [one.seq for one in received.events()] == [1, 2, 3]
    received.take_lines([line(1), line(2)])
    received.take_lines([line(2), line(3)])
    assert [one.seq for one in received.lines()] == [1, 2, 3]
    assert received.lines() is received.lines()


def test_a_restart_keeps_what_was_and_says_so() -> None:
    received = Received()
    received.take(of_boot("a", events=2, lines=2), unix_now_s=1.0)
    received.take_events([event(1), event(2)])
    received.take_lines([line(1), line(2)])
    assert received.take(of_boot("b", events=1, lines=1), unix_now_s=50.0)
    received.take_events([event(1)])
    received.take_lines([line(1)])
    assert [one.kind for one in received.events()] == ["state", "state", RESTARTED, "state"]
    note = received.events()[2]
    assert (note.time_s, note.message) == (47.0, "the router restarted (version 0.4.0)")
    assert [one.seq for one in received.lines()] == [1, 2, 0, 1]
    assert (received.events_seq, received.log_seq) == (1, 1)


def test_a_snapshot_without_a_boot_id_is_no_restart() -> None:
    received = Received()
    received.take(of_boot("a", events=2), unix_now_s=1.0)
    received.take_events([event(1), event(2)])
    assert not received.take(of_boot(""), unix_now_s=2.0)
    assert not received.take(of_boot("a", events=2), unix_now_s=3.0)
    assert [one.seq for one in received.events()] == [1, 2]


def test_only_so_much_is_kept() -> None:
    received = Received()
    received.take(of_boot("a"), unix_now_s=1.0)
    received.take_events(event(seq) for seq in range(1, EVENTS_KEPT + 11))
    received.take_lines(line(seq) for seq in range(1, LOG_LINES_KEPT + 11))
    assert [received.events()[0].seq, len(received.events())] == [11, EVENTS_KEPT]
    assert [received.lines()[0].seq, len(received.lines())] == [11, LOG_LINES_KEPT]
