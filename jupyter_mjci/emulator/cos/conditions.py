"""Conditional requests, byte ranges, and the headers of an object's response."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

from jupyter_mjci.emulator.cos.store import StoredObject
from jupyter_mjci.emulator.http import Response
from jupyter_mjci.emulator.xml import ErrorResponse, not_implemented

STORED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
ENCRYPTION_HEADER = "x-cos-server-side-encryption"
# by response-content-type, …
OVERRIDABLE_HEADERS = ("content-type", *STORED_HEADERS)


def parse_http_date(value: str) -> float | None:
    """Parse an HTTP date (epoch seconds), None for what is not one."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def select_stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are stored with an object.

    Some clients send headers without a value, which mean nothing;
    the official Java client spells a storage class "Standard_IA".
    """
    stored = select_encryption(headers)
    storage_class = headers.get("x-cos-storage-class", "").upper()
    if storage_class not in ("", "STANDARD"):
        stored["x-cos-storage-class"] = storage_class
    for name, value in headers.items():
        if value and (name in STORED_HEADERS or name.startswith("x-cos-meta-")):
            stored[name] = value
    return stored


def select_encryption(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the header that tells how an object is encrypted.

    Only keys that COS itself holds (AES256): the answers of others
    depend on a key that would have to be kept.

    https://cloud.tencent.com/document/product/436/18145

    Raises:
        ErrorResponse: the key is the customer's, or KMS's
    """
    named = {name: value for name, value in headers.items() if ENCRYPTION_HEADER in name and value}
    others = named.keys() - {ENCRYPTION_HEADER}
    method = named.get(ENCRYPTION_HEADER, "AES256")
    if others or method != "AES256":
        raise not_implemented(min(others, default=f"{ENCRYPTION_HEADER}: {method}"))
    return named


def replace_storage_headers(
    headers: Mapping[str, str], new_headers: Mapping[str, str]
) -> dict[str, str]:
    """Return stored headers with the storage class (none for STANDARD) and encryption of others."""
    names = {"x-cos-storage-class", ENCRYPTION_HEADER}
    kept = {name: value for name, value in headers.items() if name not in names}
    return kept | {name: value for name, value in new_headers.items() if name in names}


def check_preconditions(stored_object: StoredObject, headers: Mapping[str, str]) -> int:
    """Return the status that a conditional request gets instead of the object, or 0.

    In the order of RFC 9110: If-Match before If-Unmodified-Since,
    If-None-Match before If-Modified-Since.
    """
    if_match = headers.get("if-match", "")
    if_none_match = headers.get("if-none-match", "")
    modified_since = parse_http_date(headers.get("if-modified-since", ""))
    unmodified_since = parse_http_date(headers.get("if-unmodified-since", ""))
    modified = int(stored_object.modified)
    if if_match:
        if not _matches_etag(if_match, stored_object.etag):
            return 412
    elif unmodified_since is not None and modified > unmodified_since:
        return 412
    if if_none_match:
        return 304 if _matches_etag(if_none_match, stored_object.etag) else 0
    if modified_since is not None and modified <= modified_since:
        return 304
    return 0


def precondition_failed() -> ErrorResponse:
    """Build the error for a precondition that does not hold."""
    message = "At least one of the preconditions did not hold."
    return ErrorResponse(412, "PreconditionFailed", message)


def _matches_etag(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag.strip('"') in tags


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Parse `bytes=a-b`, `a-` or `-n`.

    Args:
        header: the Range header
        size: the size of the object in bytes

    Returns:
        Start and end (exclusive); None for no range, or one that
        is not understood.

    Raises:
        ErrorResponse: the range is outside the object
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.replace(" ", ""), re.ASCII)
    if not match or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start = max(0, size - int(last))
        end = size
    else:
        start = int(first)
        end = min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise ErrorResponse(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, end


def build_object_response(
    stored_object: StoredObject, headers: Mapping[str, str], params: Mapping[str, str]
) -> Response:
    """Build the response to a GET: the object or a range of it, or 304.

    Args:
        stored_object: the object
        headers: the headers of the request
        params: its parameters; response-* ones override headers

    Raises:
        ErrorResponse: a precondition does not hold, or the range
            is outside the object
    """
    status = check_preconditions(stored_object, headers)
    if status == 412:
        raise precondition_failed()
    validators = {
        "ETag": stored_object.etag,
        "Last-Modified": formatdate(stored_object.modified, usegmt=True),
    }
    if status:
        return Response(status, b"", validators)
    all_headers = {
        "Content-Type": stored_object.content_type,
        **validators,
        "Accept-Ranges": "bytes",
        # of the whole object, also with a range of it
        "x-cos-hash-crc64ecma": str(stored_object.crc64),
        **stored_object.headers,
    }
    if stored_object.is_appendable:
        all_headers["x-cos-object-type"] = "appendable"
    all_headers = _override_headers(all_headers, params)
    if_range = headers.get("if-range", "")
    is_current = not if_range or if_range in validators.values()
    wanted_range = headers.get("range", "") if is_current else ""
    return _select_range(stored_object.body, wanted_range, all_headers)


def _select_range(body: bytes, range_header: str, headers: dict[str, str]) -> Response:
    span = parse_range(range_header, len(body))
    if span is None:
        return Response(200, body, headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
    return Response(206, body[start:end], headers)


def _override_headers(headers: dict[str, str], params: Mapping[str, str]) -> dict[str, str]:
    overrides = {}
    for name in OVERRIDABLE_HEADERS:
        value = params.get(f"response-{name}", "")
        if value:
            overrides[name] = re.sub(r"[^\x20-\x7e]", "", value)
    kept = {name: value for name, value in headers.items() if name.lower() not in overrides}
    return {**kept, **overrides}
