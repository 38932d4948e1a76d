"""What clients of other languages check in the answers: checksums, numbers, content types, tags,
pages, the encodings of headers.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import socket
import struct
import time
from typing import Any
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree

import pytest

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.server import LoopbackServer
from tests.emulator.cos_client import (
    COS_HOST,
    CosClient,
    authorization,
    build_client,
    build_image,
    get_image_size,
    parse_response,
    percent_encode,
    to_list,
)

TEXT = b"0123456789"
PICTURE = build_image(40, 20)


@pytest.fixture
def client() -> CosClient:
    return build_client({"in/a.png": PICTURE, "note.txt": TEXT})


def crc64(body: bytes) -> str:
    """The CRC-64 that an .xz file holds of its content: another implementation."""
    stream = lzma.compress(body, lzma.FORMAT_XZ, lzma.CHECK_CRC64)
    backward_size = (struct.unpack("<I", stream[-8:-4])[0] + 1) * 4
    check = stream[-12 - backward_size - 8 : -12 - backward_size]
    return str(int.from_bytes(check, "little"))


def start_upload(client: CosClient, key: str, headers: dict[str, str] | None = None) -> str:
    created = parse_response(client.cos("POST", f"/{key}", {"uploads": ""}, b"", headers))
    return str(created["UploadId"])


def complete_upload(
    client: CosClient, key: str, parts: list[bytes], headers: dict[str, str] | None = None
) -> Any:
    upload_id = start_upload(client, key)
    rows = ""
    for number, part in enumerate(parts, 1):
        params = {"partNumber": str(number), "uploadId": upload_id}
        etag = client.cos("PUT", f"/{key}", params, part).headers["ETag"]
        rows += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
    return client.cos("POST", f"/{key}", {"uploadId": upload_id}, body, headers)


# -- spelling


def send_raw(server: LoopbackServer, method: str, headers: dict[str, str], body: bytes) -> str:
    """Send a signed request for /a.txt; return the head of the answer as it was on the wire."""
    keys = {"key_id": server.settings["secret_id"], "key": server.settings["secret_key"]}
    now = int(time.time())
    signed = {"host": COS_HOST, "content-length": str(len(body)), **headers}
    signature = authorization(method, "/a.txt", {}, signed, f"{now - 60};{now + 600}", **keys)
    lines = [f"{name}: {value}" for name, value in (signed | {"authorization": signature}).items()]
    head = "\r\n".join([f"{method} /a.txt HTTP/1.1", *lines, "connection: close", "", ""])
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[0].decode()


def test_header_names_have_the_capitals_of_the_service() -> None:
    """The official Java client looks for Date, Cache-Control, … by their exact letters."""
    stored = {
        "cache-control": "no-cache",
        "content-disposition": "inline",
        "expires": "0",
        "x-cos-meta-title": "a",
    }
    with Sandbox() as sandbox, sandbox.serve() as server:
        heads = [send_raw(server, "PUT", stored, TEXT), send_raw(server, "GET", {}, b"")]
    names = [{line.partition(":")[0] for line in head.splitlines()[1:]} for head in heads]
    assert {"Date", "ETag", "Content-Length"} < names[0]
    assert {"Date", "Cache-Control", "Content-Disposition", "Expires", "Last-Modified"} < names[1]
    assert "x-cos-meta-title" in names[1]
    assert all(name.startswith("x-") for name in names[1] if name.islower())


# -- checksums


def test_crc64_is_told_by_every_operation(client: CosClient) -> None:
    """Put, get, range, head, copy, part, completion (of the whole object) and append."""
    source = f"{COS_HOST}/note.txt"
    upload_id = start_upload(client, "big.bin")
    part = {"partNumber": "1", "uploadId": upload_id}
    answers = {
        "put": client.cos("PUT", "/a.txt", None, TEXT),
        "get": client.cos("GET", "/a.txt"),
        "range": client.cos("GET", "/a.txt", None, b"", {"range": "bytes=0-3"}),
        "head": client.cos("HEAD", "/a.txt"),
        "copy": client.cos("PUT", "/b.txt", None, b"", {"x-cos-copy-source": source}),
        "part": client.cos("PUT", "/big.bin", part, TEXT),
        "part copy": client.cos("PUT", "/big.bin", part, b"", {"x-cos-copy-source": source}),
        "append": client.cos("POST", "/log", {"append": "", "position": "0"}, TEXT),
        "complete": complete_upload(client, "whole", [TEXT[:4], TEXT[4:]]),
    }
    told = {name: answer.headers["x-cos-hash-crc64ecma"] for name, answer in answers.items()}
    assert told == dict.fromkeys(answers, crc64(TEXT))
    assert parse_response(answers["copy"])["CRC64"] == crc64(TEXT)


def test_append_tells_checksum_of_what_was_appended(client: CosClient) -> None:
    """x-cos-content-sha1 holds the block's MD5, which the official Go client compares; the CRC is
    of the whole object; the type is told by HEAD.
    """
    client.cos("POST", "/log", {"append": "", "position": "0"}, b"one")
    second = client.cos("POST", "/log", {"append": "", "position": "3"}, b"two")
    assert second.headers["x-cos-content-sha1"] == hashlib.md5(b"two").hexdigest()
    assert second.headers["x-cos-hash-crc64ecma"] == crc64(b"onetwo")
    assert client.cos("HEAD", "/log").headers["x-cos-object-type"] == "appendable"


def test_object_that_was_put_cannot_be_appended_to(client: CosClient) -> None:
    refused = client.cos("POST", "/note.txt", {"append": "", "position": "10"}, b"x")
    assert (refused.status, parse_response(refused)["Code"]) == (409, "ObjectNotAppendable")


# -- numbers, booleans and times are never empty

NUMBERS = """
    MaxKeys MaxParts MaxUploads PartNumber NextPartNumberMarker PartNumberMarker Size IsTruncated
    LastModified Initiated CreationDate CreateTime UpdateTime CreationTime StartTime EndTime
    TotalCount PageNumber PageSize Width Height Quality FrameCount JobLevel IsPicInfo MaxSize
    MaxConcurrent ObjectCount MaxAgeSeconds CRC64 Orientation
