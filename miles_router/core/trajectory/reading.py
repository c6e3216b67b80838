"""Reads a trajectory back: tokens, and what is known about each of them.

A span has one origin: `prompt` (consumed by a worker as input) or `generated` (produced by a worker
in a turn of this very trajectory, and trained on). What no worker has seen yet may follow; it is
marked inexact. A read changes nothing.

Invariant: tokens, mask and log-probabilities are equally long, and the spans cover them in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from miles_router.core.radix.marks import Wanted
from miles_router.core.radix.match import Place, match_text
from miles_router.core.radix.tree import run_between
from miles_router.core.trajectory.digest import digest_of
from miles_router.core.trajectory.paths import paths_to, paths_to_few, session_turns
from miles_router.core.trajectory.trajectory import chain_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from miles_router.core.radix.match import Made, Match
    from miles_router.core.radix.node import Node
    from miles_router.core.radix.run import TokenRun
    from miles_router.core.trajectory.gone import Gone
    from miles_router.core.trajectory.namespace import Namespace
    from miles_router.core.trajectory.turn import Turn

Origin = Literal["prompt", "generated"]


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [start, end) of one origin.

    Args:
        exact: a worker consumed or produced these very ids.
        weight_version: that produced them; None for prompts, and where it is not known.
    """

    start: int
    end: int
    origin: Origin
    exact: bool
    weight_version: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A trajectory, or its beginning.

    Args:
        tokens: int32 [n].
        loss_mask: uint8 [n]; 1 where generated.
        logprobs: float32 [n]; NaN where there is none.
        spans: cover the tokens.
        turns: what produced them, each continuing the one before it.
        path_tokens: so many of the tokens, from the first on, are on the path of the last of
            `turns`; those behind need not be.
        candidates: how many stored turns end with this very text; where none does, in how many
            ways it stands in their prompts and answers, as far as the walk has come.
        matched_bytes: how much of the text that was asked for is known.
        rest: text behind it that no worker has seen; its tokens are not in here.
    """

    tokens: NDArray[np.int32]
    loss_mask: NDArray[np.uint8]
    logprobs: NDArray[np.float32]
    spans: tuple[Span, ...]
    turns: tuple[Turn, ...]
    path_tokens: int = 0
    candidates: int = 1
    matched_bytes: int = 0
    rest: bytes = b""

    @property
    def is_exact(self) -> bool:
        """Whether a worker consumed or produced every one of these ids."""
        return not self.rest and all(span.exact for span in self.spans)

    @property
    def rids(self) -> tuple[str, ...]:
        """Request ids of the turns, where they had one."""
        return tuple(turn.rid for turn in self.turns if turn.rid is not None)


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing can be read. `gone`: why what was there is no more; None if it never was."""

    matched_bytes: int
    gone: str | None = None


@dataclass(slots=True)
class _Columns:
    """What a reading is put together from."""

    logprobs: NDArray[np.float32]
    spans: list[Span] = field(default_factory=list)

    def prompt_until(self, end: int) -> None:
        start = self.spans[-1].end if self.spans else 0
        if start < end:
            self.spans.append(Span(start, end, "prompt", exact=True))

    def generated(self, turn: Turn, end: int) -> None:
        first = turn.prompt_end
        known = np.frombuffer(turn.logprobs, dtype="<f4")
        self.logprobs[first:end] = known[: end - first]
        for span in turn.versions:
            last = min(first + span.end, end)
            if first + span.start < last:
                made = Span(first + span.start, last, "generated", True, span.version)
                self.spans.append(made)


def read_path(node: Node, depth: int, turns: list[Turn], made_until: int) -> Reading:
    """The first `depth` tokens of the path to `node`; `turns` produced what was generated there.

    `turns` are a chain: each continues the one before it; behind `made_until` nothing of theirs is
    on the path.
    """
    columns = _Columns(np.full(depth, np.nan, dtype=np.float32))
    for turn, until in zip(turns, _limits(turns, made_until), strict=True):
        if turn.prompt_end < until:
            columns.prompt_until(turn.prompt_end)
            columns.generated(turn, until)
    columns.prompt_until(depth)
    mask = np.zeros(depth, dtype=np.uint8)
    for span in columns.spans:
        mask[span.start : span.end] = span.origin == "generated"
    return Reading(
        tokens=run_between(node, 0, depth).id_array,
        loss_mask=mask,
        logprobs=columns.logprobs,
        spans=tuple(columns.spans),
        turns=tuple(turns),
        path_tokens=made_until,
    )


