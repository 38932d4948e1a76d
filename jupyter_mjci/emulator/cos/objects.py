"""The object plane of COS: put, get, head, delete, list, copy, multipart; and pictures processed on
the way.

One table (`ROUTES`) says which method with which query flag, on a bucket or on an object, is
answered by which function. A function takes a `RequestContext` and gives an Answer or raises Refused; who
may visit was settled before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote

from jupyter_mjci.emulator.cos.store import (
    MAX_CODE_POINT,
    Bucket,
    MultipartUpload,
    Store,
    StoredObject,
    build_object,
    compute_multipart_etag,
)
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.tencent_ci.processing import (
    RULE_RE,
    ImageProcessor,
    PicOperations,
    apply_operations,
)
from jupyter_mjci.emulator.tencent_ci.xml import (
    Element,
    ErrorResponse,
    build_xml,
    find_all,
    get_text,
    invalid_argument,
    malformed_xml,
    parse_xml,
)

MAX_KEY_BYTES = 850
MAX_KEYS = 1000
OWNER = {"ID": "qcs::cam::uin/100000000001:uin/100000000001", "DisplayName": "100000000001"}
XML_HEADERS = {"Content-Type": "application/xml"}
STORED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
OVERRIDABLE_HEADERS = (
    "content-type",
    "content-language",
    "expires",
    "cache-control",
    "content-disposition",
    "content-encoding",
)
SUBRESOURCES = {  # what a query can ask for beside the object or the listing itself
    *(
        "acl",
        "append",
        "cors",
        "delete",
        "domain",
        "encryption",
        "image_process",
        "intelligenttiering",
        "inventory",
    ),
    *(
        "lifecycle",
        "location",
        "logging",
        "object-lock",
        "origin",
        "policy",
        "referer",
        "replication",
        "restore",
    ),
    *(
        "select",
        "symlink",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versioning",
        "versions",
        "website",
    ),
    "ci-process",
}


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request that is known to be genuine, with the bucket it is about, the time, and a fresh
    number.
    """

    request: Request
    bucket: Bucket
    key: str
    params: Mapping[str, str]
    now: float
    request_id: str
    resource: str = ""  # on the CI plane, the first part of the path; `key` is the rest

    def get_header(self, name: str) -> str:
        return self.request.headers.get(name, "")


