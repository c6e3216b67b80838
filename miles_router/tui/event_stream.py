"""Server-sent events, as `/events` sends them, back into values. Pure: bytes in, events out.

What is not an event of the router (comments, other data, a newer event's fields) is passed over, so
that one odd line does not end the stream.
"""

from __future__ import annotations

import msgspec

from miles_router.core.events import Event

# Events are a few hundred bytes: a line that goes on for longer is none of the router's.
MAX_LINE_BYTES = 1024 * 1024


class NotEvents(Exception):
    """The stream is not one of the router's."""


class EventStream:
    """Takes the bytes of one stream as they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = msgspec.json.Decoder(Event)

    def feed(self, data: bytes) -> list[Event]:
        """The events that end in `data`.

        Raises:
            NotEvents: a line has no end.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise NotEvents
        found = []
        for line in lines:
            name, _, value = line.partition(b":")
            if name != b"data":
                continue
            try:
                found.append(self._decoder.decode(value))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return found
