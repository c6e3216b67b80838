"""A tiny random language model, a worker that serves it, and ways to talk to both.

torch is imported inside functions: collecting these tests must work without the extra [real].
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import httpx

    from examples.hf_worker.service import Service

CORPUS = ["the quick brown fox jumps over the lazy dog", "café and more tea for two", "0123456789"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
CONTEXT_TOKENS = 2048


def save_tokenizer(directory: Path) -> int:
    """A byte-level BPE tokenizer with two special tokens; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)
    return len(fast)


def tiny_config(architecture: str, vocab_size: int) -> Any:
    """Three small layers of one architecture, with outputs far from uniform."""
    from transformers import GPT2Config, LlamaConfig, MistralConfig, MixtralConfig

    shape: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT_TOKENS,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    if architecture == "llama":
        return LlamaConfig(**shape)
    if architecture == "mistral-sliding":
        return MistralConfig(**shape, sliding_window=8)
    if architecture == "mixtral":
        return MixtralConfig(**shape, num_local_experts=4, num_experts_per_tok=2)
    names = {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    }
    gpt2 = {names.get(key, key): value for key, value in shape.items()}
    return GPT2Config(**gpt2, n_positions=CONTEXT_TOKENS)


def save_model(directory: Path, architecture: str) -> Path:
    """A complete model directory with random weights."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = tiny_config(architecture, save_tokenizer(directory))
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory


@dataclass
class Worker:
    """A running worker and the ways tests talk to it."""

    service: Service
    client: httpx.AsyncClient

    async def generate(self, **body: Any) -> Any:
        """A /generate answer that must be a 200."""
        response = await self.client.post("/generate", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def events(self, path: str, **body: Any) -> list[Any]:
        """All JSON events of a stream that must end with [DONE]."""
        response = await self.post(path, stream=True, **body)
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.text.split("\n\n") if line]
        assert all(line.startswith("data: ") for line in lines)
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


if TYPE_CHECKING:
    StartWorker = Callable[..., Awaitable[Worker]]


def forward_logprobs(model: Any, ids: list[int], temperature: float = 1.0) -> list[float]:
    """Log-probability of each id but the first, from one forward pass over all of them."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
        table = torch.log_softmax(logits / temperature, dim=-1)
        return [float(row[token]) for row, token in zip(table, ids[1:], strict=True)]


def prompt_of(tokens: int, seed: int = 0) -> list[int]:
    """Random ids without special tokens."""
    rng = random.Random(seed)
    return [rng.randrange(2, 60) for _ in range(tokens)]


async def wait_until(condition: Callable[[], bool]) -> None:
    """Poll: the engine offers no event for what tests wait for."""
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - as the docstring says
            await trio.sleep(0.002)


async def wait_steps(worker: Worker, count: int) -> None:
    """Wait for some more steps of the model."""
    goal = worker.service.engine.steps + count
    await wait_until(lambda: worker.service.engine.steps >= goal)
