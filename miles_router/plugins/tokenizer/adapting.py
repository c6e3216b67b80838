"""Which way to encode and to spell is exact for a tokenizer of transformers.

Decided once, by trial on sample texts and ids: the fast ways where they give what the tokenizer
itself gives, else the slow ones; a tokenizer for which neither is exact is refused. This file must
not know where a tokenizer comes from.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from miles_router.errors import ConfigFault

from .adapter import Around, HuggingFaceTokenizer, Vocabulary
from .encoding import BackendEncoder, CallEncoder, Encoder
from .spelling import Speller, TableSpeller, WindowSpeller
from .table import token_table

if TYPE_CHECKING:
    from collections.abc import Callable

    Decode = Callable[[list[int], bool], str]

_SAMPLES = (
    "a",
    "Hello, world",
    "two  spaces\tand\n\n lines \n",
    "x = {'k': [1, 23, 4567]}  # don't",
    "日本語 naïve Straße 🎉 \u200d",
)
_SPACED_SAMPLES = (" leading space", "  two", "")
_SPELLED_ROUNDS, _SPELLED_TOKENS = 32, 64


def adapt(tokenizer: Any, name: str) -> HuggingFaceTokenizer:
    """The adapter of a loaded tokenizer of transformers.

    Raises:
        ConfigFault: there is no exact way to use it.
    """
    vocabulary = _vocabulary(tokenizer)
    around = _around(tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    serialized = None if backend is None else backend.to_str()
    definition = None if serialized is None else json.loads(serialized)
    encoder = _encoder(tokenizer, backend, definition, vocabulary, around)
    speller = _speller(tokenizer, definition, encoder, vocabulary)
    if _marks_beginnings(encoder, speller):
        raise _fault(
            f"{name} puts a space before every text, so no text can be continued token by token; "
            "give a fast tokenizer (tokenizer.json) of the model"
        )
    if serialized is None:
        serialized = f"{type(tokenizer).__qualname__} {sorted(vocabulary.names.items())}"
    fingerprint = _fingerprint(serialized, vocabulary, around)
    return HuggingFaceTokenizer(name, fingerprint, vocabulary.size, encoder, speller, around)


def _fault(message: str) -> ConfigFault:
    return ConfigFault(message, key="tokenizer")


def _vocabulary(tokenizer: Any) -> Vocabulary:
    names = {int(token): str(name) for name, token in tokenizer.get_vocab().items()}
    added = getattr(tokenizer, "added_tokens_decoder", {})
    names.update({int(token): value.content for token, value in added.items()})
    if not names:
        raise _fault("the tokenizer has no vocabulary")
    size = max(names) + 1
    special = {int(token) for token, value in added.items() if value.special}
    if not getattr(tokenizer, "is_fast", False):
        special.update(token for token in tokenizer.all_special_ids if 0 <= token < size)
    is_special = np.zeros(size, dtype=np.bool_)
    is_special[sorted(special)] = True
    return Vocabulary(size, names, is_special)


def _around(tokenizer: Any) -> Around:
    bare = list(map(int, tokenizer("a", add_special_tokens=False).input_ids))
    whole = list(map(int, tokenizer("a").input_ids))
    for start in range(len(whole) - len(bare) + 1):
        end = start + len(bare)
        if bare and whole[start:end] == bare:
            return Around(tuple(whole[:start]), tuple(whole[end:]))
    raise _fault("the tokenizer gives other tokens to a text that stands alone")


def _encoder(
    tokenizer: Any,
    backend: Any,
    definition: dict[str, Any] | None,
    vocabulary: Vocabulary,
    around: Around,
) -> Encoder:
    literals = [vocabulary.names[token] for token in np.flatnonzero(vocabulary.is_special)[:8]]
    samples = [*_SAMPLES, *_SPACED_SAMPLES, *(f"{one}user\nhi {one}\n" for one in literals)]
    expected = [list(map(int, tokenizer(sample).input_ids)) for sample in samples]
    candidates: list[Encoder] = [CallEncoder(tokenizer)]
    if definition is not None:
        candidates.insert(0, BackendEncoder(backend, definition))
    for encoder in candidates:
        found = [encoder.ids(sample, is_continuation=False) for sample in samples]
        if [[*around.before, *ids, *around.behind] for ids in found] == expected:
            return encoder
    raise _fault("the tokenizer adds special tokens in a way that depends on the text")


def _speller(
    tokenizer: Any, definition: dict[str, Any] | None, encoder: Encoder, vocabulary: Vocabulary
) -> Speller:
    """The table if it decodes as the tokenizer does, else windows of the tokenizer's own decode."""
    context = encoder.ids("a", is_continuation=True)
    decode = _decode(tokenizer)
    table = None
    if definition is not None:
        table = token_table(definition["decoder"], vocabulary.names, vocabulary.size)
    if table is not None:
        speller = TableSpeller(table, vocabulary.is_special)
        if _decodes_alike(speller, decode, context, vocabulary):
            return speller
    return WindowSpeller(lambda ids: decode(ids, False), context, vocabulary.is_special)


def _decode(tokenizer: Any) -> Decode:
    """`decode(ids, skip_special_tokens)` without the clean-ups that workers switch off too."""
    options = {"clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False}
    try:
        tokenizer.decode([0], skip_special_tokens=False, **options)
    except (TypeError, ValueError):
        options = {}
    return lambda ids, skips: str(tokenizer.decode(ids, skip_special_tokens=skips, **options))


def _decodes_alike(
    speller: Speller, decode: Decode, context: list[int], vocabulary: Vocabulary
) -> bool:
    draw = np.random.default_rng(0)
    specials = np.flatnonzero(vocabulary.is_special)
    for number in range(_SPELLED_ROUNDS):
        ids = draw.integers(0, vocabulary.size, _SPELLED_TOKENS).astype("<i4")
        if specials.size and number % 2:
            ids[draw.integers(0, ids.size, ids.size // 8)] = draw.choice(specials, ids.size // 8)
        for skips in (False, True):
            shown = decode([*context, *ids.tolist()], skips)[len(decode(context, skips)) :]
            if speller.spell(ids, skip_special_tokens=skips).text != shown.encode():
                return False
    return True


def _marks_beginnings(encoder: Encoder, speller: Speller) -> bool:
    """Whether a continuation gets a space that is not in its text."""
    for sample in _SAMPLES:
        ids = np.array(encoder.ids(sample, is_continuation=True), dtype="<i4")
        if speller.spell(ids, skip_special_tokens=False).text == b" " + sample.encode():
            return True
    return False


def _fingerprint(serialized: str, vocabulary: Vocabulary, around: Around) -> str:
    """Over all that decides which ids a text gets and which text ids show."""
    digest = hashlib.sha256(serialized.encode(errors="surrogatepass"))
    digest.update(vocabulary.is_special.tobytes())
    digest.update(repr(around).encode())
    return digest.hexdigest()
