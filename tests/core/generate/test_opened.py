from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.generate.opened import (
    MIN_ANSWER_BYTES,
    MIN_BLOB_BYTES,
    OpenedItem,
    open_answer,
    stripped,
)
from miles_router.core.generate.rewrite import LOGPROB_KEYS, ROUTED_EXPERTS_KEYS
from tests.core.generate.answers import SINGLE, TWO_SAMPLES
from tests.core.generate.test_splice import json_values, styles, written

BLOB = base64.b64encode(bytes(range(256)) * (MIN_ANSWER_BYTES // 256)).decode()


def shown(body: bytes, *drops: frozenset[str]) -> bytes:
    return b"".join(stripped(open_answer(body), drops))


def item_of(body: bytes) -> OpenedItem:
    (found,) = open_answer(body).items
    assert isinstance(found, OpenedItem)
    return found


def test_what_the_router_asked_for_goes_and_nothing_else() -> None:
    logprobs = (
        b'"input_token_logprobs":[],"output_token_logprobs":[[-0.25,36,null],[-0.5,2,null]],'
        b'"output_token_logprobs_length":2,'
    )
    assert shown(SINGLE, LOGPROB_KEYS) == SINGLE.replace(logprobs, b"")
    start = SINGLE.index(b'"routed_experts"')
    end = SINGLE.index(b'"dp_rank"')
    assert shown(SINGLE, ROUTED_EXPERTS_KEYS) == SINGLE[:start] + SINGLE[end:]


def test_nothing_to_take_out_is_the_answer_as_it_came() -> None:
    opened = open_answer(SINGLE)
    assert stripped(opened, [frozenset()]) == [SINGLE]
    assert stripped(opened, [frozenset({"absent"})]) == [SINGLE]
    assert stripped(opened, []) == [SINGLE]


def test_items_of_an_array_lose_what_each_has_too_much() -> None:
    found = shown(TWO_SAMPLES, frozenset(), frozenset({"dp_rank", "id"}))
    first, rest = TWO_SAMPLES.split(b",\n")
    rest = rest.replace(b'"id":"u2",', b"").replace(b'"dp_rank":null,', b"")
    assert found == first + b",\n" + rest


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        (b"<html><body>502</body></html>", ["answer_not_json"]),
        (b"", ["answer_not_json"]),
        (SINGLE[:-1], ["answer_not_json"]),
        (TWO_SAMPLES[:-1], ["answer_not_json"]),
        (b'{"a":' + b"[" * 100_000, ["answer_not_json"]),
        (b"[" * 100_000, ["answer_not_json"]),
        (b"17", ["answer_shape"]),
        (b'"text"', ["answer_shape"]),
        (b"[1,[],null]", ["answer_shape"] * 3),
        (b"[]", []),
    ],
)
def test_what_is_no_answer_has_reasons_and_stays_as_it_is(body: bytes, reasons: list[str]) -> None:
    opened = open_answer(body)
    assert list(opened.items) == reasons
    assert b"".join(stripped(opened, [LOGPROB_KEYS] * 3)) == body


def test_a_meta_info_that_is_no_object_is_none() -> None:
    for body in (b'{"meta_info":[]}', b'{"meta_info":null}', b"{}", b'{"text":"a"}'):
        assert item_of(body).meta is None
        assert shown(body, LOGPROB_KEYS) == body


def test_keys_go_only_from_meta_info() -> None:
    body = b'{"routed_experts":"a","id":"y","meta_info":{"z":[1],"id":"x"}}'
    assert shown(body, ROUTED_EXPERTS_KEYS) == body
    assert shown(body, frozenset({"id"})) == body.replace(b',"id":"x"', b"")


def test_a_key_that_stands_twice_leaves_the_item_as_it_is() -> None:
    body = b'{"meta_info":{"routed_experts":"a","routed_experts":"bc"},"x":1}'
    assert shown(body, ROUTED_EXPERTS_KEYS) == body


answers = st.fixed_dictionaries(
    {"text": st.text(), "meta_info": st.dictionaries(st.sampled_from("abcdef"), json_values)},
    optional=dict.fromkeys("abc", json_values) | {"prompt_token_ids": st.lists(st.integers())},
)


@given(answers | st.lists(answers, min_size=1, max_size=3), styles, st.data())
def test_taking_out_leaves_every_other_byte(
    value: Any, style: dict[str, Any], draw: st.DataObject
) -> None:
    items = value if isinstance(value, list) else [value]
    keys = st.frozensets(st.sampled_from("abcdef"))
    drops = [draw.draw(keys) for _ in items]
    data = written(value, style)
    found = shown(data, *drops)
    for item, dropped in zip(items, drops, strict=True):
        for key in dropped:
            item["meta_info"].pop(key, None)
    assert json.loads(found) == value
    if style["indent"] is None:
        assert found == written(value, style)


