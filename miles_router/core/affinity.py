"""Which worker a session key lives on.

A key is remembered until it is forgotten by name, unused for `ttl_s`, or the oldest of more than
`max_keys`. Keys are (tenant, session): tenants cannot steer each other. A long session is kept as
its digest, so that the memory of a key is bounded. This file must not know whether the worker is
available: that is the pool's question.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha512

SessionKey = tuple[str, str]
# Ids and paths of rollouts are shorter; a header may hold 64 KB.
MAX_SESSION_CHARS = 128


class AffinityTable:
    """Session key to worker id, least recently used first."""

    def __init__(self, *, ttl_s: float, max_keys: int) -> None:
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._homes: OrderedDict[SessionKey, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._homes)

    def home(self, key: SessionKey, now: float) -> str | None:
        """The id of the worker that `key` lives on; counts as a use."""
        key = _kept(key)
        self._expire(now)
        entry = self._homes.get(key)
        if entry is None:
            return None
        self._homes[key] = (entry[0], now)
        self._homes.move_to_end(key)
        return entry[0]

    def settle(self, key: SessionKey, worker_id: str, now: float) -> None:
        """Let `key` live on `worker_id` from here on."""
        key = _kept(key)
        self._homes[key] = (worker_id, now)
        self._homes.move_to_end(key)
        if len(self._homes) > self._max_keys:
            self._homes.popitem(last=False)

    def forget(self, key: SessionKey) -> bool:
        """Forget `key`; True if it was known."""
        return self._homes.pop(_kept(key), None) is not None

    def _expire(self, now: float) -> None:
        """Drop what was not used for the TTL: it is in front, so each key is touched once."""
        while self._homes:
            _, used_at = next(iter(self._homes.values()))
            if now - used_at < self._ttl_s:
                return
            self._homes.popitem(last=False)


def _kept(key: SessionKey) -> SessionKey:
    """`key` as it is kept: a digest is longer than what is kept as it is, so none is another's."""
    tenant, session = key
    if len(session) <= MAX_SESSION_CHARS:
        return key
    return tenant, "sha512:" + sha512(session.encode("utf-8", "surrogatepass")).hexdigest()
