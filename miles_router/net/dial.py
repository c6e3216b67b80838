"""How a connection to a worker comes about: resolve, check every address, connect, TLS.

The address that was checked is the address that is connected to: a name is never resolved again
between the two. This file must not know what the connection is for.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

import trio

from miles_router.core.urlrules import unmap
from miles_router.errors import DialFailed, DialTimeout
from miles_router.net.tolerance import dial_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from miles_router.core.urlrules import Address, AddressRules, WorkerUrl

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

# A resolver that hangs must not hold a registration for longer than a client waits for it.
RESOLVE_TIMEOUT_S = 10.0


class Dialer:
    """Opens connections to workers within the address rules."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        connect_timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`ssl_context`: for https workers; by default the system's trust store is used."""
        self._rules = rules
        self._connect_timeout_s = connect_timeout_s
        self._ssl_context = ssl_context

    async def resolve(self, url: WorkerUrl) -> tuple[Address, ...]:
        """All addresses of `url`, each of them allowed.

        Raises:
            UrlRefused: an address breaks a rule.
            DialFailed: the name does not resolve.
        """
        addresses = [url.address] if url.address is not None else await self._look_up(url)
        for address in addresses:
            refusal = self._rules.refusal(url.host, address)
            if refusal is not None:
                raise refusal
        return tuple(addresses)

    async def _look_up(self, url: WorkerUrl) -> list[Address]:
        try:
            with trio.fail_after(RESOLVE_TIMEOUT_S):
                found = await trio.socket.getaddrinfo(
                    url.host, url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
        except trio.TooSlowError:
            raise DialFailed(f"{url}: the host name did not resolve in time") from None
        except (OSError, UnicodeError) as error:
            raise dial_fault(str(url), error) from error
        addresses: list[Address] = []
        for *_, sockaddr in found:
            address = unmap(ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]))
            if address not in addresses:
                addresses.append(address)
        return addresses

    async def connect(self, url: WorkerUrl, addresses: Sequence[Address]) -> Stream:
        """A connection to the first of `addresses` that takes one.

        Cancellation: nothing stays open.

        Raises:
            DialFailed: none of them does.
            DialTimeout: not within the connect timeout.
        """
        try:
            with trio.fail_after(self._connect_timeout_s):
                stream = await self._connect_any(url, addresses)
                return stream if url.scheme == "http" else await self._start_tls(url, stream)
        except trio.TooSlowError:
            raise DialTimeout(
                f"{url}: no connection within {self._connect_timeout_s:g} s (--connect-timeout-s)"
            ) from None

    async def _connect_any(self, url: WorkerUrl, addresses: Sequence[Address]) -> trio.SocketStream:
        failure: OSError | None = None
        for address in addresses:
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            sock = trio.socket.socket(family, socket.SOCK_STREAM)
            try:
                await sock.connect((str(address), url.port))
                return trio.SocketStream(sock)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise dial_fault(str(url), failure or OSError("it has no address"))

    async def _start_tls(
        self, url: WorkerUrl, stream: trio.SocketStream
    ) -> trio.SSLStream[trio.SocketStream]:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        tls = trio.SSLStream(
            stream, self._ssl_context, server_hostname=url.host, https_compatible=True
        )
        try:
            await tls.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError, OSError) as error:
            stream.socket.close()
            raise dial_fault(str(url), error) from error
        except BaseException:
            stream.socket.close()
            raise
        return tls