""".split()  # noqa: SIM905


def test_numbers_and_times_are_never_empty_elements(client: CosClient) -> None:
    """In every listing and answer, on the last page and on an empty one."""
    upload_id = start_upload(client, "big.bin")
    client.cos("PUT", "/big.bin", {"partNumber": "1", "uploadId": upload_id}, TEXT)
    client.picture_job()
    client.picture_job("gone.png")
    client.clock.advance(30)
    answers = [
        client.cos("GET", "/"),
        client.cos("GET", "/", {"prefix": "nothing/"}),
        client.cos("GET", "/", {"max-keys": "0"}),
        client.cos("GET", "/", {"uploads": ""}),
        client.cos("GET", "/big.bin", {"uploadId": upload_id}),
        client.cos("GET", "/big.bin", {"uploadId": upload_id, "part-number-marker": "9"}),
        client.cos("GET", "/", {"versioning": ""}),
        client.cos("GET", "/", {"acl": ""}),
        client.request("GET", "/", host="service.cos.myqcloud.com"),
        *(client.request("GET", path) for path in ("/picqueue", "/template", "/workflow")),
        client.request("GET", "/jobs", {"tag": "PicProcess"}),
        client.request("GET", "/picbucket", host="ci.ap-chongqing.myqcloud.com"),
        client.request("GET", "/inventorytriggerjob"),
    ]
    for answer in answers:
        for element in ElementTree.fromstring(answer.body.decode()).iter():
            if element.tag in NUMBERS:
                assert element.text, (element.tag, answer.body)


# -- content types


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.webp", "image/webp"),
        ("b/ü.AVIF", "image/avif"),
        ("c.mp4", "video/mp4"),
        ("d.json", "application/json"),
        ("e.svg", "image/svg+xml"),
        ("f.js", "text/javascript"),
        ("data:,x.html", "text/html"),
        ("g.tar.gz", "application/octet-stream"),
        ("png", "application/octet-stream"),
        ("folder.png/", "application/octet-stream"),
    ],
)
def test_content_type_is_guessed_from_key(client: CosClient, key: str, content_type: str) -> None:
    """Where a client gives none; by a simple and by a multipart upload."""
    client.cos("PUT", f"/{key}", None, TEXT)
    assert client.cos("HEAD", f"/{key}").headers["Content-Type"] == content_type
    complete_upload(client, key, [TEXT])
    assert client.cos("HEAD", f"/{key}").headers["Content-Type"] == content_type


# -- Pic-Operations

OPERATIONS = {"rules": [{"fileid": "/输出/a.jpg", "rule": "imageMogr2/rotate/90/format/jpg"}]}
ENCODINGS = {
    "ascii": json.dumps(OPERATIONS),
    "utf-8 bytes": json.dumps(OPERATIONS, ensure_ascii=False).encode().decode("latin-1"),
    "percent": quote(json.dumps(OPERATIONS, ensure_ascii=False)),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("way", ["put", "image_process", "multipart"])
def test_pic_operations_are_read_in_any_encoding(
    client: CosClient, encoding: str, way: str
) -> None:
    """Go sends the bytes of UTF-8, Node escapes, browsers percent-encode."""
    headers = {"Pic-Operations": ENCODINGS[encoding]}
    if way == "put":
        answer = client.cos("PUT", "/x.png", None, PICTURE, headers)
    elif way == "multipart":
        answer = complete_upload(client, "x.png", [PICTURE[:50], PICTURE[50:]], headers)
    else:
        answer = client.cos("POST", "/in/a.png", {"image_process": ""}, b"", headers)
    made = to_list(parse_response(answer)["ProcessResults"]["Object"])
    assert [row["Key"] for row in made] == ["输出/a.jpg"]
    assert get_image_size(client.cos("GET", "/输出/a.jpg").body) == (20, 40)


def test_invalid_pic_operations_keep_the_upload_open(client: CosClient) -> None:
    """A completion whose rule fails stores nothing; it can be completed again."""
    headers = {"Pic-Operations": '{"rules": [{"fileid": "/o.png", "rule": "imageMogr2/x"}]}'}
    refused = complete_upload(client, "x.png", [PICTURE], headers)
    assert refused.status == 400
    assert client.cos("HEAD", "/x.png").status == 404
    assert to_list(parse_response(client.cos("GET", "/", {"uploads": ""}))["Upload"])


# -- keys


@pytest.mark.parametrize("key", ["\\a.png", "a\x18.png", "b\x19", "c\x1a", "d\x1b.jpg"])
def test_forbidden_key_is_refused(client: CosClient, key: str) -> None:
    """By upload, copy, multipart upload and as the target of a rule."""
    source = {"x-cos-copy-source": f"{COS_HOST}/note.txt"}
    operations = json.dumps({"rules": [{"fileid": f"/{key}", "rule": "imageMogr2/rotate/90"}]})
    answers = [
        client.cos("PUT", f"/{key}", None, TEXT),
        client.cos("PUT", f"/{key}", None, b"", source),
        client.cos("POST", f"/{key}", {"uploads": ""}),
        client.cos("POST", f"/{key}", {"append": "", "position": "0"}, TEXT),
        client.cos("POST", "/in/a.png", {"image_process": ""}, b"", {"Pic-Operations": operations}),
    ]
    assert {(answer.status, parse_response(answer)["Code"]) for answer in answers} == {
        (400, "InvalidURI")
    }


COPY_SOURCES = [
    f"{COS_HOST}/d%20d/%E8%BE%93.txt",
    f"/{COS_HOST}/d%20d/%E8%BE%93.txt",
    f"//{COS_HOST}/d%20d/%E8%BE%93.txt",
    f"https://{COS_HOST}/d%20d/%E8%BE%93.txt",
    f"{COS_HOST}/d%20d%2F%E8%BE%93.txt",
    f"{COS_HOST}%2Fd%20d%2F%E8%BE%93.txt",
    f"{COS_HOST}/d d/输.txt".encode().decode("latin-1"),
    f"{COS_HOST}/d%20d/%E8%BE%93.txt?versionId=",
]


@pytest.mark.parametrize("source", COPY_SOURCES)
def test_copy_source_is_read_in_any_form(client: CosClient, source: str) -> None:
    client.cos("PUT", "/d d/输.txt", None, b"found")
    answer = client.cos("PUT", "/copy.txt", None, b"", {"x-cos-copy-source": source})
    assert answer.status == 200, answer.body
    assert client.cos("GET", "/copy.txt").body == b"found"


@pytest.mark.parametrize("version", ["", "?versionId=null"])
def test_copy_source_may_be_encoded_as_a_form(client: CosClient, version: str) -> None:
    """As a whole, by urlencode(), as the samples of the official PHP client do."""
    client.cos("PUT", "/a b+图&?#%20'.txt", None, b"found")
    source = quote_plus(f"{COS_HOST}/a b+图&?#%20'.txt{version}")
    client.cos("PUT", "/copy.txt", None, b"", {"x-cos-copy-source": source})
    assert client.cos("GET", "/copy.txt").body == b"found"


@pytest.mark.parametrize("key", ["100%25.txt", "a%2Fb.txt"])
def test_copy_source_is_decoded_once(client: CosClient, key: str) -> None:
    """A key that holds an escape itself."""
    client.cos("PUT", f"/{key}", None, b"found")
    source = f"{COS_HOST}/{quote(key)}"
    client.cos("PUT", "/copy.txt", None, b"", {"x-cos-copy-source": source})
    assert client.cos("GET", "/copy.txt").body == b"found"


# -- tags, access control, pages of uploads


def test_tags_are_kept(client: CosClient) -> None:
    """Given with an upload or afterwards; copied; deleted."""
    client.cos("PUT", "/t.txt", None, TEXT, {"x-cos-tagging": "a=1&b%20b=%E4%BD%A0"})
    first = to_list(parse_response(client.cos("GET", "/t.txt", {"tagging": ""}))["TagSet"]["Tag"])
    assert first == [{"Key": "a", "Value": "1"}, {"Key": "b b", "Value": "你"}]
    body = "<Tagging><TagSet><Tag><Key>c</Key><Value>2</Value></Tag></TagSet></Tagging>"
    client.cos("PUT", "/t.txt", {"tagging": ""}, body)
    source = {"x-cos-copy-source": f"{COS_HOST}/t.txt"}
    client.cos("PUT", "/u.txt", None, b"", source)
    for key in ("t.txt", "u.txt"):
        tags = parse_response(client.cos("GET", f"/{key}", {"tagging": ""}))["TagSet"]["Tag"]
        assert tags == {"Key": "c", "Value": "2"}
    client.cos("DELETE", "/t.txt", {"tagging": ""})
    assert parse_response(client.cos("GET", "/t.txt", {"tagging": ""})) == {"TagSet": ""}
    many = "&".join(f"k{number}=v" for number in range(11))
    refused = client.cos("PUT", "/v.txt", None, TEXT, {"x-cos-tagging": many})
    assert (refused.status, parse_response(refused)["Code"]) == (400, "InvalidTag")


def test_access_control_is_told(client: CosClient) -> None:
    for path in ("/", "/note.txt"):
        policy = parse_response(client.cos("GET", path, {"acl": ""}))
        assert policy["AccessControlList"]["Grant"]["Permission"] == "FULL_CONTROL"
    assert client.cos("GET", "/none", {"acl": ""}).status == 404


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        ("/", "policy"),
        ("/note.txt", "restore"),
        ("/", "lifecycle"),
        ("/", "intelligent-tiering"),
        ("/", "what-comes-next-year"),
        ("/note.txt", "imageInspect"),
    ],
)
def test_what_is_not_emulated_says_so(client: CosClient, path: str, flag: str) -> None:
    answer = client.cos("GET", path, {flag: ""})
    assert (answer.status, parse_response(answer)["Code"]) == (501, "NotImplemented")


UNSERVED_RULES = [
    "watermark/3/type/3/text/eA",
    "imageMogr2/thumbnail/!50p|watermark/4/type/3/text/eA",
    "ci-process=GoodsMatting&center-layout=1&padding-layout=500x500",
    "QRcode/cover/1",
]


@pytest.mark.parametrize("rule", UNSERVED_RULES)
def test_function_among_pic_operations_that_is_not_emulated_says_so(
    client: CosClient, rule: str
) -> None:
    """Rules of the official Go and PHP samples: right, only not served here."""
    operations = json.dumps({"rules": [{"fileid": "o.png", "rule": rule}]})
    for method, params in (("PUT", None), ("POST", {"image_process": ""})):
        answer = client.cos(method, "/in/a.png", params, PICTURE, {"Pic-Operations": operations})
        assert (answer.status, parse_response(answer)["Code"]) == (501, "NotImplemented")


AES = {"x-cos-server-side-encryption": "AES256"}


def test_encryption_by_the_service_is_told(client: CosClient) -> None:
    """Of what was put, read, completed or copied; a copy has its own."""
    source = {"x-cos-copy-source": f"{COS_HOST}/sse.txt"}
    answers = [
        client.cos("PUT", "/sse.txt", None, TEXT, AES),
        client.cos("GET", "/sse.txt"),
        client.cos("HEAD", "/sse.txt"),
        client.cos("PUT", "/copy.txt", None, b"", source | AES),
        client.cos("POST", "/big.bin", {"uploads": ""}, b"", AES),
        complete_upload(client, "big.bin", [TEXT], AES),
    ]
    told = [answer.headers.get("x-cos-server-side-encryption") for answer in answers[:-1]]
    assert told == ["AES256"] * 5
    assert answers[-1].status == 200
    client.cos("PUT", "/plain.txt", None, b"", source)
    assert "x-cos-server-side-encryption" not in client.cos("HEAD", "/plain.txt").headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x-cos-server-side-encryption": "cos/kms"},
        {"x-cos-server-side-encryption-customer-algorithm": "AES256"},
        {"x-cos-server-side-encryption-customer-key": "a2V5"},
    ],
)
def test_encryption_by_other_keys_is_not_emulated(
    client: CosClient, headers: dict[str, str]
) -> None:
    """Nothing is stored in the clear that was to be encrypted by the customer's key."""
    answer = client.cos("PUT", "/sse.txt", None, TEXT, headers)
    assert (answer.status, parse_response(answer)["Code"]) == (501, "NotImplemented")
    assert client.cos("HEAD", "/sse.txt").status == 404


