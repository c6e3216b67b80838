from __future__ import annotations

from tests.sim.raw_client import open_client


async def test_faults_can_be_set_listed_and_cleared() -> None:
    async with open_client() as client:
        found = await client.post("/sim/fault", {"fault": ["status=503", "hang:path=/v1/*"]})
        assert [one["kind"] for one in found.json()["faults"]] == ["status", "hang"]
        assert (await client.post("/generate", {"text": "a"})).status == 503
        left = (await client.get("/sim/fault")).json()["faults"]
        assert [one["kind"] for one in left] == ["hang"]
        assert (await client.request("DELETE", "/sim/fault")).json() == {"faults": []}
        assert (await client.get("/sim/stats")).json()["faults"] == {"status": 1}


async def test_a_fault_that_cannot_be_is_refused() -> None:
    async with open_client() as client:
        for fault in ("explode", "exit", 5, None, ["hang", "explode"]):
            found = await client.post("/sim/fault", {"fault": fault})
            assert (found.status, found.json()["object"]) == (400, "error")
        assert (await client.get("/sim/fault")).json() == {"faults": []}


async def test_the_log_can_be_read_from_a_number_on() -> None:
    async with open_client() as client:
        for rid in ("a", "b", "c"):
            await client.post("/generate", {"text": "x", "rid": rid})
        found = (await client.get("/sim/log?since=1")).json()
        assert found["total"] == 3
        assert [entry["rid"] for entry in found["entries"]] == ["b", "c"]
        assert (await client.get("/sim/log?since=x")).status == 400
