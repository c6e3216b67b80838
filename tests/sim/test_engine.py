from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from miles_router.sim import SimSettings
from miles_router.sim.engine import Engine
from miles_router.sim.generation import Generation, Stage
from miles_router.sim.refusals import RequestRefused

LONG = {"max_new_tokens": 1000, "ignore_eos": True}


def submit(engine: Engine, now: float = 0.0, **body: Any) -> list[Generation]:
    body.setdefault("sampling_params", LONG)
    if "text" not in body:
        body.setdefault("input_ids", [5, 6, 7])
    generations = engine.admit(engine.parse(body), now=now)
    engine.submit(generations, now=now)
    return generations


def test_unpaced_generations_end_in_turns() -> None:
    engine = Engine(SimSettings())
    (found,) = submit(engine)
    turns = 0
    while engine.running:
        engine.advance(now=0.0)
        turns += 1
    assert found.finish_reason == {"type": "length", "length": 1000}
    assert turns == 16
    assert engine.next_due() is None


def test_the_pace_is_tokens_per_second_for_each() -> None:
    engine = Engine(SimSettings(tokens_per_s=10))
    (first,) = submit(engine, now=5.0)
    (second,) = submit(engine, now=5.5)
    assert engine.next_due() == pytest.approx(5.1)
    engine.advance(now=6.0)
    assert (len(first.output_ids), len(second.output_ids)) == (10, 5)


def test_places_are_limited_and_the_queue_is_first_come_first_served() -> None:
    engine = Engine(SimSettings(max_running=1))
    generations = [submit(engine, sampling_params={"max_new_tokens": 1})[0] for _ in range(3)]
    assert [one.stage for one in generations] == [Stage.RUNNING, Stage.QUEUED, Stage.QUEUED]
    engine.advance(now=0.0)
    assert [one.stage for one in generations] == [Stage.FINISHED, Stage.RUNNING, Stage.QUEUED]


def test_a_full_queue_refuses() -> None:
    engine = Engine(SimSettings(max_running=1, max_queued=1))
    for _ in range(2):
        submit(engine)
    (refused,) = submit(engine)
    assert refused.finish_reason == {
        "type": "abort",
        "status_code": 503,
        "message": "The request queue is full.",
    }
    assert refused.is_reduced
    assert len(engine.queue) == 1


def test_a_request_id_is_taken_until_its_generation_ends() -> None:
    engine = Engine(SimSettings())
    submit(engine, rid="q7")
    with pytest.raises(RequestRefused) as refused:
        submit(engine, rid="q7")
    assert refused.value.body == {"error": {"message": "Duplicate request ID detected: q7"}}
    engine.abort("q7", abort_all=False, now=0.0)
    submit(engine, rid="q7")


def test_abort_wants_a_live_id_and_reaches_all_that_begin_with_it() -> None:
    engine = Engine(SimSettings(max_running=2))
    rids = ["a_", "b_1", "a_2", "b_2"]
    found = {rid: submit(engine, rid=rid)[0] for rid in rids}
    engine.advance(now=0.0)
    ended = engine.abort("a_", abort_all=False, now=1.0)
    assert [one.item.rid for one in ended] == ["a_", "a_2"]
    assert found["a_"].finish_reason == {
        "type": "abort",
        "message": "Aborted",
        "status_code": None,
        "err_type": None,
    }
    assert found["a_"].output_ids
    assert found["a_2"].finish_reason == {"type": "abort", "message": "Abort in waiting queue"}
    assert found["a_2"].is_reduced
    assert engine.abort("", abort_all=False, now=1.0) == []
    assert engine.abort("b_", abort_all=False, now=1.0) == [], "a prefix alone is no live id"
    assert len(engine.abort("", abort_all=True, now=1.0)) == 2
    assert engine.aborted == 4


def test_a_place_freed_by_an_abort_is_taken() -> None:
    engine = Engine(SimSettings(max_running=1))
    submit(engine, rid="one")
    (waiting,) = submit(engine, rid="two")
    engine.abort("one", abort_all=False, now=0.0)
    assert engine.next_due() is not None
    engine.advance(now=0.0)
    assert waiting.stage is Stage.RUNNING


