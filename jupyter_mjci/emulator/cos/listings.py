"""Pages of listings: objects, unfinished uploads, parts."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from jupyter_mjci.emulator.cos.grants import OWNER
from jupyter_mjci.emulator.cos.requests import format_iso_time, parse_int_param
from jupyter_mjci.emulator.cos.store import (
    MAX_CODE_POINT,
    Bucket,
    MultipartUpload,
    StoredObject,
)
from jupyter_mjci.emulator.xml import Element, invalid_argument

MAX_BUCKETS = 2000
# Of GET Service: what `create-time` bounds.
CREATION_RANGES = {"lt": operator.lt, "gt": operator.gt, "lte": operator.le, "gte": operator.ge}


def list_page(
    bucket: Bucket, params: Mapping[str, str], limit: int
) -> tuple[list[str], list[str], str]:
    """Return the keys and common prefixes of one page, and the marker of the next.

    The marker is "" at the end. `limit` counts keys and prefixes
    together.
    """
    prefix = params.get("prefix", "")
    delimiter = params.get("delimiter", "")
    contents: list[str] = []
    prefixes: list[str] = []
    last = params.get("marker", "")
    keys = bucket.iter_keys(prefix, last)
    while (key := next(keys, None)) is not None:
        folder = cut_folder(key, prefix, delimiter)
        # the marker was this prefix: skip its keys
        if folder and folder == last:
            keys = bucket.iter_keys(prefix, folder + MAX_CODE_POINT)
            continue
        if len(contents) + len(prefixes) >= limit:
            return contents, prefixes, last if limit else ""
        last = folder or key
        if folder:
            prefixes.append(folder)
            keys = bucket.iter_keys(prefix, folder + MAX_CODE_POINT)
        else:
            contents.append(key)
    return contents, prefixes, ""


def list_buckets_page(
    buckets: Mapping[str, Bucket], params: Mapping[str, str], region: str
) -> tuple[list[Bucket], str]:
    """Return the buckets of one page, and the marker of the next ("" at the end).

    https://cloud.tencent.com/document/product/436/8291

    Args:
        buckets: the account's buckets by name
        params: region, tagkey and tagvalue, create-time and range,
            max-keys and marker
        region: the region of the host that is asked, "" for all

    Raises:
        ErrorResponse: a parameter is not valid
    """
    region = params.get("region", "") or region
    tag, value = params.get("tagkey", ""), params.get("tagvalue", "")
    since = parse_int_param(params, "create-time", 0, 0, 10**10)
    is_created = CREATION_RANGES.get(params.get("range", ""))
    if since and is_created is None:
        raise invalid_argument(f"range is one of {', '.join(CREATION_RANGES)}.")
    limit = parse_int_param(params, "max-keys", MAX_BUCKETS, 1, MAX_BUCKETS)
    rows = [
        bucket
        for name, bucket in sorted(buckets.items())
        if name > params.get("marker", "")
        and region in ("", bucket.region)
        and (not tag or bucket.tags.get(tag) == value)
        and (not (since and is_created) or is_created(int(bucket.created), since))
    ]
    page = rows[:limit]
    return page, page[-1].name if len(rows) > limit else ""


def render_bucket(bucket: Bucket) -> Element:
    return {
        "Name": bucket.name,
        "Location": bucket.region,
        "CreationDate": format_iso_time(bucket.created),
    }


def render_object(key: str, stored_object: StoredObject) -> Element:
    return {
        "Key": key,
        "LastModified": format_iso_time(stored_object.modified),
        "ETag": stored_object.etag,
        "Size": len(stored_object.body),
        "Owner": OWNER,
        "StorageClass": stored_object.storage_class,
    }


# Parameters of GET /?uploads, and the elements that repeat them.
UPLOAD_LISTING_PARAMS = {
    "key-marker": "KeyMarker",
    "upload-id-marker": "UploadIdMarker",
    "prefix": "Prefix",
    "delimiter": "Delimiter",
}


@dataclass(frozen=True, slots=True)
class UploadsPage:
    """A page of unfinished uploads; the markers are those of its last row."""

    uploads: list[MultipartUpload]
    prefixes: list[str]
    is_truncated: bool
    next_key: str = ""
    next_id: str = ""


def list_uploads_page(bucket: Bucket, params: Mapping[str, str], limit: int) -> UploadsPage:
    """Return the unfinished uploads of one page, in the order of their keys.

    An upload-id-marker counts only with a key-marker; the page
    then starts with the next upload of that key.
    """
    prefix = params.get("prefix", "")
    delimiter = params.get("delimiter", "")
    key_marker = params.get("key-marker", "")
    after = (key_marker, params.get("upload-id-marker", "") or MAX_CODE_POINT)
    uploads: list[MultipartUpload] = []
    prefixes: list[str] = []
    last = ("", "")
    for upload in sorted(bucket.uploads.values(), key=lambda upload: (upload.key, upload.id)):
        folder = cut_folder(upload.key, prefix, delimiter)
        position = (folder, "") if folder else (upload.key, upload.id)
        is_behind = bool(key_marker) and position <= after
        if not upload.key.startswith(prefix) or is_behind or (folder and folder in prefixes):
            continue
        if len(uploads) + len(prefixes) >= limit:
            return UploadsPage(uploads, prefixes, bool(limit), *last)
        if folder:
            prefixes.append(folder)
        else:
            uploads.append(upload)
        last = position
    return UploadsPage(uploads, prefixes, False)


def cut_folder(key: str, prefix: str, delimiter: str) -> str:
    """Return a key up to the first delimiter after the prefix, "" where there is none."""
    cut = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[: cut + len(delimiter)] if cut >= 0 else ""


def select_encoding(params: Mapping[str, str]) -> tuple[Element, Callable[[str], str]]:
    """Return the element that tells how a listing's keys are encoded, and their encoder."""
    if params.get("encoding-type") == "url":
        return {"EncodingType": "url"}, quote
    return {}, str


def render_upload(upload: MultipartUpload, encode: Callable[[str], str]) -> Element:
    return {
        "Key": encode(upload.key),
        "UploadId": upload.id,
        "StorageClass": "STANDARD",
        "Initiator": OWNER,
        "Owner": OWNER,
        "Initiated": format_iso_time(upload.started),
    }


def render_part(number: int, part: StoredObject) -> Element:
    return {
        "PartNumber": number,
        "LastModified": format_iso_time(part.modified),
        "ETag": part.etag,
        "Size": len(part.body),
    }
