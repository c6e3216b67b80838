"""What a router knows after a restart, whatever happened to its turns: against the store itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis.stateful import rule

from miles_router.core.trajectory.reading import Reading, read_text, text_of
from miles_router.core.trajectory.record import frame, read_turn
from miles_router.core.trajectory.store import TrajectoryStore
from miles_router.net.turn_records import record_of, restore
from tests.core.trajectory.cases import check_consistent, limits
from tests.core.trajectory.test_store_machine import StoreMachine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miles_router.core.trajectory.turn import NewTurn, Turn


class ToldStore(TrajectoryStore):
    """A store that tells a journal, which is kept as records in memory."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.written: dict[int, bytes] = {}
        self.orphans: set[int] = set()

    def add(self, tenant: str, new: NewTurn, now: float, **named: Any) -> Turn:
        turn = super().add(tenant, new, now, **named)
        if turn.trajectory is not None:
            record = record_of(turn, new, turn.trajectory.id, now)
            self.written[turn.number] = frame(record)
        return turn

    def take_removed(self) -> list[int]:
        self.orphans.update(self.take_orphaned())
        removed = super().take_removed()
        for number in removed:
            self.written.pop(number, None)
        self.orphans &= self.written.keys()
        return removed


class RestartMachine(StoreMachine):
    def make_store(self) -> TrajectoryStore:
        return ToldStore(self.bounds)

    @rule()
    def restart(self) -> None:
        """A router that reads the journal now has what the old one has without its requests."""
        store = self.rig.store
        assert isinstance(store, ToldStore)
        store.take_removed()
        again = TrajectoryStore(limits())
        records = [read_turn(store.written[number]) for number in sorted(store.written)]
        lost = restore(again, records, orphans=store.orphans, unix_offset_s=0.0, r3_files=None)
        assert lost == []
        assert trajectories_of(again) == trajectories_of(store)
        needed = {
            turn.number for tip in self.oracle.turns if tip.trajectory for turn in tip.chain()
        }
        assert set(numbers_in(again)) == needed
        check_consistent(again)
        if store.turns == again.turns:  # nothing is still to be removed
            assert set(again.take_orphaned()) == store.orphans
            self.check_readings(again)

    def check_readings(self, again: TrajectoryStore) -> None:
        for turn in self.turns.values():
            if turn.is_stored:
                for session, rid in ((None, None), (turn.session, None), (turn.session, turn.rid)):
                    assert read(self.rig.store, turn, session, rid) == read(
                        again, turn, session, rid
                    )


def trajectories_of(store: TrajectoryStore) -> dict[str, tuple[int, float]]:
    """For each trajectory the number of its last turn, and since when it is there."""
    return {
        trajectory.id: (trajectory.tip.number, trajectory.created_at)
        for namespace in store.namespaces.values()
        for trajectory in namespace.trajectories.values()
    }


def numbers_in(store: TrajectoryStore) -> Iterator[int]:
    for namespace in store.namespaces.values():
        for trajectory in namespace.trajectories.values():
            turn: Turn | None = trajectory.tip
            while turn is not None:
                yield turn.number
                turn = turn.parent


def read(store: TrajectoryStore, turn: Turn, session: str | None, rid: str | None) -> Any:
    """What is found by the text of a turn."""
    namespace, text = store.namespaces[turn.tenant], text_of(turn)
    found = read_text(namespace, store.gone, text, session=session, rid=rid)
    assert isinstance(found, Reading)
    ids, mask = found.tokens.tolist(), found.loss_mask.tolist()
    return ids, mask, found.spans, found.candidates, found.rids


TestRestartMachine = RestartMachine.TestCase
