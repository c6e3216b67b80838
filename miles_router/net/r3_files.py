"""Routed experts on disk: one file for each block.

A file has its final name only once it is whole: it is written under another and renamed, so a
router that is killed leaves no half of one behind. It is not synced: what was written outlives the
process, and nobody trains on after the machine itself was lost. All functions are synchronous and
do file I/O; callers use threads, and several may be here at once. This file must not know what is
in the bytes.
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

SUFFIX = ".r3"
PART_SUFFIX = ".r3.part"
# Names come back from a journal: nothing else is opened, and nothing else is ever deleted.
_OUR_NAME = re.compile(rf"[0-9a-f]{{32}}({re.escape(SUFFIX)}|{re.escape(PART_SUFFIX)})")
# Which experts a prompt met says something about the prompt.
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700


class R3FileError(Exception):
    """A file could not be written, read or deleted.

    Args:
        message: for people, with the path.
        errno: the system's number (`errno.ENOSPC`: the disk is full); None: the file was changed.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


def _failed(what: str, path: Path, error: OSError) -> R3FileError:
    return R3FileError(f"cannot {what} {path}: {error.strerror or error}", error.errno)


@dataclass(frozen=True, slots=True)
class FilePayload:
    """The bytes of one block in a file."""

    path: Path
    size_bytes: int

    @property
    def name(self) -> str:
        """What `R3Files.adopt` finds it by."""
        return self.path.name

    def load(self) -> bytes:
        """The bytes.

        Raises:
            R3FileError: the file is missing, cannot be read or is not as long as it was.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise _failed("read", self.path, error) from error
        if len(data) != self.size_bytes:
            raise R3FileError(f"{self.path} has {len(data)} bytes, not {self.size_bytes}")
        return data

    def discard(self) -> None:
        """Delete the file; one that is gone already is as good.

        Raises:
            R3FileError: the system refuses; `R3Files.remove_strangers` tries again.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("delete", self.path, error) from error


class R3Files:
    """The blocks of one router, in a directory of their own; made where it is missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock_fd: int | None = None

    def claim(self, owner: str) -> None:
        """Take the directory for this process, and for what names its files.

        Another router, or one with another journal, would take the files for strangers.

        Args:
            owner: the journal that names the files, "" for none; remembered in the directory.

        Raises:
            R3FileError: a living router has it; its files are of another owner; no access.
        """
        try:
            self.directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            self._lock_fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, _FILE_MODE)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_owner(owner)
        except BlockingIOError:
            self.close()
            hint = "stop that one, or give each router a directory of its own"
            raise R3FileError(f"{self.directory} is in use by another router; {hint}") from None
        except OSError as error:
            self.close()
            raise _failed("use", self.directory, error) from error
        except R3FileError:
            self.close()
            raise

    def _check_owner(self, owner: str) -> None:
        path = self.directory / "owner"
        known = path.read_text(encoding="utf-8") if path.exists() else owner
        has_files = any(_OUR_NAME.fullmatch(name) for name in os.listdir(self.directory))
        if known != owner and has_files:
            of_whom = f"of the journal {known}" if known else "of a router without a journal"
            hint = "give another directory, or delete its files"
            raise R3FileError(f"{self.directory} holds routed experts {of_whom}; {hint}")
        path.write_text(owner, encoding="utf-8")

    def close(self) -> None:
        """Let go of the directory; may be repeated."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def prepare(self) -> None:
        """Make the directory, to learn early that it cannot be had.

        Raises:
            R3FileError: it cannot be made, or files cannot be written into it.
        """
        self.save(b"").discard()

    def save(self, data: bytes | memoryview) -> FilePayload:
        """Write a new file; `data` is not copied.

        Raises:
            R3FileError: disk full or the like; nothing is left behind.
        """
        stem = uuid.uuid4().hex
        path = self.directory / (stem + SUFFIX)
        part = self.directory / (stem + PART_SUFFIX)
        try:
            self.directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            _write_new(part, memoryview(data))
            part.rename(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise _failed("write", path, error) from error
        return FilePayload(path, len(data))

    def adopt(self, name: str) -> FilePayload | None:
        """The file that an earlier run of the router saved under `name`; None if there is none.

        Raises:
            R3FileError: the system does not say.
        """
        if not _OUR_NAME.fullmatch(name) or not name.endswith(SUFFIX):
            return None
        path = self.directory / name
        try:
            if path.is_symlink() or not path.is_file():
                return None
            return FilePayload(path, path.stat().st_size)
        except OSError as error:
            raise _failed("find", path, error) from error

    def remove_strangers(self, keep: AbstractSet[str]) -> int:
        """Delete files of earlier runs that are not in `keep`, and halves of some.

        For the start, before anything is saved: a file being written is a stranger too. Files that
        no router named stay.

        Returns:
            How many were deleted.

        Raises:
            R3FileError: the directory cannot be read, or a file not deleted; the others are.
        """
        try:
            paths = [path for path in self.directory.iterdir() if _OUR_NAME.fullmatch(path.name)]
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _failed("read", self.directory, error) from error
        strangers = [path for path in paths if path.name not in keep]
        failure: R3FileError | None = None
        for path in strangers:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                failure = _failed("delete", path, error)
        if failure is not None:
            raise failure
        return len(strangers)


def _write_new(path: Path, data: memoryview) -> None:
    """Write all of it: the system may take less at once than it is given (2 GiB; a full disk)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
