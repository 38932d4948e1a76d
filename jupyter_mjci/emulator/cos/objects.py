"""The object plane of COS: put, get, head, delete, list, copy, multipart uploads, processing.

One table (`ROUTES`) says which function answers which method with
which query flag, on a bucket or on an object. A function takes a
`RequestContext` and returns a `Response` or raises
`ErrorResponse`; the signature was verified before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote

from jupyter_mjci.emulator.cos.archive import build_restore_headers, check_readable, restore
from jupyter_mjci.emulator.cos.conditions import (
    build_object_response,
    check_preconditions,
    parse_range,
    precondition_failed,
    replace_storage_headers,
    select_encryption,
    select_stored_headers,
)
from jupyter_mjci.emulator.cos.cors import parse_rules, render_rules
from jupyter_mjci.emulator.cos.grants import (
    OWNER,
    Grants,
    name_canned_list,
    parse_grant_body,
    parse_grant_headers,
    render_policy,
)
from jupyter_mjci.emulator.cos.listings import (
    UPLOAD_LISTING_PARAMS,
    list_buckets_page,
    list_page,
    list_uploads_page,
    render_bucket,
    render_object,
    render_part,
    render_upload,
    select_encoding,
)
from jupyter_mjci.emulator.cos.processing import (
    RULE_RE,
    ImageProcessor,
    PicOperations,
    apply_operations,
)
from jupyter_mjci.emulator.cos.requests import (
    MAX_BUCKET_TAGS,
    MAX_KEYS,
    MAX_PART_NUMBER,
    MAX_TAGS,
    XML_HEADERS,
    RequestContext,
    build_checksum_headers,
    build_copy_response,
    check_md5,
    check_overwrite,
    check_tags,
    find_subresource,
    find_tagged,
    method_not_allowed,
    parse_copy_source,
    parse_int_param,
    parse_tags,
    read_uploaded_object,
    xml_response,
)
from jupyter_mjci.emulator.cos.s3 import convert_to_v2, read_v2_marker
from jupyter_mjci.emulator.cos.store import (
    Bucket,
    MultipartUpload,
    Store,
    StoredObject,
    build_object,
    check_key,
    compute_multipart_etag,
    guess_content_type,
    no_such_bucket,
)
from jupyter_mjci.emulator.cos.styles import (
    add_style,
    delete_style,
    find_style,
    render_styles,
    split_style,
)
from jupyter_mjci.emulator.http import Response
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    find_all,
    get_text,
    invalid_argument,
    malformed_xml,
    not_implemented,
    parse_xml,
)

# the version ID of what was uploaded without versioning
NO_VERSION = "null"
# Directives of a copy: the word of COS, and that of S3.
REPLACE = ("replaced", "replace")
# Picture functions that are no rules.
UNSERVED_FUNCTION_RE = re.compile(r"image[A-Z]\w*(?=[/|]|$)")


OnUploaded = Callable[[Bucket, str, float], None]


class ObjectPlane:
    """The endpoints of the object plane.

    `on_uploaded` is called with the bucket, the key and the time
    of every object that was uploaded, copied or appended to.
    """

    def __init__(self, store: Store, processor: ImageProcessor) -> None:
        self.store = store
        self.processor = processor
        self.on_uploaded: OnUploaded = lambda *_: None

    def _store_upload(self, context: RequestContext, stored: StoredObject) -> None:
        """Store an object that came from outside, and tell of it."""
        context.bucket.put(context.key, stored)
        self.on_uploaded(context.bucket, context.key, context.now)

    def handle(self, context: RequestContext) -> Response:
        """Answer a request about a bucket or an object."""
        flag = find_subresource(context)
        level = "object" if context.key else "bucket"
        check_version(context.params.get("versionId", ""))
        method = context.request.method
        route = ROUTES.get((method, level, flag))
        if route:
            return route(self, context)
        if flag:
            raise not_implemented(flag)
        raise method_not_allowed()

    def get_bucket(self, name: str) -> Bucket:
        """Return a bucket of any region.

        Raises:
            ErrorResponse: there is none
        """
        bucket = self.store.buckets.get(name)
        if bucket is None:
            raise no_such_bucket()
        return bucket

    # -- objects

    def put(self, context: RequestContext) -> Response:
        """`PUT /key`: store, copy, or store and process an object."""
        check_overwrite(context)
        if context.get_header("x-cos-copy-source"):
            return self.copy(context)
        stored = read_uploaded_object(context)
        headers = build_checksum_headers(stored)
        if not context.get_header("pic-operations"):
            self._store_upload(context, stored)
            return Response(200, b"", headers)
        result = self._apply_operations(context, stored)
        self._store_upload(context, stored)
        return xml_response("UploadResult", result, headers)

    def _apply_operations(self, context: RequestContext, source: StoredObject) -> Element:
        operations = PicOperations.parse(context.get_header("pic-operations"), context.key)
        return apply_operations(
            self.processor,
            operations,
            source,
            context.bucket,
            context.key,
            context.now,
            self.get_bucket,
        )

    def process(self, context: RequestContext) -> Response:
        """`POST /key?image_process`: pictures made from a stored object."""
        if not context.get_header("pic-operations"):
            raise invalid_argument("The header Pic-Operations is needed.")
        source = context.bucket.get(context.key)
        check_readable(source, context.now)
        return xml_response("UploadResult", self._apply_operations(context, source))

    def get(self, context: RequestContext) -> Response:
        """`GET /key`: an object; with a rule in the query, processed on the way."""
        key, rule = find_rule(context)
        stored = context.bucket.get(key)
        check_readable(stored, context.now)
        if rule:
            result = self.processor.process(rule, stored, context.bucket)
            stored = StoredObject(result.body, result.etag, stored.modified, result.content_type)
        return self._build_object_response(context, stored)

    def _build_object_response(self, context: RequestContext, stored: StoredObject) -> Response:
        response = build_object_response(stored, context.request.headers, context.params)
        headers = {**response.headers, **build_restore_headers(stored, context.now)}
        return replace(response, headers=headers)

    def head(self, context: RequestContext) -> Response:
        """`HEAD /key`: the headers of an object."""
        response = self._build_object_response(context, context.bucket.get(context.key))
        headers = {**response.headers, "Content-Length": str(len(response.body))}
        return Response(response.status, b"", headers)

    def delete(self, context: RequestContext) -> Response:
        """`DELETE /key`."""
        context.bucket.remove(context.key)
        return Response(204)

    def restore(self, context: RequestContext) -> Response:
        """`POST /key?restore`: let an archived object be read for some days."""
        check_md5(context)
        stored = context.bucket.get(context.key)
        return Response(restore(stored, context.request.body, context.now))

    def copy(self, context: RequestContext) -> Response:
        """`PUT /key` with x-cos-copy-source."""
        source = self._get_copy_source(context)
        content_type = source.content_type
        new_headers = select_stored_headers(context.request.headers)
        # how it is stored is the copy's own, in any case
        headers = replace_storage_headers(source.headers, new_headers)
        if context.get_header("x-cos-metadata-directive").lower() in REPLACE:
            content_type = context.get_header("content-type")
            headers = new_headers
        check_key(context.key)
        stored = build_object(source.body, context.now, content_type, headers)
        stored.tags = source.tags
        stored.grants = parse_grant_headers(context.request.headers)
        if context.get_header("x-cos-tagging-directive").lower() in REPLACE:
            stored.tags = parse_tags(context.get_header("x-cos-tagging"))
        self._store_upload(context, stored)
        return build_copy_response("CopyObjectResult", stored)

    def _get_copy_source(self, context: RequestContext) -> StoredObject:
        header = context.get_header("x-cos-copy-source")
        address, version = parse_copy_source(header)
        check_version(version)
        location = self.store.resolve_copy_source(address, context.bucket)
        if not location or not location[1]:
            raise invalid_argument(
                "x-cos-copy-source is not <bucket>.cos.<region>.myqcloud.com/<key>."
            )
        bucket, key = location
        source = bucket.get(key)
        check_readable(source, context.now)
        conditions = {
            name.removeprefix("x-cos-copy-source-"): value
            for name, value in context.request.headers.items()
        }
        if check_preconditions(source, conditions):
            raise precondition_failed()
        return source

    def append(self, context: RequestContext) -> Response:
        """`POST /key?append&position=N`: bytes at the end of an object."""
        old = context.bucket.objects.get(context.key)
        if old and not old.is_appendable:
            message = "The object was not made by appending, so nothing can be appended to it."
            raise ErrorResponse(409, "ObjectNotAppendable", message)
        body = old.body if old else b""
        if context.params.get("position") != str(len(body)):
            message = f"The position is not the object's length, {len(body)}."
            raise ErrorResponse(409, "PositionNotEqualToLength", message)
        part = read_uploaded_object(context)
        stored = build_object(body + part.body, context.now, part.content_type, part.headers)
        stored.is_appendable = True
        self._store_upload(context, stored)
        headers = {
            **build_checksum_headers(stored),
            # its name notwithstanding: the official Go client takes
            # it for the MD5 of what was appended
            "x-cos-content-sha1": part.etag.strip('"'),
            "x-cos-next-append-position": str(len(stored.body)),
        }
        return Response(200, b"", headers)

    def delete_multiple(self, context: RequestContext) -> Response:
        """`POST /?delete`: many objects at once."""
        check_md5(context)
        request = parse_xml(context.request.body, "Delete")
        items = find_all(request, "Object")
        if not items or len(items) > MAX_KEYS:
            raise malformed_xml(f"<Delete> holds 1 to {MAX_KEYS} <Object>")
        result: Element = {"Deleted": [], "Error": []}
        for item in items:
            row = {name: text for name in ("Key", "VersionId") if (text := get_text(item, name))}
            kind, row = self._delete_listed(context.bucket, row)
            result[kind].append(row)
        if get_text(request, "Quiet").lower() == "true":
            del result["Deleted"]
        return xml_response("DeleteResult", result)

    def _delete_listed(self, bucket: Bucket, row: Element) -> tuple[str, Element]:
        """Delete an object; return the element that tells of it."""
        key = row.get("Key", "")
        try:
            check_version(row.get("VersionId", ""))
        except ErrorResponse as error:
            words = {"Code": error.code, "Message": error.message}
            return "Error", {**row, **words}
        exact = key if key in bucket.objects else key.lstrip("/")
        bucket.remove(exact)
        return "Deleted", row

    # -- multipart uploads

    def create_multipart_upload(self, context: RequestContext) -> Response:
        """`POST /key?uploads`."""
        check_key(context.key)
        upload_id = hashlib.sha256(f"upload {context.request_id}".encode()).hexdigest()[:40]
        context.bucket.uploads[upload_id] = MultipartUpload(
            upload_id,
            context.key,
            context.now,
            context.get_header("content-type"),
            select_stored_headers(context.request.headers),
            parse_tags(context.get_header("x-cos-tagging")),
            parse_grant_headers(context.request.headers),
        )
        content = {"Bucket": context.bucket.name, "Key": context.key, "UploadId": upload_id}
        headers = select_encryption(context.request.headers)
        return xml_response("InitiateMultipartUploadResult", content, headers)

    def _get_upload(self, context: RequestContext) -> MultipartUpload:
        upload = context.bucket.uploads.get(context.params.get("uploadId", ""))
        if upload is None or upload.key != context.key:
            message = "The specified multipart upload does not exist."
            raise ErrorResponse(404, "NoSuchUpload", message)
        return upload

    def upload_part(self, context: RequestContext) -> Response:
        """`PUT /key?partNumber=N&uploadId=ID`: a part, uploaded or copied."""
        upload = self._get_upload(context)
        number = parse_int_param(context.params, "partNumber", 0, 1, MAX_PART_NUMBER)
        if not context.get_header("x-cos-copy-source"):
            part = upload.parts[number] = read_uploaded_object(context)
            return Response(200, b"", build_checksum_headers(part))
        body = self._get_copy_source(context).body
        span = parse_range(context.get_header("x-cos-copy-source-range"), len(body))
        if span:
            body = body[slice(*span)]
        part = upload.parts[number] = build_object(body, context.now)
        return build_copy_response("CopyPartResult", part)

    def complete_multipart_upload(self, context: RequestContext) -> Response:
        """`POST /key?uploadId=ID`: the listed parts become one object."""
        upload = self._get_upload(context)
        parts = self._get_listed_parts(upload, context.request.body)
        check_overwrite(context)
        stored = StoredObject(
            b"".join(part.body for part in parts),
            compute_multipart_etag(parts),
            context.now,
            upload.content_type or guess_content_type(context.key),
            upload.headers,
            tags=upload.tags,
            grants=upload.grants,
        )
        content: Element = {
            "Location": f"http://{context.bucket.host}/{quote(context.key)}",
            "Bucket": context.bucket.name,
            "Key": context.key,
            "ETag": stored.etag,
        }
        # https://cloud.tencent.com/document/product/460/18147
        if context.get_header("pic-operations"):
            content["ProcessResults"] = self._apply_operations(context, stored)["ProcessResults"]
        self._store_upload(context, stored)
        del context.bucket.uploads[upload.id]
        headers = build_checksum_headers(stored)
        return xml_response("CompleteMultipartUploadResult", content, headers)

    def _get_listed_parts(self, upload: MultipartUpload, body: bytes) -> list[StoredObject]:
        request = parse_xml(body, "CompleteMultipartUpload")
        numbers: list[int] = []
        etags: list[str] = []
        for element in find_all(request, "Part"):
            text = get_text(element, "PartNumber")
            is_number = re.fullmatch(r"\d{1,5}", text, re.ASCII)
            numbers.append(int(text) if is_number else 0)
            etags.append(get_text(element, "ETag").strip('"'))
        if not numbers or sorted(set(numbers)) != numbers:
            message = "The parts are not listed in the order of their numbers."
            raise ErrorResponse(400, "InvalidPartOrder", message)
        parts: list[StoredObject] = []
        for number, etag in zip(numbers, etags, strict=True):
            part = upload.parts.get(number)
            if part is None or part.etag.strip('"') != etag:
                message = "One or more of the specified parts could not be found."
                raise ErrorResponse(400, "InvalidPart", message)
            parts.append(part)
        return parts

    def abort_multipart_upload(self, context: RequestContext) -> Response:
        """`DELETE /key?uploadId=ID`."""
        del context.bucket.uploads[self._get_upload(context).id]
        return Response(204)

    def list_parts(self, context: RequestContext) -> Response:
        """`GET /key?uploadId=ID`."""
        upload = self._get_upload(context)
        params = context.params
        marker = parse_int_param(params, "part-number-marker", 0, 0, MAX_PART_NUMBER)
        limit = parse_int_param(params, "max-parts", MAX_KEYS, 0, 10**9)
        numbers = [number for number in sorted(upload.parts) if number > marker]
        page = numbers[: min(limit, MAX_KEYS)]
        is_truncated = len(page) < len(numbers)
        encoding, encode = select_encoding(params)
        content = {
            "Bucket": context.bucket.name,
            **encoding,
            "Key": encode(upload.key),
            "UploadId": upload.id,
            "Owner": OWNER,
            "Initiator": OWNER,
            "PartNumberMarker": marker,
            # without a next page the service does not tell one
            **({"NextPartNumberMarker": page[-1]} if is_truncated and page else {}),
            "StorageClass": "STANDARD",
            "MaxParts": limit,
            "IsTruncated": is_truncated,
            "Part": [render_part(number, upload.parts[number]) for number in page],
        }
        return xml_response("ListPartsResult", content)

    def list_multipart_uploads(self, context: RequestContext) -> Response:
        """`GET /?uploads`."""
        params = context.params
        limit = parse_int_param(params, "max-uploads", MAX_KEYS, 0, 10**9)
        page = list_uploads_page(context.bucket, params, min(limit, MAX_KEYS))
        encoding, encode = select_encoding(params)
        content: Element = {"Bucket": context.bucket.name, **encoding}
        for name, element in UPLOAD_LISTING_PARAMS.items():
            content[element] = encode(params.get(name, ""))
        content |= {
            "MaxUploads": min(limit, MAX_KEYS),
            "IsTruncated": page.is_truncated,
            "Upload": [render_upload(upload, encode) for upload in page.uploads],
            "CommonPrefixes": [{"Prefix": encode(prefix)} for prefix in page.prefixes],
        }
        if page.is_truncated:
            content["NextKeyMarker"] = encode(page.next_key)
            content["NextUploadIdMarker"] = page.next_id
        return xml_response("ListMultipartUploadsResult", content)

    # -- buckets

    def list_objects(self, context: RequestContext) -> Response:
        """`GET /`: the keys of a bucket, with prefix, delimiter and marker."""
        params = context.params
        is_v2 = params.get("list-type") == "2"
        if is_v2:
            params = read_v2_marker(params)
        limit = parse_int_param(params, "max-keys", MAX_KEYS, 0, 10**9)
        encoding, encode = select_encoding(params)
        keys, prefixes, next_marker = list_page(context.bucket, params, min(limit, MAX_KEYS))
        content: Element = {
            "Name": context.bucket.name,
            **encoding,
            "Prefix": encode(params.get("prefix", "")),
            "Marker": encode(params.get("marker", "")),
            "MaxKeys": min(limit, MAX_KEYS),
            "Delimiter": encode(params.get("delimiter", "")),
            "IsTruncated": bool(next_marker),
        }
        if next_marker:
            content["NextMarker"] = encode(next_marker)
        objects = context.bucket.objects
        content["Contents"] = [render_object(encode(key), objects[key]) for key in keys]
        content["CommonPrefixes"] = [{"Prefix": encode(prefix)} for prefix in prefixes]
        if is_v2:
            content = convert_to_v2(content, params, next_marker)
        return xml_response("ListBucketResult", content)

    def list_versions(self, context: RequestContext) -> Response:
        """`GET /?versions`: each object as its only version, the bucket not being versioned."""
        params = {**context.params, "marker": context.params.get("key-marker", "")}
        limit = min(parse_int_param(params, "max-keys", MAX_KEYS, 0, 10**9), MAX_KEYS)
        encoding, encode = select_encoding(params)
        keys, prefixes, next_marker = list_page(context.bucket, params, limit)
        content: Element = {
            "Name": context.bucket.name,
            **encoding,
            "Prefix": encode(params.get("prefix", "")),
            "KeyMarker": encode(params["marker"]),
            "VersionIdMarker": params.get("version-id-marker", ""),
            "MaxKeys": limit,
            "Delimiter": encode(params.get("delimiter", "")),
            "IsTruncated": bool(next_marker),
        }
        if next_marker:
            content |= {"NextKeyMarker": encode(next_marker), "NextVersionIdMarker": NO_VERSION}
        objects = context.bucket.objects
        content["Version"] = [
            {**render_object(encode(key), objects[key]), "VersionId": NO_VERSION, "IsLatest": True}
            for key in keys
        ]
        content["CommonPrefixes"] = [{"Prefix": encode(prefix)} for prefix in prefixes]
        return xml_response("ListVersionsResult", content)

    def head_bucket(self, context: RequestContext) -> Response:
        """`HEAD /`."""
        return Response(200, b"", {"x-cos-bucket-region": context.bucket.region})

    def get_bucket_location(self, context: RequestContext) -> Response:
        """`GET /?location`."""
        body = f"<LocationConstraint>{context.bucket.region}</LocationConstraint>"
        return Response(200, body.encode(), XML_HEADERS)

    def get_bucket_versioning(self, _context: RequestContext) -> Response:
        """`GET /?versioning`: off."""
        return xml_response("VersioningConfiguration", {})

    def get_acl(self, context: RequestContext) -> Response:
        """`GET /?acl`, `GET /key?acl`: what others than the account may do."""
        grants: Grants | None = context.bucket.grants
        if context.key:
            grants = context.bucket.get(context.key).grants
        canned = name_canned_list(grants)
        headers = {"x-cos-acl": canned} if canned else {}
        if grants is None:
            grants = context.bucket.grants
        return xml_response("AccessControlPolicy", render_policy(grants), headers)

    def put_acl(self, context: RequestContext) -> Response:
        """`PUT /?acl`, `PUT /key?acl`: by x-cos-acl, x-cos-grant-*, or a body."""
        check_md5(context)
        grants: Grants | None
        if context.request.body.strip():
            grants = parse_grant_body(context.request.body)
        else:
            grants = parse_grant_headers(context.request.headers)
        if context.key:
            context.bucket.get(context.key).grants = grants
        else:
            context.bucket.grants = grants or []
        return Response(200)

    def put_style(self, context: RequestContext) -> Response:
        """`PUT /?style`: a name for a picture rule."""
        add_style(context.bucket.styles, context.request.body)
        return Response(200)

    def get_style(self, context: RequestContext) -> Response:
        """`GET /?style`: one style, or all of them."""
        content = render_styles(context.bucket.styles, context.request.body)
        return xml_response("StyleList", content)

    def delete_style(self, context: RequestContext) -> Response:
        """`DELETE /?style`."""
        delete_style(context.bucket.styles, context.request.body)
        return Response(204)

    def put_cors(self, context: RequestContext) -> Response:
        """`PUT /?cors`: replace the bucket's CORS rules."""
        check_md5(context)
        context.bucket.cors_rules = parse_rules(
            parse_xml(context.request.body, "CORSConfiguration")
        )
        return Response(200)

    def get_cors(self, context: RequestContext) -> Response:
        """`GET /?cors`."""
        if not context.bucket.cors_rules:
            message = "The CORS configuration does not exist."
            raise ErrorResponse(404, "NoSuchCORSConfiguration", message)
        return xml_response("CORSConfiguration", render_rules(context.bucket.cors_rules))

    def delete_cors(self, context: RequestContext) -> Response:
        """`DELETE /?cors`."""
        context.bucket.cors_rules = []
        return Response(204)

    def put_tagging(self, context: RequestContext) -> Response:
        """`PUT /?tagging`, `PUT /key?tagging`: replace all tags."""
        check_md5(context)
        tagged = find_tagged(context)
        limit = MAX_TAGS if context.key else MAX_BUCKET_TAGS
        tags = find_all(parse_xml(context.request.body, "Tagging"), "TagSet/Tag")
        pairs = [(get_text(tag, "Key"), get_text(tag, "Value")) for tag in tags]
        tagged.tags = check_tags(pairs, limit)
        return Response(200)

    def get_tagging(self, context: RequestContext) -> Response:
        """`GET /?tagging`, `GET /key?tagging`."""
        tags = find_tagged(context).tags
        if not tags and not context.key:
            raise ErrorResponse(404, "NoSuchTagSet", "The bucket has no tags.")
        rows = [{"Key": name, "Value": value} for name, value in tags.items()]
        return xml_response("Tagging", {"TagSet": {"Tag": rows}})

    def delete_tagging(self, context: RequestContext) -> Response:
        """`DELETE /?tagging`, `DELETE /key?tagging`."""
        find_tagged(context).tags = {}
        return Response(204)

    def put_bucket(self, context: RequestContext) -> Response:
        """`PUT /` of a bucket that exists."""
        message = f"The bucket {context.bucket.name} is yours already."
        raise ErrorResponse(409, "BucketAlreadyOwnedByYou", message)

    def delete_bucket(self, context: RequestContext) -> Response:
        """`DELETE /` of an empty bucket."""
        if context.bucket.objects:
            message = "The bucket you tried to delete is not empty."
            raise ErrorResponse(409, "BucketNotEmpty", message)
        del self.store.buckets[context.bucket.name]
        return Response(204)

    def create_bucket(
        self, name: str, region: str, now: float, headers: Mapping[str, str]
    ) -> Response:
        """`PUT /` of a new bucket."""
        grants = parse_grant_headers(headers) or []
        self.store.buckets[name] = Bucket(name, region, now, grants=grants)
        return Response(200, b"", {"Location": f"/{name}"})

    def list_buckets(self, params: Mapping[str, str], region: str) -> Response:
        """`GET /` without a bucket: the account's buckets, of one region or of all."""
        page, next_marker = list_buckets_page(self.store.buckets, params, region)
        content: Element = {
            "Owner": OWNER,
            "Marker": params.get("marker", ""),
            "IsTruncated": bool(next_marker),
            "Buckets": {"Bucket": [render_bucket(bucket) for bucket in page]},
        }
        if next_marker:
            content["NextMarker"] = next_marker
        return xml_response("ListAllMyBucketsResult", content)


