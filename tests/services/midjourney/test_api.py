"""What is said to Midjourney proxies, and every shape of answer that they are known to give. No
network, no loop.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import (
    BannedPrompt,
    InvalidRequest,
    InvalidResponse,
    MidjourneyError,
    MjciError,
    QueueFull,
    SettingsError,
    Unsupported,
)
from jupyter_mjci.services.midjourney.api import Midjourney, infer_action, to_data_url
from jupyter_mjci.services.midjourney.responses import (
    parse_job,
    parse_progress,
    parse_status,
    parse_submission,
    parse_task,
    parse_tasks,
    parse_timestamp,
)

SEED = Path(__file__).parents[2] / "samples" / "mj_task_seed.json"
mj = Midjourney()
ASKED = Job("mj", "", "IMAGINE", subject="a fox", user_data="nb-1")


def reply(body: Any, http: int = 200, kind: str = "application/json") -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(http, raw, {"content-type": kind}, "http://proxy/mj/x")


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        (
            mj.imagine("a {red, green} fox --ar 3:2 ::2"),
            "POST",
            "/mj/submit/imagine",
            {"prompt": "a {red, green} fox --ar 3:2 ::2", "base64Array": []},
        ),
        (
            mj.imagine("x", bot="NIJI_JOURNEY", state="s", notify_hook="http://h"),
            "POST",
            "/mj/submit/imagine",
            {
                "prompt": "x",
                "base64Array": [],
                "botType": "NIJI_JOURNEY",
                "state": "s",
                "notifyHook": "http://h",
            },
        ),
        (
            mj.action("14001934816969359", "MJ::JOB::upsample::2::3dbbd469", same_channel=True),
            "POST",
            "/mj/submit/action",
            {
                "chooseSameChannel": True,
                "customId": "MJ::JOB::upsample::2::3dbbd469",
                "taskId": "14001934816969359",
            },
        ),
        (mj.task("17"), "GET", "/mj/task/17/fetch", None),
        (mj.tasks(), "GET", "/mj/task/list", None),
        (mj.tasks(ids=["1", "2"]), "POST", "/mj/task/list-by-condition", {"ids": ["1", "2"]}),
        (mj.queue(), "GET", "/mj/task/queue", None),
    ],
)
def test_what_is_sent(call: Any, method: str, path: str, body: Any) -> None:
    """Method, path and body of each call are those of the service's documents."""
    assert (call.method, call.path) == (method, path)
    assert (json.loads(call.body) if call.body else None) == body
    assert call.is_submission is (path.startswith("/mj/submit"))


def test_a_prompt_is_sent_byte_for_byte() -> None:
    """Letters of every script, quotes and braces arrive as they were written."""
    prompt = 'it\'s "a" {fox, 狐} $5 ::2 \\n – –no x'
    assert json.loads(mj.imagine(prompt).body)["prompt"] == prompt


def test_building_sends_nothing_and_says_so() -> None:
    """A call built without a session cannot be run, and tells how to get one."""
    with pytest.raises(SettingsError, match="no session to send it"):
        mj.imagine("a fox").run()


def test_calls_are_values() -> None:
    assert mj.imagine("a") == mj.imagine("a") != mj.imagine("b")
    assert "a fox" not in repr(Job("mj", "1", raw={"prompt": "a fox"}))


GRID = {
    "id": "17",
    "status": "SUCCESS",
    "action": "IMAGINE",
    "buttons": [
        {"customId": "MJ::JOB::upsample::1::h", "label": "U1", "emoji": "", "style": 2},
        {"customId": "MJ::JOB::reroll::0::h::SOLO", "label": "", "emoji": "🔄", "style": 3},
    ],
}


@pytest.mark.parametrize("wanted", ["U1", "u1", "MJ::JOB::upsample::1::h"])
def test_a_button_is_found_by_label_or_custom_id(wanted: str) -> None:
    assert (
        json.loads(mj.action(parse_job(GRID), wanted).body)["customId"] == "MJ::JOB::upsample::1::h"
    )


