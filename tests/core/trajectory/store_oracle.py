"""What the token cache must answer, computed from plain lists of everything that is stored.

Each turn is a list of tokens, each token an id with the text it shows. Questions are answered by
looking at every turn and every position: slow, and easy to believe. Nothing here knows a tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from miles_router.core.radix import marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Token = tuple[int, bytes]


@dataclass(eq=False)
class Stored:
    """A turn: all its tokens from the first of its trajectory on, and what is known of each."""

    number: int
    tenant: str
    session: str | None
    rid: str | None
    parent: Stored | None
    inherited: int
    tokens: list[Token]
    prompt_end: int
    visible_end: int
    partial: bytes
    logprobs: list[float]  # of the generated tokens
    versions: list[str | None]  # of the generated tokens
    is_text: bool
    is_alive: bool = True
    trajectory: str = ""
    holds: int = 0

    @property
    def texts(self) -> set[bytes]:
        """The texts that end with this turn: with its invisible tail spelled out, or without."""
        seen = text_of(self.tokens[: self.visible_end]) + self.partial
        return {seen, text_of(self.tokens)}

    @property
    def shows_text(self) -> bool:
        return any(text for _, text in self.tokens[self.prompt_end : self.visible_end])

    def chain(self) -> Iterator[Stored]:
        turn: Stored | None = self
        while turn is not None:
            yield turn
            turn = turn.parent

    def columns(self, until: int) -> tuple[list[int], list[int], list[float], list[str | None]]:
        """Ids, mask, log-probabilities and versions of the first `until` tokens."""
        ids = [token for token, _ in self.tokens[:until]]
        mask, logprobs = [0] * until, [math.nan] * until
        versions: list[str | None] = [None] * until
        shared = until
        for turn in self.chain():
            for place in range(turn.prompt_end, min(shared, len(turn.tokens))):
                mask[place] = 1
                logprobs[place] = turn.logprobs[place - turn.prompt_end]
                versions[place] = turn.versions[place - turn.prompt_end]
            shared = min(shared, turn.inherited)
        return ids, mask, logprobs, versions


class Place(NamedTuple):
    """The last token on a path that a turn produced, if any, and how far the path agrees."""

    tokens: tuple[Token, ...]
    turn: Stored | None
    depth: int
    is_whole: bool = False

    @property
    def made_bytes(self) -> int:
        return -1 if self.turn is None else len(text_of(self.tokens[: self.depth]))

    @property
    def rank(self) -> tuple[int, int, bool, int]:
        turn = self.turn
        if turn is None:
            return (-1, -1, False, -1)
        return (self.made_bytes, len(text_of(self.tokens)), self.is_whole, turn.number)


@dataclass
class Answer:
    """What reading a text must give.

    `places`: any of them is right. `rest`: what no worker has seen; None: the whole text is known.
    `is_end`: a turn ends with the text. `others`: all places where it stands, if none does.
    """

    places: list[Place] = field(default_factory=list)
    candidates: int = 1
    rest: bytes | None = None
    is_gone: bool = False
    is_end: bool = False
    others: list[Place] = field(default_factory=list)


def text_of(tokens: Iterable[Token]) -> bytes:
    return b"".join(text for _, text in tokens)


class StoreOracle:
    """Everything that was ever stored."""

    def __init__(self) -> None:
        self.turns: list[Stored] = []
        self.looks_everywhere = False  # too many turns to be looked for by themselves

    def alive(self, tenant: str) -> list[Stored]:
        return [turn for turn in self.turns if turn.is_alive and turn.tenant == tenant]

    def read(self, tenant: str, text: bytes, session: str | None, rid: str | None) -> Answer:
        alive = self.alive(tenant)
        wanted = [turn for turn in alive if is_wanted(turn, session, rid)]
        ends = [turn for turn in wanted if text in turn.texts]
        if ends:
            turn = max(ends, key=lambda one: one.number)
            place = Place(tuple(turn.tokens), turn, len(turn.tokens))
            return Answer([place], len(ends), is_end=True)
        is_gone = any(
            text in turn.texts for turn in self.turns if turn.tenant == tenant and not turn.is_alive
        )
        is_named = session is not None or rid is not None
        whole = self._whole(seen_by(alive, session, rid), wanted, text, is_named)
        if whole and not (is_gone and session is None and rid is None):
            best = max(place.rank[0::3] for place in whole)
            first = [place for place in whole if place.rank[0::3] == best]
            return Answer(first, len(whole), others=whole)
        if is_gone:
            return Answer(is_gone=True)
        best_place = self.best(tenant, text, session, rid)
        if best_place is None:
            return Answer()
        return Answer([best_place], rest=text[best_place.made_bytes :])

    def best(
        self, tenant: str, text: bytes, session: str | None, rid: str | None = None
    ) -> Place | None:
        """From where on a prompt of this text is continued."""
        alive = self.alive(tenant)
        wanted = [turn for turn in alive if is_wanted(turn, session, rid)]
        is_named = session is not None or rid is not None
        looked_at = alive if self.looks_everywhere else seen_by(alive, session, rid)
        places = [made_on(path, wanted, text, is_named) for path in agreeing(looked_at, text)]
        # A whole answer ends with all its tokens, also with those at its end that show nothing.
        for turn in wanted:
            if is_answer_in(turn, text):
                body = tuple(turn.tokens[: turn.visible_end])
                places.append(Place(body, turn, turn.visible_end, is_whole=True))
        found = [place for place in places if place.turn is not None]
        return max(found, key=lambda place: place.rank, default=None)

    def _whole(
        self, seen: list[Stored], wanted: list[Stored], text: bytes, is_named: bool
    ) -> list[Place]:
        paths = {path for path in agreeing(seen, text) if text_of(path) == text and path}
        return [made_on(path, wanted, text, is_named) for path in paths]


def is_answer_in(turn: Stored, text: bytes) -> bool:
    """Whether a text begins with the turn's, and some token of the answer is in there."""
    seen = text_of(turn.tokens[: turn.visible_end]) + turn.partial
    return turn.shows_text and text.startswith(seen)


