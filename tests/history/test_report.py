"""The report of a history: one page that loads nothing, or a notebook that papermill executes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import list_secrets
from jupyter_mjci.errors import HistoryError, InvalidRequest
from jupyter_mjci.history import report as reports
from jupyter_mjci.session import Session
from tests.cli.conftest import run
from tests.history.test_referee import PLAIN

KEY_ID = "AKIDabcdefghijklmnop1234"


class Page(HTMLParser):
    """The headings, figures, attributes and texts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def get_after(self, text: str) -> str:
        return self.texts[self.texts.index(text) + 1]


def get_secret(session: Session) -> str:
    return list_secrets(session.settings)[0]


@pytest.fixture
def drawn(tmp_path: Path) -> Session:
    """A session with two pictures, and failures whose texts are as bad as they come."""
    session = mjci.sandbox(speed=float("inf"), home=tmp_path)
    text = "a 狐狸 🦊 <script>alert(1)</script> https://x.y/a.png?size=9&sign=SIGNED"
    first, second = (session.follow(session.mj.imagine(prompt)).run() for prompt in ("fox", text))
    for job in (first, second):
        session.picture(job).run()
    reasons = {"1": f"key {KEY_ID} <b>refused</b>", "2": f"no access with {get_secret(session)}"}
    failed = [
        Job(
            "mj",
            number,
            "UPSCALE",
            Status.FAILED,
            subject=text,
            parent=first.id,
            submitted=first.submitted,
            reason=reason,
        )
        for number, reason in reasons.items()
    ]
    session.journal.record_jobs(failed, 2e9)
    return session


def test_page_is_complete_escaped_redacted_and_loads_nothing(
    drawn: Session, tmp_path: Path
) -> None:
    path = drawn.history.report(tmp_path / "june.html", tz="Asia/Shanghai", prices={"*": 0.5})
    page = Page(path)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert len(sources) == 10 + 4  # plots; failures show the picture that they were made of
    assert all(value.startswith("data:image/") for value in sources)
    html = path.read_text("utf-8")
    assert not re.search(r"url\(|@import|\son\w+=", html)
    for secret in (KEY_ID, get_secret(drawn), "SIGNED"):
        assert secret not in html
    assert "<b>refused" not in html
    assert "a 狐狸 🦊 <script>alert(1)</script> https://x.y/a.png?size=9" in page.texts
    assert (page.get_after("jobs"), page.get_after("success rate")) == ("4", "50.0%")
    assert page.get_after("first job") == "2026-01-01 08:00"
    assert "Cost" in page.texts
    assert "Bytes in and out" not in page.texts


def test_page_is_the_same_from_every_kind_of_frame(tmp_path: Path) -> None:
    arrow = pa.Table.from_pandas(PLAIN)
    frames = {
        "pandas": PLAIN,
        "polars": pl.from_arrow(arrow),
        "lazy": pl.from_arrow(arrow).lazy(),  # type: ignore[union-attr]
        "arrow": arrow,
        "dask": dd.from_pandas(PLAIN, npartitions=3, sort=False),
    }
    pages = {
        name: Page(mjci.analyse(frame).report(tmp_path / f"{name}.html")).texts
        for name, frame in frames.items()
    }
    assert all(texts == pages["pandas"] for texts in pages.values())
    titles = [section.title for section in reports.SECTIONS]
    assert [text for text in pages["pandas"] if text in titles] == titles


