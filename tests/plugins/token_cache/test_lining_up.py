"""What workers with real tokenizers answer is lined up; the text of other tokens is refused."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.radix.run import UnfitRun
from miles_router.plugins.token_cache.keeping import lined_up
from miles_router.plugins.tokenizer.adapter import Around, HuggingFaceTokenizer
from miles_router.plugins.tokenizer.encoding import CallEncoder
from miles_router.plugins.tokenizer.spelling import WindowSpeller
from tests.plugins.tokenizer.vocabularies import NAMES, SPECIAL, int32, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from miles_router.core.tokenizing import Tokenizer

    Decode = Callable[[list[int]], str]

WORDS = st.sampled_from(
    [
        "it 's",
        " don't",
        " ok .",
        " 'x' + ' '",
        "日本語",
        "🎉",
        "naïve",
        "\n\n",
        " two  spaces",
        " the",
    ]
)
# What SGLang decodes first along with an answer: so many tokens of its prompt.
SURROUNDING = 5


@functools.cache
def by_windows(name: str) -> Tokenizer:
    """The tokenizer as if nothing but its `decode` were known."""
    worker, size = load(name).worker, load(name).adapter.vocab_size
    is_special = np.zeros(size, dtype=np.bool_)
    added = worker.added_tokens_decoder
    is_special[[token for token, value in added.items() if value.special]] = True
    context = load(name).worker_ids("a", add_special_tokens=False)
    speller = WindowSpeller(lambda ids: str(decoding(name, skips=False)(ids)), context, is_special)
    return HuggingFaceTokenizer(name, "", size, CallEncoder(worker), speller, Around((), ()))


TOKENIZERS = [
    *[pytest.param(lambda name=name: load(name).adapter, name, id=name) for name in NAMES],
    *[
        pytest.param(lambda name=name: by_windows(name), name, id=f"{name}-windows")
        for name in NAMES
    ],
]
every_tokenizer = pytest.mark.parametrize(("tokenizer_of", "name"), TOKENIZERS)


def decoding(name: str, *, skips: bool, cleans: bool = False) -> Decode:
    """The tokenizer's own `decode`, as workers call it. The library cleans up no BPE any more."""
    worker = load(name).worker

    def decode(ids: list[int]) -> str:
        text = str(
            worker.decode(ids, skip_special_tokens=skips, clean_up_tokenization_spaces=False)
        )
        return str(worker.clean_up_tokenization(text)) if cleans else text

    return decode


def in_steps(decode: Decode, prompt: list[int], ids: list[int], steps: list[int]) -> str:
    """The text of an answer as SGLang's `DetokenizerManager` puts it together.

    Args:
        decode: of the worker's tokenizer.
        prompt: its ids.
        ids: the answer's.
        steps: how many ids it gets at once, over and over.
    """
    before = prompt[-SURROUNDING:]
    known, whole = len(before), before + ids
    surrounding, read, text, step = 0, known, "", 0
    while known < len(whole):
        known = min(len(whole), known + steps[step % len(steps)])
        step += 1
        new = decode(whole[surrounding:known])[len(decode(whole[surrounding:read])) :]
        if known == len(whole) or (new and not new.endswith("\ufffd")):
            text, surrounding, read = text + new, read, known
    return text


def any_ids(name: str) -> st.SearchStrategy[list[int]]:
    """Ids of all kinds: of texts, of any tokens, with special ones between them, cut anywhere."""
    loaded = load(name)
    size = loaded.adapter.vocab_size
    special = loaded.worker_ids(SPECIAL[name], add_special_tokens=False)
    pieces = st.one_of(
        st.lists(st.integers(0, size - 1), max_size=4),
        WORDS.map(lambda word: loaded.worker_ids(word, add_special_tokens=False)),
        st.just(special[-1:]),
    )
    joined = st.lists(pieces, max_size=8).map(lambda parts: [one for part in parts for one in part])
    return st.builds(lambda ids, cut: ids[: max(len(ids) - cut, 0)], joined, st.integers(0, 2))