SERVICE_HOST = "service.cos.myqcloud.com"


def list_buckets(client: CosClient, host: str = SERVICE_HOST, **params: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in params.items()}
    result = parse_response(client.request("GET", "/", names, host=host))
    rows = to_list((result["Buckets"] or {}).get("Bucket", []))
    return [row["Name"].partition("-")[0] for row in rows], result


def test_buckets_are_listed_in_pages_and_by_region_tag_and_time(client: CosClient) -> None:
    """The parameters of GET Service, as the official Go and Java clients send them."""
    for name, region in (("b-1250000000", "ap-beijing"), ("c-1250000000", "ap-chongqing")):
        host = f"{name}.cos.{region}.myqcloud.com"
        assert client.request("PUT", "/", host=host).status == 200
        body = (
            f"<Tagging><TagSet><Tag><Key>k</Key><Value>{name[0]}</Value></Tag></TagSet></Tagging>"
        )
        assert client.request("PUT", "/", {"tagging": ""}, body, host=host).status == 200
        client.clock.advance(10)
    names, page = list_buckets(client, max_keys="2")
    assert (names, page["IsTruncated"], page["NextMarker"]) == (
        ["b", "c"],
        "true",
        "c-1250000000",
    )
    names, page = list_buckets(client, max_keys="2", marker=page["NextMarker"])
    assert (names, page["IsTruncated"]) == (["demo"], "false")
    assert list_buckets(client)[0] == ["b", "c", "demo"]
    assert list_buckets(client, region="ap-beijing")[0] == ["b"]
    assert list_buckets(client, "cos.ap-beijing.myqcloud.com")[0] == ["b"]
    assert list_buckets(client, tagkey="k", tagvalue="c")[0] == ["c"]
    now = str(int(client.clock.now()) - 5)
    assert list_buckets(client, create_time=now, range="lt")[0] == ["b", "c", "demo"]
    assert list_buckets(client, create_time=now, range="gt")[0] == []
    refused = client.request("GET", "/", {"create-time": now, "range": "eq"}, host=SERVICE_HOST)
    assert (refused.status, parse_response(refused)["Code"]) == (400, "InvalidArgument")


