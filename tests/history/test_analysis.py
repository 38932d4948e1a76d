"""Analyses: results computed by hand, equal for every partitioning, and readable plots."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.prices import parse_prices
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.frames import jobs_to_frame
from jupyter_mjci.history.normalization import parse_status
from jupyter_mjci.history.plots import PlotAccessor
from jupyter_mjci.history.queries import METRICS, Query, run_query

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
        (days[0], 2, 2, 0, 0, 0, True),
        (days[1], 4, 0, 2, 1, 1, True),
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
        ("(none)", 1, 0, None, None),
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


@pytest.mark.parametrize("every", ["hour", "day", "week", "month", "quarter"])
def test_periods_agree_with_the_calendar_of_pandas(every: Any) -> None:
    """Over leap years and the turn of centuries."""
    times = pd.Series(
        pd.date_range("1999-12-01", "2101-03-05", freq="13h17min", tz="UTC", unit="us")
    )
    history = pd.DataFrame({"status": "SUCCEEDED", "submitted": times})
    plain = times.dt.tz_localize(None)
    begins = plain.dt.to_period(
        {"hour": "h", "day": "D", "week": "W-SUN", "month": "M", "quarter": "Q"}[every]
    ).dt.start_time
    expected = begins.value_counts().sort_index()
    frame = run_query(Query(("jobs",), every, complete=False), history)
    assert list(frame["period"].dt.tz_localize(None)) == list(expected.index)
    assert list(frame["jobs"]) == list(expected)


def is_late(jobs: pd.DataFrame) -> pd.Series:
    return jobs["started"] - jobs["submitted"] > pd.Timedelta(seconds=5)


JANUARY = ("2026-01-01", "2026-02-01")
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
    ("cost", {"prices": PRICES, "by": "status", "statuses": ["succeeded", "failed"]}),
    ("timeline", {"tz": "Asia/Shanghai"}),
    ("queue_stats", {"every": "week", "tz": "America/New_York"}),
    ("throughput", {"tz": "Asia/Kathmandu"}),
    ("success_rate", {"every": "quarter", "by": ["reason", "status"]}),
    ("sla", {"within": 60, "by": "action"}),
    ("durations", {}),
    ("durations", {"of": "queue_time", "by": "service", "now": "2026-06-01"}),
    ("concurrency", {"by": "action"}),
    ("concurrency", {"every": "week", "tz": "Asia/Shanghai"}),
    ("compare", {"before": JANUARY, "after": ("2026-02-01", "2026-03-01"), "by": ()}),
    ("success_rate", {"by": is_late, "every": None}),
    ("turnaround", {"by": {"hour": lambda jobs: jobs["submitted"].dt.hour}, "every": "month"}),
]


@cache
def sort_history(order: str) -> pd.DataFrame:
    return make_history().sort_values(order, ignore_index=True)


@pytest.mark.parametrize(("name", "arguments"), ANALYSES)
@pytest.mark.parametrize("order", ["submitted", "action"], ids=["cut by time", "cut across"])
def test_dask_partitions_give_the_result_of_the_whole(
    name: str, arguments: dict[str, Any], order: str
) -> None:
    """Also where groups lie in several partitions, quantiles included."""
    history = sort_history(order)
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


@pytest.mark.parametrize(
    ("ask", "choice"),
    [
        (lambda jobs: jobs.mjci.success_rate(by="zebra"), "subject"),
        (lambda jobs: jobs.mjci.timeline("zebra"), "quarter"),
        (lambda _: parse_status("zebra"), "CANCELLED"),
    ],
    ids=["column", "period", "status"],
)
def test_choices_are_listed_once(ask: Callable[[pd.DataFrame], object], choice: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(jobs_to_frame(JOBS))
    assert str(caught.value).count(choice) == 1


def test_invalid_arguments_raise() -> None:
    with pytest.raises(InvalidRequest, match="every is one of hour"):
        jobs_to_frame(JOBS).mjci.timeline("fortnight")
    with pytest.raises(InvalidRequest, match="colour"):
        jobs_to_frame(JOBS).mjci.timeline(by="colour")
    with pytest.raises(InvalidRequest, match="no column reason"):
        jobs_to_frame(JOBS).drop(columns="reason").mjci.failures()
    with pytest.raises(AttributeError, match="frames of jobs"):
        pd.DataFrame({"a": [1]}).mjci  # noqa: B018 - the access raises


# --- periods, time zones, groups ------------------------------------------------------------------


def make_times(*times: str, **columns: Any) -> pd.DataFrame:
    """Make succeeded jobs by their time of submission."""
    submitted = pd.to_datetime(list(times), utc=True).as_unit("us")
    frame = pd.DataFrame({"status": "SUCCEEDED", "submitted": submitted, **columns})
    return frame.assign(started=frame["submitted"], finished=frame["submitted"])


def test_outage_is_periods_without_jobs() -> None:
    """Twelve days without a job count: the mean throughput is 0.24 an hour, not 1.12."""
    times = pd.date_range("2026-01-01", periods=36, freq="90min", tz="UTC").astype(str)
    late = pd.date_range("2026-01-15", periods=36, freq="90min", tz="UTC").astype(str)
    jobs = make_times(*times, *late)
    hours = jobs.mjci.throughput()
    assert len(hours) == 16 * 24 + 5
    assert hours["per_hour"].mean() == pytest.approx(72 / len(hours))
    days = jobs.mjci.timeline()
    assert len(days) == 17
    assert (days["jobs"] == 0).sum() == 11
    assert list(days["partial"]) == [True, *[False] * 15, True]
    assert days["jobs"].dtype == "int64"
    assert len(jobs.mjci.timeline(complete=False)) == 6
    by_service = jobs.assign(service=["a", "b"] * 36).mjci.success_rate(by="service")
    assert len(by_service) == 17 * 2
    assert by_service["success_rate"].isna().sum() == 22


def test_too_many_completed_rows_raise() -> None:
    jobs = make_times("1970-01-01", "2026-01-01", "2026-01-01", x=["a", "b", "c"])
    assert len(jobs.mjci.timeline("month")) == 56 * 12 + 1
    with pytest.raises(InvalidRequest, match="3 groups over 490,897 periods") as caught:
        jobs.mjci.timeline("hour", by="x")
    assert "complete=False" in caught.value.hint


@pytest.mark.parametrize(
    ("tz", "every", "times", "expected"),
    [
        (
            "Asia/Shanghai",
            "day",
            ["2026-01-30T15:59Z", "2026-01-30T16:00Z"],
            [("30", 1), ("31", 1)],
        ),
        (
            "America/New_York",
            "day",
            ["2026-03-08T04:59Z", "2026-03-08T05:00Z"],
            [("07", 1), ("08", 1)],
        ),
        # the hour from one to two comes twice
        (
            "America/New_York",
            "hour",
            ["2026-11-01T05:30Z", "2026-11-01T06:30Z"],
            [("01", 1), ("01", 1)],
        ),
        # there is no midnight
        ("America/Santiago", "day", ["2026-09-06T04:30Z"], [("06", 1)]),
        (
            "Asia/Kathmandu",
            "hour",
            ["2026-01-01T00:14Z", "2026-01-01T00:15Z"],
            [("01", 1), ("01", 1)],
        ),
        (
            "Asia/Shanghai",
            "week",
            ["2025-12-28T15:59Z", "2025-12-28T16:00Z"],
            [("22", 1), ("29", 1)],
        ),
        (
            "Asia/Shanghai",
            "quarter",
            ["2025-12-31T15:59Z", "2025-12-31T16:00Z"],
            [("01", 1), ("01", 1)],
        ),
    ],
)
def test_periods_are_those_of_the_time_zone(
    tz: str, every: Any, times: list[str], expected: list[tuple[str, int]]
) -> None:
    frame = make_times(*times).mjci.timeline(every, tz=tz)
    found = zip(frame["period"].dt.strftime("%d"), frame["jobs"], strict=True)
    assert [(day, jobs) for day, jobs in found if jobs] == expected
    assert str(frame["period"].dt.tz) == tz


def test_day_of_a_change_of_clocks_has_its_own_length() -> None:
    """23 hours in March."""
    jobs = make_times("2026-03-08T12:00Z")
    (rate,) = jobs.mjci.throughput("day", tz="America/New_York")["per_hour"]
    assert rate == pytest.approx(1 / 23)


@pytest.mark.parametrize("spelling", ["D", "daily", "Day", "days"])
def test_periods_have_plain_spellings(spelling: Any) -> None:
    assert len(make_times("2026-01-01T00:00Z", "2026-01-03T00:00Z").mjci.timeline(spelling)) == 3


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("style", [("oil", 2), ("(none)", 1)]),
        (lambda jobs: jobs["style"] == "oil", [("False", 1), ("True", 2)]),
        ({"kind": "style"}, [("oil", 2), ("(none)", 1)]),
        ("seed", [("7", 1), ("10", 1), ("missing", 1)]),
        ("price", [("0.5", 3)]),
        (["style", "seed"], [("oil", 1), ("oil", 1), ("(none)", 1)]),
        (lambda _: "all", [("all", 3)]),
        (lambda jobs: jobs["submitted"].dt.date, [("2026-01-01", 3)]),
    ],
)
def test_jobs_are_grouped_by_any_column_or_function(by: Any, expected: Any) -> None:
    jobs = make_times(
        *["2026-01-01T00:00Z"] * 3,
        style=pd.Categorical(["oil", "oil", None], ["ink", "oil"]),
        seed=pd.array([10, 7, None], dtype="Int64"),
        price=0.5,
    )
    frame = jobs.mjci.success_rate(every=None, by=by)
    keys = frame.iloc[:, 0].astype("string").fillna("missing")
    assert list(zip(keys, frame["jobs"], strict=True)) == expected


def test_function_that_fails_raises_invalid_request() -> None:
    jobs = jobs_to_frame(JOBS)
    with pytest.raises(InvalidRequest, match="KeyError"):
        jobs.mjci.timeline(by=lambda frame: frame["colour"])
    with pytest.raises(InvalidRequest, match="2 values for 7 jobs"):
        jobs.mjci.timeline(by=lambda _: [1, 2])
    with pytest.raises(InvalidRequest, match="neither a column nor a function"):
        jobs.mjci.timeline(by=[3])  # type: ignore[list-item]


ISO = ["2026-01-30T23:30:00+00:00", "2026-01-31T08:00:00.5+08:00", None]


@pytest.mark.parametrize(
    "times",
    [
        pd.Series(ISO),
        pd.Series(ISO, dtype=object),
        pd.to_datetime(pd.Series(ISO), utc=True, format="ISO8601").dt.tz_localize(None),
        pd.to_datetime(pd.Series(ISO), utc=True, format="ISO8601").dt.tz_convert("Asia/Tokyo"),
        pd.to_datetime(pd.Series(ISO), utc=True, format="ISO8601").astype(object),
        pd.to_datetime(pd.Series(ISO), utc=True, format="ISO8601").astype(
            "timestamp[ms, tz=UTC][pyarrow]"
        ),
        pd.to_datetime(pd.Series(ISO), utc=True, format="ISO8601").astype("category"),
        pd.Series(ISO, dtype="string[pyarrow]"),
    ],
    ids=["str", "object", "naive", "Tokyo", "datetimes", "arrow", "category", "arrow text"],
)
def test_times_of_any_dtype_are_accepted(times: pd.Series) -> None:
    jobs = pd.DataFrame({"status": ["Success", "failed", "IN_PROGRESS"], "submitted": times})
    frame = jobs.mjci.timeline("hour")
    assert list(frame["jobs"]) == [1, 1]
    assert list(frame["succeeded"]) == [1, 0]
    assert list(frame["failed"]) == [0, 1]


def test_column_that_holds_no_times_raises() -> None:
    jobs = pd.DataFrame({"status": ["SUCCEEDED"], "submitted": [1_760_000_000_000]})
    with pytest.raises(InvalidRequest, match="'submitted' does not hold times"):
        jobs.mjci.timeline()
    with pytest.raises(InvalidRequest, match="does not hold times"):
        jobs.assign(submitted="yesterday").mjci.timeline()
    with pytest.raises(InvalidRequest, match="'done and dusted' is not a status"):
        jobs.assign(submitted="2026-01-01", status="done and dusted").mjci.timeline()
    with pytest.raises(InvalidRequest, match="not a known time zone"):
        jobs.mjci.timeline(tz="Mars/Olympus")
    with pytest.raises(InvalidRequest, match="limit=-1"):
        jobs.mjci.failures(limit=-1)
    with pytest.raises(InvalidRequest, match="is no price of"):
        jobs.mjci.cost({"IMAGINE": "cheap"})


@pytest.mark.parametrize("order", ["import pandas, jupyter_mjci", "import jupyter_mjci, pandas"])
def test_accessor_is_there_after_import(order: str, tmp_path: Path) -> None:
    """Also for frames of files; neither pandas nor the analyses are imported for it."""
    jobs_to_frame(JOBS).to_parquet(tmp_path / "jobs.parquet")
    code = (
        f"import sys; {order}; assert 'jupyter_mjci.history.analysis' not in sys.modules;"
        f"print(len(pandas.read_parquet({str(tmp_path / 'jobs.parquet')!r}).mjci.timeline()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
    code = "import sys, jupyter_mjci; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


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


JANUARY = ("2026-01-01", "2026-02-01")
PLOT_ARGUMENTS: dict[str, Any] = {
    "cost": {"prices": PRICES},
    "sla": {"within": 60},
    "compare": {"before": JANUARY, "after": ("2026-02-01", "2026-03-01")},
}


def make_tree_history() -> pd.DataFrame:
    """Make a history with texts that are hard to draw, trees, sizes and outliers."""
    history = make_history(400)
    numbers = np.arange(len(history))
    late = history["finished"] + pd.to_timedelta(np.where(numbers % 40, 0, 5000), unit="s")
    return history.assign(
        id=numbers.astype(str),
        parent=[str(number // 3) if number % 8 else None for number in numbers],
        subject=[f"狐 🦊 $x_{number % 5} --ar 3:{number % 3} --v 6" for number in numbers],
        rule=[f"_rule/{number % 11} 缩放" for number in numbers],
        size_in=numbers * 1000,
        size_out=numbers * 300,
        finished=late.astype("datetime64[us, UTC]"),
    ).astype({"id": "string", "parent": "string", "subject": "string", "rule": "string"})


@pytest.mark.parametrize("name", [name for name in vars(PlotAccessor) if not name.startswith("_")])
def test_plot_is_labelled_and_readable(name: str) -> None:
    """Title and units, text that contrasts with the figure in any theme, nothing cut off."""
    arguments: dict[str, Any] = PLOT_ARGUMENTS.get(name, {})
    ax = getattr(make_tree_history().mjci.plot, name)(**arguments)
    figure = ax.figure
    figure.canvas.draw()
    assert ax.get_title("left")
    assert ax.get_xlabel()
    assert ax.get_ylabel() or ax.patches or ax.collections
    ground = figure.get_facecolor()
    assert (ground[3], ax.get_facecolor()[3]) == (1, 0)
    texts = [
        ax.title,
        ax._left_title,
        ax.xaxis.label,
        ax.yaxis.label,
        *ax.get_xticklabels(),
        *ax.get_yticklabels(),
    ]
    texts += ax.get_legend().get_texts() if ax.get_legend() else []
    texts += ax.texts
    for text in texts:
        if text.get_text():
            assert _contrast(text.get_color(), ground) >= 4.5, text
    box, paper = ax.get_tightbbox(), figure.bbox
    assert box is not None
    assert box.x0 >= 0
    assert box.x1 <= paper.x1 + 1


def _contrast(first: Any, second: Any) -> float:
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


def test_cost_by_service_and_queue_where_prices_tell_them_apart() -> None:
    """The table of the setting; rows have the columns that its keys name."""
    times = ["2026-01-01T00:00Z"] * 5
    jobs = make_times(
        *times,
        action=["IMAGINE", "IMAGINE", "IMAGINE", "VIDEO", "PicProcess"],
        service=["mj", "mj", "mj", "mj", "ci"],
        queue=["TURBO", "RELAX", None, "FAST", "p1"],
    )
    prices = parse_prices({"mj/imagine": 2, "mj/imagine/turbo": 4, "mj/*/fast": 3, "ci/*": 0.5})
    frame = jobs.mjci.cost(prices, every=None)
    assert set(zip(frame["service"], frame["queue"], frame["price"].fillna(-1), strict=True)) == {
        ("mj", "TURBO", 4.0),
        ("mj", "RELAX", 2.0),
        ("mj", "(none)", 2.0),
        ("mj", "FAST", 3.0),
        ("ci", "p1", 0.5),
    }
    assert list(jobs.mjci.cost({"*": 1}, every=None).columns) == ["action", "jobs", "price", "cost"]
    assert jobs.mjci.cost({"ci/*": 1, "*": 2}, every=None)["cost"].sum() == 9
    assert read_bars(jobs.mjci.plot.cost(prices)) == 11.5


def read_bars(ax: Any) -> float:
    return float(sum(bar.get_height() for bar in ax.patches))


def test_drawn_sums_equal_the_frame() -> None:
    """What has no room is "other"; what has no price is named."""
    actions = [f"_action {number} $x_" for number in range(14)] + ["UNPRICED"]
    jobs = make_times(*["2026-01-01T00:00Z", "2026-02-02T00:00Z"] * 15, action=actions * 2)
    prices = {action: 0.5 + number for number, action in enumerate(actions[:-1])}
    frame = jobs.mjci.cost(prices)
    ax = jobs.mjci.plot.cost(prices)
    assert read_bars(ax) == pytest.approx(frame["cost"].sum())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(labels) == 9
    assert "other (6)" in labels
    assert "no price: UNPRICED (2 jobs)" in [text.get_text() for text in ax.texts]
    assert read_bars(jobs.mjci.plot.timeline("month")) == 30
    ax.figure.canvas.draw()
    failed = jobs.assign(status="FAILED", reason=[f"$ {n % 15}" for n in range(30)])
    ax = failed.mjci.plot.failures()
    assert sum(bar.get_width() for bar in ax.patches) == 30
    ax.figure.canvas.draw()


def read_widths(ax: Any) -> float:
    return float(sum(bar.get_width() for bar in ax.patches))


def test_drawn_sums_of_rows_equal_the_frame() -> None:
    """With more groups than there is room for: the rest is summed up."""
    jobs = make_tree_history()
    plot = jobs.mjci.plot
    savings = jobs.mjci.savings("rule")
    ax = plot.savings()
    assert read_widths(ax) * 1e6 == pytest.approx(savings[["bytes_in", "bytes_out"]].sum().sum())
    assert "other (4)" in [text.get_text() for text in ax.get_yticklabels()]
    assert read_widths(plot.retries("subject")) == jobs.mjci.retries("subject")["failed"].sum()
    assert read_widths(plot.prompts()) == 2 * len(jobs)
    assert read_widths(plot.words(3)) == jobs.mjci.words(3)["jobs"].sum()
    outliers = jobs.mjci.outliers(limit=None)
    assert sum(len(line.get_xdata()) for line in plot.outliers().lines) == len(outliers) > 0
    dots = plot.lineage().collections[0].get_offsets()
    assert 30 <= len(dots) <= 40 < jobs.mjci.lineage()["descendants"].max()
    assert len(plot.lineage("17").collections[0].get_offsets()) == len(dots)
    levels = jobs.mjci.concurrency()
    areas = plot.concurrency().collections
    tops = [max(area.get_paths()[0].vertices[:, 1]) for area in areas]
    assert tops == [levels["running"].max(), (levels["running"] + levels["queued"]).max()]


def test_plots_of_nothing_are_empty() -> None:
    for name in vars(PlotAccessor):
        if not name.startswith("_"):
            draw = getattr(make_tree_history().iloc[:0].mjci.plot, name)
            ax = draw(**PLOT_ARGUMENTS.get(name, {}))
            assert ax.get_title("left")
            ax.figure.canvas.draw()


@pytest.mark.parametrize("name", ["timeline", "throughput", "success_rate", "queue_stats"])
def test_one_day_is_drawn_by_the_hour(name: str) -> None:
    times = pd.date_range("2026-01-01T01:00", periods=200, freq="6min", tz="UTC").astype(str)
    jobs = make_times(*times, action="IMAGINE")
    ax = getattr(jobs.mjci.plot, name)("day")
    drawn = [line.get_xdata() for line in ax.lines] or [ax.patches]
    assert len(drawn[0]) >= 20
    ax.figure.canvas.draw()


def test_line_is_broken_where_there_are_no_jobs() -> None:
    """And a period that stands alone is a dot."""
    jobs = make_times("2026-01-01T00:00Z", "2026-01-02T00:00Z", "2026-01-05T00:00Z")
    (line,) = jobs.mjci.plot.success_rate().lines
    assert np.isnan(line.get_ydata()).tolist() == [False, False, True, True, False]
    assert list(line.get_markevery()) == [4]


def test_plot_shows_the_time_zone() -> None:
    ax = make_history().mjci.plot.timeline(tz="Asia/Shanghai")
    assert ax.get_xlabel() == "Asia/Shanghai"
