"""Fallbacks return what the missing endpoint would return, for every server family."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import (
    InvalidRequest,
    MidjourneyError,
    MjciError,
    ServiceError,
    Unsupported,
)
from jupyter_mjci.services import load_settings
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.session import Session
from tests.virtual_clock import VirtualClock


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf"), dialect=request.param) as sandbox_session:
        yield sandbox_session


def grid(session: Session) -> Job:
    return session.follow(session.mj.imagine("a red fox")).run()


@pytest.mark.parametrize("session", ["plus", "trueai", "java", "new-api"], indirect=True)
def test_change_and_action_work_for_every_family(session: Session) -> None:
    """Labels become `change` where there are no buttons, and `change` becomes a button."""
    parent = grid(session)
    for call in (
        session.mj.action(parent, "U2"),
        session.mj.change(parent.id, "UPSCALE", 3),
        session.mj.simple_change(f"{parent.id} V1"),
    ):
        job = session.follow(call).run()
        assert (job.status, job.parent or parent.id) == (Status.SUCCEEDED, parent.id)


@pytest.mark.parametrize("session", ["java"], indirect=True)
def test_button_without_equivalent_change_raises(session: Session) -> None:
    with pytest.raises(InvalidRequest, match="no button"):
        session.mj.action(grid(session), "Zoom Out 2x")


@pytest.mark.parametrize("session", ["plus", "trueai", "java", "new-api"], indirect=True)
def test_listings_work_for_every_family(session: Session) -> None:
    """Relays have no listings: the journal takes their place."""
    done = grid(session)
    running = session.mj.imagine("a blue fox").run()
    assert list(session.tasks()["id"]) == [running.id, done.id]
    assert [job.id for job in session.mj.tasks(ids=[running.id, done.id, "404"]).run()] == [
        running.id,
        done.id,
    ]
    assert list(session.queue()["id"]) == [running.id]
    assert session.tasks().dtypes.equals(session.history().dtypes)


def record_paths(session: Session) -> list[str]:
    paths: list[str] = []
    send = session.client.transport.send

    async def record_path(call):  # type: ignore[no-untyped-def]
        paths.append(call.path)
        return await send(call)

    session.client.transport.send = record_path  # type: ignore[method-assign]
    return paths


@pytest.mark.parametrize("session", ["new-api"], indirect=True)
def test_endpoint_that_answers_with_a_page_is_asked_for_once_each_time(session: Session) -> None:
    """A page with status 200 proves nothing, so the listing is tried, but not repeatedly."""
    session.mj.tasks().run()
    paths = record_paths(session)
    session.mj.tasks().run()
    assert paths.count("/mj/task/list") == 1


def answer_listing(answers: list[httpx.Response]) -> Session:
    """Return a session with a proxy that has one task, and lists it by the given answers."""
    task = {"id": "17", "status": "SUCCESS", "action": "IMAGINE"}

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/mj/task/list":
            return httpx.Response(200, json=task)
        return answers.pop(0) if answers else httpx.Response(200, json=[task])

    settings = load_settings({"mj_url": "http://proxy"}, environ={})
    return Session(settings, transport=httpx.MockTransport(handler), clock=VirtualClock())


PAGE: dict[str, Any] = {"html": "<!doctype html><title>Relay</title>"}


@pytest.mark.parametrize(
    "answers",
    [
        [httpx.Response(200, **PAGE)],
        [httpx.Response(200, **PAGE)] * 9,
        [httpx.Response(404, **PAGE)],
        [httpx.Response(404, json={"detail": "Not Found"}), httpx.Response(403, **PAGE)],
        [httpx.Response(503)] * 2,
    ],
    ids=["one page", "pages for a while", "one 404", "404 and 403", "restart"],
)
def test_listing_shows_the_truth_once_the_server_answers(answers: list[httpx.Response]) -> None:
    """Whatever stood in between, no fallback hides the real listing."""
    session = answer_listing(answers)
    for _ in range(9):
        with contextlib.suppress(MjciError):
            session.tasks()
        if not answers:
            break
    assert list(session.tasks()["id"]) == ["17"]
    assert not session._jobs.sender.endpoints.is_missing(session.mj.tasks())


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(
    "body",
    [
        {"json": {"timestamp": 1, "status": 404, "error": "Not Found"}},
        {"json": {"detail": "Not Found"}},
        {"text": "404 page not found"},
        PAGE,
        {"content": b""},
    ],
    ids=["spring", "fastapi", "text", "page", "empty"],
)
def test_endpoint_is_remembered_as_missing_after_it_was_refused_twice(
    status: int, body: dict[str, Any]
) -> None:
    session = answer_listing([httpx.Response(status, **body) for _ in range(9)])
    session.mj.tasks().run()
    paths = record_paths(session)
    session.mj.tasks().run()
    assert "/mj/task/list" in paths
    paths.clear()
    session.mj.tasks().run()
    assert "/mj/task/list" not in paths


def test_wrong_address_raises_despite_the_journal() -> None:
    """A server that responds to everything with a web page is not a proxy."""
    page = httpx.MockTransport(lambda _: httpx.Response(200, html="<!doctype html><p>hello</p>"))
    session = Session(
        load_settings({"mj_url": "http://elsewhere"}, environ={}),
        transport=page,
        clock=VirtualClock(),
    )
    for call in (
        session.mj.tasks(),
        session.mj.tasks(ids=["1"]),
        session.mj.queue(),
        session.mj.change("1", "UPSCALE", 1),
    ):
        with pytest.raises(Unsupported, match="elsewhere"):
            call.run()
    with pytest.raises(Unsupported):
        session.tasks()


def test_unsupported_is_an_error_of_any_service() -> None:
    response = Response(404, b'{"detail": "Not Found"}', url="http://proxy/mj/submit/x")
    with pytest.raises(Unsupported, match="no such endpoint") as caught:
        Midjourney().imagine("a fox").parse(response)
    assert isinstance(caught.value, ServiceError)
    assert not isinstance(caught.value, MidjourneyError)
    assert caught.value.service == "mj"