def big(*blobs: str, style: dict[str, Any] | None = None) -> bytes:
    items = [
        {"text": "a", "meta_info": {"id": "x", "routed_experts": blob, "z": [1.0]}, "tail": 1}
        for blob in blobs
    ]
    return json.dumps(items if len(items) > 1 else items[0], **(style or {})).encode()


@given(styles)
def test_long_routed_experts_are_set_aside(style: dict[str, Any]) -> None:
    body = big(BLOB, style=style)
    opened = open_answer(body)
    assert len(opened.skeleton) < 300
    item = item_of(body)
    assert item.blob is not None
    assert item.blob.obj is body
    assert item.blob == BLOB.encode()
    assert json.loads(shown(body, ROUTED_EXPERTS_KEYS)) == {
        "text": "a",
        "meta_info": {"id": "x", "z": [1.0]},
        "tail": 1,
    }
    without_id = shown(body, frozenset({"id", "z"}))
    assert json.loads(without_id)["meta_info"] == {"routed_experts": BLOB}


def test_each_item_has_its_own() -> None:
    other = BLOB[::-1]
    body = big(BLOB, "short", other, "")
    found = open_answer(body)
    items = [item for item in found.items if isinstance(item, OpenedItem)]
    assert [item.blob and bytes(item.blob).decode() for item in items] == [BLOB, None, other, None]
    drops = [ROUTED_EXPERTS_KEYS, frozenset({"z"}), frozenset({"z"}), ROUTED_EXPERTS_KEYS]
    left = json.loads(b"".join(stripped(found, drops)))
    assert [one["meta_info"] for one in left] == [
        {"id": "x", "z": [1.0]},
        {"id": "x", "routed_experts": "short"},
        {"id": "x", "routed_experts": other},
        {"id": "x", "z": [1.0]},
    ]


def test_text_that_looks_like_routed_experts_is_text() -> None:
    trap = '"routed_experts":"' + BLOB
    body = json.dumps(
        {"text": trap, 'a"routed_experts': BLOB, "meta_info": {"routed_experts": "x", "t": trap}}
    ).encode()
    item = item_of(body)
    assert item.blob is None
    assert item.meta is not None
    assert bytes(item.meta["routed_experts"]) == b'"x"'
    left = json.loads(shown(body, ROUTED_EXPERTS_KEYS))
    assert left == {"text": trap, 'a"routed_experts': BLOB, "meta_info": {"t": trap}}


@pytest.mark.parametrize(
    "body",
    [
        big(BLOB)[:-1],
        big(BLOB)[: MIN_ANSWER_BYTES + 10],
        big(BLOB) + b"x",
        big(BLOB[:MIN_BLOB_BYTES] + '"' + BLOB),
        b'{"routed_experts"' + b" " * MIN_ANSWER_BYTES,
        b'{"routed_experts":' + b" " * MIN_ANSWER_BYTES,
        b'{"routed_experts":"' * (MIN_ANSWER_BYTES // 10),
    ],
)
def test_large_and_broken(body: bytes) -> None:
    assert open_answer(body).items == ("answer_not_json",)
    assert shown(body, ROUTED_EXPERTS_KEYS) == body


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))])
@pytest.mark.parametrize("body", [SINGLE, big(BLOB)])
def test_any_buffer_will_do(make: Any, body: bytes) -> None:
    opened = open_answer(make(body))
    assert b"".join(stripped(opened, [frozenset({"id"})])) == shown(body, frozenset({"id"}))


def test_a_part_of_a_buffer_and_a_part_of_a_view() -> None:
    body = big(BLOB)
    for opened in (
        open_answer(b"data: " + body + b"\n\n", 6, 6 + len(body)),
        open_answer(memoryview(b"data: " + body + b"\n\n")[6:-2]),
    ):
        assert isinstance(opened.items[0], OpenedItem)
        assert json.loads(b"".join(stripped(opened, [ROUTED_EXPERTS_KEYS])))["tail"] == 1


def test_a_bytearray_is_held_while_it_is_looked_at() -> None:
    body = bytearray(SINGLE)
    opened = open_answer(body)
    with pytest.raises(BufferError):
        body.extend(b"x")
    assert len(opened.items) == 1


def test_a_long_answer_is_not_copied() -> None:
    body = big(BLOB * 20)
    tracemalloc.start()
    try:
        opened = open_answer(body)
        pieces = stripped(opened, [frozenset({"id"})])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(piece) for piece in pieces) == len(body) - len(b'"id": "x", ')
    assert peak_bytes < 50_000


@given(st.binary(max_size=100), st.data())
def test_no_bytes_raise(noise: bytes, draw: st.DataObject) -> None:
    body = draw.draw(st.sampled_from([SINGLE, TWO_SAMPLES]))
    place = draw.draw(st.integers(0, len(body)))
    for data in (noise, body[:place] + noise, body[:place] + noise[:2] + body[place:]):
        opened = open_answer(data)
        assert len(b"".join(stripped(opened, [LOGPROB_KEYS] * 2))) <= len(data)
