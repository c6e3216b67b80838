"""The running worker: the engine's decisions put on a trio clock.

One task steps the engine when tokens are due; each request waits for its generations. Must not
know about HTTP. Invariant: a request that is cancelled leaves no generation behind.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import trio

from miles_router.sim.answers import Cursor
from miles_router.sim.engine import Engine
from miles_router.sim.faults import FaultTable, parse_fault
from miles_router.sim.stats import Stats

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from miles_router.sim.batch import Batch
    from miles_router.sim.generation import Generation
    from miles_router.sim.settings import SimSettings

PACING_TICK_S = 0.002
"""Paced generations are stepped at most this often; faster ones get several tokens a step."""


class Chunk(NamedTuple):
    """One streamed piece: which of the batch, its generation, and SGLang's JSON object."""

    place: int
    generation: Generation
    value: dict[str, Any]


class Ticket:
    """The generations of one request and the task that waits for them."""

    __slots__ = ("_changed", "behind", "generations")

    def __init__(self, generations: Sequence[Generation]) -> None:
        self.generations = generations
        self.behind: set[Generation] = set()
        self._changed = trio.Event()

    def notify(self, generation: Generation) -> None:
        """This generation has changed."""
        self.behind.add(generation)
        self._changed.set()

    def caught_up(self, generation: Generation, count: int, is_last: bool) -> None:
        """The reader has seen the generation with `count` tokens; it may have moved on since."""
        if count == len(generation.output_ids) and is_last == generation.is_finished:
            self.behind.discard(generation)
        else:
            self._changed.set()

    async def wait(self) -> None:
        """Return when something has changed since the last call."""
        await self._changed.wait()
        self._changed = trio.Event()


