"""Keys, texts and times are data: what a listing tells can be asked for, what cannot be sent is
refused when the call is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Response
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.cos.store import build_object
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.regions import normalize_region
from jupyter_mjci.services.tencent_ci.responses import parse_element, parse_objects
from jupyter_mjci.session import Session

ci = TencentCI(bucket="demo-1250000000", region="ap-chongqing")
RULE = "imageMogr2/rotate/90"
KEYS = [
    " lead.jpg",
    "trail ",
    "  ",
    "bell\x07.jpg",
    "tab\tnew\nline",
    "a/../b.jpg",
    "a/./b.jpg",
    "a//b.jpg",
    "..",
    ".hidden",
    "100%25 + &?#=;.jpg",
    "输入/😀.jpg",
    "q'\"<>&amp;.jpg",
    "\ufffe",
    "plain.jpg",
    "%41%2F#?acl.jpg",
    "x" * 850,
    "文" * 283,
    "folder/",
    "👩\u200d🚀\u202egnp.jpg",
    "${InputName}{{x}}$HOME",
    "_sandbox/stats",
    "jobs/c0",
    "mj/task/1/fetch",
    "--prefix",
    "http://x/y",
]


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    with Sandbox(ci_options={"objects": {}}) as sandbox:
        yield sandbox


@pytest.fixture(params=["aiohttp", "httpx"])
def session(served: Sandbox, request: pytest.FixtureRequest) -> Iterator[Session]:
    with served.serve() as server:
        account = server.settings
        names = ("secret_id", "secret_key", "bucket", "region", "endpoint")
        given = {f"ci_{name}": account.get(name, account["ci_endpoint"]) for name in names}
        with mjci.connect(**given, cos_endpoint=account["cos_endpoint"]) as connected:
            connected.client.transport.use_aiohttp = request.param == "aiohttp"
            yield connected


@pytest.mark.parametrize("key", KEYS)
def test_key_of_a_listing_can_be_asked_for(session: Session, key: str) -> None:
    """Any key: dots, blanks, control characters; the URL that leaves is the one that was signed."""
    session.ci.put_object(key, key.encode()).run()
    rows = {row.key: row for row in session.ci.objects()}
    assert rows[key].size == len(key.encode())
    assert session.ci.get_object(key).run() == key.encode()
    assert [row.key for row in session.ci.objects(prefix=key)][:1] == [key]
    session.ci.delete_object(key).run()
    assert key not in {row.key for row in session.ci.objects()}


@pytest.mark.parametrize("key", ["/lead.jpg", "//x", "/", "/jobs/c0"])
def test_key_with_a_leading_slash_is_reached_but_not_made(
    served: Sandbox, session: Session, key: str
) -> None:
    """Other programs make such keys; their neighbours without the slash are left alone."""
    bucket = served.services["ci"].store.buckets["demo-1250000000"]
    for name in (key, key.lstrip("/") or "x"):
        bucket.put(name, build_object(name.encode(), 0.0))
    assert key in {row.key for row in session.ci.objects()}
    assert session.ci.get_object(key).run() == key.encode()
    session.ci.delete_object(key).run()
    assert key not in bucket.objects
    assert (key.lstrip("/") or "x") in bucket.objects
    bucket.remove(key.lstrip("/") or "x")
    with pytest.raises(InvalidRequest, match="not a valid object key"):
        session.ci.put_object(key, b"")
    with pytest.raises(InvalidRequest, match="has a key"):
        session.ci.get_object("")


def test_folders_are_rows(session: Session) -> None:
    """With a delimiter, in the order of the keys, over several pages."""
    keys = ["a.jpg", "b/1.jpg", "b/2.jpg", "c d/1.jpg", "e.jpg"]
    for key in keys:
        session.ci.put_object(key, b"x").run()
    rows = [(row.key, row.is_folder) for row in session.ci.objects(delimiter="/")]
    assert rows == [("a.jpg", False), ("b/", True), ("c d/", True), ("e.jpg", False)]
    for key in keys:
        session.ci.delete_object(key).run()


def test_one_odd_key_does_not_cost_the_page() -> None:
    """A page whose keys are not encoded is read as it is; an encoded one is decoded."""
    page = """<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
      <NextMarker>z%20%07</NextMarker><Contents><Key>%20a%07%2B</Key><Size>3</Size></Contents>
      <CommonPrefixes><Prefix>%20/</Prefix></CommonPrefixes></ListBucketResult>"""
    parsed = parse_objects(Response(200, page.encode()))
    assert [(row.key, row.size) for row in parsed.items] == [(" /", 0), (" a\x07+", 3)]
    assert parsed.next_token == "z \x07"
    plain = page.replace("<EncodingType>url</EncodingType>", "")
    assert parse_objects(Response(200, plain.encode())).items[0].key == "%20/"


@pytest.mark.parametrize("key", ["a/../b.jpg", "./a", "a/.."])
def test_link_that_programs_would_change_is_refused(session: Session, key: str) -> None:
    with pytest.raises(InvalidRequest, match="programs resolve"):
        session.presign(key)


# -- lists by the element's path


def test_results_are_always_a_list() -> None:
    """One rule or two: `ProcessResults.Object` looks the same."""
    one = "<Object><Key>a</Key></Object>"
    for count in (1, 2):
        body = f"<UploadResult><ProcessResults>{one * count}</ProcessResults></UploadResult>"
        parsed = parse_element(Response(200, body.encode()), "UploadResult", True)
        assert parsed["ProcessResults"]["Object"] == [{"Key": "a"}] * count
    other = xml.parse("<Request><Input><Object>a</Object></Input></Request>")
    assert other["Request"]["Input"]["Object"] == "a"


def test_process_returns_a_list_for_one_rule() -> None:
    with mjci.sandbox() as session:
        result = session.ci.process("input/deer.jpg", rules={"o.jpg": RULE}).run()
        assert [row["Key"] for row in result["ProcessResults"]["Object"]] == ["o.jpg"]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("<A><Object><Key>x</Key></Object></A>", {"A": {"Object": {"Key": "x"}}}),
        (
            "<ListBucketResult><Contents><Key> x</Key></Contents></ListBucketResult>",
            {"ListBucketResult": {"Contents": [{"Key": " x"}]}},
        ),
        ("<Response><JobsDetail/></Response>", {"Response": {"JobsDetail": [None]}}),
        (
            "<A>\n <B>\n text \n</B>\n <UserData> </UserData>\n</A>",
            {"A": {"B": "text", "UserData": " "}},
        ),
        ("<A><UserData>\n</UserData></A>", {"A": {"UserData": None}}),
        ('<A x="1">\n <B/>\n</A>', {"A": {"@x": "1", "B": None}}),
    ],
)
def test_layout_is_no_text_and_data_keeps_its_blanks(body: str, value: Any) -> None:
    assert xml.parse(body) == value


# -- texts


def test_user_data_comes_back_untouched() -> None:
    """Fetched, listed, and as a row of the listing's frame."""
    with mjci.sandbox() as session:
        for text in ("  padded  ", " ", "a<b>&amp;"):
            call = session.ci.picture_job(
                input="input/deer.jpg", rule=RULE, output="o.jpg", user_data=text
            )
            job = session.follow(call).run()
            assert job.user_data == text
            assert session.ci.job(job.id).run().user_data == text
            assert next(iter(session.ci.jobs())).user_data == text
            assert text in set(session.jobs()["user_data"])


