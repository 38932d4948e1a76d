"""Who may do what without a signature, and the styles, tags and versions that clients ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.etree import ElementTree

import pytest

from jupyter_mjci.emulator.cos.grants import XSI_NAMESPACE
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.tencent_ci.service import TencentCI
from tests.emulator.cos_client import (
    COS_HOST,
    CosClient,
    build_client,
    build_image,
    get_image_size,
    parse_response,
    to_list,
)

ALL_USERS = "http://cam.qcloud.com/groups/global/AllUsers"


@pytest.fixture
def client() -> CosClient:
    return build_client({"in/a.png": build_image(40, 20), "note.txt": b"0123456789"})


def ask_unsigned(
    client: CosClient, method: str, path: str, query: str = "", body: bytes = b""
) -> Response:
    return client.ci.handle(Request(method, COS_HOST, path, query, {"host": COS_HOST}, body))


def grant_xml(grantee: str, permission: str) -> str:
    return (
        "<AccessControlPolicy><AccessControlList><Grant><Grantee>"
        f"{grantee}</Grantee><Permission>{permission}</Permission></Grant></AccessControlList>"
        "</AccessControlPolicy>"
    )


@pytest.mark.parametrize(
    "header",
    [
        {"x-cos-acl": "public-read"},
        {"x-cos-grant-read": f'uri="{ALL_USERS}"'},
        {"x-cos-grant-read": 'id="qcs::cam::anyone:anyone"'},
        {"x-cos-grant-full-control": 'id="anyone"'},
    ],
)
@pytest.mark.parametrize("way", ["put", "copy", "acl", "multipart"])
def test_public_object_is_read_without_signature(
    client: CosClient, header: Mapping[str, str], way: str
) -> None:
    if way == "put":
        client.cos("PUT", "/p.png", None, build_image(40, 20), header)
    elif way == "copy":
        client.cos(
            "PUT", "/p.png", None, b"", {**header, "x-cos-copy-source": f"{COS_HOST}/in/a.png"}
        )
    elif way == "acl":
        client.cos("PUT", "/p.png", None, build_image(40, 20))
        assert client.cos("PUT", "/p.png", {"acl": ""}, b"", header).status == 200
    else:
        put_parts(client, "/p.png", build_image(40, 20), header)
    assert ask_unsigned(client, "GET", "/p.png").status == 200
    assert ask_unsigned(client, "HEAD", "/p.png").status == 200
    turned = ask_unsigned(client, "GET", "/p.png", "imageMogr2/rotate/90")
    assert get_image_size(turned.body) == (20, 40)
    assert ask_unsigned(client, "GET", "/in/a.png").status == 403
    assert ask_unsigned(client, "PUT", "/p.png", "", b"x").status == 403
    assert ask_unsigned(client, "GET", "/p.png", "acl").status == 403
    assert ask_unsigned(client, "GET", "/").status == 403


def put_parts(client: CosClient, path: str, body: bytes, header: Mapping[str, str]) -> None:
    begun = client.cos("POST", path, {"uploads": ""}, b"", header)
    upload = {"uploadId": parse_response(begun)["UploadId"]}
    etag = client.cos("PUT", path, {**upload, "partNumber": "1"}, body).headers["ETag"]
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    xml = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
    assert client.cos("POST", path, upload, xml).status == 200


def test_private_object_in_public_bucket_stays_private(client: CosClient) -> None:
    """An object without a list of its own has the bucket's."""
    client.cos("PUT", "/", {"acl": ""}, b"", {"x-cos-acl": "public-read"})
    client.cos("PUT", "/note.txt", {"acl": ""}, b"", {"x-cos-acl": "private"})
    assert ask_unsigned(client, "GET", "/in/a.png").status == 200
    assert ask_unsigned(client, "GET", "/none").status == 404
    assert ask_unsigned(client, "GET", "/note.txt").status == 403
    assert b"<Key>in/a.png</Key>" in ask_unsigned(client, "GET", "/", "prefix=in/").body
    assert ask_unsigned(client, "DELETE", "/in/a.png").status == 403
    assert ask_unsigned(client, "DELETE", "/").status == 403
    assert ask_unsigned(client, "GET", "/", "cors").status == 403


def test_public_bucket_is_written_without_signature(client: CosClient) -> None:
    client.cos("PUT", "/", {"acl": ""}, grant_xml(f"<URI>{ALL_USERS}</URI>", "WRITE"))
    assert ask_unsigned(client, "PUT", "/new.txt", "", b"x").status == 200
    assert ask_unsigned(client, "GET", "/new.txt").status == 403
    assert ask_unsigned(client, "DELETE", "/new.txt").status == 204
    assert ask_unsigned(client, "PUT", "/new.txt", "acl").status == 403


