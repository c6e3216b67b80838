"""The answer on its way out: what of it is sent, and what may still be.

Middleware may not see that the answer behind it broke off: for Starlette's BaseHTTPMiddleware the
body just ends. So what would make a broken answer look complete is not let out. A middleware that
noticed, and answers with a server error of its own, may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miles_router.core.headers import REQUEST_ID_HEADER
from miles_router.errors import AnswerCut

if TYPE_CHECKING:
    from miles_router.net.departures import Departure
    from miles_router.web.caller import RequestContext
    from miles_router.web.replies import Receive, Send


_ID_LENGTH = len(REQUEST_ID_HEADER)


class Unanswered(Exception):
    """What serves a request returned without having answered it to the end."""


class Answer:
    """The answer to one request: adds the request id, remembers the status."""

    def __init__(self, send: Send, request_id: str, departure: Departure | None = None) -> None:
        """`departure`: tells that the client leaves, where the server does so by itself."""
        self._send = send
        self._departure = departure
        self._is_over = False
        self._has_client_left = False
        self.request_id = request_id
        self.status: int | None = None  # of the head, once the server has taken it
        self.context: RequestContext | None = None

    async def send(self, message: dict[str, Any]) -> None:
        """Pass one ASGI message on.

        The server refuses a head that is no HTTP before any byte of it is sent: another may follow.
        """
        if message["type"] == "http.response.start":
            self._check_whole(message["status"])
            headers = [
                h
                for h in message.get("headers", ())
                if len(h[0]) != _ID_LENGTH or h[0].lower() != REQUEST_ID_HEADER
            ]
            headers.append((REQUEST_ID_HEADER, self.request_id.encode("latin-1")))
            await self._send({**message, "headers": headers})
            self.status = message["status"]
            return
        is_last = not message.get("more_body")
        if is_last and self.status is not None:
            self._check_whole(self.status)
        await self._send(message)
        self._is_over = is_last

    def _check_whole(self, status: int) -> None:
        """Raise if the answer broke off behind, unless it is an error that says so."""
        failure = None if self.context is None else self.context.failure
        if isinstance(failure, AnswerCut) and status < 500:
            raise failure

    def watching(self, receive: Receive) -> Receive:
        """`receive`, and remember whether the client has left: no answer is owed to it then."""
        if self._departure is not None:
            return receive

        async def watch() -> dict[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._has_client_left = True
            return message

        return watch

    def check_over(self) -> None:
        """Judge the answer of an app that has returned.

        Raises:
            Unanswered: the client waits for more.
        """
        if self._is_over or self._has_client_left:
            return
        if self._departure is not None and self._departure.is_set():
            return
        if self.status is None:
            raise Unanswered("returned without an answer")
        raise Unanswered("returned in mid-answer")