UNSENDABLE = [
    lambda: ci.picture_job(input="a.jpg", rule=RULE, output="bad\x07.jpg"),
    lambda: ci.picture_job(input="a\ud83d.jpg", rule=RULE, output="o.jpg"),
    lambda: ci.picture_job(input="a.jpg", rule="imageMogr2/\ufffe", output="o.jpg"),
    lambda: ci.tagged_job("ImageInspect", operation={"A": {"B": ["\x00"]}}),
    lambda: ci.batch(name="n\x1b", prefix="in/", rule=RULE, output="o/${InputName}"),
    lambda: ci.create_template("t\x08", rule=RULE),
    lambda: ci.request("/jobs", "<Request><Tag>PicProcess</Request>"),
    lambda: ci.request("/jobs", "<Request>\x07</Request>"),
    lambda: ci.request("/jobs", "<Other/>"),
    lambda: ci.request("/jobs", ""),
    lambda: ci.get_object("a\udc00"),
    lambda: ci.put_object("a", b"", content_type="image/\u00e9"),
    lambda: ci.put_object("a", b"", content_type="image/png\r\nx: y"),
    lambda: ci.processed("a.jpg", rule="watermark/2/text/\ud800"),
    lambda: ci.objects(prefix="\udfff").first_page,
    lambda: ci.trigger_workflow("w1", "a\ud800"),
]


@pytest.mark.parametrize("build", UNSENDABLE)
def test_what_no_wire_can_carry_is_refused_when_it_is_built(build: Any) -> None:
    with pytest.raises(InvalidRequest):
        build()


def test_prompt_with_half_a_surrogate_pair_is_refused_when_it_is_built() -> None:
    with mjci.sandbox() as session, pytest.raises(InvalidRequest, match="surrogate"):
        session.mj.imagine("a fox \ud83d")


# -- times and regions

MOMENT = "2026-05-01T08:00:00+0800"


@pytest.mark.parametrize(
    "time",
    [
        MOMENT,
        date(2026, 5, 1),
        datetime(2026, 5, 1),
        datetime(2026, 5, 1, tzinfo=UTC),
        datetime(2026, 4, 30, 22, tzinfo=timezone(-timedelta(hours=2))),
        pd.Timestamp("2026-05-01"),
        "2026-05-01",
        "2026-05-01T00:00:00Z",
        "2026-05-01 08:00:00+08:00",
    ],
)
def test_times_are_taken_in_any_form(time: Any) -> None:
    """What has no time zone is UTC."""
    assert ci.jobs(start=time).first_page.params["startCreationTime"] == MOMENT
    assert MOMENT.encode() in ci.batch(name="n", prefix="i", workflow_ids=["w1"], start=time).body


@pytest.mark.parametrize("time", ["soon", "2026-13-01", "01.05.2026"])
def test_what_is_no_time_is_refused(time: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a time"):
        ci.jobs(start=time)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sh", "ap-shanghai"),
        ("cn-south", "ap-guangzhou"),
        ("tj", "ap-beijing-1"),
        ("cos.ap-beijing", "ap-beijing"),
        (" AP-Chongqing ", "ap-chongqing"),
        ("ap-jakarta", "ap-jakarta"),
        ("", ""),
    ],
)
def test_old_names_of_regions_are_translated(old: str, new: str) -> None:
    assert normalize_region(old) == new
    assert TencentCI(bucket="b-1", region=old).region == new
    with mjci.sandbox(ci_region=old or "sh") as session:
        host = session.client.transport.build_request(session.ci.bind()).headers["host"]
        assert host == f"demo-1250000000.ci.{new or 'ap-shanghai'}.myqcloud.com"
