from __future__ import annotations

import numpy as np
import pytest

from miles_router.core.generate.items import Expected
from miles_router.core.generate.request import read_request

IDS = (np.array([1, 2], dtype="<i4"), np.array([3], dtype="<i4"))


@pytest.mark.parametrize(
    ("body", "ask", "items", "is_array", "asks"),
    [
        (b'{"text":"a"}', False, 1, False, (False,)),
        (b'{"text":"a"}', True, 1, False, (True,)),
        (b'{"text":"a","return_logprob":true}', False, 1, False, (True,)),
        (b'{"text":"a","sampling_params":{"n":3}}', True, 3, True, (True,)),
        (b'{"text":["a","b"],"return_logprob":[true,false]}', False, 2, True, (True, False)),
        (b'{"text":["a","b"],"sampling_params":{"n":2}}', False, 4, True, (False, False)),
    ],
)
def test_what_a_request_lets_expect(
    body: bytes, ask: bool, items: int, is_array: bool, asks: tuple[bool, ...]
) -> None:
    request = read_request(body)
    found = Expected.of(request, IDS[: request.prompts], ask_logprobs=ask, vocab_size=100)
    assert (found.items, found.is_array, found.asks_logprobs) == (items, is_array, asks)
    assert (found.n, found.vocab_size) == (request.n, 100)
    assert [one.tolist() for one in found.prompt_ids] == [[1, 2], [3]][: request.prompts]
