"""Trajectories: conversations, each named by its last turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miles_router.core.trajectory.namespace import Namespace
    from miles_router.core.trajectory.turn import Turn

# A trajectory with its entries in the indexes; measured with tracemalloc on CPython 3.11 over 2,000
# of one turn each, in sessions of their own.
TRAJECTORY_BYTES = 800
# Its last turn, noted as such after it was given up; measured likewise: 270 bytes.
ORPHAN_BYTES = 300


@dataclass(slots=True, eq=False)
class Trajectory:
    """One conversation: the turns from its first to `tip`, which is its last.

    Times are monotonic seconds. Turns before the last may belong to several trajectories.
    """

    id: str
    namespace: Namespace
    tip: Turn
    created_at: float
    used_at: float

    @property
    def session(self) -> str | None:
        """The session key of its last turn."""
        return self.tip.session

    @property
    def weight_version(self) -> str | None:
        """The weight version that made its newest tokens; None where none is known."""
        return self.tip.weight_version


def chain_of(turn: Turn) -> list[Turn]:
    """The turns that `turn` continues, first one first, and `turn`."""
    chain = [turn]
    while turn.parent is not None:
        turn = turn.parent
        chain.append(turn)
    chain.reverse()
    return chain
