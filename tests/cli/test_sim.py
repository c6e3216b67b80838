"""`sim` fills `SimSettings` from flags."""

from __future__ import annotations

import pytest

from miles_router.cli import main
from miles_router.sim.settings import SimSettings


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[SimSettings]:
    seen: list[SimSettings] = []

    def run(settings: SimSettings) -> int:
        seen.append(settings)
        return 5

    monkeypatch.setattr("miles_router.sim.main", run, raising=False)
    return seen


def test_sim_hands_its_settings_on_and_returns_the_exit_code(
    simulated: list[SimSettings],
) -> None:
    assert main(["sim", "--seed", "3", "--tokens-per-s", "50", "--no-routed-experts"]) == 5
    assert simulated == [SimSettings(seed=3, tokens_per_s=50.0, routed_experts=False)]


def test_variables_of_the_router_do_not_reach_it(
    simulated: list[SimSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILES_ROUTER_PORT", "30001")
    assert main(["sim"]) == 5
    assert simulated == [SimSettings()]


def test_a_value_it_refuses_is_wrong_usage(
    simulated: list[SimSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", "--port", "99999"]) == 2
    assert "port is 99999 but must be from 0 to 65535" in capsys.readouterr().err
    assert simulated == []
