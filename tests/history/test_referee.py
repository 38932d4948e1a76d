"""The referee: every question answered again by SQL of its own, over awkward histories.

The SQL was written from the questions' documentation, not from their code; DuckDB runs it on the
frame as it is. pandas, Polars, Arrow and Dask must give the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.analysis import JobAccessor

COLUMNS = [
    "service",
    "origin",
    "id",
    "action",
    "status",
    "subject",
    "parent",
    "reason",
    "submitted",
    "started",
    "finished",
]
TIMES = ["submitted", "started", "finished"]
ENDS = "('SUCCEEDED', 'FAILED', 'CANCELLED')"


def make_jobs(rows: int, start: str, step: float, seed: int = 1) -> pd.DataFrame:
    """Make jobs that come every `step` seconds, some of them without times or texts."""
    rng = np.random.default_rng(seed)
    submitted = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(rows) * step, unit="s")
    started = submitted + pd.to_timedelta(rng.integers(0, 40_000, rows), unit="ms")
    finished = started + pd.to_timedelta(rng.integers(1, 90_000, rows), unit="ms")
    status = rng.choice(
        [status.value for status in Status], rows, p=[0.05, 0.05, 0, 0.7, 0.15, 0.05]
    )
    frame = pd.DataFrame(
        {
            "service": rng.choice(["mj", "ci"], rows),
            "origin": rng.choice(["http://a", "http://b", None], rows),
            "id": [f"{number}" for number in range(rows)],
            "action": rng.choice(["IMAGINE", "UPSCALE", None], rows),
            "status": status,
            "subject": rng.choice(["a fox", "a cat", None], rows),
            "parent": [str(number // 3) if number % 4 else None for number in range(rows)],
            "reason": np.where(status == "FAILED", "banned", None),
            "submitted": submitted,
            "started": started,
            "finished": finished,
        }
    )
    frame["rule"] = rng.choice(["imageMogr2/format/avif", None], rows)
    frame["size_in"] = np.where(np.arange(rows) % 5, np.arange(rows) * 1000, None)
    frame["size_out"] = np.where(np.arange(rows) % 7, np.arange(rows) * 300, None)
    frame["cost"] = np.where(np.arange(rows) % 3, np.arange(rows) / 8, None)
    is_open = ~frame["status"].isin(["SUCCEEDED", "FAILED", "CANCELLED"])
    frame.loc[is_open, "finished"] = pd.NaT
    frame.loc[frame["status"] == "QUEUED", "started"] = pd.NaT
    return set_dtypes(frame)


def set_dtypes(frame: pd.DataFrame) -> pd.DataFrame:
    names = ["submitted", "started", "finished"]
    times = {name: pd.to_datetime(frame[name], utc=True).dt.as_unit("us") for name in names}
    texts = dict.fromkeys([name for name in COLUMNS if name not in names], "string")
    context = {"rule": "string", "size_in": "Int64", "size_out": "Int64", "cost": "Float64"}
    return frame.assign(**times).astype(texts | context)


def _format_time(time: pd.Timestamp) -> str:
    return time.isoformat()


def _change(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    return set_dtypes(frame.assign(**columns))


PLAIN = make_jobs(120, "2026-01-30T20:00", 400)
FRAMES: dict[str, pd.DataFrame] = {
    "plain": PLAIN,
    "empty": PLAIN.iloc[:0],
    "one row": PLAIN.iloc[[3]],
    "none finished": _change(PLAIN, status="RUNNING", finished=pd.NaT),
    "none started": _change(PLAIN, started=pd.NaT),
    "all failed": _change(PLAIN, status="FAILED"),
    "negative durations": _change(PLAIN, started=PLAIN["submitted"] - pd.Timedelta("5s")),
    "spring forward": make_jobs(60, "2026-03-08T04:00", 600),
    "fall back": make_jobs(60, "2026-11-01T03:00", 600),
    "year's end": make_jobs(80, "2025-12-28T00:00", 9_000),
    "leap day": make_jobs(50, "2028-02-27T12:00", 5_000),
    "outage": _change(
        pd.concat([PLAIN.iloc[:30], make_jobs(30, "2026-02-14", 500, 5)], ignore_index=True),
        id=[str(number) for number in range(60)],
    ),
    "same moment": _change(PLAIN, submitted=PLAIN["submitted"].iloc[0]),
    "no texts": _change(PLAIN, action=pd.NA, origin=pd.NA, subject=pd.NA, reason=pd.NA),
    "odd texts": _change(PLAIN, action="狐 'a' \"b\" $x$ --\n"),
    "before 1970": make_jobs(40, "1969-12-31T12:00", 3_000),
    "shuffled": PLAIN.sample(frac=1, random_state=3, ignore_index=True),
    "no times": _change(PLAIN, submitted=pd.NaT, started=pd.NaT, finished=pd.NaT),
    "microseconds": _change(PLAIN, finished=PLAIN["finished"] + pd.Timedelta("1us")),
    "no service": _change(PLAIN, service=pd.NA),
    "no statuses": _change(PLAIN, status=pd.NA),
    "equal ids over origins": _change(
        PLAIN,
        service="mj",
        origin=[f"http://{number // 40}" for number in range(120)],
        id=[str(number % 40) for number in range(120)],
        parent=[str(number % 40 // 3) if number % 4 else None for number in range(120)],
    ),
    "no duration": _change(PLAIN, started=PLAIN["submitted"], finished=PLAIN["submitted"]),
    "milliseconds": _change(PLAIN, finished=PLAIN["submitted"] + pd.Timedelta("1.001s")),
    "far future": make_jobs(40, "2199-12-30", 7_000),
    "two centuries": _change(
        pd.concat([PLAIN.iloc[:20], make_jobs(20, "2199-12-30", 500, 5)], ignore_index=True),
        id=[str(number) for number in range(40)],
    ),
    "emoji and Chinese": _change(
        PLAIN, subject=["狐狸 🦊", "👩‍👩‍👧 --ar 3:2", "é", ""] * 30, action="绘图 🦊"
    ),
}

# The same history as people and files have it.
DISGUISES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "text times": lambda jobs: jobs.assign(
        **{name: jobs[name].map(_format_time, na_action="ignore") for name in TIMES}
    ),
    "naive times": lambda jobs: jobs.assign(
        **{name: jobs[name].dt.tz_localize(None) for name in TIMES}
    ),
    "times of Asia/Shanghai": lambda jobs: jobs.assign(
        **{name: jobs[name].dt.tz_convert("Asia/Shanghai") for name in TIMES}
    ),
    "nanoseconds": lambda jobs: jobs.assign(
        **{name: jobs[name].dt.as_unit("ns") for name in TIMES}
    ),
    "objects": lambda jobs: jobs.astype(object).where(jobs.notna(), None),
    "pyarrow dtypes": lambda jobs: pa.Table.from_pandas(jobs).to_pandas(types_mapper=pd.ArrowDtype),
    "categories that do not occur": lambda jobs: jobs.assign(
        **{
            name: pd.Categorical(jobs[name], [*jobs[name].dropna().unique(), "CANCELLED", "no"])
            for name in ("action", "service", "origin")
        },
        status=pd.Categorical(jobs["status"], [status.value for status in Status]),
    ),
    "the services' words": lambda jobs: jobs.assign(
        status=jobs["status"].replace({"SUCCEEDED": "Success", "FAILED": "FAILURE"})
    ),
    "other columns and order": lambda jobs: jobs.assign(period=1, duration="x", jobs=None)[
        ["period", "duration", "jobs", *reversed(jobs.columns)]
    ],
    "an index of columns": lambda jobs: jobs.set_index(["service", "id"], drop=False),
    "labels that are equal": lambda jobs: jobs.set_axis([7] * len(jobs)),
}

ENGINES: dict[str, Callable[[pd.DataFrame], JobAccessor]] = {
    "pandas": lambda frame: frame.mjci,
    "categories": lambda frame: (
        frame.assign(
            status=frame["status"].astype(pd.CategoricalDtype([status.value for status in Status]))
        ).mjci
    ),
    "polars": lambda frame: mjci.analyse(pl.from_arrow(pa.Table.from_pandas(frame))),
    "polars, lazy": lambda frame: mjci.analyse(
        pl.from_arrow(pa.Table.from_pandas(frame)).lazy()  # type: ignore[union-attr]
    ),
    "arrow": lambda frame: mjci.analyse(pa.Table.from_pandas(frame)),
    "dask": lambda frame: mjci.analyse(dd.from_pandas(frame, npartitions=3, sort=False)),
}


def _local(time: str, tz: str, unit: str) -> str:
    # Some versions of DuckDB cut timestamps to dates.
    return f"CAST(date_trunc('{unit}', timezone('{tz}', {time})) AS TIMESTAMP)"


def _seconds(later: str, earlier: str) -> str:
    return f"(epoch_us({later}) - epoch_us({earlier})) / 1e6"


TOTAL = _seconds("finished", "submitted")
NEW_YORK = "America/New_York"
# Question, arguments, the columns that are compared, and the referee's SQL.
QUESTIONS: list[tuple[str, dict[str, Any], list[str], str]] = [
    (
        "timeline",
        {"tz": NEW_YORK},
        [
            "period",
            "jobs",
            "succeeded",
            "open",
        ],
        f"SELECT {_local('submitted', NEW_YORK, 'day')} AS period, count(*),"
        " count_if(status = 'SUCCEEDED'),"
        f" count_if(status NOT IN {ENDS}) FROM jobs WHERE submitted IS NOT NULL GROUP BY 1",
    ),
    (
        "timeline",
        {"every": "quarter", "by": ["service", "origin"]},
        [
            "period",
            "service",
            "origin",
            "jobs",
        ],
        f"SELECT {_local('submitted', 'UTC', 'quarter')}, service,"
        " coalesce(origin, '(none)'), count(*) FROM jobs WHERE submitted IS NOT NULL"
        " GROUP BY ALL",
    ),
    (
        "throughput",
        {"every": "week", "tz": "Asia/Shanghai"},
        [
            "period",
            "jobs",
            "succeeded",
        ],
        f"SELECT {_local('finished', 'Asia/Shanghai', 'week')}, count(*),"
        f" count_if(status = 'SUCCEEDED') FROM jobs WHERE status IN {ENDS}"
        " AND finished IS NOT NULL GROUP BY 1",
    ),
    (
        "turnaround",
        {"by": "action"},
        [
            "action",
            "jobs",
            "mean",
            "p50",
            "p95",
            "max",
        ],
        f"SELECT coalesce(action, '(none)'), count(*), avg({TOTAL}),"
        f" quantile_cont({TOTAL}, 0.5), quantile_cont({TOTAL}, 0.95), max({TOTAL})"
        " FROM jobs WHERE status = 'SUCCEEDED' AND finished IS NOT NULL GROUP BY 1",
    ),
    (
        "queue_stats",
        {"every": "month", "by": ()},
        [
            "period",
            "jobs",
            "success_rate",
            "queue_time_p95",
            "run_time_p50",
        ],
        f"SELECT {_local('submitted', 'UTC', 'month')}, count(*),"
        f" avg(CAST(status = 'SUCCEEDED' AS INT)) FILTER (status IN {ENDS}),"
        f" quantile_cont({_seconds('started', 'submitted')}, 0.95),"
        f" quantile_cont({_seconds('finished', 'started')}, 0.5)"
        " FROM jobs WHERE submitted IS NOT NULL GROUP BY 1",
    ),
    (
        "failures",
        {"by": "action", "limit": None},
        [
            "action",
            "jobs",
            "share",
        ],
        "SELECT coalesce(action, '(none)'), count(*), count(*) / sum(count(*)) OVER ()"
        " FROM jobs WHERE status = 'FAILED' AND submitted IS NOT NULL GROUP BY 1",
    ),
    (
        "success_rate",
        {"by": lambda jobs: jobs["subject"].str.len(), "every": None},
        [
            "group",
            "jobs",
            "success_rate",
        ],
        f"SELECT length(subject), count(*), avg(CAST(status = 'SUCCEEDED' AS INT))"
        f" FILTER (status IN {ENDS}) FROM jobs WHERE submitted IS NOT NULL GROUP BY 1",
    ),
    (
        "sla",
        {"within": 60, "by": "service", "every": None},
        [
            "service",
            "jobs",
            "met",
            "missed",
            "share",
        ],
        "WITH judged AS (SELECT service, status,"
        f" coalesce(status = 'SUCCEEDED' AND {TOTAL} <= 60, false) AS met"
        " FROM jobs WHERE submitted IS NOT NULL)"
        f" SELECT service, count(*), count_if(met), count_if(status IN {ENDS} AND NOT met),"
        f" count_if(met) / nullif(count_if(status IN {ENDS}), 0) FROM judged GROUP BY 1",
    ),
    (
        "cost",
        {
            "prices": {"IMAGINE": 0.5, "*": 0.25},
            "by": "status",
            "every": None,
            "statuses": [
                "succeeded",
                "failed",
            ],
        },
        [
            "status",
            "action",
            "jobs",
            "cost",
        ],
        "SELECT status, coalesce(action, '(none)'), count(*),"
        " sum(CASE WHEN action = 'IMAGINE' THEN 0.5 ELSE 0.25 END) FROM jobs"
        " WHERE status IN ('SUCCEEDED', 'FAILED') AND submitted IS NOT NULL GROUP BY ALL",
    ),
    (
        "cost",
        {"of": "failures", "every": "month", "by": "service"},
        [
            "period",
            "service",
            "action",
            "jobs",
            "cost",
        ],
        f"SELECT {_local('submitted', 'UTC', 'month')}, service, coalesce(action, '(none)'),"
        " count(*), sum(cost) FROM jobs WHERE status = 'FAILED' AND submitted IS NOT NULL"
        " GROUP BY ALL",
    ),
    (
        "cost",
        {"prices": {"*": 0.25}, "of": "retries", "every": None, "by": ()},
        [
            "action",
            "jobs",
            "cost",
        ],
        "SELECT coalesce(action, '(none)'), count(*), count(*) * 0.25 FROM jobs AS retry"
        " WHERE status IN ('SUCCEEDED', 'FAILED') AND submitted IS NOT NULL AND EXISTS"
        " (SELECT 1 FROM jobs AS earlier WHERE earlier.status = 'FAILED'"
        " AND (earlier.submitted, CAST(earlier.id AS INT))"
        " < (retry.submitted, CAST(retry.id AS INT))"
        " AND earlier.service IS NOT DISTINCT FROM retry.service"
        " AND earlier.origin IS NOT DISTINCT FROM retry.origin"
        " AND earlier.action IS NOT DISTINCT FROM retry.action"
        " AND earlier.subject IS NOT DISTINCT FROM retry.subject"
        " AND earlier.parent IS NOT DISTINCT FROM retry.parent) GROUP BY 1",
    ),
    (
        "savings",
        {"by": ["rule", "service"]},
        [
            "rule",
            "service",
            "jobs",
            "sized",
            "bytes_in",
            "saved",
        ],
        "WITH known AS (SELECT *, size_in IS NOT NULL AND size_out IS NOT NULL AS sized"
        " FROM jobs WHERE status = 'SUCCEEDED')"
        " SELECT coalesce(rule, '(none)'), service, count(*), count_if(sized),"
        " coalesce(sum(size_in) FILTER (sized), 0),"
        " coalesce(sum(size_in - size_out) FILTER (sized), 0) FROM known GROUP BY ALL",
    ),
    (
        "durations",
        {"by": (), "now": "2030-01-01"},
        [
            "jobs",
            "ended",
            "open",
            "p50",
            "p90",
        ],
        "WITH spans AS (SELECT floor((epoch_us("
        "coalesce(finished, TIMESTAMPTZ '2030-01-01 00:00:00+00'))"
        " - epoch_us(submitted)) / 1000) / 1000 AS span, finished IS NOT NULL AS ended FROM jobs"
        f" WHERE submitted IS NOT NULL AND (finished IS NOT NULL OR status NOT IN {ENDS})),"
        " steps AS (SELECT span, count_if(ended) AS dead,"
        " (SELECT count(*) FROM spans AS later WHERE later.span >= spans.span) AS at_risk"
        " FROM spans GROUP BY span),"
        " curve AS (SELECT span, product(1 - dead / at_risk) OVER (ORDER BY span) AS alive"
        " FROM steps)"
        " SELECT count(*), count_if(ended), count_if(NOT ended),"
        " (SELECT min(span) FROM curve WHERE alive <= 0.5 + 1e-9),"
        " (SELECT min(span) FROM curve WHERE alive <= 0.1 + 1e-9) FROM spans HAVING count(*) > 0",
    ),
    (
        "concurrency",
        {"every": "day"},
        [
            "period",
            "queued",
            "running",
        ],
        "WITH known AS (SELECT * FROM jobs WHERE submitted IS NOT NULL"
        f" AND (status NOT IN {ENDS} OR finished IS NOT NULL)),"
        f" days AS (SELECT DISTINCT {_local('moment', 'UTC', 'day')} AS day FROM"
        " (SELECT unnest([submitted, started, finished]) AS moment FROM known)"
        " WHERE moment IS NOT NULL)"
        " SELECT day,"
        " (SELECT count(*) FROM known WHERE timezone('UTC', submitted) < day + INTERVAL 1 DAY)"
        " - (SELECT count(*) FROM known WHERE timezone('UTC', started) < day + INTERVAL 1 DAY)"
        " - (SELECT count(*) FROM known WHERE started IS NULL"
        " AND timezone('UTC', finished) < day + INTERVAL 1 DAY),"
        " (SELECT count(*) FROM known WHERE timezone('UTC', started) < day + INTERVAL 1 DAY)"
        " - (SELECT count(*) FROM known WHERE started IS NOT NULL"
        " AND timezone('UTC', finished) < day + INTERVAL 1 DAY) FROM days",
    ),
    (
        "lineage",
        {},
        [
            "id",
            "root",
            "depth",
            "children",
        ],
        "WITH RECURSIVE keyed AS (SELECT *, concat_ws('/', coalesce(service, '-'),"
        " coalesce(origin, '-'), id) AS key FROM jobs),"
        " links AS (SELECT child.key, child.id, mother.key AS mother FROM keyed AS child"
        " LEFT JOIN keyed AS mother ON mother.id = child.parent AND mother.id <> child.id"
        " AND mother.service IS NOT DISTINCT FROM child.service"
        " AND mother.origin IS NOT DISTINCT FROM child.origin),"
        " tree AS (SELECT key, id, id AS root, 0 AS depth FROM links WHERE mother IS NULL"
        " UNION ALL SELECT links.key, links.id, tree.root, tree.depth + 1 FROM links"
        " JOIN tree ON links.mother = tree.key)"
        " SELECT id, root, depth, (SELECT count(*) FROM links WHERE links.mother = tree.key)"
        " FROM tree",
    ),
]


@pytest.mark.parametrize("name", FRAMES)
def test_every_engine_answers_as_the_referee(name: str) -> None:
    compare_with_referee(FRAMES[name], ENGINES)


def test_disguised_history_is_answered_as_the_plain_one() -> None:
    """A history with everything that a disguise may hide: clocks set back, an outage, open jobs."""
    kinds = [FRAMES["plain"], FRAMES["fall back"], FRAMES["outage"]]
    jobs = pd.concat(kinds, ignore_index=True)
    numbers = range(len(jobs))
    parents = [str(number // 3) if number % 4 else None for number in numbers]
    jobs = _change(jobs, id=[str(number) for number in numbers], parent=parents)
    openers = {
        f"{disguise}, {engine}": partial(_open_disguised, disguise, engine)
        for disguise in DISGUISES
        for engine in ("pandas", "dask")
        # Dask has no index of several levels.
        if (disguise, engine) != ("an index of columns", "dask")
    }
    compare_with_referee(jobs, openers)


def _open_disguised(disguise: str, engine: str, jobs: pd.DataFrame) -> JobAccessor:
    return ENGINES[engine](DISGUISES[disguise](jobs))


def compare_with_referee(
    jobs: pd.DataFrame, openers: dict[str, Callable[[pd.DataFrame], JobAccessor]]
) -> None:
    accessors = {name: open_accessor(jobs) for name, open_accessor in openers.items()}
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("frame", pa.Table.from_pandas(jobs))
        # A job without status has not ended.
        db.execute(
            "CREATE VIEW jobs AS"
            " SELECT * REPLACE (coalesce(status, 'unknown') AS status) FROM frame"
        )
        for question, arguments, columns, sql in QUESTIONS:
            expected = sort_rows(db.sql(sql).fetchall())
            for engine, accessor in accessors.items():
                options = dict(arguments)
                if "every" in options or question == "timeline":
                    options["complete"] = False
                result = getattr(accessor, question)(**options)
                rows = sort_rows(to_rows(result[columns]))
                if not expected and not options.get("by", True):
                    assert all(not row[0] for row in rows)
                    continue
                assert_equal_rows(rows, expected, f"{question} {arguments} by {engine}")


def to_rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return rows of plain values; periods lose their time zone, as the referee's have none."""
    cells = []
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_localize(None)
        cells.append([None if pd.isna(cell) else cell for cell in column.astype(object)])
    return list(zip(*cells, strict=True))


