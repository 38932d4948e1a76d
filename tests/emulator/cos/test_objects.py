"""The object plane of COS: objects, ranges, conditions, listings, copies, multipart uploads,
pictures on the way.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from jupyter_mjci.emulator.http import Request
from tests.emulator.cos_client import (
    BUCKET,
    COS_HOST,
    REGION,
    Visitor,
    drawn,
    read,
    rows,
    size_of,
    visitor,
)

TEXT = b"0123456789"


@pytest.fixture
def here() -> Visitor:
    return visitor({"in/a.png": drawn(40, 20), "note.txt": TEXT})


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_what_is_put_comes_back_with_its_headers(here: Visitor) -> None:
    """Body, type, x-cos-meta-* and the cache headers; the ETag is the MD5."""
    sent = {"Content-Type": "text/plain", "x-cos-meta-who": "me", "Cache-Control": "max-age=60"}
    put = here.cos("PUT", "/输入 dir/a+b.txt", None, TEXT, {**sent, "Expires": ""})
    got = here.cos("GET", "/输入 dir/a+b.txt")
    assert (put.status, put.body, put.headers["ETag"]) == (200, b"", etag(TEXT))
    assert (got.status, got.body, got.headers["ETag"], got.headers["Accept-Ranges"]) == (
        200,
        TEXT,
        etag(TEXT),
        "bytes",
    )
    assert "expires" not in got.headers
    assert got.headers["Last-Modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert {name.lower(): value for name, value in sent.items()}.items() <= {
        name.lower(): value for name, value in got.headers.items()
    }.items()


def test_head_tells_the_length_and_sends_nothing(here: Visitor) -> None:
    """The headers of a GET without its body; of a missing object, not even an error body."""
    there, gone = here.cos("HEAD", "/note.txt"), here.cos("HEAD", "/none")
    assert (there.status, there.body, there.headers["Content-Length"]) == (200, b"", "10")
    assert (gone.status, gone.body) == (404, b"")
    assert gone.headers["x-cos-request-id"]


def test_delete_is_done_even_when_there_is_nothing(here: Visitor) -> None:
    """204 both times; the object is gone."""
    assert [here.cos("DELETE", "/note.txt").status for _ in range(2)] == [204, 204]
    assert read(here.cos("GET", "/note.txt"))["Code"] == "NoSuchKey"


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


@pytest.mark.parametrize("spelled", RANGES)
def test_a_range_is_a_part_of_the_object(here: Visitor, spelled: str) -> None:
    """206 with Content-Range for one range that can be met; what is no range at all counts as
    none.
    """
    status, body, told = RANGES[spelled]
    answer = here.cos("GET", "/note.txt", headers={"Range": spelled})
    assert (answer.status, answer.body, answer.headers.get("Content-Range")) == (status, body, told)


@pytest.mark.parametrize("spelled", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(here: Visitor, spelled: str) -> None:
    """416 InvalidRange."""
    answer = here.cos("GET", "/note.txt", headers={"Range": spelled})
    assert (answer.status, read(answer)["Code"]) == (416, "InvalidRange")


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
def test_conditions_are_kept(here: Visitor, headers: dict[str, str], status: int) -> None:
    """The ETag goes before the date, as RFC 9110 has it; 304 has no body."""
    answer = here.cos("GET", "/note.txt", headers=headers)
    assert answer.status == status
    assert (answer.body == b"") == (status == 304)


def test_content_md5_is_verified(here: Visitor) -> None:
    """The right one passes, a wrong one is BadDigest, and what is no MD5 at all is
    InvalidDigest.
    """
    answers = [
        here.cos("PUT", "/x", None, TEXT, {"Content-MD5": value})
        for value in (md5(TEXT), md5(b"y"), "no")
    ]
    assert [answer.status for answer in answers] == [200, 400, 400]
    assert [read(answer)["Code"] for answer in answers[1:]] == ["BadDigest", "InvalidDigest"]


def test_a_key_has_at_most_850_bytes(here: Visitor) -> None:
    """KeyTooLong counts bytes, not letters."""
    assert here.cos("PUT", "/" + "k" * 850).status == 200
    assert read(here.cos("PUT", "/" + "图" * 284))["Code"] == "KeyTooLong"


def test_a_signed_address_may_rename_the_download(here: Visitor) -> None:
    """response-* parameters replace headers; line breaks cannot be smuggled in."""
    asked = {
        "response-content-type": "text/html",
        "response-content-disposition": "attachment\r\nx: y",
    }
    headers = here.cos("GET", "/note.txt", asked).headers
    assert (headers["content-type"], headers["content-disposition"]) == (
        "text/html",
        "attachmentx: y",
    )
    assert "Content-Type" not in headers


# -- listings


@pytest.fixture
def shelf() -> Visitor:
    return visitor(dict.fromkeys(("a", "b/1", "b/2", "b/c/3", "d 图", "e/1", "f"), b"x"))


def listing(here: Visitor, **asked: str) -> tuple[list[str], list[str], Any]:
    told = read(
        here.cos("GET", "/", {name.replace("_", "-"): value for name, value in asked.items()})
    )
    keys = [row["Key"] for row in rows(told.get("Contents"))]
    return keys, [row["Prefix"] for row in rows(told.get("CommonPrefixes"))], told.get("NextMarker")


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


@pytest.mark.parametrize(("asked", "keys", "prefixes"), LISTINGS)
def test_a_listing_knows_prefix_marker_and_delimiter(
    shelf: Visitor, asked: dict[str, str], keys: list[str], prefixes: list[str]
) -> None:
    """Keys come in the order of their bytes; a delimiter folds them into common prefixes."""
    assert listing(shelf, **asked) == (keys, prefixes, None)


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("most", ["1", "2", "3"])
def test_pages_of_a_listing_meet_without_gap_or_repeat(
    shelf: Visitor, delimiter: str, most: str
) -> None:
    """NextMarker leads on, over folded prefixes too, to the same whole."""
    found: list[str] = []
    marker = ""
    while marker is not None:
        keys, prefixes, marker = listing(shelf, delimiter=delimiter, max_keys=most, marker=marker)
        assert len(keys) + len(prefixes) <= int(most)
        found += sorted(keys + prefixes)
    keys, prefixes, _ = listing(shelf, delimiter=delimiter)
    assert found == sorted(keys + prefixes)


def test_many_are_deleted_at_once(shelf: Visitor) -> None:
    """POST ?delete removes what it lists, and tells so unless it shall be quiet."""
    body = "<Delete><Object><Key>a</Key></Object><Object><Key>f</Key></Object></Delete>"
    told = read(shelf.cos("POST", "/", {"delete": ""}, body, {"Content-MD5": md5(body.encode())}))
    assert [row["Key"] for row in told["Deleted"]] == ["a", "f"]
    assert listing(shelf)[0] == ["b/1", "b/2", "b/c/3", "d 图", "e/1"]


# -- buckets


def test_buckets_come_and_go() -> None:
    """A new one is empty and listed; one with objects cannot go; one that is there cannot come
    again.
    """
    here, host = visitor(), f"second-1250000000.cos.{REGION}.myqcloud.com"
    statuses = [
        here.ask(*call, host=host).status
        for call in (("PUT", "/"), ("PUT", "/"), ("PUT", "/k"), ("HEAD", "/"))
    ]
    assert statuses == [200, 409, 200, 200]
    told = read(here.ask("GET", "/", host="service.cos.myqcloud.com"))
    assert [row["Name"] for row in told["Buckets"]["Bucket"]] == [BUCKET, "second-1250000000"]
    calls = (("DELETE", "/"), ("DELETE", "/k"), ("DELETE", "/"), ("HEAD", "/"))
    assert [here.ask(*call, host=host).status for call in calls] == [409, 204, 204, 404]


def test_what_cos_can_and_this_does_not_is_said(here: Visitor) -> None:
    """501 for functions that are not there, 405 for methods that make no sense."""
    assert read(here.cos("GET", "/note.txt", {"acl": ""}))["Code"] == "NotImplemented"
    assert read(here.cos("POST", "/note.txt"))["Code"] == "MethodNotAllowed"


# -- copies, appends, multipart uploads


def test_a_copy_keeps_or_replaces_the_headers(here: Visitor) -> None:
    """The source is named by its host and key; Replaced takes the new headers."""
    here.cos("PUT", "/from 1", None, TEXT, {"x-cos-meta-a": "old"})
    source = {"x-cos-copy-source": f"{COS_HOST}/from%201"}
    assert read(here.cos("PUT", "/kept", None, b"", source))["ETag"] == etag(TEXT)
    new = {**source, "x-cos-metadata-directive": "Replaced", "x-cos-meta-a": "new"}
    here.cos("PUT", "/replaced", None, b"", new)
    got = [here.cos("HEAD", key).headers["x-cos-meta-a"] for key in ("/kept", "/replaced")]
    assert got == ["old", "new"]


def test_a_copy_of_nothing_is_refused(here: Visitor) -> None:
    """NoSuchKey for the source; a condition that does not hold is 412."""
    missing = here.cos("PUT", "/x", None, b"", {"x-cos-copy-source": f"{COS_HOST}/none"})
    unmet = {"x-cos-copy-source": f"{COS_HOST}/note.txt", "x-cos-copy-source-If-Match": '"no"'}
    assert read(missing)["Code"] == "NoSuchKey"
    assert here.cos("PUT", "/x", None, b"", unmet).status == 412


def test_an_object_grows_at_its_end_only(here: Visitor) -> None:
    """append tells the next position, and refuses another."""
    first = here.cos("POST", "/log", {"append": "", "position": "0"}, b"ab")
    second = here.cos("POST", "/log", {"append": "", "position": "2"}, b"cd")
    wrong = here.cos("POST", "/log", {"append": "", "position": "2"}, b"ef")
    assert [answer.headers.get("x-cos-next-append-position") for answer in (first, second)] == [
        "2",
        "4",
    ]
    assert (wrong.status, here.cos("GET", "/log").body) == (409, b"abcd")


def started(here: Visitor, key: str = "/big") -> dict[str, str]:
    upload = read(here.cos("POST", key, {"uploads": ""}, b"", {"Content-Type": "text/plain"}))[
        "UploadId"
    ]
    return {"uploadId": upload}


def complete_xml(*parts: tuple[int, str]) -> str:
    listed = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"


def test_parts_become_one_object(here: Visitor) -> None:
    """Parts in any order, put together by number; the ETag tells their count; the upload is
    gone.
    """
    upload = started(here)
    tags = {
        n: here.cos("PUT", "/big", {**upload, "partNumber": str(n)}, body).headers["ETag"]
        for n, body in ((2, b"second"), (1, b"first "))
    }
    listed = read(here.cos("GET", "/big", upload))
    assert [part["PartNumber"] for part in listed["Part"]] == ["1", "2"]
    assert read(here.cos("GET", "/", {"uploads": ""}))["Upload"]["UploadId"] == upload["uploadId"]
    done = read(here.cos("POST", "/big", upload, complete_xml((1, tags[1]), (2, tags[2]))))
    got = here.cos("GET", "/big")
    assert (got.body, got.headers["Content-Type"], got.headers["ETag"]) == (
        b"first second",
        "text/plain",
        done["ETag"],
    )
    assert done["ETag"].endswith('-2"')
    assert read(here.cos("GET", "/big", upload))["Code"] == "NoSuchUpload"


def test_wrong_parts_are_refused_and_an_upload_can_be_given_up(here: Visitor) -> None:
    """InvalidPart, InvalidPartOrder, a part number out of range; after the abort NoSuchUpload."""
    upload = started(here)
    tag = here.cos("PUT", "/big", {**upload, "partNumber": "1"}, b"x").headers["ETag"]
    bodies = [
        complete_xml((1, '"no"')),
        complete_xml((2, tag)),
        complete_xml((1, tag), (1, tag)),
        complete_xml(),
    ]
    codes = [read(here.cos("POST", "/big", upload, body))["Code"] for body in bodies]
    assert codes == ["InvalidPart", "InvalidPart", "InvalidPartOrder", "InvalidPartOrder"]
    assert (
        read(here.cos("PUT", "/big", {**upload, "partNumber": "10001"}, b"x"))["Code"]
        == "InvalidArgument"
    )
    assert here.cos("DELETE", "/big", upload).status == 204
    assert (
        read(here.cos("PUT", "/big", {**upload, "partNumber": "1"}, b"x"))["Code"] == "NoSuchUpload"
    )


# -- pictures on the way

DELIVERED = [
    ({"imageMogr2/rotate/90": ""}, "image/png", (20, 40)),
    ({"imageMogr2/thumbnail/!50p|imageMogr2/format/jpg": ""}, "image/jpeg", (20, 10)),
    ({"imageView2/1/w/10/h/10": ""}, "image/png", (10, 10)),
]


@pytest.mark.parametrize(("asked", "kind", "size"), DELIVERED)
def test_a_rule_in_the_query_processes_the_download(
    here: Visitor, asked: dict[str, str], kind: str, size: tuple[int, int]
) -> None:
    """`GET /key?rule` sends the processed picture; the stored one stays as it is."""
    answer = here.cos("GET", "/in/a.png", asked)
    assert (answer.status, answer.headers["Content-Type"], size_of(answer.body)) == (
        200,
        kind,
        size,
    )
    assert size_of(here.cos("GET", "/in/a.png").body) == (40, 20)


def test_a_rule_may_stand_unescaped_in_the_query(here: Visitor) -> None:
    """Browsers and some clients escape neither / nor |, and a base64 text may bring its =."""
    for rule in ("imageMogr2/rotate/90|imageMogr2/format/png", "watermark/2/text/aGk=/fontsize/9"):
        answer = here.cos("GET", "/in/a.png", flag=rule)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")


def test_facts_are_json(here: Visitor) -> None:
    """imageInfo answers with JSON whose values are texts."""
    answer = here.cos("GET", "/in/a.png", {"imageInfo": ""})
    told = json.loads(answer.body)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert (told["width"], told["height"], told["format"]) == ("40", "20", "png")


@pytest.mark.parametrize(
    ("key", "rule"), [("/note.txt", "imageMogr2/rotate/90"), ("/in/a.png", "imageMogr2/rotate/x")]
)
def test_what_cannot_be_processed_is_an_error(here: Visitor, key: str, rule: str) -> None:
    """A non-picture or a bad rule is 400 with the picture service's code."""
    answer = here.cos("GET", key, {rule: ""})
    assert (answer.status, bool(read(answer)["Code"])) == (400, True)


