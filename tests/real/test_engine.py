"""Who runs and who stops: aborts, pauses, clients that leave, versions that change."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from tests.real.tiny import prompt_of, wait_steps, wait_until

if TYPE_CHECKING:
    from examples.hf_worker.engine import Engine
    from examples.hf_worker.loading import Loaded
    from tests.real.tiny import StartWorker, Worker

pytestmark = pytest.mark.real

LONG = {"max_new_tokens": 1900, "ignore_eos": True}


async def wait_load(engine: Engine, running: int, waiting: int = 0) -> None:
    wanted = {"num_running_reqs": running, "num_waiting_reqs": waiting}
    await wait_until(lambda: engine.load == wanted)


class Asker:
    """Sends requests in the background and keeps the answers."""

    def __init__(self, worker: Worker, nursery: trio.Nursery) -> None:
        self.answers: dict[str, Any] = {}
        self._worker = worker
        self._nursery = nursery

    def ask(self, rid: str, **params: Any) -> None:
        self._nursery.start_soon(self._ask, rid, params)

    async def _ask(self, rid: str, params: dict[str, Any]) -> None:
        self.answers[rid] = await self._worker.generate(
            rid=rid, input_ids=prompt_of(5), sampling_params=LONG | params, return_logprob=True
        )


async def test_abort_ends_running_and_queued_requests_by_prefix(
    start_worker: StartWorker, tiny: Loaded
) -> None:
    worker = await start_worker(tiny, max_batch=1)
    engine = worker.service.engine
    async with trio.open_nursery() as nursery:
        asker = Asker(worker, nursery)
        asker.ask("a-1")
        await wait_load(engine, 1)
        await wait_steps(worker, 5)
        asker.ask("a-2")
        await wait_load(engine, 1, 1)
        asker.ask("b", max_new_tokens=5)
        await wait_load(engine, 1, 2)
        await worker.post("/abort_request", rid="a-")
    running, queued, other = (asker.answers[rid] for rid in ("a-1", "a-2", "b"))
    reason = {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
    assert running["meta_info"]["finish_reason"] == reason
    tokens = len(running["output_ids"])
    assert 0 < tokens < 1900
    assert running["meta_info"]["completion_tokens"] == tokens
    assert len(running["meta_info"]["output_token_logprobs"]) == tokens
    assert queued["meta_info"]["finish_reason"] == {
        "type": "abort",
        "message": "Abort in waiting queue",
    }
    assert (queued["text"], queued["output_ids"]) == ("", [])
    assert "prompt_tokens" not in queued["meta_info"]
    assert other["meta_info"]["finish_reason"]["type"] == "length"


async def test_abort_ignores_an_empty_rid_and_obeys_abort_all(worker: Worker) -> None:
    engine = worker.service.engine
    async with trio.open_nursery() as nursery:
        asker = Asker(worker, nursery)
        asker.ask("x")
        asker.ask("y")
        await wait_load(engine, 2)
        await worker.post("/abort_request", rid="")
        await worker.post("/abort_request", rid="unknown")
        await wait_steps(worker, 3)
        assert not asker.answers
        await worker.post("/abort_request", abort_all=True)
    reasons = {answer["meta_info"]["finish_reason"]["type"] for answer in asker.answers.values()}
    assert reasons == {"abort"}


async def test_a_live_rid_cannot_be_used_twice(worker: Worker) -> None:
    async with trio.open_nursery() as nursery:
        asker = Asker(worker, nursery)
        asker.ask("same")
        await wait_load(worker.service.engine, 1)
        again = await worker.post("/generate", rid="same", text="x")
        assert again.status_code == 400
        assert again.json() == {"error": {"message": "Duplicate request ID detected: same"}}
        await worker.post("/abort_request", rid="same")
    reused = await worker.generate(rid="same", text="x", sampling_params={"max_new_tokens": 1})
    assert reused["meta_info"]["finish_reason"]["type"] == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_its_generation(stream: bool, worker: Worker) -> None:
    engine = worker.service.engine
    body = {"input_ids": prompt_of(5), "sampling_params": LONG, "stream": stream}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: worker.post("/generate", **body))
        await wait_load(engine, 1)
        await wait_steps(worker, 3)
        nursery.cancel_scope.cancel()
    await wait_load(engine, 0)
    assert engine.steps < LONG["max_new_tokens"]


async def test_a_token_computed_while_its_request_is_aborted_is_thrown_away(
    nursery: trio.Nursery,
) -> None:
    from examples.hf_worker.engine import Engine
    from examples.hf_worker.params import SamplingParams
    from examples.hf_worker.runner import Sampled
    from examples.hf_worker.sequences import ABORTED, AnswerOptions, Notice, Sequence

    stepping, finish_step = trio.Event(), threading.Event()

    class SlowRunner:
        eos_ids = frozenset[int]()

        def step(self, running: list[Sequence], joining: Sequence | None) -> list[Sampled]:
            trio.from_thread.run_sync(stepping.set)
            assert finish_step.wait(20)
            return [] if joining is None else [Sampled(joining, 7, -0.5, cached_tokens=0)]

    engine = Engine(
        cast("Any", SlowRunner()),
        cast("Any", None),
        weight_version="1",
        max_batch=1,
        rng=random.Random(0),
    )
    await nursery.start(engine.run)
    seq = Sequence("r", [2], SamplingParams(), AnswerOptions(), Notice())
    with trio.fail_after(20), engine.serving([seq]):
        await stepping.wait()
        assert engine.abort("r") == 1
        finish_step.set()
        await wait_until(lambda: engine.steps == 1)
    assert seq.finish == ABORTED
    assert seq.output_ids == []
    nursery.cancel_scope.cancel()


async def test_in_place_pause_freezes_requests_until_continue(worker: Worker) -> None:
    engine = worker.service.engine
    body = {
        "input_ids": prompt_of(5),
        "sampling_params": {"max_new_tokens": 300, "sampling_seed": 1, "ignore_eos": True},
    }
    undisturbed = await worker.generate(**body)
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await worker.generate(**body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_load(engine, 1)
        assert (await worker.post("/pause_generation", mode="in_place")).json()["status"] == "ok"
        frozen = engine.steps
        assert (await worker.client.get("/ready")).status_code == 503
        assert (await worker.client.get("/health")).status_code == 200
        assert (await worker.post("/flush_cache")).status_code == 400
        await trio.sleep(0.05)
        assert engine.steps == frozen
        assert not answers
        assert (await worker.post("/continue_generation")).json()["status"] == "ok"
    assert answers[0]["output_ids"] == undisturbed["output_ids"]


async def test_pause_aborts_by_default_and_makes_new_requests_wait(worker: Worker) -> None:
    engine = worker.service.engine
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            asker = Asker(worker, nursery)
            asker.ask("old")
            await wait_load(engine, 1)
            await worker.post("/pause_generation")
            asker.ask("new", max_new_tokens=2)
            await wait_load(engine, 0, 1)
            assert asker.answers["old"]["meta_info"]["finish_reason"]["type"] == "abort"
            assert "new" not in asker.answers
            await worker.post("/continue_generation")
    assert asker.answers["new"]["meta_info"]["finish_reason"] == {"type": "length", "length": 2}


async def test_an_answer_says_which_tokens_came_from_which_weights(worker: Worker) -> None:
    async with trio.open_nursery() as nursery:
        asker = Asker(worker, nursery)
        asker.ask("r", max_new_tokens=400)
        await wait_load(worker.service.engine, 1)
        await wait_steps(worker, 5)
        changed = await worker.post(
            "/update_weight_version", new_version="2", abort_all_requests=False
        )
        assert changed.json()["new_version"] == "2"
    meta = asker.answers["r"]["meta_info"]
    first, second = meta["weight_versions"]
    assert (first["version"], first["start"]) == ("default", 0)
    assert (second["version"], second["start"], second["end"]) == ("2", first["end"], 400)
    assert meta["weight_version"] == "2"
    assert (await worker.client.get("/model_info")).json()["weight_version"] == "2"


async def test_a_new_weight_version_aborts_by_default(worker: Worker) -> None:
    async with trio.open_nursery() as nursery:
        asker = Asker(worker, nursery)
        asker.ask("r")
        await wait_load(worker.service.engine, 1)
        await worker.post("/update_weight_version", new_version="3")
    assert asker.answers["r"]["meta_info"]["finish_reason"]["type"] == "abort"
