"""Tencent CI's jobs, batches, workflows, templates, queues and callbacks, as a client can observe
them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.tencent_ci.jobs import Job, JobFilter
from jupyter_mjci.emulator.tencent_ci.service import SAMPLE_TEMPLATE, SAMPLE_WORKFLOW, TencentCI
from tests.emulator.cos_client import (
    BUCKET,
    CI_HOST,
    COS_HOST,
    REGION,
    CosClient,
    authorization,
    batch_xml,
    build_client,
    build_image,
    get_image_size,
    job_operation,
    job_xml,
    output_xml,
    parse_response,
    to_dict,
    to_list,
)


@pytest.fixture
def client() -> CosClient:
    return build_client(
        {
            "in/a.png": build_image(40, 20),
            "in/b.jpg": build_image(30, 10, "JPEG"),
            "note.txt": b"no picture",
        }
    )


def parse_created(response: Response) -> Any:
    assert response.status == 200, response.body
    return parse_response(response)["JobsDetail"]


def parse_error(response: Response) -> tuple[int, str]:
    return response.status, parse_response(response)["Code"]


# -- one job


def test_job_ages_by_clock_and_stores_result(client: CosClient) -> None:
    """Submitted, after a second Running, after two Success; then the turned picture lies in the
    bucket.
    """
    job = parse_created(client.picture_job())
    seen = []
    for _ in range(3):
        detail = client.job(job["JobId"])
        seen.append((detail["State"], detail["StartTime"][-12:], detail["EndTime"][-12:]))
        client.clock.advance(1)
    assert seen == [
        ("Submitted", "-", "-"),
        ("Running", "8:00:01+0800", "-"),
        ("Success", "8:00:01+0800", "8:00:02+0800"),
    ]
    assert get_image_size(client.cos("GET", "/out/a.png").body) == (20, 40)


def test_created_job_has_documented_fields(client: CosClient) -> None:
    """Input speaks of BucketId, Output of Bucket; what was sent is echoed; nothing is there yet
    that is not.
    """
    inner = "<UserData>This is my data.</UserData><JobLevel>2</JobLevel>"
    job = parse_created(client.picture_job(inner=inner))
    job_id, queue = job.pop("JobId"), job.pop("QueueId")
    assert (job_id[0], queue[0], len(job_id), len(queue)) == ("c", "p", 33, 33)
    assert job == {
        "Code": "Success",
        "Message": "",
        "State": "Submitted",
        "CreationTime": "2026-01-01T08:00:00+0800",
        "StartTime": "-",
        "EndTime": "-",
        "Tag": "PicProcess",
        "Input": {"BucketId": BUCKET, "Object": "in/a.png", "Region": REGION},
        "Operation": {
            "Output": {"Bucket": BUCKET, "Object": "out/a.png", "Region": REGION},
            "PicProcess": {"IsPicInfo": "true", "ProcessRule": "imageMogr2/rotate/90"},
            "UserData": "This is my data.",
            "JobLevel": "2",
        },
    }


def test_result_has_no_upload_result_element(client: CosClient) -> None:
    """ObjectName, the original's facts (its Etag in quotes) and the result's (its Etag empty)."""
    job = parse_created(client.picture_job())
    client.clock.advance(2)
    result = client.job(job["JobId"])["Operation"]["PicProcessResult"]
    assert result["ObjectName"] == "out/a.png"
    info = result["OriginalInfo"]["ImageInfo"]
    assert (info["Width"], info["Height"], info["Ave"].lower(), info["Orientation"]) == (
        "40",
        "20",
        "0x336699",
        "1",
    )
    assert result["OriginalInfo"]["Etag"] == client.cos("HEAD", "/in/a.png").headers["ETag"]
    result = result["ProcessResult"]
    length = client.cos("HEAD", "/out/a.png").headers["Content-Length"]
    assert (result["Etag"], result["Width"], result["Height"], result["Size"]) == (
        "",
        "20",
        "40",
        length,
    )


def test_original_info_is_omitted_without_is_pic_info(client: CosClient) -> None:
    """IsPicInfo defaults to false."""
    body = job_xml("in/a.png", "imageMogr2/rotate/90").replace("<IsPicInfo>true</IsPicInfo>", "")
    job = parse_created(client.request("POST", "/jobs", body=body))
    client.clock.advance(2)
    assert "OriginalInfo" not in client.job(job["JobId"])["Operation"]["PicProcessResult"]


FAILURES = [
    ("in/none.png", "imageMogr2/rotate/90", BUCKET, "NoSuchKey"),
    ("in/a.png", "imageMogr2/rotate/90", "test-123456789", "WriteTargetBucketDenied"),
    ("note.txt", "imageMogr2/rotate/90", BUCKET, None),
    ("in/a.png", "imageMogr2/rotate/sideways", BUCKET, None),
]


@pytest.mark.parametrize(("source", "rule", "bucket", "reason"), FAILURES)
def test_failed_job_has_service_error_code(
    client: CosClient, source: str, rule: str, bucket: str, reason: str | None
) -> None:
    """What is wrong with picture, rule or target shows when the job runs, not when it is sent."""
    body = job_xml(source, rule).replace(f"<Bucket>{BUCKET}", f"<Bucket>{bucket}")
    job = parse_created(client.request("POST", "/jobs", body=body))
    client.clock.advance(2)
    detail = client.job(job["JobId"])
    assert (detail["State"], detail["Code"] == "Success", detail["Message"] == "") == (
        "Failed",
        False,
        False,
    )
    assert reason in (None, detail["Code"])
    assert "PicProcessResult" not in detail["Operation"]
    assert client.cos("HEAD", "/out/a.png").status == 404


def request_without(element: str) -> str:
    root = ElementTree.fromstring(job_xml("in/a.png", "imageMogr2/rotate/90"))
    parent = next(parent for parent in root.iter() if any(child.tag == element for child in parent))
    parent.remove(next(child for child in parent if child.tag == element))
    return ElementTree.tostring(root, "unicode")


GOOD = job_xml("in/a.png", "imageMogr2/rotate/90", inner="<JobLevel>0</JobLevel>")
BAD_JOBS = {
    **{
        f"without {name}": request_without(name)
        for name in (
            "Tag",
            "Input",
            "Operation",
            "Output",
            "Region",
            "Bucket",
            "PicProcess",
            "ProcessRule",
        )
    },
    "both template and rule": GOOD.replace(
        "<PicProcess>", f"<TemplateId>{SAMPLE_TEMPLATE}</TemplateId><PicProcess>"
    ),
    "a level of 3": GOOD.replace("<JobLevel>0", "<JobLevel>3"),
    "user data in Chinese": GOOD.replace("<JobLevel>0</JobLevel>", "<UserData>图</UserData>"),
    "long user data": GOOD.replace("<JobLevel>0</JobLevel>", f"<UserData>{'x' * 1025}</UserData>"),
    "a callback format": GOOD.replace(
        "</Request>", "<CallBackFormat>YAML</CallBackFormat></Request>"
    ),
    "a callback type": GOOD.replace("</Request>", "<CallBackType>Pigeon</CallBackType></Request>"),
    "a queue of messages without a name": GOOD.replace(
        "</Request>", "<CallBackType>TDMQ</CallBackType></Request>"
    ),
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_incomplete_or_ambiguous_request_is_refused(client: CosClient, name: str) -> None:
    """400 InvalidArgument, and there is no job."""
    assert parse_error(client.request("POST", "/jobs", body=BAD_JOBS[name])) == (
        400,
        "InvalidArgument",
    )
    assert client.jobs() == []


REFUSED_JOBS = [
    ("<TemplateId>tnone</TemplateId>", "", (404, "TemplateNotFound")),
    ("", "<QueueId>pnone</QueueId>", (404, "QueueNotFound")),
    ("", "<CallBack>ftp://x</CallBack>", (400, "InvalidUrl")),
]


@pytest.mark.parametrize(("template", "top", "reason"), REFUSED_JOBS)
def test_missing_queue_or_template_is_refused(
    client: CosClient, template: str, top: str, reason: tuple[int, str]
) -> None:
    """Unknown templates and queues, and callbacks to nowhere, each with its code."""
    body = GOOD.replace("</Request>", f"{top}</Request>")
    if template:
        body = body.replace(
            body[body.index("<PicProcess>") : body.index("</PicProcess>") + 13], template
        )
    assert parse_error(client.request("POST", "/jobs", body=body)) == reason


MALFORMED = [
    (
        "<Request><Name>demo</Name><Type>Workflow</Name></Request>",
        "</Name> does not close <Type>, line 1, column 41",
    ),
    (
        "<Request>\n  <Tag>PicProcess\n</Request>",
        "</Request> does not close <Tag>, line 3, column 1",
    ),
    ("<Request><Tag>a & b</Tag></Request>", "in <Tag>, line 1, column 18"),
    ("<Job/>", "the root element is <Job>, not <Request>"),
    ("just text", "line 1, column 1"),
    ('<!DOCTYPE r [<!ENTITY a "b">]><Request>&a;</Request>', "a document type is not allowed"),
    ("<Request>" + "<a>" * 60, "nested too deep"),
    ('<?xml version="1.0" encoding="klingon"?><Request/>', "line 1"),
    ("<Request>\x00</Request>", "line 1, column 10"),
]


@pytest.mark.parametrize(("body", "complaint"), MALFORMED)
@pytest.mark.parametrize("path", ["/jobs", "/inventorytriggerjob", "/template", "/workflow"])
def test_malformed_xml_is_refused_with_position(
    client: CosClient, path: str, body: str, complaint: str
) -> None:
    """400 MalformedXML names the element, the line and the column, the documents' own mistake
    included.
    """
    response = client.request("POST", path, body=body)
    assert parse_error(response) == (400, "MalformedXML")
    assert complaint in parse_response(response)["Message"]


def test_empty_body_is_refused(client: CosClient) -> None:
    """400 MissingRequestBodyError."""
    assert parse_error(client.request("POST", "/jobs")) == (400, "MissingRequestBodyError")


# -- asking about jobs


@pytest.mark.parametrize("head", ["jobs", "pic_jobs"])
def test_jobs_are_described_by_ids(client: CosClient, head: str) -> None:
    """Known jobs in the order of the IDs, unknown IDs listed; the same on both paths."""
    ids = [
        parse_created(client.request("POST", f"/{path}", body=GOOD))["JobId"]
        for path in ("jobs", "pic_jobs")
    ]
    detail = parse_response(client.request("GET", f"/{head}/{ids[1]},cnone,{ids[0]},j-none"))
    assert [job["JobId"] for job in detail["JobsDetail"]] == [ids[1], ids[0]]
    assert detail["NonExistJobIds"] == ["cnone", "j-none"]


@pytest.fixture
def client_with_jobs(client: CosClient) -> CosClient:
    """Seven jobs, one a minute: two fail, the last is only submitted, the last but one runs."""
    for minute in range(7):
        client.picture_job(
            "in/none.png" if minute in (1, 2) else "in/a.png" if minute % 2 else "in/b.jpg",
            output=f"out/{minute}",
        )
        client.clock.advance({6: 0, 5: 1.5}.get(minute, 60))
    return client


def get_minutes(jobs: list[Any]) -> list[int]:
    return [int(job["Operation"]["Output"]["Object"].rpartition("/")[2]) for job in jobs]


FILTERS = [
    ({}, [6, 5, 4, 3, 2, 1, 0]),
    ({"orderByTime": "Asc"}, [0, 1, 2, 3, 4, 5, 6]),
    ({"states": "All"}, [6, 5, 4, 3, 2, 1, 0]),
    ({"states": "Failed"}, [2, 1]),
    ({"States": "Submitted,Running"}, [6, 5]),
    ({"inputObject": "in/a.png"}, [5, 3]),
    ({"startCreationTime": "2026-01-01T08:03:00+0800"}, [6, 5, 4, 3]),
    ({"endCreationTime": "2026-01-01T08:01:00 0800"}, [1, 0]),
    (
        {
            "startCreationTime": "2026-01-01T00:01:00Z",
            "endCreationTime": "2026-01-01T08:02:00+08:00",
        },
        [2, 1],
    ),
    ({"queueId": "pother"}, []),
    ({"workflowId": "wother"}, []),
    ({"inventoryTriggerJobId": "bother"}, []),
    ({"tag": "Snapshot"}, []),
    ({"nextToken": "", "queueType": "", "states": ""}, [6, 5, 4, 3, 2, 1, 0]),
]


@pytest.mark.parametrize(("params", "expected"), FILTERS)
def test_job_list_filters(
    client_with_jobs: CosClient, params: dict[str, str], expected: list[int]
) -> None:
    """Newest first unless asked otherwise; empty filters filter nothing; a blank for the zone's +
    is forgiven.
    """
    assert get_minutes(client_with_jobs.jobs(**params)) == expected


@pytest.mark.parametrize(
    "params", [{}, {"states": "Success"}, {"orderByTime": "Asc", "states": "Failed,Running"}]
)
@pytest.mark.parametrize("size", ["1", "2", "3"])
def test_job_pages_have_no_gap_or_repeat(
    client_with_jobs: CosClient, params: dict[str, str], size: str
) -> None:
    """NextToken leads through the same rows as one large page, also when new jobs arrive on the
    way.
    """
    whole = client_with_jobs.jobs(**params)
    expected: list[Any] = []
    token = ""
    while True:
        page = parse_response(
            client_with_jobs.request(
                "GET", "/jobs", {"tag": "PicProcess", "size": size, "nextToken": token, **params}
            )
        )
        expected += to_list(page.get("JobsDetail"))
        token = page["NextToken"]
        if params.get("orderByTime") != "Asc":
            client_with_jobs.picture_job(output="out/99")
        if not token:
            break
    assert [job["JobId"] for job in expected] == [job["JobId"] for job in whole]


BAD_LISTS = [
    {"tag": ""},
    {"size": "0"},
    {"size": "101"},
    {"size": "many"},
    {"size": "١"},
    {"nextToken": "x"},
    {"states": "Done"},
    {"orderByTime": "Up"},
    {"startCreationTime": "soon"},
    {"endCreationTime": "2026-13-01T00:00:00+0800"},
]


@pytest.mark.parametrize("params", BAD_LISTS, ids=str)
def test_invalid_list_parameters_are_refused(client: CosClient, params: dict[str, str]) -> None:
    """400 InvalidArgument for what no filter can be."""
    assert parse_error(client.request("GET", "/jobs", {"tag": "PicProcess", **params})) == (
        400,
        "InvalidArgument",
    )


# -- queues, levels, cancelling


def get_queue(client: CosClient) -> Any:
    return to_list(parse_response(client.request("GET", "/picqueue"))["QueueList"])[0]


def set_queue(client: CosClient, content: str) -> Response:
    return client.request(
        "PUT", f"/picqueue/{get_queue(client)['QueueId']}", body=f"<Request>{content}</Request>"
    )


def test_paused_queue_holds_submitted_jobs() -> None:
    """New jobs are Pause and wait; what runs continues; Active releases them."""
    client = build_client()
    running = parse_created(client.picture_job())["JobId"]
    client.clock.advance(1)
    assert client.job(running)["State"] == "Running"
    assert parse_response(set_queue(client, "<State>Paused</State>"))["Queue"]["State"] == "Paused"
    waiting = parse_created(client.picture_job())
    assert waiting["State"] == "Pause"
    client.clock.advance(60)
    assert [client.job(job_id)["State"] for job_id in (running, waiting["JobId"])] == [
        "Success",
        "Pause",
    ]
    assert [job["JobId"] for job in client.jobs(states="Pause")] == [waiting["JobId"]]
    assert client.ci.next_event() is None
    set_queue(client, "<State>Active</State>")
    assert client.job(waiting["JobId"])["State"] == "Running"
    client.clock.advance(1)
    assert client.job(waiting["JobId"])["State"] == "Success"


def test_queue_limits_concurrency_and_prefers_high_levels() -> None:
    """With two places, five jobs need three rounds, ordered by JobLevel and then by age."""
    client = build_client(concurrency=2)
    ids = [
        parse_created(client.picture_job(inner=f"<JobLevel>{level}</JobLevel>"))["JobId"]
        for level in (0, 1, 0, 2, 1)
    ]
    client.clock.advance(1)
    rounds = []
    for _ in range(3):
        rounds.append(
            [at for at, job_id in enumerate(ids) if client.job(job_id)["State"] == "Running"]
        )
        client.clock.advance(1)
    assert rounds == [[1, 3], [0, 4], [2]]


def test_only_submitted_jobs_can_be_cancelled(client: CosClient) -> None:
    """200 with nothing in it for Submitted and Pause, and again for Cancel; 400 for Running and for
    what has ended.
    """
    early, late = (
        parse_created(client.picture_job(output=f"out/{name}"))["JobId"] for name in "ab"
    )
    response = client.request("PUT", f"/jobs/{early}", flag="cancel")
    assert (response.status, response.body) == (200, b"")
    assert client.request("PUT", f"/jobs/{early}", {"cancel": ""}).status == 200
    for _ in range(2):
        client.clock.advance(1)
        assert parse_error(client.request("PUT", f"/jobs/{late}", flag="cancel")) == (
            400,
            "InvalidArgument",
        )
    assert [client.job(job_id)["State"] for job_id in (early, late)] == ["Cancel", "Success"]
    assert client.cos("HEAD", "/out/a").status == 404


def test_paused_job_can_be_cancelled(client: CosClient) -> None:
    """It does not come back when the queue does."""
    set_queue(client, "<State>Paused</State>")
    job = parse_created(client.picture_job())["JobId"]
    client.clock.advance(5)
    assert client.request("PUT", f"/pic_jobs/{job}", flag="cancel").status == 200
    set_queue(client, "<State>Active</State>")
    client.clock.advance(5)
    assert client.job(job)["State"] == "Cancel"


def test_put_with_empty_body_cancels(client: CosClient) -> None:
    """Some official SDKs forget the flag; a body means something else, and that is refused."""
    job = parse_created(client.picture_job())["JobId"]
    assert parse_error(client.request("PUT", f"/jobs/{job}", body="<Request/>")) == (
        400,
        "InvalidArgument",
    )
    assert client.request("PUT", f"/jobs/{job}").status == 200
    assert client.job(job)["State"] == "Cancel"
    assert parse_error(client.request("PUT", "/jobs/cnone")) == (404, "ResourceNotFound")


def test_queues_are_listed_and_updated(client: CosClient) -> None:
    """The documented fields, filters by id and state, and what is unknown by name."""
    queue = get_queue(client)
    assert (queue["Name"], queue["MaxSize"], queue["MaxConcurrent"]) == (
        "queue-pic-process-1",
        "10000",
        "10",
    )
    set_queue(client, "<Name>mine</Name><State>Paused</State>")
    detail = parse_response(
        client.request(
            "GET", "/picqueue", {"queueIds": f"{queue['QueueId']},pnone", "state": "Paused"}
        )
    )
    assert (detail["TotalCount"], detail["QueueList"]["Name"], detail["NonExistPIDs"]) == (
        "1",
        "mine",
        "pnone",
    )
    assert (
        parse_response(client.request("GET", "/picqueue", {"state": "Active"}))["TotalCount"] == "0"
    )
    assert parse_error(set_queue(client, "<State>Asleep</State>")) == (400, "InvalidArgument")
    assert parse_error(client.request("PUT", "/picqueue/pnone", body="<Request/>")) == (
        404,
        "QueueNotFound",
    )


def test_unbound_bucket_refuses_jobs(client: CosClient) -> None:
    """PicBucketUnBinded until the bucket is bound again; binding twice is all right."""
    assert parse_response(client.request("DELETE", "/picbucket"))["BucketName"] == BUCKET
    assert parse_error(client.picture_job()) == (400, "PicBucketUnBinded")
    assert parse_response(client.request("GET", "/picbucket"))["TotalCount"] == "0"
    bound = [parse_response(client.request("POST", "/picbucket"))["PicBucket"] for _ in range(2)]
    assert bound[0] == bound[1]
    assert (bound[0]["BucketId"], bound[0]["Name"], bound[0]["Region"]) == (BUCKET, "demo", REGION)
    assert len(to_list(parse_response(client.request("GET", "/picqueue"))["QueueList"])) == 1
    assert client.picture_job().status == 200
    client.request("DELETE", "/mediabucket")
    assert parse_error(client.request("GET", "/template")) == (400, "MediaBucketUnBinded")


def test_bindings_are_listed_on_account_host(client: CosClient) -> None:
    """By region, exact names and prefix, in pages."""
    second = "second-1250000000"
    client.request("PUT", "/", host=f"{second}.cos.{REGION}.myqcloud.com")
    client.request("POST", "/picbucket", host=f"{second}.ci.{REGION}.myqcloud.com")

    def names(**params: str) -> list[str]:
        detail = parse_response(
            client.request("GET", "/picbucket", params, host=f"ci.{REGION}.myqcloud.com")
        )
        return [row["BucketId"] for row in to_list(detail.get("PicBucketList"))]

    assert names() == [BUCKET, second]
    assert (
        names(bucketName="sec")
        == names(bucketNames=second)
        == names(pageNumber="2", pageSize="1")
        == [second]
    )
    assert names(regions="ap-beijing") == []


# -- templates


def template_xml(name: str, rule: str = "imageMogr2/thumbnail/10x") -> str:
    return (
        f"<Request><Tag>PicProcess</Tag><Name>{name}</Name><PicProcess><IsPicInfo>true</IsPicInfo>"
        f"<ProcessRule>{rule}</ProcessRule></PicProcess></Request>"
    )


def test_template_life_cycle(client: CosClient) -> None:
    """The whole life of one, its name taken while it lives."""
    result = parse_response(client.request("POST", "/template", body=template_xml("thumb-10")))[
        "Template"
    ]
    assert (result["TemplateId"][0], result["Category"], result["BucketId"]) == (
        "t",
        "Custom",
        BUCKET,
    )
    assert result["PicProcess"] == {"IsPicInfo": "true", "ProcessRule": "imageMogr2/thumbnail/10x"}
    assert parse_error(client.request("POST", "/template", body=template_xml("thumb-10"))) == (
        400,
        "TemplateNameDuplicate",
    )
    path = f"/template/{result['TemplateId']}"
    client.clock.advance(60)
    changed = parse_response(
        client.request("PUT", path, body=template_xml("thumb-20", "imageMogr2/thumbnail/20x"))
    )["Template"]
    assert (changed["Name"], changed["UpdateTime"]) == ("thumb-20", "2026-01-01T08:01:00+0800")
    for params in (
        {"ids": result["TemplateId"]},
        {"name": "thumb"},
        {"tag": "PicProcess", "pageNumber": "2", "pageSize": "1"},
    ):
        assert parse_response(client.request("GET", "/template", params))["TemplateList"] == changed
    assert (
        parse_response(client.request("GET", "/template", {"category": "Official"}))["TotalCount"]
        == "0"
    )
    assert parse_response(client.request("DELETE", path))["TemplateId"] == result["TemplateId"]
    assert parse_error(client.request("DELETE", path)) == (404, "TemplateNotFound")


@pytest.mark.parametrize(
    "body",
    [
        template_xml("a b"),
        template_xml("x" * 65),
        template_xml("x", ""),
    ],
)
def test_template_without_name_or_rule_is_refused(client: CosClient, body: str) -> None:
    """400 InvalidArgument."""
    assert parse_error(client.request("POST", "/template", body=body)) == (400, "InvalidArgument")


def test_object_is_the_last_element_of_input(client: CosClient) -> None:
    """The official Java client takes every element of a job's Input for its Object."""
    created = ElementTree.fromstring(client.picture_job().body)
    names = [element.tag for element in created.findall("JobsDetail/Input/*")]
    assert names == ["BucketId", "Region", "Object"]