def test_a_button_is_found_by_emoji_and_knows_that_it_was_pressed() -> None:
    button = parse_job(GRID).find_button("🔄")
    assert button.used
    assert button.name == "🔄"


def test_a_wrong_button_names_those_that_exist() -> None:
    with pytest.raises(InvalidRequest, match="U1, 🔄"):
        mj.action(parse_job(GRID), "U7")


@pytest.mark.parametrize(
    "build",
    [
        lambda: mj.imagine("  "),
        lambda: mj.action("17", "U1"),
        lambda: mj.task(""),
        lambda: mj.task("a/b"),
        lambda: mj.imagine("x", images=[b"not a picture"]),
        lambda: mj.imagine("x", images=["/nowhere.png"]),
    ],
)
def test_what_cannot_be_said_is_refused_before_sending(build: Any) -> None:
    with pytest.raises(InvalidRequest):
        build()


def test_pictures_become_data_urls(tmp_path: Path) -> None:
    """Bytes and files are sent as the data URLs that every family takes; links pass through."""
    png = b"\x89PNG\r\n\x1a\n rest"
    (tmp_path / "a.png").write_bytes(png)
    assert (
        to_data_url(png)
        == to_data_url(tmp_path / "a.png")
        == "data:image/png;base64,iVBORw0KGgogcmVzdA=="
    )
    assert to_data_url("https://x/y.png") == "https://x/y.png"


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
def test_accepted_submissions(name: str, body: Any, job_id: str, now: Status) -> None:
    """Only the code decides, in whatever type it comes; what was asked stays known."""
    job = parse_submission(reply(body, kind="text/plain"), ASKED)
    assert (job.id, job.status, job.subject, job.user_data, job.action) == (
        job_id,
        now,
        "a fox",
        "nb-1",
        "IMAGINE",
    )


REFUSALS = [
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
        "429",
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
    ("name", "body", "http", "kind", "code"), REFUSALS, ids=[case[0] for case in REFUSALS]
)
def test_refused_submissions(
    name: str, body: Any, http: int, kind: type[MidjourneyError], code: str
) -> None:
    """Every family's way to say no becomes the error of whose turn it is, with the service's own
    words.
    """
    with pytest.raises(kind) as caught:
        parse_submission(reply(body, http), ASKED)
    assert caught.value.code == code
    assert 1 <= len(caught.value.format_lines()) <= 3


def test_a_banned_word_is_told() -> None:
    with pytest.raises(BannedPrompt) as caught:
        parse_submission(
            reply({"code": 24, "description": "x", "properties": {"bannedWord": "bloody"}}), ASKED
        )
    assert caught.value.word == "bloody"
    assert "bloody" in str(caught.value)


def test_the_documented_picture_answer_is_a_finished_job() -> None:
    """One vendor documents `{created, data: [{url}]}` for submit/action: pictures at once, without
    a task.
    """
    job = parse_submission(
        reply({"created": 1589478378, "data": [{"url": "https://a"}, {"url": "https://b"}]}), ASKED
    )
    assert (job.status, job.outputs, job.id) == (Status.SUCCEEDED, ("https://a", "https://b"), "")
    assert job.finished == datetime(2020, 5, 14, 17, 46, 18, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"[1", b"17", b'"text"'])
def test_unreadable_answers_keep_their_bytes(body: bytes) -> None:
    with pytest.raises(InvalidResponse) as caught:
        parse_submission(reply(body), ASKED)
    assert caught.value.body == body


UNKNOWN = [
    ("java", b"", 200),
    ("trueai", b"", 204),
    ("null", b"null", 200),
    ("relay", {"description": "task_no_found ", "type": "upstream_error", "code": 4}, 400),
]


