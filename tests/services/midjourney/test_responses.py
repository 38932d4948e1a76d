"""Every form of response that Midjourney proxies are known to send. No network, no loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import Outcome, allow_unconfirmed, get_outcome
from jupyter_mjci.errors import (
    BannedPrompt,
    InvalidResponse,
    MidjourneyError,
    MjciError,
    QueueFull,
    Unsupported,
)
from jupyter_mjci.services.midjourney.responses import (
    get_command,
    get_facts,
    get_picture_size,
    get_single_urls,
    parse_cancel,
    parse_changes,
    parse_job,
    parse_progress,
    parse_query,
    parse_record,
    parse_result,
    parse_status,
    parse_submission,
    parse_task,
    parse_tasks,
    parse_timestamp,
    parse_upload,
)

DOCUMENTED_TASK = Path(__file__).parents[2] / "samples" / "mj_task_seed.json"


REQUESTED = Job("mj", "", "IMAGINE", subject="a fox", user_data="nb-1")


def make_response(body: Any, http: int = 200, kind: str = "application/json") -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(http, raw, {"content-type": kind}, "http://proxy/mj/x")


SUBMISSIONS = [
    ("accepted", {"code": 1, "description": "提交成功", "result": "17"}, "17", Status.QUEUED),
    (
        "queued",
        {"code": 22, "result": "17", "properties": {"numberOfQueues": 2}},
        "17",
        Status.QUEUED,
    ),
    (
        "integer id",
        {"code": 1, "result": 1712345678901234567},
        "1712345678901234567",
        Status.QUEUED,
    ),
    ("code as text", {"code": "1", "result": "17"}, "17", Status.QUEUED),
    ("code 0 with result", {"code": 0, "result": "17"}, "17", Status.QUEUED),
    (
        "dialog",
        {"code": 21, "result": "18", "properties": {"finalPrompt": "x", "remix": True}},
        "18",
        Status.NEEDS_INPUT,
    ),
    ("dialog, no properties", {"code": 21, "result": "18"}, "18", Status.NEEDS_INPUT),
    (
        "exists",
        {"code": 21, "result": "9", "properties": {"status": "SUCCESS", "imageUrl": "u"}},
        "9",
        Status.SUCCEEDED,
    ),
    (
        "exists, running",
        {"code": 21, "result": "9", "properties": {"status": "IN_PROGRESS"}},
        "9",
        Status.RUNNING,
    ),
    ("four at once", {"code": 1, "result": "1,2,3,4"}, "1,2,3,4", Status.QUEUED),
    ("properties null", {"code": 1, "result": "17", "properties": None}, "17", Status.QUEUED),
]


@pytest.mark.parametrize(
    ("name", "body", "job_id", "now"), SUBMISSIONS, ids=[case[0] for case in SUBMISSIONS]
)
def test_accepted_submission_returns_job(name: str, body: Any, job_id: str, now: Status) -> None:
    """Only the code decides, whatever its type; the job keeps what was requested."""
    job = parse_submission(make_response(body, kind="text/plain"), REQUESTED)
    assert (job.id, job.status, job.subject, job.user_data, job.action) == (
        job_id,
        now,
        "a fox",
        "nb-1",
        "IMAGINE",
    )


REJECTIONS = [
    (
        "queue full",
        {"code": 23, "description": "队列已满，请稍后尝试", "result": None},
        200,
        QueueFull,
        "23",
    ),
    (
        "queue full, as 9",
        {"code": 9, "description": "提交失败，队列已满，请稍后重试"},
        200,
        QueueFull,
        "9",
    ),
    ("failure", {"code": 9, "description": "提交失败，系统异常"}, 200, MidjourneyError, "9"),
    ("banned", {"code": 24, "properties": {"bannedWord": "bloody"}}, 200, BannedPrompt, "24"),
    ("not found", {"code": 3, "description": "关联任务不存在或已失效"}, 200, MidjourneyError, "3"),
    ("not found, 404", {"code": 3, "description": "x", "result": None}, 404, MidjourneyError, "3"),
    ("validation", {"code": 4, "description": "bad"}, 200, MidjourneyError, "4"),
    (
        "relay",
        {"description": "do_request_failed", "type": "upstream_error", "code": 5},
        400,
        MidjourneyError,
        "5",
    ),
    (
        "saturated",
        {"description": "负载已饱和", "type": "new_api_error", "code": 30},
        429,
        MidjourneyError,
        "30",
    ),
    ("wrapper", {"success": False, "code": -1, "message": "bad model"}, 200, MidjourneyError, "-1"),
    ("unauthorised, empty", b"", 401, MidjourneyError, "401"),
    ("unauthorised, text", b"Authorization header missing.", 401, MidjourneyError, "401"),
    (
        "unauthorised, json",
        {"error": {"message": "no (request id: 1)", "type": "new_api_error"}},
        401,
        MidjourneyError,
        "401",
    ),
    ("error text", {"error": "upstream"}, 500, MidjourneyError, "500"),
    ("limited, empty", b"", 429, MidjourneyError, "429"),
    ("page", b"<!doctype html><html><body>hi</body></html>", 200, Unsupported, ""),
    ("page, spaces first", b"\n <html lang=en>", 404, Unsupported, ""),
    ("missing, empty", b"", 404, Unsupported, ""),
    ("accepted without id", {"code": 1, "result": None}, 200, MidjourneyError, "1"),
]


@pytest.mark.parametrize(
    ("name", "body", "http", "kind", "code"), REJECTIONS, ids=[case[0] for case in REJECTIONS]
)
def test_rejected_submission_raises(
    name: str, body: Any, http: int, kind: type[MidjourneyError], code: str
) -> None:
    """Each family's form of error becomes the right class, in at most three lines."""
    with pytest.raises(kind) as caught:
        parse_submission(make_response(body, http), REQUESTED)
    assert caught.value.code == code
    assert 1 <= len(caught.value.format_lines()) <= 3


