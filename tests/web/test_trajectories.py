"""Whole trajectories: listed, read as JSON and as tensors, deleted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load

from miles_router.core.r3 import DecodedR3
from tests.core.r3.rows import in_memory
from tests.plugins.token_cache.rig import drifting, ids_of, shown
from tests.web.cached import cache_in, keep, open_cached_router
from tests.web.rig import ADMIN, Rig

PARTS, WHOLE = drifting()
WORD = shown(PARTS)
PROMPT = "A question:"
KEYS = ("ta=key-of-ta-12345678", "tb=key-of-tb-12345678")
TENSORS = {"Accept": "application/octet-stream"}


async def dialogue(rig: Rig, key: str, *, turns: int = 2, tenant: str = "default") -> str:
    """A stored dialogue; returns its id."""
    turn = None
    for number in range(turns):
        prompt = f"{PROMPT} {key}" if turn is None else "\nTool: 4\n"
        turn = await keep(
            rig, prompt, PARTS, turn, session=key, rid=f"{key}-{number}", tenant=tenant,
            version=f"v{number}",
        )  # fmt: skip
    assert turn is not None
    assert turn.trajectory is not None
    return turn.trajectory.id


async def test_the_list_says_what_there_is() -> None:
    async with open_cached_router() as rig:
        first, second = await dialogue(rig, "a"), await dialogue(rig, "b", turns=1)
        listed = (await rig.client.get("/trajectories")).json()
        assert [one["id"] for one in listed["trajectories"]] == [first, second]
        assert (listed["total"], listed["next"]) == (2, None)
        one = listed["trajectories"][0]
        assert (one["session"], one["turns"], one["finish"]) == ("a", 2, "stop")
        assert one["generated_tokens"] == 2 * len(PARTS)
        assert one["weight_versions"] == ["v0", "v1"]
        assert one["created_at_unix"] <= one["used_at_unix"]
        assert one["created_at_unix"] > 1_700_000_000


async def test_pages_follow_one_another() -> None:
    async with open_cached_router() as rig:
        all_ids = [await dialogue(rig, f"k{number}", turns=1) for number in range(7)]
        seen: list[str] = []
        target = "/trajectories?limit=3"
        while True:
            page = (await rig.client.get(target)).json()
            seen += [one["id"] for one in page["trajectories"]]
            if page["next"] is None:
                break
            target = f"/trajectories?limit=3&after={page['next']}"
        assert seen == all_ids
        assert (await rig.client.get("/trajectories?limit=7")).json()["next"] is None


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "", "1e3", "99999999999"])
async def test_a_limit_that_is_none_is_400(limit: str) -> None:
    async with open_cached_router() as rig:
        answer = await rig.client.get(f"/trajectories?limit={limit}")
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_one_trajectory_as_json() -> None:
    async with open_cached_router() as rig:
        identity = await dialogue(rig, "a")
        found = (await rig.client.get(f"/trajectories/{identity}")).json()
        expected = [*ids_of(f"{PROMPT} a"), *PARTS, *ids_of("\nTool: 4\n"), *PARTS]
        assert found["tokens"] == expected
        assert found["response"] == f"{PROMPT} a{WORD}\nTool: 4\n{WORD}"
        assert found["rids"] == ["a-0", "a-1"]
        assert (found["id"], found["exact"], found["session"]) == (identity, True, "a")
        assert found["routed_experts_missing"] == "not_asked"


async def test_one_trajectory_as_tensors() -> None:
    async with open_cached_router(capture_routed_experts=True) as rig:
        n = len(ids_of(PROMPT)) + len(PARTS)
        values = np.arange((n - 1) * 8, dtype=np.uint16).reshape(n - 1, 8) + 300
        block = in_memory(DecodedR3(0, values, ignored_start=False))
        turn = await keep(rig, PROMPT, PARTS, r3=block, r3_missing="", rid="r")
        assert turn.trajectory is not None
        answer = await rig.client.get(f"/trajectories/{turn.trajectory.id}", **TENSORS)
        assert answer.header("content-type") == "application/octet-stream"
        found = load(answer.body)
        assert {name: one.dtype.str for name, one in found.items()} == {
            "tokens": "<i4", "loss_mask": "|u1", "logprobs": "<f4", "routed_experts": "<u2",
        }  # fmt: skip
        assert found["tokens"].tolist() == ids_of(PROMPT) + PARTS
        assert found["loss_mask"].tolist() == [0] * (n - len(PARTS)) + [1] * len(PARTS)
        assert np.isnan(found["logprobs"][: n - len(PARTS)]).all()
        assert found["logprobs"][n - len(PARTS) :].tolist() == [-1.0 - i for i in range(len(PARTS))]
        assert found["routed_experts"].reshape(n - 1, 8).tolist() == values.tolist()
        assert found["routed_experts"].shape == (n - 1, 4, 2)
        size = int.from_bytes(answer.body[:8], "little")
        told = json.loads(answer.body[8 : 8 + size])["__metadata__"]["miles_router"]
        metadata = json.loads(told)
        assert metadata["text"] == PROMPT + WORD
        assert metadata["spans"][-1] == [n - len(PARTS), n, "generated", True, "7"]


async def test_a_deleted_trajectory_is_gone_and_its_text_with_it() -> None:
    async with open_cached_router() as rig:
        first, second = await dialogue(rig, "a"), await dialogue(rig, "b")
        gone = await rig.client.delete(f"/trajectories/{first}")
        assert (gone.status, gone.json()) == (200, {"status": "success", "deleted": 1})
        answer = await rig.client.get(f"/trajectories/{first}")
        assert (answer.status, answer.error["code"]) == (410, "trajectory_evicted")
        assert answer.error["reason"] == "deleted"
        assert (await rig.client.delete(f"/trajectories/{first}")).status == 410
        text = f"{PROMPT} a{WORD}\nTool: 4\n{WORD}"
        assert (await rig.client.post("/retrieve_from_text", {"text": text})).status == 410
        assert (await rig.client.get(f"/trajectories/{second}")).status == 200
        assert cache_in(rig).store.turns == 2


async def test_all_of_a_tenant_can_be_deleted() -> None:
    async with open_cached_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        for tenant in ("ta", "tb"):
            for key in ("a", "b", "c"):
                await dialogue(rig, key, tenant=tenant)
        own = rig.as_caller("key-of-ta-12345678")
        assert (await own.delete("/trajectories")).json()["deleted"] == 3
        assert (await own.get("/trajectories")).json()["total"] == 0
        assert cache_in(rig).store.trajectories == 3
        assert (await own.delete("/trajectories")).json()["deleted"] == 0


async def test_only_the_admin_names_another_tenant() -> None:
    async with open_cached_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        identity = await dialogue(rig, "a", tenant="ta")
        other, admin = rig.as_caller("key-of-tb-12345678"), rig.as_caller(ADMIN)
        for path in ("/trajectories", f"/trajectories/{identity}"):
            assert (await other.get(f"{path}?tenant=ta")).status == 403
            assert (await admin.get(f"{path}?tenant=ta")).status == 200
        assert (await other.get(f"/trajectories/{identity}")).status == 404
        assert (await other.delete(f"/trajectories/{identity}")).status == 404
        assert (await other.delete("/trajectories?tenant=ta")).status == 403
        assert (await admin.delete("/trajectories?tenant=ta")).json()["deleted"] == 1


@pytest.mark.parametrize("identity", ["nope", "%00", "a%2Fb", "x" * 500])
async def test_an_id_that_is_none_is_404(identity: str) -> None:
    async with open_cached_router() as rig:
        await dialogue(rig, "a")
        answer = await rig.client.get(f"/trajectories/{identity}")
        assert answer.status in {400, 404}
        assert answer.error["code"]
        after = await rig.client.get(f"/trajectories?after={identity}")
        assert after.status in {400, 404}
