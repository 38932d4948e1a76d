"""The object plane of COS: objects, ranges, conditions, listings, copies, multipart uploads,
pictures on the way.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from jupyter_mjci.emulator.http import Request
from tests.emulator.cos_client import (
    BUCKET,
    COS_HOST,
    REGION,
    CosClient,
    build_client,
    build_image,
    get_image_size,
    parse_response,
    to_list,
)

TEXT = b"0123456789"


@pytest.fixture
def client() -> CosClient:
    return build_client({"in/a.png": build_image(40, 20), "note.txt": TEXT})


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_object_is_returned_with_its_stored_headers(client: CosClient) -> None:
    """Body, type, x-cos-meta-* and the cache headers; the ETag is the MD5."""
    sent = {"Content-Type": "text/plain", "x-cos-meta-who": "me", "Cache-Control": "max-age=60"}
    put = client.cos("PUT", "/输入 dir/a+b.txt", None, TEXT, {**sent, "Expires": ""})
    response = client.cos("GET", "/输入 dir/a+b.txt")
    assert (put.status, put.body, put.headers["ETag"]) == (200, b"", etag(TEXT))
    assert (
        response.status,
        response.body,
        response.headers["ETag"],
        response.headers["Accept-Ranges"],
    ) == (
        200,
        TEXT,
        etag(TEXT),
        "bytes",
    )
    assert "expires" not in response.headers
    assert response.headers["Last-Modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert {name.lower(): value for name, value in sent.items()}.items() <= {
        name.lower(): value for name, value in response.headers.items()
    }.items()


def test_head_returns_length_without_body(client: CosClient) -> None:
    """The headers of a GET without its body; of a missing object, not even an error body."""
    there, gone = client.cos("HEAD", "/note.txt"), client.cos("HEAD", "/none")
    assert (there.status, there.body, there.headers["Content-Length"]) == (200, b"", "10")
    assert (gone.status, gone.body) == (404, b"")
    assert gone.headers["x-cos-request-id"]


def test_delete_of_missing_key_succeeds(client: CosClient) -> None:
    """204 both times; the object is gone."""
    assert [client.cos("DELETE", "/note.txt").status for _ in range(2)] == [204, 204]
    assert parse_response(client.cos("GET", "/note.txt"))["Code"] == "NoSuchKey"


RANGES = {
    "bytes=2-4": (206, b"234", "bytes 2-4/10"),
    "bytes=7-": (206, b"789", "bytes 7-9/10"),
    "bytes=-3": (206, b"789", "bytes 7-9/10"),
    "bytes=0-999": (206, TEXT, "bytes 0-9/10"),
    "bytes=-999": (206, TEXT, "bytes 0-9/10"),
    "bytes=4-2": (200, TEXT, None),
    "bytes=-": (200, TEXT, None),
    "lines=1-2": (200, TEXT, None),
    "bytes=1-2,4-5": (200, TEXT, None),
}


@pytest.mark.parametrize("header", RANGES)
def test_range_returns_part_of_object(client: CosClient, header: str) -> None:
    """206 with Content-Range for one range that can be met; what is no range at all counts as
    none.
    """
    status, body, result = RANGES[header]
    response = client.cos("GET", "/note.txt", headers={"Range": header})
    assert (response.status, response.body, response.headers.get("Content-Range")) == (
        status,
        body,
        result,
    )


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_range_past_end_is_refused(client: CosClient, header: str) -> None:
    """416 InvalidRange."""
    response = client.cos("GET", "/note.txt", headers={"Range": header})
    assert (response.status, parse_response(response)["Code"]) == (416, "InvalidRange")


EARLIER, SAME, LATER = (
    "Thu, 01 Jan 2026 00:00:00 GMT".replace("2026", year) for year in ("2025", "2026", "2027")
)
CONDITIONS = [
    ({"If-Match": etag(TEXT)}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"other"'}, 412),
    ({"If-None-Match": etag(TEXT)}, 304),
    ({"If-None-Match": f'"other", {etag(TEXT)}'}, 304),
    ({"If-None-Match": '"other"'}, 200),
    ({"If-Modified-Since": EARLIER}, 200),
    ({"If-Modified-Since": SAME}, 304),
    ({"If-Unmodified-Since": SAME}, 200),
    ({"If-Unmodified-Since": EARLIER}, 412),
    ({"If-Match": etag(TEXT), "If-Unmodified-Since": EARLIER}, 200),
    ({"If-None-Match": '"other"', "If-Modified-Since": LATER}, 200),
    ({"If-Modified-Since": "yesterday"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
def test_preconditions_decide_status(
    client: CosClient, headers: dict[str, str], status: int
) -> None:
    """The ETag goes before the date, as RFC 9110 has it; 304 has no body."""
    response = client.cos("GET", "/note.txt", headers=headers)
    assert response.status == status
    assert (response.body == b"") == (status == 304)


def test_content_md5_is_verified(client: CosClient) -> None:
    """The right one passes, a wrong one is BadDigest, and what is no MD5 at all is
    InvalidDigest.
    """
    answers = [
        client.cos("PUT", "/x", None, TEXT, {"Content-MD5": value})
        for value in (md5(TEXT), md5(b"y"), "no")
    ]
    assert [response.status for response in answers] == [200, 400, 400]
    assert [parse_response(response)["Code"] for response in answers[1:]] == [
        "BadDigest",
        "InvalidDigest",
    ]


def test_key_over_850_bytes_is_refused(client: CosClient) -> None:
    """KeyTooLong counts bytes, not letters."""
    assert client.cos("PUT", "/" + "k" * 850).status == 200
    assert parse_response(client.cos("PUT", "/" + "图" * 284))["Code"] == "KeyTooLong"


def test_presigned_url_overrides_response_headers(client: CosClient) -> None:
    """response-* parameters replace headers; line breaks cannot be smuggled in."""
    params = {
        "response-content-type": "text/html",
        "response-content-disposition": "attachment\r\nx: y",
    }
    headers = client.cos("GET", "/note.txt", params).headers
    assert (headers["content-type"], headers["content-disposition"]) == (
        "text/html",
        "attachmentx: y",
    )
    assert "Content-Type" not in headers


# -- listings


@pytest.fixture
def stocked_client() -> CosClient:
    return build_client(dict.fromkeys(("a", "b/1", "b/2", "b/c/3", "d 图", "e/1", "f"), b"x"))


def listing(client: CosClient, **params: str) -> tuple[list[str], list[str], Any]:
    result = parse_response(
        client.cos("GET", "/", {name.replace("_", "-"): value for name, value in params.items()})
    )
    keys = [row["Key"] for row in to_list(result.get("Contents"))]
    return (
        keys,
        [row["Prefix"] for row in to_list(result.get("CommonPrefixes"))],
        result.get("NextMarker"),
    )


LISTINGS = [
    ({}, ["a", "b/1", "b/2", "b/c/3", "d 图", "e/1", "f"], []),
    ({"prefix": "b/"}, ["b/1", "b/2", "b/c/3"], []),
    ({"prefix": "b/", "delimiter": "/"}, ["b/1", "b/2"], ["b/c/"]),
    ({"delimiter": "/"}, ["a", "d 图", "f"], ["b/", "e/"]),
    ({"marker": "b/2"}, ["b/c/3", "d 图", "e/1", "f"], []),
    ({"marker": "b/", "delimiter": "/"}, ["d 图", "f"], ["e/"]),
    ({"prefix": "none"}, [], []),
    ({"encoding_type": "url", "prefix": "d"}, ["d%20%E5%9B%BE"], []),
]


@pytest.mark.parametrize(("params", "keys", "prefixes"), LISTINGS)
def test_listing_supports_prefix_marker_and_delimiter(
    stocked_client: CosClient, params: dict[str, str], keys: list[str], prefixes: list[str]
) -> None:
    """Keys come in the order of their bytes; a delimiter folds them into common prefixes."""
    assert listing(stocked_client, **params) == (keys, prefixes, None)


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("most", ["1", "2", "3"])
def test_listing_pages_have_no_gap_or_repeat(
    stocked_client: CosClient, delimiter: str, most: str
) -> None:
    """NextMarker leads on, over folded prefixes too, to the same whole."""
    found: list[str] = []
    marker = ""
    while marker is not None:
        keys, prefixes, marker = listing(
            stocked_client, delimiter=delimiter, max_keys=most, marker=marker
        )
        assert len(keys) + len(prefixes) <= int(most)
        found += sorted(keys + prefixes)
    keys, prefixes, _ = listing(stocked_client, delimiter=delimiter)
    assert found == sorted(keys + prefixes)


def test_delete_multiple_removes_all_keys(stocked_client: CosClient) -> None:
    """POST ?delete removes the listed keys, and reports them unless Quiet is set."""
    body = "<Delete><Object><Key>a</Key></Object><Object><Key>f</Key></Object></Delete>"
    result = parse_response(
        stocked_client.cos("POST", "/", {"delete": ""}, body, {"Content-MD5": md5(body.encode())})
    )
    assert [row["Key"] for row in result["Deleted"]] == ["a", "f"]
    assert listing(stocked_client)[0] == ["b/1", "b/2", "b/c/3", "d 图", "e/1"]


# -- buckets


def test_buckets_are_created_and_deleted() -> None:
    """A new one is empty and listed; one with objects cannot go; one that is there cannot come
    again.
    """
    client, host = build_client(), f"second-1250000000.cos.{REGION}.myqcloud.com"
    statuses = [
        client.request(*call, host=host).status
        for call in (("PUT", "/"), ("PUT", "/"), ("PUT", "/k"), ("HEAD", "/"))
    ]
    assert statuses == [200, 409, 200, 200]
    result = parse_response(client.request("GET", "/", host="service.cos.myqcloud.com"))
    assert [row["Name"] for row in result["Buckets"]["Bucket"]] == [BUCKET, "second-1250000000"]
    calls = (("DELETE", "/"), ("DELETE", "/k"), ("DELETE", "/"), ("HEAD", "/"))
    assert [client.request(*call, host=host).status for call in calls] == [409, 204, 204, 404]


def test_unsupported_subresource_is_not_implemented(client: CosClient) -> None:
    """501 for functions that are not there, 405 for methods that make no sense."""
    assert (
        parse_response(client.cos("GET", "/note.txt", {"policy": ""}))["Code"] == "NotImplemented"
    )
    assert parse_response(client.cos("POST", "/note.txt"))["Code"] == "MethodNotAllowed"


# -- copies, appends, multipart uploads


def test_copy_keeps_or_replaces_headers(client: CosClient) -> None:
    """The source is named by its host and key; Replaced takes the new headers."""
    client.cos("PUT", "/from 1", None, TEXT, {"x-cos-meta-a": "old"})
    source = {"x-cos-copy-source": f"{COS_HOST}/from%201"}
    assert parse_response(client.cos("PUT", "/kept", None, b"", source))["ETag"] == etag(TEXT)
    new = {**source, "x-cos-metadata-directive": "Replaced", "x-cos-meta-a": "new"}
    client.cos("PUT", "/replaced", None, b"", new)
    response = [client.cos("HEAD", key).headers["x-cos-meta-a"] for key in ("/kept", "/replaced")]
    assert response == ["old", "new"]


@pytest.mark.parametrize("encode", [quote, quote_plus])
def test_copy_source_is_read_in_every_encoding(
    client: CosClient, encode: Callable[[str], str]
) -> None:
    """The official PHP client encodes a blank as "+"; a plus sign is one, in any case."""
    for key in ("a b+c", "a+b c"):
        client.cos("PUT", f"/{key}", None, key.encode())
        source = {"x-cos-copy-source": f"{COS_HOST}/{encode(key)}"}
        assert client.cos("PUT", "/copied", None, b"", source).status == 200
        assert client.cos("GET", "/copied").body == key.encode()


def test_upload_that_may_not_overwrite_is_refused(client: CosClient) -> None:
    """x-cos-forbid-overwrite holds for put, copy and completion; what is there stays."""
    once = {"x-cos-forbid-overwrite": "true"}
    assert client.cos("PUT", "/once", None, b"first", once).status == 200
    upload = parse_response(client.cos("POST", "/once", {"uploads": ""}))["UploadId"]
    part = {"partNumber": "1", "uploadId": upload}
    etag_of_part = client.cos("PUT", "/once", part, b"x").headers["ETag"]
    rows = f"<Part><PartNumber>1</PartNumber><ETag>{etag_of_part}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
    copied = {**once, "x-cos-copy-source": f"{COS_HOST}/note.txt"}
    refused = [
        client.cos("PUT", "/once", None, b"second", once),
        client.cos("PUT", "/once", None, b"", copied),
        client.cos("POST", "/once", {"uploadId": upload}, body, once),
    ]
    codes = [(answer.status, parse_response(answer)["Code"]) for answer in refused]
    assert codes == [(409, "FileAlreadyExists")] * 3
    assert client.cos("GET", "/once").body == b"first"


def test_range_of_object_that_has_changed_is_the_whole(client: CosClient) -> None:
    """If-Range: the part of what is known, the whole of what is new."""
    known = client.cos("HEAD", "/note.txt").headers
    part = {"range": "bytes=0-2"}
    for validator in (known["ETag"], known["Last-Modified"]):
        kept = client.cos("GET", "/note.txt", None, b"", {**part, "if-range": validator})
        assert (kept.status, kept.body) == (206, TEXT[:3])
    changed = client.cos("GET", "/note.txt", None, b"", {**part, "if-range": '"other"'})
    assert (changed.status, changed.body) == (200, TEXT)


def test_copy_of_missing_source_is_refused(client: CosClient) -> None:
    """NoSuchKey for the source; a condition that does not hold is 412."""
    missing = client.cos("PUT", "/x", None, b"", {"x-cos-copy-source": f"{COS_HOST}/none"})
    unmet = {"x-cos-copy-source": f"{COS_HOST}/note.txt", "x-cos-copy-source-If-Match": '"no"'}
    assert parse_response(missing)["Code"] == "NoSuchKey"
    assert client.cos("PUT", "/x", None, b"", unmet).status == 412


def test_append_needs_position_at_end(client: CosClient) -> None:
    """append returns the next position, and refuses another."""
    first = client.cos("POST", "/log", {"append": "", "position": "0"}, b"ab")
    second = client.cos("POST", "/log", {"append": "", "position": "2"}, b"cd")
    wrong = client.cos("POST", "/log", {"append": "", "position": "2"}, b"ef")
    assert [response.headers.get("x-cos-next-append-position") for response in (first, second)] == [
        "2",
        "4",
    ]
    assert (wrong.status, client.cos("GET", "/log").body) == (409, b"abcd")


def start_upload(client: CosClient, key: str = "/big") -> dict[str, str]:
    upload = parse_response(
        client.cos("POST", key, {"uploads": ""}, b"", {"Content-Type": "text/plain"})
    )["UploadId"]
    return {"uploadId": upload}


def complete_xml(*parts: tuple[int, str]) -> str:
    listed = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"


def test_multipart_upload_joins_parts(client: CosClient) -> None:
    """Parts in any order, put together by number; the ETag has their count; the upload is
    gone.
    """
    upload = start_upload(client)
    tags = {
        n: client.cos("PUT", "/big", {**upload, "partNumber": str(n)}, body).headers["ETag"]
        for n, body in ((2, b"second"), (1, b"first "))
    }
    listed = parse_response(client.cos("GET", "/big", upload))
    assert [part["PartNumber"] for part in listed["Part"]] == ["1", "2"]
    assert (
        parse_response(client.cos("GET", "/", {"uploads": ""}))["Upload"]["UploadId"]
        == upload["uploadId"]
    )
    done = parse_response(
        client.cos("POST", "/big", upload, complete_xml((1, tags[1]), (2, tags[2])))
    )
    response = client.cos("GET", "/big")
    assert (response.body, response.headers["Content-Type"], response.headers["ETag"]) == (
        b"first second",
        "text/plain",
        done["ETag"],
    )
    assert done["ETag"].endswith('-2"')
    assert parse_response(client.cos("GET", "/big", upload))["Code"] == "NoSuchUpload"


def test_invalid_parts_are_refused_and_upload_is_aborted(client: CosClient) -> None:
    """InvalidPart, InvalidPartOrder, a part number out of range; after the abort NoSuchUpload."""
    upload = start_upload(client)
    tag = client.cos("PUT", "/big", {**upload, "partNumber": "1"}, b"x").headers["ETag"]
    bodies = [
        complete_xml((1, '"no"')),
        complete_xml((2, tag)),
        complete_xml((1, tag), (1, tag)),
        complete_xml(),
    ]
    codes = [parse_response(client.cos("POST", "/big", upload, body))["Code"] for body in bodies]
    assert codes == ["InvalidPart", "InvalidPart", "InvalidPartOrder", "InvalidPartOrder"]
    assert (
        parse_response(client.cos("PUT", "/big", {**upload, "partNumber": "10001"}, b"x"))["Code"]
        == "InvalidArgument"
    )
    assert client.cos("DELETE", "/big", upload).status == 204
    assert (
        parse_response(client.cos("PUT", "/big", {**upload, "partNumber": "1"}, b"x"))["Code"]
        == "NoSuchUpload"
    )


# -- pictures on the way

DELIVERED = [
    ({"imageMogr2/rotate/90": ""}, "image/png", (20, 40)),
    ({"imageMogr2/thumbnail/!50p|imageMogr2/format/jpg": ""}, "image/jpeg", (20, 10)),
    ({"imageView2/1/w/10/h/10": ""}, "image/png", (10, 10)),
]


@pytest.mark.parametrize(("params", "kind", "size"), DELIVERED)
def test_rule_in_query_processes_download(
    client: CosClient, params: dict[str, str], kind: str, size: tuple[int, int]
) -> None:
    """`GET /key?rule` sends the processed picture; the stored one stays as it is."""
    response = client.cos("GET", "/in/a.png", params)
    assert (response.status, response.headers["Content-Type"], get_image_size(response.body)) == (
        200,
        kind,
        size,
    )
    assert get_image_size(client.cos("GET", "/in/a.png").body) == (40, 20)


def test_unescaped_rule_in_query_is_accepted(client: CosClient) -> None:
    """Browsers and some clients escape neither / nor |, and a base64 text may bring its =."""
    for rule in ("imageMogr2/rotate/90|imageMogr2/format/png", "watermark/2/text/aGk=/fontsize/9"):
        response = client.cos("GET", "/in/a.png", flag=rule)
        assert (response.status, response.headers["Content-Type"]) == (200, "image/png")


def test_image_info_is_json(client: CosClient) -> None:
    """imageInfo answers with JSON whose values are texts."""
    response = client.cos("GET", "/in/a.png", {"imageInfo": ""})
    result = json.loads(response.body)
    assert response.headers["Content-Type"].startswith("application/json")
    assert (result["width"], result["height"], result["format"]) == ("40", "20", "png")


@pytest.mark.parametrize(
    ("key", "rule"), [("/note.txt", "imageMogr2/rotate/90"), ("/in/a.png", "imageMogr2/rotate/x")]
)
def test_unprocessable_picture_is_refused(client: CosClient, key: str, rule: str) -> None:
    """A non-picture or a bad rule is 400 with the picture service's code."""
    response = client.cos("GET", key, {rule: ""})
    assert (response.status, bool(parse_response(response)["Code"])) == (400, True)


