"""Verifies AWS signatures of version 4, which COS takes beside its own.

What was signed is what SignedHeaders names; the path counts as it
was sent. The region of the scope does not matter, as clients that
reach COS by a custom endpoint often have another one.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
https://cloud.tencent.com/document/product/436/37421
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.xml import ErrorResponse

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
# seconds; a start further ahead than this means a wrong clock
MAX_CLOCK_SKEW = 900.0
MAX_LIFETIME = 604_800  # seconds, of a presigned URL
V2_REFUSED = (
    "AWS signatures of version 2 are not emulated: "
    "use version 4 (AWS4-HMAC-SHA256), "
    "or a client that signs for COS (q-sign-algorithm=sha1)."
)
# Seen with the service since AWS SDKs send trailing checksums.
CHUNKED_REFUSED = (
    "You must provide the Content-Length HTTP header. "
    "COS does not read the aws-chunked encoding: set "
    'request_checksum_calculation="when_required" '
    "in the client."
)
_SIGNED_QUERY_RE = re.compile(r"(?:^|&)(?:X-Amz-Signature|AWSAccessKeyId)=")
_SCOPE_RE = re.compile(r"\d{8}/[^/]+/s3/aws4_request")
_QUERY_FIELDS = {
    "X-Amz-Credential": "Credential",
    "X-Amz-SignedHeaders": "SignedHeaders",
    "X-Amz-Signature": "Signature",
}


def is_aws_signed(request: Request) -> bool:
    """Return whether a request has a signature of AWS, of any version."""
    header = request.headers.get("authorization", "")
    if header.lstrip().startswith("AWS"):
        return True
    return bool(_SIGNED_QUERY_RE.search(request.query))


@dataclass(frozen=True, slots=True)
class AwsSignature:
    """The parts of a signature.

    `lifetime` (seconds) is that of a presigned URL, else 0.
    """

    key_id: str
    scope: str
    signed_headers: Sequence[str]
    signature: str
    time: str
    payload: str
    lifetime: int = 0

    @property
    def start(self) -> float:
        """When it was signed (epoch seconds)."""
        try:
            moment = datetime.strptime(self.time, "%Y%m%dT%H%M%SZ")
        except ValueError:
            raise access_denied("X-Amz-Date must be YYYYMMDDTHHMMSSZ.") from None
        return moment.replace(tzinfo=UTC).timestamp()


def verify_aws_signature(
    request: Request, secrets: Mapping[str, str], times: Sequence[float]
) -> str:
    """Verify a request.

    Args:
        request: the request
        secrets: the secret key of each key ID
        times: the times that it may be valid at (epoch seconds)

    Returns:
        The ID of the key that signed it.

    Raises:
        ErrorResponse: the signature is not valid, or its body is
            not the one that was signed
    """
    parsed = _parse(request)
    if parsed.key_id not in secrets:
        raise unknown_key()
    _check_time(parsed, times)
    _check_signature(parsed, request, secrets[parsed.key_id])
    _check_payload(parsed.payload, request.body)
    return parsed.key_id


def _parse(request: Request) -> AwsSignature:
    """Parse the signature from the header, or from a presigned URL."""
    text = request.headers.get("authorization", "").strip()
    params = dict(_split_query(request.query))
    if text.startswith(ALGORITHM):
        found = re.findall(r"(\w+)=([^,\s]+)", text.removeprefix(ALGORITHM))
        fields = dict(found)
        time = request.headers.get("x-amz-date", "")
        payload = request.headers.get("x-amz-content-sha256", "")
        lifetime = 0
    elif params.get("X-Amz-Algorithm") == ALGORITHM:
        fields = {name: params.get(key, "") for key, name in _QUERY_FIELDS.items()}
        time = params.get("X-Amz-Date", "")
        payload = UNSIGNED_PAYLOAD
        lifetime = _parse_lifetime(params.get("X-Amz-Expires", ""))
    else:
        raise ErrorResponse(501, "NotImplemented", V2_REFUSED)
    key_id, _, scope = fields.get("Credential", "").partition("/")
    if not _SCOPE_RE.fullmatch(scope):
        raise access_denied("Credential must be ID/YYYYMMDD/REGION/s3/aws4_request.")
    names = fields.get("SignedHeaders", "").lower()
    return AwsSignature(
        key_id,
        scope,
        [name for name in names.split(";") if name],
        fields.get("Signature", ""),
        time,
        payload,
        lifetime,
    )


def _parse_lifetime(text: str) -> int:
    if re.fullmatch(r"\d{1,6}", text, re.ASCII) and 1 <= int(text) <= MAX_LIFETIME:
        return int(text)
    raise access_denied(f"X-Amz-Expires must lie between 1 and {MAX_LIFETIME}.")


def _check_time(parsed: AwsSignature, times: Sequence[float]) -> None:
    start = parsed.start
    before = MAX_CLOCK_SKEW
    after = parsed.lifetime or MAX_CLOCK_SKEW
    if any(start - before <= now <= start + after for now in times):
        return
    if parsed.lifetime and start <= max(times):
        raise access_denied("Request has expired")
    message = "The difference between the request time and the current time is too large."
    raise ErrorResponse(403, "RequestTimeTooSkewed", message)


def _check_signature(parsed: AwsSignature, request: Request, secret: str) -> None:
    canonical = build_canonical_request(parsed, request)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((ALGORITHM, parsed.time, parsed.scope, digest))
    expected = _compute_signature(secret, parsed.scope, text)
    if hmac.compare_digest(expected.encode(), parsed.signature.encode()):
        return
    raise ErrorResponse(
        403,
        "SignatureDoesNotMatch",
        "The Signature you specified is invalid.",
        StringToSign=text,
        CanonicalRequest=canonical,
    )


def build_canonical_request(parsed: AwsSignature, request: Request) -> str:
    """Build what the signature is about, from the request as it came."""
    headers = {"host": request.host, **request.headers}
    names = parsed.signed_headers
    if "host" not in names or not headers.keys() >= set(names):
        raise access_denied("SignedHeaders must name the host, and headers that are there.")
    lines = []
    for name in names:
        value = " ".join(headers[name].split())
        lines.append(f"{name}:{value}\n")
    pairs = sorted(
        (_encode(name), _encode(value))
        for name, value in _split_query(request.query)
        if name != "X-Amz-Signature"
    )
    query = "&".join(f"{name}={value}" for name, value in pairs)
    path = unquote_to_bytes(request.path)
    parts = (
        request.method,
        quote(path, safe="/-_.~") or "/",
        query,
        "".join(lines),
        ";".join(names),
        parsed.payload,
    )
    return "\n".join(parts)


def _compute_signature(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _check_payload(payload: str, body: bytes) -> None:
    if payload == UNSIGNED_PAYLOAD:
        return
    if payload.startswith("STREAMING-"):
        raise ErrorResponse(411, "MissingContentLength", CHUNKED_REFUSED)
    if payload != hashlib.sha256(body).hexdigest():
        message = "The provided x-amz-content-sha256 does not match what was computed."
        raise ErrorResponse(400, "XAmzContentSHA256Mismatch", message)


def _split_query(query: str) -> list[tuple[str, str]]:
    """Split a query into decoded pairs; in AWS's signatures "+" is no blank."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return [(_decode(name), _decode(value)) for name, _, value in parts]


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _encode(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="-_.~")


def unknown_key() -> ErrorResponse:
    """Build the error for a key ID that is not the account's."""
    message = "The Access Key Id you provided does not exist in our records."
    return ErrorResponse(403, "InvalidAccessKeyId", message)


def access_denied(message: str) -> ErrorResponse:
    """Build the error for a signature that cannot be valid."""
    return ErrorResponse(403, "AccessDenied", message)
