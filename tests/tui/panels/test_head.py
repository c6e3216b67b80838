from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from miles_router.tui.glyphs import ASCII, UNICODE, Glyphs
from miles_router.tui.history import History
from miles_router.tui.panels.head import head_line, link_banner, tile_line, tiles
from miles_router.tui.source import Link, LinkState
from tests.tui.views import a_snapshot, a_worker

if TYPE_CHECKING:
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.rows.table import Line

LIVE = Link(LinkState.LIVE, since=0.0)
LOST = Link(LinkState.LOST, since=58.0, detail="connection refused", retry_at=102.6)
WAITING = Link(LinkState.WAITING, since=98.0)


def text(line: Line) -> str:
    return "".join(cell.text for cell in line)


def head(width: int, link: Link = LIVE, snapshot: Snapshot | None = None) -> str:
    shown = a_snapshot() if snapshot is None else snapshot
    return text(head_line(shown, link, 100.0, width)).rstrip()


def test_the_head_says_what_it_is_and_how_fresh() -> None:
    assert head(100) == (
        " miles-router  ● live  http://127.0.0.1:30000  weights 128  up 3h12m  least_inflight"
    )
    assert head(79) == " miles-router  ● live  http://127.0.0.1:30000  weights 128  up 3h12m"
    assert head(100, LOST).startswith(" miles-router  \u00d7 OLD 42s  http")
    stopping = a_snapshot(is_stopping=True, newest_weight_version=None)
    assert "  stopping  http" in head(100, snapshot=stopping)
    assert "weights" not in head(100, snapshot=stopping)


def test_before_the_first_snapshot_the_head_shows_where_it_looks() -> None:
    line = head_line(
        None, WAITING, 100.0, 70, url="http://h:1\x1b", notes=("read-only",), glyphs=ASCII
    )
    assert text(line).rstrip() == r" miles-router  . waiting  read-only  http://h:1\x1b"


@pytest.mark.parametrize(
    ("link", "banner"),
    [
        (LIVE, ""),
        (LOST, " DISCONNECTED 42s, retry in 2s (R now), numbers are old: connection refused"),
        (Link(LinkState.LOST, 58.0), " DISCONNECTED 42s (R now), numbers are old"),
        (Link(LinkState.SILENT, 92.0, "see the log"),
         " no snapshot for 8s, numbers are old: see the log"),
        (Link(LinkState.LOST, 58.0, "a\nb", 90.0),
         r" DISCONNECTED 42s, retry in 0s (R now), numbers are old: a\nb"),
        (WAITING, " waiting for http://h:1 2s"),
        (Link(LinkState.WAITING, 98.0, "refused", 101.0),
         " waiting for http://h:1 2s, retry in 1s (R now): refused"),
    ],
)  # fmt: skip
def test_the_banner_of_a_link(link: Link, banner: str) -> None:
    lines = link_banner(link, 100.0, 90, url="http://h:1")
    assert [text(line).rstrip() for line in lines] == ([banner] if banner else [])


def test_a_long_reason_goes_on_below() -> None:
    lines = [text(line) for line in link_banner(LOST, 100.0, 30, glyphs=ASCII)]
    assert lines == [
        " DISCONNECTED 42s, retry in 2s",
        " (R now), numbers are old:    ",
        " connection refused           ",
    ]
    cut = [text(line) for line in link_banner(LOST, 100.0, 20, glyphs=ASCII)]
    assert len(cut) == 3
    assert cut[-1].endswith("~")


def test_what_never_connected_has_no_old_numbers() -> None:
    (line,) = link_banner(LOST, 100.0, 90, has_numbers=False)
    assert text(line).rstrip() == (" NO CONNECTION 42s, retry in 2s (R now): connection refused")
    shown = text(head_line(None, LOST, 100.0, 60, url="http://h:1"))
    assert shown.rstrip() == " miles-router  \u00d7 not connected 42s  http://h:1"


