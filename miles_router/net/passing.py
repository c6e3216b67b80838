"""What a middleware has to say to the requests of the express, in which it is not called.

An express (`net.express`) leaves out the chain of middleware. One that can say what it does without
a wait takes part all the same: it turns the body of a request into the one that is sent, and the
answer into the one that the client gets. Whatever it cannot do so goes the long way, through the
chain, which takes up there what was begun here. This file must not know what is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from miles_router.core.headers import Headers
    from miles_router.core.request import Rids


class Passage(Protocol):
    """One request, and its answer."""

    @property
    def body(self) -> bytes:
        """What the worker gets."""

    @property
    def rids(self) -> Rids:
        """The ids that `body` names."""

    def begin(self) -> None:
        """The request is being sent. Until here nothing was changed anywhere."""

    def answer(self, worker_id: str, body: bytes) -> bytes | None:
        """What the client gets of a whole answer in JSON with status 200.

        None: it is for the chain, and nothing was changed. Never raises.
        """

    def end(self) -> None:
        """The request is over; may be repeated."""


class Passing(Protocol):
    """Takes part in the express."""

    def headers(self, headers: Headers) -> Headers:
        """The headers of a request as a worker may get them."""

    def prepare(self, tenant: str, session: str | None, body: bytes) -> Passage | None:
        """How a request with `body` passes; None: it is for the chain. Changes nothing."""