def test_banned_prompt_error_has_the_word() -> None:
    with pytest.raises(BannedPrompt) as caught:
        parse_submission(
            make_response({"code": 24, "description": "x", "properties": {"bannedWord": "bloody"}}),
            REQUESTED,
        )
    assert caught.value.word == "bloody"
    assert "bloody" in str(caught.value)


def test_submission_response_with_images_is_a_finished_job() -> None:
    """One vendor documents `{created, data: [{url}]}` for submit/action: images without a task."""
    job = parse_submission(
        make_response(
            {"created": 1589478378, "data": [{"url": "https://a"}, {"url": "https://b"}]}
        ),
        REQUESTED,
    )
    assert (job.status, job.outputs, job.id) == (Status.SUCCEEDED, ("https://a", "https://b"), "")
    assert job.finished == datetime(2020, 5, 14, 17, 46, 18, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"[1", b"17", b'"text"'])
def test_invalid_response_keeps_the_body(body: bytes) -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_submission(make_response(body), REQUESTED)
    assert caught.value.body == body


NOT_FOUND_RESPONSES = [
    ("java", b"", 200),
    ("trueai", b"", 204),
    ("null", b"null", 200),
    ("relay", {"description": "task_no_found ", "type": "upstream_error", "code": 4}, 400),
]


@pytest.mark.parametrize(
    ("name", "body", "http"), NOT_FOUND_RESPONSES, ids=[case[0] for case in NOT_FOUND_RESPONSES]
)
def test_unknown_task_raises_not_found(name: str, body: Any, http: int) -> None:
    """Each family's response for an unknown ID becomes the same error, which has the ID."""
    with pytest.raises(MidjourneyError, match="Task 17 was not found") as caught:
        parse_task(make_response(body, http), "17")
    assert caught.value.code == "not_found"


def test_documented_task_is_parsed_field_by_field() -> None:
    """The sample is from the published document of the task queries."""
    job = parse_task(make_response(json.loads(DOCUMENTED_TASK.read_text())))
    assert job == Job(
        "mj",
        "string",
        "IMAGINE",
        Status.QUEUED,
        None,
        "string",
        reason="string",
        user_data="string",
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda task: task,
        lambda task: {"code": 1, "data": task},
        lambda task: {"success": True, "data": task},
    ],
)
def test_task_in_wrapper_is_unwrapped(wrap: Any) -> None:
    assert parse_task(make_response(wrap({"id": "17", "status": "SUCCESS"}))).id == "17"


