"""The command that shows a router at work, with simulated workers and requests."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from miles_router import demo as demonstration
from miles_router.demo.settings import DemoSettings

_DEFAULTS = DemoSettings()


def demo(
    *, settings: Annotated[DemoSettings, Parameter(name="*", negative_iterable=())] = _DEFAULTS
) -> int:
    """Run a router with simulated workers under load."""
    return demonstration.main(settings)
