"""Makes the picture in README: runs the demo and draws what a terminal shows of it.

python examples/demo_picture.py [examples/demo.svg]
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 126


def run_demo() -> str:
    """What `miles-router demo` prints, with colours."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "CI": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "miles_router", "demo"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def main() -> None:
    """Write the picture to the path on the command line."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("demo.svg"))
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ miles-router demo", style="bold"))
    console.print(Text.from_ansi(run_demo().rstrip()))
    console.save_svg(str(target), title="miles-router demo")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
