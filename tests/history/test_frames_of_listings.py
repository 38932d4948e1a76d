"""Frames of listings: cell by cell those of the same Jobs, which are not made."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mjci.client.calls import Response
from jupyter_mjci.errors import InvalidResponse, ServiceError
from jupyter_mjci.history.frames import (
    jobs_to_frame,
    listing_to_frame,
    response_to_frame,
    rows_to_frame,
)
from jupyter_mjci.services.midjourney import responses as midjourney
from jupyter_mjci.services.tencent_ci import responses as tencent_ci

EXAMPLES = int(os.environ.get("MJCI_EXAMPLES", "100"))  # of generated listings
IMAGE_ID = "0f2c9a7e-1111-4222-8333-444455556666"


# each task that a test builds is another one
IDS = itertools.count(1735689600000001)


def task(**fields: Any) -> dict[str, Any]:
    return {
        "id": str(next(IDS)),
        "action": "IMAGINE",
        "status": "SUCCESS",
        "progress": "100%",
        "prompt": "a fox",
        "promptEn": "a fox",
        "description": "/imagine a fox",
        "imageUrl": "https://cdn/1.png",
        "failReason": "",
        "state": "mine",
        "submitTime": 1735689600001,
        "startTime": 1735689601000,
        "finishTime": 1735689650000,
        "properties": {"notifyHook": ""},
        "buttons": buttons(),
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"properties": {"discordInstanceId": "7", "finalPrompt": "a fox --v 6"}},
            ("7", "a fox --v 6"),
        ),
        ({"properties": {"discordInstanceId": 7, "finalPrompt": None}}, ("7", None)),
        ({"properties": None, "instanceId": "8", "botType": "NIJI_JOURNEY"}, ("8", None)),
        ({"properties": ["count"], "botType": "NIJI_JOURNEY"}, ("NIJI_JOURNEY", None)),
        ({"properties": "index"}, (None, None)),
    ],
)
def test_context_of_tasks_is_the_same_by_both_ways(fields: Any, expected: Any) -> None:
    """Accounts, prompts, sizes and costs of three server families, odd properties among them."""
    told = task(**fields, mode="FAST", size="2048", quota=1500)
    rows = check_frame(json.dumps([told, task(size=None, quota="free")]).encode())
    row, other = rows.astype(object).where(rows.notna(), None).to_dict("records")
    assert (row["account"], row["final_prompt"]) == expected
    assert (row["queue"], row["size_out"], row["cost"]) == ("FAST", 2048, 1500.0)
    assert (other["queue"], other["size_out"], other["cost"]) == (None, None, None)


def buttons(image_id: str = IMAGE_ID, *labels: str) -> list[dict[str, Any]]:
    return [
        {"customId": f"MJ::JOB::upsample::{n}::{image_id}", "label": label, "emoji": "", "style": 2}
        for n, label in enumerate(labels or ("U1", "U2", "V1"), 1)
    ]


def check_frame(body: bytes, **options: Any) -> pd.DataFrame:
    """Return the frame after both ways gave the same."""
    expected = jobs_to_frame(midjourney.parse_tasks(Response(200, body)))
    pd.testing.assert_frame_equal(listing_to_frame("mj", body, **options), expected)
    return expected


def make_listing(*tasks: Any) -> bytes:
    return json.dumps(tasks).encode()


DAMAGED: dict[str, Any] = {
    "a null": {
        "progress": None,
        "prompt": None,
        "buttons": None,
        "imageUrl": None,
        "submitTime": None,
    },
    "nothing at all": dict.fromkeys(task()),
    "numbers for texts": {
        "id": 17,
        "action": 3,
        "prompt": 1.0,
        "failReason": 2.5,
        "state": 10**30,
        "status": 5,
    },
    "booleans for texts": {"prompt": True, "state": False, "status": True, "submitTime": True},
    "texts for numbers": {"submitTime": "1735689600001", "startTime": "-", "finishTime": ""},
    "floats for times": {"submitTime": 1735689600001.7, "startTime": 1.5, "finishTime": -3.0},
    "seconds": {
        "submitTime": 1735689600,
        "startTime": 99_999_999_999,
        "finishTime": 100_000_000_000,
    },
    "times beyond": {
        "submitTime": 253_402_300_799_000,
        "startTime": 253_402_300_798_999,
        "finishTime": 2**70,
    },
    "times before": {"submitTime": -1, "startTime": -(2**70), "finishTime": 0},
    "containers for scalars": {
        "id": {"a": 1},
        "prompt": ["x"],
        "status": [],
        "submitTime": {},
        "progress": [1],
    },
    "odd progress": {"progress": "0%"},
    "text for progress": {"progress": "waiting"},
    "much progress": {"progress": "000000000000000000000120%"},
    "progress as number": {"progress": 37},
    "an unknown status": {"status": "DREAMING"},
    "an untidy status": {"status": " success "},
    "blanks": {"id": " ", "prompt": " ", "imageUrl": ""},
    "videos": {"videoUrls": [{"url": "https://v/1"}, "https://v/2", None, 3]},
    "a video": {"videoUrl": "https://v/1"},
    "no video": {"videoUrl": "", "video_urls": [], "imageUrls": [{"url": "https://i/1"}]},
    "only the list": {"imageUrl": None, "imageUrls": ["https://i/1", "https://i/2"]},
    "a failed task": {"status": "FAILURE", "failReason": "timeout"},
    "a parent id": {"parentId": "17"},
    "a parent in the description": {"description": "/up 1712345678901234 U2"},
    "a parent of a change": {"description": "/change 1712345678901234 U2", "parentId": ""},
    "a parent of another kind": {"description": 17, "parentId": 18},
    "another id": {"id": None, "mj_id": "m1"},
    "only the English prompt": {"prompt": "", "promptEn": "fox"},
    "no buttons": {"buttons": []},
    "buttons as text": {"buttons": "U1"},
    "buttons as object": {"buttons": {"customId": "x"}},
    "odd buttons": {
        "buttons": [
            None,
            1,
            "U1",
            [],
            {},
            {"customId": ""},
            {"customId": 7},
            {"customId": "x", "label": 3},
        ]
    },
    "emojis": {
        "buttons": [
            {"customId": f"MJ::JOB::reroll::0::{IMAGE_ID}::SOLO", "emoji": "🔄", "label": ""}
        ]
    },
    "customIds only": {"buttons": [{"customId": f"MJ::JOB::upsample::1::{IMAGE_ID}"}]},
    "an image id in a label": {
        "buttons": [{"customId": f"a::{IMAGE_ID}", "label": f"b::{IMAGE_ID}"}]
    },
    "escapes in buttons": {"buttons": [{"customId": f"a::{IMAGE_ID}", "label": 'say "\\u0041"'}]},
    "unknown fields": {"x": {"deep": [1, 2, {"y": None}]}},
    "half a surrogate pair": {"state": "\ud800"},
    "half a pair in a button": {"buttons": [{"customId": "x", "label": "\udfff"}]},
    "not a number": {"submitTime": float("nan"), "progress": float("inf")},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("chunk_size", [0, 2])
def test_damaged_tasks_make_the_same_rows(damage: dict[str, Any], chunk_size: int) -> None:
    """Among sound tasks, and alone."""
    assert (
        len(check_frame(make_listing(task(), task(**damage), task()), chunk_size=chunk_size)) == 3
    )
    assert len(check_frame(make_listing(task(**damage)), chunk_size=chunk_size)) == 1


def test_task_with_a_missing_field_makes_a_row() -> None:
    for name in task():
        check_frame(
            make_listing({key: value for key, value in task().items() if key != name}, task())
        )
    check_frame(make_listing({}))


def test_all_damaged_tasks_together_make_rows() -> None:
    assert len(check_frame(make_listing(*(task(**damage) for damage in DAMAGED.values())))) == len(
        DAMAGED
    )


def test_items_that_are_no_objects_make_no_row() -> None:
    assert len(check_frame(make_listing(None, 1, "x", [task()], 2.5, task(), True))) == 1


@pytest.mark.parametrize(
    "body", [b"[]", b" [ ] ", make_listing(task()).replace(b"{", b" {\n"), b'[{"id":1e400}]']
)
def test_unusual_json_makes_the_same_frame(body: bytes) -> None:
    check_frame(body)
    check_frame(body, chunk_size=1)


@pytest.mark.parametrize(
    "body", [b"[", b"[{]", b"[1,]", b"\xff[]", b'[{"id":"\xff"}]', b"[" + b"1" * 5000 + b"]"]
)
@pytest.mark.parametrize("chunk_size", [0, 1])
def test_invalid_json_raises_invalid_response(body: bytes, chunk_size: int) -> None:
    with pytest.raises(InvalidResponse):
        listing_to_frame("mj", body, chunk_size=chunk_size)


LOOKALIKES = [
    buttons("a" * 36),
    buttons("b" * 36),
    buttons("c" * 36, "W1", "W2", "W3"),
    buttons("d" * 36),
    buttons('x","label":"y' + "z" * 24),
    buttons("e" * 35 + "\\"),
    buttons("f" * 36, "f" * 36, "g", "h"),
    buttons("1" * 36, "1", "2", "3"),
    [],
    None,
]


@pytest.mark.parametrize("first", range(len(LOOKALIKES)))
def test_button_names_are_reused_only_for_equal_buttons(first: int) -> None:
    """Whichever task comes first: those whose buttons differ in the image id alone."""
    order = [*LOOKALIKES[first:], *LOOKALIKES[:first], *LOOKALIKES]
    check_frame(make_listing(*(task(buttons=value) for value in order)))


def test_image_id_that_ends_its_string_is_not_reused() -> None:
    """Bytes around the id like the first task's, and a label of its own inside the id."""
    plain = [{"customId": "a::" + "m" * 40, "label": "U1"}]
    crafted = [{"customId": "a::" + "n", "label": "hello", "k": "n" * 8}]
    written = json.dumps(
        [task(buttons=plain), task(buttons=crafted)], separators=(",", ":")
    ).encode()
    assert list(check_frame(written)["buttons"]) == ["U1", "hello"]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "-", "0", "17%"]),
    st.integers(0, 300_000_000_000_000),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
