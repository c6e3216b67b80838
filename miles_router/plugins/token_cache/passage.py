"""The token cache in the express: one known prompt, one small answer, and nobody waits for either.

What takes a thread or a turn of the loop, and what the cache has no part in, goes through the
middleware: that also takes up what was begun here. This file must not know ASGI or sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core.generate.reasons import RefusalReason, Uncached
from miles_router.core.generate.request import read_request
from miles_router.core.headers import first
from miles_router.plugins.token_cache.continuing import Holds
from miles_router.plugins.token_cache.keeping import new_turn, read_whole, tell_versions
from miles_router.plugins.token_cache.prepared import prepare_now
from miles_router.plugins.token_cache.refused_answers import note_refused_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.core.headers import Headers
    from miles_router.core.request import Rids
    from miles_router.core.trajectory.turn import NewTurn
    from miles_router.net.token_cache import TokenCache
    from miles_router.plugins.token_cache.continuing import FoundPrompt
    from miles_router.plugins.token_cache.keeping import Digest
    from miles_router.plugins.token_cache.prepared import Prepared

# 256 tokens with their log-probabilities, whose reading takes the loop 0.15 ms. To have them read
# by a task, in a thread, takes as much again.
MOST_ANSWER_BYTES = 16_384


def readable(headers: Headers) -> Headers:
    """The headers of a request whose answer is to be read here."""
    if first(headers, b"accept-encoding") is None:
        return headers
    kept = [header for header in headers if header[0] != b"accept-encoding"]
    return [*kept, (b"accept-encoding", b"identity")]


class CachePassage:
    """See `net.passing.Passage`. Whoever takes it up ends it."""

    __slots__ = ("_cache", "_found", "_holds", "_note_version", "prepared")

    def __init__(
        self,
        cache: TokenCache,
        prepared: Prepared,
        found: FoundPrompt,
        note_version: Callable[[str, str], None],
    ) -> None:
        self._cache = cache
        self._found = found
        self._holds = Holds(cache)
        self._note_version = note_version
        self.prepared = prepared

    @property
    def body(self) -> bytes:
        """See `Passage`."""
        return self.prepared.body

    @property
    def rids(self) -> Rids:
        """See `Passage`."""
        return self.prepared.rids

    def begin(self) -> None:
        """See `Passage`. Never raises: the request has its lease already."""
        try:
            self._found.note(self._cache, self._holds)
        except Exception as error:  # noqa: BLE001  whatever it is, the request must go through
            self._cache.fail(error)

    def answer(self, worker_id: str, body: bytes) -> bytes | None:
        """See `Passage`."""
        if len(body) > MOST_ANSWER_BYTES:
            return None
        cache, prepared = self._cache, self.prepared
        try:
            digests, pieces = read_whole(cache.tokenizer, prepared, body)
            turns = self._turns(digests)
            if not all(map(cache.keeps_at_once, turns)):
                return None
        except Exception as error:  # noqa: BLE001  whatever it is, the answer must get through
            cache.fail(error)
            return body
        try:
            tell_versions(digests, worker_id, self._note_version)
            for one in digests:
                if isinstance(one, RefusalReason):
                    note_refused_answer(cache, one)
            for turn in turns:
                cache.keep_now(prepared.tenant, turn)
        except Exception as error:  # noqa: BLE001  whatever it is, the answer must get through
            cache.fail(error)
        return b"".join(pieces)

    def _turns(self, digests: list[Digest | RefusalReason]) -> list[NewTurn]:
        prepared = self.prepared
        (prompt,) = prepared.prompts
        return [
            new_turn(prepared, prompt, one) for one in digests if not isinstance(one, RefusalReason)
        ]

    def end(self) -> None:
        """See `Passage`."""
        self._holds.release()


class CachePassing:
    """See `net.passing.Passing`.

    Args:
        cache: the token cache.
        note_version: told the id of a worker and the weight version that it answered with.
    """

    def __init__(self, cache: TokenCache, note_version: Callable[[str, str], None]) -> None:
        self._cache = cache
        self._note_version = note_version

    def headers(self, headers: Headers) -> Headers:
        """See `Passing`."""
        return readable(headers)

    def prepare(self, tenant: str, session: str | None, body: bytes) -> CachePassage | None:
        """See `Passing`."""
        cache = self._cache
        if not cache.is_on or cache.captures_r3:
            return None
        try:
            request = read_request(body)
            if request.is_stream:
                return None
            known = prepare_now(cache, tenant, session, request)
        except Uncached:
            return None  # counted on the long way
        except Exception as error:  # noqa: BLE001  whatever it is, the request must go through
            cache.fail(error)
            return None
        return None if known is None else CachePassage(cache, *known, self._note_version)