# What the official Go, Java and PHP SDKs send, and is not emulated.
UNSERVED_REQUESTS = [
    ("POST", "/jobs", GOOD.replace("PicProcess</Tag>", "Transcode</Tag>")),
    ("POST", "/pic_jobs", GOOD.replace("PicProcess</Tag>", "PosterProduction</Tag>")),
    ("POST", "/template", template_xml("x").replace("PicProcess</Tag>", "Snapshot</Tag>")),
    ("POST", "/mediainfo", "<Request><Input><Object>a.mp4</Object></Input></Request>"),
    ("POST", "/avinfo", "<Request><Input><Object>a.mp4</Object></Input></Request>"),
    ("POST", "/cisnapshot", "<Request><Input><Object>a.mp4</Object></Input></Request>"),
    ("GET", "/cibuckets", ""),
    ("GET", "/doc_jobs/d1", ""),
    ("GET", "/audit/textlib", ""),
    ("PUT", "/asrhotvocabtable", "<Request><TableId>t</TableId></Request>"),
    ("GET", "/posterproduction/template", ""),
    ("POST", "/ImageSearchBucket", "<Request><MaxCapacity>10</MaxCapacity></Request>"),
    ("PUT", "/", ""),  # CI is bound, and asked whether it is
    ("GET", "/", ""),
]


