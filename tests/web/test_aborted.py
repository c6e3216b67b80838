"""Requests that `/abort_request` ends while they wait for a worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.sim import SimSettings
from tests.web.rig import LONG, SHORT, Rig, open_router, open_sims, until

if TYPE_CHECKING:
    from tests.web.asgi_client import Answer


async def abort_queued(rig: Rig, body: Any, abort: Any, path: str = "/generate") -> Answer:
    """The answer to a request that was aborted while it waited."""
    async with rig.client.opened("POST", path, body) as call:
        await rig.until_queued(1)
        answer = await rig.client.post("/abort_request", abort)
        assert (answer.status, answer.json()["queued_aborted"]) == (200, 1)
        await call.is_over.wait()
    assert rig.services.admission.queued == 0
    return call.answer


def of_sglang_queue(rid: str) -> dict[str, Any]:
    return {
        "text": "",
        "output_ids": [],
        "meta_info": {
            "id": rid,
            "finish_reason": {"type": "abort", "message": "Abort in waiting queue"},
            "completion_tokens": 0,
        },
    }


@pytest.mark.parametrize("abort", [{"rid": "q"}, {"rid": "q-1"}, {"abort_all": True}])
async def test_a_queued_request_ends_with_sglangs_abort_answer(abort: Any) -> None:
    async with open_router() as rig:
        answer = await abort_queued(rig, {**SHORT, "rid": "q-1"}, abort)
        assert (answer.status, answer.json()) == (200, of_sglang_queue("q-1"))
        assert answer.header("content-type") == "application/json"


async def test_a_queued_stream_gets_it_as_its_only_chunk() -> None:
    async with open_router() as rig:
        answer = await abort_queued(rig, {**SHORT, "rid": "q", "stream": True}, {"rid": "q"})
        assert answer.status == 200
        assert str(answer.header("content-type")).startswith("text/event-stream")
        first, done, rest = answer.body.split(b"\n\n")
        assert json.loads(first.removeprefix(b"data: ")) == of_sglang_queue("q")
        assert (done, rest) == (b"data: [DONE]", b"")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {**SHORT, "text": ["a", "b"], "rid": "q"}),
        ("/v1/completions", {"model": "m", "prompt": "a", "rid": "q"}),
        ("/v1/chat/completions", {"model": "m", "messages": [], "rid": "q"}),
    ],
)
async def test_other_shapes_get_an_error(path: str, body: Any) -> None:
    async with open_router() as rig:
        answer = await abort_queued(rig, body, {"rid": "q"}, path)
        assert (answer.status, answer.error["code"]) == (409, "request_aborted")


@pytest.mark.loopback
async def test_the_answer_of_the_router_has_the_form_of_the_workers_own() -> None:
    """A request aborted in the worker's queue and one aborted in the router's look alike."""
    settings = SimSettings(tokens_per_s=50.0, max_running=1)
    async with open_sims(1, settings) as [sim], open_router() as rig:
        rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", {**LONG, "rid": "runs"}):
            await until(lambda: sim.worker.engine.running)
            async with rig.client.opened("POST", "/generate", {**SHORT, "rid": "waits"}) as call:
                await until(lambda: sim.worker.engine.queue)
                await rig.client.post("/abort_request", {"rid": "waits"})
                await call.is_over.wait()
                theirs, ours = call.answer.json(), of_sglang_queue("waits")
                assert theirs["meta_info"]["finish_reason"] == ours["meta_info"]["finish_reason"]
                assert set(ours) <= set(theirs)


async def test_a_request_that_is_being_connected_ends_before_the_worker_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never_connects(*_arguments: object) -> None:
        await trio.sleep_forever()

    async with open_router() as rig:
        worker = rig.join("http://127.0.0.1:1")
        monkeypatch.setattr(rig.services.dialer, "connect", never_connects)
        async with rig.client.opened("POST", "/generate", {**SHORT, "rid": "q-1"}) as call:
            await rig.until_inflight(worker, 1)
            answer = await rig.client.post("/abort_request", {"rid": "q-1"})
            assert answer.json()["queued_aborted"] == 1
            await call.is_over.wait()
        assert call.answer.json() == of_sglang_queue("q-1")
        assert worker.inflight == 0
