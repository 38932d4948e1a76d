"""AWS signatures V4 and the dialect of S3, by AWS's own examples and by a signer of the test's."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.emulator.cos.aws_signature import verify_aws_signature
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.tencent_ci.service import TencentCI
from jupyter_mjci.emulator.xml import ErrorResponse
from tests.emulator.cos_client import (
    BUCKET,
    CI_HOST,
    COS_HOST,
    KEY,
    KEY_ID,
    REGION,
    parse_response,
    to_list,
)

# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
AWS_KEYS = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
AWS_HOST = "examplebucket.s3.amazonaws.com"
AWS_NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY_HASH = hashlib.sha256().hexdigest()
SCOPE = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"


def build_aws_request(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    signed: str,
    signature: str,
    body: bytes = b"",
) -> Request:
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={signed},Signature={signature}"
    )
    all_headers = {
        "host": AWS_HOST,
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        **headers,
        "authorization": authorization,
    }
    return Request(method, AWS_HOST, path, query, all_headers, body)


DATE = "host;x-amz-content-sha256;x-amz-date"
PUT_HEADERS = {
    "date": "Fri, 24 May 2013 00:00:00 GMT",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
}
EXAMPLES = {
    "get": build_aws_request(
        "GET",
        "/test.txt",
        "",
        {"range": "bytes=0-9"},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put": build_aws_request(
        "PUT",
        "/test$file.text",
        "",
        PUT_HEADERS,
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        b"Welcome to Amazon S3.",
    ),
    "lifecycle": build_aws_request(
        "GET",
        "/",
        "lifecycle",
        {},
        DATE,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list": build_aws_request(
        "GET",
        "/",
        "max-keys=2&prefix=J",
        {},
        DATE,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
    "presigned": Request(
        "GET",
        AWS_HOST,
        "/test.txt",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={quote(SCOPE, safe='')}"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        {"host": AWS_HOST},
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_aws_verifies_and_only_as_it_was_signed(name: str) -> None:
    request = EXAMPLES[name]
    assert verify_aws_signature(request, AWS_KEYS, [AWS_NOW]) in AWS_KEYS
    other = Request(
        request.method, request.host, "/other", request.query, request.headers, request.body
    )
    with pytest.raises(ErrorResponse) as caught:
        verify_aws_signature(other, AWS_KEYS, [AWS_NOW])
    assert caught.value.code == "SignatureDoesNotMatch"
    assert caught.value.extra_elements["CanonicalRequest"].splitlines()[1] == "/other"


# -- by a signer of the test's own


def sign_v4(
    clock: VirtualClock,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    host: str = COS_HOST,
    payload: str = "",
    key: str = KEY,
) -> Request:
    """Build a request that is signed as the documents say; `query` is sorted and encoded."""
    time = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
    payload = payload or hashlib.sha256(body).hexdigest()
    named = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": time, **(headers or {})}
    names = sorted(named)
    lines = "".join(f"{name}:{named[name]}\n" for name in names)
    encoded = quote(path, safe="/-_.~")
    canonical = f"{method}\n{encoded}\n{query}\n{lines}\n{';'.join(names)}\n{payload}"
    scope = f"{time[:8]}/{REGION}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}"
    secret = f"AWS4{key}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    named["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return Request(method, host, encoded, query, named, body)


@pytest.fixture
def ci() -> TencentCI:
    objects = {"note.txt": b"hello", "a/1": b"", "a/2": b"", "b 图+": b""}
    return TencentCI(VirtualClock(), objects=objects, wall_clock=None)


def send(ci: TencentCI, method: str, path: str, *args: object, **options: object) -> Response:
    assert isinstance(ci.clock, VirtualClock)
    return ci.handle(sign_v4(ci.clock, method, path, *args, **options))  # type: ignore[arg-type]


def test_headers_are_translated_both_ways(ci: TencentCI) -> None:
    headers = {"x-amz-meta-colour": "red", "x-amz-storage-class": "STANDARD_IA"}
    answer = send(ci, "PUT", "/new 图+.txt", "", b"abc", headers)
    assert answer.status == 200
    assert answer.headers["x-amz-request-id"]
    answer = send(ci, "GET", "/new 图+.txt")
    assert answer.body == b"abc"
    assert answer.headers["x-amz-meta-colour"] == answer.headers["x-cos-meta-colour"] == "red"
    assert answer.headers["x-amz-storage-class"] == "STANDARD_IA"


def test_copy_takes_the_words_of_s3(ci: TencentCI) -> None:
    headers = {
        "x-amz-copy-source": f"/{BUCKET}/note.txt",
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-meta-x": "y",
        "x-amz-tagging-directive": "REPLACE",
        "x-amz-tagging": "c=d",
    }
    assert send(ci, "PUT", "/copy", "", b"", headers).status == 200
    stored = ci.store.buckets[BUCKET].objects["copy"]
    assert stored.body == b"hello"
    assert stored.tags == {"c": "d"}
    assert stored.headers == {"x-cos-meta-x": "y"}


def test_second_version_of_listing_has_pages(ci: TencentCI) -> None:
    first = parse_response(send(ci, "GET", "/", "delimiter=%2F&list-type=2&max-keys=2"))
    assert first["KeyCount"] == "2"
    assert first["IsTruncated"] == "true"
    assert first["CommonPrefixes"]["Prefix"] == "a/"
    assert "NextMarker" not in first
    token = quote(first["NextContinuationToken"], safe="")
    query = f"continuation-token={token}&delimiter=%2F&list-type=2"
    second = parse_response(send(ci, "GET", "/", query))
    assert [row["Key"] for row in to_list(second["Contents"])] == ["note.txt"]
    assert second["IsTruncated"] == "false"
    assert "NextContinuationToken" not in second
    started = parse_response(send(ci, "GET", "/", "list-type=2&start-after=a%2F2"))
    assert [row["Key"] for row in to_list(started["Contents"])] == ["b 图+", "note.txt"]
    answer = send(ci, "GET", "/", "continuation-token=%21&list-type=2")
    assert (answer.status, parse_response(answer)["Code"]) == (400, "InvalidArgument")


def get_code(answer: Response) -> tuple[int, str]:
    return answer.status, parse_response(answer)["Code"]


DELETE = b"<Delete><Object><Key>note.txt</Key></Object></Delete>"
OLD_HEADERS = {"host": COS_HOST, "authorization": "AWS AKID:signature"}


def test_what_the_service_refuses_is_refused(ci: TencentCI) -> None:
    assert get_code(send(ci, "POST", "/", "delete=", DELETE)) == (400, "InvalidRequest")
    chunked = send(ci, "PUT", "/x", "", b"1", payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert get_code(chunked) == (411, "MissingContentLength")
    assert "when_required" in parse_response(chunked)["Message"]
    wrong_body = send(ci, "PUT", "/x", "", b"1", payload=EMPTY_HASH)
    assert get_code(wrong_body) == (400, "XAmzContentSHA256Mismatch")
    service_host = f"cos.{REGION}.myqcloud.com"
    for method in ("GET", "PUT"):
        answer = send(ci, method, f"/{BUCKET}/note.txt", host=service_host)
        assert get_code(answer) == (403, "PathStyleDomainForbidden")
    assert get_code(send(ci, "GET", "/jobs", host=CI_HOST)) == (403, "InvalidAuthorization")
    wrong_key = send(ci, "GET", "/note.txt", key="wrong")
    assert get_code(wrong_key) == (403, "SignatureDoesNotMatch")
    for query, headers in (
        ("", OLD_HEADERS),
        ("AWSAccessKeyId=A&Signature=x&Expires=9", {"host": COS_HOST}),
    ):
        old = ci.handle(Request("GET", COS_HOST, "/note.txt", query, headers))
        assert get_code(old) == (501, "NotImplemented")
        assert "version 4" in parse_response(old)["Message"]
    assert set(ci.store.buckets[BUCKET].objects) == {"note.txt", "a/1", "a/2", "b 图+"}


def test_time_of_signature_must_be_near(ci: TencentCI) -> None:
    assert isinstance(ci.clock, VirtualClock)
    request = sign_v4(ci.clock, "GET", "/note.txt")
    ci.clock.advance(899)
    assert ci.handle(request).status == 200
    ci.clock.advance(2)
    assert get_code(ci.handle(request)) == (403, "RequestTimeTooSkewed")
    presigned = EXAMPLES["presigned"]
    with pytest.raises(ErrorResponse, match="Request has expired"):
        verify_aws_signature(presigned, AWS_KEYS, [AWS_NOW + 86_401])


@pytest.mark.parametrize("lifetime", ["0", "604801", "x", ""])
def test_lifetime_of_presigned_url_has_limits(lifetime: str) -> None:
    request = EXAMPLES["presigned"]
    query = request.query.replace("Expires=86400", f"Expires={lifetime}")
    changed = Request("GET", AWS_HOST, request.path, query, request.headers)
    with pytest.raises(ErrorResponse, match="X-Amz-Expires"):
        verify_aws_signature(changed, AWS_KEYS, [AWS_NOW])


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=0",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=x-amz-date, Signature=0",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-none, Signature=0",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=é",
    ],
)
def test_authorization_that_is_none_is_refused(authorization: str) -> None:
    headers = {**EXAMPLES["list"].headers, "authorization": authorization}
    request = Request("GET", AWS_HOST, "/", "", headers)
    with pytest.raises(ErrorResponse) as caught:
        verify_aws_signature(request, AWS_KEYS, [AWS_NOW])
    assert caught.value.status == 403


def test_bucket_stands_in_the_path_of_a_bare_address(ci: TencentCI) -> None:
    host = "127.0.0.1:8000"
    assert send(ci, "GET", f"/{BUCKET}/note.txt", host=host).body == b"hello"
    names = parse_response(send(ci, "GET", "/", host=host))["Buckets"]["Bucket"]["Name"]
    assert names == BUCKET
    answer = send(ci, "GET", "/none-1250000000/note.txt", host=host)
    assert get_code(answer) == (404, "NoSuchBucket")
    assert send(ci, "PUT", "/new-1250000000", host=host).status == 200
    assert ci.store.buckets["new-1250000000"].region == REGION
