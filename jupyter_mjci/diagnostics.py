"""What works and what does not between us and the services, found out by asking: addresses,
secrets, clocks, abilities.

Only harmless questions are asked (a task that nobody has, one page of a listing), once each and
with little patience. A finding says what is so and what to change; no finding holds a secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.settings import AUTH_STYLES, Secret
from jupyter_mjci.client.transport import Endpoint, Transport, build_mj_auth
from jupyter_mjci.errors import CIError, MjciError, TransportError, Unsupported
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.fallbacks import PROBE_ID
from jupyter_mjci.session import Session

PROBE_TIMEOUT = 10.0  # seconds for one answer


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None where it is neither good nor bad, or could not be
    found out.
    """

    name: str
    ok: bool | None
    message: str
    fix: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "NOT OK", None: "–"}[self.ok]
        return f"{mark}: {self.message}{f' → {self.fix}' if self.fix else ''}"


def diagnose(session: Session) -> list[Finding]:
    """Looks at everything that the session is set up for. Takes a few requests to each service."""
    return event_loop.run(diagnose_async(session))


async def diagnose_async(session: Session) -> list[Finding]:
    """The same on the engine."""
    if session.recording:
        return [
            Finding(
                "services",
                None,
                "a recording stands before them",
                "To probe them: %mjci replay off",
            )
        ]
    parts = (
        (
            session.settings.has_mj,
            "Midjourney",
            _check_midjourney,
            "Set MJCI_MJ_URL and MJCI_MJ_SECRET to use one.",
        ),
        (
            session.settings.has_ci,
            "Tencent CI",
            _check_tencent_ci,
            "Set MJCI_CI_SECRET_ID, …_SECRET_KEY, …_BUCKET and …_REGION to use it.",
        ),
    )
    findings = []
    for configured, name, look, how in parts:
        findings += (
            await look(session) if configured else [Finding(name, None, "not configured", how)]
        )
    return findings


def _build_transport(session: Session, mj_endpoint: Endpoint | None = None) -> Transport:
    """The session's own way to the services, with little patience, and where told to another proxy
    address.
    """
    origins = {**session.transport.endpoints, **({"mj": mj_endpoint} if mj_endpoint else {})}
    timeout = min(session.settings.timeout, PROBE_TIMEOUT)
    return Transport(
        origins,
        clock=session.clock,
        timeout=timeout,
        at_once=1,
        transport=session.transport.custom_transport,
    )


# --- Midjourney -----------------------------------------------------------------------------------

