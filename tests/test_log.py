"""Log lines: what is shown of hostile text, and that no line fails what it tells of."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from typing import Any

import pytest

from miles_router.core.log_ring import LogLine, LogRing
from miles_router.log import KEPT_CHARACTERS, make_log

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


# -- the ring -------------------------------------------------------------------------------------


def kept(log_format: Any, level: str = "info") -> tuple[Any, LogRing]:
    ring = LogRing()
    return make_log(log_format, level, ring=ring), ring


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_the_ring_has_the_lines_as_people_read_them(log_format: Any, capsys: Capsys) -> None:
    log, ring = kept(log_format)
    log.info(
        "listening", url="http://127.0.0.1:1", tries=2, worker=None, note="two words", empty=""
    )
    log.debug("request", request_id="x")
    log.warning("shutting_down_now")
    first, second = ring.since(0)
    text = "listening url=http://127.0.0.1:1 tries=2 worker=None note='two words' empty=''"
    assert (first.seq, first.level, first.text) == (1, "info", text)
    assert (second.seq, second.level, second.text) == (2, "warning", "shutting_down_now")
    assert 1.7e9 < first.time_s <= second.time_s < 1e10  # Unix time
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_the_line_on_stderr_is_the_same_with_a_ring(log_format: Any, capsys: Capsys) -> None:
    def written(log: Any) -> str:
        log.info("listening", url="http://127.0.0.1:1", parts=["a"], path=HOSTILE)
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("request_failed", request_id="x")
        shown = capsys.readouterr().err
        assert "listening" in shown
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", shown)

    assert written(kept(log_format)[0]) == written(make_log(log_format, "info"))


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("text", [HOSTILE, f"{HOSTILE} with spaces", f"{HOSTILE}\nsecond=line"])
def test_no_untrusted_text_in_the_ring_steers_a_terminal(log_format: Any, text: str) -> None:
    log, ring = kept(log_format)
    log.warning(text, path=text, parts=[text], by=text.encode(errors="replace"))
    [line] = ring.since(0)
    assert line.text.isprintable()
    assert "\\x9b2J" in line.text


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_follows_its_line_in_the_ring(log_format: Any) -> None:
    log, ring = kept(log_format)
    try:
        secret = "sesame"
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("request_failed", request_id="x")
    [line] = ring.since(0)
    lines = line.text.splitlines()
    assert lines[0] == "request_failed request_id=x"
    assert "Traceback (most recent call last):" in lines
    assert lines[-1].startswith("ValueError: /a\\x1b[2J")
    assert all(one.isprintable() for one in lines)
    assert (line.level, secret in line.text) == ("error", False)


def test_a_long_line_keeps_its_beginning_and_its_end() -> None:
    log, ring = kept("console")
    log.error("failed", why="a" * 10_000 + "b" * 10_000)
    [line] = ring.since(0)
    assert len(line.text) < KEPT_CHARACTERS + 20
    assert (line.text[:15], line.text[-1]) == ("failed why=aaaa", "b")


def test_a_line_that_stderr_does_not_take_is_in_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    log, ring = kept("console")
    log.info("one")
    assert [LogLine(1, line.time_s, "info", "one") for line in ring.since(0)] == ring.since(0)
