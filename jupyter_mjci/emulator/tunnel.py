"""CONNECT: a client that has the sandbox as its proxy speaks TLS with it, as with the service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from jupyter_mjci.emulator.access import is_known_host, split_host
from jupyter_mjci.emulator.certificates import CertificateAuthority

_CONNECT_RE = re.compile(rb"CONNECT ([^\s:]+):\d+ HTTP/1\.[01]\r\n(?:[^\r\n]+\r\n)*\r\n")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def find_target(data: bytes) -> str:
    """Return the name that a CONNECT request asks for, "" for what is none of ours."""
    match = _CONNECT_RE.fullmatch(data)
    name = match[1].decode("latin-1") if match else ""
    return split_host(name) if name and is_known_host(name) else ""


class _EarlyData(asyncio.Protocol):
    """Keeps what arrives between the handshake and the start of the real protocol."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.received.append(data)


async def open_tunnel(
    transport: asyncio.Transport,
    authority: CertificateAuthority,
    name: str,
    build_protocol: Callable[[], asyncio.Protocol],
) -> None:
    """Answer a CONNECT, do the TLS handshake, and let a new protocol speak inside of it."""
    transport.write(ESTABLISHED)
    early = _EarlyData()
    context = authority.build_context(name)
    loop = asyncio.get_running_loop()
    try:
        inner = await loop.start_tls(transport, early, context, server_side=True)
    except (OSError, asyncio.CancelledError):  # the client does not trust us, or is gone
        transport.abort()
        return
    if inner is None:
        return
    protocol = build_protocol()
    inner.set_protocol(protocol)
    protocol.connection_made(inner)
    for data in early.received:
        protocol.data_received(data)
