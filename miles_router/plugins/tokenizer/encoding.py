"""Text to token ids, exactly as a worker's `tokenizer(text)` does it.

Two ways: straight to the Rust backend, without the interpreter's lock, where it gives the same ids;
else by calling the tokenizer, one call at a time. A continuation is encoded by a twin of the
backend that puts no mark for a leading space. Whether a way is right is decided elsewhere, on
sample texts, before it is used.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Protocol

Offsets = list[tuple[int, int]]


class Encoder(Protocol):
    """Gives the ids of a text without the special tokens around a whole prompt."""

    def ids(self, text: str, *, is_continuation: bool) -> list[int]:
        """The ids of `text`; a continuation has no mark for a leading space."""

    def offsets(self, text: str, *, is_continuation: bool) -> Offsets | None:
        """Start and end in characters for each of the `ids`; None where they are not known."""


class BackendEncoder:
    """Encodes with a `tokenizers.Tokenizer`.

    `encode_batch` gives the interpreter's lock away, `encode` does not: 2 MB of text stop other
    threads for 317 ms there and for 8 ms here.

    Args:
        backend: what a fast tokenizer of transformers is made of.
        definition: the same, in the form of tokenizer.json.
    """

    def __init__(self, backend: Any, definition: dict[str, Any]) -> None:
        self._whole = backend
        twin = without_marks(backend, definition)
        self._rest = backend if twin is None else twin
        added = backend.get_added_tokens_decoder()
        self._literal_of = {token: added[token].content for token in added}
        self._marks_sections = twin is not None and self._differs_behind_added()

    def ids(self, text: str, *, is_continuation: bool) -> list[int]:
        """As `Encoder.ids`."""
        if is_continuation and self._marks_sections:
            return self._sections(text)[0]
        backend = self._rest if is_continuation else self._whole
        found: list[int] = backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return found

    def offsets(self, text: str, *, is_continuation: bool) -> Offsets:
        """As `Encoder.offsets`."""
        if is_continuation and self._marks_sections:
            return self._sections(text)[1]
        return _with_offsets(self._rest if is_continuation else self._whole, text)[1]

    def _sections(self, text: str) -> tuple[list[int], Offsets]:
        """A continuation whose mark is left out at its beginning only.

        Such tokenizers mark the beginning of each section between added tokens, and a worker
        would do so in the whole text. So from the first added token on, the text is its.
        """
        ids, offsets = _with_offsets(self._rest, text)
        for place, (token, (start, end)) in enumerate(zip(ids, offsets, strict=True)):
            # An unknown character gives an added token too, without its literal.
            literal = self._literal_of.get(token)
            if literal is not None and literal in text[start:end]:
                tail_ids, tail_offsets = _with_offsets(self._whole, text[start:])
                moved = [(first + start, last + start) for first, last in tail_offsets]
                return ids[:place] + tail_ids, offsets[:place] + moved
        return ids, offsets

    def _differs_behind_added(self) -> bool:
        """Whether a beginning is marked behind an added token too."""
        texts = [f"{literal}a" for literal in self._literal_of.values()]
        whole = self._whole.encode_batch_fast(texts, add_special_tokens=False)
        rest = self._rest.encode_batch_fast(texts, add_special_tokens=False)
        return any(one.ids != other.ids for one, other in zip(whole, rest, strict=True))


class CallEncoder:
    """Encodes by calling a tokenizer of transformers, which is not made for several threads."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # noqa: TID251 - it is called from worker threads

    def ids(self, text: str, *, is_continuation: bool) -> list[int]:  # noqa: ARG002 - one way only
        """As `Encoder.ids`."""
        with self._lock:
            found = self._tokenizer(text, add_special_tokens=False).input_ids
        return list(map(int, found))

    def offsets(self, text: str, *, is_continuation: bool) -> Offsets | None:  # noqa: ARG002
        """As `Encoder.offsets`."""
        if not getattr(self._tokenizer, "is_fast", False):
            return None
        with self._lock:
            found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(int(start), int(end)) for start, end in found["offset_mapping"]]


def without_marks(backend: Any, definition: dict[str, Any]) -> Any | None:
    """A copy of a backend that adds no space and no mark to a text; None if it adds none anyway."""
    parts = ("normalizer", "pre_tokenizer")
    plain = {part: _plain(definition[part]) for part in parts}
    if all(plain[part] == definition[part] for part in parts):
        return None
    twin = type(backend).from_str(json.dumps(definition | plain))
    twin.encode_special_tokens = backend.encode_special_tokens
    return twin


def _plain(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """A normalizer or pre-tokenizer, in the form of tokenizer.json, that adds nothing."""
    if step is None:
        return None
    for name in ("normalizers", "pretokenizers"):
        if name in step:
            inner = [_plain(child) for child in step[name]]
            return step | {name: [child for child in inner if child is not None]}
    match step.get("type"):
        case "Prepend":
            return None
        case "Metaspace":
            return step | {"prepend_scheme": "never"}
        case "ByteLevel":
            return step | {"add_prefix_space": False}
        case _:
            return step


def _with_offsets(backend: Any, text: str) -> tuple[list[int], Offsets]:
    encoding = backend.encode_batch([text], add_special_tokens=False)[0]
    return encoding.ids, encoding.offsets
