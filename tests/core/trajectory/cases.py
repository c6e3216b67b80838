"""Builders for tests of the token cache's core: a store, and what a router does around it.

Texts are spelled by the toy tokenizer: `a` is 97, `ab` 256, `abc` 257, `cd` 258, `bc` 259.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from miles_router.core.alignment import line_up
from miles_router.core.r3 import MemoryPayload, R3Block
from miles_router.core.radix.marks import size_bytes_of
from miles_router.core.radix.run import EMPTY, TokenRun
from miles_router.core.trajectory.finding import find_prompt
from miles_router.core.trajectory.reading import Missing, Reading, read_text
from miles_router.core.trajectory.store import StoreLimits, TrajectoryStore
from miles_router.core.trajectory.text_index import ENTRY_BYTES, digests_of
from miles_router.core.trajectory.trajectory import ORPHAN_BYTES, TRAJECTORY_BYTES, chain_of
from miles_router.core.trajectory.turn import NewTurn, Prompt, SpelledOutput, VersionSpan
from tests.doubles.toy_tokenizer import ToyTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.core.radix.node import Node
    from miles_router.core.radix.tree import Tree
    from miles_router.core.trajectory.namespace import Namespace
    from miles_router.core.trajectory.trajectory import Trajectory
    from miles_router.core.trajectory.turn import Turn

A, B, C, D = b"abcd"
Q = ord("q")
AB, ABC, CD, BC = 256, 257, 258, 259
E_ACUTE = 261  # the merged token; its bytes are 0xC3 and 0xA9
GIB = 1024**3
TENANT = "tenant"


def limits(
    budget_bytes: int = GIB,
    *,
    r3_budget_bytes: int = GIB,
    ttl_s: float | None = None,
    keep_versions: int = 8,
) -> StoreLimits:
    return StoreLimits(budget_bytes, r3_budget_bytes, ttl_s, keep_versions)


def run_of(*tokens: tuple[int, str]) -> TokenRun:
    """A run from ids and the text that each shows."""
    texts = [text.encode() for _, text in tokens]
    return TokenRun.of([token for token, _ in tokens], list(map(len, texts)), b"".join(texts))


X = run_of((1, "x"))


def block(size: int = 6) -> R3Block:
    """Rows of routed experts that take `size` bytes."""
    return R3Block(0, size, 1, "|u1", MemoryPayload(bytes(size)))


def trajectory_of(turn: Turn) -> Trajectory:
    """The trajectory whose last turn it is."""
    assert turn.trajectory is not None
    return turn.trajectory


def logprobs_of(values: Sequence[float]) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


def new_turn(
    prompt: TokenRun = EMPTY,
    output: TokenRun = EMPTY,
    *,
    parent: Turn | None = None,
    inherited: int | None = None,
    visible: int | None = None,
    partial: bytes = b"",
    session: str | None = None,
    rid: str | None = None,
    version: str | None = "1",
    logprob: float = -0.5,
    is_text_prompt: bool = True,
    finish: str = "stop",
    r3: R3Block | None = None,
) -> NewTurn:
    """A turn whose tokens all have one log-probability; it inherits all that its parent has."""
    known = 0 if parent is None else parent.end
    return NewTurn(
        session=session,
        rid=rid,
        parent=parent,
        inherited=known if inherited is None else inherited,
        prompt=prompt,
        is_text_prompt=is_text_prompt,
        output=SpelledOutput(output, len(output) if visible is None else visible, partial),
        logprobs=logprobs_of([logprob] * len(output)),
        versions=(VersionSpan(version, 0, len(output)),) if len(output) else (),
        finish=finish,
        r3=r3,
    )


class Rig:
    """A store with the toy tokenizer, and what a router does with them, at time `now`."""

    def __init__(self, bounds: StoreLimits | None = None, *, adds_bos: bool = False) -> None:
        self.store = TrajectoryStore(bounds or limits())
        self.tokenizer = ToyTokenizer(adds_bos=adds_bos)
        self.now = 0.0

    def find(self, text: str, session: str | None = None, *, tenant: str = TENANT) -> Prompt:
        namespace = self.store.namespace(tenant)
        if namespace is None:
            return Prompt(rest=text.encode())
        return find_prompt(namespace, text.encode(), session)

    def prompt_run(self, prompt: Prompt) -> TokenRun:
        """The tokens behind those that are inherited."""
        if not prompt.rest and (prompt.parent is not None or prompt.known.ids):
            return prompt.known
        rest, is_continuation = prompt.rest.decode(), prompt.parent is not None
        return prompt.known + self.tokenizer.encode(rest, is_continuation=is_continuation)

    def answer(
        self,
        text: str,
        ids: Sequence[int],
        *,
        shown: str | None = None,
        tenant: str = TENANT,
        session: str | None = None,
        rid: str | None = None,
        version: str | None = "1",
        logprob: float = -0.5,
        r3: R3Block | None = None,
    ) -> Turn:
        """A worker answers `text` with `ids`, of which its client sees `shown`."""
        prompt = self.find(text, session, tenant=tenant)
        spelled = self.tokenizer.spell(ids, skip_special_tokens=True)
        literal = self.tokenizer.spell(ids, skip_special_tokens=False)
        output = line_up(spelled, literal, spelled.text if shown is None else shown.encode())
        new = new_turn(
            self.prompt_run(prompt),
            output.run,
            parent=prompt.parent,
            inherited=prompt.inherited,
            visible=output.visible_tokens,
            partial=output.partial,
            session=session,
            rid=rid,
            version=version,
            logprob=logprob,
            r3=r3,
        )
        return self.store.add(tenant, new, self.now)

    def insert(self, text: str, ids: Sequence[int], **named: str | None) -> Turn:
        """A worker produces `ids`, which spell `text`, out of nothing."""
        literal = self.tokenizer.spell(ids, skip_special_tokens=False)
        assert literal.text == text.encode()
        new = new_turn(output=literal, session=named.get("session"), rid=named.get("rid"))
        return self.store.add(named.get("tenant") or TENANT, new, self.now)

    def look(
        self, text: str, session: str | None = None, rid: str | None = None, tenant: str = TENANT
    ) -> Reading | Missing:
        namespace = self.store.namespace(tenant)
        if namespace is None:
            return Missing(0)
        return read_text(namespace, self.store.gone, text.encode(), session=session, rid=rid)

    def read(
        self, text: str, session: str | None = None, rid: str | None = None, tenant: str = TENANT
    ) -> Reading:
        """What is there; it must be."""
        found = self.look(text, session, rid, tenant)
        assert isinstance(found, Reading), found
        return found

    def missing(
        self, text: str, session: str | None = None, rid: str | None = None, tenant: str = TENANT
    ) -> Missing:
        """That it is not there."""
        found = self.look(text, session, rid, tenant)
        assert isinstance(found, Missing), found
        return found

    def sweep(self) -> None:
        while self.store.sweep_one(self.now):
            pass


def ids_by_use(rig: Rig) -> list[str]:
    """The trajectories by their last use, the one unused for longest first."""
    return rig.store._usage.ids


def tokens_of(reading: Reading) -> list[int]:
    return reading.tokens.tolist()


def mask_of(reading: Reading) -> list[int]:
    return reading.loss_mask.tolist()


def nodes_of(tree: Tree) -> list[Node]:
    """All nodes but the root."""
    found, left = [], [tree.root]
    while left:
        children = list(left.pop().children or ())
        found += children
        left += children
    return found


def path_to(node: Node) -> list[Node]:
    """The nodes from the root, which is left out, to `node`."""
    path = []
    while node.parent is not None:
        path.append(node)
        node = node.parent
    path.reverse()
    return path


def turns_in(store: TrajectoryStore) -> set[Turn]:
    """All turns that the trees know, by any of their marks."""
    found: set[Turn] = set()
    for namespace in store.namespaces.values():
        for node in [namespace.tree.root, *nodes_of(namespace.tree)]:
            cut = [marks for one in node.cut_ends.values() for marks in one.values()]
            for marks in (node.makers, node.answers, node.ends, *cut):
                found.update(marks)
    return found


def check_consistent(store: TrajectoryStore, held: Sequence[Turn] = ()) -> None:
    """All that is said about the whole is what a walk over its parts finds.

    `held`: turns that requests in flight hold, one entry for each hold.
    """
    stored = turns_in(store)
    for trajectory in [t for n in store.namespaces.values() for t in n.trajectories.values()]:
        stored.update(chain_of(trajectory.tip))
        assert trajectory.tip.trajectory is trajectory
        assert trajectory.id in store._usage
    size_bytes = TRAJECTORY_BYTES * store.trajectories
    for tenant, namespace in store.namespaces.items():
        own = [turn for turn in stored if turn.tenant == tenant]
        size_bytes += _check_tree(namespace.tree, own) + sum(turn.size_bytes for turn in own)
        size_bytes += _check_texts(namespace, own) + _check_orphans(namespace, own)
        assert namespace.turns == len(own)
    assert store.size_bytes == size_bytes
    assert store.trajectories == sum(len(n.trajectories) for n in store.namespaces.values())
    with_r3 = [turn for turn in stored if turn.r3 is not None]
    assert store.r3_size_bytes == sum(turn.r3.size_bytes for turn in with_r3 if turn.r3)
    assert set(store.turns_with_r3()) == set(with_r3)
    for turn in stored:
        assert turn.is_stored
        later = sum(other.parent is turn for other in stored)
        assert turn.holders == later + sum(one is turn for one in held)


def _check_texts(namespace: Namespace, turns: Sequence[Turn]) -> int:
    """Checks the index by text of these turns; returns its size in bytes."""
    texts: dict[int, set[Turn]] = {}
    for turn in turns:
        for digest in digests_of(turn, turn.tail_behind(0)):
            texts.setdefault(digest, set()).add(turn)
    size_bytes = ENTRY_BYTES * len(texts)
    for digest, expected in texts.items():
        marks = namespace.texts.of(digest)
        assert set(marks) == expected
        assert [turn.number for turn in marks] == sorted(turn.number for turn in expected)
        size_bytes += size_bytes_of(marks)
    assert (len(namespace.texts), namespace.texts.size_bytes) == (len(texts), size_bytes)
    return size_bytes


def _check_orphans(namespace: Namespace, turns: Sequence[Turn]) -> int:
    """Checks who is an orphan: with whose trajectory nobody went on, though it is given up."""
    gone_on_with = {turn.parent for turn in turns if turn.is_heir}
    orphans = {turn for turn in turns if turn.trajectory is None and turn not in gone_on_with}
    assert {turn for listed in namespace.orphans.values() for turn in listed} == orphans
    for session, listed in namespace.orphans.items():
        assert listed
        assert {turn.session for turn in listed} == {session}
    return ORPHAN_BYTES * len(orphans)


def _check_tree(tree: Tree, turns: Sequence[Turn]) -> int:
    """Checks the tree of these turns; returns its size in bytes."""
    nodes = nodes_of(tree)
    size_bytes = sum(node.size_bytes for node in nodes) + tree.root.mark_bytes
    assert tree.size_bytes == size_bytes
    assert tree.nodes == len(nodes)
    assert tree.tokens == sum(len(node.run) for node in nodes)
    makers: dict[Node, set[Turn]] = {}
    holds: dict[Node, int] = {}
    for turn in turns:
        assert (turn.node.end, turn.prompt_end <= turn.visible.end) == (turn.end, True)
        path = path_to(turn.node)
        assert path[0].parent is tree.root if path else turn.node is tree.root
        assert turn.visible in {tree.root, *path}
        for node in (turn.node, turn.visible):
            holds[node] = holds.get(node, 0) + 1
        for node in path:
            if node.end > turn.prompt_end:
                assert node.start >= turn.prompt_end
                makers.setdefault(node, set()).add(turn)
    for node in [tree.root, *nodes]:
        assert node.holds == holds.get(node, 0)
        assert set(node.makers) == makers.get(node, set())
        assert node.children is not None or node.holds or node is tree.root
        for child in node.children or ():
            assert child.parent is node
            assert child.start == node.end
            assert len(child.run)
    return size_bytes