LISTINGS = [
    ("array", [{"id": "1"}, {"id": "2"}], ["1", "2"]),
    ("null", None, []),
    ("empty", b"", []),
    ("wrapped", {"code": 1, "data": [{"id": "2"}]}, ["2"]),
    ("with rubbish", [{"id": 1}, None, "x", {"id": "2"}], ["1", "2"]),
]


@pytest.mark.parametrize(("name", "body", "ids"), LISTINGS, ids=[case[0] for case in LISTINGS])
def test_listing_is_parsed(name: str, body: Any, ids: list[str]) -> None:
    assert [job.id for job in parse_tasks(make_response(body))] == ids


def test_listing_by_ids_restores_the_requested_order() -> None:
    """Proxies respond in an order of their own and leave unknown IDs out."""
    jobs = parse_tasks(make_response([{"id": "2"}, {"id": "1"}]), order=("1", "9", "2", "1"))
    assert [job.id for job in jobs] == ["1", "2"]


def test_task_that_is_listed_twice_counts_once_in_its_newest_state() -> None:
    """Also between others, the newest first or last; of two equal states the last one."""
    done, old = {"id": "1", "status": "SUCCESS"}, {"id": "1", "status": "IN_PROGRESS"}
    for pair in ((done, old), (old, done)):
        body = [pair[0], {"id": "2"}, {"prompt": "no id"}, pair[1], {"prompt": "no id"}]
        jobs = parse_tasks(make_response(body))
        assert [job.id for job in jobs] == ["1", "2", "", ""]
        assert jobs[0].status is Status.SUCCEEDED
        assert parse_tasks(make_response(body), order=("1",)) == jobs[:1]
        page = parse_query(make_response({"content": body}))
        assert [job.status for job in page if job.id == "1"] == [Status.SUCCEEDED]
    assert [job.subject for job in parse_tasks(make_response([{**old, "prompt": "a"}, old]))] == [
        ""
    ]


UNCONFIRMED = ["ok", [], None, True, 1, {"description": "?"}, {"status": "CANCEL"}]


@pytest.mark.parametrize("body", UNCONFIRMED, ids=map(str, UNCONFIRMED))
def test_answer_that_does_not_confirm_a_cancellation_is_unknown(body: Any) -> None:
    """Whether it was done, only the task tells."""
    with pytest.raises((InvalidResponse, MidjourneyError)) as raised:
        parse_cancel(make_response(body))
    assert get_outcome(raised.value) is Outcome.UNKNOWN
    with allow_unconfirmed():
        raise raised.value


def test_cancellation_that_is_confirmed_or_refused() -> None:
    parse_cancel(make_response({"code": 1, "description": "成功"}))
    parse_cancel(make_response(b"", 204))
    with pytest.raises(MidjourneyError), allow_unconfirmed():
        parse_cancel(make_response({"code": 4, "description": "任务已结束"}))


NOW = datetime(2024, 4, 5, 19, 34, 38, 901000, tzinfo=UTC)


TIMESTAMPS = [
    (1712345678901, NOW),
    ("1712345678901", NOW),
    (1712345678901.0, NOW),
    (1712345678, NOW.replace(microsecond=0)),
    (None, None),
    (0, None),
    ("", None),
    ("0", None),
    ("soon", None),
    ({}, None),
    (-5, None),
    (1e40, None),
    (True, None),
]


@pytest.mark.parametrize(
    ("value", "expected"), TIMESTAMPS, ids=[str(case[0]) for case in TIMESTAMPS]
)
def test_parse_timestamp(value: Any, expected: datetime | None) -> None:
    """Milliseconds, seconds, strings, and every form of "not yet"."""
    assert parse_timestamp(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("37%", 37),
        ("0%", 0),
        (31, 31),
        ("100%", 100),
        ("", None),
        (None, None),
        ("relaxed", None),
        (46.0, 46),
        ("Waiting to start", None),
        ("250%", 100),
        ([], None),
    ],
)
def test_parse_progress(value: Any, expected: int | None) -> None:
    assert parse_progress(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("NOT_START", Status.QUEUED),
        ("SUBMITTED", Status.QUEUED),
        ("", Status.QUEUED),
        (None, Status.QUEUED),
        ("IN_PROGRESS", Status.RUNNING),
        ("PROCESSING", Status.RUNNING),
        ("MODAL", Status.NEEDS_INPUT),
        ("SUCCESS", Status.SUCCEEDED),
        ("FAILURE", Status.FAILED),
        ("FAILED", Status.FAILED),
        ("CANCEL", Status.CANCELLED),
        ("success", Status.SUCCEEDED),
        (4, Status.FAILED),
        ("brooding", Status.RUNNING),
    ],
)
def test_parse_status(value: Any, expected: Status) -> None:
    """All spellings that were seen; an unknown word is not terminal."""
    assert parse_status(value) is expected


