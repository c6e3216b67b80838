from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.tui.filters import Field, Fields, Filter, FilterError, parse


@dataclass(frozen=True)
class Row:
    state: str
    url: str
    err: int | None = 0
    wt: str | None = "128"
    p99_s: float | None = 1.0
    size: int = 0
    share: float = 0.0


FIELDS: Fields[Row] = Fields(
    (
        Field("state", lambda r: r.state, words={"up": frozenset({"active", "suspect"})}),
        Field("url", lambda r: r.url, aliases=("name",)),
        Field("err", lambda r: r.err, "number"),
        Field("wt", lambda r: r.wt),
        Field("p99", lambda r: r.p99_s, "seconds"),
        Field("bytes", lambda r: r.size, "bytes"),
        Field("load", lambda r: r.share, "share"),
    ),
    text=lambda r: f"{r.state} {r.url}",
)
A = Row("active", "http://localhost:30000", err=0, p99_s=0.9, share=0.5)
B = Row("quarantined", "http://10.0.0.2:30001", err=41, wt="127", p99_s=None, size=5 * 2**20)
C = Row("suspect", "http://Host:30002", err=2, wt=None, p99_s=3.0, size=100)
D = Row("drained", "http://[::1]:30003", err=None)
ROWS = {"A": A, "B": B, "C": C, "D": D}


def kept(text: str) -> str:
    """The names of the rows that the filter keeps."""
    where = parse(text, FIELDS)
    names = "".join(name for name, row in ROWS.items() if where.matches(row))
    assert where.keep(ROWS.values()) == [ROWS[name] for name in names]
    return names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "ABCD"),
        ("   ", "ABCD"),
        ("state:active", "A"),
        ("state:quar", "B"),
        ("state:up", "AC"),
        ("state:!=up", "BD"),
        ("-state:up", "BD"),
        ("state:=ACTIVE", "A"),
        ("state:=act", ""),
        ("state:!=active", "BCD"),
        ("STATE:active", "A"),
        ("err:0", "A"),
        ("err:=0", "A"),
        ("err:!=0", "BC"),  # what nobody knows matches no number
        ("err:>0", "BC"),
        ("err:>=2", "BC"),
        ("err:<2", "A"),
        ("err:<=2", "AC"),
        ("-err:>0", "AD"),
        ("wt:!=128", "BC"),
        ("wt:127", "B"),
        ("p99:>800ms", "ACD"),
        ("p99:>2.5s", "C"),
        ("p99:<1m", "ACD"),
        ("bytes:>1MiB", "B"),
        ("bytes:>=100b", "BC"),
        ("load:>20%", "A"),
        ("load:>=.5", "A"),
        ("host", "AC"),
        ("-host", "BD"),
        ('"active http"', "A"),
        ("name:host", "AC"),
        ("http://10.0.0.2:30001", "B"),  # an address is no field
        ("localhost:30000", "A"),
        ("10.0.0.2:30001", "B"),
        ("[::1]:30003", "D"),
        ("state:up err:>0 wt:!=128 host", "C"),
        ("state:up  err:>0\terr:<1k", "C"),
        ("nothing-like-it", ""),
    ],
)
def test_what_a_filter_keeps(text: str, names: str) -> None:
    assert kept(text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sate:up", "there is no field 'sate': state url err wt p99 bytes load"),
        ("err:many", "'err' is a number: err:>10"),
        ("err:", "'err' is a number: err:>10"),
        ("err:>", "'err' is a number: err:>10"),
        ("err:>1s", "'err' is a number: err:>10"),
        ("p99:>3q", "'p99' is a number: p99:>10, units: ms s m h d"),
        ("state:>active", "'state' is a text: state:part, state:=whole, state:!=whole"),
        ("state:", "state: what? write state:value"),
        ('"never closed', 'a quote " is not closed'),
        ("err:>" + "9" * 400, "the number after 'err' is too large"),
    ],
)
def test_what_is_no_filter_says_why(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text, FIELDS)
    assert str(caught.value) == message


def test_an_empty_filter_is_false_and_keeps_what_was_written() -> None:
    assert not parse(" ", FIELDS)
    assert parse(" state:up ", FIELDS)
    assert parse(" state:up ", FIELDS).text == "state:up"
    assert Filter[Row]().matches(A)


@given(st.text(st.sampled_from('stae:up><!="- 019.mksr"%\\\x1b東'), max_size=24))
def test_whatever_is_typed_is_a_filter_or_says_why_not(text: str) -> None:
    where: Filter[Row] | None
    try:
        where = parse(text, FIELDS)
    except FilterError as error:
        where, message = None, str(error)
    else:
        message = "understood"
    assert message
    assert where is None or {where.matches(row) for row in ROWS.values()} <= {True, False}
