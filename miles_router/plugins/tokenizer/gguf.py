"""The tokenizer and the shape of a model in a GGUF file, without its weights.

transformers reads GGUF files with torch, which a router has no use for: here only the metadata is
read, and given to the converter that transformers itself uses. Format: ggml's docs/gguf.md,
versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


class NotGguf(ValueError):
    """The file is no GGUF file of a known version, or is cut off."""


def read_metadata(path: Path) -> dict[str, Any]:
    """All metadata of a file, by key.

    Raises:
        OSError: it cannot be read.
        NotGguf: it is something else, or cut off.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file
            raise NotGguf(f"{path} is no GGUF file: {error}") from None
        with data:
            if data[:4] != b"GGUF":
                raise NotGguf(f"{path} is no GGUF file")
            try:
                return _Reader(data).metadata()
            except (struct.error, UnicodeDecodeError, LookupError, RecursionError) as error:
                raise NotGguf(f"{path} is cut off or damaged: {error}") from None


class _Reader:
    """Reads values one behind the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def metadata(self) -> dict[str, Any]:
        version, _tensors, count = self._take("IQQ")
        if version not in {2, 3}:
            raise NotGguf(f"version {version} of GGUF cannot be read, only 2 and 3")
        found = {}
        for _ in range(count):
            key = self._string()
            found[key] = self._value(self._take("I")[0])
        return found

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self._data, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return values

    def _string(self) -> str:
        (size,) = self._take("Q")
        found = self._data[self._at : self._at + size]
        if len(found) != size:
            raise IndexError("the file ends inside a string")
        self._at += size
        return found.decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._take(_NUMBERS[kind])[0]
        kind, count = self._take("IQ")
        if kind in _NUMBERS:
            return list(self._take(f"{count}{_NUMBERS[kind]}"))
        return [self._value(kind) for _ in range(count)]


def load_gguf_tokenizer(path: Path) -> Any:
    """The tokenizer of transformers that the metadata of `path` describe.

    Raises:
        OSError, NotGguf: see `read_metadata`.
        ImportError: transformers is too old to convert without torch.
        ValueError, KeyError: it describes none that transformers knows.
    """
    metadata = read_metadata(path)
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - only where a cache needs it
    from transformers.integrations.gguf.gguf_tokenizer_mapping import (  # noqa: PLC0415
        GGUF_TOKENIZER_MAPPING,
        convert_gguf_tokenizer,
    )

    described, options = (
        {
            name: metadata[f"tokenizer.{key}"]
            for key, name in GGUF_TOKENIZER_MAPPING[group].items()
            if f"tokenizer.{key}" in metadata
        }
        for group in ("tokenizer", "tokenizer_config")
    )
    kind = described.get("tokenizer_type")
    if kind == "llama":
        # Old files have no flag; SentencePiece vocabularies begin with BOS unless they say so.
        options.setdefault("add_bos_token", True)
    elif kind == "gemma4":
        # Its chat template writes the BOS, and the model's own tokenizer adds none.
        options["add_bos_token"] = False
    for role, key in _ROLES.items():
        token = metadata.get(f"tokenizer.ggml.{key}")
        options[role] = None if token is None else described["tokens"][token]
    backend, _ = convert_gguf_tokenizer(metadata["general.architecture"], described)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)
