"""The command palette's list: the same registry as everything else.

Actions that are not available are listed with the reason: looking for "drain" must find it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from miles_router.tui.actions import ACTIONS, Action, Scope
from miles_router.tui.keymap import shown_keys
from miles_router.tui.widgets.titled import literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.tui.glyphs import Glyphs


class ActingApp(Protocol):
    """What the palette needs of the app."""

    glyphs: Glyphs

    def act(self, action_id: str) -> None:
        """Do what the action's key does."""

    def why_not(self, action: Action) -> str:
        """Why it is not available; empty if it is."""

    def keys_of(self, action: Action) -> str:
        """Its keys, names with commas between them."""


class ActionProvider(Provider):
    """Finds actions by their labels and by the words of their help."""

    async def discover(self) -> Hits:
        """All, before anything is typed."""
        for action, text in self._listed():
            yield DiscoveryHit(
                f"{action.label}", partial(self._app.act, action.id), text=action.label, help=text
            )

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for action, text in self._listed():
            in_label = matcher.match(action.label)
            score = in_label or matcher.match(action.help) / 2
            if score > 0:
                shown = matcher.highlight(action.label) if in_label else action.label
                yield Hit(score, shown, partial(self._app.act, action.id), help=text)

    @property
    def _app(self) -> ActingApp:
        return cast("ActingApp", self.app)

    def _listed(self) -> Iterator[tuple[Action, str]]:
        reasons = {action.id: self._app.why_not(action) for action in ACTIONS}
        found = [action for action in ACTIONS if _is_found(action)]
        # What can be done here and now is what most who open it look for.
        for action in sorted(found, key=lambda one: (bool(reasons[one.id]), not one.changes)):
            reason = reasons[action.id]
            keys = shown_keys(self._app.keys_of(action))
            text = f"{keys}  {f'not now: {reason}' if reason else action.help}"
            yield action, literal(self._app.glyphs.safe(text))


def _is_found(action: Action) -> bool:
    """Keys that move a cursor mean nothing in front of a palette."""
    return action.scope is not Scope.LISTS and action.id not in {"palette", "back"}
