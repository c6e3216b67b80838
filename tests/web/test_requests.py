from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.core.inflight import Running
from tests.web.rig import ADMIN, LONG, SHORT, SLOW, open_router, open_sims, until

if TYPE_CHECKING:
    from miles_router.sim import RunningSim
    from tests.web.asgi_client import Answer

KEYS = ("red=key-of-red-1", "blue=key-of-blue-1")
ABORTED = {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}


def aborts(sim: RunningSim) -> list[str]:
    """The rids that the worker was told to abort."""
    return [body["rid"] for body in sim.worker.stats.abort_requests]


async def until_running(sim: RunningSim, *rids: str) -> None:
    await until(lambda: {one.item.rid for one in sim.worker.engine.running.values()} == set(rids))


def finish_reason(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json()["meta_info"]["finish_reason"]


# -- /abort_request: running requests -------------------------------------------------------------


@pytest.mark.loopback
async def test_an_abort_goes_to_the_worker_that_runs_the_request() -> None:
    async with open_sims(2, SLOW) as sims, open_router(policy="round_robin") as rig:
        for sim in sims:
            rig.join(sim.url)
        async with (
            rig.client.opened("POST", "/generate", {**LONG, "rid": "first"}) as first,
            rig.client.opened("POST", "/generate", {**LONG, "rid": "second"}),
        ):
            await until(lambda: all(sim.worker.engine.running for sim in sims))
            [a] = sims[0].worker.engine.running.values()
            runs_first, other = sims if a.item.rid == "first" else sims[::-1]
            answer = await rig.client.post("/abort_request", {"rid": "first"})
            await first.is_over.wait()
            assert finish_reason(first.answer) == ABORTED
            assert (aborts(runs_first), aborts(other)) == (["first"], [])
            value = answer.json()
            assert (answer.status, value["success"], value["matched"]) == (200, True, 1)
            url = runs_first.url
            assert value["results"] == [
                {"worker": rig.services.pool.find(url).id, "url": url, "status": 200, "body": None}
            ]


@pytest.mark.loopback
@pytest.mark.parametrize("rid", ["batch", ["batch_a", "batch_b"]])
async def test_a_batch_is_aborted_by_what_its_ids_begin_with(rid: Any) -> None:
    body = {**LONG, "text": ["a", "b"], "rid": rid}
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", body) as call:
            ids = rid if isinstance(rid, list) else ["batch_0", "batch_1"]
            await until_running(sim, *ids)
            answer = await rig.client.post("/abort_request", {"rid": "batch"})
            await call.is_over.wait()
            assert [one["meta_info"]["finish_reason"] for one in call.answer.json()] == [
                ABORTED
            ] * 2
            assert sorted(aborts(sim)) == sorted(ids)
            assert answer.json()["matched"] == 1


@pytest.mark.loopback
async def test_only_the_items_of_a_batch_that_are_named_are_aborted() -> None:
    body = {**LONG, "text": ["a", "b"], "rid": ["left", "right"]}
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", body):
            await until_running(sim, "left", "right")
            await rig.client.post("/abort_request", {"rid": "left"})
            assert aborts(sim) == ["left"]
            await until_running(sim, "right")


@pytest.mark.loopback
async def test_abort_all_reaches_every_worker_also_those_that_leave() -> None:
    async with open_sims(2, SLOW) as sims, open_router() as rig:
        leaving = rig.join(sims[0].url)
        async with rig.client.opened("POST", "/generate", LONG) as call:
            await rig.until_inflight(leaving, 1)
            await until(lambda: sims[0].worker.engine.running)
            rig.join(sims[1].url)
            rig.services.pool.remove(leaving, trio.current_time())
            answer = await rig.client.post("/abort_request", {"abort_all": True})
            await call.is_over.wait()
            assert finish_reason(call.answer) == ABORTED
        assert answer.status == 200
        assert [one["url"] for one in answer.json()["results"]] == [sim.url for sim in sims]
        for sim in sims:
            assert sim.worker.stats.abort_requests == [{"rid": "", "abort_all": True}]


@pytest.mark.loopback
async def test_an_unknown_rid_is_passed_on_by_those_who_may_abort_everything() -> None:
    async with open_sims(2) as sims, open_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        for sim in sims:
            rig.join(sim.url)
        answer = await rig.as_caller("key-of-red-1").post("/abort_request", {"rid": "nobody"})
        assert (answer.status, answer.json()["matched"], answer.json()["results"]) == (200, 0, [])
        assert [aborts(sim) for sim in sims] == [[], []]
        answer = await rig.as_caller(ADMIN).post("/abort_request", {"rid": "nobody"})
        assert (answer.status, len(answer.json()["results"])) == (200, 2)
        assert [aborts(sim) for sim in sims] == [["nobody"], ["nobody"]]


@pytest.mark.parametrize(
    "body", [None, {}, {"rid": ""}, {"rid": None}, {"rid": 5}, {"rid": ["a"]}, {"abort_all": False}]
)
async def test_an_abort_that_names_nothing_is_refused(body: Any) -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/abort_request", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


@pytest.mark.loopback
async def test_an_abort_tells_for_each_worker_what_became_of_it() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url)
        gone = rig.join("http://127.0.0.1:1")
        answer = await rig.client.post("/abort_request", {"abort_all": True})
        assert (answer.status, answer.json()["success"]) == (206, False)
        good, bad = answer.json()["results"]
        assert (good["url"], good["status"]) == (sim.url, 200)
        assert (bad["worker"], bad["error"]["code"]) == (gone.id, "worker_failed")
        rig.services.pool.remove(rig.services.pool.find(sim.url), trio.current_time())
        assert (await rig.client.post("/abort_request", {"abort_all": True})).status == 502


