"""Jobs as cards: escaped, and the same whenever and wherever they are made."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.notebook.cards import (
    Extras,
    card_html,
    card_text,
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
SAFE = {"div", "style", "b", "span", "code", "dl", "dt", "dd", "a", "img", "i", "pre"}


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
        return " ".join(one for one in self.texts if not one.startswith(".mjci"))


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


def hostile(status: Status) -> Job:
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
def test_nothing_that_others_wrote_becomes_markup(way: str, status: Status) -> None:
    """Scripts, handlers and control characters arrive as text, in every place, for both
    services.
    """
    for service in ("mj", "ci"):
        html = RENDERED[way](replace(hostile(status), service=service))
        page = Page(html)
        assert {tag for tag, _ in page.tags} <= SAFE
        assert [name for _, attrs in page.tags for name in attrs if name.startswith("on")] == []
        assert "<script>alert(1)</script>" in page.text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html)


def test_texts_command_no_terminal() -> None:
    """Escape sequences do not reach it."""
    running = hostile(Status.RUNNING)
    text = card_text(hostile(Status.FAILED)) + headline(running) + progress_line(running)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_a_finished_card_tells_what_to_do_next() -> None:
    """Each button with what to type for it."""
    page = Page(card_html(DONE))
    titles = [attrs["title"] for _, attrs in page.tags if "title" in attrs]
    assert titles == ["%mj_action 1712345678901234 U1", "%mj_action 1712345678901234 🔄"]
    assert card_text(DONE) == (
        "IMAGINE 1712345678901234 SUCCEEDED\n"
        "  a red fox --ar 3:2\n"
        "  buttons: [U1]  [🔄 reroll]\n"
        "  press one: %mj_action 1712345678901234 U1"
    )


def test_a_card_does_not_tell_when_or_where() -> None:
    """The same job gives the same card tomorrow, behind another address."""
    later = replace(
        DONE, submitted=datetime(2027, 1, 1, tzinfo=UTC), outputs=("http://127.0.0.1:8000/a.png",)
    )
    assert card_html(DONE) == card_html(later)
    assert card_text(DONE) == card_text(later)
    assert "cdn.example" not in card_html(DONE)


def test_mathematics_is_left_alone() -> None:
    """A prompt with two dollar signs is no formula."""
    _, attrs = Page(card_html(DONE)).tags[0]
    assert {"tex2jax_ignore", "mathjax_ignore"} <= set((attrs["class"] or "").split())


STATUSES: tuple[tuple[Status, str, str], ...] = (
    (Status.QUEUED, "waiting", ""),
    (Status.RUNNING, "running 37%", ""),
    (Status.NEEDS_INPUT, "asking you", "%mj_modal 1712345678901234"),
    (Status.FAILED, "failed", "The service does not say why."),
    (Status.CANCELLED, "cancelled", ""),
)


@pytest.mark.parametrize(("status", "badge", "said"), STATUSES)
def test_the_badge_tells_the_status(status: Status, badge: str, said: str) -> None:
    """And the card what follows from it."""
    job = replace(DONE, status=status, buttons=(), progress=37)
    html = card_html(job)
    assert f'<span class="mjci-job-badge">{badge}</span>' in html
    assert said in Page(html).text
    assert said in card_text(job)


def test_the_reason_of_a_failure_is_shown() -> None:
    """As the service words it."""
    job = replace(DONE, status=Status.FAILED, buttons=(), reason="banned: <wolf>")
    assert "banned: <wolf>" in Page(card_html(job)).text
    assert "  banned: <wolf>" in card_text(job).splitlines()


def test_a_ci_card_tells_way_rule_and_sizes() -> None:
    """Input and output, the rule, and what the picture was and became."""
    assert card_text(parse_job(CI)).splitlines() == [
        "PicProcess c1 SUCCEEDED",
        "  in/a.jpg → out/b.jpg",
        "  rule: imageMogr2/rotate/90",
        "  size: 1000×667 jpeg → 667×1000 jpeg, 24.9 kB",
        "  user data: mine",
    ]
    assert "1000×667 jpeg → 667×1000 jpeg, 24.9 kB" in Page(card_html(parse_job(CI))).text


MADE = {"Format": "png", "Width": 10, "Height": 20, "Size": 1500}
RESULTS: tuple[tuple[Any, str], ...] = (
    ({"ProcessResult": MADE}, "10×20 png, 1.5 kB"),
    ([{"ProcessResult": MADE}], "10×20 png, 1.5 kB"),
    ({"UploadResult": {"ProcessResults": {"Object": [MADE]}}}, "10×20 png, 1.5 kB"),
    ({"ProcessResult": {"Width": 10, "Height": 20}}, "10×20"),
    ({"ProcessResult": {"Size": 10}}, ""),
    (None, ""),
    ("", ""),
)


@pytest.mark.parametrize(("result", "said"), RESULTS)
def test_every_shape_of_a_result_gives_its_size(result: Any, said: str) -> None:
    """Wrapped or not, alone or in a list, numbers or texts."""
    text = card_text(parse_job({**CI, "Operation": {"PicProcessResult": result}}))
    assert [line.strip() for line in text.splitlines() if "size" in line] == (
        [f"size: {said}"] if said else []
    )


def test_a_batch_tells_its_jobs() -> None:
    """How many, and how they are."""
    batch = parse_job({"JobId": "b1", "Name": "n", "Type": "Job"})
    text = card_text(batch, Extras(children={"FAILED": 1, "SUCCEEDED": 5}))
    assert "  jobs: 6 (1 failed, 5 succeeded)" in text.splitlines()
    assert "jobs: none" in card_text(DONE, Extras(children={}))


def test_progress_has_a_bar_and_its_preview() -> None:
    """The bar's length is the percentage; without one it only moves."""
    running = replace(DONE, status=Status.RUNNING, progress=37, buttons=())
    page = Page(progress_html(running, "data:image/png;base64,AA=="))
    assert ("i", {"style": "width:37%"}) in page.tags
    assert [attrs["src"] for tag, attrs in page.tags if tag == "img"] == [
        "data:image/png;base64,AA=="
    ]
    assert [attrs for _, attrs in page.tags if "role" in attrs] == [
        {
            "class": "mjci-job-bar",
            "role": "progressbar",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
            "aria-valuenow": "37",
            "aria-label": "IMAGINE running",
        }
    ]
    unknown = Page(progress_html(replace(running, progress=None))).tags
    assert ("i", {"class": "mjci-job-unknown"}) in unknown
    assert not any(
        "aria-valuenow" in attrs for _, attrs in unknown
    )  # how far is not known, and is not said
    assert progress_line(running, 10) == "IMAGINE 1712345678901234 RUNNING 37% [####......]"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//x", "file:///etc/passwd"]
)
def test_only_web_addresses_are_links(url: str) -> None:
    """A service cannot make a card run something."""
    page = Page(card_html(DONE, Extras(links=[("open", url)])))
    assert [tag for tag, _ in page.tags if tag == "a"] == []
    assert "open" in page.text


def test_a_request_is_shown_without_its_secrets() -> None:
    """Headers, signed parameters and passwords in addresses; the body byte for byte, pictures
    shortened.
    """
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


def test_tables_are_aligned() -> None:
    """Names on the left, findings on the right."""
    assert table_text([("a", "1"), ("long", "2")]) == "a     1\nlong  2"
