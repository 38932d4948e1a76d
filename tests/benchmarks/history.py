"""Measure journals and lakes: records, merges, frames and analyses, for small and large histories.

    python -m tests.benchmarks.history [ROWS]       ROWS of the large lake, 10,000,000 by default

Writes its histories to a temporary folder (TMPDIR; some 3 GB at the default size) and takes about
five minutes.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import deltalake
import duckdb
import pandas as pd

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.history.history import History
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_frame import load_journal_frame
from jupyter_mjci.history.lake.changes import make_writer_properties
from jupyter_mjci.history.lake.lake import Lake
from jupyter_mjci.history.lake.schema import ADDED_COLUMNS, SCHEMA, make_nulls
from tests.benchmarks.figures import Figure, faster, in_turns, main, peak, within

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10_000_000
DAYS = 730
END = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = 5
SLICE = 100_000
HEAP = 600e6  # bytes that the standard analysis and a report may hold at most


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from measure_journals(folder)
        yield from measure_lakes(folder)


# --- journals -------------------------------------------------------------------------------------


def measure_journals(folder: Path) -> Iterator[Figure]:
    large = make_journal(folder / "large.db", 1_000_000)
    turn = iter(range(1_000_000))

    def into_large() -> None:
        large.record_jobs(make_batch(next(turn), 1_000_000), 1.0)

    empty: list[Journal] = []

    def into_empty() -> None:
        empty[-1].record_jobs(make_batch(0, 1_000), 1.0)

    seconds: dict[str, list[float]] = {"large": [], "empty": []}
    for number in range(7):
        empty.append(make_journal(folder / f"empty{number}.db", 1_000))
        once = in_turns({"large": into_large, "empty": into_empty}, 1)
        for name, value in once.items():
            seconds[name].append(value)
        empty[-1].close()
    ours = median(seconds["large"])
    other = median(seconds["empty"])
    name = "1,000 new, 1,000 changed into 1,000,000 jobs"
    yield within(name, ours, other, "into an empty journal", 1.5)
    large.close()
    yield from measure_events(folder)
    yield from measure_frames(folder)


def measure_events(folder: Path) -> Iterator[Figure]:
    journal = Journal(folder / "events.db")
    table = str(folder / "events")
    turn = iter(range(10_000))
    row = duckdb.sql(build_rows_sql("(SELECT 0 AS number)", 1)).to_arrow_table()
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: journal.record_jobs([Job("mj", f"event{next(turn)}")], 1.0),
        "delta": lambda: deltalake.write_deltalake(table, row, mode="append"),
    }
    took = in_turns(ways, 40)
    journal.close()
    yield within("one durable event", took["ours"], took["delta"], "one Delta append", 0.1)


def measure_frames(folder: Path) -> Iterator[Figure]:
    journal = make_journal(folder / "frame.db", 100_000)
    with sqlite3.connect(folder / "frame.db") as db:
        ways = {
            "ours": partial(load_journal_frame, journal),
            "pandas": partial(read_with_pandas, db),
        }
        pd.testing.assert_frame_equal(ways["ours"](), ways["pandas"]())
        took = in_turns(ways, 11)
    db.close()
    journal.close()
    yield faster(
        "s.history() of 100,000 jobs", took["ours"], took["pandas"], "pd.read_sql, same dtypes", 3
    )


def read_with_pandas(db: sqlite3.Connection) -> pd.DataFrame:
    """Read the same frame from the same table with pandas."""
    names = (
        "service, id, action, status, progress, subject, submitted, started, finished, reason,"
        " parent, user_data, origin, account, queue, rule, bucket, size_in, size_out, cost,"
        " final_prompt"
    )
    more = "replace(outputs, char(10), ' ') AS outputs, button_names AS buttons"
    frame = pd.read_sql(f"SELECT {names}, {more} FROM jobs ORDER BY submitted", db)
    for name in ("submitted", "started", "finished"):
        frame[name] = pd.to_datetime(frame[name], unit="us", utc=True).astype("datetime64[us, UTC]")
    for name in (
        "service",
        "id",
        "action",
        "subject",
        "reason",
        "outputs",
        "buttons",
        "parent",
        "user_data",
        "origin",
        "account",
        "queue",
        "rule",
        "bucket",
        "final_prompt",
    ):
        frame[name] = frame[name].astype("string").replace("", pd.NA)
    for name in ("progress", "size_in", "size_out"):
        frame[name] = frame[name].astype("Int64")
    frame["cost"] = frame["cost"].astype("Float64")
    frame["status"] = pd.Categorical(frame["status"], [status.value for status in Status])
    frame["queue_time"] = frame["started"] - frame["submitted"]
    frame["run_time"] = frame["finished"] - frame["started"]
    order = [
        "service",
        "id",
        "action",
        "status",
        "progress",
        "subject",
        "submitted",
        "started",
        "queue_time",
        "finished",
        "run_time",
        "reason",
        "outputs",
        "buttons",
        "parent",
        "user_data",
        "origin",
        *ADDED_COLUMNS,
    ]
    return frame[order]


def make_journal(path: Path, rows: int) -> Journal:
    """Make a journal of jobs with about 500 bytes each, the last thousand of them running."""
    journal = Journal(path)
    journal.record_jobs([Job("mj", "first")], 1.0)
    columns = {
        "service": "'mj'",
        "origin": "''",
        "id": "printf('%016d', value)",
        "action": "CASE value % 3 WHEN 0 THEN 'IMAGINE' WHEN 1 THEN 'UPSCALE' ELSE 'VARIATION' END",
        "status": f"CASE WHEN value > {rows - 1000} THEN 'RUNNING' ELSE 'SUCCEEDED' END",
        "final": f"value <= {rows - 1000}",
        "progress": "100",
        "subject": "'a lighthouse at dusk, number ' || value || ', in oil --ar 16:9'",
        "outputs": "'https://cdn.example.org/attachments/' || printf('%032d', value) || '.png'",
        "buttons": "'[]'",
        "button_names": "'U1, U2, U3, U4, 🔄, V1, V2, V3, V4'",
        "submitted": "1735689600000000 + value * 1000000",
        "started": "1735689602000000 + value * 1000000",
        "finished": "1735689642000000 + value * 1000000",
        "reason": "''",
        "user_data": "''",
        "webhook_url": "''",
        "parent": "''",
        "raw": "'{}'",
        "first_seen": "1735689600000000 + value * 1000000",
        "last_seen": "1735689600000000 + value * 1000000",
        "sequence": "value + 1",
        "day": "(1735689600000000 + value * 1000000) / 86400000000",
    }
    with journal._transaction() as db:
        db.execute(
            "WITH RECURSIVE numbers(value) AS"
            f" (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < {rows})"
            f" INSERT INTO jobs ({', '.join(columns)})"
            f" SELECT {', '.join(columns.values())} FROM numbers"
        )
        db.execute("DELETE FROM jobs WHERE id = 'first'")
    return journal


def make_batch(turn: int, rows: int) -> list[Job]:
    """Make a thousand changed jobs among the youngest of `rows`, and a thousand new ones."""
    now = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=rows + turn)
    raw = {"turn": turn, "more": "x" * 100}
    changed = [
        Job("mj", f"{rows - number:016d}", "IMAGINE", Status.RUNNING, turn % 99, raw=raw)
        for number in range(1000)
    ]
    return changed + [
        Job(
            "mj",
            f"{10_000_000 + turn * 1000 + number:016d}",
            "IMAGINE",
            subject="a new fox",
            submitted=now,
            raw=raw,
        )
        for number in range(1000)
    ]


# --- lakes ----------------------------------------------------------------------------------------


def build_columns_sql(number: str) -> str:
    """Build the lake's columns from a number, in SQL: about 490 bytes as a frame's row."""
    columns = {
        "day": "CAST(submitted AS DATE)",
        "origin": "'http://p'",
        "service": "'mj'",
        "id": f"lpad(CAST({number} AS VARCHAR), 16, '1')",
        "action": "['IMAGINE', 'UPSCALE', 'VARIATION', 'DESCRIBE']"
        f"[1 + CAST(hash({number}) % 4 AS INTEGER)]",
        "status": f"CASE WHEN hash({number} + 7) % 20 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END",
        "progress": "CAST(100 AS BIGINT)",
        "subject": f"'a lighthouse at dusk, number ' || {number} || ', in oil --ar 16:9'",
        "submitted": "submitted",
        "started": f"submitted + to_microseconds(CAST(hash({number} + 1) % 30000000 AS BIGINT))",
        "finished": "submitted + to_microseconds"
        f"(CAST(30000000 + hash({number} + 2) % 60000000 AS BIGINT))",
        "reason": "NULL::VARCHAR",
        "outputs": f"'https://cdn.example.org/' || md5(CAST({number} AS VARCHAR)) || '.png'",
        "buttons": "'U1, U2, U3, U4, 🔄, V1, V2, V3, V4'",
        "parent": "NULL::VARCHAR",
        "user_data": "'nightly'",
        "first_seen": "submitted",
        "last_seen": "submitted",
        "month": "strftime(submitted, '%Y-%m')",
    }
    # Context columns, which this service does not tell.
    missing = dict(zip(ADDED_COLUMNS, make_nulls(ADDED_COLUMNS), strict=True))
    return ", ".join(missing.get(name) or f"{columns[name]} AS {name}" for name in SCHEMA)


def make_lake(folder: Path, rows: int) -> Lake:
    """Make a lake of jobs over two years, in files of 100,000 with small row groups."""
    lake = Lake(folder / f"lake{rows}")
    lake.location.load_or_create()
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        for first in range(0, rows, SLICE):
            step = DAYS * 86_400_000_000 // rows
            source = f"(SELECT range AS number FROM range({first}, {min(first + SLICE, rows)}))"
            deltalake.write_deltalake(
                lake.url,
                db.sql(build_rows_sql(source, step)).to_arrow_table(),
                mode="append",
                writer_properties=make_writer_properties(),
            )
    return lake


def build_rows_sql(source: str, step: int) -> str:
    begin = (END - timedelta(days=DAYS)).strftime("%Y-%m-%d")
    when = f"TIMESTAMPTZ '{begin} 00:00:00+00' + to_microseconds(CAST(number * {step} AS BIGINT))"
    numbers = f"(SELECT number, {when} AS submitted FROM {source})"
    return f"SELECT {build_columns_sql('number')} FROM {numbers}"


def measure_lakes(folder: Path) -> Iterator[Figure]:
    small = make_lake(folder, 100_000)
    middle = make_lake(folder, 1_000_000)
    large = make_lake(folder, ROWS)
    yield from measure_merges(folder, small, large)
    yield from measure_overlays(folder, middle)
    yield from measure_reports(folder, middle)
    yield from measure_analyses(large)
    yield from measure_growth((small, middle, large))
    yield measure_cluster(large)


def record_changes(journal: Journal, turn: int) -> None:
    """Record a thousand changed jobs and a thousand new ones of the last day."""
    jobs = []
    for number in range(2000):
        series = turn + 1 if number % 2 else 0
        job = Job(
            "mj",
            f"2{series:06d}{number:09d}",
            "IMAGINE",
            Status.RUNNING,
            turn,
            "a new fox",
            submitted=END - timedelta(seconds=43 * number),
            raw={"turn": turn},
        )
        jobs.append(job)
    journal.record_jobs(jobs, END.timestamp() + turn)


def measure_merges(folder: Path, small: Lake, large: Lake) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"small": [], "large": []}
    for name, lake in (("small", small), ("large", large)):
        lake.journal = Journal(folder / f"{name}.journal", origins={"mj": "http://p"})
    for turn in range(ROUNDS + 1):
        for lake in (small, large):
            assert lake.journal is not None
            record_changes(lake.journal, turn)
        once = in_turns({"small": small.merge, "large": large.merge}, 1)
        for name, seconds in once.items():
            took[name].append(seconds)
    ours = median(took["large"][1:])
    other = median(took["small"][1:])
    for lake in (small, large):
        assert lake.journal is not None
        lake.journal.close()
        lake.journal = None
    yield within(f"merge of 2,000 into {ROWS:,}", ours, other, "into 100,000", 2)


def measure_overlays(folder: Path, lake: Lake) -> Iterator[Figure]:
    journal = Journal(folder / "overlay.journal", origins={"mj": "http://p"})
    record_changes(journal, 1)
    both = Lake(lake.url, journal=journal)
    took = in_turns({"ours": both.frame, "alone": lake.frame}, ROUNDS)
    journal.close()
    yield within(
        "lake of 1,000,000 and journal as a frame",
        took["ours"],
        took["alone"],
        "the lake alone",
        1.5,
    )


def measure_reports(folder: Path, lake: Lake) -> Iterator[Figure]:
    """Measure the report of 1,000,000 jobs, from a lake and from a journal: one pass over each."""
    path = folder / "report.journal"
    make_journal(path, 1_000_000).close()
    for method, source in (("lake_report", lake.url), ("journal_report", str(path))):
        run = run_in_process(method, source)
        name = f"{method.replace('_', ' ')} of 1,000,000: peak"
        yield within(name, run["bytes"], HEAP, "bar", 1, "MB")


def measure_analyses(lake: Lake) -> Iterator[Figure]:
    """Measure the standard analysis, every run in a process of its own, in turns."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "hand": [], "pandas": []}
    for turn in range(3):
        for method in ("ours", "hand") if turn else runs:
            runs[method].append(run_in_process(method, lake.url))
    took = {name: median(run["seconds"] for run in results) for name, results in runs.items()}
    most = max(run["bytes"] for run in runs["ours"])
    name = f"standard analysis, {ROWS:,} jobs"
    yield within(name, took["ours"], took["hand"], "the query by hand", 1.3)
    yield faster(name, took["ours"], took["pandas"], "the whole table in pandas", 6)
    yield within(f"{name}: peak", most, HEAP, "bar", 1, "MB")


