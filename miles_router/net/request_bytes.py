"""The bytes of a request's head, as a worker gets it. This file must not know sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.core.headers import Headers


def request_head(
    method: str, target: bytes, authority: str, headers: Headers, *, framing: Headers
) -> bytes:
    """The bytes of a request line and its headers. `framing` is content-length or the like."""
    parts = [
        method.encode("ascii"),
        b" ",
        target,
        b" HTTP/1.1\r\nhost: ",
        authority.encode("ascii"),
    ]
    for name, value in (*headers, *framing):
        parts += (b"\r\n", name, b": ", value)
    parts.append(b"\r\n\r\n")
    return b"".join(parts)
