from __future__ import annotations

import pytest
import trio
import trio.testing

from miles_router.sim import SimSettings
from tests.sim.raw_client import open_bench, open_client

LONG = {"text": "a", "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}}


@pytest.mark.parametrize("path", ["/health", "/health_generate", "/ready", "/ping"])
async def test_health_has_an_empty_body(path: str) -> None:
    async with open_client() as client:
        found = await client.get(path)
        assert (found.status, found.body) == (200, b"")


async def test_health_can_take_its_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_client(SimSettings(health_delay_s=1.5)) as client:
        began = trio.current_time()
        await client.get("/health")
        assert trio.current_time() - began == pytest.approx(1.5)


async def test_health_waits_while_paused_and_gives_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        probe, control = bench.connect(), bench.connect()
        await control.post("/pause_generation", {"mode": "in_place"})
        assert (await probe.get("/health")).status == 503
        assert trio.current_time() == pytest.approx(20)
        await probe.send("GET", "/health")
        await trio.sleep(10)
        await control.post("/continue_generation", {})
        assert (await probe.receive()).status == 200
        assert trio.current_time() == pytest.approx(30)


async def test_model_info_under_both_names() -> None:
    async with open_client(SimSettings(weight_version="7", model_path="m")) as client:
        new, old = await client.get("/model_info"), await client.get("/get_model_info")
        assert new.json() == old.json()
        info = new.json()
        assert (info["weight_version"], info["model_path"], info["disaggregation_mode"]) == (
            "7",
            "m",
            "null",
        )
        server = (await client.get("/server_info")).json()
        assert server == (await client.get("/get_server_info")).json()
        assert server["version"] == "0.5.23"


@pytest.mark.parametrize("path", ["/get_weight_version", "/get_load", "/nothing"])
async def test_routes_that_are_gone_or_never_were(path: str) -> None:
    async with open_client() as client:
        found = await client.get(path)
        assert (found.status, found.json()) == (404, {"detail": "Not Found"})


async def test_a_wrong_method() -> None:
    async with open_client() as client:
        found = await client.get("/generate")
        assert (found.status, found.json()) == (405, {"detail": "Method Not Allowed"})
        assert found.header("allow") == "POST, PUT"


@pytest.mark.parametrize("mode", ["in_place", "retract"])
async def test_pause_and_continue(mode: str, autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        running, held, control = bench.connect(), bench.connect(), bench.connect()
        await running.send("POST", "/generate", LONG)
        await trio.sleep(1.05)
        paused = await control.post("/pause_generation", {"mode": mode})
        assert paused.json() == {"message": "Generation paused successfully.", "status": "ok"}
        assert (await control.get("/ready")).status == 503
        assert (await control.get("/ping")).status == 200
        await held.send("POST", "/generate", LONG)
        await trio.sleep(1000)
        stats = (await control.get("/sim/stats")).json()
        assert (stats["held"], stats["running"] + stats["queued"]) == (1, 1)
        resumed = await control.post("/continue_generation", {})
        assert resumed.json()["status"] == "ok"
        answer = (await running.receive()).json()
        assert len(answer["output_ids"]) == 100
        assert answer["meta_info"]["num_retractions"] == (1 if mode == "retract" else 0)
        assert (await held.receive()).status == 200


async def test_pausing_by_default_aborts(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        running, control = bench.connect(), bench.connect()
        await running.send("POST", "/generate", LONG)
        await trio.sleep(1.05)
        await control.post("/pause_generation", {})
        answer = (await running.receive()).json()
        assert answer["meta_info"]["finish_reason"]["type"] == "abort"
        assert len(answer["output_ids"]) == 10
        refused = await control.post("/pause_generation", {"mode": "later"})
        assert refused.status == 400


async def test_a_new_weight_version_aborts_by_default(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        running, control = bench.connect(), bench.connect()
        await running.send("POST", "/generate", LONG)
        await trio.sleep(1)
        found = await control.post("/update_weight_version", {"new_version": "8"})
        assert found.json() == {
            "success": True,
            "message": "Weight version updated to 8",
            "new_version": "8",
        }
        meta = (await running.receive()).json()["meta_info"]
        assert meta["finish_reason"]["type"] == "abort"
        assert (await control.get("/model_info")).json()["weight_version"] == "8"
        number = await control.post("/update_weight_version", {"new_version": 8})
        assert (number.status, number.json()["object"]) == (400, "error")


async def test_an_answer_can_mix_weights(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=10, weight_version="7")) as bench:
        running, control = bench.connect(), bench.connect()
        await running.send("POST", "/generate", LONG)
        await trio.sleep(1.05)
        body = {"new_version": "8", "abort_all_requests": False}
        await control.post("/update_weight_version", body)
        meta = (await running.receive()).json()["meta_info"]
        assert meta["weight_version"] == "8"
        assert meta["weight_versions"] == [
            {"version": "7", "start": 0, "end": 10},
            {"version": "8", "start": 10, "end": 100},
        ]


async def test_weights_from_disk() -> None:
    async with open_client() as client:
        body = {"model_path": "other/model", "weight_version": "3"}
        found = await client.post("/update_weights_from_disk", body)
        assert found.json() == {
            "success": True,
            "message": "Succeeded to update model weights.",
            "num_paused_requests": 0,
        }
        info = (await client.get("/model_info")).json()
        assert (info["weight_version"], info["served_model_name"]) == ("3", "other/model")
        assert (await client.post("/update_weights_from_disk", {})).status == 400
        tensor = await client.post("/update_weights_from_tensor", {"weight_version": "4"})
        assert tensor.json()["success"] is True
        assert (await client.get("/model_info")).json()["weight_version"] == "4"


async def test_flushing_needs_an_idle_worker(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench(SimSettings(tokens_per_s=100)) as bench:
        running, control = bench.connect(), bench.connect()
        idle = await control.get("/flush_cache")
        assert (idle.status, idle.body[:14]) == (200, b"Cache flushed.")
        assert idle.header("content-type") == "text/plain; charset=utf-8"
        await running.send("POST", "/generate", LONG)
        await trio.sleep(0.5)
        assert (await control.post("/flush_cache", {})).status == 400
        assert (await control.get("/flush_cache?timeout=5")).status == 200
        assert trio.current_time() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("mode", "status"), [("retract", 200), ("in_place", 400), ("abort", 200)])
async def test_flushing_while_paused_needs_no_cache_in_use(
    mode: str, status: int, autojump_clock: trio.testing.MockClock
) -> None:
    """What a pause has retracted waits in the queue, and its cache may go."""
    async with open_bench(SimSettings(tokens_per_s=10)) as bench:
        running, control = bench.connect(), bench.connect()
        await running.send("POST", "/generate", {**LONG, "input_ids": [5] * 64})
        await trio.sleep(1.05)
        await control.post("/pause_generation", {"mode": mode})
        assert (await control.post("/flush_cache", {})).status == status
        assert (await control.get("/flush_cache?timeout=5")).status == status
        await control.post("/continue_generation", {})
        meta = (await running.receive()).json()["meta_info"]
        assert meta["completion_tokens"] == (10 if mode == "abort" else 100)
        if mode == "retract":
            assert meta["cached_tokens"] == 0, "it is computed again"


@pytest.mark.parametrize("path", ["/load_lora_adapter", "/slow_down", "/weights_checker"])
async def test_commands_without_effect_are_accepted_and_counted(path: str) -> None:
    async with open_client() as client:
        assert (await client.post(path, {"a": 1})).status == 200
        stats = (await client.get("/sim/stats")).json()
        assert stats["requests"] == {path: 1}
        assert stats["last_request"]["body_base64"] == "eyJhIjogMX0="


async def test_profiling_answers_text() -> None:
    async with open_client() as client:
        assert (await client.post("/start_profile", {})).body == b"Start profiling.\n"