@pytest.mark.parametrize("level", ["/", "/note.txt"])
def test_access_control_list_is_told_as_it_was_put(client: CosClient, level: str) -> None:
    client.cos("PUT", level, {"acl": ""}, b"", {"x-cos-acl": "public-read"})
    told = client.cos("GET", level, {"acl": ""})
    grants = to_list(parse_response(told)["AccessControlList"]["Grant"])
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL", "READ"]
    assert (grants[1]["Grantee"]["URI"], told.headers["x-cos-acl"]) == (ALL_USERS, "public-read")
    state = json.loads(json.dumps(client.ci.snapshot(), default=lambda value: value.hex()))
    assert state["buckets"][0]["name"]


def test_access_control_list_tells_the_type_of_each_grantee(client: CosClient) -> None:
    """xsi:type, without which the official Java client reads no list at all."""
    client.cos("PUT", "/note.txt", {"acl": ""}, b"", {"x-cos-acl": "public-read"})
    policy = ElementTree.fromstring(client.cos("GET", "/note.txt", {"acl": ""}).body)
    types = [grantee.get(f"{{{XSI_NAMESPACE}}}type") for grantee in policy.iter("Grantee")]
    assert types == ["CanonicalUser", "Group"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-cos-acl": "everyone"}, ""),
        ({}, grant_xml("", "READ")),
        ({}, grant_xml("<ID>x</ID>", "FLY")),
        ({}, "<Other/>"),
    ],
)
def test_invalid_access_control_list_is_refused(
    client: CosClient, headers: Mapping[str, str], body: str
) -> None:
    assert client.cos("PUT", "/note.txt", {"acl": ""}, body, headers).status == 400
    assert ask_unsigned(client, "GET", "/note.txt").status == 403


def test_wrong_signature_is_refused_for_public_objects(client: CosClient) -> None:
    client.cos("PUT", "/p", None, b"x", {"x-cos-acl": "public-read"})
    headers = {"host": COS_HOST, "authorization": "q-sign-algorithm=sha1&q-ak=other"}
    assert client.ci.handle(Request("GET", COS_HOST, "/p", "", headers, b"")).status == 403


# -- styles, versions, storage classes, tags


def put_style(client: CosClient, name: str, rule: str) -> Response:
    body = f"<AddStyle><StyleName>{name}</StyleName><StyleBody>{rule}</StyleBody></AddStyle>"
    return client.cos("PUT", "/", {"style": ""}, body)


@pytest.mark.parametrize(
    ("path", "params"),
    [("/in/a.png!half", {}), ("/in/a.png", {"half": ""}), ("/in/a.png", {"style/half": ""})],
)
def test_style_is_applied(client: CosClient, path: str, params: Mapping[str, str]) -> None:
    assert client.cos("GET", "/in/a.png!half").status == 404
    assert put_style(client, "half", "imageMogr2/thumbnail/!50p").status == 200
    answer = client.cos("GET", path, dict(params))
    assert get_image_size(answer.body) == (20, 10)
    client.cos("PUT", "/in/a.png!half", None, b"an object of this name")
    assert client.cos("GET", "/in/a.png!half").body == b"an object of this name"


def test_style_is_kept_by_request_to_ci(client: CosClient) -> None:
    """The official Go client sends requests about styles to CI's own host."""
    body = (
        "<AddStyle><StyleName>ci</StyleName><StyleBody>imageMogr2/rotate/90</StyleBody></AddStyle>"
    )
    assert client.request("PUT", "/", {"style": ""}, body).status == 200
    listed = parse_response(client.request("GET", "/", {"style": ""}))
    assert listed["StyleRule"] == {"StyleName": "ci", "StyleBody": "imageMogr2/rotate/90"}
    assert client.cos("GET", "/in/a.png!ci").status == 200


def test_styles_are_listed_and_deleted(client: CosClient) -> None:
    put_style(client, "half", "imageMogr2/thumbnail/!50p")
    put_style(client, "turned", "imageMogr2/rotate/90")
    rows = parse_response(client.cos("GET", "/", {"style": ""}))["StyleRule"]
    assert [row["StyleName"] for row in rows] == ["half", "turned"]
    wanted = "<GetStyle><StyleName>turned</StyleName></GetStyle>"
    row = parse_response(client.cos("GET", "/", {"style": ""}, wanted))["StyleRule"]
    assert row["StyleBody"] == "imageMogr2/rotate/90"
    gone = "<DeleteStyle><StyleName>half</StyleName></DeleteStyle>"
    assert client.cos("DELETE", "/", {"style": ""}, gone).status == 204
    missing = client.cos("GET", "/in/a.png", {"style/half": ""})
    assert (missing.status, parse_response(missing)["Code"]) == (404, "StyleNotFound")
    assert put_style(client, "a b", "imageMogr2/rotate/90").status == 400
    assert put_style(client, "ok", "").status == 400


