"""Where a text, or token ids, are found in a tree.

The walk follows every branch that spells the text, because equal texts may have other ids. What is
wanted most is the last token that a worker produced: from there on a prompt is continued. So of all
branches the one wins on which produced tokens agree furthest; then the one that agrees further
altogether; then one where a whole answer ends; then the newest.

A cut falls behind a token that shows text: never inside a character, nor inside tokens that text
cannot tell apart. Tokens that show nothing belong to the text behind them, unless they end a whole
answer: samples of one prompt would otherwise begin with each other's first invisible tokens. So
where a cut falls does not depend on where nodes happen to end.

A walk may be kept to the paths of some turns. It follows a bounded number of branches: where more
spell the text, at each fork those that the newest turns produced. What is found is there all the
same; but another branch may agree further, and not all places are told where the text stands.

Nothing here changes the tree. The cost grows with the length of what agrees and with the branches
that spell it, not with the size of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import iter_unpack
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec
import numpy as np

from miles_router.core.radix.children import children_that_may_follow, children_with_id
from miles_router.core.radix.node import first_text
from miles_router.core.radix.tree import shared_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miles_router.core.radix.marks import Wanted
    from miles_router.core.radix.node import Node
    from miles_router.core.radix.run import TokenRun
    from miles_router.core.trajectory.turn import Turn

# The nodes that a walk may enter: each with those of its children that it may enter.
Within: TypeAlias = "dict[Node, list[Node]]"

# So many branches beside the first are followed; a walk through them takes 1 to 5 ms. Samples have
# few texts in common, and those in few spellings; of one letter repeated there may be thousands.
MAX_FORKS = 128
# The tokens of so much text are looked at one by one: at more of them, all at once.
FEW_BYTES = 64


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
    """

    furthest: Place
    made: Made | None = None
    whole: list[tuple[Place, Made | None]] = field(default_factory=list)
    stops: list[Node] = field(default_factory=list)
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


def match_text(root: Node, text: bytes, wanted: Wanted, within: Within | None = None) -> Match:
    """Find `text` (UTF-8) below `root`.

    Args:
        root: of a tree.
        text: what is looked for.
        wanted: whose produced tokens may be continued.
        within: where to look; None: everywhere.
    """
    start = Place(root, 0, 0)
    found = Match(start)
    branches = [_Branch(root, start, None, None)]
    forks_left = MAX_FORKS
    while branches:
        branch = branches.pop()
        node, position, goes_on = branch.node, branch.place.size_bytes, False
        if position == len(text):
            found.stops.append(node)
            if node.run.text or node is root:  # else the node above has noted it
                found.whole.append((branch.place, branch.made))
        following = _following(node, text, position, within)
        if len(following) > 1:
            if len(following) - 1 > forks_left:
                following = _newest_first(following, wanted)[: 1 + forks_left]
            forks_left -= len(following) - 1
        for child, agreed in following:
            if agreed < len(child.run.text):
                _into(found, branch, child, agreed, text, wanted)
            else:
                branches.append(_through(branch, child, text, wanted))
                goes_on = goes_on or bool(agreed)
        if not goes_on:  # else what comes of it is better
            found.judge(branch.place, branch.made)
    return found


def _following(
    node: Node, text: bytes, position: int, within: Within | None
) -> list[tuple[Node, int]]:
    """The children that agree with `text` at `position`, and how many bytes of theirs do.

    All of the text of a child agrees, or some of it.
    """
    if within is None:
        children = children_that_may_follow(node, text, position)
    else:
        children = within.get(node, ())
    if position == len(text):  # only what shows nothing follows
        return [(child, 0) for child in children if not child.run.text]
    found = []
    for child in children:
        run = child.run
        if text.startswith(run.text, position):
            found.append((child, len(run.text)))
        elif text.startswith(first_text(run), position):
            agreed = shared_bytes(run.text, text, position)
            if agreed:
                found.append((child, agreed))
    return found


def _newest_first(following: list[tuple[Node, int]], wanted: Wanted) -> list[tuple[Node, int]]:
    """Those come first whose tokens the newest turns produced, of all that count."""

    def newest_number(one: tuple[Node, int]) -> int:
        turn = wanted.newest(one[0].makers)
        return -1 if turn is None else turn.number

    return sorted(following, key=newest_number, reverse=True)


def _ended(node: Node, text: bytes, position: int, wanted: Wanted) -> Turn | None:
    """The newest turn whose whole answer agrees, and whose tokens that show text end here."""
    for size in sorted(node.cut_ends, reverse=True) if node.cut_ends else ():
        turn = wanted.newest(node.cut_ends[size].get(text[position : position + size], ()))
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
    if child.makers:
        if run.text:
            made = _cut(child, place, place.depth, wanted) or made
        if place.depth < child.end:
            silent = _cut(child, place, child.end, wanted) or silent
    return _Branch(child, place, made, silent)


def _cut(child: Node, place: Place, depth: int, wanted: Wanted) -> Made | None:
    """What is made of `child` up to `depth`, where its answers are cut there."""
    turn = wanted.newest_cut(child.makers, depth)
    return None if turn is None else Made(turn, child, depth, place.size_bytes)


def _into(
    found: Match, branch: _Branch, child: Node, agreed: int, text: bytes, wanted: Wanted
) -> None:
    """Judge the first `agreed` bytes of `child`, which are not all of it."""
    position = branch.place.size_bytes
    tokens, shown = _shown_within(child.run, agreed)
    if not shown:
        return
    place = Place(child, child.start + tokens, position + shown)
    made = _cut(child, place, place.depth, wanted) or branch.silent or branch.made
    found.judge(place, made)
    if place.size_bytes == len(text):
        found.whole.append((place, made))


def _shown_within(run: TokenRun, size_bytes: int) -> tuple[int, int]:
    """How many tokens show only text of the first `size_bytes`, and how many bytes they show.

    Tokens that show nothing do not end a cut: the last of these shows text, if any does.
    """
    if size_bytes <= FEW_BYTES:  # as a rule: prompts of others that begin with the same word
        tokens = shown = 0
        for place, (length,) in enumerate(iter_unpack("<H", run.lengths), start=1):
            if shown + length > size_bytes:
                break
            if length:
                tokens, shown = place, shown + length
        return tokens, shown
    ends = run.ends()
    # The token at this place is the first that shows more than what agrees; the one before agrees.
    tokens = int(np.searchsorted(ends, size_bytes, side="right"))
    shown = int(ends[tokens - 1])
    return int(np.searchsorted(ends, shown, side="left")) + 1, shown


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
