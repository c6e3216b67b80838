from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from miles_router.sim import SimSettings
from miles_router.sim.answers import Cursor
from miles_router.sim.engine import Engine

if TYPE_CHECKING:
    from miles_router.sim.generation import Generation


IDS = [9, 8, 7, 6]


def run(settings: SimSettings | None = None, **body: Any) -> tuple[Engine, Generation]:
    engine = Engine(settings or SimSettings(weight_version="12"))
    body.setdefault("input_ids", [34, 27])
    body.setdefault("sampling_params", {"max_new_tokens": 3, "ignore_eos": True})
    (found,) = engine.admit(engine.parse(body), now=1.0)
    engine.submit([found], now=1.0)
    while engine.running:
        engine.advance(now=1.5)
    return engine, found


def answer(settings: SimSettings | None = None, **body: Any) -> dict[str, Any]:
    engine, found = run(settings, **body)
    return engine.answers.whole(found, version=engine.weight_version)


def test_a_whole_answer_has_sglangs_keys_in_sglangs_order() -> None:
    found = answer(
        rid="t1", return_logprob=True, return_prompt_token_ids=True, return_routed_experts=True
    )
    assert list(found) == ["text", "output_ids", "meta_info", "prompt_token_ids"]
    assert list(found["meta_info"]) == [
        *("id", "finish_reason", "prompt_tokens", "weight_version", "num_retractions"),
        *("input_token_logprobs", "output_token_logprobs", "output_token_logprobs_length"),
        *("reasoning_tokens", "completion_tokens", "cached_tokens", "weight_versions"),
        *("routed_experts", "dp_rank", "e2e_latency"),
    ]
    meta = found["meta_info"]
    assert found["prompt_token_ids"] == [34, 27]
    assert meta["id"] == "t1"
    assert meta["weight_version"] == "12"
    assert meta["weight_versions"] == [{"version": "12", "start": 0, "end": 3}]
    assert meta["input_token_logprobs"] == []
    assert [token for _, token, _ in meta["output_token_logprobs"]] == found["output_ids"]
    assert all(text is None for *_, text in meta["output_token_logprobs"])
    assert meta["e2e_latency"] == 0.5


def test_nothing_that_was_not_asked_for() -> None:
    found = answer()
    assert list(found) == ["text", "output_ids", "meta_info"]
    assert not [key for key in found["meta_info"] if "logprob" in key or "experts" in key]


def test_prompt_log_probabilities_start_where_asked() -> None:
    found = answer(input_ids=[9, 8, 7, 6], return_logprob=True, logprob_start_len=1)
    triples = found["meta_info"]["input_token_logprobs"]
    assert [token for _, token, _ in triples] == [8, 7, 6]
    assert triples[0][0] is None
    assert all(value < 0 for value, *_ in triples[1:])


def test_texts_tops_and_chosen_columns() -> None:
    found = answer(
        return_logprob=True,
        return_text_in_logprobs=True,
        top_logprobs_num=2,
        token_ids_logprob=[5, 6],
    )
    meta = found["meta_info"]
    assert "".join(text for *_, text in meta["output_token_logprobs"]) == found["text"]
    assert [len(column) for column in meta["output_top_logprobs"]] == [2, 2, 2]
    ids = [[token for _, token, _ in column] for column in meta["output_token_ids_logprobs"]]
    assert ids == [[5, 6]] * 3
    columns = zip(meta["output_token_logprobs"], meta["output_top_logprobs"], strict=True)
    for own, top in columns:
        assert own in top
        assert sum(math.exp(value) for value, *_ in top) <= 1.0


def test_tops_and_chosen_columns_of_the_prompt_lack_only_the_first_place() -> None:
    asked: dict[str, Any] = {"logprob_start_len": 0, "token_ids_logprob": [5, 7]}
    meta = answer(input_ids=IDS, return_logprob=True, top_logprobs_num=3, **asked)["meta_info"]
    first, *tops = meta["input_top_logprobs"]
    assert first is None
    assert [len({token for _, token, _ in column}) for column in tops] == [3, 3, 3]
    assert all(column == sorted(column, reverse=True) for column in tops)
    none, *chosen = meta["input_token_ids_logprobs"]
    assert none is None
    assert [[token for _, token, _ in column] for column in chosen] == [[5, 7]] * 3
    # At the place of 7 its value is the one that the prompt's own token has.
    assert chosen[1][1][0] == meta["input_token_logprobs"][2][0]


