from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miles_router.core.generate.answer import read_answer
from miles_router.core.generate.items import AnswerItem, Expected
from miles_router.core.generate.reasons import RefusalReason
from miles_router.core.generate.request import read_request
from miles_router.core.generate.rewrite import LOGPROB_KEYS, ROUTED_EXPERTS_KEYS, drops
from miles_router.core.generate.stream import StreamCollector
from miles_router.core.trajectory.turn import VersionSpan
from miles_router.sim import SimSettings
from tests.core.generate import simulated
from tests.core.generate.answers import (
    CHUNKS,
    QUEUE_ABORT,
    SECOND_DELTA,
    STREAM_503,
    changed,
    expected,
    logprobs_of,
    only,
)

DONE = simulated.DONE
PROMPT = [1, 2, 3, 4, 5]
NOTHING: tuple[frozenset[str], ...] = (frozenset(),) * 4


def collected(
    events: list[bytes], want: Expected, taken: tuple[frozenset[str], ...] = NOTHING
) -> tuple[StreamCollector, list[bytes], list[bool]]:
    """(the collector, what the client gets, whether each event is held)."""
    collector = StreamCollector(want, taken)
    shown, held = [], []
    for event in events:
        shown.append(collector.take(event))
        held.append(collector.holds_end)
    return collector, shown, held


def reasons(collector: StreamCollector) -> list[str]:
    return ["ok" if isinstance(item, AnswerItem) else item.value for item in collector.items()]


def test_the_cumulative_example() -> None:
    collector, shown, held = collected(CHUNKS, expected(PROMPT))
    assert shown == CHUNKS
    assert held == [False, True, True]
    found = only(collector.items())
    assert (found.output_ids.tolist(), found.text, found.finish) == ([7042, 2], b" Paris", "stop")
    assert found.versions == (VersionSpan("default", 0, 2),)


def test_the_incremental_example_of_a_batch() -> None:
    second_end = SECOND_DELTA
    meta: dict[str, Any] = {
        "output_token_logprobs_length": 1,
        "completion_tokens": 1,
        "finish_reason": None,
    }
    first_of_second = delta(second_end, " A", [377], **meta)
    finished = meta | {"finish_reason": {"type": "length"}, "weight_versions": None}
    whole_first = delta(second_end, " C", [379], **finished, index=0)
    events = [first_of_second, whole_first, second_end, DONE]
    collector, shown, held = collected(
        events, expected(PROMPT, PROMPT, is_array=True, logprobs=True)
    )
    assert shown == events
    assert held == [False, False, True, True]
    first, second = collector.items()
    assert isinstance(first, AnswerItem)
    assert isinstance(second, AnswerItem)
    assert (first.output_ids.tolist(), first.text) == ([379], b" C")
    assert (second.output_ids.tolist(), second.text) == ([377, 378], b" A B")
    assert logprobs_of(second) == [-0.5, -1.5]
    assert second.versions == (VersionSpan("7", 0, 1), VersionSpan("8", 1, 2))


def delta(event: bytes, text: str, ids: list[int], index: int = 1, **meta: Any) -> bytes:
    answer = msgspec.json.decode(event[6:])
    answer |= {"text": text, "output_ids": ids, "index": index}
    answer["meta_info"] |= meta
    answer["meta_info"]["output_token_logprobs"] = [[-0.5, one, None] for one in ids]
    return simulated.event(answer)


def test_a_stream_that_was_refused() -> None:
    collector, shown, held = collected([STREAM_503, DONE], expected(PROMPT))
    assert (shown, held) == ([STREAM_503, DONE], [True, True])
    assert reasons(collector) == ["worker_error"]
    error = b'data: {"error":{"message":"input_ids cannot be empty.","code":400}}\n\n'
    collector, shown, held = collected([error, DONE], expected(PROMPT))
    assert (shown, held) == ([error, DONE], [True, True])
    assert reasons(collector) == ["worker_error"]


def test_an_abort_in_the_queue() -> None:
    events = [b"data: " + QUEUE_ABORT + b"\n\n", DONE]
    collector, _, held = collected(events, expected(PROMPT))
    assert (reasons(collector), held) == (["queue_abort"], [True, True])


