"""What the doctor finds out by asking, on every family and with every setting wrong in turn."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.settings import load
from jupyter_mjci.diagnostics import Finding, diagnose
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.session import Session

PLACE = "http://mj.sandbox.localhost"


def found(**given: Any) -> dict[str, Finding]:
    """The findings on a sandbox with these settings; none of them tells a secret."""
    with mjci.sandbox(speed=math.inf, **given) as session:
        findings = diagnose(session)
        told = session.settings
        for secret in (
            told.mj_secret.reveal(),
            told.ci_secret_key.reveal(),
            session.sandbox.mj_secret,
        ):  # type: ignore[union-attr]
            assert not secret.strip() or secret.strip() not in str(findings)
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


# dialect -> family, what it offers of listing, queue, several at once and buttons
FAMILIES = {
    "java": ("the Java family (the original)", True, True, True, None),
    "plus": ("the Java family with buttons (plus)", True, True, True, True),
    "trueai": ("the .NET family (trueai)", True, None, True, True),
    "trueai-9": ("the .NET family (trueai)", True, True, True, True),
    "new-api": ("a relay (new-api or its like)", None, None, True, None),
}


@pytest.mark.parametrize("dialect", FAMILIES)
def test_a_family_is_known_by_what_it_offers(dialect: str) -> None:
    """And where all is right, nothing is to be changed, on both services."""
    family, *offers = FAMILIES[dialect]
    findings = found(dialect=dialect)
    names = ("listing", "queue", "several at once", "buttons")
    assert findings["Midjourney family"].message == family
    assert [findings[f"Midjourney {name}"].ok for name in names] == offers
    assert [finding for finding in findings.values() if finding.ok is False or finding.fix] == []
    assert findings["Tencent CI signature"].ok is findings["clock"].ok is True
    assert findings["demo-1250000000 in CI"].message == "bound to picture processing"


# settings, the finding that is not ok, what it tells to change
SETTINGS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("plus", {"mj_auth": "raw"}, "Midjourney secret", "Set MJCI_MJ_AUTH=secret"),
    ("java", {"mj_auth": "bearer"}, "Midjourney secret", "Set MJCI_MJ_AUTH=secret"),
    ("trueai", {"mj_auth": "bearer"}, "Midjourney secret", "Set MJCI_MJ_AUTH=secret"),
    (
        "plus",
        {"mj_secret": "hush-hush"},
        "Midjourney secret",
        "Set MJCI_MJ_SECRET to the proxy's own",
    ),
    (
        "new-api",
        {"mj_secret": "hush-hush"},
        "Midjourney secret",
        "Set MJCI_MJ_SECRET to the proxy's own",
    ),
    ("trueai", {"mj_secret": ""}, "Midjourney secret", "Set MJCI_MJ_SECRET to the proxy's own"),
    ("plus", {"mj_url": f"{PLACE}/v1"}, "Midjourney address", f"Set MJCI_MJ_URL={PLACE}"),
    (
        "java",
        {"mj_url": f"{PLACE}/mj/submit/imagine"},
        "Midjourney address",
        f"Set MJCI_MJ_URL={PLACE}",
    ),
    ("trueai", {"mj_url": f"{PLACE}/api/v2"}, "Midjourney address", f"Set MJCI_MJ_URL={PLACE}"),
    ("plus", {"ci_secret_key": "hush-hush"}, "Tencent CI signature", "Check MJCI_CI_SECRET_KEY"),
    ("plus", {"ci_secret_id": "AKIDnobody"}, "Tencent CI signature", "Check MJCI_CI_SECRET_ID"),
    (
        "plus",
        {"ci_bucket": "other-1250000000"},
        "bucket other-1250000000",
        "Check MJCI_CI_BUCKET and MJCI_CI_REGION",
    ),
)


@pytest.mark.parametrize(("dialect", "given", "what", "change"), SETTINGS)
def test_what_is_set_wrong_is_named_with_what_to_set(
    dialect: str, given: dict[str, Any], what: str, change: str
) -> None:
    """Only that, and the rest is still looked at."""
    findings = found(dialect=dialect, **given)
    assert [finding.name for finding in findings.values() if finding.ok is False] == [what]
    assert findings[what].fix.startswith(change)


@pytest.mark.parametrize("ending", ["/mj", "/mj/", "/"])
def test_an_address_may_end_as_it_likes(ending: str) -> None:
    assert found(mj_url=PLACE + ending)["Midjourney address"].ok is True


@pytest.mark.parametrize("form", [" {} ", "Bearer {}"])
def test_a_secret_that_was_copied_with_something_is_seen_through(form: str) -> None:
    """Blanks and the word Bearer are told, not the secret."""
    with mjci.sandbox() as session:
        right = session.settings.mj_secret.reveal()
    findings = found(mj_secret=form.format(right))
    assert findings["Midjourney secret"].ok is False
    assert 'Take the blanks, or "Bearer ", off MJCI_MJ_SECRET' in findings["Midjourney secret"].fix


CLOCKS = (
    (-7200, "2 hours behind", True),
    (400_000, "5 days ahead of", True),
    (90, "90 seconds ahead of", True),
    (-300, "5 minutes behind", False),
)


@pytest.mark.parametrize(("seconds", "said", "late"), CLOCKS)
def test_a_clock_that_is_wrong_is_found_out(seconds: float, said: str, late: bool) -> None:
    """By the service's own; a signature that fails then is the clock's fault, and while none fails
    it is none.
    """
    with mjci.sandbox(speed=math.inf) as session:
        theirs = session.clock.now

        class Ours(VirtualClock):
            def now(self) -> float:
                return theirs() + seconds

        session.clock = Ours(math.inf)
        wrong = Session(
            session.settings, clock=session.clock, transport=session.transport.custom_transport
        )
        findings = {finding.name: finding for finding in diagnose(wrong)}
        wrong.close()
    assert findings["clock"].message.startswith(said)
    assert findings["clock"].ok is (False if late else None)
    assert findings["Tencent CI signature"].ok is not late
    if late:
        assert (
            findings["Tencent CI signature"].fix
            == "Set the clock first: signatures hold for a time."
        )


GIVEN = {
    "mj_url": "http://user:hush-hush@proxy.example/x",
    "mj_secret": "hush-hush",
    "ci_secret_id": "AKID",
    "ci_secret_key": "hush-hush",
    "ci_bucket": "b-1",
    "ci_region": "r",
}
BOUND = b"<Response><PicBucketList><BucketId>other-1</BucketId></PicBucketList></Response>"
NONE = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

# what answers, (finding, ok, what it says)
ANSWERS: tuple[tuple[Any, str, bool | None, str], ...] = (
    (
        httpx.Response(200, html="<!doctype html><html>"),
        "Midjourney address",
        False,
        "a web page answers at http://pro",
    ),
    (
        httpx.Response(200, text="It works!"),
        "Midjourney address",
        False,
        "something that is no proxy",
    ),
    (httpx.Response(502, text=""), "Midjourney address", False, "is in trouble (HTTP 502)"),
    (httpx.Response(404, text=""), "Midjourney address", False, "something that is no proxy"),
    (
        httpx.Response(404, json={"error": {"message": "Invalid URL"}}),
        "Midjourney address",
        False,
        "no proxy",
    ),
    (
        httpx.ConnectError("refused"),
        "Midjourney address",
        False,
        "No response from http://proxy.example.",
    ),
    (
        httpx.ConnectError("refused"),
        "Tencent CI address",
        False,
        "No response from https://b-1.ci.r.myqcloud.com.",
    ),
    (httpx.Response(200, html="<html>"), "Tencent CI address", False, "is not XML"),
    (
        httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>"),
        "Tencent CI signature",
        False,
        "Denied",
    ),
    (httpx.Response(200, content=BOUND), "b-1 in CI", False, "not bound"),
    (httpx.Response(200, content=BOUND), "clock", None, "does not tell its time"),
)


@pytest.mark.parametrize(("answer", "what", "ok", "said"), ANSWERS)
def test_whatever_answers_is_told_plainly(
    answer: Any, what: str, ok: bool | None, said: str
) -> None:
    """Pages, gateways, nobody: a finding each, no exception and no secret."""

    def door(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        bucket = request.url.path == "/" and answer.content == BOUND
        return httpx.Response(200, content=NONE) if bucket else answer

    session = Session(
        load(GIVEN, environ={}), clock=VirtualClock(math.inf), transport=httpx.MockTransport(door)
    )
    findings = {finding.name: finding for finding in diagnose(session)}
    session.close()
    assert findings[what].ok is ok
    assert said in findings[what].message
    assert "hush" not in str(findings)


def test_what_is_not_configured_is_no_fault() -> None:
    """It is told how to."""
    session = Session(load({}, environ={}))
    assert [(finding.ok, finding.message) for finding in diagnose(session)] == [
        (None, "not configured")
    ] * 2
    session.close()


def test_a_recording_is_left_alone(tmp_path: Any) -> None:
    """Probing would be recorded, too."""
    with mjci.sandbox() as session, session.record_to(tmp_path / "a.mjci") as recorded:
        assert [finding.ok for finding in diagnose(recorded)] == [None]
