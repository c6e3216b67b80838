"""All stored turns: what stays, what has to go, and what is remembered of it.

One budget in bytes bounds tokens, texts, turns and their indexes; another one routed experts. What
goes is a whole trajectory, the one not continued for longest first; turns that others still
continue stay. Removal is done turn by turn, so that callers can stop between two of them. The last
turn of what was given up is an orphan for as long as it is stored: no trajectory ends with it, also
not after a restart. Times are seconds of one clock, given by callers. What callers have to do
outside (journal, files) is handed over by `take_removed`, `take_orphaned` and `take_freed`.

Invariant: after `add`, `size_bytes` is within the budget unless requests in flight hold what is
above it; it is the sum over all namespaces, turns, trajectories and orphans.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miles_router.core.trajectory.gone import Gone
from miles_router.core.trajectory.namespace import Namespace
from miles_router.core.trajectory.text_index import digests_of
from miles_router.core.trajectory.trajectory import ORPHAN_BYTES, TRAJECTORY_BYTES, Trajectory
from miles_router.core.trajectory.turn import check_turn
from miles_router.core.trajectory.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miles_router.core.r3 import Payload
    from miles_router.core.trajectory.turn import NewTurn, Turn

# Shares of the budget: above the first a sweep is due, and it leaves at most the second.
NEARLY_FULL = 0.98
SWEPT_FULL = 0.95


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much is kept. `ttl_s`: None means for ever; `keep_versions`: newest weight versions."""

    budget_bytes: int
    r3_budget_bytes: int
    ttl_s: float | None
    keep_versions: int


