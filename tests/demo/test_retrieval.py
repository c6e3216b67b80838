from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import numpy as np
import pytest

from miles_router.demo.retrieval import (
    Exactness,
    Retrieval,
    Retrieved,
    RetrievedSpan,
    check_retrieved,
    check_routed_experts,
    spans_by_token,
)
from miles_router.demo.tally import Tally
from miles_router.demo.transcript import Columns, Transcript
from tests.demo.conversations import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Answer = Callable[[httpx.Request], httpx.Response]

COLUMNS = Columns(
    tokens=[1, 2, 3, 4],
    loss_mask=[0, 0, 1, 1],
    logprobs=[None, None, -0.5, -0.25],
    versions=[None, None, "a", "b"],
)
ROWS = np.arange(12, dtype=np.int32).reshape(3, 2, 2)


def good() -> Retrieved:
    return Retrieved(
        response="text",
        tokens=[1, 2, 3, 4],
        loss_mask=[0, 0, 1, 1],
        rollout_logp=[0.0, 0.0, -0.5, -0.25],
        token_length=4,
        loss_mask_length=4,
        exact=True,
        spans=[
            RetrievedSpan(0, 2, "prompt", exact=True),
            RetrievedSpan(2, 3, "generated", exact=True, weight_version="a"),
            RetrievedSpan(3, 4, "generated", exact=True, weight_version="b"),
        ],
        routed_experts=base64.b64encode(ROWS.tobytes()).decode(),
        routed_experts_shape=[3, 2, 2],
    )


def test_what_was_generated_is_right() -> None:
    assert check_retrieved(COLUMNS, "text", good()) == []
    assert check_routed_experts(ROWS, good()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"response": "other"}, "response is 'other'"),
        ({"exact": False}, "exact is False"),
        ({"tokens": [1, 2, 3, 5]}, "tokens[3] is 5"),
        ({"tokens": [1, 2, 3]}, "tokens has 3 entries"),
        ({"loss_mask": [0, 1, 1, 1]}, "loss_mask[1] is 1"),
        ({"rollout_logp": [0.0, 0.0, -0.5, -0.125]}, "rollout_logp[3] is -0.125"),
        ({"rollout_logp": [-1.0, 0.0, -0.5, -0.25]}, "rollout_logp[0] is -1.0"),
        ({"rollout_logp": [0.0, 0.0, -0.5]}, "rollout_logp has 3 entries"),
        ({"token_length": 5}, "token_length is 5"),
        ({"loss_mask_length": 3}, "loss_mask_length is 3"),
        ({"spans": good().spans[:2]}, "spans has 3 entries"),
        ({"spans": [*good().spans[:2], good().spans[1]]}, "spans has 3 entries"),
        ({"spans": [RetrievedSpan(0, 4, "prompt", exact=True)]}, "spans[2][0] is 'prompt'"),
    ],
)
def test_each_difference_is_found(change: dict[str, Any], said: str) -> None:
    (finding,) = check_retrieved(COLUMNS, "text", msgspec.structs.replace(good(), **change))
    assert said in finding


def test_log_probabilities_that_nobody_knows_are_taken_as_they_come() -> None:
    unknown = replace(COLUMNS, logprobs=[None] * 4)
    assert check_retrieved(unknown, "text", good()) == []
    prompt_too = msgspec.structs.replace(good(), rollout_logp=[0.0, -9.0, -0.5, -0.25])
    assert check_retrieved(unknown, "text", prompt_too) != []


def test_nothing_is_told_from_a_gap_or_an_inexact_span_on() -> None:
    first = RetrievedSpan(0, 1, "prompt", exact=True)
    assert spans_by_token([first, RetrievedSpan(2, 3, "prompt", exact=True)]) == [["prompt", None]]
    assert spans_by_token([first, RetrievedSpan(1, 3, "prompt", exact=False)]) == [["prompt", None]]
    assert spans_by_token([]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"routed_experts": None, "routed_experts_missing": "not_sent"},
            "no routed experts: not_s",
        ),
        ({"routed_experts_shape": [3, 4]}, "routed_experts_shape is [3, 4], not [3, 2, 2]"),
        ({"routed_experts": "?"}, "not base64"),
        ({"routed_experts": "AAAA"}, "has 3 bytes, not 48"),
        (
            {"routed_experts": base64.b64encode((ROWS + (ROWS == 5)).tobytes()).decode()},
            "1 rows of routed_experts differ, the first is 1",
        ),
    ],
)
def test_each_difference_of_routed_experts_is_found(change: dict[str, Any], said: str) -> None:
    (finding,) = check_routed_experts(ROWS, msgspec.structs.replace(good(), **change))
    assert said in finding