def test_workers_alone_are_no_reason_to_invent_the_rest() -> None:
    partial = a_snapshot(boot_id="", uptime_s=0.0, policy="", url="http://0.0.0.0:1")
    line = head_line(partial, LIVE, 0.0, 90, url="http://h:1", notes=("read-only",))
    assert text(line).rstrip() == (
        " miles-router  \u25cf live  no admin token: read-only  http://h:1  weights 128"
    )
    assert values(partial)["queued"].startswith("-")


def values(snapshot: Snapshot, history: History | None = None) -> dict[str, str]:
    return {tile.id: tile.value for tile in tiles(snapshot, history or History())}


def test_totals_of_a_healthy_pool() -> None:
    history = History()
    for second in range(2):
        snapshot = a_snapshot([a_worker(inflight=3, served=40 * second)])
        history.take(snapshot, float(second))
    assert values(snapshot, history) == {
        "rate": "40", "inflight": "3", "queued": "0", "up": "1/1", "quarantined": "0",
        "stale": "0", "lag": "1.0ms",
    }  # fmt: skip
    assert {tile.tone for tile in tiles(snapshot, history)} == {""}


def test_totals_that_need_attention_are_marked() -> None:
    snapshot = a_snapshot(
        [
            a_worker("a"),
            a_worker("b", status="quarantined", is_healthy=False),
            a_worker("c", status="stale", is_healthy=False),
        ],
        totals={"queued": 7, "loop_lag_p99_s": 0.25},
    )
    assert values(snapshot) == {
        "rate": "-", "inflight": "0", "queued": "7!", "up": "1/3!", "quarantined": "1!",
        "stale": "1!", "lag": "250ms!",
    }  # fmt: skip
    assert values(a_snapshot())["up"] == "0/0!"
    for tile in tiles(snapshot, History()):
        assert (tile.tone != "") == tile.value.endswith("!")
        assert tile.help


@pytest.mark.parametrize(
    ("queued", "queue_size", "shown", "tone"),
    [
        (0, 512, "0", ""),
        (3, 512, "3/512!", "warn"),
        (512, 512, "512/512!", "bad"),
        (10_000, 10_000, "10,000/10,000!", "bad"),
        (1_234, None, "1,234!", "warn"),  # of an older router
        (0, 0, "0", ""),
    ],
)
def test_a_queue_is_shown_with_its_size(
    queued: int, queue_size: int | None, shown: str, tone: str
) -> None:
    snapshot = a_snapshot([a_worker()], totals={"queued": queued, "queue_size": queue_size})
    (tile,) = (tile for tile in tiles(snapshot, History()) if tile.id == "queued")
    assert (tile.value, tile.tone) == (shown, tone)


def test_the_totals_of_a_large_pool_have_room_in_80_columns() -> None:
    workers = [a_worker(f"w{number}") for number in range(1_000)]
    snapshot = a_snapshot(workers, totals={"queued": 512, "queue_size": 512})
    assert text(tile_line(tiles(snapshot, History()), 79)).rstrip() == (
        " req/s -   infl 0   queue 512/512!   up 1,000/1,000   quar 0   stale 0"
    )


def test_totals_on_one_line() -> None:
    shown = tiles(a_snapshot([a_worker()], totals={"queued": 7}), History())
    assert text(tile_line(shown, 79)).rstrip() == (
        " req/s -   infl 0   queue 7!   up 1/1   quar 0   stale 0   lag 1.0ms"
    )
    assert text(tile_line(shown, 30)) == " req/s -   infl 0   queue 7!  "


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(st.text(max_size=40), st.integers(0, 130), st.sampled_from([LIVE, LOST, WAITING]))
def test_lines_are_as_wide_as_asked(glyphs: Glyphs, words: str, width: int, link: Link) -> None:
    snapshot = a_snapshot(url=words, policy=words, newest_weight_version=words)
    lines = [
        head_line(snapshot, link, 100.0, width, glyphs=glyphs),
        tile_line(tiles(snapshot, History(), glyphs), width, glyphs),
        *link_banner(Link(LinkState.LOST, 1.0, words), 100.0, width, url=words, glyphs=glyphs),
    ]
    for line in lines:
        assert cell_len(text(line)) == width
        assert text(line).isprintable()
        assert not glyphs.is_ascii or text(line).isascii()
