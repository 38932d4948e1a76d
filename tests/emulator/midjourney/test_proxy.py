"""The stand-in of the Midjourney proxies, asked directly: no HTTP, and a clock that the test
moves.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS
from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy
from jupyter_mjci.emulator.midjourney.tasks import GRID_BUTTONS

SECRET = {"mj-api-secret": "sandbox-secret"}
STEPS = [0, 15, 31, 46, 62, 78, 93]


class Client:
    """Speaks to one proxy, and holds its clock."""

    def __init__(self, dialect: str = "plus", **options: Any) -> None:
        self.clock = VirtualClock()
        self.proxy = MidjourneyProxy(self.clock, dialect=dialect, **options)
        self.headers: Mapping[str, str] = SECRET

    def raw(self, method: str, url: str, body: object = None) -> Response:
        parts = urlsplit(url)
        sent = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        host = "mj.sandbox.localhost"
        return self.proxy.handle(Request(method, host, parts.path, parts.query, self.headers, sent))

    def get(self, path: str) -> Any:
        return json.loads(self.raw("GET", path).body)

    def post(self, path: str, **body: Any) -> Any:
        return json.loads(self.raw("POST", path, body).body)

    def imagine(self, prompt: str = "a red fox", **body: Any) -> Any:
        return self.post("/mj/submit/imagine", prompt=prompt, **body)

    def task(self, task_id: str) -> Any:
        return self.get(f"/mj/task/{task_id}/fetch")

    def done(self, submitted: Any) -> Any:
        """The task of a submit result, three minutes later."""
        self.clock.advance(180)
        return self.task(submitted["result"])

    def press(self, task: Any, label: str, **body: Any) -> Any:
        button = next(
            b
            for b in task["buttons"]
            if label in (b["label"], b["emoji"], b["customId"].split("::")[2])
        )
        return self.post(
            "/mj/submit/action", taskId=task["id"], customId=button["customId"], **body
        )

    def picture(self, url: str) -> Image.Image:
        response = self.raw("GET", url)
        assert response.status == 200, response
        return Image.open(io.BytesIO(response.body))


def data_url(color: str = "red", size: tuple[int, int] = (90, 60), kind: str = "PNG") -> str:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


# ── a task's life ──


def test_task_ages_by_clock() -> None:
    """NOT_START, SUBMITTED at 0%, IN_PROGRESS in the known steps with a preview, SUCCESS at 100%
    with a picture.
    """
    client, seen = Client(), []
    submitted = client.imagine()
    assert submitted["code"] == 1
    for _ in range(700):
        task = client.task(submitted["result"])
        now = (task["status"], task["progress"])
        if not seen or seen[-1] != now:
            seen.append(now)
        client.clock.advance(0.1)
    expected = [
        ("NOT_START", None),
        ("SUBMITTED", "0%"),
        *(("IN_PROGRESS", f"{step}%") for step in STEPS),
    ]
    assert seen == [*expected, ("SUCCESS", "100%")]
    assert task["submitTime"] < task["startTime"] < task["finishTime"]
    assert 30_000 <= task["finishTime"] - task["startTime"] <= 60_000


def test_task_ids_are_unique_and_sixteen_digits() -> None:
    client = Client(max_running=50)
    ids = [client.imagine()["result"] for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(isinstance(i, str) and i.isdigit() and len(i) == 16 for i in ids)
    assert {i[:13] for i in ids} == {str(round(client.clock.now() * 1000))}


def test_same_requests_give_same_bytes() -> None:
    """Ids, times, links and pictures come from the requests, the seed and the clock alone."""

    def conversation(seed: int) -> list[bytes]:
        client = Client(seed=seed)
        task = client.done(client.imagine("a lighthouse at dusk"))
        up = client.done(client.press(task, "U2"))
        return [
            json.dumps(up).encode(),
            client.raw("GET", up["imageUrl"]).body,
            client.raw("GET", task["imageUrl"]).body,
        ]

    assert conversation(3) == conversation(3)
    assert conversation(3)[1] != conversation(4)[1]


def test_next_event_is_time_of_next_change() -> None:
    """A clock that jumps from event to event misses no step; MODAL tasks have none."""
    client = Client()
    assert client.proxy.next_event() is None
    submitted, steps = client.imagine(), []
    while (moment := client.proxy.next_event()) is not None:
        client.clock.advance(moment - client.clock.now())
        steps.append(client.task(submitted["result"])["progress"])
    assert steps == ["0%", *(f"{step}%" for step in STEPS), "100%"]
    single = client.done(client.press(client.task(submitted["result"]), "U1"))
    assert client.press(single, "Vary (Region)")["code"] == 21
    assert client.proxy.next_event() is None


def test_speed_mode_changes_duration() -> None:
    """--relax takes twice the time, --turbo half; the path's prefix wins over the prompt."""

    def seconds(path: str, flag: str) -> float:
        client = Client("trueai")
        submitted = client.post(f"{path}/submit/imagine", prompt=f"a fox {flag}")
        client.clock.advance(200)
        task = client.task(submitted["result"])
        return (task["finishTime"] - task["startTime"]) / 1000

    assert seconds("/mj", "--relax") > 60 > 30 > seconds("/mj", "--turbo")
    assert seconds("/mj-turbo/mj", "--relax") < 30


@pytest.mark.parametrize(
    ("prompt", "reason", "after"),
    [
        ("a fox --fail", "--fail asked for it", 60),
        ("a fox --ar nonsense", "[Invalid parameter]", 10),
        ("a fox --frobnicate 3", "--frobnicate", 10),
        ("a fox --stuck", "任务超时", 340),
    ],
)
def test_invalid_prompt_fails_with_reason(prompt: str, reason: str, after: float) -> None:
    """A failed task has a reason, no percentage, and a finish time."""
    client = Client()
    submitted = client.imagine(prompt)
    assert submitted["code"] == 1
    client.clock.advance(after)
    task = client.task(submitted["result"])
    assert (task["status"], task["progress"]) == ("FAILURE", "")
    assert reason in task["failReason"]
    assert task["finishTime"]


def test_stuck_task_keeps_progress_until_timeout() -> None:
    client = Client()
    submitted = client.imagine("a fox --stuck")
    client.clock.advance(290)
    assert client.task(submitted["result"])["progress"] == "46%"


def test_failure_rate_fails_some_tasks() -> None:
    client = Client(failure_rate=0.3, max_running=100, seed=1)
    ids = [client.imagine()["result"] for _ in range(100)]
    client.clock.advance(100)
    failed = [i for i in ids if client.task(i)["status"] == "FAILURE"]
    assert 15 < len(failed) < 45


# ── the queue ──