def measure_growth(lakes: Sequence[Lake]) -> Iterator[Figure]:
    """Measure each question on lakes of growing size, every run in a process of its own."""
    sizes = (100_000, 1_000_000, ROWS)
    for question in QUESTIONS:
        runs = [run_in_process(question, lake.url) for lake in lakes]
        for before, after in ((0, 1), (1, 2)):
            seconds = runs[before]["seconds"] * sizes[after] / sizes[before]
            name = f"{question} of {sizes[after]:,}, {runs[after]['bytes'] / 1e6:,.0f} MB"
            linear = f"linear from {sizes[before]:,}"
            yield within(name, runs[after]["seconds"], seconds, linear, 1.1, "s")


def ask(question: str, url: str) -> Any:
    return getattr(Lake(url).mjci, question)(**QUESTIONS[question])


def run_in_process(method: str, url: str) -> dict[str, float]:
    code = f"from tests.benchmarks import history; history.print_run({method!r}, {url!r})"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def print_run(method: str, url: str) -> None:
    """Print how long a method takes and how much memory it needs, in a process of its own."""
    seconds = in_turns({method: partial(METHODS[method], url)}, 1)[method]
    print(json.dumps({"seconds": seconds, "bytes": get_peak_memory()}))


def get_peak_memory() -> int:
    """Return this process's peak memory; `peak` would count its parent's before the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return peak()


def analyse_with_lake(url: str) -> pd.DataFrame:
    return Lake(url).mjci.queue_stats()


def analyse_by_hand(url: str) -> Any:
    """Run the query that an experienced user of DuckDB writes."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        files = db.read_parquet(deltalake.DeltaTable(url).file_uris(), hive_partitioning=False)
        assert files is not None
        return db.sql(
            "SELECT day, action, count(*) AS jobs,"
            " avg(CAST(status = 'SUCCEEDED' AS INTEGER))"
            " FILTER (status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')),"
            " quantile_cont(epoch_us(started) - epoch_us(submitted), 0.5),"
            " quantile_cont(epoch_us(started) - epoch_us(submitted), 0.95),"
            " quantile_cont(epoch_us(finished) - epoch_us(started), 0.5),"
            " quantile_cont(epoch_us(finished) - epoch_us(started), 0.95)"
            " FROM files GROUP BY ALL ORDER BY ALL"
        ).to_arrow_table()


