"""Text to ids: whole prompts as a worker does, continuations without a mark in front."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.plugins.tokenizer.encoding import BackendEncoder, CallEncoder, without_marks
from tests.plugins.tokenizer.vocabularies import NAMES, SPACE_MARKED, SPECIAL, llama_like, load

if TYPE_CHECKING:
    from miles_router.plugins.tokenizer.encoding import Encoder

TEXTS = (
    "",
    "the work",
    " the work",
    "\nthe",
    "你好 the",
    "the</s>the work",
    "</s>",
    "a</s> b</s>c",
)


def definition_of(backend: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(backend.to_str())
    return found


@functools.cache
def encoder_of(name: str) -> BackendEncoder:
    backend = load(name).worker.backend_tokenizer
    return BackendEncoder(backend, definition_of(backend))


def tokens(name: str, encoder: Encoder, text: str, *, is_continuation: bool) -> list[str]:
    ids = encoder.ids(text, is_continuation=is_continuation)
    found: list[str] = load(name).worker.convert_ids_to_tokens(ids)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_whole_text_gets_the_ids_of_the_worker(name: str, text: str) -> None:
    expected = load(name).worker_ids(text, add_special_tokens=False)
    assert encoder_of(name).ids(text, is_continuation=False) == expected
    assert CallEncoder(load(name).worker).ids(text, is_continuation=False) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("is_continuation", [False, True])
def test_every_id_has_an_offset(name: str, text: str, is_continuation: bool) -> None:
    encoder = encoder_of(name)
    offsets = encoder.offsets(text, is_continuation=is_continuation)
    assert len(offsets) == len(encoder.ids(text, is_continuation=is_continuation))
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    if not is_continuation:
        assert CallEncoder(load(name).worker).offsets(text, is_continuation=False) == offsets


@pytest.mark.parametrize(
    ("name", "text", "whole", "rest"),
    [
        ("always", "the work", ["▁the", "▁work"], ["th", "e", "▁work"]),
        ("first", "the work", ["▁the", "▁work"], ["th", "e", "▁work"]),
        ("legacy", "the work", ["▁the", "▁work"], ["th", "e", "▁work"]),
        # A space that is there stays, once.
        ("always", " the", ["▁the"], ["▁the"]),
        ("legacy", " the", ["▁", "▁the"], ["▁the"]),
        # Behind a special token each does what it does in a whole text.
        ("always", "the</s>the", ["▁the", "</s>", "▁the"], ["th", "e", "</s>", "▁the"]),
        ("legacy", "the</s>the", ["▁the", "</s>", "▁the"], ["th", "e", "</s>", "▁the"]),
        ("first", "the</s>the", ["▁the", "</s>", "th", "e"], ["th", "e", "</s>", "th", "e"]),
        ("always", "</s>the", ["</s>", "▁the"], ["</s>", "▁the"]),
        # An unknown character gives a special token too, but begins no section.
        ("unigram", "the你the", ["▁the", "<unk>", "t", "h", "e"], [*"the", "<unk>", *"the"]),
        ("unigram", "the<unk>the", ["▁the", "<unk>", "▁the"], [*"the", "<unk>", "▁the"]),
    ],
)
def test_a_continuation_has_no_mark_in_front(
    name: str, text: str, whole: list[str], rest: list[str]
) -> None:
    encoder = encoder_of(name)
    assert tokens(name, encoder, text, is_continuation=False) == whole
    assert tokens(name, encoder, text, is_continuation=True) == rest


@pytest.mark.parametrize("name", NAMES)
def test_only_marking_tokenizers_need_a_twin(name: str) -> None:
    backend = load(name).worker.backend_tokenizer
    twin = without_marks(backend, definition_of(backend))
    assert (twin is not None) == (name in SPACE_MARKED)


def test_a_byte_level_prefix_space_is_a_mark_too() -> None:
    from tokenizers import Tokenizer, pre_tokenizers

    backend = Tokenizer.from_str(load("sim").worker.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    encoder = BackendEncoder(backend, definition_of(backend))
    assert backend.decode(encoder.ids("the work", is_continuation=False)) == " the work"
    assert backend.decode(encoder.ids("the work", is_continuation=True)) == "the work"
    special = SPECIAL["sim"]
    behind = encoder.ids(f"the{special}the", is_continuation=True)
    assert backend.decode(behind, skip_special_tokens=False) == f"the{special} the"


def test_offsets_of_a_continuation_count_from_its_start() -> None:
    encoder = encoder_of("always")
    text = "the </s>the work"
    offsets = encoder.offsets(text, is_continuation=True)
    assert [text[start:end] for start, end in offsets] == ["th", "e", " ", "</s>", "the", " work"]


def test_the_setting_to_split_special_tokens_is_kept() -> None:
    backend = llama_like("always")
    backend.encode_special_tokens = True
    encoder = BackendEncoder(backend, definition_of(backend))
    assert 2 not in encoder.ids("a</s>b", is_continuation=True)
    assert 2 not in encoder.ids("a</s>b", is_continuation=False)
