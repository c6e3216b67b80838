from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.generate.gathered import GatheredItem, count_numbers, extended
from miles_router.core.generate.opened import OpenedItem, open_answer
from miles_router.core.generate.reasons import Uncached
from miles_router.core.generate.splice import ELEMENTS

if TYPE_CHECKING:
    from miles_router.core.generate.items import Parts


def chunk(
    ids: list[int],
    made: int,
    text: str | None = None,
    logprobs: list[int] | None = None,
    **meta: Any,
) -> OpenedItem:
    """A chunk; `logprobs` are the ids of its triples."""
    answer: dict[str, Any] = {
        "output_ids": ids,
        "meta_info": {"finish_reason": None, "completion_tokens": made, **meta},
    }
    if text is not None:
        answer["text"] = text
    if logprobs is not None:
        answer["meta_info"]["output_token_logprobs"] = [[-0.5, one, None] for one in logprobs]
    (item,) = open_answer(msgspec.json.encode(answer)).items
    assert isinstance(item, OpenedItem)
    return item


def gathered(*chunks: OpenedItem) -> tuple[Parts, bool]:
    item = GatheredItem()
    for one in chunks:
        item.take(one)
    return item.parts(), item.is_finished


END: dict[str, Any] = {"finish_reason": {"type": "length"}}
ABORT: dict[str, Any] = {"finish_reason": {"type": "abort"}}
OLD: dict[str, Any] = {"total_retractions": 0}
CUMULATIVE = [chunk([1], 1, "a"), chunk([1, 2], 2, "ab"), chunk([1, 2, 3], 3, "abc", **END)]
DELTAS = [chunk([1], 1, "a"), chunk([2], 2, "b"), chunk([3], 3, "c", **END)]


@pytest.mark.parametrize(
    ("chunks", "ids", "text"),
    [
        (CUMULATIVE, [1, 2, 3], "abc"),
        (CUMULATIVE[1:], [1, 2, 3], "abc"),
        (CUMULATIVE[2:], [1, 2, 3], "abc"),
        # The lists of unfinished chunks may be ahead of the count and of the text.
        ([chunk([1, 2, 3], 1, "a"), CUMULATIVE[2]], [1, 2, 3], "abc"),
        ([chunk([], 0, ""), *CUMULATIVE], [1, 2, 3], "abc"),
        (DELTAS, [1, 2, 3], "abc"),
        ([chunk([], 0, ""), *DELTAS], [1, 2, 3], "abc"),
        ([DELTAS[0], chunk([2, 3], 3, "bc", **END)], [1, 2, 3], "abc"),
        ([DELTAS[0], DELTAS[1], chunk([], 2, "", **END)], [1, 2], "ab"),
        # 0.5.9: ids are deltas, the text is not.
        (
            [chunk([1], 1, "a", **OLD), chunk([2], 2, "aa", **OLD), chunk([3], 3, "aab", **OLD)],
            [1, 2, 3],
            "aab",
        ),
        # An abort repeats the last token of a stream of deltas.
        ([DELTAS[0], DELTAS[1], chunk([2], 2, "", **ABORT)], [1, 2], "ab"),
        # The same token again is no repetition where nothing ends, even if the count is behind.
        ([chunk([1, 1], 1, "aa"), chunk([1], 2, "a"), chunk([], 3, "", **END)], [1] * 3, "aaa"),
        # Without a tokenizer there is no text.
        ([chunk([1], 1), chunk([2], 2, **END)], [1, 2], None),
    ],
)
def test_what_chunks_add_up_to(chunks: list[OpenedItem], ids: list[int], text: str | None) -> None:
    parts, _ = gathered(*chunks)
    assert (parts.output_ids, parts.text) == (ids, text)
    assert parts.last is chunks[-1]


