from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.generate.splice import (
    ELEMENTS,
    MEMBERS,
    UNREADABLE,
    Edit,
    Unwalkable,
    apply,
    cuts_behind_others,
    is_null,
    size_bytes,
    walk,
    walk_list,
    without,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), json_values, max_size=6)
# How programs write JSON: compact, with spaces, over several lines, with and without escapes.
styles = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 2, "\t"]),
        "separators": st.sampled_from([None, (",", ":"), (" , ", " : ")]),
        "ensure_ascii": st.booleans(),
    }
)


def written(value: Any, style: dict[str, Any]) -> bytes:
    return json.dumps(value, **style).encode("utf-8", "surrogatepass")


@given(objects, styles, st.binary(max_size=3))
def test_every_member_is_found_where_it_is(
    value: dict[str, Any], style: dict[str, Any], before: bytes
) -> None:
    data = written(value, style)
    members = MEMBERS.decode(data)
    places = walk(before + data, members, len(before))
    assert list(places) == list(value)
    for key, place in places.items():
        buffer = before + data
        assert buffer[place.start : place.end] == bytes(members[key])
        assert json.loads(buffer[place.key_start : place.key_end]) == key
        assert size_bytes(members[key]) == place.end - place.start


@given(st.lists(json_values, max_size=5), styles)
def test_every_element_is_found_where_it_is(value: list[Any], style: dict[str, Any]) -> None:
    data = written(value, style)
    elements = ELEMENTS.decode(data)
    for raw, start in zip(elements, walk_list(data, elements), strict=True):
        assert data[start : start + size_bytes(raw)] == bytes(raw)


@given(objects, styles, st.data())
def test_members_go_and_all_others_stay_byte_for_byte(
    value: dict[str, Any], style: dict[str, Any], draw: st.DataObject
) -> None:
    data = written(value, style)
    dropped = draw.draw(st.sets(st.sampled_from([*value, "absent"])))
    before = MEMBERS.decode(data)
    result = b"".join(apply(memoryview(data), without(walk(data, before), dropped)))
    after = MEMBERS.decode(result)
    assert list(after) == [key for key in value if key not in dropped]
    assert all(bytes(after[key]) == bytes(before[key]) for key in after)
    if dropped.isdisjoint(value):
        assert result == data


@pytest.mark.parametrize(
    ("data", "dropped", "result"),
    [
        (b'{"a":1,"b":2,"c":3}', {"b"}, b'{"a":1,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {"a", "b"}, b'{"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {"b", "c"}, b'{"a":1}'),
        (b'{ "a" : 1 , "b" : 2 }', {"a"}, b'{ "b" : 2 }'),
        (b'{ "a" : 1 , "b" : 2 }', {"a", "b"}, b"{  }"),
    ],
)
def test_one_comma_goes_with_a_member(data: bytes, dropped: set[str], result: bytes) -> None:
    assert b"".join(
        apply(memoryview(data), without(walk(data, MEMBERS.decode(data)), dropped))
    ) == (result)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":22,"b":3}',
        b'{"a":1,"b":2,"a":3}',
        b'{"a":{"q":1,"b":2},"a":{"b":2},"b":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":"x","b":"y","b":"z"}',
        b'{"b":[{}],"b":[]}',
        b'{"a":12,"a":1}',
    ],
)
def test_a_key_that_stands_twice_is_not_walked_over(data: bytes) -> None:
    with pytest.raises(Unwalkable):
        walk(data, MEMBERS.decode(data))


@given(st.lists(st.tuples(st.sampled_from("ab"), json_values), min_size=1, max_size=5))
def test_no_duplicate_goes_unnoticed(pairs: list[tuple[str, Any]]) -> None:
    data = b"{" + b",".join(b'"%b":%b' % (k.encode(), encode(v)) for k, v in pairs) + b"}"
    members = MEMBERS.decode(data)
    if len(members) == len(pairs):
        assert len(walk(data, members)) == len(pairs)
    else:
        with pytest.raises(Unwalkable):
            walk(data, members)


encode = msgspec.json.encode


def test_edits_replace_insert_and_share_what_stays() -> None:
    data = b"0123456789"
    edits = [Edit(8, 8, b"[new]"), Edit(2, 4, b"x"), Edit(5, 6)]
    pieces = apply(memoryview(data), edits)
    assert b"".join(pieces) == b"01x467[new]89"
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert len(views) == 4
    assert all(view.obj is data for view in views)


def test_null_and_absent_are_the_same() -> None:
    members = MEMBERS.decode(b'{"a":null,"b":"null","c":0}')
    assert [is_null(members.get(key)) for key in "abcd"] == [True, False, False, True]


@given(st.binary(max_size=40) | json_values.map(encode))
def test_decoders_raise_nothing_but_what_is_listed(data: bytes) -> None:
    for decoder in (MEMBERS, ELEMENTS):
        try:
            found = decoder.decode(data)
        except UNREADABLE:
            continue
        assert len(found) <= len(data)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_raw_value_is_a_view_of_the_message(make: type) -> None:
    data = make(b'{"a":"' + b"x" * 1_000_000 + b'"}')
    tracemalloc.start()
    try:
        raw = MEMBERS.decode(data)["a"]
        nested = msgspec.json.decode(raw, type=msgspec.Raw)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes(nested) == 1_000_002
    assert peak_bytes < 50_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"b":2,"c":3}',
        b'{ "a" : 1 ,\n "b" : [2, {"k": "v"}] , "c" : "x\\"y" }',
        b'{"a":{"k":1},"c":null,"b":"v"}',
    ],
)
@pytest.mark.parametrize("dropped", [{"b"}, {"c"}, {"b", "c"}, {"z"}, set()])
def test_members_behind_others_are_cut_as_by_walking(body: bytes, dropped: set[str]) -> None:
    values = MEMBERS.decode(body)
    quick = cuts_behind_others(body, values, dropped)
    assert quick is not None
    walked = without(walk(body, values), dropped)
    view = memoryview(body)
    assert b"".join(apply(view, quick)) == b"".join(apply(view, walked))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"a":1,"b":2}', "a"),  # the first one
        (b'{"x":0,"\\u0061":1}', "a"),  # written otherwise
        (b'{"x":0,"a":1,"y":{"a":1}}', "a"),  # there more than once
        (b'{"x":{"y":0,"a":1},"\\u0061":1}', "a"),  # found where it is not meant
        (b'{"x":"a","\\u0061":1}', "a"),
    ],
)
def test_what_cannot_be_told_by_its_name_is_left_to_walking(body: bytes, name: str) -> None:
    assert cuts_behind_others(body, MEMBERS.decode(body), {name}) is None
