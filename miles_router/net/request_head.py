"""What the gate makes of the head of a request: what it says, or why it is refused."""

from __future__ import annotations

from dataclasses import dataclass

# In the scope: the request target as it came.
TARGET_KEY = "miles_router.target"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is ended."""

    status: int
    code: str
    message: str


class RequestHead:
    """What a request line and its headers say; names in lower case."""

    __slots__ = ("body_bytes", "closes", "headers", "is_plain", "method", "target")

    def __init__(self, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body_bytes = 0
        self.closes = False  # the client takes no answer after this one
        self.is_plain = True  # HTTP/1.1, a body of known length, no word about its sending
