from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing

from miles_router.core.worker import ProbeOutcome, ProbeReport
from miles_router.sim import SimSettings
from miles_router.tasks import drain, health
from tests.web.rig import LONG, SLOW, Rig, open_router, open_sims, until

A, B = "http://127.0.0.1:31001", "http://127.0.0.1:31002"


async def test_a_registration_is_accepted_with_its_location() -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/workers", {"url": A + "/"})
        worker = rig.services.pool.find(A)
        location = f"/workers/{worker.id}"
        assert answer.status == 202
        assert answer.json() == {
            "status": "accepted",
            "worker_id": worker.id,
            "url": A,
            "location": location,
        }
        assert answer.header("location") == location
        found = await rig.client.get(location)
        assert (found.status, found.json()["url"], found.json()["status"]) == (200, A, "joining")


async def test_known_keys_are_taken_and_unknown_ones_kept() -> None:
    body = {
        "url": A,
        "worker_type": "regular",
        "api_key": "worker-key",
        "labels": {"rack": "a", "gpus": 8},
        "priority": 50,
        "chat_template": None,
    }
    async with open_router() as rig:
        assert (await rig.client.post("/workers", body)).status == 202
        spec = rig.services.pool.find(A).spec
        assert (spec.api_key, spec.labels) == ("worker-key", {"rack": "a", "gpus": "8"})
        assert spec.extra == {"priority": 50, "chat_template": None}