def test_listings_repeat_the_delimiter_and_encode_the_key(client: CosClient) -> None:
    """A listing of versions, and the parts of an upload."""
    params = {"versions": "", "delimiter": "/", "encoding-type": "url"}
    assert parse_response(client.cos("GET", "/", params))["Delimiter"] == "/"
    upload_id = start_upload(client, "图 1.bin")
    params = {"uploadId": upload_id, "encoding-type": "url"}
    parts = parse_response(client.cos("GET", "/图 1.bin", params))
    assert (parts["EncodingType"], parts["Key"]) == ("url", "%E5%9B%BE%201.bin")


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_of_uploads_have_no_gap_or_repeat(
    client: CosClient, size: int, delimiter: str
) -> None:
    """Two uploads of one key, folders, an encoded key: the markers lead through all."""
    keys = ["a", "a", "b/1", "b/2", "c d", "e/1"]
    for key in keys:
        start_upload(client, key)
    seen: list[str] = []
    params = {"uploads": "", "max-uploads": str(size), "encoding-type": "url"}
    markers: dict[str, str] = {}
    for _ in range(20):
        page = parse_response(client.cos("GET", "/", {**params, "delimiter": delimiter, **markers}))
        seen += [row["Key"] for row in to_list(page.get("Upload", ""))]
        seen += [row["Prefix"] for row in to_list(page.get("CommonPrefixes", ""))]
        if page["IsTruncated"] == "false":
            break
        assert page["NextKeyMarker"]
        markers = {
            "key-marker": page["NextKeyMarker"],
            "upload-id-marker": page["NextUploadIdMarker"],
        }
    expected = ["a", "a", "b/", "c%20d", "e/"] if delimiter else [*keys[:4], "c%20d", "e/1"]
    assert sorted(seen) == sorted(expected)


