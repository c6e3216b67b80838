"""GGUF metadata without torch, and the tokenizer that they describe."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from miles_router.plugins.tokenizer.gguf import NotGguf, load_gguf_tokenizer, read_metadata
from tests.plugins.tokenizer.vocabularies import load, smollm2_file

if TYPE_CHECKING:
    from pathlib import Path


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def strings(*texts: str) -> bytes:
    return struct.pack("<IQ", 8, len(texts)) + b"".join(map(string, texts))


def file_of(*entries: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(entries)) + b"".join(entries)


SMALL = file_of(
    entry("general.architecture", 8, string("llama")),
    entry("small", 0, struct.pack("<B", 7)),
    entry("negative", 5, struct.pack("<i", -7)),
    entry("real", 6, struct.pack("<f", 0.5)),
    entry("flag", 7, struct.pack("<?", True)),
    entry("big", 10, struct.pack("<Q", 2**40)),
    entry("numbers", 9, struct.pack("<IQ3h", 3, 3, 1, -2, 3)),
    entry("words", 9, strings("é", "", "b")),
    entry("nested", 9, struct.pack("<IQ", 9, 1) + strings("x")),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_values_of_every_kind(path: Path) -> None:
    path.write_bytes(SMALL)
    assert read_metadata(path) == {
        "general.architecture": "llama",
        "small": 7,
        "negative": -7,
        "real": 0.5,
        "flag": True,
        "big": 2**40,
        "numbers": [1, -2, 3],
        "words": ["é", "", "b"],
        "nested": [["x"]],
    }


def test_a_file_cut_off_anywhere_is_refused(path: Path) -> None:
    for size in range(len(SMALL)):
        path.write_bytes(SMALL[:size])
        with pytest.raises(NotGguf):
            read_metadata(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no GGUF file"),
        (b"PK\x03\x04" * 8, "no GGUF file"),
        (file_of(version=1), "version 1"),
        (file_of(entry("x", 99, b"1234")), "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**62), "cut off"),
        (file_of(entry("x", 9, struct.pack("<IQ", 8, 2**62))), "cut off"),
        (file_of(entry("x", 9, struct.pack("<IQ", 4, 2**62))), "cut off"),
        (file_of(struct.pack("<Q", 2**62)), "cut off"),
        (file_of(entry("x", 8, struct.pack("<Q", 1) + b"\xff")), "damaged"),
        (file_of(entry("x", 9, struct.pack("<IQ", 9, 1) * 2_000)), "damaged"),
    ],
)
def test_damaged_files_are_refused_at_once(path: Path, data: bytes, reason: str) -> None:
    path.write_bytes(data)
    with pytest.raises(NotGguf, match=reason):
        read_metadata(path)


def test_the_metadata_of_a_real_file() -> None:
    metadata = read_metadata(smollm2_file())
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.block_count"] == 30
    assert len(metadata["tokenizer.ggml.tokens"]) == metadata["llama.vocab_size"] == 49_152
    assert metadata["tokenizer.ggml.merges"][0] == "Ġ t"


def test_special_tokens_of_a_real_file() -> None:
    tokenizer = load("smollm2").worker
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer("<|im_start|>user\nhi 12").input_ids == [1, 4093, 198, 6004, 216, 33, 34]


def test_a_file_that_describes_no_known_tokenizer(path: Path) -> None:
    path.write_bytes(
        file_of(
            entry("general.architecture", 8, string("llama")),
            entry("tokenizer.ggml.model", 8, string("none")),
        )
    )
    with pytest.raises((ValueError, KeyError)):
        load_gguf_tokenizer(path)


@pytest.mark.parametrize(("flag", "bos"), [(None, [1]), (True, [1]), (False, [])])
def test_sentencepiece_files_begin_prompts_with_bos_unless_they_say_no(
    path: Path, flag: bool | None, bos: list[int]
) -> None:
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a"]
    scores = struct.pack(f"<IQ{len(names)}f", 6, len(names), *(-i for i in range(len(names))))
    kinds = struct.pack(f"<IQ{len(names)}i", 5, len(names), 2, 3, 3, *[6] * 256, 1, 1)
    said = [] if flag is None else [entry("tokenizer.ggml.add_bos_token", 7, bytes([flag]))]
    path.write_bytes(
        file_of(
            entry("general.architecture", 8, string("llama")),
            entry("tokenizer.ggml.model", 8, string("llama")),
            entry("tokenizer.ggml.tokens", 9, strings(*names)),
            entry("tokenizer.ggml.scores", 9, scores),
            entry("tokenizer.ggml.token_type", 9, kinds),
            entry("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 1)),
            entry("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)),
            entry("tokenizer.ggml.unknown_token_id", 4, struct.pack("<I", 0)),
            *said,
        )
    )
    tokenizer = load_gguf_tokenizer(path)
    assert tokenizer("a").input_ids == [*bos, names.index("\u2581"), names.index("a")]
