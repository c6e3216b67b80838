"""Connections to workers: which addresses are used, and what TLS accepts."""

from __future__ import annotations

import errno
import socket
import ssl
import subprocess
import sys
from ipaddress import ip_address
from typing import Any

import pytest
import trio
import trustme

from miles_router.core.urlrules import AddressRules, parse_worker_url
from miles_router.errors import CannotDial, DialFailed, DialTimeout, UrlRefused
from miles_router.net.dial import RESOLVE_TIMEOUT_S, Dialer


class Resolver(trio.abc.HostnameResolver):
    def __init__(self, *answers: list[str] | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        self.asked.append(host.decode() if isinstance(host, bytes) else host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if found is None:
            await trio.sleep_forever()
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in found
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


def dialer(*allow: str, context: ssl.SSLContext | None = None, timeout_s: float = 5.0) -> Dialer:
    return Dialer(AddressRules.parse(allow), connect_timeout_s=timeout_s, ssl_context=context)


async def test_every_address_is_returned_once() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(["10.0.0.1", "10.0.0.2", "10.0.0.1"]))
    found = await dialer().resolve(parse_worker_url("http://gpu:1"))
    assert found == (ip_address("10.0.0.1"), ip_address("10.0.0.2"))


@pytest.mark.parametrize("bad", ["8.8.8.8", "169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0"])
async def test_one_forbidden_address_refuses_the_name(bad: str) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(["10.0.0.1", bad]))
    with pytest.raises(UrlRefused):
        await dialer().resolve(parse_worker_url("http://gpu:1"))


async def test_a_name_that_does_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver([]))
    with pytest.raises(DialFailed, match="does not resolve"):
        await dialer().resolve(parse_worker_url("http://gpu:1"))


async def test_a_resolver_that_hangs(autojump_clock: trio.abc.Clock) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(None))
    began_at = trio.current_time()
    with pytest.raises(DialFailed, match="in time"):
        await dialer().resolve(parse_worker_url("http://gpu:1"))
    assert trio.current_time() - began_at == pytest.approx(RESOLVE_TIMEOUT_S, abs=0.1)


async def test_no_address_is_no_connection() -> None:
    with pytest.raises(DialFailed):
        await dialer().connect(parse_worker_url("http://gpu:1"), ())


async def listen(host: str = "127.0.0.1") -> tuple[trio.SocketListener, int]:
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    return listener, listener.socket.getsockname()[1]


@pytest.mark.loopback
async def test_the_checked_address_is_the_one_that_is_dialled() -> None:
    listener, port = await listen()
    resolver = Resolver(["127.0.0.1"], ["10.255.255.1"])  # a name that is moved after the check
    trio.socket.set_custom_hostname_resolver(resolver)
    url = parse_worker_url(f"http://gpu:{port}")
    with trio.fail_after(5):
        async with listener:
            addresses = await dialer().resolve(url)
            stream = await dialer().connect(url, addresses)
            assert isinstance(stream, trio.SocketStream)
            assert stream.socket.getpeername() == ("127.0.0.1", port)
            await stream.aclose()
    assert resolver.asked == ["gpu"]


@pytest.mark.loopback
async def test_the_next_address_is_tried() -> None:
    listener, port = await listen()
    with trio.fail_after(5):
        async with listener:
            addresses = (ip_address("127.0.0.2"), ip_address("127.0.0.1"))
            url = parse_worker_url(f"http://gpu:{port}")
            stream = await dialer().connect(url, addresses)
            await stream.aclose()


@pytest.mark.loopback
async def test_refused() -> None:
    listener, port = await listen()
    await listener.aclose()
    url = parse_worker_url(f"http://127.0.0.1:{port}")
    with trio.fail_after(5), pytest.raises(DialFailed, match="connection refused"):
        await dialer().connect(url, (ip_address("127.0.0.1"),))


