"""Questions to a history: the numbers by hand, equal on every engine, and pictures that can be
read.
"""

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
    waited: float | None,
    took: float | None,
    reason: str = "",
) -> Job:
    submitted = THEN + timedelta(minutes=20 * number)
    started = None if waited is None else submitted + timedelta(seconds=waited)
    finished = None if took is None or started is None else started + timedelta(seconds=took)
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


def many(rows: int = 5_000) -> pd.DataFrame:
    """A history with everything odd: missing times, words and ends, over a month's and a year's
    turn.
    """
    made = np.random.default_rng(7)
    submitted = pd.Timestamp("2025-12-28", tz="UTC") + pd.to_timedelta(
        made.integers(0, 70 * 86_400, rows), unit="s"
    )
    started = submitted + pd.to_timedelta(made.exponential(20, rows), unit="s")
    finished = started + pd.to_timedelta(made.lognormal(3.5, 0.4, rows), unit="s")
    history = pd.DataFrame(
        {
            "service": "mj",
            "action": made.choice(["IMAGINE", "UPSCALE", "VARIATION", None], rows),
            "status": made.choice(
                [one.value for one in Status], rows, p=[0.02, 0.02, 0.01, 0.85, 0.08, 0.02]
            ),
            "submitted": submitted,
            "started": started,
            "finished": finished,
            "reason": made.choice(["banned", "timed out", None], rows),
        }
    )
    for name in ("submitted", "started", "finished"):
        history[name] = history[name].where(made.random(rows) > 0.05).astype("datetime64[us, UTC]")
    return history.astype(
        {"service": "string", "action": "string", "reason": "string", "status": "category"}
    )


def told(answer: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in answer.astype(object).where(answer.notna(), None).itertuples(index=False)
    ]


def test_timeline() -> None:
    """Jobs by the day on which they were submitted; one without a time is on no day."""
    days = [pd.Timestamp("2026-01-30", tz="UTC"), pd.Timestamp("2026-01-31", tz="UTC")]
    assert told(jobs_to_frame(JOBS).mjci.timeline()) == [
        (days[0], 2, 2, 0, 0, 0),
        (days[1], 4, 0, 2, 1, 1),
    ]


def test_throughput() -> None:
    """Ended jobs by when they ended, as a rate that does not depend on the period's length."""
    hours = jobs_to_frame(JOBS).mjci.throughput()
    assert list(hours["jobs"]) == [2, 2]
    assert list(hours["per_hour"]) == [2, 2]
    assert list(jobs_to_frame(JOBS).mjci.throughput("month")["per_hour"]) == [4 / (31 * 24)]


def test_turnaround() -> None:
    """From submission to success; the other ends do not count."""
    (row,) = told(
        jobs_to_frame(JOBS).mjci.turnaround()[["action", "jobs", "mean", "p50", "p95", "max"]]
    )
    assert row == ("IMAGINE", 2, 43, 43, pytest.approx(32 + 22 * 0.95), 54)


def test_queue_stats() -> None:
    made = jobs_to_frame(JOBS).mjci.queue_stats(every=None)
    assert told(made[["action", "jobs", "success_rate", "queue_time_p50", "run_time_p50"]]) == [
        ("IMAGINE", 3, pytest.approx(2 / 3), 4, 30),
        ("UPSCALE", 2, 0, 2, 5),
        (None, 1, 0, None, None),
    ]


def test_failures() -> None:
    """Most frequent first, with their share."""
    made = jobs_to_frame(JOBS * 2)
    made.loc[made["id"] == "3", "reason"] = "banned"
    assert told(made.mjci.failures("reason")[["reason", "jobs", "share"]]) == [("banned", 4, 1.0)]
    assert len(made.mjci.failures(limit=1)) == 1


def test_success_rate() -> None:
    """Of the ended ones: what still runs is no failure yet."""
    assert list(jobs_to_frame(JOBS).mjci.success_rate()["success_rate"]) == [1, 0]
    assert list(jobs_to_frame(JOBS).mjci.success_rate(every=None, by="service")["ended"]) == [5]