@pytest.mark.parametrize("events", [[], CHUNKS[:1], [CHUNKS[0], DONE], [DONE]])
def test_a_stream_that_ends_too_early(events: list[bytes]) -> None:
    collector, shown, _ = collected(events, expected(PROMPT))
    assert shown == events
    assert reasons(collector) == ["unfinished"]


def test_an_error_in_the_middle_spares_what_has_finished() -> None:
    done = msgspec.json.decode(CHUNKS[1][6:])
    events = [
        simulated.event({**done, "index": 1}),
        b'data: {"error":{"message":"x"}}\n\n',
        DONE,
    ]
    collector, _, held = collected(events, expected(PROMPT, PROMPT, is_array=True))
    assert held == [False, True, True]
    assert reasons(collector) == ["worker_error", "ok"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"data: <html>\n\n", "answer_not_json"),
        (b"data: []\n\n", "answer_shape"),
        (b"data: 5\n\n", "answer_shape"),
        (b'data: {"output_ids":[],"meta_info":{}}\n\n', "answer_shape"),
        (b'data: {"index":2,"output_ids":[],"meta_info":{}}\n\n', "answer_shape"),
        (b'data: {"index":-1,"output_ids":[],"meta_info":{}}\n\n', "answer_shape"),
        (b'data: {"index":"0","output_ids":[],"meta_info":{}}\n\n', "answer_shape"),
        (b'data: {"index":1e99,"output_ids":[],"meta_info":{}}\n\n', "answer_shape"),
    ],
)
def test_events_that_belong_to_no_item_break_the_stream(event: bytes, reason: str) -> None:
    collector, shown, held = collected([event], expected(PROMPT, PROMPT, is_array=True))
    assert (shown, held) == ([event], [True])
    assert reasons(collector) == [reason] * 2


def test_a_bad_chunk_refuses_its_item_alone() -> None:
    done = msgspec.json.decode(CHUNKS[1][6:])
    events = [
        simulated.event({"index": 0, "output_ids": [5], "meta_info": {}}),
        simulated.event({**done, "index": 0}),
        simulated.event({**done, "index": 1}),
    ]
    collector, _, held = collected(events, expected(PROMPT, PROMPT, is_array=True))
    assert reasons(collector) == ["completion_tokens", "ok"]
    assert held == [False, False, True]


def test_comments_and_events_without_data_go_through() -> None:
    events = [b": ping\n\n", CHUNKS[0], b"event: x\n\n", b"\n\n", *CHUNKS[1:]]
    collector, shown, _ = collected(events, expected(PROMPT))
    assert shown == events
    assert reasons(collector) == ["ok"]


def test_line_ends_and_other_lines_of_an_event_stay() -> None:
    event = CHUNKS[1].replace(b"\n", b"\r\n")
    framed = b"id: 7\r\n" + event
    _, (shown,), _ = collected([framed], expected(PROMPT), (frozenset({"dp_rank"}),))
    assert shown == framed.replace(b'"dp_rank":null,', b"")


def test_a_lie_about_the_count_is_seen_at_the_end() -> None:
    lie = b"data: " + changed(CHUNKS[1][6:], completion_tokens=4) + b"\n\n"
    collector, _, _ = collected([CHUNKS[0], lie], expected(PROMPT))
    assert reasons(collector) == ["completion_tokens"]


STREAMED: list[dict[str, Any]] = [
    {"text": "Hello"},
    {"text": "Hello", "return_logprob": True, "return_routed_experts": True},
    {"text": "Hello", "return_logprob": True, "logprob_start_len": 0},
    {"text": "Hello", "sampling_params": {"max_new_tokens": 6, "stream_interval": 3}},
    {"text": ["Hello", "Hi there"], "return_logprob": True, "return_prompt_token_ids": True},
    {"text": "Hello", "return_logprob": True, "sampling_params": {"n": 3, "max_new_tokens": 5}},
    {"text": "Hello", "return_logprob": True, "sampling_params": {"max_new_tokens": 0}},
    {"text": "Hello", "sampling_params": {"stop": ["a", "e"], "max_new_tokens": 50}},
]