# -- tenants --------------------------------------------------------------------------------------


@pytest.mark.loopback
async def test_a_tenant_aborts_only_what_is_its_own() -> None:
    async with open_sims(1, SLOW) as [sim], open_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        rig.join(sim.url)
        red, blue = rig.as_caller("key-of-red-1"), rig.as_caller("key-of-blue-1")
        async with (
            red.opened("POST", "/generate", {**LONG, "rid": "red-1"}) as of_red,
            blue.opened("POST", "/generate", {**LONG, "rid": "blue-1"}) as of_blue,
            blue.opened("POST", "/generate", {**LONG}),
        ):
            await rig.until_inflight(rig.services.pool.find(sim.url), 3)
            await until(lambda: len(sim.worker.engine.running) == 3)
            named = (await red.post("/abort_request", {"rid": "blue-1"})).json()
            assert (named["matched"], named["results"]) == (0, [])
            everything = (await red.post("/abort_request", {"abort_all": True})).json()
            assert (everything["matched"], everything["without_rid"]) == (1, 0)
            await of_red.is_over.wait()
            assert finish_reason(of_red.answer) == ABORTED
            assert aborts(sim) == ["red-1"]
            assert not of_blue.is_over.is_set()
            own = (await blue.post("/abort_request", {"abort_all": True})).json()
            assert (own["matched"], own["without_rid"]) == (2, 1)
            await of_blue.is_over.wait()
            assert finish_reason(of_blue.answer) == ABORTED


@pytest.mark.loopback
@pytest.mark.parametrize("how", ["abort", "leave"])
async def test_an_abort_ends_no_request_of_another_that_its_id_begins(how: str) -> None:
    async with open_sims(1, SLOW) as [sim], open_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        rig.join(sim.url)
        red, blue = rig.as_caller("key-of-red-1"), rig.as_caller("key-of-blue-1")
        async with red.opened("POST", "/generate", {**LONG, "rid": "job-of-red"}) as of_red:
            async with blue.opened("POST", "/generate", {**LONG, "rid": "job"}) as of_blue:
                await until(lambda: len(sim.worker.engine.running) == 2)
                if how == "abort":
                    told = (await blue.post("/abort_request", {"rid": "job"})).json()
                    assert (told["matched"], told["results"]) == (1, [])
                else:
                    of_blue.leave()
                await of_blue.is_over.wait()
            await until(lambda: len(sim.worker.engine.running) == 1)
            assert aborts(sim) == []
            assert not of_red.is_over.is_set()