def test_failed_task_with_full_progress_is_failed() -> None:
    """A relay reports 100% for a failure; the image of a task that failed is not an output."""
    failed = parse_job(
        {
            "id": "1",
            "status": "FAILURE",
            "progress": "100%",
            "failReason": "timeout",
            "imageUrl": "p",
        }
    )
    assert (failed.status, failed.outputs, failed.reason) == (Status.FAILED, (), "timeout")


ODD_VALUES = [None, "", 0, -1, 3.5, "x", [], {}, True, [None], [{}], {"a": 1}, "😀", 10**30]


FIELDS = [
    "id",
    "action",
    "status",
    "progress",
    "prompt",
    "imageUrl",
    "imageUrls",
    "buttons",
    "submitTime",
    "startTime",
    "finishTime",
    "failReason",
    "state",
    "properties",
    "parentId",
    "description",
    "videoUrls",
]


@pytest.mark.parametrize("key", FIELDS)
def test_parse_job_accepts_any_value_in_any_field(key: str) -> None:
    """No value of any type stops the parsing of a listing."""
    for value in ODD_VALUES:
        job = parse_job({"id": "1", "status": "SUCCESS", key: value})
        assert isinstance(job, Job)
        assert isinstance(job.outputs, tuple)
        hash(job)


def test_midjourney_errors_are_mjci_errors() -> None:
    """Code that catches MjciError catches them all."""
    assert issubclass(BannedPrompt, MidjourneyError)
    assert issubclass(QueueFull, MjciError)