def check(tokenizer: Tokenizer, ids: list[int], text: str, *, skips: bool) -> None:
    if not ids and text:
        return
    output = lined_up(tokenizer, int32(ids), text.encode(), skips=skips)
    visible = output.run.cut(0, output.visible_tokens)
    assert output.run.id_array.tolist() == ids
    assert visible.text + output.partial == text.encode()


@every_tokenizer
@given(data=st.data())
def test_what_the_tokenizer_decodes_is_kept(
    tokenizer_of: Callable[[], Tokenizer], name: str, data: st.DataObject
) -> None:
    ids = data.draw(any_ids(name))
    decode = decoding(name, skips=data.draw(st.booleans()), cleans=data.draw(st.booleans()))
    prompt = load(name).worker_ids("a", add_special_tokens=False)
    whole = decode(ids)
    behind = decode([*prompt, *ids])[len(decode(prompt)) :]
    stop_string_at = data.draw(st.integers(0, len(whole)))
    asked = data.draw(st.booleans())  # a worker may do otherwise
    for text in (whole, behind, decode(ids[:-1]), whole[:stop_string_at]):
        check(tokenizer_of(), ids, text, skips=asked)


@every_tokenizer
@given(data=st.data())
def test_what_is_decoded_step_by_step_is_kept(
    tokenizer_of: Callable[[], Tokenizer], name: str, data: st.DataObject
) -> None:
    ids, skips = data.draw(any_ids(name)), data.draw(st.booleans())
    steps = data.draw(st.sampled_from([[1], [2, 1], [3], [50]]))
    prompt = load(name).worker_ids("a", add_special_tokens=False)
    decode = decoding(name, skips=skips)
    try:
        check(tokenizer_of(), ids, in_steps(decode, prompt, ids, steps), skips=skips)
    except UnfitRun:  # what may be refused has broken bytes, and a token twice (`agreement._fills`)
        assert "\N{REPLACEMENT CHARACTER}" in decode(ids)
        assert len(set(ids)) < len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_other_ids_of_the_same_vocabulary_are_refused(name: str) -> None:
    adapter, draw = load(name).adapter, np.random.default_rng(1)
    permuted = draw.permutation(adapter.vocab_size).astype(np.int32)
    kept = 0
    for _ in range(500):
        ids = draw.integers(0, adapter.vocab_size, 8).astype(np.int32)
        text = adapter.spell(permuted[ids], skip_special_tokens=True).text
        kept += is_kept(adapter, ids, text)
    assert kept == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_another_answer_is_refused(name: str) -> None:
    adapter = load(name).adapter
    texts = [" the work is done", " the work was done", " The work is done", " this License, 2.0"]
    for text in texts:
        ids = adapter.encode(text, is_continuation=True).id_array
        for other in texts:
            data = other.encode()
            assert is_kept(adapter, ids, data) == (other == text)
            assert not is_kept(adapter, ids, text.encode() + data)
            assert not is_kept(adapter, ids, data[1:-1] + b"!")


def is_kept(tokenizer: Tokenizer, ids: Any, text: bytes) -> bool:
    try:
        lined_up(tokenizer, ids, text, skips=True)
    except UnfitRun:
        return False
    return True


def test_special_tokens_that_are_shown_unasked_are_not_doubled() -> None:
    adapter = load("sim").adapter
    ids = adapter.encode(" the work<|im_end|>", is_continuation=True).id_array
    output = lined_up(adapter, ids, b" the work<|im_end|>", skips=True)
    assert (output.run.text, output.visible_tokens) == (b" the work<|im_end|>", len(ids))
    ids = adapter.encode("<|im_start|>the work<|im_end|>", is_continuation=True).id_array
    output = lined_up(adapter, ids, b"the work", skips=False)
    assert (output.run.text, output.visible_tokens) == (b"the work<|im_end|>", len(ids) - 1)
    output = lined_up(adapter, ids, b"<|im_start|>the work", skips=True)
    assert (output.run.text, output.visible_tokens) == (
        b"<|im_start|>the work<|im_end|>",
        len(ids) - 1,
    )
