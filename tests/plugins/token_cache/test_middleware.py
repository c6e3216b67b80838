"""Requests through the token cache: what goes out, what comes back, what is kept."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest
import trio

import miles_router.plugins.token_cache.continuing
from tests.plugins.token_cache.rig import (
    EOS,
    EOS_ID,
    Reply,
    Stage,
    answer,
    drifting,
    ids_of,
    logprobs,
    replying,
    shown,
)

PARTS, WHOLE = drifting()
WORD = shown(PARTS)
PROMPT = "A question:"


async def test_text_goes_out_as_ids_in_its_place_and_all_else_byte_for_byte() -> None:
    stage = Stage(replying(PARTS))
    body = (
        b'{ "x" : [1.10, {"a":"\\u00e9"}], "text": "A question:", "sampling_params":{"top_p":1e0} }'
    )
    await stage.generate(body)
    sent = stage.worker.bodies[0]
    start, ids = b'{ "x" : [1.10, {"a":"\\u00e9"}], "input_ids": ', json.dumps(ids_of(PROMPT))
    assert sent.startswith(start)
    assert json.loads(sent)["input_ids"] == ids_of(PROMPT)
    assert b'"sampling_params":{"top_p":1e0}' in sent
    assert b'"text"' not in sent
    assert ids.replace(" ", "").encode() in sent
    assert int(stage.worker.headers[0][b"content-length"]) == len(sent)


async def test_the_client_gets_the_answer_it_would_have_had() -> None:
    stage = Stage(replying(PARTS))
    got = await stage.generate({"text": PROMPT})
    assert stage.worker.last["return_logprob"] is True
    plain = answer({"input_ids": ids_of(PROMPT), "rid": stage.worker.last["rid"]}, PARTS)
    assert got.json() == plain
    assert got.header("content-length") == str(len(got.body))


async def test_a_client_that_asks_for_log_probabilities_gets_the_workers_bytes() -> None:
    sent: list[bytes] = []

    def reply(request: dict[str, Any]) -> Reply:
        sent.append(json.dumps(answer(request, PARTS), indent=1).encode())
        return sent[0]

    stage = Stage(reply)
    got = await stage.generate({"text": PROMPT, "return_logprob": True})
    assert got.body == sent[0]


async def test_a_request_without_rid_gets_one() -> None:
    stage = Stage(replying(PARTS))
    await stage.generate({"text": PROMPT})
    await stage.generate({"text": PROMPT})
    await stage.generate({"text": PROMPT, "rid": "mine"})
    first, second, third = (one["rid"] for one in stage.worker.seen)
    assert len(first) == len(second) == 32
    assert first != second
    assert third == "mine"


async def test_the_next_turn_continues_with_the_very_ids() -> None:
    stage = Stage(replying([*PARTS, EOS_ID], [*PARTS, EOS_ID]))
    params = {"no_stop_trim": True, "skip_special_tokens": False}
    got = await stage.generate({"text": PROMPT, "sampling_params": params})
    text = PROMPT + got.json()["text"] + "\nTool: 4"
    await stage.generate({"text": text, "sampling_params": params})
    sent = stage.worker.last["input_ids"]
    assert sent == ids_of(PROMPT) + PARTS + [EOS_ID] + ids_of("\nTool: 4")
    assert sent != ids_of(text)
    assert stage.cache.counters.prompts == {"tokenized": 1, "continued": 1}


async def test_a_trajectory_is_read_back_exactly() -> None:
    stage = Stage(replying([*PARTS, EOS_ID], PARTS))
    text = PROMPT
    for tool in (EOS + "\nTool: 4", ""):
        got = await stage.generate({"text": text, "rid": f"turn-{len(text)}"})
        text += got.json()["text"] + tool
    reading = stage.read(text)
    between = ids_of("\nTool: 4")
    assert reading.tokens.tolist() == [*ids_of(PROMPT), *PARTS, EOS_ID, *between, *PARTS]
    size = len(PARTS)
    prompt, made = [0] * len(ids_of(PROMPT)), [1] * (size + 1)
    assert reading.loss_mask.tolist() == prompt + made + [0] * len(between) + [1] * size
    first = [-0.5 - i for i in range(size + 1)]
    expected: list[float | None] = [None] * len(prompt) + [*first] + [None] * len(between)
    assert logprobs(reading) == [*expected, *first[:size]]
    assert reading.is_exact
    assert [span.weight_version for span in reading.spans] == [None, "7", None, "7"]
    assert len(reading.rids) == 2


async def test_the_stop_token_is_consumed_once_dropped_or_part_of_the_end() -> None:
    stage = Stage(replying([*PARTS, EOS_ID]))
    got = await stage.generate({"text": PROMPT})
    assert got.json()["text"] == WORD
    for following, kept in ((EOS + "x", [EOS_ID]), (" x", []), ("", [])):
        await stage.generate({"text": PROMPT + WORD + following})
        sent = stage.worker.last["input_ids"]
        rest = ids_of(following.removeprefix(EOS))
        assert sent == ids_of(PROMPT) + PARTS + kept + rest
    assert stage.read(PROMPT + WORD).tokens.tolist()[-1] == EOS_ID


async def test_samples_with_one_text_stay_apart_by_session_and_rid() -> None:
    outputs = [PARTS, WHOLE, PARTS, WHOLE]
    stage = Stage(replying(*outputs))
    for number in range(4):
        await stage.generate({"text": PROMPT, "rid": f"r{number}"}, x_miles_session=f"s{number}")
    for number, output in enumerate(outputs):
        by_session = stage.read(PROMPT + WORD, session=f"s{number}")
        by_rid = stage.read(PROMPT + WORD, rid=f"r{number}")
        assert by_session.tokens.tolist()[-len(output) :] == output
        assert by_rid.tokens.tolist() == by_session.tokens.tolist()
        assert by_session.candidates == by_rid.candidates == 1
    assert stage.read(PROMPT + WORD).candidates == 4


async def test_nothing_crosses_tenants() -> None:
    stage = Stage(replying(PARTS))
    await stage.generate({"text": PROMPT}, x_tenant="a")
    await stage.generate({"text": PROMPT + WORD + " more"}, x_tenant="b")
    assert stage.worker.last["input_ids"] == ids_of(PROMPT + WORD + " more")
    assert stage.find(PROMPT + WORD, tenant="c") == stage.find(PROMPT + WORD, tenant="default")


async def test_ids_are_relayed_untouched_and_stored() -> None:
    stage = Stage(replying(PARTS))
    body = b'{"input_ids":[%b], "sampling_params" : {}}' % b", ".join(
        str(one).encode() for one in [*ids_of(PROMPT), *PARTS]
    )
    got = await stage.generate(body)
    assert stage.worker.bodies == [body]
    assert "output_token_logprobs" not in got.json()["meta_info"]
    reading = stage.read(PROMPT + WORD + WORD)
    assert reading.tokens.tolist() == [*ids_of(PROMPT), *PARTS, *PARTS]
    assert set(logprobs(reading)) == {None}


async def test_ids_that_continue_a_turn_keep_its_mask() -> None:
    stage = Stage(replying(PARTS))
    await stage.generate({"text": PROMPT})
    await stage.generate({"input_ids": [*ids_of(PROMPT), *PARTS, *ids_of(" x")]})
    reading = stage.read(PROMPT + WORD + " x" + WORD)
    size, between = len(PARTS), len(ids_of(" x"))
    mask = [0] * len(ids_of(PROMPT)) + [1] * size + [0] * between + [1] * size
    assert reading.loss_mask.tolist() == mask


@pytest.mark.parametrize("count", [1, 3])
async def test_a_batch_is_stored_item_by_item(count: int) -> None:
    def reply(request: dict[str, Any]) -> Reply:
        rids, prompts = request["rid"], request["input_ids"]
        return [
            answer({**request, "rid": rid, "input_ids": ids}, PARTS)
            for rid, ids in zip(rids, prompts, strict=True)
        ]

    stage = Stage(reply)
    texts = [f"{PROMPT} {number}" for number in range(count)]
    got = await stage.generate({"text": texts})
    assert [set(one["meta_info"]) & {"output_token_logprobs"} for one in got.json()] == [
        set()
    ] * count
    assert stage.stored == count
    for text in texts:
        assert stage.read(text + WORD).tokens.tolist() == ids_of(text) + PARTS


@pytest.mark.parametrize("kind", ["text", "input_ids"])
async def test_a_large_batch_leaves_the_loop_to_others(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(request: dict[str, Any]) -> Reply:
        prompts = request["input_ids"]
        return [answer({**request, "rid": "r", "input_ids": ids}, PARTS) for ids in prompts]

    steps: list[str] = []
    stage = Stage(reply)
    find = {"text": "find_prompt", "input_ids": "find_ids"}[kind]
    found = getattr(miles_router.plugins.token_cache.continuing, find)

    def noting_find(*args: Any) -> Any:
        steps.append("find")
        return found(*args)

    monkeypatch.setattr(miles_router.plugins.token_cache.continuing, find, noting_find)
    added = stage.cache.store.add

    def noting_add(*args: Any) -> Any:
        steps.append("add")
        return added(*args)

    monkeypatch.setattr(stage.cache.store, "add", noting_add)

    async def other() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            steps.append("other")

    texts = [f"{PROMPT} {number}" for number in range(200)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await stage.generate({"text": [PROMPT]})  # the namespace is there
        await stage.generate({kind: texts if kind == "text" else [ids_of(one) for one in texts]})
        nursery.cancel_scope.cancel()
    for kind_of_step in ("find", "add"):
        at_once = [len(list(run)) for step, run in groupby(steps) if step == kind_of_step]
        assert sum(at_once) >= 200
        assert max(at_once) <= 2 * 16  # trio takes the tasks of a round in any order


async def test_samples_of_one_request_are_stored_each() -> None:
    def reply(request: dict[str, Any]) -> Reply:
        return [answer({**request, "rid": f"w{i}"}, out) for i, out in enumerate([PARTS, WHOLE])]

    stage = Stage(reply)
    await stage.generate({"text": PROMPT, "sampling_params": {"n": 2}})
    assert "rid" not in stage.worker.last
    assert stage.read(PROMPT + WORD).candidates == 2
    assert stage.read(PROMPT + WORD, rid="w0").tokens.tolist() == ids_of(PROMPT) + PARTS


async def test_an_aborted_answer_is_stored_and_continued() -> None:
    aborted = {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
    stage = Stage(replying(PARTS, finish=aborted))
    await stage.generate({"text": PROMPT})
    await stage.generate({"text": PROMPT + WORD})
    assert stage.worker.last["input_ids"] == ids_of(PROMPT) + PARTS
    assert stage.read(PROMPT + WORD).turns[0].finish == "abort"


async def test_no_new_tokens_are_no_trouble() -> None:
    pair = [[-0.5, 9, None]]
    stage = Stage(replying([], output_token_logprobs=pair, output_token_logprobs_length=1))
    params = {"max_new_tokens": 0}
    got = await stage.generate({"text": PROMPT, "sampling_params": params})
    assert got.json()["output_ids"] == []
    assert stage.read(PROMPT).tokens.tolist() == ids_of(PROMPT)


async def test_weight_versions_are_spans_and_reach_the_pool() -> None:
    spans = [
        {"version": "7", "start": 0, "end": 1},
        {"version": "8", "start": 1, "end": len(PARTS)},
    ]
    stage = Stage(replying(PARTS, weight_version="8", weight_versions=spans))
    await stage.generate({"text": PROMPT})
    versions = [(s.end - s.start, s.weight_version) for s in stage.read(PROMPT + WORD).spans]
    assert versions[1:] == [(1, "7"), (len(PARTS) - 1, "8")]
    assert stage.told.versions == [("w1", "8")]


async def test_a_missing_weight_version_is_null() -> None:
    stage = Stage(replying(PARTS, weight_version=None))
    await stage.generate({"text": PROMPT})
    assert stage.read(PROMPT + WORD).spans[-1].weight_version is None
    assert stage.told.versions == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt_tokens": 999}, "prompt_tokens"),
        ({"prompt_tokens": None}, "no_prompt_tokens"),
        ({"completion_tokens": 1}, "completion_tokens"),
        ({"output_token_logprobs": [[-1.0, 1, None]]}, "logprob_count"),
        ({"output_token_logprobs": "no"}, "bad_logprobs"),
        ({"finish_reason": None}, "unfinished"),
        ({"finish_reason": {"type": "abort", "status_code": 500, "message": "x"}}, "worker_error"),
    ],
)
async def test_a_worker_that_lies_is_relayed_and_not_believed(
    changes: dict[str, Any], reason: str
) -> None:
    stage = Stage(replying(PARTS, **changes))
    got = await stage.generate({"text": PROMPT})
    assert got.status == 200
    assert got.json()["output_ids"] == PARTS
    assert stage.refused == {reason: 1}
    assert stage.stored == 0
    assert stage.find(PROMPT + WORD).matched_bytes == 0


@pytest.mark.parametrize(
    "reply", [b"<html>busy</html>", b"[1, 2]", b"{", b"", b'{"text": "x"}', b"null", b'"\xff"']
)
async def test_an_answer_that_is_none_passes_as_it_is(reply: bytes) -> None:
    stage = Stage(lambda _request: reply)
    got = await stage.generate({"text": PROMPT})
    assert got.body == reply
    assert sum(stage.refused.values()) == 1
    assert stage.cache.counters.failures == 0


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_an_error_passes_at_once(status: int) -> None:
    stage = Stage(lambda _request: b'{"error": "no"}')
    stage.worker.status = status
    got = await stage.generate({"text": PROMPT})
    assert (got.status, got.body) == (status, b'{"error": "no"}')
    assert stage.refused == {"worker_error": 1}
    assert len(stage.worker.seen) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "not_json"),
        (b"[1]", "not_an_object"),
        (b'{"text": 5}', "bad_prompt"),
        (b'{"text": ""}', "no_prompt"),
        (b'{"text": "\\ud800"}', "bad_text"),
        (b'{"text": "a", "image_data": "x"}', "multimodal"),
        (b'{"input_embeds": [[0.5]]}', "embeddings"),
        (b'{"text": "a", "session_params": {"id": "s"}}', "worker_session"),
        (b'{"input_ids": [99999999]}', "out_of_vocabulary"),
        (b'{"input_ids": [-1]}', "bad_input_ids"),
    ],
)
async def test_a_request_that_the_cache_cannot_follow_goes_as_it_came(
    body: bytes, reason: str
) -> None:
    stage = Stage(lambda _request: b"{}")
    await stage.generate(body)
    assert stage.worker.bodies == [body]
    assert stage.refused.get(reason) == 1, stage.refused
    assert stage.cache.counters.failures == 0


async def test_other_paths_are_not_touched() -> None:
    stage = Stage(lambda _request: b"ok")
    answer_ = await stage.client.post("/v1/models", {"text": "a"})
    assert (answer_.body, stage.worker.last) == (b"ok", {"text": "a"})


async def test_a_compressed_answer_is_not_looked_into() -> None:
    stage = Stage(lambda _request: b"\x1f\x8b...")
    stage.worker.answer_headers = (
        (b"content-type", b"application/json"),
        (b"content-encoding", b"gzip"),
    )
    got = await stage.generate({"text": PROMPT}, accept_encoding="gzip, br")
    assert stage.worker.headers[0][b"accept-encoding"] == b"identity"
    assert (got.body, stage.refused) == (b"\x1f\x8b...", {"encoded": 1})


async def test_a_failing_cache_lets_requests_through_and_is_switched_off() -> None:
    class Broken:
        name, fingerprint, vocab_size = "broken", "0", 10

        def encode(self, text: str, *, is_continuation: bool) -> Any:
            raise RuntimeError("a tokenizer that fails")

    stage = Stage(replying(PARTS), tokenizer=Broken())
    for _ in range(7):
        got = await stage.generate({"text": PROMPT})
        assert got.status == 200
        assert stage.worker.last == {"text": PROMPT}
    assert stage.cache.counters.failures == 5
    assert not stage.cache.is_on
    assert [event.kind for event in stage.events.since(0)] == ["token_cache_failed"]


async def test_a_failure_while_storing_costs_the_client_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(replying(PARTS))

    def fail(*_args: object, **_named: object) -> None:
        raise RuntimeError("a store that fails")

    monkeypatch.setattr(stage.cache.store, "add", fail)
    got = await stage.generate({"text": PROMPT})
    assert got.json()["output_ids"] == PARTS
    assert stage.cache.counters.failures == 1
    assert "a store that fails" not in got.body.decode()


async def test_no_prompt_or_answer_is_logged() -> None:
    stage = Stage(lambda _request: b"{")
    await stage.generate({"text": "my secret prompt"})
    assert "secret" not in repr(stage.logged)


async def test_turns_are_held_only_while_a_request_runs() -> None:
    stage = Stage(replying(PARTS))
    await stage.generate({"text": PROMPT})
    await stage.generate({"text": PROMPT + WORD + " x"})
    turns = stage.read(PROMPT + WORD + " x" + WORD).turns
    assert [turn.holders for turn in turns] == [1, 0]


async def test_a_budget_that_holds_nothing_lets_requests_through() -> None:
    stage = Stage(replying(PARTS), budget_bytes=1)
    got = await stage.generate({"text": PROMPT})
    assert got.json()["output_ids"] == PARTS
    missing = stage.find(PROMPT + WORD)
    assert getattr(missing, "gone", None) == "evicted"
    assert stage.cache.store.size_bytes == 0


async def test_a_prompt_of_ten_megabytes() -> None:
    stage = Stage(replying(PARTS))
    text = "hello world " * 850_000
    got = await stage.generate({"text": text})
    assert got.status == 200
    assert stage.stored == 1
    assert stage.read(text + WORD).tokens.tolist()[-len(PARTS) :] == PARTS
