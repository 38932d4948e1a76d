"""Diagnose Tencent CI: the clock, the signature, the bucket, and whether CI processes it."""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.transport import Clock, Transport
from jupyter_mjci.errors import CIError, MjciError, TransportError
from jupyter_mjci.services.findings import Finding, ProbeContext
from jupyter_mjci.services.tencent_ci.api import TencentCI

# seconds that the clocks may differ unnoticed
MAX_CLOCK_SKEW = 60.0
ADDRESS, SIGNATURE = "Tencent CI address", "Tencent CI signature"

# Errors that are returned only after the signature was accepted.
AUTHENTICATED_ERROR_CODES = frozenset({"NoSuchBucket", "PicBucketUnBinded", "NoSuchKey"})
# Errors that a wrong clock may cause.
CLOCK_ERROR_CODES = frozenset({"AccessDenied", "RequestTimeTooSkewed", "ExpiredToken"})
CREDENTIAL_ERROR_CODES = frozenset(
    {"SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed"}
)


async def diagnose_tencent_ci(context: ProbeContext) -> list[Finding]:
    """Check the keys and the bucket of the settings. Sends a few requests that change nothing."""
    settings = context.settings
    ci = TencentCI(bucket=settings.bucket, region=settings.region)
    transport = context.build_transport()
    try:
        return await _run_checks(ci, transport, context.clock)
    except TransportError as error:
        hint = f"{error.hint} Check MJCI_CI_BUCKET, MJCI_CI_REGION and MJCI_CI_ENDPOINT.".strip()
        return [Finding(ADDRESS, False, f"{error.message} {error.detail}".strip(), hint)]
    finally:
        await transport.close()


async def _run_checks(
    ci: TencentCI,
    transport: Transport,
    clock: Clock,
) -> list[Finding]:
    jobs = ci.jobs(size=1).first_page
    response = await transport.send(jobs)
    clock_finding = _check_clock(clock, response)
    error = _get_error(transport, jobs, response)
    # an HTML page, or unreadable
    if error is not None and not isinstance(error, CIError):
        return [Finding(ADDRESS, False, error.message, error.hint)]
    if error is not None and error.code not in AUTHENTICATED_ERROR_CODES:
        return [clock_finding, _explain_signature_error(error, clock_finding)]
    if clock_finding.ok is False:
        # A sandbox whose time passes faster, for example.
        fix = "It accepts our signatures nevertheless."
        clock_finding = replace(clock_finding, ok=None, fix=fix)
    bucket = await _check_bucket(ci, transport)
    findings = [clock_finding, Finding(SIGNATURE, True, "accepted"), bucket]
    if bucket.ok:
        findings.append(await _check_bucket_binding(ci, transport))
    return findings


def _get_error(
    transport: Transport,
    call: Call[Any],
    response: Response,
) -> MjciError | None:
    """Return the error that parsing the response raises, if any."""
    try:
        transport.parse(call, response)
    except MjciError as error:
        return error
    return None


def _explain_signature_error(error: CIError, clock: Finding) -> Finding:
    if clock.ok is False and error.code in CLOCK_ERROR_CODES:
        fix = "Set the clock first: signatures are valid for a limited time."
    elif error.code in CREDENTIAL_ERROR_CODES:
        fix = error.hint
    else:
        fix = "Check that the key's user has permissions for the bucket and CI."
    return Finding(SIGNATURE, False, error.message, fix)


def _check_clock(clock: Clock, response: Response) -> Finding:
    """Compare our clock with the Date header of a response."""
    try:
        service_time = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Finding("clock", None, "the service does not send its time")
    ahead = clock.now() - service_time
    if abs(ahead) <= MAX_CLOCK_SKEW:
        return Finding("clock", True, "agrees with the service's")
    direction = "ahead of" if ahead > 0 else "behind"
    message = f"{_format_duration(abs(ahead))} {direction} the service's"
    return Finding("clock", False, message, "Set this machine's clock: signatures depend on it.")


def _format_duration(seconds: float) -> str:
    """Format a duration in the largest unit of which there are at least two."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


async def _check_bucket(ci: TencentCI, transport: Transport) -> Finding:
    name = f"bucket {ci.bucket}"
    objects = ci.objects(limit=1).first_page
    error = _get_error(transport, objects, await transport.send(objects))
    if error is not None:
        return Finding(name, False, error.message, error.hint)
    return Finding(name, True, "exists")


async def _check_bucket_binding(ci: TencentCI, transport: Transport) -> Finding:
    name = f"{ci.bucket} in CI"
    call = ci.buckets(names=[ci.bucket])
    response = await transport.send(call)
    try:
        buckets = transport.parse(call, response)
    except MjciError as error:
        return Finding(name, None, f"unknown: {error.message}")
    if any(ci.bucket in (bucket.get("BucketId"), bucket.get("Name")) for bucket in buckets):
        return Finding(name, True, "bound to picture processing")
    fix = "Bind it in Tencent's console (CI, buckets)."
    return Finding(name, False, "not bound to picture processing", fix)
