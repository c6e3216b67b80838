"""How wide the rows of a model are."""

from __future__ import annotations

import numpy as np
import pytest

from miles_router.core.r3 import ExpertShape, InvalidR3


def test_the_width_of_a_known_model_is_known_from_the_start() -> None:
    assert ExpertShape((60, 8)).width == 480


def test_the_width_of_another_model_is_learnt_once() -> None:
    shape = ExpertShape()
    assert shape.width is None
    shape.learn(4)
    shape.learn(4)
    assert shape.width == 4


@pytest.mark.parametrize("shape", [ExpertShape((2, 2)), ExpertShape((1, 4))])
def test_a_contradiction_is_invalid_data_and_teaches_nothing(shape: ExpertShape) -> None:
    with pytest.raises(InvalidR3) as caught:
        shape.learn(6)
    assert caught.value.reason == "width_changed"
    assert shape.width == 4


def test_what_is_known_can_be_said() -> None:
    learning = ExpertShape()
    assert str(learning) == "rows whose width is not known yet"
    learning.learn(6)
    assert str(learning) == "rows of 6 numbers, as in the first answer that had any"
    said = "rows of 480 numbers, 60 layers x 8 experts by config.json"
    assert str(ExpertShape((60, 8))) == said


@pytest.mark.parametrize("layers_and_top_k", [(0, 2), (2, 0), (-2, -2)])
def test_a_model_has_layers_and_experts(layers_and_top_k: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="layers and experts"):
        ExpertShape(layers_and_top_k)


def test_rows_are_unfolded_where_layers_are_known() -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    unfolded = ExpertShape((2, 2)).unfold(rows)
    assert unfolded.tolist()[1] == [[4, 5], [6, 7]]
    assert np.shares_memory(unfolded, rows)
    assert ExpertShape((2, 2)).unfold(rows[:0]).shape == (0, 2, 2)
    shape = ExpertShape()
    shape.learn(4)
    assert shape.unfold(rows) is rows