def dialogue(*turns: list[int]) -> Transcript:
    """A dialogue whose tokens are characters; "\\n" ends a turn."""
    found = Transcript("d", lambda text: [ord(one) for one in text], ord("\n"))
    text = "?"
    for ids in turns:
        answer = {"text": "".join(map(chr, ids)), "output_ids": ids, "meta_info": {}}
        found.tell(exchange_of({"rid": "r", "text": text}, answer), [-1.0] * len(ids))
        text += answer["text"] + "?"  # type: ignore[operator]  # a text
    return found


async def read_back(
    transcript: Transcript, answer: Answer, rows: NDArray[np.int32] | None = None
) -> tuple[Tally, Exactness, Retrieved | None]:
    tally, exactness = Tally(1), Exactness("ids")
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
        rows_of = None if rows is None else lambda _turns: rows
        retrieval = Retrieval(client, tally, exactness, rows_of)
        return tally, exactness, await retrieval.read_back(transcript)


def knows(transcript: Transcript) -> Answer:
    """A router that remembers everything."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        assert request.url.path == "/retrieve_from_text"
        assert asked["session"] == "d"
        (place,) = [
            place for place, turn in enumerate(transcript.turns) if turn.text == asked["text"]
        ]
        columns = transcript.columns(place)
        spans = [
            {"start": at, "end": at + 1, "origin": ("prompt", "generated")[mask], "exact": True}
            for at, mask in enumerate(columns.loss_mask)
        ]
        size = len(columns.tokens)
        found = {
            "response": asked["text"],
            "tokens": columns.tokens,
            "loss_mask": columns.loss_mask,
            "rollout_logp": [value or 0.0 for value in columns.logprobs],
            "token_length": size,
            "loss_mask_length": size,
            "exact": True,
            "spans": spans,
        }
        if asked.get("return_routed_experts"):
            found |= {"routed_experts": base64.b64encode(ROWS.tobytes()).decode()}
            found |= {"routed_experts_shape": [3, 2, 2]}
        return httpx.Response(200, json=found)

    return answer


async def test_a_dialogue_is_read_back_after_each_turn_that_generated() -> None:
    transcript = dialogue([97, 98], [], [99])
    tally, exactness, retrieved = await read_back(transcript, knows(transcript))
    assert tally.wrong == []
    assert [(one.compared, one.differing) for one in exactness.turns] == [(1, 0), (0, 0), (1, 0)]
    assert retrieved is not None
    assert retrieved.tokens == transcript.columns(2).tokens


async def test_routed_experts_are_asked_for_where_they_can_be_compared() -> None:
    transcript = dialogue([97, 98, 99])
    tally, _, _ = await read_back(transcript, knows(transcript), ROWS)
    assert tally.wrong == []
    tally, exactness, _ = await read_back(transcript, knows(transcript), ROWS + 1)
    assert tally.wrong == ["d after turn 1: 3 rows of routed_experts differ, the first is 0"]
    assert exactness.turns[0].differing == 1


async def test_a_router_that_knows_something_else_is_found() -> None:
    other = knows(dialogue([97, 99]))
    transcript = dialogue([97, 98])
    transcript.turns[0] = replace(transcript.turns[0], text="?ac")
    tally, exactness, _ = await read_back(transcript, other)
    assert tally.wrong == ["d after turn 1: tokens[2] is 99, not 98"]
    assert exactness.turns[0].differing == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: httpx.Response(404, text="unknown"), "cannot be read back: 404 unknown"),
        (lambda _: httpx.Response(200, text="<html>"), "what was read back is no trajectory: "),
        (lambda _: httpx.Response(200, json={"tokens": ["a"]}), "no trajectory: "),
    ],
)
async def test_an_answer_that_is_none_is_told(answer: Answer, said: str) -> None:
    tally, exactness, retrieved = await read_back(dialogue([97]), answer)
    assert retrieved is None
    assert exactness.turns[0].differing == 1
    (finding,) = tally.wrong
    assert said in finding


async def test_a_router_that_does_not_answer_is_told() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    tally, _, _ = await read_back(dialogue([97]), refuse)
    assert tally.wrong == ["d after turn 1: it cannot be read back: ConnectError refused"]