@pytest.mark.parametrize(("method", "path", "body"), UNSERVED_REQUESTS)
def test_function_that_is_not_emulated_says_so(
    client: CosClient, method: str, path: str, body: str
) -> None:
    """501 NotImplemented: the request is right, only not served here."""
    assert parse_error(client.request(method, path, body=body)) == (501, "NotImplemented")
    assert client.jobs() == []


@pytest.mark.parametrize("regions", ["All", "ap-chongqing", "ap-beijing,All"])
def test_bindings_of_all_regions_are_listed(client: CosClient, regions: str) -> None:
    """`regions=All`, as the samples of the official Go client have it."""
    result = parse_response(client.request("GET", "/picbucket", {"regions": regions}))
    assert result["PicBucketList"]["BucketId"] == BUCKET


def test_documented_example_ids_exist() -> None:
    """The first example of the jobs page, sent as it stands but for the bucket: a template, a JSON
    callback.
    """
    client = build_client({"input/deer.jpg": build_image(80, 60, "JPEG")})
    body = (
        "<Request><Tag>PicProcess</Tag><Input><Object>input/deer.jpg</Object></Input>"
        f"<Operation><TemplateId>{SAMPLE_TEMPLATE}</TemplateId>{output_xml('output/out.jpg')}"
        "<UserData>This is my data.</UserData><JobLevel>0</JobLevel></Operation>"
        "<CallBack>http://callback.demo.com</CallBack><CallBackFormat>JSON</CallBackFormat></Request>"
    )
    job = parse_created(client.request("POST", "/jobs", body=body))
    assert (job["Operation"]["TemplateId"], job["Operation"]["TemplateName"]) == (
        SAMPLE_TEMPLATE,
        "test",
    )
    assert "PicProcess" not in job["Operation"]
    client.clock.advance(2)
    client.ci.advance()
    assert [delivery.url for delivery in client.ci.outbox] == ["http://callback.demo.com"]
    assert get_image_size(client.cos("GET", "/output/out.jpg").body) == (40, 30)


