"""How many layers a model has and how many experts it picks for a token in each.

Both are read from the model's config.json (or the metadata of its GGUF file): the rows of routed
experts in an answer have this shape, and nothing in the answer says so. A local directory is read
without transformers and without a network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from miles_router.errors import ConfigFault

from .gguf import read_metadata
from .loading import load_config, local_path, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG = "config.json"
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_EXPERTS = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "moe_topk",
    "moe_top_k",
    "top_k_experts",
    "num_selected_experts",
    "moe_k",
)
_TOTALS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
# Where a model of several parts keeps the part that writes text.
_PARTS = ("text_config", "language_config", "llm_config", "thinker_config", "ffn_config")


def read_expert_shape(
    path_or_name: str, *, trust_remote_code: bool = False
) -> tuple[int, int] | None:
    """(layers, experts for each token) of a model; None if it says neither or has no experts.

    Args:
        path_or_name: a directory, a `.gguf` file or a name on the hub, as for `load_tokenizer`.
        trust_remote_code: let the model's own code fill in what its config.json leaves out.

    Raises:
        ConfigFault: its configuration is there and cannot be read, or the hub does not give it.
    """
    path = local_path(path_or_name)
    try:
        if path.suffix == ".gguf" and path.is_file():
            return _of_gguf(read_metadata(path))
        config = _local(path) if path.is_dir() else load_config(path_or_name)
        found = _of_config(config)
        if found is None and trust_remote_code and "auto_map" in config:
            found = _of_config(load_config(path_or_name, trust_remote_code=True))
    except ConfigFault:
        raise
    except Exception as error:
        raise _fault(f"{path_or_name}: {reason_of(error)}") from error
    return found


def _fault(message: str) -> ConfigFault:
    return ConfigFault(f"cannot read the configuration of the model {message}", key="tokenizer")


def _local(directory: Path) -> dict[str, Any]:
    file = directory / CONFIG
    if not file.is_file():
        return {}
    config = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise _fault(f"{directory}: {CONFIG} is no JSON object")
    return config


def _of_config(config: Mapping[str, Any]) -> tuple[int, int] | None:
    parts = [config[name] for name in _PARTS if isinstance(config.get(name), dict)]
    for part in parts:
        # What the part leaves out holds for the whole model.
        found = _of_config({**{k: v for k, v in config.items() if k not in _PARTS}, **part})
        if found is not None:
            return found
    totals = [config[name] for name in _TOTALS if name in config]
    if totals and not any(map(_count, totals)):
        return None
    layers, experts = _first(config, _LAYERS), _first(config, _EXPERTS)
    return (layers, experts) if layers and experts else None


def _of_gguf(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    architecture = metadata.get("general.architecture")
    layers = _count(metadata.get(f"{architecture}.block_count"))
    experts = _count(metadata.get(f"{architecture}.expert_used_count"))
    return (layers, experts) if layers and experts else None


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((count for name in names if (count := _count(config.get(name)))), 0)


def _count(value: object) -> int:
    """A count from 1 on, else 0; of one for each layer, the widest."""
    if isinstance(value, list):
        return max((_count(one) for one in value), default=0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
