from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.web.rig import LONG, SLOW, open_router, open_sims

A, B = "http://127.0.0.1:31001", "http://127.0.0.1:31002"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (f"/add_worker?url={A}", None),
        (f"/add_worker?worker_url={A}", None),
        ("/add_worker", {"url": A}),
        ("/add_worker", {"worker_url": A}),
        ("/add_worker", {"url": A, "worker_type": "regular", "bootstrap_port": None, "x": [1]}),
        (f"/add_worker?url={A}", {"url": B}),
        (f"/add_worker?worker_url={A}", {"url": B}),
        (f"/add_worker?url=&worker_url={A}", b""),
        ("/add_worker?url=http%3A%2F%2F127.0.0.1%3A31001", b"  \n"),
        (f"//add_worker/?url={A}", None),
        (f"/add_worker?url={A}/", None),
    ],
)
async def test_add_worker_takes_the_url_wherever_clients_put_it(target: str, body: Any) -> None:
    async with open_router() as rig:
        answer = await rig.client.post(target, body)
        assert answer.status == 200
        assert answer.json() == {"status": "success", "worker_urls": {A: 0}}
        assert (await rig.client.get("/list_workers")).json() == {"urls": [A]}


@pytest.mark.parametrize("route", ["/add_worker", "/remove_worker"])
@pytest.mark.parametrize("body", [None, {}, {"url": ""}, {"url": 7}, {"worker_type": "regular"}])
async def test_a_missing_url_is_a_plain_string_error(route: str, body: Any) -> None:
    async with open_router() as rig:
        answer = await rig.client.post(route, body)
        value = answer.json()
        assert (answer.status, set(value)) == (400, {"error", "code"})
        assert isinstance(value["error"], str)
        assert "worker_url is required" in value["error"]
        assert value["code"] == "url_missing"


async def test_adding_twice_changes_nothing() -> None:
    async with open_router() as rig:
        for _ in range(2):
            answer = await rig.client.post(f"/add_worker?url={A}")
            assert (answer.status, answer.json()["worker_urls"]) == (200, {A: 0})
        assert len(rig.services.pool.workers) == 1


async def test_add_worker_keeps_what_it_does_not_know() -> None:
    async with open_router() as rig:
        await rig.client.post("/add_worker", {"url": A, "cost": 2, "labels": {"rack": "a"}})
        worker = rig.services.pool.find(A)
        assert (worker.spec.extra, worker.spec.labels) == ({"cost": 2}, {"rack": "a"})


async def test_a_quarantined_worker_is_listed_and_comes_back_through_probation() -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        rig.join(B)
        rig.services.pool.quarantine(worker, trio.current_time())
        assert (await rig.client.get("/list_workers")).json() == {"urls": [A, B]}
        await rig.client.post(f"/add_worker?url={A}")
        assert worker.state.value == "probation"
        assert (await rig.client.get("/list_workers")).json() == {"urls": [A, B]}


async def test_a_removed_worker_can_be_added_again() -> None:
    async with open_router() as rig:
        rig.join(A)
        await rig.client.post(f"/remove_worker?url={A}")
        assert (await rig.client.get("/list_workers")).json() == {"urls": []}
        answer = await rig.client.post(f"/add_worker?url={A}")
        assert answer.json()["worker_urls"] == {A: 0}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (f"/remove_worker?url={A}", None),
        (f"/remove_worker?worker_url={A}", {"url": B}),
        ("/remove_worker", {"url": A}),
        ("/remove_worker", {"worker_url": A, "more": 1}),
    ],
)
async def test_remove_worker_takes_the_url_wherever_clients_put_it(target: str, body: Any) -> None:
    async with open_router() as rig:
        rig.join(A)
        rig.join(B)
        answer = await rig.client.post(target, body)
        assert (answer.status, answer.json()) == (200, {"status": "success"})
        assert (await rig.client.get("/list_workers")).json() == {"urls": [B]}


@pytest.mark.parametrize("url", [A, "not a url", "ftp://x", "http://169.254.169.254"])
async def test_removing_what_is_unknown_succeeds(url: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/remove_worker", {"url": url})
        assert (answer.status, answer.json()) == (200, {"status": "success"})


@pytest.mark.loopback
async def test_a_removed_worker_leaves_the_lists_at_once_and_finishes_what_it_has() -> None:
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        worker = rig.join(sim.url)
        body = {**LONG, "sampling_params": {"max_new_tokens": 20, "ignore_eos": True}}
        async with rig.client.opened("POST", "/generate", body) as call:
            await rig.until_inflight(worker, 1)
            added = await rig.client.post(f"/add_worker?url={B}")
            assert added.json()["worker_urls"] == {sim.url: 1, B: 0}
            await rig.client.post(f"/remove_worker?url={sim.url}")
            assert (await rig.client.get("/list_workers")).json() == {"urls": [B]}
            loads = (await rig.client.get("/get_loads")).json()
            assert loads == {"workers": [{"worker": B, "load": 0}]}
            await call.is_over.wait()
            assert call.answer.status == 200
            assert call.answer.json()["meta_info"]["completion_tokens"] == 20
        assert worker.id not in rig.services.pool.workers


async def test_a_body_that_is_no_object_is_refused() -> None:
    async with open_router() as rig:
        for body in (b"[1]", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000, b"1e999999"):
            answer = await rig.client.post("/add_worker", body)
            assert (answer.status, answer.error["code"]) == (400, "bad_request")
