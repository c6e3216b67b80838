"""One demonstration: what it consists of, and running it from the first process to the verdict.

The same for simulated and for real workers; a `Verifier` knows what a right answer is. Invariant:
whatever fails becomes a sentence in `Tally.broken`, and nothing is left running.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx
import msgspec
import trio

from miles_router.client import RouterCallFailed
from miles_router.core.counted import counted
from miles_router.demo import plan
from miles_router.demo.incidents import Incidents
from miles_router.demo.latency import measure_latency
from miles_router.demo.processes import ChildDied, free_ports, open_children
from miles_router.demo.report import Outcome, print_report, print_verdict
from miles_router.demo.rollout import Rollout, open_client
from miles_router.demo.steering import Steering, Stuck, open_steering
from miles_router.demo.tally import Exchange, Tally
from miles_router.demo.verify import check_cut, check_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from miles_router.demo.latency import Latency
    from miles_router.demo.processes import Child, Children
    from miles_router.demo.progress import Ticker
    from miles_router.demo.retrieval import Exactness

_ROUTER_TIMEOUT_S = 20.0
_READY_PATH = "/health"


class NotPrepared(Exception):
    """A verifier lacks something it needs; the message says what to do."""


class Verifier(Protocol):
    """Knows what the workers must have answered."""

    exactness: str
    """What is compared with what, for the report."""

    async def prepare(self) -> None:
        """Get ready while the workers start.

        Raises:
            NotPrepared: that is impossible.
        """

    def check(self, exchange: Exchange) -> list[str]:
        """What is wrong with one answer."""

    async def check_after(self, tally: Tally, workers: Sequence[str], router: str) -> Exactness:
        """Look at everything again, with router and workers; faults go into the tally."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a demonstration consists of; `worker_command` gets a port."""

    shape: plan.Shape
    workers: int
    worker_command: Callable[[int], list[str]]
    worker_timeout_s: float
    concurrency: int
    aborts: int
    disconnects: int
    interrupt_after_s: float
    with_kill: bool
    latency_pairs: int
    health_interval_s: float
    time_limit_s: float
    router_flags: tuple[str, ...] = ()
    update_to: str | None = None
    """Weight version that the workers get while they generate; None: they keep theirs."""


def token_cache_flags(tokenizer: str) -> tuple[str, ...]:
    """Flags of a router that keeps the exact tokens."""
    return ("--token-cache", "--tokenizer", tokenizer)


def router_command(port: int, workers: Sequence[str], scenario: Scenario) -> list[str]:
    """How the router is started: as a user would."""
    command = [sys.executable, "-m", "miles_router", "serve", "--port", str(port)]
    command += ["--health-interval-s", f"{scenario.health_interval_s:g}"]
    command += ["--shutdown-grace-s", "1", *scenario.router_flags]
    for url in workers:
        command += ["--worker", url]
    return command


