"""The simulated worker's tokenizer as a directory that anyone can load."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.sim.settings import SimSettings
from miles_router.sim.tokenizer import (
    CHAT_TEMPLATE,
    END_OF_TEXT,
    TURN_END,
    TURN_START,
    load_tokenizer,
    render_chat,
    tokenizer_dir,
)
from tests.plugins.tokenizer.vocabularies import int32, is_special, load

MESSAGES = [{"role": "system", "content": "a\nb"}, {"role": "user", "content": "hi é"}]


@given(st.lists(st.sampled_from([*"ab é你🎉\n", TURN_END, TURN_START]), max_size=30))
def test_texts_get_the_same_ids(parts: list[str]) -> None:
    text = "".join(parts)
    assert load("sim").worker_ids(text) == load_tokenizer().encode(text)


@pytest.mark.parametrize("skips", [False, True])
def test_ids_show_the_same_text(skips: bool) -> None:
    worker, draw = load_tokenizer(), np.random.default_rng(3)
    for size in (0, 1, 5, 300):
        ids = draw.integers(0, worker.vocab_size, size).tolist()
        shown = load("sim").worker.decode(ids, skip_special_tokens=skips)
        assert shown == worker.decode(ids, skip_special_tokens=skips)
        run = load("sim").adapter.spell(int32(ids), skip_special_tokens=skips)
        assert run.text.decode() == shown


def test_special_tokens_are_the_same() -> None:
    worker, loaded = load_tokenizer(), load("sim")
    assert loaded.worker.eos_token_id == worker.eos_id
    assert loaded.adapter.vocab_size == worker.vocab_size
    special = {i for i in range(worker.vocab_size) if is_special(loaded.adapter, i)}
    assert special == set(worker.special_ids)
    assert set(loaded.worker.all_special_tokens) == {END_OF_TEXT, TURN_START, TURN_END}


@pytest.mark.parametrize("asks", [False, True])
def test_chats_are_rendered_alike(asks: bool) -> None:
    rendered = load("sim").worker.apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=asks
    )
    assert rendered == render_chat(MESSAGES, add_generation_prompt=asks)


def test_the_files_follow_the_code() -> None:
    tokenizer = json.loads((tokenizer_dir() / "tokenizer_config.json").read_text())
    assert tokenizer["chat_template"] == CHAT_TEMPLATE
    assert tokenizer["model_max_length"] == SimSettings().context_tokens
    assert json.loads((tokenizer_dir() / "config.json").read_text()) == {
        "num_hidden_layers": SimSettings().num_layers,
        "num_experts": SimSettings().num_experts,
        "num_experts_per_tok": SimSettings().top_k,
    }
