"""Builders of Tencent CI calls: what they encode, and what they refuse. No network, no loop."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import xmltodict

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.tencent_ci.api import TencentCI, route_request

ci = TencentCI(bucket="demo-1250000000", region="ap-chongqing")


def parse_body(call: Any) -> Any:
    return xmltodict.parse(call.body)["Request"]


def test_picture_job_with_template_encodes_every_field() -> None:
    """Every field of the documented request is encoded in its element."""
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
    assert parse_body(call) == {
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


def test_picture_job_output_defaults_to_own_bucket_and_region() -> None:
    call = ci.picture_job(
        input="a.jpg", rule="imageMogr2/rotate/90", output="b.jpg", picture_info=True
    )
    assert parse_body(call)["Operation"] == {
        "PicProcess": {"IsPicInfo": "true", "ProcessRule": "imageMogr2/rotate/90"},
        "Output": {"Region": "ap-chongqing", "Bucket": "demo-1250000000", "Object": "b.jpg"},
    }


@pytest.mark.parametrize(
    ("source", "element"),
    [("prefix", "Prefix"), ("object", "Object"), ("url_file", "UrlFile"), ("manifest", "Manifest")],
)
def test_workflow_batch_encodes_each_kind_of_input(source: str, element: str) -> None:
    call = ci.batch(
        name="demo",
        workflow_ids=["w1", "w2"],
        start="2022-02-01T12:00:00+0800",
        end=datetime(2022, 5, 1, 4, tzinfo=UTC),
        **{source: "input"},
    )  # type: ignore[arg-type]
    assert call.path == "/inventorytriggerjob"
    assert parse_body(call) == {
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


def test_rule_batch_has_callbacks_in_operation() -> None:
    """In a single job, the callback elements are outside Operation."""
    call = ci.batch(
        name="n",
        prefix="in/",
        rule="imageMogr2/thumbnail/200x",
        output="o/${InputName}.jpg",
        callback="no",
    )
    request = parse_body(call)
    assert request["Type"] == "Job"
    assert request["Operation"]["Tag"] == "PicProcess"
    assert request["Operation"]["JobParam"] == {
        "PicProcess": {"ProcessRule": "imageMogr2/thumbnail/200x"}
    }
    assert request["Operation"]["CallBack"] == "no"


VALID_JOB: dict[str, Any] = {"input": "a", "output": "b", "rule": "imageMogr2/rotate/90"}


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
def test_invalid_picture_job_raises(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ci.picture_job(**{**VALID_JOB, **change})


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
def test_invalid_batch_raises(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        ci.batch(**{"name": "n", "prefix": "in/", "workflow_ids": ["w1"], **wrong})


def test_jobs_sends_all_filters() -> None:
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


def test_ids_and_endpoints_decide_paths() -> None:
    """An ID that begins with b is a batch's."""
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
def test_invalid_id_raises(wrong: str) -> None:
    with pytest.raises(InvalidRequest):
        ci.job(wrong)


def test_route_request_by_elements() -> None:
    assert route_request("<Request><Tag>PicProcess</Tag></Request>")[0] == "/jobs"
    batch = "<Request><Name>n</Name><Operation><WorkflowIds>w1</WorkflowIds></Operation></Request>"
    assert route_request(batch)[0] == "/inventorytriggerjob"
    with pytest.raises(InvalidRequest, match="neither"):
        route_request("<Request><Name>n</Name></Request>")