def analyse_with_pandas(url: str) -> pd.DataFrame:
    frame = deltalake.DeltaTable(url).to_pyarrow_table().to_pandas()
    frame["queue_time"] = (frame["started"] - frame["submitted"]).dt.total_seconds()
    frame["run_time"] = (frame["finished"] - frame["started"]).dt.total_seconds()
    frame["ok"] = frame["status"] == "SUCCEEDED"
    groups = frame.groupby([frame["submitted"].dt.floor("D"), "action"])
    return pd.concat(
        [groups["ok"].mean(), groups[["queue_time", "run_time"]].quantile([0.5, 0.95]).unstack()],
        axis=1,
    )


def report_lake(url: str) -> None:
    Lake(url).mjci.report(Path(url).with_suffix(".html"))


def report_journal(path: str) -> None:
    journal = Journal(Path(path))
    History(journal, time.time).report(Path(path).with_suffix(".html"))
    journal.close()


# what is asked of lakes of growing size, with its arguments
QUESTIONS: dict[str, dict[str, Any]] = {
    "timeline": {},
    "throughput": {},
    "turnaround": {},
    "queue_stats": {},
    "failures": {},
    "success_rate": {"by": ["service", "action"]},
    "sla": {"within": 60},
    "cost": {"prices": {"*": 1}},
    "savings": {},
    "durations": {},
    "concurrency": {},
    "retries": {},
    "outliers": {},
    "words": {},
    "compare": {"before": ("2024-06-01", "2024-12-01"), "after": ("2024-12-01", "2025-06-01")},
    # a row for each job
    "prompts": {},
    "lineage": {},
}
METHODS: dict[str, Callable[[str], Any]] = {
    **{question: partial(ask, question) for question in QUESTIONS},
    "ours": analyse_with_lake,
    "hand": analyse_by_hand,
    "pandas": analyse_with_pandas,
    "lake_report": report_lake,
    "journal_report": report_journal,
}