@pytest.mark.parametrize(("start", "columns"), [(-1, 0), (2, 2), (3, 1), (4, 0)])
def test_columns_of_the_prompt_start_where_asked(start: int, columns: int) -> None:
    asked: dict[str, Any] = {"token_ids_logprob": [5], "logprob_start_len": start}
    meta = answer(input_ids=IDS, return_logprob=True, top_logprobs_num=2, **asked)["meta_info"]
    for name in ("input_token_logprobs", "input_top_logprobs", "input_token_ids_logprobs"):
        assert len(meta[name]) == columns, name
    assert meta["input_top_logprobs"][:1] == [None][:columns]


def test_no_new_token_still_has_one_log_probability() -> None:
    meta = answer(return_logprob=True, sampling_params={"max_new_tokens": 0})["meta_info"]
    assert (meta["completion_tokens"], len(meta["output_token_logprobs"])) == (0, 1)
    assert meta["finish_reason"] == {"type": "length", "length": 0}


@pytest.mark.parametrize(("start", "rows"), [(0, 4), (1, 3), (2, 2)])
def test_routed_experts_have_a_row_for_all_but_the_last_token(start: int, rows: int) -> None:
    settings = SimSettings(num_layers=2, num_experts=4, top_k=2)
    found = answer(settings, return_routed_experts=True, routed_experts_start_len=start)
    text = found["meta_info"]["routed_experts"]
    data = base64.b64decode(text)
    assert len(data) == rows * 2 * 2 * 4
    whole = answer(settings, return_routed_experts=True)["meta_info"]["routed_experts"]
    assert base64.b64decode(whole)[start * 16 :] == data
    assert np.frombuffer(data, "<i4").reshape(rows, 2, 2).max() < 4


def test_routed_experts_are_silently_absent_when_the_server_does_not_return_them() -> None:
    assert (
        "routed_experts"
        not in answer(SimSettings(routed_experts=False), return_routed_experts=True)["meta_info"]
    )


def test_a_start_at_the_whole_prompt_with_no_answer_gives_no_rows() -> None:
    found = answer(
        return_routed_experts=True,
        routed_experts_start_len=2,
        sampling_params={"max_new_tokens": 0},
    )
    assert found["meta_info"]["routed_experts"] == ""


def test_an_abort_in_the_queue_has_the_reduced_meta_info() -> None:
    engine = Engine(SimSettings(max_running=1))
    for rid in ("first", "q7"):
        body = {"input_ids": [5], "rid": rid, "return_logprob": rid == "q7"}
        engine.submit(engine.admit(engine.parse(body), now=0.0), now=0.0)
    (found,) = engine.abort("q7", abort_all=False, now=3.25)
    assert engine.answers.whole(found, version="default") == {
        "text": "",
        "output_ids": [],
        "meta_info": {
            "id": "q7",
            "finish_reason": {"type": "abort", "message": "Abort in waiting queue"},
            "weight_version": "default",
            "e2e_latency": 3.25,
            "input_token_logprobs": [],
            "output_token_logprobs": [],
            "output_token_logprobs_length": 0,
            "completion_tokens": 0,
        },
    }


def test_chunks_of_an_unfinished_answer_lack_what_is_only_known_at_the_end() -> None:
    engine = Engine(SimSettings())
    body = {"input_ids": [5], "stream": True, "return_routed_experts": True}
    (found,) = engine.admit(engine.parse(body), now=0.0)
    engine.submit([found], now=0.0)
    engine.advance(now=0.0)
    meta = engine.answers.whole(found, version="9")["meta_info"]
    assert meta["finish_reason"] is None
    assert meta["weight_version"] == "9"
    assert not {"weight_versions", "routed_experts", "e2e_latency"} & set(meta)


def test_deltas_add_up_to_the_whole() -> None:
    engine = Engine(SimSettings())
    body = {
        "input_ids": [5],
        "stream": True,
        "return_logprob": True,
        "logprob_start_len": 0,
        "sampling_params": {"max_new_tokens": 20, "ignore_eos": True},
    }
    (found,) = engine.admit(engine.parse(body), now=0.0)
    engine.submit([found], now=0.0)
    cursor, deltas = Cursor(), []
    while not found.is_finished:
        engine.advance(now=0.0)
        deltas.append(engine.answers.delta(found, cursor, version="1"))
    whole = engine.answers.whole(found, version="1")
    assert len(deltas) == 20
    assert "".join(one["text"] for one in deltas) == whole["text"]
    assert [token for one in deltas for token in one["output_ids"]] == whole["output_ids"]
    triples = [t for one in deltas for t in one["meta_info"]["output_token_logprobs"]]
    assert triples == whole["meta_info"]["output_token_logprobs"]
    lengths = [one["meta_info"]["output_token_logprobs_length"] for one in deltas]
    assert lengths == list(range(1, 21))
    prompts = [one["meta_info"]["input_token_logprobs"] for one in deltas]
    assert prompts == [[[None, 5, None]]] * 20
