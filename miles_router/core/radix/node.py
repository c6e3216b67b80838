"""Nodes of the radix tree.

A node is an edge with what lies behind it: a run of tokens, its children, and the turns that are
noted here. This file must not know what a turn is, nor namespaces or budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from miles_router.core.radix.marks import copied, size_bytes_of, with_turn, without_turn
from miles_router.core.radix.run import EMPTY, ID_BYTES, LENGTH_BYTES, TokenRun

if TYPE_CHECKING:
    from miles_router.core.radix.children import Fanout
    from miles_router.core.radix.marks import Marks
    from miles_router.core.trajectory.turn import Turn

# Python objects of a node and its run, without their bytes; measured with tracemalloc on CPython
# 3.11: 330 bytes for a node that is an only child, 580 among 50,000 children.
NODE_BYTES = 400
# A text that turns end in the middle of a token with: two entries of dicts, and the text.
CUT_END_BYTES = 500

Kind: TypeAlias = Literal["makers", "answers", "ends"]
CutEnds: TypeAlias = "dict[int, dict[bytes, Marks]]"

# Shared by all nodes that have none; never changed.
NO_CUT_ENDS: CutEnds = {}


class Node:
    """A run of tokens behind `parent`, ending at `end` (in tokens from the root)."""

    __slots__ = (
        "answers",
        "children",
        "cut_ends",
        "end",
        "ends",
        "holds",
        "makers",
        "mark_bytes",
        "parent",
        "run",
        "text_digest",
    )

    def __init__(self, parent: Node | None, run: TokenRun, end: int) -> None:
        self.parent = parent
        self.run = run
        self.end = end
        self.children: list[Node] | Fanout | None = None
        self.makers: Marks = ()
        """Turns whose worker produced these tokens."""
        self.answers: Marks = ()
        """Turns whose answer shows text, and shows it up to here."""
        self.ends: Marks = ()
        """Turns whose answer shows nothing: their prompts end here."""
        self.cut_ends: CutEnds = NO_CUT_ENDS
        """Turns whose answer shows text, and ends inside the tokens that follow: by the size of
        what is shown of those; then by what is shown."""
        self.mark_bytes = 0
        """What the turns noted here are accounted for."""
        self.holds = 0
        """How many turns need this node to stay."""
        self.text_digest: int | None = None
        """Of all text up to its end; None where nobody has asked for it."""

    @property
    def start(self) -> int:
        """Where its tokens begin, from the root."""
        return self.end - len(self.run)

    @property
    def size_bytes(self) -> int:
        """What it is accounted for."""
        run = self.run
        return NODE_BYTES + len(run.ids) + len(run.lengths) + len(run.text) + self.mark_bytes

    def note(self, kind: Kind, turn: Turn, alone: tuple[Turn] | None = None) -> int:
        """Note a turn; returns by how many bytes that grows the node. `alone`: as `with_turn`."""
        marks: Marks = getattr(self, kind)
        size = size_bytes_of(marks)
        marks = with_turn(marks, turn, alone)
        setattr(self, kind, marks)
        return self._grow(size_bytes_of(marks) - size)

    def strike(self, kind: Kind, turn: Turn) -> int:
        """Take out a turn that is noted; returns by how many bytes that grows the node."""
        marks: Marks = getattr(self, kind)
        size = size_bytes_of(marks)
        marks = without_turn(marks, turn)
        setattr(self, kind, marks)
        return self._grow(size_bytes_of(marks) - size)

    def note_cut(self, partial: bytes, turn: Turn) -> int:
        """Note a turn whose text ends with `partial` of what follows; returns as `note`."""
        if self.cut_ends is NO_CUT_ENDS:
            self.cut_ends = {}
        listed = self.cut_ends.setdefault(len(partial), {})
        grows = 0 if partial in listed else CUT_END_BYTES
        marks = listed.get(partial, ())
        grows -= size_bytes_of(marks)
        listed[partial] = with_turn(marks, turn)
        return self._grow(grows + size_bytes_of(listed[partial]))

    def strike_cut(self, partial: bytes, turn: Turn) -> int:
        """Take out what `note_cut` noted; returns as `note`."""
        listed = self.cut_ends[len(partial)]
        size = size_bytes_of(listed[partial])
        marks = without_turn(listed[partial], turn)
        if len(marks):
            listed[partial] = marks
            return self._grow(size_bytes_of(marks) - size)
        del listed[partial]
        if not listed:
            del self.cut_ends[len(partial)]
        if not self.cut_ends:
            self.cut_ends = NO_CUT_ENDS
        return self._grow(-size - CUT_END_BYTES)

    def share_makers(self, node: Node) -> None:
        """Note the makers of `node`, for a part of whose tokens this node is made."""
        self.makers = copied(node.makers)
        self._grow(size_bytes_of(self.makers))

    def _grow(self, size_bytes: int) -> int:
        self.mark_bytes += size_bytes
        return size_bytes


def make_root() -> Node:
    """A tree without tokens."""
    return Node(None, EMPTY, 0)


def token_text(run: TokenRun, token: int, position: int) -> bytes:
    """The text of a token of `run`, which begins at `position` of its text."""
    place = token * LENGTH_BYTES
    length = int.from_bytes(run.lengths[place : place + LENGTH_BYTES], "little")
    return run.text[position : position + length]


def token_id(run: TokenRun, token: int) -> int:
    """The id of a token of `run`."""
    return int.from_bytes(run.ids[token * ID_BYTES : (token + 1) * ID_BYTES], "little")


def first_text(run: TokenRun) -> bytes:
    """The text of the first token of a run that is not empty."""
    return token_text(run, 0, 0)


def first_id(run: TokenRun) -> int:
    """The first token of a run that is not empty."""
    return token_id(run, 0)
