"""The line where a filter is typed; what is wrong with it stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult


class _Field(Input):
    """As wide as its place, whatever is typed: no letter lays the screen out anew, for 20 ms."""

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False)


class FilterBar(Horizontal):
    """Hidden until it is opened."""

    class Typed(Message):
        """The text changed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Entered(Message):
        """Enter was pressed; whether `text` is a filter, and so whether that is all, is not known
        here."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Closed(Message):
        """It is over: `text` was taken, or it was given up; then that is what it was before."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._before = ""
        self.display = False

    def compose(self) -> ComposeResult:
        """A mark, the text, and room for an error."""
        field = _Field(placeholder="state:up err:>0 wt:!=128 part of a name", compact=True)
        field.select_on_focus = False  # the next key would replace the filter
        field.cursor_blink = False
        yield Static("/", id="filter-mark")
        yield field
        yield Static("", markup=False, id="filter-error", classes="error")

    @property
    def before(self) -> str:
        """The filter that it was opened with."""
        return self._before

    @property
    def text(self) -> str:
        """What stands in it."""
        return self.query_one(Input).value

    def open(self, text: str, before: str) -> None:
        """Let the user change `text`; `before` is the filter that is in force."""
        self._before = before
        self.display = True
        self.tell("")
        field = self.query_one(Input)
        with field.prevent(Input.Changed):
            field.value = text
        field.cursor_position = len(text)
        field.focus()

    def tell(self, error: str) -> None:
        """Show what is wrong, or, with an empty text, that nothing is."""
        self.query_one("#filter-error", Static).update(error, layout=False)

    def close(self, text: str) -> None:
        """Go out of sight."""
        self.display = False
        self.post_message(self.Closed(text))

    def give_up(self) -> None:
        """Close it with the text it was opened with."""
        self.close(self._before)

    def on_key(self, event: events.Key) -> None:
        """Escape gives up."""
        if event.key == "escape":
            event.stop()
            self.give_up()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(event.value))