@pytest.mark.parametrize(
    "chunks",
    [
        # Deltas of log-probabilities, with their count.
        [
            chunk([1], 1, logprobs=[1], output_token_logprobs_length=1),
            chunk([2], 2, logprobs=[2], output_token_logprobs_length=2),
            chunk([3], 3, logprobs=[3], output_token_logprobs_length=3, **END),
        ],
        # Without it.
        [chunk([1], 1, logprobs=[1]), chunk([2], 2, logprobs=[2]), chunk([3], 3, logprobs=[3])],
        # All of them each time, beside deltas of ids.
        [
            chunk([1], 1, logprobs=[1]),
            chunk([2], 2, logprobs=[1, 2]),
            chunk([3], 3, logprobs=[1, 2, 3]),
        ],
        # Repeated with the last token of an abort, or not.
        [
            chunk([1, 2], 2, logprobs=[1, 2]),
            chunk([3], 3, logprobs=[3], output_token_logprobs_length=3),
            chunk([3], 3, logprobs=[3], output_token_logprobs_length=3, **ABORT),
        ],
        [
            chunk([1, 2], 2, logprobs=[1, 2]),
            chunk([3], 3, logprobs=[3], output_token_logprobs_length=3),
            chunk([3], 3, logprobs=[], output_token_logprobs_length=3, **ABORT),
        ],
        # Only some chunks have any.
        [chunk([1, 2], 2, logprobs=[1, 2]), chunk([], 2), chunk([3], 3, logprobs=[3], **END)],
    ],
)
def test_log_probabilities_add_up_as_ids_do(chunks: list[OpenedItem]) -> None:
    parts, _ = gathered(*chunks)
    assert parts.output_ids == [1, 2, 3]
    assert parts.triples is not None
    assert [token for _, token, _ in parts.triples] == [1, 2, 3]


def test_finished_is_what_the_last_chunk_says() -> None:
    assert gathered(*DELTAS[:2])[1] is False
    assert gathered(*DELTAS)[1] is True


def test_a_lost_delta_shows_in_the_count() -> None:
    parts, _ = gathered(DELTAS[0], DELTAS[2])
    assert len(parts.output_ids) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"output_ids": [1]}, "no_meta_info"),
        ({"meta_info": {"completion_tokens": 1}}, "no_output_ids"),
        ({"output_ids": [1], "meta_info": {}}, "completion_tokens"),
        ({"output_ids": [1], "meta_info": {"completion_tokens": "1"}}, "completion_tokens"),
        ({"output_ids": "1", "meta_info": {"completion_tokens": 2}}, "bad_output_ids"),
    ],
)
def test_what_is_no_chunk(answer: dict[str, Any], reason: str) -> None:
    (item,) = open_answer(msgspec.json.encode(answer)).items
    assert isinstance(item, OpenedItem)
    with pytest.raises(Uncached) as caught:
        GatheredItem().take(item)
    assert caught.value.reason == reason


def test_nothing_gathered_is_unfinished() -> None:
    with pytest.raises(Uncached) as caught:
        GatheredItem().parts()
    assert caught.value.reason == "unfinished"


@given(st.lists(st.integers(), max_size=5), st.sampled_from(["", " ", "\n  "]))
def test_numbers_are_counted_without_being_read(numbers: list[int], space: str) -> None:
    data = "[" + space + f"{space},{space}".join(map(str, numbers)) + space + "]"
    (raw,) = ELEMENTS.decode(f"[{data}]")
    assert count_numbers(raw) == len(numbers)


@given(st.lists(st.integers(0, 3), max_size=6), st.integers(0, 6), st.integers(0, 2))
def test_a_repeated_end_is_taken_once(whole: list[int], cut: int, repeated: int) -> None:
    have, new = whole[:cut], whole[max(0, cut - repeated) :]
    assert extended(list(have), new, len(whole), is_last=True) == whole


def held(*chunks: OpenedItem) -> int:
    item = GatheredItem()
    for one in chunks:
        item.take(one)
    return item.size_bytes


def test_what_is_held_grows_with_what_is_said_and_not_with_how_often() -> None:
    long = [chunk(list(range(size)), size, "a" * size) for size in range(1, 200)]
    assert held(*long) == held(long[-1]) < 2_000
    deltas = [chunk([size], size, "text", [size]) for size in range(1, 200)]
    assert 199 * len("[100]text[[-0.5,100,null]]") < held(*deltas) + 500 < 199 * 100
    assert held(long[-1], chunk([7], 200, "b")) > held(long[-1])
    assert held(*deltas, long[-1]) == held(long[-1])


def test_of_texts_that_hold_everything_one_is_held() -> None:
    texts = [chunk([size], size, "t" * 50 * size, **OLD) for size in range(2, 100)]
    assert held(*texts) < 3 * 50 * 100
