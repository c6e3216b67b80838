"""Where a text, or token ids, are found in a tree.

The walk follows every branch that spells the text, because equal texts may have other ids. What is
wanted most is the last token that a worker produced: from there on a prompt is continued. So of all
branches the one wins on which produced tokens agree furthest; then the one that agrees further
altogether; then one where a whole answer ends; then the newest.

A cut falls behind a token that shows text: never inside a character, nor inside tokens that text
cannot tell apart. Tokens that show nothing belong to the text behind them, unless they end a whole
answer: samples of one prompt would otherwise begin with each other's first invisible tokens. So
where a cut falls does not depend on where nodes happen to end.

Nothing here changes the tree. The cost grows with the length of what agrees and with the branches
that spell it, not with the size of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from miles_router.core.radix.children import children_that_may_follow, children_with_id
from miles_router.core.radix.node import first_text
from miles_router.core.radix.tree import shared_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from miles_router.core.radix.marks import Marks, Wanted
    from miles_router.core.radix.node import Node
    from miles_router.core.radix.run import TokenRun
    from miles_router.core.trajectory.turn import Turn


class Made(msgspec.Struct, frozen=True):
    """The last token that agrees and that a worker produced.

    Args:
        turn: whose worker it was.
        node: a node whose path holds the token.
        depth: position behind it, in tokens from the root.
        size_bytes: how much text agrees up to there (for ids: how many ids).
        is_whole: the turn's answer ends there.
    """

    turn: Turn
    node: Node
    depth: int
    size_bytes: int
    is_whole: bool = False


class Place(NamedTuple):
    """A position on the path to `node`: behind `depth` tokens, `size_bytes` of text (or ids)."""

    node: Node
    depth: int
    size_bytes: int


@dataclass(slots=True)
class Match:
    """What was found.

    Args:
        furthest: how far anything agrees, at a token boundary.
        made: see `Made`; None where nothing that agrees was produced by a turn that is wanted.
        whole: behind the last token that shows text where all of it is spelled, one place on each
            branch, with what is `made` there.
        stops: nodes that end where the text does.
        cut_ends: turns whose text is the whole text, and ends inside a token.
    """

    furthest: Place
    made: Made | None = None
    whole: list[tuple[Place, Made | None]] = field(default_factory=list)
    stops: list[Node] = field(default_factory=list)
    cut_ends: list[Marks] = field(default_factory=list)
    _rank: tuple[int, int, bool, int] = (-1, -1, False, -1)

    def judge(self, place: Place, made: Made | None) -> None:
        """Keep what a branch came to, if it is better than what is known."""
        if place.size_bytes > self.furthest.size_bytes:
            self.furthest = place
        if made is None:
            return
        rank = (made.size_bytes, place.size_bytes, made.is_whole, made.turn.number)
        if rank > self._rank:
            self.made, self._rank = made, rank


class _Branch(NamedTuple):
    """All of the path to `node` agrees.

    Args:
        place: behind its last token that shows text.
        made: what is made there.
        silent: tokens that show nothing and were made behind it; they count if more agrees.
    """

    node: Node
    place: Place
    made: Made | None
    silent: Made | None


def match_text(root: Node, text: bytes, wanted: Wanted) -> Match:
    """Find `text` (UTF-8) below `root`. `wanted`: whose produced tokens may be continued."""
    start = Place(root, 0, 0)
    found = Match(start)
    branches = [_Branch(root, start, None, None)]
    while branches:
        branch = branches.pop()
        node, position, goes_on = branch.node, branch.place.size_bytes, False
        if position == len(text):
            found.stops.append(node)
            if node.run.text or node is root:  # else the node above has noted it
                found.whole.append((branch.place, branch.made))
        elif node.cut_ends:
            size = len(text) - position
            found.cut_ends += _cut_ends(node, text, position, ((size, True), (size, False)))
        for child in children_that_may_follow(node, text, position):
            if text.startswith(child.run.text, position):
                branches.append(_through(branch, child, text, wanted))
                goes_on = goes_on or bool(child.run.text)
            else:
                _into(found, branch, child, text, wanted)
        if not goes_on:  # else what comes of it is better
            found.judge(branch.place, branch.made)
    return found


def _cut_ends(
    node: Node, text: bytes, position: int, keys: Iterable[tuple[int, bool]]
) -> Iterator[Marks]:
    """Turns whose text ends inside the tokens behind `node`, and agrees up to there."""
    for key in keys:
        marks = node.cut_ends.get(key, {}).get(text[position : position + key[0]])
        if marks is not None:
            yield marks


def _ended(node: Node, text: bytes, position: int, wanted: Wanted) -> Turn | None:
    """The newest turn whose whole answer agrees, and whose tokens that show text end here."""
    if node.cut_ends:
        keys = sorted((key for key in node.cut_ends if key[1]), reverse=True)
        for marks in _cut_ends(node, text, position, keys):
            turn = wanted.newest(marks)
            if turn is not None:
                return turn
    return wanted.newest(node.answers) if node.answers else None


def _through(branch: _Branch, child: Node, text: bytes, wanted: Wanted) -> _Branch:
    """The branch behind `child`, all of whose text agrees."""
    run = child.run
    place, made, silent = branch.place, branch.made, branch.silent
    if run.text:
        size_bytes = place.size_bytes + len(run.text)
        place = Place(child, child.end - _silent_tokens(run), size_bytes)
        made, silent = silent or made, None
    turn = _ended(child, text, place.size_bytes, wanted)
    if turn is not None:
        return _Branch(child, place, Made(turn, child, child.end, place.size_bytes, True), None)
    turn = wanted.newest_cut(child.makers, place.depth) if child.makers else None
    if turn is not None:
        if run.text:
            made = Made(turn, child, place.depth, place.size_bytes)
        if place.depth < child.end:
            silent = Made(turn, child, child.end, place.size_bytes)
    return _Branch(child, place, made, silent)


def _into(found: Match, branch: _Branch, child: Node, text: bytes, wanted: Wanted) -> None:
    """Judge what agrees of `child`, which is not all of it."""
    position, run = branch.place.size_bytes, child.run
    if not text.startswith(first_text(run), position):
        return
    agreed = shared_bytes(run.text, text, position)
    if not agreed:
        return
    ends = run.ends()
    # The token at this place is the first that shows more than what agrees; the one before agrees.
    tokens = int(np.searchsorted(ends, agreed, side="right"))
    shown = int(ends[tokens - 1])
    if not shown:
        return
    # Tokens that show nothing do not end a cut: go back behind the last one that shows text.
    tokens = int(np.searchsorted(ends, shown, side="left")) + 1
    place = Place(child, child.start + tokens, position + shown)
    turn = wanted.newest_cut(child.makers, place.depth)
    made = branch.silent or branch.made
    if turn is not None:
        made = Made(turn, child, place.depth, place.size_bytes)
    found.judge(place, made)
    if place.size_bytes == len(text):
        found.whole.append((place, made))


def _silent_tokens(run: TokenRun) -> int:
    """How many tokens at the end show nothing; some token does."""
    if run.lengths[-2] or run.lengths[-1]:
        return 0
    return len(run) - 1 - int(np.flatnonzero(run.length_array)[-1])


def match_ids(root: Node, ids: NDArray[np.int32], wanted: Wanted) -> Match:
    """Find token ids below `root`, whatever they show; sizes in the result count ids."""
    start = Place(root, 0, 0)
    found = Match(start)
    branches = [_Branch(root, start, None, None)]
    while branches:
        node, place, above, _ = branches.pop()
        position = place.depth
        found.judge(place, above)
        if position == len(ids):
            found.whole.append((place, above))
            continue
        for child in children_with_id(node, int(ids[position])):
            size = min(len(child.run), len(ids) - position)
            differ = child.run.id_array[:size] != ids[position : position + size]
            end = position + (int(differ.argmax()) if differ.any() else size)
            whole = wanted.newest(child.answers) if end == child.end else None
            turn = whole or wanted.newest_cut(child.makers, end)
            made = above if turn is None else Made(turn, child, end, end, whole is not None)
            place = Place(child, end, end)
            if end == child.end:
                branches.append(_Branch(child, place, made, None))
                continue
            found.judge(place, made)
            if end == len(ids):
                found.whole.append((place, made))
    return found
