"""Every trajectory of a rollout, read back from the router and compared with what it must be.

`check_retrieved` and `check_routed_experts` are pure; `Retrieval` asks for each turn of each
dialogue, by text and session, and counts how often the text tokenized again would have had other
ids. It must not know how anybody learned what is right.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import numpy as np

from miles_router.demo.verify import first_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from miles_router.demo.tally import Tally
    from miles_router.demo.transcript import Columns, ToldTurn, Transcript

_SHOWN_CHARS = 300


class RetrievedSpan(msgspec.Struct, frozen=True):
    """Tokens of one origin."""

    start: int
    end: int
    origin: str
    exact: bool
    weight_version: str | None = None


class Retrieved(msgspec.Struct, frozen=True):
    """An answer of `/retrieve_from_text`, as far as it is compared."""

    response: str
    tokens: list[int]
    loss_mask: list[int]
    rollout_logp: list[float]
    token_length: int
    loss_mask_length: int
    exact: bool
    spans: list[RetrievedSpan]
    routed_experts: str | None = None
    routed_experts_shape: list[int] | None = None
    routed_experts_missing: str | None = None


_DECODE = msgspec.json.Decoder(Retrieved).decode


@dataclass(slots=True)
class TurnCount:
    """Trajectories that were read back after their first, second, ... turn."""

    compared: int = 0
    differing: int = 0
    changed_by_tokenizing: int = 0


@dataclass(slots=True)
class Exactness:
    """What reading everything back has shown.

    Args:
        compared: what was compared with what, for people.
        turns: by the number of turns.
        facts: more to be told, for people.
    """

    compared: str
    turns: list[TurnCount] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def at(self, place: int) -> TurnCount:
        """The counts after the turn at `place`."""
        while len(self.turns) <= place:
            self.turns.append(TurnCount())
        return self.turns[place]


class Retrieval:
    """Reads dialogues back.

    Args:
        client: its base URL is the router's.
        tally: gets what is wrong.
        exactness: gets the counts.
        rows_of: routed experts after the last of some turns; None: there are none to compare.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        tally: Tally,
        exactness: Exactness,
        rows_of: Callable[[Sequence[ToldTurn]], NDArray[np.int32]] | None = None,
    ) -> None:
        self._client = client
        self._tally = tally
        self._exactness = exactness
        self._rows_of = rows_of

    async def read_back(self, transcript: Transcript) -> Retrieved | None:
        """Compare it after each of its turns; what came after the last one."""
        retrieved = None
        for place, turn in enumerate(transcript.turns):
            if not turn.output_ids:
                continue  # aborted before its first token: there is nothing of it to read
            count = self._exactness.at(place)
            count.compared += 1
            count.changed_by_tokenizing += transcript.is_changed_by_tokenizing(place)
            answer = await self._retrieve(turn.text, transcript.key)
            if isinstance(answer, Retrieved):
                retrieved = answer
                findings = check_retrieved(transcript.columns(place), turn.text, answer)
                if self._rows_of is not None:
                    rows = self._rows_of(transcript.turns[: place + 1])
                    findings += check_routed_experts(rows, answer)
            else:
                findings = [answer]
            count.differing += bool(findings)
            name = f"{transcript.key} after turn {place + 1}"
            self._tally.wrong += [f"{name}: {finding}" for finding in findings]
        return retrieved

    async def _retrieve(self, text: str, session: str) -> Retrieved | str:
        """What the router knows, or why that is no answer."""
        body: dict[str, Any] = {"text": text, "session": session}
        if self._rows_of is not None:
            body["return_routed_experts"] = True
        try:
            reply = await self._client.post("/retrieve_from_text", json=body)
        except httpx.HTTPError as error:
            return f"it cannot be read back: {type(error).__name__} {error}".rstrip()
        if reply.status_code != 200:
            return f"it cannot be read back: {reply.status_code} {reply.text[:_SHOWN_CHARS]}"
        try:
            return _DECODE(reply.content)
        except msgspec.DecodeError as error:
            return f"what was read back is no trajectory: {error}"


def check_retrieved(expected: Columns, text: str, answer: Retrieved) -> list[str]:
    """What is wrong with an answer, column by column."""
    size = len(expected.tokens)
    told: list[tuple[str, Any, Any]] = [
        ("response", text, answer.response),
        ("exact", True, answer.exact),
        ("tokens", expected.tokens, answer.tokens),
        ("loss_mask", expected.loss_mask, answer.loss_mask),
        ("rollout_logp", _numbers(expected, answer), answer.rollout_logp),
        ("token_length", size, answer.token_length),
        ("loss_mask_length", size, answer.loss_mask_length),
        ("spans", _by_token(expected), spans_by_token(answer.spans)),
    ]
    findings = [first_difference(value, given, name) for name, value, given in told]
    return [finding for finding in findings if finding is not None]


def _numbers(expected: Columns, answer: Retrieved) -> list[float]:
    """Log-probabilities as old clients need them: 0.0 stands where there is none.

    Those of a real model, which nobody knows beforehand, are taken as they come: others judge them.
    """
    given = iter(answer.rollout_logp)
    found = []
    for value, is_generated in zip(expected.logprobs, expected.loss_mask, strict=True):
        told = next(given, 0.0)
        unknown = told if is_generated else 0.0
        found.append(unknown if value is None else value)
    return found


def _by_token(expected: Columns) -> list[list[str | None]]:
    origins = ("prompt", "generated")
    pairs = zip(expected.loss_mask, expected.versions, strict=True)
    return [[origins[is_generated], version] for is_generated, version in pairs]


def spans_by_token(spans: Sequence[RetrievedSpan]) -> list[list[str | None]]:
    """(origin, weight version) of each token; nothing from the first gap or inexact span on."""
    found: list[list[str | None]] = []
    for span in spans:
        if span.start != len(found) or not span.exact:
            break
        found += [[span.origin, span.weight_version]] * (span.end - span.start)
    return found


def check_routed_experts(expected: NDArray[np.int32], answer: Retrieved) -> list[str]:
    """What is wrong with the routed experts, base64 of int32 in C order, and their shape."""
    if answer.routed_experts is None:
        return [f"there are no routed experts: {answer.routed_experts_missing}"]
    shape = list(expected.shape)
    if answer.routed_experts_shape != shape:
        return [f"routed_experts_shape is {answer.routed_experts_shape}, not {shape}"]
    try:
        data = binascii.a2b_base64(answer.routed_experts, strict_mode=True)
    except ValueError as error:
        return [f"routed_experts is not base64: {error}"]
    if len(data) != expected.size * 4:
        return [f"routed_experts has {len(data)} bytes, not {expected.size * 4}"]
    rows = np.frombuffer(data, dtype="<i4").reshape(expected.shape)
    differing = np.flatnonzero((rows != expected).any(axis=(1, 2)))
    if differing.size:
        return [f"{differing.size} rows of routed_experts differ, the first is {differing[0]}"]
    return []
