"""Jobs as cards: escaped, and independent of time and place."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.notebook.card_style import MOTION, load_rules
from jupyter_mjci.notebook.cards import (
    Extras,
    card_html,
    card_text,
    describe_moment,
    follow_command,
    headline,
    notice_html,
    progress_html,
    progress_line,
    table_html,
    table_text,
)
from jupyter_mjci.notebook.request_view import request_html, request_text
from jupyter_mjci.services.tencent_ci.responses import parse_job

BUTTONS = (Button("MJ::JOB::upsample::1::x", "U1"), Button("MJ::JOB::reroll::0::x", "", "🔄"))
DONE = Job(
    "mj",
    "1712345678901234",
    "IMAGINE",
    Status.SUCCEEDED,
    100,
    "a red fox --ar 3:2",
    ("https://cdn.example/a.png",),
    BUTTONS,
    datetime(2026, 1, 1, tzinfo=UTC),
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=a()> \"'&amp; $x$ \x1b[31m \u202e"
SAFE = {"div", "style", "b", "span", "code", "dl", "dt", "dd", "a", "img", "i", "pre", "br"}


class Page(HTMLParser):
    """The tags, attributes and texts of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(text for text in self.texts if text not in MOTION)


def find_texts(html: str, css_class: str) -> list[str]:
    """Return the text of each element with a class."""
    return re.findall(rf'<\w+ class="{css_class}\b[^>]*>([^<]*)<', html)


CI: dict[str, Any] = {
    "JobId": "c1",
    "Tag": "PicProcess",
    "State": "Success",
    "Input": {"Object": "in/a.jpg"},
    "Operation": {
        "PicProcess": {"ProcessRule": "imageMogr2/rotate/90"},
        "UserData": "mine",
        "Output": {"Object": "out/b.jpg", "Bucket": "b", "Region": "r"},
        "PicProcessResult": {
            "OriginalInfo": {"ImageInfo": {"Format": "JPEG", "Width": "1000", "Height": "667"}},
            "ProcessResult": {"Format": "JPEG", "Width": "667", "Height": "1000", "Size": "24911"},
        },
    },
}


def make_hostile_job(status: Status) -> Job:
    fields = dict.fromkeys(("id", "action", "subject", "reason", "user_data"), HOSTILE)
    return replace(DONE, status=status, buttons=(Button(HOSTILE, HOSTILE),), **fields)  # type: ignore[arg-type]


RENDERED = {
    "card": lambda job: card_html(
        job, Extras([HOSTILE], {HOSTILE: 1}, links=[(HOSTILE, "https://x/?" + HOSTILE)])
    ),
    "progress": progress_html,
    "notice": lambda job: notice_html(job.subject),
    "table": lambda job: table_html([(job.subject, job.reason)]),
    "request": lambda job: request_html(
        request_text("GET", "http://x/", [("X", job.subject)], job.reason.encode())
    ),
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("way", list(RENDERED))
def test_foreign_text_is_escaped_everywhere(way: str, status: Status) -> None:
    """Scripts, event handlers and control characters are text, in every view, for both services."""
    for service in ("mj", "ci"):
        html = RENDERED[way](replace(make_hostile_job(status), service=service))
        page = Page(html)
        assert {tag for tag, _ in page.tags} <= SAFE
        assert [name for _, attrs in page.tags for name in attrs if name.startswith("on")] == []
        assert "<script>alert(1)</script>" in page.text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html)


def test_plain_text_has_no_escape_sequences() -> None:
    running = make_hostile_job(Status.RUNNING)
    text = card_text(make_hostile_job(Status.FAILED)) + headline(running) + progress_line(running)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_finished_card_shows_the_command_of_each_button() -> None:
    page = Page(card_html(DONE))
    titles = [attrs["title"] for _, attrs in page.tags if "title" in attrs]
    assert titles == ["%mj_action 1712345678901234 U1", "%mj_action 1712345678901234 🔄"]
    assert card_text(DONE) == (
        "IMAGINE 1712345678901234 SUCCEEDED\n"
        "  a red fox --ar 3:2\n"
        "  buttons: [U1]  [🔄 reroll]\n"
        "  press one: %mj_action 1712345678901234 U1"
    )


