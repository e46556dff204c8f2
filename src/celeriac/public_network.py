"""HTTP to URLs that tenants give: only to addresses that everybody may reach.

A host is resolved once a connection, every address it has is checked, and the connection goes to
the address that was checked: a name that answers differently the next time (DNS rebinding) gains
nothing. Redirects are requests of their own and pass here again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from celeriac.errors import ForbiddenAddress, SourceUnavailable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: Sequence[Network] = (
    IPv4Network("192.0.0.0/24"),  # protocols; a cloud's metadata service is at 192.0.0.192
    IPv4Network("192.88.99.0/24"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("fec0::/10"),
)
"""What Python's `is_global` takes for public, depending on its version."""


class PublicTransport(httpx.BaseTransport):
    """An httpx transport that refuses addresses which are not global.

    `allowed` lists networks that may be reached all the same.
    """

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)
        # A connection is to an address, and kept for it: under TLS it would serve another name of
        # the same address, which its certificate was not checked for. So none is kept.
        self._transport = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to an address of its host that was checked.

        Raises:
            ForbiddenAddress: the host has an address that is not to be reached.
            SourceUnavailable: it cannot be resolved.
        """
        host = request.url.raw_host.decode("ascii")
        address = self._checked(host, request.url.port)
        extensions = {**request.extensions, "sni_hostname": host}
        return self._transport.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
        )

    def _checked(self, host: str, port: int | None) -> Address:
        addresses = resolve(host, port)
        for address in addresses:
            if not may_reach(address, self._allowed):
                raise ForbiddenAddress(
                    f"{host!r} is not a public address of the internet; celeriac fetches nothing "
                    "from internal networks unless `security.allowed_networks` lists them."
                )
        return addresses[0]

    def close(self) -> None:
        self._transport.close()


def resolve(host: str, port: int | None) -> list[Address]:
    """Every address of a host; a literal one in any spelling that the system's resolver knows.

    Raises:
        SourceUnavailable: it has none now.
    """
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceUnavailable(f"The host {host!r} cannot be resolved: {error}") from None
    texts = dict.fromkeys(str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found)
    return [ipaddress.ip_address(text) for text in texts]


def may_reach(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether it is public, and every address that stands within it; or in an allowed network."""
    if _within(address, allowed):
        return True
    return _is_public(_translated(address)) and all(map(_is_public, _tunnelled(address)))


def _is_public(address: Address) -> bool:
    ours = _within(address, _NOT_PUBLIC) or address.is_multicast or address.is_reserved
    return address.is_global and not ours


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == one.version and address in one for one in networks)


def _translated(address: Address) -> Address:
    """Where packets go in the end: to an IPv4 address, where it is mapped or behind NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _tunnelled(address: Address) -> list[IPv4Address]:
    """IPv4 addresses that stand within an IPv6 one: 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return []
    return [one for one in (address.sixtofour, *(address.teredo or ())) if one is not None]
