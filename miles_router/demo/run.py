"""The demonstration with simulated workers: `miles-router demo`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from miles_router.demo.oracle import Oracle
from miles_router.demo.plan import Shape
from miles_router.demo.progress import Ticker, open_console
from miles_router.demo.rollout import open_client
from miles_router.demo.scenario import Play, Scenario, write_exchanges
from miles_router.demo.verify import doubled, left_running
from miles_router.sim.fleet import arguments
from miles_router.sim.settings import SimSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from miles_router.demo.scenario import Verifier
    from miles_router.demo.settings import DemoSettings
    from miles_router.demo.tally import Exchange, Tally

_WEIGHT_VERSION = "step-7"
_LATENCY_PAIRS = 100


class SimVerifier:
    """Compares answers with those of a second engine, and the workers' logs with the rollout."""

    exactness = "text, ids, log-probabilities, routed experts against a second engine"

    def __init__(self, settings: SimSettings) -> None:
        self._oracle = Oracle(settings)

    async def prepare(self) -> None:
        """Nothing to prepare."""
        await trio.lowlevel.checkpoint()

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with one answer."""
        return self._oracle.check(exchange)

    async def check_after(self, tally: Tally, workers: Sequence[str]) -> None:
        """Whether anything was generated twice, or for clients that had left.

        A worker that was killed has forgotten what it did before.
        """
        entries = []
        async with open_client("") as client:
            for url in workers:
                reply = await client.get(f"{url}/sim/log")
                entries += reply.raise_for_status().json()["entries"]
        tally.broken += doubled(entries) + left_running(tally.exchanges, entries)


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
            log_dir.mkdir(parents=True, exist_ok=True)
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
    """Run the demonstration; 0 if nothing was lost and nothing wrong."""
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