class Worker:
    """One simulated worker; `run` must be started in a nursery before requests come.

    Args:
        settings: what it is like.
        exit_process: ends the process for the fault `exit`; None where the worker is only a part of
            the process.
    """

    def __init__(
        self, settings: SimSettings, *, exit_process: Callable[[int], NoReturn] | None = None
    ) -> None:
        self.settings = settings
        self.engine = Engine(settings)
        self.stats = Stats()
        self.sessions: set[str] = set()
        self.exit_process = exit_process
        self.faults = FaultTable(random.Random(settings.seed))  # noqa: S311 - simulated chance
        self.refusing = RefusingListener()
        self._tickets: dict[Generation, Ticket] = {}
        self._work = trio.Event()
        self._idle = trio.Event()
        self._gate = trio.Event()
        self._gate.set()
        self._updates_waiting = 0
        for text in settings.fault:
            self.add_fault(text)

    def add_fault(self, text: str) -> None:
        """Activate a fault from its text; raises FaultSyntaxError."""
        fault = parse_fault(text)
        if fault.kind == "refuse":
            self.refusing.close_for(fault.seconds)
        else:
            self.faults.add(fault)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Step the engine whenever tokens are due."""
        task_status.started()
        while True:
            due = self.engine.next_due()
            if due is None:
                await self._wait_for_work()
                continue
            is_paced = self.settings.tokens_per_s > 0
            if is_paced:
                await trio.sleep_until(max(due, trio.current_time() + PACING_TICK_S))
            changed = self.engine.advance(now=trio.current_time(), may_step=self._may_step)
            self._notify(changed)
            if changed:
                await trio.lowlevel.checkpoint()
            elif not is_paced:
                await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        await self._work.wait()
        self._work = trio.Event()

    def _may_step(self, generation: Generation) -> bool:
        """Unpaced streams wait for their reader, so each chunk is seen and runs are repeatable."""
        if self.settings.tokens_per_s > 0 or not generation.item.stream:
            return True
        ticket = self._tickets.get(generation)
        return ticket is None or generation not in ticket.behind

    def _notify(self, changed: Sequence[Generation]) -> None:
        for generation in changed:
            ticket = self._tickets.get(generation)
            if ticket is not None:
                ticket.notify(generation)
        if not self.engine.running and not self.engine.queue:
            self._idle.set()

    async def _enter(self, batch: Batch) -> Ticket:
        """Admit a batch and wait at the gate while generation is paused."""
        generations = self.engine.admit(batch, now=trio.current_time())
        ticket = Ticket(generations)
        for generation in generations:
            self._tickets[generation] = ticket
        try:
            await self.wait_open()
        except trio.Cancelled:
            self._leave(ticket, client_gone=True)
            raise
        self.engine.submit(generations, now=trio.current_time())
        self._notify([generation for generation in generations if generation.is_finished])
        self._work.set()
        return ticket

    async def wait_open(self) -> None:
        """Return when requests are let in: neither paused nor about to load weights."""
        while not self._gate.is_set():
            await self._gate.wait()

    def _leave(self, ticket: Ticket, *, client_gone: bool) -> None:
        for generation in ticket.generations:
            self.engine.drop(generation, now=trio.current_time(), client_gone=client_gone)
            self._tickets.pop(generation, None)
        self._notify(())
        self._work.set()

    async def finish(self, batch: Batch) -> Sequence[Generation]:
        """Run a batch to its end; raises RequestRefused for a request id in use.

        Cancellation: the generations end and count as given up by the client.
        """
        ticket = await self._enter(batch)
        try:
            while not all(generation.is_finished for generation in ticket.generations):
                await ticket.wait()
        finally:
            self._leave(ticket, client_gone=True)
        return ticket.generations

    async def chunks(self, batch: Batch) -> AsyncGenerator[Chunk, None]:
        """The chunks of a batch as they are generated; each generation's last one is finished.

        Cancellation: as for `finish`, also when the generator is closed early.
        """
        ticket = await self._enter(batch)
        try:
            cursors = [Cursor() for _ in ticket.generations]
            sent = [0 for _ in ticket.generations]
            open_count = len(ticket.generations)
            while open_count:
                await ticket.wait()
                for index, generation in enumerate(ticket.generations):
                    if generation not in ticket.behind:
                        continue
                    count, is_last = len(generation.output_ids), generation.is_finished
                    interval = generation.item.params.stream_interval
                    if is_last or not sent[index] or count - sent[index] >= interval:
                        sent[index] = count
                        yield Chunk(index, generation, self._chunk(generation, cursors[index]))
                    open_count -= is_last
                    ticket.caught_up(generation, count, is_last)
                self._work.set()
        finally:
            self._leave(ticket, client_gone=True)

    def _chunk(self, generation: Generation, cursor: Cursor) -> dict[str, Any]:
        answers, version = self.engine.answers, self.engine.weight_version
        if self.settings.incremental_streaming:
            return answers.delta(generation, cursor, version=version)
        return answers.whole(generation, version=version)

    def abort(self, rid: str, *, abort_all: bool) -> None:
        """End generations by request id prefix, or all."""
        self._notify(self.engine.abort(rid, abort_all=abort_all, now=trio.current_time()))
        self._work.set()

    def pause(self, mode: str) -> None:
        """Stop generating; new requests wait at the gate."""
        self._close_gate()
        self._notify(self.engine.pause(mode, now=trio.current_time()))
        self._idle.set()

    def resume(self) -> None:
        """Generate again and let the waiting requests in."""
        self.engine.resume(now=trio.current_time())
        self._open_gate()
        self._work.set()

    def _close_gate(self) -> None:
        if self._gate.is_set():
            self._gate = trio.Event()

    def _open_gate(self) -> None:
        if not self.engine.is_paused and not self._updates_waiting:
            self._gate.set()

    async def wait_idle(self) -> None:
        """Return when nothing runs or waits, or when generation is paused."""
        while not self.engine.is_paused and (self.engine.running or self.engine.queue):
            if self._idle.is_set():
                self._idle = trio.Event()
            await self._idle.wait()

    async def update_weights(self, version: str | None, model_path: str | None) -> None:
        """Load other weights: waits until nothing runs, unless paused; requests wait meanwhile."""
        self._updates_waiting += 1
        self._close_gate()
        try:
            await self.wait_idle()
            if version is not None:
                self.engine.set_weight_version(version)
            if model_path is not None:
                self.engine.model_path = self.engine.served_model_name = model_path
        finally:
            self._updates_waiting -= 1
            self._open_gate()


class RefusingListener:
    """Asks the listener, if there is one, to be closed for a while."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._asked = trio.Event()

    def close_for(self, seconds: float) -> None:
        """Refuse connections for `seconds`, from now on."""
        self.seconds = seconds
        self._asked.set()

    async def wait_asked(self) -> float:
        """Seconds to stay closed, as soon as somebody asks."""
        await self._asked.wait()
        self._asked = trio.Event()
        return self.seconds


@asynccontextmanager
async def open_worker(settings: SimSettings) -> AsyncIterator[Worker]:
    """A worker whose engine runs inside this block; nothing listens."""
    worker = Worker(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        yield worker
        nursery.cancel_scope.cancel()