def test_card_is_independent_of_time_and_host() -> None:
    later = replace(
        DONE, submitted=datetime(2027, 1, 1, tzinfo=UTC), outputs=("http://127.0.0.1:8000/a.png",)
    )
    assert card_html(DONE) == card_html(later)
    assert card_text(DONE) == card_text(later)
    assert "cdn.example" not in card_html(DONE)


def test_card_is_excluded_from_math_typesetting() -> None:
    """JupyterLab would typeset a prompt with two dollar signs as math."""
    _, attrs = Page(card_html(DONE)).tags[0]
    assert {"tex2jax_ignore", "mathjax_ignore"} <= set((attrs["class"] or "").split())


STATUSES: tuple[tuple[Status, str, str], ...] = (
    (Status.QUEUED, "queued", ""),
    (Status.RUNNING, "running 37%", ""),
    (Status.NEEDS_INPUT, "needs input", "%mj_modal 1712345678901234"),
    (Status.FAILED, "failed", "The service gave no reason."),
    (Status.CANCELLED, "cancelled", ""),
)


@pytest.mark.parametrize(("status", "badge", "expected"), STATUSES)
def test_badge_and_note_follow_the_status(status: Status, badge: str, expected: str) -> None:
    job = replace(DONE, status=status, buttons=(), progress=37)
    html = card_html(job)
    assert find_texts(html, "mjci-job-badge") == [badge]
    assert expected in Page(html).text
    assert expected in card_text(job)


def test_failure_reason_is_shown_verbatim() -> None:
    job = replace(DONE, status=Status.FAILED, buttons=(), reason="banned: <wolf>")
    assert "banned: <wolf>" in Page(card_html(job)).text
    assert "  banned: <wolf>" in card_text(job).splitlines()


def test_ci_card_shows_subject_rule_and_sizes() -> None:
    assert card_text(parse_job(CI)).splitlines() == [
        "PicProcess c1 SUCCEEDED",
        "  in/a.jpg → out/b.jpg",
        "  rule: imageMogr2/rotate/90",
        "  size: 1000×667 jpeg → 667×1000 jpeg, 24.9 kB",
        "  user data: mine",
    ]
    assert "1000×667 jpeg → 667×1000 jpeg, 24.9 kB" in Page(card_html(parse_job(CI))).text


MADE = {"Format": "png", "Width": 10, "Height": 20, "Size": 1500}
RESULT_SHAPES: tuple[tuple[Any, str], ...] = (
    ({"ProcessResult": MADE}, "10×20 png, 1.5 kB"),
    ([{"ProcessResult": MADE}], "10×20 png, 1.5 kB"),
    ({"UploadResult": {"ProcessResults": {"Object": [MADE]}}}, "10×20 png, 1.5 kB"),
    ({"ProcessResult": {"Width": 10, "Height": 20}}, "10×20"),
    ({"ProcessResult": {"Size": 10}}, ""),
    (None, ""),
    ("", ""),
)


@pytest.mark.parametrize(("result", "expected"), RESULT_SHAPES)
def test_size_is_found_in_every_result_shape(result: Any, expected: str) -> None:
    """Nested or not, alone or in a list, numbers or strings."""
    text = card_text(parse_job({**CI, "Operation": {"PicProcessResult": result}}))
    assert [line.strip() for line in text.splitlines() if "size" in line] == (
        [f"size: {expected}"] if expected else []
    )


def test_batch_card_counts_its_jobs() -> None:
    batch = parse_job({"JobId": "b1", "Name": "n", "Type": "Job"})
    text = card_text(batch, Extras(children={"FAILED": 1, "SUCCEEDED": 5}))
    assert "  jobs: 6 (1 failed, 5 succeeded)" in text.splitlines()
    assert "jobs: none" in card_text(DONE, Extras(children={}))


