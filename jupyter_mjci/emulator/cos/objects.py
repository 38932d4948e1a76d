"""The object plane of COS: put, get, head, delete, list, copy, multipart; and pictures processed on
the way.

One table (`ROUTES`) says which method with which query flag, on a bucket or on an object, is
answered by which function. A function takes a `Visit` and gives an Answer or raises Refused; who
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
    HIGHEST,
    Bucket,
    Store,
    Stored,
    Upload,
    stored,
    upload_etag,
)
from jupyter_mjci.emulator.http import Answer, Request
from jupyter_mjci.emulator.tencent_ci.processing import RULE, PicOperations, Pictures, operate
from jupyter_mjci.emulator.tencent_ci.xml import (
    Refused,
    Tree,
    every,
    invalid,
    malformed,
    read,
    text,
    write,
)

LONGEST_KEY = 850
MOST_KEYS = 1000
OWNER = {"ID": "qcs::cam::uin/100000000001:uin/100000000001", "DisplayName": "100000000001"}
XML = {"Content-Type": "application/xml"}
KEPT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
OVERRIDES = (
    "content-type",
    "content-language",
    "expires",
    "cache-control",
    "content-disposition",
    "content-encoding",
)
FLAGS = {  # what a query can ask for beside the object or the listing itself
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
class Visit:
    """A request that is known to be genuine, with the bucket it is about, the time, and a fresh
    number.
    """

    request: Request
    bucket: Bucket
    key: str
    params: Mapping[str, str]
    now: float
    ticket: str
    head: str = ""  # on the CI plane, the first part of the path; `key` is the rest

    def header(self, name: str) -> str:
        return self.request.headers.get(name, "")


def iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def xml(root: str, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(200, write(root, content), {**XML, **(headers or {})})


def http_date(spelled: str) -> float | None:
    try:
        return parsedate_to_datetime(spelled).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


class ObjectPlane:
    def __init__(self, store: Store, pictures: Pictures) -> None:
        self.store = store
        self.pictures = pictures

    def answer(self, visit: Visit) -> Answer:
        flag = next((name for name in visit.params if name in FLAGS), "")
        level = "object" if visit.key else "bucket"
        method = visit.request.method
        found = ROUTES.get((method, level, flag))
        if found:
            return found(self, visit)
        if flag and (method, level, "") in ROUTES:
            raise Refused(
                501,
                "NotImplemented",
                f"A header or parameter ({flag}) implies a function that is not there.",
            )
        raise Refused(
            405, "MethodNotAllowed", "The specified method is not allowed against this resource."
        )

    def output_bucket(self, name: str) -> Bucket:
        bucket = self.store.buckets.get(name)
        if bucket is None:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    # -- objects

    def put(self, visit: Visit) -> Answer:
        if visit.header("x-cos-copy-source"):
            return self.copy(visit)
        new = arrived(visit)
        if not visit.header("pic-operations"):
            visit.bucket.put(visit.key, new)
            return Answer(200, b"", {"ETag": new.etag})
        done = self._operate(visit, new)
        visit.bucket.put(visit.key, new)
        return xml("UploadResult", done, {"ETag": new.etag})

    def _operate(self, visit: Visit, source: Stored) -> Tree:
        asked = PicOperations.read(visit.header("pic-operations"), visit.key)
        return operate(
            self.pictures, asked, source, visit.bucket, visit.key, visit.now, self.output_bucket
        )

    def process(self, visit: Visit) -> Answer:
        """`POST /key?image_process`: pictures made from an object that is there."""
        if not visit.header("pic-operations"):
            raise invalid("The header Pic-Operations is needed.")
        return xml("UploadResult", self._operate(visit, visit.bucket.get(visit.key)))

    def get(self, visit: Visit) -> Answer:
        thing = visit.bucket.get(visit.key)
        rule = asked_rule(visit.params)
        if rule:
            made = self.pictures.make(rule, thing, visit.bucket)
            thing = Stored(made.body, made.etag, thing.modified, made.content_type)
        return delivered(thing, visit)

    def head(self, visit: Visit) -> Answer:
        thing = visit.bucket.get(visit.key)
        answer = delivered(thing, visit)
        return Answer(
            answer.status, b"", {**answer.headers, "Content-Length": str(len(answer.body))}
        )

    def delete(self, visit: Visit) -> Answer:
        visit.bucket.remove(visit.key)
        return Answer(204)

    def copy(self, visit: Visit) -> Answer:
        source = self._copied(visit)
        replaced = visit.header("x-cos-metadata-directive").lower() in ("replaced", "replace")
        content_type = visit.header("content-type") if replaced else source.content_type
        headers = kept_headers(visit.request.headers) if replaced else source.headers
        new = visit.bucket.put(visit.key, stored(source.body, visit.now, content_type, headers))
        return xml("CopyObjectResult", {"ETag": new.etag, "LastModified": iso(visit.now)})

    def _copied(self, visit: Visit) -> Stored:
        address = unquote(visit.header("x-cos-copy-source")).partition("?")[0]
        found = self.store.at(f"http://{address.removeprefix('http://').lstrip('/')}", visit.bucket)
        if not found or not found[1]:
            raise invalid("x-cos-copy-source is not <bucket>.cos.<region>.myqcloud.com/<key>.")
        source = found[0].get(found[1])
        headers = visit.request.headers
        given = {name.removeprefix("x-cos-copy-source-"): value for name, value in headers.items()}
        if unmet(source, given):
            raise Refused(
                412, "PreconditionFailed", "At least one of the preconditions did not hold."
            )
        return source

    def append(self, visit: Visit) -> Answer:
        """`POST /key?append&position=N`: the object grows at its end."""
        old = visit.bucket.objects.get(visit.key)
        body = old.body if old else b""
        if visit.params.get("position") != str(len(body)):
            raise Refused(
                409,
                "PositionNotEqualToLength",
                f"The position is not the object's length, {len(body)}.",
            )
        new = arrived(visit)
        whole = stored(body + new.body, visit.now, new.content_type, new.headers)
        visit.bucket.put(visit.key, whole)
        return Answer(
            200, b"", {"ETag": whole.etag, "x-cos-next-append-position": str(len(whole.body))}
        )

    def delete_many(self, visit: Visit) -> Answer:
        checked_md5(visit)
        request = read(visit.request.body, "Delete")
        keys = [text(item, "Key") for item in every(request, "Object")]
        if not keys or len(keys) > MOST_KEYS:
            raise malformed(f"<Delete> holds 1 to {MOST_KEYS} <Object>")
        for key in keys:
            visit.bucket.remove(key.lstrip("/"))
        quiet = text(request, "Quiet").lower() == "true"
        return xml("DeleteResult", {} if quiet else {"Deleted": [{"Key": key} for key in keys]})

    # -- multipart uploads

    def start_upload(self, visit: Visit) -> Answer:
        checked_key(visit.key)
        name = hashlib.sha256(f"upload {visit.ticket}".encode()).hexdigest()[:40]
        content_type, headers = visit.header("content-type"), kept_headers(visit.request.headers)
        visit.bucket.uploads[name] = Upload(name, visit.key, visit.now, content_type, headers)
        return xml(
            "InitiateMultipartUploadResult",
            {"Bucket": visit.bucket.name, "Key": visit.key, "UploadId": name},
        )

    def _upload(self, visit: Visit) -> Upload:
        upload = visit.bucket.uploads.get(visit.params.get("uploadId", ""))
        if upload is None or upload.key != visit.key:
            raise Refused(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return upload

    def put_part(self, visit: Visit) -> Answer:
        upload = self._upload(visit)
        number = whole(visit.params, "partNumber", 0, 1, 10000)
        if not visit.header("x-cos-copy-source"):
            upload.parts[number] = arrived(visit)
            return Answer(200, b"", {"ETag": upload.parts[number].etag})
        source = self._copied(visit)
        span = byte_range(visit.header("x-cos-copy-source-range"), len(source.body)) or (
            0,
            len(source.body),
        )
        upload.parts[number] = stored(source.body[slice(*span)], visit.now)
        return xml(
            "CopyPartResult", {"ETag": upload.parts[number].etag, "LastModified": iso(visit.now)}
        )

    def finish_upload(self, visit: Visit) -> Answer:
        upload = self._upload(visit)
        request = read(visit.request.body, "CompleteMultipartUpload")
        listed = [
            (text(part, "PartNumber"), text(part, "ETag").strip('"'))
            for part in every(request, "Part")
        ]
        numbers = [
            int(number) if re.fullmatch(r"\d{1,5}", number, re.ASCII) else 0 for number, _ in listed
        ]
        if not listed or sorted(set(numbers)) != numbers:
            raise Refused(
                400, "InvalidPartOrder", "The parts are not listed in the order of their numbers."
            )
        parts = [upload.parts.get(number) for number in numbers]
        good = [
            part
            for part, (_, etag) in zip(parts, listed, strict=True)
            if part and part.etag.strip('"') == etag
        ]
        if len(good) != len(listed):
            raise Refused(
                400, "InvalidPart", "One or more of the specified parts could not be found."
            )
        body = b"".join(part.body for part in good)
        whole_thing = Stored(
            body, upload_etag(good), visit.now, upload.content_type, upload.headers
        )
        visit.bucket.put(visit.key, whole_thing)
        del visit.bucket.uploads[upload.id]
        place = {
            "Location": f"http://{visit.bucket.host}/{visit.key}",
            "Bucket": visit.bucket.name,
            "Key": visit.key,
        }
        return xml("CompleteMultipartUploadResult", {**place, "ETag": whole_thing.etag})

    def stop_upload(self, visit: Visit) -> Answer:
        del visit.bucket.uploads[self._upload(visit).id]
        return Answer(204)

    def list_parts(self, visit: Visit) -> Answer:
        upload = self._upload(visit)
        after = whole(visit.params, "part-number-marker", 0, 0, 10000)
        most = whole(visit.params, "max-parts", MOST_KEYS, 0, 10**9)
        numbers = [number for number in sorted(upload.parts) if number > after]
        shown = numbers[: min(most, MOST_KEYS)]
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
            "Part": [_part(number, upload.parts[number]) for number in shown],
        }
        return xml("ListPartsResult", {**head, "Initiator": OWNER, **told})

    def list_uploads(self, visit: Visit) -> Answer:
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
                "Initiated": iso(upload.started),
            }
            for upload in uploads
            if upload.key.startswith(prefix)
        ]
        head = {
            "Bucket": visit.bucket.name,
            "Prefix": prefix,
            "MaxUploads": MOST_KEYS,
            "IsTruncated": False,
        }
        return xml("ListMultipartUploadsResult", {**head, "Upload": told})

    # -- buckets

    def list_objects(self, visit: Visit) -> Answer:
        asked = visit.params
        most = whole(asked, "max-keys", MOST_KEYS, 0, 10**9)
        encoded = asked.get("encoding-type") == "url"
        spell = quote if encoded else str
        contents, prefixes, following = page(visit.bucket, asked, min(most, MOST_KEYS))
        told: Tree = {"Name": visit.bucket.name}
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
        told["Contents"] = [_entry(spell(key), visit.bucket.objects[key]) for key in contents]
        told["CommonPrefixes"] = [{"Prefix": spell(prefix)} for prefix in prefixes]
        return xml("ListBucketResult", told)

    def head_bucket(self, visit: Visit) -> Answer:
        return Answer(200, b"", {"x-cos-bucket-region": visit.bucket.region})

    def location(self, visit: Visit) -> Answer:
        return Answer(
            200, f"<LocationConstraint>{visit.bucket.region}</LocationConstraint>".encode(), XML
        )

    def versioning(self, _visit: Visit) -> Answer:
        return xml("VersioningConfiguration", {})

    def put_bucket(self, visit: Visit) -> Answer:
        raise Refused(
            409, "BucketAlreadyOwnedByYou", f"The bucket {visit.bucket.name} is yours already."
        )

    def delete_bucket(self, visit: Visit) -> Answer:
        if visit.bucket.objects:
            raise Refused(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
        del self.store.buckets[visit.bucket.name]
        return Answer(204)

    def new_bucket(self, name: str, region: str, now: float) -> Answer:
        self.store.buckets[name] = Bucket(name, region, now)
        return Answer(200, b"", {"Location": f"/{name}"})

    def list_buckets(self) -> Answer:
        told = [
            {"Name": bucket.name, "Location": bucket.region, "CreationDate": iso(bucket.created)}
            for bucket in self.store.buckets.values()
        ]
        return xml("ListAllMyBucketsResult", {"Owner": OWNER, "Buckets": {"Bucket": told}})


Route = Callable[[ObjectPlane, Visit], Answer]
ROUTES: dict[tuple[str, str, str], Route] = {
    ("PUT", "object", ""): ObjectPlane.put,
    ("GET", "object", ""): ObjectPlane.get,
    ("HEAD", "object", ""): ObjectPlane.head,
    ("DELETE", "object", ""): ObjectPlane.delete,
    ("POST", "object", "image_process"): ObjectPlane.process,
    ("POST", "object", "append"): ObjectPlane.append,
    ("POST", "object", "uploads"): ObjectPlane.start_upload,
    ("PUT", "object", "uploadId"): ObjectPlane.put_part,
    ("POST", "object", "uploadId"): ObjectPlane.finish_upload,
    ("DELETE", "object", "uploadId"): ObjectPlane.stop_upload,
    ("GET", "object", "uploadId"): ObjectPlane.list_parts,
    ("GET", "bucket", ""): ObjectPlane.list_objects,
    ("GET", "bucket", "uploads"): ObjectPlane.list_uploads,
    ("GET", "bucket", "location"): ObjectPlane.location,
    ("GET", "bucket", "versioning"): ObjectPlane.versioning,
    ("HEAD", "bucket", ""): ObjectPlane.head_bucket,
    ("PUT", "bucket", ""): ObjectPlane.put_bucket,
    ("DELETE", "bucket", ""): ObjectPlane.delete_bucket,
    ("POST", "bucket", "delete"): ObjectPlane.delete_many,
}


# -- what a request carries


def whole(params: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number among the parameters; an empty one counts as not given."""
    spelled = params.get(name, "")
    if not spelled:
        value = default
    elif re.fullmatch(r"\d{1,9}", spelled, re.ASCII):
        value = int(spelled)
    else:
        raise invalid(f"{name} is not a number.")
    if not least <= value <= most:
        raise invalid(f"{name} must lie between {least} and {most}.")
    return value