class Play:
    """A run of one scenario.

    Args:
        scenario: what happens.
        verifier: knows the right answers.
        ticker: shows it.
        log_dir: where the processes write their logs.
    """

    def __init__(
        self, scenario: Scenario, verifier: Verifier, ticker: Ticker, log_dir: Path
    ) -> None:
        self.scenario = scenario
        self.tally = Tally(scenario.shape.total_turns)
        self._verifier = verifier
        self._ticker = ticker
        self._log_dir = log_dir

    async def run(self) -> int:
        """Play it and print the report; the exit code."""
        limit_s = self.scenario.time_limit_s
        try:
            with trio.move_on_after(limit_s) as limit:
                await self._run()
        except* (ChildDied, Stuck, NotPrepared, RouterCallFailed, httpx.HTTPError) as group:
            found = [str(error) or type(error).__name__ for error in _leaves(group)]
            self.tally.broken += [one for one in found if one not in self.tally.broken]
        if limit.cancelled_caught:
            self.tally.broken.insert(0, f"the time limit of {limit_s:g} s passed")
        reasons = self.tally.reasons()
        print_verdict(self._ticker.console, reasons)
        return 1 if reasons else 0

    async def _run(self) -> None:
        say = self._ticker.say
        async with open_children(self._log_dir) as children:
            try:
                workers, router = await self._start(children)
                say(f"router at {router.url}, {counted(len(workers), 'worker')} active")
                latency = await measure_latency(
                    router=router.url,
                    workers=[worker.url for worker in workers],
                    pairs=self.scenario.latency_pairs,
                )
                say("latency measured; the rollout begins")
                async with open_steering(router.url) as steering:
                    await self._roll_and_report(steering, workers, router, latency)
            finally:
                self._note_dead(children)

    def _note_dead(self, children: Children) -> None:
        self.tally.broken += [
            f"{child.name} {child.ending()}\n{child.last_lines()}" for child in children.dead()
        ]

    async def _start(self, children: Children) -> tuple[list[Child], Child]:
        """Workers and router, all active."""
        scenario = self.scenario
        *worker_ports, router_port = free_ports(scenario.workers + 1)
        workers = [
            children.add(f"worker {number}", scenario.worker_command(port), port)
            for number, port in enumerate(worker_ports, 1)
        ]
        urls = [worker.url for worker in workers]
        command = router_command(router_port, urls, scenario)
        router = children.add("router", command, router_port)
        for child in (*workers, router):
            await child.start()
        self._ticker.say(f"starting {counted(len(workers), 'worker')} and the router")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verifier.prepare)
            for worker in workers:
                nursery.start_soon(self._wait_worker, worker)
            await router.wait_ready("/livez", timeout_s=_ROUTER_TIMEOUT_S)
        async with open_steering(router.url) as steering:
            for url in urls:
                await steering.wait_for(url, ("active",), timeout_s=_ROUTER_TIMEOUT_S)
        return workers, router

    async def _wait_worker(self, worker: Child) -> None:
        await worker.wait_ready(_READY_PATH, timeout_s=self.scenario.worker_timeout_s)

    async def _roll_and_report(
        self, steering: Steering, workers: list[Child], router: Child, latency: Latency
    ) -> None:
        names = {worker.url: worker.name for worker in workers}
        started_at = trio.current_time()
        with self._ticker.open():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ticker.watch, self.tally, steering, names)
                async with trio.open_nursery() as playing:
                    playing.start_soon(self._disturb, steering, workers)
                    await self._roll(router)
                    rollout_s = trio.current_time() - started_at
                nursery.cancel_scope.cancel()
        self._ticker.say("rollout over; checking")
        snapshot = await steering.snapshot()
        self.tally.broken += check_workers(snapshot["workers"], list(names))
        self.tally.broken += check_cut(self.tally)
        exactness = await self._verifier.check_after(self.tally, list(names), router.url)
        print_report(
            self._ticker.console,
            Outcome(
                tally=self.tally,
                snapshot=snapshot,
                names=names,
                latency=latency,
                rollout_s=rollout_s,
                exactness=self._verifier.exactness,
                retrieval=exactness,
            ),
        )

    async def _disturb(self, steering: Steering, workers: list[Child]) -> None:
        incidents = Incidents(
            steering=steering,
            tally=self.tally,
            say=self._ticker.say,
            ready_path=_READY_PATH,
            ready_timeout_s=self.scenario.worker_timeout_s,
        )
        await incidents.run(
            drain=workers[-1],
            kill=workers[0] if self.scenario.with_kill else None,
            update_to=self.scenario.update_to,
        )

    async def _roll(self, router: Child) -> None:
        scenario = self.scenario
        dialogues = plan.make_dialogues(scenario.shape)
        interruptions = plan.choose_interruptions(
            dialogues,
            scenario.shape.turns,
            aborts=scenario.aborts,
            disconnects=scenario.disconnects,
        )
        async with open_client(router.url) as client:
            rollout = Rollout(
                client,
                scenario.shape,
                self.tally,
                check=self._verifier.check,
                interruptions=interruptions,
                interrupt_after_s=scenario.interrupt_after_s,
            )
            await rollout.run(dialogues, concurrency=scenario.concurrency)


def write_exchanges(tally: Tally, path: Path) -> None:
    """All exchanges, one JSON object a line."""
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in tally.exchanges))


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
