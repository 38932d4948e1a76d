"""Put the analyses of a history on one page: figures, plots, and the slowest and failed jobs.

The page is a single file that loads nothing from anywhere. Its
sections are a table; `report_notebook` writes the same ones as a
notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from jupyter_mjci.client.job import Job
from jupyter_mjci.client.response_text import shorten
from jupyter_mjci.errors import InvalidRequest, sanitize
from jupyter_mjci.history.history_files import wrap_write_errors
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.history.normalization import normalize_statuses, normalize_times, release_memory
from jupyter_mjci.history.periods import Period, parse_period, parse_timezone
from jupyter_mjci.history.plots import JobAnalyses, render_plot, select_arguments
from jupyter_mjci.imaging.thumbnails import make_thumbnail, to_base64

MAX_PERIODS = 120  # of a plot, about
MAX_ROWS = 12  # of a table
MAX_JOBS = 12  # of a list of jobs
MAX_TEXT = 200  # characters
THUMBNAIL_SIZE = 240  # pixels
MAX_THUMBNAIL_BYTES = 20_000
# The first that makes at most MAX_PERIODS of a history, by its hours.
_PERIOD_HOURS: Mapping[Period, int] = {"hour": 1, "day": 24, "week": 168, "month": 730}
# Texts that tables and plots show.
_KEY_COLUMNS = ("action", "reason", "rule", "service")
# Texts of which many are equal.
_REPEATED_COLUMNS = (*_KEY_COLUMNS, "origin")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report.

    Args:
        title: its heading
        question: the analysis, and the plot of the same name
        arguments: of both
        table: more arguments of the analysis for the table below
            the plot; None for no table
        needs: columns without which there is no section
    """

    title: str
    question: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] | None = field(default_factory=dict)
    needs: tuple[str, ...] = ()


_WHOLE = {"every": None, "by": "action"}
SECTIONS = (
    Section("Jobs submitted", "timeline", table=None),
    Section("Success rate", "success_rate", table=_WHOLE, needs=("action",)),
    Section("Throughput", "throughput", table=None, needs=("finished",)),
    Section("Jobs at a time", "concurrency", table=None, needs=("started", "finished")),
    Section("Time in the queue", "queue_stats", table=_WHOLE, needs=("action", "started")),
    Section("From submission to success", "turnaround", table=_WHOLE, needs=("action", "finished")),
    Section("Durations, open jobs included", "durations", needs=("action", "finished")),
    Section("Failures", "failures", {"by": "reason"}, needs=("reason",)),
    Section("Requests that failed at first", "retries", needs=("id", "action", "subject")),
    Section("Cost", "cost", table=_WHOLE, needs=("action", "cost")),
    Section("Bytes in and out", "savings", {"by": "rule"}, needs=("subject", "size_out")),
)
# What the sections and the lists of jobs read.
REQUIRED_COLUMNS = ("status", "submitted")
OPTIONAL_COLUMNS = (
    "service",
    "origin",
    "id",
    "action",
    "subject",
    "started",
    "finished",
    "reason",
    "parent",
    "rule",
    "size_in",
    "size_out",
    "cost",
)


def redact_keys(frame: pd.DataFrame, redact: Callable[[str], str]) -> pd.DataFrame:
    """Return jobs without secrets in the texts that become labels."""
    changes = {}
    for name in set(_KEY_COLUMNS) & set(frame.columns):
        texts = [str(text) for text in frame[name].dropna().unique()]
        secret = {text: clean for text in texts if (clean := redact(text)) != text}
        if secret:
            changes[name] = frame[name].astype("string").replace(secret)
    return frame.assign(**changes) if changes else frame


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Return jobs without empty columns; a text that is repeated takes a byte or two each time."""
    known = [name for name in frame if name in REQUIRED_COLUMNS or frame[name].notna().any()]
    repeated = {name: "category" for name in _REPEATED_COLUMNS if name in known}
    return frame[known].astype(repeated)


REPORT_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is made with.

    Args:
        tz: the time zone of all times
        every: the period of the plots; by default one that fits
            the history
        prices: per action, see `cost`
        archive: where pictures are looked for
    """

    tz: str | tzinfo = "UTC"
    every: Period | None = None
    prices: Mapping[str, float] | None = None
    archive: ImageArchive | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tz", parse_timezone(self.tz))
        object.__setattr__(self, "every", self.every and parse_period(self.every))


