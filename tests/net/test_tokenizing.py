"""Whether text is tokenized on the loop, or beside it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from miles_router.core.radix.run import UnfitRun
from miles_router.net.tokenizing import spell_literally, tokenize
from tests.doubles.toy_tokenizer import ToyTokenizer
from tests.net.test_token_cache import make_cache


class Noting(ToyTokenizer):
    """Notes in which thread it was asked."""

    def __init__(self) -> None:
        super().__init__(adds_bos=True)
        self.threads: set[int] = set()

    def encode(self, text: str, *, is_continuation: bool) -> Any:
        self.threads.add(threading.get_ident())
        return super().encode(text, is_continuation=is_continuation)

    def spell(self, ids: Any, *, skip_special_tokens: bool) -> Any:
        self.threads.add(threading.get_ident())
        return super().spell(ids, skip_special_tokens=skip_special_tokens)


@pytest.mark.parametrize(
    ("texts", "is_beside"), [(["ab", "cd"], False), (["abcd" * 10] * 100, True)]
)
async def test_the_sum_of_all_texts_decides(texts: list[str], is_beside: bool) -> None:
    cache = make_cache()
    cache.tokenizer = tokenizer = Noting()
    parts = [(text, place > 0) for place, text in enumerate(texts)]
    found = await tokenize(cache, parts)
    toy = ToyTokenizer(adds_bos=True)
    assert found == [toy.encode(text, is_continuation=continues) for text, continues in parts]
    assert (tokenizer.threads != {threading.get_ident()}) == is_beside


@pytest.mark.parametrize(("lists", "is_beside"), [(3, False), (600, True)])
async def test_the_sum_of_all_ids_decides(lists: int, is_beside: bool) -> None:
    cache = make_cache()
    cache.tokenizer = tokenizer = Noting()
    ids = np.array([97, 98], dtype="<i4")
    found = await spell_literally(cache, [ids] * lists)
    assert [run.text for run in found] == [b"ab"] * lists
    assert (tokenizer.threads != {threading.get_ident()}) == is_beside


async def test_an_id_outside_the_vocabulary_is_told() -> None:
    with pytest.raises(UnfitRun):
        await spell_literally(make_cache(), [np.array([10**6], dtype="<i4")])


async def test_nothing_to_do_is_nothing() -> None:
    assert await tokenize(make_cache(), []) == []
