"""Exchanges with simulated workers, made without a socket."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from miles_router.demo.plan import STYLES, Interruption, Shape, make_dialogues, request_body
from miles_router.demo.tally import Exchange
from miles_router.sim.engine import Engine
from miles_router.sim.settings import SimSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPE = Shape(
    prompts=1,
    samples=1,
    turns=1,
    min_new_tokens=6,
    max_new_tokens=12,
    seed=3,
    extra={"return_routed_experts": True},
)
SETTINGS = SimSettings(weight_version="w1")


def question(*, style: int = 0) -> dict[str, Any]:
    dialogue = replace(make_dialogues(SHAPE)[0], style=STYLES[style])
    return request_body(SHAPE, dialogue, 0, text=dialogue.opening)


def answered_by(
    settings: SimSettings,
    body: Mapping[str, Any],
    *,
    aborted_after: int | None = None,
    updated_after: tuple[int, str] | None = None,
) -> Any:
    """What a worker with these settings answers, as JSON brings it.

    `updated_after`: so many tokens, and the weight version that it gets then.
    """
    is_paced = aborted_after is not None or updated_after is not None
    paced = SimSettings(tokens_per_s=1, weight_version="w1") if is_paced else settings
    engine = Engine(paced)
    batch = engine.parse(dict(body))
    (generation,) = engine.admit(batch, now=0.0)
    engine.submit([generation], now=0.0)
    if aborted_after is not None:
        engine.advance(now=float(aborted_after))
        engine.abort(str(body["rid"]), abort_all=False, now=float(aborted_after))
    now = 0.0
    while not generation.is_finished:
        engine.advance(now=now)
        if updated_after is not None and len(generation.output_ids) == updated_after[0]:
            engine.set_weight_version(updated_after[1])
        now += is_paced
    answer = engine.answers.whole(generation, version=engine.weight_version)
    return json.loads(json.dumps(answer))


def exchange_of(
    body: Mapping[str, Any], answer: Any, *, interruption: Interruption | None = None
) -> Exchange:
    return Exchange(
        body=body,
        turn=0,
        interruption=interruption,
        status=None if answer is None else 200,
        answer=answer,
        fault=None,
        took_s=0.1,
    )
