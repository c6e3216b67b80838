"""What the beginning of a large JSON body says of the request, though the rest was not read.

Of a body that is streamed only the first megabytes are known. Its top level is read as far as they
go, and what decides about rid, batch and stream is written down as a small JSON object of its own,
for `request` to read as it reads any body. What stands behind a value that does not end in time
stays unknown; so does the size of a batch that does not.

This is no check: a worker refuses what is no JSON. But nothing inside a string or a nested value is
ever taken for a member of the top level.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

# What `request` asks of a body.
_PROMPTS = frozenset({"text", "input_ids", "prompt"})
_ASKED = _PROMPTS | {"rid", "stream", "n", "sampling_params"}
# A prompt is a handful of values, or one list of numbers. Who sends brackets by the million gets
# the rest of them left unread: they take 1.6 us each.
_MOST_MARKS = 100_000
# A search does not let go of the interpreter: 64 KiB take it 0.5 ms.
_WINDOW_BYTES = 65_536

_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^ \t\r\n,}\]]+")
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_MARK = re.compile(rb'["\[\]{}]')


class _Cut(Exception):
    """What was read ends here, or is no JSON."""


def opening(front: bytes) -> bytes:
    """A JSON object with the members of the top level of `front` that say how it runs.

    Only complete ones; the last of the same name counts. A batch whose end is missing stands as a
    list of one, without the rid from which the ids of its prompts would be made.
    """
    found: dict[str, bytes] = {}
    reader = _Reader(front)
    name = ""
    try:
        for name in reader.names():
            start = reader.place
            reader.skip_value()
            if name in _ASKED:
                found[name] = front[start : reader.place]
    except _Cut:
        if name in _PROMPTS and _begins_batch(front, reader.value_at):
            found[name] = b'[""]'
            if found.get("rid", b"").startswith(b'"'):
                del found["rid"]
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), raw) for key, raw in found.items())


def _begins_batch(front: bytes, place: int | None) -> bool:
    """Whether a list of prompts begins at `place`: a list of bare numbers is a single one."""
    if place is None or front[place : place + 1] != b"[":
        return False
    first = front[_space_end(front, place + 1) :][:1]
    return not (first.isdigit() or first == b"-")


def _space_end(data: bytes, place: int) -> int:
    match = _SPACE.match(data, place)
    return place if match is None else match.end()


class _Reader:
    """Walks along the top level of an object."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._marks_left = _MOST_MARKS
        self.place = 0
        self.value_at: int | None = None  # where the value begins that is being read

    def names(self) -> Iterator[str]:
        """The name of each member; its value, which the caller skips, begins at `place`.

        Raises:
            _Cut: the object does not end.
        """
        self._take(b"{")
        while True:
            self.value_at = None
            name = self._name()
            self._take(b":")
            self.value_at = self.place = _space_end(self._data, self.place)
            yield name
            if self._next() == b"}":
                return
            self._take(b",")

    def _next(self) -> bytes:
        self.place = _space_end(self._data, self.place)
        return self._data[self.place : self.place + 1]

    def _take(self, wanted: bytes) -> None:
        if self._next() != wanted:
            raise _Cut
        self.place += 1

    def _name(self) -> str:
        self._take(b'"')
        start = self.place - 1
        self.place = self._string_end(self.place)
        try:
            return msgspec.json.decode(self._data[start : self.place], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _Cut from None

    def skip_value(self) -> None:
        """Move `place` behind the value that begins there.

        Raises:
            _Cut: it does not end.
        """
        first = self._data[self.place : self.place + 1]
        if first == b'"':
            self.place = self._string_end(self.place + 1)
        elif first in {b"[", b"{"}:
            self._skip_nested()
        else:
            match = _SCALAR.match(self._data, self.place)
            if match is None or match.end() == len(self._data):
                raise _Cut
            self.place = match.end()

    def _string_end(self, place: int) -> int:
        """The place behind the string whose first character is at `place`."""
        while place < len(self._data):
            match = _TEXT.match(self._data, place, place + _WINDOW_BYTES)
            place = place if match is None else match.end()
            if self._data[place : place + 1] == b'"':
                return place + 1
            if match is None or match.start() == place:
                break  # a lone backslash at the very end
        raise _Cut

    def _skip_nested(self) -> None:
        depth, place = 0, self.place
        while True:
            match = _MARK.search(self._data, place, place + _WINDOW_BYTES)
            if match is None:
                place += _WINDOW_BYTES
                if place >= len(self._data):
                    raise _Cut
                continue
            self._marks_left -= 1
            if self._marks_left < 0:
                raise _Cut
            place = match.end()
            if match[0] == b'"':
                place = self._string_end(place)
                continue
            depth += 1 if match[0] in b"[{" else -1
            if depth == 0:
                self.place = place
                return