def checked_key(key: str) -> None:
    if len(key.encode()) > LONGEST_KEY:
        raise Refused(400, "KeyTooLong", f"Your key is longer than {LONGEST_KEY} bytes.")


def checked_md5(visit: Visit) -> None:
    spelled = visit.header("content-md5")
    if not spelled:
        return
    try:
        digest = base64.b64decode(spelled, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise Refused(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    if digest != hashlib.md5(visit.request.body).digest():
        raise Refused(
            400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What comes back with an object; some clients send headers without a value, which say
    nothing.
    """
    return {
        name: value
        for name, value in headers.items()
        if value and (name in KEPT_HEADERS or name.startswith("x-cos-meta-"))
    }


def arrived(visit: Visit) -> Stored:
    checked_key(visit.key)
    checked_md5(visit)
    headers = kept_headers(visit.request.headers)
    return stored(visit.request.body, visit.now, visit.header("content-type"), headers)


def asked_rule(params: Mapping[str, str]) -> str:
    """A processing rule stands in the query as a name without a value; an unescaped "=" of its
    base64 cuts it.
    """
    for name, value in params.items():
        if RULE.match(name):
            return f"{name}={value}" if value else name
    return ""


# -- what goes back


def unmet(thing: Stored, headers: Mapping[str, str]) -> int:
    """The status that a conditional request gets instead of the object, or 0."""
    match, none = headers.get("if-match", ""), headers.get("if-none-match", "")
    since, until = (
        http_date(headers.get("if-modified-since", "")),
        http_date(headers.get("if-unmodified-since", "")),
    )
    modified = int(thing.modified)
    if match and not _names(match, thing.etag):
        return 412
    if not match and until is not None and modified > until:
        return 412
    if none:
        return 304 if _names(none, thing.etag) else 0
    return 304 if since is not None and modified <= since else 0


def _names(spelled: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in spelled.split(",")]
    return "*" in tags or etag.strip('"') in tags


def byte_range(spelled: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of `bytes=a-b`, `a-`, `-n`; None for no range or one that is not
    understood.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", spelled.replace(" ", ""), re.ASCII)
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
        if found[2] and int(found[2]) < start:
            return None
    if start >= size or start >= end:
        raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, end


def delivered(thing: Stored, visit: Visit) -> Answer:
    headers = {
        "Content-Type": thing.content_type,
        "ETag": thing.etag,
        "Last-Modified": formatdate(thing.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        **thing.headers,
    }
    status = unmet(thing, visit.request.headers)
    if status == 412:
        raise Refused(412, "PreconditionFailed", "At least one of the preconditions did not hold.")
    if status:
        return Answer(status, b"", {name: headers[name] for name in ("ETag", "Last-Modified")})
    overrides = {name: visit.params.get(f"response-{name}", "") for name in OVERRIDES}
    headers = _overridden(headers, {name: value for name, value in overrides.items() if value})
    span = byte_range(visit.header("range"), len(thing.body))
    if span is None:
        return Answer(200, thing.body, headers)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{len(thing.body)}"
    return Answer(206, thing.body[slice(*span)], headers)


def _overridden(headers: dict[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name.lower() not in overrides}
    clean = {name: re.sub(r"[^\x20-\x7e]", "", value) for name, value in overrides.items()}
    return {**kept, **clean}


def page(bucket: Bucket, asked: Mapping[str, str], most: int) -> tuple[list[str], list[str], str]:
    """Keys and common prefixes of one page of a listing, and the marker of the next ("" at the
    end).
    """
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    contents: list[str] = []
    prefixes: list[str] = []
    last = marker = asked.get("marker", "")
    keys = bucket.keys(prefix, marker)
    while (key := next(keys, None)) is not None:
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        folder = key[: cut + len(delimiter)] if cut >= 0 else ""
        if folder and folder == last:  # the marker was this folder: its keys are behind us
            keys = bucket.keys(prefix, folder + HIGHEST)
            continue
        if len(contents) + len(prefixes) >= most:
            return contents, prefixes, last if most else ""
        last = folder or key
        (prefixes if folder else contents).append(last)
        if folder:
            keys = bucket.keys(prefix, folder + HIGHEST)
    return contents, prefixes, ""


def _entry(key: str, thing: Stored) -> Tree:
    return {
        "Key": key,
        "LastModified": iso(thing.modified),
        "ETag": thing.etag,
        "Size": len(thing.body),
        "Owner": OWNER,
        "StorageClass": "STANDARD",
    }


def _part(number: int, part: Stored) -> Tree:
    return {
        "PartNumber": number,
        "LastModified": iso(part.modified),
        "ETag": part.etag,
        "Size": len(part.body),
    }
