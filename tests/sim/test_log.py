from __future__ import annotations

import hashlib

from miles_router.sim import SimSettings
from miles_router.sim.engine import Engine
from miles_router.sim.log import GenerationLog


def test_an_entry_lets_a_test_compute_the_answer_again() -> None:
    engine = Engine(SimSettings(seed=9, weight_version="4"))
    body = {"text": "Hello", "rid": "r", "return_logprob": True, "return_routed_experts": True}
    (found,) = engine.admit(engine.parse(body), now=0.0)
    engine.submit([found], now=0.0)
    while engine.running:
        engine.advance(now=0.0)
    (entry,) = engine.log.since(0)
    assert (entry["rid"], entry["path"], entry["prompt_text"]) == ("r", "/generate", "Hello")
    assert entry["logprobs"] == found.logprobs
    experts = engine.answers.routed_experts(found, version="4")
    assert experts is not None
    assert entry["routed_experts_sha256"] == hashlib.sha256(experts.encode()).hexdigest()

    other = Engine(SimSettings(weight_version=entry["weight_version"]))
    again = {
        "input_ids": list(entry["prompt_ids"]),
        "sampling_params": {"sampling_seed": entry["seed"]},
    }
    (repeated,) = other.admit(other.parse(again), now=0.0)
    other.submit([repeated], now=0.0)
    while other.running:
        other.advance(now=0.0)
    assert repeated.output_ids == entry["output_ids"]


def test_numbers_go_on_when_old_entries_are_forgotten() -> None:
    engine = Engine(SimSettings())
    log = GenerationLog(limit_entries=2)
    for _ in range(4):
        (found,) = engine.admit(engine.parse({"input_ids": [5]}), now=0.0)
        log.add(found, version="1", answers=engine.answers)
    assert [entry["number"] for entry in log.since(0)] == [2, 3]
    assert [entry["number"] for entry in log.since(3)] == [3]
    assert log.since(4) == []
