"""Requests about buckets and objects: what they ask for, their parameters, bodies and responses."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote_plus

from jupyter_mjci.emulator.cos.conditions import select_encryption, select_stored_headers
from jupyter_mjci.emulator.cos.grants import parse_grant_headers
from jupyter_mjci.emulator.cos.store import (
    Bucket,
    StoredObject,
    build_object,
    check_key,
    guess_content_type,
)
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.xml import ErrorResponse, build_xml, invalid_argument

MAX_KEYS = 1000
MAX_PART_NUMBER = 10_000
MAX_TAGS = 10  # of an object
MAX_BUCKET_TAGS = 50
XML_HEADERS = {"Content-Type": "application/xml"}
# What a query can ask for beside the object or the listing
# itself.
SUBRESOURCES = frozenset(
    """
    accelerate acl append ci-process comp cors delete domain domaincertificate encryption
    image_process intelligent-tiering intelligenttiering inventory lifecycle live location logging
    notification object-lock origin policy referer replication responsecontrol restore select
    symlink style tagging torrent uploadId uploads versioning versions vod website
    """.split()  # noqa: SIM905
)
# What clients send with a listing or an upload even if it is
# empty.
PLAIN_PARAMS = frozenset(
    """
    delimiter encoding-type key-marker marker max-keys max-parts max-uploads part-number-marker
    partNumber position prefix sign upload-id-marker version-id-marker versionId
    x-ci-security-token x-cos-security-token
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A genuine request, with its bucket, the time, and a new request ID.

    On the CI plane `resource` is the first part of the path and
    `key` the rest.
    """

    request: Request
    bucket: Bucket
    key: str
    params: Mapping[str, str]
    now: float
    request_id: str
    resource: str = ""

    def get_header(self, name: str) -> str:
        """Return a header by its lower-case name, "" where there is none."""
        return self.request.headers.get(name, "")


def method_not_allowed() -> ErrorResponse:
    """Build the error for a method that a resource does not have."""
    message = "The specified method is not allowed against this resource."
    return ErrorResponse(405, "MethodNotAllowed", message)


def find_subresource(context: RequestContext) -> str:
    """Return what a query asks for instead of the object or the listing, "" for these.

    A bare name that is not known is a function, too: the
    service's, but not this one's. Otherwise `DELETE /?function`
    would delete the bucket.
    """
    for name in context.params:
        if name in SUBRESOURCES:
            return name
    if context.key and context.request.method in ("GET", "HEAD"):
        return ""
    for name, value in context.params.items():
        if not value and name not in PLAIN_PARAMS:
            return name
    return ""


def format_iso_time(timestamp: float) -> str:
    """Format a time as the object plane does: UTC, with milliseconds."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def xml_response(
    root: str, content: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """Build a successful response."""
    return Response(200, build_xml(root, content), {**XML_HEADERS, **(headers or {})})


def parse_int_param(
    params: Mapping[str, str], name: str, default: int, minimum: int, maximum: int
) -> int:
    """Parse a whole number among the parameters; an empty one counts as missing.

    Raises:
        ErrorResponse: it is not a number, or out of range
    """
    text = params.get(name, "")
    if not text:
        value = default
    elif re.fullmatch(r"\d{1,10}", text, re.ASCII):
        value = int(text)
    else:
        raise invalid_argument(f"{name} is not a number.")
    if not minimum <= value <= maximum:
        raise invalid_argument(f"{name} must lie between {minimum} and {maximum}.")
    return value


def parse_copy_source(header: str) -> tuple[str, str]:
    """Return what x-cos-copy-source names.

    Clients send it with a scheme, with leading slashes, encoded
    as a whole (also as a form is, with + for a blank), or with a
    key that is not encoded at all.

    Returns:
        The host with the path (still encoded), and the ID of the
        version, "" where none is named.
    """
    with contextlib.suppress(UnicodeError):
        header = header.encode("latin-1").decode()
    if "/" not in header.strip("/"):
        header = _split_encoded_source(header)
    header = re.sub(r"^(https?:)?/*", "", header)
    address, _, query = header.partition("?")
    params = dict(parse_qsl(query))
    return address, params.get("versionId", "")


