"""The simulated worker's tokenizer: a real byte-level BPE with ChatML special tokens.

It knows text and token ids, nothing of requests. Decoding works on bytes, as a byte-level BPE
does: one token may be half a character, and several token sequences may have one text. Invariant:
`decode(encode(text)) == text`; the reverse, `encode(decode(ids)) == ids`, often does not hold.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as BpeTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML in Jinja, as a model's tokenizer_config.json carries it; `render_chat` does the same."""


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def render_chat(
    messages: Iterable[Mapping[str, Any]], *, add_generation_prompt: bool = True
) -> str:
    """The prompt text of a conversation, as `CHAT_TEMPLATE` renders it."""
    turns = [
        f"{TURN_START}{message['role']}\n{_content_text(message.get('content'))}{TURN_END}\n"
        for message in messages
    ]
    if add_generation_prompt:
        turns.append(f"{TURN_START}assistant\n")
    return "".join(turns)


def _byte_of_character() -> dict[str, int]:
    """The byte-level alphabet: printable Latin-1 stands for itself, other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(0x100 + place): byte for place, byte in enumerate(others)})
    return table


class Tokenizer:
    """Text to token ids and back; built once by `load_tokenizer`."""

    def __init__(self, definition: str) -> None:
        self._bpe = BpeTokenizer.from_str(definition)
        self.vocab_size: int = self._bpe.get_vocab_size()
        self.eos_id = self._id_of(TURN_END)
        self.special_ids: frozenset[int] = frozenset(
            self._id_of(token) for token in (END_OF_TEXT, TURN_START, TURN_END)
        )
        self._token_bytes = self._decode_vocabulary()
        self.ordinary_ids: tuple[int, ...] = tuple(
            token for token in range(self.vocab_size) if token not in self.special_ids
        )
        self.word_ids: tuple[int, ...] = self._find_words()

    def _id_of(self, token: str) -> int:
        found: int | None = self._bpe.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no {token}; run train_tokenizer again.")
        return found

    def _decode_vocabulary(self) -> list[bytes]:
        alphabet = _byte_of_character()
        found = []
        for token in range(self.vocab_size):
            name = self._bpe.id_to_token(token) or ""
            is_special = token in self.special_ids
            found.append(name.encode() if is_special else bytes(alphabet[one] for one in name))
        return found

    def _find_words(self) -> tuple[int, ...]:
        """Tokens that are a space and a whole word and that their own text tokenizes to."""
        found = [
            token
            for token, data in enumerate(self._token_bytes)
            if len(data) > 2 and data[:1] == b" " and data[1:].isalpha()
        ]
        encodings = self._bpe.encode_batch([self._token_bytes[token].decode() for token in found])
        return tuple(
            token
            for token, encoding in zip(found, encodings, strict=True)
            if encoding.ids == [token]
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; the literals of special tokens become their ids, no BOS is added."""
        ids: list[int] = self._bpe.encode(text).ids
        return ids

    def token_bytes(self, token: int) -> bytes:
        """The bytes one token stands for; empty for an id outside the vocabulary."""
        return self._token_bytes[token] if 0 <= token < self.vocab_size else b""

    def token_text(self, token: int) -> str:
        """One token as text; U+FFFD where it is not whole characters."""
        return self.token_bytes(token).decode(errors="replace")

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        skipped: frozenset[int] = self.special_ids if skip_special_tokens else frozenset()
        data = b"".join(self.token_bytes(token) for token in ids if token not in skipped)
        return data.decode(errors="replace")


def tokenizer_dir() -> Path:
    """The directory of the shipped tokenizer, in the form that `AutoTokenizer` loads."""
    return Path(__file__).parent / "data"


@functools.cache
def load_tokenizer() -> Tokenizer:
    """The tokenizer shipped with the package, read once."""
    return Tokenizer((tokenizer_dir() / "tokenizer.json").read_text(encoding="utf-8"))
