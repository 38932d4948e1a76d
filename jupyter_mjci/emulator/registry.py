"""The emulated services, and which of them a request is for.

Another package adds one by an entry point of the group
`jupyter_mjci.emulators`, whose value leads to its `ServiceSpec`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from jupyter_mjci.emulator import midjourney, tencent_ci
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.service import ServiceSpec

ENTRY_POINTS = "jupyter_mjci.emulators"
SERVICES: dict[str, ServiceSpec] = {
    spec.name: spec for spec in (midjourney.SERVICE, tencent_ci.SERVICE)
}


@cache
def _list_entry_points() -> tuple[EntryPoint, ...]:
    # Once for each process: it takes nine tenths of the time that
    # a sandbox takes to start.
    return tuple(entry_points(group=ENTRY_POINTS))


def load_services() -> dict[str, ServiceSpec]:
    """Return the emulated services by name, with those that other packages add."""
    for point in _list_entry_points():
        if point.name not in SERVICES:
            SERVICES[point.name] = point.load()
    return SERVICES


def get_default_options() -> dict[str, Any]:
    """Return what the services take as keyword arguments of `Sandbox`, with the defaults."""
    options: dict[str, Any] = {}
    for spec in load_services().values():
        options.update(spec.options)
    return options


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
