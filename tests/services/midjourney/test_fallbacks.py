"""What a proxy family lacks is reached another way, and says the same as far as it can be known."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import load
from jupyter_mjci.errors import InvalidRequest, Unsupported
from jupyter_mjci.session import Session


@pytest.fixture
def s(request: pytest.FixtureRequest) -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf"), dialect=request.param) as session:
        yield session


def grid(s: Session) -> Job:
    return s.follow(s.mj.imagine("a red fox")).run()


@pytest.mark.parametrize("s", ["plus", "trueai", "java", "new-api"], indirect=True)
def test_change_and_action_mean_the_same_everywhere(s: Session) -> None:
    """A label on a task of a family without buttons becomes `change`; `change` where it was
    removed, the button.
    """
    parent = grid(s)
    for call in (
        s.mj.action(parent, "U2"),
        s.mj.change(parent.id, "UPSCALE", 3),
        s.mj.simple_change(f"{parent.id} V1"),
    ):
        job = s.follow(call).run()
        assert (job.status, job.parent or parent.id) == (Status.SUCCEEDED, parent.id)


@pytest.mark.parametrize("s", ["java"], indirect=True)
def test_a_button_that_no_change_can_say_is_told(s: Session) -> None:
    with pytest.raises(InvalidRequest, match="no button"):
        s.mj.action(grid(s), "Zoom Out 2x")


@pytest.mark.parametrize("s", ["plus", "trueai", "java", "new-api"], indirect=True)
def test_listings_everywhere(s: Session) -> None:
    """Tasks, tasks by ids, and the queue; from the journal where a relay has no listing."""
    done = grid(s)
    moving = s.mj.imagine("a blue fox").run()
    assert list(s.tasks()["id"]) == [moving.id, done.id]
    assert [job.id for job in s.mj.tasks(ids=[moving.id, done.id, "404"]).run()] == [
        moving.id,
        done.id,
    ]
    assert list(s.queue()["id"]) == [moving.id]
    assert s.tasks().dtypes.equals(s.history().dtypes)


@pytest.mark.parametrize("s", ["new-api"], indirect=True)
def test_a_detour_is_found_once(s: Session) -> None:
    """After the first time, the call that is lacking is not tried again."""
    s.mj.tasks().run()
    sent: list[str] = []
    plain = s.transport.send

    async def counted(call):  # type: ignore[no-untyped-def]
        sent.append(call.path)
        return await plain(call)

    s.transport.send = counted  # type: ignore[method-assign]
    s.mj.tasks().run()
    assert "/mj/task/list" not in sent


def test_a_wrong_address_is_not_hidden_by_a_history() -> None:
    """A server that answers everything with a page is no proxy: that is said, instead of an empty
    history.
    """
    page = httpx.MockTransport(lambda _: httpx.Response(200, html="<!doctype html><p>hello</p>"))
    session = Session(load({"mj_url": "http://elsewhere"}, environ={}), transport=page)
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