def operations(*rules: tuple[str, str], info: int = 1) -> dict[str, str]:
    listed = [{"fileid": fileid, "rule": rule} for fileid, rule in rules]
    return {"Pic-Operations": json.dumps({"is_pic_info": info, "rules": listed})}


def test_pictures_are_made_while_uploading(here: Visitor) -> None:
    """PUT with Pic-Operations stores the original and the results; names are absolute or beside the
    original.
    """
    asked = operations(
        ("/made/one.png", "imageMogr2/rotate/90"), ("two.jpg", "imageMogr2/format/jpg")
    )
    answer = here.cos("PUT", "/new/b.png", None, drawn(30, 10), asked)
    told = read(answer)
    assert (told["OriginalInfo"]["Key"], told["OriginalInfo"]["ImageInfo"]["Width"]) == (
        "new/b.png",
        "30",
    )
    made = told["ProcessResults"]["Object"]
    assert [(one["Key"], one["Width"], one["Height"]) for one in made] == [
        ("made/one.png", "10", "30"),
        ("new/two.jpg", "30", "10"),
    ]
    assert [size_of(here.cos("GET", key).body) for key in ("/new/b.png", "/made/one.png")] == [
        (30, 10),
        (10, 30),
    ]
    assert here.cos("HEAD", "/made/one.png").headers["ETag"] == made[0]["ETag"]


