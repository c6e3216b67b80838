"""Answers that cannot be kept are said once for each reason, with what may be done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugins.token_cache.rig import Reply, Stage, answer, ids_of, replying, sim_tokenizer

PARTS = ids_of(" an answer of some words")
PROMPT = "A question:"


def said(stage: Stage) -> list[tuple[str, str | None, str]]:
    return [(one.kind, one.reason, one.message) for one in stage.events.since(0)]


async def test_a_text_of_other_tokens_is_said_once_and_reaches_its_client() -> None:
    stage = Stage(replying(PARTS, text="something else"))
    for turn in range(3):
        got = await stage.generate({"text": f"{PROMPT} {turn}"})
        assert got.json()["text"] == "something else"
    assert (stage.stored, stage.refused) == (0, {"unaligned_text": 3})
    ((kind, reason, message),) = said(stage)
    assert (kind, reason) == ("answer_refused", "unaligned_text")
    assert message == (
        "an answer is not kept (unaligned_text): its text is not what its token ids spell; if that "
        f"is so of most answers, --tokenizer {sim_tokenizer().name} is not the workers' own: "
        "compare it with tokenizer_path in GET /model_info of a worker; further ones are only "
        "counted, see refused and stored in GET /cache/stats"
    )


@pytest.mark.parametrize(
    ("changes", "reason", "word"),
    [
        ({"prompt_tokens": 999}, "prompt_tokens", "compare meta_info.prompt_tokens"),
        ({"text": "x"}, "unaligned_text", "compare it with tokenizer_path"),
    ],
)
async def test_each_reason_has_its_advice(changes: Any, reason: str, word: str) -> None:
    stage = Stage(replying(PARTS, **changes))
    await stage.generate({"text": PROMPT})
    await stage.generate({"text": PROMPT, "stream": True})
    ((kind, told, message),) = said(stage)
    assert (kind, told, stage.refused) == ("answer_refused", reason, {reason: 2})
    assert word in message


async def test_ids_that_the_tokenizer_has_not_are_another_models() -> None:
    size = sim_tokenizer().vocab_size

    def reply(request: dict[str, Any]) -> Reply:
        given = answer(request, PARTS)
        triples = [[-0.5, size, None] for _ in PARTS]
        given["meta_info"]["output_token_logprobs"] = triples
        return given | {"output_ids": [size] * len(PARTS)}

    stage = Stage(reply)
    await stage.generate({"input_ids": [size]})  # a client's own mistake is no news
    assert (stage.refused, said(stage)) == ({"out_of_vocabulary": 1}, [])
    await stage.generate({"text": PROMPT})
    ((_, reason, message),) = said(stage)
    assert reason == "out_of_vocabulary"
    assert f"above the {size} of the tokenizer" in message


async def test_what_happens_in_any_rollout_is_only_counted() -> None:
    stage = Stage(replying(PARTS, finish_reason=None))
    await stage.generate({"text": PROMPT})
    assert (stage.refused, said(stage)) == ({"unfinished": 1}, [])


async def test_other_reasons_are_said_besides() -> None:
    replies: list[dict[str, Any]] = [{"text": "x"}, {"prompt_tokens": 999}, {"text": "y"}]
    stage = Stage(lambda request: answer(request, PARTS, **replies.pop(0)))
    for _ in range(3):
        await stage.generate({"text": PROMPT})
    assert [reason for _, reason, _ in said(stage)] == ["unaligned_text", "prompt_tokens"]
