"""Who runs, who waits, who has ended: all state of the requests, in the trio thread.

The model steps in one worker thread; between two steps new requests join the batch and ended ones
leave it (continuous batching). An abort ends a sequence at once: its answer goes out while the step
that still computes for it runs to its end, and that token is thrown away.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import trio

from .params import RequestError
from .sequences import ABORTED, ABORTED_IN_QUEUE

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from .runner import Runner, Sampled
    from .sequences import Finish, Sequence
    from .spelling import Speller

PAUSE_MODES = ("abort", "in_place", "retract")


class Engine:
    """Feeds the runner and applies what it returns."""

    def __init__(
        self,
        runner: Runner,
        speller: Speller,
        *,
        weight_version: str,
        max_batch: int,
        rng: random.Random,
    ) -> None:
        self.weight_version = weight_version
        self.paused = False
        self.steps = 0
        self._runner = runner
        self._speller = speller
        self._max_batch = max_batch
        self._rng = rng
        self._live: dict[str, Sequence] = {}
        self._waiting: deque[Sequence] = deque()
        self._joining: Sequence | None = None
        self._running: list[Sequence] = []
        self._work = trio.Event()
        self._stepping = trio.Lock()
        self._thread = trio.CapacityLimiter(1)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Step while there is something to step; an error of the model ends the worker."""
        task_status.started()
        while True:
            await self._work.wait()
            async with self._stepping:
                if not self._plan():
                    self._work = trio.Event()
                    continue
                version = self.weight_version
                sampled = await trio.to_thread.run_sync(
                    self._runner.step, self._running, self._joining, limiter=self._thread
                )
                self.steps += 1
                for item in sampled:
                    self._apply(item, version)

    @property
    def load(self) -> dict[str, int]:
        """Sequences with and without a place in the batch."""
        waiting = sum(seq.finish is None for seq in self._waiting)
        return {"num_running_reqs": len(self._live) - waiting, "num_waiting_reqs": waiting}

    def check_rids(self, sequences: list[Sequence]) -> None:
        """Refuse a request id that is in use.

        Raises:
            RequestError: names the id.
        """
        seen = set(self._live)
        for seq in sequences:
            if seq.rid in seen:
                raise RequestError(f"Duplicate request ID detected: {seq.rid}")
            seen.add(seq.rid)

    @contextmanager
    def serving(self, sequences: list[Sequence]) -> Iterator[None]:
        """Let sequences run; those that have not ended when the caller leaves are aborted.

        A client that goes away cancels the caller, so nothing generates for nobody.

        Raises:
            RequestError: a request id is in use; nothing was started.
        """
        self.check_rids(sequences)
        for seq in sequences:
            given = seq.params.sampling_seed
            seq.seed = self._rng.getrandbits(63) if given is None else given
            seq.arrived_s = trio.current_time()
            self._live[seq.rid] = seq
            self._waiting.append(seq)
        self._work.set()
        try:
            yield
        finally:
            for seq in sequences:
                self._abort(seq)

    def abort(self, rid_prefix: str, *, everything: bool = False) -> int:
        """End every live sequence whose rid starts so (an empty prefix: none); returns how many."""
        hit = [
            seq
            for rid, seq in self._live.items()
            if everything or (rid_prefix and rid.startswith(rid_prefix))
        ]
        for seq in hit:
            self._abort(seq)
        return len(hit)

    async def pause(self, mode: str) -> None:
        """Stop after the present step: `abort` ends all, `in_place` freezes, `retract` requeues."""
        self.paused = True
        if mode == "abort":
            self.abort("", everything=True)
        async with self._stepping:
            if mode == "retract":
                self._retract()
                await trio.to_thread.run_sync(self._runner.release, limiter=self._thread)

    def resume(self) -> None:
        """Let everything run again."""
        self.paused = False
        self._work.set()

    def set_weight_version(self, version: str, *, abort_all: bool) -> None:
        """Name the weights of all tokens from the next step on."""
        if abort_all:
            self.abort("", everything=True)
        self.weight_version = version

    async def flush(self) -> bool:
        """Forget stored prefixes; refused (false) while requests run, or wait without a pause."""
        load = self.load
        if load["num_running_reqs"] or (load["num_waiting_reqs"] and not self.paused):
            return False
        async with self._stepping:
            await trio.to_thread.run_sync(self._runner.flush, limiter=self._thread)
        return True

    def _plan(self) -> bool:
        """Choose who is in the next step; false if there is nothing to do."""
        if self.paused:
            return False
        self._running = [seq for seq in self._running if seq.finish is None]
        if self._joining is not None and self._joining.finish is not None:
            self._joining = None
        while self._joining is None and self._waiting and len(self._running) < self._max_batch:
            candidate = self._waiting.popleft()
            self._joining = candidate if candidate.finish is None else None
        return bool(self._running or self._joining)

    def _apply(self, item: Sampled, version: str) -> None:
        seq = item.seq
        if seq is self._joining:
            self._joining = None
            self._running.append(seq)
        if seq.finish is not None:
            return
        if item.cached_tokens is not None and seq.cached_tokens is None:
            seq.cached_tokens = item.cached_tokens
        if item.prompt_logprobs is not None:
            seq.prompt_logprobs = item.prompt_logprobs
        seq.logprobs.append(item.logprob)
        if seq.params.max_new_tokens == 0:
            seq.unkept_id = item.token
        else:
            seq.output_ids.append(item.token)
            seq.versions.append(version)
        reason = self._reason_to_end(seq)
        if reason is None:
            seq.notice.post()
        else:
            self._end(seq, reason)

    def _reason_to_end(self, seq: Sequence) -> Finish | None:
        """SGLang's order: stop string, then EOS or stop token, then length."""
        params = seq.params
        if seq.output_ids:
            if (stop := self._speller.matched_stop(seq)) is not None:
                return {"type": "stop", "matched": stop}
            token = seq.output_ids[-1]
            stops = token in params.stop_token_ids or token in self._runner.eos_ids
            if stops and not params.ignore_eos:
                return {"type": "stop", "matched": token}
        if len(seq.output_ids) >= params.max_new_tokens:
            return {"type": "length", "length": params.max_new_tokens}
        return None

    def _abort(self, seq: Sequence) -> None:
        if seq.finish is None:
            started = seq is self._joining or seq in self._running or not seq.never_ran
            if started and seq.never_ran:
                seq.cached_tokens = 0
            self._end(seq, ABORTED if started else ABORTED_IN_QUEUE)

    def _end(self, seq: Sequence, reason: Finish) -> None:
        seq.finish = dict(reason)
        seq.finished_s = trio.current_time()
        self._live.pop(seq.rid, None)
        seq.notice.post()
        self._work.set()

    def _retract(self) -> None:
        """Put everything that runs back in front of the queue, to be computed again."""
        started = [*self._running, *([self._joining] if self._joining else [])]
        retracted = [seq for seq in started if seq.finish is None]
        for seq in retracted:
            seq.retractions += 1
        self._running, self._joining = [], None
        self._waiting.extendleft(reversed(retracted))
