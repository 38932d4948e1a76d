"""Diagnose a Midjourney proxy: its address, how it takes the secret, its family and features.

A task that does not exist is requested with each plausible
address, secret and header in turn, until one is accepted. What
differs from the settings is the finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.outcomes import Classified, Outcome, Reason, classify
from jupyter_mjci.client.redaction import strip_signature
from jupyter_mjci.client.settings import Secret
from jupyter_mjci.client.transport import Endpoint, Transport
from jupyter_mjci.errors import InvalidResponse, MjciError, TransportError, Unsupported
from jupyter_mjci.services.findings import Finding, ProbeContext
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.codes import CODES
from jupyter_mjci.services.midjourney.connection import (
    AUTH_STYLES,
    MidjourneySettings,
    build_mj_auth,
    get_base_url,
)
from jupyter_mjci.services.midjourney.fallbacks import PROBE_ID

MAX_ADDRESSES = 4
SUPPORTED = "supported"
ADDRESS, SECRET, BUTTONS = "Midjourney address", "Midjourney secret", "Midjourney buttons"

AUTH_HEADERS = {
    "secret": "mj-api-secret",
    "bearer": "Authorization: Bearer …",
    "raw": "Authorization",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to request a task that does not exist, and its response."""

    base_url: str
    auth_style: str
    secret: Secret
    response: Response
    classified: Classified
    credentials: Secret

    @property
    def is_rejected(self) -> bool:
        return self.classified.reason in (Reason.UNAUTHORIZED, Reason.FORBIDDEN)

    @property
    def is_server_error(self) -> bool:
        """Whether it does not answer now; a page or words with status 200 are of another server."""
        if self.classified.reason in (Reason.NO_ANSWER, Reason.CHALLENGE):
            return False
        return self.classified.outcome in (Outcome.BUSY, Outcome.UNKNOWN)

    @property
    def is_accepted(self) -> bool:
        """Whether a proxy answered that there is no such task.

        Proxies refuse with a description or a result; another
        {"error": …} is some other API.
        """
        if self.is_rejected or self.is_server_error:
            return False
        if self.classified.reason is Reason.NOT_FOUND or _has_proxy_fields(self.classified):
            return True
        return self.classified.is_result and _is_answer(self.response)

    @property
    def endpoint(self) -> Endpoint:
        authorize = build_mj_auth(self.auth_style, self.secret)
        return Endpoint(self.base_url, authorize=authorize, credentials=self.credentials)


async def diagnose_midjourney(context: ProbeContext) -> list[Finding]:
    """Check the proxy of the settings. Sends a few requests that change nothing."""
    try:
        attempts = await _try_addresses(context)
    except TransportError as error:
        return [Finding(ADDRESS, False, f"{error.message} {error.detail}".strip(), error.hint)]
    last = attempts[-1]
    if not last.is_accepted:
        return _explain_failure(context.settings, attempts)
    return [
        _check_address(context.settings, last.base_url),
        _check_secret(context.settings, last),
        *await _check_features(context, last),
    ]


# --- address and secret -----------------------------------------


async def _try_addresses(context: ProbeContext) -> list[Attempt]:
    """Try every address, secret and header, until one combination is accepted."""
    attempts: list[Attempt] = []
    configured = context.settings.auth
    styles = [configured, *(style for style in AUTH_STYLES if style != configured)]
    for base_url in _list_candidate_urls(context.settings.url):
        for secret in _list_candidate_secrets(context.settings.secret):
            for style in styles if secret else styles[:1]:
                attempt = await _try_address(context, base_url, style, secret)
                attempts.append(attempt)
                if attempt.is_accepted:
                    return attempts
                if not attempt.is_rejected:
                    # sending the secret in another header would
                    # not help
                    break
    return attempts


async def _try_address(
    context: ProbeContext,
    base_url: str,
    style: str,
    secret: Secret,
) -> Attempt:
    credentials = Secret(getattr(context.settings.url, "credentials", ""))
    authorize = build_mj_auth(style, secret)
    endpoint = Endpoint(base_url, authorize=authorize, credentials=credentials)
    transport = context.build_transport(mj=endpoint)
    try:
        response = await transport.send(Midjourney().task(PROBE_ID))
    finally:
        await transport.close()
    classified = classify(response, CODES)
    return Attempt(base_url, style, secret, response, classified, credentials)


def _list_candidate_urls(url: str) -> list[str]:
    """Return the configured address and its parents, in case it contains too much.

    Common mistakes are …/v1 and …/mj/submit/imagine.
    """
    configured = url.rstrip("/").removesuffix("/mj")
    parts = urlsplit(configured)
    segments = [segment for segment in parts.path.split("/") if segment]
    if "mj" in segments:
        segments = segments[: segments.index("mj")]
    candidates = [configured]
    for length in range(len(segments), -1, -1):
        path = "/".join(["", *segments[:length]])
        candidates.append(parts._replace(path=path, query="", fragment="").geturl())
    return list(dict.fromkeys(candidates))[:MAX_ADDRESSES]


def _list_candidate_secrets(secret: Secret) -> list[Secret]:
    """Return the secret without blanks around it, and without a "Bearer " copied along with it."""
    stripped = secret.reveal().strip()
    candidates = (stripped, stripped.removeprefix("Bearer ").strip())
    return [Secret(candidate) for candidate in dict.fromkeys(candidates)]


