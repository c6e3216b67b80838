"""Events and the router's log: lines that come in at the end, newest last."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from miles_router.core.events import Event
from miles_router.core.log_ring import LogLine
from miles_router.tui.actions import Scope
from miles_router.tui.filters import Fields, Filter, parse
from miles_router.tui.names import NOT_SHOWN, is_partial
from miles_router.tui.rows import EVENT_FIELDS, LOG_FIELDS, event_line, log_lines
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

    def __init__(self, fields: Fields[T], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._fields = fields
        self._where: Filter[T] = Filter()
        self._tail = Tail(id=f"{self.word}-tail")
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

    def take_focus(self) -> None:
        """The lines have the keys."""
        self._tail.focus()

    def show(self, seen: Seen) -> None:
        """Draw this moment; nothing is done where nothing was added."""
        self._seen = seen
        things = self.things(seen)
        ends = (things[0].seq, things[-1].seq, id(things[0])) if things else ()
        width = self._tail.scrollable_content_region.width
        is_told = not is_partial(seen.snapshot)
        mark = (ends, len(things), width, self._where, is_told)
        if mark == self._shown:
            return
        self._shown = mark
        kept = self._where.keep(things) if self._where else things
        self._rows = [(one, part) for one in kept for part in range(self.parts(one))]
        count = f"{len(kept):,} of {len(things):,}" if self._where else f"{len(things):,}"
        title = f"{self.word} {count}" if is_told else f"{self.word}: {NOT_SHOWN}"
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

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(EVENT_FIELDS, id=id)

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

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(LOG_FIELDS, id=id)

    def things(self, seen: Seen) -> Sequence[LogLine]:
        """The lines of the log."""
        return seen.log_lines

    def parts(self, thing: LogLine) -> int:
        """A traceback has several."""
        return max(1, len(thing.text.splitlines()))

    def lines(self, thing: LogLine, width: int, seen: Seen) -> Sequence[Line]:
        """What was logged."""
        return log_lines([thing], width, glyphs=seen.glyphs, tz=seen.tz)
