"""Analyses: results computed by hand, equal for every partitioning, and readable plots."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dask.dataframe as dd
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.analysis import METRICS, JobAccessor, Query, run_query
from jupyter_mjci.history.frames import jobs_to_frame
from jupyter_mjci.history.plots import PlotAccessor

THEN = datetime(2026, 1, 30, 23, 30, tzinfo=UTC)
PRICES = {"IMAGINE": 0.03, "*": 0.01}


def job(
    number: int,
    action: str,
    status: Status,
    queue_time: float | None,
    run_time: float | None,
    reason: str = "",
) -> Job:
    submitted = THEN + timedelta(minutes=20 * number)
    started = None if queue_time is None else submitted + timedelta(seconds=queue_time)
    finished = None
    if started is not None and run_time is not None:
        finished = started + timedelta(seconds=run_time)
    return Job(
        "mj",
        str(number),
        action,
        status,
        subject="x",
        submitted=submitted,
        started=started,
        finished=finished,
        reason=reason,
    )


JOBS = [
    job(0, "IMAGINE", Status.SUCCEEDED, 2, 30),
    job(1, "IMAGINE", Status.SUCCEEDED, 4, 50),
    job(2, "UPSCALE", Status.FAILED, 1, 5, "banned"),
    job(3, "IMAGINE", Status.FAILED, 8, 1),
    job(4, "UPSCALE", Status.RUNNING, 3, None),
    job(5, "", Status.CANCELLED, None, None),
    Job("mj", "untimed", "IMAGINE"),
]


def make_history(rows: int = 5_000) -> pd.DataFrame:
    """Make a history with missing times, texts and ends, over the turn of a month and a year."""
    rng = np.random.default_rng(7)
    submitted = pd.Timestamp("2025-12-28", tz="UTC") + pd.to_timedelta(
        rng.integers(0, 70 * 86_400, rows), unit="s"
    )
    started = submitted + pd.to_timedelta(rng.exponential(20, rows), unit="s")
    finished = started + pd.to_timedelta(rng.lognormal(3.5, 0.4, rows), unit="s")
    history = pd.DataFrame(
        {
            "service": "mj",
            "action": rng.choice(["IMAGINE", "UPSCALE", "VARIATION", None], rows),
            "status": rng.choice(
                [status.value for status in Status], rows, p=[0.02, 0.02, 0.01, 0.85, 0.08, 0.02]
            ),
            "submitted": submitted,
            "started": started,
            "finished": finished,
            "reason": rng.choice(["banned", "timed out", None], rows),
        }
    )
    for name in ("submitted", "started", "finished"):
        history[name] = history[name].where(rng.random(rows) > 0.05).astype("datetime64[us, UTC]")
    return history.astype(
        {"service": "string", "action": "string", "reason": "string", "status": "category"}
    )


def to_rows(result: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in result.astype(object).where(result.notna(), None).itertuples(index=False)
    ]


def test_timeline_counts_jobs_per_day_of_submission() -> None:
    """A job without that time does not count."""
    days = [pd.Timestamp("2026-01-30", tz="UTC"), pd.Timestamp("2026-01-31", tz="UTC")]
    assert to_rows(jobs_to_frame(JOBS).mjci.timeline()) == [
        (days[0], 2, 2, 0, 0, 0),
        (days[1], 4, 0, 2, 1, 1),
    ]


def test_throughput_is_a_rate_per_hour() -> None:
    """Of ended jobs, by when they ended, also for months."""
    hours = jobs_to_frame(JOBS).mjci.throughput()
    assert list(hours["jobs"]) == [2, 2]
    assert list(hours["per_hour"]) == [2, 2]
    assert list(jobs_to_frame(JOBS).mjci.throughput("month")["per_hour"]) == [4 / (31 * 24)]


def test_turnaround_measures_submission_to_success() -> None:
    """Failed and cancelled jobs do not count."""
    (row,) = to_rows(
        jobs_to_frame(JOBS).mjci.turnaround()[["action", "jobs", "mean", "p50", "p95", "max"]]
    )
    assert row == ("IMAGINE", 2, 43, 43, pytest.approx(32 + 22 * 0.95), 54)


def test_queue_stats_has_rate_and_quantiles() -> None:
    frame = jobs_to_frame(JOBS).mjci.queue_stats(every=None)
    assert to_rows(frame[["action", "jobs", "success_rate", "queue_time_p50", "run_time_p50"]]) == [
        ("IMAGINE", 3, pytest.approx(2 / 3), 4, 30),
        ("UPSCALE", 2, 0, 2, 5),
        (None, 1, 0, None, None),
    ]


def test_failures_are_counted_with_their_share() -> None:
    frame = jobs_to_frame(JOBS * 2)
    frame.loc[frame["id"] == "3", "reason"] = "banned"
    assert to_rows(frame.mjci.failures("reason")[["reason", "jobs", "share"]]) == [
        ("banned", 4, 1.0)
    ]
    assert len(frame.mjci.failures(limit=1)) == 1


def test_success_rate_is_of_ended_jobs() -> None:
    assert list(jobs_to_frame(JOBS).mjci.success_rate()["success_rate"]) == [1, 0]
    assert list(jobs_to_frame(JOBS).mjci.success_rate(every=None, by="service")["ended"]) == [5]


def test_cost_without_a_price_is_missing() -> None:
    """Not 0."""
    assert list(jobs_to_frame(JOBS).mjci.cost({"IMAGINE": 0.5})["cost"]) == [1]
    assert jobs_to_frame(JOBS).mjci.cost({"UPSCALE": 1})["cost"].isna().all()
    assert list(jobs_to_frame(JOBS).mjci.cost({"*": 2})["price"]) == [2]


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_periods_agree_with_the_calendar_of_pandas(every: Any) -> None:
    """Over leap years and the turn of centuries."""
    times = pd.Series(
        pd.date_range("1999-12-01", "2101-03-05", freq="13h17min", tz="UTC", unit="us")
    )
    history = pd.DataFrame({"status": "SUCCEEDED", "submitted": times})
    plain = times.dt.tz_localize(None)
    begins = plain.dt.to_period(
        {"hour": "h", "day": "D", "week": "W-SUN", "month": "M"}[every]
    ).dt.start_time
    expected = begins.value_counts().sort_index()
    frame = run_query(Query(("jobs",), every), history)
    assert list(frame["period"].dt.tz_localize(None)) == list(expected.index)
    assert list(frame["jobs"]) == list(expected)


# Every analysis, with its arguments.
ANALYSES: list[tuple[str, dict[str, Any]]] = [
    ("timeline", {}),
    ("timeline", {"every": "month", "by": "action"}),
    ("throughput", {}),
    ("throughput", {"every": "week"}),
    ("turnaround", {}),
    ("turnaround", {"every": "week", "by": ()}),
    ("queue_stats", {}),
    ("queue_stats", {"every": None, "by": ()}),
    ("queue_stats", {"every": "hour"}),
    ("failures", {}),
    ("success_rate", {"by": ["service", "action"]}),
    ("cost", {"prices": PRICES}),
]


@pytest.mark.parametrize(("name", "arguments"), ANALYSES)
@pytest.mark.parametrize("order", ["submitted", "action"], ids=["cut by time", "cut across"])
def test_dask_partitions_give_the_result_of_the_whole(
    name: str, arguments: dict[str, Any], order: str
) -> None:
    """Also where groups lie in several partitions, quantiles included."""
    history = make_history().sort_values(order, ignore_index=True)
    parts = JobAccessor(dd.from_pandas(history, npartitions=4, sort=False))
    whole = getattr(history.mjci, name)(**arguments)
    pd.testing.assert_frame_equal(getattr(parts, name)(**arguments), whole, rtol=1e-12)
    assert len(whole) > 0


def test_empty_history_gives_empty_results_with_the_same_columns() -> None:
    empty, full = jobs_to_frame([]), jobs_to_frame(JOBS)
    for name, arguments in ANALYSES:
        nothing = getattr(empty.mjci, name)(**arguments)
        something = getattr(full.mjci, name)(**arguments)
        assert list(nothing.columns) == list(something.columns), name
        assert len(nothing) == 0 or not arguments.get("by", "x"), name


def test_invalid_arguments_raise() -> None:
    with pytest.raises(InvalidRequest, match="every is one of hour"):
        jobs_to_frame(JOBS).mjci.timeline("fortnight")
    with pytest.raises(InvalidRequest, match="colour"):
        jobs_to_frame(JOBS).mjci.timeline(by="colour")
    with pytest.raises(InvalidRequest, match="no column reason"):
        jobs_to_frame(JOBS).drop(columns="reason").mjci.failures()
    with pytest.raises(AttributeError, match="frames of jobs"):
        pd.DataFrame({"a": [1]}).mjci  # noqa: B018 - the access raises


def test_metrics_cover_every_duration() -> None:
    assert {
        "jobs",
        "queue_time_p50",
        "queue_time_p95",
        "run_time_p50",
        "run_time_p95",
        "total_mean",
    } <= set(METRICS)


# --- plots ----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def headless_backend() -> Iterator[None]:
    mpl.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("name", [name for name in vars(PlotAccessor) if not name.startswith("_")])
def test_plot_is_labelled_and_readable(name: str) -> None:
    """Title and units, transparent, text that contrasts with white and black, nothing cut off."""
    ax = getattr(make_history().mjci.plot, name)(**({"prices": PRICES} if name == "cost" else {}))
    figure = ax.figure
    figure.canvas.draw()
    assert ax.get_title("left")
    assert ax.get_xlabel()
    assert ax.get_ylabel() or ax.patches
    assert figure.get_facecolor()[3] == ax.get_facecolor()[3] == 0
    texts = [
        ax.title,
        ax._left_title,
        ax.xaxis.label,
        ax.yaxis.label,
        *ax.get_xticklabels(),
        *ax.get_yticklabels(),
    ]
    texts += ax.get_legend().get_texts() if ax.get_legend() else []
    for text in texts:
        if text.get_text():
            assert (
                min(_contrast(text.get_color(), ground) for ground in ("white", "#111111")) >= 3.9
            ), text
    box, paper = ax.get_tightbbox(), figure.bbox
    assert box is not None
    assert box.x0 >= 0
    assert box.x1 <= paper.x1 + 1


def _contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2."""
    light = [_luminance(mpl.colors.to_rgb(color)) for color in (first, second)]
    return (max(light) + 0.05) / (min(light) + 0.05)


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_plot_of_a_single_day_is_a_narrow_bar() -> None:
    """And its ticks are whole numbers."""
    ax = jobs_to_frame([JOBS[0]]).mjci.plot.timeline()
    low, high = ax.get_xlim()
    (bar,) = ax.patches
    assert bar.get_width() < (high - low) / 3
    assert all(float(tick).is_integer() for tick in ax.get_yticks())


def test_plot_uses_the_given_axes() -> None:
    import matplotlib.pyplot as plt

    _, (left, right) = plt.subplots(1, 2)
    assert make_history().mjci.plot.timeline("week", ax=left) is left
    assert left.patches
    assert not right.patches
