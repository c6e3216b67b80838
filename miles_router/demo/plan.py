"""What is asked: dialogues, request bodies, and which turns are interrupted. Pure.

Text in, text out, as rollout clients do it: the prompt of a turn is the text of everything before,
rendered as ChatML. Clients differ in what they want beside the text and in what their text shows;
each dialogue has one style. Invariant: no request id is a prefix of another one, because workers
abort by prefix; and what a request asks for follows from the plan and the text before it alone.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TURN_END = "<|im_end|>"
_SYSTEM = "You solve small problems. Use the calculator when you need it."
_TASKS = (
    "A box holds {a} apples and {b} pears. How many pieces of fruit are in it?",
    "What is {a} times {b}? Think step by step.",
    "A train covers {a} km an hour. How far does it get in {b} hours?",
    "Divide {a} by {b} and give the remainder.",
)


class Interruption(enum.Enum):
    """What a client does to a request of its own while it runs."""

    ABORT = "abort"
    DISCONNECT = "disconnect"


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is asked for; `extra` goes into the bodies of clients that ask for everything.

    With `min_new_tokens` every turn lasts, but a real model's log-probabilities up to there are
    those of a distribution without an end: nobody who scores the tokens later finds them again.
    """

    prompts: int
    samples: int
    turns: int
    min_new_tokens: int
    max_new_tokens: int
    seed: int
    extra: Mapping[str, Any]

    @property
    def total_turns(self) -> int:
        """Turns of all dialogues together."""
        return self.prompts * self.samples * self.turns


@dataclass(frozen=True, slots=True)
class Style:
    """How a client asks.

    Args:
        name: for people.
        keeps_end: the text of an answer keeps its end-of-turn token, as miles asks for it; else
            workers trim it, and the client closes the turn itself.
        wants_all: the client asks for log-probabilities, prompt ids and `Shape.extra`; else for
            nothing but text.
        streams: the answer is to be streamed.
    """

    name: str
    keeps_end: bool
    wants_all: bool
    streams: bool


STYLES = (
    Style("asks for everything", keeps_end=True, wants_all=True, streams=False),
    Style("plain", keeps_end=False, wants_all=False, streams=False),
    Style("keeps the end token", keeps_end=True, wants_all=False, streams=False),
    Style("streams", keeps_end=False, wants_all=False, streams=True),
)
"""Dialogues take turns with these."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One dialogue: how it opens, what the tool says after each turn, one seed for each turn."""

    key: str
    opening: str
    tool_results: tuple[str, ...]
    seeds: tuple[int, ...]
    style: Style = STYLES[0]


TurnKey = tuple[str, int]


def make_dialogues(shape: Shape) -> tuple[Dialogue, ...]:
    """All dialogues; those of one prompt open alike and differ in their seeds."""
    rng = random.Random(shape.seed)  # noqa: S311 - repeatable prompts, not secrets
    found: list[Dialogue] = []
    for prompt in range(shape.prompts):
        a, b = rng.randint(11, 99), rng.randint(3, 30)
        opening = (
            f"<|im_start|>system\n{_SYSTEM}{TURN_END}\n<|im_start|>user\n"
            f"{_TASKS[prompt % len(_TASKS)].format(a=a, b=b)}{TURN_END}\n<|im_start|>assistant\n"
        )
        results = tuple(
            f'{{"expression": "{a} + {turn} * {b}", "value": {a + turn * b}}}'
            for turn in range(shape.turns)
        )
        found += [
            Dialogue(
                key=f"p{prompt:03d}-s{sample:03d}",
                opening=opening,
                tool_results=results,
                seeds=tuple(rng.getrandbits(31) for _ in range(shape.turns)),
                style=STYLES[(prompt * shape.samples + sample) % len(STYLES)],
            )
            for sample in range(shape.samples)
        ]
    return tuple(found)


def request_id(dialogue: Dialogue, turn: int, attempt: int) -> str:
    """The id of one request: fixed width, so that no id is a prefix of another."""
    return f"{dialogue.key}-t{turn:03d}-{attempt:03d}"


def request_body(
    shape: Shape, dialogue: Dialogue, turn: int, *, text: str, attempt: int = 0
) -> dict[str, Any]:
    """The /generate body of one turn.

    A repeated turn has the seed of the first attempt: it is the same question again.
    """
    style = dialogue.style
    params: dict[str, Any] = {
        "temperature": 1.0,
        "max_new_tokens": shape.max_new_tokens,
        "min_new_tokens": shape.min_new_tokens,
        "sampling_seed": dialogue.seeds[turn],
    }
    if style.keeps_end:
        params |= {
            "skip_special_tokens": False,
            "no_stop_trim": True,
            "spaces_between_special_tokens": False,
        }
    body: dict[str, Any] = {
        "rid": request_id(dialogue, turn, attempt),
        "text": text,
        "sampling_params": params,
    }
    if style.wants_all:
        body |= {"return_logprob": True, "return_prompt_token_ids": True, **shape.extra}
    if style.streams:
        body["stream"] = True
    return body


def next_prompt(text: str, answer: str, tool_result: str) -> str:
    """The prompt of the next turn: all before, the answer closed, the tool's turn."""
    closed = answer if answer.endswith(TURN_END) else answer + TURN_END
    return f"{text}{closed}\n<|im_start|>tool\n{tool_result}{TURN_END}\n<|im_start|>assistant\n"


def choose_interruptions(
    dialogues: Sequence[Dialogue], turns: int, *, aborts: int, disconnects: int
) -> dict[TurnKey, Interruption]:
    """Which turns their clients interrupt: spread evenly over all turns, kinds alternating.

    There are fewer if there are not twice as many turns as interruptions.
    """
    places = [(dialogue.key, turn) for dialogue in dialogues for turn in range(turns)]
    kinds = []
    for number in range(max(aborts, disconnects)):
        kinds += [Interruption.ABORT] * (number < aborts)
        kinds += [Interruption.DISCONNECT] * (number < disconnects)
    kinds = kinds[: len(places) // 2]
    return {
        places[(2 * number + 1) * len(places) // (2 * len(kinds))]: kind
        for number, kind in enumerate(kinds)
    }
