from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from miles_router.demo.plan import next_prompt
from miles_router.demo.transcript import Transcript, Transcripts, told_versions
from miles_router.sim.tokenizer import load_tokenizer
from tests.demo.conversations import exchange_of

if TYPE_CHECKING:
    from miles_router.demo.tally import Exchange

TOKENIZER = load_tokenizer()
EOS = TOKENIZER.eos_id
OPENING = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
# Letter by letter, as no tokenizer would write the word.
PIECES = [TOKENIZER.encode(letter)[0] for letter in "hello"]


def transcript() -> Transcript:
    return Transcript("d", TOKENIZER.encode, EOS)


def answered(text: str, output_ids: list[int], *, shows_end: bool) -> Exchange:
    """An answer as a worker trims it, or does not."""
    shown = output_ids if shows_end or output_ids[-1:] != [EOS] else output_ids[:-1]
    answer = {
        "text": TOKENIZER.decode(shown),
        "output_ids": output_ids,
        "meta_info": {
            "weight_versions": [{"version": "w1", "start": 0, "end": len(output_ids)}],
            "finish_reason": {"type": "stop"},
        },
    }
    return exchange_of({"rid": "r", "text": text}, answer)


def told_text(exchange: Exchange) -> str:
    assert exchange.answer is not None
    return str(exchange.body["text"]) + str(exchange.answer["text"])


def test_the_first_prompt_is_the_text_tokenized() -> None:
    assert transcript().prompt_ids(OPENING) == TOKENIZER.encode(OPENING)


@pytest.mark.parametrize("shows_end", [True, False])
def test_a_prompt_begins_with_what_was_generated_and_has_its_end_token_once(
    shows_end: bool,
) -> None:
    dialogue = transcript()
    exchange = answered(OPENING, [*PIECES, EOS], shows_end=shows_end)
    assert exchange.answer is not None
    dialogue.tell(exchange, None)
    text = next_prompt(OPENING, exchange.answer["text"], "42")
    ids = dialogue.prompt_ids(text)
    assert ids == [
        *TOKENIZER.encode(OPENING),
        *PIECES,
        EOS,
        *TOKENIZER.encode("\n<|im_start|>tool\n42<|im_end|>\n<|im_start|>assistant\n"),
    ]
    assert TOKENIZER.decode(ids) == text
    assert dialogue.is_changed_by_tokenizing(0)
    assert TOKENIZER.encode(text) != ids


def test_an_answer_cut_by_its_length_gets_its_end_from_the_client() -> None:
    dialogue = transcript()
    dialogue.tell(answered(OPENING, PIECES, shows_end=False), None)
    ids = dialogue.prompt_ids(next_prompt(OPENING, "hello", "42"))
    assert ids[len(TOKENIZER.encode(OPENING)) :][: len(PIECES) + 1] == [*PIECES, EOS]


def test_a_turn_without_a_token_leaves_its_prompt_to_be_tokenized_with_the_next() -> None:
    dialogue = transcript()
    dialogue.tell(answered(OPENING, [], shows_end=False), [])
    text = next_prompt(OPENING, "", "42")
    assert dialogue.prompt_ids(text) == TOKENIZER.encode(text)


def test_a_text_that_does_not_continue_is_refused() -> None:
    dialogue = transcript()
    dialogue.tell(answered(OPENING, PIECES, shows_end=False), None)
    with pytest.raises(ValueError, match="does not continue"):
        dialogue.prompt_ids("Something else")


def test_columns_tell_each_token_of_all_turns() -> None:
    dialogue = transcript()
    first = answered(OPENING, [*PIECES, EOS], shows_end=False)
    dialogue.tell(first, [-0.5] * 6)
    assert first.answer is not None
    text = next_prompt(OPENING, first.answer["text"], "42")
    second = answered(text, PIECES, shows_end=False)
    dialogue.tell(second, None)
    prompt, again = len(TOKENIZER.encode(OPENING)), len(dialogue.turns[1].prompt_ids)
    assert dialogue.turns[1].inherited == prompt + 6
    early = dialogue.columns(0)
    assert early.tokens == [*TOKENIZER.encode(OPENING), *PIECES, EOS]
    assert early.loss_mask == [0] * prompt + [1] * 6
    whole = dialogue.columns(1)
    assert whole.tokens[: prompt + 6] == early.tokens
    between = again - prompt - 6
    assert whole.loss_mask == [0] * prompt + [1] * 6 + [0] * between + [1] * 5
    assert whole.logprobs == [None] * prompt + [-0.5] * 6 + [None] * (between + 5)
    assert whole.versions == [None] * prompt + ["w1"] * 6 + [None] * between + ["w1"] * 5


def test_text_that_a_worker_would_tokenize_alike_is_not_changed() -> None:
    dialogue = transcript()
    dialogue.tell(answered(OPENING, [*TOKENIZER.encode("hello"), EOS], shows_end=False), None)
    assert not dialogue.is_changed_by_tokenizing(0)


def test_a_dialogue_of_two_versions_is_mixed() -> None:
    dialogue = transcript()
    exchange = answered(OPENING, PIECES, shows_end=False)
    dialogue.tell(exchange, None)
    assert not dialogue.is_mixed()
    later = answered(told_text(exchange), PIECES, shows_end=False)
    assert later.answer is not None
    later.answer["meta_info"]["weight_versions"][0]["version"] = "w2"
    dialogue.tell(later, None)
    assert dialogue.is_mixed()


def test_each_dialogue_has_its_transcript_until_an_answer_was_wrong() -> None:
    transcripts = Transcripts(TOKENIZER.encode, EOS)
    one, other = transcripts.of("a"), transcripts.of("b")
    assert transcripts.of("a") is one
    assert transcripts.sound() == [one, other]
    one.is_sound = False
    assert transcripts.sound() == [other]


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"weight_versions": [{"version": "a", "start": 0, "end": 2}]}, (("a", 0, 2),)),
        ({"weight_versions": []}, ()),
        ({"weight_versions": [{"version": "a"}]}, ()),
        ({"weight_versions": "a"}, ()),
        ({}, ()),
        (None, ()),
    ],
)
def test_versions_are_what_an_answer_says(meta: Any, expected: Any) -> None:
    assert told_versions({"meta_info": meta}) == expected
