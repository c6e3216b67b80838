"""A script: it ends the process that imports it."""

from __future__ import annotations

import sys

sys.exit("usage: exiting_module FILE")