button = st.fixed_dictionaries(
    {},
    optional={
        "customId": anything | st.just(f"a::{IMAGE_ID}"),
        "label": anything,
        "emoji": anything,
    },
)
odd_task = st.fixed_dictionaries(
    {},
    optional={
        name: anything
        for name in (*task(), *midjourney.RESULT_FIELDS, "mj_id", "parentId")
        if name != "buttons"
    }
    | {
        "buttons": st.lists(button | anything, max_size=3) | anything,
        "status": anything | st.sampled_from(list(midjourney.STATUSES)),
    },
)


@given(st.lists(odd_task | anything, max_size=4), st.sampled_from([0, 1, 3]))
@settings(deadline=None, max_examples=EXAMPLES)
def test_any_json_makes_the_same_frame(tasks: list[Any], chunk_size: int) -> None:
    check_frame(json.dumps(tasks).encode(), chunk_size=chunk_size)


def test_listing_is_in_the_order_of_the_ids() -> None:
    """Unknown ids are left out; of two tasks with the same id the last counts."""
    body = make_listing(task(id="1"), task(id="2"), task(id="1", prompt="later"))
    for order in (("2", "1"), ("1", "404", "1"), ()):
        expected = jobs_to_frame(midjourney.parse_tasks(Response(200, body), order))
        pd.testing.assert_frame_equal(listing_to_frame("mj", body, order), expected)


