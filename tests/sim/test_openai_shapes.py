from __future__ import annotations

from miles_router.sim.openai_shapes import sampling_from
from tests.sim.raw_client import open_client


def test_openai_names_become_sglangs() -> None:
    body = {"seed": 3, "min_tokens": 2, "temperature": 0, "top_k": None, "user": "x"}
    assert sampling_from(body, 9) == {
        "sampling_seed": 3,
        "min_new_tokens": 2,
        "temperature": 0,
        "max_new_tokens": 9,
    }


async def test_ids_can_be_had_in_sglext_by_field_or_header() -> None:
    body = {"prompt": [5, 6], "max_tokens": 3, "ignore_eos": True, "n": 2, "seed": 1}
    asked = {"return_input_ids_in_sglext": True, "return_routed_experts": True}
    async with open_client() as client:
        found = (await client.post("/v1/completions", {**body, **asked})).json()["sglext"]
        assert found["input_ids"] == [5, 6]
        assert found["routed_experts"]
        assert "output_ids" not in found
        headers = {"x-sglext-return-output-ids": "1"}
        found = (await client.request("POST", "/v1/completions", body, headers)).json()
        assert [len(ids) for ids in found["sglext"]["output_ids"]] == [3, 3]
