"""What is said to Tencent CI, and how its XML is read. No network, no loop."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import xmltodict

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import CIError, InvalidRequest, InvalidResponse
from jupyter_mjci.services.tencent_ci.api import TencentCI, route_request
from jupyter_mjci.services.tencent_ci.responses import (
    parse_empty,
    parse_job,
    parse_job_response,
    parse_page,
    parse_timestamp,
)

ci = TencentCI(bucket="demo-1250000000", region="ap-chongqing")


def sent(call: Any) -> Any:
    return xmltodict.parse(call.body)["Request"]


def test_the_documented_job_with_a_template() -> None:
    """Every field of the document's request arrives in its element."""
    call = ci.picture_job(
        input="input/deer.jpg",
        template_id="t10461fe2bd5a649db9022452ec71e0381",
        output="output/out.jpg",
        output_bucket="test-123456789",
        output_region="ap-beijing",
        user_data="This is my data.",
        level=0,
        callback="http://callback.demo.com",
        callback_format="JSON",
        callback_type="TDMQ",
        callback_mq={"MqRegion": "sh", "MqMode": "Queue", "MqName": "q"},
        queue_id="p1",
    )
    assert (call.method, call.path, call.endpoint, call.is_submission) == (
        "POST",
        "/jobs",
        "ci",
        True,
    )
    assert sent(call) == {
        "Tag": "PicProcess",
        "QueueId": "p1",
        "Input": {"Object": "input/deer.jpg"},
        "Operation": {
            "TemplateId": "t10461fe2bd5a649db9022452ec71e0381",
            "Output": {
                "Region": "ap-beijing",
                "Bucket": "test-123456789",
                "Object": "output/out.jpg",
            },
            "UserData": "This is my data.",
            "JobLevel": "0",
        },
        "CallBack": "http://callback.demo.com",
        "CallBackFormat": "JSON",
        "CallBackType": "TDMQ",
        "CallBackMqConfig": {"MqRegion": "sh", "MqMode": "Queue", "MqName": "q"},
    }


def test_the_documented_job_with_a_rule() -> None:
    """Bucket and region of the result are the session's own, unless told."""
    call = ci.picture_job(
        input="a.jpg", rule="imageMogr2/rotate/90", output="b.jpg", picture_info=True
    )
    assert sent(call)["Operation"] == {
        "PicProcess": {"IsPicInfo": "true", "ProcessRule": "imageMogr2/rotate/90"},
        "Output": {"Region": "ap-chongqing", "Bucket": "demo-1250000000", "Object": "b.jpg"},
    }


@pytest.mark.parametrize(
    ("source", "element"),
    [("prefix", "Prefix"), ("object", "Object"), ("url_file", "UrlFile"), ("manifest", "Manifest")],
)
def test_the_documented_batch(source: str, element: str) -> None:
    """A batch of workflows over each kind of input, with its time window."""
    call = ci.batch(
        name="demo",
        workflow_ids=["w1", "w2"],
        start="2022-02-01T12:00:00+0800",
        end=datetime(2022, 5, 1, 4, tzinfo=UTC),
        **{source: "input"},
    )  # type: ignore[arg-type]
    assert call.path == "/inventorytriggerjob"
    assert sent(call) == {
        "Name": "demo",
        "Type": "Workflow",
        "Input": {element: "input"},
        "Operation": {
            "TimeInterval": {
                "Start": "2022-02-01T12:00:00+0800",
                "End": "2022-05-01T12:00:00+0800",
            },
            "WorkflowIds": "w1,w2",
        },
    }


def test_a_batch_of_one_rule() -> None:
    """Callbacks stand inside Operation here, unlike in a single job."""
    call = ci.batch(
        name="n",
        prefix="in/",
        rule="imageMogr2/thumbnail/200x",
        output="o/${InputName}.jpg",
        callback="no",
    )
    request = sent(call)
    assert request["Type"] == "Job"
    assert request["Operation"]["Tag"] == "PicProcess"
    assert request["Operation"]["JobParam"] == {
        "PicProcess": {"ProcessRule": "imageMogr2/thumbnail/200x"}
    }
    assert request["Operation"]["CallBack"] == "no"


GOOD: dict[str, Any] = {"input": "a", "output": "b", "rule": "imageMogr2/rotate/90"}


@pytest.mark.parametrize(
    "change",
    [
        {"template_id": "t1"},
        {"rule": None},
        {"input": "/a"},
        {"input": ""},
        {"output": "/b"},
        {"level": 3},
        {"user_data": "ü"},
        {"user_data": "x" * 1025},
        {"callback_type": "TDMQ"},
    ],
)
def test_jobs_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ci.picture_job(**{**GOOD, **change})


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"prefix": None},
        {"object": "two"},
        {"rule": "imageMogr2/rotate/90"},
    ],
)
def test_batches_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ci.batch(**{"name": "n", "prefix": "in/", "workflow_ids": ["w1"], **wrong})