def test_full_queue_refuses_submission() -> None:
    """22 counts those already waiting, not those running: so the fourth still gets 1."""
    client = Client()
    submitted = [client.imagine(f"fox {i}") for i in range(14)]
    assert [s["code"] for s in submitted] == [1] * 4 + [22] * 9 + [23]
    assert [s["properties"].get("numberOfQueues") for s in submitted[4:13]] == [*range(1, 10)]
    assert submitted[4]["description"] == "排队中，前面还有1个任务"
    assert submitted[13]["result"] is None
    queue = client.get("/mj/task/queue")
    assert [task["id"] for task in queue] == [s["result"] for s in submitted[:13]]
    client.clock.advance(2)
    assert [task["status"] for task in client.get("/mj/task/queue")] == ["SUBMITTED"] * 3 + [
        "NOT_START"
    ] * 10
    client.clock.advance(600)
    assert client.get("/mj/task/queue") == []
    assert all(task["status"] == "SUCCESS" for task in client.get("/mj/task/list"))


def test_trueai_queue_full_code_and_relax_queue() -> None:
    client = Client("trueai")
    assert [client.imagine(f"fox {i}")["code"] for i in range(14)][-1] == 9
    assert client.imagine("fox --relax")["code"] == 1


def test_cancelled_task_frees_its_slot() -> None:
    client = Client(max_running=1)
    first, second = client.imagine(), client.imagine()
    client.clock.advance(10)
    assert client.post(f"/mj/task/{first['result']}/cancel") == {"code": 1, "description": "成功"}
    task = client.task(first["result"])
    assert (task["status"], bool(task["finishTime"])) == ("CANCEL", True)
    client.clock.advance(2)
    assert client.task(second["result"])["status"] == "SUBMITTED"
    assert client.post(f"/mj/task/{first['result']}/cancel")["code"] == 4
    assert client.post("/mj/task/1/cancel")["code"] == 3


def test_trueai_cancel_returns_empty_response() -> None:
    client = Client("trueai")
    submitted = client.imagine()
    response = client.raw("POST", f"/mj/task/{submitted['result']}/cancel")
    assert (response.status, response.body) == (200, b"")
    assert client.task(submitted["result"])["failReason"] == "取消任务"


# ── what is refused ──


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("submit/imagine", {}, 4),
        ("submit/imagine", {"prompt": "  "}, 4),
        ("submit/imagine", {"prompt": "fox", "base64Array": ["bm90IGEgZGF0YSB1cmw="]}, 4),
        ("submit/imagine", {"prompt": "a Bloody battle"}, 24),
        ("submit/imagine", {"prompt": "fox", "accountFilter": {"instanceId": "1"}}, 3),
        ("submit/change", {"action": "UPSCALE", "index": 1}, 4),
        ("submit/change", {"taskId": "1", "action": "ZOOM"}, 4),
        ("submit/change", {"taskId": "1", "action": "UPSCALE", "index": 1}, 3),
        ("submit/simple-change", {"content": "1 X1"}, 4),
        ("submit/simple-change", {"content": "1  U1"}, 4),
        ("submit/simple-change", {"content": "1 U9"}, 4),
        ("submit/simple-change", {"content": "1 u1"}, 3),
        ("submit/describe", {}, 4),
        ("submit/describe", {"base64": "nonsense"}, 4),
        ("submit/blend", {"base64Array": [data_url()]}, 4),
        ("submit/blend", {"base64Array": [data_url()] * 6}, 4),
        ("submit/blend", {"base64Array": [data_url()] * 2, "dimensions": None}, 4),
        ("submit/shorten", {}, 4),
        ("submit/action", {"customId": "x"}, 4),
        ("submit/action", {"taskId": "1"}, 4),
        ("submit/action", {"taskId": "1", "customId": "MJ::JOB::upsample::1::x"}, 3),
        ("submit/modal", {}, 4),
        ("submit/modal", {"taskId": "1"}, 3),
        ("submit/upload-discord-images", {"base64Array": []}, 4),
        ("insight-face/swap", {"sourceBase64": data_url()}, 4),
    ],
)
def test_invalid_submission_is_refused(path: str, body: dict[str, Any], code: int) -> None:
    """The code tells; HTTP stays 200."""
    response = Client().raw("POST", f"/mj/{path}", body)
    assert (response.status, json.loads(response.body)["code"]) == (200, code)


def test_banned_word_is_reported() -> None:
    submitted = Client().imagine("a Bloody battle")
    assert submitted["properties"] == {"promptEn": "a Bloody battle", "bannedWord": "bloody"}
    assert "result" not in submitted
    assert Client(banned_words=["fox"]).imagine("foxes")["code"] == 1


def test_unfinished_parent_is_refused() -> None:
    client = Client()
    submitted = client.imagine()
    response = client.post(
        "/mj/submit/change", taskId=submitted["result"], action="UPSCALE", index=1
    )
    assert (response["code"], response["description"]) == (4, "关联任务状态错误")


def test_change_of_single_picture_is_refused() -> None:
    """`change` refuses the result of an upscale; its buttons do not."""
    client = Client()
    single = client.done(client.press(client.done(client.imagine()), "U1"))
    assert (
        client.post("/mj/submit/change", taskId=single["id"], action="VARIATION", index=1)["code"]
        == 4
    )


def test_invalid_index_makes_failing_task() -> None:
    """The Java server does not look at the index."""
    client = Client("java")
    task = client.done(client.imagine())
    failed = client.done(
        client.post("/mj/submit/change", taskId=task["id"], action="UPSCALE", index=7)
    )
    assert failed["status"] == "FAILURE"


def test_unreadable_image_makes_failing_task() -> None:
    client = Client()
    submitted = client.post("/mj/submit/describe", base64="data:image/png;base64,aGVsbG8=")
    assert submitted["code"] == 1
    assert client.done(submitted)["status"] == "FAILURE"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"prompt": {}}', b'{"base64Array": "x"}', b"\xff"]
)
@pytest.mark.parametrize(
    ("dialect", "status", "key"),
    [
        ("java", 400, "timestamp"),
        ("plus", 400, "error"),
        ("trueai", 200, "success"),
        ("new-api", 400, "description"),
    ],
)
def test_invalid_body_is_refused(dialect: str, status: int, key: str, body: bytes) -> None:
    response = Client(dialect).raw("POST", "/mj/submit/imagine", body)
    assert response.status == status
    assert key in json.loads(response.body)


def test_java_converts_numbers_to_text() -> None:
    assert Client("plus").imagine(12)["code"] == 1  # type: ignore[arg-type]
    assert Client("trueai").imagine(12)["code"] == -1  # type: ignore[arg-type]


# ── buttons ──


def test_grid_has_nine_buttons() -> None:
    client = Client()
    task = client.done(client.imagine())
    assert [b["label"] or b["emoji"] for b in task["buttons"]] == [
        "U1",
        "U2",
        "U3",
        "U4",
        "🔄",
        "V1",
        "V2",
        "V3",
        "V4",
    ]
    assert [b["customId"] for b in task["buttons"]] == [
        k.replace("{h}", task["properties"]["messageHash"]) for k in GRID_BUTTONS
    ]
    assert {b["type"] for b in task["buttons"]} == {2}


