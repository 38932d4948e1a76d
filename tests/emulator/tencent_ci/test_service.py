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
    Visitor,
    authorization,
    batch_xml,
    drawn,
    job_operation,
    job_xml,
    output_xml,
    read,
    rows,
    size_of,
    tree,
    visitor,
)


@pytest.fixture
def here() -> Visitor:
    return visitor(
        {"in/a.png": drawn(40, 20), "in/b.jpg": drawn(30, 10, "JPEG"), "note.txt": b"no picture"}
    )


def created(answer: Response) -> Any:
    assert answer.status == 200, answer.body
    return read(answer)["JobsDetail"]


def code(answer: Response) -> tuple[int, str]:
    return answer.status, read(answer)["Code"]


# -- one job


def test_a_job_ages_by_the_clock_and_really_makes_the_picture(here: Visitor) -> None:
    """Submitted, after a second Running, after two Success; then the turned picture lies in the
    bucket.
    """
    job = created(here.picture_job())
    seen = []
    for _ in range(3):
        told = here.job(job["JobId"])
        seen.append((told["State"], told["StartTime"][-12:], told["EndTime"][-12:]))
        here.clock.advance(1)
    assert seen == [
        ("Submitted", "-", "-"),
        ("Running", "8:00:01+0800", "-"),
        ("Success", "8:00:01+0800", "8:00:02+0800"),
    ]
    assert size_of(here.cos("GET", "/out/a.png").body) == (20, 40)


def test_the_created_job_has_the_documented_fields(here: Visitor) -> None:
    """Input speaks of BucketId, Output of Bucket; what was sent is echoed; nothing is there yet
    that is not.
    """
    inner = "<UserData>This is my data.</UserData><JobLevel>2</JobLevel>"
    job = created(here.picture_job(inner=inner))
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


def test_the_result_has_no_upload_result_around_it(here: Visitor) -> None:
    """ObjectName, the original's facts (its Etag in quotes) and the result's (its Etag empty)."""
    job = created(here.picture_job())
    here.clock.advance(2)
    result = here.job(job["JobId"])["Operation"]["PicProcessResult"]
    assert result["ObjectName"] == "out/a.png"
    info = result["OriginalInfo"]["ImageInfo"]
    assert (info["Width"], info["Height"], info["Ave"].lower(), info["Orientation"]) == (
        "40",
        "20",
        "0x336699",
        "1",
    )
    assert result["OriginalInfo"]["Etag"] == here.cos("HEAD", "/in/a.png").headers["ETag"]
    made = result["ProcessResult"]
    length = here.cos("HEAD", "/out/a.png").headers["Content-Length"]
    assert (made["Etag"], made["Width"], made["Height"], made["Size"]) == ("", "20", "40", length)


def test_without_is_pic_info_the_original_is_not_told(here: Visitor) -> None:
    """IsPicInfo defaults to false."""
    body = job_xml("in/a.png", "imageMogr2/rotate/90").replace("<IsPicInfo>true</IsPicInfo>", "")
    job = created(here.ask("POST", "/jobs", body=body))
    here.clock.advance(2)
    assert "OriginalInfo" not in here.job(job["JobId"])["Operation"]["PicProcessResult"]


FAILURES = [
    ("in/none.png", "imageMogr2/rotate/90", BUCKET, "NoSuchKey"),
    ("in/a.png", "imageMogr2/rotate/90", "test-123456789", "WriteTargetBucketDenied"),
    ("note.txt", "imageMogr2/rotate/90", BUCKET, None),
    ("in/a.png", "imageMogr2/rotate/sideways", BUCKET, None),
]


@pytest.mark.parametrize(("source", "rule", "bucket", "reason"), FAILURES)
def test_a_job_fails_with_the_service_s_reason(
    here: Visitor, source: str, rule: str, bucket: str, reason: str | None
) -> None:
    """What is wrong with picture, rule or target shows when the job runs, not when it is sent."""
    body = job_xml(source, rule).replace(f"<Bucket>{BUCKET}", f"<Bucket>{bucket}")
    job = created(here.ask("POST", "/jobs", body=body))
    here.clock.advance(2)
    told = here.job(job["JobId"])
    assert (told["State"], told["Code"] == "Success", told["Message"] == "") == (
        "Failed",
        False,
        False,
    )
    assert reason in (None, told["Code"])
    assert "PicProcessResult" not in told["Operation"]
    assert here.cos("HEAD", "/out/a.png").status == 404


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
    "another tag": GOOD.replace("PicProcess</Tag>", "Snapshot</Tag>"),
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
def test_a_request_that_says_too_little_or_too_much_is_refused(here: Visitor, name: str) -> None:
    """400 InvalidArgument, and there is no job."""
    assert code(here.ask("POST", "/jobs", body=BAD_JOBS[name])) == (400, "InvalidArgument")
    assert here.jobs() == []


REFUSED_JOBS = [
    ("<TemplateId>tnone</TemplateId>", "", (404, "TemplateNotFound")),
    ("", "<QueueId>pnone</QueueId>", (404, "QueueNotFound")),
    ("", "<CallBack>ftp://x</CallBack>", (400, "InvalidUrl")),
]


@pytest.mark.parametrize(("template", "top", "reason"), REFUSED_JOBS)
def test_what_a_job_names_must_be_there(
    here: Visitor, template: str, top: str, reason: tuple[int, str]
) -> None:
    """Unknown templates and queues, and callbacks to nowhere, each with its code."""
    body = GOOD.replace("</Request>", f"{top}</Request>")
    if template:
        body = body.replace(
            body[body.index("<PicProcess>") : body.index("</PicProcess>") + 13], template
        )
    assert code(here.ask("POST", "/jobs", body=body)) == reason


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
def test_malformed_xml_is_refused_with_its_place(
    here: Visitor, path: str, body: str, complaint: str
) -> None:
    """400 MalformedXML names the element, the line and the column, the documents' own mistake
    included.
    """
    answer = here.ask("POST", path, body=body)
    assert code(answer) == (400, "MalformedXML")
    assert complaint in read(answer)["Message"]


