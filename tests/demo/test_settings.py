from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from miles_router.cli import main
from miles_router.demo.run import scenario_of
from miles_router.demo.settings import DemoSettings
from miles_router.sim.settings import SimSettings


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": 0}, "prompts is 0 but must be at least 1"),
        ({"samples": 0}, "samples is 0"),
        ({"turns": 0}, "turns is 0"),
        ({"workers": 1}, "workers is 1 but must be at least 2"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"max_new_tokens": 1}, "max_new_tokens is 1 but must be at least 2"),
        ({"tokens_per_s": 0}, "tokens_per_s is 0 but must be above 0"),
        ({"time_limit_s": -1}, "time_limit_s is -1"),
    ],
)
def test_values_that_show_nothing_are_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DemoSettings(**change)  # type: ignore[arg-type]  # the table mixes fields of several types


def test_a_refused_value_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--workers", "1"]) == 2
    assert "at least 2" in capsys.readouterr().err


def test_every_setting_shapes_the_demonstration() -> None:
    changed = {
        "prompts": 3,
        "samples": 5,
        "turns": 7,
        "workers": 4,
        "concurrency": 6,
        "max_new_tokens": 20,
        "tokens_per_s": 10.0,
        "seed": 8,
        "time_limit_s": 9.0,
    }
    # Where files go is not part of what is played, nor is a show without an end.
    elsewhere = {"keep_logs", "tui"}
    assert changed.keys() | elsewhere == {field.name for field in fields(DemoSettings)}
    settings = DemoSettings(**changed, keep_logs=Path("x"))  # type: ignore[arg-type]  # as above
    scenario = scenario_of(settings, SimSettings(tokens_per_s=10))
    shape = scenario.shape
    assert (shape.prompts, shape.samples, shape.turns, shape.seed) == (3, 5, 7, 8)
    assert (shape.max_new_tokens, shape.min_new_tokens) == (20, 10)
    assert (scenario.workers, scenario.concurrency, scenario.time_limit_s) == (4, 6, 9.0)
    assert scenario.interrupt_after_s == 0.5
    command = scenario.worker_command(1234)
    assert command[-4:] == ["--tokens-per-s", "10", "--port", "1234"]


def test_logs_are_not_kept_of_what_has_no_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_logs"):
        DemoSettings(tui=True, keep_logs=tmp_path)
