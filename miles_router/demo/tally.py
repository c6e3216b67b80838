"""What has happened so far: exchanges, faults, progress that others can wait for.

A fault is a sentence for people. Lost: no answer to be used; wrong: an answer that is not the one
the worker must have given; broken: anything else that must not happen. Invariant: each planned turn
is answered, lost, or behind a lost one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miles_router.demo.plan import Interruption


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it.

    `status` and `answer` are None where no answer came, then `fault` says why; it is None too
    where the client left on purpose, and where the answer was cut: a stream that broke off after it
    had begun, which nobody but its client can ask for again. `took_s` is what the client waited,
    `worker` the id of the worker that answered.
    """

    body: Mapping[str, Any]
    turn: int
    interruption: Interruption | None
    status: int | None
    answer: dict[str, Any] | None
    fault: str | None
    took_s: float
    started_at: float = 0.0
    dialogue: str = ""
    worker: str | None = None
    was_cut: bool = False

    @property
    def rid(self) -> str:
        """Its request id."""
        return str(self.body["rid"])

    @property
    def was_left(self) -> bool:
        """Whether the client disconnected before the answer."""
        return self.answer is None and self.fault is None and not self.was_cut

    @property
    def was_aborted(self) -> bool:
        """Whether the answer was cut by an abort."""
        meta = (self.answer or {}).get("meta_info") or {}
        reason = meta.get("finish_reason") or {}
        return bool(reason.get("type") == "abort")


@dataclass(slots=True)
class Tally:
    """Counts and faults of one rollout."""

    planned: int
    exchanges: list[Exchange] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    answered: int = 0
    unasked: int = 0
    killed: set[str] = field(default_factory=set)
    """Ids of workers that were killed."""
    updated_at: float | None = None
    """When all workers had said that they serve new weights."""
    _waiting: trio.Event = field(default_factory=trio.Event)

    @property
    def share(self) -> float:
        """How much of the rollout is over, 0 to 1."""
        return (self.answered + len(self.lost) + self.unasked) / self.planned

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong so far."""
        return not (self.lost or self.wrong or self.broken)

    def note(self, exchange: Exchange, faults: list[str]) -> None:
        """Count an exchange; `faults` are what is wrong with its answer."""
        self.exchanges.append(exchange)
        self.wrong += [f"{exchange.rid}: {fault}" for fault in faults]
        if exchange.fault is not None:
            self.lost.append(f"{exchange.rid}: {exchange.fault}")
        elif exchange.answer is not None:
            self.answered += 1
        self._wake()

    def note_unasked(self, count: int) -> None:
        """Turns that cannot be asked because the one before them is lost."""
        self.unasked += count
        self._wake()

    def _wake(self) -> None:
        self._waiting.set()
        self._waiting = trio.Event()

    async def wait_share(self, share: float) -> None:
        """Return when at least `share` of the rollout is over."""
        while self.share < share:
            await self._waiting.wait()

    def reasons(self) -> list[str]:
        """Why the demonstration failed, most important first; empty if it did not."""
        found = [f"wrong answer: {one}" for one in self.wrong]
        found += [f"lost request: {one}" for one in self.lost]
        found += self.broken
        missing = self.planned - self.answered - len(self.lost)
        if missing:
            found.append(f"{missing} of {self.planned} turns were never answered")
        return found
