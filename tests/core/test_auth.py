"""Who may do what, as one table per set of credentials."""

from __future__ import annotations

import hmac
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.auth import Caller, Gatekeeper, Role, may_register
from miles_router.errors import Forbidden, Unauthorized

NOBODY = Gatekeeper(admin_token=None, api_keys={})
TOKEN_ONLY = Gatekeeper(admin_token="root", api_keys={})
ONE_TENANT = Gatekeeper(admin_token=None, api_keys={"k1": "red", "k2": "red"})
TWO_TENANTS = Gatekeeper(admin_token=None, api_keys={"k1": "red", "k2": "blue"})
ONE_TENANT_AND_TOKEN = Gatekeeper(admin_token="root", api_keys={"k1": "red"})
BOTH = Gatekeeper(admin_token="root", api_keys={"k1": "red", "k2": "blue"})

RED, RED_ADMIN = Caller("red"), Caller("red", is_admin=True)
DEFAULT, ADMIN = Caller(), Caller(is_admin=True)
SECRETS = [None, "wrong", "k1", "root"]

TABLE: list[tuple[Gatekeeper, Role, list[Caller | type[Exception]]]] = [
    # keeper, role, answers to: no credential, an unknown one, key k1, the admin token
    (NOBODY, Role.OPEN, [DEFAULT, DEFAULT, DEFAULT, DEFAULT]),
    (NOBODY, Role.ROLLOUT, [ADMIN, ADMIN, ADMIN, ADMIN]),
    (NOBODY, Role.ADMIN, [ADMIN, ADMIN, ADMIN, ADMIN]),
    (TOKEN_ONLY, Role.OPEN, [DEFAULT, DEFAULT, DEFAULT, ADMIN]),
    (TOKEN_ONLY, Role.ROLLOUT, [DEFAULT, DEFAULT, DEFAULT, ADMIN]),
    (TOKEN_ONLY, Role.ADMIN, [Unauthorized, Unauthorized, Unauthorized, ADMIN]),
    (ONE_TENANT, Role.ROLLOUT, [Unauthorized, Unauthorized, RED_ADMIN, Unauthorized]),
    (ONE_TENANT, Role.ADMIN, [Unauthorized, Unauthorized, RED_ADMIN, Unauthorized]),
    (ONE_TENANT_AND_TOKEN, Role.ROLLOUT, [Unauthorized, Unauthorized, RED, ADMIN]),
    (ONE_TENANT_AND_TOKEN, Role.ADMIN, [Unauthorized, Unauthorized, Forbidden, ADMIN]),
    (TWO_TENANTS, Role.ROLLOUT, [Unauthorized, Unauthorized, RED, Unauthorized]),
    (TWO_TENANTS, Role.ADMIN, [Unauthorized, Unauthorized, RED, Unauthorized]),
    (BOTH, Role.OPEN, [DEFAULT, DEFAULT, RED, ADMIN]),
    (BOTH, Role.ROLLOUT, [Unauthorized, Unauthorized, RED, ADMIN]),
    (BOTH, Role.ADMIN, [Unauthorized, Unauthorized, Forbidden, ADMIN]),
]


@pytest.mark.parametrize(
    ("keeper", "role", "secret", "answer"),
    [
        (keeper, role, secret, answer)
        for keeper, role, answers in TABLE
        for secret, answer in zip(SECRETS, answers, strict=True)
    ],
)
def test_who_is_let_in_as_whom(
    keeper: Gatekeeper, role: Role, secret: str | None, answer: Caller | type[Exception]
) -> None:
    header = None if secret is None else f"Bearer {secret}"
    if isinstance(answer, Caller):
        assert keeper.admit(role, header) == answer
    else:
        with pytest.raises(answer):
            keeper.admit(role, header)


@pytest.mark.parametrize("header", ["Bearer k1", "bearer k1", "BEARER  k1 "])
def test_the_scheme_is_written_in_any_case(header: str) -> None:
    assert BOTH.admit(Role.ROLLOUT, header) == RED


@pytest.mark.parametrize(
    "header", ["", "k1", "Basic k1", "Bearer", "Bearer ", "Bearerk1", "Bearer k1 k2", "Bearer K1"]
)
def test_what_is_no_credential_lets_nobody_in(header: str) -> None:
    with pytest.raises(Unauthorized) as refusal:
        BOTH.admit(Role.ROLLOUT, header)
    assert refusal.value.headers == {"WWW-Authenticate": "Bearer"}


@given(st.text())
def test_no_other_text_opens_a_route_nor_breaks_the_door(text: str) -> None:
    if text.strip() not in {"k1", "k2", "root"}:
        with pytest.raises(Unauthorized):
            BOTH.admit(Role.ADMIN, f"Bearer {text}")


def test_every_key_is_compared_in_constant_time_over_equal_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append((given, known))
        return given == known

    monkeypatch.setattr(hmac, "compare_digest", compare)
    BOTH.admit(Role.ROLLOUT, "Bearer k1")
    assert len(compared) == 3  # also those after the one that matched
    assert {len(part) for pair in compared for part in pair} == {32}


def ips(*texts: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    return [ipaddress.ip_address(text) for text in texts]


@pytest.mark.parametrize(
    ("client", "worker", "networks", "may"),
    [
        ("10.0.0.1", ["10.0.0.2"], ["10.0.0.0/8"], True),
        ("10.0.0.1", ["10.0.0.2", "10.0.0.3"], ["10.0.0.0/8"], True),
        ("10.0.0.1", ["10.0.0.2"], [], False),
        ("10.0.0.1", [], ["10.0.0.0/8"], False),
        (None, ["10.0.0.2"], ["10.0.0.0/8"], False),  # a Unix socket has no address
        ("10.0.0.1", ["10.0.0.2", "192.168.0.1"], ["10.0.0.0/8"], False),
        # each in some network, but not in the same one
        ("10.0.0.1", ["192.168.0.1"], ["10.0.0.0/8", "192.168.0.0/16"], False),
        ("8.8.8.8", ["10.0.0.2"], ["10.0.0.0/8"], False),
        ("::ffff:10.0.0.1", ["10.0.0.2"], ["10.0.0.0/8"], True),
        ("10.0.0.1", ["::ffff:10.0.0.2"], ["10.0.0.0/8"], True),
        ("fd00::1", ["fd00::2"], ["10.0.0.0/8", "fd00::/8"], True),
        ("10.0.0.1", ["fd00::2"], ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_open_registration_is_for_neighbours(
    client: str | None, worker: list[str], networks: list[str], may: bool
) -> None:
    caller = None if client is None else ipaddress.ip_address(client)
    open_to = [ipaddress.ip_network(text) for text in networks]
    assert may_register(caller, ips(*worker), open_to) is may
