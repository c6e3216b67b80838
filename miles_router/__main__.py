"""`python -m miles_router` is `miles-router`."""

from __future__ import annotations

import sys

from miles_router.cli import main

sys.exit(main())
