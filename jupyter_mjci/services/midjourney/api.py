"""Every call of the Midjourney proxies (`/mj/...`), and how their answers are read.

Three server families speak this protocol, and relays in front of them; no two answer quite alike.
So the readers here take nulls, "", 0, texts for numbers and numbers for texts, missing and extra
keys; the status decides, never the progress, and a message text decides nothing. Sources: the
documents of POST /mj/submit/action and of the task queries; the public code of the server families.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Reply, Sender
from jupyter_mjci.client.image_input import Picture, data_url
from jupyter_mjci.client.job import Button, Job, Status, users_own
from jupyter_mjci.errors import (
    AnswerError,
    BannedPrompt,
    CallError,
    MidjourneyError,
    NoSuchEndpoint,
    QueueFull,
)

T = TypeVar("T")
Bot = Literal["MID_JOURNEY", "NIJI_JOURNEY"]


class Midjourney:
    """Builds the calls of a Midjourney proxy. Building sends nothing: `.run()` or `await` the call.

    Building raises CallError for what cannot be said. Running raises TransportError where no answer
    comes, NoSuchEndpoint where the proxy's family lacks the call, QueueFull, BannedPrompt or
    another MidjourneyError where it says no, and AnswerError for an answer that nobody can read.
    """

    def __init__(self, sender: Sender | None = None) -> None:
        self._sender = sender

    # POST /mj/submit/imagine
    def imagine(
        self,
        prompt: str,
        *,
        images: Sequence[Picture] = (),
        bot: Bot | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Draw four pictures of a prompt.

        Args:
            prompt: what to draw, with Midjourney's own flags (--ar 3:2, --no wolves, …); sent byte
                for byte
            images: reference pictures: paths, bytes, data URLs, Pillow images or arrays
            bot: which bot draws
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {
            "prompt": _told(prompt),
            "base64Array": [data_url(one) for one in images],
            "botType": bot,
        }
        return self._submit("imagine", body, "IMAGINE", prompt, state, notify_hook)

    # POST /mj/submit/action
    def action(
        self,
        task: str | Job,
        button: str,
        *,
        same_channel: bool = False,
        remix: bool | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Press a button of a finished task: upscale, vary, zoom, pan, …

        Args:
            task: the task's id; or the task itself, whose buttons then are known by their labels
            button: a customId; with the task itself also a label or emoji
            same_channel: let another account of the same channel do it
            remix: ask for the remix dialog where the account can
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        if isinstance(task, Job) and "buttons" not in task.raw and (changed := change_of(button)):
            return self.change(
                task.id, *changed, state=state, notify_hook=notify_hook
            )  # a family without buttons
        custom_id = task.button(button).custom_id if isinstance(task, Job) else button
        if "::" not in custom_id:
            raise CallError(
                f"{button!r} is no customId.",
                why="A task's id alone does not tell its buttons.",
                hint="Give the task itself (session.mj.task(id).run()), or a customId of its buttons.",
            )
        parent = task.id if isinstance(task, Job) else _id(task)
        body = {
            "chooseSameChannel": same_channel,
            "customId": custom_id,
            "taskId": parent,
            "enableRemix": remix,
        }
        subject = task.subject if isinstance(task, Job) else ""
        return self._submit(
            "action", body, action_of(custom_id), subject, state, notify_hook, parent=parent
        )

    # POST /mj/submit/change
    def change(
        self,
        task_id: str,
        action: Literal["UPSCALE", "VARIATION", "REROLL"],
        index: int = 1,
        *,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Upscale, vary or draw again where a proxy offers no buttons.

        Args:
            task_id: a finished task with four pictures
            action: UPSCALE, VARIATION or REROLL
            index: which of the four, 1 to 4
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        if not 1 <= index <= 4:
            raise CallError(f"index is 1 to 4, not {index}.")
        # Some servers want an index even to draw again, and none minds one.
        body = {"taskId": _id(task_id), "action": action, "index": index}
        return self._submit("change", body, action, "", state, notify_hook, parent=_id(task_id))

    # POST /mj/submit/simple-change
    def simple_change(
        self, content: str, *, state: str | None = None, notify_hook: str | None = None
    ) -> Call[Job]:
        """The same in one text: "14001934816969359 U2".

        Args:
            content: a task id, one blank, then U1 to U4, V1 to V4 or R
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        task_id, _, label = content.strip().partition(" ")
        changed = change_of(label)
        if changed is None:
            raise CallError(
                f"{content!r} is no change.",
                hint='Write "TASK_ID U2", "TASK_ID V1" or "TASK_ID R".',
            )
        body = {"content": content.strip()}
        return self._submit(
            "simple-change", body, changed[0], "", state, notify_hook, parent=_id(task_id)
        )

    # POST /mj/submit/describe
    def describe(
        self,
        picture: Picture,
        *,
        bot: Bot | None = None,
        language: str | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Four prompts that could have made a picture.

        Args:
            picture: path, bytes, data URL, Pillow image or array; a link where the proxy takes
                links
            bot: which bot describes
            language: zh asks for Chinese where the proxy can
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        sent = data_url(picture)
        key = "link" if sent.startswith("http") else "base64"
        body = {key: sent, "botType": bot, "language": language}
        return self._submit("describe", body, "DESCRIBE", "", state, notify_hook)

    # POST /mj/submit/blend
    def blend(
        self,
        pictures: Sequence[Picture],
        *,
        dimensions: Literal["PORTRAIT", "SQUARE", "LANDSCAPE"] | None = None,
        bot: Bot | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Mix two to five pictures.

        Args:
            pictures: paths, bytes or data URLs
            dimensions: PORTRAIT (2:3), SQUARE (1:1, the default) or LANDSCAPE (3:2)
            bot: which bot blends
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        if not 2 <= len(pictures) <= 5:
            raise CallError(f"A blend takes 2 to 5 pictures, not {len(pictures)}.")
        body = {
            "base64Array": [data_url(one) for one in pictures],
            "dimensions": dimensions,
            "botType": bot,
        }
        return self._submit("blend", body, "BLEND", "", state, notify_hook)

    # POST /mj/submit/shorten
    def shorten(
        self,
        prompt: str,
        *,
        bot: Bot | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Which words of a prompt matter, and shorter prompts.

        Args:
            prompt: the prompt, sent byte for byte
            bot: which bot analyses
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        return self._submit(
            "shorten",
            {"prompt": _told(prompt), "botType": bot},
            "SHORTEN",
            prompt,
            state,
            notify_hook,
        )

    # POST /mj/submit/modal
    def modal(
        self,
        task_id: str,
        prompt: str = "",
        *,
        mask: Picture | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Answer the dialog that a button opened: a remixed prompt, a custom zoom, a region to draw
        anew.

        Send it once: some servers start the task again each time.

        Args:
            task_id: the task that is ASKING (not its parent)
            prompt: the new prompt; empty keeps the parent's; a custom zoom needs --zoom between 1
                and 2
            mask: picture of the parent's size: white is drawn anew, black stays (see mjci.mask)
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {
            "taskId": _id(task_id),
            "prompt": prompt,
            "maskBase64": None if mask is None else data_url(mask),
        }
        return self._submit("modal", body, "", prompt, state, notify_hook)

    # POST /mj/submit/upload-discord-images
    def upload(self, pictures: Sequence[Picture]) -> Call[list[str]]:
        """Put pictures where prompts can refer to them; gives their URLs in the same order.

        Args:
            pictures: paths, bytes or data URLs
        """
        body = {"base64Array": [data_url(one) for one in pictures]}
        path = "/mj/submit/upload-discord-images"
        return self._call("upload", "POST", path, read_upload, body, creates=True)

    # POST /mj/submit/edits
    def edits(
        self,
        prompt: str,
        picture: Picture,
        *,
        mask: Picture | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Change a picture as the prompt says.

        Args:
            prompt: what to change
            picture: path, bytes, data URL or link
            mask: where to change it: white is drawn anew
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {
            "prompt": _told(prompt),
            "image": data_url(picture),
            "maskBase64": None if mask is None else data_url(mask),
        }
        return self._submit("edits", body, "EDIT", prompt, state, notify_hook)

    # POST /mj/submit/retexture
    def retexture(
        self,
        prompt: str,
        picture: Picture,
        *,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Give a picture's shapes other surfaces.

        Args:
            prompt: the new surfaces
            picture: path, bytes, data URL or link
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {"prompt": _told(prompt), "image": data_url(picture)}
        return self._submit("retexture", body, "RETEXTURE", prompt, state, notify_hook)

    # POST /mj/submit/video
    def video(
        self,
        prompt: str,
        *,
        picture: Picture | None = None,
        end_picture: Picture | None = None,
        motion: Literal["low", "high"] | None = None,
        loop: bool | None = None,
        extend: str | None = None,
        index: int | None = None,
        video_type: Literal["vid_1.1_i2v_480", "vid_1.1_i2v_720"] | None = None,
        batch_size: int | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """A short film from a prompt and a first picture, or a longer one from an earlier film.

        Args:
            prompt: what happens
            picture: the first frame: path, bytes, data URL or link
            end_picture: the last frame
            motion: low or high
            loop: let the end meet the beginning
            extend: id of the video task to go on from, instead of a picture
            index: which of its films, 0 to 3
            video_type: vid_1.1_i2v_480 or vid_1.1_i2v_720
            batch_size: how many films: 1, 2 or 4
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {
            "prompt": prompt,
            "motion": motion,
            "image": None if picture is None else data_url(picture),
            "endImage": None if end_picture is None else data_url(end_picture),
            "loop": loop,
            "action": "extend" if extend else None,
            "taskId": _id(extend) if extend else None,
            "index": index,
            "videoType": video_type,
            "batchSize": batch_size,
        }
        return self._submit("video", body, "VIDEO", prompt, state, notify_hook, parent=extend or "")

    # POST /mj/insight-face/swap
    def swap(
        self,
        source: Picture,
        target: Picture,
        *,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Put the face of one picture into another.

        Args:
            source: the face: path, bytes or data URL
            target: the picture to put it into
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {"sourceBase64": data_url(source), "targetBase64": data_url(target)}
        path = "/mj/insight-face/swap"
        return self._submit("swap", body, "SWAP_FACE", "", state, notify_hook, path=path)

    # GET /mj/task/{id}/image-seed
    def image_seed(self, task_id: str) -> Call[str]:
        """The seed that a picture was drawn with; it may take a minute, and not every proxy can.

        Args:
            task_id: the task's id
        """
        return self._call("image_seed", "GET", f"/mj/task/{_id(task_id)}/image-seed", read_result)

    # POST /mj/task/{id}/cancel
    def cancel(self, task_id: str) -> Call[None]:
        """Ask to cancel a task. Fetch it again to see whether it was.

        Args:
            task_id: the task's id
        """
        return self._call("cancel", "POST", f"/mj/task/{_id(task_id)}/cancel", read_cancel)

    # GET /mj/task/{id}/fetch
    def task(self, task_id: str) -> Call[Job]:
        """One task as it is now.

        Args:
            task_id: the task's id
        """
        path = f"/mj/task/{_id(task_id)}/fetch"
        return self._call("task", "GET", path, partial(read_task, task_id=task_id))

    # GET /mj/task/list, POST /mj/task/list-by-condition
    def tasks(self, ids: Iterable[str] | None = None) -> Call[list[Job]]:
        """The tasks that the proxy knows, newest first; or those with the given ids, in the order
        given.

        Args:
            ids: only these tasks; ids that the proxy does not know are left out
        """
        if ids is None:
            return self._call("tasks", "GET", "/mj/task/list", read_tasks)
        wanted = [_id(one) for one in ids]
        read = partial(read_tasks, order=tuple(wanted))
        call = self._call("tasks", "POST", "/mj/task/list-by-condition", read, {"ids": wanted})
        return replace(call, reads=True)

    # GET /mj/task/queue
    def queue(self) -> Call[list[Job]]:
        """The tasks that wait or run now, oldest first."""
        return self._call("queue", "GET", "/mj/task/queue", read_tasks)

    # POST /mj/task/query
    def query(
        self,
        *,
        status: str | None = None,
        action: str | None = None,
        prompt: str | None = None,
        state: str | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Job]]:
        """The tasks that fit, newest first, page by page; where the proxy can be asked so.

        Args:
            status: only in this state, in the proxy's words: SUCCESS, FAILURE, IN_PROGRESS, …
            action: only of this action
            prompt: only with this prompt
            state: only with this mark
            page: which page, from 1
            size: tasks a page
        """
        filters = {"status": status, "action": action, "prompt": prompt, "state": state}
        body = {**filters, "pageNumber": page - 1, "pageSize": size, "sort": "id,desc"}
        return replace(self._call("query", "POST", "/mj/task/query", read_query, body), reads=True)

    # GET /mj/account/list
    def accounts(self) -> Call[list[dict[str, Any]]]:
        """The accounts that the proxy draws with. Their Discord tokens, which some proxies tell,
        are left out.
        """
        return self._call("accounts", "GET", "/mj/account/list", read_accounts)

    def _submit(
        self,
        name: str,
        body: Mapping[str, Any],
        action: str,
        subject: str,
        state: str | None,
        notify_hook: str | None,
        parent: str = "",
        path: str = "",
    ) -> Call[Job]:
        marks = {"state": state, "notifyHook": notify_hook}
        read = partial(
            read_submission,
            asked=Job("mj", "", action, subject=subject, state=state or "", parent=parent),
        )
        path = path or f"/mj/submit/{name}"
        return self._call(
            name.replace("-", "_"), "POST", path, read, {**body, **marks}, creates=True
        )

    def _call(
        self,
        name: str,
        method: str,
        path: str,
        read: Callable[[Reply], T],
        body: Mapping[str, Any] | None = None,
        creates: bool = False,
    ) -> Call[T]:
        sent, headers = b"", {"Accept": "application/json"}
        if body is not None:
            sent = _compact({field: value for field, value in body.items() if value is not None})
            headers["Content-Type"] = "application/json"
        return Call(
            "mj", name, method, path, read, {}, headers, sent, "mj", creates, sender=self._sender
        )


# --- what we say ----------------------------------------------------------------------------------


def _id(task_id: object) -> str:
    text = str(task_id).strip()
    if not text or not re.fullmatch(r"[\w.:-]+", text):
        raise CallError(
            f"{text!r} is no task id.", hint="A task id is a row of digits: see %mj_tasks."
        )
    return text


def _told(prompt: str) -> str:
    if not prompt.strip():
        raise CallError("The prompt is empty.", hint="Say what to draw.")
    return prompt


_CHANGES: dict[str, Literal["UPSCALE", "VARIATION"]] = {"U": "UPSCALE", "V": "VARIATION"}


def change_of(label: str) -> tuple[Literal["UPSCALE", "VARIATION", "REROLL"], int] | None:
    """What `change` calls the button with this label: U1 to U4, V1 to V4, R or 🔄. None for any
    other.
    """
    if label.casefold() in ("r", "🔄", "reroll"):
        return "REROLL", 1
    found = re.fullmatch(r"([UV])([1-4])", label.upper())
    return (_CHANGES[found[1]], int(found[2])) if found else None


def label_of(change: Mapping[str, Any]) -> tuple[str, str]:
    """The task and the label of the button that does what the body of a (simple) change asks
    for.
    """
    if "content" in change:
        task_id, _, label = str(change["content"]).partition(" ")
        return task_id, "🔄" if label.upper() == "R" else label
    letters = {action: letter for letter, action in _CHANGES.items()}
    letter = letters.get(change["action"])
    return str(change["taskId"]), f"{letter}{change['index']}" if letter else "🔄"


_ACTIONS = (
    ("upsample_v", "UPSCALE_HD"),
    ("upsample", "UPSCALE"),
    ("variation", "VARIATION"),
    ("Inpaint", "VARIATION"),
    ("reroll", "REROLL"),
    ("Outpaint", "ZOOM"),
    ("CustomZoom", "ZOOM"),
    ("pan_", "PAN"),
    ("animate_", "VIDEO"),
    ("video", "VIDEO"),
    ("PicReader", "IMAGINE"),
    ("PromptAnalyzer", "IMAGINE"),
)


def action_of(custom_id: str) -> str:
    """What pressing a button makes, as the proxies call it; they tell it themselves once the task
    is fetched.
    """
    return next((action for part, action in _ACTIONS if part in custom_id), "ACTION")


# --- what they say: pieces ------------------------------------------------------------------------

STATUSES = {
    "NOT_START": Status.WAITING,
    "SUBMITTED": Status.WAITING,
    "": Status.WAITING,
    "PENDING": Status.WAITING,
    "QUEUED": Status.WAITING,
    "IN_PROGRESS": Status.RUNNING,
    "PROCESSING": Status.RUNNING,
    "MODAL": Status.ASKING,
    "SUCCESS": Status.SUCCEEDED,
    "FAILURE": Status.FAILED,
    "FAILED": Status.FAILED,
    "CANCEL": Status.CANCELLED,
    "CANCELLED": Status.CANCELLED,
    # the .NET family's numbers, should they ever be sent
    "0": Status.WAITING,
    "1": Status.WAITING,
    "3": Status.RUNNING,
    "4": Status.FAILED,
    "5": Status.SUCCEEDED,
    "6": Status.ASKING,
    "7": Status.CANCELLED,
}


def text(value: Any) -> str:
    """Any scalar as text; "nothing" of every kind is ""."""
    if type(value) is str:  # nearly always
        return value
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def status(value: Any) -> Status:
    """Unknown words count as running: the job may still end."""
    return STATUSES.get(text(value).strip().upper(), Status.RUNNING)


def progress(value: Any) -> int | None:
    """The leading digits of "37%", or None: some servers send words, or nothing."""
    found = re.match(r"\s*0*(\d{1,4})", text(value))
    return min(int(found[1]), 100) if found else None


def moment(value: Any) -> datetime | None:
    """Epoch milliseconds as an aware datetime; null, "" and 0 mean "not yet". Small values are
    seconds.
    """
    try:
        number = float(text(value) or 0)
    except ValueError:
        return None
    if not 0 < number < BEYOND:
        return None
    return EPOCH + timedelta(milliseconds=number if number >= SECONDS else number * 1000)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = 1e11  # what is smaller counts seconds, not milliseconds
BEYOND = 253_402_300_799_000  # the last second that a datetime can hold, in milliseconds


def buttons(value: Any) -> tuple[Button, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Button(
            text(one["customId"]),
            text(one.get("label")),
            text(one.get("emoji")),
            text(one.get("style")) == "3",
        )
        for one in value
        if isinstance(one, dict) and one.get("customId")
    )


def first(*values: Any) -> str:
    """The first that tells something."""
    return next((told for value in values if (told := text(value))), "")


RESULTS = ("videoUrls", "video_urls", "videoUrl", "imageUrl", "imageUrls", "image_urls")


def outputs(told_status: Any, *results: Any) -> tuple[str, ...]:
    """Videos before single pictures before the grid. Previews of a running task are no outputs."""
    if status(told_status) is not Status.SUCCEEDED:
        return ()
    for value in filter(None, results):
        found = tuple(
            url for one in (value if isinstance(value, list) else [value]) if (url := _url(one))
        )
        if found:
            return found
    return ()


def _url(value: Any) -> str:
    return text(value.get("url")) if isinstance(value, dict) else text(value)


_PARENT = re.compile(r"^/(?:up|change)\s+(\d{10,})")


def parent(told: Any, description: Any) -> str:
    """The .NET family tells it; the Java one only in the description "/up {id} U2"."""
    found = _PARENT.match(text(description))
    return text(told) or (found[1] if found else "")


def _properties(task: Mapping[str, Any]) -> Mapping[str, Any]:
    value = task.get("properties")
    return value if isinstance(value, dict) else {}


def _hook(properties: Any) -> str:
    return text(properties.get("notifyHook")) if isinstance(properties, dict) else ""


def own_mark(value: Any) -> str:
    return users_own(text(value))


# Ours, the wire's, and how it is read: one line each. Listings are read by columns from the same
# lines.
TASK: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...] = (
    ("id", ("id", "mj_id"), first),
    ("action", ("action",), text),
    ("status", ("status",), status),
    ("progress", ("progress",), progress),
    ("subject", ("prompt", "promptEn"), first),
    ("outputs", ("status", *RESULTS), outputs),
    ("buttons", ("buttons",), buttons),
    ("submitted", ("submitTime",), moment),
    ("started", ("startTime",), moment),
    ("finished", ("finishTime",), moment),
    ("reason", ("failReason",), text),
    ("state", ("state",), own_mark),
    ("notify_hook", ("properties",), _hook),
    ("parent", ("parentId", "description"), parent),
)


def job_of(task: Mapping[str, Any]) -> Job:
    """One task object as a Job. Takes anything that is a mapping; never raises for odd values."""
    return Job("mj", raw=task, **{name: read(*map(task.get, wires)) for name, wires, read in TASK})


def preview_of(job: Job) -> str:
    """The URL of a running task's blurry preview, or ""."""
    return text(job.raw.get("imageUrl")) if job.status is Status.RUNNING else ""


# --- what they say: answers -----------------------------------------------------------------------


def read_task(reply: Reply, task_id: str = "") -> Job:
    """GET /mj/task/{id}/fetch. An empty answer, or one that says so, means that the proxy does not
    know the id.
    """
    if reply.status in (200, 204) and reply.body.strip() in (b"", b"null"):
        raise _unknown(task_id, reply)
    task = _unwrap(_checked(reply, task_id))
    if not isinstance(task, dict):
        raise AnswerError(
            "The answer is no task.", why=reply.body[:120].decode(errors="replace"), body=reply.body
        )
    return job_of(task)


def read_tasks(reply: Reply, order: tuple[str, ...] | None = None) -> list[Job]:
    """A listing. Proxies do not keep the order of the ids that were asked for; we do."""
    if reply.status in (200, 204) and not reply.body.strip():
        return []
    tasks = _unwrap(_checked(reply))
    if tasks is None:
        return []
    if not isinstance(tasks, list):
        raise AnswerError("The answer is no list of tasks.", body=reply.body)
    jobs = [job_of(task) for task in tasks if isinstance(task, dict)]
    if order is None:
        return jobs
    by_id = {job.id: job for job in jobs}
    return [by_id[one] for one in dict.fromkeys(order) if one in by_id]


@dataclass(frozen=True, slots=True)
class News:
    """What a listing tells to somebody who knows most of it: the tasks that moved, and the ids of
    all.
    """

    items: tuple[Job, ...]
    ids: frozenset[str]


def read_news(reply: Reply, known: Mapping[str, Job]) -> News:
    """A listing, of which only those tasks are read whole whose status or progress is not the known
    one.

    Of ten thousand followed tasks few move between two looks; reading all of them would keep a core
    busy.
    """
    try:
        pieces = _PIECES.decode(reply.body)
        glances = [_GLANCE.decode(piece) for piece in pieces]
    except (
        msgspec.MsgspecError
    ):  # a wrapper, an error, a damaged record: the patient reader knows them all
        jobs = read_tasks(reply)
        return News(tuple(jobs), frozenset(job.id for job in jobs))
    ids, moved = [text(glance.id) for glance in glances], []
    for task_id, piece, glance in zip(ids, pieces, glances, strict=True):
        if _moved(known.get(task_id), glance):
            moved.append(job_of(jsonlib.read(memoryview(piece))))
    return News(tuple(moved), frozenset(ids))


class _Glance(msgspec.Struct):
    id: Any = None
    status: Any = None
    progress: Any = None


def _moved(job: Job | None, glance: _Glance) -> bool:
    if job is None:
        return True
    if glance.status and (glance.status, glance.progress) == (
        job.raw.get("status"),
        job.raw.get("progress"),
    ):
        return False  # the very words of last time, as nearly always
    return status(glance.status) is not job.status or progress(glance.progress) != job.progress


_PIECES = msgspec.json.Decoder(list[msgspec.Raw])
_GLANCE = msgspec.json.Decoder(_Glance)


def read_submission(reply: Reply, asked: Job) -> Job:
    """The answer of every submit call: `{code, description, result, properties}`, of which only the
    code decides.

    1 and 22 accept; 21 is either a task that exists already or a dialog that waits for `modal`. 23
    raises QueueFull, 24 BannedPrompt, everything else MidjourneyError.
    """
    answer = _checked(reply)
    if isinstance(answer, dict) and "code" not in answer and isinstance(answer.get("data"), list):
        return _finished_pictures(answer, asked)
    if not isinstance(answer, dict):
        raise AnswerError("The answer is no submit result.", body=reply.body)
    code, result = text(answer.get("code")), answer.get("result")
    made = _ACCEPTED.get(code)
    if made is None or not _result_id(result):
        raise _refusal(answer, reply)
    return _made(asked, _result_id(result), made(_properties(answer)), answer)


def read_query(reply: Reply) -> list[Job]:
    """A page of tasks: under `content`, or a bare list."""
    answer = _unwrap(_checked(reply))
    found = answer.get("content", answer.get("list")) if isinstance(answer, dict) else answer
    return [job_of(task) for task in found or () if isinstance(task, dict)]


def read_accounts(reply: Reply) -> list[dict[str, Any]]:
    """Account records without anything that is a token."""
    found = _unwrap(_checked(reply))
    records = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        {name: value for name, value in one.items() if "token" not in name.lower()}
        for one in records
    ]


def read_upload(reply: Reply) -> list[str]:
    """The URLs of uploaded pictures, in the order in which they were sent."""
    result = _accepted(reply)
    return [text(one) for one in result] if isinstance(result, list) else [text(result)]


def read_result(reply: Reply) -> str:
    """The text of a submit-like answer that names no task: a seed."""
    return text(_accepted(reply))


def read_cancel(reply: Reply) -> None:
    """Some answer with nothing at all, whatever happened."""
    if reply.body.strip() or reply.status >= 300:
        answer = _checked(reply)
        if isinstance(answer, dict) and text(answer.get("code")) not in _ACCEPTED:
            raise _refusal(answer, reply)


def _accepted(reply: Reply) -> Any:
    answer = _checked(reply)
    if not isinstance(answer, dict) or text(answer.get("code")) != "1" or not answer.get("result"):
        raise _refusal(answer if isinstance(answer, dict) else {}, reply)
    return answer["result"]


def _existing_or_dialog(properties: Mapping[str, Any]) -> Status:
    """Code 21 has two meanings: with a status or picture the task exists already, else a dialog
    waits.
    """
    if properties.get("status") or properties.get("imageUrl"):
        return status(properties.get("status"))
    return Status.ASKING


_ACCEPTED: dict[str, Callable[[Mapping[str, Any]], Status]] = {
    "1": lambda _: Status.WAITING,
    "22": lambda _: Status.WAITING,
    "0": lambda _: Status.WAITING,
    "21": _existing_or_dialog,
}


def _made(asked: Job, job_id: str, now: Status, answer: Mapping[str, Any]) -> Job:
    return Job(
        "mj",
        job_id,
        asked.action,
        now,
        None,
        asked.subject,
        state=asked.state,
        parent=asked.parent,
        raw=answer,
    )


def _result_id(result: Any) -> str:
    if isinstance(result, list):
        return ",".join(text(one) for one in result)
    return text(result)


def _finished_pictures(answer: Mapping[str, Any], asked: Job) -> Job:
    """The shape that one vendor documents for submit/action: pictures at once, and no task."""
    urls = tuple(_url(one) for one in answer["data"] if _url(one))
    made = moment(answer.get("created"))
    return Job(
        "mj",
        "",
        asked.action,
        Status.SUCCEEDED,
        100,
        asked.subject,
        urls,
        submitted=made,
        finished=made,
        state=asked.state,
        parent=asked.parent,
        raw=answer,
    )


# --- what they say when they say no ---------------------------------------------------------------


def _checked(reply: Reply, task_id: str = "") -> Any:
    """The JSON of an answer that is one. Raises for pages, refusals and errors of every family's
    shape.
    """
    if reply.is_page:
        raise NoSuchEndpoint(
            f"This server has no such endpoint: {reply.url}",
            why=f"It answered with a web page (HTTP {reply.status}).",
            hint="Check the base URL (MJCI_MJ_URL); relays leave some calls out, listings among them.",
            status=reply.status,
        )
    if reply.status in _STATUS_SAYS and not _is_result(reply):
        what, hint = _STATUS_SAYS[reply.status]
        raise MidjourneyError(
            what, status=reply.status, code=str(reply.status), message=_message(reply), hint=hint
        )
    if reply.status == 404 and not reply.body.strip():
        raise NoSuchEndpoint(f"This server has no such endpoint: {reply.url}", status=404)
    answer = reply.json()
    if isinstance(answer, dict) and _is_error(answer, reply):
        if "task_no_found" in text(answer.get("description")):
            raise _unknown(task_id, reply)
        raise _refusal(answer, reply)
    return answer


_STATUS_SAYS = {
    401: (
        "The proxy refuses the secret.",
        "Set MJCI_MJ_SECRET; some want MJCI_MJ_AUTH=bearer or raw.",
    ),
    403: ("The proxy forbids it.", "Set MJCI_MJ_SECRET; some want MJCI_MJ_AUTH=bearer or raw."),
    429: ("The proxy asks to slow down.", "Wait a little, then try again."),
    500: ("The proxy is in trouble.", "Try again; its own log says more."),
    502: ("The proxy's own service does not answer.", "Try again later."),
    503: ("The proxy is not available.", "Try again later."),
    504: ("The proxy's own service does not answer.", "Try again later."),
}


def _is_result(reply: Reply) -> bool:
    """Whether a refused answer is still a normal submit result (some send those with 4xx)."""
    try:
        answer = jsonlib.read(reply.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and "code" in answer and "result" in answer


def _is_error(answer: Mapping[str, Any], reply: Reply) -> bool:
    return (
        "error" in answer
        or answer.get("success") is False
        or (reply.status >= 400 and "result" not in answer)
    )


_REFUSALS: dict[str, tuple[type[MidjourneyError], str, str]] = {
    "3": (
        MidjourneyError,
        "The proxy does not find what this needs.",
        "Check the task id; or no account is free now.",
    ),
    "4": (MidjourneyError, "The proxy refuses the request.", ""),
    "5": (
        MidjourneyError,
        "The relay did not reach its proxy.",
        "Look at the listing before sending it again.",
    ),
    "9": (MidjourneyError, "The proxy failed to submit it.", ""),
    "23": (
        QueueFull,
        "The proxy's queue is full; nothing was accepted.",
        "Wait for a task to end: %mj_queue.",
    ),
    "24": (
        BannedPrompt,
        "The prompt may hold a banned word; nothing was accepted.",
        "Rephrase it.",
    ),
    "30": (MidjourneyError, "The relay is saturated; nothing was accepted.", "Try again later."),
}


def _refusal(answer: Mapping[str, Any], reply: Reply) -> MidjourneyError:
    code, message = text(answer.get("code")), _words(answer)
    kind, what, hint = _REFUSALS.get(code, (MidjourneyError, "The proxy says no.", ""))
    if code == "9" and ("队列已满" in message or "queue" in message.lower()):
        kind, what, hint = _REFUSALS["23"]
    word = text(_properties(answer).get("bannedWord"))
    error = kind(
        what,
        status=reply.status,
        code=code,
        message=message,
        hint=hint,
        why=f"{message} ({word})" if word else f"{message} (code {code})" if code else message,
    )
    if isinstance(error, BannedPrompt):
        error.word = word
    return error


def _unknown(task_id: str, reply: Reply) -> MidjourneyError:
    return MidjourneyError(
        f"The proxy knows no task {task_id}.",
        why="Tasks are forgotten after a time, and by some proxies at a restart.",
        hint="See %mj_tasks for those that it knows.",
        status=reply.status,
        code="not_found",
    )


def _words(answer: Mapping[str, Any]) -> str:
    """The message, wherever this family puts it."""
    error = answer.get("error")
    if isinstance(error, dict):
        return text(error.get("message")).strip()
    candidates = (answer.get("description"), answer.get("message"), error)
    return next((text(one).strip() for one in candidates if text(one)), "")


def _message(reply: Reply) -> str:
    try:
        answer = jsonlib.read(reply.body)
    except ValueError:
        return reply.body[:120].decode("utf-8", "replace").strip()
    return _words(answer) if isinstance(answer, dict) else ""


def _unwrap(answer: Any) -> Any:
    """Some put the task or the list into `data`."""
    if (
        isinstance(answer, dict)
        and "data" in answer
        and "id" not in answer
        and "status" not in answer
    ):
        inner = answer["data"]
        if (
            inner is None
            or isinstance(inner, list)
            or (isinstance(inner, dict) and {"id", "status"} & set(inner))
        ):
            return inner
    return answer


# --- how a submission is found again when its answer was lost -------------------------------------


def traceable(call: Call[Any]) -> bool:
    """Whether the call makes a task, which a listing then tells of."""
    return call.creates and call.name != "upload"


def marked(call: Call[T], mark: str) -> Call[T] | None:
    """The call with our mark in `state`; None where that place is taken, or where the task exists
    already.
    """
    body = jsonlib.read(call.body)
    if body.get("state") or call.name == "modal":
        return None
    return replace(call, body=_compact({**body, "state": mark}))


def listing(call: Call[Any], _: float) -> Call[list[Job]]:
    """What to ask to find the task that the call has made. A dialog's answer concerns a task that
    is known.
    """
    builder = Midjourney(call.sender)
    return (
        builder.tasks(ids=[jsonlib.read(call.body)["taskId"]])
        if call.name == "modal"
        else builder.tasks()
    )


def made_by(call: Call[Any], mark: str, since: float) -> Callable[[Job], bool]:
    """Tells of a task whether the call has made it: by its mark; else by everything that the user's
    call says. The body, which may hold pictures, is read once for the whole listing.
    """
    body = jsonlib.read(call.body)
    if call.name == "modal":
        return lambda job: job.id == body["taskId"] and job.status is not Status.ASKING
    if body.get("state") == mark:
        return lambda job: text(job.raw.get("state")).startswith(mark)

    def says_the_same(job: Job) -> bool:
        wanted = body.get("customId")
        told = text(job.raw.get("customId")) or text(_properties(job.raw).get("custom_id"))
        return (
            text(job.raw.get("state")) == text(body.get("state"))
            and (job.submitted is None or job.submitted.timestamp() >= since - SKEW)
            and (not wanted or not told or wanted == told)
            and (not body.get("taskId") or not job.parent or job.parent == body["taskId"])
            and (not body.get("prompt") or job.subject.strip() == body["prompt"].strip())
        )

    return says_the_same


SKEW = 60.0  # seconds that two clocks may differ


def recalled(sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
    """The call of a journal's row, to be sent again or looked for."""
    told = jsonlib.read(body)
    action = action_of(told["customId"]) if "customId" in told else name.upper()
    parent, state = told.get("taskId", ""), users_own(text(told.get("state")))
    read = partial(
        read_submission,
        asked=Job("mj", "", action, subject=told.get("prompt", ""), state=state, parent=parent),
    )
    return Call("mj", name, "POST", path, read, {}, JSON, body, "mj", True, sender=sender)


JSON = {"Accept": "application/json", "Content-Type": "application/json"}


def surely(call: Call[Any], mark: str) -> bool:
    """Whether `made_by` is certain; else two alike could be taken for each other."""
    return call.name == "modal" or jsonlib.read(call.body).get("state") == mark


def _compact(body: Mapping[str, Any]) -> bytes:
    return jsonlib.written(body).encode()
