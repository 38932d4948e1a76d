"""Ratings: kept per picture, shown with the history, and summed up by the factors of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.ratings import count_wins, summarize_ratings
from jupyter_mjci.session import Session


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as sandboxed:
        yield sandboxed


@pytest.fixture
def job(session: Session) -> Job:
    found: Job = session.follow(session.mj.imagine("a red fox")).run()
    return found


def test_rating_keeps_what_is_not_given_and_drops_what_is_empty(session: Session, job: Job) -> None:
    session.rate(job, 4, index=2, tags=["keeper", "keeper", " warm "], note="good light")
    rating = session.rate(job[2], 5)
    assert (rating.stars, rating.tags, rating.note) == (5, ("keeper", "warm"), "good light")
    session.rate(job.id, 2)
    frame = session.history.ratings()
    assert list(zip(frame["picture"], frame["stars"], frame["tags"], strict=True)) == [
        (0, 2, ""),
        (2, 5, "keeper, warm"),
    ]
    assert session.rate(job, index=2, tags=[], note="").stars == 5
    (row,) = session.history.ratings().query("picture == 2").to_dict("records")
    assert (row["tags"], row["note"]) == ("", "")


def test_history_has_columns_once_something_is_rated(session: Session, job: Job) -> None:
    plain = session.history()
    session.follow(session.mj.imagine("an owl")).run()
    assert "stars" not in plain.columns
    session.rate(job, 3, index=0, tags=["a"])
    session.rate(job, 4, index=1, tags=["b", "a"], note="crisp")
    frame = session.history()
    rated = frame[frame["id"] == job.id].iloc[0]
    assert (rated["stars"], rated["tags"], rated["note"]) == (3.5, "a, b", "crisp")
    assert frame["stars"].isna().sum() == 1
    assert list(frame.columns[: len(plain.columns)]) == list(plain.columns)
    assert len(session.history(limit=1)) == 1
    assert session.history().mjci.queue_stats() is not None


def test_export_of_a_rated_history_loads(session: Session, job: Job, tmp_path: Path) -> None:
    session.rate(job, 3)
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert session.history.export(tmp_path / f"jobs{suffix}") == 1
        with mjci.sandbox() as other:
            assert other.history.load(tmp_path / f"jobs{suffix}").new == 1


def test_ratings_outlive_the_session(tmp_path: Path) -> None:
    with mjci.sandbox(speed=float("inf"), home=tmp_path) as first:
        job = first.follow(first.mj.imagine("a red fox")).run()
        first.rate(job, 4)
    with mjci.sandbox(home=tmp_path) as second:
        assert list(second.history.ratings()["stars"]) == [4]


@pytest.mark.parametrize("stars", [-1, 6, 2.5, True, "5"])
def test_other_stars_are_refused(session: Session, job: Job, stars: Any) -> None:
    with pytest.raises(InvalidRequest, match="stars must be 1 to 5"):
        session.rate(job, stars)


def test_missing_job_or_picture_is_refused(session: Session, job: Job) -> None:
    with pytest.raises(InvalidRequest, match="has no picture 4"):
        session.rate(job, 3, index=4)
    with pytest.raises(InvalidRequest, match="'1999' is not a job"):
        session.rate("1999", 3)
    assert session.history.ratings().empty


def test_study_tells_which_value_wins(session: Session) -> None:
    study = session.study("a {{animal}} in {{style}}", animal=["fox", "owl"], style=["ink", "oil"])
    study.run()
    for found, stars in zip(study, (2, 5, 3, 4), strict=True):
        session.rate(found, stars, index=0)
        session.rate(found, stars - 1, index=3)
    summary = study.ratings(by="style")
    assert list(summary["style"]) == ["oil", "ink"]
    assert list(summary["mean"]) == [4.0, 2.0]
    assert list(summary["pictures"]) == [4, 4]
    assert (summary["low"] < summary["mean"]).all()
    (pair,) = study.wins(by="style").to_dict("records")
    assert (pair["winner"], pair["loser"], pair["share"]) == ("oil", "ink", 1 - 0.5 / 8)
    with pytest.raises(InvalidRequest, match=r"'color' is not a factor.*\n.*animal, style"):
        study.wins(by="color")


def make_rated(rows: int) -> pd.DataFrame:
    stars = [(7 * n + n // 4) % 5 + 1 if n % 7 else None for n in range(3 * rows)]
    return pd.DataFrame(
        {
            "style": ["ink", "oil", "chalk"] * rows,
            "animal": (["fox"] * 3 + ["owl"] * 3) * (rows // 2) + ["fox"] * 3 * (rows % 2),
            "stars": pd.array(stars, dtype="Int64"),
        }
    )


@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_referee_agrees_with_means_and_wins(rows: int) -> None:
    """SQL of its own over the same rows."""
    rated = make_rated(rows)
    ours = summarize_ratings(rated, "style").set_index("style")
    theirs = duckdb.sql(
        "SELECT style, count(*) n, avg(stars) mean, stddev_samp(stars) / sqrt(count(*)) error"
        " FROM rated WHERE stars IS NOT NULL GROUP BY style"
    ).df().set_index("style")  # fmt: skip
    assert set(ours.index) == set(theirs.index)
    for style, row in ours.iterrows():
        assert row["pictures"] == theirs.loc[style, "n"]
        assert row["mean"] == pytest.approx(theirs.loc[style, "mean"])
        if row["pictures"] == 1:
            assert math.isnan(row["low"])
        elif row["low"] > 1:
            assert row["mean"] - row["low"] >= 1.95 * theirs.loc[style, "error"]
    wins = count_wins(rated, "style", ["animal"])
    expected = duckdb.sql(
        "SELECT a.style winner, b.style loser, count(*) FILTER (a.stars > b.stars) wins,"
        " count(*) FILTER (a.stars < b.stars) losses, count(*) FILTER (a.stars = b.stars) AS ties"
        " FROM rated a JOIN rated b USING (animal) WHERE a.style <> b.style"
        " AND a.stars IS NOT NULL AND b.stars IS NOT NULL GROUP BY ALL"
    ).df().set_index(["winner", "loser"])  # fmt: skip
    assert len(wins) == len(expected) / 2
    for row in wins.to_dict("records"):
        counts = expected.loc[(row["winner"], row["loser"])]
        assert [row["wins"], row["losses"], row["ties"]] == list(counts)
        assert row["share"] >= 0.5