# -- /abort_request: one request by the router's own id -------------------------------------------


@pytest.mark.loopback
async def test_exactly_the_request_with_this_id_is_aborted() -> None:
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        rig.join(sim.url)
        async with (
            rig.client.opened(
                "POST", "/generate", {**LONG, "rid": "a"}, {"X-Request-Id": "1"}
            ) as a,
            rig.client.opened(
                "POST", "/generate", {**LONG, "rid": "b"}, {"X-Request-Id": "12"}
            ) as b,
        ):
            await until_running(sim, "a", "b")
            answer = await rig.client.post("/abort_request", {"request_id": "1"})
            assert (answer.status, answer.json()["matched"], answer.json()["success"]) == (
                200,
                1,
                True,
            )
            await a.is_over.wait()
            assert finish_reason(a.answer) == ABORTED
            assert (aborts(sim), b.is_over.is_set()) == (["a"], False)
            again = await rig.client.post("/abort_request", {"request_id": "1"})
            assert (again.status, again.error["code"]) == (404, "not_found")


@pytest.mark.loopback
async def test_a_request_whose_rid_begins_that_of_another_ends_alone() -> None:
    async with open_sims(1, SLOW) as [sim], open_router() as rig:
        rig.join(sim.url)
        async with rig.client.opened("POST", "/generate", {**LONG, "rid": "job-1"}) as longer:
            async with rig.client.opened(
                "POST", "/generate", {**LONG, "rid": "job"}, {"X-Request-Id": "x"}
            ) as short:
                await until_running(sim, "job", "job-1")
                answer = await rig.client.post("/abort_request", {"request_id": "x"})
                assert (answer.status, answer.json()["closed"]) == (200, 1)
                await short.is_over.wait()
                assert finish_reason(short.answer)["type"] == "abort"
            await until_running(sim, "job-1")
            assert (aborts(sim), longer.is_over.is_set()) == ([], False)


async def test_a_request_in_the_queue_is_aborted_by_its_id() -> None:
    named = {"X-Request-Id": "x"}
    async with open_router() as rig, rig.client.opened("POST", "/generate", LONG, named) as call:
        await rig.until_queued(1)
        [shown] = (await rig.client.get("/snapshot")).json()["requests"]
        assert (shown["request_id"], shown["state"]) == ("x", "queued")
        answer = await rig.client.post("/abort_request", {"request_id": "x"})
        assert (answer.status, answer.json()["queued_aborted"]) == (200, 1)
        await call.is_over.wait()
        assert finish_reason(call.answer)["type"] == "abort"


async def test_what_cannot_be_ended_yet_is_409() -> None:
    async with open_router() as rig:
        rig.services.inflight.add(Running("x", "default", "/generate", started_at=0.0))
        [shown] = (await rig.client.get("/snapshot")).json()["requests"]
        assert shown["state"] == "reading"
        answer = await rig.client.post("/abort_request", {"request_id": "x"})
        assert answer.status == 409
        assert "still arriving" in answer.error["message"]


async def test_only_the_admin_aborts_the_request_of_another_tenant() -> None:
    async with open_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        red, blue = rig.as_caller("key-of-red-1"), rig.as_caller("key-of-blue-1")
        async with red.opened("POST", "/generate", LONG, {"X-Request-Id": "x"}) as call:
            await rig.until_queued(1)
            assert (await blue.post("/abort_request", {"request_id": "x"})).status == 404
            assert not call.is_over.is_set()
            admin = rig.as_caller(ADMIN)
            assert (await admin.post("/abort_request", {"request_id": "x"})).status == 200
            await call.is_over.wait()


