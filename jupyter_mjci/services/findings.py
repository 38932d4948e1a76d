"""What the diagnostics of all services share: findings, and transports that give up early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        settings: the service's section of the session's settings
        clock: the session's clock
        transport: the session's transport
    """

    settings: Any
    clock: Clock
    transport: Transport

    def build_transport(self, **endpoints: Endpoint) -> Transport:
        """Build a transport like the session's with a short timeout, and with other endpoints."""
        return Transport(
            {**self.transport.endpoints, **endpoints},
            clock=self.clock,
            timeout=min(self.transport.timeout, PROBE_TIMEOUT),
            at_once=1,
            transport=self.transport.custom_transport,
            redactor=self.transport.redactor,
        )
