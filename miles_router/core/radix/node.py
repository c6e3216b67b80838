"""Nodes of the radix tree, and how a node finds the children that may follow.

A node is an edge with what lies behind it: a run of tokens, and its children. Two children never
begin with the same token showing the same text; the same token may begin two children where it
shows different text (left out, or as its literal), and one text may begin many. This file must not
know turns, namespaces or budgets: what a node is held for is opaque to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from miles_router.core.radix.marks import copied, size_bytes_of, with_turn, without_turn
from miles_router.core.radix.run import EMPTY, ID_BYTES, LENGTH_BYTES, TokenRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from miles_router.core.radix.marks import Marks
    from miles_router.core.trajectory.turn import Turn

# Up to here a look at each child is quicker than an index (measured: 16 children 1.5 us).
LISTED_CHILDREN = 16

# Python objects of a node and its run, without their bytes; measured with tracemalloc on CPython
# 3.11 over 100,000 nodes: 395 bytes for a node with its share of its parent's children.
NODE_BYTES = 400
# A text that turns end in the middle of a token with: two entries of dicts, and the text.
CUT_END_BYTES = 500

Kind: TypeAlias = Literal["makers", "answers", "ends"]
CutEnds: TypeAlias = "dict[tuple[int, bool], dict[bytes, Marks]]"

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
        """Other turns with all of whose text one comes here: they show nothing of their own, or
        here ends their tail."""
        self.cut_ends: CutEnds = NO_CUT_ENDS
        """Turns whose text ends inside the tokens that follow: by the size of what is shown of
        those, and whether tokens before show text too; then by what is shown."""
        self.mark_bytes = 0
        """What the turns noted here are accounted for."""
        self.holds = 0
        """How many turns need this node to stay."""

    @property
    def start(self) -> int:
        """Where its tokens begin, from the root."""
        return self.end - len(self.run)

    @property
    def size_bytes(self) -> int:
        """What it is accounted for."""
        run = self.run
        return NODE_BYTES + len(run.ids) + len(run.lengths) + len(run.text) + self.mark_bytes

    def note(self, kind: Kind, turn: Turn) -> int:
        """Note a turn; returns by how many bytes that grows the node."""
        marks: Marks = getattr(self, kind)
        size = size_bytes_of(marks)
        marks = with_turn(marks, turn)
        setattr(self, kind, marks)
        return self._grow(size_bytes_of(marks) - size)

    def strike(self, kind: Kind, turn: Turn) -> int:
        """Take out a turn that is noted; returns by how many bytes that grows the node."""
        marks: Marks = getattr(self, kind)
        size = size_bytes_of(marks)
        marks = without_turn(marks, turn)
        setattr(self, kind, marks)
        return self._grow(size_bytes_of(marks) - size)

    def note_cut(self, partial: bytes, shows_text: bool, turn: Turn) -> int:
        """Note a turn whose text ends with `partial` of what follows; returns as `note`."""
        if self.cut_ends is NO_CUT_ENDS:
            self.cut_ends = {}
        listed = self.cut_ends.setdefault((len(partial), shows_text), {})
        grows = 0 if partial in listed else CUT_END_BYTES
        marks = listed.get(partial, ())
        grows -= size_bytes_of(marks)
        listed[partial] = with_turn(marks, turn)
        return self._grow(grows + size_bytes_of(listed[partial]))

    def strike_cut(self, partial: bytes, shows_text: bool, turn: Turn) -> int:
        """Take out what `note_cut` noted; returns as `note`."""
        listed = self.cut_ends[len(partial), shows_text]
        size = size_bytes_of(listed[partial])
        marks = without_turn(listed[partial], turn)
        if len(marks):
            listed[partial] = marks
            return self._grow(size_bytes_of(marks) - size)
        del listed[partial]
        if not listed:
            del self.cut_ends[len(partial), shows_text]
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


class Fanout:
    """Children of a node that has many: found by their first token, or by its text.

    A look-up by text tries each length that a first token's text has here: it does not grow with
    the number of children, only with the number of different lengths.
    """

    __slots__ = ("_by_id", "_by_text", "_lengths")

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._by_text: dict[bytes, dict[int, Node]] = {}
        self._by_id: dict[int, list[Node]] = {}
        self._lengths: dict[int, int] = {}  # length of a first text -> how many texts have it
        for node in nodes:
            self.add(node)

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def __iter__(self) -> Iterator[Node]:
        for group in self._by_id.values():
            yield from group

    def add(self, node: Node) -> None:
        """Add a child whose first token is not there with the same text."""
        token, text = first_id(node.run), first_text(node.run)
        group = self._by_text.get(text)
        if group is None:
            group = self._by_text[text] = {}
            self._lengths[len(text)] = self._lengths.get(len(text), 0) + 1
        group[token] = node
        self._by_id.setdefault(token, []).append(node)

    def remove(self, node: Node) -> None:
        """Remove a child."""
        token, text = first_id(node.run), first_text(node.run)
        group = self._by_text[text]
        del group[token]
        if not group:
            del self._by_text[text]
            self._lengths[len(text)] -= 1
            if not self._lengths[len(text)]:
                del self._lengths[len(text)]
        listed = self._by_id[token]
        listed.remove(node)
        if not listed:
            del self._by_id[token]

    def beginning(self, token: int, text: bytes) -> Node | None:
        """The child that begins with `token` showing `text`."""
        return self._by_text.get(text, {}).get(token)

    def with_id(self, token: int) -> list[Node]:
        """Children that begin with `token`, whatever it shows."""
        return self._by_id.get(token, [])

    def may_follow(self, text: bytes, position: int) -> Iterator[Node]:
        """Children whose first token's text stands at `position` of `text`."""
        for length in self._lengths:
            group = self._by_text.get(text[position : position + length])
            if group is not None and position + length <= len(text):
                yield from group.values()


def add_child(parent: Node, child: Node) -> None:
    """Hang `child` below `parent`; no child of it begins alike."""
    children = parent.children
    if children is None:
        parent.children = [child]
    elif isinstance(children, Fanout) or len(children) < LISTED_CHILDREN:
        children.append(child) if isinstance(children, list) else children.add(child)
    else:
        parent.children = Fanout([*children, child])


def remove_child(parent: Node, child: Node) -> None:
    """Take `child` away from `parent`."""
    children = parent.children
    assert children is not None, "a child is removed from its parent"
    children.remove(child)
    if not children:
        parent.children = None


def replace_child(parent: Node, old: Node, new: Node) -> None:
    """Put `new` in the place of `old`, which begins alike."""
    children = parent.children
    if isinstance(children, list):
        children[children.index(old)] = new
    else:
        remove_child(parent, old)
        add_child(parent, new)


def child_beginning(parent: Node, token: int, text: bytes) -> Node | None:
    """The child that begins with `token` showing `text`."""
    children = parent.children
    if isinstance(children, Fanout):
        return children.beginning(token, text)
    for child in children or ():
        if first_id(child.run) == token and first_text(child.run) == text:
            return child
    return None


def children_with_id(parent: Node, token: int) -> list[Node]:
    """Children that begin with `token`, whatever it shows."""
    children = parent.children
    if isinstance(children, Fanout):
        return children.with_id(token)
    return [child for child in children or () if first_id(child.run) == token]


def children_that_may_follow(parent: Node, text: bytes, position: int) -> Iterable[Node]:
    """Of a few children all; of many those whose first token's text stands at `position`."""
    children = parent.children
    if isinstance(children, Fanout):
        return children.may_follow(text, position)
    return children or ()
