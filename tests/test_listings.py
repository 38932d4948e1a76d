"""Listings as DataFrames: every job is journaled, listeners hear of what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.errors import MidjourneyError
from jupyter_mjci.jobs.listings import LISTING_BATCH_SIZE
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session

SETTINGS = {
    "mj_url": "http://proxy",
    "ci_secret_id": "AKID1",
    "ci_secret_key": "k3y",
    "ci_bucket": "demo-1",
    "ci_region": "ap-x",
}


PAGE_SIZE = 100


class MockService:
    """Lists the tasks and CI jobs that a test puts in."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.details: list[str] = []
        self.failures = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.failures:
            self.failures -= 1
            return httpx.Response(503)
        if request.url.path.startswith("/mj"):
            return httpx.Response(200, content=json.dumps(self.tasks).encode())
        start = int(request.url.params.get("nextToken") or 0)
        end = start + PAGE_SIZE
        page = "".join(self.details[start:end])
        token = f"<NextToken>{end}</NextToken>" if end < len(self.details) else "<NextToken/>"
        return httpx.Response(200, content=f"<Response>{page}{token}</Response>".encode())


@pytest.fixture
def service() -> MockService:
    return MockService()


@pytest.fixture
def session(service: MockService) -> Iterator[Session]:
    with Session(
        load_settings(SETTINGS, environ={}),
        clock=VirtualClock(),
        transport=httpx.MockTransport(service),
    ) as connected:
        yield connected


@pytest.fixture
def events(session: Session) -> list[tuple[str, Any]]:
    """The events of the session: name, and the job's ID or the value."""
    events: list[tuple[str, Any]] = []

    def listener(event: str, value: Any) -> None:
        events.append((event, getattr(value, "id", value)))

    session.listeners.append(listener)
    return events


def build_task(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "action": "IMAGINE",
        "status": "SUCCESS",
        "progress": "100%",
        "prompt": "a fox",
        **fields,
    }


def build_detail(number: int, state: str = "Success") -> str:
    return (
        f"<JobsDetail><JobId>c{number}</JobId><Tag>PicProcess</Tag>"
        f"<State>{state}</State></JobsDetail>"
    )


def test_small_listing_updates_every_job(
    session: Session, service: MockService, events: list[tuple[str, Any]]
) -> None:
    service.tasks, service.details = [build_task(1), build_task(2)], [build_detail(1)]
    assert list(session.tasks()["id"]) == ["1", "2"]
    assert list(session.jobs()["id"]) == ["c1"]
    assert events == [("job_updated", "1"), ("job_updated", "2"), ("job_updated", "c1")]
    assert set(session.history()["id"]) == {"1", "2", "c1"}


def test_job_that_is_listed_twice_is_one_row(
    session: Session, service: MockService, events: list[tuple[str, Any]]
) -> None:
    """The newest state counts in frame, events and journal, wherever it stands."""
    old = build_task(1, status="IN_PROGRESS", progress="3%")
    for number, pair in enumerate(((build_task(1), old), (old, build_task(1))), 1):
        events.clear()
        first, second = (task | {"id": str(number)} for task in pair)
        service.tasks = [first, build_task(4), second, build_task(3)]
        frame = session.tasks()
        assert list(frame["id"]) == [str(number), "4", "3"]
        assert list(frame["status"]) == ["SUCCEEDED"] * 3
        assert [event for event in events if event[1] == str(number)] == [
            ("job_updated", str(number))
        ]
    service.details = [build_detail(1), build_detail(2), build_detail(1, "Running")]
    assert session.jobs()[["id", "status"]].to_numpy().tolist() == [
        ["c1", "SUCCEEDED"], ["c2", "SUCCEEDED"],
    ]  # fmt: skip
    assert set(session.history()["status"]) == {"SUCCEEDED"}


def test_older_double_in_a_bulk_poll_does_not_hide_the_end(
    session: Session, service: MockService
) -> None:
    old = build_task(1, status="IN_PROGRESS", progress="3%")
    service.tasks = [build_task(1), build_task(2), old]
    jobs = session.batch([Job("mj", "1", status=Status.RUNNING), Job("mj", "2")])
    assert [(job.id, job.status.value) for job in sorted(jobs, key=lambda job: job.id)] == [
        ("1", "SUCCEEDED"), ("2", "SUCCEEDED"),
    ]  # fmt: skip


def test_large_listing_updates_only_changed_jobs(
    session: Session, service: MockService, events: list[tuple[str, Any]]
) -> None:
    """All jobs at first, then none, then those that changed; the journal holds all of them."""
    service.tasks = [build_task(number) for number in range(LISTING_BATCH_SIZE + 500)]
    service.tasks[7] |= {"status": "IN_PROGRESS", "progress": "3%"}
    assert len(session.tasks()) == LISTING_BATCH_SIZE + 500
    assert [event for event, _ in events] == ["listing"] + ["job_updated"] * (
        LISTING_BATCH_SIZE + 500
    )
    events.clear()
    session.tasks()
    assert [event for event, _ in events] == ["listing"]
    events.clear()
    service.tasks[7]["progress"] = "40%"
    service.tasks[8] |= {"status": "FAILURE"}
    listing = session.tasks()
    assert [(event, value) for event, value in events if event == "job_updated"] == [
        ("job_updated", "7"),
        ("job_updated", "8"),
    ]
    assert events[0][1].frame is listing
    assert session.journal.jobs("id = '7'")[0].raw["progress"] == "40%"
    assert len(session.history()) == LISTING_BATCH_SIZE + 500


def test_large_ci_listing_is_fetched_by_page(
    session: Session, service: MockService, events: list[tuple[str, Any]]
) -> None:
    service.details = [build_detail(number) for number in range(LISTING_BATCH_SIZE + 150)]
    assert list(session.jobs()["id"]) == [
        f"c{number}" for number in range(LISTING_BATCH_SIZE + 150)
    ]
    assert len(session.jobs(limit=130)) == 130
    events.clear()
    service.details[3] = build_detail(3, "Failed")
    assert session.jobs()["status"].iloc[3] == "FAILED"
    assert [value for event, value in events if event == "job_updated"] == ["c3"]


def test_listing_is_retried_after_a_server_error(session: Session, service: MockService) -> None:
    service.tasks, service.failures = [build_task(1)], 1
    assert len(session.tasks()) == 1


def test_tasks_by_ids_keep_the_order_of_the_ids(session: Session, service: MockService) -> None:
    service.tasks = [build_task(1), build_task(2), build_task(3)]
    assert list(session.tasks(ids=iter(["3", " 1", "404"]))["id"]) == ["3", "1"]


def test_lasting_server_error_is_raised(session: Session, service: MockService) -> None:
    service.failures = 100
    with pytest.raises(MidjourneyError):
        session.queue()