@pytest.mark.parametrize("kind", ["prefill", "decode"])
@pytest.mark.parametrize("route", ["/workers", "/add_worker"])
async def test_prefill_and_decode_workers_are_refused(route: str, kind: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.post(route, {"url": A, "worker_type": kind})
        assert (answer.status, answer.error["code"]) == (400, "pd_unsupported")
        assert rig.services.pool.listed == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": 3},
        {"url": ""},
        {"worker_url": A},
        {"url": A, "worker_type": 3},
        {"url": A, "worker_type": ["regular"]},
        {"url": A, "api_key": 5},
        {"url": A, "api_key": "two\nlines"},
        {"url": A, "labels": "rack"},
    ],
)
async def test_a_registration_of_the_wrong_form_is_refused(body: Any) -> None:
    async with open_router() as rig:
        answer = await rig.client.post("/workers", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert rig.services.pool.listed == []


# -- ?wait= -----------------------------------------------------------------------------------


@pytest.mark.loopback
async def test_waiting_answers_when_the_worker_is_active() -> None:
    async with open_sims(1) as [sim], open_router() as rig:
        await rig.nursery.start(partial(health.run, rig.services))
        answer = await rig.client.post("/workers?wait=10", {"url": sim.url})
        assert (answer.status, answer.json()["status"]) == (200, "active")
        assert answer.header("location") == f"/workers/{answer.json()['worker_id']}"
        again = await rig.client.post("/workers?wait=0", {"url": sim.url})
        assert (again.status, again.json()["status"]) == (200, "active")


@pytest.mark.loopback
async def test_waiting_ends_early_when_something_else_answers_there() -> None:
    settings = SimSettings(fault=("html:path=/*,count=all",))
    async with open_sims(1, settings) as [sim], open_router() as rig:
        await rig.nursery.start(partial(health.run, rig.services))
        answer = await rig.client.post("/workers?wait=20", {"url": sim.url})
        assert (answer.status, answer.error["code"]) == (502, "not_a_worker")
        assert answer.error["worker_id"] == rig.services.pool.find(sim.url).id


async def test_waiting_does_not_judge_by_a_probe_from_before_the_registration(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Something else stood at the address; the worker that took its place is given its time."""
    async with open_router() as rig:
        worker = rig.add(A)
        now = trio.current_time()
        report = ProbeReport(ProbeOutcome.NOT_A_WORKER, now, now, "it is a web page")
        rig.services.pool.note_probe(worker, report, now)
        await trio.sleep(5)

        async def pass_later() -> None:
            await trio.sleep(1)
            rig.passes(worker)

        rig.nursery.start_soon(pass_later)
        answer = await rig.client.post("/workers?wait=10", {"url": A})
        assert (answer.status, answer.json()) == (200, answer.json() | {"status": "active"})


async def test_waiting_has_an_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_router() as rig:
        started_at = trio.current_time()
        answer = await rig.client.post("/workers?wait=7", {"url": A})
        assert trio.current_time() - started_at == pytest.approx(7)
        assert (answer.status, answer.error["code"]) == (504, "worker_not_active")
        assert answer.error["status"] == "joining"
        assert rig.services.pool.find(A).url == A  # it stays registered


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "1e99", "9" * 400])
async def test_a_wait_that_is_no_time_is_refused_before_anything_happens(wait: str) -> None:
    async with open_router() as rig:
        answer = await rig.client.post(f"/workers?wait={wait}", {"url": A})
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert rig.services.pool.listed == []


# -- looking ----------------------------------------------------------------------------------


async def test_workers_are_listed_in_order_with_what_gateway_clients_read() -> None:
    async with open_router() as rig:
        rig.join(B)
        rig.add(A, labels={"rack": "a"}, api_key="worker-key")
        answer = await rig.client.get("/workers")
        value = answer.json()
        assert (answer.status, value["total"]) == (200, 2)
        assert [w["url"] for w in value["workers"]] == [B, A]
        assert [w["status"] for w in value["workers"]] == ["active", "joining"]
        assert [w["is_healthy"] for w in value["workers"]] == [True, False]
        assert [w["load"] for w in value["workers"]] == [0, 0]
        assert all(w["id"] == rig.services.pool.find(w["url"]).id for w in value["workers"])
        assert value["workers"][1]["labels"] == {"rack": "a"}
        assert value["stats"] == {
            "states": {"active": 1, "joining": 1},
            "regular_count": 2,
            "prefill_count": 0,
            "decode_count": 0,
        }
        assert b"worker-key" not in answer.body


NAMES = [
    "http%3A%2F%2F127.0.0.1%3A31001",
    "http%3a%2f%2f127.0.0.1%3a31001%2F",
    "HTTP%3A%2F%2F127.0.0.1%3A31001",
    "http://127.0.0.1:31001",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_worker_is_named_by_its_url(name: str) -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        assert (await rig.client.get(f"/workers/{name}")).json()["id"] == worker.id
        drained = await rig.client.post(f"/workers/{name}/drain")
        assert (drained.status, drained.json()["status"]) == (200, "drained")
        removed = await rig.client.delete(f"/workers/{name}")
        assert removed.status == 202
        assert removed.json() == {"status": "accepted", "worker_id": worker.id, "url": A}
        assert rig.services.pool.listed == []


async def test_an_ipv6_url_is_a_name_too() -> None:
    async with open_router() as rig:
        worker = rig.join("http://[::1]:31001")
        name = quote("http://[::1]:31001", safe="")
        assert (await rig.client.get(f"/workers/{name}")).json()["id"] == worker.id


@pytest.mark.parametrize("name", ["nobody", quote(B, safe=""), "w000000000000", "%C3%A9", "a/b"])
async def test_an_unknown_worker_is_404(name: str) -> None:
    async with open_router() as rig:
        rig.join(A)
        for method, target in (
            ("GET", f"/workers/{name}"),
            ("DELETE", f"/workers/{name}"),
            ("POST", f"/workers/{name}/probe"),
            ("POST", f"/workers/{name}/drain"),
            ("POST", f"/workers/{name}/undrain"),
            ("POST", f"/workers/{name}/quarantine"),
            ("POST", f"/workers/{name}/release"),
        ):
            answer = await rig.client.request(method, target)
            assert (answer.status, answer.error["code"]) == (404, "worker_not_found")


@pytest.mark.loopback
async def test_a_deleted_worker_gets_nothing_new_and_finishes_what_it_has() -> None:
    async with open_sims(2, SLOW) as [old, new], open_router() as rig:
        worker = rig.join(old.url)
        async with rig.client.opened("POST", "/generate", LONG):
            await rig.until_inflight(worker, 1)
            assert (await rig.client.delete(f"/workers/{worker.id}")).status == 202
            assert (await rig.client.delete(f"/workers/{worker.id}")).status == 202
            assert (await rig.client.get("/list_workers")).json() == {"urls": []}
            other = rig.join(new.url)
            shown = (await rig.client.get(f"/workers/{worker.id}")).json()
            assert (shown["status"], shown["is_leaving"], shown["load"]) == ("draining", True, 1)
            async with rig.client.opened("POST", "/generate", LONG):
                await rig.until_inflight(other, 1)
                assert worker.inflight == 1
        await until(lambda: worker.id not in rig.services.pool.workers)


@pytest.mark.loopback
async def test_what_still_runs_at_the_deadline_of_a_removal_is_cut() -> None:
    async with open_sims(1, SLOW) as [sim], open_router(retries=0) as rig:
        worker = rig.join(sim.url)
        await rig.nursery.start(drain.run, rig.services)
        async with rig.client.opened("POST", "/generate", LONG) as call:
            await rig.until_inflight(worker, 1)
            assert (await rig.client.delete(f"/workers/{worker.id}?deadline_s=0")).status == 202
            await call.is_over.wait()
            assert call.answer.status == 502
        assert worker.id not in rig.services.pool.workers


@pytest.mark.parametrize("deadline", ["-1", "x", "inf", "nan", ""])
async def test_a_removal_with_a_deadline_that_is_no_time_is_refused(deadline: str) -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        answer = await rig.client.delete(f"/workers/{worker.id}?deadline_s={deadline}")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert worker.id in rig.services.pool.workers


# -- operators' commands ------------------------------------------------------------------------


async def command(rig: Rig, name: str, action: str, body: Any = None) -> str:
    answer = await rig.client.post(f"/workers/{name}/{action}", body)
    assert answer.status == 200, answer.body
    status: str = answer.json()["status"]
    return status


async def test_operators_commands_take_their_steps() -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        rig.passes(worker)
        assert await command(rig, worker.id, "drain", {"deadline_s": 30}) == "drained"
        assert await command(rig, worker.id, "undrain") == "active"
        assert await command(rig, worker.id, "quarantine", {"reason": "smells"}) == "quarantined"
        shown = (await rig.client.get(f"/workers/{worker.id}")).json()
        assert (shown["is_held"], "smells" in shown["reason"]) == (True, True)
        assert await command(rig, worker.id, "release") == "probation"


@pytest.mark.parametrize("action", ["undrain", "release"])
async def test_a_command_that_does_not_fit_the_state_is_409(action: str) -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        answer = await rig.client.post(f"/workers/{worker.id}/{action}")
        assert (answer.status, answer.error["code"]) == (409, "illegal_transition")
        assert answer.error["state"] == "active"
        assert worker.state.value == "active"


@pytest.mark.parametrize("body", [{"deadline_s": -1}, {"deadline_s": True}, {"deadline_s": "inf"}])
async def test_a_deadline_that_is_no_time_is_refused(body: Any) -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        answer = await rig.client.post(f"/workers/{worker.id}/drain", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert worker.state.value == "active"


async def test_a_deadline_beyond_all_numbers_is_refused() -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        body = b'{"deadline_s": 1' + b"0" * 400 + b"}"
        answer = await rig.client.post(f"/workers/{worker.id}/drain", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_a_reason_is_a_string() -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        answer = await rig.client.post(f"/workers/{worker.id}/quarantine", {"reason": ["x"]})
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


# -- probes on demand -----------------------------------------------------------------------------


@pytest.mark.loopback
async def test_a_probe_is_made_at_once_and_told() -> None:
    async with open_sims(1) as [sim], open_router(health_interval_s=3600) as rig:
        await rig.nursery.start(health.run, rig.services)
        worker = rig.add(sim.url)
        await until(lambda: worker.state.value == "active")
        before = worker.probes_ended
        answer = await rig.client.post(f"/workers/{worker.id}/probe")
        assert (answer.status, answer.json()["last_probe"]["outcome"]) == (200, "passed")
        assert answer.json()["last_probe"]["age_s"] < 1
        assert worker.probes_ended == before + 1


async def test_a_probe_that_runs_is_waited_for_and_not_doubled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_router() as rig:
        worker = rig.join(A)
        begun: list[float] = []
        rig.services.pool.on_probe_wanted = lambda: begun.append(trio.current_time())
        rig.services.pool.begin_probe(worker, trio.current_time())

        async def end() -> None:
            await trio.sleep(3)
            rig.services.pool.end_probe(worker)
            rig.passes(worker, "9")

        rig.nursery.start_soon(end)
        answer = await rig.client.post(f"/workers/{worker.id}/probe")
        assert (answer.status, answer.json()["weight_version"]) == (200, "9")
        assert begun == []
        assert trio.current_time() == pytest.approx(3, abs=0.2)


async def test_a_probe_that_does_not_end_is_not_waited_for_longer_than_one_may_take(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_router(health_timeout_s=7) as rig:
        worker = rig.join(A)
        answer = await rig.client.post(f"/workers/{worker.id}/probe")
        assert (answer.status, answer.error["code"]) == (504, "worker_not_active")
        assert answer.error["worker_id"] == worker.id
        assert trio.current_time() == pytest.approx(12, abs=0.2)


async def test_a_worker_that_is_removed_while_it_is_probed_is_404(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_router() as rig:
        worker = rig.join(A)

        async def remove() -> None:
            await trio.sleep(1)
            rig.services.pool.remove(worker, trio.current_time())

        rig.nursery.start_soon(remove)
        answer = await rig.client.post(f"/workers/{worker.id}/probe")
        assert (answer.status, answer.error["code"]) == (404, "worker_not_found")