def write_report(
    path: str | Path,
    frame: pd.DataFrame,
    analyse: Callable[[pd.DataFrame], JobAnalyses],
    redact: Callable[[str], str],
    options: ReportOptions,
) -> Path:
    """Write the report of a DataFrame of jobs as a page, and return its path.

    Args:
        path: the file, with the extension .html
        frame: the jobs, with REQUIRED_COLUMNS
        analyse: returns the analyses of a frame
        redact: removes secrets from a text
        options: what it is made with

    Raises:
        InvalidRequest: the extension is another one
        HistoryError: the file cannot be written
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in (".html", ".htm"):
        raise InvalidRequest(
            f"{path} is no page.",
            hint="Use the extension .html; s.history.report writes .ipynb, too.",
        )
    frame = compact(redact_keys(frame.reset_index(drop=True), redact))
    with wrap_write_errors(target):
        target.write_text(Report(frame, analyse(frame), redact, options).render(), "utf-8")
    return target


@dataclass(frozen=True, slots=True)
class Report:
    """A report of jobs without secrets in their keys; see `write_report`."""

    frame: pd.DataFrame
    analyses: JobAnalyses
    redact: Callable[[str], str]
    options: ReportOptions

    def render(self) -> str:
        """Return the page as HTML."""
        page = Template(files(__package__).joinpath("report.html").read_text("utf-8"))
        return page.substitute(
            title="Report of jobs",
            facts="\n".join(self._iter_facts()),
            sections="\n".join(self._iter_sections()),
            jobs="\n".join(self._iter_jobs()),
        )

    # --- figures and plots ------------------------------------

    def _iter_facts(self) -> Iterator[str]:
        counts = self.analyses.timeline(None).iloc[0]
        rate = self.analyses.success_rate(None)["success_rate"].iloc[0]
        times = normalize_times(self.frame["submitted"])
        facts = {
            "first job": self._format_time(times.min()),
            "last job": self._format_time(times.max()),
            "jobs": f"{len(self.frame):,}",
            **{name: f"{counts[name]:,}" for name in ("succeeded", "failed", "cancelled", "open")},
            "success rate": _format_cell("success_rate", rate),
        }
        if "finished" in self.frame:
            seconds = self.analyses.turnaround(by=())
            for name, label in (("p50", "half succeed within"), ("p95", "95 % succeed within")):
                facts[label] = f"{_format_cell(name, seconds[name].iloc[0])} s"
        for name, value in facts.items():
            yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"

    def _iter_sections(self) -> Iterator[str]:
        every = self.options.every or choose_period(normalize_times(self.frame["submitted"]))
        known = {str(name) for name in self.frame.columns if self.frame[name].notna().any()}
        if self.options.prices:
            known.add("cost")
        for section in SECTIONS:
            if known.issuperset((*REQUIRED_COLUMNS, *section.needs)):
                yield self._render_section(section, every)

    def _render_section(self, section: Section, every: Period) -> str:
        offered = {
            "every": every,
            "tz": self.options.tz,
            "prices": self.options.prices,
            **section.arguments,
        }
        plot = render_plot(
            self.analyses, section.question, file_format="svg", has_title=False, **offered
        )
        url = f"data:image/svg+xml;base64,{to_base64(plot)}"
        title = escape(section.title)
        parts = [f'<h2>{title}</h2><img src="{url}" alt="{title}">']
        if section.table is not None:
            question = getattr(self.analyses, section.question)
            table = question(**select_arguments(question, {**offered, **section.table}))
            parts.append(_render_table(table))
        release_memory()
        return f"<section>{''.join(parts)}</section>"

    # --- jobs -------------------------------------------------

    def _iter_jobs(self) -> Iterator[str]:
        """Yield the slowest jobs and the latest failures, where there are any."""
        submitted = normalize_times(self.frame["submitted"])
        statuses = normalize_statuses(self.frame["status"])
        failed = submitted[(statuses == "FAILED").fillna(value=False)]
        yield from self._list_jobs("Latest failures", failed.nlargest(MAX_JOBS), submitted)
        if "finished" in self.frame:
            seconds = (normalize_times(self.frame["finished"]) - submitted).dt.total_seconds()
            slowest = seconds[(statuses == "SUCCEEDED").fillna(value=False)].nlargest(MAX_JOBS)
            yield from self._list_jobs("Slowest jobs", slowest, submitted)

    def _list_jobs(self, title: str, chosen: pd.Series, submitted: pd.Series) -> Iterator[str]:
        if chosen.empty:
            return
        yield f"<section class=wide><h2>{escape(title)}</h2><div class=jobs>"
        for row, value in zip(chosen.index, chosen, strict=True):
            job = self.frame.loc[row].dropna().to_dict()
            took = f"{value:,.1f} s" if isinstance(value, float) else ""
            yield self._render_job(job, self._format_time(submitted[row]), took)
        yield "</div></section>"

    def _render_job(self, job: Mapping[str, Any], submitted: str, took: str) -> str:
        lines = {
            "b": " · ".join(filter(None, [str(job.get("action", "")), took])),
            "p": str(job.get("subject", "")),
            "p class=reason": str(job.get("reason", "")),
            "code": " · ".join(filter(None, [submitted, str(job.get("id", ""))])),
        }
        texts = [
            f"<{tag}>{_escape(self.redact(text))}</{tag.partition(' ')[0]}>"
            for tag, text in lines.items()
            if text
        ]
        caption = f"<figcaption>{''.join(texts)}</figcaption>"
        return f"<figure>{self._render_thumbnail(job)}{caption}</figure>"

    def _render_thumbnail(self, job: Mapping[str, Any]) -> str:
        """Return the job's picture, else that of its parent, else nothing."""
        archive = self.options.archive
        for name in ("id", "parent"):
            key = Job(str(job.get("service", "")), str(job.get(name, "")))
            image = archive.find(key) if archive is not None and key.id else None
            if image is None:
                continue
            try:
                content, media_type, *_ = make_thumbnail(
                    image.read_bytes(), THUMBNAIL_SIZE, MAX_THUMBNAIL_BYTES
                )
            except (OSError, ValueError):
                continue
            url = f"data:{media_type};base64,{to_base64(content)}"
            return f'<img src="{url}" alt="Picture of {_escape(key.id)}">'
        return ""

    def _format_time(self, time: pd.Timestamp) -> str:
        if pd.isna(time):
            return "–"
        return f"{time.tz_localize('UTC').tz_convert(self.options.tz):%Y-%m-%d %H:%M}"


def choose_period(times: pd.Series) -> Period:
    """Return the shortest period that makes at most about MAX_PERIODS of some times."""
    hours = (times.max() - times.min()).total_seconds() / 3600
    for period, length in _PERIOD_HOURS.items():
        if not hours > length * MAX_PERIODS:
            return period
    return "quarter"


def _render_table(frame: pd.DataFrame) -> str:
    heads = "".join(f"<th>{escape(str(name).replace('_', ' '))}</th>" for name in frame.columns)
    rows = []
    for values in frame.head(MAX_ROWS).itertuples(index=False):
        cells = [
            f"<td>{_escape(_format_cell(name, value))}</td>"
            for name, value in zip(frame.columns, values, strict=True)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    more = len(frame) - MAX_ROWS
    note = f"<p>{more:,} more rows</p>" if more > 0 else ""
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>{note}"


def _format_cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if name in ("share", "success_rate"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _escape(text: str) -> str:
    return escape(sanitize(shorten(text, MAX_TEXT)))
