"""What stands above the tables: the line of the router, the banner of a lost link, the totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from miles_router.tui import format as fmt
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.names import is_partial
from miles_router.tui.rows.table import Cell, Line, Tone
from miles_router.tui.source import LinkState

if TYPE_CHECKING:
    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.history import History
    from miles_router.tui.source import Link

# A loop that answers later than this delays every request by as much.
LAG_LIMIT_S = 0.1
_LINK_TONES: dict[LinkState, Tone] = {
    LinkState.WAITING: "accent",
    LinkState.LIVE: "good",
    LinkState.SILENT: "warn",
    LinkState.LOST: "bad",
}
_GAP = "  "
_BANNER_LINES = 3


@dataclass(frozen=True, slots=True)
class Tile:
    """One total: a title, a shorter one for narrow screens, and its value with its `!`."""

    id: str
    title: str
    short: str
    value: str
    tone: Tone = ""
    help: str = ""


def head_line(
    snapshot: Snapshot | None,
    link: Link,
    now: float,
    width: int,
    *,
    url: str = "",
    notes: tuple[str, ...] = (),
    glyphs: Glyphs = UNICODE,
) -> Line:
    """`miles-router  ● live  URL  weights 128  up 3h12m  POLICY`, exactly `width` cells.

    What has no room is left out from the right. `url` is the address that the source reads: what
    the router says of its own may be of use on its machine alone; `notes` (such as
    "read-only", "paused") stand after the link.
    """
    is_old = snapshot is not None
    parts = [Cell("miles-router", "accent"), _link_cell(link, now, glyphs, is_old=is_old)]
    for note in notes:
        is_denied = note == "read-only" and is_partial(snapshot)
        parts.append(Cell(f"no admin token: {note}" if is_denied else note, "warn"))
    if snapshot is not None and snapshot.is_stopping:
        parts.append(Cell("stopping", "warn"))
    address = url or ("" if snapshot is None else snapshot.url)
    if address:
        parts.append(Cell(glyphs.safe(address)))
    if snapshot is not None:
        newest = snapshot.newest_weight_version
        if newest is not None:
            parts.append(Cell(f"weights {fmt.fit_most(glyphs.safe(newest), 24, glyphs)}"))
        if not is_partial(snapshot):
            parts.append(Cell(f"up {fmt.age(snapshot.uptime_s)}", "dim"))
        if snapshot.policy:
            parts.append(Cell(glyphs.safe(snapshot.policy), "dim"))
    return spread(parts, width, glyphs)


def _link_cell(link: Link, now: float, glyphs: Glyphs, *, is_old: bool) -> Cell:
    sign = glyphs.links[link.state.value]
    tone = _LINK_TONES[link.state]
    if link.state in {LinkState.LOST, LinkState.SILENT}:
        word = "OLD" if is_old else "not connected"
        return Cell(f"{sign} {word} {fmt.age(now - link.since)}", tone)
    return Cell(f"{sign} {link.state.value}", tone)


def spread(parts: list[Cell], width: int, glyphs: Glyphs) -> Line:
    """`parts` two cells apart on a line of `width` cells; the first that has no room ends it."""
    line: list[Cell] = []
    left = width
    for part in parts:
        gap = _GAP if line else " "
        needed = len(gap) + cell_len(part.text)
        if needed > left:
            if len(line) < 2 and left > len(gap):  # better cut than missing
                line.append(
                    Cell(gap + fmt.fit(part.text, left - len(gap), glyphs=glyphs), part.tone)
                )
                left = 0
            break
        line.append(Cell(gap + part.text, part.tone))
        left -= needed
    line.append(Cell(" " * left))
    return tuple(line)


def link_banner(
    link: Link,
    now: float,
    width: int,
    *,
    url: str = "",
    has_numbers: bool = True,
    glyphs: Glyphs = UNICODE,
) -> list[Line]:
    """What is wrong with the link and what happens next; no lines while all is well.

    `DISCONNECTED 42s, retry in 3s (R now), numbers are old: why`, on at most three lines of
    exactly `width` cells. `has_numbers`: something came before it was lost.
    """
    if link.state is LinkState.LIVE:
        return []
    due = "" if link.retry_at is None else f", retry in {fmt.age(max(0.0, link.retry_at - now))}"
    why = f": {link.detail}" if link.detail else ""
    if link.state is LinkState.WAITING:
        waits = f"waiting for {url or 'the router'} {fmt.age(now - link.since)}"
        text = waits + (f"{due} (R now)" if due else "") + why
    elif link.state is LinkState.SILENT:
        text = f"no snapshot for {fmt.age(now - link.since)}, numbers are old{why}"
    else:
        state, old = ("DISCONNECTED", ", numbers are old") if has_numbers else ("NO CONNECTION", "")
        text = f"{state} {fmt.age(now - link.since)}{due} (R now){old}{why}"
    tone = _LINK_TONES[link.state]
    lines = fmt.wrap(glyphs.safe(text), max(1, width - 1), _BANNER_LINES, glyphs)
    return [(Cell(fmt.fit(" " + line, width, glyphs=glyphs), tone),) for line in lines]


def tiles(snapshot: Snapshot, history: History, glyphs: Glyphs = UNICODE) -> tuple[Tile, ...]:
    """The totals, most important first: what is cut off on a narrow screen is at the end."""
    totals = snapshot.totals
    states = totals.states
    up, quarantined, stale = (
        totals.healthy_workers,
        states.get("quarantined", 0),
        states.get("stale", 0),
    )
    lag_s = totals.loop_lag_p99_s

    def tile(
        name: str, title: str, short: str, value: str, bad: bool, tone: Tone, text: str
    ) -> Tile:
        marked = value + (glyphs.attention if bad else "")
        return Tile(name, title, short, marked, tone if bad else "", text)

    return (
        tile("rate", "req/s", "req/s", fmt.rate(history.throughput_now()), False, "",
             "requests answered by workers per second"),
        tile("inflight", "in flight", "infl", fmt.count(totals.inflight), False, "",
             "requests on workers"),
        tile("queued", "queue", "queue", _queue(snapshot), totals.queued > 0,
             "bad" if totals.is_queue_full else "warn", "requests that wait for a worker"),
        tile("up", "workers up", "up", f"{up:,}/{totals.workers:,}", up < totals.workers or not up,
             "warn" if up else "bad", "workers that take requests, of all"),
        tile("quarantined", "quarantined", "quar", f"{quarantined:,}", quarantined > 0, "bad",
             "workers taken out"),
        tile("stale", "stale", "stale", f"{stale:,}", stale > 0, "warn",
             "workers that wait for newer weights"),
        tile("lag", "loop lag p99", "lag", fmt.seconds(lag_s),
             lag_s is not None and lag_s > LAG_LIMIT_S, "warn", "delay of the router's event loop"),
    )  # fmt: skip


def _queue(snapshot: Snapshot) -> str:
    """`0`, `12/512`: what waits, and of how much that may."""
    totals = snapshot.totals
    if is_partial(snapshot):
        return fmt.UNKNOWN
    if not totals.queued or totals.queue_size is None:
        return f"{totals.queued:,}"
    return f"{totals.queued:,}/{totals.queue_size:,}"


def tile_line(shown: tuple[Tile, ...], width: int, glyphs: Glyphs = UNICODE) -> Line:
    """The tiles on one line, `req/s 412   infl 298`, exactly `width` cells."""
    line: list[Cell] = []
    left = width
    for tile in shown:
        title = f" {tile.short} " if not line else f"   {tile.short} "
        value = glyphs.safe(tile.value)
        needed = len(title) + cell_len(value)
        if needed > left:
            break
        line += [Cell(title, "dim"), Cell(value, tile.tone)]
        left -= needed
    line.append(Cell(" " * left))
    return tuple(line)