def build_operations(*rules: tuple[str, str], info: int = 1) -> dict[str, str]:
    listed = [{"fileid": fileid, "rule": rule} for fileid, rule in rules]
    return {"Pic-Operations": json.dumps({"is_pic_info": info, "rules": listed})}


def test_pic_operations_process_an_upload(client: CosClient) -> None:
    """PUT with Pic-Operations stores the original and the results; names are absolute or beside the
    original.
    """
    params = build_operations(
        ("/made/one.png", "imageMogr2/rotate/90"), ("two.jpg", "imageMogr2/format/jpg")
    )
    response = client.cos("PUT", "/new/b.png", None, build_image(30, 10), params)
    result = parse_response(response)
    assert (result["OriginalInfo"]["Key"], result["OriginalInfo"]["ImageInfo"]["Width"]) == (
        "new/b.png",
        "30",
    )
    picture = result["ProcessResults"]["Object"]
    assert [(one["Key"], one["Width"], one["Height"]) for one in picture] == [
        ("made/one.png", "10", "30"),
        ("new/two.jpg", "30", "10"),
    ]
    assert [
        get_image_size(client.cos("GET", key).body) for key in ("/new/b.png", "/made/one.png")
    ] == [
        (30, 10),
        (10, 30),
    ]
    assert client.cos("HEAD", "/made/one.png").headers["ETag"] == picture[0]["ETag"]


