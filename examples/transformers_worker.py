"""Start the transformers worker: `python examples/transformers_worker.py --port 30011`.

The worker itself is the package `hf_worker` beside this file; Python puts this directory on the
import path because the script lives in it.
"""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("hf_worker", run_name="__main__", alter_sys=True)