class TrajectoryStore:
    """The turns of all tenants.

    Args:
        limits: what is kept.
        id_prefix: begins the ids of new trajectories; differs from run to run.
    """

    def __init__(self, limits: StoreLimits, *, id_prefix: str = "t") -> None:
        self.limits = limits
        self.namespaces: dict[str, Namespace] = {}
        self.gone = Gone()
        self.size_bytes = 0
        self.r3_size_bytes = 0
        self.turns_removed: Counter[str] = Counter()  # by reason
        self.r3_removed: Counter[str] = Counter()  # by reason
        self._id_prefix = id_prefix
        self._last_number = 0
        self._usage = Usage(limits.ttl_s, limits.keep_versions)
        self._with_r3: OrderedDict[Turn, None] = OrderedDict()  # oldest first
        self._doomed: deque[tuple[Turn, str]] = deque()
        self._removed: list[int] = []
        self._orphaned: dict[int, None] = {}
        self._freed: list[Payload] = []

    @property
    def trajectories(self) -> int:
        """How many there are."""
        return len(self._usage)

    @property
    def turns(self) -> int:
        """How many there are."""
        return sum(namespace.turns for namespace in self.namespaces.values())

    @property
    def tokens(self) -> int:
        """How many there are; those that turns share count once."""
        return sum(namespace.tree.tokens for namespace in self.namespaces.values())

    @property
    def is_nearly_full(self) -> bool:
        """Whether a sweep should make room, so that inserting need not."""
        return self.size_bytes > NEARLY_FULL * self.limits.budget_bytes

    def turns_with_r3(self) -> Iterable[Turn]:
        """Turns that have routed experts, oldest first."""
        return self._with_r3.keys()

    def continue_after(self, number: int) -> None:
        """Give new turns higher numbers than `number`, the last one before a restart."""
        self._last_number = max(self._last_number, number)

    def namespace(self, tenant: str) -> Namespace | None:
        """What a tenant has stored; None if it never stored anything."""
        return self.namespaces.get(tenant)

    def add(
        self,
        tenant: str,
        new: NewTurn,
        now: float,
        *,
        number: int | None = None,
        trajectory_id: str | None = None,
    ) -> Turn:
        """Store a turn.

        Args:
            tenant: whose it is.
            new: the turn; nothing is changed if it does not fit.
            now: seconds.
            number: what it had before a restart; no other turn has it.
            trajectory_id: of its trajectory before a restart; another one is made up where it
                names a trajectory that this turn does not continue.

        Returns:
            The turn. It may be gone already where it alone is above the budget (`is_stored`).

        Raises:
            UnfitTurn: it contradicts itself or what is stored.
        """
        check_turn(new, tenant)
        namespace = self.namespaces.get(tenant)
        if namespace is None:
            namespace = self.namespaces[tenant] = Namespace(tenant)
        before = namespace.size_bytes
        number = self._last_number + 1 if number is None else number
        self._last_number = max(number, self._last_number)
        turn = namespace.add_turn(new, number)
        self.size_bytes += namespace.size_bytes - before + turn.size_bytes
        if turn.r3 is not None:
            self.r3_size_bytes += turn.r3.size_bytes
            self._with_r3[turn] = None
        for span in turn.versions:
            self.note_version(span.version)
        self._attach(namespace, turn, now, trajectory_id)
        self._enforce()
        return turn

    def _attach(
        self, namespace: Namespace, turn: Turn, now: float, trajectory_id: str | None
    ) -> None:
        """Make `turn` the last turn of its parent's trajectory, or the first of a new one."""
        parent = turn.parent
        trajectory = None if parent is None else parent.trajectory
        if parent is not None and trajectory is not None:
            # A turn that cut the answer before it is a fork: that answer stays what it was.
            continues = turn.inherited >= parent.visible.end and turn.session == parent.session
            is_known = trajectory_id is None or trajectory_id == trajectory.id
            trajectory = trajectory if continues and is_known else None
        if trajectory is None:
            identity = trajectory_id
            if identity is None or identity in self._usage:
                identity = f"{self._id_prefix}{turn.number}"
            trajectory = Trajectory(identity, namespace, turn, now, now)
            namespace.add_trajectory(trajectory)
            self.size_bytes += TRAJECTORY_BYTES
        else:
            self._usage.remove(trajectory)
            trajectory.tip.trajectory = None
            trajectory.tip = turn
            trajectory.used_at = now
            turn.is_heir = True
        self._usage.add(trajectory)
        turn.trajectory = trajectory

    def hold(self, turn: Turn, now: float) -> None:
        """Keep `turn` while a request continues it."""
        turn.holders += 1
        if turn.trajectory is not None:
            self._usage.touch(turn.trajectory, now)

    def release(self, turn: Turn) -> None:
        """That request is over."""
        turn.holders -= 1
        if not turn.holders and turn.trajectory is None:
            self._doomed.append((turn, turn.leaves_for or "evicted"))

    def note_version(self, version: str | None) -> bool:
        """A worker reported a weight version; True if it is the first time."""
        return self._usage.note_version(version)

    def evict(self, trajectory: Trajectory, reason: str) -> None:
        """Give up a trajectory; its turns go with the next steps of `remove_one`."""
        self.gone.add(trajectory.namespace.tenant, trajectory.id, reason)
        self._give_up(trajectory, reason)

    def orphan(self, turn: Turn) -> None:
        """No trajectory ends with `turn`: so it was before a restart. It goes unless it is held."""
        if turn.trajectory is not None:
            self._give_up(turn.trajectory, "evicted")

    def _give_up(self, trajectory: Trajectory, reason: str) -> None:
        tip = trajectory.tip
        self._usage.remove(trajectory)
        trajectory.namespace.remove_trajectory(trajectory)
        self.size_bytes -= TRAJECTORY_BYTES
        tip.trajectory = None
        self._note_orphan(tip)
        self._doomed.append((tip, reason))

    def _note_orphan(self, turn: Turn) -> None:
        self.namespaces[turn.tenant].add_orphan(turn)
        self.size_bytes += ORPHAN_BYTES
        self._orphaned[turn.number] = None

    def remove_one(self) -> bool:
        """Remove one turn of what was given up; False if there is none left."""
        while self._doomed:
            turn, reason = self._doomed.popleft()
            if turn.holders or turn.trajectory is not None or not turn.is_stored:
                turn.leaves_for = reason
                continue  # it goes when what continues it does, or is gone already
            self._remove(turn, reason)
            if turn.parent is not None:
                self._doomed.appendleft((turn.parent, reason))
            return True
        return False

    def _remove(self, turn: Turn, reason: str) -> None:
        """Remove a turn that nothing holds: an orphan, for no later turn went on with it."""
        namespace = self.namespaces[turn.tenant]
        before, digests = namespace.size_bytes, digests_of(turn, turn.tail_behind(0))
        namespace.remove_orphan(turn)
        namespace.remove_turn(turn)
        self.size_bytes -= before - namespace.size_bytes + turn.size_bytes + ORPHAN_BYTES
        if turn.r3 is not None:
            self.drop_r3(turn, reason)
        self.turns_removed[reason] += 1
        self._removed.append(turn.number)
        self._orphaned.pop(turn.number, None)
        for digest in digests:
            self.gone.add(turn.tenant, digest, reason)
        if turn.is_heir and turn.parent is not None:
            self._note_orphan(turn.parent)

    def drop_r3(self, turn: Turn, reason: str) -> None:
        """Take the routed experts from a turn; `reason`: the word that its readers are told."""
        assert turn.r3 is not None, "there is something to take"
        self.r3_size_bytes -= turn.r3.size_bytes
        self._freed.append(turn.r3.payload)
        self.r3_removed[reason] += 1
        del self._with_r3[turn]
        turn.r3, turn.r3_missing = None, reason

    def _enforce(self) -> None:
        """Get back into the budgets."""
        while self.size_bytes > self.limits.budget_bytes:
            if not self.remove_one():
                oldest = self._usage.oldest
                if oldest is None:
                    return  # what is left is held by requests in flight
                self.evict(oldest, "evicted")
        while self.r3_size_bytes > self.limits.r3_budget_bytes:
            self.drop_r3(next(iter(self._with_r3)), "evicted")

    def sweep_one(self, now: float) -> bool:
        """One small step of a sweep; False when nothing is left to be swept."""
        if self.remove_one():
            return True
        expired, oldest = self._usage.expired(now), self._usage.oldest
        if expired is not None:
            self.evict(*expired)
        elif oldest is not None and self.size_bytes > SWEPT_FULL * self.limits.budget_bytes:
            self.evict(oldest, "evicted")
        else:
            return False
        return True

    def take_removed(self) -> list[int]:
        """Numbers of the turns that were removed since the last call."""
        taken, self._removed = self._removed, []
        return taken

    def take_orphaned(self) -> list[int]:
        """Numbers of the turns that became orphans since the last call, and are stored still."""
        taken, self._orphaned = self._orphaned, {}
        return list(taken)

    @property
    def has_removed(self) -> bool:
        """Whether one of the three has something to give."""
        return bool(self._removed or self._orphaned or self._freed)

    def take_freed(self) -> list[Payload]:
        """Routed experts that nobody needs since the last call; the caller discards them."""
        taken, self._freed = self._freed, []
        return taken
