"""What one tenant has stored: a tree, the turns in it, and the ways to find them.

Nothing in one namespace can be reached from another. This file keeps tree, turns and indexes
consistent; when a turn has to go is decided in `store`.

Invariant: a turn is in the tree, in its indexes by rid and by text, and in the `makers` of exactly
the nodes that hold its output. From each turn of a session its later turns lead to the last one of
a trajectory of that session, or to an orphan.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from miles_router.core.radix.marks import with_turn, without_turn
from miles_router.core.radix.tree import Tree, run_between
from miles_router.core.trajectory.digest import EMPTY_DIGEST, extend_digest
from miles_router.core.trajectory.text_index import TextIndex
from miles_router.core.trajectory.turn import NewTurn, Turn

if TYPE_CHECKING:
    from miles_router.core.radix.marks import Marks
    from miles_router.core.radix.node import Node
    from miles_router.core.trajectory.trajectory import Trajectory


class Namespace:
    """The turns of one tenant."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.tree = Tree()
        self.texts = TextIndex()
        self.by_rid: dict[str, Marks] = {}  # as a rule one turn
        self.trajectories: dict[str, Trajectory] = {}  # by id, in order of creation
        self.of_session: dict[str, dict[str, Trajectory]] = {}
        # By session: the last turns of trajectories that were given up, while they are stored.
        self.orphans: dict[str | None, dict[Turn, None]] = {}
        self.turns = 0

    @property
    def size_bytes(self) -> int:
        """Of the tree and of the index by text."""
        return self.tree.size_bytes + self.texts.size_bytes

    def add_turn(self, new: NewTurn, number: int) -> Turn:
        """Put a turn into the tree. Its parent, if any, is in it."""
        tree, output = self.tree, new.output
        start = tree.root
        if new.parent is not None:
            start = tree.node_at(new.parent.node, new.inherited)
        prompt_node = tree.extend(start, new.prompt)
        visible = tree.extend(prompt_node, output.run.cut(0, output.visible_tokens))
        node = tree.extend(visible, output.run.cut(output.visible_tokens, len(output.run)))
        turn = Turn(
            tenant=self.tenant,
            number=number,
            session=new.session,
            rid=new.rid,
            parent=new.parent,
            inherited=new.inherited,
            prompt_end=prompt_node.end,
            end=node.end,
            node=node,
            visible=visible,
            partial=output.partial,
            is_text_prompt=new.is_text_prompt,
            logprobs=new.logprobs,
            versions=new.versions,
            finish=new.finish,
            r3=new.r3,
            r3_missing=new.r3_missing,
            text_digest=_digest(new, start.end, prompt_node),
            weight_version=_newest_version(new),
        )
        node.holds += 1
        visible.holds += 1
        alone = (turn,)
        tree.size_bytes += _mark(turn, alone)
        self.texts.add(turn, turn.tail_behind(0), alone)
        if new.parent is not None:
            new.parent.holders += 1
            new.parent.later = with_turn(new.parent.later, turn, alone)
        if new.rid is not None:
            self.by_rid[new.rid] = with_turn(self.by_rid.get(new.rid, ()), turn, alone)
        self.turns += 1
        return turn

    def remove_turn(self, turn: Turn) -> None:
        """Take a turn out; nothing continues it. Tokens that no other turn needs go with it."""
        self.tree.size_bytes += _unmark(turn)
        self.texts.remove(turn, turn.tail_behind(0))
        if turn.rid is not None:
            others = without_turn(self.by_rid.pop(turn.rid), turn)
            if others:
                self.by_rid[turn.rid] = others
        self.tree.release(turn.node)
        self.tree.release(turn.visible)
        if turn.parent is not None:
            turn.parent.holders -= 1
            turn.parent.later = without_turn(turn.parent.later, turn)
        turn.is_stored = False
        self.turns -= 1

    def turns_since(self, rid: str) -> list[Turn]:
        """The turns with this request id and those that continue them, in order."""
        found: set[Turn] = set()
        left = list(self.by_rid.get(rid, ()))
        while left:
            turn = left.pop()
            if turn not in found:
                found.add(turn)
                left += turn.later
        return sorted(found, key=attrgetter("number"))

    def add_trajectory(self, trajectory: Trajectory) -> None:
        """Index a new trajectory."""
        self.trajectories[trajectory.id] = trajectory
        if trajectory.session is not None:
            self.of_session.setdefault(trajectory.session, {})[trajectory.id] = trajectory

    def remove_trajectory(self, trajectory: Trajectory) -> None:
        """Forget a trajectory; its turns are not touched."""
        del self.trajectories[trajectory.id]
        if trajectory.session is not None:
            listed = self.of_session[trajectory.session]
            del listed[trajectory.id]
            if not listed:
                del self.of_session[trajectory.session]

    def add_orphan(self, turn: Turn) -> None:
        """Note a stored turn whose trajectory was given up, and that was its last one."""
        self.orphans.setdefault(turn.session, {})[turn] = None

    def remove_orphan(self, turn: Turn) -> None:
        """Forget one that is noted."""
        listed = self.orphans[turn.session]
        del listed[turn]
        if not listed:
            del self.orphans[turn.session]


