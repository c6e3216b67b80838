from __future__ import annotations

from typing import Any

import pytest

from miles_router.sim import SimSettings
from miles_router.sim.engine import Engine
from miles_router.sim.generation import Generation, Stage


def generation(sampling: dict[str, Any] | None = None, **body: Any) -> Generation:
    engine = Engine(SimSettings())
    body = {"input_ids": [5, 6, 7], "sampling_params": sampling or {}, **body}
    (found,) = engine.admit(engine.parse(body), now=0.0)
    return found


def finished(sampling: dict[str, Any] | None = None, **body: Any) -> Generation:
    found = generation(sampling, **body)
    while not found.is_finished:
        found.step("1")
    assert found.stage is Stage.FINISHED
    return found


def seed_that_ends(before: int) -> int:
    """A seed whose answer ends by itself within `before` tokens, but not at the first."""
    for seed in range(500):
        length = len(finished({"sampling_seed": seed, "max_new_tokens": before}).output_ids)
        if 1 < length < before:
            return seed
    raise AssertionError("no seed ends that early")


def test_length() -> None:
    found = finished({"max_new_tokens": 5, "ignore_eos": True})
    assert found.finish_reason == {"type": "length", "length": 5}
    assert len(found.output_ids) == 5


def test_nothing_new_is_a_length_with_one_log_probability() -> None:
    found = finished({"max_new_tokens": 0}, return_logprob=True)
    assert found.finish_reason == {"type": "length", "length": 0}
    assert found.output_ids == []
    assert len(found.logprobs) == 1
    assert found.text.visible() == ""


def test_the_end_token_is_in_the_ids_and_not_in_the_text() -> None:
    found = finished({"sampling_seed": seed_that_ends(20), "max_new_tokens": 20})
    assert found.finish_reason == {"type": "stop", "matched": 2}
    assert found.output_ids[-1] == 2
    assert "<|im_end|>" not in found.text.visible()


def test_the_end_token_is_in_the_text_when_asked_for() -> None:
    sampling = {"sampling_seed": seed_that_ends(20), "max_new_tokens": 20}
    kept = finished({**sampling, "no_stop_trim": True, "skip_special_tokens": False})
    assert kept.text.visible().endswith("<|im_end|>")
    hidden = finished({**sampling, "no_stop_trim": True})
    assert "<|im_end|>" not in hidden.text.visible()


def test_ignore_eos_and_min_new_tokens_put_the_end_off() -> None:
    seed = seed_that_ends(20)
    ignoring = finished({"sampling_seed": seed, "max_new_tokens": 300, "ignore_eos": True})
    assert len(ignoring.output_ids) == 300
    assert 2 not in ignoring.output_ids
    waiting = {"sampling_seed": seed, "max_new_tokens": 300, "min_new_tokens": 50}
    waited = finished(waiting).output_ids
    assert len(waited) > 50
    assert 2 not in waited[:50], "not even drawn, as with a masked logit"


def test_a_stop_token_id() -> None:
    sampling = {"sampling_seed": 1, "max_new_tokens": 8, "min_new_tokens": 3}
    plain = finished({**sampling, "ignore_eos": True})
    stopped = finished({**sampling, "stop_token_ids": [plain.output_ids[4]]})
    assert stopped.finish_reason == {"type": "stop", "matched": plain.output_ids[4]}
    assert stopped.output_ids == plain.output_ids[:5]
    ignored = finished({**sampling, "ignore_eos": True, "stop_token_ids": [plain.output_ids[4]]})
    assert ignored.output_ids == plain.output_ids


def test_a_stop_string_wins_over_the_length_and_is_cut_off() -> None:
    sampling = {"sampling_seed": 1, "max_new_tokens": 4, "ignore_eos": True}
    plain = finished(sampling)
    text = plain.text.visible()
    stop = text[-2:]
    stopped = finished({**sampling, "stop": [stop]})
    assert stopped.finish_reason == {"type": "stop", "matched": stop}
    assert stopped.text.visible() == text[: text.index(stop)]
    assert stopped.output_ids == plain.output_ids[: len(stopped.output_ids)]
    kept = finished({**sampling, "stop": [stop], "no_stop_trim": True})
    assert kept.text.visible() == text[: text.index(stop) + 2]


def test_equal_requests_give_equal_answers_and_greedy_ones_ignore_the_seed() -> None:
    def ids(**sampling: Any) -> list[int]:
        return finished({"max_new_tokens": 20, "ignore_eos": True, **sampling}).output_ids

    assert ids(sampling_seed=3) == ids(sampling_seed=3)
    assert ids(sampling_seed=3) != ids(sampling_seed=4)
    assert ids(temperature=0, sampling_seed=3) == ids(temperature=0, sampling_seed=4)


def test_a_greedy_answer_continues_where_it_was_cut() -> None:
    sampling = {"temperature": 0, "max_new_tokens": 10, "ignore_eos": True}
    whole = finished(sampling)
    rest = finished(sampling, input_ids=[5, 6, 7, *whole.output_ids[:4]])
    assert rest.output_ids[:6] == whole.output_ids[4:]


def test_scoring_an_answer_as_a_prompt_gives_the_same_log_probabilities() -> None:
    found = finished({"max_new_tokens": 6, "ignore_eos": True}, return_logprob=True)
    again = generation(
        input_ids=[5, 6, 7, *found.output_ids], return_logprob=True, logprob_start_len=2
    )
    scored = again.prompt_logprobs("1")
    assert scored[0] == (None, 7)
    assert scored[1:] == list(zip(found.logprobs, found.output_ids, strict=True))


def test_spans_follow_the_weight_versions() -> None:
    found = generation({"max_new_tokens": 6, "ignore_eos": True})
    for version in ("1", "1", "2", "2", "2", "3"):
        found.step(version)
    assert found.version_spans("9") == [("1", 0, 2), ("2", 2, 5), ("3", 5, 6)]


def test_a_change_before_the_first_token_leaves_one_span() -> None:
    found = generation({"max_new_tokens": 0})
    found.step("2")
    assert found.version_spans("9") == [("2", 0, 0)]


@pytest.mark.parametrize("is_reduced", [True, False])
def test_an_abort_keeps_what_there_is(is_reduced: bool) -> None:
    found = generation({"ignore_eos": True})
    found.step("1")
    found.abort({"type": "abort"}, is_reduced=is_reduced)
    assert len(found.output_ids) == 1
    assert found.is_reduced is is_reduced
    assert found.text.visible()