# -- batches


def test_batch_creates_job_per_object_of_prefix(client: CosClient) -> None:
    """Created Running; its children are found by its id; it ends when they have; each output has
    its own name.
    """
    response = client.request(
        "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
    )
    batch = parse_created(response)
    assert (batch["JobId"][0], batch["State"], batch["StartTime"], batch["EndTime"]) == (
        "b",
        "Running",
        "-",
        "-",
    )
    assert parse_response(response)["RequestId"] == response.headers["x-ci-request-id"]
    assert batch["Input"] == {"Prefix": "in/"}
    client.clock.advance(10)
    children = client.jobs(inventoryTriggerJobId=batch["JobId"], orderByTime="Asc")
    assert [child["Operation"]["Output"]["Object"] for child in children] == [
        "out/a.png",
        "out/b.jpg",
    ]
    detail = parse_created(client.request("GET", f"/inventorytriggerjob/{batch['JobId']}"))
    assert (detail["State"], detail["StartTime"][-12:], detail["EndTime"][-12:]) == (
        "Success",
        "8:00:01+0800",
        "8:00:03+0800",
    )
    assert get_image_size(client.cos("GET", "/out/b.jpg").body) == (15, 5)


def inventory(*keys: str, packed: bool = True) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(
        [["1250000000", BUCKET, key, "10"] for key in keys]
    )
    body = text.getvalue().encode()
    return gzip.compress(body, mtime=0) if packed else body


MANIFEST = {
    "sourceBucket": BUCKET,
    "fileFormat": "CSV",
    "fileSchema": "Appid, Bucket, Key, Size",
    "files": [{"key": "inv/1.csv.gz"}, {"key": "inv/2.csv"}],
}
INPUTS = {
    "prefix": ("<Prefix>in/</Prefix>", ["in/a.png", "in/b.jpg"]),
    "object": ("<Object>in/b.jpg</Object>", ["in/b.jpg"]),
    "a missing object": ("<Object>in/none.png</Object>", ["in/none.png"]),
    "no such prefix": ("<Prefix>none/</Prefix>", []),
    "url file": (f"<UrlFile>http://{COS_HOST}/urls.txt</UrlFile>", ["in/b.jpg", "in/x y.png"]),
    "url file by key": ("<UrlFile>urls.txt</UrlFile>", ["in/b.jpg", "in/x y.png"]),
    "manifest": (
        f"<Manifest>https://{COS_HOST}/inv/manifest.json</Manifest>",
        ["in/a.png", "in/x y.png", "in/b.jpg"],
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_batch_supports_every_input_kind(client: CosClient, name: str) -> None:
    """By prefix, by name, by a file of addresses (others' objects are left out), by an inventory's
    manifest.
    """
    urls = f"https://{COS_HOST}/in/b.jpg\nhttp://{COS_HOST}/in/x%20y.png\nhttps://elsewhere.example/in/a.png\n"
    client.cos("PUT", "/urls.txt", None, urls)
    client.cos("PUT", "/inv/manifest.json", None, json.dumps(MANIFEST))
    client.cos("PUT", "/inv/1.csv.gz", None, inventory("in/a.png", "in/x%20y.png"))
    client.cos("PUT", "/inv/2.csv", None, inventory("in/b.jpg", packed=False))
    header, expected = INPUTS[name]
    batch = parse_created(
        client.request("POST", "/inventorytriggerjob", body=batch_xml(header, job_operation()))
    )
    client.clock.advance(10)
    children = client.jobs(inventoryTriggerJobId=batch["JobId"], orderByTime="Asc")
    assert [child["Input"]["Object"] for child in children] == expected
    assert (
        parse_created(client.request("GET", f"/inventorytriggerjob/{batch['JobId']}"))["State"]
        == "Success"
    )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("<UrlFile>none.txt</UrlFile>", "NoSuchKey"),
        ("<Manifest>note.txt</Manifest>", "InvalidContent"),
        ("<Manifest>bad.json</Manifest>", "NoSuchKey"),
        ("<Manifest>torn.json</Manifest>", "InvalidContent"),
    ],
)
def test_batch_with_unreadable_list_fails(client: CosClient, header: str, reason: str) -> None:
    """It is accepted, and Failed with the reason once it has looked."""
    client.cos("PUT", "/bad.json", None, json.dumps(MANIFEST))
    client.cos("PUT", "/torn.json", None, json.dumps({**MANIFEST, "files": [{"key": "torn.gz"}]}))
    client.cos("PUT", "/torn.gz", None, inventory("in/a.png")[:-9])
    batch = parse_created(
        client.request("POST", "/inventorytriggerjob", body=batch_xml(header, job_operation()))
    )
    client.clock.advance(2)
    detail = parse_created(client.request("GET", f"/inventorytriggerjob/{batch['JobId']}"))
    assert (detail["State"], detail["Code"]) == ("Failed", reason)


