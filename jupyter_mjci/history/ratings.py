"""Stars, tags and notes of pictures, in the journal, and which value of a factor wins by them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client import jsonlib
from jupyter_mjci.errors import InvalidRequest

if TYPE_CHECKING:
    import sqlite3

    import pandas as pd

MAX_STARS = 5
# Student's t of 95 % by degrees of freedom, from 1 on; beyond the
# table the normal distribution's is near enough.
STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL = 1.960
RATING_COLUMNS = ("service", "origin", "id", "picture", "stars", "tags", "note")


@dataclass(frozen=True, slots=True)
class Rating:
    """What somebody thinks of a picture.

    Args:
        service: the key of its service
        origin: the server or account of its job
        id: the job
        picture: which of the job's pictures, from 0
        stars: 1 to 5; None for none
        tags: words of the user's own
        note: a text of the user's own
    """

    service: str
    origin: str
    id: str
    picture: int
    stars: int | None = None
    tags: tuple[str, ...] = ()
    note: str = ""


def check_stars(stars: object) -> None:
    """Raise InvalidRequest for what is no number of stars; 0 takes them away, None keeps them."""
    is_number = isinstance(stars, int) and not isinstance(stars, bool)
    if stars is not None and not (is_number and 0 <= stars <= MAX_STARS):  # type: ignore[operator]
        raise InvalidRequest(f"stars must be 1 to {MAX_STARS}, or 0 for none, not {stars!r}.")


def save_rating(
    rating: Rating,
    db: sqlite3.Connection,
) -> None:
    """Write a rating; one that says nothing is removed."""
    key = (rating.service, rating.origin, rating.id, rating.picture)
    db.execute("DELETE FROM ratings WHERE service=? AND origin=? AND id=? AND picture=?", key)
    if rating.stars is not None or rating.tags or rating.note:
        values = (*key, rating.stars, jsonlib.dumps(rating.tags), rating.note)
        db.execute("INSERT INTO ratings VALUES (?,?,?,?,?,?,?)", values)


def row_to_rating(row: sqlite3.Row) -> Rating:
    """Return a row of the table as a record."""
    fields = dict(row)
    fields["tags"] = tuple(jsonlib.loads(row["tags"]))
    return Rating(**fields)


def add_ratings(db: sqlite3.Connection) -> None:
    """Add the table of ratings."""
    db.execute(
        "CREATE TABLE ratings (service TEXT, origin TEXT, id TEXT, picture INTEGER,"
        " stars INTEGER, tags TEXT, note TEXT,"
        " PRIMARY KEY (service, origin, id, picture)) WITHOUT ROWID"
    )


# --- frames -----------------------------------------------------


def ratings_to_frame(ratings: Sequence[Rating]) -> pd.DataFrame:
    """Return a row per rated picture: RATING_COLUMNS; tags as one text."""
    import pandas as pd

    rows = [
        {**{name: getattr(rating, name) for name in RATING_COLUMNS}, "tags": ", ".join(rating.tags)}
        for rating in ratings
    ]
    frame = pd.DataFrame(rows, columns=list(RATING_COLUMNS))
    texts = dict.fromkeys(("service", "origin", "id", "tags", "note"), "string")
    return frame.astype({**texts, "picture": "int64", "stars": "Int64"})


def add_rating_columns(
    jobs: pd.DataFrame,
    ratings: Sequence[Rating],
) -> pd.DataFrame:
    """Add stars (the mean of a job's pictures), tags and note to a frame of jobs.

    A history without any rating stays as it is.
    """
    import pandas as pd

    if not ratings:
        return jobs
    rated = ratings_to_frame(ratings)
    keys = ["service", "origin", "id"]
    rated["origin"] = rated["origin"].replace("", pd.NA)
    summary = rated.groupby(keys, sort=False, dropna=False).agg(
        stars=("stars", "mean"), tags=("tags", _join_texts), note=("note", _join_texts)
    )
    summary = summary.astype({"stars": "Float64", "tags": "string", "note": "string"})
    merged = jobs[keys].merge(summary.reset_index(), how="left", on=keys)
    columns = {name: merged[name].array for name in ("stars", "tags", "note")}
    return jobs.assign(**columns)


def _join_texts(texts: pd.Series) -> str | None:
    parts = [part for text in texts for part in text.split(", ") if part]
    return ", ".join(dict.fromkeys(parts)) or None


# --- which value wins -------------------------------------------


def summarize_ratings(
    rated: pd.DataFrame,
    by: str,
) -> pd.DataFrame:
    """Return how pictures were rated for each value of a factor, the best first.

    Args:
        rated: a row per rated picture, with `stars`
        by: the factor

    Returns:
        Columns: the factor, pictures, mean, low and high (where
        the mean lies, by 95 %; missing for a single picture).
    """
    import pandas as pd

    rows = []
    for value, stars in rated.dropna(subset=["stars"]).groupby(by, sort=False, dropna=False)[
        "stars"
    ]:
        count = len(stars)
        mean = float(stars.mean())
        margin = math.nan
        if count > 1:
            margin = _get_t(count - 1) * float(stars.std()) / math.sqrt(count)
        low = max(mean - margin, 1.0)
        high = min(mean + margin, float(MAX_STARS))
        if count == 1:
            low = high = math.nan
        rows.append({by: value, "pictures": count, "mean": mean, "low": low, "high": high})
    frame = pd.DataFrame(rows, columns=[by, "pictures", "mean", "low", "high"])
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def _get_t(freedom: int) -> float:
    return STUDENT_T[freedom - 1] if freedom <= len(STUDENT_T) else NORMAL


def count_wins(
    rated: pd.DataFrame,
    by: str,
    others: Sequence[str],
) -> pd.DataFrame:
    """Count how often one value of a factor was rated higher than another one.

    Pictures are compared whose other factors are the same.

    Args:
        rated: a row per rated picture, with `stars`
        by: the factor
        others: the other factors

    Returns:
        Columns: winner, loser, wins, losses, ties, share (wins
        and half of the ties); each pair once, the clearest first.
    """
    import pandas as pd

    known = rated.dropna(subset=["stars"])
    values = list(dict.fromkeys(known[by]))
    groups = [part for _, part in known.groupby(list(others), sort=False)] if others else [known]
    rows = []
    for first, second in itertools.combinations(values, 2):
        counts = [0, 0, 0]
        for group in groups:
            _count_pairs(group[group[by] == first], group[group[by] == second], counts)
        if sum(counts):
            rows.append(_build_pair(first, second, counts))
    frame = pd.DataFrame(rows, columns=["winner", "loser", "wins", "losses", "ties", "share"])
    return frame.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _count_pairs(
    first: pd.DataFrame,
    second: pd.DataFrame,
    counts: list[int],
) -> None:
    for ours, theirs in itertools.product(first["stars"], second["stars"]):
        position = 2 if ours == theirs else int(ours < theirs)
        counts[position] += 1


def _build_pair(
    first: Any,
    second: Any,
    counts: Sequence[int],
) -> Mapping[str, Any]:
    wins, losses, ties = counts
    if losses > wins:
        first, second = second, first
        wins, losses = losses, wins
    share = (wins + ties / 2) / (wins + losses + ties)
    return {
        "winner": first, "loser": second, "wins": wins, "losses": losses, "ties": ties,
        "share": share,
    }  # fmt: skip
