"""The directory that `--keep-logs` names: made, and shown to be one, before anything is started."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from miles_router.errors import ConfigFault

if TYPE_CHECKING:
    from pathlib import Path


def make_log_dir(path: Path | None) -> None:
    """Make the directory if one is named; an existing one is kept as it is.

    Raises:
        ConfigFault: no file can be written there.
    """
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigFault(
            f"--keep-logs {path}: no file can be written there: {reason}", key="keep_logs"
        ) from None
