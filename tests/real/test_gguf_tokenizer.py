"""The router reads the tokenizer of a GGUF file without torch, and gets what a worker gets."""

from __future__ import annotations

import pytest

from examples.hf_worker.loading import find_source
from miles_router.plugins.tokenizer.gguf import load_gguf_tokenizer, read_metadata
from tests.plugins.tokenizer.vocabularies import smollm2_file

pytestmark = pytest.mark.real


def test_the_tokenizer_is_the_one_that_a_worker_loads() -> None:
    from transformers import AutoTokenizer

    source = find_source(None, None)
    worker = AutoTokenizer.from_pretrained(source.path, gguf_file=source.gguf_file)
    own = load_gguf_tokenizer(smollm2_file())
    assert own.backend_tokenizer.to_str() == worker.backend_tokenizer.to_str()
    assert own.special_tokens_map == worker.special_tokens_map
    assert own.all_special_ids == worker.all_special_ids
    text = "<|im_start|>user\nthe work\n 12345 \u4f60<|im_end|>"
    assert own(text).input_ids == worker(text).input_ids


def test_the_metadata_are_those_that_the_format_s_own_reader_finds() -> None:
    from gguf import GGUFReader

    metadata, fields = read_metadata(smollm2_file()), GGUFReader(smollm2_file()).fields
    assert set(metadata) == {key for key in fields if not key.startswith("GGUF.")}
    assert {key: fields[key].contents() for key in metadata} == metadata
