"""Which URLs may name a worker, and which addresses the router may connect to.

Two questions, both without I/O: `parse_worker_url` brings a URL to the one spelling that names the
worker, or refuses it; `AddressRules.refusal` judges an address that the name resolved to. Resolving
and connecting happen elsewhere, to exactly the addresses judged here.

Source: WHATWG URL standard for the IPv4 spellings that browsers and C libraries accept
(`2130706433`, `0x7f.1`), RFC 6890 for special addresses.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import idna

from miles_router.errors import ConfigFault, UrlRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS = {"http": 80, "https": 443}

PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)

# Never connected to, whatever --allow-worker says.
NEVER: tuple[tuple[str, Network], ...] = tuple(
    (rule, ipaddress.ip_network(text))
    for rule, text in (
        ("metadata", "169.254.169.254/32"),
        ("metadata", "169.254.170.2/32"),
        ("metadata", "100.100.100.200/32"),
        ("metadata", "fd00:ec2::/32"),
        ("metadata", "fd20:ce::254/128"),
        ("link_local", "169.254.0.0/16"),
        ("link_local", "fe80::/10"),
        ("multicast", "224.0.0.0/4"),
        ("multicast", "ff00::/8"),
        ("unspecified", "0.0.0.0/8"),
        ("unspecified", "::/128"),
        ("broadcast", "255.255.255.255/32"),
    )
)

_FORBIDDEN_IN_URL = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
# `urlsplit` ignores text around the brackets and takes an IPvFuture literal for a name.
_BRACKETED = re.compile(r"\[[^\[\]]*:[^\[\]]*\](:[0-9]*)?")
# What IDNA refuses but resolvers know, such as the underscores of compose services. The lengths are
# those of RFC 1035, 2.3.4: `getaddrinfo` raises UnicodeError beyond them.
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_-]{1,63})*(?<!-)")
_IPV4_PART = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_EMBEDS_IPV4 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class WorkerUrl:
    """A worker's address in its one spelling.

    `host` has no brackets; `address` is set when the host is an IP literal.
    """

    scheme: str
    host: str
    port: int
    address: Address | None

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header carries them (no default port)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def _refuse(rule: str, message: str) -> UrlRefused:
    return UrlRefused(message, rule=rule)


def parse_worker_url(text: str) -> WorkerUrl:
    """Bring `text` to the one spelling that names a worker.

    Raises:
        UrlRefused: with the rule that it breaks.
    """
    text = text.strip()
    if not text or len(text) > 2048 or _FORBIDDEN_IN_URL.search(text):
        raise _refuse("syntax", "a worker URL looks like http://host:port")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _refuse("syntax", f"not a URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS or "://" not in text:
        raise _refuse("scheme", "a worker URL starts with http:// or https://")
    if "@" in parts.netloc:
        raise _refuse("userinfo", "a worker URL carries no user name or password")
    if parts.path not in {"", "/"}:
        raise _refuse("path", "a worker URL ends after the port: remove the path")
    if "?" in text or "#" in text:
        raise _refuse("query", "a worker URL carries no query and no fragment")
    if not parts.hostname or ("[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc)):
        raise _refuse("host", "a worker URL names a host")
    if port == 0:
        raise _refuse("port", "port 0 cannot be connected to")
    host, address = _normalise_host(parts.hostname)
    return WorkerUrl(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], address)


def _normalise_host(host: str) -> tuple[str, Address | None]:
    if "%" in host:
        raise _refuse("zone", "a worker URL carries no zone id and no percent-encoding in its host")
    if ":" in host:
        try:
            address = unmap(ipaddress.IPv6Address(host))
        except ValueError:
            raise _refuse("host", f"not an IPv6 address: {host}") from None
        return str(address), address
    try:
        # IDNA maps other full stops to ".": the last one falls off after that.
        name = idna.encode(host, uts46=True).decode("ascii").lower().rstrip(".")
    except idna.IDNAError:
        name = host.rstrip(".").lower()
        if not _HOST_NAME.fullmatch(name):
            raise _refuse("host", f"not a host name: {host!r}") from None
    last = name.rsplit(".", 1)[-1]
    if _IPV4_PART.fullmatch(last):
        ipv4 = _parse_ipv4(name)
        return str(ipv4), ipv4
    return name, None


def _parse_ipv4(text: str) -> ipaddress.IPv4Address:
    """Read the spellings that `inet_aton` accepts: 1 to 4 parts, decimal, octal or hex."""
    parts = text.split(".")
    try:
        if len(parts) > 4:
            raise ValueError(text)
        numbers = [_parse_ipv4_part(part) for part in parts]
        if any(number > 255 for number in numbers[:-1]):
            raise ValueError(text)
        if numbers[-1] >= 256 ** (5 - len(numbers)):
            raise ValueError(text)
    except ValueError:
        raise _refuse("host", f"not an IPv4 address: {text}") from None
    value = numbers[-1]
    for index, number in enumerate(numbers[:-1]):
        value += number << (8 * (3 - index))
    return ipaddress.IPv4Address(value)


def _parse_ipv4_part(part: str) -> int:
    if not _IPV4_PART.fullmatch(part):  # int() also reads signs and underscores
        raise ValueError(part)
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)
    if len(part) > 1 and part[0] == "0":
        return int(part, 8)
    return int(part, 10)


def unmap(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped IPv6 address; every other address as it is."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _addresses_inside(address: Address) -> list[Address]:
    """`address` and the IPv4 address that a gateway would reach through it (NAT64, 6to4)."""
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            found.append(address.sixtofour)
        if address in _EMBEDS_IPV4:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _contains(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Networks and host names that workers may live in (`--allow-worker`)."""

    networks: tuple[Network, ...] = PRIVATE_NETWORKS
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: tuple[str, ...]) -> AddressRules:
        """Read `--allow-worker` entries; none of them means loopback and private networks.

        Raises:
            ConfigFault: an entry that is neither a network nor a host name.
        """
        if not entries:
            return cls()
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.add(_parse_host_entry(entry))
        return cls(tuple(networks), frozenset(hosts))

    def refusal(self, host: str, address: Address) -> UrlRefused | None:
        """Why a worker named `host` must not be reached at `address`; None if it may."""
        address = unmap(address)
        for inside in _addresses_inside(address):
            for rule, network in NEVER:
                if _contains(network, inside):
                    return _refuse(
                        rule, f"{address} is a forbidden address ({rule.replace('_', '-')})"
                    )
        if host in self.hosts or any(_contains(net, address) for net in self.networks):
            return None
        return _refuse(
            "network",
            f"{address} is outside the allowed networks; start the router with "
            f"--allow-worker {address} (or its network or host name) to allow it",
        )


def _parse_host_entry(entry: str) -> str:
    if "/" in entry:
        raise ConfigFault(
            f"--allow-worker {entry}: not a network (like 10.0.0.0/8)", key="allow_worker"
        )
    try:
        return _normalise_host(entry)[0]
    except UrlRefused as error:
        raise ConfigFault(f"--allow-worker {entry}: {error}", key="allow_worker") from None
