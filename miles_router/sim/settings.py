"""Every choice that shapes one simulated worker, as one frozen value.

Names follow SGLang's server arguments where one exists. The docstring of a field is its help text
on the command line, so it says what a person gets, not how it is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimSettings:
    """How one simulated SGLang worker behaves."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 0
    """Port to listen on; 0 takes a free one and prints it."""

    weight_version: str = "default"
    """Weight version the worker starts with; answers depend on it, as with real weights."""

    seed: int = 0
    """Seed of everything that is drawn: equal seeds and requests give equal answers."""

    model_path: str = "sim/bpe"
    """Model name reported by /model_info and /v1/models."""

    tokens_per_s: float = 0.0
    """Tokens per second for each running request; 0 is as fast as possible."""

    max_running: int = 256
    """Requests that generate at once; more wait in the worker's queue."""

    context_tokens: int = 32768
    """Context length: a prompt must be shorter, prompt and answer together may fill it."""

    health_delay_s: float = 0.0
    """Seconds /health takes to answer; a real SGLang worker needs at least 1."""

    incremental_streaming: bool = False
    """Streams carry only what is new (SGLang's --incremental-streaming-output)."""

    routed_experts: bool = True
    """Answer return_routed_experts (SGLang's --enable-return-routed-experts)."""

    num_layers: int = 4
    """Layers of the routed-experts rows."""

    num_experts: int = 64
    """Experts per layer; ids are below this number."""

    top_k: int = 2
    """Experts chosen per layer and token."""

    api_key: str | None = None
    """Key that requests must bring as 'Authorization: Bearer KEY'; health checks need none."""

    max_queued: int | None = None
    """Requests that may wait; more are refused with SGLang's queue-full answer."""

    drift: float = 0.5
    """Share of tokens drawn from the whole vocabulary instead of from whole words (0 to 1).

    The higher, the more answers change their token ids when their text is tokenized again."""

    fault: tuple[str, ...] = ()
    """Faults active from the start, such as 'hang:count=2' or 'status=503'."""

    def __post_init__(self) -> None:
        """Refuse values that no worker could run with.

        Raises:
            ValueError: names the setting and what it must be.
        """
        rules = (
            ("port", 0 <= self.port <= 65535, "from 0 to 65535"),
            ("tokens_per_s", 0 <= self.tokens_per_s < math.inf, "0 (no limit) or more"),
            ("max_running", self.max_running >= 1, "at least 1"),
            ("context_tokens", self.context_tokens >= 2, "at least 2"),
            ("health_delay_s", 0 <= self.health_delay_s < math.inf, "0 or more"),
            ("num_layers", self.num_layers >= 1, "at least 1"),
            ("top_k", 1 <= self.top_k <= self.num_experts, "from 1 to num_experts"),
            ("max_queued", self.max_queued is None or self.max_queued >= 0, "0 or more"),
            ("drift", 0 <= self.drift <= 1, "from 0 to 1"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)!r} but must be {rule}.")