def test_image_process_uses_stored_object(client: CosClient) -> None:
    """POST ?image_process, here without the picture's own facts."""
    result = parse_response(
        client.cos(
            "POST",
            "/in/a.png",
            {"image_process": ""},
            b"",
            build_operations(("t.png", "imageMogr2/rotate/90"), info=0),
        )
    )
    assert "ImageInfo" not in result["OriginalInfo"]
    assert get_image_size(client.cos("GET", "/in/t.png").body) == (20, 40)


BAD_OPERATIONS = [
    "",
    "{",
    "[]",
    '{"rules": 1}',
    '{"rules": [1]}',
    '{"rules": [{"fileid": "a"}]}',
    '{"rules": [{"fileid": "\\ud800", "rule": "imageInfo"}]}',
    "[" * 100_000,
    build_operations(*[("a.png", "imageMogr2/rotate/90")] * 6)["Pic-Operations"],
]


@pytest.mark.parametrize("header", BAD_OPERATIONS, ids=range(len(BAD_OPERATIONS)))
def test_invalid_pic_operations_store_nothing(client: CosClient, header: str) -> None:
    """InvalidArgument for what is no Pic-Operations, and for more than five rules."""
    response = client.cos(
        "POST", "/in/a.png", {"image_process": ""}, b"", {"Pic-Operations": header}
    )
    assert (response.status, parse_response(response)["Code"]) == (400, "InvalidArgument")
    assert listing(client)[0] == ["in/a.png", "note.txt"]


def test_watermark_is_loaded_from_bucket(client: CosClient) -> None:
    """Its address is looked up in the bucket each time: a new mark shows at once."""
    address = base64.urlsafe_b64encode(f"http://{COS_HOST}/mark.png".encode()).decode()
    rule = {f"watermark/1/image/{address}/gravity/center": ""}
    seen = []
    for colour in ("#ff0000", "#00ff00"):
        client.cos("PUT", "/mark.png", None, build_image(10, 10, colour=colour))
        seen.append(client.cos("GET", "/in/a.png", rule).body)
    assert len({*seen}) == 2


def test_preflight_request_is_allowed(client: CosClient) -> None:
    """OPTIONS needs no signature and says that everything may come."""
    params = {"origin": "http://localhost:8888", "access-control-request-headers": "authorization"}
    response = client.ci.handle(Request("OPTIONS", COS_HOST, "/note.txt", "", params))
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:8888"