def sort_rows(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # A column without any value has no dtype to keep.
    plain = [tuple(None if value == "(none)" else value for value in row) for row in rows]
    return sorted(plain, key=lambda row: tuple(str(value) for value in row))


def assert_equal_rows(actual: list[Any], expected: list[Any], message: str) -> None:
    assert len(actual) == len(expected), message
    for row, wanted in zip(actual, expected, strict=True):
        for value, known in zip(row, wanted, strict=True):
            if isinstance(known, float) and value is not None:
                assert value == pytest.approx(known, rel=1e-9, abs=1e-9), (message, row, wanted)
            else:
                assert value == known, (message, row, wanted)


def test_column_that_a_frame_has_twice_is_refused() -> None:
    twice = pd.concat([PLAIN, PLAIN[["action"]]], axis=1)
    for question in ("turnaround", "failures", "retries", "lineage", "durations"):
        with pytest.raises(InvalidRequest, match="several columns action"):
            getattr(twice.mjci, question)()


# --- questions that have no single statement ------------------------------------------------------


def test_compare_gives_differences_with_intervals() -> None:
    """Newcombe's own example: 56 of 70 against 48 of 80 differ by 0.2, from 0.0524 to 0.3339."""
    ends = [("2026-01-05", 48, 80), ("2026-02-05", 56, 70)]
    frames = []
    for day, succeeded, ended in ends:
        frame = make_jobs(ended, day, 60)
        status = ["SUCCEEDED"] * succeeded + ["FAILED"] * (ended - succeeded)
        frames.append(_change(frame, status=status))
    jobs = pd.concat(frames, ignore_index=True)
    january = ("2026-01-01", "2026-02-01")
    result = jobs.mjci.compare(january, ("2026-02-01", "2026-03-01")).set_index("metric")
    rate = result.loc["success_rate"]
    assert rate["difference"] == pytest.approx(0.2)
    assert (rate["low"], rate["high"]) == (
        pytest.approx(0.0524, abs=1e-4),
        pytest.approx(0.3339, abs=1e-4),
    )
    assert rate["is_clear"]
    assert result.loc["jobs_per_day", "before"] == pytest.approx(80 / 31)
    same = jobs.mjci.compare(january, january)
    assert not same["is_clear"].any()
    assert (same["difference"].dropna() == 0).all()
    grouped = jobs.mjci.compare(january, ("2026-02-01", "2026-03-01"), by="service")
    assert set(grouped["service"]) == {"ci", "mj"}
    nothing = jobs.mjci.compare(("2020-01-01", "2020-02-01"), january)
    assert nothing.set_index("metric").loc["success_rate", "before":].isna()["before"]


def test_savings_take_sizes_of_inputs_and_prefixes() -> None:
    jobs = make_jobs(3, "2026-01-01", 60)
    jobs = _change(
        jobs,
        subject=["in/a/1.jpg", "in/a/2.jpg", "3.jpg"],
        status=["SUCCEEDED", "SUCCEEDED", "FAILED"],
        rule="r",
        size_in=[pd.NA, 500, pd.NA],
        size_out=[100, 100, 7],
    )
    sizes = {"in/a/1.jpg": 1000, "in/a/2.jpg": 7}
    (row,) = jobs.mjci.savings(sizes=sizes).to_dict("records")
    assert row == {
        "rule": "r",
        "prefix": "in/a/",
        "jobs": 2,
        "sized": 2,
        "bytes_in": 1500,
        "bytes_out": 200,
        "saved": 1300,
        "share": 1300 / 1500,
    }
    listing = pd.DataFrame({"Key": list(sizes), "Size": ["1000", "7"]})
    assert jobs.mjci.savings("rule", sizes=listing)["saved"].tolist() == [1300]
    assert jobs.mjci.savings(())["sized"].tolist() == [1]
    assert jobs.drop(columns="size_in").mjci.savings("rule")["sized"].tolist() == [0]
    with pytest.raises(InvalidRequest, match="neither bytes by object"):
        jobs.mjci.savings(sizes=[1])


def test_retries_count_what_was_asked_again() -> None:
    texts = ["fox", "fox", "cat", "cat", "owl", "owl", "elk"]
    statuses = ["FAILED", "SUCCEEDED", "FAILED", "FAILED", "SUCCEEDED", "FAILED", "FAILED"]
    jobs = make_jobs(7, "2026-01-01", 60)
    jobs = _change(
        jobs,
        subject=texts,
        status=statuses,
        action="IMAGINE",
        service="mj",
        origin="http://a",
        parent=pd.NA,
    )
    (row,) = jobs.mjci.retries().to_dict("records")
    assert row == {
        "action": "IMAGINE",
        "requests": 4,
        "jobs": 7,
        "failed": 3,
        "retried": 2,
        "recovered": 1,
        "jobs_per_request": 1.75,
    }
    assert int(jobs.mjci.retries(by=())["jobs"].iloc[0]) == 7
    assert len(PLAIN.iloc[:0].mjci.retries()) == 0


def test_outliers_are_far_above_the_quartiles_of_their_group() -> None:
    times = pd.Timestamp("2026-01-01", tz="UTC")
    seconds = [10, 11, 12, 13, 100, 1000, 1001, 1002, 1003]
    jobs = make_jobs(9, "2026-01-01", 60)
    jobs = _change(
        jobs,
        submitted=times,
        started=times,
        finished=times + pd.to_timedelta(seconds, unit="s"),
        action=["U"] * 5 + ["V"] * 4,
    )
    found = jobs.mjci.outliers()
    assert list(found["seconds"]) == [100]
    assert found["limit_seconds"].iloc[0] == 13 + 3 * (13 - 11)
    assert list(jobs.mjci.outliers(by=lambda frame: frame["action"] == "U")["seconds"]) == [100]
    assert len(jobs.mjci.outliers(by=())) == 0


def test_durations_count_open_jobs_as_lasting() -> None:
    """Half of the jobs hang: the median of those that ended, 10 s, is not that of all."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ended = [start + timedelta(seconds=10)] * 4 + [None] * 6
    jobs = make_jobs(10, "2026-01-01", 0)
    jobs = _change(
        jobs,
        submitted=start,
        started=start,
        finished=ended,
        action="IMAGINE",
        status=["SUCCEEDED"] * 4 + ["RUNNING"] * 6,
    )
    (row,) = jobs.mjci.durations(now="2026-01-02").to_dict("records")
    assert (row["jobs"], row["open"]) == (10, 6)
    assert np.isnan(row["p50"])
    assert jobs.mjci.turnaround()["p50"].iloc[0] == 10
    assert jobs.iloc[:4].mjci.durations()["p50"].iloc[0] == 10


def test_lineage_of_a_root_is_its_tree_in_order() -> None:
    parents = [None, "0", "0", "1", "9", None, "3"]
    jobs = _change(make_jobs(7, "2026-01-01", 60), parent=parents, service="mj", origin="a")
    tree = jobs.mjci.lineage(root="3")
    assert list(tree["id"]) == ["0", "1", "3", "6", "2"]
    assert list(tree["depth"]) == [0, 1, 2, 3, 1]
    assert list(tree["descendants"]) == [4, 2, 1, 0, 0]
    # the parent of 4 is not known
    assert list(jobs.mjci.lineage(root="4")["id"]) == ["4"]
    circle = _change(jobs, parent=["1", "0", "0", "1", "9", None, "3"]).mjci.lineage()
    assert list(circle["depth"]) == [0, 0, 1, 1, 0, 0, 2]


def test_long_chain_has_its_depth() -> None:
    parents = [None, *[str(number) for number in range(1999)]]
    jobs = _change(make_jobs(2000, "2026-01-01", 1), parent=parents, service="mj", origin="a")
    lineage = jobs.mjci.lineage()
    assert list(lineage["depth"]) == list(range(2000))
    assert lineage["descendants"].iloc[0] == 1999


@pytest.mark.parametrize(
    ("prompt", "text", "flags"),
    [
        ("a red fox --ar 3:2 --v 6", "a red fox", {"ar": "3:2", "v": "6"}),
        (
            "a fox --aspect 16:9 --s 250 --tile",
            "a fox",
            {"ar": "16:9", "stylize": "250", "tile": "yes"},
        ),
        ("--no text, watermark --niji 6 a", "", {"no": "text, watermark", "niji": "6 a"}),
        ("well-known -- dash --AR 1:1", "well-known -- dash", {"ar": "1:1"}),
        ("https://x.y/a--b.png a fox —v 5.2", "https://x.y/a--b.png a fox", {"v": "5.2"}),
        ("", "", {}),
    ],
)
def test_flags_of_prompts_become_columns(prompt: str, text: str, flags: dict[str, str]) -> None:
    jobs = _change(make_jobs(2, "2026-01-01", 1), subject=[prompt, pd.NA])
    row, other = jobs.mjci.prompts().to_dict("records")
    assert ("" if pd.isna(row.pop("text")) else row.pop("text", text)) in ("", text)
    assert {name: row[name] for name in flags} == flags
    assert all(pd.isna(other[name]) for name in flags)


def test_prompts_join_the_jobs_and_words_are_counted() -> None:
    jobs = _change(
        make_jobs(3, "2026-01-01", 1),
        status=["SUCCEEDED", "FAILED", "RUNNING"],
        subject=["A red fox, red! --ar 3:2", "red 狐 https://a.b/c --ar 1:1", "x"],
    ).set_index(pd.Index([7, 8, 9]))
    joined = jobs.join(jobs.mjci.prompts()[["ar"]])
    assert list(joined.mjci.success_rate(every=None, by="ar")["ar"]) == ["1:1", "3:2", "(none)"]
    words = jobs.mjci.words().set_index("word")
    assert words.loc["red"].tolist() == [2, 2, 1, 0.5]
    assert "狐" in words.index
    assert "https" not in words.index
