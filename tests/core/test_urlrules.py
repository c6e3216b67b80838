"""Spellings of worker URLs: which are one worker, which are refused and by which rule."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miles_router.core.urlrules import parse_worker_url
from miles_router.errors import UrlRefused

SAME = {
    "http://localhost": [
        "http://localhost/",
        "http://localhost:80",
        "http://localhost:",
        "http://localhost:00080",
        "HTTP://LocalHost",
        "  http://localhost\n",
        "http://localhost.",
        "http://localhost.:80/",
    ],
    "https://gpu-1.example": ["https://GPU-1.example:443/", "https://gpu-1.example."],
    "https://gpu-1.example:80": ["https://gpu-1.example:080"],
    "http://my_worker:8000": ["http://MY_WORKER:8000/"],
    "http://xn--bcher-kva.example:8000": [
        "http://bücher.example:8000",
        "http://BÜCHER.example:8000",
        "http://bu\u0308cher.example:8000",
        "http://XN--bcher-kva.example:8000",
        "http://bücher。example:8000",
    ],
    "http://127.0.0.1:8000": [
        "http://127.0.0.1.:8000",
        "http://127.0.0.1。:8000",
        "http://2130706433:8000",
        "http://0x7f000001:8000",
        "http://0x7F.0.0.0x1:8000",
        "http://017700000001:8000",
        "http://0177.0.0.1:8000",
        "http://127.1:8000",
        "http://127.0.1:8000",
        "http://[::ffff:127.0.0.1]:8000",
        "http://[::FFFF:7F00:1]:8000",
        "http://[0:0:0:0:0:ffff:7f00:1]:8000",
        "http://\uff11\uff12\uff17.0.0.1:8000",
    ],
    "http://[::1]:8000": ["http://[0:0:0:0:0:0:0:1]:8000", "http://[0000::0001]:8000/"],
    "http://[fd00::a]": ["http://[FD00::A]:80", "http://[fd00:0::000a]"],
}

REFUSED = {
    "syntax": [
        "",
        "   ",
        "http://a b",
        "http://a\tb",
        "http://a\nb",
        "http://a\x00b",
        "http://a\x7fb",
        "http:\\\\a",
        "http://a\\@b",
        "http://\ud800",
        "http://a:http",
        "http://a:-1",
        "http://a:+80",
        "http://a:65536",
        "http://a:80:90",
        "http://a:8_0",
        "http://a:٨٠",
        "http://[::1",
        "http://℀.example",
        "http://" + "a" * 2048,
    ],
    "scheme": [
        "localhost:8000",
        "127.0.0.1:8000",
        "//localhost",
        "ftp://localhost",
        "file:///etc/passwd",
        "unix:///run/worker",
        "httpx://localhost",
        "http:localhost",
    ],
    "userinfo": ["http://user@a", "http://user:pass@a", "http://@a", "http://:@a:80"],
    "path": ["http://a/v1", "http://a//", "http://a/;x", "http:///a"],
    "query": ["http://a?x=1", "http://a/?", "http://a?", "http://a#", "http://a/#top"],
    "host": [
        "http://",
        "http://:80",
        "http://.",
        "http://.a",
        "http://a..b",
        "http://-a",
        "http://a-",
        "http://*",
        "http://a,b",
        "http://" + "a" * 64,
        "http://my_" + "a" * 61 + ".example",
        "http://" + ".".join(["a_1234567"] * 26),
        "http://256.0.0.1",
        "http://1.2.3.4.5",
        "http://08.0.0.1",
        "http://4294967296",
        "http://1.16777216",
        "http://a.1",
        "http://0x-1.1",
        "http://0x7_f.1",
        "http://0_7.1",
        "http://1_0.1",
    ],
    "zone": ["http://[fe80::1%25eth0]", "http://[fe80::1%eth0]", "http://a%41", "http://%31.1"],
    "port": ["http://a:0", "http://a:000"],
}

# Refused by this module or already by `urlsplit`, depending on the version of Python.
BRACKETS = [
    "http://[]",
    "http://[v1.fe80]",
    "http://[v1.fe80:1]",
    "http://[127.0.0.1]",
    "http://[localhost]",
    "http://x[::1]",
    "http://[::1]x",
    "http://x[::1]y:80",
    "http://[[::1]]",
    "http://[::g]",
    "http://[1::2::3]",
    "http://[::1][::1]",
    "http://a]",
]


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        (spelling, canonical)
        for canonical, spellings in SAME.items()
        for spelling in [canonical, *spellings]
    ],
)
def test_one_worker_has_one_spelling(spelling: str, canonical: str) -> None:
    parsed = parse_worker_url(spelling)
    assert str(parsed) == canonical
    assert parsed == parse_worker_url(canonical)


def test_the_spellings_name_different_workers() -> None:
    assert len({parse_worker_url(canonical) for canonical in SAME}) == len(SAME)


@pytest.mark.parametrize(
    ("text", "rule"), [(text, rule) for rule, texts in REFUSED.items() for text in texts]
)
def test_what_is_refused_and_why(text: str, rule: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        parse_worker_url(text)
    assert refusal.value.rule == rule
    assert refusal.value.details == {"rule": rule}
    refusal.value.message.encode()  # it can be sent


@pytest.mark.parametrize("text", BRACKETS)
def test_brackets_hold_an_ipv6_address_and_nothing_else(text: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        parse_worker_url(text)
    assert refusal.value.rule in {"host", "syntax"}


@pytest.mark.parametrize(
    ("text", "host", "port", "authority", "is_address"),
    [
        ("http://localhost", "localhost", 80, "localhost", False),
        ("https://localhost", "localhost", 443, "localhost", False),
        ("https://localhost:80", "localhost", 80, "localhost:80", False),
        ("http://127.1:8000", "127.0.0.1", 8000, "127.0.0.1:8000", True),
        ("http://[::1]", "::1", 80, "[::1]", True),
        ("http://[::1]:8000", "::1", 8000, "[::1]:8000", True),
    ],
)
def test_the_parts(text: str, host: str, port: int, authority: str, is_address: bool) -> None:
    parsed = parse_worker_url(text)
    assert (parsed.host, parsed.port, parsed.authority) == (host, port, authority)
    assert (parsed.address is not None) is is_address


_HOSTISH = st.text(alphabet="aZ09.-_xX:[]%@/?#\\ é。\uff11\u00ad\ud800", max_size=24)


@given(st.one_of(_HOSTISH, st.text(max_size=24)), st.sampled_from(["", ":", ":80", ":8000", "/"]))
@example("0x-1.1", "")
@example("0x", ":8000")
@example("0。", "")
def test_parsing_is_stable_and_raises_nothing_but_refusals(host: str, rest: str) -> None:
    try:
        parsed = parse_worker_url(f"http://{host}{rest}")
    except UrlRefused as refusal:
        refusal.message.encode()
        return
    assert parse_worker_url(str(parsed)) == parsed
    assert str(parsed).isascii()


@given(st.ip_addresses(), st.integers(1, 65_535), st.sampled_from(["http", "https"]))
def test_every_address_and_port_can_be_named(address: object, port: int, scheme: str) -> None:
    host = f"[{address}]" if ":" in str(address) else str(address)
    parsed = parse_worker_url(f"{scheme}://{host}:{port}")
    assert parse_worker_url(str(parsed)) == parsed
    assert (parsed.port, parsed.scheme) == (port, scheme)
    assert str(parsed.address) == parsed.host


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from(["{}", "{:#x}", "0{:o}"]))
def test_every_spelling_of_an_ipv4_address_is_that_address(
    value: int, parts: int, style: str
) -> None:
    octets = list(value.to_bytes(4, "big"))
    numbers = [*octets[: parts - 1], int.from_bytes(octets[parts - 1 :], "big")]
    text = ".".join(style.format(number) for number in numbers)
    address = parse_worker_url(f"http://{text}").address
    assert address is not None
    assert int(address) == value
