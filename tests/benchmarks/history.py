"""Journals and lakes: what a sighting, a fold, a frame and a question cost, and what they cost when
histories grow.

    python -m tests.benchmarks.history [ROWS]       ROWS of the large lake, 10,000,000 by default

Makes its histories in a temporary folder (TMPDIR; some 3 GB at the default size) and takes about
five minutes.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import deltalake
import duckdb
import pandas as pd

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.history.delta import SCHEMA, Lake, _make_writer_properties
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_frame import load_journal_frame
from tests.benchmarks.figures import Figure, faster, in_turns, main, peak, within

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10_000_000
DAYS = 730
END = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = 5
SLICE = 100_000
HEAP = 600e6  # bytes that the standard analysis may hold at most


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        yield from journals(place)
        yield from lakes(place)


# --- journals -------------------------------------------------------------------------------------


def journals(place: Path) -> Iterator[Figure]:
    large = grown(place / "large.db", 1_000_000)
    turn = iter(range(1_000_000))

    def into_large() -> None:
        large.record_jobs(round_of(next(turn), 1_000_000), 1.0)

    empty: list[Journal] = []

    def into_empty() -> None:
        empty[-1].record_jobs(round_of(0, 1_000), 1.0)

    took: dict[str, list[float]] = {"large": [], "empty": []}
    for number in range(7):
        empty.append(grown(place / f"empty{number}.db", 1_000))
        once = in_turns({"large": into_large, "empty": into_empty}, 1)
        for one, seconds in once.items():
            took[one].append(seconds)
        empty[-1].close()
    ours, other = (median(took[one]) for one in ("large", "empty"))
    yield within(
        "1,000 new, 1,000 changed into 1,000,000 jobs", ours, other, "into an empty journal", 1.5
    )
    large.close()
    yield from events(place)
    yield from frames(place)


def events(place: Path) -> Iterator[Figure]:
    journal = Journal(place / "events.db")
    table, turn = str(place / "events"), iter(range(10_000))
    row = duckdb.sql(rows_of("(SELECT 0 AS number)", 1)).to_arrow_table()
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: journal.record_jobs([Job("mj", f"event{next(turn)}")], 1.0),
        "delta": lambda: deltalake.write_deltalake(table, row, mode="append"),
    }
    took = in_turns(ways, 40)
    journal.close()
    yield within("one durable event", took["ours"], took["delta"], "one Delta append", 0.1)


def frames(place: Path) -> Iterator[Figure]:
    journal = grown(place / "frame.db", 100_000)
    with sqlite3.connect(place / "frame.db") as db:
        ways = {"ours": partial(load_journal_frame, journal), "pandas": partial(by_pandas, db)}
        pd.testing.assert_frame_equal(ways["ours"](), ways["pandas"]())
        took = in_turns(ways, 11)
    db.close()
    journal.close()
    yield faster(
        "s.history() of 100,000 jobs", took["ours"], took["pandas"], "pd.read_sql, same dtypes", 3
    )


def by_pandas(db: sqlite3.Connection) -> pd.DataFrame:
    """The same frame as pandas makes it from the same table."""
    names = "service, id, action, status, progress, subject, submitted, started, finished, reason, parent, user_data"
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
    ):
        frame[name] = frame[name].astype("string").replace("", pd.NA)
    frame["progress"] = frame["progress"].astype("Int64")
    frame["status"] = pd.Categorical(frame["status"], [one.value for one in Status])
    frame["queue_time"], frame["run_time"] = (
        frame["started"] - frame["submitted"],
        frame["finished"] - frame["started"],
    )
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
    ]
    return frame[order]


def grown(path: Path, rows: int) -> Journal:
    """A journal of so many jobs, some 500 bytes each, the last thousand of them running."""
    journal = Journal(path)
    journal.record_jobs([Job("mj", "first")], 1.0)
    told = {
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
            f"WITH RECURSIVE numbers(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < {rows})"
            f" INSERT INTO jobs ({', '.join(told)}) SELECT {', '.join(told.values())} FROM numbers"
        )
        db.execute("DELETE FROM jobs WHERE id = 'first'")
    return journal


def round_of(turn: int, rows: int) -> list[Job]:
    """A thousand changed jobs among the youngest of so many, and a thousand new ones."""
    now = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=rows + turn)
    raw = {"turn": turn, "more": "x" * 100}
    changed = [
        Job("mj", f"{rows - one:016d}", "IMAGINE", Status.RUNNING, turn % 99, raw=raw)
        for one in range(1000)
    ]
    return changed + [
        Job(
            "mj",
            f"{10_000_000 + turn * 1000 + one:016d}",
            "IMAGINE",
            subject="a new fox",
            submitted=now,
            raw=raw,
        )
        for one in range(1000)
    ]


# --- lakes ----------------------------------------------------------------------------------------


def made(number: str) -> str:
    """The lake's columns, from a number, in SQL: two years of jobs, each some 490 bytes as a
    frame's row.
    """
    told = {
        "day": "CAST(submitted AS DATE)",
        "origin": "'http://p'",
        "service": "'mj'",
        "id": f"lpad(CAST({number} AS VARCHAR), 16, '1')",
        "action": f"['IMAGINE', 'UPSCALE', 'VARIATION', 'DESCRIBE'][1 + CAST(hash({number}) % 4 AS INTEGER)]",
        "status": f"CASE WHEN hash({number} + 7) % 20 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END",
        "progress": "CAST(100 AS BIGINT)",
        "subject": f"'a lighthouse at dusk, number ' || {number} || ', in oil --ar 16:9'",
        "submitted": "submitted",
        "started": f"submitted + to_microseconds(CAST(hash({number} + 1) % 30000000 AS BIGINT))",
        "finished": f"submitted + to_microseconds(CAST(30000000 + hash({number} + 2) % 60000000 AS BIGINT))",
        "reason": "NULL::VARCHAR",
        "outputs": f"'https://cdn.example.org/' || md5(CAST({number} AS VARCHAR)) || '.png'",
        "buttons": "'U1, U2, U3, U4, 🔄, V1, V2, V3, V4'",
        "parent": "NULL::VARCHAR",
        "user_data": "'nightly'",
        "first_seen": "submitted",
        "last_seen": "submitted",
        "month": "strftime(submitted, '%Y-%m')",
    }
    return ", ".join(f"{told[name]} AS {name}" for name in SCHEMA)


def lake_of(place: Path, rows: int) -> Lake:
    """A lake of so many jobs over two years, in files of 100,000 with small row groups."""
    lake = Lake(place / f"lake{rows}")
    lake._open_or_create()
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        for first in range(0, rows, SLICE):
            step = DAYS * 86_400_000_000 // rows
            source = f"(SELECT range AS number FROM range({first}, {min(first + SLICE, rows)}))"
            deltalake.write_deltalake(
                lake.url,
                db.sql(rows_of(source, step)).to_arrow_table(),
                mode="append",
                writer_properties=_make_writer_properties(),
            )
    return lake


def rows_of(source: str, step: int) -> str:
    begin = (END - timedelta(days=DAYS)).strftime("%Y-%m-%d")
    when = f"TIMESTAMPTZ '{begin} 00:00:00+00' + to_microseconds(CAST(number * {step} AS BIGINT))"
    return f"SELECT {made('number')} FROM (SELECT number, {when} AS submitted FROM {source})"


def lakes(place: Path) -> Iterator[Figure]:
    small, middle, large = (lake_of(place, rows) for rows in (100_000, 1_000_000, ROWS))
    yield from folds(place, small, large)
    yield from overlays(place, middle)
    yield from questions(large)
    yield cluster(large)


def news(journal: Journal, turn: int) -> None:
    """A thousand changed jobs and a thousand new ones of the last day."""
    at = [END - timedelta(seconds=43 * one) for one in range(2000)]
    ids = [f"2{turn + 1 if one % 2 else 0:06d}{one:09d}" for one in range(2000)]
    told: dict[str, Any] = {"subject": "a new fox", "raw": {"turn": turn}}
    jobs = [
        Job("mj", ids[one], "IMAGINE", Status.RUNNING, turn, submitted=at[one], **told)
        for one in range(2000)
    ]
    journal.record_jobs(jobs, END.timestamp() + turn)


def folds(place: Path, small: Lake, large: Lake) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"small": [], "large": []}
    for name, lake in (("small", small), ("large", large)):
        lake.journal = Journal(place / f"{name}.journal", origins={"mj": "http://p"})
    for turn in range(ROUNDS + 1):
        for lake in (small, large):
            assert lake.journal is not None
            news(lake.journal, turn)
        once = in_turns({"small": small.merge, "large": large.merge}, 1)
        for name, seconds in once.items():
            took[name].append(seconds)
    ours, other = (median(took[name][1:]) for name in ("large", "small"))
    for lake in (small, large):
        assert lake.journal is not None
        lake.journal.close()
        lake.journal = None
    yield within(f"fold of 2,000 into {ROWS:,}", ours, other, "into 100,000", 2)


def overlays(place: Path, lake: Lake) -> Iterator[Figure]:
    journal = Journal(place / "overlay.journal", origins={"mj": "http://p"})
    news(journal, 1)
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


def questions(lake: Lake) -> Iterator[Figure]:
    """The standard analysis, each way in processes of its own, in turns."""
    told: dict[str, list[dict[str, float]]] = {"ours": [], "hand": [], "pandas": []}
    for turn in range(3):
        for way in ("ours", "hand") if turn else told:
            told[way].append(alone(way, lake.url))
    took = {way: median(one["seconds"] for one in runs) for way, runs in told.items()}
    most = max(one["bytes"] for one in told["ours"])
    said = f"standard analysis, {ROWS:,} jobs"
    yield within(said, took["ours"], took["hand"], "the query by hand", 1.3)
    yield faster(said, took["ours"], took["pandas"], "the whole table in pandas", 6)
    yield within(f"{said}: peak", most, HEAP, "bar", 1, "MB")


def alone(way: str, url: str) -> dict[str, float]:
    code = f"from tests.benchmarks import history; history.tell({way!r}, {url!r})"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def tell(way: str, url: str) -> None:
    """In a process of its own: how long a way takes, and the most that it holds."""
    took = in_turns({way: partial(WAYS[way], url)}, 1)[way]
    print(json.dumps({"seconds": took, "bytes": held()}))


def held() -> int:
    """The most this process held. Not `peak`: the kernel counts in what the parent held when it
    made this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return peak()
    return (
        next(
            int(line.split()[1])
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM")
        )
        * 1024
    )


