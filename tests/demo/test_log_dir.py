"""Where the logs of a demonstration may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from miles_router.cli import main
from miles_router.demo import real
from miles_router.demo.log_dir import make_log_dir

# Nobody can write to these, whoever runs the tests.
UNUSABLE = ["/proc/foo", "/proc", "/dev/null", "/dev/null/logs"]


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_log_dir(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    make_log_dir(tmp_path / "a" / "b")
    make_log_dir(None)


@pytest.mark.parametrize("path", UNUSABLE)
def test_a_place_without_room_is_wrong_usage_before_anything_starts(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--keep-logs", path]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"miles-router: --keep-logs {path}: no file can be written there: ")


def test_the_demonstration_with_a_model_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        real.main(Path("worker.py"), ["--keep-logs", "/proc/foo"])
    assert caught.value.code == 2
    assert "--keep-logs /proc/foo: no file can be written there" in capsys.readouterr().err
