"""The adapter keeps the protocol of core.tokenizing on real vocabularies, in both directions."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import EMPTY, TokenRun, UnfitRun
from miles_router.plugins.tokenizer.adapting import adapt
from miles_router.plugins.tokenizer.table import byte_of_character
from tests.plugins.tokenizer.vocabularies import (
    BYTE_LEVEL,
    NAMES,
    SPECIAL,
    fast,
    int32,
    is_special,
    llama_like,
    load,
)

if TYPE_CHECKING:
    from miles_router.core.tokenizing import Tokenizer

TEXTS = (
    "",
    " ",
    "Paris",
    " Paris",
    "  two\n\n\tthree  \n",
    "def f(x):\n    return {'a': [1, 2.5, 12345]}  # don't\r\n",
    "日本語のテキスト и русский, naïve Straße",
    "🎉👩‍👩‍👧 e\u0301 \u200d\u00a0\ufffd\x00\x7f",
    "the works\u2581of the <0x0A> licence",
)
# Text as clients send it: words, scripts, breaks, and what looks like tokens of any vocabulary.
PARTS = ("the", " work", " ", "\n", "\t", "é", "你", "🎉", "\u0301", "\u2581", "<0x0A>", "x1")


@st.composite
def prompts(draw: st.DrawFn, name: str) -> str:
    special = SPECIAL[name]
    any_text = st.text(st.characters(codec="utf-8"), max_size=6)
    part = st.one_of(st.sampled_from([*PARTS, special, special[:-1]]), any_text)
    return "".join(draw(st.lists(part, max_size=12)))


def check_run(run: TokenRun, text: str) -> None:
    """The run shows the text, cut between characters."""
    data = text.encode()
    assert run.text == data
    assert run.text_bytes_of(len(run)) == len(data)
    for end in run.ends().tolist():
        assert data[:end].decode().encode() == data[:end]


@functools.cache
def missing_bytes(name: str) -> set[int]:
    """Bytes that a vocabulary has no token for: SmolLM2's lacks rare ones, and drops them."""
    vocabulary = load(name).worker.get_vocab()
    return {byte for letter, byte in byte_of_character().items() if letter not in vocabulary}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_whole_prompt_gets_the_ids_of_the_worker(name: str, text: str) -> None:
    loaded = load(name)
    run = loaded.adapter.encode(text, is_continuation=False)
    assert run.id_array.tolist() == loaded.worker_ids(text)
    check_run(run, text)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_prompt_gets_the_ids_of_the_worker(name: str, data: st.DataObject) -> None:
    loaded, text = load(name), data.draw(prompts(name))
    try:
        run = loaded.adapter.encode(text, is_continuation=False)
    except UnfitRun:  # no token could stand for it
        assert name in BYTE_LEVEL
        assert set(text.encode()) <= missing_bytes(name)
        return
    assert run.id_array.tolist() == loaded.worker_ids(text)
    check_run(run, text)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_continuation_shows_its_text_behind_other_text(name: str, data: st.DataObject) -> None:
    loaded, text = load(name), data.draw(prompts(name))
    if name in BYTE_LEVEL and text and set(text.encode()) <= missing_bytes(name):
        with pytest.raises(UnfitRun):  # no token could stand for it
            loaded.adapter.encode(text, is_continuation=True)
        return
    run = loaded.adapter.encode(text, is_continuation=True)
    check_run(run, text)
    if name in BYTE_LEVEL and not missing_bytes(name) & set(text.encode()):
        shown = loaded.worker_text(run.id_array.tolist(), skip_special_tokens=False)
        assert shown == text
        assert run.id_array.tolist() == loaded.worker_ids(text, add_special_tokens=False)