def _mark(turn: Turn, alone: tuple[Turn]) -> int:
    """Note `turn` where its answer ends, and at the nodes that hold its output.

    Returns:
        By how many bytes that grows the nodes.
    """
    visible, node, grown = turn.visible, turn.node, 0
    if not shows_text(turn):
        grown += 0 if turn.partial else visible.note("ends", turn, alone)
    elif turn.partial:
        grown += visible.note_cut(turn.partial, turn)
    else:
        grown += visible.note("answers", turn, alone)
    while node.end > turn.prompt_end:
        grown += node.note("makers", turn, alone)
        assert node.parent is not None, "the root ends at 0"
        node = node.parent
    return grown


def _unmark(turn: Turn) -> int:
    """Strike what `_mark` noted; returns as it does."""
    visible, node, grown = turn.visible, turn.node, 0
    if not shows_text(turn):
        grown += 0 if turn.partial else visible.strike("ends", turn)
    elif turn.partial:
        grown += visible.strike_cut(turn.partial, turn)
    else:
        grown += visible.strike("answers", turn)
    while node.end > turn.prompt_end:
        grown += node.strike("makers", turn)
        assert node.parent is not None, "the root ends at 0"
        node = node.parent
    return grown


def shows_text(turn: Turn) -> bool:
    """Whether the client sees any token of the answer."""
    node = turn.visible
    while node.end > turn.prompt_end:
        if node.run.text:
            return True
        assert node.parent is not None, "the root ends at 0"
        node = node.parent
    return False


def _newest_version(new: NewTurn) -> str | None:
    if new.versions:
        return new.versions[-1].version
    return None if new.parent is None else new.parent.weight_version


def _digest(new: NewTurn, inherited: int, prompt_node: Node) -> int:
    """Of the text that the client knows at the end of this turn, without `partial`."""
    output = new.output
    if prompt_node.text_digest is None:  # the next samples of a prompt find it: 5 us for 6 KB
        prompt_node.text_digest = _prompt_digest(new, inherited)
    return extend_digest(prompt_node.text_digest, output.run.cut(0, output.visible_tokens).text)


def _prompt_digest(new: NewTurn, inherited: int) -> int:
    """Of the text of its prompt."""
    parent = new.parent
    digest = EMPTY_DIGEST
    if parent is not None and inherited >= parent.visible.end:
        between = run_between(parent.node, parent.visible.end, inherited)
        digest = extend_digest(parent.text_digest, between.text)
    elif parent is not None:
        digest = extend_digest(digest, run_between(parent.node, 0, inherited).text)
    return extend_digest(digest, new.prompt.text)