def test_parts_are_listed_in_pages(client: CosClient) -> None:
    upload_id = start_upload(client, "big.bin")
    for number in (1, 2, 3, 10):
        client.cos("PUT", "/big.bin", {"partNumber": str(number), "uploadId": upload_id}, TEXT)
    params = {"uploadId": upload_id, "max-parts": "3"}
    first = parse_response(client.cos("GET", "/big.bin", params))
    assert (first["IsTruncated"], first["NextPartNumberMarker"]) == ("true", "3")
    last = parse_response(client.cos("GET", "/big.bin", {**params, "part-number-marker": "3"}))
    assert (last["IsTruncated"], last["Part"]["PartNumber"]) == ("false", "10")
    assert "NextPartNumberMarker" not in last


# -- a presigned URL as the Node SDK makes it


@pytest.mark.parametrize(
    "rule", ["imageMogr2/thumbnail/!50p", "imageMogr2/rotate/90|imageMogr2/format/png"]
)
def test_rule_may_be_a_signed_parameter_of_a_link(client: CosClient, rule: str) -> None:
    """The list of parameters is encoded once more than where it was signed (436/55332)."""
    params = {rule: "", "response-content-type": "image/x"}
    signature = authorization("GET", "/in/a.png", params, {"host": COS_HOST}, client.span())
    fields = [part.partition("=") for part in signature.split("&")]
    once_decoded = {name: value for name, _, value in fields}
    query = "&".join(
        f"{percent_encode(name)}={percent_encode(value)}"
        for name, value in [*once_decoded.items(), *params.items()]
    )
    answers = []
    for text in (query, query.replace("%25", "%")):
        request = Request("GET", COS_HOST, "/in/a.png", text, {"host": COS_HOST})
        answers.append(client.ci.handle(request))
    assert [answer.status for answer in answers] == [200, 200], answers[0].body
    assert get_image_size(answers[0].body) == get_image_size(answers[1].body) != (40, 20)


