"""A router with the token cache serves known prompts in the express, and all others as ever."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import trio

from miles_router.core.trajectory.finding import find_prompt
from miles_router.errors import RequestAborted
from miles_router.net.pipe import LEAST_BYTES
from miles_router.plugins.token_cache import continuing
from miles_router.plugins.token_cache.continuing import FoundPrompt
from miles_router.sim.tokenizer import tokenizer_dir
from tests.doubles.express_rig import ExpressRig, needs_epoll, open_express, request
from tests.plugins.token_cache.rig import answer, drifting, ids_of, shown, sim_tokenizer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from miles_router.net.token_cache import TokenCache
    from tests.doubles.worker_double import Peer, Seen

pytestmark = [pytest.mark.loopback, needs_epoll]

PARTS, _WHOLE = drifting()
PROMPT = "A question:"
LONG = " and so on" * 200  # more than is tokenized at once
JSON = {"content-type": "application/json"}


async def generate(peer: Peer, seen: Seen, *, output: list[int] = PARTS) -> None:
    """Answer as SGLang does."""
    body = json.dumps(answer(seen.json(), output)).encode()
    await peer.answer(body, headers=JSON)


@asynccontextmanager
async def open_cached(**settings: Any) -> AsyncIterator[ExpressRig]:
    with patch("miles_router.open_cache.load_tokenizer", lambda *_args, **_named: sim_tokenizer()):
        context = open_express(token_cache=True, tokenizer=str(tokenizer_dir()), **settings)
        async with context as rig:
            yield rig
            cache = cache_of(rig)
            assert cache.counters.failures == 0
            await rig.assert_quiet()
            assert_nothing_held(cache)
            cache.close()


def cache_of(rig: ExpressRig) -> TokenCache:
    assert rig.services.token_cache is not None
    return rig.services.token_cache


def assert_nothing_held(cache: TokenCache) -> None:
    """No request holds a turn: what holds one is a later turn that is stored."""
    for namespace in cache.store.namespaces.values():
        for trajectory in namespace.trajectories.values():
            turn = trajectory.tip
            assert turn.holders == len(tuple(turn.later))


def asking(text: str = PROMPT, *headers: bytes, **more: Any) -> bytes:
    return request(json.dumps({"text": text, **more}).encode(), *headers)


async def warmed(rig: ExpressRig, answers: Any = generate, count: int = 1) -> None:
    """Workers whose heads are known, with a connection that stands idle."""
    for _ in range(count):
        await rig.add(answers)
    await rig.warm()
    client = await rig.connect()
    for _ in range(2):
        await client.ask(asking("warm"))


async def test_a_known_prompt_needs_no_task() -> None:
    async with open_cached() as rig:
        await warmed(rig)
        by_task, concluded = rig.ingress.by_task, rig.express.concluded
        client = await rig.connect()
        for number in range(5):
            status, body = await client.ask(asking(rid=f"r{number}"))
            said = json.loads(body)
            assert (status, said["output_ids"]) == (200, PARTS)
            assert "output_token_logprobs" not in said["meta_info"]
        assert (rig.ingress.by_task, rig.express.concluded) == (by_task, concluded + 5)
        sent = rig.doubles[0].seen[-1]
        assert sent.json() == {
            "input_ids": ids_of(PROMPT),
            "rid": "r4",
            "return_logprob": True,
        }
        counters = cache_of(rig).counters
        assert counters.prompts == {"tokenized": 2, "repeated": 5}
        assert counters.stored == 7
        answered = await rig.rig.client.post("/retrieve_from_text", {"text": PROMPT + shown(PARTS)})
        assert answered.json()["tokens"] == [*ids_of(PROMPT), *PARTS]


async def test_the_next_turn_passes_too_and_holds_what_it_continues() -> None:
    async with open_cached() as rig:
        await warmed(rig)
        client = await rig.connect()
        await client.ask(asking())
        by_task = rig.ingress.by_task
        text = PROMPT + shown(PARTS) + " more"
        assert (await client.ask(asking(text, b"Accept-Encoding: gzip")))[0] == 200
        sent = rig.doubles[0].seen[-1]
        assert sent.json()["input_ids"] == [*ids_of(PROMPT), *PARTS, *ids_of(" more")]
        assert sent.header("accept-encoding") == "identity"
        assert rig.ingress.by_task <= by_task + 1  # a head that is new may take one


@pytest.mark.parametrize(
    "ask",
    [
        partial(asking, LONG),
        partial(asking, stream=True),
        partial(asking, image_data="x"),
        partial(asking, sampling_params={"n": "?"}),
    ],
)
async def test_all_others_go_through_the_middleware_and_are_counted_once(ask: Any) -> None:
    async with open_cached() as rig:
        await warmed(rig)
        counters = cache_of(rig).counters
        before = sum(counters.prompts.values()) + sum(counters.refused.values())
        by_task = rig.ingress.by_task
        client = await rig.connect()
        assert (await client.ask(ask()))[0] == 200
        assert rig.ingress.by_task == by_task + 1
        after = sum(counters.prompts.values()) + sum(counters.refused.values())
        stream_refused = counters.refused.get("answer_not_json", 0)
        assert after - before - stream_refused == 1


@pytest.mark.parametrize("tokens", [2_000, LEAST_BYTES // 8])
async def test_a_large_answer_is_taken_up_and_kept(tokens: int) -> None:
    output = (PARTS * tokens)[:tokens]
    async with open_cached() as rig:
        await warmed(rig, partial(generate, output=output))
        client = await rig.connect()
        began = rig.express.began
        stored = cache_of(rig).counters.stored
        status, body = await client.ask(asking())
        assert (status, json.loads(body)["output_ids"]) == (200, output)
        assert rig.express.began == began + 1
        assert cache_of(rig).counters.stored == stored + 1


async def test_other_paths_are_in_the_express_as_without_a_cache() -> None:
    async with open_cached() as rig:
        await warmed(rig, count=1)
        await rig.add()
        by_task = rig.ingress.by_task
        client = await rig.connect()
        rig.doubles[0].answer = rig.doubles[1].answer
        for _ in range(4):
            data = request(b'{"n": 1}', target=b"/v1/completions")
            assert await client.ask(data) == (200, b'{"n": 1}')
        assert rig.ingress.by_task <= by_task + 1


async def test_a_worker_that_breaks_off_is_replaced_and_the_turn_is_kept() -> None:
    async def break_off(peer: Peer, _seen: Seen) -> None:
        peer.stream.shut()

    async with open_cached(retries=2) as rig:
        await warmed(rig, count=2)
        client = await rig.connect()
        await client.ask(asking())
        rig.doubles[0].answer = break_off
        text = PROMPT + shown(PARTS) + " more"
        for _ in range(4):
            status, body = await client.ask(asking(text))
            assert (status, json.loads(body)["output_ids"]) == (200, PARTS)
        assert cache_of(rig).counters.prompts["continued"] == 4


async def test_an_answer_that_is_an_error_reaches_the_client() -> None:
    async def refuse(peer: Peer, _seen: Seen) -> None:
        await peer.answer(b'{"error": "x"}', status=400, headers=JSON)

    async with open_cached() as rig:
        await warmed(rig)
        rig.doubles[0].answer = refuse
        client = await rig.connect()
        for _ in range(3):
            assert await client.ask(asking()) == (400, b'{"error": "x"}')
        assert cache_of(rig).counters.refused["worker_error"] == 3


async def test_a_client_that_leaves_is_aborted_by_the_id_that_it_got_here() -> None:
    async with open_cached() as rig:
        await warmed(rig)
        client = await rig.connect()
        await client.ask(asking())
        waits = trio.Event()

        async def hang(_peer: Peer, _seen: Seen) -> None:
            waits.set()
            await trio.sleep_forever()

        rig.doubles[0].answer = hang
        await client.send(asking(PROMPT + shown(PARTS) + " more"))
        await waits.wait()
        client.leave()
        double = rig.doubles[0]
        await rig.until(lambda: double.aborted)
        assert double.aborted == [double.seen[-1].json()["rid"]]
        await rig.until(lambda: not len(rig.services.inflight))
        await rig.until(lambda: double.open_count == len(rig.services.idle))


async def test_a_request_that_is_aborted_is_answered_as_through_the_middleware() -> None:
    async with open_cached() as rig:
        await warmed(rig)
        client = await rig.connect()
        await client.ask(asking())
        waits = trio.Event()
        double = rig.doubles[0]

        async def hang(_peer: Peer, _seen: Seen) -> None:
            waits.set()
            await trio.sleep_forever()

        double.answer = hang
        began = rig.express.began
        await client.send(asking(rid="mine"))
        await waits.wait()
        assert rig.express.began == began + 1
        (running,) = rig.services.inflight.named("mine", None)
        assert running.rids == ("mine",)
        running.stop(RequestAborted("aborted in a test"))
        status, body = await client.answer()
        said = json.loads(body)
        assert (status, said["meta_info"]["finish_reason"]["type"]) == (200, "abort")
        await rig.until(lambda: double.aborted == ["mine"])


@pytest.mark.parametrize("has_idle", [True, False])
async def test_a_body_whose_ids_outgrow_the_limit_leaves_nothing_behind(has_idle: bool) -> None:
    async with open_cached(max_body_bytes=900) as rig:
        await warmed(rig)
        began = rig.express.began
        if not has_idle:
            rig.services.idle.close_all()
        client = await rig.connect()
        await client.ask(asking("q7xz" * 180))
        assert rig.express.began == began
        await rig.until(lambda: not rig.services.admission.inflight)
        assert len(rig.services.inflight) == 0
        assert_nothing_held(cache_of(rig))


async def test_a_cache_that_fails_as_it_begins_stops_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    async with open_cached() as rig:
        await warmed(rig)
        monkeypatch.setattr(FoundPrompt, "note", fail)
        client = await rig.connect()
        assert (await client.ask(asking()))[0] == 200
        assert cache_of(rig).counters.failures == 1
        await rig.assert_quiet()
        cache_of(rig).counters.failures = 0  # as wanted


async def test_a_prompt_that_has_to_wait_for_a_worker_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    def counted(*parts: Any) -> Any:
        nonlocal looks
        looks += 1
        return find_prompt(*parts)

    may_answer = trio.Event()

    async def later(peer: Peer, seen: Seen) -> None:
        await may_answer.wait()
        await generate(peer, seen)

    async with open_cached(max_inflight_per_worker=1) as rig:
        await warmed(rig)
        rig.doubles[0].answer = later
        monkeypatch.setattr(continuing, "find_prompt", counted)
        clients = [await rig.connect() for _ in range(2)]
        for client in clients:
            await client.send(asking())
            await trio.sleep(0.02)
        assert looks == 2
        may_answer.set()
        for client in clients:
            assert (await client.answer())[0] == 200
