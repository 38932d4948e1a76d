"""Find out what is configured wrong by asking the services: addresses, secrets, clocks, features.

Only harmless requests are sent (a task that does not exist, one
page of a listing), once each and with a short timeout. Each
service checks itself, see its `diagnostics` module.
"""

from __future__ import annotations

from typing import Any

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Paginator
from jupyter_mjci.client.settings import find_exposed_secrets
from jupyter_mjci.errors import MjciError
from jupyter_mjci.services import Service, describe_setup, load_attribute, services
from jupyter_mjci.services.findings import Finding, ProbeContext
from jupyter_mjci.session import Session

NOT_CONFIGURED = "not configured"


def diagnose(session: Session) -> list[Finding]:
    """Check everything the session is configured for; sends a few requests to each service."""
    return event_loop.run(diagnose_async(session))


async def diagnose_async(session: Session) -> list[Finding]:
    """Check the session from code that runs on the event loop."""
    if session.recording:
        # The requests would be recorded, or would not be found in
        # the recording.
        message = "not checked: this session records or replays"
        return [Finding("services", None, message, "Run first: %mjci replay off")]
    findings = _check_profile_file()
    for service in services():
        section = session.settings.sections[service.key]
        if section.is_configured:
            context = ProbeContext(section, session.client.clock, session.client.transport)
            findings += await _diagnose_service(service, context)
        else:
            fix = f"Set {describe_setup(service, section)} to use it."
            findings.append(Finding(service.label, None, NOT_CONFIGURED, fix))
    return findings


async def _diagnose_service(service: Service, context: ProbeContext) -> list[Finding]:
    """Let a service check itself; of one that does not, read a page of its first listing."""
    if service.diagnose:
        findings: list[Finding] = await load_attribute(service.diagnose)(context)
        return findings
    sources = service.list_sync_sources(service.build_api(None, context.settings), (), ())
    if not sources:
        return []
    listing = sources[0].build(None, None)
    call: Call[Any] = listing.first_page if isinstance(listing, Paginator) else listing
    try:
        call.parse(await context.build_transport().send(call))
    except MjciError as error:
        return [Finding(service.label, False, error.message, error.hint)]
    return [Finding(service.label, True, f"accepted by {call.path}")]


def _check_profile_file() -> list[Finding]:
    exposed, _, fix = find_exposed_secrets().partition(" Run: ")
    return [Finding("profiles.toml", False, exposed, fix)] if exposed else []


__all__ = ["Finding", "diagnose", "diagnose_async"]