@pytest.mark.parametrize(
    ("result", "job_id"),
    [
        (17, "17"),
        (" 17 ", "17"),
        (["17", 18], "17,18"),
        ({"id": 17}, "17"),
        ({"taskId": "17"}, "17"),
        (0, ""),
        ("0", ""),
        (True, ""),
        (1.5, ""),
        ("error: no account", ""),
        ([], ""),
        (["17", None], ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_submission_is_accepted_only_by_something_that_can_be_an_id(
    result: Any, job_id: str
) -> None:
    """Code 1 with words, true or nothing in `result` names no task: it is searched for."""
    response = Response(200, json.dumps({"code": 1, "result": result}).encode())
    requested = Job("mj", "", "IMAGINE")
    if job_id:
        assert parse_submission(response, requested).id == job_id
        return
    with pytest.raises(MjciError) as caught:
        parse_submission(response, requested)
    assert get_outcome(caught.value) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'"ok"',
        b"[]",
        b"17",
        b'{"code":1,"resu',
        b'data: {"code":1,"result":"17"}\n\n',
        b'callback({"code":1,"result":"17"})',
        b'{"code":1,"result":"17"}\n{"code":1,"result":"18"}',
        b'{"status":"fail","data":null,"message":"prompt is required"}',
        b'{"id":"17","status":"FAILED","error":"no memory"}',
    ],
)
@pytest.mark.parametrize("status", [200, 202, 205, 206])
def test_success_that_names_no_task_leaves_a_submission_unknown(status: int, body: bytes) -> None:
    """Whatever 2xx it is, and whatever was cut off or wrapped around it."""
    with pytest.raises(MjciError) as caught:
        parse_submission(Response(status, body), Job("mj", "", "IMAGINE"))
    assert get_outcome(caught.value) is Outcome.UNKNOWN


@pytest.mark.parametrize("result", [True, "no space left", {}, ["https://a/1.png", None]])
def test_upload_without_urls_is_no_answer(result: Any) -> None:
    """A list that lacks one would shift the pictures of a prompt."""
    with pytest.raises(MjciError):
        parse_upload(Response(200, json.dumps({"code": 1, "result": result}).encode()))


def test_redirect_after_a_submission_shows_where_it_leads() -> None:
    """303 may mean that the request was processed: unknown, with its Location."""
    response = Response(303, b"", {"location": "https://sso.example/login"})
    with pytest.raises(InvalidResponse) as caught:
        parse_submission(response, Job("mj", "", "IMAGINE"))
    assert "https://sso.example/login" in caught.value.detail
    assert get_outcome(caught.value).may_be_accepted


WRAPPED_LISTINGS = [
    {"data": {"list": [{"id": 17, "status": "IN_PROGRESS", "progress": "46"}]}},
    {"code": 200, "msg": "ok", "data": {"records": [{"id": "17", "progress": 46}], "total": "1"}},
    {"code": 0, "data": {"data": [{"id": 17.0, "progress": "46%"}]}},
]


@pytest.mark.parametrize("body", WRAPPED_LISTINGS)
@pytest.mark.parametrize("parse", [parse_tasks, parse_query])
def test_page_in_a_wrapper_is_a_listing(
    parse: Callable[[Response], list[Job]], body: dict[str, Any]
) -> None:
    """Frameworks put rows into a page and the page into `data`; numbers come as text."""
    (job,) = parse(make_response(body))
    assert (job.id, job.progress) == ("17", 46)


WRAPPED_SUBMISSIONS = [
    {"code": 200, "msg": "success", "data": {"code": 1, "description": "ok", "result": "17"}},
    {"success": True, "data": {"code": "1", "result": 17}},
    {"code": 200, "data": "17"},
    {"code": 1, "description": "ok", "data": {"taskId": 17}},
]


@pytest.mark.parametrize("body", WRAPPED_SUBMISSIONS)
def test_submission_in_a_wrapper_is_accepted(body: dict[str, Any]) -> None:
    assert parse_submission(make_response(body), REQUESTED).id == "17"


def test_no_in_a_wrapper_that_says_yes_is_no() -> None:
    """The gateway was content; the proxy behind it was not."""
    banned = {"code": 24, "description": "banned", "result": None}
    with pytest.raises(BannedPrompt) as caught:
        parse_submission(make_response({"code": 200, "msg": "ok", "data": banned}), REQUESTED)
    assert get_outcome(caught.value) is Outcome.REFUSAL
    full = {"code": 23, "description": "queue is full", "result": ""}
    with pytest.raises(QueueFull):
        parse_submission(make_response({"success": True, "data": full}), REQUESTED)


@pytest.mark.parametrize("data", ["ok", True, None, 0, [], {}])
def test_acceptance_without_id_is_no_answer(data: object) -> None:
    with pytest.raises(MjciError) as caught:
        parse_submission(make_response({"code": 200, "msg": "success", "data": data}), REQUESTED)
    assert get_outcome(caught.value) is Outcome.UNKNOWN
    assert "reported an error" not in str(caught.value)


def test_poll_answered_with_another_task_says_so() -> None:
    """Its description is not the words of an error."""
    other = {"id": "18", "status": "SUCCESS", "description": "/imagine a fox"}
    with pytest.raises(InvalidResponse, match="not the task that was asked for"):
        parse_task(make_response(other), "17")


def test_parent_is_a_field_or_in_the_description() -> None:
    assert parse_job({"id": "1", "parentId": 7}).parent == "7"
    assert parse_job({"id": "1", "description": "/up 1234567890123 U2"}).parent == "1234567890123"


def test_single_pictures_are_those_of_a_task_that_succeeded() -> None:
    urls = ("http://x/1.png", "http://x/2.png")
    task = {"id": "1", "status": "IN_PROGRESS", "imageUrls": [{"url": url} for url in urls]}
    assert get_single_urls(parse_job(task)) == ()
    assert get_single_urls(parse_job({**task, "status": "SUCCESS"})) == urls


def test_success_without_data_is_an_empty_listing() -> None:
    assert parse_tasks(make_response({"success": True, "message": "ok", "data": None})) == []


def test_only_tasks_that_changed_are_parsed() -> None:
    """All of them were in the response; the others are as they were."""
    tasks = [{"id": "1", "status": "IN_PROGRESS"}, {"id": "2", "status": "SUCCESS"}]
    known = {name: parse_job({"id": name, "status": "IN_PROGRESS"}) for name in ("1", "2")}
    changes = parse_changes(make_response(tasks), known)
    assert [job.id for job in changes.items] == ["2"]
    assert changes.ids == {"1", "2"}


def test_task_with_a_field_called_data_is_the_task() -> None:
    task = {"id": "1", "status": "SUCCESS", "data": {"id": "2", "status": "FAILURE"}}
    assert parse_task(make_response(task), "1").id == "1"


def test_missing_endpoint_names_what_came() -> None:
    for body, words in ((b"<html><title>Relay</title></html>", "a web page"), (b"no", "an error")):
        with pytest.raises(Unsupported) as caught:
            parse_tasks(make_response(body, 404))
        assert f"It responded with {words} (HTTP 404)" in caught.value.detail


def test_command_of_a_prompt_is_that_of_imagine() -> None:
    """In one line; there is none without a prompt, nor for what a button made."""
    job = Job("mj", "1", "IMAGINE", subject="a red\n fox")
    assert get_command(job) == "%mj_imagine a red fox"
    assert get_command(replace(job, subject=" ")) == ""
    assert get_command(replace(job, action="UPSCALE")) == ""


@pytest.mark.parametrize("record", [None, 1, "status", ["status"], {}, {"id": "1", "key": 2}])
def test_record_of_an_export_that_is_no_task_is_left_out(record: object) -> None:
    assert parse_record(record) == []
    assert [job.id for job in parse_record({"id": "1", "status": "SUCCESS"})] == ["1"]


def test_listing_with_the_status_of_a_redirect_is_no_answer() -> None:
    body = b'[{"id": "1", "status": "SUCCESS"}]'
    assert parse_changes(Response(299, body, {}), {}).ids == {"1"}
    with pytest.raises(MjciError):
        parse_changes(Response(300, body, {}), {})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"code": 1, "description": "ok"}, "accepted the request, but its response has no result"),
        ({"code": 9, "result": "17", "description": "no"}, "no"),
        ([], "has no result"),
    ],
)
def test_result_is_that_of_an_accepted_request(body: object, words: str) -> None:
    """Neither acceptance alone nor a result alone is one."""
    response = Response(200, json.dumps(body).encode(), {})
    with pytest.raises(MjciError, match=words):
        parse_result(response)
    accepted = json.dumps({"code": 22, "result": 1234}).encode()
    assert parse_result(Response(200, accepted, {})) == "1234"


