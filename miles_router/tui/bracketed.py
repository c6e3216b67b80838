"""Pasted text among the keys that a terminal sends, kept from being taken for keys.

A terminal puts marks around what is pasted. Textual's parser looks for key sequences between them
as well, and what begins with ESC there comes out as keys: a coloured line of a log, pasted into the
main screen, would drain a worker. So ESC is hidden from the parser while text is pasted.

Decides where pasted text begins and ends. It must not know what becomes of it (`tui.pasted`).
"""

from __future__ import annotations

BEGIN, END = "\x1b[200~", "\x1b[201~"
_ESC = "\x1b"
_STAND_IN = "\ufdd0"  # no character, and never will be one


class Bracketed:
    """Goes through all that a terminal sends, in pieces of any size."""

    def __init__(self) -> None:
        self._is_in = False
        self._tail = ""  # what came last: outside it was passed on, inside it may begin the END

    def hide(self, text: str) -> str:
        """`text` for the parser: what is outside at once, what is inside without ESC.

        It may be empty, where only the beginning of an END was read.
        """
        passed = []
        while text:
            piece, text = (self._inside if self._is_in else self._outside)(text)
            passed.append(piece)
        return "".join(passed)

    def _outside(self, text: str) -> tuple[str, str]:
        seen = self._tail + text
        before, begin, rest = seen.partition(BEGIN)
        if not begin:
            self._tail = seen[1 - len(BEGIN) :]
            return text, ""
        piece = (before + begin)[len(self._tail) :]
        self._is_in, self._tail = True, ""
        return piece, rest

    def _inside(self, text: str) -> tuple[str, str]:
        seen = self._tail + text
        before, end, rest = seen.partition(END)
        self._is_in, self._tail = not end, ""
        if not end:
            kept = next((n for n in range(len(END) - 1, 0, -1) if seen.endswith(END[:n])), 0)
            before, self._tail = seen[: len(seen) - kept], seen[len(seen) - kept :]
        return before.replace(_ESC, _STAND_IN) + end, rest


def shown(text: str) -> str:
    """What was pasted, of what the parser says that it is."""
    return text.replace(_STAND_IN, _ESC)
