"""/retrieve_from_text, /cache/stats and /cache/gc as their callers see them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio

from miles_router.core.r3 import DecodedR3
from tests.core.r3.rows import in_memory
from tests.plugins.token_cache.rig import drifting, ids_of, shown
from tests.web.cached import cache_in, keep, open_cached_router
from tests.web.rig import ADMIN, open_router

if TYPE_CHECKING:
    from pathlib import Path

PARTS, WHOLE = drifting()
WORD = shown(PARTS)
PROMPT = "A question:"
TEXT = PROMPT + WORD
KEYS = ("ta=key-of-ta-12345678", "tb=key-of-tb-12345678")


async def test_the_fields_that_old_clients_read_and_those_beyond() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS, rid="r1")
        found = (await rig.client.post("/retrieve_from_text", {"text": TEXT})).json()
        prompt, size = ids_of(PROMPT), len(PARTS)
        n = len(prompt) + size
        assert found == {
            "response": TEXT,
            "tokens": prompt + PARTS,
            "loss_mask": [0] * len(prompt) + [1] * size,
            "rollout_logp": [0.0] * len(prompt) + [-1.0 - i for i in range(size)],
            "token_length": n,
            "loss_mask_length": n,
            "exact": True,
            "spans": [
                {
                    "start": 0, "end": len(prompt), "origin": "prompt", "exact": True,
                    "weight_version": None,
                },
                {
                    "start": len(prompt), "end": n, "origin": "generated", "exact": True,
                    "weight_version": "7",
                },
            ],
            "candidates": 1,
            "matched_chars": len(TEXT),
            "rids": ["r1"],
            "trajectory": next(iter(cache_in(rig).store.namespaces["default"].trajectories)),
        }  # fmt: skip


async def test_log_probabilities_can_be_left_out() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        for asked, there in ((True, True), (None, True), (False, False)):
            body = {"text": TEXT, "return_logp": asked}
            found = (await rig.client.post("/retrieve_from_text", body)).json()
            assert ("rollout_logp" in found) is there


async def test_a_text_never_seen_is_404_with_what_is_known_of_it() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        for text, matched in (("nobody said this", 0), (PROMPT + "\\n#", len(PROMPT))):
            answer = await rig.client.post("/retrieve_from_text", {"text": text})
            assert (answer.status, answer.error["code"]) == (404, "trajectory_not_found")
            assert answer.error["matched_chars"] == matched


async def test_a_tool_result_behind_is_tokenized_and_makes_the_whole_inexact() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        found = (await rig.client.post("/retrieve_from_text", {"text": TEXT + "\nTool: é"})).json()
        assert found["tokens"] == ids_of(PROMPT) + PARTS + ids_of("\nTool: é")
        assert found["exact"] is False
        assert [span["exact"] for span in found["spans"]] == [True, True, False]
        assert found["loss_mask"][-1] == 0
        assert found["matched_chars"] == len(TEXT)


async def test_on_miss_tokenize_by_call_and_by_setting() -> None:
    async with open_cached_router() as rig:
        body = {"text": "never seen", "on_miss": "tokenize"}
        found = (await rig.client.post("/retrieve_from_text", body)).json()
        assert (found["tokens"], found["exact"]) == (ids_of("never seen"), False)
        assert (found["candidates"], found["rids"], found["trajectory"]) == (0, [], None)
    async with open_cached_router(retrieve_miss="tokenize") as rig:
        assert (await rig.client.post("/retrieve_from_text", {"text": "x"})).status == 200
        refused = await rig.client.post("/retrieve_from_text", {"text": "x", "on_miss": "error"})
        assert refused.status == 404


async def test_reading_changes_nothing() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        cache = cache_in(rig)
        before = (cache.store.size_bytes, cache.store.turns, cache.store.tokens)
        used_at = [t.used_at for t in cache.store.namespaces["default"].trajectories.values()]
        await trio.sleep(0.01)
        for number in range(1_000):
            body = {"text": f"{PROMPT} unseen {number}", "on_miss": "tokenize"}
            await rig.client.post("/retrieve_from_text", body)
        await rig.client.post("/retrieve_from_text", {"text": TEXT})
        assert (cache.store.size_bytes, cache.store.turns, cache.store.tokens) == before
        after = [t.used_at for t in cache.store.namespaces["default"].trajectories.values()]
        assert after == used_at
        assert set(cache.store.namespaces) == {"default"}


async def test_what_was_evicted_is_410_and_says_why() -> None:
    async with open_cached_router() as rig:
        turn = await keep(rig, PROMPT, PARTS)
        assert turn.trajectory is not None
        cache_in(rig).store.evict(turn.trajectory, "version")
        await cache_in(rig).sweep()
        answer = await rig.client.post("/retrieve_from_text", {"text": TEXT})
        assert (answer.status, answer.error["code"]) == (410, "trajectory_evicted")
        assert answer.error["reason"] == "version"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'{"text": 5}', b'{"text": null}', b"{}", b'{"text": ""}', b"{",
        b'{"text": "\\ud800"}', b'{"text": "\xff"}', b'{"text": "a", "session": 5}',
        b'{"text": "a", "rid": []}', b'{"text": "a", "on_miss": "guess"}',
        b'{"text": "a", "return_logp": "yes"}', b'{"text": "a", "return_routed_experts": 1}',
    ],
)  # fmt: skip
async def test_bad_bodies_are_400(body: bytes) -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        answer = await rig.client.post("/retrieve_from_text", body)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_a_text_of_ten_megabytes() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        text = TEXT + " lorem ipsum" * 900_000
        answer = await rig.client.post("/retrieve_from_text", {"text": text})
        assert (answer.status, answer.json()["matched_chars"]) == (200, len(TEXT))


async def test_session_and_rid_choose_among_candidates() -> None:
    async with open_cached_router() as rig:
        for number, output in enumerate([PARTS, WHOLE]):
            await keep(rig, PROMPT, output, session=f"s{number}", rid=f"r{number}")
        for number, output in enumerate([PARTS, WHOLE]):
            for named in ({"session": f"s{number}"}, {"rid": f"r{number}"}):
                found = await rig.client.post("/retrieve_from_text", {"text": TEXT, **named})
                assert found.json()["tokens"] == ids_of(PROMPT) + output
            header = {"X-Miles-Session": f"s{number}"}
            found = await rig.client.post("/retrieve_from_text", {"text": TEXT}, **header)
            assert found.json()["tokens"] == ids_of(PROMPT) + output
        assert (await rig.client.post("/retrieve_from_text", {"text": TEXT})).json()[
            "candidates"
        ] == 2
        missing = await rig.client.post("/retrieve_from_text", {"text": TEXT, "session": "s9"})
        assert missing.status == 404


async def test_another_tenants_text_looks_as_if_nobody_had_said_it() -> None:
    async with open_cached_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        await keep(rig, PROMPT, PARTS, tenant="ta")
        await keep(rig, "other", PARTS, tenant="tb")
        own, other = rig.as_caller("key-of-ta-12345678"), rig.as_caller("key-of-tb-12345678")
        assert (await own.post("/retrieve_from_text", {"text": TEXT})).status == 200
        theirs = await other.post("/retrieve_from_text", {"text": TEXT})
        nobodys = await other.post("/retrieve_from_text", {"text": "x" * len(TEXT)})
        assert (theirs.status, theirs.error) == (404, nobodys.error)
        assert (await rig.client.post("/retrieve_from_text", {"text": TEXT})).status == 401


async def test_routed_experts_come_with_their_shape_or_the_reason_why_not() -> None:
    async with open_cached_router(capture_routed_experts=True) as rig:
        cache = cache_in(rig)
        n = len(ids_of(PROMPT)) + len(PARTS)
        values = np.arange((n - 1) * 8, dtype=np.uint8).reshape(n - 1, 8)
        block = in_memory(DecodedR3(0, values, ignored_start=False))
        await keep(rig, PROMPT, PARTS, r3=block, r3_missing="")
        await keep(rig, "other", PARTS, r3_missing="not_sent")
        body = {"text": TEXT, "return_routed_experts": True}
        found = (await rig.client.post("/retrieve_from_text", body)).json()
        assert found["routed_experts_shape"] == [n - 1, 4, 2]
        decoded = np.frombuffer(base64.b64decode(found["routed_experts"]), dtype="<i4")
        assert decoded.reshape(n - 1, 8).tolist() == values.tolist()
        for text, reason in (("other" + WORD, "not_sent"), (TEXT + " x", "not_exact")):
            body = {"text": text, "return_routed_experts": True}
            found = (await rig.client.post("/retrieve_from_text", body)).json()
            assert (found["routed_experts"], found["routed_experts_missing"]) == (None, reason)
        assert (
            "routed_experts"
            not in (await rig.client.post("/retrieve_from_text", {"text": TEXT})).json()
        )
        assert cache.counters.reads["exact"] >= 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/retrieve_from_text"), ("GET", "/trajectories"), ("GET", "/trajectories/x"),
        ("DELETE", "/trajectories"), ("DELETE", "/trajectories/x"), ("POST", "/cache/gc"),
        ("GET", "/cache/stats"),
    ],
)  # fmt: skip
async def test_without_the_cache_every_route_says_how_to_switch_it_on(
    method: str, path: str
) -> None:
    async with open_router() as rig:
        answer = await rig.client.request(method, path, {"text": "a"} if method == "POST" else None)
        assert (answer.status, answer.error["code"]) == (404, "token_cache_off")
        assert "--token-cache" in answer.error["message"]


async def test_stats_are_ones_own_and_the_admins_are_everyones() -> None:
    async with open_cached_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        await keep(rig, PROMPT, PARTS, tenant="ta")
        own, other = rig.as_caller("key-of-ta-12345678"), rig.as_caller("key-of-tb-12345678")
        mine = (await own.get("/cache/stats")).json()
        assert (mine["tenant"], mine["namespace"]["turns"]) == ("ta", 1)
        assert "cache" not in mine
        assert (await other.get("/cache/stats")).json()["namespace"]["turns"] == 0
        whole = (await rig.as_caller(ADMIN).get("/cache/stats")).json()["cache"]
        assert (whole["turns"], whole["stored"], whole["journal"]) == (1, 1, "none")


async def test_a_sweep_by_hand_is_the_admins() -> None:
    async with open_cached_router(admin_token=ADMIN, api_keys=KEYS) as rig:
        turn = await keep(rig, PROMPT, PARTS)
        assert turn.trajectory is not None
        cache_in(rig).store.evict(turn.trajectory, "deleted")
        assert (await rig.as_caller("key-of-ta-12345678").post("/cache/gc")).status == 403
        swept = await rig.as_caller(ADMIN).post("/cache/gc")
        assert (swept.status, swept.json()["removed_turns"]) == (200, 1)


async def test_metrics_and_snapshot_show_the_cache() -> None:
    async with open_cached_router() as rig:
        await keep(rig, PROMPT, PARTS)
        await rig.client.post("/retrieve_from_text", {"text": TEXT})
        page = (await rig.client.get("/metrics")).body.decode()
        lines: dict[str, Any] = dict(
            line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")
        )
        assert lines["miles_router_token_cache_turns"] == "1.0"
        assert lines["miles_router_token_cache_stored_turns_total"] == "1.0"
        assert lines['miles_router_token_cache_reads_total{outcome="exact"}'] == "1.0"
        view = (await rig.client.get("/snapshot")).json()["token_cache"]
        assert (view["trajectories"], view["is_on"]) == (1, True)


async def test_a_lost_file_of_routed_experts_is_forgotten(tmp_path: Path) -> None:
    directory = tmp_path / "r3"
    async with open_cached_router(capture_routed_experts=True, routed_experts_dir=directory) as rig:
        cache = cache_in(rig)
        n = len(ids_of(PROMPT)) + len(PARTS)
        values = np.zeros((n - 1, 8), dtype=np.uint8)
        block = await cache.keep_r3(DecodedR3(0, values, ignored_start=False))
        await keep(rig, PROMPT, PARTS, r3=block, r3_missing="")
        block.payload.discard()
        body = {"text": TEXT, "return_routed_experts": True}
        for reason in ("not_readable", "lost"):
            found = (await rig.client.post("/retrieve_from_text", body)).json()
            assert (found["routed_experts"], found["routed_experts_missing"]) == (None, reason)
        assert cache.store.r3_size_bytes == 0
