"""Keep links of answers away from this machine and its network.

A service names the links of its pictures, and so could name the
metadata service of a cloud, a router, or what listens on loopback
(server-side request forgery, CWE-918). Such an address is fetched
from only where a configured service has one of the same kind. It
is checked after the name was resolved, on every hop of a redirect,
and the connection goes to the address that was checked, so that a
name cannot change its address in between (DNS rebinding). Behind
an HTTP proxy the proxy resolves names: there only addresses that
are written out are checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import httpx

from jupyter_mjci.client.outcomes import Outcome
from jupyter_mjci.errors import InvalidResponse

# Key of `httpx.Request.extensions`: the `AddressGuard` of a link.
GUARD_EXTENSION = "mjci_address_guard"

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
Send = Callable[[httpx.Request], Awaitable[httpx.Response]]

# Networks that `ipaddress` counts otherwise than we have to.
# Clash and others answer every name with an address of the first,
# and take the connection to the right one.
_SPECIAL = (
    (ipaddress.ip_network("198.18.0.0/15"), ""),
    (ipaddress.ip_network("0.0.0.0/8"), "loopback"),
    (ipaddress.ip_network("168.63.129.16/32"), "link-local"),  # Azure's
    (ipaddress.ip_network("192.0.0.0/24"), "private"),  # Oracle's, and older Pythons
    (ipaddress.ip_network("::/128"), "loopback"),
    (ipaddress.ip_network("fec0::/10"), "private"),
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def classify_address(text: str) -> str:
    """Return loopback, link-local or private; "" for an address of the public network."""
    address = _unwrap(ipaddress.ip_address(text.partition("%")[0]))
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "" if address.is_global and not address.is_multicast else "private"


def _unwrap(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, also of 127.1, 0x7f000001 and 2130706433.

    Raises:
        httpx.ConnectError: it has none
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"The name {host[:200]} cannot be resolved ({error})") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Decides where a link may lead.

    Args:
        service_urls: the addresses of the services, whose kinds
            of network are allowed
        resolve: returns the addresses of a host
    """

    service_urls: tuple[str, ...]
    resolve: Resolve = resolve

    async def choose_addresses(self, url: httpx.URL, *, is_proxied: bool) -> list[str]:
        """Return the addresses that a link may be fetched from; none where a proxy resolves it.

        Raises:
            InvalidResponse: it leads into a network where no
                service is
        """
        if is_proxied and not _is_written_out(url.host):
            return []
        addresses = await self.resolve(url.host, url.port or 443)
        kinds = {classify_address(address) for address in addresses} - {""}
        if kinds and not kinds <= await self._list_allowed_kinds():
            raise _build_refusal(url, kinds)
        return [] if is_proxied else addresses

    async def _list_allowed_kinds(self) -> set[str]:
        kinds = set()
        for url in map(httpx.URL, self.service_urls):
            try:
                addresses = await self.resolve(url.host, url.port or 443)
            except httpx.ConnectError:
                continue
            kinds |= {classify_address(address) for address in addresses}
        return kinds


def _is_written_out(host: str) -> bool:
    """Return whether a host is an address, in any notation, or a name of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _build_refusal(url: httpx.URL, kinds: Iterable[str]) -> InvalidResponse:
    error = InvalidResponse(
        f"The link leads to {url.host[:200]}, and was not followed.",
        detail=f"That is a {' or '.join(sorted(kinds))} address, where no service is.",
        hint="If you trust the service: allow_private=True, or MJCI_ALLOW_PRIVATE=1.",
    )
    error.outcome = Outcome.REFUSAL  # it does not become another by waiting
    return error


async def send_guarded(
    request: httpx.Request, send: Send, is_proxied: Callable[[httpx.Request], bool]
) -> httpx.Response:
    """Send a request; that of a link to one of the addresses that its guard has chosen.

    Args:
        request: the request
        send: sends it
        is_proxied: whether it goes through a proxy, which takes a
            while to find out and is only asked of links

    Raises:
        InvalidResponse: the guard refuses the link
        httpx.TransportError: no address answered
    """
    guard: AddressGuard | None = request.extensions.get(GUARD_EXTENSION)
    if guard is None:
        return await send(request)
    addresses = await guard.choose_addresses(request.url, is_proxied=is_proxied(request))
    attempts = [partial(send, _pin(request, address)) for address in addresses]
    *others, last = attempts or [partial(send, request)]
    for attempt in others:
        try:
            return await attempt()
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await last()


def _pin(request: httpx.Request, address: str) -> httpx.Request:
    """Return the request for an address; Host and the certificate's name stay those of the link."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