@pytest.mark.parametrize(
    "body",
    [{"request_id": 5}, {"request_id": None}, {"request_id": "x", "rid": "a"}],
)
async def test_an_id_stands_alone_and_is_a_string(body: Any) -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/abort_request", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


# -- /flush_cache ---------------------------------------------------------------------------------


@pytest.mark.loopback
async def test_a_flush_reaches_every_worker() -> None:
    async with open_sims(2) as sims, open_router() as rig:
        for sim in sims:
            rig.join(sim.url)
        answer = await rig.client.post("/flush_cache")
        assert (answer.status, answer.json()["success"]) == (200, True)
        assert [one["url"] for one in answer.json()["results"]] == [sim.url for sim in sims]
        assert all(one["body"].startswith("Cache flushed") for one in answer.json()["results"])
        assert [sim.worker.stats.requests["/flush_cache"] for sim in sims] == [1, 1]
        assert (await rig.client.get("/flush_cache?timeout=0.5")).status == 200
        target = sims[0].worker.stats.shown()["last_requests"]["/flush_cache"]["target"]
        assert target == "/flush_cache?timeout=0.5"


@pytest.mark.loopback
async def test_a_flush_that_some_refuse_is_206() -> None:
    async with open_sims(2, SLOW) as sims, open_router() as rig:
        worker = rig.join(sims[0].url)
        async with rig.client.opened("POST", "/generate", LONG):
            await rig.until_inflight(worker, 1)
            await until(lambda: sims[0].worker.engine.running)
            assert (await rig.client.post("/flush_cache")).status == 502
            rig.join(sims[1].url)
            answer = await rig.client.post("/flush_cache")
            assert (answer.status, answer.json()["success"]) == (206, False)
            assert [one["status"] for one in answer.json()["results"]] == [400, 200]


@pytest.mark.parametrize("given", ["x", "-1", "nan", "%D9%A3", "1e9999", "9" * 5000, "."])
async def test_a_flush_timeout_is_a_number_of_seconds(given: str) -> None:
    async with open_router() as rig:
        rig.join("http://127.0.0.1:1")
        answer = await rig.client.post(f"/flush_cache?timeout={given}")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


# -- /finish_session ------------------------------------------------------------------------------


@pytest.mark.loopback
@pytest.mark.parametrize("header", ["X-SMG-Routing-Key", "X-Miles-Session"])
async def test_a_finished_session_is_forgotten(header: str) -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        rig.join(sim.url)
        await rig.client.post("/generate", SHORT, **{header: "s1"})
        assert len(rig.services.affinity) == 1
        answer = await rig.client.post("/finish_session?session_id=s1")
        assert answer.status == 200
        assert answer.json() == {"status": "success", "session_id": "s1", "was_known": True}
        assert len(rig.services.affinity) == 0
        again = await rig.client.post("/finish_session", {"session_id": "s1"})
        assert (again.status, again.json()["was_known"]) == (200, False)


@pytest.mark.loopback
async def test_a_tenant_cannot_finish_the_session_of_another() -> None:
    async with open_sims(1) as [sim], open_router(api_keys=KEYS) as rig:
        rig.join(sim.url)
        red, blue = rig.as_caller("key-of-red-1"), rig.as_caller("key-of-blue-1")
        await red.post("/generate", SHORT, **{"X-Miles-Session": "s1"})
        answer = await blue.post("/finish_session?session_id=s1")
        assert (answer.status, answer.json()["was_known"]) == (200, False)
        assert (await red.post("/finish_session?session_id=s1")).json()["was_known"] is True


@pytest.mark.parametrize("body", [None, {}, {"session_id": ""}, {"session_id": 4}])
async def test_a_session_must_be_named(body: Any) -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/finish_session", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