def test_pictures_are_made_from_what_is_stored(here: Visitor) -> None:
    """POST ?image_process, here without the picture's own facts."""
    told = read(
        here.cos(
            "POST",
            "/in/a.png",
            {"image_process": ""},
            b"",
            operations(("t.png", "imageMogr2/rotate/90"), info=0),
        )
    )
    assert "ImageInfo" not in told["OriginalInfo"]
    assert size_of(here.cos("GET", "/in/t.png").body) == (20, 40)


BAD_OPERATIONS = [
    "",
    "{",
    "[]",
    '{"rules": 1}',
    '{"rules": [1]}',
    '{"rules": [{"fileid": "a"}]}',
    '{"rules": [{"fileid": "\\ud800", "rule": "imageInfo"}]}',
    "[" * 100_000,
    operations(*[("a.png", "imageMogr2/rotate/90")] * 6)["Pic-Operations"],
]


@pytest.mark.parametrize("header", BAD_OPERATIONS, ids=range(len(BAD_OPERATIONS)))
def test_bad_operations_store_nothing(here: Visitor, header: str) -> None:
    """InvalidArgument for what is no Pic-Operations, and for more than five rules."""
    answer = here.cos("POST", "/in/a.png", {"image_process": ""}, b"", {"Pic-Operations": header})
    assert (answer.status, read(answer)["Code"]) == (400, "InvalidArgument")
    assert listing(here)[0] == ["in/a.png", "note.txt"]


def test_a_watermark_may_come_from_the_bucket(here: Visitor) -> None:
    """Its address is looked up in the bucket each time: a new mark shows at once."""
    address = base64.urlsafe_b64encode(f"http://{COS_HOST}/mark.png".encode()).decode()
    rule = {f"watermark/1/image/{address}/gravity/center": ""}
    seen = []
    for colour in ("#ff0000", "#00ff00"):
        here.cos("PUT", "/mark.png", None, drawn(10, 10, colour=colour))
        seen.append(here.cos("GET", "/in/a.png", rule).body)
    assert len({*seen}) == 2


def test_a_browser_may_ask_beforehand(here: Visitor) -> None:
    """OPTIONS needs no signature and says that everything may come."""
    asked = {"origin": "http://localhost:8888", "access-control-request-headers": "authorization"}
    answer = here.ci.handle(Request("OPTIONS", COS_HOST, "/note.txt", "", asked))
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:8888"
