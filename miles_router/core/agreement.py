"""Whether a text is what tokens spell, but for what detokenizers do to it.

A worker's text and the tokens it names differ for good reasons: spaces are put between special
tokens or taken away by a clean-up, a stop token or stop string is trimmed at the end, characters
that are not complete show U+FFFD or nothing. Fallback bytes of SentencePiece show U+FFFD for each
one where a neighbour is no text, and their characters where they are decoded a few tokens at a time
(SGLang's `DetokenizerManager`). Whatever else differs is the text of other tokens: a worker that
lies, or the tokenizer of another model. This file must not know tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = b" "
_OPEN = "\ufffd".encode()


def agrees(text: bytes, spelled: bytes) -> bool:
    """Whether a worker may show `text` for tokens that spell `spelled`, or a beginning of them.

    Both are UTF-8. Spaces do not count, nor does U+FFFD; but on one side it may stand for what the
    other one shows, a byte for each.
    """
    shown, whole = text.replace(_SPACE, b""), spelled.replace(_SPACE, b"")
    bare_shown, bare_whole = shown.replace(_OPEN, b""), whole.replace(_OPEN, b"")
    if bare_whole.startswith(bare_shown):
        return True
    return _fills(bare_shown, whole) or _leads(shown, bare_whole)


def _fills(text: bytes, pattern: bytes) -> bool:
    """Whether `text` is all of `pattern` or a beginning, with a byte or none for each U+FFFD.

    What follows U+FFFD is taken where it comes first: not recognised is a character in bytes where
    one like it, but in one token, stands behind it.
    """
    place = 0
    for broken, sound in _parts(pattern):
        last = place + broken
        if last >= len(text):
            return True
        found = text.find(sound, place, last + len(sound))
        if found < 0:
            ends = range(max(place, len(text) - len(sound)), last + 1)
            return any(sound.startswith(text[start:]) for start in ends)
        place = found + len(sound)
    return False


def _leads(pattern: bytes, text: bytes) -> bool:
    """Whether `text` begins with `pattern`, with a byte or none for each U+FFFD."""
    place = 0
    for broken, sound in _parts(pattern):
        found = text.find(sound, place, place + broken + len(sound))
        if found < 0:
            return False
        place = found + len(sound)
    return True


def _parts(text: bytes) -> Iterator[tuple[int, bytes]]:
    """How many U+FFFD there are, and what stands behind them, again and again."""
    broken = 0
    for sound in text.split(_OPEN):
        if sound:
            yield broken, sound
            broken = 0
        broken += 1
    yield broken - 1, b""