@pytest.mark.parametrize("steps", [None, 1, 3])
@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("body", STREAMED)
def test_what_a_simulated_worker_streams(
    body: dict[str, Any], incremental: bool, steps: int | None
) -> None:
    data = simulated.encode({"stream": True, **body})
    options = SimSettings(incremental_streaming=incremental, weight_version="1")
    events = simulated.events(data, options, steps=steps)
    request = read_request(data)
    prompts = [np.array(simulated.encoded(text), dtype="<i4") for text in request.texts or ()]
    want = Expected.of(request, prompts, ask_logprobs=False, vocab_size=simulated.VOCAB_SIZE)
    collector, shown, held = collected(events, want, (frozenset(),) * request.items)
    assert shown == events
    # Held from the last final chunk on, and not before.
    finals = [i for i, event in enumerate(events) if b'"finish_reason":{' in event]
    assert held == [i >= finals[-1] for i in range(len(events))]
    # The final chunks of a cumulative stream are whole answers.
    whole_events = simulated.events(data, SimSettings(weight_version="1"), steps=steps)
    whole = {}
    for event in whole_events[:-1]:
        answer = msgspec.json.decode(event[6:])
        whole[answer.pop("index", 0)] = answer
    answers = [whole[index] for index in range(request.items)]
    direct = read_answer(simulated.encode(answers if want.is_array else answers[0]), want)
    for one, other in zip(collector.items(), direct, strict=True):
        assert isinstance(one, AnswerItem), one
        assert isinstance(other, AnswerItem)
        assert one.output_ids.tolist() == other.output_ids.tolist()
        assert (one.text, one.finish, one.versions) == (other.text, other.finish, other.versions)
        assert one.logprobs == other.logprobs
        assert one.routed_experts == other.routed_experts
        assert one.weight_version == other.weight_version


@pytest.mark.parametrize("incremental", [False, True])
def test_a_client_sees_only_what_it_asked_for(incremental: bool) -> None:
    plain = {"text": "Hello", "rid": "x", "stream": True, "sampling_params": {"sampling_seed": 3}}
    asking = {**plain, "return_logprob": True, "return_routed_experts": True}
    options = SimSettings(incremental_streaming=incremental, weight_version="1")
    request = read_request(simulated.encode(plain))
    prompts = [np.array(simulated.encoded("Hello"), dtype="<i4")]
    want = Expected.of(request, prompts, ask_logprobs=True, vocab_size=simulated.VOCAB_SIZE)
    taken = drops(request, ask_logprobs=True, ask_routed_experts=True)
    assert taken == (LOGPROB_KEYS | ROUTED_EXPERTS_KEYS,)
    events = simulated.events(simulated.encode(asking), options)
    collector, shown, _ = collected(events, want, taken)
    assert shown == simulated.events(simulated.encode(plain), options)
    found = only(collector.items())
    assert len(found.logprobs) == 4 * len(found.output_ids) > 0
    assert not np.isnan(logprobs_of(found)).any()
    assert found.routed_experts is not None


@settings(max_examples=200)
@given(st.data())
def test_no_event_raises(draw: st.DataObject) -> None:
    base = draw.draw(st.sampled_from([*CHUNKS, SECOND_DELTA, STREAM_503]))
    events = []
    for _ in range(draw.draw(st.integers(1, 3))):
        event = bytearray(base)
        place = draw.draw(st.integers(0, len(event) - 1))
        event[place : place + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=2))
        events.append(bytes(event))
    collector, shown, _ = collected(events, expected(PROMPT, PROMPT, is_array=True))
    assert shown == events
    assert all(isinstance(item, AnswerItem) or item in RefusalReason for item in collector.items())


def test_what_is_held_of_all_items() -> None:
    one, _, _ = collected(CHUNKS, expected(PROMPT))
    index = b',"index":%d}'
    both = [event.replace(b"}\n", index % at + b"\n") for event in CHUNKS[:-1] for at in (0, 1)]
    two, _, _ = collected(both, expected(PROMPT, PROMPT, is_array=True))
    assert 0 < one.size_bytes < len(CHUNKS[-2])
    assert two.size_bytes == 2 * (one.size_bytes + len("0"))
