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
from miles_router.net.tolerance import SHORTAGES, dial_fault, is_own_trouble

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
            CannotDial: the router has no descriptor left to ask with.
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
            # A resolver without a descriptor says that the name does not exist.
            raise dial_fault(str(url), _shortage() or error) from error
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
            CannotDial: the router's own system grants no connection.
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
            try:
                return await _connect(address, url.port)
            except OSError as error:
                if error.errno in SHORTAGES:
                    raise dial_fault(str(url), error) from error
                # What the worker says at one address counts for more than one that is out of reach.
                if failure is None or is_own_trouble(failure) or not is_own_trouble(error):
                    failure = error
        raise dial_fault(str(url), failure or OSError("it has no address"))

    async def _start_tls(
        self, url: WorkerUrl, stream: trio.SocketStream
    ) -> trio.SSLStream[trio.SocketStream]:
        try:
            tls = trio.SSLStream(
                stream, self._trust(url), server_hostname=url.host, https_compatible=True
            )
            await tls.do_handshake()
        except (trio.BrokenResourceError, ssl.SSLError, OSError) as error:
            stream.socket.close()
            raise dial_fault(str(url), _shortage() or error) from error
        except BaseException:
            stream.socket.close()
            raise
        return tls

    def _trust(self, url: WorkerUrl) -> ssl.SSLContext:
        """The certificates that are trusted.

        Raises:
            CannotDial: they could not be read, for want of descriptors.
        """
        if self._ssl_context is None:
            context = ssl.create_default_context()  # without a descriptor: empty, without a word
            shortage = _shortage()
            if shortage is not None:
                raise dial_fault(str(url), shortage)
            self._ssl_context = context
        return self._ssl_context


async def _connect(address: Address, port: int) -> trio.SocketStream:
    """A connection to `address`. Cancellation and errors: nothing stays open."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect((str(address), port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


def _shortage() -> OSError | None:
    """What the system has against one more descriptor; None if nothing."""
    try:
        socket.socket().close()
    except OSError as error:
        return error if error.errno in SHORTAGES else None
    return None
