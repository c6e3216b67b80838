"""What each action does, by its id.

Whether an action is available is decided before (`RouterTui.act`); what is asked first, in
`questions`. Every command is answered on the screen: done, or why not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.command import CommandPalette

from miles_router.tui.actions import ACTIONS, by_id, help_rows
from miles_router.tui.commands import (
    Abort,
    Add,
    ClearNamespace,
    Command,
    CommandRefused,
    Drain,
    Probe,
    Quarantine,
    Release,
    Remove,
    Sweep,
    Undrain,
)
from miles_router.tui.glyphs import UNICODE
from miles_router.tui.names import worker_of
from miles_router.tui.questions import Asked, Question, Quit, question
from miles_router.tui.rows import event_fields, log_fields
from miles_router.tui.screens.adding import AddScreen
from miles_router.tui.screens.entry import EntryScreen
from miles_router.tui.screens.helping import HelpScreen
from miles_router.tui.screens.legend import legend
from miles_router.tui.screens.main import VIEWS, MainScreen
from miles_router.tui.screens.pictures import save_picture
from miles_router.tui.screens.questioning import QuestionScreen
from miles_router.tui.screens.worker import WorkerScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.tui.app import RouterTui
    from miles_router.tui.availability import Selected

_OF_A_WORKER: dict[str, Callable[[str], Command]] = {
    "drain": Drain,
    "undrain": Undrain,
    "quarantine": Quarantine,
    "release": Release,
    "remove": Remove,
    "probe": Probe,
}
RATE_STEP_HZ = 1.0


class Deeds:
    """Does what `RouterTui.act` found to be possible."""

    def __init__(self, app: RouterTui) -> None:
        self._app = app
        self._plain: dict[str, Callable[[], None]] = {
            "help": self._help,
            "quit": self._quit,
            "back": self._back,
            "next_view": lambda: self._go_on(1),
            "previous_view": lambda: self._go_on(-1),
            "filter": self._filter,
            "sort": self._sort,
            "reverse": self._reverse,
            "pause": lambda: app.set_paused(not app.is_paused),
            "faster": lambda: self._set_rate(RATE_STEP_HZ),
            "slower": lambda: self._set_rate(-RATE_STEP_HZ),
            "theme": self._theme,
            "screenshot": self._screenshot,
            "palette": self._palette,
            "reconnect": self._reconnect,
            "details": self._details,
            "copy": self._copy,
            "add": self._add,
            "abort": self._abort,
            "sweep": lambda: self.ask(Sweep()),
            "clear": self._clear,
        }
        for name in VIEWS:
            self._plain[f"view_{name}"] = lambda name=name: self._go_to(name)  # type: ignore[misc]

    @property
    def known(self) -> frozenset[str]:
        """The ids of all that can be done."""
        return frozenset({*self._plain, *_OF_A_WORKER})

    def do(self, action_id: str) -> None:
        """Do it."""
        if action_id in _OF_A_WORKER:
            worker = self._selected.worker
            if worker is not None:
                self.ask(_OF_A_WORKER[action_id](worker.id))
            return
        self._plain[action_id]()

    @property
    def _selected(self) -> Selected:
        return self._app.selected()

    def ask(self, asked: Asked) -> None:
        """Carry `asked` out, after the question that belongs to it, if there is one."""
        app = self._app

        def asks() -> Question | None:
            return question(asked, app.source.latest(), is_local=app.source.is_local)

        found = asks()
        if found is None:
            self._carry_out(asked)
        elif isinstance(asked, Quit):
            # The key that asked, pressed again, means yes; the user may have another than `q`.
            again = app.keys_of(by_id("quit"))
            screen = QuestionScreen(found, again={again: asked}, renewed=asks)
            app.push_screen(screen, self._carry_out)
        else:
            app.push_screen(QuestionScreen(found, renewed=asks), self._carry_out)

    def _carry_out(self, asked: Asked | None) -> None:
        if isinstance(asked, Quit):
            self._app.exit(0)
        elif asked is not None:
            self._app.run_worker(self._perform(asked), group="commands")

    async def _perform(self, command: Command) -> None:
        try:
            answer = await self._app.source.controls.perform(command)
        except CommandRefused as error:
            self._app.say(str(error), is_bad=True)
        else:
            self._app.say(answer)

    def _quit(self) -> None:
        screen = self._app.screen
        if isinstance(screen, QuestionScreen) and screen.is_about_quitting:
            screen.dismiss(Quit())  # the same key again
            return
        self.ask(Quit())

    def _back(self) -> None:
        app = self._app
        if isinstance(app.screen, WorkerScreen):
            app.source.focus(None)
            app.pop_screen()
            app.toasts.clear()
            app.tick()
        elif app.main.view.can_filter and app.main.view.filter_text:
            app.main.view.set_filter("")

    def _help(self) -> None:
        app = self._app
        reasons = {one.id: reason for one in ACTIONS if (reason := app.why_not(one))}
        rows = help_rows(app.user_keys, first=app.front.scope)
        app.push_screen(HelpScreen(rows, reasons, legend(app.front.scope, app.glyphs), app.glyphs))

    def _palette(self) -> None:
        self._app.push_screen(CommandPalette(placeholder="Find an action"))

    def _go_to(self, name: str) -> None:
        app = self._app
        if isinstance(app.screen, WorkerScreen):
            self._back()
        app.toasts.clear()
        app.main.go_to(name)
        app.call_after_refresh(app.tick)

    def _go_on(self, step: int) -> None:
        app = self._app
        if isinstance(app.screen, MainScreen):
            app.toasts.clear()
            app.main.go_on(step)
            app.call_after_refresh(app.tick)
        elif isinstance(app.screen, WorkerScreen):
            if step > 0:
                app.screen.focus_next()
            else:
                app.screen.focus_previous()

    def _filter(self) -> None:
        self._app.main.open_filter()

    def _sort(self) -> None:
        word = self._app.main.view.sort_next()
        self._app.say(f"sorted by {word}", subject="sort")

    def _reverse(self) -> None:
        self._app.main.view.reverse()

    def _set_rate(self, step_hz: float) -> None:
        app = self._app
        app.set_rate(app.rate_hz + step_hz)
        app.say(f"{app.rate_hz:.0f} updates per second", subject="rate")

    def _theme(self) -> None:
        self._app.say(f"theme {self._app.next_theme()}", subject="theme")

    def _screenshot(self) -> None:
        app = self._app
        try:
            path = save_picture(app.export_screenshot(title="miles-router"))
        except OSError as error:
            app.say(f"no screenshot: {error.strerror or error}: {error.filename}", is_bad=True)
        else:
            app.say(f"screenshot: {path}")

    def _reconnect(self) -> None:
        self._app.source.reconnect()
        self._app.say("trying again")

    def _details(self) -> None:
        app, selected = self._app, self._selected
        if selected.event is not None or selected.line is not None:
            self._show_entry(selected)
            return
        if isinstance(app.screen, WorkerScreen):
            app.say("Tab goes to its events, where Enter shows one whole", subject="details")
            return
        worker_id = None if selected.request is None else selected.request.worker_id
        if selected.worker is not None:
            worker_id = selected.worker.id
        if worker_id is not None:
            app.toasts.clear()
            app.source.focus(worker_id)
            view = worker_of(app.source.latest(), worker_id)
            app.push_screen(WorkerScreen(worker_id, view, cursor_mark=app.glyphs.cursor))
            app.call_after_refresh(app.tick)

    def _show_entry(self, selected: Selected) -> None:
        app, seen = self._app, self._app.seen()
        glyphs, tz = seen.glyphs, seen.tz
        if selected.event is not None:
            fields = event_fields(selected.event, glyphs=glyphs, tz=tz)
            app.push_screen(EntryScreen("Event", fields, glyphs))
        elif selected.line is not None:
            fields = log_fields(selected.line, glyphs=glyphs, tz=tz)
            app.push_screen(EntryScreen("Line of the log", fields, glyphs))

    def _copy(self) -> None:
        selected = self._selected
        if selected.worker is not None:
            text = selected.worker.url
        elif selected.request is not None:
            text = next(iter(selected.request.rids), selected.request.request_id)  # as its row
        else:
            return
        text = UNICODE.safe(text)  # what others wrote may end in a shell
        self._app.copy_to_clipboard(text)
        self._app.say(f"{text}: sent to the terminal's clipboard")

    def _add(self) -> None:
        def register(url: str) -> None:
            self._app.run_worker(self._perform_add(url, screen), group="commands")

        screen = AddScreen(register)
        self._app.push_screen(screen)

    async def _perform_add(self, url: str, screen: AddScreen) -> None:
        app = self._app
        try:
            answer = await app.source.controls.perform(Add(url))
        except CommandRefused as error:
            if not screen.refuse(app.glyphs.safe(str(error))):
                app.say(str(error), is_bad=True)
        else:
            screen.finish(app.glyphs.safe(answer))
            app.say(answer)

    def _abort(self) -> None:
        request = self._selected.request
        if request is not None:
            self.ask(Abort(request.request_id))

    def _clear(self) -> None:
        tenant = self._selected.tenant
        if tenant is not None:
            self.ask(ClearNamespace(tenant))
