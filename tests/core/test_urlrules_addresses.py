"""Which addresses the router may connect to."""

from __future__ import annotations

import ipaddress

import pytest

from miles_router.core.urlrules import AddressRules
from miles_router.errors import ConfigFault

EVERYTHING = AddressRules.parse(("0.0.0.0/0", "::/0"))


def refused(rules: AddressRules, address: str, *, host: str = "") -> str | None:
    refusal = rules.refusal(host or address, ipaddress.ip_address(address))
    return None if refusal is None else refusal.rule


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("127.0.0.1", None),
        ("127.255.255.254", None),
        ("10.1.2.3", None),
        ("172.16.0.1", None),
        ("172.31.255.255", None),
        ("192.168.0.1", None),
        ("::1", None),
        ("fd12::1", None),
        ("::ffff:10.0.0.1", None),
        ("172.32.0.1", "network"),
        ("192.169.0.1", "network"),
        ("100.64.0.1", "network"),
        ("8.8.8.8", "network"),
        ("::ffff:8.8.8.8", "network"),
        ("2001:db8::1", "network"),
        ("::2", "network"),
    ],
)
def test_without_entries_loopback_and_private_networks_are_allowed(
    address: str, rule: str | None
) -> None:
    assert refused(AddressRules.parse(()), address) == rule


NEVER = [
    ("169.254.169.254", "metadata"),
    ("169.254.170.2", "metadata"),
    ("100.100.100.200", "metadata"),
    ("fd00:ec2::254", "metadata"),
    ("fd00:ec2::23", "metadata"),
    ("fd20:ce::254", "metadata"),
    ("169.254.1.1", "link_local"),
    ("fe80::1", "link_local"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("ff02::1", "multicast"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("::", "unspecified"),
    ("255.255.255.255", "broadcast"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::a9fe:a9fe", "metadata"),  # NAT64
    ("64:ff9b::e000:1", "multicast"),
    ("2002:a9fe:a9fe::1", "metadata"),  # 6to4
    ("2002:6464:64c8::", "metadata"),
]


@pytest.mark.parametrize(("address", "rule"), NEVER)
def test_some_addresses_are_never_connected_to(address: str, rule: str) -> None:
    everything = AddressRules.parse(("0.0.0.0/0", "::/0", address, "meta.example"))
    assert refused(everything, address) == rule
    assert refused(everything, address, host="meta.example") == rule
    assert refused(AddressRules.parse(()), address) == rule


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2001:db8::1", "64:ff9b::808:808", "2002:808:808::1", "127.0.0.1"]
)
def test_everything_else_may_be_allowed(address: str) -> None:
    assert refused(EVERYTHING, address) is None


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("8.8.8.0/24", "8.8.8.9", "8.8.9.8"),
        ("8.8.8.8/24", "8.8.8.9", "8.8.9.8"),  # host bits are not an error
        ("8.8.8.8", "8.8.8.8", "8.8.8.9"),
        ("2001:db8::/32", "2001:db8::1", "2001:db9::1"),
        ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
        ("::/0", "2001:db8::1", "8.8.8.8"),
    ],
)
def test_entries_replace_the_defaults(entry: str, inside: str, outside: str) -> None:
    rules = AddressRules.parse((entry,))
    assert refused(rules, inside) is None
    assert refused(rules, outside) == "network"
    if entry != "0.0.0.0/0":
        assert refused(rules, "10.0.0.1") == "network"


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("gpu-1.example", "gpu-1.example"),
        ("GPU-1.Example.", "gpu-1.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("my_worker", "my_worker"),
    ],
)
def test_a_host_name_allows_what_it_resolves_to_and_no_other_name(entry: str, host: str) -> None:
    rules = AddressRules.parse((entry,))
    assert refused(rules, "8.8.8.8", host=host) is None
    assert refused(rules, "8.8.8.8", host=f"x.{host}") == "network"
    assert refused(rules, "8.8.8.8") == "network"


@pytest.mark.parametrize(
    "entry", ["", " ", "*", "10.0.0.0/99", "10.0.0.0/8/8", "http://a", "a b", "a:80", "[::1]", "-a"]
)
def test_an_entry_that_is_nothing_is_a_fault_of_the_configuration(entry: str) -> None:
    with pytest.raises(ConfigFault, match="--allow-worker") as fault:
        AddressRules.parse(("10.0.0.0/8", entry))
    assert fault.value.key == "allow_worker"


def test_a_refusal_says_what_to_do() -> None:
    refusal = AddressRules.parse(()).refusal("a.example", ipaddress.ip_address("8.8.8.8"))
    assert refusal is not None
    assert "--allow-worker 8.8.8.8" in refusal.message
    assert refusal.status == 400
