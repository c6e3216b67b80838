"""Asks for the URL of a worker to register.

Whether there is a worker is for the router to find out; here only what cannot be a URL is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from textual import on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult


class AddScreen(ModalScreen["str | None"]):
    """Ends with a URL, or None."""

    def compose(self) -> ComposeResult:
        """The box."""
        box = Vertical(classes="box")
        box.border_title = "Add a worker"
        field = Input(placeholder="http://HOST:PORT", id="url", compact=True)
        field.cursor_blink = False
        error = Static("", markup=False, id="url-error", classes="error")
        error.display = False
        with box:
            yield Static("Where it listens, such as 10.0.0.10:30000", classes="text")
            yield field
            yield error
            yield Static("Enter adds it, Esc does not", classes="hint")

    def on_key(self, event: events.Key) -> None:
        """Escape gives up."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            url = worker_url(event.value)
        except ValueError as error:
            shown = self.query_one("#url-error", Static)
            shown.update(str(error))
            shown.display = True
        else:
            self.dismiss(url)


def worker_url(text: str) -> str:
    """The URL that somebody means by `text`; `http://` may be left out.

    Raises:
        ValueError: it cannot be one; the message says why.
    """
    given = text.strip()
    if not given:
        raise ValueError("type a URL, such as http://10.0.0.10:30000")
    if any(character.isspace() or not character.isprintable() for character in given):
        raise ValueError("a URL has no blanks in it")
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the port has to be a number up to 65535") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"workers are reached by http or https, not {parts.scheme}")
    if not parts.hostname:
        raise ValueError("the host is missing: http://HOST:PORT")
    if port is None and parts.scheme == "http":
        raise ValueError("the port is missing: http://HOST:PORT")
    return url
