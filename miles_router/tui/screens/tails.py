"""Events and the router's log: lines that come in at the end, newest last."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui import format as fmt
from miles_router.tui.actions import Scope
from miles_router.tui.availability import Selected
from miles_router.tui.filters import Fields, Filter, parse
from miles_router.tui.names import NO_MATCH, NOT_SHOWN, is_partial
from miles_router.tui.rows import EVENT_FIELDS, LOG_FIELDS, Cell, event_line, log_lines
from miles_router.tui.screens.view import View
from miles_router.tui.widgets.tail import Tail
from miles_router.tui.widgets.titled import set_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from miles_router.tui.rows import Line
    from miles_router.tui.screens.seen import Seen


class Numbered(Protocol):
    """Something with a sequence number."""

    @property
    def seq(self) -> int:
        """Grows from one to the next."""


T = TypeVar("T", bound=Numbered)


class TailView(View, Generic[T]):
    """Subclasses say what the lines are; `parts` of them are lines of the screen each."""

    can_filter: ClassVar[bool] = True
    word: ClassVar[str]
    no_lines: ClassVar[str]

    def __init__(self, fields: Fields[T], *, cursor_mark: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._fields = fields
        self._where: Filter[T] = Filter()
        self._tail = Tail(cursor_mark=cursor_mark, id=f"{self.word}-tail")
        self._seen: Seen | None = None
        self._shown: tuple[object, ...] = ()
        self._rows: list[tuple[T, int]] = []

    def things(self, seen: Seen) -> Sequence[T]:
        """All there are, oldest first."""
        raise NotImplementedError

    def parts(self, _thing: T) -> int:
        """How many lines of the screen it takes."""
        return 1

    def lines(self, thing: T, width: int, seen: Seen) -> Sequence[Line]:
        """These lines."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """The lines."""
        yield self._tail

    @property
    def filter_text(self) -> str:
        """The filter that is in force."""
        return self._where.text

    def set_filter(self, text: str) -> None:
        """Show only lines that match."""
        self._where = parse(text, self._fields)
        if self._seen is not None:
            self.show(self._seen)

    def under_cursor(self) -> T | None:
        """What the line under the cursor belongs to."""
        row = self._tail.cursor_row
        return self._rows[row][0] if row is not None and row < len(self._rows) else None

    def take_focus(self) -> None:
        """The lines have the keys."""
        self._tail.focus()

    def show(self, seen: Seen) -> None:
        """Draw this moment; nothing is done where nothing was added."""
        self._seen = seen
        things = self.things(seen)
        ends = (things[0].seq, things[-1].seq, id(things[0])) if things else ()
        width = self._tail.row_width
        is_told = not is_partial(seen.snapshot)
        mark = (ends, len(things), width, self._where, is_told)
        if mark == self._shown:
            return
        self._shown = mark
        kept = self._where.keep(things) if self._where else things
        self._rows = [(one, part) for one in kept for part in range(self.parts(one))]
        count = f"{len(kept):,} of {len(things):,}" if self._where else f"{len(things):,}"
        title = f"{self.word} {count}" if is_told else self.word
        note = NO_MATCH if self._where and things else self.no_lines if is_told else NOT_SHOWN
        self._tail.tell((Cell(f" {fmt.fit_most(note, width, seen.glyphs)}", "dim"),))
        if self._where:
            title += f" {seen.glyphs.dot} filter {seen.glyphs.safe(self._where.text)}"
        set_title(self._tail, title)
        rows = self._rows
        self._tail.show(
            [one.seq for one, _ in rows],
            lambda place: self.lines(rows[place][0], width, seen)[rows[place][1]],
        )


class EventsView(TailView[Event]):
    """What happened to the pool."""

    scope: ClassVar[Scope] = Scope.EVENTS
    word: ClassVar[str] = "events"
    no_lines: ClassVar[str] = "nothing has happened yet"

    def __init__(self, *, cursor_mark: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(EVENT_FIELDS, cursor_mark=cursor_mark, id=id)

    def selected(self) -> Selected:
        """The event under the cursor."""
        return Selected(event=self.under_cursor())

    def things(self, seen: Seen) -> Sequence[Event]:
        """The events."""
        return seen.events

    def lines(self, thing: Event, width: int, seen: Seen) -> Sequence[Line]:
        """The event."""
        return (event_line(thing, width, glyphs=seen.glyphs, tz=seen.tz),)


class LogView(TailView[LogLine]):
    """The router's own log."""

    scope: ClassVar[Scope] = Scope.LOG
    word: ClassVar[str] = "log"
    no_lines: ClassVar[str] = "nothing has been logged yet"

    def __init__(self, *, cursor_mark: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(LOG_FIELDS, cursor_mark=cursor_mark, id=id)

    def selected(self) -> Selected:
        """The line under the cursor."""
        return Selected(line=self.under_cursor())

    def things(self, seen: Seen) -> Sequence[LogLine]:
        """The lines of the log."""
        return seen.log_lines

    def parts(self, thing: LogLine) -> int:
        """A traceback has several."""
        return max(1, len(thing.text.splitlines()))

    def lines(self, thing: LogLine, width: int, seen: Seen) -> Sequence[Line]:
        """What was logged."""
        return log_lines([thing], width, glyphs=seen.glyphs, tz=seen.tz)
