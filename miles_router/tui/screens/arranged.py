"""How a table is filtered and ordered, and the words in its title that say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from miles_router.tui.filters import Fields, Filter, parse
from miles_router.tui.rows import Sort

if TYPE_CHECKING:
    from miles_router.tui.glyphs import Glyphs
    from miles_router.tui.rows import Layout

R = TypeVar("R")


@dataclass
class Arranged(Generic[R]):
    """Mutable: the keys for filter, sort and reverse change it. `own_orders` have no column."""

    fields: Fields[R]
    sort: Sort
    own_orders: tuple[str, ...] = ()
    where: Filter[R] = field(default_factory=Filter)

    def set_filter(self, text: str) -> None:
        """Filter by `text`.

        Raises:
            FilterError: it is no filter; the old one stays.
        """
        self.where = parse(text, self.fields)

    def sort_next(self, layout: Layout[R]) -> str:
        """Sort by the next of what is on the screen; says by what."""
        columns = [column for column in layout.columns if column.key is not None and column.title]
        orders = [*self.own_orders, *(column.id for column in columns)]
        place = orders.index(self.sort.key) if self.sort.key in orders else -1
        return self.sort_by(orders[(place + 1) % len(orders)], layout)

    def sort_by(self, key: str, layout: Layout[R]) -> str:
        """Sort by `key`: numbers with the largest first, texts from A; says by what."""
        column = next((one for one in layout.columns if one.id == key), None)
        self.sort = Sort(key, is_reversed=column is not None and column.is_number)
        return key if column is None else column.title

    def head_clicked(self, x: int, layout: Layout[R]) -> None:
        """Sort by the column at `x`; the one that it is sorted by turns round."""
        column = layout.column_at(x)
        if column is None or column.key is None:
            return
        if column.id == self.sort.key:
            self.reverse()
        else:
            self.sort_by(column.id, layout)

    def reverse(self) -> None:
        """Turn the order round."""
        self.sort = Sort(self.sort.key, is_reversed=not self.sort.is_reversed)

    def title(self, what: str, shown: int, among: int, glyphs: Glyphs) -> str:
        """Such as `workers 3 of 14 · filter state:up · by attention`."""
        count = f"{shown:,} of {among:,}" if self.where else f"{among:,}"
        parts = [f"{what} {count}"]
        if self.where:
            parts.append(f"filter {glyphs.safe(self.where.text)}")
        if self.sort.key in self.own_orders[1:]:
            parts.append(f"by {self.sort.key}" + (", reversed" if self.sort.is_reversed else ""))
        return f" {glyphs.dot} ".join(parts)
