"""Build the calls of a Midjourney proxy (`/mj/...`).

A builder validates its arguments, encodes the body and returns a
`Call`; nothing is sent. The comment above each builder is its
endpoint. Magics take their flags, panels their fields, and the
reference its rows from the builders' signatures and docstrings.

Sources: the published documents of POST /mj/submit/action and of
the task queries, and the public code of the server families.
Field names that only some families know are sent to all of them:
the others ignore what they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Response, Sender, check_text
from jupyter_mjci.client.image_input import ImageInput, is_link, to_data_url, to_image_bytes
from jupyter_mjci.client.job import Job, Status, to_job_id
from jupyter_mjci.errors import InvalidRequest, PreflightError
from jupyter_mjci.services.json_service import JsonObject
from jupyter_mjci.services.midjourney.modes import Mode, request_mode
from jupyter_mjci.services.midjourney.prompt_flags import AS_IS_HINT, check_prompt, count_jobs
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
ChangeAction = Literal["UPSCALE", "VARIATION", "REROLL"]
JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


class Midjourney:
    """Builds the calls of a Midjourney proxy. Building sends nothing: `.run()` or `await` the call.

    Building raises InvalidRequest for arguments that cannot be
    sent. Running raises TransportError if there is no response,
    Unsupported if the proxy lacks the endpoint, QueueFull,
    BannedPrompt or another MidjourneyError if it refuses, and
    InvalidResponse if the response cannot be parsed.

    Args:
        sender: sends the calls: the session
        mode_by: where a server takes the mode of a task: path,
            filter or flag
    """

    def __init__(self, sender: Sender | None = None, mode_by: str = "path") -> None:
        self._sender = sender
        self._mode_by = mode_by

    def _to_url(self, picture: ImageInput) -> str:
        return to_data_url(picture, self._sender)

    def _to_optional_url(self, picture: ImageInput | None) -> str | None:
        return None if picture is None else self._to_url(picture)

    # POST /mj/submit/imagine
    def imagine(
        self,
        prompt: str,
        *,
        images: Sequence[ImageInput] = (),
        bot: Bot | None = None,
        as_is: bool = False,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Draw four pictures of a prompt.

        Args:
            prompt: what to draw, with Midjourney's own flags
                (--ar 3:2, --no wolves, …); sent byte for byte
            images: reference pictures: jobs, job[2], IDs, paths,
                bytes, links, data URLs, Pillow images or arrays
            bot: which bot draws
            as_is: send the prompt even where its flags look wrong
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        body = {
            "prompt": _validate_prompt(prompt, as_is, has_picture=bool(images)),
            "base64Array": [self._to_url(image) for image in images],
            "botType": bot,
            "state": state,
            "notifyHook": notify_hook,
        }
        call = self._build_submission(
            mode, "imagine", "/mj/submit/imagine", body, "IMAGINE", prompt
        )
        return replace(call, job_count=count_jobs(prompt))

    # POST /mj/submit/action
    def action(
        self,
        task: str | Job,
        button: str,
        *,
        same_channel: bool = False,
        remix: bool | None = None,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Press a button of a finished task: upscale, vary, zoom, pan and others.

        Args:
            task: the task's ID, or the task itself, whose buttons
                can then be named by label
            button: a customId; with the task itself also a label
                or emoji
            same_channel: allow another account of the same
                channel to do it
            remix: ask for the remix dialog if the account has it
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        if isinstance(task, Job):
            change = label_to_change(button)
            if "buttons" not in task.raw and change is not None:
                # The Java family has no buttons; there the same
                # is called `change`.
                return self.change(
                    task.id, *change, mode=mode, state=state, notify_hook=notify_hook
                )
            custom_id = task.find_button(button).custom_id
            parent = task.id
            subject = task.subject
        else:
            custom_id = button
            parent = _validate_task_id(task)
            subject = ""
        if "::" not in custom_id:
            raise InvalidRequest(
                f"{button!r} is not a customId.",
                detail="A label can only be used with the task itself, which has the buttons.",
                hint="Give the task, session.mj.task(id).run(), or the customId of a button.",
            )
        body = {
            # The only field that the published document lists as
            # required.
            "chooseSameChannel": same_channel,
            "customId": custom_id,
            "taskId": parent,
            "enableRemix": remix,
            "state": state,
            "notifyHook": notify_hook,
        }
        action = infer_action(custom_id)
        return self._build_submission(
            mode, "action", "/mj/submit/action", body, action, subject, parent
        )

    # POST /mj/submit/change
    def change(
        self,
        task_id: str,
        action: ChangeAction,
        index: int = 1,
        *,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Upscale, vary or redraw a task of a proxy that has no buttons.

        Args:
            task_id: a finished task with four pictures
            action: UPSCALE, VARIATION or REROLL
            index: which of the four pictures, 1 to 4
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        if not 1 <= index <= 4:
            raise InvalidRequest(f"index must be 1 to 4, not {index}.")
        parent = _validate_task_id(task_id)
        body = {
            "taskId": parent,
            "action": action,
            # Some servers require an index even for REROLL; the
            # others ignore it.
            "index": index,
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(
            mode, "change", "/mj/submit/change", body, action, parent=parent
        )

    # POST /mj/submit/simple-change
    def simple_change(
        self,
        content: str,
        *,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Do the same as `change`, written in one text such as "14001934816969359 U2".

        Args:
            content: a task ID, one space, then U1 to U4, V1 to V4
                or R
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        content = content.strip()
        task_id, _, label = content.partition(" ")
        change = label_to_change(label)
        if change is None:
            raise InvalidRequest(
                f"{content!r} is not a valid change.",
                hint='Write "TASK_ID U2", "TASK_ID V1" or "TASK_ID R".',
            )
        action, _ = change
        parent = _validate_task_id(task_id)
        body = {"content": content, "state": state, "notifyHook": notify_hook}
        path = "/mj/submit/simple-change"
        return self._build_submission(mode, "simple_change", path, body, action, parent=parent)

    # POST /mj/submit/describe
    def describe(
        self,
        picture: ImageInput,
        *,
        bot: Bot | None = None,
        language: str | None = None,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Suggest four prompts that could have produced a picture.

        Args:
            picture: job, job[2], a job's ID, path, bytes, data URL,
                Pillow image or array; a link if the proxy takes
                links
            bot: which bot describes
            language: zh asks for Chinese prompts, if the proxy
                supports it
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        url = self._to_url(picture)
        body = {
            "link" if is_link(url) else "base64": url,
            "botType": bot,
            "language": language,
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(mode, "describe", "/mj/submit/describe", body, "DESCRIBE")

    # POST /mj/submit/blend
    def blend(
        self,
        pictures: Sequence[ImageInput],
        *,
        dimensions: Literal["PORTRAIT", "SQUARE", "LANDSCAPE"] | None = None,
        bot: Bot | None = None,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Blend two to five pictures into one.

        Args:
            pictures: jobs, job[2], IDs, paths, bytes or data URLs
            dimensions: PORTRAIT (2:3), SQUARE (1:1, the default)
                or LANDSCAPE (3:2)
            bot: which bot blends
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        if not 2 <= len(pictures) <= 5:
            raise InvalidRequest(f"A blend takes 2 to 5 pictures, not {len(pictures)}.")
        body = {
            "base64Array": [self._to_url(picture) for picture in pictures],
            "dimensions": dimensions,
            "botType": bot,
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(mode, "blend", "/mj/submit/blend", body, "BLEND")

    # POST /mj/submit/shorten
    def shorten(
        self,
        prompt: str,
        *,
        bot: Bot | None = None,
        as_is: bool = False,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Find the words of a prompt that matter, and suggest shorter prompts.

        Args:
            prompt: the prompt, sent byte for byte
            bot: which bot analyses
            as_is: send the prompt even where its flags look wrong
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        body = {
            "prompt": _validate_prompt(prompt, as_is),
            "botType": bot,
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(
            mode, "shorten", "/mj/submit/shorten", body, "SHORTEN", prompt
        )

    # POST /mj/submit/modal
    def modal(
        self,
        task_id: str | Job,
        prompt: str = "",
        *,
        mask: ImageInput | None = None,
        as_is: bool = False,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Fill in the dialog that a button opened, such as remix, custom zoom or vary region.

        Send it once: some servers start the task again each time.

        Args:
            task_id: the task that is NEEDS_INPUT (not its parent),
                or its ID
            prompt: the new prompt; empty keeps the parent's; a
                custom zoom needs --zoom between 1 and 2
            mask: picture of the parent's size: white is redrawn,
                black is kept (see mjci.mask)
            as_is: send the prompt even where its flags look wrong
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        mask_url = self._to_optional_url(mask)
        if not as_is:
            check_prompt(prompt, has_picture=True)
            _check_mask(mask_url, size=self._find_parent_size(task_id))
            _check_zoom(task_id, prompt)
        body = {
            "taskId": _validate_task_id(task_id.id if isinstance(task_id, Job) else task_id),
            "prompt": prompt,
            "maskBase64": mask_url,
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(mode, "modal", "/mj/submit/modal", body, subject=prompt)

    def _find_parent_size(self, task: str | Job) -> tuple[int, int] | None:
        """Return the size of the picture that a dialog is about, where it is known here."""
        if self._sender is None:
            return None
        return self._sender.find_picture_size(task.id if isinstance(task, Job) else task)

    # POST /mj/submit/upload-discord-images
    def upload(self, pictures: Sequence[ImageInput]) -> Call[list[str]]:
        """Upload pictures for use in prompts and return their URLs, in the same order.

        Args:
            pictures: jobs, job[2], IDs, paths, bytes or data URLs
        """
        body = {"base64Array": [self._to_url(picture) for picture in pictures]}
        path = "/mj/submit/upload-discord-images"
        return self._build_call("upload", "POST", path, parse_upload, body, is_submission=True)

    # POST /mj/submit/edits
    def edits(
        self,
        prompt: str,
        picture: ImageInput,
        *,
        mask: ImageInput | None = None,
        as_is: bool = False,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Edit a picture as the prompt says.

        Args:
            prompt: what to change
            picture: job, job[2], a job's ID, path, bytes, data URL
                or link
            mask: where to change it: white is redrawn
            as_is: send the prompt even where its flags look wrong
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        url = self._to_url(picture)
        mask_url = self._to_optional_url(mask)
        if not as_is:
            _check_mask(mask_url, url)
        body = {
            "prompt": _validate_prompt(prompt, as_is, has_picture=True),
            "image": url,
            "maskBase64": mask_url,
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(mode, "edits", "/mj/submit/edits", body, "EDIT", prompt)

    # POST /mj/submit/retexture
    def retexture(
        self,
        prompt: str,
        picture: ImageInput,
        *,
        as_is: bool = False,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Give the shapes of a picture other surfaces.

        Args:
            prompt: the new surfaces
            picture: job, job[2], a job's ID, path, bytes, data URL
                or link
            as_is: send the prompt even where its flags look wrong
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        body = {
            "prompt": _validate_prompt(prompt, as_is, has_picture=True),
            "image": self._to_url(picture),
            "state": state,
            "notifyHook": notify_hook,
        }
        path = "/mj/submit/retexture"
        return self._build_submission(mode, "retexture", path, body, "RETEXTURE", prompt)

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
        as_is: bool = False,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Make a short video from a prompt and a first picture, or extend an earlier video.

        Args:
            prompt: what happens
            picture: the first frame: job, job[2], a job's ID,
                path, bytes, data URL or link
            end_picture: the last frame
            motion: low or high
            loop: make the end meet the beginning
            extend: ID of the video task to extend, instead of a
                picture
            index: which of its videos, 0 to 3
            video_type: vid_1.1_i2v_480 or vid_1.1_i2v_720
            batch_size: number of videos: 1, 2 or 4
            as_is: send the prompt even where its flags look wrong
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        if not as_is:
            _check_video(prompt, has_picture=picture is not None or bool(extend))
        body = {
            "prompt": prompt,
            "motion": motion,
            "image": self._to_optional_url(picture),
            "endImage": self._to_optional_url(end_picture),
            "loop": loop,
            "action": "extend" if extend else None,
            "taskId": _validate_task_id(extend) if extend else None,
            "index": index,
            "videoType": video_type,
            "batchSize": batch_size,
            "state": state,
            "notifyHook": notify_hook,
        }
        path = "/mj/submit/video"
        return self._build_submission(
            mode, "video", path, body, "VIDEO", prompt, parent=extend or ""
        )

    # POST /mj/insight-face/swap
    def swap(
        self,
        source: ImageInput,
        target: ImageInput,
        *,
        mode: Mode | None = None,
        state: str | None = None,
        notify_hook: str | None = None,
    ) -> Call[Job]:
        """Put the face of one picture into another.

        Args:
            source: the face: job, job[2], a job's ID, path, bytes
                or data URL
            target: the picture to put it into
            mode: how fast: fast, relax or turbo
            state: your own text, returned with the task
            notify_hook: webhook URL that the proxy posts changes
                of the task to
        """
        body = {
            "sourceBase64": self._to_url(source),
            "targetBase64": self._to_url(target),
            "state": state,
            "notifyHook": notify_hook,
        }
        return self._build_submission(mode, "swap", "/mj/insight-face/swap", body, "SWAP_FACE")

    # GET /mj/task/{id}/image-seed
    def image_seed(self, task_id: str) -> Call[str]:
        """Fetch the seed of a picture; this may take a minute, and not every proxy supports it.

        Args:
            task_id: the task's ID
        """
        path = f"/mj/task/{_validate_task_id(task_id)}/image-seed"
        return self._build_call("image_seed", "GET", path, parse_result)

    # POST /mj/task/{id}/cancel
    def cancel(self, task_id: str) -> Call[None]:
        """Ask the proxy to cancel a task; fetch the task again to see whether it did.

        Args:
            task_id: the task's ID
        """
        path = f"/mj/task/{_validate_task_id(task_id)}/cancel"
        return self._build_call("cancel", "POST", path, parse_cancel)

    # GET /mj/task/{id}/fetch
    def task(self, task_id: str) -> Call[Job]:
        """Fetch a task as it is now.

        Args:
            task_id: the task's ID
        """
        task_id = _validate_task_id(task_id)
        path = f"/mj/task/{task_id}/fetch"
        return self._build_call("task", "GET", path, partial(parse_task, task_id=task_id))

    # GET /mj/task/list, POST /mj/task/list-by-condition
    def tasks(self, ids: Iterable[str] | None = None) -> Call[list[Job]]:
        """List the tasks of the proxy, newest first, or those with the given IDs in their order.

        Args:
            ids: only these tasks; IDs that the proxy does not
                know are left out
        """
        if ids is None:
            call = self._build_call("tasks", "GET", "/mj/task/list", parse_tasks)
            return replace(call, is_listing=True)
        task_ids = [_validate_task_id(task_id) for task_id in ids]
        parse = partial(parse_tasks, order=tuple(task_ids))
        body = {"ids": task_ids}
        call = self._build_call("tasks", "POST", "/mj/task/list-by-condition", parse, body)
        return replace(call, is_safe=True, is_listing=True)

    # GET /mj/task/queue
    def queue(self) -> Call[list[Job]]:
        """List the tasks that are waiting or running now, oldest first."""
        call = self._build_call("queue", "GET", "/mj/task/queue", parse_tasks)
        return replace(call, is_listing=True)

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
        """List the tasks that match, newest first, page by page; not every proxy supports it.

        Args:
            status: only this status, in the proxy's words:
                SUCCESS, FAILURE, IN_PROGRESS, …
            action: only this action
            prompt: only this prompt
            state: only this text of yours
            page: page number, from 1
            size: tasks per page
        """
        body = {
            "status": status,
            "action": action,
            "prompt": prompt,
            "state": state,
            "pageNumber": page - 1,  # the wire counts from 0
            "pageSize": size,
            "sort": "id,desc",
        }
        call = self._build_call("query", "POST", "/mj/task/query", parse_query, body)
        return replace(call, is_safe=True, is_listing=True)

    # GET /mj/account/list
    def accounts(self) -> Call[list[dict[str, Any]]]:
        """List the Discord accounts that the proxy draws with, without their tokens."""
        return self._build_call("accounts", "GET", "/mj/account/list", parse_accounts)

    def _build_submission(
        self,
        mode: Mode | None,
        name: str,
        path: str,
        body: JsonObject,
        action: str = "",
        subject: str = "",
        parent: str = "",
    ) -> Call[Job]:
        """Build the call of a submission whose response repeats nothing of the request."""
        path, body = request_mode(mode, self._mode_by, path, body)
        user_data = str(body["state"] or "")
        requested = Job("mj", "", action, subject=subject, user_data=user_data, parent=parent)
        parse = partial(parse_submission, requested=requested)
        return self._build_call(name, "POST", path, parse, body, is_submission=True)

    def _build_call(
        self,
        name: str,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        body: JsonObject | None = None,
        is_submission: bool = False,
    ) -> Call[T]:
        """Build a call; fields of the body that are None are left out."""
        content = b""
        headers = {"Accept": "application/json"}
        if body is not None:
            content = encode_body({name: body[name] for name in body if body[name] is not None})
            headers = JSON_HEADERS
        return Call(
            service="mj",
            name=name,
            method=method,
            path=path,
            parse=parse,
            headers=headers,
            body=content,
            endpoint="mj",
            is_submission=is_submission,
            sender=self._sender,
        )


def encode_body(body: JsonObject) -> bytes:
    """Return a body as compact JSON."""
    return check_text(jsonlib.dumps(body)).encode()


def _validate_task_id(task_id: object) -> str:
    text = to_job_id(task_id)
    if not re.fullmatch(r"[\w.:-]+", text):
        raise InvalidRequest(
            f"{text!r} is not a valid task ID.", hint="A task ID is a string of digits: %mj_tasks."
        )
    return text


def _validate_prompt(prompt: str, as_is: bool, *, has_picture: bool = False) -> str:
    if not prompt.strip():
        raise InvalidRequest("The prompt is empty.", hint="Write what to draw.")
    if not as_is:
        check_prompt(prompt, has_picture=has_picture)
    return prompt


def _check_zoom(task: str | Job, prompt: str) -> None:
    """Refuse a custom zoom without its factor, where the task says that it is one."""
    is_zoom = isinstance(task, Job) and task.action == "ZOOM" and task.status is Status.NEEDS_INPUT
    if is_zoom and "--zoom" not in prompt.casefold():
        raise PreflightError(
            "A custom zoom needs its factor: --zoom between 1 and 2.",
            hint=f"Add it to the prompt: --zoom 1.5. {AS_IS_HINT}",
        )


def _check_mask(
    mask: str | None, picture: str | None = None, size: tuple[int, int] | None = None
) -> None:
    """Refuse a mask without white, or of another size than its picture, where that is known."""
    content = _read_if_here(mask)
    if content is None:
        return
    from jupyter_mjci.imaging.masks import find_mask_mistake

    mistake = find_mask_mistake(content, _read_if_here(picture), size)
    if mistake:
        hint = f"White is drawn anew, black is kept; mjci.mask makes masks. {AS_IS_HINT}"
        raise PreflightError(mistake, hint=hint)


def _read_if_here(url: str | None) -> bytes | None:
    """Return the bytes of a data URL; None for no picture, and for a link."""
    return None if url is None or is_link(url) else to_image_bytes(url)


def _check_video(prompt: str, *, has_picture: bool) -> None:
    if not has_picture and "://" not in prompt:
        raise PreflightError(
            "A video begins with a picture, and this one has none.",
            hint=f"Give a picture, or with extend the video that goes on. {AS_IS_HINT}",
        )
    check_prompt(prompt, has_picture=True)


# --- Buttons and changes ----------------------------------------

_ACTION_BY_LETTER: dict[str, ChangeAction] = {"U": "UPSCALE", "V": "VARIATION"}
_LETTER_BY_ACTION = {"UPSCALE": "U", "VARIATION": "V"}


def label_to_change(label: str) -> tuple[ChangeAction, int] | None:
    """Return the action and index of a button label, as `change` takes them.

    U1 to U4, V1 to V4, R or 🔄; None for any other label.
    """
    if label.casefold() in ("r", "🔄", "reroll"):
        return "REROLL", 1
    match = re.fullmatch(r"([UV])([1-4])", label.upper())
    if match is None:
        return None
    return _ACTION_BY_LETTER[match[1]], int(match[2])


def change_to_label(change: Mapping[str, Any]) -> tuple[str, str]:
    """Return the task ID and the button label for the body of a `change` or `simple_change`."""
    if "content" in change:
        task_id, _, label = str(change["content"]).partition(" ")
        return task_id, "🔄" if label.upper() == "R" else label
    letter = _LETTER_BY_ACTION.get(change["action"])
    label = f"{letter}{change['index']}" if letter else "🔄"
    return str(change["taskId"]), label


# In this order: the first part that occurs in the customId
# decides.
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
    """Return the action that a button starts, until a fetched task says it itself."""
    for part, action in _ACTION_BY_CUSTOM_ID_PART:
        if part in custom_id:
            return action
    return "ACTION"