def format_iso_time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def xml_response(
    root: str, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    return Response(200, build_xml(root, content), {**XML_HEADERS, **(headers or {})})


def parse_http_date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


class ObjectPlane:
    def __init__(self, store: Store, processor: ImageProcessor) -> None:
        self.store = store
        self.processor = processor

    def handle(self, visit: RequestContext) -> Response:
        flag = next((name for name in visit.params if name in SUBRESOURCES), "")
        level = "object" if visit.key else "bucket"
        method = visit.request.method
        found = ROUTES.get((method, level, flag))
        if found:
            return found(self, visit)
        if flag and (method, level, "") in ROUTES:
            raise ErrorResponse(
                501,
                "NotImplemented",
                f"A header or parameter ({flag}) implies a function that is not there.",
            )
        raise ErrorResponse(
            405, "MethodNotAllowed", "The specified method is not allowed against this resource."
        )

    def get_bucket(self, name: str) -> Bucket:
        bucket = self.store.buckets.get(name)
        if bucket is None:
            raise ErrorResponse(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    # -- objects

    def put(self, visit: RequestContext) -> Response:
        if visit.get_header("x-cos-copy-source"):
            return self.copy(visit)
        new = read_uploaded_object(visit)
        if not visit.get_header("pic-operations"):
            visit.bucket.put(visit.key, new)
            return Response(200, b"", {"ETag": new.etag})
        done = self._apply_operations(visit, new)
        visit.bucket.put(visit.key, new)
        return xml_response("UploadResult", done, {"ETag": new.etag})

    def _apply_operations(self, visit: RequestContext, source: StoredObject) -> Element:
        asked = PicOperations.parse(visit.get_header("pic-operations"), visit.key)
        return apply_operations(
            self.processor, asked, source, visit.bucket, visit.key, visit.now, self.get_bucket
        )

    def process(self, visit: RequestContext) -> Response:
        """`POST /key?image_process`: pictures made from an object that is there."""
        if not visit.get_header("pic-operations"):
            raise invalid_argument("The header Pic-Operations is needed.")
        return xml_response(
            "UploadResult", self._apply_operations(visit, visit.bucket.get(visit.key))
        )

    def get(self, visit: RequestContext) -> Response:
        thing = visit.bucket.get(visit.key)
        rule = find_rule_param(visit.params)
        if rule:
            made = self.processor.process(rule, thing, visit.bucket)
            thing = StoredObject(made.body, made.etag, thing.modified, made.content_type)
        return build_object_response(thing, visit)

    def head(self, visit: RequestContext) -> Response:
        thing = visit.bucket.get(visit.key)
        answer = build_object_response(thing, visit)
        return Response(
            answer.status, b"", {**answer.headers, "Content-Length": str(len(answer.body))}
        )

    def delete(self, visit: RequestContext) -> Response:
        visit.bucket.remove(visit.key)
        return Response(204)

    def copy(self, visit: RequestContext) -> Response:
        source = self._get_copy_source(visit)
        replaced = visit.get_header("x-cos-metadata-directive").lower() in ("replaced", "replace")
        content_type = visit.get_header("content-type") if replaced else source.content_type
        headers = select_stored_headers(visit.request.headers) if replaced else source.headers
        new = visit.bucket.put(
            visit.key, build_object(source.body, visit.now, content_type, headers)
        )
        return xml_response(
            "CopyObjectResult", {"ETag": new.etag, "LastModified": format_iso_time(visit.now)}
        )

    def _get_copy_source(self, visit: RequestContext) -> StoredObject:
        address = unquote(visit.get_header("x-cos-copy-source")).partition("?")[0]
        found = self.store.resolve(
            f"http://{address.removeprefix('http://').lstrip('/')}", visit.bucket
        )
        if not found or not found[1]:
            raise invalid_argument(
                "x-cos-copy-source is not <bucket>.cos.<region>.myqcloud.com/<key>."
            )
        source = found[0].get(found[1])
        headers = visit.request.headers
        given = {name.removeprefix("x-cos-copy-source-"): value for name, value in headers.items()}
        if check_preconditions(source, given):
            raise ErrorResponse(
                412, "PreconditionFailed", "At least one of the preconditions did not hold."
            )
        return source

    def append(self, visit: RequestContext) -> Response:
        """`POST /key?append&position=N`: the object grows at its end."""
        old = visit.bucket.objects.get(visit.key)
        body = old.body if old else b""
        if visit.params.get("position") != str(len(body)):
            raise ErrorResponse(
                409,
                "PositionNotEqualToLength",
                f"The position is not the object's length, {len(body)}.",
            )
        new = read_uploaded_object(visit)
        whole = build_object(body + new.body, visit.now, new.content_type, new.headers)
        visit.bucket.put(visit.key, whole)
        return Response(
            200, b"", {"ETag": whole.etag, "x-cos-next-append-position": str(len(whole.body))}
        )

    def delete_multiple(self, visit: RequestContext) -> Response:
        check_md5(visit)
        request = parse_xml(visit.request.body, "Delete")
        keys = [get_text(item, "Key") for item in find_all(request, "Object")]
        if not keys or len(keys) > MAX_KEYS:
            raise malformed_xml(f"<Delete> holds 1 to {MAX_KEYS} <Object>")
        for key in keys:
            visit.bucket.remove(key.lstrip("/"))
        quiet = get_text(request, "Quiet").lower() == "true"
        return xml_response(
            "DeleteResult", {} if quiet else {"Deleted": [{"Key": key} for key in keys]}
        )

    # -- multipart uploads

    def create_multipart_upload(self, visit: RequestContext) -> Response:
        check_key(visit.key)
        name = hashlib.sha256(f"upload {visit.request_id}".encode()).hexdigest()[:40]
        content_type, headers = (
            visit.get_header("content-type"),
            select_stored_headers(visit.request.headers),
        )
        visit.bucket.uploads[name] = MultipartUpload(
            name, visit.key, visit.now, content_type, headers
        )
        return xml_response(
            "InitiateMultipartUploadResult",
            {"Bucket": visit.bucket.name, "Key": visit.key, "UploadId": name},
        )

    def _get_upload(self, visit: RequestContext) -> MultipartUpload:
        upload = visit.bucket.uploads.get(visit.params.get("uploadId", ""))
        if upload is None or upload.key != visit.key:
            raise ErrorResponse(
                404, "NoSuchUpload", "The specified multipart upload does not exist."
            )
        return upload

    def upload_part(self, visit: RequestContext) -> Response:
        upload = self._get_upload(visit)
        number = parse_int_param(visit.params, "partNumber", 0, 1, 10000)
        if not visit.get_header("x-cos-copy-source"):
            upload.parts[number] = read_uploaded_object(visit)
            return Response(200, b"", {"ETag": upload.parts[number].etag})
        source = self._get_copy_source(visit)
        span = parse_range(visit.get_header("x-cos-copy-source-range"), len(source.body)) or (
            0,
            len(source.body),
        )
        upload.parts[number] = build_object(source.body[slice(*span)], visit.now)
        return xml_response(
            "CopyPartResult",
            {"ETag": upload.parts[number].etag, "LastModified": format_iso_time(visit.now)},
        )

    def complete_multipart_upload(self, visit: RequestContext) -> Response:
        upload = self._get_upload(visit)
        request = parse_xml(visit.request.body, "CompleteMultipartUpload")
        listed = [
            (get_text(part, "PartNumber"), get_text(part, "ETag").strip('"'))
            for part in find_all(request, "Part")
        ]
        numbers = [
            int(number) if re.fullmatch(r"\d{1,5}", number, re.ASCII) else 0 for number, _ in listed
        ]
        if not listed or sorted(set(numbers)) != numbers:
            raise ErrorResponse(
                400, "InvalidPartOrder", "The parts are not listed in the order of their numbers."
            )
        parts = [upload.parts.get(number) for number in numbers]
        good = [
            part
            for part, (_, etag) in zip(parts, listed, strict=True)
            if part and part.etag.strip('"') == etag
        ]
        if len(good) != len(listed):
            raise ErrorResponse(
                400, "InvalidPart", "One or more of the specified parts could not be found."
            )
        body = b"".join(part.body for part in good)
        whole_thing = StoredObject(
            body, compute_multipart_etag(good), visit.now, upload.content_type, upload.headers
        )
        visit.bucket.put(visit.key, whole_thing)
        del visit.bucket.uploads[upload.id]
        place = {
            "Location": f"http://{visit.bucket.host}/{visit.key}",
            "Bucket": visit.bucket.name,
            "Key": visit.key,
        }
        return xml_response("CompleteMultipartUploadResult", {**place, "ETag": whole_thing.etag})

    def abort_multipart_upload(self, visit: RequestContext) -> Response:
        del visit.bucket.uploads[self._get_upload(visit).id]
        return Response(204)

    def list_parts(self, visit: RequestContext) -> Response:
        upload = self._get_upload(visit)
        after = parse_int_param(visit.params, "part-number-marker", 0, 0, 10000)
        most = parse_int_param(visit.params, "max-parts", MAX_KEYS, 0, 10**9)
        numbers = [number for number in sorted(upload.parts) if number > after]
        shown = numbers[: min(most, MAX_KEYS)]
        head = {
            "Bucket": visit.bucket.name,
            "Key": upload.key,
            "UploadId": upload.id,
            "Owner": OWNER,
        }
        told = {
            "PartNumberMarker": after,
            "NextPartNumberMarker": shown[-1] if len(shown) < len(numbers) and shown else "",
            "StorageClass": "STANDARD",
            "MaxParts": most,
            "IsTruncated": len(shown) < len(numbers),
            "Part": [_render_part(number, upload.parts[number]) for number in shown],
        }
        return xml_response("ListPartsResult", {**head, "Initiator": OWNER, **told})

    def list_multipart_uploads(self, visit: RequestContext) -> Response:
        prefix = visit.params.get("prefix", "")
        uploads = sorted(
            visit.bucket.uploads.values(), key=lambda upload: (upload.key, upload.started)
        )
        told = [
            {
                "Key": upload.key,
                "UploadId": upload.id,
                "StorageClass": "STANDARD",
                "Initiator": OWNER,
                "Owner": OWNER,
                "Initiated": format_iso_time(upload.started),
            }
            for upload in uploads
            if upload.key.startswith(prefix)
        ]
        head = {
            "Bucket": visit.bucket.name,
            "Prefix": prefix,
            "MaxUploads": MAX_KEYS,
            "IsTruncated": False,
        }
        return xml_response("ListMultipartUploadsResult", {**head, "Upload": told})

    # -- buckets

    def list_objects(self, visit: RequestContext) -> Response:
        asked = visit.params
        most = parse_int_param(asked, "max-keys", MAX_KEYS, 0, 10**9)
        encoded = asked.get("encoding-type") == "url"
        spell = quote if encoded else str
        contents, prefixes, following = list_page(visit.bucket, asked, min(most, MAX_KEYS))
        told: Element = {"Name": visit.bucket.name}
        if encoded:
            told["EncodingType"] = "url"
        told |= {name: spell(asked.get(name.lower(), "")) for name in ("Prefix", "Marker")}
        told |= {
            "MaxKeys": most,
            "Delimiter": spell(asked.get("delimiter", "")),
            "IsTruncated": bool(following),
        }
        if following:
            told["NextMarker"] = spell(following)
        told["Contents"] = [
            _render_object(spell(key), visit.bucket.objects[key]) for key in contents
        ]
        told["CommonPrefixes"] = [{"Prefix": spell(prefix)} for prefix in prefixes]
        return xml_response("ListBucketResult", told)

    def head_bucket(self, visit: RequestContext) -> Response:
        return Response(200, b"", {"x-cos-bucket-region": visit.bucket.region})

    def get_bucket_location(self, visit: RequestContext) -> Response:
        return Response(
            200,
            f"<LocationConstraint>{visit.bucket.region}</LocationConstraint>".encode(),
            XML_HEADERS,
        )

    def get_bucket_versioning(self, _visit: RequestContext) -> Response:
        return xml_response("VersioningConfiguration", {})

    def put_bucket(self, visit: RequestContext) -> Response:
        raise ErrorResponse(
            409, "BucketAlreadyOwnedByYou", f"The bucket {visit.bucket.name} is yours already."
        )

    def delete_bucket(self, visit: RequestContext) -> Response:
        if visit.bucket.objects:
            raise ErrorResponse(
                409, "BucketNotEmpty", "The bucket you tried to delete is not empty."
            )
        del self.store.buckets[visit.bucket.name]
        return Response(204)

    def create_bucket(self, name: str, region: str, now: float) -> Response:
        self.store.buckets[name] = Bucket(name, region, now)
        return Response(200, b"", {"Location": f"/{name}"})

    def list_buckets(self) -> Response:
        told = [
            {
                "Name": bucket.name,
                "Location": bucket.region,
                "CreationDate": format_iso_time(bucket.created),
            }
            for bucket in self.store.buckets.values()
        ]
        return xml_response("ListAllMyBucketsResult", {"Owner": OWNER, "Buckets": {"Bucket": told}})


Route = Callable[[ObjectPlane, RequestContext], Response]
ROUTES: dict[tuple[str, str, str], Route] = {
    ("PUT", "object", ""): ObjectPlane.put,
    ("GET", "object", ""): ObjectPlane.get,
    ("HEAD", "object", ""): ObjectPlane.head,
    ("DELETE", "object", ""): ObjectPlane.delete,
    ("POST", "object", "image_process"): ObjectPlane.process,
    ("POST", "object", "append"): ObjectPlane.append,
    ("POST", "object", "uploads"): ObjectPlane.create_multipart_upload,
    ("PUT", "object", "uploadId"): ObjectPlane.upload_part,
    ("POST", "object", "uploadId"): ObjectPlane.complete_multipart_upload,
    ("DELETE", "object", "uploadId"): ObjectPlane.abort_multipart_upload,
    ("GET", "object", "uploadId"): ObjectPlane.list_parts,
    ("GET", "bucket", ""): ObjectPlane.list_objects,
    ("GET", "bucket", "uploads"): ObjectPlane.list_multipart_uploads,
    ("GET", "bucket", "location"): ObjectPlane.get_bucket_location,
    ("GET", "bucket", "versioning"): ObjectPlane.get_bucket_versioning,
    ("HEAD", "bucket", ""): ObjectPlane.head_bucket,
    ("PUT", "bucket", ""): ObjectPlane.put_bucket,
    ("DELETE", "bucket", ""): ObjectPlane.delete_bucket,
    ("POST", "bucket", "delete"): ObjectPlane.delete_multiple,
}


# -- what a request carries


def parse_int_param(
    params: Mapping[str, str], name: str, default: int, minimum: int, maximum: int
) -> int:
    """A whole number among the parameters; an empty one counts as not given."""
    spelled = params.get(name, "")
    if not spelled:
        value = default
    elif re.fullmatch(r"\d{1,9}", spelled, re.ASCII):
        value = int(spelled)
    else:
        raise invalid_argument(f"{name} is not a number.")
    if not minimum <= value <= maximum:
        raise invalid_argument(f"{name} must lie between {minimum} and {maximum}.")
    return value


def check_key(key: str) -> None:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ErrorResponse(400, "KeyTooLong", f"Your key is longer than {MAX_KEY_BYTES} bytes.")


def check_md5(visit: RequestContext) -> None:
    spelled = visit.get_header("content-md5")
    if not spelled:
        return
    try:
        digest = base64.b64decode(spelled, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise ErrorResponse(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    if digest != hashlib.md5(visit.request.body).digest():
        raise ErrorResponse(
            400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        )


def select_stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What comes back with an object; some clients send headers without a value, which say
    nothing.
    """
    return {
        name: value
        for name, value in headers.items()
        if value and (name in STORED_HEADERS or name.startswith("x-cos-meta-"))
    }


def read_uploaded_object(visit: RequestContext) -> StoredObject:
    check_key(visit.key)
    check_md5(visit)
    headers = select_stored_headers(visit.request.headers)
    return build_object(visit.request.body, visit.now, visit.get_header("content-type"), headers)


def find_rule_param(params: Mapping[str, str]) -> str:
    """A processing rule stands in the query as a name without a value; an unescaped "=" of its
    base64 cuts it.
    """
    for name, value in params.items():
        if RULE_RE.match(name):
            return f"{name}={value}" if value else name
    return ""


# -- what goes back


def check_preconditions(stored_object: StoredObject, headers: Mapping[str, str]) -> int:
    """The status that a conditional request gets instead of the object, or 0."""
    match, none = headers.get("if-match", ""), headers.get("if-none-match", "")
    since, until = (
        parse_http_date(headers.get("if-modified-since", "")),
        parse_http_date(headers.get("if-unmodified-since", "")),
    )
    modified = int(stored_object.modified)
    if match and not _matches_etag(match, stored_object.etag):
        return 412
    if not match and until is not None and modified > until:
        return 412
    if none:
        return 304 if _matches_etag(none, stored_object.etag) else 0
    return 304 if since is not None and modified <= since else 0


def _matches_etag(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag.strip('"') in tags


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of `bytes=a-b`, `a-`, `-n`; None for no range or one that is not
    understood.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.replace(" ", ""), re.ASCII)
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
        if found[2] and int(found[2]) < start:
            return None
    if start >= size or start >= end:
        raise ErrorResponse(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, end


def build_object_response(stored_object: StoredObject, visit: RequestContext) -> Response:
    headers = {
        "Content-Type": stored_object.content_type,
        "ETag": stored_object.etag,
        "Last-Modified": formatdate(stored_object.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        **stored_object.headers,
    }
    status = check_preconditions(stored_object, visit.request.headers)
    if status == 412:
        raise ErrorResponse(
            412, "PreconditionFailed", "At least one of the preconditions did not hold."
        )
    if status:
        return Response(status, b"", {name: headers[name] for name in ("ETag", "Last-Modified")})
    overrides = {name: visit.params.get(f"response-{name}", "") for name in OVERRIDABLE_HEADERS}
    headers = _override_headers(
        headers, {name: value for name, value in overrides.items() if value}
    )
    span = parse_range(visit.get_header("range"), len(stored_object.body))
    if span is None:
        return Response(200, stored_object.body, headers)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{len(stored_object.body)}"
    return Response(206, stored_object.body[slice(*span)], headers)


def _override_headers(headers: dict[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name.lower() not in overrides}
    clean = {name: re.sub(r"[^\x20-\x7e]", "", value) for name, value in overrides.items()}
    return {**kept, **clean}


def list_page(
    bucket: Bucket, params: Mapping[str, str], limit: int
) -> tuple[list[str], list[str], str]:
    """Keys and common prefixes of one page of a listing, and the marker of the next ("" at the
    end).
    """
    prefix, delimiter = params.get("prefix", ""), params.get("delimiter", "")
    contents: list[str] = []
    prefixes: list[str] = []
    last = marker = params.get("marker", "")
    keys = bucket.iter_keys(prefix, marker)
    while (key := next(keys, None)) is not None:
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        folder = key[: cut + len(delimiter)] if cut >= 0 else ""
        if folder and folder == last:  # the marker was this folder: its keys are behind us
            keys = bucket.iter_keys(prefix, folder + MAX_CODE_POINT)
            continue
        if len(contents) + len(prefixes) >= limit:
            return contents, prefixes, last if limit else ""
        last = folder or key
        (prefixes if folder else contents).append(last)
        if folder:
            keys = bucket.iter_keys(prefix, folder + MAX_CODE_POINT)
    return contents, prefixes, ""


def _render_object(key: str, stored_object: StoredObject) -> Element:
    return {
        "Key": key,
        "LastModified": format_iso_time(stored_object.modified),
        "ETag": stored_object.etag,
        "Size": len(stored_object.body),
        "Owner": OWNER,
        "StorageClass": "STANDARD",
    }


def _render_part(number: int, part: StoredObject) -> Element:
    return {
        "PartNumber": number,
        "LastModified": format_iso_time(part.modified),
        "ETag": part.etag,
        "Size": len(part.body),
    }
