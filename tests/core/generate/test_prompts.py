from __future__ import annotations

import msgspec
import numpy as np
import pytest

from miles_router.core.generate.prompts import id_array, read_prompts
from miles_router.core.generate.reasons import Uncached
from miles_router.core.generate.splice import MEMBERS


@pytest.mark.parametrize(
    ("body", "texts", "ids", "is_list"),
    [
        (b'{"text":"a\\u00e9"}', ("aé",), None, False),
        (b'{"text":""}', ("",), None, False),
        (b'{"text":["a","b"]}', ("a", "b"), None, True),
        (b'{"text":["a"],"input_ids":null}', ("a",), None, True),
        (b'{"input_ids":[5,6]}', None, [[5, 6]], False),
        (b'{"input_ids":[ [5],[6, 7] ],"text":null}', None, [[5], [6, 7]], True),
        (b'{"text":"a","input_ids":[5]}', ("a",), [[5]], False),
        (b'{"text":["a","b"],"input_ids":[[5],[6]]}', ("a", "b"), [[5], [6]], True),
    ],
)
def test_prompts(
    body: bytes, texts: tuple[str, ...] | None, ids: list[list[int]] | None, is_list: bool
) -> None:
    found = read_prompts(MEMBERS.decode(body))
    assert (found.texts, found.is_list) == (texts, is_list)
    assert (None if found.ids is None else [one.tolist() for one in found.ids]) == ids


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "no_prompt"),
        (b'{"text":null,"input_ids":null}', "no_prompt"),
        (b'{"text":7}', "bad_prompt"),
        (b'{"text":["a",null]}', "bad_prompt"),
        (b'{"text":[["a"]]}', "bad_prompt"),
        (b'{"text":"\xff"}', "bad_text"),
        (b'{"text":"\xed\xa0\x80"}', "bad_text"),
        (b'{"text":[]}', "batch_shape"),
        (b'{"input_ids":[]}', "bad_input_ids"),
        (b'{"input_ids":[[]]}', "bad_input_ids"),
        (b'{"input_ids":[[1],[]]}', "bad_input_ids"),
        (b'{"input_ids":[-1]}', "bad_input_ids"),
        (b'{"input_ids":[2147483648]}', "bad_input_ids"),
        (b'{"input_ids":[99999999999999999999999]}', "bad_input_ids"),
        (b'{"input_ids":[1.5]}', "bad_input_ids"),
        (b'{"input_ids":[true]}', "bad_input_ids"),
        (b'{"input_ids":["5"]}', "bad_input_ids"),
        (b'{"input_ids":[5,[6]]}', "bad_input_ids"),
        (b'{"input_ids":[[5],6]}', "bad_input_ids"),
        (b'{"input_ids":7}', "bad_input_ids"),
        (b'{"text":"a","input_ids":[[5]]}', "batch_shape"),
        (b'{"text":["a"],"input_ids":[5]}', "batch_shape"),
        (b'{"text":["a","b"],"input_ids":[[5]]}', "batch_shape"),
    ],
)
def test_what_no_worker_can_be_asked_for(body: bytes, reason: str) -> None:
    with pytest.raises(Uncached) as caught:
        read_prompts(MEMBERS.decode(body))
    assert caught.value.reason == reason


def test_ids_are_little_endian_int32() -> None:
    found = id_array([1, 2**31 - 1])
    assert (found.dtype, found.tolist()) == (np.dtype("<i4"), [1, 2**31 - 1])
    assert id_array([]).shape == (0,)
    assert read_prompts(MEMBERS.decode(msgspec.json.encode({"input_ids": [3]}))).ids is not None