def test_a_listing_sends_all_its_filters() -> None:
    pages = ci.jobs(
        tag="PicProcess",
        queue_id="p1",
        order="Asc",
        states=["Running", "Failed"],
        start="2022-07-18T00:00:00+0800",
        end="2022-07-19T00:00:00+0800",
        workflow_id="w1",
        batch_id="b1",
        input="in/a.jpg",
        size=10,
    )
    assert dict(pages.first_page.params) == {
        "tag": "PicProcess",
        "queueId": "p1",
        "orderByTime": "Asc",
        "states": "Running,Failed",
        "startCreationTime": "2022-07-18T00:00:00+0800",
        "endCreationTime": "2022-07-19T00:00:00+0800",
        "workflowId": "w1",
        "inventoryTriggerJobId": "b1",
        "inputObject": "in/a.jpg",
        "size": "10",
    }


def test_other_paths() -> None:
    """Ids tell their path: a batch's begins with b."""
    assert (
        ci.job("c93984788066911ed89ed352d4d9d2084").path
        == "/jobs/c93984788066911ed89ed352d4d9d2084"
    )
    assert (
        ci.job("b3deffea2f84911ec9cb15254008618d9").path
        == "/inventorytriggerjob/b3deffea2f84911ec9cb15254008618d9"
    )
    assert ci.jobs(ids=["j1", "j2"]).first_page.path == "/jobs/j1,j2"
    cancel = ci.cancel("c1")
    assert (cancel.method, cancel.path, dict(cancel.params)) == ("PUT", "/jobs/c1", {"cancel": ""})
    assert ci.put_object("in/a.jpg", b"x").endpoint == "cos"


@pytest.mark.parametrize("wrong", ["", "a/b", "j1 j2"])
def test_ids_that_cannot_be(wrong: str) -> None:
    with pytest.raises(InvalidRequest):
        ci.job(wrong)


SUBMITTED = (
    "<Response><JobsDetail><Code>Success</Code><Message/><JobId>c93984788066911ed89ed352d4d9d2084</JobId>"
    "<State>{state}</State><CreationTime>2022-07-18T15:16:43+0800</CreationTime><EndTime>-</EndTime>"
    "<StartTime>-</StartTime><QueueId>p2911917386e148639319e13c285cc774</QueueId><Tag>PicProcess</Tag><Input>"
    "<BucketId>test-1234567890</BucketId><Object>input/deer.jpg</Object><Region>ap-chongqing</Region></Input>"
    "<Operation><Output><Bucket>test-1234567890</Bucket><Object>output/out.jpg</Object><Region>ap-chongqing</Region>"
    "</Output><TemplateId>t10461fe2bd5a649db9022452ec71e0381</TemplateId><TemplateName>test</TemplateName>"
    "<UserData>This is my data.</UserData><JobLevel>0</JobLevel></Operation></JobsDetail></Response>"
)


def test_the_documented_answer() -> None:
    job = parse_job_response(Response(200, SUBMITTED.format(state="Submitted").encode()))
    assert (job.id, job.status, job.action, job.subject, job.user_data) == (
        "c93984788066911ed89ed352d4d9d2084",
        Status.QUEUED,
        "PicProcess",
        "input/deer.jpg",
        "This is my data.",
    )
    assert job.submitted == datetime(2022, 7, 18, 7, 16, 43, tzinfo=UTC)
    assert (job.started, job.finished, job.outputs, job.reason) == (None, None, (), "")


def test_a_result_is_a_url() -> None:
    """Only a succeeded job has an output; its key is quoted."""
    job = parse_job_response(
        Response(
            200, SUBMITTED.replace("output/out.jpg", "out/a b.jpg").format(state="Success").encode()
        )
    )
    assert job.outputs == ("https://test-1234567890.cos.ap-chongqing.myqcloud.com/out/a%20b.jpg",)
    assert job.progress == 100


def test_the_documented_batch_answer() -> None:
    body = (
        "<Response><JobsDetail><Code>Success</Code><Message/><Type>Workflow</Type><Name>demo</Name>"
        "<JobId>b3deffea2f84911ec9cb15254008618d9</JobId><State>Running</State><CreationTime>2022-06-27T15:23:10+0800"
        "</CreationTime><StartTime>-</StartTime><EndTime>-</EndTime><Input><Prefix>input</Prefix></Input><Operation>"
        "<WorkflowIds>w7476ff3564ee45b7b490d64bccaba6cc</WorkflowIds></Operation></JobsDetail></Response>"
    )
    job = parse_job_response(Response(200, body.encode()))
    assert (job.id[0], job.status, job.action, job.subject) == (
        "b",
        Status.RUNNING,
        "Workflow",
        "input",
    )


