"""The tenants that have something in the token cache, a row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.tui import format as fmt
from miles_router.tui.filters import Field, Fields
from miles_router.tui.glyphs import Glyphs  # noqa: TC001  a field of a dataclass
from miles_router.tui.rows.table import Cell, Column, Layout, Line, Sort, in_order, lay_out

if TYPE_CHECKING:
    from miles_router.core.cache_view import CacheView, NamespaceView
    from miles_router.tui.filters import Filter

TENANT_SORT = Sort("bytes", is_reversed=True)


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant's part of the token cache."""

    tenant: str
    view: NamespaceView
    share: float
    glyphs: Glyphs

    def cells(self, layout: Layout[TenantRow]) -> Line:
        """Its cells, each as wide as its column."""
        return layout.draw(self, self.glyphs)


def tenant_rows(
    cache: CacheView, *, sort: Sort, where: Filter[TenantRow], glyphs: Glyphs
) -> list[TenantRow]:
    """The tenants that match, in order."""
    total = sum(one.size_bytes for one in cache.namespaces.values()) or 1
    rows = [
        TenantRow(tenant, view, view.size_bytes / total, glyphs)
        for tenant, view in cache.namespaces.items()
    ]
    if where:
        rows = where.keep(rows)
    column = next((one for one in TENANT_COLUMNS if one.id == sort.key), None)
    if column is None or column.key is None:
        return rows
    return in_order(rows, column.key, is_reversed=sort.is_reversed)


def tenant_layout(width: int) -> Layout[TenantRow]:
    """The columns that have room in `width` cells."""
    return lay_out(TENANT_COLUMNS, width)


def _bar(row: TenantRow, width: int) -> Cell:
    return Cell(fmt.bar(row.share, width, row.glyphs), "accent")


TENANT_COLUMNS: tuple[Column[TenantRow], ...] = (
    Column(
        "tenant", "TENANT", lambda r, _: Cell(r.glyphs.safe(r.tenant)), width=12, rank=0,
        grows=1, most_width=40, key=lambda r: r.tenant.casefold(), help="whose it is",
    ),
    Column(
        "bytes", "BYTES", lambda r, _: Cell(fmt.size(r.view.size_bytes)), width=8, rank=1,
        align="right", is_number=True, key=lambda r: r.view.size_bytes, help="without R3",
    ),
    Column("share", "SHARE", _bar, width=8, rank=5, help="part of all bytes"),
    Column(
        "tokens", "TOKENS", lambda r, _: Cell(fmt.count(r.view.tokens)), width=7, rank=2,
        align="right", is_number=True, key=lambda r: r.view.tokens, help="tokens kept",
    ),
    Column(
        "trajectories", "TRAJ", lambda r, _: Cell(fmt.count(r.view.trajectories)), width=6, rank=3,
        align="right", is_number=True, key=lambda r: r.view.trajectories, help="trajectories",
    ),
    Column(
        "turns", "TURNS", lambda r, _: Cell(fmt.count(r.view.turns)), width=6, rank=4,
        align="right", is_number=True, key=lambda r: r.view.turns, help="turns",
    ),
)  # fmt: skip

TENANT_FIELDS: Fields[TenantRow] = Fields(
    (
        Field("tenant", lambda r: r.tenant, help="its name"),
        Field("bytes", lambda r: r.view.size_bytes, "bytes", help="bytes:>1GiB"),
        Field("tokens", lambda r: r.view.tokens, "number", help="tokens:>10k"),
    ),
    text=lambda r: r.tenant,
)