def test_batch_filters_by_time_interval(client: CosClient) -> None:
    """TimeInterval is about the objects' last change; it may stand in Operation or, as one page has
    it, beside.
    """
    client.clock.advance(3600)
    client.cos("PUT", "/in/new.png", None, build_image(4, 4))
    window = (
        "<TimeInterval><Start>2026-01-01T08:30:00+0800</Start>"
        "<End>2026-01-01T12:00:00+0800</End></TimeInterval>"
    )
    bodies = [
        batch_xml("<Prefix>in/</Prefix>", job_operation() + window),
        batch_xml("<Prefix>in/</Prefix>", job_operation()).replace(
            "</Request>", f"{window}</Request>"
        ),
    ]
    for body in bodies:
        batch = parse_created(client.request("POST", "/inventorytriggerjob", body=body))
        client.clock.advance(10)
        children = client.jobs(inventoryTriggerJobId=batch["JobId"])
        assert [child["Input"]["Object"] for child in children] == ["in/new.png"]


BAD_BATCHES = {
    "no name": batch_xml("<Prefix>in/</Prefix>", job_operation()).replace(
        "<Name>nightly</Name>", ""
    ),
    "a name with a blank": batch_xml("<Prefix>in/</Prefix>", job_operation()).replace(
        "nightly", "night ly"
    ),
    "another type": batch_xml("<Prefix>in/</Prefix>", job_operation(), "Pipeline"),
    "no input": batch_xml("", job_operation()),
    "two inputs": batch_xml("<Prefix>in/</Prefix><Object>in/a.png</Object>", job_operation()),
    "another tag": batch_xml(
        "<Prefix>in/</Prefix>", job_operation().replace("PicProcess</Tag>", "Snapshot</Tag>")
    ),
    "no parameters": batch_xml(
        "<Prefix>in/</Prefix>", job_operation().replace("JobParam", "Param")
    ),
    "no output": batch_xml("<Prefix>in/</Prefix>", job_operation().replace("Output", "Input")),
    "no workflows": batch_xml("<Prefix>in/</Prefix>", "", "Workflow"),
    "a window of nonsense": batch_xml(
        "<Prefix>in/</Prefix>", job_operation() + "<TimeInterval><Start>x</Start></TimeInterval>"
    ),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_incomplete_batch_is_refused(client: CosClient, name: str) -> None:
    """400 InvalidArgument."""
    assert parse_error(client.request("POST", "/inventorytriggerjob", body=BAD_BATCHES[name])) == (
        400,
        "InvalidArgument",
    )


def test_batch_is_cancelled(client: CosClient) -> None:
    """Its jobs that have not begun are cancelled with it; cancelling again, or too late, changes
    nothing.
    """
    batch = parse_created(
        client.request(
            "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
        )
    )
    path = f"/inventorytriggerjob/{batch['JobId']}"
    client.clock.advance(1.5)
    assert (
        client.request("PUT", path, flag="cancel").status,
        client.request("PUT", path).status,
    ) == (200, 200)
    client.clock.advance(10)
    assert {job["State"] for job in client.jobs(inventoryTriggerJobId=batch["JobId"])} == {"Cancel"}
    assert parse_created(client.request("GET", path))["State"] == "Cancel"
    assert client.ci.next_event() is None
    assert parse_error(client.request("PUT", "/inventorytriggerjob/bnone", flag="cancel")) == (
        404,
        "ResourceNotFound",
    )


def test_batch_list_filters_and_pages(client: CosClient) -> None:
    """By type, name, id, workflow, state and time; the official SDK sends the empty ones too."""
    job_body = batch_xml("<Prefix>in/</Prefix>", job_operation())
    flow_body = batch_xml(
        "<Prefix>in/</Prefix>", f"<WorkflowIds>{SAMPLE_WORKFLOW}</WorkflowIds>", "Workflow"
    )
    bodies = [job_body, flow_body, job_body.replace("nightly", "daily")]
    ids = []
    for body in bodies:
        ids.append(
            parse_created(client.request("POST", "/inventorytriggerjob", body=body))["JobId"]
        )
        client.clock.advance(60)

    def expected(**params: str) -> list[int]:
        detail = parse_response(client.request("GET", "/inventorytriggerjob", params))
        return [ids.index(row["JobId"]) for row in to_list(detail.get("JobsDetail"))]

    assert expected(workflowId="", jobId="", nextToken="", states="All") == [2, 1, 0]
    assert (
        expected(type="Job"),
        expected(type="Workflow"),
        expected(name="daily"),
        expected(jobId=ids[0]),
    ) == (
        [2, 0],
        [1],
        [2],
        [0],
    )
    assert (
        expected(workflowId=SAMPLE_WORKFLOW),
        expected(states="Running"),
        expected(orderByTime="Asc", size="2"),
    ) == (
        [1],
        [],
        [0, 1],
    )
    assert expected(
        startCreationTime="2026-01-01T08:01:00+0800", endCreationTime="2026-01-01T08:01:30+0800"
    ) == [1]
    first = parse_response(client.request("GET", "/inventorytriggerjob", {"size": "2"}))
    assert expected(nextToken=first["NextToken"], size="2") == [0]


# -- workflows


def workflow_xml(nodes: dict[str, tuple[str, str]], name: str = "flow", start: str = "") -> str:
    """Nodes by name: what they depend on, and their output."""
    followers: dict[str, list[str]] = {}
    for node, (before, _) in nodes.items():
        followers.setdefault(before, []).append(node)
    dependencies = "".join(
        f"<{before}>{','.join(after)}</{before}>" for before, after in followers.items()
    )
    header = "".join(
        f"<{node}><Type>PicProcess</Type><Operation><TemplateId>{SAMPLE_TEMPLATE}</TemplateId>{output_xml(output)}"
        f"</Operation></{node}>"
        for node, (_, output) in nodes.items()
    )
    return (
        f"<Request><MediaWorkflow><Name>{name}</Name><State>Active</State><Topology><Dependencies>{dependencies}"
        f"</Dependencies><Nodes><Start><Type>Start</Type><Input>{start}<ObjectPrefix>in/</ObjectPrefix></Input></Start>"
        f"{header}</Nodes></Topology></MediaWorkflow></Request>"
    )


CHAIN = {
    "One": ("Start", "one/${RunId}.png"),
    "Two": ("One", "two/${InputName}.png"),
    "Side": ("Start", "side.png"),
}


def create_workflow(client: CosClient, body: str) -> str:
    response = client.request("POST", "/workflow", body=body)
    assert response.status == 200, response.body
    return str(parse_response(response)["MediaWorkflow"]["WorkflowId"])


def test_workflow_nodes_run_in_order(client: CosClient) -> None:
    """A node starts when the one before it has ended, on its result; the execution ends with the
    last.
    """
    workflow = create_workflow(client, workflow_xml(CHAIN))
    run = parse_response(
        client.request("POST", "/triggerworkflow", {"workflowId": workflow, "object": "in/a.png"})
    )["InstanceId"]
    client.clock.advance(2)
    assert {job["Workflow"]["Name"] for job in client.jobs(workflowId=workflow)} == {
        "One",
        "Two",
        "Side",
    }
    assert (
        parse_response(client.request("GET", f"/workflowexecution/{run}"))["WorkflowExecution"][
            "State"
        ]
        == "Running"
    )
    client.clock.advance(2)
    detail = parse_response(client.request("GET", f"/workflowexecution/{run}"))["WorkflowExecution"]
    assert (run[0], detail["State"], detail["WorkflowName"], len(detail["Tasks"])) == (
        "i",
        "Success",
        "flow",
        3,
    )
    sizes = [
        get_image_size(client.cos("GET", key).body)
        for key in (f"/one/{run}.png", f"/two/{run}.png")
    ]
    assert sizes == [(20, 10), (10, 5)]


def test_failed_node_fails_execution(client: CosClient) -> None:
    """Nodes behind it do not start."""
    workflow = create_workflow(client, workflow_xml(CHAIN))
    run = parse_response(
        client.request("POST", "/triggerworkflow", {"workflowId": workflow, "object": "note.txt"})
    )["InstanceId"]
    client.clock.advance(10)
    detail = parse_response(client.request("GET", f"/workflowexecution/{run}"))["WorkflowExecution"]
    assert (detail["State"], sorted(task["Name"] for task in detail["Tasks"])) == (
        "Failed",
        ["One", "Side"],
    )


def test_workflow_batch_executes_per_object(client: CosClient) -> None:
    """Its executions are found by its id; the documents' own body, corrected, is accepted as it
    stands.
    """
    workflow = create_workflow(client, workflow_xml(CHAIN))
    operation = f"<WorkflowIds>{workflow},{SAMPLE_WORKFLOW}</WorkflowIds>"
    batch = parse_created(
        client.request(
            "POST",
            "/inventorytriggerjob",
            body=batch_xml("<Prefix>in/</Prefix>", operation, "Workflow"),
        )
    )
    client.clock.advance(10)

    def runs(**params: str) -> list[Any]:
        return to_list(
            parse_response(client.request("GET", "/workflowexecution", params)).get(
                "WorkflowExecutionList"
            )
        )

    mine = runs(jobId=batch["JobId"])
    assert sorted((run["WorkflowId"] == workflow, run["Object"]) for run in mine) == [
        (False, "in/a.png"),
        (False, "in/b.jpg"),
        (True, "in/a.png"),
        (True, "in/b.jpg"),
    ]
    assert {run["State"] for run in mine} == {"Success"}
    assert len(runs(jobId=batch["JobId"], workflowId=workflow, states="Success")) == 2
    assert runs(jobId="bnone") == []
    assert (
        parse_created(client.request("GET", f"/inventorytriggerjob/{batch['JobId']}"))["State"]
        == "Success"
    )


def test_unknown_workflow_fails_batch(client: CosClient) -> None:
    """It is accepted (as the service does not say otherwise) and then Failed."""
    body = batch_xml("<Prefix>in/</Prefix>", "<WorkflowIds>wnone</WorkflowIds>", "Workflow")
    batch = parse_created(client.request("POST", "/inventorytriggerjob", body=body))
    client.clock.advance(2)
    detail = parse_created(client.request("GET", f"/inventorytriggerjob/{batch['JobId']}"))
    assert (detail["State"], detail["Code"]) == ("Failed", "ResourceNotFound")


def test_active_workflow_cannot_be_updated(client: CosClient) -> None:
    """?paused first, then a new body or DELETE; ?active again."""
    workflow = create_workflow(client, workflow_xml(CHAIN))
    path, body = f"/workflow/{workflow}", workflow_xml(CHAIN, "other")
    forbidden = (403, "ActiveWorkflowForbiddenUpdate")
    assert [
        parse_error(client.request("PUT", path, body=body)),
        parse_error(client.request("DELETE", path)),
    ] == [
        forbidden,
        forbidden,
    ]
    assert (
        parse_response(client.request("PUT", path, flag="paused"))["MediaWorkflow"]["State"]
        == "Paused"
    )
    assert (
        parse_response(client.request("PUT", path, body=body))["MediaWorkflow"]["Name"] == "other"
    )
    assert (
        parse_response(client.request("GET", "/workflow", {"name": "oth"}))["MediaWorkflowList"][
            "WorkflowId"
        ]
        == workflow
    )
    client.request("PUT", path, flag="paused")
    assert parse_response(client.request("DELETE", path))["WorkflowId"] == workflow
    assert (
        parse_response(client.request("GET", "/workflow", {"ids": workflow}))["NonExistWIds"]
        == workflow
    )


def test_workflow_filters_by_extension(client: CosClient) -> None:
    """ExtFilter chooses by the name's ending."""
    rules = (
        "<ExtFilter><State>On</State><Custom>true</Custom>"
        "<CustomExts>jpg/gif</CustomExts></ExtFilter>"
    )
    workflow = create_workflow(client, workflow_xml(CHAIN, start=rules))
    body = batch_xml("<Prefix>in/</Prefix>", f"<WorkflowIds>{workflow}</WorkflowIds>", "Workflow")
    parse_created(client.request("POST", "/inventorytriggerjob", body=body))
    client.clock.advance(10)
    detail = parse_response(client.request("GET", "/workflowexecution", {"workflowId": workflow}))
    assert detail["WorkflowExecutionList"]["Object"] == "in/b.jpg"


# -- callbacks


def run_with_callback(
    client: CosClient, top: str = "", rule: str = "imageMogr2/rotate/90"
) -> list[Any]:
    client.picture_job(rule=rule, top=top)
    client.clock.advance(3)
    client.ci.advance()
    waiting, client.ci.outbox[:] = list(client.ci.outbox), []
    return waiting


TO = "<CallBack>http://127.0.0.1:9/done</CallBack>"


@pytest.mark.parametrize(
    ("rule", "state"), [("imageMogr2/rotate/90", "Success"), ("imageMogr2/rotate/x", "Failed")]
)
def test_ended_job_posts_xml_callback(client: CosClient, rule: str, state: str) -> None:
    """The default format: the Response of a describe, with its EventName; after a failure too."""
    [delivery] = run_with_callback(client, TO, rule)
    detail = to_dict(ElementTree.fromstring(delivery.body.decode()))
    assert (delivery.url, delivery.headers["Content-Type"]) == (
        "http://127.0.0.1:9/done",
        "application/xml",
    )
    assert (detail["EventName"], detail["JobsDetail"]["State"]) == ("TaskFinish", state)
    assert detail["JobsDetail"] == client.job(detail["JobsDetail"]["JobId"])


def test_documented_json_callback_has_text_values(client: CosClient) -> None:
    """No Response around it, one object, every value a text."""
    [delivery] = run_with_callback(client, TO + "<CallBackFormat>JSON</CallBackFormat>")
    detail = json.loads(delivery.body)
    assert detail["EventName"] == "TaskFinish"
    assert detail["JobsDetail"] == client.job(detail["JobsDetail"]["JobId"])


def test_live_json_callback_has_lists_and_numbers() -> None:
    """As captured from the live service: lists, numbers, a real boolean, a leading slash."""
    client = build_client(callback_shape="live")
    [delivery] = run_with_callback(client, TO + "<CallBackFormat>JSON</CallBackFormat>")
    [job] = json.loads(delivery.body)["JobsDetail"]
    [result] = job["Operation"]["PicProcessResult"]
    assert (job["QueueType"], job["Operation"]["PicProcess"]["IsPicInfo"]) == ("PicProcess", True)
    assert (result["ObjectName"], result["InputObjectUrl"]) == (
        "/out/a.png",
        f"https://{COS_HOST}/in/a.png",
    )
    assert (result["ProcessResult"]["Width"], result["ProcessResult"]["Height"]) == (20, 40)
    assert job["Operation"]["Output"]["Force"] is False


NOTIFY = "<NotifyConfig><State>{}</State><Event>{}</Event><Type>{}</Type><Url>http://127.0.0.1:9/queue</Url></NotifyConfig>"
SUBSCRIPTIONS = [
    (("On", "TaskFinish", "Url"), "", ["http://127.0.0.1:9/queue"]),
    (("On", "WorkflowFinish,TaskFinish", "Url"), TO, ["http://127.0.0.1:9/done"]),
    (("On", "TaskFinish", "Url"), "<CallBack>no</CallBack>", []),
    (("Off", "TaskFinish", "Url"), "", []),
    (("On", "WorkflowFinish", "Url"), "", []),
    (("On", "TaskFinish", "TDMQ"), "", []),
    (("On", "TaskFinish", "TDMQ"), TO, ["http://127.0.0.1:9/done"]),
]


@pytest.mark.parametrize(("queue", "job", "urls"), SUBSCRIPTIONS)
def test_queue_callback_is_used_unless_job_overrides(
    client: CosClient, queue: tuple[str, str, str], job: str, urls: list[str]
) -> None:
    """A job's CallBack goes before its queue's NotifyConfig, and `no` disables both."""
    assert set_queue(client, NOTIFY.format(*queue)).status == 200
    assert [delivery.url for delivery in run_with_callback(client, job)] == urls


def test_cancelled_job_posts_no_callback(client: CosClient) -> None:
    """Callbacks come after Success and Failed only."""
    job = parse_created(client.picture_job(top=TO))["JobId"]
    client.request("PUT", f"/jobs/{job}", flag="cancel")
    client.clock.advance(5)
    client.ci.advance()
    assert client.ci.outbox == []


def test_ended_execution_posts_callback(client: CosClient) -> None:
    """The Start node's NotifyConfig subscribes to WorkflowFinish, with all tasks and their
    results.
    """
    start = NOTIFY.format("On", "WorkflowFinish", "Url")
    workflow = create_workflow(client, workflow_xml(CHAIN, start=start))
    client.request("POST", "/triggerworkflow", {"workflowId": workflow, "object": "in/a.png"})
    client.clock.advance(10)
    client.ci.advance()
    [delivery] = client.ci.outbox
    detail = to_dict(ElementTree.fromstring(delivery.body.decode()))
    assert (detail["EventName"], detail["WorkflowExecution"]["State"]) == (
        "WorkflowFinish",
        "Success",
    )
    assert [task["ResultInfo"]["ObjectCount"] for task in detail["WorkflowExecution"]["Tasks"]] == [
        "1"
    ] * 3


# -- names in the output


OUTPUTS = [
    ("in/a.png", "o/${InputName}.${Ext}", "o/a.png"),
    ("in/a.b.png", "${InputPath}/${InputName}-s.${ext}", "in/a.b-s.png"),
    ("top", "${InputPath}/${InputName}.jpg", "top.jpg"),
    ("in/a.png", "/lead/${Number}-${number}", "lead/0-0"),
    ("in/a.png", "o/${Other}-${", "o/${Other}-${"),
]


@pytest.mark.parametrize(("source", "pattern", "name"), OUTPUTS)
def test_output_variables_are_interpolated(
    client: CosClient, source: str, pattern: str, name: str
) -> None:
    """Known ones by any case, unknown ones stay; there is never a leading slash."""
    client.cos("PUT", f"/{source}", None, build_image(4, 2))
    job = parse_created(client.picture_job(source, output=pattern))
    client.clock.advance(2)
    assert client.job(job["JobId"])["Operation"]["PicProcessResult"]["ObjectName"] == name
    assert client.cos("HEAD", f"/{name}").status == 200


def test_batch_id_is_an_output_variable(client: CosClient) -> None:
    """${InventoryTriggerJobId} keeps batches apart."""
    operation = job_operation("out/${InventoryTriggerJobId}/${InputName}.png")
    batch = parse_created(
        client.request(
            "POST", "/inventorytriggerjob", body=batch_xml("<Object>in/a.png</Object>", operation)
        )
    )
    client.clock.advance(10)
    assert client.cos("HEAD", f"/out/{batch['JobId']}/a.png").status == 200


# -- routing


def test_responses_have_request_id(client: CosClient) -> None:
    """x-ci-request-id or x-cos-request-id, each another one, and the name of the server."""
    answers = [
        client.request("GET", "/jobs"),
        client.request("GET", "/none"),
        client.cos("GET", "/note.txt"),
        client.cos("HEAD", "/no"),
    ]
    planes = ["ci", "ci", "cos", "cos"]
    ids = [
        response.headers[f"x-{plane}-request-id"]
        for response, plane in zip(answers, planes, strict=True)
    ]
    assert len({*ids}) == 4
    assert [response.headers["Server"] for response in answers] == [
        f"tencent-{plane}" for plane in planes
    ]


def test_bare_address_selects_plane_by_path(client: CosClient) -> None:
    """For clients that only know an address: the default bucket, CI by its own paths, else an
    object.
    """
    jobs = client.request("GET", "/jobs", {"tag": "PicProcess"}, host="127.0.0.1:8080")
    note = client.request("GET", "/note.txt", host="localhost")
    assert (jobs.status, "x-ci-request-id" in jobs.headers, note.body) == (
        200,
        True,
        b"no picture",
    )


@pytest.mark.parametrize(
    "host",
    [f"{BUCKET}.ci.{REGION}.tencentci.cn", f"{BUCKET}.ci.{REGION}.localhost:8080", CI_HOST.upper()],
)
def test_alternative_host_names_are_accepted(client: CosClient, host: str) -> None:
    """The backup domain, a local one with a port, capitals."""
    assert client.request("GET", "/jobs", {"tag": "PicProcess"}, host=host).status == 200


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("PATCH", "/jobs", (405, "MethodNotAllowed")),
        ("POST", "/jobs/cx", (405, "MethodNotAllowed")),
        ("GET", "/nothing", (404, "ResourceNotFound")),
    ],
)
def test_unknown_resource_or_method_is_refused(
    client: CosClient, method: str, path: str, reason: tuple[int, str]
) -> None:
    """Unknown resources and methods have their codes."""
    assert parse_error(client.request(method, path)) == reason