@pytest.mark.parametrize(
    "response",
    [
        Response(200, b""),
        Response(204, b" "),
        Response(200, b"null"),
        Response(200, b'{"code":1,"data":[{"id":"7"}]}'),
        Response(200, b"\n[]"),
        Response(200, b'[{"id":"7"}]'),
    ],
)
def test_wrapped_and_empty_responses_make_the_same_frame(response: Response) -> None:
    pd.testing.assert_frame_equal(
        response_to_frame("mj", response), jobs_to_frame(midjourney.parse_tasks(response))
    )


@pytest.mark.parametrize(
    "response", [Response(401, b"{}"), Response(200, b"<html></html>"), Response(500, b"[]")]
)
def test_refusal_raises_its_error(response: Response) -> None:
    with pytest.raises(ServiceError):
        response_to_frame("mj", response)


# --- pages of CI jobs -----------------------------------------------------------------------------

DETAIL = (
    "<JobsDetail><Code>Success</Code><Message/><JobId>c1</JobId><Tag>PicProcess</Tag><State>Success</State>"
    "<CreationTime>2024-05-01T10:00:00+0800</CreationTime><StartTime>2024-05-01T10:00:00+0800</StartTime>"
    "<EndTime>2024-05-01T10:00:01+0800</EndTime><Input><Object>in/a &amp; b.jpg</Object></Input>"
    "<Operation><Output><Region>ap-x</Region><Bucket>demo-1</Bucket><Object>out/a.jpg</Object></Output>"
    "<PicProcessResult><ObjectName>out/a.jpg</ObjectName></PicProcessResult><UserData>mine</UserData></Operation>"
    "</JobsDetail>"
)


