"""Text of unfinished answers: nothing is shown that a later token takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from examples.hf_worker.loading import Loaded
    from examples.hf_worker.sequences import Sequence

pytestmark = pytest.mark.real


async def sequence(output_ids: list[int], **params: Any) -> Sequence:
    from examples.hf_worker.params import SamplingParams
    from examples.hf_worker.sequences import AnswerOptions, Notice, Sequence

    made = Sequence("r", [2, 3], SamplingParams(**params), AnswerOptions(), Notice())
    made.output_ids = output_ids
    return made


async def test_half_a_character_is_held_back(tiny: Loaded) -> None:
    from examples.hf_worker.spelling import Speller

    speller = Speller(tiny.tokenizer)
    letters = tiny.tokenizer.convert_tokens_to_ids(["a", "Ã"])
    assert speller.text(await sequence(letters)) == "a"
    whole = [*letters, tiny.tokenizer.convert_tokens_to_ids("©")]
    assert speller.text(await sequence(whole)) == "aé"


async def test_the_start_of_a_stop_string_is_held_back(tiny: Loaded) -> None:
    from examples.hf_worker.spelling import Speller

    speller = Speller(tiny.tokenizer)
    ids = speller.encode("tea fo")
    assert speller.text(await sequence(ids, stop=("for two", "xyz"))) == "tea "
    assert speller.text(await sequence(ids, stop=("for two",), no_stop_trim=True)) == "tea fo"
