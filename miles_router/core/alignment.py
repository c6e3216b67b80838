"""Where the tokens of an answer stand in the text that the client got.

A worker's `text` is not what its `output_ids` spell: stop tokens and stop strings are trimmed,
half a character is held back, special tokens are left out, and some tokenizers put or take spaces
between tokens. Decides how many tokens the text shows, and lets tokens be addressed by text only
as far as both agree; a text that no such reason explains is refused. Invariant: all ids stay, and
the visible tokens' text with `partial` behind it is the worker's text. This file must not know a
tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from miles_router.core.agreement import agrees
from miles_router.core.radix.run import LENGTH_BYTES, TokenRun, UnfitRun
from miles_router.core.trajectory.turn import SpelledOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPACE = 0x20


def line_up(spelled: TokenRun, literal: TokenRun, text: bytes) -> SpelledOutput:
    """The tokens of an answer with the text that each of them shows in it.

    Three cases. The text is what the tokens spell: special tokens at the end that show nothing are
    the invisible tail. The text is a beginning of that: tokens wholly inside are visible, those
    behind are the tail. They disagree as detokenizers make them (see `agreement`): tokens up to
    the last boundary that agrees keep their text, and the last visible token takes all the rest, so
    that no cut falls inside of it.

    Args:
        spelled: the tokens with the text that they show in the request's mode.
        literal: the same tokens with special tokens as their literals; `spelled` itself where the
            request does not skip those.
        text: UTF-8, what the worker answered.

    Returns:
        The text of the tail is its literal; `partial` is a beginning of it. The visible part ends
        behind a token that shows something, or one that shows nothing by itself.

    Raises:
        UnfitRun: the runs are not of the same ids, the text is that of other tokens or of none, or
            one token would have to show more than 65,535 bytes.
    """
    if spelled.ids != literal.ids:
        raise UnfitRun("spelled and literal tokens are not the same")
    if spelled.text == text:
        visible = _body(spelled, literal)
        return _compose(spelled.cut(0, visible), literal)
    if spelled.text.startswith(text):
        found = _trimmed(spelled, literal, text)
        if found is not None:
            return found
    if not agrees(text, spelled.text):
        raise UnfitRun("the text is not what the tokens spell")
    return _compose(_lumped(spelled, literal, text), literal)


def _compose(visible: TokenRun, literal: TokenRun, partial: bytes = b"") -> SpelledOutput:
    tokens = len(visible)
    return SpelledOutput(visible + literal.cut(tokens, len(literal)), tokens, partial)


def _body(spelled: TokenRun, literal: TokenRun) -> int:
    """How many tokens stand before the special tokens at the end that show nothing."""
    if spelled.lengths[-LENGTH_BYTES:].strip(b"\0"):
        return len(spelled)  # as a rule; looking at all tokens takes 25 us
    shown = np.flatnonzero(spelled.length_array)
    start = int(shown[-1]) + 1 if shown.size else 0
    special = np.flatnonzero(literal.length_array[start:])
    return start + int(special[0]) if special.size else len(spelled)


def _trimmed(spelled: TokenRun, literal: TokenRun, text: bytes) -> SpelledOutput | None:
    """The text ends before the tokens do; None if the tail's literal does not begin as it shows."""
    visible = int(np.searchsorted(spelled.ends(), len(text), side="right"))
    silent = (spelled.length_array == 0) & (literal.length_array == 0)
    # A token that shows nothing, not even as a literal, began the character of one behind it.
    while visible and silent[visible - 1]:
        visible -= 1
    inside = spelled.cut(0, visible)
    partial = text[len(inside.text) :]
    found = _compose(inside, literal, partial)
    return found if found.run.text.startswith(text) else None


def _lumped(spelled: TokenRun, literal: TokenRun, text: bytes) -> TokenRun:
    """The visible tokens where text and tokens disagree somewhere."""
    if not len(spelled):
        raise UnfitRun(f"{len(text)} bytes of text without a token")
    body = _body(spelled, literal)
    body = _without_spaces(spelled.cut(0, body), text) or body or len(spelled)
    return lump(spelled.cut(0, body), text)


def _without_spaces(body: TokenRun, text: bytes) -> int:
    """How many tokens show `text` but for spaces; 0 where that is not clear.

    Spaces are what is put between special tokens and what a clean-up takes away; so a stop token
    or stop string that was trimmed is recognised behind them.
    """
    bare = text.replace(b" ", b"")
    if not bare or not body.text.replace(b" ", b"").startswith(bare):
        return 0
    ends = _ends_without_spaces(body)
    tokens = int(np.searchsorted(ends, len(bare), side="right"))
    return tokens if tokens and int(ends[tokens - 1]) == len(bare) else 0


def _ends_without_spaces(run: TokenRun) -> NDArray[np.int64]:
    """Where each token's text ends, in bytes that are no space: int64 [len]."""
    is_other = np.frombuffer(run.text, dtype=np.uint8) != _SPACE
    counts = np.concatenate(([0], np.cumsum(is_other, dtype=np.int64)))
    return counts[run.ends()]


def lump(run: TokenRun, text: bytes) -> TokenRun:
    """The tokens of `run`, at least one, with another text.

    Tokens up to the last boundary that agrees keep theirs; the last one takes all the rest.

    Raises:
        UnfitRun: that is more than 65,535 bytes.
    """
    lengths = run.length_array.astype(np.int64)
    agreed = np.searchsorted(run.ends(), _common_bytes(run.text, text), side="right")
    lengths[int(agreed) :] = 0
    lengths[-1] += len(text) - int(lengths.sum())
    return TokenRun.of(run.id_array, lengths, text)


def _common_bytes(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    differs = np.frombuffer(one, np.uint8, size) != np.frombuffer(other, np.uint8, size)
    return int(differs.argmax())
