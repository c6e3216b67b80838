"""What the router adds to a request: the same small requests straight to a worker and through it.

Measured before the rollout, one request at a time, the two ways taking turns, so that whatever else
the machine does meets both alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from miles_router.demo.rollout import open_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of each request, by the way it took."""

    direct_s: tuple[float, ...]
    routed_s: tuple[float, ...]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def probe_body(number: int, way: str) -> dict[str, Any]:
    """One token for a short prompt."""
    return {
        "rid": f"latency-{way}-{number:05d}",
        "text": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
        "sampling_params": {"temperature": 1.0, "max_new_tokens": 1, "sampling_seed": number},
        "return_logprob": True,
    }


async def measure_latency(*, router: str, workers: Sequence[str], pairs: int) -> Latency:
    """Time `pairs` requests each way; direct ones go to the workers in turn.

    Raises:
        httpx.HTTPError: a request failed.
    """
    direct_s: list[float] = []
    routed_s: list[float] = []
    async with open_client(router) as through, open_client("") as straight:
        for number in range(-_WARM_UP, pairs):
            worker = workers[number % len(workers)]
            ways = [
                (straight, f"{worker}/generate", "direct", direct_s),
                (through, "/generate", "routed", routed_s),
            ]
            for client, url, way, found in ways if number % 2 else ways[::-1]:
                took_s = await _timed(client, url, probe_body(number + _WARM_UP, way))
                if number >= 0:
                    found.append(took_s)
    return Latency(tuple(direct_s), tuple(routed_s))


async def _timed(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> float:
    started_at = trio.current_time()
    reply = await client.post(url, json=body)
    reply.raise_for_status()
    return trio.current_time() - started_at