def test_cost() -> None:
    """Succeeded jobs at their action's price; without one the cost is not known, rather than 0."""
    assert list(jobs_to_frame(JOBS).mjci.cost({"IMAGINE": 0.5})["cost"]) == [1]
    assert jobs_to_frame(JOBS).mjci.cost({"UPSCALE": 1})["cost"].isna().all()
    assert list(jobs_to_frame(JOBS).mjci.cost({"*": 2})["price"]) == [2]


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_periods_begin_where_the_calendar_says(every: Any) -> None:
    """The arithmetic of periods agrees with pandas's calendar over leap years and the turn of
    centuries.
    """
    times = pd.Series(
        pd.date_range("1999-12-01", "2101-03-05", freq="13h17min", tz="UTC", unit="us")
    )
    history = pd.DataFrame({"status": "SUCCEEDED", "submitted": times})
    plain = times.dt.tz_localize(None)
    begins = plain.dt.to_period(
        {"hour": "h", "day": "D", "week": "W-SUN", "month": "M"}[every]
    ).dt.start_time
    expected = begins.value_counts().sort_index()
    made = run_query(Query(("jobs",), every), history)
    assert list(made["period"].dt.tz_localize(None)) == list(expected.index)
    assert list(made["jobs"]) == list(expected)


# Every question with everything that it can be asked.
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


@pytest.mark.parametrize(("name", "asked"), ANALYSES)
@pytest.mark.parametrize("order", ["submitted", "action"], ids=["cut by time", "cut across"])
def test_partitions_answer_as_the_whole(name: str, asked: dict[str, Any], order: str) -> None:
    """However a Dask frame is cut: groups that lie in several partitions are put together,
    quantiles included.
    """
    history = many().sort_values(order, ignore_index=True)
    parts = JobAccessor(dd.from_pandas(history, npartitions=4, sort=False))
    whole = getattr(history.mjci, name)(**asked)
    pd.testing.assert_frame_equal(getattr(parts, name)(**asked), whole, rtol=1e-12)
    assert len(whole) > 0


def test_no_jobs_give_empty_answers_with_the_same_columns() -> None:
    empty, full = jobs_to_frame([]), jobs_to_frame(JOBS)
    for name, asked in ANALYSES:
        nothing, something = (getattr(one.mjci, name)(**asked) for one in (empty, full))
        assert list(nothing.columns) == list(something.columns), name
        assert len(nothing) == 0 or not asked.get("by", "x"), name


def test_wrong_questions_are_told() -> None:
    with pytest.raises(InvalidRequest, match="every is one of hour"):
        jobs_to_frame(JOBS).mjci.timeline("fortnight")
    with pytest.raises(InvalidRequest, match="colour"):
        jobs_to_frame(JOBS).mjci.timeline(by="colour")
    with pytest.raises(InvalidRequest, match="no column reason"):
        jobs_to_frame(JOBS).drop(columns="reason").mjci.failures()
    with pytest.raises(AttributeError, match="frames of jobs"):
        pd.DataFrame({"a": [1]}).mjci  # noqa: B018 - looking is what fails


def test_every_figure_is_one_of_a_kind() -> None:
    assert {
        "jobs",
        "queue_time_p50",
        "queue_time_p95",
        "run_time_p50",
        "run_time_p95",
        "total_mean",
    } <= set(METRICS)


# --- pictures -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def drawing() -> Iterator[None]:
    mpl.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.parametrize("name", [name for name in vars(PlotAccessor) if not name.startswith("_")])
def test_every_picture_is_finished(name: str) -> None:
    """A title, units on the axes, no background of its own, text that contrasts with white and with
    black; and nothing outside the paper.
    """
    ax = getattr(many().mjci.plot, name)(**({"prices": PRICES} if name == "cost" else {}))
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


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    light = [_luminance(mpl.colors.to_rgb(colour)) for colour in (one, other)]
    return (max(light) + 0.05) / (min(light) + 0.05)


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_a_single_day_is_a_bar_and_no_wall() -> None:
    """It takes a part of the width; and jobs are counted in whole numbers, however few they are."""
    ax = jobs_to_frame([JOBS[0]]).mjci.plot.timeline()
    low, high = ax.get_xlim()
    (bar,) = ax.patches
    assert bar.get_width() < (high - low) / 3
    assert all(float(tick).is_integer() for tick in ax.get_yticks())


def test_a_picture_takes_its_place() -> None:
    """On Axes that are given, beside others."""
    import matplotlib.pyplot as plt

    _, (left, right) = plt.subplots(1, 2)
    assert many().mjci.plot.timeline("week", ax=left) is left
    assert left.patches
    assert not right.patches
