from __future__ import annotations

import base64
from typing import Any

import pytest
import trio

from miles_router.core.request import CONTROL_PATHS, ONE_WORKER_PATHS
from tests.web.rig import ADMIN, open_router, open_sims

LOCKED: dict[str, Any] = {"admin_token": ADMIN, "api_keys": ("red=key-of-red-1",)}
UPDATE = {"model_path": "/new", "weight_version": "v2"}
SPELLINGS = [
    "/update_weights_from_disk",
    "//update_weights_from_disk",
    "/%75pdate_weights_from_disk",
    "/update_weights_from_disk/",
    "/update%5Fweights_from_disk//",
    "/generate/../update_weights_from_disk",
    "/./update_weights_from_disk",
    "/x/%2e%2e/update_weights_from_disk",
    "/..%2Fupdate_weights_from_disk",
    "http://router/update_weights_from_disk",
    "HTTP://router//update_weights_from_disk",
]


@pytest.mark.loopback
@pytest.mark.parametrize("target", SPELLINGS)
async def test_every_spelling_of_a_control_path_reaches_all_workers(target: str) -> None:
    async with open_sims(2) as sims, open_router() as rig:
        for sim in sims:
            rig.join(sim.url)
        answer = await rig.client.post(target, UPDATE)
        value = answer.json()
        assert (answer.status, value["success"], value["succeeded"]) == (200, True, 2)
        assert [one["url"] for one in value["results"]] == [sim.url for sim in sims]
        assert all(one["body"]["success"] for one in value["results"])
        assert [sim.worker.engine.weight_version for sim in sims] == ["v2", "v2"]


@pytest.mark.loopback
@pytest.mark.parametrize("target", SPELLINGS)
@pytest.mark.parametrize(("key", "status"), [(None, 401), ("key-of-red-1", 403)])
async def test_no_spelling_gets_past_the_admin_token(
    target: str, key: str | None, status: int
) -> None:
    async with open_sims(1) as [sim], open_router(**LOCKED) as rig:
        rig.join(sim.url)
        answer = await rig.as_caller(key).post(target, UPDATE)
        assert answer.status == status
        assert sim.worker.stats.requests == {}
        assert (await rig.as_caller(ADMIN).post(target, UPDATE)).status == 200


@pytest.mark.loopback
@pytest.mark.parametrize(
    "target", ["/pause_generation#x", "/#/../pause_generation", "http://r/pause_generation#"]
)
async def test_a_target_with_a_fragment_is_refused(target: str) -> None:
    """Servers of workers cut a fragment off, and would serve the path before it."""
    async with open_sims(1) as [sim], open_router(**LOCKED) as rig:
        rig.join(sim.url)
        answer = await rig.as_caller("key-of-red-1").post(target, {})
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert sim.worker.stats.requests == {}


@pytest.mark.loopback
@pytest.mark.parametrize(
    "target", ["http://elsewhere/update_weights_from_disk", "/update_weights_from_disk#x"]
)
async def test_no_bytes_on_a_connection_get_past_the_admin_token(target: str) -> None:
    async with open_sims(1) as [sim], open_router(**LOCKED) as rig:
        rig.join(sim.url)
        port = await rig.listen()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = f"POST {target} HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer key-of-red-1\r\n"
            await stream.send_all(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
            status = (await stream.receive_some()).split()[1]
        assert status in {b"403", b"400"}
        assert sim.worker.stats.requests == {}


@pytest.mark.parametrize("path", sorted({*CONTROL_PATHS, "/update_weights_from_tensor"}))
async def test_every_control_path_asks_all_and_not_one(path: str) -> None:
    async with open_router() as rig:
        rig.join("http://127.0.0.1:1")
        answer = await rig.client.post(path, {})
        assert (answer.status, answer.json()["failed"]) == (502, 1)


@pytest.mark.loopback
async def test_a_request_arrives_as_it_came_but_for_the_name_of_the_worker() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url, api_key="worker-key")
        body = b'{"mode" : "in_place"}'
        await rig.client.request(
            "POST",
            "/pause_generation?a=1&a=%C3%A9+x&worker=" + rig.services.pool.find(sim.url).id,
            body,
            {"Content-Type": "application/json; charset=utf-8", "Authorization": "Bearer mine"},
        )
        seen = sim.worker.stats.shown()["last_requests"]["/pause_generation"]
        headers = dict(seen["headers"])
        assert seen["target"] == "/pause_generation?a=1&a=%C3%A9+x"
        assert base64.b64decode(seen["body_base64"]) == body
        assert headers["content-type"] == "application/json; charset=utf-8"
        assert headers["authorization"] == "Bearer worker-key"
        assert sim.worker.engine.is_paused


