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


class PublicTransport(httpx.BaseTransport):
    """An httpx transport that refuses addresses which are not global.

    `allowed` lists networks that may be reached all the same.
    """

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)
        # No proxy of the environment: it would resolve the name once more.
        self._transport = httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to an address of its host that was checked.

        Raises:
            ForbiddenAddress: the host has an address that is not to be reached.
            SourceUnavailable: it cannot be resolved.
        """
        host = request.url.host
        address = self._checked(host, request.url.port)
        extensions = {**request.extensions, "sni_hostname": host.encode("idna").decode()}
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
            if not self._may_reach(address):
                raise ForbiddenAddress(
                    f"{host!r} is not a public address of the internet; celeriac fetches nothing "
                    "from internal networks unless `security.allowed_networks` lists them."
                )
        return addresses[0]

    def _may_reach(self, address: Address) -> bool:
        if any(address.version == one.version and address in one for one in self._allowed):
            return True
        return all(_is_public(one) for one in (address, *_embedded(address)))

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


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> list[IPv4Address]:
    """IPv4 addresses that stand within an IPv6 one: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
