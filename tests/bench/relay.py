"""What the relay costs, carries and adds: `python -m tests.bench.relay [--only PART ...]`.

Router, workers and load are processes of their own. The router is `miles-router serve` as a user
starts it, with metrics, a key that is required and sent, and JSON logs in a file. Medians over the
rounds, and from where to where they went. Nothing here fails a build: machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import miles_router
from tests.bench import relay_carries, relay_growth, relay_in_flight, relay_open_loop, relay_tokens
from tests.bench.measuring import show

if TYPE_CHECKING:
    from collections.abc import Callable

    Part = Callable[[Path, int, float], dict[str, Any]]

PARTS: dict[str, Part] = {
    "in-flight": relay_in_flight.measure,
    "open-loop": relay_open_loop.measure,
    "growth": relay_growth.measure,
    "tokens": relay_tokens.measure,
    "carries": relay_carries.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--json", type=Path, help="file for the figures of all rounds")
    chosen = parser.parse_args()
    # Thousands of connections, each a descriptor here, two in the router and one at a worker.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen.only:
            found[name] = PARTS[name](Path(scratch), chosen.rounds, chosen.seconds)
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    show(f"miles-router {miles_router.__version__}", machine)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
