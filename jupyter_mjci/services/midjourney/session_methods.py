"""What every session can do with a proxy: listings as DataFrames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, to_job_id
from jupyter_mjci.services.midjourney.api import Midjourney

if TYPE_CHECKING:
    import pandas as pd


class SessionLike(Protocol):
    """What these methods need of a session."""

    mj: Midjourney

    def frame(
        self,
        listing: Call[list[Job]],
        ids: tuple[str, ...] | None = None,
    ) -> pd.DataFrame:
        """Return the jobs of a listing as a DataFrame."""
        ...


def tasks(session: SessionLike, ids: Iterable[str] | None = None) -> pd.DataFrame:
    """Return the Midjourney tasks of the proxy (or those with the given `ids`)."""
    task_ids = None if ids is None else tuple(map(to_job_id, ids))
    return session.frame(session.mj.tasks(task_ids), task_ids)


def queue(session: SessionLike) -> pd.DataFrame:
    """Return the Midjourney tasks that are queued or running."""
    return session.frame(session.mj.queue())
