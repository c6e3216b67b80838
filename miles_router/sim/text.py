"""One answer's text, token by token, as SGLang's detokenizer and stop checks see it.

Two texts grow side by side: the raw one, special tokens included, in which stop strings are
looked for; and the visible one the client gets. Invariant: what `visible` has shown is a prefix
of what it shows later, except that a matched stop string is never shown at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.sim.sampling_params import SamplingParams
    from miles_router.sim.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
_LONGEST_TOKEN = 64
"""More characters than any token of the shipped vocabulary has."""


class _Growing:
    """Bytes that become text as soon as they do not end in half a character."""

    __slots__ = ("_waiting", "text")

    def __init__(self) -> None:
        self.text = ""
        self._waiting = b""

    def push(self, data: bytes) -> None:
        self._waiting += data
        piece = self._waiting.decode(errors="replace")
        if not piece.endswith(_REPLACEMENT):
            self.text += piece
            self._waiting = b""

    def whole(self) -> str:
        """The text with what is waiting, broken characters as U+FFFD."""
        return self.text + self._waiting.decode(errors="replace")


class AnswerText:
    """The text of one running answer."""

    def __init__(self, tokenizer: Tokenizer, params: SamplingParams) -> None:
        self._tokenizer = tokenizer
        self._params = params
        self._raw = _Growing()
        self._shown = _Growing()
        self._final: str | None = None
        # A stop string can only begin in the last token's text or this far before it.
        self._reach = max((len(stop) for stop in params.stop), default=0) + _LONGEST_TOKEN

    def push(self, token: int) -> str | None:
        """Take one more token in; the stop string or pattern it completes, if any.

        The token is not visible until `show` says so: a stop token may be trimmed.
        """
        if not self._params.stop and not self._params.stop_regex:
            return None
        self._raw.push(self._tokenizer.token_bytes(token))
        text = self._raw.whole()
        tail = text[-self._reach :]
        for stop in self._params.stop:
            if stop in tail:
                return stop
        for pattern in self._params.stop_regex:
            if pattern.search(text):
                return pattern.pattern
        return None

    def show(self, token: int) -> None:
        """Make a token part of the visible text, unless it is special and those are skipped."""
        if self._params.skip_special_tokens and token in self._tokenizer.special_ids:
            return
        self._shown.push(self._tokenizer.token_bytes(token))

    def finish(self, matched: str | None) -> None:
        """Fix the visible text; a matched stop string is cut off with all behind it."""
        text = self._shown.whole()
        place = -1 if matched is None else text.find(matched)
        if matched is not None and place >= 0:
            text = text[: place + (len(matched) if self._params.no_stop_trim else 0)]
        self._final = text

    def visible(self) -> str:
        """What a client may see: no half characters and no possible start of a stop string."""
        if self._final is not None:
            return self._final
        text = self._shown.text
        held = 0
        for stop in self._params.stop:
            for length in range(min(len(stop) - 1, len(text)), held, -1):
                if text.endswith(stop[:length]):
                    held = length
                    break
        return text[: len(text) - held]
