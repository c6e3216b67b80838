"""Aborts that no worker can be told by an id, and what comes after an abort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.doubles.relay_rig import open_rig
from tests.web.asgi_client import AsgiClient
from tests.web.rig import ADMIN, LONG, SLOW, loaded_app, open_router, open_sims, until

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.doubles.worker_double import Peer, Seen
    from tests.web.asgi_client import Answer

KEYS = ("red=key-of-red-1", "blue=key-of-blue-1")
SAMPLES = {"text": "a", "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True, "n": 2}}
CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": "a"}],
    "max_tokens": 3000,
    "ignore_eos": True,
}


def is_abort_answer(answer: Answer) -> bool:
    """Whether this is what SGLang answers for a request aborted in its queue."""
    value = answer.json()
    assert (answer.status, value["text"], value["output_ids"]) == (200, "", [])
    return bool(value["meta_info"]["finish_reason"]["type"] == "abort")


def running(sim: RunningSim) -> int:
    return len(sim.worker.engine.live)


@pytest.mark.loopback
@pytest.mark.parametrize("api_keys", [(), KEYS])
async def test_all_of_a_caller_who_is_no_admin_ends_also_what_has_no_rid(api_keys: Any) -> None:
    async with (
        open_sims(1, SLOW) as [sim],
        open_router(admin_token=ADMIN, api_keys=api_keys) as rig,
    ):
        worker = rig.join(sim.url)
        red = rig.as_caller("key-of-red-1" if api_keys else None)
        async with red.opened("POST", "/generate", LONG) as plain:
            await until(lambda: running(sim) == 1)
            answer = await red.post("/abort_request", {"abort_all": True})
            value = answer.json()
            assert (answer.status, value["success"], value["results"]) == (200, True, [])
            assert (value["matched"], value["without_rid"], value["closed"]) == (1, 1, 1)
            await plain.is_over.wait()
        assert is_abort_answer(plain.answer)
        await until(lambda: running(sim) == 0)
        assert worker.inflight == 0
        assert (worker.state.value, worker.errors) == ("active", 0)


@pytest.mark.loopback
async def test_a_stream_without_a_rid_is_cut_and_others_go_on() -> None:
    async with open_sims(1, SLOW) as [sim], open_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        rig.join(sim.url)
        red, blue = rig.as_caller("key-of-red-1"), rig.as_caller("key-of-blue-1")
        async with (
            red.opened("POST", "/generate", {**LONG, "stream": True}) as stream,
            blue.opened("POST", "/generate", LONG) as other,
        ):
            await stream.chunk()
            await until(lambda: running(sim) == 2)
            assert (await red.post("/abort_request", {"abort_all": True})).json()["closed"] == 1
            await stream.is_over.wait()
            assert (stream.answer.status, stream.answer.is_complete) == (200, False)
            await until(lambda: running(sim) == 1)
            assert not other.is_over.is_set()


@pytest.mark.loopback
async def test_an_openai_client_is_told_not_to_ask_again() -> None:
    async with open_sims(1, SLOW) as [sim], open_router(admin_token=ADMIN) as rig:
        rig.join(sim.url)
        async with rig.client.opened("POST", "/v1/chat/completions", CHAT) as chat:
            await until(lambda: running(sim) == 1)
            await rig.client.post("/abort_request", {"abort_all": True})
            await chat.is_over.wait()
        assert (chat.answer.status, chat.answer.error["code"]) == (409, "request_aborted")
        assert chat.answer.header("x-should-retry") == "false"


@pytest.mark.loopback
@pytest.mark.parametrize("admin_token", [None, ADMIN])
@pytest.mark.parametrize(
    ("path", "body"), [("/generate", SAMPLES), ("/v1/chat/completions", {**CHAT, "n": 2})]
)
async def test_several_samples_are_ended_by_the_rid_of_their_caller(
    admin_token: str | None, path: str, body: Any
) -> None:
    async with open_sims(1, SLOW) as [sim], open_router(admin_token=admin_token) as rig:
        rig.join(sim.url)
        async with (
            rig.client.opened("POST", path, {**body, "rid": "job-1"}) as samples,
            rig.client.opened("POST", path, {**body, "rid": "other"}) as other,
        ):
            await until(lambda: running(sim) == 4)
            value = (await rig.client.post("/abort_request", {"rid": "job"})).json()
            assert (value["matched"], value["closed"], value["results"]) == (1, 1, [])
            await samples.is_over.wait()
            assert samples.answer.error["code"] == "request_aborted"
            await until(lambda: running(sim) == 2)
            assert not other.is_over.is_set()
            everything = (await rig.client.post("/abort_request", {"abort_all": True})).json()
            assert everything["success"] is True
            await other.is_over.wait()
        await until(lambda: running(sim) == 0)


@pytest.mark.parametrize("abort", [{"rid": "job-1"}, {"rid": "job"}, {"abort_all": True}])
@pytest.mark.parametrize("settings", [{}, {"admin_token": ADMIN}])
async def test_an_aborted_request_is_not_generated_by_another_worker(
    abort: Any, settings: dict[str, Any], autojump_clock: object
) -> None:
    """Its worker acknowledges the abort, and breaks off before it answered."""
    aborted = trio.Event()

    async def generate(peer: Peer, seen: Seen) -> None:
        if seen.path == "/abort_request":
            aborted.set()
            await peer.answer()
        else:
            await aborted.wait()
            peer.stream.shut()

    async with open_rig(**settings) as rig:
        for _ in range(2):
            rig.add(generate).answers_aborts = False
        client = AsgiClient(loaded_app(rig.services))
        async with client.opened("POST", "/generate", {"text": "a", "rid": "job-1"}) as call:
            await trio.testing.wait_all_tasks_blocked()
            told = await client.post("/abort_request", abort)
            assert (told.status, told.json()["matched"]) == (200, 1)
            await call.is_over.wait()
        assert is_abort_answer(call.answer)
        generated = [seen for double in rig.doubles for seen in double.seen]
        assert sum(seen.path == "/generate" for seen in generated) == 1
        await rig.assert_quiet()


@pytest.mark.parametrize(
    "more", [{}, {"rid": ["job-1", "job-2"], "text": ["a", "b"]}, {"rid": "other"}]
)
async def test_what_no_abort_named_is_still_tried_elsewhere(
    more: dict[str, Any], autojump_clock: object
) -> None:
    go = trio.Event()

    async def break_off(peer: Peer, _seen: Seen) -> None:
        await go.wait()
        peer.stream.shut()

    async with open_rig() as rig:
        rig.add(break_off)
        rig.add()
        client = AsgiClient(loaded_app(rig.services))
        body = {"text": "a", **more}
        async with client.opened("POST", "/generate", body) as call:
            await trio.testing.wait_all_tasks_blocked()
            await client.post("/abort_request", {"rid": "nobody"})
            go.set()
            await call.is_over.wait()
        assert (call.answer.status, call.answer.json()) == (200, body)


async def test_an_abort_of_thousands_takes_few_connections_and_no_loop(
    autojump_clock: object,
) -> None:
    most = 0

    async def generate(peer: Peer, seen: Seen) -> None:
        nonlocal most
        if seen.path != "/abort_request":
            await trio.sleep_forever()
        most = max(most, sum(not stream.is_closed for stream in rig.doubles[0].streams))
        await trio.sleep(0.01)
        await peer.answer()

    def batch(tag: str) -> dict[str, Any]:
        return {"rid": [f"{tag}-{number:05d}" for number in range(1500)], "text": ["x"] * 1500}

    async with open_rig(admin_token=ADMIN, api_keys=KEYS) as rig:
        rig.add(generate).answers_aborts = False
        app = loaded_app(rig.services)
        red, blue = (
            AsgiClient(app, headers={"authorization": f"Bearer {key.partition('=')[2]}"})
            for key in KEYS
        )
        async with (
            red.opened("POST", "/generate", batch("red")) as mine,
            blue.opened("POST", "/generate", batch("blue")),
        ):
            await until(lambda: len(rig.services.inflight) == 2)
            await trio.testing.wait_all_tasks_blocked()
            told = await red.post("/abort_request", {"abort_all": True})
            value = told.json()
            assert (told.status, value["success"], len(value["results"])) == (200, True, 1500)
            asked = [seen.json()["rid"] for seen in rig.doubles[0].seen[2:]]
            assert sorted(asked) == batch("red")["rid"]
            assert most <= 2 + 16
            mine.leave()