def is_wanted(turn: Stored, session: str | None, rid: str | None) -> bool:
    if session is not None and turn.session != session:
        return False
    return rid is None or any(one.rid == rid for one in turn.chain())


def seen_by(alive: list[Stored], session: str | None, rid: str | None) -> list[Stored]:
    """Turns whose prompts and answers a caller with this session and rid may be shown."""
    if rid is not None:
        return [turn for turn in alive if is_wanted(turn, session, rid)]
    if session is None:
        return alive
    return [turn for own in alive if own.session == session for turn in own.chain()]


def agreeing(turns: list[Stored], text: bytes) -> set[tuple[Token, ...]]:
    """For each turn the tokens whose text `text` begins with, up to one that shows something."""
    found = set()
    for turn in turns:
        size, depth = 0, 0
        for place, (_, shown) in enumerate(turn.tokens):
            if not text.startswith(shown, size):
                break
            size += len(shown)
            if shown:
                depth = place + 1
        found.add(tuple(turn.tokens[:depth]))
    return found


def may_be_cut(turn: Stored, depth: int) -> bool:
    """Whether a text of nobody in particular that leaves the answer there means this answer."""
    if depth >= turn.visible_end or depth - turn.prompt_end >= marks.CUT_TOKENS:
        return True
    left = turn.tokens[depth : turn.visible_end]
    return len(left) <= marks.CUT_TOKENS and not (text_of(left) + turn.partial).strip()


def without_part_of_tail(turn: Stored, depth: int) -> int:
    """`depth`; before the invisible tail if that would lose text there."""
    return min(depth, turn.visible_end) if text_of(turn.tokens[depth:]) else depth


def made_on(path: tuple[Token, ...], wanted: list[Stored], text: bytes, is_named: bool) -> Place:
    """The last token of `path` that a wanted turn produced; `is_named`: by session or rid."""
    best = Place(path, None, 0)
    for turn in wanted:
        shared = 0
        for one, other in zip(path, turn.tokens, strict=False):
            if one != other:
                break
            shared += 1
        shared = without_part_of_tail(turn, shared)
        if shared > turn.prompt_end and (is_named or may_be_cut(turn, shared)):
            is_whole = shared == turn.visible_end and is_answer_in(turn, text)
            best = max(best, Place(path, turn, shared, is_whole), key=_preferred)
    return best


def _preferred(place: Place) -> tuple[int, bool, int]:
    return place.depth, place.is_whole, place.rank[3]
