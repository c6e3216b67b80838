"""`python -m miles_router.sim --port P`: one simulated worker, without the router's own CLI."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from miles_router.sim.server import main
from miles_router.sim.settings import SimSettings
from miles_router.whole_numbers import refuse_fractions

app = App(
    name="python -m miles_router.sim",
    help="Run one simulated SGLang worker.",
    config=refuse_fractions,
)

_DEFAULTS = SimSettings()


@app.default
def run(settings: Annotated[SimSettings, Parameter(name="*")] = _DEFAULTS) -> int:
    """Run one simulated SGLang worker until SIGINT or SIGTERM."""
    return main(settings)


if __name__ == "__main__":
    sys.exit(app())
