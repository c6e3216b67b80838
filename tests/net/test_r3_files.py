"""Routed experts on disk."""

from __future__ import annotations

import errno
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from miles_router.core.r3 import R3Block, R3Piece, splice
from miles_router.net.r3_files import R3FileError, R3Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> R3Files:
    return R3Files(tmp_path / "blocks")


def names(files: R3Files) -> set[str]:
    return {path.name for path in files.directory.iterdir()}


@pytest.mark.parametrize("size_bytes", [0, 1, 3_000_000])
def test_what_was_saved_is_loaded(files: R3Files, size_bytes: int) -> None:
    data = bytes(range(256)) * (size_bytes // 256) + bytes(size_bytes % 256)
    for given in (data, memoryview(data)):
        payload = files.save(given)
        assert (payload.size_bytes, payload.load()) == (size_bytes, data)
        assert names(files) >= {payload.name}


def test_blocks_of_files_make_a_trajectory(files: R3Files) -> None:
    whole = np.arange(28, dtype=np.uint8).reshape(14, 2)
    first = R3Block(0, 9, 2, "|u1", files.save(whole[:9].reshape(-1).data))
    second = R3Block(9, 5, 2, "|u1", files.save(whole[9:].tobytes()))
    rows = splice([R3Piece(first, 0, 10), R3Piece(second, 10, 15)], num_tokens=15)
    assert rows is not None
    assert rows.tolist() == whole.tolist()


def test_only_the_owner_may_read(files: R3Files) -> None:
    payload = files.save(b"abc")
    assert stat.S_IMODE(payload.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700


def test_a_discarded_file_is_gone(files: R3Files) -> None:
    payload, other = files.save(b"abc"), files.save(b"def")
    payload.discard()
    payload.discard()  # twice is as good as once
    assert names(files) == {other.name}
    with pytest.raises(R3FileError) as caught:
        payload.load()
    assert caught.value.errno == errno.ENOENT
    assert payload.name in str(caught.value)


@pytest.mark.parametrize("changed", [b"", b"abcdef", b"abcdefgh"])
def test_a_file_of_another_length_is_not_loaded(files: R3Files, changed: bytes) -> None:
    payload = files.save(b"abcdefg")
    payload.path.write_bytes(changed)
    with pytest.raises(R3FileError, match=f"{len(changed)} bytes, not 7") as caught:
        payload.load()
    assert caught.value.errno is None


def test_a_file_that_cannot_be_deleted(files: R3Files) -> None:
    payload = files.save(b"abc")
    payload.path.unlink()
    payload.path.mkdir()
    with pytest.raises(R3FileError, match="cannot delete"):
        payload.discard()


@contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    """The system refuses to write more, as on a full disk: a part is written, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_leaves_nothing_behind(files: R3Files) -> None:
    files.prepare()
    with no_file_larger_than(4_096), pytest.raises(R3FileError, match="cannot write") as caught:
        files.save(bytes(10_000))
    assert caught.value.errno == errno.EFBIG
    assert names(files) == set()
    assert files.save(bytes(10_000)).load() == bytes(10_000)


def test_preparing_makes_the_directory_and_nothing_in_it(files: R3Files) -> None:
    files.prepare()
    files.prepare()
    assert names(files) == set()


def test_a_directory_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        broken = R3Files(directory)
        with pytest.raises(R3FileError):
            broken.prepare()
        with pytest.raises(R3FileError):
            broken.save(b"abc")
        with pytest.raises(R3FileError):
            broken.remove_strangers(set())


def test_a_directory_that_vanished_is_made_again(files: R3Files) -> None:
    files.save(b"abc").discard()
    files.directory.rmdir()
    assert files.save(b"def").load() == b"def"


def test_a_saved_file_is_adopted_after_a_restart(files: R3Files) -> None:
    name = files.save(b"abc").name
    adopted = R3Files(files.directory).adopt(name)
    assert adopted is not None
    assert (adopted.name, adopted.size_bytes, adopted.load()) == (name, 3, b"abc")


def test_only_a_saved_file_is_adopted(files: R3Files, tmp_path: Path) -> None:
    secret = tmp_path / ("0" * 32 + ".r3")
    secret.write_bytes(b"secret")
    payload = files.save(b"abc")
    linked = files.directory / ("1" * 32 + ".r3")
    linked.symlink_to(secret)
    (files.directory / ("2" * 32 + ".r3")).mkdir()
    (files.directory / ("3" * 32 + ".r3.part")).write_bytes(b"half")
    refused = [
        "",
        ".",
        "..",
        "f" * 32 + ".r3",  # not there
        f"../{secret.name}",
        str(secret),
        linked.name,
        "2" * 32 + ".r3",
        "3" * 32 + ".r3.part",
        payload.name + "\n",
        payload.name + "\0",
        payload.name.upper(),
        payload.name.removesuffix(".r3"),
    ]
    assert [name for name in refused if files.adopt(name) is not None] == []
    payload.discard()
    assert files.adopt(payload.name) is None


def test_strangers_are_deleted_and_nothing_else(files: R3Files) -> None:
    kept, stranger, other = (files.save(b"abc") for _ in range(3))
    half = files.directory / ("0" * 32 + ".r3.part")
    half.write_bytes(b"ab")
    foreign = {"notes.txt", "model.r3", "0" * 31 + ".r3", "0" * 32 + ".r3.bak", "x" * 32 + ".r3"}
    for name in foreign:
        (files.directory / name).write_bytes(b"")
    assert files.remove_strangers({kept.name, "not there"}) == 3
    assert names(files) == {kept.name} | foreign
    assert kept.load() == b"abc"
    assert files.adopt(stranger.name) is None
    assert files.adopt(other.name) is None
    assert files.remove_strangers({kept.name}) == 0


def test_there_are_no_strangers_without_a_directory(files: R3Files) -> None:
    assert files.remove_strangers(set()) == 0
    assert not files.directory.exists()


def test_one_stranger_that_stays_does_not_save_the_others(files: R3Files) -> None:
    (files.directory / ("0" * 32 + ".r3")).mkdir(parents=True)
    (files.directory / ("f" * 32 + ".r3")).mkdir()
    stranger = files.save(b"abc")
    with pytest.raises(R3FileError, match="cannot delete"):
        files.remove_strangers(set())
    assert files.adopt(stranger.name) is None


def test_threads_do_not_disturb_each_other(files: R3Files) -> None:
    with ThreadPoolExecutor(8) as pool:
        payloads = list(pool.map(lambda n: files.save(bytes([n]) * 1_000), range(64)))
    assert len({payload.name for payload in payloads}) == 64
    for number, payload in enumerate(payloads):
        assert payload.load() == bytes([number]) * 1_000
