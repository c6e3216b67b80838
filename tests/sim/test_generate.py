from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from miles_router.sim import SimSettings
from tests.sim.raw_client import open_bench, open_client

SHORT = {"max_new_tokens": 4, "ignore_eos": True}


async def test_one_prompt_is_one_object_and_a_batch_is_an_array() -> None:
    async with open_client() as client:
        single = await client.post("/generate", {"text": "Hi", "sampling_params": SHORT})
        assert single.status == 200
        assert single.header("content-type") == "application/json"
        assert isinstance(single.json(), dict)
        for body in ({"text": ["Hi"]}, {"text": "Hi", "sampling_params": {**SHORT, "n": 2}}):
            found = (await client.post("/generate", {"sampling_params": SHORT, **body})).json()
            assert [type(one) for one in found] == [dict] * len(found)
        both = await client.request("PUT", "/generate", {"text": ["a", "b"], "rid": "r"})
        assert [one["meta_info"]["id"] for one in both.json()] == ["r_0", "r_1"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"text": "a", "sampling_params": {"bogus": 1}}, str),
        ({"rid": "a"}, dict),
        ({"input_ids": []}, dict),
        (
            {"input_ids": [5], "return_logprob": True, "logprob_start_len": 9},
            dict,
        ),
    ],
)
async def test_errors_come_in_the_two_shapes(body: dict[str, Any], error: type) -> None:
    async with open_client() as client:
        found = await client.post("/generate", body)
        assert found.status == 400
        assert list(found.json()) == ["error"]
        assert isinstance(found.json()["error"], error)


async def test_broken_json_and_a_wrong_content_type() -> None:
    async with open_client() as client:
        broken = await client.post("/generate", b'{"text": ')
        assert (broken.status, broken.json()["type"]) == (400, "Bad Request")
        headers = {"Content-Type": "text/plain", "Content-Length": "2"}
        await client.send("POST", "/generate", None, headers)
        await client.stream.send_all(b"{}")
        assert (await client.receive()).json()["object"] == "error"


async def test_a_duplicate_id_while_the_first_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench(SimSettings(tokens_per_s=1)) as bench:
        first, second = bench.connect(), bench.connect()
        await first.send("POST", "/generate", {"text": "a", "rid": "q7", "sampling_params": SHORT})
        await bench.settle()
        refused = await second.post("/generate", {"text": "a", "rid": "q7"})
        assert refused.status == 400
        assert refused.json() == {"error": {"message": "Duplicate request ID detected: q7"}}
        assert (await first.receive()).status == 200


async def test_a_cumulative_stream() -> None:
    async with open_client() as client:
        body = {"text": "Hi", "stream": True, "rid": "9f", "sampling_params": SHORT}
        found = await client.post("/generate", body)
        assert found.header("content-type") == "text/event-stream; charset=utf-8"
        events = found.events()
        assert [len(one["output_ids"]) for one in events] == [1, 2, 3, 4]
        assert [one["meta_info"]["completion_tokens"] for one in events] == [1, 2, 3, 4]
        assert all(b["text"].startswith(a["text"]) for a, b in pairwise(events))
        assert "index" not in events[0]
        plain = (await client.post("/generate", {**body, "stream": False})).json()
        assert set(plain["meta_info"]) == set(events[-1]["meta_info"])


async def test_an_incremental_batch_stream() -> None:
    async with open_client(SimSettings(incremental_streaming=True)) as client:
        body = {"text": ["A", "B"], "stream": True, "rid": "b", "return_logprob": True}
        found = await client.post("/generate", {**body, "sampling_params": SHORT})
        events = found.events()
        assert [one["index"] for one in events] == [0, 1] * 4
        assert all(len(one["output_ids"]) == 1 for one in events)
        last = events[-1]["meta_info"]
        assert (last["id"], last["output_token_logprobs_length"]) == ("b_1", 4)
        assert len(last["output_token_logprobs"]) == 1


