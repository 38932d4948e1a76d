"""The signature check, against vectors made with the official SDK and against every way to be
wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from jupyter_mjci.emulator.clock import EPOCH
from jupyter_mjci.emulator.cos.verifier import Verifier
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.xml import ErrorResponse
from tests.emulator.cos_client import (
    BUCKET,
    COS_HOST,
    KEY,
    KEY_ID,
    REGION,
    authorization,
    build_client,
    parse_response,
)

SAMPLES = json.loads(
    (Path(__file__).parents[2] / "samples" / "cos_signature.json").read_text("utf-8")
)
NOW = int(EPOCH)
SPAN = f"{NOW - 60};{NOW + 3600}"


def verifier(vector: dict[str, Any], **changes: Any) -> Verifier:
    now = changes.get("now", vector["now"])
    secrets = {vector["secret_id"]: changes.get("secret_key", vector["secret_key"])}
    return Verifier(secrets, None, (lambda: float(now),))


def vector_request(vector: dict[str, Any]) -> Request:
    parts = urlsplit(vector["wire_url"])
    headers = {"host": parts.netloc, **vector["headers"], "authorization": vector["authorization"]}
    lower = {name.lower(): value for name, value in headers.items()}
    return Request(vector["method"], parts.netloc, parts.path, parts.query, lower)


def presigned_request(vector: dict[str, Any]) -> Request:
    parts = urlsplit(vector["url"])
    return Request(
        vector["call"].get("Method", "GET"),
        parts.netloc,
        parts.path,
        parts.query,
        {"host": parts.netloc},
    )


CASES = [pytest.param(one, vector_request(one), id=one["name"]) for one in SAMPLES["vectors"]]
CASES += [pytest.param(one, presigned_request(one), id=one["name"]) for one in SAMPLES["presigned"]]


@pytest.mark.parametrize(("vector", "request_"), CASES)
def test_official_sdk_signatures_are_accepted(vector: dict[str, Any], request_: Request) -> None:
    """What the official SDK signs is genuine."""
    assert verifier(vector).verify(request_) == vector["secret_id"]


@pytest.mark.parametrize(("vector", "request_"), CASES)
def test_signature_with_another_key_is_refused(vector: dict[str, Any], request_: Request) -> None:
    """The same request is refused when our key is another."""
    with pytest.raises(ErrorResponse) as caught:
        verifier(vector, secret_key="another").verify(request_)
    assert (caught.value.status, caught.value.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(("vector", "request_"), CASES)
def test_expired_signature_is_refused(vector: dict[str, Any], request_: Request) -> None:
    """A second after the signature's end, it is too late."""
    with pytest.raises(ErrorResponse) as caught:
        verifier(vector, now=vector["now"] + vector["expire"] + 1).verify(request_)
    assert (caught.value.status, caught.value.code, caught.value.message) == (
        403,
        "AccessDenied",
        "Request has expired",
    )


def send_signed(
    given: str | None,
    query: str = "",
    path: str = "/in/a.png",
    host: str = COS_HOST,
    *,
    sts: Any = None,
    **headers: str,
) -> Response:
    wire = (
        {"host": host, **headers}
        if given is None
        else {"host": host, "authorization": given, **headers}
    )
    return build_client(sts_token=sts).ci.handle(
        Request("GET", host.rpartition(":")[0] or host, path, query, wire)
    )


def signed(
    params: dict[str, str] | None = None, path: str = "/in/a.png", span: str = SPAN, **more: Any
) -> str:
    headers = more.pop("headers", {"host": COS_HOST})
    return authorization("GET", path, params or {}, headers, span, **more)