def _has_proxy_fields(classified: Classified) -> bool:
    document = classified.document
    return isinstance(document, dict) and not document.keys().isdisjoint({"description", "result"})


def _is_answer(response: Response) -> bool:
    """Return whether a result says "no such task" as proxies do: with JSON, or nothing at all."""
    if not response.body.strip():
        return True
    try:
        response.json()
    except InvalidResponse:
        return False
    return True


def _explain_failure(settings: MidjourneySettings, attempts: Sequence[Attempt]) -> list[Finding]:
    """Explain why no attempt was accepted, by the first that reached a proxy, else by the first."""
    rejected = [attempt for attempt in attempts if attempt.is_rejected]
    first = rejected[0] if rejected else attempts[0]
    url = strip_signature(first.base_url)
    status = f"(HTTP {first.response.status})"
    if first.is_server_error:
        fix = "Try again later; see the proxy's own log."
        return [Finding(ADDRESS, False, f"{url} has a server error {status}", fix)]
    if not first.is_rejected:
        server = "a web page" if first.response.is_html else "something that is not a proxy"
        fix = "Set MJCI_MJ_URL to the part of the API's URLs before /mj/."
        return [Finding(ADDRESS, False, f"{server} answers at {url} {status}", fix)]
    message = "not set, but the proxy requires one"
    if settings.secret:
        message = f"rejected as {', '.join(AUTH_STYLES)}"
    return [
        Finding(ADDRESS, True, f"a server answers at {url}"),
        Finding(SECRET, False, message, "Set MJCI_MJ_SECRET to the proxy's own secret or key."),
    ]


def _check_address(settings: MidjourneySettings, base_url: str) -> Finding:
    url = strip_signature(base_url)
    is_configured = base_url == get_base_url(settings)
    fix = "" if is_configured else f"Set MJCI_MJ_URL={url}"
    return Finding(ADDRESS, is_configured, f"a proxy answers at {url}", fix)


def _check_secret(settings: MidjourneySettings, accepted: Attempt) -> Finding:
    if not settings.secret:
        return Finding(SECRET, True, "not set, and not required")
    fixes = []
    if accepted.auth_style != settings.auth:
        fixes.append(f"Set MJCI_MJ_AUTH={accepted.auth_style}")
    if accepted.secret != settings.secret:
        fixes.append('Remove the blanks, or "Bearer ", from MJCI_MJ_SECRET')
    header = AUTH_HEADERS[accepted.auth_style]
    message = f"accepted as {accepted.auth_style} ({header})"
    return Finding(SECRET, not fixes, message, "; ".join(fixes))


# --- features and family ----------------------------------------


@dataclass(frozen=True, slots=True)
class Feature:
    """An endpoint that some families lack, and what happens without it."""

    name: str
    build: Callable[[Midjourney], Call[Any]]
    consequence: str


LISTING = Feature("listing", lambda mj: mj.tasks(), "only tasks in the journal are listed")
QUEUE = Feature("queue", lambda mj: mj.queue(), "it is derived from the listing or the journal")
BULK = Feature("bulk fetch", lambda mj: mj.tasks([PROBE_ID]), "each followed task is polled alone")


async def _check_features(context: ProbeContext, accepted: Attempt) -> list[Finding]:
    transport = context.build_transport(mj=accepted.endpoint)
    try:
        listing = await _check_feature(transport, LISTING)
        queue = await _check_feature(transport, QUEUE)
        bulk = await _check_feature(transport, BULK)
        buttons = await _check_buttons(transport)
    finally:
        await transport.close()
    family = _guess_family(listing, queue, buttons, accepted.response)
    return [Finding("Midjourney family", None, family), listing, queue, bulk, buttons]


async def _check_feature(transport: Transport, feature: Feature) -> Finding:
    name = f"Midjourney {feature.name}"
    call = feature.build(Midjourney())
    try:
        transport.parse(call, await transport.send(call))
    except Unsupported:
        return Finding(name, None, f"not supported: {feature.consequence}")
    except MjciError as error:
        return Finding(name, False, f"{error.message} {error.detail}".strip(), error.hint)
    return Finding(name, True, SUPPORTED)


async def _check_buttons(transport: Transport) -> Finding:
    """Check the submission endpoint by a GET, which submits nothing.

    Most families answer it differently where the endpoint exists.
    """
    call = Call("mj", "action", "GET", "/mj/submit/action", lambda response: response)
    response = await transport.send(call)
    if response.status == 405 or (response.status in (200, 400) and not response.is_html):
        return Finding(BUTTONS, True, SUPPORTED)
    if response.status == 404:
        consequence = "U1 to U4, V1 to V4 and 🔄 are sent as change"
        return Finding(BUTTONS, None, f"not supported: {consequence}")
    return Finding(BUTTONS, None, "unknown: this server does not tell without a submission")


def _guess_family(
    listing: Finding,
    queue: Finding,
    buttons: Finding,
    missing: Response,
) -> str:
    """Guess the proxy family by its features and its response to a task that does not exist."""
    if missing.status == 204:
        return "the .NET family (trueai)"
    if not listing.ok and not queue.ok:
        return "a relay (new-api or its like)"
    return "the Java family with buttons (plus)" if buttons.ok else "the Java family (the original)"
