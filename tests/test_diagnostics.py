"""Diagnostics on every proxy family, and with each setting wrong in turn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.diagnostics import Finding, diagnose
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session

BASE_URL = "http://mj.sandbox.localhost"


def diagnose_sandbox(**overrides: Any) -> dict[str, Finding]:
    """Return the findings for a sandbox with these settings; none of them contains a secret."""
    with mjci.sandbox(speed=math.inf, **overrides) as session:
        findings = diagnose(session)
        assert session.sandbox is not None
        settings = session.settings
        secrets = (settings.mj_secret.reveal(), settings.ci_secret_key.reveal())
        for secret in (*secrets, session.sandbox.options["mj_secret"]):
            assert not secret.strip() or secret.strip() not in str(findings)
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


# dialect -> family; whether it supports listing, queue, bulk fetch and buttons
FAMILIES = {
    "java": ("the Java family (the original)", True, True, True, None),
    "plus": ("the Java family with buttons (plus)", True, True, True, True),
    "trueai": ("the .NET family (trueai)", True, None, True, True),
    "trueai-9": ("the .NET family (trueai)", True, True, True, True),
    "new-api": ("a relay (new-api or its like)", None, None, True, None),
}


@pytest.mark.parametrize("dialect", FAMILIES)
def test_family_is_guessed_from_supported_features(dialect: str) -> None:
    """With correct settings no finding suggests a fix, for either service."""
    family, *supported = FAMILIES[dialect]
    findings = diagnose_sandbox(dialect=dialect)
    names = ("listing", "queue", "bulk fetch", "buttons")
    assert findings["Midjourney family"].message == family
    assert [findings[f"Midjourney {name}"].ok for name in names] == supported
    assert [finding for finding in findings.values() if finding.ok is False or finding.fix] == []
    assert findings["Tencent CI signature"].ok is findings["clock"].ok is True
    assert findings["demo-1250000000 in CI"].message == "bound to picture processing"


# dialect, settings, the finding that is not ok, the beginning of its fix
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
    ("plus", {"mj_url": f"{BASE_URL}/v1"}, "Midjourney address", f"Set MJCI_MJ_URL={BASE_URL}"),
    (
        "java",
        {"mj_url": f"{BASE_URL}/mj/submit/imagine"},
        "Midjourney address",
        f"Set MJCI_MJ_URL={BASE_URL}",
    ),
    (
        "trueai",
        {"mj_url": f"{BASE_URL}/api/v2"},
        "Midjourney address",
        f"Set MJCI_MJ_URL={BASE_URL}",
    ),
    ("plus", {"ci_secret_key": "hush-hush"}, "Tencent CI signature", "Check MJCI_CI_SECRET_KEY"),
    ("plus", {"ci_secret_id": "AKIDnobody"}, "Tencent CI signature", "Check MJCI_CI_SECRET_ID"),
    (
        "plus",
        {"ci_bucket": "other-1250000000"},
        "bucket other-1250000000",
        "Check MJCI_CI_BUCKET and MJCI_CI_REGION",
    ),
)


@pytest.mark.parametrize(("dialect", "overrides", "name", "fix"), SETTINGS)
def test_wrong_setting_is_the_only_failure_and_has_a_fix(
    dialect: str, overrides: dict[str, Any], name: str, fix: str
) -> None:
    findings = diagnose_sandbox(dialect=dialect, **overrides)
    assert [finding.name for finding in findings.values() if finding.ok is False] == [name]
    assert findings[name].fix.startswith(fix)


@pytest.mark.parametrize("ending", ["/mj", "/mj/", "/"])
def test_address_with_redundant_ending_is_ok(ending: str) -> None:
    assert diagnose_sandbox(mj_url=BASE_URL + ending)["Midjourney address"].ok is True


@pytest.mark.parametrize("form", [" {} ", "{}\n", "Bearer {}"])
def test_secret_with_bearer_prefix_is_recognized_and_blanks_are_no_matter(form: str) -> None:
    with mjci.sandbox() as session:
        secret = session.settings.mj_secret.reveal()
    finding = diagnose_sandbox(mj_secret=form.format(secret))["Midjourney secret"]
    assert finding.ok is not form.startswith("Bearer")
    if not finding.ok:
        assert 'Remove the blanks, or "Bearer ", from MJCI_MJ_SECRET' in finding.fix


CLOCKS = (
    (-7200, "2 hours behind", True),
    (400_000, "5 days ahead of", True),
    (90, "90 seconds ahead of", True),
    (-300, "5 minutes behind", False),
)


@pytest.mark.parametrize(("seconds", "message", "invalid"), CLOCKS)
def test_clock_skew_is_measured_by_the_services_date(
    seconds: float, message: str, invalid: bool
) -> None:
    """Skew fails only where it invalidates the signature, whose fix is then the clock."""
    with mjci.sandbox(speed=math.inf) as session:
        service_now = session.client.clock.now

        class SkewedClock(VirtualClock):
            def now(self) -> float:
                return service_now() + seconds

        skewed = Session(
            session.settings,
            clock=SkewedClock(math.inf),
            transport=session.client.transport.custom_transport,
        )
        findings = {finding.name: finding for finding in diagnose(skewed)}
        skewed.close()
    assert findings["clock"].message.startswith(message)
    assert findings["clock"].ok is (False if invalid else None)
    assert findings["Tencent CI signature"].ok is not invalid
    if invalid:
        assert findings["Tencent CI signature"].fix.startswith("Set the clock first:")


MOCK_SETTINGS = {
    "mj_url": "http://user:hush-hush@proxy.example/x",
    "mj_secret": "hush-hush",
    "ci_secret_id": "AKID",
    "ci_secret_key": "hush-hush",
    "ci_bucket": "b-1",
    "ci_region": "r",
}
OTHER_BUCKET = b"<Response><PicBucketList><BucketId>other-1</BucketId></PicBucketList></Response>"
EMPTY_BUCKET = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

# response or error, finding, ok, part of its message
RESPONSES: tuple[tuple[httpx.Response | Exception, str, bool | None, str], ...] = (
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
        "something that is not a proxy",
    ),
    (httpx.Response(502, text=""), "Midjourney address", False, "has a server error (HTTP 502)"),
    (httpx.Response(408, text=""), "Midjourney address", False, "has a server error (HTTP 408)"),
    (httpx.Response(429, text=""), "Midjourney address", False, "has a server error (HTTP 429)"),
    (
        httpx.Response(200, json={"code": 5, "description": "do_request_failed"}),
        "Midjourney address",
        False,
        "has a server error (HTTP 200)",
    ),
    (httpx.Response(401, text=""), "Midjourney secret", False, "rejected as secret, bearer, raw"),
    (
        httpx.Response(200, json={"code": 401, "msg": "no token"}),
        "Midjourney secret",
        False,
        "rejected as secret, bearer, raw",
    ),
    (
        httpx.Response(404, json={"error": {"message": "task not found"}}),
        "Midjourney secret",
        True,
        "accepted as secret",
    ),
    (
        httpx.Response(400, json={"code": 4, "description": "参数错误"}),
        "Midjourney secret",
        True,
        "accepted as secret",
    ),
    (httpx.Response(404, text=""), "Midjourney address", False, "something that is not a proxy"),
    (
        httpx.Response(404, json={"error": {"message": "Invalid URL"}}),
        "Midjourney address",
        False,
        "something that is not a proxy",
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
    (httpx.Response(200, content=OTHER_BUCKET), "b-1 in CI", False, "not bound"),
    (httpx.Response(200, content=OTHER_BUCKET), "clock", None, "does not send its time"),
)


@pytest.mark.parametrize(("response", "name", "ok", "message"), RESPONSES)
def test_any_response_becomes_a_finding(
    response: httpx.Response | Exception, name: str, ok: bool | None, message: str
) -> None:
    """HTML pages, gateway errors, no response: no exception and no secret."""

    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        if request.url.path == "/" and response.content == OTHER_BUCKET:
            return httpx.Response(200, content=EMPTY_BUCKET)
        return response

    session = Session(
        load_settings(MOCK_SETTINGS, environ={}),
        clock=VirtualClock(math.inf),
        transport=httpx.MockTransport(handle),
    )
    findings = {finding.name: finding for finding in diagnose(session)}
    session.close()
    assert findings[name].ok is ok
    assert message in findings[name].message
    assert "hush" not in str(findings)


def test_unconfigured_service_is_not_a_failure() -> None:
    session = Session(load_settings({}, environ={}))
    findings = diagnose(session)
    assert [(finding.ok, finding.message) for finding in findings] == [(None, "not configured")] * 2
    session.close()


def test_recorded_session_is_not_probed(tmp_path: Path) -> None:
    """The probes would be recorded too."""
    with mjci.sandbox() as session, session.record_to(tmp_path / "a.mjci") as recorded:
        assert [finding.ok for finding in diagnose(recorded)] == [None]
