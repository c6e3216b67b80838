from __future__ import annotations

import httpx
import msgspec
import pytest

from miles_router import __version__
from miles_router.core.log_ring import LogLine
from miles_router.tui.answers import (
    Denied,
    Trouble,
    read_log,
    read_snapshot,
    read_workers,
    trouble_of,
)
from tests.tui import pool_pictures as pictures

URL = "http://router:30000"
PICTURE = pictures.picture(14, troubled=True)


def test_a_snapshot_survives_the_wire() -> None:
    assert read_snapshot(URL, 200, msgspec.json.encode(PICTURE)) == PICTURE


def test_fields_of_newer_routers_are_passed_over_and_those_of_older_ones_not_missed() -> None:
    fields = msgspec.json.decode(msgspec.json.encode(PICTURE))
    fields["mood"] = "sunny"
    fields["workers"][0]["colour"] = "red"
    for missing in ("url", "policy", "log_seq", "focus", "shutdown_grace_s"):
        del fields[missing]
    found = read_snapshot(URL, 200, msgspec.json.encode(fields))
    assert found.workers == PICTURE.workers
    assert (found.url, found.log_seq) == ("", 0)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b"<html>hello", f"what answers at {URL} is not a miles-router"),
        (200, b"", f"what answers at {URL} is not a miles-router"),
        (200, b"\xff\xfe", f"what answers at {URL} is not a miles-router"),
        (200, b"[]", f"what answers at {URL} is not a miles-router"),
        (200, b'{"a": 1}', f"what answers at {URL} is not a miles-router, or speaks another"),
        (
            200,
            b'{"boot_id": "b", "version": "9.1.0", "workers": "many"}',
            f"the router at {URL} speaks another version: it is 9.1.0, this UI {__version__}",
        ),
        (301, b"", f"what answers at {URL} (301) is not a miles-router"),
        (404, b"<html>not found", f"what answers at {URL} (404) is not a miles-router"),
        (503, b'{"error": {"message": "x"}}', f"the router at {URL} answers 503"),
        (502, b"Bad Gateway", f"what answers at {URL} (502) is not a miles-router"),
    ],
)
def test_what_is_no_snapshot(status: int, body: bytes, told: str) -> None:
    for read in (read_snapshot, read_workers, read_log):
        with pytest.raises(Trouble) as caught:
            read(URL, status, body)
        assert str(caught.value).startswith(told)
        assert not isinstance(caught.value, Denied)


@pytest.mark.parametrize("status", [401, 403])
def test_a_caller_without_the_right(status: int) -> None:
    with pytest.raises(Denied, match="--admin-token-file"):
        read_snapshot(URL, status, b'{"error": {"code": "unauthorized", "message": "x"}}')


def test_a_list_of_workers_as_a_snapshot() -> None:
    body = msgspec.json.encode({"workers": PICTURE.workers, "total": 14, "stats": {}})
    found = read_workers(URL, 200, body)
    assert found.workers == PICTURE.workers
    assert found.url == URL
    assert found.newest_weight_version == "128"
    assert found.totals.states == PICTURE.totals.states
    assert found.totals.healthy_workers == PICTURE.totals.healthy_workers
    assert found.totals.inflight == PICTURE.totals.inflight
    assert found.totals.requests == PICTURE.totals.requests
    assert (found.requests, found.boot_id, found.token_cache) == ((), "", None)


def test_a_page_of_the_log() -> None:
    line = LogLine(3, 1.0, "info", "serving")
    body = msgspec.json.encode({"boot_id": "b", "last_seq": 3, "lines": [line]})
    page = read_log(URL, 200, body)
    assert (page.boot_id, page.last_seq, page.lines) == ("b", 3, (line,))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            httpx.ConnectError("All connection attempts failed"),
            f"no router answers at {URL}",
        ),
        (httpx.ConnectError("name unknown"), f"no router answers at {URL} (name unknown)"),
        (httpx.ConnectTimeout(""), f"no connection to {URL} within 5 s"),
        (httpx.ReadTimeout(""), f"the router at {URL} did not answer within 5 s"),
        (TimeoutError(), f"the router at {URL} did not answer within 5 s"),
        (httpx.RemoteProtocolError("x"), f"the connection to {URL} broke (RemoteProtocolError)"),
    ],
)
def test_no_answer_at_all(error: httpx.HTTPError | TimeoutError, told: str) -> None:
    assert str(trouble_of(URL, error, timeout_s=5.0)) == told