# -- cross-origin requests

ORIGIN = "https://app.example"
CORS_XML = (
    "<CORSConfiguration><CORSRule><ID>one</ID><AllowedOrigin>https://*.example</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod><AllowedHeader>authorization</AllowedHeader>"
    "<ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule>"
    "</CORSConfiguration>"
)


def ask(client: CosClient, method: str, path: str, **headers: str) -> Any:
    names = {"host": COS_HOST, **{name.replace("_", "-"): text for name, text in headers.items()}}
    return client.ci.handle(Request(method, COS_HOST, path, "", names))


def test_every_answer_lets_its_page_read_it(client: CosClient) -> None:
    """Errors too; every header of the answer is exposed."""
    refused = ask(client, "GET", "/in/a.png", origin=ORIGIN)
    found = client.cos("GET", "/in/a.png", None, b"", {"origin": ORIGIN})
    jobs = client.request("GET", "/jobs", {"tag": "PicProcess"}, b"", {"origin": ORIGIN})
    assert [answer.status for answer in (refused, found, jobs)] == [403, 200, 200]
    for answer in (refused, found, jobs):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {name for name in answer.headers if name.startswith("x-")} <= set(exposed)
    assert "ETag" in found.headers["Access-Control-Expose-Headers"]


def test_bucket_rules_are_kept_and_obeyed(client: CosClient) -> None:
    """Origins, methods and headers by the bucket's rules, which replace the default."""
    assert client.cos("GET", "/", {"cors": ""}).status == 404
    assert client.cos("PUT", "/", {"cors": ""}, CORS_XML).status == 200
    kept = parse_response(client.cos("GET", "/", {"cors": ""}))["CORSRule"]
    assert (kept["ID"], kept["MaxAgeSeconds"]) == ("one", "5")
    preflight = {"access_control_request_method": "GET"}
    allowed = ask(client, "OPTIONS", "/x", origin=ORIGIN, **preflight)
    assert (allowed.status, allowed.headers["Access-Control-Max-Age"]) == (200, "5")
    assert allowed.headers["Access-Control-Expose-Headers"] == "ETag"
    for refused in (
        ask(client, "OPTIONS", "/x", origin="https://app.other", **preflight),
        ask(client, "OPTIONS", "/x", origin=ORIGIN, access_control_request_method="PUT"),
        ask(
            client,
            "OPTIONS",
            "/x",
            origin=ORIGIN,
            access_control_request_headers="x-a",
            **preflight,
        ),
    ):
        assert (refused.status, parse_response(refused)["Code"]) == (403, "AccessForbidden")
        assert "Access-Control-Allow-Origin" not in refused.headers
    client.cos("DELETE", "/", {"cors": ""})
    assert ask(client, "OPTIONS", "/x", origin="https://app.other", **preflight).status == 200


@pytest.mark.parametrize(
    "body",
    [
        "<CORSConfiguration/>",
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>",
        CORS_XML.replace("GET", "FETCH"),
        CORS_XML.replace(">5<", ">soon<"),
    ],
)
def test_invalid_bucket_rules_are_refused(client: CosClient, body: str) -> None:
    refused = client.cos("PUT", "/", {"cors": ""}, body)
    assert (refused.status, parse_response(refused)["Code"]) == (400, "MalformedXML")


def test_bucket_rules_and_tags_survive_a_restart(client: CosClient) -> None:
    client.cos("PUT", "/", {"cors": ""}, CORS_XML)
    client.cos("PUT", "/t.txt", None, TEXT, {"x-cos-tagging": "a=1"})
    client.cos("POST", "/log", {"append": "", "position": "0"}, TEXT)
    other = build_client({"x": b""})
    other.ci.restore(client.ci.snapshot())
    assert parse_response(other.cos("GET", "/", {"cors": ""}))["CORSRule"]["ID"] == "one"
    assert "a" in str(parse_response(other.cos("GET", "/t.txt", {"tagging": ""})))
    assert other.cos("POST", "/log", {"append": "", "position": "10"}, TEXT).status == 200
