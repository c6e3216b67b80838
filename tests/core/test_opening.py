"""What is known of a large body from its beginning alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core import opening as module
from miles_router.core.opening import opening
from miles_router.core.request import find_rids, is_batch, wants_stream

LONG = "a" * 1000


@pytest.mark.parametrize(
    ("front", "rids"),
    [
        ('{"rid": "a", "text": "' + LONG, ("a",)),
        (' \n{ "text" : "' + LONG + '" , "rid" : "a" , "image_data": "' + LONG, ("a",)),
        ('{"rid": "a", "input_ids": [1, 2, ' + "3, " * 1000, ("a",)),
        ('{"rid": "a", "input_ids": [' + "-1, " * 1000, ("a",)),
        ('{"input_ids": [1, 2], "rid": "a", "x": [' + LONG, ("a",)),
        ('{"text": ["x", "y"], "rid": "a", "x": "' + LONG, ("a_0", "a_1")),
        ('{"rid": ["a", "b"], "text": ["' + LONG, ("a", "b")),
        ('{"x": 1.5e3, "y": null, "z": true, "rid": "a", "text": "', ("a",)),
        ('{"r\\u0069d": "a", "text": "', ("a",)),
        ('{"rid": "a", "rid": "b", "text": "', ("b",)),  # as a worker's parser has it
        ('{"rid": "a"}', ("a",)),
        ('{"rid": "a"', ("a",)),
        # Not members of the top level.
        ('{"text": "\\"rid\\": \\"x\\", ' + LONG, ()),
        ('{"text": "\\\\", "rid": "a", "x": "', ("a",)),
        ('{"text": "\\\\\\", \\"rid\\": \\"a\\", ', ()),
        ('{"x": {"rid": "x", "y": [{"rid": "x"}]}, "z": "' + LONG, ()),
        ('{"x": {"y": "}]{["}, "rid": "a", "z": "' + LONG, ("a",)),
        # Not to be known.
        ('{"text": "' + LONG, ()),
        ('{"rid": "' + LONG, ()),
        ('{"rid": 12', ()),
        ('{"rid": "a", "text": ["x", "y"', ()),  # a_0 to nobody knows where
        ('{"rid": "a", "input_ids": [[1, 2], [3', ()),
        ('{"rid": "a", "text": [', ()),
        ("", ()),
        ("{", ()),
        ("[1", ()),
        ("rid=a", ()),
        ('{"rid" "a"}', ()),
        ('{"x": , "rid": "a"', ()),
        ("{1: 2", ()),
    ],
)
def test_the_rids_that_a_beginning_names(front: str, rids: tuple[str, ...]) -> None:
    assert find_rids(opening(front.encode())).on_worker == rids


@pytest.mark.parametrize(
    "front", [b"\xff", b'{"\xff": 1', b'{"rid": "\xff", "x": "', b'{"rid": "a", "x": "\\']
)
def test_bytes_that_are_no_text_break_nothing(front: bytes) -> None:
    assert find_rids(opening(front)).on_worker in {(), ("a",)}


def test_how_the_answer_is_wanted() -> None:
    stream = opening(b'{"stream": true, "text": "' + LONG.encode())
    assert (wants_stream(stream), is_batch(stream)) == (True, False)
    batch = opening(b'{"rid": "a", "stream": true, "text": ["x", "' + LONG.encode())
    assert (wants_stream(batch), is_batch(batch)) == (True, True)
    samples = opening(b'{"rid": "a", "sampling_params": {"n": 2}, "text": "')
    assert is_batch(samples)


FINITE = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no other
PROMPTS = st.one_of(st.text(), st.lists(st.text()), st.lists(st.integers()))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), FINITE, st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)
RID = {"rid": st.one_of(st.text(min_size=1), st.lists(st.text(min_size=1)))}
OTHERS = {"stream": st.booleans(), "x": JSON, "": JSON}
# One prompt: of two that contradict each other, which one counts is known when both are seen.
BODIES = st.one_of(
    *(
        st.fixed_dictionaries(RID, optional={name: PROMPTS, **OTHERS})
        for name in ("text", "input_ids")
    )
).flatmap(lambda body: st.permutations(list(body.items())).map(dict))


@given(BODIES, st.booleans(), st.data())
def test_a_beginning_says_what_the_whole_says_or_nothing(
    body: dict[str, Any], ascii_only: bool, data: st.DataObject
) -> None:
    whole = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert find_rids(opening(whole)).on_worker == find_rids(whole).on_worker
    cut = data.draw(st.integers(0, len(whole)))
    front = opening(whole[:cut])
    json.loads(front)
    # A batch may follow behind the cut: then the id stands as that of a single prompt.
    single = (body["rid"],) if isinstance(body["rid"], str) else ()
    assert find_rids(front).on_worker in {(), find_rids(whole).on_worker, single}


def test_windows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    front = b'{"x": [[1, 2], {"y": "a\\"b\\\\"}, "\\"]"], "t": "q\\\\\\"", "rid": "a", "z": "'
    for size in range(2, 40):
        monkeypatch.setattr(module, "_WINDOW_BYTES", size)
        assert find_rids(opening(front)).on_worker == ("a",)


def test_brackets_without_end_are_left_unread() -> None:
    many = b"[" * 300_000
    assert opening(b'{"rid": "a", "x": ' + many) == b'{"rid":"a"}'
    closed = b"[]," * 200_000
    assert opening(b'{"x": [' + closed + b'1], "rid": "a", "z": "') == b"{}"
