"""Build the rating of a picture from what a user says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from jupyter_mjci.client.job import Job, JobPicture, split_picture_name, to_job_id
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.ratings import Rating, check_stars

# A grid is one result that shows four pictures.
MIN_PICTURES = 4


class SessionLike(Protocol):
    """What has a journal."""

    journal: Journal


def rate(
    session: SessionLike,
    picture: Job | JobPicture | str,
    stars: int | None = None,
    *,
    index: int = 0,
    tags: Sequence[str] | None = None,
    note: str | None = None,
) -> Rating:
    """Keep stars, tags and a note of a picture, and return them together.

    What is not given stays; 0 stars, empty tags and an empty note
    are removed. `s.history()` has them as columns, and
    `s.history.ratings()` a row per picture. Raises InvalidRequest
    for other stars than 1 to 5, and where there is no such
    picture.

    Args:
        session: has the journal
        picture: the job or its ID, or one picture: `job[2]`, or
            its name "ID[2]"
        stars: 1 to 5; 0 for none
        index: which picture of the job, from 0
        tags: words of your own: ["keeper"]
        note: a text of your own
    """
    rating = build_rating(session.journal, picture, stars, index, tags=tags, note=note)
    session.journal.rate(rating)
    return rating


def build_rating(
    journal: Journal,
    picture: Job | JobPicture | str,
    stars: int | None,
    index: int,
    *,
    tags: Sequence[str] | None,
    note: str | None,
) -> Rating:
    """Return the rating of a picture: what is new, and what was known of it.

    Raises:
        InvalidRequest: there is no such job or picture, or the
            stars are not 1 to 5
    """
    check_stars(stars)
    if isinstance(picture, JobPicture):
        job = picture.job
        index = picture.index
    else:
        job, index = _find_picture(journal, picture, index)
    count = max(len(job.outputs), MIN_PICTURES * bool(job.outputs))
    if not 0 <= index < count:
        raise InvalidRequest(
            f"{job.action or 'Job'} {job.id} has no picture {index}.",
            hint=f"Pictures are counted from 0; this job has up to {count}.",
        )
    known = journal.find_rating(job, index)
    return replace(
        known,
        stars=known.stars if stars is None else stars or None,
        tags=known.tags if tags is None else _parse_tags(tags),
        note=known.note if note is None else note,
    )


def _find_picture(journal: Journal, picture: Job | str, index: int) -> tuple[Job, int]:
    """Return the job of a name, and which of its pictures it names."""
    if isinstance(picture, Job):
        return picture, index
    job_id, number = split_picture_name(to_job_id(picture))
    job = journal.find_job(job_id)
    if job is None:
        raise InvalidRequest(
            f"{job_id!r} is not a job of this session.", hint="Fetch it first: session.follow(id)."
        )
    return job, index if number is None else number


def _parse_tags(tags: Sequence[str]) -> tuple[str, ...]:
    words = [tags] if isinstance(tags, str) else tags
    return tuple(dict.fromkeys(str(word).strip() for word in words if str(word).strip()))
