"""The app: it pulls the newest snapshot a few times a second and turns keys into deeds.

It only knows a `Source`; the same screens serve a router in this process and one behind HTTP. It
touches no signal, no file descriptor and no thread: whoever runs it does. What it is shown is
pulled, so that nothing piles up while the display is paused or the terminal does not read.
"""

from __future__ import annotations

import sys
import time
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import App
from textual.binding import Binding

from miles_router.tui.actions import ACTIONS, Action, Scope, by_id, why_not
from miles_router.tui.ascii_filter import AsciiFilter
from miles_router.tui.availability import NOTHING, Selected, circumstances
from miles_router.tui.breakpoints import HEIGHTS, WIDTHS, classes_of
from miles_router.tui.glyphs import ASCII, UNICODE
from miles_router.tui.history import History
from miles_router.tui.keymap import normal_keymap, without_ctrl_c
from miles_router.tui.screens.deeds import Deeds
from miles_router.tui.screens.framed import Framed
from miles_router.tui.screens.key_bars import show_keys
from miles_router.tui.screens.main import MainScreen
from miles_router.tui.screens.palette import ActionProvider
from miles_router.tui.screens.seen import Seen
from miles_router.tui.screens.worker import WorkerScreen
from miles_router.tui.toasts import Toasts
from miles_router.tui.turns import Turns
from miles_router.tui.widgets.action_bar import ActionBar
from miles_router.tui.widgets.line_table import LineTable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from datetime import tzinfo

    from textual.binding import BindingType
    from textual.command import Provider
    from textual.filter import LineFilter
    from textual.timer import Timer

    from miles_router.core.snapshot import Snapshot
    from miles_router.tui.source import Source

MIN_RATE_HZ, MAX_RATE_HZ = 1.0, 10.0
# Those whose tones are legible on their own ground, in the order of the key.
THEMES = ("textual-dark", "textual-light", "nord", "gruvbox", "solarized-light", "ansi-dark")
# Terminals of 16 colours and fewer show their own palette; mixed colours would come out as mud.
POOR_COLOURS = frozenset({"standard", "windows"})


def _bindings() -> list[BindingType]:
    """A binding for each action. Ctrl+C is one of its own, so that no keymap loses the way out."""
    made: list[BindingType] = [
        Binding(without_ctrl_c(action.key), f"act('{action.id}')", id=action.id, show=False)
        for action in ACTIONS
        if action.scope is not Scope.LISTS  # the lists themselves bind these
    ]
    return [Binding("ctrl+c", "act('quit')", show=False, priority=True), *made]


