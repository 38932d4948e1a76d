"""Build the calls of a Midjourney proxy (`/mj/...`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Response, Sender
from jupyter_mjci.client.image_input import ImageInput, to_data_url
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.midjourney.responses import (
    parse_accounts,
    parse_cancel,
    parse_query,
    parse_result,
    parse_submission,
    parse_task,
    parse_tasks,
    parse_upload,
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


JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


def encode_body(body: Mapping[str, Any]) -> bytes:
    return jsonlib.dumps(body).encode()
