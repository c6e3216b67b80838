"""The help: every key, what it does, and why it does nothing at the moment.

It is made of the registry of actions, those of the view it was opened from first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.table import Table
from rich.text import Text
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textual import events
    from textual.app import ComposeResult

    from miles_router.tui.actions import HelpRow


class HelpScreen(ModalScreen[None]):
    """`reasons`: for ids of actions that are not available, why; `notes` stand below the keys.

    Its text has the focus, so that arrows scroll at once.
    """

    AUTO_FOCUS: ClassVar[str | None] = "#help"

    def __init__(
        self,
        rows: Sequence[HelpRow],
        reasons: Mapping[str, str],
        notes: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (),
    ) -> None:
        super().__init__()
        self._rows, self._reasons, self._notes = rows, reasons, notes

    def compose(self) -> ComposeResult:
        """The box."""
        box = VerticalScroll(classes="box", id="help")
        box.border_title = "Help"
        box.border_subtitle = "Esc closes, arrows scroll"
        with box:
            yield Static(self._table())

    def on_key(self, event: events.Key) -> None:
        """Keys that close it."""
        if event.key in {"escape", "question_mark", "f1", "q"}:
            event.stop()
            self.dismiss(None)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        is_first = True
        for row in self._rows:
            if not row.id:
                if not is_first:
                    table.add_row()
                table.add_row(Text(""), Text(row.label, style="bold underline"), Text(""))
                is_first = False
                continue
            reason = self._reasons.get(row.id, "")
            says = Text(row.help)
            if reason:
                says.append(f" Not now: {reason}.", style="italic")
            look = "dim" if reason else ""
            table.add_row(Text(row.keys, style=look or "bold"), Text(row.label, style=look), says)
        for heading, lines in self._notes:
            table.add_row()
            table.add_row(Text(""), Text(heading, style="bold underline"), Text(""))
            for word, says_it in lines:
                table.add_row(Text(""), Text(word), Text(says_it))
        return table
