"""The driver against one worker: what it asks, what it records, what it calls lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.demo.oracle import Oracle
from miles_router.demo.plan import Interruption, Shape, make_dialogues
from miles_router.demo.rollout import Rollout, open_client, read_answer
from miles_router.demo.tally import Tally
from miles_router.sim import SimSettings, running_sim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from miles_router.demo.plan import Dialogue, TurnKey

pytestmark = pytest.mark.loopback

SHAPE = Shape(prompts=2, samples=2, turns=2, min_new_tokens=4, max_new_tokens=8, seed=1, extra={})
FIRST_TURN = ("p000-s000", 0)


@dataclass(frozen=True)
class Result:
    tally: Tally
    log: list[dict[str, object]]


async def rolled(
    sim: SimSettings,
    *,
    expected: SimSettings | None = None,
    interruptions: Mapping[TurnKey, Interruption] | None = None,
    dialogues: Sequence[Dialogue] | None = None,
) -> Result:
    """A rollout against one worker, checked against what `expected` says."""
    dialogues = make_dialogues(SHAPE) if dialogues is None else dialogues
    tally = Tally(len(dialogues) * SHAPE.turns)
    oracle = Oracle(expected or sim)
    with trio.fail_after(20):
        async with running_sim(sim) as running, open_client(running.url) as client:
            rollout = Rollout(
                client,
                SHAPE,
                tally,
                check=oracle.check,
                interruptions=interruptions or {},
                interrupt_after_s=0.15,
            )
            await rollout.run(dialogues, concurrency=3)
            await running.worker.wait_idle()
            return Result(tally, running.worker.engine.log.since(0))


async def test_all_turns_are_asked_in_order_and_answered_right() -> None:
    result = await rolled(SimSettings())
    assert result.tally.reasons() == []
    assert result.tally.answered == 8
    texts = {entry["rid"]: entry for entry in result.log}
    first, second = (texts[f"p001-s001-t00{turn}-000"] for turn in (0, 1))
    begun = f"{first['prompt_text']}{first['output_text']}"
    assert str(second["prompt_text"]).startswith(begun)
    assert "<|im_start|>tool\n" in str(second["prompt_text"])


async def test_an_answer_of_other_weights_is_wrong() -> None:
    result = await rolled(SimSettings(weight_version="old"), expected=SimSettings())
    assert len(result.tally.wrong) == 8
    assert result.tally.reasons()[0].startswith("wrong answer: p00")


async def test_an_error_answer_is_a_lost_request_and_ends_its_dialogue() -> None:
    result = await rolled(SimSettings(fault=("status=503:count=1",)))
    (lost,) = result.tally.lost
    assert ": 503 " in lost
    assert result.tally.unasked == 1
    assert result.tally.share == 1
    reasons = result.tally.reasons()
    assert reasons[0] == f"lost request: {lost}"
    assert reasons[1] == "1 of 8 turns were never answered"


async def test_a_connection_that_breaks_is_a_lost_request() -> None:
    result = await rolled(SimSettings(fault=("reset:count=1",)))
    (lost,) = result.tally.lost
    assert "no answer: " in lost


STREAMING = [one for one in make_dialogues(SHAPE) if one.style.streams]


async def test_a_stream_is_read_to_its_last_chunk() -> None:
    result = await rolled(SimSettings(), dialogues=STREAMING)
    assert result.tally.reasons() == []
    assert result.tally.answered == 2
    first = result.tally.exchanges[0]
    assert first.body["stream"] is True
    assert first.answer is not None
    assert len(first.answer["output_ids"]) == first.answer["meta_info"]["completion_tokens"]


async def test_a_stream_that_breaks_off_is_asked_for_again() -> None:
    fault = SimSettings(fault=("truncate_chunked=900:count=1",))
    result = await rolled(fault, dialogues=STREAMING)
    assert result.tally.reasons() == []
    cut, again = result.tally.exchanges[:2]
    assert (cut.was_cut, cut.was_left, cut.answer) == (True, False, None)
    assert [cut.rid, again.rid] == ["p001-s001-t000-000", "p001-s001-t000-001"]
    assert result.tally.answered == 2


async def test_a_stream_that_breaks_off_each_time_is_lost() -> None:
    fault = SimSettings(fault=("truncate_chunked=900:count=all",))
    result = await rolled(fault, dialogues=STREAMING)
    assert result.tally.lost == ["p001-s001-t000-002: its stream broke off again"]
    assert result.tally.unasked == 1
    assert result.tally.share == 1


async def test_an_answer_that_breaks_off_and_is_no_stream_is_lost() -> None:
    fault = SimSettings(fault=("truncate=20:count=1",))
    plain = [one for one in make_dialogues(SHAPE) if not one.style.streams][:1]
    result = await rolled(fault, dialogues=plain)
    (lost,) = result.tally.lost
    assert "no answer: " in lost


CHUNK = b'data: {"text": "a"}'


@pytest.mark.parametrize(
    ("data", "is_stream", "expected"),
    [
        (b'{"text": "a"}', False, {"text": "a"}),
        (b'{"text": 1}', False, None),
        (b'["a"]', False, None),
        (b"<html>", False, None),
        (b"", False, None),
        (b'data: {"text": ""}\n\n' + CHUNK + b"\n\ndata: [DONE]\n\n", True, {"text": "a"}),
        (CHUNK + b"\n\n", True, None),
        (b"data: [DONE]\n\n", True, None),
        (b'data: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n', True, None),
        (b"", True, None),
    ],
)
def test_an_answer_is_an_object_with_a_text_and_a_stream_has_an_end(
    data: bytes, is_stream: bool, expected: object
) -> None:
    assert read_answer(data, is_stream=is_stream) == expected


async def test_an_aborted_turn_keeps_what_it_has_and_the_dialogue_goes_on() -> None:
    slow = SimSettings(tokens_per_s=20)
    result = await rolled(slow, interruptions={FIRST_TURN: Interruption.ABORT})
    assert result.tally.reasons() == []
    (aborted,) = [one for one in result.tally.exchanges if one.was_aborted]
    assert aborted.rid == "p000-s000-t000-000"
    assert 0 < len((aborted.answer or {})["output_ids"]) < 8
    assert result.tally.answered == 8


async def test_a_client_that_leaves_asks_again_and_nothing_goes_on_without_it() -> None:
    slow = SimSettings(tokens_per_s=20)
    result = await rolled(slow, interruptions={FIRST_TURN: Interruption.DISCONNECT})
    assert result.tally.reasons() == []
    rids = {one.rid: one.was_left for one in result.tally.exchanges}
    assert rids["p000-s000-t000-000"] is True
    assert rids["p000-s000-t000-001"] is False
    (entry,) = [one for one in result.log if one["rid"] == "p000-s000-t000-000"]
    assert entry["client_gone"] is True