@pytest.mark.loopback
@pytest.mark.parametrize("by", ["id", "url"])
async def test_a_named_worker_answers_itself(by: str) -> None:
    async with open_sims(2) as sims, open_router() as rig:
        workers = [rig.join(sim.url) for sim in sims]
        name = getattr(workers[1], by)
        answer = await rig.client.post(f"/update_weights_from_disk?worker={name}", UPDATE)
        assert answer.status == 200
        assert answer.json()["message"] == "Succeeded to update model weights."
        assert answer.header("x-miles-worker") == workers[1].id
        assert [sim.worker.engine.weight_version for sim in sims] == ["default", "v2"]
        refused = await rig.client.post(f"/update_weights_from_disk?worker={name}", {})
        assert refused.status in {400, 422}  # the worker's own answer


# -- reads of one worker --------------------------------------------------------------------------

READS = sorted(ONE_WORKER_PATHS)


@pytest.mark.loopback
@pytest.mark.parametrize("path", READS)
async def test_how_workers_were_started_is_shown_in_the_words_of_one(path: str) -> None:
    async with open_sims(2) as sims, open_router() as rig:
        dead = rig.join("http://127.0.0.1:1")
        workers = [rig.join(sim.url) for sim in sims]
        answer = await rig.client.get(f"{path}?verbose=1")
        assert (answer.status, answer.header("x-miles-worker")) == (200, workers[0].id)
        assert answer.json()["version"]
        target = sims[0].worker.stats.shown()["last_requests"][path]["target"]
        assert target == f"{path}?verbose=1"
        named = await rig.client.get(f"{path}?worker={workers[1].id}")
        assert (named.status, named.header("x-miles-worker")) == (200, workers[1].id)
        assert (await rig.client.get(f"{path}?worker={dead.id}")).status == 502


@pytest.mark.loopback
@pytest.mark.parametrize(
    "target", [*READS, "//server_info", "/%73erver_info", "/x/../server_info/"]
)
async def test_the_keys_of_workers_are_shown_to_no_tenant(target: str) -> None:
    async with open_sims(1) as [sim], open_router(**LOCKED) as rig:
        rig.join(sim.url)
        for key, status in ((None, 401), ("key-of-red-1", 403)):
            assert (await rig.as_caller(key).get(target)).status == status
        assert sim.worker.stats.requests == {}
        assert (await rig.as_caller(ADMIN).get(target)).status == 200


@pytest.mark.parametrize("path", READS)
async def test_where_no_worker_is_healthy_none_can_be_asked(path: str) -> None:
    async with open_router() as rig:
        rig.add("http://127.0.0.1:1")
        answer = await rig.client.get(path)
        assert (answer.status, answer.error["code"]) == (503, "no_available_worker")
        rig.join("http://127.0.0.1:2")
        answer = await rig.client.get(path)
        assert (answer.status, answer.error["code"]) == (502, "worker_failed")


async def test_naming_an_unknown_worker_is_404() -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/pause_generation?worker=nobody")
        assert (answer.status, answer.error["code"]) == (404, "worker_not_found")


async def test_a_named_worker_that_cannot_be_reached_is_502() -> None:
    async with open_router() as rig:
        worker = rig.join("http://127.0.0.1:1")
        answer = await rig.client.post(f"/pause_generation?worker={worker.id}")
        assert (answer.status, answer.error["code"]) == (502, "worker_failed")


@pytest.mark.loopback
async def test_some_failures_are_206_and_say_whose() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url)
        gone = rig.join("http://127.0.0.1:1")
        answer = await rig.client.post("/pause_generation", {"mode": "abort"})
        value = answer.json()
        assert (answer.status, value["success"]) == (206, False)
        assert (value["succeeded"], value["failed"]) == (1, 1)
        assert value["results"][1]["worker"] == gone.id
        assert value["results"][1]["error"]["code"] == "worker_failed"


async def test_control_of_an_empty_pool_does_not_claim_success() -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/pause_generation", {})
        assert (answer.status, answer.error["code"]) == (503, "no_available_worker")


@pytest.mark.loopback
async def test_a_body_that_comes_in_pieces_arrives_whole() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url)
        pieces: list[Any] = [b'{"mode":', b' "in_pl', b'ace"}']
        assert (await rig.client.post("/pause_generation", pieces)).status == 200
        assert sim.worker.engine.is_paused


async def test_a_control_body_beyond_the_limit_is_413() -> None:
    async with open_router(max_body_bytes=100) as rig:
        for body in (b"x" * 101, [b"x" * 60, b"x" * 60]):
            answer = await rig.client.post("/pause_generation", body)
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
