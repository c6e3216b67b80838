"""Keys in turn: the next is handed on when all that the last one led to is on the screen.

A key goes from the app to the widget with the focus and back up to the app, through a queue at each
step. Keys that arrive together (somebody types fast, a terminal sends what it held back) would all
go to the widget that has the focus now: of "/dx", the letters would drain and remove a worker
instead of being typed into the filter, and of "qq" the second would be nobody's. What keys do is
not known here.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from textual.events import Paste

from miles_router.tui.pasted import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import App
    from textual.events import Key
    from textual.message_pump import MessagePump

# A widget that was taken away with a key in its queue gives no word; the next key does not wait
# for it any longer than this.
LOST_AFTER_S = 1.0


class Turns:
    """Of one app, which calls `take` for keys and pasted text that nobody has had yet."""

    def __init__(self, app: App[Any], hand_on: Callable[[Key | Paste], Awaitable[None]]) -> None:
        """`hand_on` gives a key to the widget that has the focus at that moment."""
        self._app = app
        self._hand_on = hand_on
        self._waiting: deque[Key | Paste] = deque()
        self._turn = 0
        self._since: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether all that was taken is dealt with."""
        return self._since is None

    async def take(self, event: Key | Paste) -> None:
        """Hand `event` on when its turn has come; of pasted text, what a field can take."""
        if isinstance(event, Paste):
            event = Paste(one_line(event.text))
        self._waiting.append(event)
        if self._since is None or time.monotonic() - self._since > LOST_AFTER_S:
            await self._next()

    async def _next(self) -> None:
        self._since = None
        if not self._waiting:
            return
        self._turn += 1
        self._since = time.monotonic()
        target = self._app.focused or self._app.screen
        await self._hand_on(self._waiting.popleft())
        self._follow(target, self._turn)

    def _follow(self, node: MessagePump | None, turn: int) -> None:
        """Go the way of the key, in each queue behind it, up to the app."""
        while node is not None and node is not self._app:
            if node.call_later(self._follow, node._parent, turn):
                return
            node = node._parent  # it is being taken away
        self._app.call_later(self._done, turn)

    def _done(self, turn: int) -> None:
        self._app.screen.call_after_refresh(self._shown, turn)

    def _shown(self, turn: int) -> None:
        """The screen, perhaps a new one, is complete; the app has changes of focus in its queue."""
        self._app.call_later(self._end, turn)

    async def _end(self, turn: int) -> None:
        if turn == self._turn:
            await self._next()
