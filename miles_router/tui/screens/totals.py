"""Sums over all workers, and how they went in the last ten minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal, Vertical

from miles_router.tui import format as fmt
from miles_router.tui.actions import Scope
from miles_router.tui.names import is_partial
from miles_router.tui.rows import Cell
from miles_router.tui.screens.view import View
from miles_router.tui.widgets.lines import Lines
from miles_router.tui.widgets.plot import Plot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import ComposeResult

    from miles_router.core.snapshot import Totals
    from miles_router.tui.glyphs import Glyphs
    from miles_router.tui.rows import Line, Pair
    from miles_router.tui.screens.seen import Seen

# Long enough to see a training step's rollout and the pause after it.
SPAN_S = 600
_LABEL_WIDTH = 14


class TotalsView(View):
    """See the module."""

    scope: ClassVar[Scope] = Scope.TOTALS

    def compose(self) -> ComposeResult:
        """Numbers at the left, plots at the right."""
        with Horizontal(id="totals-panes"):
            yield Lines(title="since the start", id="totals-sums", classes="panel")
            with Vertical(id="totals-plots"):
                yield Plot(title="requests/s", id="totals-rate", classes="panel")
                yield Plot(title="in flight", id="totals-inflight", classes="panel")
                yield Plot(title="queued", id="totals-queued", classes="panel")
                yield Plot(title="loop lag p99", id="totals-lag", classes="panel")

    def take_focus(self) -> None:
        """Nothing here takes keys of its own."""
        self.screen.set_focus(None)

    def show(self, seen: Seen) -> None:
        """Draw this moment."""
        history = seen.history
        for name, values, label in (
            ("#totals-rate", history.throughput, fmt.rate),
            ("#totals-inflight", history.inflight_total, fmt.count),
            ("#totals-queued", history.queued, fmt.count),
            ("#totals-lag", history.lag, fmt.seconds),
        ):
            self.query_one(name, Plot).plot(values, SPAN_S, seen.glyphs, label)
        sums = self.query_one("#totals-sums", Lines)
        if seen.snapshot is not None and sums.size.width:
            is_told = not is_partial(seen.snapshot)
            shown = total_lines(seen.snapshot.totals, sums.size.width, seen.glyphs, is_told=is_told)
            sums.show(shown)


def total_lines(totals: Totals, width: int, glyphs: Glyphs, *, is_told: bool = True) -> list[Line]:
    """The sums, a line each of exactly `width` cells, counted since the router started.

    `is_told`: the router tells more than what its workers say.
    """
    label_width = min(_LABEL_WIDTH, width)
    return [
        (
            Cell(fmt.fit(glyphs.safe(label), label_width, glyphs=glyphs), "dim"),
            Cell(fmt.fit(glyphs.safe(cell.text), width - label_width, glyphs=glyphs), cell.tone),
        )
        for label, cell in _cells(totals, glyphs, is_told=is_told)
    ]


def _cells(totals: Totals, glyphs: Glyphs, *, is_told: bool) -> Iterator[Pair]:
    for label, text in _pairs(totals, is_told=is_told):
        status = label.strip()
        is_bad = status in totals.responses and totals.responses[status] and _is_refusal(status)
        yield label, Cell(text + glyphs.attention, "warn") if is_bad else Cell(text)


def _is_refusal(status: str) -> bool:
    """What a caller did nothing wrong for: the queue is full, or nobody could answer."""
    return status == "429" or status.startswith("5")


def _pairs(totals: Totals, *, is_told: bool) -> Iterator[tuple[str, str]]:
    take = "takes" if totals.healthy_workers == 1 else "take"
    yield "workers", f"{totals.workers:,}, {totals.healthy_workers:,} {take} requests"
    for state, count in sorted(totals.states.items(), key=lambda item: (-item[1], item[0])):
        if count:
            yield f"  {state}", f"{count:,}"
    if not is_told:
        yield "in flight", f"{totals.inflight:,}"
        yield "the rest", "needs the admin token"
        return
    yield "in flight", f"{totals.inflight:,}"
    full = ", full" if totals.is_queue_full else ""
    most = "" if totals.queue_size is None else f" of at most {totals.queue_size:,}"
    yield "queued", f"{totals.queued:,}{most}{full}"
    yield "sessions", f"{totals.sessions:,}"
    yield "", ""
    yield "requests", f"{totals.requests:,}"
    if totals.relayed is not None:
        yield "  for workers", f"{totals.relayed:,}"
    for status, count in sorted(totals.responses.items()):
        yield f"  {status}", f"{count:,}"
    yield "retries", f"{totals.retries:,}"
    yield "callers gone", f"{totals.client_gone:,}"
    yield "cut answers", f"{totals.cut_answers:,}"
    yield "bytes", f"{fmt.size(totals.bytes_in)} in, {fmt.size(totals.bytes_out)} out"
    yield "", ""
    p50, p99 = fmt.seconds(totals.overhead_p50_s), fmt.seconds(totals.overhead_p99_s)
    yield "overhead", f"p50 {p50}, p99 {p99}"
    yield "loop lag", f"p99 {fmt.seconds(totals.loop_lag_p99_s)}"