def test_pausing_in_place_earns_no_tokens() -> None:
    engine = Engine(SimSettings(tokens_per_s=10))
    (found,) = submit(engine, now=0.0)
    engine.advance(now=1.0)
    engine.pause("in_place", now=1.0)
    assert engine.advance(now=50.0) == []
    assert engine.next_due() is None
    engine.resume(now=100.0)
    engine.advance(now=100.5)
    assert len(found.output_ids) == 15


def test_retracting_puts_what_runs_back_into_the_queue_with_its_tokens() -> None:
    engine = Engine(SimSettings(tokens_per_s=10, max_running=2))
    running = [submit(engine)[0] for _ in range(2)]
    (waiting,) = submit(engine)
    engine.advance(now=1.0)
    engine.pause("retract", now=1.0)
    assert list(engine.queue) == [*running, waiting]
    assert [one.num_retractions for one in engine.queue] == [1, 1, 0]
    engine.resume(now=2.0)
    engine.advance(now=3.0)
    assert [len(one.output_ids) for one in running] == [20, 20]


def test_pausing_with_abort_ends_everything() -> None:
    engine = Engine(SimSettings())
    submit(engine)
    assert len(engine.pause("abort", now=0.0)) == 1
    assert not engine.running


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"return_logprob": True, "logprob_start_len": 4},
            "req.logprob_start_len=4 is higher than the number of input tokens "
            "len(req.origin_input_ids)=3. Please use a smaller logprob_start_len.",
        ),
        (
            {"return_routed_experts": True, "routed_experts_start_len": -1},
            "recv_req.routed_experts_start_len=-1 is lower than 0. "
            "Please use a non-negative routed_experts_start_len.",
        ),
        (
            {"return_routed_experts": True, "routed_experts_start_len": 4},
            "recv_req.routed_experts_start_len=4 is higher than the number of input tokens "
            "len(req.origin_input_ids)=3. Please use a smaller routed_experts_start_len.",
        ),
    ],
)
def test_the_scheduler_refuses_with_an_abort(body: dict[str, Any], message: str) -> None:
    (found,) = submit(Engine(SimSettings()), **body)
    assert found.finish_reason is not None
    assert (found.finish_reason["status_code"], found.finish_reason["message"]) == (400, message)


def test_a_second_engine_with_the_seed_gives_the_same_answers() -> None:
    def answers(settings: SimSettings) -> list[list[int]]:
        engine = Engine(settings)
        found = [submit(engine, text="Hello", sampling_params={})[0] for _ in range(3)]
        while engine.running:
            engine.advance(now=0.0)
        return [one.output_ids for one in found]

    settings = SimSettings(seed=5)
    assert answers(settings) == answers(settings)
    assert answers(settings) != answers(SimSettings(seed=6))
    assert answers(settings) != answers(dataclasses.replace(settings, weight_version="2"))
    assert len({tuple(one) for one in answers(settings)}) == 3


def test_known_prefixes_are_cached() -> None:
    engine = Engine(SimSettings())
    prompt = list(range(100, 140))
    (first,) = submit(engine, input_ids=prompt, sampling_params={"max_new_tokens": 24})
    while engine.running:
        engine.advance(now=0.0)
    (second,) = submit(engine, input_ids=[*prompt, *first.output_ids, 9])
    assert (first.cached_tokens, second.cached_tokens) == (
        0,
        (40 + len(first.output_ids)) // 16 * 16,
    )
    (other,) = submit(engine, input_ids=prompt, extra_key="else")
    assert other.cached_tokens == 0


def test_the_client_that_leaves_is_counted_once() -> None:
    engine = Engine(SimSettings())
    (found,) = submit(engine)
    engine.drop(found, now=1.0, client_gone=True)
    engine.drop(found, now=2.0, client_gone=True)
    assert (engine.client_gone, engine.aborted, engine.log.total) == (1, 1, 1)
    assert engine.log.since(0)[0]["client_gone"]