def test_progress_card_has_bar_and_preview() -> None:
    """Without a percentage the bar is indeterminate."""
    running = replace(DONE, status=Status.RUNNING, progress=37, buttons=())
    page = Page(progress_html(running, "data:image/png;base64,AA=="))
    assert [attrs["style"] for tag, attrs in page.tags if tag == "i"] == [
        f"{load_rules()['i']}; width: 37%"
    ]
    assert [attrs["src"] for tag, attrs in page.tags if tag == "img"] == [
        "data:image/png;base64,AA=="
    ]
    assert [attrs for _, attrs in page.tags if "role" in attrs] == [
        {
            "class": "mjci-job-bar",
            "style": load_rules()["mjci-job-bar"],
            "role": "progressbar",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
            "aria-valuenow": "37",
            "aria-label": "IMAGINE running",
        }
    ]
    unknown = Page(progress_html(replace(running, progress=None))).tags
    assert [attrs.get("class") for tag, attrs in unknown if tag == "i"] == ["mjci-job-unknown"]
    assert not any("aria-valuenow" in attrs for _, attrs in unknown)
    assert progress_line(running, 10) == "IMAGINE 1712345678901234 RUNNING 37% [####......]"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//x", "file:///etc/passwd"]
)
def test_links_with_other_schemes_are_plain_text(url: str) -> None:
    """A service cannot make a card run a script."""
    page = Page(card_html(DONE, Extras(links=[("open", url)])))
    assert [tag for tag, _ in page.tags if tag == "a"] == []
    assert "open" in page.text


def test_request_text_hides_secrets_and_shortens_data_urls() -> None:
    """Secrets in headers, signed parameters and user:password@ of URLs."""
    picture = "data:image/png;base64," + "A" * 4000
    text = request_text(
        "POST",
        "http://me:hush@x/mj?q-ak=id&q-signature=hush&x-cos-security-token=hush&b=1",
        [
            ("Authorization", "hush"),
            ("mj-api-secret", "hush"),
            ("X-Cos-Security-Token", "hush"),
            ("Accept", "*/*"),
        ],
        f'{{"prompt":"a  {{b, c}}","base64Array":["{picture}"]}}'.encode(),
    )
    assert text.splitlines() == [
        "POST http://***@x/mj?q-ak=id&q-signature=***&x-cos-security-token=***&b=1",
        "Authorization: ***",
        "mj-api-secret: ***",
        "X-Cos-Security-Token: ***",
        "Accept: */*",
        "",
        '{"prompt":"a  {b, c}","base64Array":["data:image/png;base64,…(3000 bytes)"]}',
    ]
    assert request_text("PUT", "http://x/k", [], b"\xff\xfe").splitlines()[-1] == "(2 bytes)"


def test_table_text_is_aligned() -> None:
    assert table_text([("a", "1"), ("long", "2")]) == "a     1\nlong  2"


def test_live_card_says_of_when_it_is_and_how_to_go_on() -> None:
    """Saved while a job runs, it must not seem to go on for ever."""
    job = Job("mj", "17", "IMAGINE", Status.RUNNING)
    moment = describe_moment(datetime(2026, 1, 31, 12, 5), follow_command(job))
    assert moment == "As of 2026-01-31 12:05. Should nothing move: %mj_task 17"
    html = progress_html(job, "", moment)
    assert moment in html
    bar = load_rules()["mjci-job-unknown"]
    assert re.search(r"animation: mjci-job-go [\d.]+s ease-in-out \d+ alternate", bar)


def test_buttons_of_a_card_are_text() -> None:
    """Nothing happens on a click, so nothing looks like a button."""
    buttons = (Button("MJ::1", "U1", used=True), Button("MJ::2", "U2"))
    html = card_html(Job("mj", "17", "IMAGINE", Status.SUCCEEDED, buttons=buttons))
    text = re.sub("<[^>]+>", "", html)
    assert text.endswith("buttons: U1 ✓ · U2press one: %mj_action 17 U1")
    assert not re.search("border|background|cursor", load_rules()["mjci-job-chip"])
