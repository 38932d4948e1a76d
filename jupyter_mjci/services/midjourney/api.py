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
from jupyter_mjci.client.calls import Call, Response, Sender
from jupyter_mjci.client.image_input import ImageInput, to_data_url
from jupyter_mjci.client.job import Button, Job, Status, strip_marker
from jupyter_mjci.errors import (
    BannedPrompt,
    InvalidRequest,
    InvalidResponse,
    MidjourneyError,
    QueueFull,
    Unsupported,
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
        images: Sequence[ImageInput] = (),
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
            "prompt": _validate_prompt(prompt),
            "base64Array": [to_data_url(one) for one in images],
            "botType": bot,
        }
        return self._build_submission("imagine", body, "IMAGINE", prompt, state, notify_hook)

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
        if (
            isinstance(task, Job)
            and "buttons" not in task.raw
            and (changed := label_to_change(button))
        ):
            return self.change(
                task.id, *changed, state=state, notify_hook=notify_hook
            )  # a family without buttons
        custom_id = task.find_button(button).custom_id if isinstance(task, Job) else button
        if "::" not in custom_id:
            raise InvalidRequest(
                f"{button!r} is no customId.",
                detail="A task's id alone does not tell its buttons.",
                hint="Give the task itself (session.mj.task(id).run()), or a customId of its buttons.",
            )
        parent = task.id if isinstance(task, Job) else _validate_task_id(task)
        body = {
            "chooseSameChannel": same_channel,
            "customId": custom_id,
            "taskId": parent,
            "enableRemix": remix,
        }
        subject = task.subject if isinstance(task, Job) else ""
        return self._build_submission(
            "action", body, infer_action(custom_id), subject, state, notify_hook, parent=parent
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
            raise InvalidRequest(f"index is 1 to 4, not {index}.")
        # Some servers want an index even to draw again, and none minds one.
        body = {"taskId": _validate_task_id(task_id), "action": action, "index": index}
        return self._build_submission(
            "change", body, action, "", state, notify_hook, parent=_validate_task_id(task_id)
        )

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
        changed = label_to_change(label)
        if changed is None:
            raise InvalidRequest(
                f"{content!r} is no change.",
                hint='Write "TASK_ID U2", "TASK_ID V1" or "TASK_ID R".',
            )
        body = {"content": content.strip()}
        return self._build_submission(
            "simple-change",
            body,
            changed[0],
            "",
            state,
            notify_hook,
            parent=_validate_task_id(task_id),
        )

    # POST /mj/submit/describe
    def describe(
        self,
        picture: ImageInput,
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
        sent = to_data_url(picture)
        key = "link" if sent.startswith("http") else "base64"
        body = {key: sent, "botType": bot, "language": language}
        return self._build_submission("describe", body, "DESCRIBE", "", state, notify_hook)

    # POST /mj/submit/blend
    def blend(
        self,
        pictures: Sequence[ImageInput],
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
            raise InvalidRequest(f"A blend takes 2 to 5 pictures, not {len(pictures)}.")
        body = {
            "base64Array": [to_data_url(one) for one in pictures],
            "dimensions": dimensions,
            "botType": bot,
        }
        return self._build_submission("blend", body, "BLEND", "", state, notify_hook)

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
        return self._build_submission(
            "shorten",
            {"prompt": _validate_prompt(prompt), "botType": bot},
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
        mask: ImageInput | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Answer the dialog that a button opened: a remixed prompt, a custom zoom, a region to draw
        anew.

        Send it once: some servers start the task again each time.

        Args:
            task_id: the task that is NEEDS_INPUT (not its parent)
            prompt: the new prompt; empty keeps the parent's; a custom zoom needs --zoom between 1
                and 2
            mask: picture of the parent's size: white is drawn anew, black stays (see mjci.mask)
            state: your own mark; comes back on the task
            notify_hook: URL that the proxy posts the task's changes to
        """
        body = {
            "taskId": _validate_task_id(task_id),
            "prompt": prompt,
            "maskBase64": None if mask is None else to_data_url(mask),
        }
        return self._build_submission("modal", body, "", prompt, state, notify_hook)

    # POST /mj/submit/upload-discord-images
    def upload(self, pictures: Sequence[ImageInput]) -> Call[list[str]]:
        """Put pictures where prompts can refer to them; gives their URLs in the same order.

        Args:
            pictures: paths, bytes or data URLs
        """
        body = {"base64Array": [to_data_url(one) for one in pictures]}
        path = "/mj/submit/upload-discord-images"
        return self._build_call("upload", "POST", path, parse_upload, body, is_submission=True)

    # POST /mj/submit/edits
    def edits(
        self,
        prompt: str,
        picture: ImageInput,
        *,
        mask: ImageInput | None = None,
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
            "prompt": _validate_prompt(prompt),
            "image": to_data_url(picture),
            "maskBase64": None if mask is None else to_data_url(mask),
        }
        return self._build_submission("edits", body, "EDIT", prompt, state, notify_hook)

    # POST /mj/submit/retexture
    def retexture(
        self,
        prompt: str,
        picture: ImageInput,
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
        body = {"prompt": _validate_prompt(prompt), "image": to_data_url(picture)}
        return self._build_submission("retexture", body, "RETEXTURE", prompt, state, notify_hook)

    # POST /mj/submit/video
    def video(
        self,
        prompt: str,
        *,
        picture: ImageInput | None = None,
        end_picture: ImageInput | None = None,
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
            "image": None if picture is None else to_data_url(picture),
            "endImage": None if end_picture is None else to_data_url(end_picture),
            "loop": loop,
            "action": "extend" if extend else None,
            "taskId": _validate_task_id(extend) if extend else None,
            "index": index,
            "videoType": video_type,
            "batchSize": batch_size,
        }
        return self._build_submission(
            "video", body, "VIDEO", prompt, state, notify_hook, parent=extend or ""
        )

    # POST /mj/insight-face/swap
    def swap(
        self,
        source: ImageInput,
        target: ImageInput,
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
        body = {"sourceBase64": to_data_url(source), "targetBase64": to_data_url(target)}
        path = "/mj/insight-face/swap"
        return self._build_submission("swap", body, "SWAP_FACE", "", state, notify_hook, path=path)

    # GET /mj/task/{id}/image-seed
    def image_seed(self, task_id: str) -> Call[str]:
        """The seed that a picture was drawn with; it may take a minute, and not every proxy can.

        Args:
            task_id: the task's id
        """
        return self._build_call(
            "image_seed", "GET", f"/mj/task/{_validate_task_id(task_id)}/image-seed", parse_result
        )

    # POST /mj/task/{id}/cancel
    def cancel(self, task_id: str) -> Call[None]:
        """Ask to cancel a task. Fetch it again to see whether it was.

        Args:
            task_id: the task's id
        """
        return self._build_call(
            "cancel", "POST", f"/mj/task/{_validate_task_id(task_id)}/cancel", parse_cancel
        )

    # GET /mj/task/{id}/fetch
    def task(self, task_id: str) -> Call[Job]:
        """One task as it is now.

        Args:
            task_id: the task's id
        """
        path = f"/mj/task/{_validate_task_id(task_id)}/fetch"
        return self._build_call("task", "GET", path, partial(parse_task, task_id=task_id))

    # GET /mj/task/list, POST /mj/task/list-by-condition
    def tasks(self, ids: Iterable[str] | None = None) -> Call[list[Job]]:
        """The tasks that the proxy knows, newest first; or those with the given ids, in the order
        given.

        Args:
            ids: only these tasks; ids that the proxy does not know are left out
        """
        if ids is None:
            return self._build_call("tasks", "GET", "/mj/task/list", parse_tasks)
        wanted = [_validate_task_id(one) for one in ids]
        read = partial(parse_tasks, order=tuple(wanted))
        call = self._build_call(
            "tasks", "POST", "/mj/task/list-by-condition", read, {"ids": wanted}
        )
        return replace(call, is_safe=True)

    # GET /mj/task/queue
    def queue(self) -> Call[list[Job]]:
        """The tasks that wait or run now, oldest first."""
        return self._build_call("queue", "GET", "/mj/task/queue", parse_tasks)

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
        return replace(
            self._build_call("query", "POST", "/mj/task/query", parse_query, body), is_safe=True
        )

    # GET /mj/account/list
    def accounts(self) -> Call[list[dict[str, Any]]]:
        """The accounts that the proxy draws with. Their Discord tokens, which some proxies tell,
        are left out.
        """
        return self._build_call("accounts", "GET", "/mj/account/list", parse_accounts)

    def _build_submission(
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
            parse_submission,
            requested=Job("mj", "", action, subject=subject, user_data=state or "", parent=parent),
        )
        path = path or f"/mj/submit/{name}"
        return self._build_call(
            name.replace("-", "_"), "POST", path, read, {**body, **marks}, is_submission=True
        )

    def _build_call(
        self,
        name: str,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        body: Mapping[str, Any] | None = None,
        is_submission: bool = False,
    ) -> Call[T]:
        sent, headers = b"", {"Accept": "application/json"}
        if body is not None:
            sent = encode_body({field: value for field, value in body.items() if value is not None})
            headers["Content-Type"] = "application/json"
        return Call(
            "mj",
            name,
            method,
            path,
            parse,
            {},
            headers,
            sent,
            "mj",
            is_submission,
            sender=self._sender,
        )


# --- what we say ----------------------------------------------------------------------------------


def _validate_task_id(task_id: object) -> str:
    text = str(task_id).strip()
    if not text or not re.fullmatch(r"[\w.:-]+", text):
        raise InvalidRequest(
            f"{text!r} is no task id.", hint="A task id is a row of digits: see %mj_tasks."
        )
    return text


def _validate_prompt(prompt: str) -> str:
    if not prompt.strip():
        raise InvalidRequest("The prompt is empty.", hint="Say what to draw.")
    return prompt


_ACTION_BY_LETTER: dict[str, Literal["UPSCALE", "VARIATION"]] = {"U": "UPSCALE", "V": "VARIATION"}


def label_to_change(label: str) -> tuple[Literal["UPSCALE", "VARIATION", "REROLL"], int] | None:
    """What `change` calls the button with this label: U1 to U4, V1 to V4, R or 🔄. None for any
    other.
    """
    if label.casefold() in ("r", "🔄", "reroll"):
        return "REROLL", 1
    found = re.fullmatch(r"([UV])([1-4])", label.upper())
    return (_ACTION_BY_LETTER[found[1]], int(found[2])) if found else None


def change_to_label(change: Mapping[str, Any]) -> tuple[str, str]:
    """The task and the label of the button that does what the body of a (simple) change asks
    for.
    """
    if "content" in change:
        task_id, _, label = str(change["content"]).partition(" ")
        return task_id, "🔄" if label.upper() == "R" else label
    letters = {action: letter for letter, action in _ACTION_BY_LETTER.items()}
    letter = letters.get(change["action"])
    return str(change["taskId"]), f"{letter}{change['index']}" if letter else "🔄"


_ACTION_BY_CUSTOM_ID_PART = (
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


def infer_action(custom_id: str) -> str:
    """What pressing a button makes, as the proxies call it; they tell it themselves once the task
    is fetched.
    """
    return next(
        (action for part, action in _ACTION_BY_CUSTOM_ID_PART if part in custom_id), "ACTION"
    )


# --- what they say: pieces ------------------------------------------------------------------------

STATUSES = {
    "NOT_START": Status.QUEUED,
    "SUBMITTED": Status.QUEUED,
    "": Status.QUEUED,
    "PENDING": Status.QUEUED,
    "QUEUED": Status.QUEUED,
    "IN_PROGRESS": Status.RUNNING,
    "PROCESSING": Status.RUNNING,
    "MODAL": Status.NEEDS_INPUT,
    "SUCCESS": Status.SUCCEEDED,
    "FAILURE": Status.FAILED,
    "FAILED": Status.FAILED,
    "CANCEL": Status.CANCELLED,
    "CANCELLED": Status.CANCELLED,
    # the .NET family's numbers, should they ever be sent
    "0": Status.QUEUED,
    "1": Status.QUEUED,
    "3": Status.RUNNING,
    "4": Status.FAILED,
    "5": Status.SUCCEEDED,
    "6": Status.NEEDS_INPUT,
    "7": Status.CANCELLED,
}


def to_text(value: Any) -> str:
    """Any scalar as text; "nothing" of every kind is ""."""
    if type(value) is str:  # nearly always
        return value
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def parse_status(value: Any) -> Status:
    """Unknown words count as running: the job may still end."""
    return STATUSES.get(to_text(value).strip().upper(), Status.RUNNING)


def parse_progress(value: Any) -> int | None:
    """The leading digits of "37%", or None: some servers send words, or nothing."""
    found = re.match(r"\s*0*(\d{1,4})", to_text(value))
    return min(int(found[1]), 100) if found else None


def parse_timestamp(value: Any) -> datetime | None:
    """Epoch milliseconds as an aware datetime; null, "" and 0 mean "not yet". Small values are
    seconds.
    """
    try:
        number = float(to_text(value) or 0)
    except ValueError:
        return None
    if not 0 < number < MAX_TIMESTAMP_MS:
        return None
    return EPOCH + timedelta(milliseconds=number if number >= SECONDS_CUTOFF else number * 1000)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_CUTOFF = 1e11  # what is smaller counts seconds, not milliseconds
MAX_TIMESTAMP_MS = 253_402_300_799_000  # the last second that a datetime can hold, in milliseconds


def parse_buttons(value: Any) -> tuple[Button, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Button(
            to_text(one["customId"]),
            to_text(one.get("label")),
            to_text(one.get("emoji")),
            to_text(one.get("style")) == "3",
        )
        for one in value
        if isinstance(one, dict) and one.get("customId")
    )


def coalesce(*values: Any) -> str:
    """The first that tells something."""
    return next((told for value in values if (told := to_text(value))), "")


RESULT_FIELDS = ("videoUrls", "video_urls", "videoUrl", "imageUrl", "imageUrls", "image_urls")


def parse_outputs(raw_status: Any, *results: Any) -> tuple[str, ...]:
    """Videos before single pictures before the grid. Previews of a running task are no outputs."""
    if parse_status(raw_status) is not Status.SUCCEEDED:
        return ()
    for value in filter(None, results):
        found = tuple(
            url for one in (value if isinstance(value, list) else [value]) if (url := _get_url(one))
        )
        if found:
            return found
    return ()


def _get_url(value: Any) -> str:
    return to_text(value.get("url")) if isinstance(value, dict) else to_text(value)


_PARENT_RE = re.compile(r"^/(?:up|change)\s+(\d{10,})")


def parse_parent(parent_id: Any, description: Any) -> str:
    """The .NET family tells it; the Java one only in the description "/up {id} U2"."""
    found = _PARENT_RE.match(to_text(description))
    return to_text(parent_id) or (found[1] if found else "")


def get_properties(task: Mapping[str, Any]) -> Mapping[str, Any]:
    value = task.get("properties")
    return value if isinstance(value, dict) else {}


def _parse_notify_hook(properties: Any) -> str:
    return to_text(properties.get("notifyHook")) if isinstance(properties, dict) else ""


def parse_user_data(value: Any) -> str:
    return strip_marker(to_text(value))


# Ours, the wire's, and how it is read: one line each. Listings are read by columns from the same
# lines.
FIELD_MAP: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...] = (
    ("id", ("id", "mj_id"), coalesce),
    ("action", ("action",), to_text),
    ("status", ("status",), parse_status),
    ("progress", ("progress",), parse_progress),
    ("subject", ("prompt", "promptEn"), coalesce),
    ("outputs", ("status", *RESULT_FIELDS), parse_outputs),
    ("buttons", ("buttons",), parse_buttons),
    ("submitted", ("submitTime",), parse_timestamp),
    ("started", ("startTime",), parse_timestamp),
    ("finished", ("finishTime",), parse_timestamp),
    ("reason", ("failReason",), to_text),
    ("user_data", ("state",), parse_user_data),
    ("webhook_url", ("properties",), _parse_notify_hook),
    ("parent", ("parentId", "description"), parse_parent),
)


def parse_job(task: Mapping[str, Any]) -> Job:
    """One task object as a Job. Takes anything that is a mapping; never raises for odd values."""
    return Job(
        "mj", raw=task, **{name: read(*map(task.get, wires)) for name, wires, read in FIELD_MAP}
    )


def get_preview_url(job: Job) -> str:
    """The URL of a running task's blurry preview, or ""."""
    return to_text(job.raw.get("imageUrl")) if job.status is Status.RUNNING else ""


# --- what they say: answers -----------------------------------------------------------------------


def parse_task(response: Response, task_id: str = "") -> Job:
    """GET /mj/task/{id}/fetch. An empty answer, or one that says so, means that the proxy does not
    know the id.
    """
    if response.status in (200, 204) and response.body.strip() in (b"", b"null"):
        raise _build_not_found_error(task_id, response)
    task = _unwrap(_parse_body(response, task_id))
    if not isinstance(task, dict):
        raise InvalidResponse(
            "The answer is no task.",
            detail=response.body[:120].decode(errors="replace"),
            body=response.body,
        )
    return parse_job(task)


def parse_tasks(response: Response, order: tuple[str, ...] | None = None) -> list[Job]:
    """A listing. Proxies do not keep the order of the ids that were asked for; we do."""
    if response.status in (200, 204) and not response.body.strip():
        return []
    tasks = _unwrap(_parse_body(response))
    if tasks is None:
        return []
    if not isinstance(tasks, list):
        raise InvalidResponse("The answer is no list of tasks.", body=response.body)
    jobs = [parse_job(task) for task in tasks if isinstance(task, dict)]
    if order is None:
        return jobs
    by_id = {job.id: job for job in jobs}
    return [by_id[one] for one in dict.fromkeys(order) if one in by_id]


@dataclass(frozen=True, slots=True)
class ListingChanges:
    """What a listing tells to somebody who knows most of it: the tasks that moved, and the ids of
    all.
    """

    jobs: tuple[Job, ...]
    ids: frozenset[str]


def parse_changes(response: Response, known: Mapping[str, Job]) -> ListingChanges:
    """A listing, of which only those tasks are read whole whose status or progress is not the known
    one.

    Of ten thousand followed tasks few move between two looks; reading all of them would keep a core
    busy.
    """
    try:
        pieces = _RAW_TASKS_DECODER.decode(response.body)
        glances = [_STATUS_DECODER.decode(piece) for piece in pieces]
    except (
        msgspec.MsgspecError
    ):  # a wrapper, an error, a damaged record: the patient reader knows them all
        jobs = parse_tasks(response)
        return ListingChanges(tuple(jobs), frozenset(job.id for job in jobs))
    ids, moved = [to_text(glance.id) for glance in glances], []
    for task_id, piece, glance in zip(ids, pieces, glances, strict=True):
        if _has_changed(known.get(task_id), glance):
            moved.append(parse_job(jsonlib.loads(memoryview(piece))))
    return ListingChanges(tuple(moved), frozenset(ids))


class _StatusOnly(msgspec.Struct):
    id: Any = None
    status: Any = None
    progress: Any = None


def _has_changed(job: Job | None, summary: _StatusOnly) -> bool:
    if job is None:
        return True
    if summary.status and (summary.status, summary.progress) == (
        job.raw.get("status"),
        job.raw.get("progress"),
    ):
        return False  # the very words of last time, as nearly always
    return (
        parse_status(summary.status) is not job.status
        or parse_progress(summary.progress) != job.progress
    )


_RAW_TASKS_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_STATUS_DECODER = msgspec.json.Decoder(_StatusOnly)


def parse_submission(response: Response, requested: Job) -> Job:
    """The answer of every submit call: `{code, description, result, properties}`, of which only the
    code decides.

    1 and 22 accept; 21 is either a task that exists already or a dialog that waits for `modal`. 23
    raises QueueFull, 24 BannedPrompt, everything else MidjourneyError.
    """
    answer = _parse_body(response)
    if isinstance(answer, dict) and "code" not in answer and isinstance(answer.get("data"), list):
        return _parse_finished_images(answer, requested)
    if not isinstance(answer, dict):
        raise InvalidResponse("The answer is no submit result.", body=response.body)
    code, result = to_text(answer.get("code")), answer.get("result")
    made = _STATUS_BY_CODE.get(code)
    if made is None or not _parse_result_id(result):
        raise _build_service_error(answer, response)
    return _build_submitted_job(
        requested, _parse_result_id(result), made(get_properties(answer)), answer
    )


def parse_query(response: Response) -> list[Job]:
    """A page of tasks: under `content`, or a bare list."""
    answer = _unwrap(_parse_body(response))
    found = answer.get("content", answer.get("list")) if isinstance(answer, dict) else answer
    return [parse_job(task) for task in found or () if isinstance(task, dict)]


def parse_accounts(response: Response) -> list[dict[str, Any]]:
    """Account records without anything that is a token."""
    found = _unwrap(_parse_body(response))
    records = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        {name: value for name, value in one.items() if "token" not in name.lower()}
        for one in records
    ]


def parse_upload(response: Response) -> list[str]:
    """The URLs of uploaded pictures, in the order in which they were sent."""
    result = _get_result(response)
    return [to_text(one) for one in result] if isinstance(result, list) else [to_text(result)]


def parse_result(response: Response) -> str:
    """The text of a submit-like answer that names no task: a seed."""
    return to_text(_get_result(response))


def parse_cancel(response: Response) -> None:
    """Some answer with nothing at all, whatever happened."""
    if response.body.strip() or response.status >= 300:
        answer = _parse_body(response)
        if isinstance(answer, dict) and to_text(answer.get("code")) not in _STATUS_BY_CODE:
            raise _build_service_error(answer, response)


def _get_result(response: Response) -> Any:
    answer = _parse_body(response)
    if (
        not isinstance(answer, dict)
        or to_text(answer.get("code")) != "1"
        or not answer.get("result")
    ):
        raise _build_service_error(answer if isinstance(answer, dict) else {}, response)
    return answer["result"]


def _resolve_existing_or_dialog(properties: Mapping[str, Any]) -> Status:
    """Code 21 has two meanings: with a status or picture the task exists already, else a dialog
    waits.
    """
    if properties.get("status") or properties.get("imageUrl"):
        return parse_status(properties.get("status"))
    return Status.NEEDS_INPUT


_STATUS_BY_CODE: dict[str, Callable[[Mapping[str, Any]], Status]] = {
    "1": lambda _: Status.QUEUED,
    "22": lambda _: Status.QUEUED,
    "0": lambda _: Status.QUEUED,
    "21": _resolve_existing_or_dialog,
}


def _build_submitted_job(
    requested: Job, job_id: str, status: Status, answer: Mapping[str, Any]
) -> Job:
    return Job(
        "mj",
        job_id,
        requested.action,
        status,
        None,
        requested.subject,
        user_data=requested.user_data,
        parent=requested.parent,
        raw=answer,
    )


def _parse_result_id(result: Any) -> str:
    if isinstance(result, list):
        return ",".join(to_text(one) for one in result)
    return to_text(result)


def _parse_finished_images(answer: Mapping[str, Any], requested: Job) -> Job:
    """The shape that one vendor documents for submit/action: pictures at once, and no task."""
    urls = tuple(_get_url(one) for one in answer["data"] if _get_url(one))
    made = parse_timestamp(answer.get("created"))
    return Job(
        "mj",
        "",
        requested.action,
        Status.SUCCEEDED,
        100,
        requested.subject,
        urls,
        submitted=made,
        finished=made,
        user_data=requested.user_data,
        parent=requested.parent,
        raw=answer,
    )


# --- what they say when they say no ---------------------------------------------------------------


def _parse_body(response: Response, task_id: str = "") -> Any:
    """The JSON of an answer that is one. Raises for pages, refusals and errors of every family's
    shape.
    """
    if response.is_html:
        raise Unsupported(
            f"This server has no such endpoint: {response.url}",
            detail=f"It answered with a web page (HTTP {response.status}).",
            hint="Check the base URL (MJCI_MJ_URL); relays leave some calls out, listings among them.",
            status=response.status,
        )
    if response.status in _HTTP_ERRORS and not _is_submit_result(response):
        what, hint = _HTTP_ERRORS[response.status]
        raise MidjourneyError(
            what,
            status=response.status,
            code=str(response.status),
            service_message=_extract_response_message(response),
            hint=hint,
        )
    if response.status == 404 and not response.body.strip():
        raise Unsupported(f"This server has no such endpoint: {response.url}", status=404)
    answer = response.json()
    if isinstance(answer, dict) and _is_error(answer, response):
        if "task_no_found" in to_text(answer.get("description")):
            raise _build_not_found_error(task_id, response)
        raise _build_service_error(answer, response)
    return answer


_HTTP_ERRORS = {
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


def _is_submit_result(response: Response) -> bool:
    """Whether a refused answer is still a normal submit result (some send those with 4xx)."""
    try:
        answer = jsonlib.loads(response.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and "code" in answer and "result" in answer


def _is_error(answer: Mapping[str, Any], response: Response) -> bool:
    return (
        "error" in answer
        or answer.get("success") is False
        or (response.status >= 400 and "result" not in answer)
    )


_ERRORS_BY_CODE: dict[str, tuple[type[MidjourneyError], str, str]] = {
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


def _build_service_error(answer: Mapping[str, Any], response: Response) -> MidjourneyError:
    code, message = to_text(answer.get("code")), _extract_message(answer)
    kind, what, hint = _ERRORS_BY_CODE.get(code, (MidjourneyError, "The proxy says no.", ""))
    if code == "9" and ("队列已满" in message or "queue" in message.lower()):
        kind, what, hint = _ERRORS_BY_CODE["23"]
    word = to_text(get_properties(answer).get("bannedWord"))
    error = kind(
        what,
        status=response.status,
        code=code,
        service_message=message,
        hint=hint,
        detail=f"{message} ({word})" if word else f"{message} (code {code})" if code else message,
    )
    if isinstance(error, BannedPrompt):
        error.word = word
    return error


def _build_not_found_error(task_id: str, response: Response) -> MidjourneyError:
    return MidjourneyError(
        f"The proxy knows no task {task_id}.",
        detail="Tasks are forgotten after a time, and by some proxies at a restart.",
        hint="See %mj_tasks for those that it knows.",
        status=response.status,
        code="not_found",
    )


def _extract_message(answer: Mapping[str, Any]) -> str:
    """The message, wherever this family puts it."""
    error = answer.get("error")
    if isinstance(error, dict):
        return to_text(error.get("message")).strip()
    candidates = (answer.get("description"), answer.get("message"), error)
    return next((to_text(one).strip() for one in candidates if to_text(one)), "")


def _extract_response_message(response: Response) -> str:
    try:
        answer = jsonlib.loads(response.body)
    except ValueError:
        return response.body[:120].decode("utf-8", "replace").strip()
    return _extract_message(answer) if isinstance(answer, dict) else ""


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


def is_trackable(call: Call[Any]) -> bool:
    """Whether the call makes a task, which a listing then tells of."""
    return call.is_submission and call.name != "upload"


def with_marker(call: Call[T], marker: str) -> Call[T] | None:
    """The call with our mark in `state`; None where that place is taken, or where the task exists
    already.
    """
    body = jsonlib.loads(call.body)
    if body.get("state") or call.name == "modal":
        return None
    return replace(call, body=encode_body({**body, "state": marker}))


def build_search_request(call: Call[Any], _: float) -> Call[list[Job]]:
    """What to ask to find the task that the call has made. A dialog's answer concerns a task that
    is known.
    """
    builder = Midjourney(call.sender)
    return (
        builder.tasks(ids=[jsonlib.loads(call.body)["taskId"]])
        if call.name == "modal"
        else builder.tasks()
    )


def build_matcher(call: Call[Any], marker: str, sent_at: float) -> Callable[[Job], bool]:
    """Tells of a task whether the call has made it: by its mark; else by everything that the user's
    call says. The body, which may hold pictures, is read once for the whole listing.
    """
    body = jsonlib.loads(call.body)
    if call.name == "modal":
        return lambda job: job.id == body["taskId"] and job.status is not Status.NEEDS_INPUT
    if body.get("state") == marker:
        return lambda job: to_text(job.raw.get("state")).startswith(marker)

    def says_the_same(job: Job) -> bool:
        wanted = body.get("customId")
        told = to_text(job.raw.get("customId")) or to_text(get_properties(job.raw).get("custom_id"))
        return (
            to_text(job.raw.get("state")) == to_text(body.get("state"))
            and (job.submitted is None or job.submitted.timestamp() >= sent_at - MAX_CLOCK_SKEW)
            and (not wanted or not told or wanted == told)
            and (not body.get("taskId") or not job.parent or job.parent == body["taskId"])
            and (not body.get("prompt") or job.subject.strip() == body["prompt"].strip())
        )

    return says_the_same


MAX_CLOCK_SKEW = 60.0  # seconds that two clocks may differ


def restore_call(sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
    """The call of a journal's row, to be sent again or looked for."""
    told = jsonlib.loads(body)
    action = infer_action(told["customId"]) if "customId" in told else name.upper()
    parent, state = told.get("taskId", ""), strip_marker(to_text(told.get("state")))
    read = partial(
        parse_submission,
        requested=Job(
            "mj", "", action, subject=told.get("prompt", ""), user_data=state, parent=parent
        ),
    )
    return Call("mj", name, "POST", path, read, {}, JSON_HEADERS, body, "mj", True, sender=sender)


JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


def is_exact_match(call: Call[Any], marker: str) -> bool:
    """Whether `made_by` is certain; else two alike could be taken for each other."""
    return call.name == "modal" or jsonlib.loads(call.body).get("state") == marker


def encode_body(body: Mapping[str, Any]) -> bytes:
    return jsonlib.dumps(body).encode()
