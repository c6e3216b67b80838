"""Server-sent events as bytes: where one ends, and which part of it is data.

Every byte that comes in goes out again, whatever it is. This file must not know what events carry.
"""

from __future__ import annotations

_TAIL_BYTES = 2  # what may begin a blank line that the next piece ends


class SseSplitter:
    """Cuts a stream into events, wherever the network has cut it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._tail = b""  # the last bytes of those
        self.size_bytes = 0
        """How much has come of an event that has not ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, each with the blank line that ends it."""
        if b"\n" not in data:
            self._hold(data, self._tail + data[-_TAIL_BYTES:])
            return []
        window = self._tail + data
        before = len(self._tail)
        events = []
        start = place = 0
        while end := _blank_line_end(window, place):
            self._pieces.append(data[start : end - before])
            events.append(b"".join(self._pieces))
            self._pieces.clear()
            self.size_bytes = 0
            start, place = end - before, end
        self._hold(data[start:], window[place:][-_TAIL_BYTES:])
        return events

    @property
    def rest(self) -> bytes:
        """What has come of an event that has not ended."""
        return b"".join(self._pieces)

    def take_rest(self) -> list[bytes]:
        """The same in the pieces in which it came; they are forgotten here."""
        pieces, self._pieces = self._pieces, []
        self._tail, self.size_bytes = b"", 0
        return pieces

    def _hold(self, data: bytes, tail: bytes) -> None:
        if data:
            self._pieces.append(data)
            self.size_bytes += len(data)
        self._tail = tail[-_TAIL_BYTES:]


def _blank_line_end(data: bytes, place: int) -> int:
    """Where the first blank line from `place` on ends; 0 if there is none."""
    while (line_end := data.find(b"\n", place)) >= 0:
        place = line_end + 1
        if data.startswith(b"\n", place):
            return place + 1
        if data.startswith(b"\r\n", place):
            return place + 2
    return 0


def data_span(event: bytes) -> tuple[int, int] | None:
    """Where the data of an event is: [start, end); None unless it has exactly one data line.

    SGLang writes one line for an event; JSON in several lines is left alone.
    """
    found = None
    place = 0
    while place < len(event):
        end = event.find(b"\n", place)
        end = len(event) if end < 0 else end
        if event.startswith(b"data:", place):
            if found is not None:
                return None
            start = place + 6 if event.startswith(b" ", place + 5) else place + 5
            found = (start, end - 1 if event.endswith(b"\r", start, end) else end)
        place = end + 1
    return found