def test_same_requests_give_same_responses() -> None:
    """Nothing depends on real time, on chance or on the process: ids, times and pictures come
    again.
    """

    def conversation() -> list[bytes]:
        client = build_client(seed=3)
        answers = [
            client.picture_job(),
            client.request("POST", "/template", body=template_xml("x")),
        ]
        client.clock.advance(5)
        return [
            response.body
            for response in [
                *answers,
                client.request("GET", "/jobs"),
                client.cos("GET", "/out/a.png"),
            ]
        ]

    assert conversation() == conversation()
    assert (
        parse_created(build_client(seed=1).picture_job())["JobId"]
        != parse_created(build_client(seed=2).picture_job())["JobId"]
    )


def test_snapshot_restores_everything() -> None:
    """A snapshot through JSON, taken while jobs wait, run and are paused, goes on exactly as the
    original does.
    """
    client = build_client(concurrency=1)
    create_workflow(client, workflow_xml(CHAIN))
    for level in ("0", "2", "1"):
        client.picture_job(inner=f"<JobLevel>{level}</JobLevel>", top=TO)
    client.request(
        "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
    )
    client.request(
        "POST", "/triggerworkflow", {"workflowId": SAMPLE_WORKFLOW, "object": "in/a.png"}
    )
    client.cos("POST", "/big", {"uploads": ""})
    client.clock.advance(2.5)
    client.ci.advance()
    restored = CosClient(
        client.clock, TencentCI(client.clock, objects={}, wall_clock=None, concurrency=1)
    )
    restored.ci.restore(
        json.loads(
            json.dumps(client.ci.snapshot(), default=lambda body: {"hex": body.hex()}),
            object_hook=decode_bytes,
        )
    )
    client.clock.advance(1.25)
    client.ci.advance()
    restored.ci.advance()
    assert (client.ci.snapshot(), client.ci.next_event()) == (
        restored.ci.snapshot(),
        restored.ci.next_event(),
    )
    client.clock.advance(60)
    client.ci.advance()
    restored.ci.advance()
    assert client.ci.snapshot() == restored.ci.snapshot()
    assert {job["State"] for job in restored.jobs()} == {"Success"}


