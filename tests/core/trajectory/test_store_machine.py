"""Everything that can happen to stored turns, in any order, against plain lists of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from miles_router.core.alignment import line_up
from miles_router.core.r3 import MemoryPayload, R3Block
from miles_router.core.radix import marks, node
from miles_router.core.radix.marks import FEW
from miles_router.core.radix.node import LISTED_CHILDREN
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.finding import find_ids
from miles_router.core.trajectory.reading import Missing, Reading, read_turn
from miles_router.core.trajectory.turn import NewTurn, Prompt, Turn, VersionSpan
from tests.core.trajectory.cases import Rig, check_consistent, limits, logprobs_of
from tests.core.trajectory.store_oracle import Place, Stored, StoreOracle, Token, text_of
from tests.doubles.toy_tokenizer import DRAWN_IDS, EOS

if TYPE_CHECKING:
    from miles_router.core.radix.run import TokenRun

TENANTS = st.sampled_from(["t", "u"])
SESSIONS = st.sampled_from([None, None, "s", "r"])
RIDS = st.sampled_from([None, "1", "2", "3"])
PIECES = ["a", "b", "c", "d", " ", "ab", "é", "\ufffd", "<e>"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
ENDS = st.text(st.sampled_from("abcd é"), max_size=2)
OUTPUTS = st.lists(st.sampled_from([*DRAWN_IDS, EOS, EOS, 97, 98, 256]), max_size=4)
VERSIONS = st.sampled_from(["default", "7", "v2", None])
CUTS = st.integers(0, 5)
TTL_S = 50.0
KEPT_VERSIONS = 2


def tokens_of(run: TokenRun) -> list[Token]:
    ends = [0, *run.ends().tolist()]
    texts = [run.text[start:end] for start, end in pairwise(ends)]
    return list(zip(run.id_array.tolist(), texts, strict=True))


class StoreMachine(RuleBasedStateMachine):
    stored = Bundle("stored")
    held = Bundle("held")

    @initialize(
        budget_bytes=st.sampled_from([10**9, 10**9, 12_000, 30_000]),
        r3_budget_bytes=st.sampled_from([10**9, 40]),
        adds_bos=st.booleans(),
        few=st.sampled_from([0, 1, 16]),
    )
    def build(self, budget_bytes: int, r3_budget_bytes: int, adds_bos: bool, few: int) -> None:
        # So that few children and few turns are stored as many are.
        marks.FEW = node.LISTED_CHILDREN = few
        self.bounds = limits(
            budget_bytes,
            r3_budget_bytes=r3_budget_bytes,
            ttl_s=TTL_S,
            keep_versions=KEPT_VERSIONS,
        )
        self.rig = Rig(self.bounds, adds_bos=adds_bos)
        self.oracle = StoreOracle()
        self.turns: dict[int, Turn] = {}
        self.arrived: list[str] = []
        self.used: dict[str, float] = {}  # trajectories by last use, longest unused first
        self.held_turns: list[Turn] = []
        self.payloads: list[MemoryPayload] = []

    def teardown(self) -> None:
        marks.FEW, node.LISTED_CHILDREN = FEW, LISTED_CHILDREN

    # -- storing ----------------------------------------------------------------------------------

    @rule(
        target=stored,
        tenant=TENANTS,
        session=SESSIONS,
        rid=RIDS,
        text=TEXTS,
        output=OUTPUTS,
        version=VERSIONS,
        seen=st.sampled_from(["spelled", "literal", "cut", "altered"]),
        cut=CUTS,
        r3=st.booleans(),
    )
    def first_turn(self, tenant: str, text: str, **answer: object) -> Stored:
        return self.generate(tenant, text, **answer)  # type: ignore[arg-type]

    @rule(
        target=stored,
        before=stored,
        session=SESSIONS,
        keeps_session=st.booleans(),
        rid=RIDS,
        with_tail=st.booleans(),
        cut_client=st.sampled_from([0, 0, 0, 1, 2]),
        more=ENDS,
        output=OUTPUTS,
        version=VERSIONS,
        seen=st.sampled_from(["spelled", "literal", "cut", "altered"]),
        cut=CUTS,
        r3=st.booleans(),
    )
    def next_turn(
        self,
        before: Stored,
        session: str | None,
        keeps_session: bool,
        with_tail: bool,
        cut_client: int,
        more: str,
        **answer: object,
    ) -> Stored:
        text = max(before.texts, key=len) if with_tail else min(before.texts, key=len)
        kept = text.decode()
        kept = kept[: len(kept) - cut_client] if cut_client else kept
        session = before.session if keeps_session else session
        return self.generate(before.tenant, kept + more, session=session, **answer)  # type: ignore[arg-type]

    def generate(
        self,
        tenant: str,
        text: str,
        *,
        session: str | None,
        output: list[int],
        seen: str,
        cut: int,
        **facts: object,
    ) -> Stored:
        """A request with text: what is sent must be right; what comes back is stored."""
        prompt = self.rig.find(text, session, tenant=tenant)
        self.check_prompt(tenant, text.encode(), session, prompt)
        run = self.rig.prompt_run(prompt)
        literal = self.rig.tokenizer.spell(output, skip_special_tokens=False)
        spelled = self.rig.tokenizer.spell(output, skip_special_tokens=seen != "literal")
        shown = spelled.text.decode()
        if seen == "cut":
            shown = shown[: max(0, len(shown) - cut)]
        if seen == "altered" and output:
            shown = shown[:cut] + "d" + shown[cut + 1 :]
        lined = line_up(spelled, literal, shown.encode())
        return self.store(tenant, session, prompt, run, lined, is_text=True, **facts)

    def check_prompt(self, tenant: str, text: bytes, session: str | None, prompt: Prompt) -> None:
        best = self.oracle.best(tenant, text, session)
        if best is None or best.turn is None:
            assert (prompt.parent, prompt.inherited) == (None, 0)
            rest = text
        else:
            assert prompt.parent is not None
            assert (prompt.parent.number, prompt.inherited) == (best.turn.number, best.depth)
            rest = text[best.made_bytes :]
        encoded = self.rig.tokenizer.encode(rest.decode(), is_continuation=best is not None)
        assert self.rig.prompt_run(prompt) == encoded

    @rule(
        target=stored,
        before=stored,
        session=SESSIONS,
        rid=RIDS,
        output=OUTPUTS,
        version=VERSIONS,
        seen=st.sampled_from(["spelled", "literal", "cut", "altered"]),
        cut=CUTS,
        r3=st.booleans(),
    )
    def another_sample(self, before: Stored, **answer: object) -> Stored:
        """The prompt of a stored turn is sent once more."""
        text = text_of(before.tokens[: before.prompt_end]).decode()
        return self.generate(before.tenant, text, **answer)  # type: ignore[arg-type]

    @rule(
        target=stored,
        before=stored,
        session=SESSIONS,
        rid=RIDS,
        kept=st.integers(0, 6),
        more=st.lists(st.sampled_from(DRAWN_IDS), min_size=1, max_size=2),
        output=OUTPUTS,
        version=VERSIONS,
        r3=st.booleans(),
    )
    def turn_of_ids(
        self,
        before: Stored,
        session: str | None,
        kept: int,
        more: list[int],
        output: list[int],
        **facts: object,
    ) -> Stored:
        """A request that brings ids, which are the truth."""
        ids = [token for token, _ in before.tokens][: len(before.tokens) - kept] + more
        array, prompt = np.array(ids, dtype=np.int32), Prompt()
        namespace = self.rig.store.namespace(before.tenant)
        if namespace is not None:
            prompt = find_ids(namespace, array, session)
        parent = None if prompt.parent is None else self.oracle.turns[prompt.parent.number - 1]
        depths = [0]
        for turn in self.oracle.alive(before.tenant):
            if session in {None, turn.session}:
                known = [token for token, _ in turn.tokens]
                depth = next((d for d in range(len(known), 0, -1) if known[:d] == ids[:d]), 0)
                depths.append(depth if depth > turn.prompt_end else 0)
        assert prompt.inherited == max(depths)
        if parent is not None:
            assert [token for token, _ in parent.tokens][: prompt.inherited] == ids[: max(depths)]
            assert session in {None, parent.session}
        run = self.rig.tokenizer.spell(ids[prompt.inherited :], skip_special_tokens=False)
        literal = self.rig.tokenizer.spell(output, skip_special_tokens=False)
        lined = line_up(literal, literal, literal.text)
        return self.store(before.tenant, session, prompt, run, lined, is_text=False, **facts)

    def store(  # type: ignore[no-untyped-def]
        self, tenant, session, prompt, run, lined, *, is_text, rid, version, r3
    ) -> Stored:
        number = len(self.oracle.turns) + 1
        count = len(lined.run)
        logprobs = [-number - place / 16 for place in range(count)]
        half = count // 2
        spans = [VersionSpan("default", 0, half), VersionSpan(version, half, count)]
        new = NewTurn(
            session=session,
            rid=rid,
            parent=prompt.parent,
            inherited=prompt.inherited,
            prompt=run,
            is_text_prompt=is_text,
            output=lined,
            logprobs=logprobs_of(logprobs),
            versions=tuple(span for span in spans if span.start < span.end),
            finish="stop",
            r3=R3Block(0, 3, 2, "|u1", MemoryPayload(bytes(6))) if r3 else None,
        )
        known = (
            []
            if prompt.parent is None
            else tokens_of(run_between(prompt.parent.node, 0, prompt.inherited))
        )
        before = None if prompt.parent is None else self.oracle.turns[prompt.parent.number - 1]
        prompt_end = prompt.inherited + len(run)
        turn = Stored(
            number,
            tenant,
            session,
            rid,
            before,
            prompt.inherited,
            known + tokens_of(run) + tokens_of(lined.run),
            prompt_end,
            prompt_end + lined.visible_tokens,
            lined.partial,
            logprobs,
            ["default"] * half + [version] * (count - half),
            is_text,
        )
        if before is not None:
            assert known == before.tokens[: prompt.inherited]
        continues = (
            before is not None
            and bool(before.trajectory)
            and prompt.inherited >= before.visible_end
            and session == before.session
        )
        turn.trajectory = before.trajectory if continues and before is not None else f"t{number}"
        if continues and before is not None:
            before.trajectory = ""
        self.oracle.turns.append(turn)
        for span in new.versions:
            if span.version is not None and span.version not in self.arrived:
                self.arrived.append(span.version)
        added = self.rig.store.add(tenant, new, self.rig.now)
        self.turns[number] = added
        self.used.pop(turn.trajectory, None)
        self.used[turn.trajectory] = self.rig.now
        assert added.number == number
        self.note_removed(by_budget=True)
        return turn

    def note_removed(self, *, by_budget: bool = False) -> None:
        for number in self.rig.store.take_removed():
            turn = self.oracle.turns[number - 1]
            assert turn.is_alive
            assert not turn.holds
            turn.is_alive = False
        for turn in self.oracle.turns:
            assert not turn.is_alive or turn.parent is None or turn.parent.is_alive
        live = set(self.rig.store._usage.ids)
        lost = [identity for identity in self.used if identity not in live]
        if by_budget:
            assert lost == list(self.used)[: len(lost)]
        for identity in lost:
            del self.used[identity]
        assert list(self.used) == self.rig.store._usage.ids
        for turn in self.oracle.turns:
            if turn.trajectory in lost:
                turn.trajectory = ""

    # -- reading ----------------------------------------------------------------------------------

    @rule(turn=stored, session=SESSIONS, rid=RIDS, with_tail=st.booleans(), cut=CUTS, more=ENDS)
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
        if not expected.places:
            assert isinstance(found, Missing)
            assert (found.gone is not None) == expected.is_gone
            return
        assert isinstance(found, Reading)
        assert found.rest == (expected.rest or b"")
        assert found.candidates == expected.candidates
        assert found.matched_bytes == len(data) - len(found.rest)
        assert any(self.is_at(found, place, expected.rest is None) for place in expected.places)

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

    @rule(turn=stored)
    def read_whole(self, turn: Stored) -> None:
        if turn.is_alive:
            reading = read_turn(self.turns[turn.number])
            assert self.is_at(reading, Place(tuple(turn.tokens), turn, len(turn.tokens)), True)

    # -- going ------------------------------------------------------------------------------------

    @rule(target=held, turn=stored)
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

    @rule(turn=consumes(held))
    def release(self, turn: Stored | None) -> None:
        if turn is not None:
            turn.holds -= 1
            self.held_turns.remove(self.turns[turn.number])
            self.rig.store.release(self.turns[turn.number])

    @rule(turn=stored)
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