ACCEPTED, REJECTED, NOT_A_PROXY, SERVER_ERROR = "accepted", "refused", "elsewhere", "trouble"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to ask for a task that nobody has, and what came of it."""

    base_url: str
    auth_style: str
    secret: Secret
    verdict: str
    response: Response

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.base_url, authorize=build_mj_auth(self.auth_style, self.secret))


async def _check_midjourney(session: Session) -> list[Finding]:
    try:
        attempts = await _try_addresses(session)
    except TransportError as error:
        return [
            Finding(
                "Midjourney address", False, " ".join((error.message, error.detail)), error.hint
            )
        ]
    last = attempts[-1]
    if last.verdict != ACCEPTED:
        return _explain_failure(session, attempts)
    findings = [_check_address(session, last.base_url), _check_secret(session, last)]
    return findings + await _check_features(session, last)


async def _try_addresses(session: Session) -> list[Attempt]:
    """Address by address, one style of telling the secret after the other, until one is
    accepted.
    """
    settings, attempts = session.settings, list[Attempt]()
    styles = [settings.mj_auth, *(style for style in AUTH_STYLES if style != settings.mj_auth)]
    for base in _list_candidate_urls(settings.mj_url):
        for secret in _list_candidate_secrets(settings.mj_secret):
            for style in styles if secret else styles[:1]:
                attempt = await _try_address(session, base, style, secret)
                attempts.append(attempt)
                if attempt.verdict == ACCEPTED:
                    return attempts
                if (
                    attempt.verdict != REJECTED
                ):  # telling the secret in another way changes nothing then
                    break
    return attempts


async def _try_address(session: Session, base: str, style: str, secret: Secret) -> Attempt:
    way = _build_transport(session, Endpoint(base, authorize=build_mj_auth(style, secret)))
    try:
        reply = await way.send(Midjourney().task(PROBE_ID))
    finally:
        await way.close()
    return Attempt(base, style, secret, _classify_response(reply), reply)


def _list_candidate_urls(url: str) -> list[str]:
    """The address as it was given, and those above it, should it hold too much: …/v1,
    …/mj/submit/imagine.
    """
    given = url.rstrip("/").removesuffix("/mj")
    parts = urlsplit(given)
    segments = [segment for segment in parts.path.split("/") if segment]
    if "mj" in segments:
        segments = segments[: segments.index("mj")]
    shorter = ["/".join(["", *segments[:length]]) for length in range(len(segments), -1, -1)]
    above = [parts._replace(path=path, query="", fragment="").geturl() for path in shorter]
    return list(dict.fromkeys([given, *above]))[:4]


def _list_candidate_secrets(secret: Secret) -> list[Secret]:
    """The secret without blanks around it; and without a "Bearer " that was copied with it."""
    bare = secret.reveal().strip()
    return [Secret(text) for text in dict.fromkeys([bare, bare.removeprefix("Bearer ").strip()])]


def _classify_response(reply: Response) -> str:
    if reply.status in (401, 403):
        return REJECTED
    if reply.status == 429 or reply.status >= 500:
        return SERVER_ERROR
    if reply.is_html:
        return NOT_A_PROXY
    if not reply.body.strip():
        return ACCEPTED if reply.status in (200, 204) else NOT_A_PROXY
    try:
        told = json.loads(reply.body)
    except ValueError:
        return NOT_A_PROXY
    odd = reply.status >= 300 and not (
        isinstance(told, dict) and {"description", "result"} & set(told)
    )
    return NOT_A_PROXY if odd else ACCEPTED


def _explain_failure(session: Session, attempts: Sequence[Attempt]) -> list[Finding]:
    """No way was accepted: what the address as it was given said, and if that was a no to the
    secret, so be it.
    """
    first = next((one for one in attempts if one.verdict == REJECTED), attempts[0])
    where = sanitize_url(first.base_url)
    if first.verdict == SERVER_ERROR:
        said = f"{where} is in trouble (HTTP {first.response.status})"
        return [
            Finding(
                "Midjourney address", False, said, "Try again later; the proxy's own log says more."
            )
        ]
    if first.verdict == NOT_A_PROXY:
        kind = "a web page" if first.response.is_html else "something that is no proxy"
        said = f"{kind} answers at {where} (HTTP {first.response.status})"
        return [
            Finding(
                "Midjourney address",
                False,
                said,
                "Set MJCI_MJ_URL to what stands before /mj/ in its API.",
            )
        ]
    secret = session.settings.mj_secret
    said = (
        "refused as " + ", ".join(AUTH_STYLES) if secret else "none is set, and the proxy wants one"
    )
    return [
        Finding("Midjourney address", True, f"a server answers at {where}"),
        Finding(
            "Midjourney secret", False, said, "Set MJCI_MJ_SECRET to the proxy's own secret or key."
        ),
    ]


def _check_address(session: Session, base: str) -> Finding:
    given = session.settings.mj_url.rstrip("/").removesuffix("/mj")
    change = "" if base == given else f"Set MJCI_MJ_URL={sanitize_url(base)}"
    return Finding(
        "Midjourney address", not change, f"a proxy answers at {sanitize_url(base)}", change
    )


_AUTH_HEADERS = {
    "secret": "mj-api-secret",
    "bearer": "Authorization: Bearer …",
    "raw": "Authorization",
}


def _check_secret(session: Session, found: Attempt) -> Finding:
    settings = session.settings
    if not settings.mj_secret:
        return Finding("Midjourney secret", True, "none is set, and none is wanted")
    changes = []
    if found.auth_style != settings.mj_auth:
        changes.append(f"Set MJCI_MJ_AUTH={found.auth_style}")
    if found.secret != settings.mj_secret:
        changes.append('Take the blanks, or "Bearer ", off MJCI_MJ_SECRET')
    said = f"accepted as {found.auth_style} ({_AUTH_HEADERS[found.auth_style]})"
    return Finding("Midjourney secret", not changes, said, "; ".join(changes))


# name, call, what is so without it
_FEATURES: tuple[tuple[str, Callable[[Midjourney], Call[Any]], str], ...] = (
    ("Midjourney listing", lambda mj: mj.tasks(), "only tasks of the journal are listed"),
    (
        "Midjourney queue",
        lambda mj: mj.queue(),
        "it is made of what the listing, or the journal, tells",
    ),
    (
        "Midjourney several at once",
        lambda mj: mj.tasks([PROBE_ID]),
        "each followed task is asked after by itself",
    ),
)


async def _check_features(session: Session, found: Attempt) -> list[Finding]:
    way = _build_transport(session, found.endpoint)
    try:
        findings = [
            await _check_feature(way, name, ask(Midjourney()), without)
            for name, ask, without in _FEATURES
        ]
        pressing = await way.send(
            Call("mj", "action", "GET", "/mj/submit/action", _return_response)
        )
    finally:
        await way.close()
    buttons = _check_buttons(pressing)
    has = {finding.name.split()[1]: finding.message == SUPPORTED for finding in findings}
    family = _guess_family(
        has["listing"], has["queue"], buttons.message == SUPPORTED, found.response
    )
    return [Finding("Midjourney family", None, family), *findings, buttons]


SUPPORTED = "offered"


def _return_response(reply: Response) -> Response:
    return reply


async def _check_feature(
    transport: Transport, name: str, call: Call[Any], consequence: str
) -> Finding:
    try:
        call.parse(await transport.send(call))
    except Unsupported:
        return Finding(name, None, f"not offered: {consequence}")
    except MjciError as error:
        return Finding(name, False, " ".join((error.message, error.detail)).strip(), error.hint)
    return Finding(name, True, SUPPORTED)


def _check_buttons(reply: Response) -> Finding:
    """Looking at a submission's address submits nothing; most families tell then whether it is
    one.
    """
    if reply.status == 405 or (reply.status in (200, 400) and not reply.is_html):
        return Finding("Midjourney buttons", True, SUPPORTED)
    if reply.status == 404:
        return Finding(
            "Midjourney buttons", None, "not offered: U1 to U4, V1 to V4 and 🔄 are done by change"
        )
    return Finding("Midjourney buttons", None, "this server does not tell without a submission")


def _guess_family(listing: bool, queue: bool, buttons: bool, unknown: Response) -> str:
    """The likeliest kind of server, by what it offers and by how it says that it has no such
    task.
    """
    if unknown.status == 204:
        return "the .NET family (trueai)"
    if not listing and not queue:
        return "a relay (new-api or its like)"
    return "the Java family with buttons (plus)" if buttons else "the Java family (the original)"


# --- Tencent CI -----------------------------------------------------------------------------------

MAX_CLOCK_SKEW = 60.0  # seconds that clocks may differ without a word
AUTHENTICATED_ERROR_CODES = frozenset(
    {"NoSuchBucket", "PicBucketUnBinded", "NoSuchKey"}
)  # said to those whom the service believes


async def _check_tencent_ci(session: Session) -> list[Finding]:
    way = _build_transport(session)
    try:
        return await _run_ci_checks(session, way)
    except TransportError as error:
        hint = f"{error.hint} Check MJCI_CI_BUCKET, MJCI_CI_REGION and MJCI_CI_ENDPOINT.".strip()
        return [Finding("Tencent CI address", False, " ".join((error.message, error.detail)), hint)]
    finally:
        await way.close()


async def _run_ci_checks(session: Session, transport: Transport) -> list[Finding]:
    bucket, jobs = session.ci.bucket, session.ci.jobs(size=1).first_page
    reply = await transport.send(jobs)
    clock, said = _check_clock(session, reply), _get_error(jobs, reply)
    if isinstance(said, MjciError) and not isinstance(
        said, CIError
    ):  # a page, or nothing that can be read
        return [Finding("Tencent CI address", False, said.message, said.hint)]
    if said is not None and said.code not in AUTHENTICATED_ERROR_CODES:
        return [clock, _explain_signature_error(said, clock)]
    if clock.ok is False:  # a sandbox whose time runs faster, say: it takes ours as well
        clock = replace(clock, ok=None, fix="It takes our signatures all the same.")
    findings = [clock, Finding("Tencent CI signature", True, "accepted")]
    objects = session.ci.objects(limit=1).first_page
    no = _get_error(objects, await transport.send(objects))
    findings.append(
        Finding(
            f"bucket {bucket}",
            no is None,
            "there" if no is None else no.message,
            no.hint if no else "",
        )
    )
    bound = session.ci.buckets(names=[bucket])
    return (
        [*findings, _check_bucket_binding(bucket, bound, await transport.send(bound))]
        if no is None
        else findings
    )


def _get_error(call: Call[Any], reply: Response) -> Any:
    """What the service says against it, or None."""
    try:
        call.parse(reply)
    except MjciError as error:
        return error
    return None


def _explain_signature_error(error: CIError, clock: Finding) -> Finding:
    if clock.ok is False and error.code in _CLOCK_ERROR_CODES:
        return Finding(
            "Tencent CI signature",
            False,
            error.message,
            "Set the clock first: signatures hold for a time.",
        )
    change = (
        error.hint
        if error.code in _CREDENTIAL_ERROR_CODES
        else "May this key use CI? Its user needs rights on the bucket and CI."
    )
    return Finding("Tencent CI signature", False, error.message, change)


_CLOCK_ERROR_CODES = frozenset(
    {"AccessDenied", "RequestTimeTooSkewed", "ExpiredToken"}
)  # what a wrong clock may be told
_CREDENTIAL_ERROR_CODES = frozenset(
    {"SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed"}
)


def _check_clock(session: Session, reply: Response) -> Finding:
    """Ours against the one that the answer tells of."""
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Finding("clock", None, "the service does not tell its time")
    ahead = session.clock.now() - theirs
    if abs(ahead) <= MAX_CLOCK_SKEW:
        return Finding("clock", True, "agrees with the service's")
    said = f"{_format_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the service's"
    return Finding(
        "clock", False, said, "Set this machine's clock: signatures are made for a time."
    )


def _format_duration(seconds: float) -> str:
    size, name = next(unit for unit in _TIME_UNITS if seconds >= 2 * unit[0] or unit[0] == 1)
    return f"{seconds / size:.0f} {name}"


_TIME_UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def _check_bucket_binding(bucket: str, call: Call[Any], reply: Response) -> Finding:
    what = f"{bucket} in CI"
    try:
        found: Iterable[Any] = call.parse(reply)
    except MjciError as error:
        return Finding(what, None, f"could not be asked: {error.message}")
    if any(one.get("BucketId") == bucket or one.get("Name") == bucket for one in found):
        return Finding(what, True, "bound to picture processing")
    return Finding(
        what,
        False,
        "not bound to picture processing",
        "Bind it in Tencent's console (CI, buckets).",
    )


def sanitize_url(url: str) -> str:
    """An address without user and password, which may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
