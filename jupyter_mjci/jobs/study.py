"""A study: many jobs over the combinations of some factors, looked at as one sheet of pictures.

Its submissions carry keys in the journal. So a study that is run
again, in the same kernel or after the kernel has died, goes on:
what was submitted is found, followed and never made twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Operation
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.prices import Prices, parse_prices
from jupyter_mjci.client.response_text import shorten
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.history.frames import join_rows
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.jobs.batch import Batch, JobLike
from jupyter_mjci.jobs.grids import Grid, is_among
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.jobs.polling import MAX_INTERVAL
from jupyter_mjci.jobs.spending import sum_costs
from jupyter_mjci.jobs.study_calls import Builder, StudyPlan, bind_arguments, plan_study

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.client.settings import Settings
    from jupyter_mjci.history.plots import PlotAccessor
    from jupyter_mjci.imaging.sheets import ContactSheet

LOG = logging.getLogger(__name__)
# pictures that are fetched and scaled down at a time
MAX_FETCHED_AT_ONCE = 4
MAX_TITLE = 100  # characters
# Pictures of jobs, scaled down, by job, picture and size.
Thumbnails = dict[tuple[str, str, int], bytes]


class StudySession(Protocol):
    """What a study needs of a session."""

    settings: Settings
    journal: Journal
    mj: Any

    @property
    def batch(self) -> Callable[..., Batch]: ...
    def picture(self, job_or_url: Job | str, index: int = 0) -> Operation[Picture]: ...
    def pictures(self, job: Job) -> Operation[list[Picture]]: ...


def study(
    session: StudySession,
    what: str | Builder,
    *args: Any,
    grid: Grid | None = None,
    repeat: int = 1,
    key: str = "",
    **values: Any,
) -> Study:
    """Plan a study: one call for every combination of the values of some factors.

    Nothing is sent before `.run()`, which continues an earlier
    run, also after the kernel has died, and makes nothing twice.

        s.study("a {{animal}} --ar 3:2", animal=["fox", "owl"])
        s.study(s.ci.picture_job, input="in/a.jpg", quality=[50, 80],
                rule="imageMogr2/quality/{{quality}}",
                output="out/{{quality}}.jpg")

    Raises InvalidRequest where a factor is not used, a
    placeholder has no values, or a call cannot be built.

    Args:
        session: sends the requests
        what: a prompt to imagine, or a builder of calls
        args: the builder's arguments
        grid: factors: lists by their names, a DataFrame whose
            rows are taken as they are, or text: "stylize=100,400
            seed=1,2"
        repeat: how often each combination is made
        key: tells studies apart that would share jobs because
            they send the same
        values: the builder's other arguments, and factors: a list
            for a {{name}} in a text, for a parameter, or for a
            flag of the prompt
    """
    builder = session.mj.imagine if isinstance(what, str) else what
    if isinstance(what, str):
        args = (what, *args)
    arguments = bind_arguments(builder, args, values)
    plan = plan_study(builder, arguments, grid=grid, repeat=repeat, key=key)
    return Study(session, plan)


class Study:
    """Calls over the combinations of some factors, and their jobs.

    `calls` and `len(study)` tell what will be submitted, `cost`
    what it will cost; `run` or `await` submits it. Iterating
    gives the jobs.

    Args:
        session: sends the requests
        plan: the rows and their calls
    """

    def __init__(
        self,
        session: StudySession,
        plan: StudyPlan,
    ) -> None:
        self.session = session
        self.title = shorten(plan.title, MAX_TITLE)
        self.rows = plan.rows
        self.calls = plan.calls
        self.jobs = [Job(call.service, "", call.name) for call in plan.calls]
        self._thumbnails: Thumbnails = {}
        self._load_jobs()

    def _load_jobs(self) -> None:
        """Take the jobs of an earlier run from the journal."""
        for position, call in enumerate(self.calls):
            job = self.session.journal.find_job_by_key(call)
            if job is not None:
                self.jobs[position] = job

    @property
    def factors(self) -> dict[str, list[Any]]:
        """The values of each factor, in their order; `repeat` counts equal calls."""
        names = list(self.rows[0])
        return {name: _list_distinct([row[name] for row in self.rows]) for name in names}

    @property
    def job_count(self) -> int:
        """How many jobs a run would submit now; permutations of a prompt count."""
        return sum(call.job_count for call in self.list_missing())

    def list_missing(self) -> list[Call[Job]]:
        """Return the calls of which the journal has no submission that counts."""
        journal = self.session.journal
        return [call for call in self.calls if journal.find_by_key(call) is None]

    def cost(
        self,
        prices: Mapping[str, float] | Prices | None = None,
    ) -> float:
        """Return what a run would cost now, in the unit of the prices.

        Args:
            prices: as in the setting prices, which is the
                default: {"imagine": 0.03}; "*" is the price of
                every other action

        Raises:
            InvalidRequest: an action has no price, or the prices
                are not valid
        """
        table = (
            self.session.settings.prices
            if prices is None
            else parse_prices(prices, error=InvalidRequest)
        )
        total, unpriced = sum_costs(self.list_missing(), table)
        if unpriced:
            raise InvalidRequest(
                f"{', '.join(unpriced)} has no price.",
                hint='Give it, or one for all: {"*": 0.03}.',
            )
        return total

    # --- running ------------------------------------------------

    def run(
        self,
        *,
        at_once: int = 8,
        poll_interval: float = MAX_INTERVAL,
        max_jobs: int | None = None,
        retry: int = 0,
    ) -> Study:
        """Submit what was not submitted yet, follow every job to its end, and return the study.

        A row's failure stays that row's. Raises InvalidRequest
        for more submissions than `max_jobs`, before the first is
        sent.

        Args:
            at_once: how many jobs are active at a time
            poll_interval: seconds between two polls of a job, at
                most
            max_jobs: how many jobs may be submitted; by default
                the setting max_jobs
            retry: how often a call is submitted again whose job
                failed for a reason that may pass
        """
        batch = self.prepare(max_jobs, at_once=at_once, poll_interval=poll_interval, retry=retry)
        for update in batch.updates():
            self.jobs[update.index] = update.job
        return self

    def __await__(self) -> Generator[object, None, Study]:
        return self._run_async().__await__()

    async def _run_async(self) -> Study:
        async for update in self.prepare().updates():
            self.jobs[update.index] = update.job
        return self

    def prepare(
        self,
        max_jobs: int | None = None,
        **options: Any,
    ) -> Batch:
        """Return the batch that `run` runs, for those who show its progress.

        Its updates belong into `jobs`. Arguments and errors are
        those of `run`.
        """
        check_job_count(self.list_missing(), self.session.settings, max_jobs)
        count = sum(call.job_count for call in self.calls)
        return self.session.batch(self.list_targets(), max_jobs=count, **options)

    def list_targets(self) -> list[JobLike]:
        """Return what a run submits or follows; a job that has ended well needs no second look."""
        rows = zip(self.jobs, self.calls, strict=True)
        return [job if job.status is Status.SUCCEEDED else call for job, call in rows]

    # --- results ------------------------------------------------

    def frame(self) -> pd.DataFrame:
        """Return one row per job: the factors, then the columns of every frame of jobs.

        A factor with the name of one of those gets the suffix
        `_input`.
        """
        frame = join_rows(self.jobs, self.rows)
        names = list(frame.columns)
        own = len(names) - len(self.rows[0])
        return frame[names[own:] + names[:own]]

    @property
    def plot(self) -> PlotAccessor:
        """The plots of the analyses, over `frame()`: `study.plot.turnaround(by="style")`."""
        from jupyter_mjci.history.analysis import JobAccessor

        return JobAccessor(self.frame()).plot

    def rated_pictures(self) -> pd.DataFrame:
        """Return a row per rated picture: the factors, id, picture, stars, tags, note."""
        from jupyter_mjci.history.ratings import ratings_to_frame

        frame = self.frame()
        names = list(self.factors)
        factors = frame.iloc[:, : len(names)].set_axis(names, axis=1).assign(id=frame["id"])
        ratings = ratings_to_frame(self.session.journal.ratings())
        columns = ["id", "picture", "stars", "tags", "note"]
        return factors.merge(ratings[columns], on="id").reset_index(drop=True)

    def ratings(
        self,
        by: str,
    ) -> pd.DataFrame:
        """Return how the values of a factor were rated: pictures, mean, low and high (95 %).

        Raises InvalidRequest where there is no such factor.
        """
        from jupyter_mjci.history.ratings import summarize_ratings
        from jupyter_mjci.jobs.study_sheet import check_factor

        check_factor(by, self.factors)
        return summarize_ratings(self.rated_pictures(), by)

    def wins(
        self,
        by: str,
    ) -> pd.DataFrame:
        """Count how often a value of a factor was rated higher than another, all else equal.

        Columns: winner, loser, wins, losses, ties, share. Raises
        InvalidRequest where there is no such factor.
        """
        from jupyter_mjci.history.ratings import count_wins
        from jupyter_mjci.jobs.study_sheet import check_factor

        check_factor(by, self.factors)
        others = [name for name in self.factors if name not in (by, "repeat")]
        return count_wins(self.rated_pictures(), by, others)

    def sheet(
        self,
        rows: str | None = None,
        columns: str | None = None,
        *,
        index: int | None = None,
    ) -> ContactSheet:
        """Draw all pictures as one labelled sheet.

        A cell shows all jobs that have its values in common; a
        job without a picture says why.

        Args:
            rows: the factor whose values are the rows; by default
                the first one with several values
            columns: the factor whose values are the columns; by
                default the second one with several values; "" for
                none
            index: which picture of each job, from 0; by default
                what came as its result: a grid as a whole

        Raises:
            InvalidRequest: there is no such factor
        """
        return event_loop.run(self._draw(rows, columns, index))

    async def _draw(
        self,
        rows: str | None,
        columns: str | None,
        index: int | None,
    ) -> ContactSheet:
        from jupyter_mjci.jobs import study_sheet

        axes = study_sheet.choose_axes(self.factors, rows, columns)
        cells: list[bytes | str] = [_describe_missing(job) for job in self.jobs]
        for position, thumbnail in (await self._fetch_thumbnails(index)).items():
            cells[position] = thumbnail
        return await anyio.to_thread.run_sync(
            partial(study_sheet.draw, self.rows, cells, axes, self.title)
        )

    async def _fetch_thumbnails(
        self,
        index: int | None,
    ) -> dict[int, bytes | str]:
        """Return each picture, or why there is none, by the position of its job."""
        found: dict[int, bytes | str] = {}
        slots = anyio.Semaphore(MAX_FETCHED_AT_ONCE)

        async def fetch(
            position: int,
            job: Job,
        ) -> None:
            async with slots:
                try:
                    found[position] = await self._fetch_thumbnail(job, index)
                except (MjciError, ValueError) as error:
                    found[position] = f"no picture: {error}".splitlines()[0]
                except Exception as error:
                    # A bug, or a disk: that of this picture.
                    LOG.exception("No picture of job %s.", job.id)
                    found[position] = f"no picture: {type(error).__name__}"

        async with anyio.create_task_group() as group:
            for position, job in enumerate(self.jobs):
                if job.outputs:
                    group.start_soon(fetch, position, job)
        return found

    async def _fetch_thumbnail(
        self,
        job: Job,
        index: int | None,
    ) -> bytes:
        from jupyter_mjci.imaging.sheets import fit_picture

        key = (job.service, job.id, -1 if index is None else index)
        if key not in self._thumbnails:
            if index is None:
                picture = await self.session.picture(job)
            else:
                picture = _select(await self.session.pictures(job), index)
            self._thumbnails[key] = await anyio.to_thread.run_sync(fit_picture, bytes(picture))
        return self._thumbnails[key]

    # --- as a value ---------------------------------------------

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __getitem__(
        self,
        position: int,
    ) -> Job:
        return self.jobs[position]

    def __repr__(self) -> str:
        sizes = [f"{len(values)} {name}" for name, values in self.factors.items()]
        counts = Counter(job.status for job in self.jobs if job.id or job.reason)
        states = [f"{counts[status]} {status.value.lower()}" for status in Status if counts[status]]
        waiting = self.job_count
        if waiting:
            states.append(f"{waiting} not submitted: .run() submits")
        shape = f" ({' × '.join(sizes)})" if sizes else ""
        return f"<study {self.title!r}: {len(self)} calls{shape}; {', '.join(states)}>"


def _select(
    pictures: Sequence[Picture],
    index: int,
) -> Picture:
    if not 0 <= index < len(pictures):
        raise InvalidRequest(f"There is no picture {index}: the job has {len(pictures)}.")
    return pictures[index]


def _list_distinct(values: Sequence[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if not is_among(value, distinct):
            distinct.append(value)
    return distinct


def _describe_missing(job: Job) -> str:
    """Return why a job has no picture."""
    status = job.status.value.lower().replace("_", " ")
    if not job.id and not job.reason:
        return "not submitted"
    return f"{status}: {job.reason}" if job.reason else status