LIVE = {
    "Code": "Success",
    "JobId": "c01",
    "Tag": "PicProcess",
    "State": "Success",
    "Operation": {
        "Output": {
            "Bucket": "demo-1",
            "Object": "out/${InputName}.jpg",
            "Region": "ap-x",
            "Force": False,
        },
        "PicProcessResult": [{"ObjectName": "/out/a.jpg", "ProcessResult": {"Width": 417}}],
    },
}


@pytest.mark.parametrize("as_list", [True, False])
def test_the_live_callback_shape(as_list: bool) -> None:
    """Results come as an object or a list, keys with a leading slash; a filled-in name wins over
    its pattern.
    """
    detail = {**LIVE, "Operation": {**LIVE["Operation"]}}  # type: ignore[dict-item]
    if not as_list:
        detail["Operation"]["PicProcessResult"] = LIVE["Operation"]["PicProcessResult"][0]  # type: ignore[index]
    assert parse_job(detail).outputs == ("https://demo-1.cos.ap-x.myqcloud.com/out/a.jpg",)


@pytest.mark.parametrize(
    "body", ["<Response/>", "<Response><JobsDetail/><NonExistJobIds>c1</NonExistJobIds></Response>"]
)
def test_an_unknown_job_is_told(body: str) -> None:
    with pytest.raises(CIError, match="knows no job c1"):
        parse_job_response(Response(200, body.encode()), "c1")


@pytest.mark.parametrize(
    ("body", "ids", "token"),
    [
        ("<Response/>", [], ""),
        ("<Response><JobsDetail/><NextToken/></Response>", [], ""),
        (
            "<Response><JobsDetail><JobId>1</JobId></JobsDetail><NextToken>25</NextToken></Response>",
            ["1"],
            "25",
        ),
        (
            "<Response><JobsDetail><JobId>1</JobId></JobsDetail><JobsDetail><JobId>2</JobId></JobsDetail></Response>",
            ["1", "2"],
            "",
        ),
    ],
)
def test_pages(body: str, ids: list[str], token: str) -> None:
    """None, one and several jobs on a page; the end is an empty token, or none."""
    page = parse_page(Response(200, body.encode()))
    assert ([job.id for job in page.items], page.next_token) == (ids, token)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            "<Error><Code>NoSuchKey</Code><Message>Gone.</Message><RequestId>r1</RequestId></Error>",
            "NoSuchKey",
            "Gone.",
        ),
        (
            "<Error><Code>SignatureDoesNotMatch</Code></Error>",
            "SignatureDoesNotMatch",
            "MJCI_CI_SECRET_KEY",
        ),
        ("", "NoSuchKey", ""),
        ("<html>x</html>", "NoSuchKey", "<html>"),
        ('{"code": 1}', "NoSuchKey", "code"),
    ],
)
def test_errors(body: str, code: str, words: str) -> None:
    """Whatever comes with a refusal, the error has a code and says what is known."""
    with pytest.raises(CIError) as caught:
        parse_empty(Response(404, body.encode(), {"x-ci-request-id": "r9"}))
    assert caught.value.code == code
    assert caught.value.request_id in ("r1", "r9")
    assert words in str(caught.value)


def test_an_answer_that_is_no_xml() -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_job_response(Response(200, b"{}"))
    assert caught.value.body == b"{}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2022-07-18T15:16:43+0800", datetime(2022, 7, 18, 7, 16, 43, tzinfo=UTC)),
        ("2022-07-18 15:16:43+0800", datetime(2022, 7, 18, 7, 16, 43, tzinfo=UTC)),
        ("2022-07-18T15:16:43", datetime(2022, 7, 18, 7, 16, 43, tzinfo=UTC)),
        ("-", None),
        ("", None),
        (None, None),
        ("soon", None),
        ({}, None),
    ],
)
def test_moments(value: Any, expected: datetime | None) -> None:
    assert parse_timestamp(value) == expected


@pytest.mark.parametrize(
    "key", ["JobId", "State", "Tag", "Input", "Operation", "CreationTime", "Code", "Workflow"]
)
def test_odd_values_never_stop_a_listing(key: str) -> None:
    for value in (
        None,
        "",
        "x",
        [],
        {},
        [None],
        [{}],
        {"a": []},
        "-",
        {"Output": "x"},
        {"Object": {}},
    ):
        assert parse_job({"JobId": "c1", "State": "Success", key: value}).service == "ci"


def test_a_body_finds_its_path() -> None:
    assert route_request("<Request><Tag>PicProcess</Tag></Request>")[0] == "/jobs"
    batch = "<Request><Name>n</Name><Operation><WorkflowIds>w1</WorkflowIds></Operation></Request>"
    assert route_request(batch)[0] == "/inventorytriggerjob"
    with pytest.raises(InvalidRequest, match="neither"):
        route_request("<Request><Name>n</Name></Request>")
