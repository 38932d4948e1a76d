"""What the diagnostics of all services share: findings, and transports that give up early."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from jupyter_mjci.client.settings import Settings
from jupyter_mjci.client.transport import Clock, Endpoint, Transport

PROBE_TIMEOUT = 10.0  # seconds for one response
OUTCOMES = {True: "ok", False: "NOT OK", None: "–"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. It never holds a secret.

    Args:
        name: what was checked
        ok: None where it is neither good nor bad, or could not be
            established
        message: what was found
        fix: what to change
    """

    name: str
    ok: bool | None
    message: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{OUTCOMES[self.ok]}: {self.message}"
        return f"{text} → {self.fix}" if self.fix else text


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What a diagnosis works with.

    Args:
        settings: the session's settings
        clock: the session's clock
        transport: the session's transport
    """

    settings: Settings
    clock: Clock
    transport: Transport

    def build_transport(self, mj_endpoint: Endpoint | None = None) -> Transport:
        """Build a transport like the session's with a short timeout, or to another proxy."""
        endpoints = dict(self.transport.endpoints)
        if mj_endpoint is not None:
            endpoints["mj"] = mj_endpoint
        return Transport(
            endpoints,
            clock=self.clock,
            timeout=min(self.settings.timeout, PROBE_TIMEOUT),
            at_once=1,
            transport=self.transport.custom_transport,
        )


def sanitize_url(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()