def test_an_empty_body_is_missing(here: Visitor) -> None:
    """400 MissingRequestBodyError."""
    assert code(here.ask("POST", "/jobs")) == (400, "MissingRequestBodyError")


# -- asking about jobs


@pytest.mark.parametrize("head", ["jobs", "pic_jobs"])
def test_jobs_are_described_by_a_list_of_ids(here: Visitor, head: str) -> None:
    """Known ones in the order asked for; unknown ones are named; both paths know the same jobs."""
    ids = [
        created(here.ask("POST", f"/{path}", body=GOOD))["JobId"] for path in ("jobs", "pic_jobs")
    ]
    told = read(here.ask("GET", f"/{head}/{ids[1]},cnone,{ids[0]},j-none"))
    assert [job["JobId"] for job in told["JobsDetail"]] == [ids[1], ids[0]]
    assert told["NonExistJobIds"] == ["cnone", "j-none"]


@pytest.fixture
def crowd(here: Visitor) -> Visitor:
    """Seven jobs, one a minute: two fail, the last is only submitted, the last but one runs."""
    for minute in range(7):
        here.picture_job(
            "in/none.png" if minute in (1, 2) else "in/a.png" if minute % 2 else "in/b.jpg",
            output=f"out/{minute}",
        )
        here.clock.advance({6: 0, 5: 1.5}.get(minute, 60))
    return here


def minutes(jobs: list[Any]) -> list[int]:
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


@pytest.mark.parametrize(("asked", "found"), FILTERS)
def test_every_filter_of_the_list(crowd: Visitor, asked: dict[str, str], found: list[int]) -> None:
    """Newest first unless asked otherwise; empty filters filter nothing; a blank for the zone's +
    is forgiven.
    """
    assert minutes(crowd.jobs(**asked)) == found


@pytest.mark.parametrize(
    "asked", [{}, {"states": "Success"}, {"orderByTime": "Asc", "states": "Failed,Running"}]
)
@pytest.mark.parametrize("size", ["1", "2", "3"])
def test_pages_meet_without_gap_or_repeat(crowd: Visitor, asked: dict[str, str], size: str) -> None:
    """NextToken leads through the same rows as one large page, also when new jobs arrive on the
    way.
    """
    whole = crowd.jobs(**asked)
    found: list[Any] = []
    token = ""
    while True:
        page = read(
            crowd.ask(
                "GET", "/jobs", {"tag": "PicProcess", "size": size, "nextToken": token, **asked}
            )
        )
        found += rows(page.get("JobsDetail"))
        token = page["NextToken"]
        if asked.get("orderByTime") != "Asc":
            crowd.picture_job(output="out/99")
        if not token:
            break
    assert [job["JobId"] for job in found] == [job["JobId"] for job in whole]


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


@pytest.mark.parametrize("asked", BAD_LISTS, ids=str)
def test_a_list_asked_for_wrongly_is_refused(here: Visitor, asked: dict[str, str]) -> None:
    """400 InvalidArgument for what no filter can be."""
    assert code(here.ask("GET", "/jobs", {"tag": "PicProcess", **asked})) == (
        400,
        "InvalidArgument",
    )


# -- queues, levels, cancelling


def queue_of(here: Visitor) -> Any:
    return rows(read(here.ask("GET", "/picqueue"))["QueueList"])[0]


def set_queue(here: Visitor, content: str) -> Response:
    return here.ask(
        "PUT", f"/picqueue/{queue_of(here)['QueueId']}", body=f"<Request>{content}</Request>"
    )


def test_a_paused_queue_holds_what_has_not_begun() -> None:
    """New jobs are Pause and wait; what runs goes on; Active releases them."""
    here = visitor()
    running = created(here.picture_job())["JobId"]
    here.clock.advance(1)
    assert here.job(running)["State"] == "Running"
    assert read(set_queue(here, "<State>Paused</State>"))["Queue"]["State"] == "Paused"
    waiting = created(here.picture_job())
    assert waiting["State"] == "Pause"
    here.clock.advance(60)
    assert [here.job(one)["State"] for one in (running, waiting["JobId"])] == ["Success", "Pause"]
    assert [job["JobId"] for job in here.jobs(states="Pause")] == [waiting["JobId"]]
    assert here.ci.next_event() is None
    set_queue(here, "<State>Active</State>")
    assert here.job(waiting["JobId"])["State"] == "Running"
    here.clock.advance(1)
    assert here.job(waiting["JobId"])["State"] == "Success"


def test_a_queue_runs_so_many_at_once_the_highest_level_first() -> None:
    """With two places, five jobs need three rounds, ordered by JobLevel and then by age."""
    here = visitor(concurrency=2)
    ids = [
        created(here.picture_job(inner=f"<JobLevel>{level}</JobLevel>"))["JobId"]
        for level in (0, 1, 0, 2, 1)
    ]
    here.clock.advance(1)
    rounds = []
    for _ in range(3):
        rounds.append([at for at, one in enumerate(ids) if here.job(one)["State"] == "Running"])
        here.clock.advance(1)
    assert rounds == [[1, 3], [0, 4], [2]]


def test_only_what_has_not_begun_can_be_cancelled(here: Visitor) -> None:
    """200 with nothing in it for Submitted and Pause, and again for Cancel; 400 for Running and for
    what has ended.
    """
    early, late = (created(here.picture_job(output=f"out/{name}"))["JobId"] for name in "ab")
    answer = here.ask("PUT", f"/jobs/{early}", flag="cancel")
    assert (answer.status, answer.body) == (200, b"")
    assert here.ask("PUT", f"/jobs/{early}", {"cancel": ""}).status == 200
    for _ in range(2):
        here.clock.advance(1)
        assert code(here.ask("PUT", f"/jobs/{late}", flag="cancel")) == (400, "InvalidArgument")
    assert [here.job(one)["State"] for one in (early, late)] == ["Cancel", "Success"]
    assert here.cos("HEAD", "/out/a").status == 404


