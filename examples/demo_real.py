"""Roll out with a real model: `python examples/demo_real.py`.

Two workers run SmolLM2 on the CPU (`transformers_worker.py` beside this file) behind a router; the
rollout, its incidents and the checks are those of `miles_router.demo.real`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from miles_router.demo.real import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).with_name("transformers_worker.py")))
