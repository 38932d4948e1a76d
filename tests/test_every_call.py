"""Every call of both services, built from a sample and really sent to the sandbox. A builder
without a sample fails.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image, ImageDraw

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call, Paginator
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import Unsupported
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.objects import StoredObject
from jupyter_mjci.session import Session

RULE = "imageMogr2/thumbnail/64x"


def drawn(colour: str, size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    picture = Image.new("RGB", size, colour)
    ImageDraw.Draw(picture).ellipse((8, 8, 40, 40), fill="white")
    picture.save(out, "PNG")
    return out.getvalue()


RED, BLUE = drawn("firebrick"), drawn("navy")


def grid(s: Session) -> Job:
    return s.follow(s.mj.imagine("a red fox")).run()


def dialog(s: Session) -> Job:
    large = s.follow(s.mj.action(grid(s), "U1")).run()
    return s.follow(s.mj.action(large, "Custom Zoom")).run()


def film(s: Session) -> Job:
    return s.follow(s.mj.video("the fox runs", picture=RED)).run()


# name -> (dialect, what is sent, what the answer must be like)
MJ: dict[str, tuple[str, Callable[[Session], Any], Callable[[Any], bool]]] = {
    "imagine": (
        "plus",
        lambda s: s.mj.imagine("a fox", images=[RED], state="mine"),
        lambda job: job.user_data == "mine",
    ),
    "action": ("plus", lambda s: s.mj.action(grid(s), "V3"), lambda job: job.action == "VARIATION"),
    "change": (
        "java",
        lambda s: s.mj.change(grid(s).id, "UPSCALE", 2),
        lambda job: job.action == "UPSCALE",
    ),
    "simple_change": (
        "java",
        lambda s: s.mj.simple_change(f"{grid(s).id} v2"),
        lambda job: job.action == "VARIATION",
    ),
    "describe": ("plus", lambda s: s.mj.describe(RED), lambda job: job.action == "DESCRIBE"),
    "blend": (
        "plus",
        lambda s: s.mj.blend([RED, BLUE], dimensions="PORTRAIT"),
        lambda job: job.action == "BLEND",
    ),
    "shorten": (
        "plus",
        lambda s: s.mj.shorten("a very red fox, in snow"),
        lambda job: job.action == "SHORTEN",
    ),
    "modal": (
        "plus",
        lambda s: s.mj.modal(dialog(s).id, "a red fox --zoom 1.5"),
        lambda job: bool(job.id),
    ),
    "upload": (
        "plus",
        lambda s: s.mj.upload([RED, BLUE]),
        lambda urls: len(urls) == 2 and "http" in urls[0],
    ),
    "edits": ("trueai", lambda s: s.mj.edits("make it blue", RED), lambda job: bool(job.id)),
    "retexture": ("trueai", lambda s: s.mj.retexture("marble", RED), lambda job: bool(job.id)),
    "video": (
        "trueai",
        lambda s: s.mj.video("it runs", picture=RED, motion="low"),
        lambda job: job.action == "VIDEO",
    ),
    "swap": ("plus", lambda s: s.mj.swap(RED, BLUE), lambda job: bool(job.id)),
    "image_seed": ("plus", lambda s: s.mj.image_seed(grid(s).id), lambda seed: seed.isdigit()),
    "cancel": (
        "plus",
        lambda s: s.mj.cancel(s.mj.imagine("a fox").run().id),
        lambda nothing: nothing is None,
    ),
    "task": ("plus", lambda s: s.mj.task(grid(s).id), lambda job: job.status is Status.SUCCEEDED),
    "tasks": ("plus", lambda s: s.mj.tasks(ids=[grid(s).id]), lambda jobs: len(jobs) == 1),
    "query": (
        "plus",
        lambda s: grid(s) and s.mj.query(action="IMAGINE"),
        lambda jobs: [j.action for j in jobs] == ["IMAGINE"],
    ),
    "accounts": (
        "java",
        lambda s: s.mj.accounts(),
        lambda found: bool(found) and "userToken" not in found[0],
    ),
    "queue": ("plus", lambda s: s.mj.queue(), lambda jobs: jobs == []),
}


def job(s: Session, **more: Any) -> Call[Job]:
    return s.ci.picture_job(input="input/deer.jpg", rule=RULE, output="out/deer.jpg", **more)


def template(s: Session) -> str:
    return str(s.ci.create_template("small", rule=RULE).run()["TemplateId"])


TOPOLOGY = {
    "Dependencies": {"Start": "Shrink"},
    "Nodes": {
        "Start": {"Type": "Start", "Input": {"ObjectPrefix": "input/"}},
        "Shrink": {
            "Type": "PicProcess",
            "Operation": {
                "TemplateId": "",
                "Output": {
                    "Region": "ap-chongqing",
                    "Bucket": "demo-1250000000",
                    "Object": "w/${InputName}.${Ext}",
                },
            },
        },
    },
}


def workflow(s: Session) -> str:
    topology: Any = {**TOPOLOGY, "Nodes": {**TOPOLOGY["Nodes"]}}
    shrink = topology["Nodes"]["Shrink"]
    topology["Nodes"]["Shrink"] = {
        **shrink,
        "Operation": {**shrink["Operation"], "TemplateId": template(s)},
    }
    return str(s.ci.create_workflow("flow", topology=topology).run()["WorkflowId"])


def first_queue(s: Session) -> str:
    return str(s.ci.queues().run()[0]["QueueId"])


def ran(s: Session) -> str:
    return s.ci.trigger_workflow(active(s), "input/deer.jpg").run()


def active(s: Session) -> str:
    made = workflow(s)
    s.ci.switch_workflow(made, active=True).run()
    return made


CI: dict[str, tuple[Callable[[Session], Any], Callable[[Any], bool]]] = {
    "picture_job": (lambda s: job(s, user_data="mine", level=2), lambda made: made.user_data == "mine"),
    "tagged_job": (
        lambda s: s.ci.tagged_job(
            "PicProcess",
            input="input/deer.jpg",
            operation={
                "PicProcess": {"ProcessRule": RULE},
                "Output": {"Region": s.ci.region, "Bucket": s.ci.bucket, "Object": "out/t.jpg"},
            },
        ),
        lambda made: made.action == "PicProcess",
    ),
    "request": (
        lambda s: s.ci.request(
            "/jobs",
            "<Request><Tag>PicProcess</Tag><Input><Object>input/deer.jpg</Object></Input>"
            f"<Operation><PicProcess><ProcessRule>{RULE}</ProcessRule></PicProcess><Output><Region>{s.ci.region}"
            f"</Region><Bucket>{s.ci.bucket}</Bucket><Object>o.jpg</Object></Output></Operation></Request>",
        ),
        lambda made: made.id.isalnum(),
    ),
    "batch": (
        lambda s: s.ci.batch(name="n", prefix="input/", workflow_ids=[active(s)]),
        lambda made: made.id.startswith("b"),
    ),
    "job": (lambda s: s.ci.job(job(s).run().id), lambda made: made.subject == "input/deer.jpg"),
    "jobs": (
        lambda s: job(s).run() and s.ci.jobs(states=["Submitted", "Running", "Success"]),
        lambda jobs: len(jobs) == 1,
    ),
    "batches": (
        lambda s: CI["batch"][0](s).run() and s.ci.batches(type="Workflow"),
        lambda jobs: len(jobs) == 1,
    ),
    "cancel": (lambda s: s.ci.cancel(job(s).run().id), lambda nothing: nothing is None),
    "create_template": (
        lambda s: s.ci.create_template("thumb", rule=RULE),
        lambda made: made["Name"] == "thumb",
    ),
    "update_template": (
        lambda s: s.ci.update_template(template(s), "other", rule=RULE),
        lambda made: made["Name"] == "other",
    ),
    "delete_template": (
        lambda s: s.ci.delete_template(template(s)),
        lambda nothing: nothing is None,
    ),
    "templates": (
        lambda s: template(s) and s.ci.templates(name="sm"),
        lambda found: found[0]["Name"] == "small",
    ),
    "queues": (lambda s: s.ci.queues(), lambda found: found[0]["State"] == "Active"),
    "update_queue": (
        lambda s: s.ci.update_queue(first_queue(s), name="slow", state="Paused"),
        lambda made: made["State"] == "Paused",
    ),
    "bind": (lambda s: s.ci.bind(), lambda made: bool(made["Name"])),
    "unbind": (lambda s: s.ci.unbind(), lambda nothing: nothing is None),
    "buckets": (lambda s: s.ci.buckets(), lambda found: len(found) == 1),
    "create_workflow": (
        lambda s: s.ci.create_workflow("flow", topology=TOPOLOGY),
        lambda made: bool(made),
    ),
    "update_workflow": (
        lambda s: s.ci.update_workflow(workflow(s), "other", topology=TOPOLOGY),
        lambda made: made["Name"] == "other",
    ),
    "switch_workflow": (
        lambda s: s.ci.switch_workflow(workflow(s), active=True),
        lambda nothing: nothing is None,
    ),
    "delete_workflow": (
        lambda s: s.ci.delete_workflow(workflow(s)),
        lambda nothing: nothing is None,
    ),
    "workflows": (
        lambda s: workflow(s) and s.ci.workflows(),
        lambda found: "flow" in {one["Name"] for one in found},
    ),
    "trigger_workflow": (
        lambda s: s.ci.trigger_workflow(active(s), "input/deer.jpg"),
        lambda run: run.isalnum(),
    ),
    "execution": (lambda s: s.ci.execution(ran(s)), lambda found: bool(found["RunId"])),
    "executions": (lambda s: ran(s) and s.ci.executions(), lambda found: len(found) == 1),
    "objects": (
        lambda s: s.ci.objects(prefix="input/"),
        lambda found: isinstance(found[0], StoredObject) and found[0].size > 0,
    ),
    "put_object": (
        lambda s: s.ci.put_object("in/a.txt", b"x", content_type="text/plain"),
        lambda it: it is None,
    ),
    "get_object": (
        lambda s: s.ci.get_object("input/deer.jpg"),
        lambda content: content[:2] == b"\xff\xd8",
    ),
    "delete_object": (
        lambda s: s.ci.delete_object("input/deer.jpg"),
        lambda nothing: nothing is None,
    ),
    "processed": (
        lambda s: s.ci.processed("input/deer.jpg", rule="imageMogr2/format/png"),
        lambda content: content.startswith(b"\x89PNG"),
    ),
    "process": (
        lambda s: s.ci.process("input/deer.jpg", rules={"out/p.png": "imageMogr2/format/png"}),
        lambda told: "ProcessResults" in told,
    ),
}


def builders(service: type) -> set[str]:
    return {
        name
        for name, method in inspect.getmembers(service, inspect.isfunction)
        if not name.startswith("_")
    }


def test_every_builder_has_a_sample() -> None:
    assert builders(Midjourney) == set(MJ)
    assert builders(TencentCI) == set(CI)


@pytest.mark.parametrize("service", [Midjourney, TencentCI])
def test_every_builder_is_documented(service: type) -> None:
    """A first line, and a line for each parameter: they become help and forms."""
    for name in builders(service):
        method = getattr(service, name)
        told = inspect.getdoc(method) or ""
        assert told.splitlines()[0].endswith((".", "…")), name
        for parameter in list(inspect.signature(method).parameters)[1:]:
            assert f"{parameter}: " in told or name == "request", (
                f"{name} does not tell of {parameter}"
            )


@pytest.fixture
def s(request: pytest.FixtureRequest) -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf"), dialect=getattr(request, "param", "plus")) as session:
        yield session


@pytest.mark.parametrize(
    ("s", "name"), [pytest.param(MJ[name][0], name, id=name) for name in MJ], indirect=["s"]
)
def test_midjourney(s: Session, name: str) -> None:
    _, build, right = MJ[name]
    answer = build(s).run()
    assert right(answer), answer
    if isinstance(answer, Job) and answer.status.is_active:
        assert s.follow(answer).run().status is Status.SUCCEEDED


@pytest.mark.parametrize("name", CI)
def test_tencent_ci(s: Session, name: str) -> None:
    build, right = CI[name]
    call = build(s)
    assert isinstance(call, (Call, Paginator))
    answer = call.run()
    assert right(answer), answer


@pytest.mark.parametrize("s", ["java", "new-api"], indirect=True)
def test_what_a_family_lacks_is_said(s: Session) -> None:
    """A call that this proxy family does not have is told as such, not as broken JSON."""
    lacking = {"java": s.mj.shorten("x"), "new-api": s.mj.cancel("1")}
    with pytest.raises(Unsupported):
        lacking[s.sandbox.mj.dialect.name].run()  # type: ignore[union-attr]