class RouterTui(App[int], inherit_bindings=False):
    """See the module. `exit(code)` ends it; `clock` gives monotonic seconds."""

    CSS_PATH: ClassVar[Any] = "style.tcss"
    TITLE = "miles-router"  # type: ignore[mutable-override]  # Textual takes None, too
    ENABLE_COMMAND_PALETTE = False  # Textual's own binding for it; the registry has one
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {ActionProvider}
    BINDINGS: ClassVar[list[BindingType]] = _bindings()
    HORIZONTAL_BREAKPOINTS = WIDTHS  # type: ignore[mutable-override]  # Textual takes None, too
    VERTICAL_BREAKPOINTS = HEIGHTS  # type: ignore[mutable-override]  # as above

    def __init__(
        self,
        source: Source,
        *,
        is_read_only: bool = False,
        uses_ascii: bool = False,
        keymap: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        rate_hz: float = 5.0,
        tz: tzinfo | None = None,
        needs_token: bool = False,
    ) -> None:
        super().__init__()
        self.use_command_palette = True
        self.source = source
        self.is_read_only = is_read_only
        self.glyphs = ASCII if uses_ascii else UNICODE
        self.user_keys = normal_keymap(keymap or {})
        self.clock = clock
        self.rate_hz = rate_hz
        self._ascii_filters = (AsciiFilter(),) if uses_ascii else ()
        self.is_paused = False
        self.history = History()
        self._tz = tz
        self._needs_token = needs_token
        self._deeds = Deeds(self)
        self.toasts = Toasts(self)
        self.turns = Turns(self, super().on_event)
        self._taken: Snapshot | None = None
        self._frozen: Seen | None = None
        self._timer: Timer | None = None
        self.main = MainScreen(cursor_mark=self.glyphs.cursor)

    def get_default_screen(self) -> MainScreen:
        """The screen with the views.

        It has its classes of width and height before its styles are applied: with those that its
        first resize gives it they would be applied twice, for 30 ms.
        """
        self.main.add_class(*classes_of(self.size))
        return self.main

    async def on_event(self, event: events.Event) -> None:
        """Keys and pasted text go to whoever has the focus when what came before is done."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            await self.turns.take(event)
        else:
            await super().on_event(event)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What every line goes through before it is drawn."""
        return [*super().get_line_filters(), *self._ascii_filters]

    def on_resize(self) -> None:
        """What has room is another matter: not only with the next tick."""
        self.call_after_refresh(self.tick)

    def on_mount(self) -> None:
        """Begin to pull."""
        if self.no_color:
            self.add_class("-mono")
        if self.glyphs.is_ascii:
            self.add_class("-ascii")
        if self.console.color_system in POOR_COLOURS:
            self.theme = "ansi-dark"
        if self.user_keys:
            keys = {name: without_ctrl_c(keys) for name, keys in self.user_keys.items()}
            self.set_keymap({name: keys for name, keys in keys.items() if keys})
        self.set_rate(self.rate_hz)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """With a screen to see: what a source loads for its first connection takes 0.1 s."""
        self.run_worker(self.source.run(), name="source", group="source")
        self.tick()

    def set_rate(self, rate_hz: float) -> None:
        """Pull so many times a second, and have the source be as fresh.

        A tick that comes late is left out, not made up for.
        """
        self.rate_hz = self.source.rate_hz = max(MIN_RATE_HZ, min(MAX_RATE_HZ, rate_hz))
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_interval(1 / self.rate_hz, self.tick)

    def tick(self) -> None:
        """Take the newest snapshot in and draw it."""
        if self._exit or not self.is_running:  # screens are being taken apart
            return
        snapshot = self.source.latest()
        if snapshot is not None and snapshot is not self._taken:
            self._taken = snapshot
            self.history.take(snapshot, self.clock())
        seen = self.seen()
        for screen in self.screen_stack:
            if isinstance(screen, MainScreen | WorkerScreen) and self._is_in_view(screen):
                screen.show(seen)
                show_keys(self, screen)

    def _is_in_view(self, screen: Framed) -> bool:
        """The top screen is, and what shows through below questions is."""
        above = self.screen_stack[self.screen_stack.index(screen) + 1 :]
        return screen.is_mounted and not any(isinstance(one, Framed) for one in above)

    def seen(self) -> Seen:
        """This moment; while the display is paused, the one at which it was paused."""
        if self._frozen is not None:
            return replace(self._frozen, link=self.source.link, now=self.clock())
        source, refusal = self.source, self.refusal
        notes = (*(("paused",) if self.is_paused else ()), *(("read-only",) if refusal else ()))
        return Seen(
            snapshot=self._taken,
            events=source.events(),
            log_lines=source.log_lines(),
            history=self.history,
            link=source.link,
            now=self.clock(),
            url=source.url,
            glyphs=self.glyphs,
            tz=self._tz,
            notes=notes,
            can_change=not refusal,
            needs_token=self._needs_token,
        )

    def set_paused(self, is_paused: bool) -> None:
        """Hold the display, or let it go on. What is counted meanwhile is not lost."""
        self._frozen = None
        self.is_paused = is_paused
        if is_paused:
            self._frozen = replace(self.seen(), history=deepcopy(self.history))
        self.tick()

    @property
    def refusal(self) -> str:
        """Why no command can be sent at all; empty if they can."""
        return "this UI is read-only" if self.is_read_only else self.source.controls.refusal

    @property
    def front(self) -> MainScreen | WorkerScreen:
        """The uppermost screen of the router, below any question."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, MainScreen | WorkerScreen):
                return screen
        return self.main

    def selected(self) -> Selected:
        """What is under the cursor."""
        return self.front.selected() if self.front.is_mounted else NOTHING

    def circumstances(self) -> Hashable:
        """All that the answers of `why_not` depend on."""
        source = self.source
        about = circumstances(self._taken, self.selected(), source.controls, source.link)
        return self.front.scope, self.refusal, about

    def why_not(self, action: Action) -> str:
        """Why `action` is not available here and now; empty if it is."""
        scope = self.front.scope
        if not any(one.is_everywhere or one is scope for one in action.scopes):
            places = " or ".join(one.value for one in action.scopes)
            return f"it belongs to: {places}"
        if action.changes and self.refusal:
            return self.refusal
        link = self.source.link
        return why_not(action, self._taken, self.selected(), self.source.controls, link)

    def keys_of(self, action: Action) -> str:
        """Its keys, names with commas between them, as the user has them."""
        return self.user_keys.get(action.id, action.key)

    def act(self, action_id: str) -> None:
        """Do what the action's key does, or say why not; nothing once the app is on its way out."""
        if self._exit:
            return
        action = by_id(action_id)
        reason = self.why_not(action)
        if reason:
            self.say(f"{action.label}: {reason}", is_bad=True, subject=action_id)
            return
        self._deeds.do(action_id)
        if self.front.is_mounted:
            show_keys(self, self.front)

    def action_act(self, action_id: str) -> None:
        """What all bindings call."""
        self.act(action_id)

    def say(self, text: str, *, is_bad: bool = False, subject: str = "") -> None:
        """Show a sentence for a while, in place of the last one about `subject`."""
        self.toasts.say(self.glyphs.safe(text), is_bad=is_bad, subject=subject)

    @on(ActionBar.Clicked)
    def _bar_clicked(self, event: ActionBar.Clicked) -> None:
        self.act(event.action_id)

    @on(LineTable.Opened)
    def _row_opened(self) -> None:
        self.act("details")

    def next_theme(self) -> str:
        """Take the next theme; its name."""
        place = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(place + 1) % len(THEMES)]
        return self.theme

    def _handle_exception(self, error: Exception) -> None:
        """A crash; but not of what still ran in screens that were being taken apart.

        Textual's own command palette fails so if the app ends while it searches.
        """
        if self._exit and self._exception is None:
            print(f"at the end of the screens: {error!r}", file=sys.stderr)  # noqa: T201  the log
        else:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Textual's report prints local variables, prompts and keys among them; the host tells."""
        self._close_messages_no_wait()
