"""The desk: both services, their settings, and everything that takes more than one request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

from jupyter_mjci.client import bridge, midjourney, tencent_ci
from jupyter_mjci.client.calls import Call, Stream, Work
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import Secret, Settings, load
from jupyter_mjci.client.transport import Clock, Origin, SystemClock, Transport, cos_auth, mj_auth
from jupyter_mjci.errors import AnswerError, CallError, JobFailed, MjciError, QueueFull, WaitTooLong

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from jupyter_mjci.sandbox.app import Sandbox

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How a job is asked after: first after `first` seconds, then ever later by `growth`, up to `most`."""

    first: float
    growth: float
    most: float


PACES = {"mj": Pace(1.0, 1.25, 5.0), "ci": Pace(0.5, 1.5, 5.0)}
BACK_OFF = Pace(2.0, 2.0, 30.0)  # while a queue is full


class Watch(Stream[Job]):
    """A followed job: each change as it is seen. The outcome is the finished job; a failed one raises JobFailed."""

    def __init__(self, source: Callable[[], AsyncIterator[Job]]) -> None:
        super().__init__(source, _finished)


class Session:
    """Both services, ready to use. `mj` and `ci` build calls; the rest of the methods follow, collect and show.

    Listeners are called as `listener(event, value)`: "leaving" with the Call before a submission leaves, "seen" with
    each Job that an answer tells of.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, door: httpx.AsyncBaseTransport | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.sandbox = settings, sandbox
        self.clock: Clock = clock or SystemClock()
        self.transport = Transport(
            _origins(settings, self.clock), clock=self.clock, timeout=settings.timeout, at_once=settings.at_once,
            door=door,
        )  # fmt: skip
        self.listeners: list[Callable[[str, Any], None]] = [self._remember]
        self._seen: dict[tuple[str, str], Job] = {}
        self.mj = midjourney.Midjourney(self)
        self.ci = tencent_ci.TencentCI(self, bucket=settings.ci_bucket, region=settings.ci_region)

    def __repr__(self) -> str:
        places = (self.settings.mj_url, self.settings.ci_bucket)
        where = "sandbox" if self.sandbox else ", ".join(place for place in places if place)
        return f"<jupyter_mjci session: {where}>"

    async def fetch(self, call: Call[T]) -> T:
        """Sends a call and reads its answer; what every `Call.run()` comes to."""
        if call.creates:
            self._tell("leaving", call)
        reply = await self.transport.send(call)
        value = call.read(reply)
        for job in _jobs_in(value):
            self._tell("seen", job)
        return value

    def follow(self, what: Call[Job] | Job | str, *, timeout: float | None = None) -> Watch:
        """Submits (a call), then watches until the job has ended, or asks for a person (ASKING).

        `what` is a call, a Job or an id. `timeout` in seconds, by default the setting `wait`: then WaitTooLong is
        raised and the job goes on. `.run()` gives the finished Job, and raises JobFailed if it failed.
        """
        patience = self.settings.wait if timeout is None else timeout
        return Watch(partial(self._sightings, what, patience))

    def batch(self, calls: Iterable[Call[Job]], *, at_once: int = 8) -> Stream[Job]:
        """Submits and follows many calls, `at_once` at a time, and gives each finished job as it comes.

        A call that fails does not stop the others: it comes as a FAILED job that tells the reason. While a queue is
        full, its calls wait.
        """
        wanted = list(calls)
        return Stream(lambda: bridge.produced(partial(self._work_off, wanted, at_once)))

    def tasks(self, ids: Iterable[str] | None = None) -> pd.DataFrame:
        """The Midjourney tasks that the proxy knows (or those with the given ids), as a DataFrame."""
        return self._frame(self.mj.tasks(ids).run())

    def queue(self) -> pd.DataFrame:
        """The Midjourney tasks that wait or run now, as a DataFrame."""
        return self._frame(self.mj.queue().run())

    def jobs(self, **filters: Any) -> pd.DataFrame:
        """The CI jobs that the service knows, as a DataFrame. Filters are those of `ci.jobs`."""
        return self._frame(self.ci.jobs(**filters).run())

    def history(self) -> pd.DataFrame:
        """Every job that this session has seen, as last seen, as a DataFrame."""
        return self._frame(self._seen.values())

    def picture(self, what: Job | str, index: int = 0) -> Work[bytes]:
        """The bytes of a job's result (or of a URL). Credentials go to the services' own hosts only.

        `index` chooses among several results. Raises CallError for a job without a result, AnswerError for an answer
        that is no picture.
        """
        return Work(partial(self._picture, what, index))

    def describe(self, job: Job | str) -> Call[Job]:
        """The call that asks for a job's present state. An id of digits is Midjourney's, any other CI's."""
        job_id, service = (job.id, job.service) if isinstance(job, Job) else (job, _service_of(job))
        return self.mj.task(job_id) if service == "mj" else self.ci.job(job_id)

    def seen(self, service: str) -> Sequence[Job]:
        """The jobs of a service that this session has seen, newest last: what completion and panels offer."""
        return [job for (one, _), job in self._seen.items() if one == service]

    def close(self) -> None:
        """Ends the connections. The session can be used again; it opens new ones."""
        bridge.run(self.transport.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- on the engine ---------------------------------------------------------------------------------------

    async def _sightings(self, what: Call[Job] | Job | str, patience: float) -> AsyncIterator[Job]:
        job = await self._begin(what)
        yield job
        pace, deadline = PACES[job.service], self.clock.now() + patience
        wait = pace.first
        while job.status.moving:
            if self.clock.now() + wait > deadline:
                raise WaitTooLong(job, patience)
            await self.clock.sleep(wait)
            last, job = job, _kept(job, await self.fetch(self.describe(job)))
            if job != last:
                yield job
            wait = min(wait * pace.growth, pace.most)

    async def _begin(self, what: Call[Job] | Job | str) -> Job:
        if isinstance(what, Job):
            return what
        return await self.fetch(what if isinstance(what, Call) else self.describe(what))

    async def _work_off(self, calls: Sequence[Call[Job]], at_once: int, hand_out: Callable[[Job], None]) -> None:
        slots = anyio.Semaphore(at_once)

        async def one(call: Call[Job]) -> None:
            async with slots:
                hand_out(await self._to_its_end(call))

        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(one, call)

    async def _to_its_end(self, call: Call[Job]) -> Job:
        wait = BACK_OFF.first
        while True:
            try:
                return [job async for job in self._sightings(call, self.settings.wait)][-1]
            except QueueFull:
                await self.clock.sleep(wait)
                wait = min(wait * BACK_OFF.growth, BACK_OFF.most)
            except WaitTooLong as error:
                return error.job
            except MjciError as error:
                return Job(call.service, "", call.name, Status.FAILED, reason=error.what, raw={"error": str(error)})

    async def _picture(self, what: Job | str, index: int) -> bytes:
        reply = await self.transport.get(what if isinstance(what, str) else _output(what, index))
        if reply.status >= 400:
            raise AnswerError(
                f"The picture is not there (HTTP {reply.status}).",
                why=reply.body[:200].decode("utf-8", "replace"), body=reply.body,
                hint="Links of Midjourney pictures end after a day; fetch pictures when a job is done.",
            )  # fmt: skip
        return reply.body

    def _frame(self, jobs: Iterable[Job]) -> pd.DataFrame:
        from jupyter_mjci.history.frames import frame

        return frame(jobs)

    def _tell(self, event: str, value: Any) -> None:
        for listener in self.listeners:
            listener(event, value)

    def _remember(self, event: str, value: Any) -> None:
        if event == "seen" and value.id:
            self._seen[value.service, value.id] = value


def connect(*, profile: str | None = None, notice: Callable[[str], None] = print, **given: Any) -> Session:
    """A session on your services: keyword arguments, then the environment, then the profile file.

    With nothing configured the embedded sandbox is used, and one line says so. Raises SettingsError.
    """
    settings = load(given, profile=profile)
    if settings.has_mj or settings.has_ci:
        return Session(settings)
    notice("jupyter_mjci: no account is configured, so this is the embedded sandbox (nothing leaves this process).")
    return sandbox(speed=settings.speed, home=settings.home)


def sandbox(*, speed: float = 20.0, dialect: str = "plus", seed: int = 0, faults: Any = None, **given: Any) -> Session:
    """A session on a fresh sandbox in this process: both services, without account or network.

    `speed` is how fast its time runs; the times that jobs show are the same at every speed. `dialect` is the proxy
    family: plus, java, trueai or new-api. Other keyword arguments are settings.
    """
    from jupyter_mjci.sandbox.app import Sandbox

    stand_in = Sandbox(speed=speed, dialect=dialect, seed=seed, faults=faults)
    told: Mapping[str, Any] = stand_in.settings
    settings = load(
        {
            "mj_url": told["mj_url"], "mj_secret": told["mj_secret"], "mj_auth": AUTH.get(dialect, "secret"),
            "ci_secret_id": told["secret_id"], "ci_secret_key": told["secret_key"], "ci_bucket": told["bucket"],
            "ci_region": told["region"], "ci_token": "", **given,
        }, environ={},
    )  # fmt: skip
    return Session(settings, clock=stand_in.clock, door=stand_in.transport(), sandbox=stand_in)


AUTH = {"trueai": "raw", "new-api": "bearer"}  # what each proxy family of the sandbox listens to


def _origins(settings: Settings, clock: Clock) -> dict[str, Origin]:
    origins = {}
    if settings.has_mj:
        base = settings.mj_url.rstrip("/").removesuffix("/mj")
        origins["mj"] = Origin(base, authorize=mj_auth(settings.mj_auth, settings.mj_secret))
    if settings.has_ci:
        for plane, door in (("ci", settings.ci_endpoint), ("cos", settings.cos_endpoint)):
            host = f"{settings.ci_bucket}.{plane}.{settings.ci_region}.myqcloud.com"
            auth = cos_auth(
                settings.ci_secret_id, settings.ci_secret_key, settings.ci_token, clock, f"x-{plane}-security-token"
            )
            origins[plane] = Origin(door.rstrip("/") or f"https://{host}", host, auth)
        account = f"ci.{settings.ci_region}.myqcloud.com"
        door = settings.ci_endpoint.rstrip("/") or f"https://{account}"
        origins["account"] = Origin(door, account, origins["ci"].authorize)
    return origins


def _service_of(job_id: str) -> str:
    return "mj" if job_id.strip().isdigit() else "ci"


def _jobs_in(value: Any) -> Iterable[Job]:
    """The jobs that an answer tells of: one, a list, or a page of them."""
    if isinstance(value, Job):
        return (value,)
    items = getattr(value, "items", value)
    return [one for one in items if isinstance(one, Job)] if isinstance(items, (list, tuple)) else ()


def _kept(before: Job, now: Job) -> Job:
    """What an answer does not tell again (some leave the parent or the prompt out) stays known."""
    told = {name: getattr(before, name) for name in ("subject", "state", "parent") if not getattr(now, name)}
    return replace(now, **told)


def _finished(jobs: list[Job]) -> Job:
    job = jobs[-1]
    if job.status in (Status.FAILED, Status.CANCELLED):
        raise JobFailed(job)
    return job


def _output(job: Job, index: int) -> str:
    if index >= len(job.outputs):
        raise CallError(
            f"{job.action or 'Job'} {job.id} has {len(job.outputs) or 'no'} result{'s' * (len(job.outputs) != 1)}.",
            why=f"It is {job.status}.", hint="Follow it to its end first." if job.status.moving else "",
        )  # fmt: skip
    return job.outputs[index]


__all__ = ["Secret", "Session", "Watch", "connect", "sandbox"]