def test_a_paused_job_can_be_cancelled(here: Visitor) -> None:
    """It does not come back when the queue does."""
    set_queue(here, "<State>Paused</State>")
    job = created(here.picture_job())["JobId"]
    here.clock.advance(5)
    assert here.ask("PUT", f"/pic_jobs/{job}", flag="cancel").status == 200
    set_queue(here, "<State>Active</State>")
    here.clock.advance(5)
    assert here.job(job)["State"] == "Cancel"


def test_put_without_cancel_is_a_cancel_too_when_its_body_is_empty(here: Visitor) -> None:
    """Some official SDKs forget the flag; a body means something else, and that is refused."""
    job = created(here.picture_job())["JobId"]
    assert code(here.ask("PUT", f"/jobs/{job}", body="<Request/>")) == (400, "InvalidArgument")
    assert here.ask("PUT", f"/jobs/{job}").status == 200
    assert here.job(job)["State"] == "Cancel"
    assert code(here.ask("PUT", "/jobs/cnone")) == (404, "ResourceNotFound")


def test_queues_are_told_and_changed(here: Visitor) -> None:
    """The documented fields, filters by id and state, and what is unknown by name."""
    queue = queue_of(here)
    assert (queue["Name"], queue["MaxSize"], queue["MaxConcurrent"]) == (
        "queue-pic-process-1",
        "10000",
        "10",
    )
    set_queue(here, "<Name>mine</Name><State>Paused</State>")
    told = read(
        here.ask("GET", "/picqueue", {"queueIds": f"{queue['QueueId']},pnone", "state": "Paused"})
    )
    assert (told["TotalCount"], told["QueueList"]["Name"], told["NonExistPIDs"]) == (
        "1",
        "mine",
        "pnone",
    )
    assert read(here.ask("GET", "/picqueue", {"state": "Active"}))["TotalCount"] == "0"
    assert code(set_queue(here, "<State>Asleep</State>")) == (400, "InvalidArgument")
    assert code(here.ask("PUT", "/picqueue/pnone", body="<Request/>")) == (404, "QueueNotFound")


def test_an_unbound_bucket_has_no_jobs(here: Visitor) -> None:
    """PicBucketUnBinded until the bucket is bound again; binding twice is all right."""
    assert read(here.ask("DELETE", "/picbucket"))["BucketName"] == BUCKET
    assert code(here.picture_job()) == (400, "PicBucketUnBinded")
    assert read(here.ask("GET", "/picbucket"))["TotalCount"] == "0"
    bound = [read(here.ask("POST", "/picbucket"))["PicBucket"] for _ in range(2)]
    assert bound[0] == bound[1]
    assert (bound[0]["BucketId"], bound[0]["Name"], bound[0]["Region"]) == (BUCKET, "demo", REGION)
    assert len(rows(read(here.ask("GET", "/picqueue"))["QueueList"])) == 1
    assert here.picture_job().status == 200
    here.ask("DELETE", "/mediabucket")
    assert code(here.ask("GET", "/template")) == (400, "MediaBucketUnBinded")


def test_bound_buckets_are_listed_on_the_account_s_host(here: Visitor) -> None:
    """By region, exact names and prefix, in pages."""
    second = "second-1250000000"
    here.ask("PUT", "/", host=f"{second}.cos.{REGION}.myqcloud.com")
    here.ask("POST", "/picbucket", host=f"{second}.ci.{REGION}.myqcloud.com")

    def names(**asked: str) -> list[str]:
        told = read(here.ask("GET", "/picbucket", asked, host=f"ci.{REGION}.myqcloud.com"))
        return [row["BucketId"] for row in rows(told.get("PicBucketList"))]

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


def test_templates_are_made_changed_listed_and_deleted(here: Visitor) -> None:
    """The whole life of one, its name taken while it lives."""
    made = read(here.ask("POST", "/template", body=template_xml("thumb-10")))["Template"]
    assert (made["TemplateId"][0], made["Category"], made["BucketId"]) == ("t", "Custom", BUCKET)
    assert made["PicProcess"] == {"IsPicInfo": "true", "ProcessRule": "imageMogr2/thumbnail/10x"}
    assert code(here.ask("POST", "/template", body=template_xml("thumb-10"))) == (
        400,
        "TemplateNameDuplicate",
    )
    path = f"/template/{made['TemplateId']}"
    here.clock.advance(60)
    changed = read(
        here.ask("PUT", path, body=template_xml("thumb-20", "imageMogr2/thumbnail/20x"))
    )["Template"]
    assert (changed["Name"], changed["UpdateTime"]) == ("thumb-20", "2026-01-01T08:01:00+0800")
    for asked in (
        {"ids": made["TemplateId"]},
        {"name": "thumb"},
        {"tag": "PicProcess", "pageNumber": "2", "pageSize": "1"},
    ):
        assert read(here.ask("GET", "/template", asked))["TemplateList"] == changed
    assert read(here.ask("GET", "/template", {"category": "Official"}))["TotalCount"] == "0"
    assert read(here.ask("DELETE", path))["TemplateId"] == made["TemplateId"]
    assert code(here.ask("DELETE", path)) == (404, "TemplateNotFound")


@pytest.mark.parametrize(
    "body",
    [
        template_xml("a b"),
        template_xml("x" * 65),
        template_xml("x", ""),
        template_xml("x").replace("PicProcess</Tag>", "Snapshot</Tag>"),
    ],
)
def test_a_template_needs_a_name_and_a_rule(here: Visitor, body: str) -> None:
    """400 InvalidArgument."""
    assert code(here.ask("POST", "/template", body=body)) == (400, "InvalidArgument")


