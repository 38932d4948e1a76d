"""What the actors meet: a service behind a gateway, and a journal on a disk that fails."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.errors import TransportError
from jupyter_mjci.history.journal import BUSY_TIMEOUT, Journal
from tests.simulation.scheduler import Actor, Scheduler, Sleep

# Seconds: a gateway's lead over its service, and the lag of a listing. Together they are shorter
# than the settling time, as it says.
MAX_LEAD = 30.0
MAX_LAG = 15.0
ORIGIN = "http://proxy"

# What happens to a submission on its way, once.
FAULTS = (
    "none",
    "no connection",
    "never arrives",
    "arrives late",
    "answer lost",
    "answer garbled",
    "gateway only",
    "gateway first",
    "busy",
    "busy though made",
    "refused",
)
# How the listing behaves.
LISTINGS = ("prompt", "lags", "stumbles", "rewrites", "absent")
# What happens to the disk of the journal.
DISKS = ("sound", "locked", "full")
DISK_FAILURE = 50.0  # seconds


@dataclass
class Task:
    """A task at the service."""

    id: str
    number: int
    state: str
    prompt: str
    made_at: float
    visible_at: float


def get_number(body: bytes) -> int:
    """Return which submission a request belongs to: the search does not compare its webhook."""
    return int(body.partition(b"http://hook/")[2].partition(b'"')[0])


T = TypeVar("T")


class Service:
    """A Midjourney proxy behind a gateway.

    Args:
        scheduler: its time and its chance
        fault: what happens to the first submission that arrives
        listing: how its listing behaves
    """

    def __init__(self, scheduler: Scheduler, fault: str, listing: str) -> None:
        self.scheduler = scheduler
        self.fault = fault
        self.listing = listing
        self.tasks: list[Task] = []
        self.held: list[tuple[float, bytes]] = []
        self.stumbles = 3 if listing == "stumbles" else 0

    @property
    def made(self) -> Counter[int]:
        """How often each submission was made, by its number."""
        self.forward_due(float("inf"))
        return Counter(task.number for task in self.tasks)

    def make(self, body: bytes, at: float) -> Response:
        fields = json.loads(body)
        number = get_number(body)
        lag = self.scheduler.rng.uniform(0, MAX_LAG) if self.listing == "lags" else 0.0
        task_id = str(10_000 + len(self.tasks))
        prompt = fields["prompt"]
        if self.listing == "rewrites":
            prompt = f"{prompt} --v 7"
        task = Task(task_id, number, fields["state"], prompt, at, at + lag)
        self.tasks.append(task)
        return _answer({"code": 1, "description": "ok", "result": task_id})

    def hold(self, body: bytes) -> None:
        lead = self.scheduler.rng.uniform(1.0, MAX_LEAD)
        self.held.append((self.scheduler.now + lead, body))

    def forward_due(self, now: float) -> None:
        due = [entry for entry in self.held if entry[0] <= now]
        self.held = [entry for entry in self.held if entry[0] > now]
        for moment, body in due:
            self.make(body, moment)

    def submit(self, body: bytes) -> Response:
        """Let a submission arrive; what is answered may be lost later."""
        fault = self.fault
        if fault != "refused":  # which it is each time
            self.fault = "none"
        if fault == "busy though made":
            self.make(body, self.scheduler.now)
            return Response(429, b"")
        if fault in _ANSWERS:
            return _ANSWERS[fault]
        if fault == "gateway first":
            self.hold(body)
            return _ANSWERS["gateway only"]
        response = self.make(body, self.scheduler.now)
        if fault == "answer garbled":
            return Response(200, response.body[:9])
        if fault == "answer lost":
            raise _lost()
        return response

    def list_tasks(self) -> Response:
        """Answer a request for the listing."""
        now = self.scheduler.now
        self.forward_due(now)
        if self.listing == "absent":
            return Response(404, b'{"detail":"Not Found"}')
        if self.stumbles:
            self.stumbles -= 1
            return Response(502, b"<html><title>Bad Gateway</title></html>")
        return _answer(
            [
                {
                    "id": task.id,
                    "action": "IMAGINE",
                    "status": "IN_PROGRESS",
                    "state": task.state,
                    "prompt": task.prompt,
                    "submitTime": int(task.made_at * 1000),
                }
                for task in self.tasks
                if task.visible_at <= now
            ]
        )


def _answer(value: object) -> Response:
    return Response(200, json.dumps(value).encode(), {"content-type": "application/json"})


_ANSWERS = {
    "gateway only": Response(504, b"<html><title>504 Gateway Time-out</title></html>"),
    "busy": Response(429, b""),
    "refused": _answer({"code": 24, "description": "banned", "result": None}),
}


def _lost() -> TransportError:
    return TransportError("No response.", may_have_been_sent=True)


class SimulatedTransport:
    """The network between an actor and the service; each of its steps is a crash point."""

    def __init__(self, actor: Actor, service: Service) -> None:
        self.actor = actor
        self.service = service

    def parse(self, call: Call[T], response: Response) -> T:
        return call.parse(response)

    async def send(
        self, call: Call[Any], before_sending: Callable[[], Awaitable[None]] | None = None
    ) -> Response:
        await self._travel()
        if before_sending is not None:
            await before_sending()
        if call.method == "GET" or not call.is_submission:
            response = self.service.list_tasks()
        else:
            response = self._submit(call.body)
        await self._travel()
        return response

    def _submit(self, body: bytes) -> Response:
        service = self.service
        if service.fault == "no connection":
            service.fault = "none"
            raise TransportError("No connection.", may_have_been_sent=False)
        if service.fault in ("never arrives", "arrives late"):
            if service.fault == "arrives late":
                service.hold(body)
            service.fault = "none"
            raise _lost()
        return service.submit(body)

    async def _travel(self) -> None:
        self.actor.check()
        await Sleep(self.service.scheduler.rng.uniform(0.01, 2.0))


class Disk:
    """The disk that all journals are on: sound, or for a while locked or full.

    Args:
        scheduler: the time
        state: locked, full or sound
        fails_at: the number of the write at which that begins
    """

    def __init__(self, scheduler: Scheduler, state: str, fails_at: int) -> None:
        self.scheduler = scheduler
        self.state = state
        self.fails_at = fails_at
        self.writes = 0
        self.failing_until = 0.0

    def check(self) -> None:
        """Count a write; raise SQLite's error where it fails."""
        self.writes += 1
        if self.state == "sound":
            return
        if self.writes == self.fails_at:
            self.failing_until = self.scheduler.now + DISK_FAILURE
        if self.scheduler.now < self.failing_until:
            raise _build_disk_error(self.state)


def _build_disk_error(state: str) -> sqlite3.OperationalError:
    message, code = {
        "locked": ("database is locked", sqlite3.SQLITE_BUSY),
        "full": ("database or disk is full", sqlite3.SQLITE_FULL),
    }[state]
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


class SimulatedJournal(Journal):
    """A real journal whose actor may die before or after a commit, and whose disk may fail."""

    actor: Actor
    disk: Disk

    def __init__(self, path: Path) -> None:
        super().__init__(path, origins={"mj": ORIGIN})

    def attach(self, actor: Actor, disk: Disk) -> SimulatedJournal:
        """Use the journal in another schedule."""
        self.actor = actor
        self.disk = disk
        self._deferred.clear()
        return self

    @contextmanager
    def _transaction(self, timeout: float = BUSY_TIMEOUT) -> Iterator[sqlite3.Connection]:
        self.actor.check()
        try:
            self.disk.check()
        except sqlite3.OperationalError as error:
            raise self._build_write_error(error) from error
        with super()._transaction(timeout) as db:
            yield db
        self.actor.check()

    def wipe(self) -> None:
        """Forget everything."""
        with super()._transaction() as db:
            for table in ("submissions", "claims", "jobs", "job_events"):
                db.execute(f"DELETE FROM {table}")
