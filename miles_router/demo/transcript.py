"""What the tokens of a dialogue must be, by what its client was told. Pure.

A second reading of the rules: a prompt begins with everything that was generated before, stop token
included whether the text shows it or not, and what stands behind is tokenized by itself. It must
not know how the router finds out. Invariant: the tokens after one turn begin the tokens after the
next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from miles_router.demo.plan import TURN_END

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from miles_router.demo.tally import Exchange

VersionSpans = tuple[tuple[str, int, int], ...]
"""(weight version, start, end) over output tokens, in order."""


@dataclass(frozen=True, slots=True)
class ToldTurn:
    """One answered turn.

    Args:
        exchange: what was asked and answered.
        text: everything that the client has after it.
        inherited: so many tokens of the prompt are those of the turn before it.
        prompt_ids: what the worker must have got.
        output_ids: what it answered.
        logprobs: of those; None where nobody knows them beforehand.
        versions: of those.
        end: the literal of a stop token that the text does not show, else empty.
    """

    exchange: Exchange
    text: str
    inherited: int
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    versions: VersionSpans
    end: str

    @property
    def ids(self) -> list[int]:
        """All tokens after it."""
        return [*self.prompt_ids, *self.output_ids]


@dataclass(frozen=True, slots=True)
class Columns:
    """What a trajectory must be, token by token; None where there is nothing, or nobody knows."""

    tokens: list[int]
    loss_mask: list[int]
    logprobs: list[float | None]
    versions: list[str | None]


class Transcript:
    """One dialogue as its client knows it.

    Args:
        key: of the dialogue; its session.
        encode: tokenizes text that continues other text.
        eos_id: the token that ends a turn.
    """

    def __init__(self, key: str, encode: Callable[[str], list[int]], eos_id: int) -> None:
        self.key = key
        self.turns: list[ToldTurn] = []
        self.is_sound = True
        self._encode = encode
        self._eos_id = eos_id

    def _last_made(self) -> ToldTurn | None:
        """The last turn in which anything was generated."""
        return next((turn for turn in reversed(self.turns) if turn.output_ids), None)

    def prompt_ids(self, text: str) -> list[int]:
        """What a worker must get for this prompt.

        Raises:
            ValueError: the text does not continue the dialogue.
        """
        last = self._last_made()
        if last is None:
            return self._encode(text)
        if not text.startswith(last.text):
            raise ValueError(f"{self.key}: a prompt that does not continue what was told")
        rest = text[len(last.text) :]
        return [*last.ids, *self._encode(rest.removeprefix(last.end))]

    def tell(self, exchange: Exchange, logprobs: Sequence[float] | None) -> None:
        """Note an answer, whose ids are its own."""
        answer = exchange.answer or {}
        prompt_ids = self.prompt_ids(exchange.body["text"])
        output_ids = tuple(answer["output_ids"])
        last = self._last_made()
        text = exchange.body["text"] + answer["text"]
        has_end = output_ids[-1:] == (self._eos_id,) and not text.endswith(TURN_END)
        self.turns.append(
            ToldTurn(
                exchange=exchange,
                text=text,
                inherited=0 if last is None else len(last.ids),
                prompt_ids=tuple(prompt_ids),
                output_ids=output_ids,
                logprobs=None if logprobs is None else tuple(logprobs),
                versions=told_versions(answer),
                end=TURN_END if has_end else "",
            )
        )

    def columns(self, place: int) -> Columns:
        """Everything up to the end of the turn at `place`, which generated something."""
        turn = self.turns[place]
        tokens = turn.ids
        mask = [0] * len(tokens)
        logprobs: list[float | None] = [None] * len(tokens)
        versions: list[str | None] = [None] * len(tokens)
        for one in self.turns[: place + 1]:
            start, size = len(one.prompt_ids), len(one.output_ids)
            mask[start : start + size] = [1] * size
            logprobs[start : start + size] = one.logprobs or [None] * size
            for version, begin, end in one.versions:
                versions[start + begin : start + end] = [version] * (end - begin)
        return Columns(tokens, mask, logprobs, versions)

    def is_changed_by_tokenizing(self, place: int) -> bool:
        """Whether the text up to this turn, its end token written out, has other ids by itself."""
        turn = self.turns[place]
        return self._encode(turn.text + turn.end) != turn.ids

    def is_mixed(self) -> bool:
        """Whether more than one weight version made its tokens."""
        spans = [span for turn in self.turns for span in turn.versions]
        return len({name for name, start, end in spans if start < end}) > 1


class Transcripts:
    """All dialogues of a rollout."""

    def __init__(self, encode: Callable[[str], list[int]], eos_id: int) -> None:
        self._encode = encode
        self._eos_id = eos_id
        self._all: dict[str, Transcript] = {}

    def of(self, key: str) -> Transcript:
        """The transcript of one dialogue; empty at first."""
        if key not in self._all:
            self._all[key] = Transcript(key, self._encode, self._eos_id)
        return self._all[key]

    def sound(self) -> list[Transcript]:
        """Those in which no answer was wrong."""
        return [one for one in self._all.values() if one.is_sound]


class _VersionSpan(msgspec.Struct):
    version: str
    start: int
    end: int


def told_versions(answer: Mapping[str, object]) -> VersionSpans:
    """The weight versions of an answer's tokens; none where the answer does not say."""
    meta = answer.get("meta_info")
    told = meta.get("weight_versions") if isinstance(meta, dict) else None
    try:
        spans = msgspec.convert(told, list[_VersionSpan])
    except msgspec.ValidationError:
        return ()
    return tuple((span.version, span.start, span.end) for span in spans)
