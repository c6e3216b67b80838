"""Where output leads while a screen is up, and the log file it leads to."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from miles_router.errors import ConfigFault
from miles_router.tui import descriptors
from miles_router.tui.descriptors import LogStream, default_log_path, open_default_log, open_log

ROOT = Path(__file__).parents[2]
# Diverts its output twice and back, and says each time where it is.
SCRIPT = """
import os, sys
from miles_router.tui.descriptors import Descriptors, open_log
from pathlib import Path
one = Descriptors(open_log(Path(sys.argv[1])))
print("before", os.read(0, 3))
one.divert()
one.divert()
print("up", os.read(0, 3))
os.write(1, b"written 1\\n")
os.write(2, b"written 2\\n")
one.restore()
one.restore()
print("after", os.read(0, 3))
"""


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/miles-router/tui-1.log"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/miles-router/tui-1.log"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/miles-router/tui-1.log"),
        ({"HOME": "/h"}, "/h/.local/state/miles-router/tui-1.log"),
    ],
)
def test_the_default_log_is_in_the_directory_for_state(environ: dict[str, str], path: str) -> None:
    assert default_log_path("tui-1", environ) == Path(path)


def test_a_new_log_is_private_and_an_old_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "log"
    for line in (b"one\n", b"two\n"):
        descriptor = open_log(path)
        os.write(descriptor, line)
        os.close(descriptor)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_log_that_has_grown_large_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "LARGEST_BYTES", 10)
    path = tmp_path / "log"
    path.write_bytes(b"x" * 11)
    os.close(open_log(path))
    assert path.read_bytes() == b""
    assert (tmp_path / "log.1").read_bytes() == b"x" * 11


def test_a_default_log_that_another_writes_to_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "LARGEST_BYTES", 10)
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    opened = [open_default_log("tui-0", environ) for _ in range(3)]
    places = [path.relative_to(tmp_path / "miles-router") for _, path in opened]
    assert list(map(str, places)) == ["tui-0.log", "tui-0-2.log", "tui-0-3.log"]
    os.write(opened[1][0], b"x" * 11)
    os.close(opened[1][0])
    again, path = open_default_log("tui-0", environ)
    assert path == opened[1][1], "its run has ended"
    assert path.read_bytes() == b""
    assert path.with_name("tui-0-2.log.1").read_bytes() == b"x" * 11
    late, path = open_default_log("tui-0", environ)
    assert path.name == "tui-0-4.log", "the new file is taken as well"
    for descriptor in (opened[0][0], opened[2][0], again, late):
        os.close(descriptor)


def test_a_log_that_cannot_be_written_is_told_with_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigFault, match="--log-file"):
        open_log(tmp_path / "file" / "log")
    with pytest.raises(ConfigFault, match="directory"):
        open_log(tmp_path)


def test_output_is_led_away_and_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=ROOT,
        input=b"onetwo",
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"before b'one'\nafter b'two'\n"
    assert done.stderr == b""
    assert sorted(path.read_bytes().splitlines()) == [b"up b''", b"written 1", b"written 2"]


def test_a_log_stream_never_waits_for_a_reader() -> None:
    reader, writer = os.pipe()
    before = os.dup(2)
    os.dup2(writer, 2)
    try:
        stream = LogStream()
        assert not stream.isatty()
        for _ in range(100):  # a pipe holds 64 KiB
            assert stream.write("x" * 4_000) == 4_000
        assert select.select([reader], [], [], 0)[0] == [reader]
    finally:
        os.dup2(before, 2)
        for descriptor in (reader, writer, before):
            os.close(descriptor)