def decode_bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value


# -- trouble on demand


def test_stuck_job_keeps_slot_and_state() -> None:
    """Waiting or running, it changes no more, and its place in the queue stays taken."""
    client = build_client(concurrency=2)
    ids = [parse_created(client.picture_job())["JobId"] for _ in range(3)]
    client.ci.freeze(ids[0])
    client.clock.advance(1)
    client.ci.advance()
    client.ci.freeze(ids[1])
    client.clock.advance(60)
    assert [client.job(job_id)["State"] for job_id in ids] == ["Submitted", "Running", "Success"]
    assert client.ci.next_event() is None
    restored = CosClient(client.clock, TencentCI(client.clock, objects={}, wall_clock=None))
    restored.ci.restore(client.ci.snapshot())
    client.clock.advance(60)
    assert [restored.job(job_id)["State"] for job_id in ids] == ["Submitted", "Running", "Success"]


def test_lost_job_is_unknown_and_its_batch_ends() -> None:
    """Described as unknown, absent from lists, its place free for the next; a lost batch is unknown
    too.
    """
    client = build_client(
        {"in/a.png": build_image(4, 2), "in/b.png": build_image(4, 2)}, concurrency=1
    )
    batch = parse_created(
        client.request(
            "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
        )
    )
    client.clock.advance(2)
    lost, other = [
        job["JobId"] for job in client.jobs(inventoryTriggerJobId=batch["JobId"], orderByTime="Asc")
    ]
    client.ci.forget(lost)
    assert parse_response(client.request("GET", f"/jobs/{lost}"))["NonExistJobIds"] == lost
    assert [job["JobId"] for job in client.jobs()] == [other]
    client.clock.advance(5)
    path = f"/inventorytriggerjob/{batch['JobId']}"
    assert parse_created(client.request("GET", path))["State"] == "Success"
    assert parse_created(client.picture_job())["JobId"] not in (lost, other)
    client.ci.forget(batch["JobId"])
    assert parse_response(client.request("GET", path))["NonExistJobIds"] == batch["JobId"]


