"""Whatever texts a job has, they stay texts: in the HTML of every view, and in a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import jupyter_mjci as mjci
from jupyter_mjci.cli.watch_row import Row
from jupyter_mjci.cli.watch_table import WatchTable
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import JobFailed, WaitTimeout
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
from jupyter_mjci.notebook.gallery import GalleryItem, render_page
from tests.gateway import PICTURE

# Control characters of terminals, and those of the property
# Bidi_Control (Unicode Standard Annex 9).
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
FRAGMENTS = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"\' onmouseover=alert(1) x="',
    "' autofocus onfocus=alert(1) '",
    "</div></pre></code></td>-->",
    "<!--",
    "<![CDATA[",
    "]]>",
    "&lt;b&gt;&#x3c;&amp",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\x1b[2J\x1b]0;title\x07",
    "\x1b]8;;http://attacker.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "\r\n\x0b\x0c\x85\u2028\u2029",
    "\u202etxt.exe\u2066\u061c\u200f",
    "\ud800",
    "$$\\href{x}{y}$$ `{{a}}` ${b} %s %(c)s {0} [link](x)",
    "[bold red]rich[/] [link=file:///]",
]
# It begins with a letter, so that no field is taken for empty.
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=20)), max_size=4).map(
    lambda parts: "a" + "".join(parts)
)


def make_job(text: str, status: Status) -> Job:
    return Job(
        "mj",
        text,
        text,
        status,
        40,
        text,
        buttons=(Button(text, text, text), Button("b", "")),
        reason=text,
        user_data=text,
        parent=text,
        account=text,
        queue=text,
        final_prompt=text,
    )


HTML_VIEWS: dict[str, Callable[[Job], str]] = {
    "card": lambda job: card_html(
        job, Extras([job.subject], {job.subject: 1}, links=[(job.subject, "https://a.example/")])
    ),
    "progress": lambda job: progress_html(job, note=job.reason),
    "notice": lambda job: notice_html(job.subject),
    "table": lambda job: table_html([(job.subject, job.reason)]),
    "gallery": lambda job: render_page([make_item(job.subject)], job.subject),
}
TEXT_VIEWS: dict[str, Callable[[Job], str]] = {
    "str": str,
    "repr": repr,
    "picture": lambda job: repr(job[0]),
    "card": card_text,
    "headline": headline,
    "progress": progress_line,
    "table": lambda job: table_text([(job.subject, job.reason)]),
    "failure": lambda job: "\n".join(JobFailed(job)._render_traceback_()),
    "timeout": lambda job: str(WaitTimeout(job, 1)),
    "watch": lambda job: render_watch_table(job),
}


def make_item(text: str) -> GalleryItem:
    return GalleryItem(PICTURE, text, text, text, text, text)


def render_watch_table(job: Job) -> str:
    rows = {("mj", job.id): Row(("mj", job.id), job, 0.0)}
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(WatchTable(rows, lambda: 1.0, show_all=True))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


class Skeleton(HTMLParser):
    """The elements of a page in their order, each with the names of its attributes.

    An end of a line (`<br>`) is text.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[tuple[str, ...]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if (tag, attrs) != ("br", []):
            self.parts.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append((f"/{tag}",))

    def handle_comment(self, _: str) -> None:
        self.parts.append(("comment",))

    def handle_decl(self, decl: str) -> None:
        self.parts.append((decl,))

    unknown_decl = handle_pi = handle_decl


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("view", HTML_VIEWS)
@settings(max_examples=25, deadline=None)
@given(text=TEXTS)
def test_text_changes_no_element_and_no_attribute(view: str, status: Status, text: str) -> None:
    """The page has the same elements and attributes as that of a job whose texts are one letter."""
    html = HTML_VIEWS[view](make_job(text, status))
    assert Skeleton(html).parts == Skeleton(HTML_VIEWS[view](make_job("a", status))).parts
    assert CONTROL.search(html) is None


@pytest.mark.parametrize("view", TEXT_VIEWS)
@settings(max_examples=40, deadline=None)
@given(text=TEXTS, status=st.sampled_from(Status))
def test_no_control_character_reaches_a_terminal(view: str, status: Status, text: str) -> None:
    shown = TEXT_VIEWS[view](make_job(text, status))
    assert CONTROL.search(shown) is None
    shown.encode()


def list_hostile_jobs() -> Iterator[Job]:
    for number, fragment in enumerate(FRAGMENTS):
        job = make_job(f"a{fragment}", Status.FAILED)
        yield replace(job, id=f"17000000000000{number:02d}")


def test_report_and_frames_escape_texts(tmp_path: Path) -> None:
    """Also the names of columns and groups, which become labels of plots."""
    with mjci.sandbox() as session:
        session.journal.record_jobs(list(list_hostile_jobs()), 1_767_225_600.0)
        session.history.report(tmp_path / "a.html")
        html = (tmp_path / "a.html").read_text("utf-8")
        parts = Skeleton(html).parts
        names = {name for _, *attributes in parts for name in attributes}
        assert {tag for tag, *_ in parts}.isdisjoint({"script", "svg/onload=alert(1)", "iframe"})
        assert [name for name in names if name.startswith("on")] == []
        assert CONTROL.search(html) is None
