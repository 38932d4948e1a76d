"""The emulated services, and which of them a request is for."""

from __future__ import annotations

from jupyter_mjci.emulator import midjourney, tencent_ci
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.service import ServiceSpec

SERVICES: dict[str, ServiceSpec] = {
    spec.name: spec for spec in (midjourney.SERVICE, tencent_ci.SERVICE)
}


def select_service(request: Request) -> str:
    """Return the name of the service that a request is for.

    The cloud's host names and signatures decide, then the path.
    What is left at an address that says nothing is an object:
    browsers ask for those without a signature.
    """
    for spec in SERVICES.values():
        if spec.claims(request):
            return spec.name
    for spec in SERVICES.values():
        if spec.path_pattern.match(request.path):
            return spec.name
    for spec in SERVICES.values():
        if spec.claims_rest(request):
            return spec.name
    return next(iter(SERVICES))
