"""The whole conversation of the official Python SDK (cos-python-sdk-v5) with the sandbox, every
signature verified.

In three ways: straight into `handle`, by the SDK's own `Proxies` setting over the loopback
server, and by a session adapter that sends every host to the loopback server.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.server import LoopbackServer
from jupyter_mjci.emulator.tencent_ci.service import TencentCI
from tests.emulator.cos_client import BUCKET, KEY, KEY_ID, REGION, build_image, get_image_size

with warnings.catch_warnings():
    # Its sources hold invalid escapes and `is` with a literal: nothing that we could mend.
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    from qcloud_cos import CosConfig, CosS3Client, CosServiceError

OBJECTS = {
    "in/a.png": build_image(40, 20),
    "in/b.jpg": build_image(30, 10, "JPEG"),
    "note.txt": b"0123456789",
}


class InProcessAdapter(BaseAdapter):
    """Turns a prepared request into our own, and the answer into one of requests'."""

    def __init__(self, ci: TencentCI) -> None:
        super().__init__()
        self.ci = ci

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(request.url or "")
        content: Any = request.body or b""
        body = content.read() if hasattr(content, "read") else content
        headers = {text(name).lower(): text(value) for name, value in request.headers.items()}
        asked = Request(
            request.method or "",
            parts.netloc,
            parts.path or "/",
            parts.query,
            {"host": parts.netloc, **headers},
            body.encode() if isinstance(body, str) else body,
            parts.scheme,
        )
        answer = self.ci.handle(asked)
        result = {"Content-Length": str(len(answer.body)), **answer.headers}
        raw = urllib3.HTTPResponse(
            io.BytesIO(answer.body),
            result,
            answer.status,
            preload_content=False,
            request_method=request.method,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        pass


class LoopbackAdapter(HTTPAdapter):
    """Sends every request to the loopback server; the signed Host stays what it was."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        request.headers["Host"] = parts.netloc
        request.url = parts._replace(scheme="http", netloc=self.address).geturl()
        return super().send(request, *args, **more)


def text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class SdkClient:
    """The official client, the sandbox's clock, and a plain requests session through the same
    door.
    """

    def __init__(
        self, clock: VirtualClock, session: requests.Session, scheme: str, proxies: Any = None
    ) -> None:
        self.clock, self.session, self.scheme, self.proxies = clock, session, scheme, proxies
        session.trust_env = False
        self.client = self.as_(KEY_ID, KEY)

    def as_(self, key_id: str, key: str, **more: Any) -> Any:
        config = CosConfig(
            Region=REGION,
            SecretId=key_id,
            SecretKey=key,
            Scheme=self.scheme,
            Proxies=self.proxies,
            **more,
        )
        return CosS3Client(config, session=self.session, retry=0)

    def fetch(self, url: str, method: str = "GET", **more: Any) -> requests.Response:
        return self.session.request(method, url, proxies=self.proxies, **more)

    def after(self, seconds: float) -> Any:
        self.clock.advance(seconds)
        return self.client


@pytest.fixture(scope="module")
def served_sandbox() -> Iterator[tuple[VirtualClock, LoopbackServer, Sandbox]]:
    clock = VirtualClock()
    settings = {"secret_id": KEY_ID, "secret_key": KEY, "ci_options": {"objects": OBJECTS}}
    with Sandbox(clock=clock, **settings) as sandbox, sandbox.serve() as server:
        yield clock, server, sandbox


# The SDK looks for "ETag" and "Content-Length" as the real service spells them on the wire.
TRANSPORTS = ["straight in", "proxies", "rewriting"]


@pytest.fixture(params=TRANSPORTS)
def sdk(request: pytest.FixtureRequest) -> Iterator[SdkClient]:
    with requests.Session() as session:
        if request.param == "straight in":
            clock = VirtualClock()
            adapter: BaseAdapter = InProcessAdapter(TencentCI(clock, objects=OBJECTS))
            session.mount("https://", adapter)
            yield SdkClient(clock, session, "https")
            return
        clock, server, sandbox = request.getfixturevalue("served_sandbox")
        sandbox.restart("ci")
        if request.param == "rewriting":
            session.mount("https://", LoopbackAdapter(f"127.0.0.1:{server.port}"))
            yield SdkClient(clock, session, "https")
        else:
            yield SdkClient(clock, session, "http", {"http": server.url})


def catch_error(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(CosServiceError) as caught:
        call()
    error = caught.value
    assert error.get_request_id()
    assert error.get_trace_id()
    assert error.get_resource_location()
    return error.get_status_code(), error.get_error_code()


def picture_job(**operation: Any) -> dict[str, Any]:
    target = {"Region": REGION, "Bucket": BUCKET, "Object": "out/a.png"}
    rule = {"IsPicInfo": "true", "ProcessRule": "imageMogr2/rotate/90"}
    return {
        "Tag": "PicProcess",
        "Input": {"Object": "in/a.png"},
        "Operation": {
            "PicProcess": rule,
            "Output": target,
            "UserData": "mine & <yours>",
            **operation,
        },
    }


# -- objects


@pytest.mark.parametrize("key", ["plain.txt", "a b/输入+%20&=?#.txt", "tilde~(1)!*'.txt"])
def test_object_round_trip(sdk: SdkClient, key: str) -> None:
    """put, head, get, range, delete, with keys that need care."""
    client = sdk.client
    client.put_object(
        BUCKET,
        b"0123456789",
        key,
        EnableMD5=True,
        ContentType="text/plain",
        Metadata={"x-cos-meta-a": "1"},
    )
    head = client.head_object(BUCKET, key)
    assert (head["Content-Length"], head["Content-Type"], head["x-cos-meta-a"]) == (
        "10",
        "text/plain",
        "1",
    )
    assert client.get_object(BUCKET, key)["Body"].get_raw_stream().read() == b"0123456789"
    part = client.get_object(BUCKET, key, Range="bytes=2-4")
    assert (part["Content-Range"], part["Body"].get_raw_stream().read()) == ("bytes 2-4/10", b"234")
    assert client.object_exists(BUCKET, key)
    client.delete_object(BUCKET, key)
    assert not client.object_exists(BUCKET, key)
    assert catch_error(lambda: client.get_object(BUCKET, key)) == (404, "NoSuchKey")


def test_list_copy_append_and_delete_objects(sdk: SdkClient) -> None:
    """The rest of what the SDK does with small objects."""
    client = sdk.client
    for name in ("one", "two words", "三"):
        client.put_object(BUCKET, b"x", f"list/{name}")
    listed = client.list_objects(BUCKET, Prefix="list/")
    assert [row["Key"] for row in listed["Contents"]] == ["list/one", "list/two words", "list/三"]
    first = client.list_objects(BUCKET, Prefix="list/", MaxKeys=2)
    rest = client.list_objects(BUCKET, Prefix="list/", Marker=first["NextMarker"])
    assert (first["IsTruncated"], [row["Key"] for row in rest["Contents"]]) == ("true", ["list/三"])
    client.copy_object(
        BUCKET, "copy", {"Bucket": BUCKET, "Key": "list/two words", "Region": REGION}
    )
    client.append_object(BUCKET, "log", 0, b"ab")
    client.append_object(BUCKET, "log", 2, b"cd")
    assert client.get_object(BUCKET, "log")["Body"].get_raw_stream().read() == b"abcd"
    gone = client.delete_objects(BUCKET, {"Object": [{"Key": "copy"}, {"Key": "log"}]})
    assert [row["Key"] for row in gone["Deleted"]] == ["copy", "log"]
    assert client.bucket_exists(BUCKET)
    assert client.get_bucket_location(BUCKET)["LocationConstraint"] == REGION
    assert [row["Name"] for row in client.list_buckets()["Buckets"]["Bucket"]] == [BUCKET]


def test_large_file_uses_multipart_upload(sdk: SdkClient, tmp_path: Path) -> None:
    """upload_file takes up an earlier upload of the same file, and download_file fetches ranges."""
    client = sdk.client
    content = bytes(range(256)) * 4 * 1024 * 2 + b"the rest"
    (tmp_path / "large").write_bytes(content)
    upload = client.create_multipart_upload(BUCKET, "large")["UploadId"]
    client.upload_part(BUCKET, "large", content[: 1024 * 1024], 1, upload)
    assert [part["PartNumber"] for part in client.list_parts(BUCKET, "large", upload)["Part"]] == [
        "1"
    ]
    client.upload_file(
        BUCKET, "large", str(tmp_path / "large"), PartSize=1, MAXThread=1, EnableMD5=True
    )
    client.download_file(BUCKET, "large", str(tmp_path / "back"), PartSize=1, MAXThread=1)
    assert (tmp_path / "back").read_bytes() == content
    other = client.create_multipart_upload(BUCKET, "never")["UploadId"]
    client.abort_multipart_upload(BUCKET, "never", other)
    assert catch_error(lambda: client.list_parts(BUCKET, "never", other)) == (404, "NoSuchUpload")


@pytest.mark.parametrize("sign_host", [True, False])
def test_presigned_url_works_without_credentials(sdk: SdkClient, sign_host: bool) -> None:
    """GET, PUT, and a processing rule that is signed as a parameter."""
    client = sdk.client
    put = client.get_presigned_url(BUCKET, "pre signed/图.txt", "PUT", SignHost=sign_host)
    assert sdk.fetch(put, "PUT", data=b"sent").status_code == 200
    got = client.get_presigned_download_url(BUCKET, "pre signed/图.txt", SignHost=sign_host)
    assert sdk.fetch(got).content == b"sent"
    rule = client.get_presigned_url(BUCKET, "in/a.png", "GET", Params={"imageMogr2/rotate/90": ""})
    assert get_image_size(sdk.fetch(rule).content) == (20, 40)
    assert sdk.fetch(rule.replace("rotate%2F90", "rotate%2F80")).status_code == 403
    assert sdk.fetch(client.get_object_url(BUCKET, "in/a.png")).status_code == 403


# -- pictures


def test_picture_jobs_are_created_described_and_listed(sdk: SdkClient) -> None:
    """ci_create_media_pic_jobs, ci_get_media_pic_jobs, ci_list_media_pic_jobs, and the newer paths
    beside them.
    """
    client = sdk.client
    job = client.ci_create_media_pic_jobs(BUCKET, Jobs=picture_job(), Lst={})["JobsDetail"][0]
    assert (job["State"], job["Operation"]["UserData"]) == ("Submitted", "mine & <yours>")
    newer = client.ci_create_media_jobs(BUCKET, Jobs=picture_job(JobLevel="2"), Lst={})[
        "JobsDetail"
    ][0]
    client = sdk.after(3)
    result = client.ci_get_media_pic_jobs(BUCKET, JobIDs=f"{job['JobId']},{newer['JobId']},cnone")
    assert [job["State"] for job in result["JobsDetail"]] == ["Success", "Success"]
    assert result["NonExistJobIds"] == "cnone"
    result = result["JobsDetail"][0]["Operation"]["PicProcessResult"]
    assert (result["ProcessResult"]["Width"], result["OriginalInfo"]["ImageInfo"]["Width"]) == (
        "20",
        "40",
    )
    assert get_image_size(
        client.get_object(BUCKET, "out/a.png")["Body"].get_raw_stream().read()
    ) == (
        20,
        40,
    )
    listed = client.ci_list_media_pic_jobs(BUCKET, "PicProcess", job["QueueId"], Size=1)
    assert [job["JobId"] for job in listed["JobsDetail"]] == [newer["JobId"]]
    rest = client.ci_list_media_jobs(
        BUCKET,
        Tag="PicProcess",
        NextToken=listed["NextToken"],
        States="Success,Failed",
        StartCreationTime="2026-01-01T00:00:00+0800",
    )
    assert [job["JobId"] for job in rest["JobsDetail"]] == [job["JobId"]]
    assert rest["NextToken"] is None


def test_job_is_cancelled(sdk: SdkClient) -> None:
    """ci_cancel_jobs glues ?cancel to the address, unsigned."""
    client = sdk.client
    job = client.ci_create_media_pic_jobs(BUCKET, Jobs=picture_job(), Lst={})["JobsDetail"][0][
        "JobId"
    ]
    client.ci_cancel_jobs(BUCKET, job)
    assert client.ci_get_media_jobs(BUCKET, job)["JobsDetail"][0]["State"] == "Cancel"
    assert catch_error(lambda: client.ci_cancel_jobs(BUCKET, "cnone")) == (404, "ResourceNotFound")


def test_pictures_are_processed_synchronously(sdk: SdkClient, tmp_path: Path) -> None:
    """Upload, stored object and download with a rule; imageInfo and imageAve."""
    client = sdk.client
    asked = json.dumps(
        {"is_pic_info": 1, "rules": [{"fileid": "turned.png", "rule": "imageMogr2/rotate/90"}]}
    )
    _, result = client.ci_put_object(BUCKET, build_image(30, 10), "up/c.png", PicOperations=asked)
    assert result["ProcessResults"]["Object"]["Key"] == "up/turned.png"
    _, result = client.ci_image_process(BUCKET, "in/a.png", PicOperations=asked)
    assert (
        result["OriginalInfo"]["ImageInfo"]["Width"],
        result["ProcessResults"]["Object"]["Width"],
    ) == ("40", "20")
    place = tmp_path / "a.jpg"  # the SDK removes what is there, and renames
    got = client.ci_get_object(
        BUCKET, "in/a.png", str(place), "imageMogr2/thumbnail/!50p|imageMogr2/format/jpg"
    )
    assert (got["Content-Type"], place.read_bytes()[:2]) == ("image/jpeg", b"\xff\xd8")
    assert json.loads(client.ci_get_image_info(BUCKET, "in/a.png")[1])["width"] == "40"
    assert (
        json.loads(client.ci_get_image_ave_info(BUCKET, "in/a.png")[1])["RGB"].lower() == "0x336699"
    )


def test_batch_creates_its_jobs(sdk: SdkClient) -> None:
    """Created, listed, got, cancelled; the children by the batch's id."""
    client = sdk.client
    rule = {"PicProcess": {"ProcessRule": "imageMogr2/thumbnail/!50p"}}
    target = {"Region": REGION, "Bucket": BUCKET, "Object": "half/${InputName}.${Ext}"}
    operation = {"Tag": "PicProcess", "JobParam": rule, "Output": target, "UserData": "batch"}
    body = {"Name": "nightly", "Type": "Job", "Input": {"Prefix": "in/"}, "Operation": operation}
    batch = client.ci_create_inventory_trigger_jobs(BUCKET, body)["JobsDetail"][0]
    assert (batch["State"], batch["StartTime"]) == ("Running", "-")
    client = sdk.after(5)
    assert (
        client.ci_get_inventory_trigger_jobs(BUCKET, batch["JobId"])["JobsDetail"][0]["State"]
        == "Success"
    )
    listed = client.ci_list_inventory_trigger_jobs(BUCKET, Type="Job", Name="nightly")
    assert [job["JobId"] for job in listed["JobsDetail"]] == [batch["JobId"]]
    children = client.ci_list_media_jobs(BUCKET, Tag="PicProcess")
    assert {job["Input"]["Object"] for job in children["JobsDetail"]} == {"in/a.png", "in/b.jpg"}
    assert get_image_size(
        client.get_object(BUCKET, "half/b.jpg")["Body"].get_raw_stream().read()
    ) == (
        15,
        5,
    )
    second = client.ci_create_inventory_trigger_jobs(BUCKET, body)["JobsDetail"][0]["JobId"]
    client.ci_delete_inventory_trigger_jobs(BUCKET, second)
    assert (
        client.ci_get_inventory_trigger_jobs(BUCKET, second)["JobsDetail"][0]["State"] == "Cancel"
    )


def test_queues_and_bindings(sdk: SdkClient) -> None:
    """The queue is paused and opened; the bucket is unbound and bound."""
    client = sdk.client
    queue = client.ci_get_media_pic_queue(BUCKET, State="All")["QueueList"][0]
    client.ci_update_media_pic_queue(
        BUCKET,
        queue["QueueId"],
        {"Name": queue["Name"], "QueueID": queue["QueueId"], "State": "Paused"},
    )
    assert (
        client.ci_create_media_pic_jobs(BUCKET, picture_job())["JobsDetail"][0]["State"] == "Pause"
    )
    assert client.ci_get_media_pic_queue(BUCKET, State="Paused")["TotalCount"] == "1"
    client.ci_close_pic_bucket(BUCKET)
    assert catch_error(lambda: client.ci_create_media_pic_jobs(BUCKET, picture_job())) == (
        400,
        "PicBucketUnBinded",
    )
    assert client.ci_open_pic_bucket(BUCKET)[1]["PicBucket"]["BucketId"] == BUCKET
    assert client.ci_get_pic_bucket(Regions=REGION)["PicBucketList"][0]["BucketId"] == BUCKET
    assert client.ci_get_media_bucket(BucketName="demo")["MediaBucketList"][0]["Region"] == REGION
    assert client.ci_get_media_queue(BUCKET)["QueueList"][0]["QueueId"] != queue["QueueId"]


def test_templates(sdk: SdkClient) -> None:
    """Made, changed, listed, used, deleted."""
    client = sdk.client
    body = {
        "Tag": "PicProcess",
        "Name": "half",
        "PicProcess": {"ProcessRule": "imageMogr2/thumbnail/!50p"},
    }
    template = client.ci_create_template(BUCKET, body)["Template"]
    body["Name"] = "renamed"
    client.ci_update_template(BUCKET, template["TemplateId"], body)
    listed = client.ci_get_template(BUCKET, Ids=template["TemplateId"])
    assert listed["TemplateList"][0]["Name"] == "renamed"
    job = picture_job(TemplateId=template["TemplateId"])
    del job["Operation"]["PicProcess"]
    result = client.ci_create_media_pic_jobs(BUCKET, job)["JobsDetail"][0]
    assert result["Operation"]["TemplateName"] == "renamed"
    client.ci_delete_template(BUCKET, template["TemplateId"])
    assert catch_error(lambda: client.ci_create_media_pic_jobs(BUCKET, job)) == (
        404,
        "TemplateNotFound",
    )


def test_workflows(sdk: SdkClient) -> None:
    """Made, triggered, followed, paused, deleted."""
    client = sdk.client
    template = client.ci_create_template(
        BUCKET,
        {"Tag": "PicProcess", "Name": "w", "PicProcess": {"ProcessRule": "imageMogr2/rotate/90"}},
    )
    target = {"Region": REGION, "Bucket": BUCKET, "Object": "flow/${RunId}.png"}
    node = {
        "Type": "PicProcess",
        "Operation": {"TemplateId": template["Template"]["TemplateId"], "Output": target},
    }
    nodes = {"Start": {"Type": "Start", "Input": {"ObjectPrefix": "in/"}}, "PicProcess_1": node}
    topology = {"Dependencies": {"Start": "PicProcess_1"}, "Nodes": nodes}
    body = {"MediaWorkflow": {"Name": "flow", "State": "Active", "Topology": topology}}
    workflow = client.ci_create_workflow(BUCKET, body)["MediaWorkflow"]["WorkflowId"]
    run = client.ci_trigger_workflow(BUCKET, workflow, "in/a.png")["InstanceId"]
    client = sdk.after(5)
    assert (
        client.ci_get_workflowexecution(BUCKET, run)["WorkflowExecution"][0]["State"] == "Success"
    )
    listed = client.ci_list_workflowexecution(BUCKET, workflow)["WorkflowExecutionList"]
    assert (listed["RunId"] if isinstance(listed, dict) else listed[0]["RunId"]) == run
    assert get_image_size(
        client.get_object(BUCKET, f"flow/{run}.png")["Body"].get_raw_stream().read()
    ) == (20, 40)
    assert catch_error(lambda: client.ci_delete_workflow(BUCKET, workflow)) == (
        403,
        "ActiveWorkflowForbiddenUpdate",
    )
    client.ci_update_workflow_state(BUCKET, workflow, "paused")
    assert client.ci_get_workflow(BUCKET, Ids=workflow)["MediaWorkflowList"][0]["State"] == "Paused"
    client.ci_delete_workflow(BUCKET, workflow)


# -- who may


def test_session_token_works_on_both_planes(sdk: SdkClient) -> None:
    """The SDK sends x-cos-security-token to COS and x-ci-security-token to CI, both signed."""
    client = sdk.as_(KEY_ID, KEY, Token="sts-token/AbC+123==~x")
    client.put_object(BUCKET, b"x", "with token")
    assert (
        client.ci_create_media_pic_jobs(BUCKET, picture_job())["JobsDetail"][0]["State"]
        == "Submitted"
    )
    url = client.get_presigned_url(
        BUCKET, "with token", "GET", Params={"x-cos-security-token": "sts-token/AbC+123==~x"}
    )
    assert sdk.fetch(url).content == b"x"


@pytest.mark.parametrize(
    ("key_id", "key", "code"),
    [
        (KEY_ID, "another", "SignatureDoesNotMatch"),
        ("AKIDnobody", KEY, "InvalidAccessKeyId"),
    ],
)
def test_invalid_credentials_are_refused_on_both_planes(
    sdk: SdkClient, key_id: str, key: str, code: str
) -> None:
    """403 with the full error that the SDK needs."""
    client = sdk.as_(key_id, key)
    assert catch_error(lambda: client.get_object(BUCKET, "note.txt")) == (403, code)
    assert catch_error(lambda: client.ci_list_media_pic_jobs(BUCKET, "PicProcess")) == (403, code)
    assert catch_error(lambda: client.list_objects("none-1250000000"))[1] == code


def test_sdk_parses_errors(sdk: SdkClient) -> None:
    """Missing buckets, bad arguments and malformed bodies arrive as CosServiceError with their
    codes.
    """
    client = sdk.client
    assert catch_error(lambda: client.list_objects("none-1250000000")) == (404, "NoSuchBucket")
    assert catch_error(lambda: client.ci_create_media_pic_jobs(BUCKET, {"Tag": "Snapshot"})) == (
        501,
        "NotImplemented",
    )
    assert catch_error(lambda: client.ci_list_media_jobs(BUCKET, Tag="PicProcess", Size=1000)) == (
        400,
        "InvalidArgument",
    )
    assert catch_error(lambda: client.get_object(BUCKET, "note.txt", Range="bytes=99-")) == (
        416,
        "InvalidRange",
    )
    with pytest.raises(CosServiceError) as caught:
        client.head_object(BUCKET, "none")
    assert caught.value.get_error_code() == "NoSuchResource"


def test_expired_session_token_is_refused() -> None:
    """With a list of valid tokens, an expired one is refused."""
    with requests.Session() as session:
        session.mount(
            "https://",
            InProcessAdapter(TencentCI(VirtualClock(), objects=OBJECTS, sts_token="good")),
        )
        stranger = SdkClient(VirtualClock(), session, "https")
        stranger.as_(KEY_ID, KEY, Token="good").get_object(BUCKET, "note.txt")
        assert catch_error(
            lambda: stranger.as_(KEY_ID, KEY, Token="bad").get_object(BUCKET, "note.txt")
        ) == (
            403,
            "ExpiredToken",
        )