@pytest.mark.parametrize("name", ["always", "first", "legacy"])
@given(text=st.text(st.sampled_from("the wo\n你é"), max_size=20))
def test_a_marked_continuation_shows_no_space_that_is_not_there(name: str, text: str) -> None:
    loaded = load(name)
    ids = loaded.adapter.encode(text, is_continuation=True).id_array.tolist()
    assert loaded.worker_text(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens_around_a_prompt_show_nothing(name: str) -> None:
    loaded = load(name)
    whole = loaded.adapter.encode("", is_continuation=False)
    assert whole.id_array.tolist() == loaded.worker_ids("")
    assert not whole.length_array.any()
    assert loaded.adapter.encode("", is_continuation=True) == EMPTY
    added = {"deepseek-bos": 1, "unigram": 1, "always": 1, "first": 1, "legacy": 1}
    assert len(whole) == added.get(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_literal_is_its_token(name: str) -> None:
    loaded, special = load(name), SPECIAL[name]
    token = loaded.worker.convert_tokens_to_ids(special)
    run = loaded.adapter.encode(f"{special} the", is_continuation=True)
    assert int(run.id_array[0]) == token
    assert int(run.length_array[0]) == len(special.encode())
    assert is_special(loaded.adapter, token)
    assert not is_special(loaded.adapter, int(run.id_array[-1]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skips", [False, True])
@given(data=st.data())
def test_any_ids_show_what_the_worker_shows(name: str, skips: bool, data: st.DataObject) -> None:
    loaded = load(name)
    some = st.integers(0, loaded.adapter.vocab_size - 1)
    special = st.just(loaded.worker.convert_tokens_to_ids(SPECIAL[name]))
    ids = data.draw(st.lists(st.one_of(some, some, some, special), max_size=40))
    run = loaded.adapter.spell(int32(ids), skip_special_tokens=skips)
    assert run.id_array.tolist() == ids
    check_run(run, loaded.worker_text(ids, skip_special_tokens=skips))


@pytest.mark.parametrize("name", NAMES)
def test_long_runs_of_random_ids(name: str) -> None:
    loaded = load(name)
    draw = np.random.default_rng(7)
    for _ in range(5):
        ids = draw.integers(0, loaded.adapter.vocab_size, 2_000).astype(np.int32)
        for skips in (False, True):
            run = loaded.adapter.spell(ids, skip_special_tokens=skips)
            check_run(run, loaded.worker_text(ids.tolist(), skip_special_tokens=skips))


@pytest.mark.parametrize("name", ["always", "first", "legacy"])
def test_a_first_token_shows_its_space(name: str) -> None:
    loaded = load(name)
    token = loaded.worker.convert_tokens_to_ids("▁the")
    run = loaded.adapter.spell(int32([token, token]), skip_special_tokens=True)
    assert run.text == b" the the"
    assert run.length_array.tolist() == [4, 4]


def drifting(tokenizer: Tokenizer, text: str) -> list[tuple[list[int], list[int]]]:
    """Pairs of id sequences with one text: as tokenized, and one token split into two."""
    ids = tokenizer.encode(text, is_continuation=True).id_array.tolist()
    vocabulary: dict[bytes, int] = {}
    for token in range(min(tokenizer.vocab_size, 20_000)):
        piece = tokenizer.spell(int32([token]), skip_special_tokens=True).text
        vocabulary.setdefault(piece, token)
    found = []
    for place, token in enumerate(ids):
        piece = tokenizer.spell(int32([token]), skip_special_tokens=False).text
        for cut in range(1, len(piece)):
            left, right = vocabulary.get(piece[:cut]), vocabulary.get(piece[cut:])
            if left is not None and right is not None:
                found.append((ids, [*ids[:place], left, right, *ids[place + 1 :]]))
                break
    return found


@pytest.mark.parametrize("name", NAMES)
def test_other_ids_show_the_same_text(name: str) -> None:
    tokenizer = load(name).adapter
    pairs = drifting(tokenizer, " the works of the licence")
    assert len(pairs) >= 3
    for kept, drifted in pairs:
        assert kept != drifted
        one = tokenizer.spell(int32(kept), skip_special_tokens=True)
        other = tokenizer.spell(int32(drifted), skip_special_tokens=True)
        assert one.text == other.text == b" the works of the licence"
        again = tokenizer.encode(other.text.decode(), is_continuation=True)
        assert again.id_array.tolist() != drifted


@pytest.mark.parametrize("name", NAMES)
def test_ids_outside_the_vocabulary_are_refused(name: str) -> None:
    tokenizer = load(name).adapter
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(UnfitRun):
            tokenizer.spell(int32([token]), skip_special_tokens=True)


@pytest.mark.parametrize("name", ["sim", "always"])
def test_half_of_a_surrogate_pair_is_refused(name: str) -> None:
    for is_continuation in (False, True):
        with pytest.raises(UnfitRun, match="not Unicode"):
            load(name).adapter.encode("a\udc80", is_continuation=is_continuation)


@pytest.mark.parametrize("name", ["sim", "legacy"])
def test_threads_do_not_disturb_each_other(name: str) -> None:
    tokenizer = load(name).adapter
    texts = [
        f"the work number {number}, {SPECIAL[name]} 你好 {'x' * number}" for number in range(40)
    ]

    def both(text: str) -> tuple[TokenRun, TokenRun]:
        run = tokenizer.encode(text, is_continuation=False)
        return run, tokenizer.spell(run.id_array, skip_special_tokens=True)

    alone = [both(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(both, texts)) == alone


def test_fingerprints_tell_tokenizers_apart() -> None:
    fingerprints = {load(name).adapter.fingerprint for name in NAMES}
    assert len(fingerprints) == len(NAMES)
    backend = load("sim").worker.backend_tokenizer
    assert adapt(fast(backend), "again").fingerprint == load("sim").adapter.fingerprint
    bigger = fast(backend)
    bigger.add_special_tokens({"extra_special_tokens": ["<|tool|>"]})
    assert adapt(bigger, "bigger").fingerprint != load("sim").adapter.fingerprint
    assert load("sim").adapter.name == "sim"


def test_text_that_a_normalizer_changes_stays_with_its_tokens() -> None:
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_str(load("sim").worker.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer = adapt(fast(backend), "lower")
    text = "THE ﬁne Ⅻ e\u0301 WORK"
    run = tokenizer.encode(text, is_continuation=False)
    assert run.id_array.tolist() == backend.encode("the fine xii \u00e9 work").ids
    check_run(run, text)
    assert run.text_bytes_of(len(backend.encode("the").ids)) == len(b"THE")


def test_text_that_a_normalizer_drops_goes_to_a_neighbour() -> None:
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_str(load("sim").worker.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Strip()
    tokenizer = adapt(fast(backend), "strip")
    run = tokenizer.encode("  the \n", is_continuation=False)
    assert run.id_array.tolist() == backend.encode("the").ids
    check_run(run, "  the \n")
    with pytest.raises(UnfitRun, match="no token"):
        tokenizer.encode(" ", is_continuation=False)
    with pytest.raises(UnfitRun, match="65535"):
        tokenizer.encode("the" + " " * 70_000, is_continuation=False)


def test_a_prompt_of_nothing_but_dropped_text_leaves_it_to_the_special_tokens() -> None:
    from tokenizers import normalizers

    backend = llama_like("never")
    backend.normalizer = normalizers.Strip()
    run = adapt(fast(backend), "strip").encode("  ", is_continuation=False)
    assert run.id_array.tolist() == [1]
    check_run(run, "  ")
