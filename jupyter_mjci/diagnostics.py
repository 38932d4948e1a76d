"""Find out what is configured wrong by asking the services: addresses, secrets, clocks, features.

Only harmless requests are sent (a task that does not exist, one
page of a listing), once each and with a short timeout. Each
service checks itself, see its `diagnostics` module.
"""

from __future__ import annotations

from jupyter_mjci.client import event_loop
from jupyter_mjci.services.findings import Finding, ProbeContext, sanitize_url
from jupyter_mjci.services.midjourney.diagnostics import diagnose_midjourney
from jupyter_mjci.services.tencent_ci.diagnostics import diagnose_tencent_ci
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
    settings = session.settings
    context = ProbeContext(settings, session.clock, session.transport)
    findings = []
    if settings.has_mj:
        findings += await diagnose_midjourney(context)
    else:
        fix = "Set MJCI_MJ_URL and MJCI_MJ_SECRET to use a proxy."
        findings.append(Finding("Midjourney", None, NOT_CONFIGURED, fix))
    if settings.has_ci:
        findings += await diagnose_tencent_ci(context)
    else:
        fix = "Set MJCI_CI_SECRET_ID, …_SECRET_KEY, …_BUCKET and …_REGION to use it."
        findings.append(Finding("Tencent CI", None, NOT_CONFIGURED, fix))
    return findings


__all__ = ["Finding", "diagnose", "diagnose_async", "sanitize_url"]
