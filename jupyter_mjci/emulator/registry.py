"""The emulated services, and which of them a request is for."""

from __future__ import annotations

from jupyter_mjci.emulator import midjourney, tencent_ci
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.service import ServiceSpec

# The first one also gets what no service recognizes.
SERVICES: dict[str, ServiceSpec] = {
    spec.name: spec for spec in (midjourney.SERVICE, tencent_ci.SERVICE)
}


def select_service(request: Request) -> str:
    """Return the name of the service that a request is for.

    The cloud's host names and signatures decide; for any other
    host the path does.
    """
    for spec in SERVICES.values():
        if spec.claims(request):
            return spec.name
    for spec in SERVICES.values():
        if spec.path_pattern.match(request.path):
            return spec.name
    return next(iter(SERVICES))