def test_the_documents_own_example_works() -> None:
    """The first example of the jobs page, sent as it stands but for the bucket: a template, a JSON
    callback.
    """
    here = visitor({"input/deer.jpg": drawn(80, 60, "JPEG")})
    body = (
        f"<Request><Tag>PicProcess</Tag><Input><Object>input/deer.jpg</Object></Input><Operation><TemplateId>"
        f"{SAMPLE_TEMPLATE}</TemplateId>{output_xml('output/out.jpg')}<UserData>This is my data.</UserData><JobLevel>0"
        "</JobLevel></Operation><CallBack>http://callback.demo.com</CallBack><CallBackFormat>JSON</CallBackFormat></Request>"
    )
    job = created(here.ask("POST", "/jobs", body=body))
    assert (job["Operation"]["TemplateId"], job["Operation"]["TemplateName"]) == (
        SAMPLE_TEMPLATE,
        "test",
    )
    assert "PicProcess" not in job["Operation"]
    here.clock.advance(2)
    here.ci.advance()
    assert [one.url for one in here.ci.outbox] == ["http://callback.demo.com"]
    assert size_of(here.cos("GET", "/output/out.jpg").body) == (40, 30)


# -- batches


def test_a_batch_makes_a_job_for_each_object_of_its_prefix(here: Visitor) -> None:
    """Created Running; its children are found by its id; it ends when they have; each output has
    its own name.
    """
    answer = here.ask(
        "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
    )
    batch = created(answer)
    assert (batch["JobId"][0], batch["State"], batch["StartTime"], batch["EndTime"]) == (
        "b",
        "Running",
        "-",
        "-",
    )
    assert read(answer)["RequestId"] == answer.headers["x-ci-request-id"]
    assert batch["Input"] == {"Prefix": "in/"}
    here.clock.advance(10)
    children = here.jobs(inventoryTriggerJobId=batch["JobId"], orderByTime="Asc")
    assert [child["Operation"]["Output"]["Object"] for child in children] == [
        "out/a.png",
        "out/b.jpg",
    ]
    told = created(here.ask("GET", f"/inventorytriggerjob/{batch['JobId']}"))
    assert (told["State"], told["StartTime"][-12:], told["EndTime"][-12:]) == (
        "Success",
        "8:00:01+0800",
        "8:00:03+0800",
    )
    assert size_of(here.cos("GET", "/out/b.jpg").body) == (15, 5)


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
def test_a_batch_finds_its_objects_in_every_kind_of_input(here: Visitor, name: str) -> None:
    """By prefix, by name, by a file of addresses (others' objects are left out), by an inventory's
    manifest.
    """
    urls = f"https://{COS_HOST}/in/b.jpg\nhttp://{COS_HOST}/in/x%20y.png\nhttps://elsewhere.example/in/a.png\n"
    here.cos("PUT", "/urls.txt", None, urls)
    here.cos("PUT", "/inv/manifest.json", None, json.dumps(MANIFEST))
    here.cos("PUT", "/inv/1.csv.gz", None, inventory("in/a.png", "in/x%20y.png"))
    here.cos("PUT", "/inv/2.csv", None, inventory("in/b.jpg", packed=False))
    spelled, found = INPUTS[name]
    batch = created(
        here.ask("POST", "/inventorytriggerjob", body=batch_xml(spelled, job_operation()))
    )
    here.clock.advance(10)
    children = here.jobs(inventoryTriggerJobId=batch["JobId"], orderByTime="Asc")
    assert [child["Input"]["Object"] for child in children] == found
    assert created(here.ask("GET", f"/inventorytriggerjob/{batch['JobId']}"))["State"] == "Success"


@pytest.mark.parametrize(
    ("spelled", "reason"),
    [
        ("<UrlFile>none.txt</UrlFile>", "NoSuchKey"),
        ("<Manifest>note.txt</Manifest>", "InvalidContent"),
        ("<Manifest>bad.json</Manifest>", "NoSuchKey"),
        ("<Manifest>torn.json</Manifest>", "InvalidContent"),
    ],
)
def test_a_batch_whose_list_cannot_be_read_fails(here: Visitor, spelled: str, reason: str) -> None:
    """It is accepted, and Failed with the reason once it has looked."""
    here.cos("PUT", "/bad.json", None, json.dumps(MANIFEST))
    here.cos("PUT", "/torn.json", None, json.dumps({**MANIFEST, "files": [{"key": "torn.gz"}]}))
    here.cos("PUT", "/torn.gz", None, inventory("in/a.png")[:-9])
    batch = created(
        here.ask("POST", "/inventorytriggerjob", body=batch_xml(spelled, job_operation()))
    )
    here.clock.advance(2)
    told = created(here.ask("GET", f"/inventorytriggerjob/{batch['JobId']}"))
    assert (told["State"], told["Code"]) == ("Failed", reason)


def test_a_batch_may_look_at_a_time_window_only(here: Visitor) -> None:
    """TimeInterval is about the objects' last change; it may stand in Operation or, as one page has
    it, beside.
    """
    here.clock.advance(3600)
    here.cos("PUT", "/in/new.png", None, drawn(4, 4))
    window = "<TimeInterval><Start>2026-01-01T08:30:00+0800</Start><End>2026-01-01T12:00:00+0800</End></TimeInterval>"
    bodies = [
        batch_xml("<Prefix>in/</Prefix>", job_operation() + window),
        batch_xml("<Prefix>in/</Prefix>", job_operation()).replace(
            "</Request>", f"{window}</Request>"
        ),
    ]
    for body in bodies:
        batch = created(here.ask("POST", "/inventorytriggerjob", body=body))
        here.clock.advance(10)
        children = here.jobs(inventoryTriggerJobId=batch["JobId"])
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
def test_a_batch_that_says_too_little_is_refused(here: Visitor, name: str) -> None:
    """400 InvalidArgument."""
    assert code(here.ask("POST", "/inventorytriggerjob", body=BAD_BATCHES[name])) == (
        400,
        "InvalidArgument",
    )


