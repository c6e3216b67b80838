"""The demonstration with simulated workers: `miles-router demo`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from miles_router.demo.log_dir import make_log_dir
from miles_router.demo.oracle import Oracle
from miles_router.demo.plan import Shape
from miles_router.demo.progress import Ticker, open_console
from miles_router.demo.retrieval import Exactness, Retrieval
from miles_router.demo.rollout import open_client
from miles_router.demo.scenario import Play, Scenario, token_cache_flags, write_exchanges
from miles_router.demo.transcript import Transcripts
from miles_router.demo.verify import check_fresh, check_logged, doubled, left_running
from miles_router.sim.fleet import arguments
from miles_router.sim.settings import SimSettings
from miles_router.sim.tokenizer import load_tokenizer, tokenizer_dir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from miles_router.demo.scenario import Verifier
    from miles_router.demo.settings import DemoSettings
    from miles_router.demo.tally import Exchange, Tally

_WEIGHT_VERSION = "step-7"
_NEXT_VERSION = "step-8"
_COMPARED = "ids, log-probabilities, loss mask, weight versions, routed experts"
_LATENCY_PAIRS = 100


class SimVerifier:
    """Compares answers with those of a second engine, and the router's memory with both that and
    the workers' logs."""

    exactness = "all that clients asked for, against a second engine"

    def __init__(self, settings: SimSettings) -> None:
        tokenizer = load_tokenizer()
        self._first_version = settings.weight_version
        self._oracle = Oracle(settings, [_NEXT_VERSION])
        self._transcripts = Transcripts(tokenizer.encode, tokenizer.eos_id)

    async def prepare(self) -> None:
        """Nothing to prepare."""
        await trio.lowlevel.checkpoint()

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with one answer."""
        transcript = self._transcripts.of(exchange.dialogue)
        if not transcript.is_sound:  # what follows a wrong answer cannot be known
            return self._oracle.check(exchange) if "return_logprob" in exchange.body else []
        prompt_ids = transcript.prompt_ids(exchange.body["text"])
        faults = self._oracle.check(exchange, prompt_ids=prompt_ids)
        if faults:
            transcript.is_sound = False
        else:
            transcript.tell(exchange, self._oracle.logprobs(exchange, prompt_ids))
        return faults

    async def check_after(self, tally: Tally, workers: Sequence[str], router: str) -> Exactness:
        """Whether anything was generated twice, for clients that had left, or by old weights; and
        whether all trajectories read back from the router are what was generated.

        A worker that was killed has forgotten what it did before.
        """
        async with open_client("") as client:
            replies = [await client.get(f"{url}/sim/log") for url in workers]
        entries = [one for reply in replies for one in reply.raise_for_status().json()["entries"]]
        tally.broken += doubled(entries) + left_running(tally.exchanges, entries)
        tally.wrong += check_fresh(tally, self._first_version)
        exactness = Exactness(_COMPARED)
        self._check_logs(tally, entries, exactness)
        async with open_client(router) as client:
            retrieval = Retrieval(client, tally, exactness, self._oracle.rows)
            for transcript in self._transcripts.sound():
                await retrieval.read_back(transcript)
        return exactness

    def _check_logs(
        self, tally: Tally, entries: Sequence[Mapping[str, Any]], exactness: Exactness
    ) -> None:
        logged = {entry["rid"]: entry for entry in entries if not entry["client_gone"]}
        counts = Counter[bool]()
        for transcript in self._transcripts.sound():
            for turn in transcript.turns:
                if turn.output_ids:
                    rid = turn.exchange.rid
                    counts[rid in logged] += 1
                    found = check_logged(turn, logged.get(rid), tally.killed)
                    tally.wrong += [f"{rid}: {finding}" for finding in found]
        mixed = sum(transcript.is_mixed() for transcript in self._transcripts.sound())
        exactness.facts += [
            f"{counts[True]} turns against the workers' logs and a second engine, {counts[False]} "
            "that a killed worker forgot against the second engine alone.",
            f"{mixed} trajectories hold tokens of two weight versions.",
        ]


def scenario_of(settings: DemoSettings, sim: SimSettings) -> Scenario:
    """What these settings mean."""
    shape = Shape(
        prompts=settings.prompts,
        samples=settings.samples,
        turns=settings.turns,
        min_new_tokens=settings.max_new_tokens // 2,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
        extra={"return_routed_experts": True},
    )

    def worker_command(port: int) -> list[str]:
        flags = [*arguments(sim), "--port", str(port)]
        return [sys.executable, "-m", "miles_router.sim", *flags]

    return Scenario(
        shape=shape,
        workers=settings.workers,
        worker_command=worker_command,
        worker_timeout_s=20.0,
        concurrency=settings.concurrency,
        aborts=max(1, shape.total_turns // 16),
        disconnects=max(1, shape.total_turns // 24),
        # Halfway through the shortest answer.
        interrupt_after_s=shape.min_new_tokens / settings.tokens_per_s / 2,
        with_kill=True,
        latency_pairs=_LATENCY_PAIRS,
        health_interval_s=0.5,
        time_limit_s=settings.time_limit_s,
        router_flags=(*token_cache_flags(str(tokenizer_dir())), "--capture-routed-experts"),
        update_to=_NEXT_VERSION,
    )


async def play(
    scenario: Scenario, verifier: Verifier, console: Console, keep_logs: Path | None
) -> int:
    """Run one scenario with its logs in `keep_logs` or in a directory that vanishes."""
    with ExitStack() as stack:
        if keep_logs is None:
            log_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            log_dir = keep_logs
        playing = Play(scenario, verifier, Ticker(console), log_dir)
        try:
            return await playing.run()
        finally:
            if keep_logs is not None:
                write_exchanges(playing.tally, log_dir / "exchanges.jsonl")


async def until_signalled(
    scenario: Scenario, verifier: Verifier, console: Console, keep_logs: Path | None
) -> int:
    """Like `play`, but ended by SIGINT or SIGTERM, also then in good order; the exit code."""
    code = 0
    async with trio.open_nursery() as nursery:

        async def watch(*, task_status: trio.TaskStatus[None]) -> None:
            nonlocal code
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for number in signals:
                    code = 128 + number
                    nursery.cancel_scope.cancel()

        await nursery.start(watch)
        code = await play(scenario, verifier, console, keep_logs)
        nursery.cancel_scope.cancel()
    return code


def main(settings: DemoSettings) -> int:
    """Run the demonstration; 0 if nothing was lost and nothing wrong.

    Raises:
        ConfigFault: the logs cannot be kept where they should be.
    """
    if settings.tui:
        from miles_router.demo import alive  # noqa: PLC0415  loads the router and the screens

        return alive.main(settings)
    make_log_dir(settings.keep_logs)
    sim = SimSettings(
        weight_version=_WEIGHT_VERSION, seed=settings.seed, tokens_per_s=settings.tokens_per_s
    )
    console = open_console(os.environ)
    return trio.run(
        partial(
            until_signalled,
            scenario_of(settings, sim),
            SimVerifier(sim),
            console,
            settings.keep_logs,
        )
    )
