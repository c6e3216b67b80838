"""Saves a picture of the screen where the user is."""

from __future__ import annotations

from pathlib import Path


def save_picture(svg: str, folder: Path | None = None) -> Path:
    """Write `svg` into `folder` (None: the current one) under a name that is free; its path.

    Raises:
        OSError: it cannot be written there.
    """
    where = Path.cwd() if folder is None else folder
    number = 1
    while True:
        path = where / f"miles-router-{number}.svg"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(svg)
        except FileExistsError:
            number += 1
        else:
            return path
