"""The list of workers: filtered and ordered by cheap keys; cells come later, for visible rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.lifecycle import ROUTABLE
from miles_router.tui.filters import Field, Fields, Filter
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.rows.table import Key, Sort, in_order
from miles_router.tui.rows.worker import WorkerRow
from miles_router.tui.rows.worker_columns import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.history import History

DEFAULT_SORT = Sort("order")

_ORDERS: dict[str, Callable[[WorkerRow], Key | None]] = {
    "order": lambda row: row.order,
    "attention": lambda row: row.attention,
    **{column.id: column.key for column in COLUMNS if column.key is not None},
}
SORT_KEYS = tuple(_ORDERS)
"""What `Sort.key` may be: order of registration, what needs attention first, each column."""


def _outcome(row: WorkerRow) -> str | None:
    probe = row.view.last_probe
    return None if probe is None else probe.outcome


def _labels(row: WorkerRow) -> str:
    labels = row.view.labels
    return " ".join(f"{name}={value}" for name, value in labels.items()) if labels else ""


WORKER_FIELDS: Fields[WorkerRow] = Fields(
    (
        Field(
            "state", lambda r: r.view.status,
            words={"up": frozenset(state.value for state in ROUTABLE)},
            help="state of the worker; up: active or suspect",
        ),
        Field("url", lambda r: r.view.url, aliases=("name", "worker"), help="its URL"),
        Field("id", lambda r: r.view.id, help="its id"),
        Field("infl", lambda r: r.view.inflight, "number", ("inflight",), help="in flight"),
        Field("load", lambda r: r.view.load_share, "share", ("share",), help="its part: load:>20%"),
        Field("rate", lambda r: r.rate, "number", ("req", "rps"), help="requests per second"),
        Field("err", lambda r: r.view.errors, "number", ("errors",), help="errors"),
        Field("p50", lambda r: r.view.latency_p50_s, "seconds", help="median duration: p50:>800ms"),
        Field("p99", lambda r: r.view.latency_p99_s, "seconds", help="99th percentile: p99:>2.5s"),
        Field("wt", lambda r: r.view.weight_version, aliases=("weights",), help="weight version"),
        Field(
            "stale", lambda r: "no" if r.view.is_newest_version else "yes",
            help="weights are not the newest: stale:yes",
        ),
        Field("health", _outcome, aliases=("probe",), help="last health result"),
        Field("fail", lambda r: r.view.failures_in_row, "number", help="failed probes in a row"),
        Field("served", lambda r: r.view.served, "number", help="requests finished"),
        Field("since", lambda r: r.view.since_s, "seconds", help="time in its state: since:<5m"),
        Field("why", lambda r: r.view.reason, aliases=("reason",), help="why it is in its state"),
        Field("model", lambda r: r.view.model_path, help="its model"),
        Field("label", _labels, aliases=("labels",), help="labels: label:zone=a"),
    ),
    text=lambda r: f"{r.view.status} {r.view.url} {r.view.id} {_labels(r)}",
)  # fmt: skip


def worker_rows(
    snapshot: Snapshot,
    history: History,
    *,
    sort: Sort = DEFAULT_SORT,
    where: Filter[WorkerRow] | None = None,
    glyphs: Glyphs = UNICODE,
) -> list[WorkerRow]:
    """The workers that match, in order: by a column's id, "order" (of registration) or "attention".

    Rows of equal keys stay in order of registration; an unknown key leaves all in it.
    """
    rows = [WorkerRow(view, n, history, glyphs) for n, view in enumerate(snapshot.workers)]
    if where:
        rows = where.keep(rows)
    key = _ORDERS.get(sort.key)
    return rows if key is None else in_order(rows, key, is_reversed=sort.is_reversed)
