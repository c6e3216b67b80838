"""The protocol of tokenizers: one checker for all that claim to keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from miles_router.core.radix.run import UnfitRun
from tests.doubles.toy_tokenizer import EOS, ToyTokenizer
from tests.plugins.tokenizer.vocabularies import is_special, load

if TYPE_CHECKING:
    from miles_router.core.tokenizing import Tokenizer

TEXTS = ("", "a", "ab cd", " abcd", "é€", "a\nb")


def toy() -> tuple[Tokenizer, str, int]:
    return ToyTokenizer(adds_bos=True), "<e>", EOS


def real() -> tuple[Tokenizer, str, int]:
    loaded = load("always")
    return loaded.adapter, "</s>", int(loaded.worker.eos_token_id)


@pytest.fixture(params=[toy, real])
def kept(request: pytest.FixtureRequest) -> tuple[Tokenizer, str, int]:
    found: tuple[Tokenizer, str, int] = request.param()
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_encoded_text_is_kept(kept: tuple[Tokenizer, str, int], text: str) -> None:
    tokenizer = kept[0]
    for is_continuation in (False, True):
        run = tokenizer.encode(text, is_continuation=is_continuation)
        assert run.text == text.encode()
        assert all(0 <= token < tokenizer.vocab_size for token in run.id_array.tolist())


@pytest.mark.parametrize("text", TEXTS)
def test_a_continuation_spells_its_text(kept: tuple[Tokenizer, str, int], text: str) -> None:
    tokenizer = kept[0]
    run = tokenizer.encode(text, is_continuation=True)
    assert tokenizer.spell(run.id_array, skip_special_tokens=True) == run


def test_special_tokens(kept: tuple[Tokenizer, str, int]) -> None:
    tokenizer, literal, token = kept
    bos = tokenizer.encode("", is_continuation=False)
    assert [is_special(tokenizer, one) for one in bos.id_array.tolist()] == [True]
    run = tokenizer.encode(f"ab{literal}", is_continuation=True)
    assert int(run.id_array[-1]) == token
    assert is_special(tokenizer, token)
    assert tokenizer.spell(run.id_array, skip_special_tokens=False) == run
    skipped = tokenizer.spell(run.id_array, skip_special_tokens=True)
    assert (skipped.ids, skipped.text) == (run.ids, b"ab")
    assert int(skipped.length_array[-1]) == 0


def test_ids_outside_the_vocabulary_are_refused(kept: tuple[Tokenizer, str, int]) -> None:
    tokenizer = kept[0]
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(UnfitRun):
            tokenizer.spell(np.array([token], dtype=np.int32), skip_special_tokens=True)


def test_names_and_fingerprints() -> None:
    toys = [ToyTokenizer(), ToyTokenizer(adds_bos=True), ToyTokenizer(name="other")]
    assert len({tokenizer.fingerprint for tokenizer in toys}) == len(toys)
    assert [tokenizer.name for tokenizer in toys] == ["toy", "toy", "other"]
    kept: list[Tokenizer] = [*toys, load("always").adapter]
    for tokenizer in kept:
        assert bytes.fromhex(tokenizer.fingerprint)
