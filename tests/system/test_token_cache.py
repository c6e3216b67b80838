"""The token cache in the real process: exact through faults, kills, restarts and full disks."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.config import RADIX_TREE_MIDDLEWARE
from miles_router.sim import SimSettings, running_sim
from miles_router.sim.tokenizer import load_tokenizer, tokenizer_dir
from tests.system.rig import QUICK_HEALTH, Router, serving, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from miles_router.sim import RunningSim

pytestmark = pytest.mark.loopback

CACHE = ("--token-cache", "--tokenizer", str(tokenizer_dir()))
DRIFT = SimSettings(drift=1.0)
OPENING = "<|im_start|>user\nWhat is 2 + {}?<|im_end|>\n<|im_start|>assistant\n"
TOOL = "<|im_end|>\n<|im_start|>tool\n42<|im_end|>\n<|im_start|>assistant\n"


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"text": text, "sampling_params": {"max_new_tokens": 24}, **fields}


async def dialogue(router: Router, key: str, number: int, *, turns: int = 3) -> str:
    """A rollout of one text client; returns the whole text."""
    text = OPENING.format(number)
    for turn in range(turns):
        answer = await router.post("/generate", body(text), {"X-Miles-Session": key})
        assert answer.status == 200, answer.body
        assert "output_token_logprobs" not in answer.json()["meta_info"]
        text += answer.json()["text"] + (TOOL if turn < turns - 1 else "")
    return text


async def read(router: Router, text: str, **fields: Any) -> Any:
    answer = await router.post("/retrieve_from_text", {"text": text, **fields})
    assert answer.status == 200, answer.body
    return answer.json()


def generated(sims: list[RunningSim]) -> dict[tuple[int, ...], dict[str, Any]]:
    """What the workers logged, by all ids of each generation."""
    entries = [entry for sim in sims for entry in sim.worker.engine.log.since(0)]
    return {(*entry["prompt_ids"], *entry["output_ids"]): entry for entry in entries}


def drifts(text: str, tokens: list[int]) -> bool:
    return load_tokenizer().encode(text) != tokens


async def test_dialogues_are_read_back_as_their_workers_made_them() -> None:
    async with (
        running_sim(DRIFT) as one,
        running_sim(DRIFT) as two,
        serving(*CACHE, "--capture-routed-experts", workers=[one.url, two.url]) as router,
    ):
        texts: dict[str, str] = {}

        async def roll(number: int) -> None:
            texts[f"s{number}"] = await dialogue(router, f"s{number}", number)

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(roll, number)
        made = generated([one, two])
        drifted = 0
        for session, text in texts.items():
            found = await read(router, text, session=session, return_routed_experts=True)
            assert found["exact"] is True
            tokens = tuple(found["tokens"])
            entry = made[tokens]
            # Every turn was asked for with log-probabilities, whatever the client asked for.
            size = len(entry["output_ids"])
            assert found["rollout_logp"][-size:] == entry["logprobs"]
            assert found["loss_mask"][-size:] == [1] * size
            assert found["routed_experts_shape"] == [len(tokens) - 1, 4, 2]
            for span in found["spans"]:
                if span["origin"] == "generated":
                    assert tokens[: span["end"]] in made
                    assert span["weight_version"] == "default"
            drifted += drifts(text, found["tokens"])
        assert drifted > 8


async def test_a_killed_router_knows_what_it_had_delivered(tmp_path: Path) -> None:
    flags = (*CACHE, "--journal", str(tmp_path / "journal"), "--capture-routed-experts")
    async with running_sim(DRIFT) as sim:
        router = await trio.to_thread.run_sync(lambda: Router(*flags, "--worker", sim.url))
        delivered: dict[str, str] = {}
        await router.wait_state(sim.url, "active")

        async def roll(number: int) -> None:
            turn = 0
            text = OPENING.format(number)
            while True:
                key = f"s{number}"
                answer = await router.post("/generate", body(text), {"X-Miles-Session": key})
                text += answer.json()["text"]
                delivered[key] = text
                text += TOOL
                turn += 1

        with trio.CancelScope() as rolling:
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(roll, number)
                await wait_until(lambda: len(delivered) == 8)
                await trio.sleep(0.5)
                router.process.send_signal(signal.SIGKILL)
                # What is under way now is not delivered: its connections break.
                rolling.cancel()
        router.close()
        made = generated([sim])
        async with serving(*flags, workers=[sim.url]) as again:
            for session, text in delivered.items():
                found = await read(again, text, session=session, return_routed_experts=True)
                assert found["exact"] is True
                assert tuple(found["tokens"]) in made
                assert found["routed_experts"] is not None
            # And they go on as if nothing had happened.
            key, text = next(iter(delivered.items()))
            await again.post("/generate", body(text + TOOL), {"X-Miles-Session": key})
            entry = sim.worker.engine.log.since(0)[-1]
            before = (await read(again, text, session=key))["tokens"]
            assert list(entry["prompt_ids"])[: len(before)] == before


async def test_the_documented_name_of_the_middleware_is_enough() -> None:
    flags = (
        "--miles-router-middleware-paths", RADIX_TREE_MIDDLEWARE,
        "--tokenizer", str(tokenizer_dir()),
    )  # fmt: skip
    async with running_sim(DRIFT) as sim, serving(*flags, workers=[sim.url]) as router:
        text = await dialogue(router, "s", 1)
        assert tuple((await read(router, text))["tokens"]) in generated([sim])
        assert len(router.events("token_cache_named")) == 1


async def test_streams_through_the_whole_router() -> None:
    async with running_sim(DRIFT) as sim, serving(*CACHE, workers=[sim.url]) as router:
        async with router.connected() as client:
            text = OPENING.format(7)
            await client.send("POST", "/generate", body(text, stream=True))
            await client.head()
            received = b""
            while piece := await client.chunk():
                received += piece
        assert received.endswith(b"data: [DONE]\n\n")
        assert b"output_token_logprobs" not in received
        entry = sim.worker.engine.log.since(0)[-1]
        found = await read(router, text + entry["output_text"])
        assert found["tokens"] == [*entry["prompt_ids"], *entry["output_ids"]]


FAULTS = ("html", "list", "garbage", "truncate", "status=500", "gzip", "short_length")


async def test_a_faulty_worker_is_never_believed() -> None:
    async with (
        running_sim(DRIFT) as sim,
        serving(*CACHE, "--retries", "0", *QUICK_HEALTH, workers=[sim.url]) as router,
    ):
        for number, fault in enumerate(FAULTS):
            sim.worker.add_fault(f"{fault}:path=/generate,count=1")
            async with router.connected() as client:
                await client.send("POST", "/generate", body(OPENING.format(number)))
                # A cut answer is as good as an error here.
                with (
                    trio.fail_after(5),
                    suppress(AssertionError, trio.BrokenResourceError, ValueError),
                ):
                    await client.receive("POST")
            stats = (await router.call("GET", "/cache/stats")).json()["cache"]
            assert (fault, stats["stored"], stats["failures"]) == (fault, 0, 0)
            await router.wait_state(sim.url, "active")
        text = await dialogue(router, "s", 2, turns=2)
        assert tuple((await read(router, text))["tokens"]) in generated([sim])


async def test_a_client_that_leaves_is_aborted_by_the_rid_the_router_gave() -> None:
    slow = SimSettings(tokens_per_s=20)
    async with running_sim(slow) as sim, serving(*CACHE, workers=[sim.url]) as router:
        async with router.connected() as client:
            long = {"max_new_tokens": 400, "ignore_eos": True}
            await client.send("POST", "/generate", {"text": "hi", "sampling_params": long})
            await wait_until(lambda: len(sim.worker.engine.live) == 1)
        await wait_until(lambda: sim.worker.stats.abort_requests, timeout_s=2)
        (rid,) = (entry["rid"] for entry in sim.worker.engine.log.since(0))
        assert sim.worker.stats.abort_requests[0]["rid"] == rid
        assert (await router.call("GET", "/cache/stats")).json()["cache"]["stored"] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--token-cache",), "give --tokenizer"),
        (("--token-cache", "--tokenizer", "/nowhere/model"), "does not exist; give a"),
        ((*CACHE, "--journal", "/proc/nope"), "--journal"),
    ],
)
def test_start_up_errors_say_what_to_do(flags: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "miles_router", "serve", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