def test_a_batch_can_be_cancelled(here: Visitor) -> None:
    """Its jobs that have not begun are cancelled with it; cancelling again, or too late, changes
    nothing.
    """
    batch = created(
        here.ask(
            "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
        )
    )
    path = f"/inventorytriggerjob/{batch['JobId']}"
    here.clock.advance(1.5)
    assert (here.ask("PUT", path, flag="cancel").status, here.ask("PUT", path).status) == (200, 200)
    here.clock.advance(10)
    assert {job["State"] for job in here.jobs(inventoryTriggerJobId=batch["JobId"])} == {"Cancel"}
    assert created(here.ask("GET", path))["State"] == "Cancel"
    assert here.ci.next_event() is None
    assert code(here.ask("PUT", "/inventorytriggerjob/bnone", flag="cancel")) == (
        404,
        "ResourceNotFound",
    )


def test_batches_are_listed_with_filters_and_pages(here: Visitor) -> None:
    """By type, name, id, workflow, state and time; the official SDK sends the empty ones too."""
    job_body = batch_xml("<Prefix>in/</Prefix>", job_operation())
    flow_body = batch_xml(
        "<Prefix>in/</Prefix>", f"<WorkflowIds>{SAMPLE_WORKFLOW}</WorkflowIds>", "Workflow"
    )
    bodies = [job_body, flow_body, job_body.replace("nightly", "daily")]
    ids = []
    for body in bodies:
        ids.append(created(here.ask("POST", "/inventorytriggerjob", body=body))["JobId"])
        here.clock.advance(60)

    def found(**asked: str) -> list[int]:
        told = read(here.ask("GET", "/inventorytriggerjob", asked))
        return [ids.index(row["JobId"]) for row in rows(told.get("JobsDetail"))]

    assert found(workflowId="", jobId="", nextToken="", states="All") == [2, 1, 0]
    assert (
        found(type="Job"),
        found(type="Workflow"),
        found(name="daily"),
        found(jobId=ids[0]),
    ) == (
        [2, 0],
        [1],
        [2],
        [0],
    )
    assert (
        found(workflowId=SAMPLE_WORKFLOW),
        found(states="Running"),
        found(orderByTime="Asc", size="2"),
    ) == (
        [1],
        [],
        [0, 1],
    )
    assert found(
        startCreationTime="2026-01-01T08:01:00+0800", endCreationTime="2026-01-01T08:01:30+0800"
    ) == [1]
    first = read(here.ask("GET", "/inventorytriggerjob", {"size": "2"}))
    assert found(nextToken=first["NextToken"], size="2") == [0]


# -- workflows


def workflow_xml(nodes: dict[str, tuple[str, str]], name: str = "flow", start: str = "") -> str:
    """Nodes by name: what they depend on, and their output."""
    followers: dict[str, list[str]] = {}
    for node, (before, _) in nodes.items():
        followers.setdefault(before, []).append(node)
    dependencies = "".join(
        f"<{before}>{','.join(after)}</{before}>" for before, after in followers.items()
    )
    spelled = "".join(
        f"<{node}><Type>PicProcess</Type><Operation><TemplateId>{SAMPLE_TEMPLATE}</TemplateId>{output_xml(output)}"
        f"</Operation></{node}>"
        for node, (_, output) in nodes.items()
    )
    return (
        f"<Request><MediaWorkflow><Name>{name}</Name><State>Active</State><Topology><Dependencies>{dependencies}"
        f"</Dependencies><Nodes><Start><Type>Start</Type><Input>{start}<ObjectPrefix>in/</ObjectPrefix></Input></Start>"
        f"{spelled}</Nodes></Topology></MediaWorkflow></Request>"
    )


CHAIN = {
    "One": ("Start", "one/${RunId}.png"),
    "Two": ("One", "two/${InputName}.png"),
    "Side": ("Start", "side.png"),
}


def new_workflow(here: Visitor, body: str) -> str:
    answer = here.ask("POST", "/workflow", body=body)
    assert answer.status == 200, answer.body
    return str(read(answer)["MediaWorkflow"]["WorkflowId"])


def test_a_workflow_s_nodes_follow_each_other(here: Visitor) -> None:
    """A node starts when the one before it has ended, on its result; the execution ends with the
    last.
    """
    workflow = new_workflow(here, workflow_xml(CHAIN))
    run = read(
        here.ask("POST", "/triggerworkflow", {"workflowId": workflow, "object": "in/a.png"})
    )["InstanceId"]
    here.clock.advance(2)
    assert {job["Workflow"]["Name"] for job in here.jobs(workflowId=workflow)} == {
        "One",
        "Two",
        "Side",
    }
    assert (
        read(here.ask("GET", f"/workflowexecution/{run}"))["WorkflowExecution"]["State"]
        == "Running"
    )
    here.clock.advance(2)
    told = read(here.ask("GET", f"/workflowexecution/{run}"))["WorkflowExecution"]
    assert (run[0], told["State"], told["WorkflowName"], len(told["Tasks"])) == (
        "i",
        "Success",
        "flow",
        3,
    )
    sizes = [size_of(here.cos("GET", key).body) for key in (f"/one/{run}.png", f"/two/{run}.png")]
    assert sizes == [(20, 10), (10, 5)]


def test_a_failed_node_fails_its_execution(here: Visitor) -> None:
    """Nodes behind it do not start."""
    workflow = new_workflow(here, workflow_xml(CHAIN))
    run = read(
        here.ask("POST", "/triggerworkflow", {"workflowId": workflow, "object": "note.txt"})
    )["InstanceId"]
    here.clock.advance(10)
    told = read(here.ask("GET", f"/workflowexecution/{run}"))["WorkflowExecution"]
    assert (told["State"], sorted(task["Name"] for task in told["Tasks"])) == (
        "Failed",
        ["One", "Side"],
    )


