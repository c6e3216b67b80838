"""A question in front of the screen: what a command costs, and the answers with their keys.

Enter takes the answer that has the focus, at first the default; Escape takes none. An answer that
loses work may ask for a word to be typed first; meanwhile there are no others, and Escape goes back
to them. What is asked is decided in `questions`, again and again: what it costs changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from miles_router.tui.keymap import shown_key
from miles_router.tui.questions import Quit
from miles_router.tui.widgets.titled import set_title

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textual import events
    from textual.app import ComposeResult

    from miles_router.tui.questions import Asked, Choice, Question


RENEW_INTERVAL_S = 0.5


class ChoiceButton(Button):
    """A button for one answer."""

    def __init__(self, choice: Choice, *, id: str | None = None) -> None:  # noqa: A002
        key = shown_key(choice.key.split(",")[0])
        super().__init__(f"{key}  {choice.label}", id=id, compact=True)
        self.choice = choice


class QuestionScreen(ModalScreen["Asked | None"]):
    """Ends with what is to be done, or None.

    `again`: more keys, and what they mean. `renewed`: the question as it is now, None if there is
    none any more; it stays then. The default answer has the focus.
    """

    AUTO_FOCUS: ClassVar[str | None] = "#default"

    def __init__(
        self,
        question: Question,
        *,
        again: Mapping[str, Asked] | None = None,
        renewed: Callable[[], Question | None] = lambda: None,
    ) -> None:
        super().__init__()
        self.question = question
        self._again = again or {}
        self._renewed = renewed
        self._to_type: Choice | None = None

    def compose(self) -> ComposeResult:
        """The box."""
        box = Vertical(classes="box")
        set_title(box, self.question.title)
        hint = Static("", markup=False, id="typed-hint")
        field = Input(id="typed", compact=True)
        field.cursor_blink = False
        error = Static("", markup=False, id="typed-error", classes="error")
        for shown_later in (hint, field, error):
            shown_later.display = False
        with box:
            yield Static(self.question.text, markup=False, classes="text")
            for choice in self.question.choices:
                is_default = choice is self.question.default
                yield ChoiceButton(choice, id="default" if is_default else None)
            yield hint
            yield field
            yield error

    def on_mount(self) -> None:
        """Begin to look whether it is still the same question."""
        self.set_interval(RENEW_INTERVAL_S, self.renew)

    async def renew(self) -> None:
        """Say what it costs now; answers change as well, unless one of them is being typed."""
        new = self._renewed()
        if new is None or new == self.question or not self.is_current:
            return
        if new.choices == self.question.choices:
            self.question = new
            self.query_one(".text", Static).update(new.text)
        elif self._to_type is None:
            self.question = new
            await self.recompose()
            self.query_one("#default").focus()

    @property
    def is_about_quitting(self) -> bool:
        """Whether one of its answers ends the UI."""
        return any(isinstance(one.outcome, Quit) for one in self.question.choices)

    def take(self, choice: Choice | None) -> None:
        """End with `choice`, or ask for its word."""
        if choice is None or not choice.typed:
            self.dismiss(None if choice is None else choice.outcome)
            return
        hint = self.query_one("#typed-hint", Static)
        hint.update(f"{choice.label}: type {choice.typed} and press Enter; Esc goes back")
        field = self.query_one("#typed", Input)
        field.value, field.placeholder = "", choice.typed
        self._show_typing(choice)
        field.focus()

    def _show_typing(self, choice: Choice | None) -> None:
        """Either the field for the word of `choice`, or the answers."""
        self._to_type = choice
        self.query_one("#typed-error").display = False
        for widget in self.query("#typed-hint, #typed"):
            widget.display = choice is not None
        for button in self.query(ChoiceButton):
            button.display = choice is None

    def _step_back(self) -> None:
        if self._to_type is None:
            self.dismiss(None)
        else:
            self._show_typing(None)
            self.query_one("#default").focus()

    def on_key(self, event: events.Key) -> None:
        """An answer's key; arrows go from answer to answer."""
        if event.key == "escape":
            event.stop()
            self._step_back()
            return
        if isinstance(self.focused, Input):
            return
        if event.key in {"up", "left", "down", "right"}:
            event.stop()
            if event.key in {"up", "left"}:
                self.focus_previous()
            else:
                self.focus_next()
            return
        for keys, outcome in self._again.items():
            if event.key in keys.split(","):
                event.stop()
                self.dismiss(outcome)
                return
        for choice in self.question.choices:
            if event.key in choice.key.split(","):
                event.stop()
                self.take(choice)
                return

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if isinstance(event.button, ChoiceButton):
            self.take(event.button.choice)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        choice = self._to_type
        if choice is None:
            return
        if event.value.strip() == choice.typed:
            self.dismiss(choice.outcome)
            return
        error = self.query_one("#typed-error", Static)
        error.update(f"that is not {choice.typed}: nothing was done")
        error.display = True