@pytest.mark.loopback
async def test_ipv6() -> None:
    try:
        listener, port = await listen("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    url = parse_worker_url(f"http://[::1]:{port}")
    with trio.fail_after(5):
        async with listener:
            stream = await dialer().connect(url, await dialer().resolve(url))
            await stream.aclose()


class Shortage:
    """Makes the system refuse sockets of some families, for some number of reasons."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._refusals: dict[int, int] = {}
        original = trio.socket.socket

        def make(family: int = socket.AF_INET, *rest: Any) -> Any:
            if family in self._refusals:
                raise OSError(self._refusals[family], "as the system says")
            return original(family, *rest)

        monkeypatch.setattr(trio.socket, "socket", make)

    def refuse(self, family: int, number: int) -> None:
        self._refusals[family] = number


@pytest.mark.loopback
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_of_the_own_system_is_told_apart(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, port = await listen()
    Shortage(monkeypatch).refuse(socket.AF_INET, number)
    url = parse_worker_url(f"http://gpu:{port}")
    addresses = (ip_address("127.0.0.1"), ip_address("::1"))
    async with listener:
        with trio.fail_after(5), pytest.raises(CannotDial) as caught:
            await dialer().connect(url, addresses)
    assert caught.value.details["reason"] == errno.errorcode[number]


@pytest.mark.loopback
async def test_an_address_of_a_kind_that_the_machine_lacks_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener, port = await listen()
    Shortage(monkeypatch).refuse(socket.AF_INET6, errno.EAFNOSUPPORT)
    url = parse_worker_url(f"http://gpu:{port}")
    v4, v6 = ip_address("127.0.0.1"), ip_address("::1")
    with trio.fail_after(5):
        async with listener:
            await (await dialer().connect(url, (v6, v4))).aclose()
            with pytest.raises(CannotDial, match="IPv6"):
                await dialer().connect(url, (v6,))
        for order in ((v4, v6), (v6, v4)):  # the worker refuses where it can be asked
            with pytest.raises(DialFailed, match="connection refused"):
                await dialer().connect(url, order)


@pytest.mark.loopback
async def test_without_descriptors_neither_names_nor_certificates_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener, port = await listen()
    trio.socket.set_custom_hostname_resolver(Resolver([]))
    url = parse_worker_url(f"https://gpu:{port}")
    one = dialer()
    out_of_descriptors = OSError(errno.EMFILE, "too many open files")
    with trio.fail_after(5):
        async with listener:
            with monkeypatch.context() as patch:
                patch.setattr("miles_router.net.dial._shortage", lambda: out_of_descriptors)
                with pytest.raises(CannotDial):
                    await one.resolve(url)
                with pytest.raises(CannotDial):
                    await one.connect(url, (ip_address("127.0.0.1"),))
            assert one._ssl_context is None, "what was read without descriptors is not kept"
            with pytest.raises(DialFailed, match="does not resolve"):
                await one.resolve(url)


@pytest.mark.loopback
def test_a_real_shortage_is_seen() -> None:
    code = (
        "import os, resource; from miles_router.net.dial import _shortage\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30)); taken = []\n"
        "assert _shortage() is None\n"
        "try:\n    while True: taken.append(os.dup(0))\n"
        "except OSError: pass\n"
        "print(_shortage().errno); os.close(taken.pop()); print(_shortage())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == [str(errno.EMFILE), "None"]


async def dial_tls(*, certified: str, url_host: str, is_trusted: bool) -> None:
    """Dial a TLS server that is certified for one name as another."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(certified).configure_cert(server)
    client = ssl.create_default_context()
    if is_trusted:
        authority.configure_trust(client)
    listener, port = await listen()

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, server, server_side=True)
        try:
            await tls.do_handshake()
            await tls.send_all(b"hello")
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(tls)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            url = parse_worker_url(f"https://{url_host}:{port}")
            try:
                stream = await dialer(context=client).connect(url, (ip_address("127.0.0.1"),))
                assert await stream.receive_some() == b"hello"
                await trio.aclose_forcefully(stream)
            finally:
                nursery.cancel_scope.cancel()


async def refusal(**how: Any) -> str:
    told = "accepted"
    try:
        await dial_tls(**how)
    except* DialFailed as group:
        told = str(group.exceptions[0])
    return told


@pytest.mark.loopback
async def test_tls_is_verified() -> None:
    assert await refusal(certified="gpu.test", url_host="gpu.test", is_trusted=True) == "accepted"


@pytest.mark.loopback
async def test_a_certificate_for_another_name_is_refused() -> None:
    told = await refusal(certified="other.test", url_host="gpu.test", is_trusted=True)
    assert "TLS certificate refused" in told


@pytest.mark.loopback
async def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    told = await refusal(certified="gpu.test", url_host="gpu.test", is_trusted=False)
    assert "TLS certificate refused" in told


@pytest.mark.loopback
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_a_server_without_tls(answer: bytes) -> None:
    listener, port = await listen()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    url = parse_worker_url(f"https://127.0.0.1:{port}")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            with pytest.raises(DialFailed, match="TLS handshake failed"):
                await dialer().connect(url, (ip_address("127.0.0.1"),))
            nursery.cancel_scope.cancel()


@pytest.mark.loopback
async def test_a_handshake_that_hangs_is_bounded() -> None:
    listener, port = await listen()
    url = parse_worker_url(f"https://127.0.0.1:{port}")
    with trio.fail_after(5):
        async with listener:
            with pytest.raises(DialTimeout, match="--connect-timeout-s"):
                await dialer(timeout_s=0.2).connect(url, (ip_address("127.0.0.1"),))
