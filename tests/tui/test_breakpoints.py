from __future__ import annotations

import pytest
from textual.geometry import Size

from miles_router.tui.app import RouterTui
from miles_router.tui.breakpoints import HEIGHTS, WIDTHS, classes_of
from tests.tui.asyncio_tests import tui_test
from tests.tui.fake_source import FakeSource
from tests.tui.views import a_snapshot

ALL = {name for _, name in (*WIDTHS, *HEIGHTS)}


@pytest.mark.parametrize(
    ("size", "classes"),
    [
        ((0, 0), ("-narrow", "-flat")), ((79, 13), ("-narrow", "-flat")),
        ((80, 14), ("-medium", "-low")), ((99, 31), ("-medium", "-low")),
        ((100, 32), ("-wide", "-high")), ((159, 99), ("-wide", "-high")),
        ((160, 50), ("-very-wide", "-high")),
    ],
)  # fmt: skip
def test_classes_by_size(size: tuple[int, int], classes: tuple[str, str]) -> None:
    assert classes_of(Size(*size)) == classes


@tui_test
async def test_the_first_resize_finds_the_classes_that_textual_would_give() -> None:
    app = RouterTui(FakeSource(a_snapshot([])))
    given: list[set[str]] = []
    update = app.main.update_node_styles

    def note(animate: bool = True) -> None:
        given.append(ALL & set(app.main.classes))
        update(animate)

    app.main.update_node_styles = note  # type: ignore[method-assign]  # an ear on this one screen
    async with app.run_test(size=(90, 40)):
        assert ALL & set(app.main.classes) == {"-medium", "-high"}
    assert {frozenset(each) for each in given} == {frozenset({"-medium", "-high"})}
