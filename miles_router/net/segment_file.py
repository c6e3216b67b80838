"""One file of the journal: its name, how it is made, and how bytes get into it.

Which records it holds is known to `segments`. All calls raise OSError as it comes.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"journal-([0-9]{8,})\.log")


class SegmentFile:
    """One file. `live`: offset and size in bytes of its turns that are alive, by number."""

    __slots__ = ("index", "is_damaged", "live", "path", "size_bytes")

    def __init__(self, directory: Path, index: int) -> None:
        self.index = index
        self.path = directory / f"journal-{index:08}.log"
        self.size_bytes = 0
        self.is_damaged = False
        self.live: dict[int, tuple[int, int]] = {}

    def create(self, header: bytes) -> int:
        """Make the file, with its header; a descriptor to append to it. Leaves none that failed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        fd = os.open(self.path, flags, 0o600)
        try:
            write_all(fd, header)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                self.path.unlink()
            raise
        self.size_bytes = len(header)
        return fd


def files_in(directory: Path) -> list[SegmentFile]:
    """The files of the journal there, oldest first; their sizes are not known yet."""
    found = [name for name in map(_NAME.fullmatch, os.listdir(directory)) if name]
    return [SegmentFile(directory, index) for index in sorted(int(name[1]) for name in found)]


def write_all(fd: int, data: bytes) -> None:
    """One write as a rule; more where the kernel takes only a part."""
    left = memoryview(data)
    while left:
        written = os.write(fd, left)
        if written == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = left[written:]
