"""The table of running requests, longest first, to see stragglers: rows, columns, filter fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.tui import format as fmt
from miles_router.tui.filters import Field, Fields, Filter
from miles_router.tui.glyphs import UNICODE, Glyphs
from miles_router.tui.rows.table import (
    Cell,
    Column,
    Key,
    Layout,
    Line,
    Sort,
    Tone,
    in_order,
    lay_out,
)
from miles_router.tui.rows.worker import natural, short_url
from miles_router.tui.rows.worker_columns import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from miles_router.core.snapshot import RequestView, Snapshot, WorkerView

# A request that runs twice as long as 99 of 100 did on its worker is one to look at.
STRAGGLER_FACTOR = 2.0
REQUEST_SORT = Sort("age", is_reversed=True)
REQUEST_TONES: dict[str, Tone] = {
    "reading": "dim",
    "queued": "accent",
    "generating": "",
    "answering": "good",
    "aborting": "warn",
}


class RequestRow:
    """One running request on the screen; `worker` is where it runs, if that is known."""

    __slots__ = ("glyphs", "order", "view", "worker")

    def __init__(
        self, view: RequestView, worker: WorkerView | None, order: int, glyphs: Glyphs
    ) -> None:
        self.view = view
        self.worker = worker
        self.order = order
        self.glyphs = glyphs

    @property
    def id(self) -> str:
        """The router's own id of it: what an abort names."""
        return self.view.request_id

    @property
    def name(self) -> str:
        """Its rid, safe; the first one and how many more; the router's own id if it has none."""
        rids = self.view.rids
        if not rids:
            return self.glyphs.safe(self.view.request_id)
        more = f" +{len(rids) - 1}" if len(rids) > 1 else ""
        return self.glyphs.safe(rids[0]) + more

    @property
    def worker_name(self) -> str:
        """Where it runs; `-` while it waits."""
        if self.worker is not None:
            return short_url(self.worker.url, self.glyphs)
        return fmt.UNKNOWN if self.view.worker_id is None else self.glyphs.safe(self.view.worker_id)

    @property
    def is_straggler(self) -> bool:
        """It has run much longer than its worker's requests usually do."""
        p99_s = None if self.worker is None else self.worker.latency_p99_s
        return p99_s is not None and self.view.age_s > STRAGGLER_FACTOR * p99_s

    def cells(self, layout: Layout[RequestRow]) -> Line:
        """Its cells, each as wide as its column."""
        return layout.draw(self, self.glyphs)


def request_rows(
    snapshot: Snapshot,
    *,
    requests: Iterable[RequestView] | None = None,
    sort: Sort = REQUEST_SORT,
    where: Filter[RequestRow] | None = None,
    glyphs: Glyphs = UNICODE,
) -> list[RequestRow]:
    """The running requests that match; `requests` are other ones than the snapshot's oldest.

    Rows of equal keys stay in the router's order, which is oldest first.
    """
    workers = {worker.id: worker for worker in snapshot.workers}
    views = snapshot.requests if requests is None else requests
    rows = [
        RequestRow(view, None if view.worker_id is None else workers.get(view.worker_id), n, glyphs)
        for n, view in enumerate(views)
    ]
    if where:
        rows = where.keep(rows)
    key = _ORDERS.get(sort.key)
    return rows if key is None else in_order(rows, key, is_reversed=sort.is_reversed)


def request_layout(width: int) -> Layout[RequestRow]:
    """The columns that have room in `width` cells."""
    return lay_out(REQUEST_COLUMNS, width)


def _age(row: RequestRow, width: int) -> Cell:
    is_marked = row.is_straggler
    text = mark(fmt.age(row.view.age_s), width, row.glyphs, is_marked=is_marked)
    return Cell(text, "warn" if is_marked else "")


def _state(row: RequestRow, _width: int) -> Cell:
    state = row.view.state
    glyph = row.glyphs.requests.get(state, row.glyphs.levels["warn"])
    return Cell(f"{glyph} {row.glyphs.safe(state)}", REQUEST_TONES.get(state, ""))


def _name(row: RequestRow, _width: int) -> Cell:
    return Cell(row.name)


def _worker(row: RequestRow, _width: int) -> Cell:
    return Cell(row.worker_name, "dim" if row.view.worker_id is None else "")


def _bytes(row: RequestRow, _width: int) -> Cell:
    return Cell(fmt.size(row.view.bytes_out), "" if row.view.bytes_out else "dim")


def _path(row: RequestRow, _width: int) -> Cell:
    return Cell(row.glyphs.safe(row.view.path))


def _tenant(row: RequestRow, _width: int) -> Cell:
    return Cell(row.glyphs.safe(row.view.tenant))


def _id(row: RequestRow, _width: int) -> Cell:
    return Cell(row.glyphs.safe(row.view.request_id), "dim")


REQUEST_COLUMNS: tuple[Column[RequestRow], ...] = (
    Column(
        "age", "AGE", _age, width=7, rank=0, align="right", has_mark=True, is_number=True,
        key=lambda r: r.view.age_s, help="how long it runs; ! twice its worker's p99",
    ),
    Column(
        "state", "STATE", _state, width=12, rank=2,
        key=lambda r: r.view.state, help="waits, is generated, is answered",
    ),
    Column(
        "rid", "RID", _name, width=20, rank=1, cut="middle", grows=1, most_width=40,
        key=lambda r: natural(r.name), help="its id at the worker",
    ),
    Column(
        "worker", "WORKER", _worker, width=19, rank=3, cut="middle", grows=2, most_width=32,
        key=lambda r: natural(r.worker_name), help="where it runs",
    ),
    Column(
        "bytes", "BYTES", _bytes, width=8, rank=4, align="right", is_number=True,
        key=lambda r: r.view.bytes_out, help="bytes of its answer so far",
    ),
    Column(
        "path", "PATH", _path, width=12, rank=5, grows=3, most_width=32,
        key=lambda r: r.view.path, help="what was asked for",
    ),
    Column(
        "tenant", "TENANT", _tenant, width=12, rank=6, grows=4, most_width=32,
        key=lambda r: r.view.tenant, help="whose it is",
    ),
    Column(
        "id", "ID", _id, width=20, rank=7, grows=5, most_width=40,
        key=lambda r: r.id, help="the router's own id of it",
    ),
)  # fmt: skip

_ORDERS: dict[str, Callable[[RequestRow], Key | None]] = {
    column.id: column.key for column in REQUEST_COLUMNS if column.key is not None
}
REQUEST_SORT_KEYS = tuple(_ORDERS)


def _place(row: RequestRow) -> str:
    url = "" if row.worker is None else row.worker.url
    return f"{url} {row.view.worker_id or ''}".strip()


REQUEST_FIELDS: Fields[RequestRow] = Fields(
    (
        Field("rid", lambda r: " ".join(r.view.rids), help="its ids at the worker"),
        Field("id", lambda r: r.view.request_id, help="the router's own id"),
        Field("worker", _place, aliases=("url",), help="URL or id of its worker"),
        Field("age", lambda r: r.view.age_s, "seconds", help="how long it runs: age:>30s"),
        Field("bytes", lambda r: r.view.bytes_out, "bytes", help="bytes so far: bytes:>4MiB"),
        Field(
            "state", lambda r: r.view.state, help="reading, queued, generating, answering, aborting"
        ),
        Field("path", lambda r: r.view.path, help="what was asked for"),
        Field("tenant", lambda r: r.view.tenant, help="whose it is"),
    ),
    text=lambda r: f"{' '.join(r.view.rids)} {r.id} {_place(r)} {r.view.path} {r.view.tenant}",
)