REFUSALS = {
    "no signature": (None, 403, "AccessDenied"),
    "not a signature": ("Bearer sandbox", 403, "AccessDenied"),
    "another key": (signed(key="another"), 403, "SignatureDoesNotMatch"),
    "unknown key id": (signed(key_id="AKIDnobody"), 403, "InvalidAccessKeyId"),
    "expired": (signed(span=f"{NOW - 600};{NOW - 1}"), 403, "AccessDenied"),
    "not yet": (signed(span=f"{NOW + 60};{NOW + 600}"), 403, "AccessDenied"),
    "a wrong clock": (signed(span=f"{NOW + 3600};{NOW + 7200}"), 403, "RequestTimeTooSkewed"),
    "another path": (signed(path="/in/b.png"), 403, "SignatureDoesNotMatch"),
    "another method": (
        authorization("PUT", "/in/a.png", {}, {"host": COS_HOST}, SPAN),
        403,
        "SignatureDoesNotMatch",
    ),
    "another algorithm": (signed().replace("=sha1", "=sha256"), 403, "AccessDenied"),
    "no time": (signed().replace(f"q-key-time={SPAN}", "q-key-time=soon"), 403, "AccessDenied"),
    "a field missing": (signed().replace("q-url-param-list=&", ""), 403, "AccessDenied"),
    "a listed header that did not come": (
        signed(headers={"host": COS_HOST, "x-cos-meta-a": "1"}),
        403,
        "SignatureDoesNotMatch",
    ),
    "a listed parameter that did not come": (
        signed({"versions": "1"}),
        403,
        "SignatureDoesNotMatch",
    ),
    "a listed parameter without a value": (
        signed({"imageMogr2/rotate/90": ""}),
        403,
        "SignatureDoesNotMatch",
    ),
    "a listed header without a value": (
        signed(headers={"x-cos-meta-a": ""}),
        403,
        "SignatureDoesNotMatch",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_invalid_signature_is_refused_with_full_error(name: str) -> None:
    """Each way to be wrong has its code, and the error has every element that clients need."""
    given, status, code = REFUSALS[name]
    answer = send_signed(given)
    error = parse_response(answer)
    assert (answer.status, error["Code"]) == (status, code)
    assert all(error[element] for element in ("Message", "Resource", "RequestId", "TraceId"))
    assert answer.headers["x-cos-request-id"] == error["RequestId"]


def test_signature_error_has_expected_string_to_sign() -> None:
    """A mismatch says which HttpString the service saw, which is how people find their mistake."""
    assert parse_response(send_signed(signed(key="another")))["FormatString"].startswith(
        "get\n/in/a.png\n\nhost="
    )


PRESENT = {
    "nothing signed but the path": (signed(headers={}), {}),
    "the host as it came, with its port": (
        signed(headers={"host": f"{COS_HOST}:8080"}),
        {"host": f"{COS_HOST}:8080"},
    ),
    "the host without its port": (signed(), {"host": f"{COS_HOST}:8080"}),
    "a header of ours": (
        signed(headers={"host": COS_HOST, "x-cos-meta-a": "1 2"}),
        {"x_cos_meta_a": "1 2"},
    ),
    "a header in UTF-8": (
        signed(headers={"x-cos-meta-a": "图"}),
        {"x_cos_meta_a": "图".encode().decode("latin-1")},
    ),
    "a blank as +": (
        signed({"response-content-type": "a b"}),
        {"query": "response-content-type=a+b"},
    ),
    "a blank as %20": (
        signed({"response-content-type": "a b"}),
        {"query": "response-content-type=a%20b"},
    ),
    "a parameter without a value": (signed({"x": ""}), {"query": "x"}),
    "an unsigned parameter": (signed(), {"query": "cancel"}),
    "a key in capitals": (signed({"X-Y": "1"}), {"query": "X-Y=1"}),
}


@pytest.mark.parametrize("name", PRESENT)
def test_client_variations_are_accepted(name: str) -> None:
    """The lists of the signature say what was signed; hosts, blanks and bytes are read in each
    usual way.
    """
    given, wire = PRESENT[name]
    assert (
        send_signed(given, **{key.replace("_", "-"): value for key, value in wire.items()}).status
        == 200
    )


def test_header_list_order_is_tried() -> None:
    """Node sorts parameters by their raw key but lists them by the encoded one."""
    one, two = "a%", "a!"
    ordered = sorted((one, two), reverse=True)
    joined = "&".join(f"{quote(name, safe='').lower()}=1" for name in ordered)
    text = f"get\n/in/a.png\n{joined}\n\n"
    digest = hashlib.sha1(text.encode()).hexdigest()
    key = hmac.new(KEY.encode(), SPAN.encode(), hashlib.sha1).hexdigest()
    signature = hmac.new(
        key.encode(), f"sha1\n{SPAN}\n{digest}\n".encode(), hashlib.sha1
    ).hexdigest()
    names = ";".join(quote(name, safe="").lower() for name in ordered)
    given = (
        f"q-sign-algorithm=sha1&q-ak={KEY_ID}&q-sign-time={SPAN}&q-key-time={SPAN}"
        f"&q-header-list=&q-url-param-list={names}&q-signature={signature}"
    )
    assert send_signed(given, query="a%25=1&a%21=1").status == 200


def in_query(given: str, rest: str = "") -> str:
    parts = (part.partition("=") for part in given.split("&"))
    return "&".join(
        [
            *(f"{name}={quote(value, safe='')}" for name, _, value in parts),
            *([rest] if rest else []),
        ]
    )


def test_presigned_url_needs_no_authorization_header() -> None:
    """The seven q-* parameters stand in the query; the others are signed as ever."""
    rule = "imageMogr2/rotate/90"
    answer = send_signed(None, in_query(signed({rule: ""}), quote(rule, safe="") + "="))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")


def test_sign_parameter_is_accepted() -> None:
    """`?sign=<the Authorization value, encoded>`."""
    assert send_signed(None, "sign=" + quote(signed(), safe="")).status == 200
    assert send_signed(None, "sign=" + quote(signed(key="another"), safe="")).status == 403


def test_changed_presigned_url_is_refused() -> None:
    """Another object or another rule under the same signature is refused."""
    assert send_signed(None, in_query(signed()), path="/in/b.png").status == 403
    other = send_signed(
        None, in_query(signed({"imageMogr2/rotate/90": ""}), "imageMogr2%2Frotate%2F80=")
    )
    assert parse_response(other)["Code"] == "SignatureDoesNotMatch"


TOKENS = ["x-cos-security-token", "x-ci-security-token"]


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize(("token", "status"), [("good", 200), ("bad", 403)])
def test_session_token_is_checked_under_both_names(name: str, token: str, status: int) -> None:
    """As a header (signed or not) and as a parameter; a token that is not ours is refused."""
    with_header = signed(headers={"host": COS_HOST, name: token})
    answers = [
        send_signed(with_header, sts="good", **{name: token}),
        send_signed(signed(), sts=["good", "better"], **{name: token}),
        send_signed(signed({name: token}), f"{name}={token}", sts="good"),
        send_signed(None, in_query(signed({name: token}), f"{name}={token}"), sts="good"),
    ]
    assert [answer.status for answer in answers] == [status] * 4


def test_any_session_token_is_accepted_by_default() -> None:
    """A sandbox that issues no tokens takes every one."""
    assert send_signed(signed(), **{"x-cos-security-token": "whatever"}).status == 200


def test_signature_is_valid_by_either_clock() -> None:
    """A client lives in real time while the sandbox's clock may run ahead; both count as now."""
    client = build_client(wall_clock=lambda: 1_700_000_000.0)
    for start in (1_700_000_000, NOW):
        given = signed(span=f"{start - 1};{start + 1}")
        request = Request(
            "GET", COS_HOST, "/in/a.png", "", {"host": COS_HOST, "authorization": given}
        )
        assert client.ci.handle(request).status == 200


def test_missing_bucket_is_reported_after_signature_check() -> None:
    """Unsigned 403, signed 404 NoSuchBucket; a region of another name is another bucket."""
    for host in (
        f"none-1250000000.cos.{REGION}.myqcloud.com",
        f"{BUCKET}.cos.ap-beijing.myqcloud.com",
    ):
        answers = [
            send_signed(given, path="/", host=host)
            for given in (None, signed(path="/", headers={"host": host}))
        ]
        assert [parse_response(answer)["Code"] for answer in answers] == [
            "AccessDenied",
            "NoSuchBucket",
        ]
