"""The sentences that stand in a corner for a moment: few, short-lived, never two about one thing.

Decides which of them stay; what they say is decided elsewhere. Textual's own `notify` keeps all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.notifications import Notification

if TYPE_CHECKING:
    from textual.app import App

TOAST_S = 3.0
# Each hides three lines of a table.
MOST_TOASTS = 2


class Toasts:
    """Those of `app`."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._shown: dict[str, Notification] = {}  # by what they are about, oldest first

    def say(self, text: str, *, is_bad: bool = False, subject: str = "") -> None:
        """Show `text` in place of the last one about `subject`, or of the same words."""
        subject = subject or text
        self._drop(subject)
        while len(self._shown) >= MOST_TOASTS:
            self._drop(next(iter(self._shown)))
        toast = Notification(text, timeout=TOAST_S)
        if is_bad:
            toast.severity = "warning"
        self._shown[subject] = toast
        # At once: `notify` sends a message, which may arrive after this one was dropped.
        self._app._notifications.add(toast)
        self._app._refresh_notifications()

    def clear(self) -> None:
        """Take all away."""
        self._shown.clear()
        self._app.clear_notifications()

    def _drop(self, subject: str) -> None:
        toast = self._shown.pop(subject, None)
        if toast is not None:
            self._app._unnotify(toast, refresh=False)
