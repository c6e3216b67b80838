"""The commands that run simulated workers: one alone, or a whole demonstration."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from miles_router import sim as simulation
from miles_router.sim.settings import SimSettings

_DEFAULTS = SimSettings()


def sim(
    *, settings: Annotated[SimSettings, Parameter(name="*", negative_iterable=())] = _DEFAULTS
) -> int:
    """Run one simulated SGLang worker."""
    return simulation.main(settings)
