"""What a worker has generated, for tests and the curious: `GET /sim/log`.

Entries are numbered from 0 in the order generations ended. The oldest are forgotten beyond a
bound, so a long run cannot eat the machine; routed experts are kept as a digest.
"""

from __future__ import annotations

import hashlib
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miles_router.sim.answers import AnswerWriter
    from miles_router.sim.generation import Generation

LIMIT_ENTRIES = 20_000


class GenerationLog:
    """Finished generations, oldest first."""

    def __init__(self, limit_entries: int = LIMIT_ENTRIES) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=limit_entries)
        self.total = 0

    def add(self, generation: Generation, *, version: str, answers: AnswerWriter) -> None:
        """Note a generation that has ended."""
        item = generation.item
        reason = generation.finish_reason or {}
        rows = answers.routed_experts(generation, version=version)
        digest = None if rows is None else hashlib.sha256(rows.encode()).hexdigest()
        self._entries.append(
            {
                "number": self.total,
                "rid": item.rid,
                "path": item.path,
                "prompt_text": item.prompt_text,
                "prompt_ids": item.prompt_ids,
                "output_ids": generation.output_ids,
                "output_text": generation.text.visible(),
                "logprobs": generation.logprobs if item.return_logprob else None,
                "weight_version": generation.weight_version or version,
                "weight_versions": [
                    {"version": name, "start": start, "end": end}
                    for name, start, end in generation.version_spans(version)
                ],
                "finish_reason": reason,
                "seed": generation.seed,
                "is_greedy": item.params.is_greedy,
                "routed_experts_sha256": digest,
                "aborted": reason.get("type") == "abort",
                "client_gone": generation.is_client_gone,
            }
        )
        self.total += 1

    def since(self, number: int) -> list[dict[str, Any]]:
        """Entries numbered `number` and above that are still kept."""
        forgotten = self.total - len(self._entries)
        return list(islice(self._entries, max(0, number - forgotten), None))
