"""The tables at the end. Rows are pure; only `print_report` knows how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from miles_router.demo.latency import quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from miles_router.demo.latency import Latency
    from miles_router.demo.retrieval import Exactness
    from miles_router.demo.tally import Tally

Row = tuple[str, ...]
SHOWN_REASONS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the report tells; `exactness` says what answers were compared with."""

    tally: Tally
    snapshot: Mapping[str, Any]
    names: Mapping[str, str]
    latency: Latency
    rollout_s: float
    exactness: str
    retrieval: Exactness


def state_history(events: Iterable[Mapping[str, Any]], url: str) -> str:
    """The states a worker went through: `joining > active > ...`."""
    states: list[str] = []
    for event in events:
        state = event.get("to_state")
        if event.get("url") == url and state and states[-1:] != [state]:
            states.append(state)
    return " > ".join(states)


def worker_rows(snapshot: Mapping[str, Any], names: Mapping[str, str]) -> list[Row]:
    """For each worker: name, URL, served, errors, states."""
    return [
        (
            names.get(worker["url"], "?"),
            worker["url"],
            str(worker["served"]),
            str(worker["errors"]),
            state_history(snapshot["events"], worker["url"]),
        )
        for worker in snapshot["workers"]
    ]


def summary_rows(outcome: Outcome) -> list[Row]:
    """What was asked, what came, and whether it was right."""
    tally, totals = outcome.tally, outcome.snapshot["totals"]
    answered = [one for one in tally.exchanges if one.answer is not None]
    tokens = sum(len((one.answer or {}).get("output_ids") or ()) for one in answered)
    cut = sum(one.was_cut for one in tally.exchanges)
    slowest_s = max((one.took_s for one in answered), default=0.0)
    return [
        ("turns answered", f"{tally.answered} of {tally.planned} in {outcome.rollout_s:.1f} s"),
        ("requests lost", str(len(tally.lost))),
        ("wrong answers", f"{len(tally.wrong)} ({outcome.exactness})"),
        ("tokens generated", str(tokens)),
        ("sent again by the router", f"{totals['retries']} (their worker died)"),
        ("aborted by rid", str(sum(one.was_aborted for one in tally.exchanges))),
        ("left by their clients", str(sum(one.was_left for one in tally.exchanges))),
        *([("streams cut, asked again", f"{cut} (their worker died)")] if cut else []),
        ("slowest answer", f"{slowest_s:.2f} s"),
    ]


def exactness_rows(exactness: Exactness) -> list[Row]:
    """For each number of turns: trajectories, differences, and what tokenizing would have done."""
    return [
        (
            str(place),
            str(count.compared),
            str(count.differing),
            f"{count.changed_by_tokenizing} of {count.compared}",
        )
        for place, count in enumerate(exactness.turns, 1)
    ]


def latency_rows(latency: Latency) -> list[Row]:
    """Milliseconds straight to a worker, through the router, and the difference.

    Where the workers' own times scatter more than the router adds, the difference may come out
    below zero: then it tells nothing.
    """
    shares = (0.5, 0.99)
    direct = [quantile(latency.direct_s, share) for share in shares]
    routed = [quantile(latency.routed_s, share) for share in shares]
    added = [through - straight for through, straight in zip(routed, direct, strict=True)]
    return [
        ("straight to a worker", *map(_milliseconds, direct)),
        ("through the router", *map(_milliseconds, routed)),
        ("added by the router", *(_milliseconds(one) if one > 0 else "-" for one in added)),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _table(title: str, columns: Sequence[str], rows: Iterable[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=bool(columns))
    for column in columns or ("", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_report(console: Console, outcome: Outcome) -> None:
    """All tables."""
    console.print(
        _table(
            "Workers",
            ("worker", "url", "served", "errors", "states"),
            worker_rows(outcome.snapshot, outcome.names),
        )
    )
    console.print(_table("Rollout", (), summary_rows(outcome)))
    retrieval = outcome.retrieval
    console.print(
        _table(
            "Exact tokens",
            ("turns", "trajectories read back", "that differ", "wrong if tokenized again"),
            exactness_rows(retrieval),
        )
    )
    for line in (f"Compared: {retrieval.compared}.", *retrieval.facts):
        console.print(line, style="dim")
    pairs = len(outcome.latency.direct_s)
    console.print(
        _table(
            "Latency",
            ("", "p50", "p99"),
            latency_rows(outcome.latency),
        )
    )
    console.print(
        f"Measured before the rollout: {pairs} one-token requests each way, one at a time, "
        "the two ways taking turns; - where the workers' own times scatter more than that.",
        style="dim",
    )


def print_verdict(console: Console, reasons: Sequence[str]) -> None:
    """The last lines: success, or why not."""
    if not reasons:
        console.print("OK: nothing lost, nothing wrong", style="bold green")
        return
    for reason in reasons[:SHOWN_REASONS]:
        console.print(f"FAILED: {reason}", style="bold red", markup=False, soft_wrap=True)
    if len(reasons) > SHOWN_REASONS:
        console.print(f"... and {len(reasons) - SHOWN_REASONS} more", style="bold red")
