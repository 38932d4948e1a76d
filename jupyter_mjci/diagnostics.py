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
from jupyter_mjci.client.calls import Call, Reply
from jupyter_mjci.client.settings import AUTH_STYLES, Secret
from jupyter_mjci.client.transport import Origin, Transport, mj_auth
from jupyter_mjci.errors import CIError, MjciError, NoSuchEndpoint, TransportError
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.fallbacks import NOBODY
from jupyter_mjci.session import Session

PATIENCE = 10.0  # seconds for one answer


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` is None where it is neither good nor bad, or could not be
    found out.
    """

    what: str
    ok: bool | None
    said: str
    change: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "NOT OK", None: "–"}[self.ok]
        return f"{mark}: {self.said}{f' → {self.change}' if self.change else ''}"


def probed(session: Session) -> list[Finding]:
    """Looks at everything that the session is set up for. Takes a few requests to each service."""
    return event_loop.run(probe(session))


async def probe(session: Session) -> list[Finding]:
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
            _midjourney,
            "Set MJCI_MJ_URL and MJCI_MJ_SECRET to use one.",
        ),
        (
            session.settings.has_ci,
            "Tencent CI",
            _tencent,
            "Set MJCI_CI_SECRET_ID, …_SECRET_KEY, …_BUCKET and …_REGION to use it.",
        ),
    )
    findings = []
    for configured, name, look, how in parts:
        findings += (
            await look(session) if configured else [Finding(name, None, "not configured", how)]
        )
    return findings


def _way(session: Session, mj: Origin | None = None) -> Transport:
    """The session's own way to the services, with little patience, and where told to another proxy
    address.
    """
    origins = {**session.transport.origins, **({"mj": mj} if mj else {})}
    timeout = min(session.settings.timeout, PATIENCE)
    return Transport(
        origins, clock=session.clock, timeout=timeout, at_once=1, door=session.transport.door
    )


# --- Midjourney -----------------------------------------------------------------------------------

ACCEPTED, REFUSED, ELSEWHERE, TROUBLE = "accepted", "refused", "elsewhere", "trouble"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to ask for a task that nobody has, and what came of it."""

    base: str
    style: str
    secret: Secret
    verdict: str
    reply: Reply

    @property
    def origin(self) -> Origin:
        return Origin(self.base, authorize=mj_auth(self.style, self.secret))


async def _midjourney(session: Session) -> list[Finding]:
    try:
        attempts = await _attempts(session)
    except TransportError as error:
        return [Finding("Midjourney address", False, " ".join((error.what, error.why)), error.hint)]
    last = attempts[-1]
    if last.verdict != ACCEPTED:
        return _turned_down(session, attempts)
    findings = [_address(session, last.base), _secret(session, last)]
    return findings + await _abilities(session, last)


async def _attempts(session: Session) -> list[Attempt]:
    """Address by address, one style of telling the secret after the other, until one is
    accepted.
    """
    settings, attempts = session.settings, list[Attempt]()
    styles = [settings.mj_auth, *(style for style in AUTH_STYLES if style != settings.mj_auth)]
    for base in _addresses(settings.mj_url):
        for secret in _secrets(settings.mj_secret):
            for style in styles if secret else styles[:1]:
                attempt = await _attempt(session, base, style, secret)
                attempts.append(attempt)
                if attempt.verdict == ACCEPTED:
                    return attempts
                if (
                    attempt.verdict != REFUSED
                ):  # telling the secret in another way changes nothing then
                    break
    return attempts


async def _attempt(session: Session, base: str, style: str, secret: Secret) -> Attempt:
    way = _way(session, Origin(base, authorize=mj_auth(style, secret)))
    try:
        reply = await way.send(Midjourney().task(NOBODY))
    finally:
        await way.close()
    return Attempt(base, style, secret, _verdict(reply), reply)


def _addresses(url: str) -> list[str]:
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


def _secrets(secret: Secret) -> list[Secret]:
    """The secret without blanks around it; and without a "Bearer " that was copied with it."""
    bare = secret.reveal().strip()
    return [Secret(text) for text in dict.fromkeys([bare, bare.removeprefix("Bearer ").strip()])]


def _verdict(reply: Reply) -> str:
    if reply.status in (401, 403):
        return REFUSED
    if reply.status == 429 or reply.status >= 500:
        return TROUBLE
    if reply.is_page:
        return ELSEWHERE
    if not reply.body.strip():
        return ACCEPTED if reply.status in (200, 204) else ELSEWHERE
    try:
        told = json.loads(reply.body)
    except ValueError:
        return ELSEWHERE
    odd = reply.status >= 300 and not (
        isinstance(told, dict) and {"description", "result"} & set(told)
    )
    return ELSEWHERE if odd else ACCEPTED


def _turned_down(session: Session, attempts: Sequence[Attempt]) -> list[Finding]:
    """No way was accepted: what the address as it was given said, and if that was a no to the
    secret, so be it.
    """
    first = next((one for one in attempts if one.verdict == REFUSED), attempts[0])
    where = shown(first.base)
    if first.verdict == TROUBLE:
        said = f"{where} is in trouble (HTTP {first.reply.status})"
        return [
            Finding(
                "Midjourney address", False, said, "Try again later; the proxy's own log says more."
            )
        ]
    if first.verdict == ELSEWHERE:
        kind = "a web page" if first.reply.is_page else "something that is no proxy"
        said = f"{kind} answers at {where} (HTTP {first.reply.status})"
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


def _address(session: Session, base: str) -> Finding:
    given = session.settings.mj_url.rstrip("/").removesuffix("/mj")
    change = "" if base == given else f"Set MJCI_MJ_URL={shown(base)}"
    return Finding("Midjourney address", not change, f"a proxy answers at {shown(base)}", change)


_HEADERS = {"secret": "mj-api-secret", "bearer": "Authorization: Bearer …", "raw": "Authorization"}


def _secret(session: Session, found: Attempt) -> Finding:
    settings = session.settings
    if not settings.mj_secret:
        return Finding("Midjourney secret", True, "none is set, and none is wanted")
    changes = []
    if found.style != settings.mj_auth:
        changes.append(f"Set MJCI_MJ_AUTH={found.style}")
    if found.secret != settings.mj_secret:
        changes.append('Take the blanks, or "Bearer ", off MJCI_MJ_SECRET')
    said = f"accepted as {found.style} ({_HEADERS[found.style]})"
    return Finding("Midjourney secret", not changes, said, "; ".join(changes))


# name, call, what is so without it
_ABILITIES: tuple[tuple[str, Callable[[Midjourney], Call[Any]], str], ...] = (
    ("Midjourney listing", lambda mj: mj.tasks(), "only tasks of the journal are listed"),
    (
        "Midjourney queue",
        lambda mj: mj.queue(),
        "it is made of what the listing, or the journal, tells",
    ),
    (
        "Midjourney several at once",
        lambda mj: mj.tasks([NOBODY]),
        "each followed task is asked after by itself",
    ),
)


async def _abilities(session: Session, found: Attempt) -> list[Finding]:
    way = _way(session, found.origin)
    try:
        findings = [
            await _ability(way, name, ask(Midjourney()), without)
            for name, ask, without in _ABILITIES
        ]
        pressing = await way.send(Call("mj", "action", "GET", "/mj/submit/action", _as_it_came))
    finally:
        await way.close()
    buttons = _buttons(pressing)
    has = {finding.what.split()[1]: finding.said == OFFERED for finding in findings}
    family = _family(has["listing"], has["queue"], buttons.said == OFFERED, found.reply)
    return [Finding("Midjourney family", None, family), *findings, buttons]


OFFERED = "offered"


def _as_it_came(reply: Reply) -> Reply:
    return reply


async def _ability(way: Transport, what: str, call: Call[Any], without: str) -> Finding:
    try:
        call.read(await way.send(call))
    except NoSuchEndpoint:
        return Finding(what, None, f"not offered: {without}")
    except MjciError as error:
        return Finding(what, False, " ".join((error.what, error.why)).strip(), error.hint)
    return Finding(what, True, OFFERED)


def _buttons(reply: Reply) -> Finding:
    """Looking at a submission's address submits nothing; most families tell then whether it is
    one.
    """
    if reply.status == 405 or (reply.status in (200, 400) and not reply.is_page):
        return Finding("Midjourney buttons", True, OFFERED)
    if reply.status == 404:
        return Finding(
            "Midjourney buttons", None, "not offered: U1 to U4, V1 to V4 and 🔄 are done by change"
        )
    return Finding("Midjourney buttons", None, "this server does not tell without a submission")


def _family(listing: bool, queue: bool, buttons: bool, unknown: Reply) -> str:
    """The likeliest kind of server, by what it offers and by how it says that it has no such
    task.
    """
    if unknown.status == 204:
        return "the .NET family (trueai)"
    if not listing and not queue:
        return "a relay (new-api or its like)"
    return "the Java family with buttons (plus)" if buttons else "the Java family (the original)"


# --- Tencent CI -----------------------------------------------------------------------------------

SKEW = 60.0  # seconds that clocks may differ without a word
NOT_OURS = frozenset(
    {"NoSuchBucket", "PicBucketUnBinded", "NoSuchKey"}
)  # said to those whom the service believes


async def _tencent(session: Session) -> list[Finding]:
    way = _way(session)
    try:
        return await _asked(session, way)
    except TransportError as error:
        hint = f"{error.hint} Check MJCI_CI_BUCKET, MJCI_CI_REGION and MJCI_CI_ENDPOINT.".strip()
        return [Finding("Tencent CI address", False, " ".join((error.what, error.why)), hint)]
    finally:
        await way.close()


async def _asked(session: Session, way: Transport) -> list[Finding]:
    bucket, jobs = session.ci.bucket, session.ci.jobs(size=1).first
    reply = await way.send(jobs)
    clock, said = _clock(session, reply), _refusal(jobs, reply)
    if isinstance(said, MjciError) and not isinstance(
        said, CIError
    ):  # a page, or nothing that can be read
        return [Finding("Tencent CI address", False, said.what, said.hint)]
    if said is not None and said.code not in NOT_OURS:
        return [clock, _unsigned(said, clock)]
    if clock.ok is False:  # a sandbox whose time runs faster, say: it takes ours as well
        clock = replace(clock, ok=None, change="It takes our signatures all the same.")
    findings = [clock, Finding("Tencent CI signature", True, "accepted")]
    objects = session.ci.objects(limit=1).first
    no = _refusal(objects, await way.send(objects))
    findings.append(
        Finding(
            f"bucket {bucket}",
            no is None,
            "there" if no is None else no.what,
            no.hint if no else "",
        )
    )
    bound = session.ci.buckets(names=[bucket])
    return [*findings, _bound(bucket, bound, await way.send(bound))] if no is None else findings


def _refusal(call: Call[Any], reply: Reply) -> Any:
    """What the service says against it, or None."""
    try:
        call.read(reply)
    except MjciError as error:
        return error
    return None


def _unsigned(error: CIError, clock: Finding) -> Finding:
    if clock.ok is False and error.code in _LATE:
        return Finding(
            "Tencent CI signature",
            False,
            error.what,
            "Set the clock first: signatures hold for a time.",
        )
    change = (
        error.hint
        if error.code in _KEYS
        else "May this key use CI? Its user needs rights on the bucket and CI."
    )
    return Finding("Tencent CI signature", False, error.what, change)


_LATE = frozenset(
    {"AccessDenied", "RequestTimeTooSkewed", "ExpiredToken"}
)  # what a wrong clock may be told
_KEYS = frozenset({"SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed"})


def _clock(session: Session, reply: Reply) -> Finding:
    """Ours against the one that the answer tells of."""
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Finding("clock", None, "the service does not tell its time")
    ahead = session.clock.now() - theirs
    if abs(ahead) <= SKEW:
        return Finding("clock", True, "agrees with the service's")
    said = f"{_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the service's"
    return Finding(
        "clock", False, said, "Set this machine's clock: signatures are made for a time."
    )


def _span(seconds: float) -> str:
    size, name = next(unit for unit in _UNITS if seconds >= 2 * unit[0] or unit[0] == 1)
    return f"{seconds / size:.0f} {name}"


_UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def _bound(bucket: str, call: Call[Any], reply: Reply) -> Finding:
    what = f"{bucket} in CI"
    try:
        found: Iterable[Any] = call.read(reply)
    except MjciError as error:
        return Finding(what, None, f"could not be asked: {error.what}")
    if any(one.get("BucketId") == bucket or one.get("Name") == bucket for one in found):
        return Finding(what, True, "bound to picture processing")
    return Finding(
        what,
        False,
        "not bound to picture processing",
        "Bind it in Tencent's console (CI, buckets).",
    )


def shown(url: str) -> str:
    """An address without user and password, which may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
