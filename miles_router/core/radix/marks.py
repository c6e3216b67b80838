"""Turns noted at a node: the newest that counts for a caller, and how many do.

A few turns are a tuple, which nodes share when one is split. Of many, those of one session are
found without asking the others: thousands of samples may begin alike. This file must not know
trees or texts.

Invariant: turns stand in the order of their numbers, the newest last.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from miles_router.core.trajectory.turn import Turn

# Up to here a look at each turn is as quick as an index (measured: 16 turns 0.6 us).
FEW = 16

# Measured with tracemalloc on CPython 3.11: a tuple of several turns, and each turn in it; a turn
# in a crowd where each has a session of its own (17 bytes where all are of one).
TUPLE_BYTES = 40
ENTRY_BYTES = 8
CROWD_BYTES = 130

# So many tokens of an answer in somebody else's prompt are no accident.
CUT_TOKENS = 16
# Of turns with equal tokens, so many are asked whether their answer may be cut.
ASKED_CUTS = 16

_number = attrgetter("number")


class Crowd:
    """Many turns, and the same turns by session."""

    __slots__ = ("_of_session", "turns")

    def __init__(self, turns: Iterable[Turn]) -> None:
        self.turns = list(turns)
        self._of_session: dict[str | None, list[Turn]] = {}
        for turn in self.turns:
            self._of_session.setdefault(turn.session, []).append(turn)

    def __len__(self) -> int:
        return len(self.turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self.turns)

    def __contains__(self, turn: Turn) -> bool:
        place = _place(self.turns, turn)
        return place < len(self.turns) and self.turns[place] is turn

    def of(self, session: str) -> Sequence[Turn]:
        """The turns of a session, the newest last."""
        return self._of_session.get(session, ())

    def add(self, turn: Turn) -> None:
        """Add a turn that is not there."""
        _insert(self.turns, turn)
        _insert(self._of_session.setdefault(turn.session, []), turn)

    def remove(self, turn: Turn) -> None:
        """Remove a turn that is there."""
        _take_out(self.turns, turn)
        own = self._of_session[turn.session]
        _take_out(own, turn)
        if not own:
            del self._of_session[turn.session]


Marks: TypeAlias = "tuple[Turn, ...] | Crowd"


def with_turn(marks: Marks, turn: Turn, alone: tuple[Turn] | None = None) -> Marks:
    """`marks` and `turn`; a crowd is changed in place.

    `alone`: the turn in a tuple, which all places share where it is the only one.
    """
    if isinstance(marks, Crowd):
        marks.add(turn)
        return marks
    if not marks and FEW:
        return alone or (turn,)
    turns = [*marks]
    _insert(turns, turn)
    return tuple(turns) if len(turns) <= FEW else Crowd(turns)


def without_turn(marks: Marks, turn: Turn) -> Marks:
    """`marks` without `turn`, which is in it; a crowd is changed in place."""
    if not isinstance(marks, Crowd):
        return tuple(one for one in marks if one is not turn)
    marks.remove(turn)
    # Half of it, so that a turn that comes and goes does not build an index each time.
    return marks if len(marks) > FEW // 2 else tuple(marks)


def copied(marks: Marks) -> Marks:
    """The same marks, for a second node."""
    return Crowd(marks) if isinstance(marks, Crowd) else marks


def size_bytes_of(marks: Marks) -> int:
    """What they are accounted for."""
    if isinstance(marks, Crowd):
        return CROWD_BYTES * len(marks)
    return TUPLE_BYTES + ENTRY_BYTES * len(marks) if len(marks) > 1 else 0


def may_be_cut(turn: Turn, depth: int) -> bool:
    """Whether a text that leaves the answer of `turn` behind `depth` tokens still continues it.

    Who names the session, or the request, means this answer, however little of it is left. Without
    that, a prompt of somebody else may begin like this prompt and the first tokens of its answer by
    chance: those tokens must not count as produced there. So much agrees by chance only where it is
    meant: `CUT_TOKENS`, or all but space at the end.
    """
    if depth - turn.prompt_end >= CUT_TOKENS or depth >= turn.visible.end:
        return True
    return turn.visible.end - depth <= CUT_TOKENS and not turn.shown_behind(depth).strip()


def is_in_tail(turn: Turn, depth: int) -> bool:
    """Whether the invisible tail of `turn` would be cut behind `depth` tokens: it never is.

    Its client does not know it: a text that only begins like it (`\\nTool` like a stop string
    `\\nUser`) does not mean it.
    """
    return turn.visible.end < depth < turn.end and bool(turn.tail_behind(depth))


class Wanted:
    """Whose turns count.

    Args:
        session: only those of this one; None: of any.
        among: only these, in the order of their numbers; None: any.
    """

    __slots__ = ("_among", "_is_among", "_may_cut_anywhere", "_session")

    def __init__(self, session: str | None = None, among: Sequence[Turn] | None = None) -> None:
        self._session = session
        self._among = among
        self._is_among = frozenset(among or ())
        self._may_cut_anywhere = session is not None or among is not None

    def newest(self, marks: Marks) -> Turn | None:
        """The newest turn that counts; None if none does."""
        own = self.own(marks)
        return own[-1] if own else None

    def newest_cut(self, marks: Marks, depth: int) -> Turn | None:
        """The newest turn that counts and whose answer may be continued from `depth`, cut there."""
        for turn in islice(reversed(self.own(marks)), ASKED_CUTS):
            if (self._may_cut_anywhere or may_be_cut(turn, depth)) and not is_in_tail(turn, depth):
                return turn
        return None

    def own(self, marks: Marks) -> Sequence[Turn]:
        """The turns that count, the newest last."""
        if self._among is not None:
            return self._chosen(marks, self._among)
        if isinstance(marks, Crowd):
            return marks.turns if self._session is None else marks.of(self._session)
        if self._session is None or not marks:
            return marks
        return [turn for turn in marks if turn.session == self._session]

    def _chosen(self, marks: Marks, among: Sequence[Turn]) -> Sequence[Turn]:
        if isinstance(marks, Crowd) and len(marks) > len(among):
            found = [turn for turn in among if turn in marks]
        else:
            found = [turn for turn in marks if turn in self._is_among]
        if self._session is None:
            return found
        return [turn for turn in found if turn.session == self._session]


def _insert(turns: list[Turn], turn: Turn) -> None:
    if turns and turns[-1].number > turn.number:
        insort(turns, turn, key=_number)
    else:
        turns.append(turn)


def _take_out(turns: list[Turn], turn: Turn) -> None:
    del turns[_place(turns, turn)]


def _place(turns: list[Turn], turn: Turn) -> int:
    """Where it is; if it is not there, some other place."""
    place = bisect_left(turns, turn.number, key=_number)
    while place < len(turns) and turns[place].number == turn.number and turns[place] is not turn:
        place += 1
    return place
