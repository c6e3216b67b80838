"""The lines with keys around a screen: the footer, and the tabs with the view that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.tui.actions import by_id, footer
from miles_router.tui.keymap import shown_key
from miles_router.tui.screens.main import VIEWS, MainScreen
from miles_router.tui.screens.worker import WorkerScreen
from miles_router.tui.widgets.action_bar import Item

if TYPE_CHECKING:
    from miles_router.tui.actions import Action
    from miles_router.tui.app import RouterTui


def show_keys(app: RouterTui, screen: MainScreen | WorkerScreen) -> None:
    """Put the keys that `app` has now on `screen`, dim where they do nothing.

    Nothing is done while they are the same: it is asked for many times a second.
    """
    shown = screen.active if isinstance(screen, MainScreen) else ""
    as_of = (shown, app.circumstances())
    if screen.keys_as_of == as_of:
        return
    screen.keys_as_of = as_of
    listed = footer(screen.scope, is_read_only=app.is_read_only)
    # The two ways out of trouble are first; what is cut off at the right can be looked up.
    out = (by_id("back"),) if isinstance(screen, WorkerScreen) else ()
    items = (*listed[:2], *out, *sorted(listed[2:], key=lambda one: not one.changes))
    screen.show_footer([_item(app, one, not app.why_not(one)) for one in items])
    if isinstance(screen, MainScreen):
        screen.show_tabs(
            [
                _item(app, by_id(f"view_{name}"), True, is_active=name == screen.active)
                for name in VIEWS
            ]
        )


def _item(app: RouterTui, action: Action, is_available: bool, *, is_active: bool = False) -> Item:
    key = shown_key(app.keys_of(action).split(",")[0])
    return Item(action.id, key, action.label, is_available, is_active)
