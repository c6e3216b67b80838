"""Routed experts that cannot be kept are said once, with what was expected and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.plugins.token_cache.rig import Stage, answer, ids_of
from tests.plugins.token_cache.test_routed_experts import PARTS, PROMPT, encoded, honest, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sending(*rows: NDArray[np.int32]) -> Any:
    left = list(rows)
    return lambda request: answer(request, PARTS, routed_experts=encoded(left.pop(0)))


def said(stage: Stage) -> list[tuple[str, str | None, str]]:
    return [(one.kind, one.reason, one.message) for one in stage.events.since(0)]


async def test_a_shape_of_another_model_is_said_once() -> None:
    stage = Stage(honest, captures_r3=True, shape=(48, 8))
    for turn in range(3):
        await stage.generate({"text": f"{PROMPT} {turn}"})
    assert stage.cache.counters.r3 == {"width_changed": 3}
    ((kind, reason, message),) = said(stage)
    assert (kind, reason) == ("r3_refused", "width_changed")
    rows = len(ids_of(f"{PROMPT} 0") + PARTS) - 1
    assert message == (
        f"the routed experts of an answer are not kept (width_changed): {rows * 6} numbers are "
        "rows of 6, not of 384; expected rows of 384 numbers, 48 layers x 8 experts by "
        "config.json; put the config.json of the model that the workers serve beside the "
        "tokenizer; further ones are only counted"
    )


async def test_each_reason_is_said_once() -> None:
    rows = rows_of(ids_of(PROMPT) + PARTS)
    stage = Stage(sending(rows, rows[:, :5], rows[:1, :1], rows[:, :4]), captures_r3=True)
    for turn in range(4):
        await stage.generate({"text": PROMPT}, x_tenant=f"tenant-{turn}")
    assert stage.cache.counters.r3 == {"stored": 1, "width_changed": 2, "bad_length": 1}
    first, second = said(stage)
    assert (first[1], second[1]) == ("width_changed", "bad_length")
    assert "expected rows of 6 numbers, as in the first answer that had any" in first[2]
    assert "let all workers serve one model" in first[2]
    assert "SGLang" in second[2]


@pytest.mark.parametrize("start", [2, 4])
async def test_where_no_width_is_known_the_advice_is_to_give_it(start: int) -> None:
    sent = ids_of(PROMPT) + PARTS
    asked = len(sent) - 1 - start
    rows = np.zeros((len(sent) - 1, asked), "<i4")  # as many numbers are wider rows from `start` on
    stage = Stage(sending(rows), captures_r3=True)
    body = {"text": PROMPT, "return_routed_experts": True, "routed_experts_start_len": start}
    await stage.generate(body)
    ((_, reason, message),) = said(stage)
    assert reason == "ambiguous"
    assert "expected rows whose width is not known yet; put the config.json" in message
