"""What a session does with a listing: a frame at once, and everything remembered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jupyter_mjci.client.settings import load
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.errors import MidjourneyError
from jupyter_mjci.jobs.listings import LISTING_BATCH_SIZE
from jupyter_mjci.session import Session

GIVEN = {
    "mj_url": "http://proxy",
    "ci_secret_id": "AKID1",
    "ci_secret_key": "k3y",
    "ci_bucket": "demo-1",
    "ci_region": "ap-x",
}


class Service:
    """Lists what it is told to."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.details: list[str] = []
        self.refusals = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.refusals:
            self.refusals -= 1
            return httpx.Response(503)
        if request.url.path.startswith("/mj"):
            return httpx.Response(200, content=json.dumps(self.tasks).encode())
        at = int(request.url.params.get("nextToken") or 0)
        some = "".join(self.details[at : at + 100])
        more = (
            f"<NextToken>{at + 100}</NextToken>" if at + 100 < len(self.details) else "<NextToken/>"
        )
        return httpx.Response(200, content=f"<Response>{some}{more}</Response>".encode())


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def desk(service: Service) -> Iterator[Session]:
    with Session(
        load(GIVEN, environ={}), clock=VirtualClock(), transport=httpx.MockTransport(service)
    ) as session:
        yield session


@pytest.fixture
def heard(desk: Session) -> list[tuple[str, Any]]:
    said: list[tuple[str, Any]] = []
    desk.listeners.append(lambda event, value: said.append((event, getattr(value, "id", value))))
    return said


def task(number: int, **told: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "action": "IMAGINE",
        "status": "SUCCESS",
        "progress": "100%",
        "prompt": "a fox",
        **told,
    }


def detail(number: int, state: str = "Success") -> str:
    return f"<JobsDetail><JobId>c{number}</JobId><Tag>PicProcess</Tag><State>{state}</State></JobsDetail>"


def test_every_job_of_a_small_listing_is_seen(
    desk: Session, service: Service, heard: list[tuple[str, Any]]
) -> None:
    service.tasks, service.details = [task(1), task(2)], [detail(1)]
    assert list(desk.tasks()["id"]) == ["1", "2"]
    assert list(desk.jobs()["id"]) == ["c1"]
    assert heard == [("job_updated", "1"), ("job_updated", "2"), ("job_updated", "c1")]
    assert set(desk.history()["id"]) == {"1", "2", "c1"}


def test_of_a_large_listing_only_what_moved_is_seen(
    desk: Session, service: Service, heard: list[tuple[str, Any]]
) -> None:
    """All of it when it is new; then nothing; then what moved. The journal knows all of it,
    whole.
    """
    service.tasks = [task(number) for number in range(LISTING_BATCH_SIZE + 500)]
    service.tasks[7] |= {"status": "IN_PROGRESS", "progress": "3%"}
    assert len(desk.tasks()) == LISTING_BATCH_SIZE + 500
    assert [event for event, _ in heard] == ["listing"] + ["job_updated"] * (
        LISTING_BATCH_SIZE + 500
    )
    heard.clear()
    desk.tasks()
    assert [event for event, _ in heard] == ["listing"]
    heard.clear()
    service.tasks[7]["progress"] = "40%"
    service.tasks[8] |= {"status": "FAILURE"}
    listing = desk.tasks()
    assert [(event, value) for event, value in heard if event == "job_updated"] == [
        ("job_updated", "7"),
        ("job_updated", "8"),
    ]
    assert heard[0][1].frame is listing
    assert desk.journal.jobs("id = '7'")[0].raw["progress"] == "40%"
    assert len(desk.history()) == LISTING_BATCH_SIZE + 500


def test_large_listings_come_page_by_page(
    desk: Session, service: Service, heard: list[tuple[str, Any]]
) -> None:
    service.details = [detail(number) for number in range(LISTING_BATCH_SIZE + 150)]
    assert list(desk.jobs()["id"]) == [f"c{number}" for number in range(LISTING_BATCH_SIZE + 150)]
    assert len(desk.jobs(limit=130)) == 130
    heard.clear()
    service.details[3] = detail(3, "Failed")
    assert desk.jobs()["status"].iloc[3] == "FAILED"
    assert [value for event, value in heard if event == "job_updated"] == ["c3"]


def test_a_listing_is_asked_for_again(desk: Session, service: Service) -> None:
    """After what may pass, as other reading is."""
    service.tasks, service.refusals = [task(1)], 1
    assert len(desk.tasks()) == 1


def test_ids_choose_and_order(desk: Session, service: Service) -> None:
    service.tasks = [task(1), task(2), task(3)]
    assert list(desk.tasks(ids=iter(["3", " 1", "404"]))["id"]) == ["3", "1"]


def test_a_refusal_is_raised(desk: Session, service: Service) -> None:
    service.refusals = 100
    with pytest.raises(MidjourneyError):
        desk.queue()