def ours(url: str) -> pd.DataFrame:
    return Lake(url).mjci.queue_stats()


def by_hand(url: str) -> Any:
    """The query that somebody who knows DuckDB writes."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        files = db.read_parquet(deltalake.DeltaTable(url).file_uris(), hive_partitioning=False)
        assert files is not None
        return db.sql(
            "SELECT day, action, count(*) AS jobs,"
            " avg(CAST(status = 'SUCCEEDED' AS INTEGER)) FILTER (status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')),"
            " quantile_cont(epoch_us(started) - epoch_us(submitted), 0.5),"
            " quantile_cont(epoch_us(started) - epoch_us(submitted), 0.95),"
            " quantile_cont(epoch_us(finished) - epoch_us(started), 0.5),"
            " quantile_cont(epoch_us(finished) - epoch_us(started), 0.95)"
            " FROM files GROUP BY ALL ORDER BY ALL"
        ).to_arrow_table()


def by_pandas_whole(url: str) -> pd.DataFrame:
    frame = deltalake.DeltaTable(url).to_pyarrow_table().to_pandas()
    frame["queue_time"] = (frame["started"] - frame["submitted"]).dt.total_seconds()
    frame["run_time"] = (frame["finished"] - frame["started"]).dt.total_seconds()
    frame["ok"] = frame["status"] == "SUCCEEDED"
    groups = frame.groupby([frame["submitted"].dt.floor("D"), "action"])
    return pd.concat(
        [groups["ok"].mean(), groups[["queue_time", "run_time"]].quantile([0.5, 0.95]).unstack()],
        axis=1,
    )


WAYS: dict[str, Callable[[str], Any]] = {"ours": ours, "hand": by_hand, "pandas": by_pandas_whole}


def cluster(lake: Lake) -> Figure:
    """Every row as a whole on two workers of 1 GB. With one row group a file, Delta's default, they
    are killed.
    """
    code = f"from tests.benchmarks import history; history.scan({lake.url!r})"
    command = [sys.executable, "-W", "ignore", "-c", f"if __name__ == '__main__': {code}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=600)
    told = (
        json.loads(done.stdout.splitlines()[-1])
        if done.returncode == 0
        else {"rows": 0, "seconds": float("nan")}
    )
    said = f"whole rows of {ROWS:,} on 2 workers of 1 GB"
    return Figure(
        said,
        f"{told['seconds']:.1f} s",
        f"{told['rows']:,} rows",
        1.0,
        "finishes",
        told["rows"] >= ROWS,
    )


def scan(url: str) -> None:
    import time

    from distributed import Client, LocalCluster

    begin = time.perf_counter()
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GB", dashboard_address="127.0.0.1:0"
        ) as workers,
        Client(workers) as client,
    ):
        frame = Lake(url).with_client(client).frame()
        rows = int(frame.map_partitions(_touched, meta=("rows", "int64")).sum().compute())
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - begin}))


def _touched(part: pd.DataFrame) -> pd.Series[int]:
    """Counts rows by way of every column, so that none can be left unread."""
    return pd.Series([int(part.notna().any(axis=1).sum())], name="rows")


if __name__ == "__main__":
    sys.exit(main(figures))
