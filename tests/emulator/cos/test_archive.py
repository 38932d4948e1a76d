"""Archived objects: refused until they were restored, by the sandbox's own time."""

from __future__ import annotations

import pytest

from jupyter_mjci.emulator.cos.archive import DAY, HOUR, MINUTE
from jupyter_mjci.emulator.http import Response
from tests.emulator.cos_client import COS_HOST, CosClient, build_client, build_image, parse_response

PICTURE = build_image(40, 20)
SOURCE = {"x-cos-copy-source": f"{COS_HOST}/cold.png"}
RULE = "imageMogr2/rotate/90"


@pytest.fixture
def client() -> CosClient:
    client = build_client({"warm.png": PICTURE})
    archive(client, "ARCHIVE")
    return client


def archive(client: CosClient, storage_class: str) -> None:
    client.cos("PUT", "/cold.png", None, PICTURE, {"x-cos-storage-class": storage_class})


def restore(client: CosClient, key: str, days: object = 1, tier: str = "Expedited") -> Response:
    body = (
        f"<RestoreRequest><Days>{days}</Days><CASJobParameters><Tier>{tier}</Tier>"
        "</CASJobParameters></RestoreRequest>"
    )
    return client.cos("POST", f"/{key}", {"restore": ""}, body)


def find_code(response: Response) -> tuple[int, str]:
    return response.status, parse_response(response)["Code"]


def read(client: CosClient) -> int:
    return client.cos("GET", "/cold.png").status


def test_archived_object_is_read_only_while_it_is_restored(client: CosClient) -> None:
    """403, 202, 409, 200 for some days, 403 again; HEAD and listings tell of it all along."""
    assert find_code(client.cos("GET", "/cold.png")) == (403, "InvalidObjectState")
    head = client.cos("HEAD", "/cold.png")
    assert (head.status, head.headers["x-cos-storage-class"]) == (200, "ARCHIVE")
    assert "x-cos-restore" not in head.headers
    rows = parse_response(client.cos("GET", "/"))["Contents"]
    assert {row["Key"]: row["StorageClass"] for row in rows} == {
        "cold.png": "ARCHIVE",
        "warm.png": "STANDARD",
    }
    assert restore(client, "cold.png").status == 202
    assert find_code(restore(client, "cold.png")) == (409, "RestoreAlreadyInProgress")
    head = client.cos("HEAD", "/cold.png")
    assert head.headers["x-cos-restore"] == 'ongoing-request="true"'
    assert read(client) == 403
    client.clock.advance(5 * MINUTE)
    assert client.cos("GET", "/cold.png").body == PICTURE
    told = client.cos("HEAD", "/cold.png").headers["x-cos-restore"]
    assert told.startswith('ongoing-request="false", expiry-date="')
    assert restore(client, "cold.png", days=3).status == 200
    client.clock.advance(2 * DAY)
    assert read(client) == 200
    client.clock.advance(DAY)
    assert read(client) == 403
    assert restore(client, "cold.png").status == 202


@pytest.mark.parametrize(
    ("storage_class", "tier", "hours"),
    [("ARCHIVE", "Standard", 5), ("ARCHIVE", "Bulk", 12), ("Deep_Archive", "Standard", 24)],
)
def test_tier_decides_when_object_can_be_read(
    client: CosClient, storage_class: str, tier: str, hours: int
) -> None:
    archive(client, storage_class)
    assert restore(client, "cold.png", tier=tier).status == 202
    client.clock.advance(hours * HOUR - 1)
    assert read(client) == 403
    client.clock.advance(1)
    assert read(client) == 200


def test_invalid_restore_is_refused(client: CosClient) -> None:
    assert find_code(restore(client, "warm.png")) == (403, "InvalidObjectState")
    assert find_code(restore(client, "none")) == (404, "NoSuchKey")
    for days in (0, 366, "x", ""):
        assert find_code(restore(client, "cold.png", days)) == (400, "InvalidArgument")
    archive(client, "DEEP_ARCHIVE")
    assert find_code(restore(client, "cold.png")) == (400, "InvalidArgument")


def test_nothing_is_made_from_an_archived_object(client: CosClient) -> None:
    """A rule, a copy, a part and a job need it restored; a copy of it then has its own class."""
    operations = f'{{"rules": [{{"fileid": "made.png", "rule": "{RULE}"}}]}}'
    upload = parse_response(client.cos("POST", "/parts", {"uploads": ""}))["UploadId"]
    part = {"partNumber": "1", "uploadId": upload}
    refused = [
        client.cos("GET", "/cold.png", {RULE: ""}),
        client.cos("POST", "/cold.png", {"image_process": ""}, b"", {"pic-operations": operations}),
        client.cos("PUT", "/copy.png", None, b"", SOURCE),
        client.cos("PUT", "/parts", part, b"", SOURCE),
    ]
    assert [find_code(answer) for answer in refused] == [(403, "InvalidObjectState")] * 4
    job_id = parse_response(client.picture_job("cold.png", RULE))["JobsDetail"]["JobId"]
    client.clock.advance(60)
    job = client.job(job_id)
    assert (job["State"], job["Code"]) == ("Failed", "InvalidObjectState")
    restore(client, "cold.png")
    client.clock.advance(5 * MINUTE)
    client.cos("PUT", "/copy.png", None, b"", SOURCE)
    assert "x-cos-storage-class" not in client.cos("HEAD", "/copy.png").headers
    thawed = {**SOURCE, "x-cos-storage-class": "STANDARD_IA"}
    assert client.cos("PUT", "/copy.png", None, b"", thawed).status == 200
    copy = client.cos("GET", "/copy.png")
    assert (copy.body, copy.headers["x-cos-storage-class"]) == (PICTURE, "STANDARD_IA")