def test_page_of_a_lake_reads_it_once(
    drawn: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A frame knows the secrets of the environment, a session its own, too.
    monkeypatch.setenv("MJCI_MJ_SECRET", get_secret(drawn))
    drawn.history.archive(tmp_path / "lake")
    lake = drawn.history.lake(tmp_path / "lake")
    reads = []
    read = type(lake).frame
    monkeypatch.setattr(
        type(lake), "frame", lambda self, *args: reads.append(args) or read(self, *args)
    )
    monkeypatch.setattr(type(lake), "compute_metrics", lambda *_: pytest.fail("a second read"))
    page = lake.mjci.report(tmp_path / "lake.html", archive=drawn.archive)
    assert len(reads) == 1
    assert Page(page).texts == Page(drawn.history.report(tmp_path / "journal.html")).texts


def test_compacted_jobs_are_smaller_and_answer_the_same() -> None:
    compacted = reports.compact(PLAIN.assign(cost=pd.NA))
    assert "cost" not in compacted
    assert compacted.memory_usage(deep=True).sum() < PLAIN.memory_usage(deep=True).sum()
    for question in ("turnaround", "failures", "retries", "durations"):
        answers = [getattr(frame.mjci, question)() for frame in (compacted, PLAIN)]
        pd.testing.assert_frame_equal(*answers)


def test_filters_choose_the_jobs(drawn: Session, tmp_path: Path) -> None:
    page = Page(drawn.history.report(tmp_path / "a.html", status="failed", since="2026-01-01"))
    assert page.get_after("jobs") == "2"
    later = PLAIN["submitted"].iloc[60]
    page = Page(PLAIN.mjci.report(tmp_path / "b.html", since=later))
    assert page.get_after("jobs") == "60"


@pytest.mark.parametrize(
    "frame",
    [
        PLAIN.iloc[:0],
        PLAIN.iloc[:1],
        PLAIN[["status", "submitted"]],
        PLAIN.assign(submitted=pd.NaT),
        PLAIN.astype(dict.fromkeys(PLAIN, object)),
        PLAIN.set_index(pd.Index([1] * len(PLAIN))),
        PLAIN.assign(submitted=PLAIN["submitted"].astype(str)),
    ],
    ids=["empty", "one row", "two columns", "no times", "objects", "equal labels", "text times"],
)
def test_page_of_an_odd_frame_is_written(frame: pd.DataFrame, tmp_path: Path) -> None:
    page = Page(frame.mjci.report(tmp_path / "odd.html"))
    assert page.get_after("jobs") == str(len(frame))


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    session = mjci.sandbox()
    with pytest.raises(InvalidRequest, match="no page"):
        session.history.report(tmp_path / "a.pdf")
    for name in ("no/a.html", "no/a.ipynb"):
        with pytest.raises(HistoryError, match="cannot be written"):
            session.history.report(tmp_path / name)
    for arguments in ({"tz": "Mars"}, {"every": "aeon"}, {"since": "soon"}, {"service": "xx"}):
        for suffix in ("html", "ipynb"):
            with pytest.raises(InvalidRequest, match="is not a"):
                session.history.report(tmp_path / f"a.{suffix}", **arguments)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize(
    ("days", "period"), [(0, "hour"), (5, "hour"), (90, "day"), (700, "week"), (3000, "month")]
)
def test_period_fits_the_history(days: int, period: str) -> None:
    start = pd.Timestamp("2020-01-01")
    times = pd.Series([start, start + pd.Timedelta(days=days)])
    assert reports.choose_period(times) == period
    assert reports.choose_period(times.iloc[:0]) == "hour"


@pytest.mark.kernel
def test_notebook_is_executed_with_other_parameters(
    drawn: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session on the same journal, whose proxy is never asked."""
    monkeypatch.setenv("MJCI_HOME", str(tmp_path))
    monkeypatch.setenv("MJCI_MJ_URL", "http://127.0.0.1:9")
    path = drawn.history.report(tmp_path / "june.ipynb", since="2026-01-01", prices={"*": 0.5})
    made = tmp_path / "made.ipynb"
    command = [sys.executable, "-m", "papermill", str(path), str(made), "-p", "status", "failed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cells = json.loads(made.read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    plots = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(plots) == len(reports.SECTIONS)
    (totals,) = [cell for cell in cells if "df.mjci.timeline(None)" in "".join(cell["source"])]
    text = "".join(totals["outputs"][0]["data"]["text/plain"])
    assert text.split()[-6:] == ["0", "2", "0", "2", "0", "0"]


def test_command_writes_the_page(
    drawn: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MJCI_HOME", str(tmp_path))
    monkeypatch.setenv("MJCI_MJ_URL", "http://127.0.0.1:9")
    path = tmp_path / "june.html"
    done = run("report", str(path), "--tz", "Asia/Shanghai", "--since", "2026-01-01")
    assert done.stdout == f"Report: {path}\n", done.stderr
    assert Page(path).get_after("first job") == "2026-01-01 08:00"
    refused = run("report", str(path), "--every", "aeon")
    assert refused.returncode == 2
    assert "not a valid period" in refused.stderr
