"""Fallbacks return what the missing endpoint would return, for every server family."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest, Unsupported
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session


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


@pytest.mark.parametrize("session", ["new-api"], indirect=True)
def test_missing_endpoint_is_not_requested_again(session: Session) -> None:
    session.mj.tasks().run()
    paths: list[str] = []
    send = session.client.transport.send

    async def record_path(call):  # type: ignore[no-untyped-def]
        paths.append(call.path)
        return await send(call)

    session.client.transport.send = record_path  # type: ignore[method-assign]
    session.mj.tasks().run()
    assert "/mj/task/list" not in paths


def test_wrong_address_raises_despite_the_journal() -> None:
    """A server that responds to everything with a web page is not a proxy."""
    page = httpx.MockTransport(lambda _: httpx.Response(200, html="<!doctype html><p>hello</p>"))
    session = Session(load_settings({"mj_url": "http://elsewhere"}, environ={}), transport=page)
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