def test_a_batch_of_workflows_executes_them_for_each_object(here: Visitor) -> None:
    """Its executions are found by its id; the documents' own body, corrected, is accepted as it
    stands.
    """
    workflow = new_workflow(here, workflow_xml(CHAIN))
    operation = f"<WorkflowIds>{workflow},{SAMPLE_WORKFLOW}</WorkflowIds>"
    batch = created(
        here.ask(
            "POST",
            "/inventorytriggerjob",
            body=batch_xml("<Prefix>in/</Prefix>", operation, "Workflow"),
        )
    )
    here.clock.advance(10)

    def runs(**asked: str) -> list[Any]:
        return rows(read(here.ask("GET", "/workflowexecution", asked)).get("WorkflowExecutionList"))

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
    assert created(here.ask("GET", f"/inventorytriggerjob/{batch['JobId']}"))["State"] == "Success"


def test_an_unknown_workflow_fails_the_batch(here: Visitor) -> None:
    """It is accepted (as the service does not say otherwise) and then Failed."""
    body = batch_xml("<Prefix>in/</Prefix>", "<WorkflowIds>wnone</WorkflowIds>", "Workflow")
    batch = created(here.ask("POST", "/inventorytriggerjob", body=body))
    here.clock.advance(2)
    told = created(here.ask("GET", f"/inventorytriggerjob/{batch['JobId']}"))
    assert (told["State"], told["Code"]) == ("Failed", "ResourceNotFound")


def test_an_active_workflow_cannot_be_changed(here: Visitor) -> None:
    """?paused first, then a new body or DELETE; ?active again."""
    workflow = new_workflow(here, workflow_xml(CHAIN))
    path, body = f"/workflow/{workflow}", workflow_xml(CHAIN, "other")
    forbidden = (403, "ActiveWorkflowForbiddenUpdate")
    assert [code(here.ask("PUT", path, body=body)), code(here.ask("DELETE", path))] == [
        forbidden,
        forbidden,
    ]
    assert read(here.ask("PUT", path, flag="paused"))["MediaWorkflow"]["State"] == "Paused"
    assert read(here.ask("PUT", path, body=body))["MediaWorkflow"]["Name"] == "other"
    assert (
        read(here.ask("GET", "/workflow", {"name": "oth"}))["MediaWorkflowList"]["WorkflowId"]
        == workflow
    )
    here.ask("PUT", path, flag="paused")
    assert read(here.ask("DELETE", path))["WorkflowId"] == workflow
    assert read(here.ask("GET", "/workflow", {"ids": workflow}))["NonExistWIds"] == workflow


def test_a_workflow_s_filter_lets_pictures_in_only(here: Visitor) -> None:
    """ExtFilter chooses by the name's ending."""
    rules = "<ExtFilter><State>On</State><Custom>true</Custom><CustomExts>jpg/gif</CustomExts></ExtFilter>"
    workflow = new_workflow(here, workflow_xml(CHAIN, start=rules))
    body = batch_xml("<Prefix>in/</Prefix>", f"<WorkflowIds>{workflow}</WorkflowIds>", "Workflow")
    created(here.ask("POST", "/inventorytriggerjob", body=body))
    here.clock.advance(10)
    told = read(here.ask("GET", "/workflowexecution", {"workflowId": workflow}))
    assert told["WorkflowExecutionList"]["Object"] == "in/b.jpg"


# -- callbacks


def called_back(here: Visitor, top: str = "", rule: str = "imageMogr2/rotate/90") -> list[Any]:
    here.picture_job(rule=rule, top=top)
    here.clock.advance(3)
    here.ci.advance()
    waiting, here.ci.outbox[:] = list(here.ci.outbox), []
    return waiting


TO = "<CallBack>http://127.0.0.1:9/done</CallBack>"


@pytest.mark.parametrize(
    ("rule", "state"), [("imageMogr2/rotate/90", "Success"), ("imageMogr2/rotate/x", "Failed")]
)
def test_an_ended_job_is_called_back_in_xml(here: Visitor, rule: str, state: str) -> None:
    """The default format: the Response of a describe, with its EventName; after a failure too."""
    [delivery] = called_back(here, TO, rule)
    told = tree(ElementTree.fromstring(delivery.body.decode()))
    assert (delivery.url, delivery.headers["Content-Type"]) == (
        "http://127.0.0.1:9/done",
        "application/xml",
    )
    assert (told["EventName"], told["JobsDetail"]["State"]) == ("TaskFinish", state)
    assert told["JobsDetail"] == here.job(told["JobsDetail"]["JobId"])


def test_the_documented_json_holds_texts(here: Visitor) -> None:
    """No Response around it, one object, every value a text."""
    [delivery] = called_back(here, TO + "<CallBackFormat>JSON</CallBackFormat>")
    told = json.loads(delivery.body)
    assert told["EventName"] == "TaskFinish"
    assert told["JobsDetail"] == here.job(told["JobsDetail"]["JobId"])


def test_the_live_json_holds_lists_and_numbers() -> None:
    """As captured from the live service: lists, numbers, a real boolean, a leading slash."""
    here = visitor(callback_shape="live")
    [delivery] = called_back(here, TO + "<CallBackFormat>JSON</CallBackFormat>")
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
def test_the_queue_is_told_unless_the_job_says_otherwise(
    here: Visitor, queue: tuple[str, str, str], job: str, urls: list[str]
) -> None:
    """A job's CallBack goes before its queue's NotifyConfig, and `no` tells nobody."""
    assert set_queue(here, NOTIFY.format(*queue)).status == 200
    assert [delivery.url for delivery in called_back(here, job)] == urls


def test_a_cancelled_job_calls_nobody(here: Visitor) -> None:
    """Callbacks come after Success and Failed only."""
    job = created(here.picture_job(top=TO))["JobId"]
    here.ask("PUT", f"/jobs/{job}", flag="cancel")
    here.clock.advance(5)
    here.ci.advance()
    assert here.ci.outbox == []