def measure_cluster(lake: Lake) -> Figure:
    """Read every row on two workers of 1 GB, which one row group per file would kill."""
    code = f"from tests.benchmarks import history; history.scan({lake.url!r})"
    command = [sys.executable, "-W", "ignore", "-c", f"if __name__ == '__main__': {code}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=600)
    result = {"rows": 0, "seconds": float("nan")}
    if done.returncode == 0:
        result = json.loads(done.stdout.splitlines()[-1])
    return Figure(
        f"whole rows of {ROWS:,} on 2 workers of 1 GB",
        f"{result['seconds']:.1f} s",
        f"{result['rows']:,} rows",
        1.0,
        "finishes",
        result["rows"] >= ROWS,
    )


def scan(url: str) -> None:
    """Read a lake on two workers, and print how many rows there were and how long it took."""
    from distributed import Client, LocalCluster

    begin = time.perf_counter()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GB", dashboard_address="127.0.0.1:0"
        ) as workers,
        Client(workers) as client,
    ):
        frame = Lake(url).with_client(client).frame()
        rows = int(frame.map_partitions(_count_rows, meta=("rows", "int64")).sum().compute())
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - begin}))


def _count_rows(part: pd.DataFrame) -> pd.Series[int]:
    """Count rows by reading every column, so that none is left out."""
    return pd.Series([int(part.notna().any(axis=1).sum())], name="rows")


if __name__ == "__main__":
    sys.exit(main(figures))
