"""What one setting may look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.config import values


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1073741824", 1024**3),
        ("1GiB", 1024**3),
        ("512 MiB", 512 * 1024**2),
        ("512mib", 512 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("3kb", 3000),
        ("7B", 7),
    ],
)
def test_sizes_are_read_with_and_without_units(text: str, size_bytes: int) -> None:
    assert values.parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "lots", "-1", "1XB", "GiB", "1e9"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512MiB"):
        values.parse_size(text)


@pytest.mark.parametrize("text", ["1.5", "1.5B", "0.5 b", "2.0"])
def test_there_are_no_parts_of_a_byte(text: str) -> None:
    with pytest.raises(ValueError, match="no parts of a byte"):
        values.parse_size(text)


@given(st.integers(min_value=0, max_value=1024**5))
def test_a_shown_size_reads_back_exactly(size_bytes: int) -> None:
    assert values.parse_size(values.show_size(size_bytes)) == size_bytes


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_loopback_is_recognised(host: str) -> None:
    assert values.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gpu-1", "localhost.example.com"])
def test_everything_else_may_be_reached_by_other_machines(host: str) -> None:
    assert not values.is_loopback(host)


def test_a_tenant_may_have_several_keys() -> None:
    assert values.tenants_by_key(["a=k1", "b=k2", "a=k=3"]) == {"k1": "a", "k2": "b", "k=3": "a"}


@pytest.mark.parametrize("entry", ["hunter2", "=hunter2", "a b=hunter2", "a=", "a=hun ter2"])
def test_a_bad_api_key_entry_is_named_by_number_and_not_repeated(entry: str) -> None:
    with pytest.raises(ValueError, match="entry 2") as caught:
        values.tenants_by_key(["ok=fine", entry])
    assert "hun" not in str(caught.value)


def test_masked_api_keys_show_tenants_only() -> None:
    assert values.mask_api_keys(("a=secret", "secret")) == (f"a={values.MASK}", values.MASK)
