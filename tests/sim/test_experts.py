from __future__ import annotations

import base64

import numpy as np

from miles_router.sim.experts import ExpertRouter, encode_rows

ROUTER = ExpertRouter(num_layers=3, num_experts=8, top_k=4)
TOKENS = list(range(100, 120))
VERSIONS = [("1", 12), ("2", 20)]


def test_shape_range_and_distinct_experts() -> None:
    rows = ROUTER.rows(TOKENS, VERSIONS, 0)
    assert rows.shape == (20, 3, 4)
    assert rows.dtype == np.dtype("<i4")
    assert rows.min() >= 0
    assert rows.max() < 8
    assert all(len(set(layer)) == 4 for row in rows.tolist() for layer in row)


def test_a_start_cuts_rows_off_and_never_asks_for_more_than_there_are() -> None:
    whole = ROUTER.rows(TOKENS, VERSIONS, 0)
    assert np.array_equal(ROUTER.rows(TOKENS, VERSIONS, 7), whole[7:])
    assert encode_rows(ROUTER.rows(TOKENS, VERSIONS, 99)) == ""


def test_rows_depend_on_the_version_that_fed_the_token() -> None:
    mixed = ROUTER.rows(TOKENS, VERSIONS, 0)
    assert np.array_equal(mixed[:12], ROUTER.rows(TOKENS, [("1", 20)], 0)[:12])
    assert np.array_equal(mixed[12:], ROUTER.rows(TOKENS, [("2", 20)], 0)[12:])
    assert not np.array_equal(mixed, ROUTER.rows(TOKENS, [("1", 20)], 0))


def test_wire_form_is_little_endian_int32_in_c_order() -> None:
    rows = ROUTER.rows(TOKENS, VERSIONS, 0)
    data = base64.b64decode(encode_rows(rows), validate=True)
    assert np.array_equal(np.frombuffer(data, "<i4").reshape(20, 3, 4), rows)
