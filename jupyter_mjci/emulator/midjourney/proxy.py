"""An emulated Midjourney proxy: tasks that age by the clock, buttons, callbacks, picture links.

The families of servers differ in what they offer and how they
word it, not in what a task is. So one `MidjourneyProxy` keeps the
tasks, and a `Dialect` (a row of `DIALECTS`) says which endpoints
exist, how a client authenticates, how a task is rendered, and
what an unknown path or ID is answered with. The scheduler makes
tasks age; pictures are drawn when their link is followed
(`image_store.py`).

For demonstrations a prompt may ask for a failure: `--fail` ends
in FAILURE half-way, `--stuck` stops at 46% until the server gives
up after five minutes, an unknown or impossible `--parameter` is
refused at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any
from urllib.parse import unquote

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.drawing.seeding import hash_to_unit
from jupyter_mjci.emulator.http import (
    JSON_HEADERS,
    Request,
    Response,
    WebhookDelivery,
    dump_json,
    json_response,
)
from jupyter_mjci.emulator.midjourney.bodies import (
    EMPTY_RESPONSE,
    Body,
    ErrorResponse,
    InvalidBody,
    image_response,
    parse_body,
    parse_form,
    submit_response,
    validation_error,
)
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS
from jupyter_mjci.emulator.midjourney.image_store import UUID_RE, ImageStore
from jupyter_mjci.emulator.midjourney.relay import RELAY_CHECKS, rewrite_response
from jupyter_mjci.emulator.midjourney.routes import (
    ENDPOINTS_WITHOUT_BODY,
    MULTIPART_ENDPOINTS,
    Endpoint,
    ParsedRequest,
    resolve_endpoint,
)
from jupyter_mjci.emulator.midjourney.scheduler import TaskScheduler
from jupyter_mjci.emulator.midjourney.tasks import (
    BANNED_WORDS,
    BUTTONS,
    CANCEL,
    CHANGE_BUTTONS,
    FAILURE,
    IN_PROGRESS,
    MAKE_SQUARE_BUTTON,
    MODAL,
    NOT_START,
    SUCCESS,
    TASK_KINDS,
    TERMINAL_STATUSES,
    VIDEO_KINDS,
    ButtonSpec,
    Change,
    Phase,
    Task,
    is_equivalent_button,
    parse_parameters,
    parse_simple_change,
    parse_speed_mode,
    plan_failure,
)
from jupyter_mjci.emulator.midjourney.views import render_displays

BLEND_RATIOS = {"PORTRAIT": 2 / 3, "SQUARE": 1.0, "LANDSCAPE": 3 / 2}
DEFAULT_PUBLIC_URL = "http://mj.sandbox.localhost"
SETTLED_STATUSES = TERMINAL_STATUSES | {MODAL}  # in no queue
CUSTOM_ZOOM_BUTTON = "MJ::CustomZoom::{h}"
IMAGINE_ALL_BUTTON = "MJ::Job::PicReader::all"
_ZOOM_PARAMETER_RE = re.compile(r"--zoom\s+(\d(?:\.\d{1,3})?)(?!\S)")
_MATCHES_NOTHING = "(?!)"


class MidjourneyProxy:
    """A Midjourney proxy of one family; what no request decides depends on `seed` and the clock.

    Args:
        clock: the time that tasks age by
        dialect: the family: "java", "plus", "trueai", "trueai-9"
            or "new-api"
        secret: the secret that clients send, "" for none
        seed: where IDs, durations, failures and pictures come
            from
        public_url: what picture links start with (default: the
            address the latest client used)
        max_running: how many tasks the account runs at once
        max_waiting: how many may wait
        duration_factor: stretches the duration of every task
        failure_rate: the chance that a task fails
        remix: variations ask for a prompt first
        banned_words: the words that a prompt is refused for
        notify_hook: the callback of tasks that name none
        duplicate_rate: the chance that a callback comes twice
        reorder_rate: the chance that a callback comes after its
            successor
    """

    def __init__(
        self,
        clock: Clock,
        *,
        dialect: str = "plus",
        secret: str = "sandbox-secret",
        seed: int = 0,
        public_url: str | None = None,
        max_running: int = 3,
        max_waiting: int = 10,
        duration_factor: float = 1.0,
        failure_rate: float = 0.0,
        remix: bool = False,
        banned_words: Iterable[str] = BANNED_WORDS,
        notify_hook: str = "",
        duplicate_rate: float = 0.1,
        reorder_rate: float = 0.05,
    ) -> None:
        self.clock = clock
        self.dialect = DIALECTS[dialect]
        self.secret = secret
        self.public_url = public_url
        self.failure_rate = failure_rate
        self.remix = remix
        self.notify_hook = notify_hook
        self.duplicate_rate = duplicate_rate
        self.reorder_rate = reorder_rate
        self.outbox: list[WebhookDelivery] = []
        self.tasks_by_id: dict[str, Task] = {}
        self._tasks: list[Task] = []
        self._held_deliveries: dict[int, WebhookDelivery] = {}
        self._banned_pattern = build_banned_pattern(banned_words)
        self._client_url = DEFAULT_PUBLIC_URL
        self.image_store = ImageStore(
            clock,
            seed,
            self._tasks,
            signs_links=self.dialect.signs_links,
            accepts_raw_images=self.dialect.accepts_raw_images,
        )
        self.scheduler = TaskScheduler(
            self._tasks,
            self.dialect,
            clock.now(),
            max_running=max_running,
            max_waiting=max_waiting,
            duration_factor=duration_factor,
            derive_chance=self._derive_chance,
            on_phase_changed=self._queue_webhook,
        )
        self._update_link_origin()

    @property
    def instance_id(self) -> str:
        """The account's ID, which is also its channel's."""
        return self.image_store.channel_id

    @property
    def reports_final_prompt(self) -> bool:
        """Whether the dialect reports the final prompt."""
        return self.dialect.reports_final_prompt

    def _update_link_origin(self) -> None:
        """Set what picture links start with."""
        if self.dialect.relative_links:
            self.image_store.origin = ""
        else:
            self.image_store.origin = (self.public_url or self._client_url).rstrip("/")

    # ── what every emulated service has ──

    def handle(self, request: Request) -> Response:
        """Answer a request; errors are answered in the service's own words."""
        try:
            if request.host and self.public_url is None:
                self._client_url = f"{request.scheme}://{request.host}"
            self._update_link_origin()
            self.advance()
            return self._dispatch(request)
        except ErrorResponse as error:
            return error.response
        except InvalidBody as error:
            return self.dialect.invalid_body_response(request, str(error), self.clock.now())

    def advance(self) -> None:
        """Let everything happen that is due by now."""
        self.scheduler.advance(self.clock.now())

    def next_event(self) -> float | None:
        """Return when the next task changes by itself (epoch seconds)."""
        return self.scheduler.next_event()

    def freeze(self, task_id: str) -> None:
        """Stop a task from changing by itself (a fault)."""
        task = self.tasks_by_id.get(task_id)
        if task:
            task.due = None

    def forget(self, task_id: str) -> None:
        """Forget a task (a fault); its picture stays where it is."""
        task = self.tasks_by_id.pop(task_id, None)
        if task:
            task.due = None
            self.scheduler.dequeue(task, self.clock.now())

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values, and bytes for the pictures that clients sent."""
        return {
            "seed": self.image_store.seed,
            "born": self.scheduler.started_at,
            "tasks": [_dump_task(task) for task in self._tasks],
            "known": [task.number for task in self.tasks_by_id.values()],
            "lanes": self.scheduler.dump_queues(),
            "blobs": dict(self.image_store.blobs),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Replace the state by one that `snapshot` returned."""
        self._tasks.clear()
        self._tasks.extend(_load_task(row) for row in snapshot["tasks"])
        known = [self._tasks[number] for number in snapshot["known"]]
        self.tasks_by_id = {task.id: task for task in known}
        self._held_deliveries.clear()
        self.image_store.clear()
        self.image_store.seed = snapshot["seed"]
        self.image_store.blobs = dict(snapshot["blobs"])
        self.scheduler.clear()
        self.scheduler.started_at = snapshot["born"]
        self.scheduler.load_queues(snapshot["lanes"])
        self._update_link_origin()

    # ── from a request to its endpoint ──

    def _dispatch(self, request: Request) -> Response:
        if request.path.startswith("/attachments/"):
            return self.image_store.serve(request)
        match = self.dialect.prefix.fullmatch(unquote(request.path))
        if not match:
            return self.dialect.not_found_response(request)
        endpoint = resolve_endpoint(match[2] or "")
        routing_error = self._find_routing_error(request, endpoint)
        if routing_error and self.dialect.routes_before_auth:
            return routing_error
        self._check_auth(request, endpoint.name)
        if routing_error:
            return routing_error
        body = self._parse_body(request, endpoint)
        speed_mode = parse_speed_mode(match[1])
        parsed = ParsedRequest(request, endpoint.name, speed_mode, endpoint.path_id, body)
        return self._call_endpoint(parsed)

    def _find_routing_error(self, request: Request, endpoint: Endpoint) -> Response | None:
        if endpoint.name not in self.dialect.endpoints:
            return self.dialect.not_found_response(request)
        method = request.method.upper()
        if endpoint.method != ("GET" if method == "HEAD" else method):
            return self.dialect.method_not_allowed_response(request)
        return None

    def _check_auth(self, request: Request, endpoint: str) -> None:
        if not self.secret or endpoint in self.dialect.open_paths:
            return
        if not self.dialect.is_authorized(request.headers, self.secret):
            raise ErrorResponse(self.dialect.unauthorized_response(request.headers))

    def _parse_body(self, request: Request, endpoint: Endpoint) -> Body:
        if endpoint.method == "GET" or endpoint.name in ENDPOINTS_WITHOUT_BODY:
            return Body()
        content_type = request.headers.get("content-type", "")
        if endpoint.name in MULTIPART_ENDPOINTS and "multipart/" in content_type:
            return parse_form(request)
        return parse_body(request.body, self.dialect.strict_types)

    def _call_endpoint(self, parsed: ParsedRequest) -> Response:
        call = ENDPOINTS[parsed.endpoint]
        if not self.dialect.is_relay:
            return call(self, parsed)
        if parsed.endpoint in RELAY_CHECKS:
            RELAY_CHECKS[parsed.endpoint](self, parsed)
        return rewrite_response(parsed, call(self, parsed))

    def _derive_chance(self, *name: object) -> float:
        return hash_to_unit(self.image_store.seed, *name)

    def _parse_requested_mode(self, body: Body, prompt: str) -> str:
        """Return the mode of accountFilter.modes, where the dialect reads it, else the prompt's."""
        modes = body.get_object("accountFilter").get("modes")
        is_read = self.dialect.reads_account_filter and isinstance(modes, list)
        if is_read and modes and isinstance(modes[0], str):
            return parse_speed_mode(modes[0])
        return _find_prompt_mode(prompt)

    # ── making tasks ──

    def _build_task(
        self,
        parsed: ParsedRequest,
        action: str,
        kind: str,
        op: str,
        prompt: str = "",
        description: str = "",
    ) -> Task:
        """Build a task that is not yet known by its ID."""
        body = parsed.body
        now = self.clock.now()
        number = len(self._tasks)
        task = Task(
            number=number,
            id=self._build_task_id(now, number),
            action=action,
            kind=kind,
            op=op,
            prompt=prompt,
            description=description,
            submitted=round(now * 1000),
            phase=Phase(NOT_START),
            state=body.get("state"),
            notify_hook=body.get_text("notifyHook") or None,
            bot=_parse_bot(body),
            mode=parsed.speed_mode or self._parse_requested_mode(body, prompt),
            changed_at=now,
        )
        if kind != "describe":
            task.planned_failure = plan_failure(prompt)
        if not task.planned_failure and self._derive_chance("fail", number) < self.failure_rate:
            task.planned_failure = "Internal error"
        return task

    def _build_task_id(self, now: float, number: int) -> str:
        """Build an ID of milliseconds and three more digits; in a burst the next number."""
        first = math.floor(now * 1000) * 1000 + self.image_store.derive_number(("id", number), 500)
        last = int(self._tasks[-1].id) if self._tasks else 0
        return str(last + 1 if last // 1000 >= first // 1000 else first)

    def _add_task(self, task: Task) -> None:
        self._tasks.append(task)
        self.tasks_by_id[task.id] = task

    def _build_child_task(self, parsed: ParsedRequest, parent: Task, button: ButtonSpec) -> Task:
        """Build the task that a button of `parent` makes."""
        action = self._get_child_action(button, parent)
        prompt = self._get_child_prompt(parent, button)
        description = f"/up {parent.id} {button.short_name}"
        task = self._build_task(parsed, action, button.kind, button.op, prompt, description)
        task.parent = parent.number
        task.button = button.key
        task.bot = parent.bot
        if button.op == "retry":
            task.input_images = parent.input_images
            task.description = parent.description
        return task

    def _get_child_action(self, button: ButtonSpec, parent: Task) -> str:
        action = self.dialect.action_names.get(button.action, button.action)
        if action != "parent":
            return action
        return "IMAGINE" if parent.action == "UPSCALE" else parent.action

    def _get_child_prompt(self, parent: Task, button: ButtonSpec) -> str:
        if parent.kind in ("describe", "shorten") and button.op == "imagine":
            return self.image_store.suggest_prompts(parent)[int(button.args.get("index", 1)) - 1]
        return parent.prompt

    def _submit(self, task: Task) -> Response:
        """Queue a task; the response says whether it has to wait."""
        if self.scheduler.get_queue(task).is_full():
            code, message = self.dialect.queue_full
            return submit_response(code, message, None, {"discordInstanceId": self.instance_id})
        if task.number == len(self._tasks):
            self._add_task(task)
        tasks_ahead = self.scheduler.enqueue(task, self.clock.now())
        return self._build_accepted_response(task, tasks_ahead)

    def _build_accepted_response(self, task: Task, tasks_ahead: int) -> Response:
        properties: dict[str, object] = {"discordInstanceId": self.instance_id}
        if self.reports_final_prompt:
            properties["discordChannelId"] = self.image_store.channel_id
        if not tasks_ahead:
            task.submit_message = "提交成功"
            return submit_response(1, task.submit_message, task.id, properties)
        task.submit_message = f"排队中，前面还有{tasks_ahead}个任务"
        properties = {"numberOfQueues": tasks_ahead, **properties}
        return submit_response(22, task.submit_message, task.id, properties)

    def _open_modal(self, task: Task) -> Response:
        """Let a task wait, outside every queue, for submit/modal."""
        self._add_task(task)
        self.scheduler.set_phase(task, Phase(MODAL), self.clock.now())
        task.submit_message = self.dialect.modal_message
        properties = {}
        if self.reports_final_prompt:
            properties = {"finalPrompt": task.prompt, "remix": True}
        return submit_response(21, task.submit_message, task.id, properties)

    # ── callbacks ──

    def _queue_webhook(self, task: Task) -> None:
        """Queue the callback of a task that has changed; some come twice, or late."""
        hook = task.notify_hook or self.notify_hook
        if not hook or not self.dialect.sends_webhooks or task.phase.status in (NOT_START, MODAL):
            return
        body = dump_json(self.dialect.render_task(self, task))
        delivery = WebhookDelivery(hook, body, JSON_HEADERS)
        held = self._held_deliveries.pop(task.number, None)
        is_late = self._derive_chance("late", task.number, task.step) < self.reorder_rate
        if is_late and held is None and task.phase.status not in TERMINAL_STATUSES:
            self._held_deliveries[task.number] = delivery
            return
        self.outbox.append(delivery)
        is_twice = self._derive_chance("twice", task.number, task.step) < self.duplicate_rate
        if is_twice and self.dialect.duplicates_webhooks:
            self.outbox.append(delivery)
        if held:
            self.outbox.append(held)

    def list_button_keys(self, task: Task) -> tuple[str, ...]:
        """Return the buttons of a task; none before it has succeeded."""
        if task.phase.status != SUCCESS:
            return ()
        keys = TASK_KINDS[task.kind].buttons
        if task.kind == "show" and len(self.image_store.build_grid(task)) == 1:
            keys = TASK_KINDS["upscale"].buttons
        if task.kind in ("upscale", "hd"):
            picture = self.image_store.build_grid(task)[0]
            if image_generator.get_aspect_ratio(picture) != 1:
                index = keys.index(CUSTOM_ZOOM_BUTTON)
                keys = (*keys[:index], MAKE_SQUARE_BUTTON, *keys[index:])
        return keys

    # ── checks ──

    def _reject_banned(self, prompt: str) -> None:
        banned = self._banned_pattern.search(prompt)
        if banned:
            properties = {"promptEn": prompt, "bannedWord": banned[1].lower()}
            raise ErrorResponse(submit_response(24, "可能包含敏感词", None, properties))

    def _check_account(self, body: Body) -> None:
        """Check that an accountFilter fits the account."""
        account_filter = body.get_object("accountFilter") or body.get_object("filter")
        for key in ("instanceId", "channelId"):
            if account_filter.get(key) and account_filter[key] != self.instance_id:
                raise ErrorResponse(submit_response(3, "无可用的账号实例"))

    def _fail_unreadable_input(self, task: Task) -> Task:
        """Let a task fail later if one of its pictures is not readable."""
        blobs = [self.image_store.blobs[name] for name in task.input_images]
        if not task.planned_failure and not all(map(image_generator.is_image, blobs)):
            task.planned_failure = "[Invalid image] The file could not be read as an image"
        return task

    def _get_parent(self, task_id: str, done: bool = True) -> Task:
        """Return the task that another one is made from.

        Raises:
            ErrorResponse: it is unknown, or has not succeeded
                although it must have (`done`)
        """
        parent = self.tasks_by_id.get(task_id)
        if parent is None:
            status = self.dialect.missing_parent_status
            raise ErrorResponse(submit_response(3, "关联任务不存在或已失效", status=status))
        if done and parent.phase.status != SUCCESS:
            raise validation_error("关联任务状态错误")
        return parent

    def _save_optional_image(self, body: Body, name: str) -> str | None:
        """Save the picture in a field, if there is one; return the name of its blob."""
        if not body.get_text(name):
            return None
        return self.image_store.save_input_image(body[name])

    def _save_images(self, texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(self.image_store.save_input_image(text) for text in texts)

    # ── submit endpoints ──

    def imagine(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/imagine`."""
        prompt = parsed.body.get_text("prompt")
        if not prompt:
            raise validation_error("prompt不能为空")
        texts = parsed.body.get_texts("base64Array")
        if parsed.body.get("base64"):
            texts.append(parsed.body["base64"])
        names = self._save_images(texts)
        self._reject_banned(prompt)
        self._check_account(parsed.body)
        description = f"/imagine {prompt}"
        task = self._build_task(parsed, "IMAGINE", "grid", "imagine", prompt, description)
        task.input_images = names
        return self._submit(self._fail_unreadable_input(task))

    def simple_change(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/simple-change`: "<task ID> U1"."""
        change = parse_simple_change(parsed.body.get_text("content"))
        if change is None:
            raise validation_error("content参数错误")
        return self._submit_change(parsed, change)

    def change(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/change`: UPSCALE, VARIATION or REROLL."""
        task_id = parsed.body.get_text("taskId")
        action = parsed.body.get_text("action")
        if not task_id:
            raise validation_error("taskId不能为空")
        if action not in CHANGE_BUTTONS:
            raise validation_error("action参数错误")
        return self._submit_change(parsed, Change(task_id, action, parsed.body.get_int("index")))

    def _submit_change(self, parsed: ParsedRequest, change: Change) -> Response:
        parent = self._get_parent(change.task_id)
        if parent.action not in ("IMAGINE", "VARIATION", "REROLL", "BLEND"):
            raise validation_error("关联任务不允许执行变化")
        cell = change.cell
        planned_failure = ""
        if change.action != "REROLL" and not 1 <= cell <= 4:
            cell = 1
            planned_failure = "[Invalid index] No such picture"
        key = CHANGE_BUTTONS[change.action].format(cell, h="{h}")
        return self._submit_button(parsed, parent, BUTTONS[key], planned_failure)

    def press_button(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/action`: press a button of a task."""
        task_id = parsed.body.get_text("taskId")
        custom_id = parsed.body.get_text("customId")
        if not task_id:
            raise validation_error("taskId不能为空")
        if not custom_id:
            raise validation_error("customId不能为空")
        parent = self._get_parent(task_id)
        key = custom_id.replace(self.image_store.build_uuid(parent), "{h}")
        key = key.replace("MJ::CustomZoom::1::", "MJ::CustomZoom::")
        button = BUTTONS.get(key)
        is_refused = custom_id.startswith(self.dialect.unsupported_buttons)
        if button is None or not button.supported or is_refused:
            raise validation_error("不支持的操作类型")
        keys = self.list_button_keys(parent)
        if key not in keys and not is_equivalent_button(key, keys):
            raise validation_error("关联按钮错误")
        self._check_account(parsed.body)
        if key == IMAGINE_ALL_BUTTON:
            return self._imagine_all(parsed, parent)
        return self._submit_button(parsed, parent, button)

    def _submit_button(
        self, parsed: ParsedRequest, parent: Task, button: ButtonSpec, planned_failure: str = ""
    ) -> Response:
        """Return the task that a button made before, ask for more, or make a task."""
        needs_modal = self._needs_modal(parsed.body, button)
        if self.dialect.reuses_button_tasks and button.reusable and not needs_modal:
            earlier = self._find_button_task(parent, button)
            if earlier:
                image_url = self.image_store.build_image_url(earlier)
                properties = {"status": earlier.phase.status, "imageUrl": image_url}
                return submit_response(21, "任务已存在", earlier.id, properties)
        task = self._build_child_task(parsed, parent, button)
        task.planned_failure = planned_failure or task.planned_failure
        response = self._open_modal(task) if needs_modal else self._submit(task)
        if task.id in self.tasks_by_id:
            parent.pressed_buttons = {**(parent.pressed_buttons or {}), button.key: task.number}
        return response

    def _needs_modal(self, body: Body, button: ButtonSpec) -> bool:
        if button.modal_policy == "always":
            return True
        if button.modal_policy != "remix":
            return False
        if self.remix or body.get_bool("enableRemix"):
            return True
        return body.get_object("accountFilter").get("remix") is True

    def _find_button_task(self, parent: Task, button: ButtonSpec) -> Task | None:
        """Return the task that a button made before, unless it failed."""
        number = (parent.pressed_buttons or {}).get(button.key, -1)
        task = self.image_store.get_task(number)
        if task is None or task.id not in self.tasks_by_id:
            return None
        return None if task.phase.status in (FAILURE, CANCEL) else task

    def _imagine_all(self, parsed: ParsedRequest, parent: Task) -> Response:
        """Submit four tasks at once, one for each caption."""
        ids: list[str] = []
        for index in range(1, 5):
            button = BUTTONS[f"MJ::Job::PicReader::{index}"]
            task = self._build_child_task(parsed, parent, button)
            task.state = f"{task.state or ''}::{index}"
            response = self._submit(task)
            if task.id not in self.tasks_by_id:
                return submit_response(1, "提交成功", ",".join(ids)) if ids else response
            ids.append(task.id)
        properties = {"discordInstanceId": self.instance_id}
        return submit_response(1, "提交成功", ",".join(ids), properties)

    def modal(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/modal`: the rest of what a MODAL task needs; it keeps its ID."""
        task_id = parsed.body.get_text("taskId")
        if not task_id:
            raise validation_error("taskId不能为空")
        task = self._get_parent(task_id, done=False)
        # The .NET server does not check that the task waits for
        # this, and starts it once more.
        if task.phase.status != MODAL and not self.reports_final_prompt:
            raise validation_error("关联任务状态错误")
        prompt = parsed.body.get_text("prompt") or task.prompt
        mask = self._save_optional_image(parsed.body, "maskBase64")
        self._reject_banned(prompt)
        if not self.scheduler.get_queue(task).is_full():
            self._confirm_modal(task, parsed.body, prompt, mask)
        return self._submit(task)

    def _confirm_modal(self, task: Task, body: Body, prompt: str, mask: str | None) -> None:
        task.due = None
        self.scheduler.dequeue(task, self.clock.now())
        self.image_store.invalidate(task)
        task.planned_failure = plan_failure(prompt)
        details = dict(task.details or {})
        if mask:
            details["mask"] = mask
        if task.button == CUSTOM_ZOOM_BUTTON:
            zoom = _ZOOM_PARAMETER_RE.search(
                prompt if body.get_text("prompt") else f"{prompt} --zoom 2"
            )
            factor = float(zoom[1]) if zoom else 0.0
            details["factor"] = max(1.0, factor)
            if not 1 <= factor <= 2:
                task.planned_failure = "[Invalid parameter] --zoom must be between 1 and 2"
        task.details = details
        task.prompt = prompt
        task.phase = Phase(NOT_START)
        task.notify_hook = body.get_text("notifyHook") or task.notify_hook
        task.state = body.get("state") or task.state

    def describe(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/describe`: prompts for a picture."""
        text = parsed.body.get_text("base64")
        if not text and self.dialect.accepts_raw_images:
            text = parsed.body.get_text("link")
        if not text:
            raise validation_error("base64不能为空")
        name = self.image_store.save_input_image(text)
        self._check_account(parsed.body)
        description = f"/describe {name}.png"
        task = self._build_task(parsed, "DESCRIBE", "describe", "describe", description=description)
        task.input_images = (name,)
        return self._submit(self._fail_unreadable_input(task))

    def blend(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/blend`: two to five pictures become a grid."""
        texts = parsed.body.get_texts("base64Array")
        if not 2 <= len(texts) <= 5:
            raise validation_error("base64List参数错误")
        dimensions = parsed.body.get("dimensions", "SQUARE")
        if dimensions not in BLEND_RATIOS:
            raise validation_error("dimensions参数错误")
        names = self._save_images(texts)
        self._check_account(parsed.body)
        description = f"/blend {len(names)} {dimensions}"
        task = self._build_task(parsed, "BLEND", "grid", "blend", description=description)
        task.input_images = names
        task.details = {"ratio": BLEND_RATIOS[dimensions]}
        return self._submit(self._fail_unreadable_input(task))

    def shorten(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/shorten`: the words of a prompt that matter."""
        prompt = parsed.body.get_text("prompt")
        if not prompt:
            raise validation_error("prompt不能为空")
        self._reject_banned(prompt)
        self._check_account(parsed.body)
        description = f"/shorten {prompt}"
        task = self._build_task(parsed, "SHORTEN", "shorten", "shorten", prompt, description)
        return self._submit(task)

    def upload(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/upload-discord-images`: links to pictures that were sent."""
        texts = parsed.body.get_texts("base64Array")
        if not texts:
            raise validation_error("base64Array不能为空")
        now = round(self.clock.now() * 1000)
        names = self._save_images(texts)
        links = [self.image_store.build_blob_url(name, now) for name in names]
        return submit_response(1, "提交成功", links)

    def edits(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/edits`."""
        return self._submit_edit(parsed, "EDIT", "edit")

    def retexture(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/retexture`."""
        return self._submit_edit(parsed, "RETEXTURE", "retexture")

    def _submit_edit(self, parsed: ParsedRequest, action: str, op: str) -> Response:
        body = parsed.body
        prompt = body.get_text("prompt")
        sources = [body.get_text("image"), body.get_text("base64"), *body.get_texts("base64Array")]
        source = next(filter(None, sources), "")
        if not prompt or not source:
            raise validation_error("prompt和image不能为空")
        name = self.image_store.save_input_image(source)
        mask = self._save_optional_image(body, "maskBase64")
        self._reject_banned(prompt)
        task = self._build_task(parsed, action, "grid", op, prompt, f"/{op} {prompt}")
        task.input_images = (name,)
        if mask:
            task.details = {"mask": mask}
        return self._submit(self._fail_unreadable_input(task))

    def video(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/video`: from a prompt and a picture, or extending a task's video."""
        body = parsed.body
        prompt = body.get_text("prompt")
        self._check_video(body)
        parent_id = body.get_text("taskId")
        parent = self._get_parent(parent_id) if parent_id else None
        start = self._save_optional_image(body, "image")
        end = self._save_optional_image(body, "endImage")
        self._reject_banned(prompt)
        description = f"/video {prompt}"
        if parent:
            task = self._build_task(parsed, "VIDEO_EXTEND", "film", "film", prompt, description)
            task.parent = parent.number
            task.prompt = prompt or parent.prompt
        else:
            task = self._build_task(parsed, "VIDEO", "film", "video", prompt, description)
        if start:
            task.input_images = (start,)
        task.details = {
            "motion": body.get_text("motion") or "low",
            "batch": body.get_int("batchSize", 4),
            "end": end,
            "loop": body.get_bool("loop"),
            "index": min(3, max(0, body.get_int("index"))) + 1,
        }
        return self._submit(self._fail_unreadable_input(task))

    def _check_video(self, body: Body) -> None:
        parent_id = body.get_text("taskId")
        has_subject = bool(body.get_text("prompt") or parent_id)
        is_valid = (
            has_subject
            and (not parent_id or body.get_text("action") == "extend")
            and body.get_text("motion") in ("", "low", "high")
            and body.get_int("batchSize", 4) in (1, 2, 4)
        )
        if not is_valid:
            raise validation_error("参数错误")

    def swap(self, parsed: ParsedRequest) -> Response:
        """`POST /insight-face/swap`: the face of one picture in another."""
        task = self._build_swap_task(parsed, "SWAP_FACE", "swap")
        return self._submit(self._fail_unreadable_input(task))

    def video_swap(self, parsed: ParsedRequest) -> Response:
        """`POST /insight-face/video-swap`: the face of a picture in a video."""
        task = self._build_swap_task(parsed, "SWAP_VIDEO_FACE", "film")
        task.details = {"batch": 1}
        return self._submit(task)

    def _build_swap_task(self, parsed: ParsedRequest, action: str, kind: str) -> Task:
        texts = []
        for side in ("source", "target"):
            text = parsed.body.get_text(f"{side}Base64")
            if not text and self.dialect.accepts_raw_images:
                text = parsed.body.get_text(f"{side}Url")
            texts.append(text)
        if not all(texts):
            raise validation_error("sourceBase64和targetBase64不能为空")
        names = self._save_images(texts)
        self._check_account(parsed.body)
        task = self._build_task(parsed, action, kind, "swap", description="/swap")
        task.input_images = names
        return task

    def show(self, parsed: ParsedRequest) -> Response:
        """`POST /submit/show`: bring back a picture by the UUID in its name."""
        match = UUID_RE.search(parsed.body.get_text("jobId"))
        original = self.image_store.find_by_uuid(match[0]) if match else None
        if match is None or original is None or original.phase.status != SUCCESS:
            raise validation_error("jobId参数错误")
        description = f"/show {match[0]}"
        task = self._build_task(parsed, "SHOW", "show", "same", original.prompt, description)
        task.parent = original.number
        return self._submit(task)

    # ── task endpoints ──

    def fetch(self, parsed: ParsedRequest) -> Response:
        """`GET /task/{id}/fetch`."""
        task = self.tasks_by_id.get(parsed.path_id)
        if task is None:
            return self.dialect.unknown_task_response
        return json_response(self.dialect.render_task(self, task))

    def _render_tasks(self, tasks: Iterable[Task]) -> list[dict[str, Any]]:
        return [self.dialect.render_task(self, task) for task in tasks]

    def _get_known_tasks(self) -> list[Task]:
        """Return the tasks that were not forgotten, oldest first."""
        return [task for task in self._tasks if self.tasks_by_id.get(task.id) is task]

    def list_tasks(self, _: ParsedRequest) -> Response:
        """`GET /task/list`: newest first."""
        newest_first = self._get_known_tasks()[::-1]
        return json_response(self._render_tasks(newest_first[: self.dialect.list_limit]))

    def list_queue(self, _: ParsedRequest) -> Response:
        """`GET /task/queue`: the tasks that wait and run, oldest first."""
        return json_response(self._render_tasks(self.scheduler.list_queued()))

    def list_by_condition(self, parsed: ParsedRequest) -> Response:
        """`POST /task/list-by-condition`: tasks by ID."""
        tasks = self._find_by_ids(parsed.body.get_texts("ids"))
        return json_response(self._render_tasks(tasks))

    def list_by_ids(self, parsed: ParsedRequest) -> Response:
        """`POST /task/list-by-ids`: tasks by ID, with labels."""
        rows = []
        for task in self._find_by_ids(parsed.body.get_texts("ids")):
            row = self.dialect.render_task(self, task)
            rows.append({**row, "displays": render_displays(self, task)})
        return json_response(rows)

    def _find_by_ids(self, ids: list[str]) -> list[Task]:
        """Return known tasks, those in the queue first: the order is not that of the IDs."""
        tasks: list[Task] = []
        for task_id in dict.fromkeys(ids):
            if task_id in self.tasks_by_id:
                tasks.append(self.tasks_by_id[task_id])
        tasks.sort(key=lambda task: task.phase.status in SETTLED_STATUSES)
        return tasks

    def query_tasks(self, parsed: ParsedRequest) -> Response:
        """`POST /task/query`: filtered by any field, and paged."""
        body = parsed.body
        tasks = [task for task in self._get_known_tasks() if self._matches(task, body)]
        if not body.get_text("sort").endswith("asc"):
            tasks.reverse()
        page = max(0, body.get_int("pageNumber"))
        size = min(1000, max(1, body.get_int("pageSize", 10)))
        return json_response(
            {
                "content": self._render_tasks(tasks[page * size : page * size + size]),
                "totalElements": len(tasks),
                "totalPages": math.ceil(len(tasks) / size),
                "number": page,
                "size": size,
            }
        )

    def _matches(self, task: Task, body: Body) -> bool:
        equal_fields = {
            "id": task.id,
            "action": task.action,
            "status": task.phase.status,
            "state": task.state,
            "instanceId": self.instance_id,
        }
        contained_fields = {
            "prompt": task.prompt,
            "promptEn": task.prompt,
            "description": task.description,
            "failReason": task.phase.reason or "",
        }
        for name, value in equal_fields.items():
            if body.get(name) and body[name] != value:
                return False
        for name, text in contained_fields.items():
            if body.get(name) and body[name] not in text:
                return False
        if body.get("ids") and task.id not in body["ids"]:
            return False
        return not body.get("statusSet") or task.phase.status in body["statusSet"]

    def get_image_seed(self, parsed: ParsedRequest) -> Response:
        """`GET /task/{id}/image-seed`."""
        task = self.tasks_by_id.get(parsed.path_id)
        status = self.dialect.missing_parent_status
        if task is None:
            raise ErrorResponse(submit_response(3, "任务不存在或已失效", status=status))
        if task.phase.status != SUCCESS or task.kind in ("describe", "shorten"):
            raise validation_error("任务状态错误", 400 if status == 404 else 200)
        return submit_response(1, "成功", str(self.image_store.get_seed(task)))

    def cancel(self, parsed: ParsedRequest) -> Response:
        """`POST /task/{id}/cancel`."""
        task = self.tasks_by_id.get(parsed.path_id)
        status, reason = self.dialect.cancel_outcome
        if task and task.phase.status not in TERMINAL_STATUSES:
            self.scheduler.finish(task, status, self.clock.now(), reason)
            content = {"code": 1, "description": "成功"}
        elif task:
            content = {"code": 4, "description": "任务已结束"}
        else:
            content = {"code": 3, "description": "任务不存在"}
        # A server that gives a reason returns nothing.
        return EMPTY_RESPONSE if reason else json_response(content)

    # ── account and relay endpoints ──

    def list_accounts(self, _: ParsedRequest) -> Response:
        """`GET /account/list`."""
        return json_response([self._render_account()])

    def fetch_account(self, parsed: ParsedRequest) -> Response:
        """`GET /account/{id}/fetch`."""
        if parsed.path_id != self.instance_id:
            return EMPTY_RESPONSE
        return json_response(self._render_account())

    def _render_account(self) -> dict[str, Any]:
        """Render the account; the real server shows its Discord token here."""
        return {
            "id": self.instance_id,
            "guildId": self.image_store.guild_id,
            "channelId": self.image_store.channel_id,
            "userToken": "sandbox-no-token",
            "userAgent": "Mozilla/5.0 (sandbox)",
            "enable": True,
            "coreSize": self.scheduler.max_running,
            "queueSize": self.scheduler.max_waiting,
            "timeoutMinutes": 5,
            "properties": {},
        }

    def serve_relayed_image(self, parsed: ParsedRequest) -> Response:
        """`GET /image/{id}`: a relay passes pictures on without authentication."""
        task = self.tasks_by_id.get(parsed.path_id)
        if task is None:
            return json_response({"error": "midjourney_task_not_found"}, 400)
        phase = self.get_relayed_phase(task)
        if task.op in ("describe", "retry") and task.input_images:
            return image_response(self.image_store.blobs[task.input_images[0]])
        if phase.status == SUCCESS and task.op != "shorten":
            variant = "cell 0 .webp" if task.kind in VIDEO_KINDS else "whole"
            return self.image_store.render(task, variant)
        if phase.status == IN_PROGRESS and phase.percent:
            return self.image_store.render(task, f"preview {phase.percent}")
        return json_response({"error": "http_get_image_failed"}, 404 if phase.status else 500)

    def get_relayed_phase(self, task: Task) -> Phase:
        """Return a task's phase as the relay knows it."""
        return self.scheduler.get_relayed_phase(task, self.clock.now())

    def build_relayed_url(self, task: Task, phase: Phase) -> str:
        """Return the relay's own link to a task's picture, "" while there is none."""
        if task.op == "shorten" or phase.status not in (IN_PROGRESS, SUCCESS) or not phase.percent:
            return ""
        url = f"{self.image_store.origin}/mj/image/{task.id}"
        if phase.status == SUCCESS:
            return url
        number = self.image_store.derive_number((task.number, phase.percent), 10**19)
        return f"{url}?rand={number}"  # no cache keeps a preview


def build_banned_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Build the pattern that finds banned words."""
    alternatives = "|".join(map(re.escape, words)) or _MATCHES_NOTHING
    return re.compile(rf"\b({alternatives})\b", re.IGNORECASE)


def _dump_task(task: Task) -> list[Any]:
    return [getattr(task, item.name) for item in fields(Task)]


def _load_task(row: list[Any]) -> Task:
    names = [item.name for item in fields(Task)]
    values = dict(zip(names, row, strict=True))
    values["phase"] = Phase(*values["phase"])
    values["last_relayed"] = Phase(*values["last_relayed"]) if values["last_relayed"] else None
    values["input_images"] = tuple(values["input_images"])
    return Task(**values)


def _parse_bot(body: Body) -> str:
    return "NIJI_JOURNEY" if body.get_text("botType") == "NIJI_JOURNEY" else "MID_JOURNEY"


def _find_prompt_mode(prompt: str) -> str:
    """Return the mode of --fast, --relax or --turbo in the prompt."""
    for name in parse_parameters(prompt):
        if parse_speed_mode(name):
            return name.upper()
    return ""


ENDPOINTS: dict[str, Callable[[MidjourneyProxy, ParsedRequest], Response]] = {
    "imagine": MidjourneyProxy.imagine,
    "change": MidjourneyProxy.change,
    "simple-change": MidjourneyProxy.simple_change,
    "describe": MidjourneyProxy.describe,
    "blend": MidjourneyProxy.blend,
    "shorten": MidjourneyProxy.shorten,
    "action": MidjourneyProxy.press_button,
    "modal": MidjourneyProxy.modal,
    "upload-discord-images": MidjourneyProxy.upload,
    "edits": MidjourneyProxy.edits,
    "retexture": MidjourneyProxy.retexture,
    "video": MidjourneyProxy.video,
    "show": MidjourneyProxy.show,
    "swap": MidjourneyProxy.swap,
    "video-swap": MidjourneyProxy.video_swap,
    "fetch": MidjourneyProxy.fetch,
    "list": MidjourneyProxy.list_tasks,
    "queue": MidjourneyProxy.list_queue,
    "list-by-condition": MidjourneyProxy.list_by_condition,
    "list-by-ids": MidjourneyProxy.list_by_ids,
    "query": MidjourneyProxy.query_tasks,
    "image-seed": MidjourneyProxy.get_image_seed,
    "cancel": MidjourneyProxy.cancel,
    "account-list": MidjourneyProxy.list_accounts,
    "account": MidjourneyProxy.fetch_account,
    "image": MidjourneyProxy.serve_relayed_image,
}