def test_answer_without_a_task_is_not_told_as_an_accepted_request() -> None:
    with pytest.raises(MjciError) as caught:
        parse_task(Response(200, b'{"key": "value"}', {}), "17")
    assert "accepted" not in str(caught.value)


def test_mode_is_a_fact_of_the_card() -> None:
    assert list(get_facts(Job("mj", "1", raw={"mode": "FAST"}))) == [("Mode", "fast")]
    assert list(get_facts(Job("mj", "1"))) == [("Mode", "")]


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1, 2, (1, 2)), (2, 1, (2, 1)), (0, 2, None), (1, 0, None), (-1, 2, None), ("1", 2, None),
        (None, None, None), (1.5, 2, None),
    ],
)  # fmt: skip
def test_size_of_a_picture_has_two_sides(
    width: object, height: object, size: tuple[int, int] | None
) -> None:
    job = Job("mj", "1", raw={"imageWidth": width, "imageHeight": height})
    assert get_picture_size(job) == size


def test_images_in_place_of_a_task_are_a_finished_job() -> None:
    body = {
        "created": 1_700_000_000,
        "data": [{"url": "http://a/0.png"}, {"url": "http://a/1.png"}],
    }
    job = parse_submission(Response(200, json.dumps(body).encode(), {}), Job("mj", ""))
    assert (job.status, job.progress) == (Status.SUCCEEDED, 100)
    assert job.outputs == ("http://a/0.png", "http://a/1.png")
    assert job.finished == job.submitted == datetime.fromtimestamp(1_700_000_000, UTC)


def test_empty_answer_to_a_cancellation_confirms_only_with_success() -> None:
    parse_cancel(Response(204, b"", {}))
    for status in (300, 302, 500):
        with pytest.raises(MjciError):
            parse_cancel(Response(status, b"", {}))
