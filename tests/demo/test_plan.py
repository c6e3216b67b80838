from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from miles_router.demo.plan import (
    STYLES,
    Shape,
    Style,
    choose_interruptions,
    make_dialogues,
    next_prompt,
    request_body,
    request_id,
)
from miles_router.sim.contract import check_generate_body

SHAPE = Shape(
    prompts=3, samples=2, turns=4, min_new_tokens=4, max_new_tokens=9, seed=5, extra={"priority": 3}
)


def test_samples_of_a_prompt_open_alike_and_have_their_own_seeds() -> None:
    dialogues = make_dialogues(SHAPE)
    assert [one.key for one in dialogues[:3]] == ["p000-s000", "p000-s001", "p001-s000"]
    assert dialogues[0].opening == dialogues[1].opening != dialogues[2].opening
    seeds = [seed for one in dialogues for seed in one.seeds]
    assert len(seeds) == len(set(seeds)) == SHAPE.total_turns == 24


def test_a_seed_of_the_plan_makes_it_repeatable() -> None:
    other = Shape(
        prompts=3, samples=2, turns=4, min_new_tokens=4, max_new_tokens=9, seed=6, extra={}
    )
    assert make_dialogues(SHAPE) == make_dialogues(SHAPE) != make_dialogues(other)


def test_no_request_id_is_a_prefix_of_another() -> None:
    shape = Shape(
        prompts=12, samples=2, turns=12, min_new_tokens=4, max_new_tokens=9, seed=0, extra={}
    )
    ids = [
        request_id(one, turn, attempt)
        for one in make_dialogues(shape)
        for turn in range(12)
        for attempt in range(2)
    ]
    assert len(ids) == 2 * shape.total_turns
    assert not any(one.startswith(other) for one, other in permutations(ids, 2))


def test_a_body_is_what_a_worker_accepts_and_asks_for_a_sampled_answer() -> None:
    dialogue = make_dialogues(SHAPE)[0]
    body = request_body(SHAPE, dialogue, 1, text="Hello")
    check_generate_body(body)
    assert body["text"] == "Hello"
    assert body["priority"] == 3
    params = body["sampling_params"]
    assert (params["temperature"], params["sampling_seed"]) == (1.0, dialogue.seeds[1])
    assert (params["min_new_tokens"], params["max_new_tokens"]) == (4, 9)


def test_dialogues_take_turns_with_the_styles() -> None:
    styles = [one.style for one in make_dialogues(SHAPE)]
    assert styles == [*STYLES, *STYLES[:2]]
    assert len({(one.keeps_end, one.wants_all, one.streams) for one in STYLES}) == len(STYLES)


@pytest.mark.parametrize("style", STYLES, ids=lambda one: one.name)
def test_a_client_asks_for_what_its_style_says(style: Style) -> None:
    dialogue = replace(make_dialogues(SHAPE)[0], style=style)
    body = request_body(SHAPE, dialogue, 0, text="Hello")
    check_generate_body(body)
    wanted = {"return_logprob", "return_prompt_token_ids", "priority"}
    assert wanted & body.keys() == (wanted if style.wants_all else set())
    assert body.get("stream", False) is style.streams
    params = body["sampling_params"]
    assert params.get("no_stop_trim", False) is style.keeps_end
    assert params.get("skip_special_tokens", True) is not style.keeps_end
    assert params["sampling_seed"] == dialogue.seeds[0]


def test_a_repeated_turn_is_the_same_question_with_another_id() -> None:
    dialogue = make_dialogues(SHAPE)[0]
    first = request_body(SHAPE, dialogue, 0, text="Hello")
    again = request_body(SHAPE, dialogue, 0, text="Hello", attempt=1)
    assert first.pop("rid") != again.pop("rid")
    assert first == again


@pytest.mark.parametrize("answer", ["Fine", "Fine<|im_end|>"])
def test_the_next_prompt_closes_the_answer_once_and_adds_the_tool(answer: str) -> None:
    assert next_prompt("A\n", answer, "42") == (
        "A\nFine<|im_end|>\n<|im_start|>tool\n42<|im_end|>\n<|im_start|>assistant\n"
    )


def test_interruptions_are_spread_and_of_both_kinds() -> None:
    chosen = choose_interruptions(make_dialogues(SHAPE), 4, aborts=3, disconnects=2)
    assert sorted(kind.value for kind in chosen.values()) == ["abort"] * 3 + ["disconnect"] * 2
    assert len({key for key, _ in chosen}) >= 4


@pytest.mark.parametrize(("turns", "expected"), [(1, 3), (2, 4)])
def test_at_most_half_of_the_turns_are_interrupted(turns: int, expected: int) -> None:
    chosen = choose_interruptions(make_dialogues(SHAPE), turns, aborts=2, disconnects=2)
    assert len(chosen) == expected


def test_one_turn_alone_is_not_interrupted() -> None:
    one = Shape(prompts=1, samples=1, turns=1, min_new_tokens=4, max_new_tokens=9, seed=0, extra={})
    assert choose_interruptions(make_dialogues(one), 1, aborts=1, disconnects=1) == {}
