"""Responses of Tencent CI and COS, and the errors in them. No network, no loop."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import CIError, InvalidResponse, ServiceError
from jupyter_mjci.services.tencent_ci.responses import (
    parse_empty,
    parse_job,
    parse_job_response,
    parse_objects,
    parse_page,
    parse_rows,
    parse_timestamp,
)

JOB_RESPONSE = (
    "<Response><JobsDetail><Code>Success</Code><Message/><JobId>c93984788066911ed89ed352d4d9d2084</JobId>"
    "<State>{state}</State><CreationTime>2022-07-18T15:16:43+0800</CreationTime><EndTime>-</EndTime>"
    "<StartTime>-</StartTime><QueueId>p2911917386e148639319e13c285cc774</QueueId><Tag>PicProcess</Tag><Input>"
    "<BucketId>test-1234567890</BucketId><Object>input/deer.jpg</Object><Region>ap-chongqing</Region></Input>"
    "<Operation><Output><Bucket>test-1234567890</Bucket><Object>output/out.jpg</Object>"
    "<Region>ap-chongqing</Region></Output><TemplateId>t10461fe2bd5a649db9022452ec71e0381</TemplateId><TemplateName>test</TemplateName>"
    "<UserData>This is my data.</UserData><JobLevel>0</JobLevel></Operation></JobsDetail>"
    "</Response>"
)


def test_documented_job_is_parsed() -> None:
    job = parse_job_response(Response(200, JOB_RESPONSE.format(state="Submitted").encode()))
    assert (job.id, job.status, job.action, job.subject, job.user_data) == (
        "c93984788066911ed89ed352d4d9d2084",
        Status.QUEUED,
        "PicProcess",
        "input/deer.jpg",
        "This is my data.",
    )
    assert job.submitted == datetime(2022, 7, 18, 7, 16, 43, tzinfo=UTC)
    assert (job.started, job.finished, job.outputs, job.reason) == (None, None, (), "")


def test_succeeded_job_has_output_url() -> None:
    """The key is percent-encoded."""
    job = parse_job_response(
        Response(
            200,
            JOB_RESPONSE.replace("output/out.jpg", "out/a b.jpg").format(state="Success").encode(),
        )
    )
    assert job.outputs == ("https://test-1234567890.cos.ap-chongqing.myqcloud.com/out/a%20b.jpg",)
    assert job.progress == 100


def test_documented_batch_is_parsed() -> None:
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


CALLBACK_DETAIL = {
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
def test_callback_result_key_wins_over_pattern(as_list: bool) -> None:
    """Results come as an object or a list, and keys with a leading slash."""
    detail = {**CALLBACK_DETAIL, "Operation": {**CALLBACK_DETAIL["Operation"]}}  # type: ignore[dict-item]
    if not as_list:
        detail["Operation"]["PicProcessResult"] = CALLBACK_DETAIL["Operation"]["PicProcessResult"][
            0
        ]  # type: ignore[index]
    assert parse_job(detail).outputs == ("https://demo-1.cos.ap-x.myqcloud.com/out/a.jpg",)


@pytest.mark.parametrize(
    "body", ["<Response/>", "<Response><JobsDetail/><NonExistJobIds>c1</NonExistJobIds></Response>"]
)
def test_unknown_job_raises_not_found(body: str) -> None:
    with pytest.raises(CIError, match="Job c1 was not found"):
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
def test_page_is_parsed(body: str, ids: list[str], token: str) -> None:
    """Zero, one and several jobs; the last page has an empty token, or none."""
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
        ("<html>x</html>", "NoSuchKey", "x"),
        ('{"code": 1, "msg": "no route"}', "NoSuchKey", "no route"),
    ],
)
def test_error_response_has_code_and_request_id(body: str, code: str, words: str) -> None:
    """Whatever body comes with an error status, the error has a code."""
    with pytest.raises(CIError) as caught:
        parse_empty(Response(404, body.encode(), {"x-ci-request-id": "r9"}))
    assert caught.value.code == code
    assert caught.value.request_id in ("r1", "r9")
    assert words in str(caught.value)


def test_response_that_is_not_xml_raises() -> None:
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
def test_parse_timestamp(value: Any, expected: datetime | None) -> None:
    assert parse_timestamp(value) == expected


@pytest.mark.parametrize(
    "key", ["JobId", "State", "Tag", "Input", "Operation", "CreationTime", "Code", "Workflow"]
)
def test_parse_job_accepts_any_value_in_any_field(key: str) -> None:
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


def test_rows_of_an_error_are_none() -> None:
    """Its code is raised, as by the parser of jobs."""
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with pytest.raises(ServiceError) as caught:
        parse_rows(Response(403, body, {}))
    assert caught.value.code == "AccessDenied"
    # Some gateways send it with status 200.
    with pytest.raises(ServiceError):
        parse_rows(Response(200, body, {}))


def test_page_of_a_bucket_goes_on_behind_its_last_key() -> None:
    """COS names the next marker only with a delimiter."""
    head = "<ListBucketResult><IsTruncated>true</IsTruncated>"
    keys = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in ("a", "b", "c"))
    page = parse_objects(Response(200, f"{head}{keys}</ListBucketResult>".encode(), {}))
    assert page.next_token == "c"
    named = f"{head}{keys}<NextMarker>x</NextMarker></ListBucketResult>"
    assert parse_objects(Response(200, named.encode(), {})).next_token == "x"
    empty = parse_objects(Response(200, f"{head}</ListBucketResult>".encode(), {}))
    assert empty.next_token == ""


def test_redirect_is_told_with_its_location_and_without_its_signature() -> None:
    location = "https://else.example.com/?q-signature=abc"
    response = Response(302, b"", {"location": location})
    with pytest.raises(CIError) as caught:
        parse_job_response(response, "j1")
    assert "https://else.example.com/" in str(caught.value)
    assert "abc" not in str(caught.value)
    with pytest.raises(CIError, match="HTTP 500"):
        parse_job_response(Response(500, b"", {}), "j1")


@pytest.mark.parametrize("body", [b"<html><title>Sign in</title></html>", b"plain words", b"{}"])
def test_answer_of_somebody_else_is_no_answer_of_the_service(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        parse_job_response(Response(200, body, {"content-type": "text/html"}), "j1")
