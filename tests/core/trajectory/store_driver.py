"""What clients and workers do to the store, as rules of a machine: the half that stores turns."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from miles_router.core.alignment import line_up
from miles_router.core.r3 import MemoryPayload, R3Block
from miles_router.core.radix import children, marks, match
from miles_router.core.radix.children import LISTED_CHILDREN
from miles_router.core.radix.marks import FEW
from miles_router.core.radix.match import MAX_FORKS
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory import paths
from miles_router.core.trajectory.finding import find_ids
from miles_router.core.trajectory.paths import MAX_NODES
from miles_router.core.trajectory.store import TrajectoryStore
from miles_router.core.trajectory.turn import NewTurn, Prompt, Turn, VersionSpan
from tests.core.trajectory.cases import Rig, limits, logprobs_of
from tests.core.trajectory.store_oracle import (
    Stored,
    StoreOracle,
    Token,
    may_be_cut,
    text_of,
    without_part_of_tail,
)
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

STORED: Bundle[Stored] = Bundle("stored")


def tokens_of(run: TokenRun) -> list[Token]:
    ends = [0, *run.ends().tolist()]
    texts = [run.text[start:end] for start, end in pairwise(ends)]
    return list(zip(run.id_array.tolist(), texts, strict=True))


class Storing(RuleBasedStateMachine):
    @initialize(
        budget_bytes=st.sampled_from([10**9, 10**9, 12_000, 30_000]),
        r3_budget_bytes=st.sampled_from([10**9, 40]),
        adds_bos=st.booleans(),
        few=st.sampled_from([0, 1, 16]),
        cut_tokens=st.sampled_from([1, 2, 3]),
        max_forks=st.sampled_from([MAX_FORKS, MAX_FORKS, MAX_FORKS, 0, 1]),
        max_nodes=st.sampled_from([MAX_NODES, MAX_NODES, 0]),
    )
    def build(
        self,
        budget_bytes: int,
        r3_budget_bytes: int,
        adds_bos: bool,
        few: int,
        cut_tokens: int,
        max_forks: int,
        max_nodes: int,
    ) -> None:
        # So that few children, turns, branches and nodes are dealt with as many are.
        marks.FEW = children.LISTED_CHILDREN = few
        marks.CUT_TOKENS = cut_tokens
        match.MAX_FORKS, paths.MAX_NODES = max_forks, max_nodes
        self.sees_all_branches = max_forks == MAX_FORKS
        self.bounds = limits(
            budget_bytes,
            r3_budget_bytes=r3_budget_bytes,
            ttl_s=TTL_S,
            keep_versions=KEPT_VERSIONS,
        )
        self.rig = Rig(self.bounds, adds_bos=adds_bos)
        self.rig.store = self.make_store()
        self.oracle = StoreOracle()
        self.oracle.looks_everywhere = max_nodes == 0
        self.turns: dict[int, Turn] = {}
        self.arrived: list[str] = []
        self.used: dict[str, float] = {}  # trajectories by last use, longest unused first
        self.held_turns: list[Turn] = []
        self.payloads: list[MemoryPayload] = []

    def make_store(self) -> TrajectoryStore:
        return TrajectoryStore(self.bounds)

    def teardown(self) -> None:
        marks.FEW, children.LISTED_CHILDREN = FEW, LISTED_CHILDREN
        marks.CUT_TOKENS = 1
        match.MAX_FORKS, paths.MAX_NODES = MAX_FORKS, MAX_NODES

    # -- storing ----------------------------------------------------------------------------------

    @rule(
        target=STORED,
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
        target=STORED,
        before=STORED,
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
            shown = shown[:cut] + " " + shown[cut:]
        lined = line_up(spelled, literal, shown.encode())
        return self.store(tenant, session, prompt, run, lined, is_text=True, **facts)

    def check_prompt(self, tenant: str, text: bytes, session: str | None, prompt: Prompt) -> None:
        best, parent, rest = self.oracle.best(tenant, text, session), None, text
        if best is not None and self.sees_all_branches:
            assert prompt.parent is not None
            assert best.turn is self.oracle.turns[prompt.parent.number - 1]
            assert prompt.inherited == best.depth
        if prompt.parent is not None:
            assert best is not None
            parent = self.oracle.turns[prompt.parent.number - 1]
            assert parent.is_alive
            assert (parent.tenant, session in {None, parent.session}) == (tenant, True)
            known = text_of(parent.tokens[: prompt.inherited])
            assert text.startswith(known)
            assert len(known) <= best.made_bytes
            rest = text[len(known) :]
        encoded = self.rig.tokenizer.encode(rest.decode(), is_continuation=parent is not None)
        assert self.rig.prompt_run(prompt) == encoded

    @rule(
        target=STORED,
        before=STORED,
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
        target=STORED,
        before=STORED,
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
                depth = without_part_of_tail(turn, depth)
                is_meant = session is not None or may_be_cut(turn, depth)
                depths.append(depth if depth > turn.prompt_end and is_meant else 0)
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