async def test_errors_of_streams_that_have_begun_are_events() -> None:
    async with open_client() as client:
        found = await client.post("/generate", {"stream": True, "input_ids": []})
        assert found.status == 200
        assert found.events() == [
            {
                "error": {
                    "message": "input_ids cannot be empty.",
                    "type": "invalid_request_error",
                    "code": 400,
                    "retryable": False,
                }
            }
        ]
        contract = await client.post("/generate", {"stream": True, "sampling_params": {"x": 1}})
        assert contract.status == 400


async def test_a_full_queue(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=1, max_running=1, max_queued=0)) as bench:
        first, second = bench.connect(), bench.connect()
        await first.send("POST", "/generate", {"text": "a", "sampling_params": SHORT})
        await bench.settle()
        plain = await second.post("/generate", {"text": "a"})
        assert plain.status == 503
        assert plain.json() == {
            "object": "error",
            "message": "The request queue is full.",
            "type": "503",
            "param": None,
            "code": 503,
        }
        streamed = await second.post("/generate", {"text": "a", "stream": True, "rid": "q8"})
        assert (streamed.status, streamed.events()) == (
            200,
            [
                {
                    "text": "",
                    "output_ids": [],
                    "meta_info": {
                        "id": "q8",
                        "finish_reason": {
                            "type": "abort",
                            "status_code": 503,
                            "message": "The request queue is full.",
                        },
                        "weight_version": "default",
                        "e2e_latency": 0.0,
                        "completion_tokens": 0,
                    },
                }
            ],
        )


async def test_aborting_what_runs_and_what_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=10, max_running=1)) as bench:
        running, waiting, other = bench.connect(), bench.connect(), bench.connect()
        body = {"text": "a", "sampling_params": {"max_new_tokens": 1000, "ignore_eos": True}}
        await running.send("POST", "/generate", {**body, "rid": "x"})
        await bench.settle()
        await waiting.send("POST", "/generate", {**body, "rid": "x-2"})
        await trio.sleep(2.05)
        ended = await other.post("/abort_request", {"rid": "x"})
        assert (ended.status, ended.body) == (200, b"")
        partial, queued = await running.receive(), await waiting.receive()
        assert (partial.status, queued.status) == (200, 200)
        assert len(partial.json()["output_ids"]) == 20
        assert partial.json()["meta_info"]["finish_reason"] == {
            "type": "abort",
            "message": "Aborted",
            "status_code": None,
            "err_type": None,
        }
        assert queued.json()["meta_info"]["finish_reason"]["message"] == "Abort in waiting queue"
        assert "prompt_tokens" not in queued.json()["meta_info"]
        assert (await other.post("/abort_request", {"rid": "unknown"})).status == 200
        stats = (await other.get("/sim/stats")).json()
        assert stats["abort_requests"] == [{"rid": "x"}, {"rid": "unknown"}]


async def test_an_aborted_stream_ends_with_the_abort(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        client, other = bench.connect(), bench.connect()
        await client.send("POST", "/generate", {"text": "a", "stream": True})
        await trio.sleep(0.55)
        await other.post("/abort_request", {"abort_all": True})
        events = (await client.receive()).events()
        assert events[-1]["meta_info"]["finish_reason"]["type"] == "abort"
        assert len(events[-1]["output_ids"]) == 5


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_generation_at_once(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        client = bench.connect()
        await client.send("POST", "/generate", {"text": "a", "stream": stream})
        await trio.sleep(1)
        assert len(bench.worker.engine.running) == 1
        await client.stream.aclose()
        await bench.settle()
        engine = bench.worker.engine
        assert (len(engine.running), engine.client_gone, engine.aborted) == (0, 1, 1)
        assert bench.worker.stats.connections_open == 0


async def test_answers_can_be_computed_again_from_the_log() -> None:
    async with open_client(SimSettings(seed=3)) as client, open_client() as other:
        found = (await client.post("/generate", {"text": "Hello"})).json()
        (entry,) = (await client.get("/sim/log")).json()["entries"]
        body = {
            "input_ids": entry["prompt_ids"],
            "sampling_params": {"sampling_seed": entry["seed"]},
        }
        again = (await other.post("/generate", body)).json()
        assert again["output_ids"] == found["output_ids"] == entry["output_ids"]
        assert json.dumps(again["text"]) == json.dumps(found["text"])
