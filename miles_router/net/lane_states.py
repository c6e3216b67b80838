"""What a connection in the fast lane does, and what it gives to Hypercorn. Plain values."""

from __future__ import annotations

from enum import Enum


class HandedOver:
    """Bytes that are Hypercorn's to serve."""

    __slots__ = ("checked_bytes", "data")

    def __init__(self, data: bytes, checked_bytes: int = 0) -> None:
        self.data = data
        self.checked_bytes = checked_bytes  # so many have passed the gate


class State(Enum):
    """What a connection does."""

    IDLE = "idle"  # it waits for a request
    SERVING = "serving"
    AWAY = "away"  # its request is Hypercorn's