def test_a_workflow_tells_its_end(here: Visitor) -> None:
    """The Start node's NotifyConfig subscribes to WorkflowFinish, with all tasks and their
    results.
    """
    start = NOTIFY.format("On", "WorkflowFinish", "Url")
    workflow = new_workflow(here, workflow_xml(CHAIN, start=start))
    here.ask("POST", "/triggerworkflow", {"workflowId": workflow, "object": "in/a.png"})
    here.clock.advance(10)
    here.ci.advance()
    [delivery] = here.ci.outbox
    told = tree(ElementTree.fromstring(delivery.body.decode()))
    assert (told["EventName"], told["WorkflowExecution"]["State"]) == ("WorkflowFinish", "Success")
    assert [task["ResultInfo"]["ObjectCount"] for task in told["WorkflowExecution"]["Tasks"]] == [
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
def test_output_variables_are_filled_in(
    here: Visitor, source: str, pattern: str, name: str
) -> None:
    """Known ones by any case, unknown ones stay; there is never a leading slash."""
    here.cos("PUT", f"/{source}", None, drawn(4, 2))
    job = created(here.picture_job(source, output=pattern))
    here.clock.advance(2)
    assert here.job(job["JobId"])["Operation"]["PicProcessResult"]["ObjectName"] == name
    assert here.cos("HEAD", f"/{name}").status == 200


def test_a_batch_s_children_know_its_id(here: Visitor) -> None:
    """${InventoryTriggerJobId} keeps batches apart."""
    operation = job_operation("out/${InventoryTriggerJobId}/${InputName}.png")
    batch = created(
        here.ask(
            "POST", "/inventorytriggerjob", body=batch_xml("<Object>in/a.png</Object>", operation)
        )
    )
    here.clock.advance(10)
    assert here.cos("HEAD", f"/out/{batch['JobId']}/a.png").status == 200


# -- the door


def test_every_answer_carries_its_request_id(here: Visitor) -> None:
    """x-ci-request-id or x-cos-request-id, each another one, and the name of the server."""
    answers = [
        here.ask("GET", "/jobs"),
        here.ask("GET", "/none"),
        here.cos("GET", "/note.txt"),
        here.cos("HEAD", "/no"),
    ]
    planes = ["ci", "ci", "cos", "cos"]
    ids = [
        answer.headers[f"x-{plane}-request-id"]
        for answer, plane in zip(answers, planes, strict=True)
    ]
    assert len({*ids}) == 4
    assert [answer.headers["Server"] for answer in answers] == [
        f"tencent-{plane}" for plane in planes
    ]


def test_a_bare_address_tells_the_planes_apart_by_path(here: Visitor) -> None:
    """For clients that only know an address: the default bucket, CI by its own paths, else an
    object.
    """
    jobs = here.ask("GET", "/jobs", {"tag": "PicProcess"}, host="127.0.0.1:8080")
    thing = here.ask("GET", "/note.txt", host="localhost")
    assert (jobs.status, "x-ci-request-id" in jobs.headers, thing.body) == (
        200,
        True,
        b"no picture",
    )


@pytest.mark.parametrize(
    "host",
    [f"{BUCKET}.ci.{REGION}.tencentci.cn", f"{BUCKET}.ci.{REGION}.localhost:8080", CI_HOST.upper()],
)
def test_the_service_has_other_host_names_too(here: Visitor, host: str) -> None:
    """The backup domain, a local one with a port, capitals."""
    assert here.ask("GET", "/jobs", {"tag": "PicProcess"}, host=host).status == 200


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("PATCH", "/jobs", (405, "MethodNotAllowed")),
        ("POST", "/jobs/cx", (405, "MethodNotAllowed")),
        ("GET", "/nothing", (404, "ResourceNotFound")),
        ("GET", "/", (404, "ResourceNotFound")),
    ],
)
def test_what_there_is_not_is_said(
    here: Visitor, method: str, path: str, reason: tuple[int, str]
) -> None:
    """Unknown resources and methods have their codes."""
    assert code(here.ask(method, path)) == reason


def test_the_same_requests_have_the_same_answers() -> None:
    """Nothing depends on real time, on chance or on the process: ids, times and pictures come
    again.
    """

    def conversation() -> list[bytes]:
        here = visitor(seed=3)
        answers = [here.picture_job(), here.ask("POST", "/template", body=template_xml("x"))]
        here.clock.advance(5)
        return [
            answer.body
            for answer in [*answers, here.ask("GET", "/jobs"), here.cos("GET", "/out/a.png")]
        ]

    assert conversation() == conversation()
    assert (
        created(visitor(seed=1).picture_job())["JobId"]
        != created(visitor(seed=2).picture_job())["JobId"]
    )


def test_everything_survives_a_restart() -> None:
    """A snapshot through JSON, taken while jobs wait, run and are paused, goes on exactly as the
    original does.
    """
    here = visitor(concurrency=1)
    new_workflow(here, workflow_xml(CHAIN))
    for level in ("0", "2", "1"):
        here.picture_job(inner=f"<JobLevel>{level}</JobLevel>", top=TO)
    here.ask(
        "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
    )
    here.ask("POST", "/triggerworkflow", {"workflowId": SAMPLE_WORKFLOW, "object": "in/a.png"})
    here.cos("POST", "/big", {"uploads": ""})
    here.clock.advance(2.5)
    here.ci.advance()
    again = Visitor(here.clock, TencentCI(here.clock, objects={}, wall_clock=None, concurrency=1))
    again.ci.restore(
        json.loads(
            json.dumps(here.ci.snapshot(), default=lambda body: {"hex": body.hex()}),
            object_hook=thawed,
        )
    )
    here.clock.advance(1.25)
    here.ci.advance()
    again.ci.advance()
    assert (here.ci.snapshot(), here.ci.next_event()) == (
        again.ci.snapshot(),
        again.ci.next_event(),
    )
    here.clock.advance(60)
    here.ci.advance()
    again.ci.advance()
    assert here.ci.snapshot() == again.ci.snapshot()
    assert {job["State"] for job in again.jobs()} == {"Success"}


