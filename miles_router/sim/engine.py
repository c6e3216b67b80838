"""The simulated scheduler: which generations wait, run, pause and end.

Pure: no loop, no clock; `now` (seconds, monotonic) comes with each call and pacing follows from
it. It must not know about HTTP. Invariant: a generation is in exactly one of held, queue,
running, finished, and every finished one is in the log.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING, Any

from miles_router.sim.answers import AnswerWriter
from miles_router.sim.batch import Batch, BatchParser
from miles_router.sim.context import PrefixCache
from miles_router.sim.experts import ExpertRouter
from miles_router.sim.generation import Generation, Stage
from miles_router.sim.log import GenerationLog
from miles_router.sim.refusals import bad_value
from miles_router.sim.sampler import Sampler
from miles_router.sim.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from miles_router.sim.settings import SimSettings

UNPACED_TOKENS = 64
"""Tokens one unpaced request gets per turn: long answers must not keep the loop for themselves."""

_PACING_SLACK = 1e-6


def _running_abort() -> dict[str, Any]:
    return {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}


class Engine:
    """One worker's generations."""

    def __init__(self, settings: SimSettings) -> None:
        self.settings = settings
        self.weight_version = settings.weight_version
        self.model_path = settings.model_path
        self.served_model_name = settings.model_path
        self.tokenizer = load_tokenizer()
        self.cache = PrefixCache()
        self.log = GenerationLog()
        self.is_paused = False
        self.running: dict[str, Generation] = {}
        self.queue: deque[Generation] = deque()
        self.live: dict[str, Generation] = {}
        self.total = 0
        self.aborted = 0
        self.client_gone = 0
        self.generated_tokens = 0
        self.prompt_tokens = 0
        self._rng = random.Random(settings.seed)  # noqa: S311 - simulated draws, not secrets
        self._sampler = Sampler(self.tokenizer, drift=settings.drift)
        self._parser = BatchParser(
            self.tokenizer, context_tokens=settings.context_tokens, rng=self._rng
        )
        router = ExpertRouter(settings.num_layers, settings.num_experts, settings.top_k)
        self.answers = AnswerWriter(self.tokenizer, router if settings.routed_experts else None)
        self._paused_at = 0.0

    def parse(self, body: Any, *, path: str = "/generate") -> Batch:
        """Check a /generate body and expand it; raises RequestRefused as SGLang answers."""
        return self._parser.parse(body, path=path)

    def admit(self, batch: Batch, *, now: float) -> list[Generation]:
        """Take the request ids of a batch; its generations are held until `submit`.

        Raises:
            RequestRefused: a request id is in use.
        """
        for item in batch.items:
            if item.rid in self.live:
                raise bad_value(f"Duplicate request ID detected: {item.rid}")
        generations = []
        for item in batch.items:
            seed = item.params.sampling_seed
            if seed is None:
                seed = self._rng.getrandbits(63)
            generation = Generation(
                item, seed=seed, sampler=self._sampler, tokenizer=self.tokenizer, now=now
            )
            self.live[item.rid] = generation
            generations.append(generation)
        self.total += len(generations)
        return generations

    def submit(self, generations: Iterable[Generation], *, now: float) -> None:
        """Queue held generations; one that cannot run ends here with a status code."""
        for generation in generations:
            refusal = self._scheduler_refusal(generation)
            if refusal is not None:
                generation.abort(refusal, is_reduced=False)
                self._end(generation, now)
                continue
            limit = self.settings.max_queued
            is_full = len(self.running) >= self.settings.max_running
            if limit is not None and is_full and len(self.queue) >= limit:
                reason = {
                    "type": "abort",
                    "status_code": 503,
                    "message": "The request queue is full.",
                }
                generation.abort(reason, is_reduced=True)
                self._end(generation, now)
                continue
            generation.stage = Stage.QUEUED
            self.queue.append(generation)
            self._fill(now)

    @staticmethod
    def _scheduler_refusal(generation: Generation) -> dict[str, Any] | None:
        item = generation.item
        size = len(item.prompt_ids)
        message = None
        if item.return_logprob and item.logprob_start_len > size:
            message = (
                f"req.logprob_start_len={item.logprob_start_len} is higher than the number of "
                f"input tokens len(req.origin_input_ids)={size}. Please use a smaller "
                "logprob_start_len."
            )
        start = item.routed_experts_start_len
        if item.return_routed_experts and start < 0:
            message = (
                f"recv_req.routed_experts_start_len={start} is lower than 0. "
                "Please use a non-negative routed_experts_start_len."
            )
        if item.return_routed_experts and start > size:
            message = (
                f"recv_req.routed_experts_start_len={start} is higher than the number of input "
                f"tokens len(req.origin_input_ids)={size}. Please use a smaller "
                "routed_experts_start_len."
            )
        if message is None:
            return None
        return {
            "type": "abort",
            "message": message,
            "status_code": 400,
            "err_type": "BadRequestError",
        }

    def _fill(self, now: float) -> None:
        """Move queued generations to free places."""
        while self.queue and not self.is_paused and len(self.running) < self.settings.max_running:
            generation = self.queue.popleft()
            item = generation.item
            generation.stage = Stage.RUNNING
            generation.paced_from = (now, len(generation.output_ids))
            limit = len(item.prompt_ids) - 1
            if item.return_logprob and item.logprob_start_len >= 0:
                limit = min(limit, item.logprob_start_len)
            generation.cached_tokens = self.cache.match(
                item.cache_key, generation.blocks, limit_tokens=limit
            )
            self.cache.add(item.cache_key, generation.blocks)
            self.running[item.rid] = generation

    def advance(
        self, *, now: float, may_step: Callable[[Generation], bool] = lambda _generation: True
    ) -> list[Generation]:
        """Let every running generation take the tokens that are due; those that changed.

        Args:
            now: decides, with `tokens_per_s`, how many tokens are due.
            may_step: an unpaced stream whose reader is behind can be left out.
        """
        if self.is_paused:
            return []
        self._fill(now)
        changed = []
        for generation in list(self.running.values()):
            due = self._due(generation, now)
            if due <= 0 or not may_step(generation):
                continue
            self._step(generation, due, now)
            changed.append(generation)
        self._fill(now)
        return changed

    def _step(self, generation: Generation, count: int, now: float) -> None:
        for _ in range(count):
            generation.step(self.weight_version)
            if generation.is_finished:
                self._end(generation, now)
                return

    def _due(self, generation: Generation, now: float) -> int:
        pace = self.settings.tokens_per_s
        if pace == 0:
            if not generation.item.stream:
                return UNPACED_TOKENS
            interval = generation.item.params.stream_interval
            return interval if generation.output_ids else 1
        started_at, had = generation.paced_from
        earned = math.floor((now - started_at) * pace + _PACING_SLACK)
        return earned - (len(generation.output_ids) - had)

    def next_due(self) -> float | None:
        """When the next token is due; None while there is nothing to do or generation is paused."""
        if self.is_paused or not (self.running or self.queue):
            return None
        pace = self.settings.tokens_per_s
        if pace == 0 or not self.running:
            return -math.inf
        return min(
            started_at + (len(generation.output_ids) - had + 1) / pace
            for generation in self.running.values()
            for started_at, had in (generation.paced_from,)
        )

    def abort(self, rid: str, *, abort_all: bool, now: float) -> list[Generation]:
        """End what runs or waits and whose id starts with `rid`; what is held goes on waiting.

        SGLang 0.5.23 forwards an abort only if `rid` itself is a live id; the prefix then reaches
        others. So the id of a batch, whose items are `rid_0`, `rid_1`, aborts nothing.
        """
        if not abort_all and rid not in self.live:
            return []
        chosen = [
            generation
            for generation in self.live.values()
            if abort_all or generation.item.rid.startswith(rid)
        ]
        return [generation for generation in chosen if self._abort_one(generation, now)]

    def drop(self, generation: Generation, *, now: float, client_gone: bool) -> None:
        """End one generation nobody waits for any more; nothing happens if it has ended."""
        if generation.is_finished:
            return
        generation.is_client_gone = client_gone
        self.client_gone += client_gone
        if generation.stage is Stage.HELD:
            generation.abort(_running_abort(), is_reduced=True)
            self._end(generation, now)
        else:
            self._abort_one(generation, now)

    def _abort_one(self, generation: Generation, now: float) -> bool:
        if generation.stage is Stage.RUNNING:
            generation.abort(_running_abort(), is_reduced=False)
        elif generation.stage is Stage.QUEUED:
            reason = {"type": "abort", "message": "Abort in waiting queue"}
            generation.abort(reason, is_reduced=True)
        else:
            return False
        self._end(generation, now)
        return True

    def _end(self, generation: Generation, now: float) -> None:
        generation.finished_at = now
        rid = generation.item.rid
        self.running.pop(rid, None)
        if generation in self.queue:
            self.queue.remove(generation)
        if self.live.get(rid) is generation:
            del self.live[rid]
        self.cache.add(generation.item.cache_key, generation.blocks)
        reason = generation.finish_reason or {}
        self.aborted += reason.get("type") == "abort"
        self.generated_tokens += len(generation.output_ids)
        self.prompt_tokens += len(generation.item.prompt_ids)
        self.log.add(generation, version=self.weight_version, answers=self.answers)

    def pause(self, mode: str, *, now: float) -> list[Generation]:
        """Stop generating; the generations that ended by it (mode "abort" ends all)."""
        ended = self.abort("", abort_all=True, now=now) if mode == "abort" else []
        if not self.is_paused:
            self._paused_at = now
        self.is_paused = True
        if mode == "retract":
            for generation in reversed(self.running.values()):
                generation.stage = Stage.QUEUED
                generation.num_retractions += 1
                self.queue.appendleft(generation)
            self.running.clear()
        return ended

    def resume(self, *, now: float) -> None:
        """Generate again; time spent paused earns no tokens."""
        if not self.is_paused:
            return
        self.is_paused = False
        for generation in self.running.values():
            started_at, had = generation.paced_from
            generation.paced_from = (started_at + now - self._paused_at, had)
        self._fill(now)

    def set_weight_version(self, version: str) -> None:
        """Serve other weights from the next token on."""
        self.weight_version = version
