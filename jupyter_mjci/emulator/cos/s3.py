"""The dialect of S3 that COS speaks to clients with an AWS signature.

Their x-amz-* headers become x-cos-* on the way in, and the other
way round in the response. As with the service, x-amz-checksum-*
count for nothing, bodies that are aws-chunked are refused, and a
bucket stands in the host: `PathStyleDomainForbidden` otherwise.
At a bare address, which has no names for buckets, the bucket
stands in the path.

https://cloud.tencent.com/document/product/436/37421
https://cloud.tencent.com/document/faq/436/102489
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace

from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.xml import Element, ErrorResponse, invalid_argument


def translate_request(request: Request, params: Mapping[str, str]) -> Request:
    """Return a request of S3 in the words of COS.

    Raises:
        ErrorResponse: many objects are to be deleted without
            Content-MD5, which newer AWS SDKs have replaced by
            x-amz-checksum-*
    """
    if "delete" in params and "content-md5" not in request.headers:
        message = "Missing required header for this request: Content-MD5"
        raise ErrorResponse(400, "InvalidRequest", message)
    headers = {_to_cos(name): value for name, value in request.headers.items()}
    return replace(request, headers=headers)


def _to_cos(name: str) -> str:
    return f"x-cos-{name[6:]}" if name.startswith("x-amz-") else name


def drop_aws_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters without those of a presigned URL."""
    return {name: value for name, value in params.items() if not name.startswith("X-Amz-")}


def add_amz_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a response's headers with each x-cos-* as x-amz-*, too."""
    all_headers = dict(headers)
    for name, value in headers.items():
        if name.lower().startswith("x-cos-"):
            all_headers[f"x-amz-{name[6:]}"] = value
    return all_headers


# -- ListObjectsV2

# Parameters, and the elements that repeat them.
V2_PARAMS = {
    "continuation-token": "ContinuationToken",
    "start-after": "StartAfter",
}


def read_v2_marker(params: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a listing as those of version 1.

    Raises:
        ErrorResponse: the continuation token is none of ours
    """
    token = params.get("continuation-token", "")
    try:
        marker = base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid_argument("The continuation token is not valid.") from None
    return {**params, "marker": marker or params.get("start-after", "")}


def convert_to_v2(content: Element, params: Mapping[str, str], next_marker: str) -> Element:
    """Convert a listing's content into that of version 2."""
    kept = dict(content)
    kept.pop("Marker", None)
    kept.pop("NextMarker", None)
    rows = len(content["Contents"])
    kept["KeyCount"] = rows + len(content["CommonPrefixes"])
    for name, element in V2_PARAMS.items():
        if params.get(name):
            kept[element] = params[name]
    if next_marker:
        token = base64.urlsafe_b64encode(next_marker.encode())
        kept["NextContinuationToken"] = token.decode()
    return kept