def _limits(turns: list[Turn], made_until: int) -> list[int]:
    """How far each turn's tokens are on the path: up to where any later turn left it."""
    limits, until = [], made_until
    for turn in reversed(turns):
        limits.append(until)
        until = min(until, turn.inherited)
    return limits[::-1]


def read_turn(turn: Turn) -> Reading:
    """Everything up to the end of `turn`, its invisible tail included."""
    return read_path(turn.node, turn.end, chain_of(turn), turn.end)


def text_of(turn: Turn) -> bytes:
    """The text that the client knows at the end of `turn`."""
    return run_between(turn.node, 0, turn.visible.end).text + turn.partial


def with_rest(reading: Reading, run: TokenRun) -> Reading:
    """`reading` with the tokens of its `rest`, which no worker has seen."""
    start = len(reading.tokens)
    end = start + len(run)
    spans = list(reading.spans)
    if end > start:
        spans.append(Span(start, end, "prompt", exact=False))
    return replace(
        reading,
        tokens=np.concatenate([reading.tokens, run.id_array]),
        loss_mask=np.concatenate([reading.loss_mask, np.zeros(len(run), dtype=np.uint8)]),
        logprobs=np.concatenate([reading.logprobs, np.full(len(run), np.nan, dtype=np.float32)]),
        spans=tuple(spans),
    )


def read_text(
    namespace: Namespace, gone: Gone, text: bytes, *, session: str | None, rid: str | None
) -> Reading | Missing:
    """The trajectory that has this text, or that the text continues.

    Turns that end with the text come first, the newest of them; then whatever a worker has seen of
    which it is the beginning; then what it continues. Where a turn that ended with it was evicted,
    that is said rather than what else may be meant.

    With `session` or `rid`, only turns of that session, or that continue (or are) that request.
    """
    among = None if rid is None else namespace.turns_since(rid)
    wanted, digest = Wanted(session, among), digest_of(text)
    ending = wanted.own(namespace.texts.of(digest))
    for turn in reversed(ending):
        if _ends_with(turn, text):
            return replace(read_turn(turn), candidates=len(ending), matched_bytes=len(text))
    reason = gone.reason(namespace.tenant, digest)
    is_named = session is not None or rid is not None
    found = _look(namespace, text, wanted, session, among)
    # Whose turn it was that went is not known: what is the caller's own is no guess.
    seen = [] if reason is not None and not is_named else _seen(found)
    if seen:
        place, made = max(seen, key=_rank)
        reading = _read_place(place, made)
        return replace(reading, candidates=len(seen), matched_bytes=len(text))
    last = found.made
    if reason is not None or last is None:
        if is_named:  # how far it is known to anyone
            found = match_text(namespace.tree.root, text, wanted)
        return Missing(found.furthest.size_bytes, reason)
    reading = _read_place(Place(last.node, last.depth, last.size_bytes), last)
    return replace(reading, matched_bytes=last.size_bytes, rest=text[last.size_bytes :])


def _ends_with(turn: Turn, text: bytes) -> bool:
    """Whether `text` is all of the turn's, with its tail spelled out or without."""
    return text_of(turn) == text or run_between(turn.node, 0, turn.end).text == text


def _look(
    namespace: Namespace,
    text: bytes,
    wanted: Wanted,
    session: str | None,
    among: list[Turn] | None,
) -> Match:
    """Where the text is found among the turns that the caller means."""
    root = namespace.tree.root
    if session is None and among is None:
        return match_text(root, text, wanted)
    meant = partial(_meant, namespace, session, among)
    paths = paths_to_few(meant())
    found = match_text(root, text, wanted, paths)
    if paths is None and found.whole:
        own = paths_to(meant())
        found.whole = [(place, made) for place, made in found.whole if place.node in own]
    return found


def _meant(namespace: Namespace, session: str | None, among: list[Turn] | None) -> Iterable[Turn]:
    """The turns of `among` that are of the session; without `among` all of the session's."""
    if among is not None:
        return (turn for turn in among if session in {None, turn.session})
    assert session is not None, "one of both is named"
    return session_turns(namespace, session)


def _read_place(place: Place, made: Made | None) -> Reading:
    if made is None:
        return read_path(place.node, place.depth, [], 0)
    return read_path(place.node, place.depth, chain_of(made.turn), made.depth)


def _rank(found: tuple[Place, Made | None]) -> tuple[int, int]:
    """Where more was produced comes first, then what was produced last."""
    made = found[1]
    return (-1, -1) if made is None else (made.size_bytes, made.turn.number)


def _seen(found: Match) -> list[tuple[Place, Made | None]]:
    """Where the whole text stands in prompts and answers, and is any."""
    return [(place, made) for place, made in found.whole if place.depth]