def thawed(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value


# -- trouble on demand


def test_a_stuck_job_keeps_its_place_and_state() -> None:
    """Waiting or running, it changes no more, and its place in the queue stays taken."""
    here = visitor(concurrency=2)
    ids = [created(here.picture_job())["JobId"] for _ in range(3)]
    here.ci.freeze(ids[0])
    here.clock.advance(1)
    here.ci.advance()
    here.ci.freeze(ids[1])
    here.clock.advance(60)
    assert [here.job(one)["State"] for one in ids] == ["Submitted", "Running", "Success"]
    assert here.ci.next_event() is None
    again = Visitor(here.clock, TencentCI(here.clock, objects={}, wall_clock=None))
    again.ci.restore(here.ci.snapshot())
    here.clock.advance(60)
    assert [again.job(one)["State"] for one in ids] == ["Submitted", "Running", "Success"]


def test_a_lost_job_leaves_no_trace_and_its_batch_goes_on() -> None:
    """Described as unknown, absent from lists, its place free for the next; a lost batch is unknown
    too.
    """
    here = visitor({"in/a.png": drawn(4, 2), "in/b.png": drawn(4, 2)}, concurrency=1)
    batch = created(
        here.ask(
            "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
        )
    )
    here.clock.advance(2)
    lost, other = [
        job["JobId"] for job in here.jobs(inventoryTriggerJobId=batch["JobId"], orderByTime="Asc")
    ]
    here.ci.forget(lost)
    assert read(here.ask("GET", f"/jobs/{lost}"))["NonExistJobIds"] == lost
    assert [job["JobId"] for job in here.jobs()] == [other]
    here.clock.advance(5)
    path = f"/inventorytriggerjob/{batch['JobId']}"
    assert created(here.ask("GET", path))["State"] == "Success"
    assert created(here.picture_job())["JobId"] not in (lost, other)
    here.ci.forget(batch["JobId"])
    assert read(here.ask("GET", path))["NonExistJobIds"] == batch["JobId"]


def test_a_stuck_batch_never_ends(here: Visitor) -> None:
    """Frozen before it looked, it finds nothing; frozen later, it waits for ever."""
    body = batch_xml("<Prefix>in/</Prefix>", job_operation())
    early, late = (
        created(here.ask("POST", "/inventorytriggerjob", body=body))["JobId"] for _ in range(2)
    )
    here.ci.freeze(early)
    here.clock.advance(1.5)
    here.ci.advance()
    here.ci.freeze(late)
    here.clock.advance(60)
    states = [
        created(here.ask("GET", f"/inventorytriggerjob/{one}"))["State"] for one in (early, late)
    ]
    assert (states, here.jobs(inventoryTriggerJobId=early)) == (["Running", "Running"], [])


# -- size


class Counting(JobFilter):
    """Counts the jobs that a list looks at."""

    looked = 0

    def matches(self, job: Job) -> bool:
        type(self).looked += 1
        return super().matches(job)


def test_many_jobs_stay_light() -> None:
    """All pages together look at each job once or twice, and outputs of one picture share their
    bytes.
    """
    here, count = visitor(concurrency=100_000), 20_000
    job_id = created(here.picture_job())["JobId"]
    first = here.ci.jobs.by_id[job_id]
    for at in range(count - 1):
        here.ci.jobs.submit("in/a.png", f"many/{at}", first.spec, first.queue, here.clock.now())
    here.clock.advance(5)
    here.ci.advance()
    home = here.ci.store.buckets[BUCKET]
    assert len({id(home.objects[f"many/{at}"].body) for at in range(count - 1)}) == 1
    found, token, after = 0, "", None
    while found == 0 or token:
        page, token = here.ci.jobs.get_page(home, Counting(), 100, after)
        after, found = int(token or 0), found + len(page)
    assert (found, Counting.looked < 2 * count) == (count, True)


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
def test_whatever_is_asked_there_is_an_answer(calls: list[Any]) -> None:
    """Genuine requests of any content are answered or refused: no exception, and no 5xx but
    NotImplemented.
    """
    here = visitor({"in/a.png": drawn(8, 4), "x": b"no picture"})
    for method, path, params, body, headers, host in calls:
        answer = here.ask(method, path, params, body, headers, host=host)
        assert answer.status < 500 or answer.status == 501, answer.body
        if answer.status >= 400 and answer.body:
            assert all(
                read(answer)[name]
                for name in ("Code", "Message", "Resource", "RequestId", "TraceId")
            )
        here.clock.advance(0.7)
    json.dumps(here.ci.snapshot(), default=bytes.hex)


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
def test_whoever_asks_there_is_an_answer(
    method: str, path: str, query: str, headers: dict[str, str], host: str
) -> None:
    """Raw bytes that nobody signed are refused, whatever they are."""
    clock = VirtualClock()
    answer = TencentCI(clock, objects={}).handle(
        Request(method, host, "/" + path, query, headers, b"")
    )
    assert 400 <= answer.status < 500


def test_an_authorization_of_nonsense_is_refused() -> None:
    """Fields of the right names with wrong contents."""
    here = visitor()
    good = authorization("GET", "/jobs", {}, {}, here.span())
    for part in good.split("&"):
        for wrong in (part.partition("=")[0] + "=", part + ";;", part + "\u0661"):
            request = Request(
                "GET", CI_HOST, "/jobs", "", {"authorization": good.replace(part, wrong)}
            )
            status = here.ci.handle(request).status
            assert status == 403 or part.startswith(("q-header", "q-url")), wrong
