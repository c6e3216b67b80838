"""What the token cache counts, as plain numbers."""

from __future__ import annotations

from collections import Counter


class CacheCounters:
    """Counts since the start.

    A prompt is `continued` from a worker's tokens, `repeated` (an equal prompt was tokenized
    before), `tokenized` anew, or `given` as ids by its client.
    """

    def __init__(self) -> None:
        self.prompts: Counter[str] = Counter()  # continued, repeated, tokenized, given
        self.cached_tokens = 0  # tokens of prompts that were known
        self.stored = 0  # turns
        self.refused: Counter[str] = Counter()  # requests and answers passed by, by reason
        self.r3: Counter[str] = Counter()  # stored, or why not
        self.r3_received_bytes = 0  # of base64 in answers
        self.reads: Counter[str] = Counter()  # exact, inexact, missing, evicted
        self.failures = 0  # of the cache itself; the request went through all the same
        self.journal_failures = 0
        self.sweeps = 0
        self.last_sweep_at: float | None = None  # monotonic seconds
        self.last_sweep_removed = 0  # turns
