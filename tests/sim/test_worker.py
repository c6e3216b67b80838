from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from miles_router.sim import SimSettings, Worker, open_worker
from miles_router.sim.faults import FaultSyntaxError
from miles_router.sim.refusals import RequestRefused

if TYPE_CHECKING:
    from miles_router.sim.batch import Batch

LONG = {"max_new_tokens": 100, "ignore_eos": True}


def parse(worker: Worker, **body: Any) -> Batch:
    body.setdefault("sampling_params", LONG)
    return worker.engine.parse({"input_ids": [5, 6, 7], **body})


async def test_a_paced_answer_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_worker(SimSettings(tokens_per_s=50)) as worker:
        began = trio.current_time()
        await worker.finish(parse(worker))
        assert trio.current_time() - began == pytest.approx(2, abs=0.05)


async def test_an_unpaced_answer_takes_no_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_worker(SimSettings()) as worker:
        (found,) = await worker.finish(parse(worker))
        assert len(found.output_ids) == 100
        assert trio.current_time() < 0.001


@pytest.mark.parametrize("pace", [0.0, 20.0])
@pytest.mark.parametrize("is_incremental", [True, False])
async def test_every_token_is_streamed_once(
    pace: float, is_incremental: bool, autojump_clock: trio.testing.MockClock
) -> None:
    settings = SimSettings(tokens_per_s=pace, incremental_streaming=is_incremental)
    async with (
        open_worker(settings) as worker,
        aclosing(worker.chunks(parse(worker, stream=True))) as chunks,
    ):
        values = [chunk.value async for chunk in chunks]
    lengths = [len(value["output_ids"]) for value in values]
    assert lengths == ([1] * 100 if is_incremental else list(range(1, 101)))
    reasons = [value["meta_info"]["finish_reason"] for value in values]
    assert reasons == [None] * 99 + [{"type": "length", "length": 100}]


async def test_a_slow_reader_gets_joined_chunks_and_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = SimSettings(tokens_per_s=100, incremental_streaming=True)
    async with open_worker(settings) as worker:
        ids: list[int] = []
        count = 0
        async with aclosing(worker.chunks(parse(worker, stream=True))) as chunks:
            async for chunk in chunks:
                ids += chunk.value["output_ids"]
                count += 1
                await trio.sleep(0.1)
        assert ids == worker.engine.log.since(0)[0]["output_ids"]
        assert count < 20


async def test_tokens_can_be_grouped(autojump_clock: trio.testing.MockClock) -> None:
    async with open_worker(SimSettings(incremental_streaming=True)) as worker:
        batch = parse(worker, stream=True, sampling_params={**LONG, "stream_interval": 40})
        async with aclosing(worker.chunks(batch)) as chunks:
            lengths = [len(chunk.value["output_ids"]) async for chunk in chunks]
    assert lengths == [1, 40, 40, 19]


async def test_the_items_of_a_batch_interleave(autojump_clock: trio.testing.MockClock) -> None:
    async with open_worker(SimSettings(tokens_per_s=10)) as worker:
        batch = worker.engine.parse(
            {"text": ["a", "b"], "stream": True, "sampling_params": {**LONG, "max_new_tokens": 2}}
        )
        async with aclosing(worker.chunks(batch)) as chunks:
            places = [chunk.place async for chunk in chunks]
    assert places == [0, 1, 0, 1]


async def test_a_cancelled_request_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_worker(SimSettings(tokens_per_s=10, max_running=1)) as worker:
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(worker.finish, parse(worker))
        engine = worker.engine
        assert (len(engine.running), len(engine.queue), len(engine.live)) == (0, 0, 0)
        assert (engine.client_gone, engine.aborted) == (3, 3)


async def test_requests_wait_while_generation_is_paused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_worker(SimSettings()) as worker:
        worker.pause("abort")
        done = trio.Event()

        async def ask() -> None:
            await worker.finish(parse(worker, rid="held"))
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(100)
            worker.abort("held", abort_all=False)
            await trio.sleep(1)
            assert not done.is_set()
            with pytest.raises(RequestRefused):
                await worker.finish(parse(worker, rid="held"))
            worker.resume()
            await done.wait()


async def test_a_client_can_leave_while_it_waits_at_the_gate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_worker(SimSettings()) as worker:
        worker.pause("in_place")
        with trio.move_on_after(1):
            await worker.finish(parse(worker, rid="held"))
        assert worker.engine.client_gone == 1
        worker.resume()
        await worker.finish(parse(worker, rid="held"))


async def test_weights_are_loaded_when_nothing_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with open_worker(SimSettings(tokens_per_s=10)) as worker:
        versions = []

        async def ask() -> None:
            (found,) = await worker.finish(parse(worker))
            versions.append(found.weight_version)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            nursery.start_soon(worker.update_weights, "2", "other/model")
            await trio.sleep(1)
            nursery.start_soon(ask)
            await trio.sleep(1)
            assert (len(worker.engine.running), len(worker.engine.queue)) == (1, 0)
        assert versions == ["default", "2"]
        assert worker.engine.served_model_name == "other/model"


async def test_weights_are_loaded_at_once_while_paused_and_show_in_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_worker(SimSettings(tokens_per_s=10)) as worker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.finish, parse(worker))
            await trio.sleep(3.05)
            worker.pause("in_place")
            await worker.update_weights("2", None)
            worker.resume()
        assert worker.engine.log.since(0)[0]["weight_versions"] == [
            {"version": "default", "start": 0, "end": 30},
            {"version": "2", "start": 30, "end": 100},
        ]


async def test_updates_that_wait_together_are_both_done(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_worker(SimSettings(tokens_per_s=100)) as worker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.finish, parse(worker))
            await trio.sleep(0.1)
            nursery.start_soon(worker.update_weights, "2", None)
            nursery.start_soon(worker.update_weights, None, "m")
        assert (worker.engine.weight_version, worker.engine.model_path) == ("2", "m")
        await worker.finish(parse(worker))


def test_initial_faults_are_checked() -> None:
    assert Worker(SimSettings(fault=("hang",))).faults.take("/generate") is not None
    with pytest.raises(FaultSyntaxError):
        Worker(SimSettings(fault=("explode",)))
