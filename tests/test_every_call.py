"""Every builder of both services: its call is sent to the sandbox and its response parsed.

A builder without a sample fails.
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


def draw_picture(colour: str, size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    picture = Image.new("RGB", size, colour)
    ImageDraw.Draw(picture).ellipse((8, 8, 40, 40), fill="white")
    picture.save(out, "PNG")
    return out.getvalue()


RED, BLUE = draw_picture("firebrick"), draw_picture("navy")


def run_grid(s: Session) -> Job:
    return s.follow(s.mj.imagine("a red fox")).run()


def open_dialog(s: Session) -> Job:
    large = s.follow(s.mj.action(run_grid(s), "U1")).run()
    return s.follow(s.mj.action(large, "Custom Zoom")).run()


# Builder -> (dialect of the sandbox, call, check of the parsed response)
MJ: dict[str, tuple[str, Callable[[Session], Any], Callable[[Any], bool]]] = {
    "imagine": (
        "plus",
        lambda s: s.mj.imagine("a fox", images=[RED], state="mine"),
        lambda job: job.user_data == "mine",
    ),
    "action": (
        "plus",
        lambda s: s.mj.action(run_grid(s), "V3"),
        lambda job: job.action == "VARIATION",
    ),
    "change": (
        "java",
        lambda s: s.mj.change(run_grid(s).id, "UPSCALE", 2),
        lambda job: job.action == "UPSCALE",
    ),
    "simple_change": (
        "java",
        lambda s: s.mj.simple_change(f"{run_grid(s).id} v2"),
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
        lambda s: s.mj.modal(open_dialog(s).id, "a red fox --zoom 1.5"),
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
    "image_seed": ("plus", lambda s: s.mj.image_seed(run_grid(s).id), lambda seed: seed.isdigit()),
    "cancel": (
        "plus",
        lambda s: s.mj.cancel(s.mj.imagine("a fox").run().id),
        lambda result: result is None,
    ),
    "task": (
        "plus",
        lambda s: s.mj.task(run_grid(s).id),
        lambda job: job.status is Status.SUCCEEDED,
    ),
    "tasks": ("plus", lambda s: s.mj.tasks(ids=[run_grid(s).id]), lambda jobs: len(jobs) == 1),
    "query": (
        "plus",
        lambda s: run_grid(s) and s.mj.query(action="IMAGINE"),
        lambda jobs: [j.action for j in jobs] == ["IMAGINE"],
    ),
    "accounts": (
        "java",
        lambda s: s.mj.accounts(),
        lambda result: bool(result) and "userToken" not in result[0],
    ),
    "queue": ("plus", lambda s: s.mj.queue(), lambda jobs: jobs == []),
}


def build_job(s: Session, **options: Any) -> Call[Job]:
    return s.ci.picture_job(input="input/deer.jpg", rule=RULE, output="out/deer.jpg", **options)


def create_template(s: Session) -> str:
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


def create_workflow(s: Session) -> str:
    topology: Any = {**TOPOLOGY, "Nodes": {**TOPOLOGY["Nodes"]}}
    shrink = topology["Nodes"]["Shrink"]
    topology["Nodes"]["Shrink"] = {
        **shrink,
        "Operation": {**shrink["Operation"], "TemplateId": create_template(s)},
    }
    return str(s.ci.create_workflow("flow", topology=topology).run()["WorkflowId"])


def get_queue(s: Session) -> str:
    return str(s.ci.queues().run()[0]["QueueId"])


def run_workflow(s: Session) -> str:
    return s.ci.trigger_workflow(create_active_workflow(s), "input/deer.jpg").run()


def create_active_workflow(s: Session) -> str:
    workflow_id = create_workflow(s)
    s.ci.switch_workflow(workflow_id, active=True).run()
    return workflow_id


CI: dict[str, tuple[Callable[[Session], Any], Callable[[Any], bool]]] = {
    "picture_job": (
        lambda s: build_job(s, user_data="mine", level=2),
        lambda result: result.user_data == "mine",
    ),
    "tagged_job": (
        lambda s: s.ci.tagged_job(
            "PicProcess",
            input="input/deer.jpg",
            operation={
                "PicProcess": {"ProcessRule": RULE},
                "Output": {"Region": s.ci.region, "Bucket": s.ci.bucket, "Object": "out/t.jpg"},
            },
        ),
        lambda result: result.action == "PicProcess",
    ),
    "request": (
        lambda s: s.ci.request(
            "/jobs",
            "<Request><Tag>PicProcess</Tag><Input><Object>input/deer.jpg</Object></Input>"
            f"<Operation><PicProcess><ProcessRule>{RULE}</ProcessRule></PicProcess><Output><Region>{s.ci.region}"
            f"</Region><Bucket>{s.ci.bucket}</Bucket><Object>o.jpg</Object></Output></Operation></Request>",
        ),
        lambda result: result.id.isalnum(),
    ),
    "batch": (
        lambda s: s.ci.batch(name="n", prefix="input/", workflow_ids=[create_active_workflow(s)]),
        lambda result: result.id.startswith("b"),
    ),
    "job": (
        lambda s: s.ci.job(build_job(s).run().id),
        lambda result: result.subject == "input/deer.jpg",
    ),
    "jobs": (
        lambda s: build_job(s).run() and s.ci.jobs(states=["Submitted", "Running", "Success"]),
        lambda jobs: len(jobs) == 1,
    ),
    "batches": (
        lambda s: CI["batch"][0](s).run() and s.ci.batches(type="Workflow"),
        lambda jobs: len(jobs) == 1,
    ),
    "cancel": (lambda s: s.ci.cancel(build_job(s).run().id), lambda result: result is None),
    "create_template": (
        lambda s: s.ci.create_template("thumb", rule=RULE),
        lambda result: result["Name"] == "thumb",
    ),
    "update_template": (
        lambda s: s.ci.update_template(create_template(s), "other", rule=RULE),
        lambda result: result["Name"] == "other",
    ),
    "delete_template": (
        lambda s: s.ci.delete_template(create_template(s)),
        lambda result: result is None,
    ),
    "templates": (
        lambda s: create_template(s) and s.ci.templates(name="sm"),
        lambda result: result[0]["Name"] == "small",
    ),
    "queues": (lambda s: s.ci.queues(), lambda result: result[0]["State"] == "Active"),
    "update_queue": (
        lambda s: s.ci.update_queue(get_queue(s), name="slow", state="Paused"),
        lambda result: result["State"] == "Paused",
    ),
    "bind": (lambda s: s.ci.bind(), lambda result: bool(result["Name"])),
    "unbind": (lambda s: s.ci.unbind(), lambda result: result is None),
    "buckets": (lambda s: s.ci.buckets(), lambda result: len(result) == 1),
    "create_workflow": (
        lambda s: s.ci.create_workflow("flow", topology=TOPOLOGY),
        lambda result: bool(result),
    ),
    "update_workflow": (
        lambda s: s.ci.update_workflow(create_workflow(s), "other", topology=TOPOLOGY),
        lambda result: result["Name"] == "other",
    ),
    "switch_workflow": (
        lambda s: s.ci.switch_workflow(create_workflow(s), active=True),
        lambda result: result is None,
    ),
    "delete_workflow": (
        lambda s: s.ci.delete_workflow(create_workflow(s)),
        lambda result: result is None,
    ),
    "workflows": (
        lambda s: create_workflow(s) and s.ci.workflows(),
        lambda result: "flow" in {workflow["Name"] for workflow in result},
    ),
    "trigger_workflow": (
        lambda s: s.ci.trigger_workflow(create_active_workflow(s), "input/deer.jpg"),
        lambda run: run.isalnum(),
    ),
    "execution": (lambda s: s.ci.execution(run_workflow(s)), lambda result: bool(result["RunId"])),
    "executions": (
        lambda s: run_workflow(s) and s.ci.executions(),
        lambda result: len(result) == 1,
    ),
    "objects": (
        lambda s: s.ci.objects(prefix="input/"),
        lambda result: isinstance(result[0], StoredObject) and result[0].size > 0,
    ),
    "put_object": (
        lambda s: s.ci.put_object("in/a.txt", b"x", content_type="text/plain"),
        lambda result: result is None,
    ),
    "get_object": (
        lambda s: s.ci.get_object("input/deer.jpg"),
        lambda content: content[:2] == b"\xff\xd8",
    ),
    "delete_object": (
        lambda s: s.ci.delete_object("input/deer.jpg"),
        lambda result: result is None,
    ),
    "processed": (
        lambda s: s.ci.processed("input/deer.jpg", rule="imageMogr2/format/png"),
        lambda content: content.startswith(b"\x89PNG"),
    ),
    "process": (
        lambda s: s.ci.process("input/deer.jpg", rules={"out/p.png": "imageMogr2/format/png"}),
        lambda result: "ProcessResults" in result,
    ),
}


def list_builders(service: type) -> set[str]:
    return {
        name
        for name, method in inspect.getmembers(service, inspect.isfunction)
        if not name.startswith("_")
    }


def test_every_builder_has_a_sample() -> None:
    assert list_builders(Midjourney) == set(MJ)
    assert list_builders(TencentCI) == set(CI)


@pytest.mark.parametrize("service", [Midjourney, TencentCI])
def test_every_builder_is_documented(service: type) -> None:
    """A summary, and a line for each parameter: they become the help and the forms."""
    for name in list_builders(service):
        method = getattr(service, name)
        doc = inspect.getdoc(method) or ""
        assert doc.splitlines()[0].endswith("."), name
        for parameter in list(inspect.signature(method).parameters)[1:]:
            assert f"{parameter}: " in doc or name == "request", (
                f"{name} does not document {parameter}"
            )


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    dialect = getattr(request, "param", "plus")
    with mjci.sandbox(speed=float("inf"), dialect=dialect) as sandbox_session:
        yield sandbox_session


@pytest.mark.parametrize(
    ("session", "name"),
    [pytest.param(MJ[name][0], name, id=name) for name in MJ],
    indirect=["session"],
)
def test_midjourney(session: Session, name: str) -> None:
    _, build, is_right = MJ[name]
    result = build(session).run()
    assert is_right(result), result
    if isinstance(result, Job) and result.status.is_active:
        assert session.follow(result).run().status is Status.SUCCEEDED


@pytest.mark.parametrize("name", CI)
def test_tencent_ci(session: Session, name: str) -> None:
    build, is_right = CI[name]
    call = build(session)
    assert isinstance(call, (Call, Paginator))
    result = call.run()
    assert is_right(result), result


@pytest.mark.parametrize("session", ["java", "new-api"], indirect=True)
def test_missing_endpoint_raises_unsupported(session: Session) -> None:
    """Some families respond with an empty 404, some with a web page: neither is broken JSON."""
    calls = {"java": session.mj.shorten("x"), "new-api": session.mj.cancel("1")}
    with pytest.raises(Unsupported):
        calls[session.sandbox.services["mj"].dialect.name].run()  # type: ignore[union-attr]
