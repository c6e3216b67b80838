"""The driver against one worker: what it asks, what it records, what it calls lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio

from miles_router.demo.oracle import Oracle
from miles_router.demo.plan import Interruption, Shape, make_dialogues
from miles_router.demo.rollout import Rollout, open_client
from miles_router.demo.tally import Tally
from miles_router.sim import SimSettings, running_sim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miles_router.demo.plan import TurnKey

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
) -> Result:
    """A rollout against one worker, checked against what `expected` says."""
    tally = Tally(SHAPE.total_turns)
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
            await rollout.run(make_dialogues(SHAPE), concurrency=3)
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