def _split_encoded_source(header: str) -> str:
    """Return a copy source that is encoded as a whole, as the official PHP samples have it, with
    nothing but its key encoded.
    """
    address, separator, version = unquote_plus(header).partition("?versionId=")
    place = re.match(r"(https?:)?/*[^/]*/?", address)
    start = place.end() if place else 0
    return address[:start] + quote(address[start:]) + separator + version


def parse_tags(header: str) -> dict[str, str]:
    """Parse x-cos-tagging: `Key1=Value1&Key2=Value2`, percent-encoded.

    Raises:
        ErrorResponse: a tag is not valid
    """
    return check_tags(parse_qsl(header, keep_blank_values=True))


def find_tagged(context: RequestContext) -> Bucket | StoredObject:
    """Return what a request about tags means: an object, or the bucket."""
    return context.bucket.get(context.key) if context.key else context.bucket


def check_tags(tags: Sequence[tuple[str, str]], limit: int = MAX_TAGS) -> dict[str, str]:
    """Return the tags by name.

    https://cloud.tencent.com/document/product/436/42993

    Raises:
        ErrorResponse: there are too many, or one is not valid
    """
    for name, value in tags:
        if not 1 <= len(name) <= 128 or len(value) > 256:
            message = "A tag's name has 1 to 128 characters, its value at most 256."
            raise ErrorResponse(400, "InvalidTag", message)
    if len(tags) > limit or len({name for name, _ in tags}) < len(tags):
        message = f"There are at most {limit} tags, all of different names."
        raise ErrorResponse(400, "InvalidTag", message)
    return dict(tags)


def check_overwrite(context: RequestContext) -> None:
    """Check that an upload may replace what is there.

    https://cloud.tencent.com/document/product/436/7749

    Raises:
        ErrorResponse: x-cos-forbid-overwrite forbids it
    """
    is_forbidden = context.get_header("x-cos-forbid-overwrite").lower() == "true"
    if is_forbidden and context.key in context.bucket.objects:
        raise ErrorResponse(409, "FileAlreadyExists", "The object exists already.")


def check_md5(context: RequestContext, computed: str = "") -> None:
    """Check the Content-MD5 of a body, if there is one.

    `computed` is the body's MD5 in hex, where it is known.
    """
    header = context.get_header("content-md5")
    if not header:
        return
    try:
        digest = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise ErrorResponse(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    if digest.hex() != (computed or hashlib.md5(context.request.body).hexdigest()):
        message = "The Content-MD5 you specified did not match what we received."
        raise ErrorResponse(400, "BadDigest", message)


def read_uploaded_object(context: RequestContext) -> StoredObject:
    """Build an object from the body and the headers of an upload."""
    check_key(context.key)
    headers = select_stored_headers(context.request.headers)
    content_type = context.get_header("content-type") or guess_content_type(context.key)
    stored = build_object(context.request.body, context.now, content_type, headers)
    check_md5(context, stored.etag.strip('"'))
    stored.tags = parse_tags(context.get_header("x-cos-tagging"))
    stored.grants = parse_grant_headers(context.request.headers)
    return stored


def build_checksum_headers(stored: StoredObject) -> dict[str, str]:
    """Build the headers by which a client checks what arrived, and how it is kept."""
    return {
        "ETag": stored.etag,
        "x-cos-hash-crc64ecma": str(stored.crc64),
        **select_encryption(stored.headers),
    }


def build_copy_response(root: str, stored: StoredObject) -> Response:
    """Build the response to a copy: of an object, or into a part."""
    content = {
        "ETag": stored.etag,
        "LastModified": format_iso_time(stored.modified),
        "CRC64": stored.crc64,
    }
    return xml_response(root, content, build_checksum_headers(stored))
