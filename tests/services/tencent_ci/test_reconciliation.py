"""The marker of a submission, in documents as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jupyter_mjci.client.job import Job
from jupyter_mjci.services.tencent_ci import reconciliation, xml
from jupyter_mjci.services.tencent_ci.api import JOBS_PATH, TencentCI

REQUEST = (
    "<Request><Tag>PicProcess</Tag><Input><Object>狐狸.jpg</Object></Input>"
    "<Operation><TemplateId>t1</TemplateId>{}</Operation></Request>"
)


@pytest.mark.parametrize(
    ("head", "user_data"),
    [
        ("", ""),
        ("", "<UserData/>"),
        ('<?xml version="1.0" encoding="gbk"?>', ""),
        ("<!-- <Operation>old</Operation> -->", ""),
        ("<!-- </Operation> -->\n", "<!-- none -->"),
    ],
)
def test_marker_stands_in_the_operation_and_the_rest_stays(head: str, user_data: str) -> None:
    """A declared encoding is not that of the bytes that are sent, which are UTF-8."""
    call = TencentCI(None).request(JOBS_PATH, head + REQUEST.format(user_data))
    marked = reconciliation.with_marker(call, "mjci-1")
    assert marked is not None
    request = xml.parse(marked.body)["Request"]
    assert request["Operation"] == {"TemplateId": "t1", "UserData": "mjci-1"}
    assert request["Input"] == {"Object": "狐狸.jpg"}
    assert reconciliation.is_exact_match(marked, "mjci-1")


def test_user_data_of_the_user_stays() -> None:
    call = TencentCI(None).request(JOBS_PATH, REQUEST.format("<UserData>mine</UserData>"))
    assert reconciliation.with_marker(call, "mjci-1") is None


def test_search_for_a_job_asks_for_its_input() -> None:
    """And for its kind, from before it was sent; without an input, for all of the kind."""
    call = TencentCI(None).request(JOBS_PATH, REQUEST.format(""))
    asked = reconciliation.build_search_request(call, 1_700_000_000.0)
    params = asked.first_page.params
    assert (params["tag"], params["inputObject"]) == ("PicProcess", "狐狸.jpg")
    without = TencentCI(None).request(JOBS_PATH, "<Request><Tag>SmartCover</Tag></Request>")
    params = reconciliation.build_search_request(without, 1_700_000_000.0).first_page.params
    assert params["tag"] == "SmartCover"
    assert "inputObject" not in params


@pytest.mark.parametrize(("sent", "searched"), [("Job", "Job"), ("Workflow", "Workflow")])
def test_search_for_a_batch_asks_for_its_type_and_name(sent: str, searched: str) -> None:
    body = f"<Request><Name>all</Name><Type>{sent}</Type></Request>"
    call = TencentCI(None).request("/inventorytriggerjob", body)
    params = reconciliation.build_search_request(call, 1_700_000_000.0).first_page.params
    assert (params["type"], params["name"]) == (searched, "all")


def test_job_that_was_there_before_is_not_that_of_a_submission() -> None:
    """Clocks may differ by a few minutes; a job without a time may be the one."""
    call = TencentCI(None).request(JOBS_PATH, REQUEST.format(""))
    sent_at = 1_700_000_000.0
    matches = reconciliation.build_matcher(call, "mjci-1", sent_at)
    raw = {"Input": {"Object": "狐狸.jpg"}, "Operation": {"TemplateId": "t1"}, "Tag": "PicProcess"}
    skew = reconciliation.MAX_CLOCK_SKEW
    for seconds, is_matching in ((-skew - 1, False), (-skew + 1, True), (60, True), (None, True)):
        submitted = None if seconds is None else datetime.fromtimestamp(sent_at + seconds, UTC)
        job = Job("ci", "j1", "PicProcess", subject="狐狸.jpg", submitted=submitted, raw=raw)
        assert matches(job) is is_matching