def test_versions_of_a_bucket_without_versioning_are_listed(client: CosClient) -> None:
    first = parse_response(client.cos("GET", "/", {"versions": "", "max-keys": "1"}))
    rest = {"versions": "", "key-marker": first["NextKeyMarker"]}
    second = parse_response(client.cos("GET", "/", rest))
    row = second["Version"]
    assert (first["Version"]["Key"], row["Key"]) == ("in/a.png", "note.txt")
    assert (row["VersionId"], row["IsLatest"], row["Size"]) == ("null", "true", "10")


def get_code(response: Response) -> tuple[int, str]:
    return response.status, parse_response(response)["Code"]


def test_other_version_is_never_the_object_itself(client: CosClient) -> None:
    """Otherwise the deletion of an old version would delete the object."""
    other = {"versionId": "MTg0NDY3NDI1MzM2"}
    source = {"x-cos-copy-source": f"{COS_HOST}/note.txt?versionId=MTg0NDY3NDI1MzM2"}
    for method in ("GET", "DELETE"):
        answer = client.cos(method, "/note.txt", other)
        assert get_code(answer) == (404, "NoSuchVersion")
    assert get_code(client.cos("PUT", "/copy", None, b"", source)) == (404, "NoSuchVersion")
    assert client.cos("GET", "/note.txt", {"versionId": "null"}).status == 200
    rows = "".join(
        f"<Object><Key>note.txt</Key><VersionId>{version}</VersionId></Object>"
        for version in ("MTg0", "null")
    )
    result = parse_response(client.cos("POST", "/", {"delete": ""}, f"<Delete>{rows}</Delete>"))
    assert result["Deleted"] == {"Key": "note.txt", "VersionId": "null"}
    assert (result["Error"]["VersionId"], result["Error"]["Code"]) == ("MTg0", "NoSuchVersion")
    assert client.cos("GET", "/note.txt").status == 404


def test_storage_class_is_kept(client: CosClient) -> None:
    client.cos("PUT", "/cold", None, b"x", {"x-cos-storage-class": "STANDARD_IA"})
    assert client.cos("HEAD", "/cold").headers["x-cos-storage-class"] == "STANDARD_IA"
    assert "x-cos-storage-class" not in client.cos("HEAD", "/note.txt").headers
    row = parse_response(client.cos("GET", "/", {"prefix": "cold"}))["Contents"]
    assert row["StorageClass"] == "STANDARD_IA"


def test_bucket_has_tags_of_its_own(client: CosClient) -> None:
    assert parse_response(client.cos("GET", "/", {"tagging": ""}))["Code"] == "NoSuchTagSet"
    tags = "".join(f"<Tag><Key>k{number}</Key><Value>v</Value></Tag>" for number in range(11))
    body = f"<Tagging><TagSet>{tags}</TagSet></Tagging>"
    assert client.cos("PUT", "/", {"tagging": ""}, body).status == 200
    assert client.cos("PUT", "/note.txt", {"tagging": ""}, body).status == 400
    told = parse_response(client.cos("GET", "/", {"tagging": ""}))
    assert len(told["TagSet"]["Tag"]) == 11
    assert client.cos("DELETE", "/", {"tagging": ""}).status == 204


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/note.txt"])
@pytest.mark.parametrize("flag", ["live", "domaincertificate", "what-comes-next-year"])
def test_unknown_function_changes_nothing(
    client: CosClient, method: str, path: str, flag: str
) -> None:
    """`DELETE /?function` is no deletion of the bucket."""
    client.cos("DELETE", "/in/a.png")
    if path == "/":
        client.cos("DELETE", "/note.txt")
    before = client.ci.snapshot()["buckets"]
    assert client.cos(method, path, {flag: ""}, b"<X/>").status == 501
    assert client.ci.snapshot()["buckets"] == before


def test_settings_of_a_bucket_survive_a_restart(client: CosClient) -> None:
    put_style(client, "half", "imageMogr2/thumbnail/!50p")
    client.cos("PUT", "/in/a.png", {"acl": ""}, b"", {"x-cos-acl": "public-read"})
    state = json.loads(
        json.dumps(client.ci.snapshot(), default=lambda value: {"hex": value.hex()}),
        object_hook=lambda value: bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value,
    )
    client.ci = TencentCI(client.clock, objects={}, wall_clock=None)
    client.ci.restore(state)
    assert get_image_size(ask_unsigned(client, "GET", "/in/a.png!half").body) == (20, 10)


def test_delete_multiple_takes_keys_as_they_are(client: CosClient) -> None:
    client.cos("PUT", "//note.txt", None, b"another one")
    body = "<Delete><Object><Key>/note.txt</Key></Object></Delete>"
    client.cos("POST", "/", {"delete": ""}, body)
    assert client.cos("GET", "/note.txt").body == b"0123456789"
    assert client.cos("GET", "//note.txt").status == 404
