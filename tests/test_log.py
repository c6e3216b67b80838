"""Log lines: what is shown of hostile text, and that no line fails what it tells of."""

from __future__ import annotations

import errno
import io
import json
import sys
from typing import Any

import pytest

from miles_router.log import make_log

Capsys = pytest.CaptureFixture[str]

# An escape sequence, its C1 twin, a right-to-left override, a deletion, a line of its own.
HOSTILE = "/a\x1b[2J\x9b2J\u202eb\x7f\ud800"


@pytest.mark.parametrize("text", [HOSTILE, f"{HOSTILE} with spaces", f"{HOSTILE}\nsecond=line"])
def test_no_untrusted_text_steers_a_terminal(capsys: Capsys, text: str) -> None:
    log = make_log("console", "info")
    log.warning("answer_cut", path=text, parts=[text], message=text)
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.removesuffix("\n").isprintable()
    assert "\\x9b2J" in written


def test_a_traceback_keeps_its_lines_and_nothing_else(capsys: Capsys) -> None:
    log = make_log("console", "info")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("request_failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 4
    assert "Traceback (most recent call last)" in lines[1]
    assert "ValueError" in lines[-1]
    assert all(line.isprintable() for line in lines)


def test_json_lines_carry_the_text_as_it_is(capsys: Capsys) -> None:
    make_log("json", "info").warning("answer_cut", path=HOSTILE)
    assert json.loads(capsys.readouterr().err)["path"] == HOSTILE


class Breaks(io.StringIO):
    """A stream that fails as soon as it is told how."""

    in_write: Exception | None = None
    in_flush: Exception | None = None

    def write(self, text: str) -> int:
        if self.in_write is not None:
            raise self.in_write
        return super().write(text)

    def flush(self) -> None:
        if self.in_flush is not None:
            raise self.in_flush


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_line_that_cannot_be_written_is_lost_alone(
    log_format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Breaks()
    monkeypatch.setattr(sys, "stderr", stream)
    log = make_log(log_format, "info")
    stream.in_flush = BrokenPipeError(errno.EPIPE, "nobody reads")
    log.info("one")
    stream.in_write = OSError(errno.ENOSPC, "no space left on device")
    log.warning("two", path="/x")
    stream.in_write = stream.in_flush = None
    log.info("three")
    shown = stream.getvalue()
    assert ("three" in shown, "two" in shown) == (True, False)
    stream.close()
    log.info("four")  # nothing is raised


def test_a_process_without_stderr_logs_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    for log in (make_log("console", "info"), make_log("json", "info")):
        assert log.info("one") is None