def make_page(*details: str, token: str = "<NextToken>7</NextToken>") -> bytes:
    return f"<Response>{''.join(details)}{token}</Response>".encode()


def check_page(body: bytes) -> pd.DataFrame:
    """Return the frame of a page after both ways gave the same."""
    expected = tencent_ci.parse_page(Response(200, body))
    page = tencent_ci.parse_rows(Response(200, body))
    assert page.next_token == expected.next_token
    frame = rows_to_frame("ci", page.items)
    pd.testing.assert_frame_equal(frame, jobs_to_frame(expected.items))
    return frame


CHANGES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "not yet": lambda text: text.replace("2024-05-01T10:00:01+0800", " - "),
    "a time with a blank": lambda text: text.replace("01T10", "01 10"),
    "no time": lambda text: text.replace("2024-05-01T10:00:01+0800", "soon"),
    "a failure": lambda text: text.replace("<State>Success", "<State>Failed").replace(
        "Code>Success", "Code>InvalidUrl"
    ),
    "a batch": lambda text: text.replace("<Tag>PicProcess</Tag>", "<Type>Job</Type><Name>n</Name>"),
    "blanks around": lambda text: text.replace(">mine<", ">\n mine \n<"),
    "a text twice": lambda text: text.replace("<JobId>", "<JobId>c0</JobId><JobId>"),
    "a container twice": lambda text: text.replace(
        "<Input>", "<Input><Object>first</Object></Input><Input>"
    ),
    "an empty container first": lambda text: text.replace("<Input>", "<Input/><Input>"),
    "a text that is a container": lambda text: text.replace(">mine<", "><X>mine</X><"),
    "a container that is a text": lambda text: text.replace("<Input><Object>", "<Input>").replace(
        "</Object></Input>", "</Input>"
    ),
    "text beside elements": lambda text: text.replace("<Input>", "<Input>words"),
    "an attribute": lambda text: text.replace("<State>", '<State kind = "x">'),
    "an attribute of the job": lambda text: text.replace("<JobsDetail>", "<JobsDetail a='1'>"),
    "CDATA": lambda text: text.replace(">mine<", "><![CDATA[<mine>]]><"),
    "a comment": lambda text: text.replace(">mine<", ">mi<!-- x -->ne<"),
    "an instruction": lambda text: text.replace(">mine<", ">mi<?x y?>ne<"),
    "an undeclared prefix": lambda text: text.replace("UserData", "x:UserData"),
    "a namespace": lambda text: text.replace("<Operation>", '<Operation xmlns="http://x">'),
    "an element that is always a list": lambda text: text.replace("Input>", "Contents>"),
    "no day of the year": lambda text: text.replace("2024-05-01", "2023-02-29"),
    "the first year": lambda text: text.replace("2024-05-01T10", "0001-01-01T00"),
    "no year": lambda text: text.replace("2024-05", "0000-05"),
    "the last year": lambda text: text.replace("2024-05-01T10", "9999-12-31T23"),
    "midnight twice": lambda text: text.replace("T10:00:00", "T24:00:00"),
    "another zone": lambda text: text.replace("+0800", "Z"),
    "digits of another script": lambda text: text.replace("2024", "２０２４"),
    "our own marker": lambda text: text.replace(">mine<", ">mjci-17<"),
    "percent": lambda text: text.replace("<State>Success", "<Progress>37</Progress><State>Running"),
    "an equals sign and quotes in a text": lambda text: text.replace(">mine<", '>a="b"<'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changed_job_makes_the_same_row(change: Callable[[str], str]) -> None:
    assert len(check_page(make_page(DETAIL, change(DETAIL), DETAIL))) == 3
    check_page(make_page(change(DETAIL)))


@pytest.mark.parametrize(
    "body",
    [
        make_page(),
        make_page(token=""),
        make_page(token="<NextToken/>"),
        make_page(token="<NextToken>1</NextToken><NextToken>2</NextToken>"),
        make_page("<JobsDetail/>", DETAIL, "<JobsDetail>words</JobsDetail>"),
        b"<Response/>",
        b"<?xml version='1.0' encoding='utf-8'?>\n" + make_page(DETAIL),
        "<Response>é</Response>".encode("utf-16"),
    ],
)
def test_unusual_page_makes_the_same_frame(body: bytes) -> None:
    check_page(body)


@pytest.mark.parametrize("body", [b"<Other><JobsDetail/></Other>", b"", b"<Response>", b"[]"])
def test_document_that_is_no_page_raises_invalid_response(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        tencent_ci.parse_rows(Response(200, body))


names = st.sampled_from(
    [
        "JobId",
        "State",
        "Object",
        "Input",
        "Operation",
        "Output",
        "Bucket",
        "Region",
        "Tag",
        "Type",
        "Name",
        "UserData",
        "PicProcessResult",
        "ObjectName",
        "CreationTime",
        "Workflow",
        "RunId",
        "Contents",
        "JobsDetail",
        "Code",
        "Progress",
    ]
)
texts = st.sampled_from(
    [
        "",
        " ",
        "-",
        "Success",
        "Failed",
        "17",
        "2024-05-01T10:00:00+0800",
        "1999-12-31T23:59:59+0800",
        'a="b"',
        "é",
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=5)
elements = st.recursive(
    st.builds(lambda name, text: f"<{name}>{escape(text)}</{name}>", names, texts),
    lambda inner: st.builds(
        lambda name, before, parts: f"<{name}>{escape(before)}{''.join(parts)}</{name}>",
        names,
        texts,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)
details = st.lists(elements, max_size=5).map(
    lambda parts: f"<JobsDetail>{''.join(parts)}</JobsDetail>"
)


@given(st.lists(details | elements, max_size=4))
@settings(deadline=None, max_examples=EXAMPLES)
def test_any_document_makes_the_same_frame(parts: list[str]) -> None:
    """Whatever the nesting, as xmltodict parses it."""
    check_page(make_page(*parts))


def test_context_of_jobs_is_read_from_every_description_of_the_result() -> None:
    results = (
        {"ProcessResult": {"Size": "900"}, "OriginalInfo": {"ImageInfo": {"Size": 4000}}},
        {"UploadResult": {"ProcessResults": {"Object": [{"Size": 900}]}}},
        {"ProcessResults": {"Object": {"Size": "900"}}},
    )
    for result in results:
        operation = {
            "PicProcess": {"ProcessRule": "imageMogr2/format/avif"},
            "Output": {"Bucket": "out-1250000000"},
            "PicProcessResult": result,
        }
        job = tencent_ci.parse_job(
            {
                "JobId": "j1",
                "QueueId": "p1",
                "Input": {"BucketId": "in-125"},
                "Operation": operation,
            }
        )
        assert (job.rule, job.queue) == ("imageMogr2/format/avif", "p1")
        assert (job.account, job.bucket, job.size_out) == ("125", "out-1250000000", 900)
    template = {"TemplateId": "t1", "TemplateName": "small"}
    job = tencent_ci.parse_job({"JobId": "j2", "Operation": template})
    assert (job.rule, job.account, job.size_in) == ("small", "", None)
