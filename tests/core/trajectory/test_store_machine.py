"""Everything that can happen to stored turns, in any order, against plain lists of them."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, invariant, rule

from miles_router.core.r3 import MemoryPayload
from miles_router.core.trajectory.reading import Missing, Reading, read_turn
from tests.core.trajectory.cases import check_consistent
from tests.core.trajectory.store_driver import (
    CUTS,
    ENDS,
    KEPT_VERSIONS,
    RIDS,
    SESSIONS,
    STORED,
    TENANTS,
    TEXTS,
    TTL_S,
    VERSIONS,
    Storing,
)
from tests.core.trajectory.store_oracle import Place, Stored, is_wanted, text_of

HELD: Bundle[Stored | None] = Bundle("held")


class StoreMachine(Storing):
    # -- reading ----------------------------------------------------------------------------------

    @rule(turn=STORED, session=SESSIONS, rid=RIDS, with_tail=st.booleans(), cut=CUTS, more=ENDS)
    def read(
        self,
        turn: Stored,
        session: str | None,
        rid: str | None,
        with_tail: bool,
        cut: int,
        more: str,
    ) -> None:
        text = (max if with_tail else min)(turn.texts, key=len).decode()
        self.check_read(turn.tenant, text, session, rid)
        self.check_read(turn.tenant, text, turn.session, turn.rid)
        self.check_read(turn.tenant, text[: len(text) - cut], session, rid)
        self.check_read(turn.tenant, text[: len(text) - cut] + more, session, rid)

    @rule(tenant=TENANTS, session=SESSIONS, rid=RIDS, text=TEXTS)
    def read_any(self, tenant: str, session: str | None, rid: str | None, text: str) -> None:
        self.check_read(tenant, text, session, rid)

    def check_read(self, tenant: str, text: str, session: str | None, rid: str | None) -> None:
        data = text.encode()
        expected = self.oracle.read(tenant, data, session, rid)
        found = self.rig.look(text, session, rid, tenant)
        if isinstance(found, Missing):
            assert not (expected.places and self.sees_all_branches)
            assert found.gone is not None or not expected.is_gone
            assert found.gone is None or expected.is_gone or not self.sees_all_branches
            return
        assert expected.places
        assert found.matched_bytes == len(data) - len(found.rest)
        is_whole = expected.rest is None
        if self.sees_all_branches or expected.is_end:
            assert found.rest == (expected.rest or b"")
            assert found.candidates == expected.candidates
            assert any(self.is_at(found, place, is_whole) for place in expected.places)
        elif is_whole and not found.rest:  # some place where it stands
            assert 1 <= found.candidates <= expected.candidates
            assert any(self.is_at(found, place, is_whole) for place in expected.others)
        else:  # some turn that the text continues
            assert found.candidates == 1
            assert data.endswith(found.rest)
            last = self.oracle.turns[found.turns[-1].number - 1]
            place = Place(tuple(last.tokens), last, len(found.tokens))
            assert text_of(last.tokens[: place.depth]) + found.rest == data
            assert is_wanted(last, session, rid)
            assert self.is_at(found, place, False)

    def is_at(self, found: Reading, place: Place, is_whole: bool) -> bool:
        size = len(place.tokens) if is_whole else place.depth
        if place.turn is None:
            return shown(found) == ([token for token, _ in place.tokens], [0] * size, [], [])
        numbers = [turn.number for turn in reversed(list(place.turn.chain()))]
        ids = [token for token, _ in place.tokens][:size]
        _, mask, logprobs, versions = place.turn.columns(place.depth)
        kept = [value for value in logprobs if not math.isnan(value)]
        made = [version for version, one in zip(versions, mask, strict=True) if one]
        expected = (ids, mask + [0] * (size - place.depth), kept, made)
        return shown(found) == expected and [t.number for t in found.turns] == numbers

    @rule(turn=STORED)
    def read_whole(self, turn: Stored) -> None:
        if turn.is_alive:
            reading = read_turn(self.turns[turn.number])
            assert self.is_at(reading, Place(tuple(turn.tokens), turn, len(turn.tokens)), True)

    # -- going ------------------------------------------------------------------------------------

    @rule(target=HELD, turn=STORED)
    def hold(self, turn: Stored) -> Stored | None:
        if not turn.is_alive:
            return None
        turn.holds += 1
        self.held_turns.append(self.turns[turn.number])
        self.rig.store.hold(self.turns[turn.number], self.rig.now)
        if turn.trajectory:
            del self.used[turn.trajectory]
            self.used[turn.trajectory] = self.rig.now
        return turn

    @rule(turn=consumes(HELD))
    def release(self, turn: Stored | None) -> None:
        if turn is not None:
            turn.holds -= 1
            self.held_turns.remove(self.turns[turn.number])
            self.rig.store.release(self.turns[turn.number])

    @rule(turn=STORED)
    def evict(self, turn: Stored) -> None:
        trajectory = self.turns[turn.number].trajectory
        assert (None if trajectory is None else trajectory.id) == (turn.trajectory or None)
        if trajectory is not None:
            self.rig.store.evict(trajectory, "deleted")
            assert self.rig.store.gone.reason(turn.tenant, trajectory.id) == "deleted"
            self.note_removed()

    @rule()
    def remove_one(self) -> None:
        before = sum(turn.is_alive for turn in self.oracle.turns)
        is_one = self.rig.store.remove_one()
        self.note_removed()
        assert sum(turn.is_alive for turn in self.oracle.turns) == before - is_one

    @rule(step_s=st.sampled_from([1.0, 20.0, 60.0]))
    def time_passes(self, step_s: float) -> None:
        self.rig.now += step_s

    @rule(version=VERSIONS)
    def version_arrives(self, version: str | None) -> None:
        is_new = version is not None and version not in self.arrived
        assert self.rig.store.note_version(version) == is_new
        if is_new and version is not None:
            self.arrived.append(version)

    @rule()
    def sweep(self) -> None:
        expected = {
            identity
            for identity, used_at in self.used.items()
            if used_at + TTL_S >= self.rig.now
            and self.version_of(identity) in {None, *self.arrived[-KEPT_VERSIONS:]}
        }
        is_tight = self.rig.store.size_bytes > 0.9 * self.bounds.budget_bytes
        self.rig.sweep()
        self.note_removed()
        assert set(self.used) <= expected
        assert is_tight or set(self.used) == expected
        needed = {
            turn
            for tip in self.oracle.turns
            if tip.is_alive and (tip.trajectory or tip.holds)
            for turn in tip.chain()
        }
        assert {turn for turn in self.oracle.turns if turn.is_alive} == needed

    def version_of(self, identity: str) -> str | None:
        """The version that made the newest tokens of a trajectory."""
        tip = next(turn for turn in self.oracle.turns if turn.trajectory == identity)
        return next((turn.versions[-1] for turn in tip.chain() if turn.versions), None)

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def sums_are_right(self) -> None:
        check_consistent(self.rig.store, self.held_turns)

    @invariant()
    def budgets_are_kept(self) -> None:
        store = self.rig.store
        assert store.r3_size_bytes <= self.bounds.r3_budget_bytes
        if not self.held_turns:
            assert store.size_bytes <= self.bounds.budget_bytes
        for payload in store.take_freed():
            assert isinstance(payload, MemoryPayload)

    @invariant()
    def lists_agree(self) -> None:
        alive = {turn.number for turn in self.oracle.turns if turn.is_alive}
        assert alive == {number for number, turn in self.turns.items() if turn.is_stored}
        assert self.rig.store.turns == len(alive)


def shown(reading: Reading) -> tuple[list[int], list[int], list[float], list[str | None]]:
    """Ids, mask, and what is known of the generated tokens; checks that all agree."""
    mask = reading.loss_mask.tolist()
    known = [not math.isnan(value) for value in reading.logprobs.tolist()]
    assert known == [bool(one) for one in mask]
    versions: list[str | None] = []
    position = 0
    for span in reading.spans:
        assert (span.start, span.exact) == (position, True)
        assert span.end > span.start
        assert mask[span.start : span.end] == [span.origin == "generated"] * (span.end - position)
        if span.origin == "generated":
            versions += [span.weight_version] * (span.end - span.start)
        position = span.end
    assert position == len(reading.tokens)
    kept = [value for value in reading.logprobs.tolist() if not math.isnan(value)]
    return reading.tokens.tolist(), mask, kept, versions


TestStoreMachine = StoreMachine.TestCase
