"""`demo` fills `DemoSettings` from flags."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from miles_router.cli import main

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class DemoSettings:
    """Stands in for the settings of the demonstration, whatever they are."""

    number: int = 2


def test_demo_hands_its_settings_on_and_returns_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[DemoSettings] = []

    def run(settings: DemoSettings) -> int:
        seen.append(settings)
        return 6

    module = ModuleType("miles_router.demo.settings")
    module.DemoSettings = DemoSettings  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "miles_router.demo.settings", module)
    monkeypatch.delitem(sys.modules, "miles_router.cli.demo", raising=False)
    monkeypatch.setattr("miles_router.demo.main", run, raising=False)
    try:
        assert main(["demo", "--number", "4"]) == 6
    finally:  # it holds the stand-in
        sys.modules.pop("miles_router.cli.demo", None)
    assert seen == [DemoSettings(4)]