def test_pressed_button_returns_same_task() -> None:
    """21 with the status and picture of the task that is there already."""
    client = Client()
    task = client.done(client.imagine())
    first = client.press(task, "U2")
    again = client.press(task, "U2")
    assert (again["code"], again["result"]) == (21, first["result"])
    assert again["properties"]["status"] == "NOT_START"
    done = client.done(first)
    assert client.press(task, "U2")["properties"] == {
        "status": "SUCCESS",
        "imageUrl": done["imageUrl"],
    }
    assert [b["style"] for b in client.task(task["id"])["buttons"]] == [2, 3, *[2] * 7]


def test_reroll_makes_new_task_each_time() -> None:
    client = Client()
    task = client.done(client.imagine())
    assert client.press(task, "🔄")["result"] != client.press(task, "🔄")["result"]


@pytest.mark.parametrize("dialect", ["java", "trueai-9"])
def test_other_dialects_make_new_task_each_time(dialect: str) -> None:
    client = Client(dialect)
    task = client.done(client.imagine())
    change = {"taskId": task["id"], "action": "UPSCALE", "index": 1}
    submitted = [client.post("/mj/submit/change", **change) for _ in range(2)]
    assert [s["code"] for s in submitted] == [1, 1]
    assert submitted[0]["result"] != submitted[1]["result"]


@pytest.mark.parametrize(
    ("label", "action", "singles"),
    [
        ("Upscale (Subtle)", "UPSCALE", 1),
        ("Vary (Subtle)", "VARIATION", 4),
        ("Vary (Strong)", "VARIATION", 4),
        ("Zoom Out 2x", "ZOOM", 4),
        ("Zoom Out 1.5x", "ZOOM", 4),
        ("Make Square", "ZOOM", 4),
        ("⬅️", "PAN", 4),
        ("⬇️", "PAN", 4),
        ("🔄", "REROLL", 4),
    ],
)
def test_single_picture_buttons(label: str, action: str, singles: int) -> None:
    """Each button of an upscaled picture gives a task with a picture and the buttons that fit
    it.
    """
    client = Client()
    single = client.done(client.press(client.done(client.imagine("a deer --ar 3:2")), "U3"))
    task = client.done(client.press(single, label))
    assert (task["action"], task["status"]) == (action, "SUCCESS")
    assert client.picture(task["imageUrl"]).format == "PNG"
    assert task["buttons"][0]["label"] == ("U1" if singles == 4 else "Vary (Subtle)")


def test_button_of_another_task_is_refused() -> None:
    client = Client()
    task, other = client.done(client.imagine()), client.done(client.imagine())
    for custom_id in (
        other["buttons"][0]["customId"],
        "MJ::JOB::pan_left::1::x::SOLO",
        "MJ::BOOKMARK::x",
        "",
        "x",
    ):
        submitted = client.post("/mj/submit/action", taskId=task["id"], customId=custom_id)
        assert submitted["code"] == 4, custom_id


def test_action_copies_prompt_and_names_parent() -> None:
    client = Client()
    task = client.done(
        client.imagine("a red fox", state="mine", notifyHook="http://127.0.0.1:9/hook")
    )
    up = client.done(client.press(task, "U2"))
    assert (up["prompt"], up["description"]) == ("a red fox", f"/up {task['id']} U2")
    assert up["properties"]["referencedMessageId"] == task["properties"]["messageId"]
    assert (task["state"], up["state"]) == ("mine", None)
    assert task["properties"]["notifyHook"] == "http://127.0.0.1:9/hook"


def test_trueai_reroll_has_action_of_parent() -> None:
    client = Client("trueai")
    task = client.done(client.imagine())
    assert client.done(client.press(task, "🔄"))["action"] == "IMAGINE"
    varied = client.done(client.press(task, "V1"))
    assert client.done(client.press(varied, "🔄"))["action"] == "VARIATION"
    assert client.done(client.press(varied, "U1"))["parentId"] == varied["id"]


# ── the modal ──


def build_upscaled_task(client: Client, prompt: str = "a red fox") -> Any:
    return client.done(client.press(client.done(client.imagine(prompt)), "U1"))