@pytest.mark.parametrize(("name", "body", "http"), UNKNOWN, ids=[case[0] for case in UNKNOWN])
def test_unknown_tasks(name: str, body: Any, http: int) -> None:
    """Every family's answer for an unknown id is the same error, which names the id."""
    with pytest.raises(MidjourneyError, match="knows no task 17") as caught:
        parse_task(reply(body, http), "17")
    assert caught.value.code == "not_found"


def test_the_documents_own_task() -> None:
    """The sample of the task query's document is read field by field."""
    job = parse_task(reply(json.loads(SEED.read_text())))
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
def test_tasks_in_wrappers(wrap: Any) -> None:
    assert parse_task(reply(wrap({"id": "17", "status": "SUCCESS"}))).id == "17"


LISTS = [
    ("array", [{"id": "1"}, {"id": "2"}], ["1", "2"]),
    ("null", None, []),
    ("empty", b"", []),
    ("wrapped", {"code": 1, "data": [{"id": "2"}]}, ["2"]),
    ("with rubbish", [{"id": 1}, None, "x", {"id": "2"}], ["1", "2"]),
]


@pytest.mark.parametrize(("name", "body", "ids"), LISTS, ids=[case[0] for case in LISTS])
def test_listings(name: str, body: Any, ids: list[str]) -> None:
    assert [job.id for job in parse_tasks(reply(body))] == ids


def test_a_listing_by_ids_keeps_the_order_that_was_asked_for() -> None:
    """Proxies answer in an order of their own and leave unknown ids out."""
    jobs = parse_tasks(reply([{"id": "2"}, {"id": "1"}]), order=("1", "9", "2", "1"))
    assert [job.id for job in jobs] == ["1", "2"]


NOW = datetime(2024, 4, 5, 19, 34, 38, 901000, tzinfo=UTC)
MOMENTS = [
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


@pytest.mark.parametrize(("value", "expected"), MOMENTS, ids=[str(case[0]) for case in MOMENTS])
def test_moments(value: Any, expected: datetime | None) -> None:
    """Milliseconds, seconds, texts and every kind of "not yet"."""
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
def test_progress(value: Any, expected: int | None) -> None:
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
def test_statuses(value: Any, expected: Status) -> None:
    """All spellings that were met; an unknown word is not the end."""
    assert parse_status(value) is expected


def test_the_status_decides_not_the_progress() -> None:
    """A relay says 100% of a failure; a preview of a running task is no result."""
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


ODD = [None, "", 0, -1, 3.5, "x", [], {}, True, [None], [{}], {"a": 1}, "😀", 10**30]
KEYS = [
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


@pytest.mark.parametrize("key", KEYS)
def test_odd_values_never_stop_a_listing(key: str) -> None:
    """Any value of any type in any field still gives a row."""
    for value in ODD:
        job = parse_job({"id": "1", "status": "SUCCESS", key: value})
        assert isinstance(job, Job)
        assert isinstance(job.outputs, tuple)
        hash(job)


@pytest.mark.parametrize(
    ("custom_id", "action"),
    [
        ("MJ::JOB::upsample::2::h", "UPSCALE"),
        ("MJ::JOB::upsample_v7_2x_subtle::1::h::SOLO", "UPSCALE_HD"),
        ("MJ::JOB::low_variation::1::h::SOLO", "VARIATION"),
        ("MJ::JOB::reroll::0::h::SOLO", "REROLL"),
        ("MJ::Outpaint::50::1::h::SOLO", "ZOOM"),
        ("MJ::JOB::pan_left::1::h::SOLO", "PAN"),
        ("X::Y", "ACTION"),
    ],
)
def test_what_a_button_makes(custom_id: str, action: str) -> None:
    assert infer_action(custom_id) == action


def test_every_error_is_ours() -> None:
    """Whoever catches MjciError catches all of them."""
    assert issubclass(BannedPrompt, MidjourneyError)
    assert issubclass(QueueFull, MjciError)
