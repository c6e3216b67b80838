"""Asks for the URL of a worker to register.

Whether there is a worker is for the router to find out; here only what cannot be a URL is refused.
It stays open until the router has taken the URL, so that a refused one can be mended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from textual import on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.app import ComposeResult


class AddScreen(ModalScreen[None]):
    """`register(url)` sends what was typed; then `refuse` or `finish` is called."""

    def __init__(self, register: Callable[[str], object]) -> None:
        super().__init__()
        self._register = register
        self._is_asking = False

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
            self.dismiss()

    def refuse(self, why: str) -> bool:
        """Say why the URL was not taken; False if nobody would see it any more."""
        self._is_asking = False
        if self not in self.app.screen_stack:
            return False
        self._tell(why)
        return True

    def finish(self, answer: str) -> None:
        """Close it; below a question, which only the user closes, say what was done."""
        self._is_asking = False
        if self.app.screen is self:  # `is_current` is also said of what shows through
            self.dismiss()
        elif self in self.app.screen_stack:
            self.query_one(Input).value = ""
            self._tell(answer, is_error=False)

    def _tell(self, text: str, *, is_error: bool = True) -> None:
        shown = self.query_one("#url-error", Static)
        shown.set_class(is_error, "error")
        shown.update(text)
        shown.display = bool(text)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._is_asking:
            return
        try:
            url = worker_url(event.value)
        except ValueError as error:
            self._tell(str(error))
            return
        self._is_asking = True
        self._tell("asking the router ...", is_error=False)
        self._register(url)


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