def test_inpaint_needs_modal_and_changes_masked_area() -> None:
    client = Client()
    single = build_upscaled_task(client)
    asked = client.press(single, "Vary (Region)")
    assert (asked["code"], asked["properties"]) == (21, {})
    client.clock.advance(1000)
    assert client.task(asked["result"])["status"] == "MODAL"
    assert client.get("/mj/task/queue") == []
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    out = io.BytesIO()
    mask.save(out, "PNG")
    white_left = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    submitted = client.post(
        "/mj/submit/modal", taskId=asked["result"], prompt="a castle", maskBase64=white_left
    )
    assert (submitted["code"], submitted["result"]) == (1, asked["result"])
    task = client.done(submitted)
    grid = client.picture(task["imageUrl"]).convert("RGB")
    cell = grid.crop((0, 0, grid.width // 2, grid.height // 2))
    before = (
        client.picture(single["imageUrl"]).convert("RGB").resize(cell.size, Image.Resampling.BOX)
    )
    changed = ImageChops.difference(cell, before).convert("L")
    left = changed.crop((0, 0, cell.width // 2 - 8, cell.height))
    right = changed.crop((cell.width // 2 + 8, 0, cell.width, cell.height))
    assert Image.Image.getextrema(left)[1] > 100  # type: ignore[operator]
    assert sum(i * n for i, n in enumerate(right.histogram())) / (right.width * right.height) < 1.5


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ("a fox --zoom 1.8", "SUCCESS"),
        ("", "SUCCESS"),
        ("a fox", "FAILURE"),
        ("a fox --zoom 3", "FAILURE"),
    ],
)
def test_custom_zoom_needs_factor(prompt: str, status: str) -> None:
    client = Client()
    asked = client.press(build_upscaled_task(client), "Custom Zoom")
    submitted = client.post("/mj/submit/modal", taskId=asked["result"], prompt=prompt)
    assert client.done(submitted)["status"] == status


def test_remix_opens_modal_before_variation() -> None:
    """With remix on; the prompt given to the modal is the new task's; a second modal is refused."""
    client = Client()
    task = client.done(client.imagine())
    asked = client.press(task, "V1", enableRemix=True)
    assert asked["code"] == 21
    submitted = client.post("/mj/submit/modal", taskId=asked["result"], prompt="a blue whale")
    done = client.done(submitted)
    assert (done["id"], done["prompt"], done["action"]) == (
        asked["result"],
        "a blue whale",
        "VARIATION",
    )
    assert client.post("/mj/submit/modal", taskId=asked["result"])["code"] == 4
    assert Client(remix=True).imagine()["code"] == 1


def test_trueai_modal_reports_prompt_and_restarts() -> None:
    client = Client("trueai", remix=True)
    task = client.done(client.imagine("a fox"))
    asked = client.press(task, "V1")
    assert (asked["description"], asked["properties"]) == (
        "Waiting for window confirm",
        {"finalPrompt": "a fox", "remix": True},
    )
    assert (
        client.done(client.post("/mj/submit/modal", taskId=asked["result"]))["status"] == "SUCCESS"
    )
    assert client.post("/mj/submit/modal", taskId=asked["result"])["code"] == 1
    assert client.task(asked["result"])["status"] == "NOT_START"
    response = client.raw("POST", "/mj/submit/modal", {"taskId": "1"})
    assert (response.status, json.loads(response.body)["code"]) == (404, 3)


# ── text, blend, swap, video … ──


def test_describe_names_colors_and_buttons_imagine_captions() -> None:
    client = Client()
    task = client.done(client.post("/mj/submit/describe", base64=data_url("navy")))
    captions = task["properties"]["finalPrompt"].split("\n\n")
    assert len(captions) == 4
    assert all(
        text.startswith(f"{i}️⃣ ") and "navy" in text and "--ar 3:2" in text
        for i, text in enumerate(captions, 1)
    )
    assert task["prompt"] == task["properties"]["finalPrompt"]
    assert client.picture(task["imageUrl"]).size == (90, 60)
    asked = client.press(task, "2️⃣")
    assert asked["code"] == 21
    created = client.done(client.post("/mj/submit/modal", taskId=asked["result"]))
    assert (created["action"], created["status"]) == ("IMAGINE", "SUCCESS")
    assert captions[1].endswith(created["prompt"])
    assert client.press(task, "Imagine all")["code"] == 4
    assert client.done(client.press(task, "🔄"))["action"] == "DESCRIBE"


def test_trueai_imagine_all_makes_four_tasks() -> None:
    client = Client("trueai")
    task = client.done(client.post("/mj/submit/describe", base64=data_url("navy")))
    assert task["promptEn"].count("\r\n") == 3
    ids = client.press(task, "Imagine all", state="s")["result"].split(",")
    assert [client.task(i)["state"] for i in ids] == [f"s::{n}" for n in range(1, 5)]


def test_shorten_returns_important_words() -> None:
    client = Client()
    task = client.done(client.post("/mj/submit/shorten", prompt="a very big red fox in the snow"))
    text = task["properties"]["finalPrompt"]
    assert "## Important tokens" in text
    assert "## Shortened prompts" in text
    assert "~~a~~" in text
    assert sum(line[:1] in "12345" for line in text.splitlines() if line[1:3] == "️⃣") == 5
    assert len(task["buttons"]) == 5
    assert task["imageUrl"] is None
    assert client.press(task, "3️⃣")["code"] == 21


@pytest.mark.parametrize(
    ("dimensions", "size"),
    [("PORTRAIT", (832, 1248)), ("SQUARE", (1024, 1024)), ("LANDSCAPE", (1248, 832))],
)
def test_blend_mixes_input_images(dimensions: str, size: tuple[int, int]) -> None:
    client = Client()
    sent = [data_url("red"), data_url("blue")]
    task = client.done(client.post("/mj/submit/blend", base64Array=sent, dimensions=dimensions))
    picture = client.picture(task["imageUrl"]).convert("RGB")
    assert picture.size == size
    red, _, blue = picture.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    assert red > 30
    assert blue > 30
    assert task["action"] == "BLEND"
    assert client.press(task, "U1")["code"] == 1


def test_image_prompt_affects_picture() -> None:
    client = Client()
    task = client.done(client.imagine("snow", base64Array=[data_url("red")]))
    red, green, _ = client.picture(task["imageUrl"]).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > green + 30
    assert task["properties"]["finalPrompt"].startswith("http")


def test_swap_and_upload() -> None:
    client = Client()
    submitted = client.post(
        "/mj/insight-face/swap", sourceBase64=data_url("red"), targetBase64=data_url("blue")
    )
    task = client.done(submitted)
    picture = client.picture(task["imageUrl"]).convert("RGB")
    assert picture.getpixel((5, picture.height - 5)) == (0, 0, 255)
    assert (255, 0, 0) in (color for _, color in picture.getcolors(maxcolors=100_000) or [])
    links = client.post(
        "/mj/submit/upload-discord-images", base64Array=[data_url("red"), data_url("blue")]
    )["result"]
    assert [client.picture(link).convert("RGB").getpixel((0, 0)) for link in links] == [
        (255, 0, 0),
        (0, 0, 255),
    ]


def test_trueai_edit_retexture_and_video() -> None:
    client = Client("trueai")
    for path in ("edits", "edit", "retexture"):
        task = client.done(
            client.post(f"/mj/submit/{path}", prompt="green forest", image=data_url("red"))
        )
        assert task["status"] == "SUCCESS"
        assert client.picture(task["imageUrl"]).size == (1248, 832)
        assert client.post(f"/mj/submit/{path}", prompt="green forest")["code"] == 4
    film = client.done(client.post("/mj/submit/video", prompt="waves", motion="high"))
    assert len(film["videoUrls"]) == 4
    moving = client.picture(film["videoUrl"])
    assert moving.format == "WEBP"
    assert moving.n_frames > 8
    assert client.picture(film["imageUrl"]).format == "WEBP"
    assert client.done(client.press(film, "U2"))["videoUrl"]
    extended = client.post("/mj/submit/video", taskId=film["id"], action="extend", index=1)
    assert client.done(extended)["action"] == "VIDEO_EXTEND"
    assert client.post("/mj/submit/video", taskId=film["id"])["code"] == 4


def test_video_swap_accepts_multipart_form() -> None:
    client = Client("trueai")
    face = base64.b64decode(data_url("red").partition(",")[2])
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="source"; filename="face.png"\r\n\r\n' + face,
        b'--x\r\nContent-Disposition: form-data; name="target"; filename="film.mp4"\r\n\r\nfilm',
        b'--x\r\nContent-Disposition: form-data; name="state"\r\n\r\nmine',
        b"--x--\r\n",
    ]
    client.headers = SECRET | {"content-type": "multipart/form-data; boundary=x"}
    submitted = json.loads(
        client.raw("POST", "/mj/insight-face/video-swap", b"\r\n".join(parts)).body
    )
    task = client.done(submitted)
    assert (task["action"], task["state"], task["status"]) == ("SWAP_VIDEO_FACE", "mine", "SUCCESS")
    assert client.raw("GET", task["videoUrl"]).headers["content-type"] == "image/webp"


def test_relay_shorten_reports_prompts() -> None:
    client = Client("new-api")
    task = client.done(client.post("/mj/submit/shorten", prompt="a very big red fox"))
    assert "## Shortened prompts" in task["properties"]["finalPrompt"]
    assert task["imageUrl"] == ""


def test_trueai_accepts_bare_base64_and_own_links() -> None:
    client = Client("trueai")
    bare = data_url("navy").partition(",")[2]
    task = client.done(client.post("/mj/submit/describe", base64=bare))
    assert "navy" in task["promptEn"]
    again = client.done(
        client.post("/mj/submit/describe", link=f"http://mj.sandbox.localhost{task['imageUrl']}")
    )
    assert again["promptEn"] == task["promptEn"]
    assert client.post("/mj/submit/describe", base64="?")["code"] == 4


def test_trueai_9_shows_job_again() -> None:
    client = Client("trueai-9")
    task = client.done(client.imagine())
    shown = client.done(client.post("/mj/submit/show", jobId=task["jobId"]))
    assert shown["action"] == "SHOW"
    assert client.raw("GET", shown["imageUrl"]).body == client.raw("GET", task["imageUrl"]).body
    assert client.post("/mj/submit/show", jobId="x")["code"] == 4


def test_image_seed_reproduces_picture() -> None:
    client = Client()
    task = client.done(client.imagine("a castle at dusk"))
    seed = client.get(f"/mj/task/{task['id']}/image-seed")
    assert (seed["code"], seed["description"], seed["result"].isdigit()) == (1, "成功", True)
    again = client.done(client.imagine(f"a castle at dusk --seed {seed['result']}"))
    assert client.raw("GET", task["imageUrl"]).body == client.raw("GET", again["imageUrl"]).body
    assert client.get("/mj/task/1/image-seed")["code"] == 3


# ── pictures and links ──


def test_upscale_enlarges_selected_picture() -> None:
    client = Client()
    task = client.done(client.imagine("a lighthouse --ar 3:2"))
    grid = client.picture(task["imageUrl"]).convert("RGB")
    width, height = grid.width // 2, grid.height // 2
    cells = [
        grid.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
        for y in (0, 1)
        for x in (0, 1)
    ]
    for number in (1, 4):
        up = client.picture(client.done(client.press(task, f"U{number}"))["imageUrl"]).convert(
            "RGB"
        )
        assert up.size == (width * 2, height * 2)
        small = up.resize((width, height), Image.Resampling.BOX)
        gaps = [
            sum(ImageChops.difference(small, cell).convert("L").histogram()[40:]) for cell in cells
        ]
        assert min(range(4), key=gaps.__getitem__) == number - 1
        assert (
            gaps[number - 1]
            < 0.02 * width * height
            < min(gap for i, gap in enumerate(gaps) if i != number - 1)
        )


@pytest.mark.parametrize("label", ["V1", "Zoom Out 2x", "⬅️", "Vary (Region)"])
def test_long_chain_of_buttons_is_rendered(label: str) -> None:
    """Forty steps deep, in no more time than a few take; panning ends at six to one."""
    client = Client()
    task = client.done(client.imagine("a whale"))
    for _ in range(40):
        if label != "V1":
            task = client.done(client.press(task, "U2"))
        submitted = client.press(task, label)
        if submitted["code"] == 21:
            submitted = client.post(
                "/mj/submit/modal",
                taskId=submitted["result"],
                prompt="a boat",
                maskBase64=data_url("white"),
            )
        task = client.done(submitted)
    picture = client.picture(task["imageUrl"])
    assert picture.width <= 6.1 * picture.height
    assert len(picture.getcolors(2_000_000) or []) > 100


def test_preview_is_small_blurred_webp() -> None:
    client = Client()
    submitted = client.imagine()
    client.clock.advance(20)
    link = client.task(submitted["result"])["imageUrl"]
    assert "_grid_0.webp?" in link
    assert client.picture(link).format == "WEBP"
    assert client.picture(link).width < 512


def test_links_expire_after_a_day() -> None:
    """And looking at the task again does not renew them."""
    client = Client()
    link = client.done(client.imagine())["imageUrl"]
    query = dict(part.split("=") for part in urlsplit(link).query.split("&"))
    assert int(query["ex"], 16) - int(query["is"], 16) == 86400
    assert client.raw("GET", link).status == 200
    assert client.raw("HEAD", link).status == 200
    client.clock.advance(86400)
    task_id = client.get("/mj/task/list")[0]["id"]
    assert client.task(task_id)["imageUrl"] == link
    response = client.raw("GET", link)
    assert (response.status, response.body) == (404, b"This content is no longer available.")


@pytest.mark.parametrize(
    "spoil", [lambda u: u[:-1] + ("0" if u[-1] != "0" else "1"), lambda u: u.partition("?")[0]]
)
def test_link_with_changed_signature_is_refused(spoil: Any) -> None:
    client = Client()
    link = client.done(client.imagine())["imageUrl"]
    assert client.raw("GET", spoil(link)).status == 404
    later = link.replace("ex=", "ex=f")
    assert client.raw("GET", later).status == 404


def test_trueai_links_are_relative_and_do_not_expire() -> None:
    client = Client("trueai")
    task = client.done(client.imagine("a fox --ar 2:1"))
    assert task["imageUrl"].startswith("/attachments/")
    client.clock.advance(200_000)
    assert client.picture(task["imageUrl"]).size == (task["width"], task["height"])
    assert [client.picture(cell["url"]).width * 2 for cell in task["imageUrls"]] == [
        task["width"]
    ] * 4
    assert client.picture(task["thumbnailUrl"]).format == "WEBP"


def test_links_start_with_request_address_or_public_url() -> None:
    client = Client()
    submitted = client.imagine()
    assert client.done(submitted)["imageUrl"].startswith("http://mj.sandbox.localhost/attachments/")
    client.proxy.public_url = "https://pictures.example/"
    assert client.task(submitted["result"])["imageUrl"].startswith(
        "https://pictures.example/attachments/"
    )


# ── dialects ──

ENDPOINTS = {
    "POST /mj/submit/imagine": "java plus trueai trueai-9 new-api",
    "POST /mj/submit/change": "java plus trueai-9 new-api",
    "POST /mj/submit/simple-change": "java plus trueai-9 new-api",
    "POST /mj/submit/describe": "java plus trueai trueai-9 new-api",
    "POST /mj/submit/blend": "java plus trueai trueai-9 new-api",
    "POST /mj/submit/action": "plus trueai trueai-9 new-api",
    "POST /mj/submit/modal": "plus trueai trueai-9 new-api",
    "POST /mj/submit/shorten": "plus trueai trueai-9 new-api",
    "POST /mj/submit/upload-discord-images": "plus trueai trueai-9 new-api",
    "POST /mj/submit/show": "trueai-9",
    "POST /mj/submit/edits": "trueai trueai-9 new-api",
    "POST /mj/submit/retexture": "trueai trueai-9",
    "POST /mj/submit/video": "trueai trueai-9 new-api",
    "POST /mj/insight-face/swap": "plus trueai trueai-9 new-api",
    "POST /mj/insight-face/video-swap": "trueai trueai-9",
    "GET /mj/task/1/fetch": "java plus trueai trueai-9 new-api",
    "POST /mj/task/list-by-condition": "java plus trueai trueai-9 new-api",
    "POST /mj/task/list-by-ids": "plus trueai trueai-9",
    "GET /mj/task/list": "java plus trueai trueai-9",
    "GET /mj/task/queue": "java plus trueai-9",
    "POST /mj/task/query": "plus",
    "GET /mj/task/1/image-seed": "plus trueai trueai-9 new-api",
    "POST /mj/task/1/cancel": "plus trueai trueai-9",
    "GET /mj/account/list": "java plus",
    "GET /mj/account/1/fetch": "java plus",
    "GET /mj/image/1": "new-api",
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_dialect_endpoints(endpoint: str, dialect: str) -> None:
    """What it has not: Tomcat's page, an empty 404, or the relay's front page with 200."""
    method, path = endpoint.split()
    client = Client(dialect)
    client.headers = {"mj-api-secret": "sandbox-secret"}
    response = client.raw(method, path, {} if method == "POST" else None)
    missing = client.raw("GET", "/mj/nothing/there")
    assert (response == missing) == (dialect not in ENDPOINTS[endpoint].split())


@pytest.mark.parametrize(
    ("dialect", "status", "body"),
    [
        ("java", 404, b"<!doctype html>"),
        ("plus", 404, b"<!doctype html>"),
        ("trueai", 404, b""),
        ("new-api", 200, b"<!doctype html>"),
    ],
)
@pytest.mark.parametrize("path", ["/submit/imagine", "/", "/mj/nothing", "/mj"])
def test_unknown_path_response(dialect: str, status: int, body: bytes, path: str) -> None:
    response = Client(dialect).raw("POST", path, {"prompt": "x"})
    assert (response.status, response.body[: len(body)]) == (status, body)
    assert bool(response.body) == bool(body)


@pytest.mark.parametrize(
    ("dialect", "status", "body"),
    [
        ("java", 200, b""),
        ("plus", 200, b""),
        ("trueai", 204, b""),
        ("new-api", 400, b'{"code":4,"description":"task_no_found ","type":"upstream_error"}'),
    ],
)
def test_unknown_task_response(dialect: str, status: int, body: bytes) -> None:
    response = Client(dialect).raw("GET", "/mj/task/1712345678901234/fetch")
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    ("dialect", "headers", "is_authorized"),
    [
        ("plus", {"mj-api-secret": "sandbox-secret"}, True),
        ("plus", {"mj-api-secret": "wrong"}, False),
        ("plus", {"authorization": "Bearer sandbox-secret"}, False),
        ("java", {}, False),
        ("java", {"mj-api-secret": "sandbox-secret", "authorization": "Bearer x"}, True),
        ("trueai", {"authorization": "sandbox-secret"}, True),
        ("trueai", {"authorization": "Bearer sandbox-secret"}, False),
        ("trueai", {"mj-api-secret": "sandbox-secret"}, True),
        (
            "trueai",
            {"authorization": "Bearer sandbox-secret", "mj-api-secret": "sandbox-secret"},
            False,
        ),
        ("new-api", {"authorization": "Bearer sandbox-secret"}, True),
        ("new-api", {"authorization": "Bearer sk-sandbox-secret"}, True),
        ("new-api", {"authorization": "Bearer sk-sandbox-secret-17"}, True),
        (
            "new-api",
            {"authorization": "Bearer midjourney-proxy", "mj-api-secret": "sandbox-secret"},
            True,
        ),
        ("new-api", {"mj-api-secret": "Bearer sk-sandbox-secret"}, True),
        ("new-api", {"authorization": "Bearer nope", "mj-api-secret": "sandbox-secret"}, False),
        ("new-api", {}, False),
    ],
)
def test_authentication(dialect: str, headers: dict[str, str], is_authorized: bool) -> None:
    client = Client(dialect)
    client.headers = headers
    response = client.raw("POST", "/mj/submit/imagine", {"prompt": "fox"})
    assert response.status == (200 if is_authorized else 401)
    expected = {"java": b"", "plus": b"", "trueai": response.body, "new-api": response.body}[
        dialect
    ]
    assert is_authorized or response.body == expected
    assert "sandbox-secret" not in response.body.decode()


def test_unauthorized_responses_per_dialect() -> None:
    client = Client("trueai")
    client.headers = {}
    assert client.raw("GET", "/mj/task/list").body == b"Authorization header missing."
    client = Client("new-api")
    client.headers = {}
    error = json.loads(client.raw("POST", "/mj/submit/imagine", {}).body)["error"]
    assert error["type"] == "new_api_error"
    assert "(request id: " in error["message"]


def test_empty_secret_disables_authentication() -> None:
    client = Client("java", secret="")
    client.headers = {}
    assert client.imagine()["code"] == 1


def test_java_task_has_nulls_and_no_buttons() -> None:
    client = Client("java")
    task = client.task(client.imagine()["result"])
    assert "buttons" not in task
    unset = ("state", "startTime", "finishTime", "imageUrl", "progress", "failReason")
    assert {name: task[name] for name in unset} == dict.fromkeys(unset)
    (account,) = client.get("/mj/account/list")
    assert (account["coreSize"], account["queueSize"], account["timeoutMinutes"]) == (3, 10, 5)
    assert client.get(f"/mj/account/{account['id']}/fetch") == account
    assert "no-token" in account["userToken"]


def test_trueai_task_has_all_fields() -> None:
    client = Client("trueai")
    task = client.done(client.imagine())
    assert len(task) > 70
    assert task["displays"]["status"] == "成功"
    assert task["useTime"].endswith(" s")
    assert task["isCompleted"] is True
    assert task["nonce"] == task["properties"]["nonce"]


def test_submit_response_is_compact_json() -> None:
    """A relay replaces the very characters `"code":22`, and wants a string for the result."""
    response = Client().raw("POST", "/mj/submit/imagine", {"prompt": "fox"})
    assert response.body.startswith('{"code":1,"description":"提交成功","result":"17'.encode())
    assert b": " not in response.body
    assert b", " not in response.body


@pytest.mark.parametrize("prefix", ["/mj", "/mj-fast/mj", "/mj-turbo/mj", "/mj-relax/mj"])
def test_speed_prefix_sets_mode(prefix: str) -> None:
    for dialect in ("trueai", "new-api"):
        submitted = Client(dialect).post(f"{prefix}/submit/imagine", prompt="fox")
        assert submitted["code"] == 1
    assert Client("plus").raw("POST", f"{prefix}/submit/imagine", {"prompt": "fox"}).status == (
        200 if prefix == "/mj" else 404
    )


# ── the relay ──


def test_relay_refreshes_every_fifteen_seconds() -> None:
    """Until then it knows only what was submitted; zeros and empty texts stand for nothing."""
    client = Client("new-api")
    client.clock.advance(1)
    submitted = client.imagine("a fox", state="x")
    first = client.task(submitted["result"])
    assert (first["status"], first["progress"], first["imageUrl"], first["startTime"]) == (
        "",
        "0%",
        "",
        0,
    )
    assert (first["state"], first["description"], first["buttons"], first["properties"]) == (
        "",
        "提交成功",
        None,
        None,
    )
    client.clock.advance(13.9)
    assert client.task(submitted["result"])["status"] == ""
    client.clock.advance(0.1)
    second = client.task(submitted["result"])
    assert (second["status"], second["state"]) == ("IN_PROGRESS", "x")
    client.clock.advance(14.9)
    assert client.task(submitted["result"])["progress"] == second["progress"]
    client.clock.advance(60)
    done = client.task(submitted["result"])
    assert (done["status"], done["progress"], len(done["buttons"])) == ("SUCCESS", "100%", 9)
    assert done["imageUrl"] == f"http://mj.sandbox.localhost/mj/image/{done['id']}"
    client.headers = {}
    assert client.picture(done["imageUrl"]).format == "PNG"


def test_relay_preview_link_has_cache_buster() -> None:
    client = Client("new-api")
    submitted = client.imagine()
    client.clock.advance(30)
    link = client.task(submitted["result"])["imageUrl"]
    assert "?rand=" in link
    assert client.picture(link).format == "WEBP"
    assert client.raw("GET", "/mj/image/1").body == b'{"error":"midjourney_task_not_found"}'


def test_relay_reports_queued_tasks_as_accepted() -> None:
    """22 and 21 become 1, but for Inpaint and CustomZoom; then only MODAL on the task tells."""
    client = Client("new-api", max_running=1)
    assert [client.imagine(f"f {i}")["code"] for i in range(5)] == [1] * 5
    client = Client("new-api", remix=True)
    task = client.done(client.imagine())
    asked = client.press(task, "V1")
    assert asked["code"] == 1
    assert client.done(asked)["status"] == "MODAL"
    single = client.done(client.press(task, "U1"))
    assert client.press(task, "U1") == client.press(task, "U1") | {"code": 1}
    for label in ("Vary (Region)", "Custom Zoom"):
        assert client.press(single, label)["code"] == 21
    assert (
        client.raw("POST", "/mj/submit/imagine", {"prompt": "x"})
        .headers["content-type"]
        .startswith("text/plain")
    )


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("imagine", {}, "prompt_is_required"),
        ("change", {"action": "UPSCALE", "index": 1}, "task_id_is_required"),
        ("change", {"taskId": "1"}, "action_is_required"),
        ("change", {"taskId": "1", "action": "REROLL", "index": 0}, "index_is_required"),
        ("change", {"taskId": "1", "action": "REROLL", "index": 1}, "task_not_found"),
        ("simple-change", {}, "content_is_required"),
        ("simple-change", {"content": "nonsense"}, "content_parse_failed"),
        ("action", {"taskId": "1"}, "custom_id_is_required"),
        (
            "action",
            {"taskId": "1", "customId": "MJ::BOOKMARK::x"},
            "unknown_action:MJ::BOOKMARK::x",
        ),
        (
            "action",
            {"taskId": "1", "customId": "MJ::Job::PicReader::1"},
            "unknown_action:MJ::Job::PicReader::1",
        ),
        (
            "action",
            {"taskId": "1", "customId": "MJ::JOB::animate_high::1::x::SOLO"},
            "unknown_action:MJ::JOB::animate_high::1::x::SOLO",
        ),
        ("action", {"taskId": "1", "customId": "MJ::JOB::upsample::1::x"}, "task_not_found"),
        ("modal", {"taskId": "1"}, "task_not_found"),
    ],
)
def test_relay_refuses_invalid_requests(path: str, body: dict[str, Any], message: str) -> None:
    response = Client("new-api").raw("POST", f"/mj/submit/{path}", body)
    assert response.status == 400
    assert json.loads(response.body) == {
        "description": f"{message} ",
        "type": "upstream_error",
        "code": 4,
    }


def test_relay_refuses_parent_not_seen_as_succeeded() -> None:
    client = Client("new-api")
    task_id = client.imagine()["result"]
    response = client.raw(
        "POST", "/mj/submit/change", {"taskId": task_id, "action": "UPSCALE", "index": 1}
    )
    assert json.loads(response.body)["description"] == "task_status_not_success "


def test_relay_times_out_after_an_hour() -> None:
    """A modal that nobody confirmed, too."""
    client = Client("new-api", remix=True)
    asked = client.press(client.done(client.imagine()), "V1")
    client.clock.advance(3700)
    task = client.task(asked["result"])
    assert (task["status"], task["progress"], task["failReason"]) == (
        "FAILURE",
        "100%",
        "上游任务超时（超过1小时）",
    )


@pytest.mark.parametrize(
    ("label", "action"),
    [
        ("Vary (Subtle)", "LOW_VARIATION"),
        ("Vary (Strong)", "HIGH_VARIATION"),
        ("⬅️", "PAN"),
        ("Zoom Out 2x", "ZOOM"),
    ],
)
def test_relay_action_names(label: str, action: str) -> None:
    client = Client("new-api")
    assert client.done(client.press(build_upscaled_task(client), label))["action"] == action


# ── listings ──


def test_task_list_queue_and_list_by_condition() -> None:
    """Newest first; by ids: unknown ones dropped, those in the queue first, nothing for nothing."""
    client = Client(max_running=1)
    ids = [client.imagine(f"fox {i}")["result"] for i in range(3)]
    client.clock.advance(70)
    assert [task["id"] for task in client.get("/mj/task/list")] == ids[::-1]
    some = client.post("/mj/task/list-by-condition", ids=[*ids, "1", ids[0]])
    assert [task["id"] for task in some] == [ids[1], ids[2], ids[0]]
    assert client.post("/mj/task/list-by-condition") == []
    assert client.post("/mj/task/list-by-condition", ids=None) == []
    assert client.post("/mj/task/list-by-ids", ids=ids[:1])[0]["displays"]["action"] == "绘图"


def test_trueai_list_is_limited_to_newest_hundred() -> None:
    client = Client("trueai", max_running=200)
    ids = [client.imagine(f"fox {i}")["result"] for i in range(120)]
    assert [task["id"] for task in client.get("/mj/task/list")] == ids[:19:-1]


def test_query_filters_and_pages() -> None:
    client = Client(max_running=50)
    ids = [client.imagine(f"fox {i}", state=f"s{i % 2}")["result"] for i in range(25)]
    page = client.post("/mj/task/query", pageNumber=1)
    assert [task["id"] for task in page["content"]] == ids[14:4:-1]
    assert (page["totalElements"], page["totalPages"], page["number"], page["size"]) == (
        25,
        3,
        1,
        10,
    )
    assert client.post("/mj/task/query", state="s1", sort="id,asc")["content"][0]["id"] == ids[1]
    assert client.post("/mj/task/query", prompt="fox 24")["totalElements"] == 1
    assert client.post("/mj/task/query", statusSet=["SUCCESS"])["totalElements"] == 0


# ── callbacks ──

HOOK = "http://127.0.0.1:9000/hook"


def get_callbacks(client: Client) -> list[Any]:
    client.clock.advance(180)
    client.proxy.advance()
    return [json.loads(delivery.body) for delivery in client.proxy.outbox]


def test_notify_hook_receives_every_change() -> None:
    """The whole task each time, as fetch gives it; nothing of NOT_START."""
    client = Client(duplicate_rate=0, reorder_rate=0)
    submitted = client.imagine(notifyHook=HOOK)
    heard = get_callbacks(client)
    assert [(t["status"], t["progress"]) for t in heard] == [
        ("SUBMITTED", "0%"),
        *(("IN_PROGRESS", f"{step}%") for step in STEPS),
        ("SUCCESS", "100%"),
    ]
    assert heard[-1] == client.task(submitted["result"])
    assert {d.url for d in client.proxy.outbox} == {HOOK}
    assert {d.headers["content-type"] for d in client.proxy.outbox} == {"application/json"}


def test_global_hook_receives_tasks_without_own_hook() -> None:
    client = Client(notify_hook=HOOK + "/all", duplicate_rate=0, reorder_rate=0)
    client.imagine()
    client.imagine(notifyHook=HOOK)
    get_callbacks(client)
    assert {d.url for d in client.proxy.outbox} == {HOOK, HOOK + "/all"}


def rank(task: Any) -> float:
    if task["status"] == "IN_PROGRESS":
        return 3 + int(task["progress"][:-1]) / 100
    return {"SUBMITTED": 1.0, "SUCCESS": 5.0}[task["status"]]


def test_callbacks_may_be_duplicated_or_reordered() -> None:
    """Every change arrives; java repeats some; a straggler may follow its successor, also the last
    one.
    """
    client = Client("java", duplicate_rate=0.3, reorder_rate=0.3)
    client.imagine(notifyHook=HOOK)
    ranks = [rank(task) for task in get_callbacks(client)]
    assert sorted(set(ranks)) == [1.0, *(3 + step / 100 for step in STEPS), 5.0]
    assert len(ranks) > len(set(ranks))
    assert ranks != sorted(ranks)
    client = Client("trueai", duplicate_rate=0.9, reorder_rate=0)
    client.imagine(notifyHook=HOOK)
    ranks = [rank(task) for task in get_callbacks(client)]
    assert ranks == sorted(set(ranks))


def test_relay_ignores_notify_hook() -> None:
    client = Client("new-api")
    client.imagine(notifyHook=HOOK)
    client.clock.advance(100)
    client.proxy.advance()
    assert client.proxy.outbox == []


# ── faults and the disk ──


def test_frozen_task_is_unchanged_and_lost_task_is_unknown() -> None:
    client = Client(max_running=2)
    frozen, lost, waiting = (client.imagine()["result"] for _ in range(3))
    client.clock.advance(20)
    client.task(frozen)
    client.proxy.freeze(frozen)
    client.proxy.forget(lost)
    progress = client.task(frozen)["progress"]
    client.clock.advance(1000)
    assert client.task(frozen)["progress"] == progress
    assert client.raw("GET", f"/mj/task/{lost}/fetch").body == b""
    assert [task["id"] for task in client.get("/mj/task/list")] == [waiting, frozen]
    assert client.task(waiting)["status"] == "SUCCESS"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_restored_snapshot_continues(dialect: str) -> None:
    """Running, waiting and finished tasks, buttons pressed and pictures sent; through JSON."""

    def live(client: Client) -> list[Any]:
        done = client.done(client.imagine("a fox", base64Array=[data_url()]))
        created = [client.imagine(f"fox {i}")["result"] for i in range(6)]
        client.clock.advance(20)
        return [done["id"], *created]

    original, restored = Client(dialect), Client(dialect, seed=99)
    ids = live(original)
    restored.clock.advance(original.clock.now() - restored.clock.now())
    kept = json.dumps(
        original.proxy.snapshot(), default=lambda raw: {"b64": base64.b64encode(raw).decode()}
    )
    thaw = lambda value: base64.b64decode(value["b64"]) if "b64" in value else value  # noqa: E731
    restored.proxy.restore(json.loads(kept, object_hook=thaw))
    for _ in range(6):
        assert [original.task(i) for i in ids] == [restored.task(i) for i in ids]
        original.clock.advance(15)
        restored.clock.advance(15)
    link = original.task(ids[0])["imageUrl"]
    assert original.raw("GET", link) == restored.raw("GET", link)


# ── anything at all ──

NAMES = [
    "prompt",
    "taskId",
    "customId",
    "action",
    "index",
    "content",
    "base64",
    "base64Array",
    "state",
    "notifyHook",
    "ids",
    "maskBase64",
    "dimensions",
    "image",
    "motion",
    "accountFilter",
    "enableRemix",
    "jobId",
    "batchSize",
    "pageSize",
    "link",
    "sourceBase64",
    "targetBase64",
    "statusSet",
    "sort",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.sampled_from(
        [
            data_url(),
            "UPSCALE",
            "MJ::JOB::upsample::1::x",
            "extend",
            "high",
            "--zoom 2",
            "a fox --ar 3:2",
            "1 U1",
            "@id",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
BODIES = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    VALUES,
)
PATHS = st.one_of(
    st.sampled_from([key.split()[1].replace("/1/", "/@id/") for key in ENDPOINTS]),
    st.text(max_size=30).map(lambda text: "/" + text),
    st.sampled_from(
        [
            "/attachments/",
            "/attachments/1/2/x.png",
            "/mj/image/@id",
            "/mj//submit/imagine",
            "/%ff%00/mj/task",
        ]
    ),
    st.text(max_size=12).map(lambda text: f"/mj/task/{text}/fetch"),
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", ""])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([*DIALECTS]),
    st.lists(st.tuples(METHODS, PATHS, BODIES), min_size=1, max_size=5),
)
def test_random_requests_never_fail_with_500(
    dialect: str, requests: list[tuple[str, str, Any]]
) -> None:
    """Whatever is asked is answered, never with 500, and never by an exception."""
    client = Client(dialect)
    task_id = client.imagine("a fox")["result"]
    client.clock.advance(90)
    for method, path, body in requests:
        sent = (
            body if isinstance(body, bytes) else json.dumps(body).replace("@id", task_id).encode()
        )
        path = path.replace("@id", task_id)
        response = client.proxy.handle(Request(method, "h", path, "ex=1&is=\xff", SECRET, sent))
        assert 200 <= response.status < 500
        client.clock.advance(7)
    if task_id in client.proxy.tasks_by_id:
        assert client.task(task_id)["id"] == task_id


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(max_size=40))
def test_any_prompt_is_accepted_and_returned(prompt: str, state: str) -> None:
    client = Client(banned_words=())
    submitted = client.imagine(prompt, state=state)
    if prompt.strip():
        assert client.done(submitted)["state"] == state
        assert client.task(submitted["result"])["prompt"] == prompt.strip()
    else:
        assert submitted["code"] == 4


def test_memory_of_hundred_thousand_finished_tasks() -> None:
    """Measured on a tenth: pictures are not kept, buttons and properties not stored."""
    import tracemalloc

    client = Client(max_running=10_000)
    tracemalloc.start()
    for i in range(10_000):
        client.proxy.handle(
            Request(
                "POST",
                "h",
                "/mj/submit/imagine",
                "",
                SECRET,
                b'{"prompt":"a red fox in the snow, number %d"}' % i,
            )
        )
    client.clock.advance(100)
    client.proxy.advance()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used * 10 < 300_000_000