Route = Callable[[ObjectPlane, RequestContext], Response]
ROUTES: dict[tuple[str, str, str], Route] = {
    ("PUT", "object", ""): ObjectPlane.put,
    ("GET", "object", ""): ObjectPlane.get,
    ("HEAD", "object", ""): ObjectPlane.head,
    ("DELETE", "object", ""): ObjectPlane.delete,
    ("POST", "object", "image_process"): ObjectPlane.process,
    ("POST", "object", "append"): ObjectPlane.append,
    ("POST", "object", "restore"): ObjectPlane.restore,
    ("POST", "object", "uploads"): ObjectPlane.create_multipart_upload,
    ("PUT", "object", "uploadId"): ObjectPlane.upload_part,
    ("POST", "object", "uploadId"): ObjectPlane.complete_multipart_upload,
    ("DELETE", "object", "uploadId"): ObjectPlane.abort_multipart_upload,
    ("GET", "object", "uploadId"): ObjectPlane.list_parts,
    ("GET", "object", "acl"): ObjectPlane.get_acl,
    ("PUT", "object", "acl"): ObjectPlane.put_acl,
    ("PUT", "object", "tagging"): ObjectPlane.put_tagging,
    ("GET", "object", "tagging"): ObjectPlane.get_tagging,
    ("DELETE", "object", "tagging"): ObjectPlane.delete_tagging,
    ("GET", "bucket", "acl"): ObjectPlane.get_acl,
    ("PUT", "bucket", "acl"): ObjectPlane.put_acl,
    ("PUT", "bucket", "style"): ObjectPlane.put_style,
    ("GET", "bucket", "style"): ObjectPlane.get_style,
    ("DELETE", "bucket", "style"): ObjectPlane.delete_style,
    ("PUT", "bucket", "tagging"): ObjectPlane.put_tagging,
    ("GET", "bucket", "tagging"): ObjectPlane.get_tagging,
    ("DELETE", "bucket", "tagging"): ObjectPlane.delete_tagging,
    ("PUT", "bucket", "cors"): ObjectPlane.put_cors,
    ("GET", "bucket", "cors"): ObjectPlane.get_cors,
    ("DELETE", "bucket", "cors"): ObjectPlane.delete_cors,
    ("GET", "bucket", ""): ObjectPlane.list_objects,
    ("GET", "bucket", "versions"): ObjectPlane.list_versions,
    ("GET", "bucket", "uploads"): ObjectPlane.list_multipart_uploads,
    ("GET", "bucket", "location"): ObjectPlane.get_bucket_location,
    ("GET", "bucket", "versioning"): ObjectPlane.get_bucket_versioning,
    ("HEAD", "bucket", ""): ObjectPlane.head_bucket,
    ("PUT", "bucket", ""): ObjectPlane.put_bucket,
    ("DELETE", "bucket", ""): ObjectPlane.delete_bucket,
    ("POST", "bucket", "delete"): ObjectPlane.delete_multiple,
}


def check_version(version_id: str) -> None:
    """Check that a version is the only one that an object here has.

    Otherwise the deletion of an old version would delete the
    object.

    Raises:
        ErrorResponse: it is another one
    """
    if version_id not in ("", NO_VERSION):
        message = "The specified version does not exist."
        raise ErrorResponse(404, "NoSuchVersion", message)


def find_rule(context: RequestContext) -> tuple[str, str]:
    """Return the key of the object that is asked for, and the rule to apply ("": none).

    A rule is a name without a value; an unescaped "=" of its
    base64 splits it. A style stands in the query, too, or at the
    end of the key.

    Raises:
        ErrorResponse: the query names a picture function that is
            not emulated
    """
    for name, value in context.params.items():
        if RULE_RE.match(name):
            return context.key, f"{name}={value}" if value else name
        if not value and UNSERVED_FUNCTION_RE.match(name):
            raise not_implemented(name)
    styles = context.bucket.styles
    rule = find_style(styles, context.params)
    if rule or context.key in context.bucket.objects:
        return context.key, rule
    return split_style(styles, context.key)