def test_stuck_batch_never_ends(client: CosClient) -> None:
    """Frozen before it looked, it finds nothing; frozen later, it waits for ever."""
    body = batch_xml("<Prefix>in/</Prefix>", job_operation())
    early, late = (
        parse_created(client.request("POST", "/inventorytriggerjob", body=body))["JobId"]
        for _ in range(2)
    )
    client.ci.freeze(early)
    client.clock.advance(1.5)
    client.ci.advance()
    client.ci.freeze(late)
    client.clock.advance(60)
    states = [
        parse_created(client.request("GET", f"/inventorytriggerjob/{job_id}"))["State"]
        for job_id in (early, late)
    ]
    assert (states, client.jobs(inventoryTriggerJobId=early)) == (["Running", "Running"], [])


# -- size


class CountingFilter(JobFilter):
    """Counts the jobs that a list looks at."""

    match_count = 0

    def matches(self, job: Job) -> bool:
        type(self).match_count += 1
        return super().matches(job)


def test_listing_many_jobs_visits_each_about_once() -> None:
    """All pages together look at each job once or twice, and outputs of one picture share their
    bytes.
    """
    client, count = build_client(concurrency=100_000), 20_000
    job_id = parse_created(client.picture_job())["JobId"]
    first = client.ci.jobs.by_id[job_id]
    for at in range(count - 1):
        client.ci.jobs.submit("in/a.png", f"many/{at}", first.spec, first.queue, client.clock.now())
    client.clock.advance(5)
    client.ci.advance()
    home = client.ci.store.buckets[BUCKET]
    assert len({id(home.objects[f"many/{at}"].body) for at in range(count - 1)}) == 1
    expected, token, after = 0, "", None
    while expected == 0 or token:
        page, token = client.ci.jobs.get_page(home, CountingFilter(), 100, after)
        after, expected = int(token or 0), expected + len(page)
    assert (expected, CountingFilter.match_count < 2 * count) == (count, True)


# -- whatever comes

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
PATHS = st.sampled_from(
    [
        "/",
        "/jobs",
        "/jobs/c1,c2",
        "/pic_jobs",
        "/inventorytriggerjob",
        "/inventorytriggerjob/b1",
        "/template",
        "/template/t1",
        "/workflow",
        "/workflow/w1",
        "/workflowexecution",
        "/picqueue",
        "/picqueue/p1",
        "/picbucket",
        "/triggerworkflow",
        "/in/a.png",
        "/queue",
        "/mediabucket",
    ]
)
NAMES = st.sampled_from(
    [
        "tag",
        "size",
        "states",
        "nextToken",
        "pageNumber",
        "startCreationTime",
        "ids",
        "cancel",
        "name",
        "imageMogr2/rotate/90",
        "imageInfo",
        "uploads",
        "uploadId",
        "partNumber",
        "delete",
        "append",
        "position",
        "max-keys",
        "marker",
        "delimiter",
        "prefix",
        "image_process",
        "response-expires",
        "part-number-marker",
        "encoding-type",
        "active",
        "x-cos-security-token",
        "workflowId",
    ]
)
VALUES = WORDS | st.sampled_from(
    ["PicProcess", "1", "100", "-1", "All", "/", "url", "2026-01-01T00:00:00+0800"]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "range",
            "if-match",
            "if-none-match",
            "if-modified-since",
            "content-md5",
            "pic-operations",
            "content-type",
            "x-cos-copy-source",
            "x-cos-copy-source-range",
            "x-cos-meta-a",
            "expires",
        ]
    ),
    VALUES
    | st.sampled_from(
        [
            "bytes=1-2",
            "*",
            COS_HOST + "/in/a.png",
            '{"rules":[{"fileid":"x","rule":"imageInfo"}]}',
            "Thu, 01 Jan 2026 00:00:00 GMT",
            "Thu, 99 Jan 99999 99:99:99 GMT",
        ]
    ),
    max_size=3,
)
ELEMENTS = st.sampled_from(
    [
        "Tag",
        "Name",
        "Type",
        "Input",
        "Prefix",
        "Object",
        "Operation",
        "PicProcess",
        "ProcessRule",
        "Output",
        "Region",
        "Bucket",
        "JobParam",
        "UserData",
        "JobLevel",
        "QueueId",
        "CallBack",
        "State",
        "NotifyConfig",
        "MediaWorkflow",
        "Topology",
        "Nodes",
        "Start",
        "Dependencies",
        "Part",
        "PartNumber",
        "ETag",
        "Key",
        "UrlFile",
        "Manifest",
        "WorkflowIds",
        "TimeInterval",
    ]
)
TEXTS = VALUES.map(
    lambda text: "".join(letter for letter in text if letter.isprintable() and letter not in "<&")
)
XML = st.recursive(
    TEXTS,
    lambda inner: st.lists(st.tuples(ELEMENTS, inner), max_size=5).map(
        lambda pairs: "".join(f"<{name}>{content}</{name}>" for name, content in pairs)
    ),
    max_leaves=20,
)
ROOTS = st.sampled_from(["Request", "Delete", "CompleteMultipartUpload", "Job"])
GOOD_BODIES = st.sampled_from(
    [
        GOOD,
        template_xml("y"),
        workflow_xml(CHAIN),
        batch_xml("<Prefix>in/</Prefix>", job_operation()),
    ]
)
BODIES = st.one_of(
    st.tuples(ROOTS, XML).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>".encode()),
    st.tuples(GOOD_BODIES, st.integers(0, 900), WORDS).map(
        lambda cut: (cut[0][: cut[1]] + cut[2] + cut[0][cut[1] :]).encode()
    ),
    GOOD_BODIES.map(str.encode),
    st.binary(max_size=40),
)
CALL = st.tuples(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    PATHS | WORDS.map(lambda text: "/" + text),
    st.dictionaries(NAMES | WORDS, VALUES, max_size=3),
    BODIES,
    HEADERS,
    st.sampled_from(
        [
            CI_HOST,
            CI_HOST,
            COS_HOST,
            "127.0.0.1:80",
            f"ci.{REGION}.myqcloud.com",
            "service.cos.myqcloud.com",
        ]
    ),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(CALL, min_size=4, max_size=16))
def test_random_signed_requests_never_fail_with_500(calls: list[Any]) -> None:
    """Genuine requests of any content are answered or refused: no exception, and no 5xx but
    NotImplemented.
    """
    client = build_client({"in/a.png": build_image(8, 4), "x": b"no picture"})
    for method, path, params, body, headers, host in calls:
        response = client.request(method, path, params, body, headers, host=host)
        assert response.status < 500 or response.status == 501, response.body
        if response.status >= 400 and response.body:
            assert all(
                parse_response(response)[name]
                for name in ("Code", "Message", "Resource", "RequestId", "TraceId")
            )
        client.clock.advance(0.7)
    json.dumps(client.ci.snapshot(), default=bytes.hex)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["GET", "PUT", "POST", "HEAD"]),
    st.text(max_size=20),
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(["authorization", "host", "x-cos-security-token"]), st.text(max_size=80)
    ),
    st.text(max_size=30),
)
def test_random_unsigned_requests_never_fail_with_500(
    method: str, path: str, query: str, headers: dict[str, str], host: str
) -> None:
    """Unsigned random bytes are refused."""
    clock = VirtualClock()
    response = TencentCI(clock, objects={}).handle(
        Request(method, host, "/" + path, query, headers, b"")
    )
    assert 400 <= response.status < 500


def test_random_authorization_is_refused() -> None:
    """Fields of the right names with wrong contents."""
    client = build_client()
    good = authorization("GET", "/jobs", {}, {}, client.span())
    for part in good.split("&"):
        for wrong in (part.partition("=")[0] + "=", part + ";;", part + "\u0661"):
            request = Request(
                "GET", CI_HOST, "/jobs", "", {"authorization": good.replace(part, wrong)}
            )
            status = client.ci.handle(request).status
            assert status == 403 or part.startswith(("q-header", "q-url")), wrong
