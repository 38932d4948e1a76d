"""The stand-in of the Midjourney proxies: tasks that age by the clock, buttons, a queue, callbacks,
picture links.

The families of servers differ in what they offer and how they word it, not in what a task is. So
one `MidjourneyProxy` keeps the tasks, and a `Dialect` (a row of `DIALECTS`) says which endpoints
exist, how a client proves who it is, how a task reads, and what an unknown path or id is answered
with.

Nothing happens between two requests. `advance()` takes the changes that are due off a heap, oldest
first, so a task is always exactly what the clock makes of it. Pictures are drawn when somebody asks
for their link (`pictures.py`).

For demonstrations a prompt may ask for trouble: `--fail` ends in FAILURE half way, `--stuck` stops
at 46% until the server gives up after five minutes, an impossible or unknown `--parameter` is
refused at once.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, NamedTuple
from urllib.parse import unquote

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.drawing.seeding import hash_to_unit
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery
from jupyter_mjci.emulator.midjourney.bodies import (
    EMPTY_RESPONSE,
    JSON_HEADERS,
    Body,
    ErrorResponse,
    InvalidBody,
    dump_json,
    image_response,
    json_response,
    parse_body,
    parse_form,
    submit_response,
    validation_error,
)
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS, HOUR
from jupyter_mjci.emulator.midjourney.image_store import UUID_RE, ImageStore
from jupyter_mjci.emulator.midjourney.relay import RELAY_CHECKS, rewrite_response
from jupyter_mjci.emulator.midjourney.tasks import (
    ACCEPT_DELAY,
    BANNED_WORDS,
    BUTTONS,
    CANCEL,
    CHANGE_BUTTONS,
    FAILURE,
    IN_PROGRESS,
    MAKE_SQUARE_BUTTON,
    MODAL,
    NOT_START,
    SPEED_MODE_FACTORS,
    SUBMITTED,
    SUCCESS,
    TASK_KINDS,
    TERMINAL_STATUSES,
    VIDEO_KINDS,
    ButtonSpec,
    Phase,
    Task,
    is_equivalent_button,
    parse_parameters,
    parse_simple_change,
    parse_speed_mode,
    plan_failure,
)
from jupyter_mjci.emulator.midjourney.views import render_displays

RELAY_TIMEOUT_REASON = "上游任务超时（超过1小时）"
BLEND_RATIOS = {"PORTRAIT": 2 / 3, "SQUARE": 1.0, "LANDSCAPE": 3 / 2}


class ParsedRequest(NamedTuple):
    """One request, taken apart."""

    request: Request
    endpoint: str
    speed_mode: str
    path_id: str  # the id in the path
    body: Body


class AccountQueue:
    """What runs and what waits, in order of arrival."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self.max_running, self.max_waiting = max_running, max_waiting
        self.running: dict[int, Task] = {}
        self.waiting: dict[int, Task] = {}

    def is_full(self) -> bool:
        return len(self.running) >= self.max_running and len(self.waiting) >= self.max_waiting

    def remove(self, task: Task) -> None:
        self.running.pop(task.number, None)
        self.waiting.pop(task.number, None)


TASK_TIMEOUT, TIMEOUT_CHECK_INTERVAL = (
    300.0,
    30.0,
)  # a task that takes longer has failed; looked for this often
RELAY_REFRESH_INTERVAL = 15.0  # how often a relay asks
DEFAULT_PUBLIC_URL = "http://mj.sandbox.localhost"
_ZOOM_PARAMETER_RE = re.compile(r"--zoom\s+(\d(?:\.\d{1,3})?)(?!\S)")


class MidjourneyProxy:
    """A Midjourney proxy of one family ("java", "plus", "trueai", "trueai-9", "new-api").

    `duration_factor` stretches every task's duration; `failure_rate` is the chance that a task fails; `max_running` and
    `max_waiting` are the account's limits; `remix` makes variations ask for a prompt first; `banned_words`
    are the refused words; `notify_hook` hears of tasks that name no hook of their own; `duplicate_rate`
    and `reorder_rate` are the chances that a callback comes twice or after its successor. `public_url`
    starts the picture links; None means the address that the latest client used. Everything that is
    not told by a request comes from `seed` and the clock.
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
        self.clock, self.dialect, self.secret = clock, DIALECTS[dialect], secret
        self.public_url, self.duration_factor, self.failure_rate, self.remix = (
            public_url,
            duration_factor,
            failure_rate,
            remix,
        )
        self.notify_hook, self.duplicate_rate, self.reorder_rate = (
            notify_hook,
            duplicate_rate,
            reorder_rate,
        )
        self.outbox: list[WebhookDelivery] = []
        self._banned_pattern = re.compile(
            rf"\b({'|'.join(map(re.escape, banned_words)) or '(?!)'})\b", re.I
        )
        self._limits = (max_running, max_waiting)
        self._started_at = clock.now()
        self._client_url = DEFAULT_PUBLIC_URL
        self._tasks: list[Task] = []
        kept = {
            "signs_links": self.dialect.signs_links,
            "accepts_raw_images": self.dialect.accepts_raw_images,
        }
        self.image_store = ImageStore(clock, seed, self._tasks, **kept)
        self._reset()

    @property
    def instance_id(self) -> str:
        """The account's id, which is also its channel's."""
        return self.image_store.channel_id

    def _reset(self) -> None:
        self._tasks.clear()
        self.image_store.clear()
        self.tasks_by_id: dict[str, Task] = {}
        self._queues = {"": AccountQueue(*self._limits), "RELAX": AccountQueue(*self._limits)}
        self._heap: list[tuple[float, int]] = []
        self._held_deliveries: dict[int, WebhookDelivery] = {}
        self._update_link_origin()

    def _update_link_origin(self) -> None:
        """Where links are to point."""
        self.image_store.origin = (
            "" if self.dialect.relative_links else (self.public_url or self._client_url).rstrip("/")
        )

    # ── the shape that every stand-in has ──

    def handle(self, request: Request) -> Response:
        """Answer a request; whatever is wrong with it, in the service's own words."""
        try:
            if request.host and self.public_url is None:
                self._client_url = f"{request.scheme}://{request.host}"
            self._update_link_origin()
            self.advance()
            return self._dispatch(request)
        except ErrorResponse as refusal:
            return refusal.response
        except InvalidBody as error:
            return self.dialect.invalid_body_response(self, request, str(error))

    def advance(self) -> None:
        """Let everything happen that is due by now, in the order in which it is due."""
        now, heap = self.clock.now(), self._heap
        while heap and heap[0][0] <= now:
            due, number = heapq.heappop(heap)
            task = self._tasks[number]
            if task.due == due:
                self._advance_task(task, due)

    def next_event(self) -> float | None:
        """When the next task changes by itself."""
        while self._heap and self._tasks[self._heap[0][1]].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def freeze(self, task_id: str) -> None:
        """The task changes no more by itself (for faults: a stuck progress)."""
        if task := self.tasks_by_id.get(task_id):
            task.due = None

    def forget(self, task_id: str) -> None:
        """The task is lost: nobody knows its id any more (its picture stays where it is)."""
        if task := self.tasks_by_id.pop(task_id, None):
            task.due = None
            self._dequeue(task, self.clock.now())

    def snapshot(self) -> dict[str, Any]:
        """Everything that a restart would lose, as JSON but for the bytes of the pictures that were
        sent.
        """
        return {
            "seed": self.image_store.seed,
            "born": self._started_at,
            "tasks": [[getattr(task, slot.name) for slot in fields(Task)] for task in self._tasks],
            "known": [task.number for task in self.tasks_by_id.values()],
            "lanes": {
                name: [[*lane.running], [*lane.waiting]] for name, lane in self._queues.items()
            },
            "blobs": dict(self.image_store.blobs),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Take up what `snapshot` kept."""
        self._reset()
        self.image_store.seed, self._started_at = snapshot["seed"], snapshot["born"]
        self._tasks.extend(_load_task(row) for row in snapshot["tasks"])
        self.tasks_by_id = {
            self._tasks[number].id: self._tasks[number] for number in snapshot["known"]
        }
        self.image_store.blobs = dict(snapshot["blobs"])
        for name, (running, waiting) in snapshot["lanes"].items():
            self._queues[name].running = {number: self._tasks[number] for number in running}
            self._queues[name].waiting = {number: self._tasks[number] for number in waiting}
        self._heap = [(task.due, task.number) for task in self._tasks if task.due is not None]
        heapq.heapify(self._heap)

    # ── from a request to its endpoint ──

    def _dispatch(self, request: Request) -> Response:
        if request.path.startswith("/attachments/"):
            return self.image_store.serve(request)
        found = self.dialect.prefix.fullmatch(unquote(request.path))
        if not found:
            return self.dialect.not_found_response(request)
        endpoint, method, about = _resolve_endpoint(found[2] or "")
        known = endpoint in self.dialect.endpoints
        reply = None if known else self.dialect.not_found_response(request)
        if known and method != request.method.upper().replace("HEAD", "GET"):
            reply = self.dialect.method_not_allowed_response(request)
        if reply and self.dialect.routes_before_auth:
            return reply
        self._check_auth(request, endpoint)
        if reply:
            return reply
        body = (
            Body()
            if method == "GET" or endpoint in ENDPOINTS_WITHOUT_BODY
            else self._parse_body(request, endpoint)
        )
        return self._call_endpoint(
            ParsedRequest(request, endpoint, parse_speed_mode(found[1]), about, body)
        )

    def _check_auth(self, request: Request, endpoint: str) -> None:
        if not self.secret or endpoint in self.dialect.open_paths:
            return
        if not self.dialect.is_authorized(request.headers, self.secret):
            raise ErrorResponse(self.dialect.unauthorized_response(request.headers))

    def _parse_body(self, request: Request, endpoint: str) -> Body:
        if endpoint in MULTIPART_ENDPOINTS and "multipart/" in request.headers.get(
            "content-type", ""
        ):
            return parse_form(request)
        return parse_body(request.body, self.dialect.strict_types)

    def _call_endpoint(self, ask: ParsedRequest) -> Response:
        if not self.dialect.is_relay:
            return ENDPOINTS[ask.endpoint](self, ask)
        if check := RELAY_CHECKS.get(ask.endpoint):
            check(self, ask)
        return rewrite_response(ask, ENDPOINTS[ask.endpoint](self, ask))

    # ── tasks by name and number ──

    def get_task(self, number: int) -> Task | None:
        return self._tasks[number] if 0 <= number < len(self._tasks) else None

    def _derive_chance(self, *name: object) -> float:
        return hash_to_unit(self.image_store.seed, *name)

    # ── making tasks ──

    def _build_task(
        self, ask: ParsedRequest, action: str, kind: str, op: str, prompt: str, description: str
    ) -> Task:
        """A task that nobody knows yet."""
        body, now = ask.body, self.clock.now()
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
            bot="NIJI_JOURNEY" if body.get_text("botType") == "NIJI_JOURNEY" else "MID_JOURNEY",
            mode=ask.speed_mode or _parse_requested_mode(body, prompt),
            changed_at=now,
        )
        task.planned_failure = plan_failure(prompt) if kind != "describe" else ""
        if not task.planned_failure and self._derive_chance("fail", number) < self.failure_rate:
            task.planned_failure = "Internal error"
        return task

    def _build_task_id(self, now: float, number: int) -> str:
        """Milliseconds and three more digits; in a burst just the next number."""
        first = math.floor(now * 1000) * 1000 + self.image_store.derive_number(("id", number), 500)
        last = int(self._tasks[-1].id) if self._tasks else 0
        return str(last + 1 if last // 1000 >= first // 1000 else first)

    def _add_task(self, task: Task) -> None:
        self._tasks.append(task)
        self.tasks_by_id[task.id] = task

    def _build_child_task(self, ask: ParsedRequest, parent: Task, button: ButtonSpec) -> Task:
        """The task that a button of `parent` makes."""
        prompt = self._get_child_prompt(parent, button)
        task = self._build_task(
            ask,
            self._get_child_action(button, parent),
            button.kind,
            button.op,
            prompt,
            f"/up {parent.id} {button.short_name}",
        )
        task.parent, task.button, task.bot = parent.number, button.key, parent.bot
        if button.op == "retry":
            task.input_images, task.description = parent.input_images, parent.description
        return task

    def _get_child_action(self, button: ButtonSpec, parent: Task) -> str:
        name = self.dialect.action_names.get(button.action, button.action)
        if name != "parent":
            return name
        return "IMAGINE" if parent.action == "UPSCALE" else parent.action

    def _get_child_prompt(self, parent: Task, button: ButtonSpec) -> str:
        if parent.kind in ("describe", "shorten") and button.op == "imagine":
            return self.image_store.suggest_prompts(parent)[int(button.args.get("index", 1)) - 1]
        return parent.prompt

    def _submit(self, task: Task) -> Response:
        """Into the queue with it; the answer says whether it has to wait."""
        lane = self._get_queue(task)
        if lane.is_full():
            code, words = self.dialect.queue_full
            return submit_response(code, words, None, {"discordInstanceId": self.instance_id})
        if task.number == len(self._tasks):
            self._add_task(task)
        return self._build_accepted_response(task, self._enqueue(task, lane, self.clock.now()))

    def _build_accepted_response(self, task: Task, queue_position: int) -> Response:
        about = {"discordInstanceId": self.instance_id}
        if self.dialect.reports_final_prompt:
            about["discordChannelId"] = self.image_store.channel_id
        if not queue_position:
            task.submit_message = "提交成功"
            return submit_response(1, task.submit_message, task.id, about)
        task.submit_message = f"排队中，前面还有{queue_position}个任务"
        return submit_response(
            22, task.submit_message, task.id, {"numberOfQueues": queue_position, **about}
        )

    def _open_modal(self, task: Task) -> Response:
        """The task waits, outside every queue, for what submit/modal will say."""
        self._add_task(task)
        self._set_phase(task, Phase(MODAL), self.clock.now())
        task.submit_message = self.dialect.modal_message
        about = (
            {"finalPrompt": task.prompt, "remix": True} if self.dialect.reports_final_prompt else {}
        )
        return submit_response(21, task.submit_message, task.id, about)

    # ── the queue and the course of a task ──

    def _get_queue(self, task: Task) -> AccountQueue:
        return self._queues[
            "RELAX" if task.mode == "RELAX" and self.dialect.has_relax_queue else ""
        ]

    def _enqueue(self, task: Task, queue: AccountQueue, now: float) -> int:
        """How many were already waiting. Those that run do not count, so the first one to wait
        hears of none.
        """
        ahead = len(queue.waiting)
        if len(queue.running) < queue.max_running:
            self._start_task(task, queue, now)
            return 0
        queue.waiting[task.number] = task
        if self.dialect.queue_timeout:
            self._schedule(task, now + self.dialect.queue_timeout)
        return ahead

    def _start_task(self, task: Task, queue: AccountQueue, now: float) -> None:
        queue.running[task.number] = task
        task.step = 0
        self._schedule(task, now + ACCEPT_DELAY * self.duration_factor)

    def _schedule(self, task: Task, due: float) -> None:
        task.due = due
        heapq.heappush(self._heap, (due, task.number))

    def _dequeue(self, task: Task, now: float) -> None:
        """Out of the queue; who waits longest takes the place."""
        lane = self._get_queue(task)
        lane.remove(task)
        while lane.waiting and len(lane.running) < lane.max_running:
            after = lane.waiting.pop(next(iter(lane.waiting)))
            self._start_task(after, lane, now)

    def _advance_task(self, task: Task, now: float) -> None:
        """The next thing that happens to a task."""
        task.due = None
        if task.number in self._get_queue(task).waiting:
            return self._finish_task(task, FAILURE, now, "任务提交超时")
        task.step += 1
        steps, moment = TASK_KINDS[task.kind].progress_steps, round(now * 1000)
        if task.step == 1:
            self._set_phase(task, Phase(SUBMITTED, 0, moment), now)
        elif self._fails_now(task):
            return self._finish_task(
                task,
                FAILURE,
                now,
                "任务超时" if task.planned_failure == "stuck" else task.planned_failure,
            )
        elif task.step - 2 < len(steps):
            self._set_phase(task, Phase(IN_PROGRESS, steps[task.step - 2], task.phase.start), now)
        else:
            return self._finish_task(task, SUCCESS, now)
        self._schedule(task, self._compute_next_due(task, now))
        return None

    def _fails_now(self, task: Task) -> bool:
        """A bad parameter is refused at once; trouble comes half way; a stuck task is given up."""
        if not task.planned_failure:
            return False
        half = 2 + len(TASK_KINDS[task.kind].progress_steps) // 2
        return task.step >= (
            2 if task.planned_failure.startswith("[") else half + (task.planned_failure == "stuck")
        )

    def _compute_next_due(self, task: Task, now: float) -> float:
        if task.planned_failure == "stuck" and task.step > 1 and self._fails_next(task):
            limit = (task.phase.start or 0) / 1000 + TASK_TIMEOUT
            return (
                self._started_at
                + math.ceil((limit - self._started_at) / TIMEOUT_CHECK_INTERVAL)
                * TIMEOUT_CHECK_INTERVAL
            )
        return now + self.compute_duration(task) / (len(TASK_KINDS[task.kind].progress_steps) + 1)

    def _fails_next(self, task: Task) -> bool:
        return task.step + 1 >= 3 + len(TASK_KINDS[task.kind].progress_steps) // 2

    def compute_duration(self, task: Task) -> float:
        """Seconds from accepted to done: the task's own, from seed, prompt and number."""
        kind = TASK_KINDS[task.kind]
        share = self._derive_chance("duration", task.number, task.prompt)
        return (
            (kind.min_seconds + (kind.max_seconds - kind.min_seconds) * share)
            * self.duration_factor
            * SPEED_MODE_FACTORS.get(task.mode, 1.0)
        )

    def _finish_task(self, task: Task, status: str, now: float, reason: str | None = None) -> None:
        task.due = None
        percent = 100 if status == SUCCESS else task.phase.percent
        self._dequeue(task, now)
        self._set_phase(
            task, Phase(status, percent, task.phase.start, round(now * 1000), reason), now
        )

    def _set_phase(self, task: Task, phase: Phase, now: float) -> None:
        if self.dialect.is_relay:
            if self._get_last_refresh(now, before=True) >= task.changed_at:
                task.last_relayed = task.phase
            task.changed_at = now
        task.phase = phase
        self._queue_webhook(task)

    # ── callbacks ──

    def _queue_webhook(self, task: Task) -> None:
        """Every change after the start is told, once; nobody listens to the answer."""
        hook = task.notify_hook or self.notify_hook
        if not hook or not self.dialect.sends_webhooks or task.phase.status in (NOT_START, MODAL):
            return
        told = WebhookDelivery(hook, dump_json(self.dialect.render_task(self, task)), JSON_HEADERS)
        held = self._held_deliveries.pop(task.number, None)
        late = self._derive_chance("late", task.number, task.step) < self.reorder_rate
        if late and held is None and task.phase.status not in TERMINAL_STATUSES:
            self._held_deliveries[task.number] = told
            return
        twice = (
            self.dialect.duplicates_webhooks
            and self._derive_chance("twice", task.number, task.step) < self.duplicate_rate
        )
        self.outbox += [told] * (2 if twice else 1) + ([held] if held else [])

    def list_button_keys(self, task: Task) -> tuple[str, ...]:
        if task.phase.status != SUCCESS:
            return ()
        keys = TASK_KINDS[task.kind].buttons
        if task.kind == "show" and len(self.image_store.build_grid(task)) == 1:
            keys = TASK_KINDS["upscale"].buttons
        if (
            task.kind in ("upscale", "hd")
            and image_generator.get_aspect_ratio(self.image_store.build_grid(task)[0]) != 1
        ):
            at = keys.index("MJ::CustomZoom::{h}")
            keys = (*keys[:at], MAKE_SQUARE_BUTTON, *keys[at:])
        return keys

    # ── pictures that clients send ──

    def _reject_banned(self, prompt: str) -> None:
        if found := self._banned_pattern.search(prompt):
            about = {"promptEn": prompt, "bannedWord": found[1].lower()}
            raise ErrorResponse(submit_response(24, "可能包含敏感词", None, about))

    def _check_account(self, body: Body) -> None:
        """An accountFilter that fits no account finds none."""
        wanted = body.get_object("accountFilter") or body.get_object("filter")
        for key in ("instanceId", "channelId"):
            if wanted.get(key) and wanted[key] != self.instance_id:
                raise ErrorResponse(submit_response(3, "无可用的账号实例"))

    # ── submit endpoints ──

    def imagine(self, ask: ParsedRequest) -> Response:
        prompt = ask.body.get_text("prompt")
        if not prompt:
            raise validation_error("prompt不能为空")
        single = [ask.body["base64"]] if ask.body.get("base64") else []
        names = tuple(
            self.image_store.save_input_image(text)
            for text in [*ask.body.get_texts("base64Array"), *single]
        )
        self._reject_banned(prompt)
        self._check_account(ask.body)
        task = self._build_task(ask, "IMAGINE", "grid", "imagine", prompt, f"/imagine {prompt}")
        task.input_images = names
        return self._submit(self._fail_unreadable_input(task))

    def _fail_unreadable_input(self, task: Task) -> Task:
        """Bytes that are no picture are taken, and fail later."""
        if not task.planned_failure and not all(
            image_generator.is_image(self.image_store.blobs[name]) for name in task.input_images
        ):
            task.planned_failure = "[Invalid image] The file could not be read as an image"
        return task

    def simple_change(self, ask: ParsedRequest) -> Response:
        found = parse_simple_change(ask.body.get_text("content"))
        if found is None:
            raise validation_error("content参数错误")
        return self._submit_change(ask, *found)

    def change(self, ask: ParsedRequest) -> Response:
        task_id, action = ask.body.get_text("taskId"), ask.body.get_text("action")
        if not task_id:
            raise validation_error("taskId不能为空")
        if action not in CHANGE_BUTTONS:
            raise validation_error("action参数错误")
        return self._submit_change(ask, task_id, action, ask.body.get_int("index"))

    def _submit_change(self, ask: ParsedRequest, task_id: str, action: str, index: int) -> Response:
        parent = self._get_parent(task_id)
        if parent.action not in ("IMAGINE", "VARIATION", "REROLL", "BLEND"):
            raise validation_error("关联任务不允许执行变化")
        wrong = action != "REROLL" and not 1 <= index <= 4
        key = CHANGE_BUTTONS[action].format(1 if wrong else index, h="{h}")
        return self._submit_button(
            ask, parent, BUTTONS[key], "[Invalid index] No such picture" if wrong else ""
        )

    def _get_parent(self, task_id: str, done: bool = True) -> Task:
        parent = self.tasks_by_id.get(task_id)
        if parent is None:
            raise ErrorResponse(
                submit_response(
                    3, "关联任务不存在或已失效", status=self.dialect.missing_parent_status
                )
            )
        if done and parent.phase.status != SUCCESS:
            raise validation_error("关联任务状态错误")
        return parent

    def press_button(self, ask: ParsedRequest) -> Response:
        task_id, custom_id = ask.body.get_text("taskId"), ask.body.get_text("customId")
        if not task_id:
            raise validation_error("taskId不能为空")
        if not custom_id:
            raise validation_error("customId不能为空")
        parent = self._get_parent(task_id)
        key = custom_id.replace(self.image_store.build_uuid(parent), "{h}").replace(
            "MJ::CustomZoom::1::", "MJ::CustomZoom::"
        )
        move = BUTTONS.get(key)
        if (
            move is None
            or not move.supported
            or custom_id.startswith(self.dialect.unsupported_buttons or ("\0",))
        ):
            raise validation_error("不支持的操作类型")
        if key not in self.list_button_keys(parent) and not is_equivalent_button(
            key, self.list_button_keys(parent)
        ):
            raise validation_error("关联按钮错误")
        self._check_account(ask.body)
        if key == "MJ::Job::PicReader::all":
            return self._imagine_all(ask, parent)
        return self._submit_button(ask, parent, move)

    def _submit_button(
        self, ask: ParsedRequest, parent: Task, button: ButtonSpec, planned_failure: str = ""
    ) -> Response:
        """What a button does: give the task it made before, ask for more, or make one."""
        remix = (
            self.remix
            or ask.body.get_bool("enableRemix")
            or ask.body.get_object("accountFilter").get("remix") is True
        )
        modal = button.modal_policy == "always" or (button.modal_policy == "remix" and remix)
        if (
            self.dialect.reuses_button_tasks
            and button.reusable
            and not modal
            and (before := self._find_button_task(parent, button))
        ):
            about = {
                "status": before.phase.status,
                "imageUrl": self.image_store.build_image_url(before),
            }
            return submit_response(21, "任务已存在", before.id, about)
        task = self._build_child_task(ask, parent, button)
        task.planned_failure = planned_failure or task.planned_failure
        reply = self._open_modal(task) if modal else self._submit(task)
        if task.id in self.tasks_by_id:
            parent.pressed_buttons = {**(parent.pressed_buttons or {}), button.key: task.number}
        return reply

    def _find_button_task(self, parent: Task, button: ButtonSpec) -> Task | None:
        task = self.image_store.get_task((parent.pressed_buttons or {}).get(button.key, -1))
        return (
            task
            if task and task.id in self.tasks_by_id and task.phase.status not in (FAILURE, CANCEL)
            else None
        )

    def _imagine_all(self, ask: ParsedRequest, parent: Task) -> Response:
        """Four tasks at once, one for each caption."""
        made: list[str] = []
        for i in range(1, 5):
            task = self._build_child_task(ask, parent, BUTTONS[f"MJ::Job::PicReader::{i}"])
            task.state = f"{task.state or ''}::{i}"
            reply = self._submit(task)
            if task.id not in self.tasks_by_id:
                return submit_response(1, "提交成功", ",".join(made)) if made else reply
            made.append(task.id)
        return submit_response(
            1, "提交成功", ",".join(made), {"discordInstanceId": self.instance_id}
        )

    def modal(self, ask: ParsedRequest) -> Response:
        """The rest of what a MODAL task needs; it keeps its id."""
        task_id = ask.body.get_text("taskId")
        if not task_id:
            raise validation_error("taskId不能为空")
        task = self._get_parent(task_id, done=False)
        if task.phase.status != MODAL and not self.dialect.reports_final_prompt:
            raise validation_error("关联任务状态错误")
        prompt = ask.body.get_text("prompt") or task.prompt
        mask = (
            self.image_store.save_input_image(ask.body["maskBase64"])
            if ask.body.get_text("maskBase64")
            else None
        )
        self._reject_banned(prompt)
        if self._get_queue(task).is_full():
            return self._submit(task)
        self._confirm_modal(task, ask.body, prompt, mask)
        return self._submit(task)

    def _confirm_modal(self, task: Task, body: Body, prompt: str, mask: str | None) -> None:
        """The .NET server does not mind whether the task waits for this, and starts it once
        more.
        """
        task.due = None
        self._dequeue(task, self.clock.now())
        self.image_store.invalidate(task)
        task.planned_failure = plan_failure(prompt)
        task.details = {**(task.details or {}), **({"mask": mask} if mask else {})}
        if task.button == "MJ::CustomZoom::{h}":
            found = _ZOOM_PARAMETER_RE.search(
                prompt if body.get_text("prompt") else f"{prompt} --zoom 2"
            )
            factor = float(found[1]) if found else 0.0
            task.details["factor"] = max(1.0, factor)
            if not 1 <= factor <= 2:
                task.planned_failure = "[Invalid parameter] --zoom must be between 1 and 2"
        task.prompt, task.phase = prompt, Phase(NOT_START)
        task.notify_hook = body.get_text("notifyHook") or task.notify_hook
        task.state = body.get("state") or task.state

    def describe(self, ask: ParsedRequest) -> Response:
        text = ask.body.get_text("base64") or (
            ask.body.get_text("link") if self.dialect.accepts_raw_images else ""
        )
        if not text:
            raise validation_error("base64不能为空")
        name = self.image_store.save_input_image(text)
        self._check_account(ask.body)
        task = self._build_task(
            ask, "DESCRIBE", "describe", "describe", "", f"/describe {name}.png"
        )
        task.input_images = (name,)
        return self._submit(self._fail_unreadable_input(task))

    def blend(self, ask: ParsedRequest) -> Response:
        texts = ask.body.get_texts("base64Array")
        if not 2 <= len(texts) <= 5:
            raise validation_error("base64List参数错误")
        dimensions = ask.body.get("dimensions", "SQUARE")
        if dimensions not in BLEND_RATIOS:
            raise validation_error("dimensions参数错误")
        names = tuple(self.image_store.save_input_image(text) for text in texts)
        self._check_account(ask.body)
        task = self._build_task(
            ask, "BLEND", "grid", "blend", "", f"/blend {len(names)} {dimensions}"
        )
        task.input_images, task.details = names, {"ratio": BLEND_RATIOS[dimensions]}
        return self._submit(self._fail_unreadable_input(task))

    def shorten(self, ask: ParsedRequest) -> Response:
        prompt = ask.body.get_text("prompt")
        if not prompt:
            raise validation_error("prompt不能为空")
        self._reject_banned(prompt)
        self._check_account(ask.body)
        return self._submit(
            self._build_task(ask, "SHORTEN", "shorten", "shorten", prompt, f"/shorten {prompt}")
        )

    def upload(self, ask: ParsedRequest) -> Response:
        texts = ask.body.get_texts("base64Array")
        if not texts:
            raise validation_error("base64Array不能为空")
        now = round(self.clock.now() * 1000)
        return submit_response(
            1,
            "提交成功",
            [
                self.image_store.build_blob_url(self.image_store.save_input_image(text), now)
                for text in texts
            ],
        )

    def edits(self, ask: ParsedRequest) -> Response:
        return self._submit_edit(ask, "EDIT", "edit")

    def retexture(self, ask: ParsedRequest) -> Response:
        return self._submit_edit(ask, "RETEXTURE", "retexture")

    def _submit_edit(self, ask: ParsedRequest, action: str, op: str) -> Response:
        prompt = ask.body.get_text("prompt")
        given = (
            ask.body.get_text("image")
            or ask.body.get_text("base64")
            or next(iter(ask.body.get_texts("base64Array")), "")
        )
        if not prompt or not given:
            raise validation_error("prompt和image不能为空")
        names = (self.image_store.save_input_image(given),)
        mask = (
            self.image_store.save_input_image(ask.body["maskBase64"])
            if ask.body.get_text("maskBase64")
            else None
        )
        self._reject_banned(prompt)
        task = self._build_task(ask, action, "grid", op, prompt, f"/{op} {prompt}")
        task.input_images, task.details = names, {"mask": mask} if mask else None
        return self._submit(self._fail_unreadable_input(task))

    def video(self, ask: ParsedRequest) -> Response:
        body, prompt = ask.body, ask.body.get_text("prompt")
        parent_id, action = body.get_text("taskId"), body.get_text("action")
        if (not prompt and not parent_id) or (parent_id and action != "extend"):
            raise validation_error("参数错误")
        if body.get_text("motion") not in ("", "low", "high") or body.get_int(
            "batchSize", 4
        ) not in (
            1,
            2,
            4,
        ):
            raise validation_error("参数错误")
        parent = self._get_parent(parent_id) if parent_id else None
        names = (
            (self.image_store.save_input_image(body.get_text("image")),)
            if body.get_text("image")
            else ()
        )
        end = (
            self.image_store.save_input_image(body.get_text("endImage"))
            if body.get_text("endImage")
            else None
        )
        self._reject_banned(prompt)
        task = self._build_task(
            ask,
            "VIDEO_EXTEND" if parent else "VIDEO",
            "film",
            "film" if parent else "video",
            prompt,
            "",
        )
        task.description, task.input_images = f"/video {prompt}", names
        task.parent, task.prompt = (
            (parent.number, prompt or parent.prompt) if parent else (-1, prompt)
        )
        told = {
            "motion": body.get_text("motion") or "low",
            "batch": body.get_int("batchSize", 4),
            "end": end,
        }
        task.details = {
            **told,
            "loop": body.get_bool("loop"),
            "index": min(3, max(0, body.get_int("index"))) + 1,
        }
        return self._submit(self._fail_unreadable_input(task))

    def swap(self, ask: ParsedRequest) -> Response:
        return self._submit_swap(ask, "SWAP_FACE", "swap", "swap")

    def video_swap(self, ask: ParsedRequest) -> Response:
        return self._submit_swap(ask, "SWAP_VIDEO_FACE", "film", "swap")

    def _submit_swap(self, ask: ParsedRequest, action: str, kind: str, op: str) -> Response:
        given = [
            ask.body.get_text(f"{side}Base64")
            or (ask.body.get_text(f"{side}Url") if self.dialect.accepts_raw_images else "")
            for side in ("source", "target")
        ]
        if not all(given):
            raise validation_error("sourceBase64和targetBase64不能为空")
        names = tuple(self.image_store.save_input_image(text) for text in given)
        self._check_account(ask.body)
        task = self._build_task(ask, action, kind, op, "", "/swap")
        task.input_images = names
        if kind == "film":
            task.details = {"batch": 1}
            return self._submit(task)
        return self._submit(self._fail_unreadable_input(task))

    def show(self, ask: ParsedRequest) -> Response:
        """Bring back a picture by the uuid in its name."""
        found = UUID_RE.search(ask.body.get_text("jobId"))
        shown = self.image_store.find_by_uuid(found[0]) if found else None
        if shown is None or shown.phase.status != SUCCESS:
            raise validation_error("jobId参数错误")
        task = self._build_task(
            ask, "SHOW", "show", "same", shown.prompt, f"/show {found[0] if found else ''}"
        )
        task.parent = shown.number
        return self._submit(task)

    # ── task endpoints ──

    def fetch(self, ask: ParsedRequest) -> Response:
        task = self.tasks_by_id.get(ask.path_id)
        return (
            json_response(self.dialect.render_task(self, task))
            if task
            else self.dialect.unknown_task_response
        )

    def _render_tasks(self, tasks: Iterable[Task]) -> Response:
        return json_response([self.dialect.render_task(self, task) for task in tasks])

    def list_tasks(self, _: ParsedRequest) -> Response:
        """Newest first."""
        known = [task for task in reversed(self._tasks) if self.tasks_by_id.get(task.id) is task]
        return self._render_tasks(known[: self.dialect.list_limit])

    def list_queue(self, _: ParsedRequest) -> Response:
        return self._render_tasks(self._get_queued_tasks())

    def _get_queued_tasks(self) -> list[Task]:
        """Waiting and running, oldest first."""
        inside = [
            task
            for lane in self._queues.values()
            for part in (lane.running, lane.waiting)
            for task in part.values()
        ]
        return sorted(inside, key=lambda task: task.number)

    def list_by_condition(self, ask: ParsedRequest) -> Response:
        return self._render_tasks(self._find_by_ids(ask.body.get_texts("ids")))

    def list_by_ids(self, ask: ParsedRequest) -> Response:
        tasks = self._find_by_ids(ask.body.get_texts("ids"))
        return json_response(
            [
                self.dialect.render_task(self, task) | {"displays": render_displays(self, task)}
                for task in tasks
            ]
        )

    def _find_by_ids(self, ids: list[str]) -> list[Task]:
        """Those in the queue first, so the order is not that of the ids."""
        found = list(
            {
                task_id: self.tasks_by_id[task_id] for task_id in ids if task_id in self.tasks_by_id
            }.values()
        )
        return sorted(
            found,
            key=lambda task: task.phase.status in TERMINAL_STATUSES or task.phase.status == MODAL,
        )

    def query_tasks(self, ask: ParsedRequest) -> Response:
        """Filtered and paged; any of a task's fields may be asked for."""
        body = ask.body
        found = [
            task
            for task in self._tasks
            if self.tasks_by_id.get(task.id) is task and self._matches(task, body)
        ]
        if not body.get_text("sort").endswith("asc"):
            found.reverse()
        page, size = (
            max(0, body.get_int("pageNumber")),
            min(1000, max(1, body.get_int("pageSize", 10))),
        )
        return json_response(
            {
                "content": [
                    self.dialect.render_task(self, task)
                    for task in found[page * size : page * size + size]
                ],
                "totalElements": len(found),
                "totalPages": math.ceil(len(found) / size),
                "number": page,
                "size": size,
            }
        )

    def _matches(self, task: Task, body: Body) -> bool:
        exact = {
            "id": task.id,
            "action": task.action,
            "status": task.phase.status,
            "state": task.state,
            "instanceId": self.instance_id,
        }
        parts = {"prompt": task.prompt, "promptEn": task.prompt, "description": task.description}
        parts["failReason"] = task.phase.reason or ""
        return (
            all(not body.get(name) or body[name] == value for name, value in exact.items())
            and all(not body.get(name) or body[name] in value for name, value in parts.items())
            and (not body.get("ids") or task.id in body["ids"])
            and (not body.get("statusSet") or task.phase.status in body["statusSet"])
        )

    def get_image_seed(self, ask: ParsedRequest) -> Response:
        task = self.tasks_by_id.get(ask.path_id)
        if task is None:
            raise ErrorResponse(
                submit_response(3, "任务不存在或已失效", status=self.dialect.missing_parent_status)
            )
        if task.phase.status != SUCCESS or task.kind in ("describe", "shorten"):
            raise validation_error(
                "任务状态错误", 400 if self.dialect.missing_parent_status == 404 else 200
            )
        return submit_response(1, "成功", str(self.image_store.get_seed(task)))

    def cancel(self, ask: ParsedRequest) -> Response:
        task = self.tasks_by_id.get(ask.path_id)
        if task and task.phase.status not in TERMINAL_STATUSES:
            status, reason = self.dialect.cancel_outcome
            self._finish_task(task, status, self.clock.now(), reason)
            return EMPTY_RESPONSE if reason else json_response({"code": 1, "description": "成功"})
        if self.dialect.cancel_outcome[1]:
            return EMPTY_RESPONSE
        return json_response(
            {"code": 4, "description": "任务已结束"}
            if task
            else {"code": 3, "description": "任务不存在"}
        )

    # ── the rest ──

    def list_accounts(self, _: ParsedRequest) -> Response:
        return json_response([self._render_account()])

    def fetch_account(self, ask: ParsedRequest) -> Response:
        return (
            json_response(self._render_account())
            if ask.path_id == self.instance_id
            else EMPTY_RESPONSE
        )

    def _render_account(self) -> dict[str, Any]:
        """The real server shows the account's token here; this one has none to show."""
        running, waiting = self._limits
        return {
            "id": self.instance_id,
            "guildId": self.image_store.guild_id,
            "channelId": self.image_store.channel_id,
            "userToken": "sandbox-no-token",
            "userAgent": "Mozilla/5.0 (sandbox)",
            "enable": True,
            "coreSize": running,
            "queueSize": waiting,
            "timeoutMinutes": 5,
            "properties": {},
        }

    def serve_relayed_image(self, ask: ParsedRequest) -> Response:
        """A relay passes pictures on to anybody."""
        task = self.tasks_by_id.get(ask.path_id)
        if task is None:
            return json_response({"error": "midjourney_task_not_found"}, 400)
        phase = self.get_relayed_phase(task)
        if task.op in ("describe", "retry") and task.input_images:
            return image_response(self.image_store.blobs[task.input_images[0]])
        if phase.status == SUCCESS and task.op != "shorten":
            return self.image_store.render(
                task, "cell 0 .webp" if task.kind in VIDEO_KINDS else "whole"
            )
        if phase.status == IN_PROGRESS and phase.percent:
            return self.image_store.render(task, f"preview {phase.percent}")
        return json_response({"error": "http_get_image_failed"}, 500 if not phase.status else 404)

    # ── what a relay knows ──

    def _get_last_refresh(self, now: float, before: bool = False) -> float:
        """The relay's latest refresh."""
        count = math.floor((now - self._started_at) / RELAY_REFRESH_INTERVAL)
        tick = self._started_at + count * RELAY_REFRESH_INTERVAL
        return tick - RELAY_REFRESH_INTERVAL if before and tick >= now else tick

    def get_relayed_phase(self, task: Task) -> Phase:
        tick = self._get_last_refresh(self.clock.now())
        limit = task.submitted / 1000 + HOUR
        if tick >= limit and (task.phase.finish is None or task.phase.finish / 1000 > limit):
            return Phase(FAILURE, 100, task.phase.start, round(limit * 1000), RELAY_TIMEOUT_REASON)
        return task.phase if task.changed_at <= tick else task.last_relayed or Phase("")

    def build_relayed_url(self, task: Task, phase: Phase) -> str:
        if task.op == "shorten" or phase.status not in (IN_PROGRESS, SUCCESS) or not phase.percent:
            return ""
        fresh = (
            ""
            if phase.status == SUCCESS
            else f"?rand={self.image_store.derive_number((task.number, phase.percent), 10**19)}"
        )
        return f"{self.image_store.origin}/mj/image/{task.id}{fresh}"


def _load_task(row: list[Any]) -> Task:
    kept = dict(zip((slot.name for slot in fields(Task)), row, strict=True))
    kept["phase"] = Phase(*kept["phase"])
    kept["last_relayed"] = Phase(*kept["last_relayed"]) if kept["last_relayed"] else None
    kept["input_images"] = tuple(kept["input_images"])
    return Task(**kept)


def _parse_requested_mode(body: Body, prompt: str) -> str:
    """accountFilter.modes before --fast, --relax or --turbo in the prompt."""
    modes = body.get_object("accountFilter").get("modes")
    if isinstance(modes, list) and modes and isinstance(modes[0], str):
        return parse_speed_mode(modes[0])
    named = [name.upper() for name in parse_parameters(prompt) if parse_speed_mode(name)]
    return named[0] if named else ""


# ── endpoints
# ────────────────────────────────────────────────────────────────────────────────────────────────────────

SUBMIT_ENDPOINTS = (
    "imagine",
    "change",
    "simple-change",
    "describe",
    "blend",
    "shorten",
    "action",
    "modal",
    "upload-discord-images",
    "edits",
    "retexture",
    "video",
    "show",
)
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
ROUTES: dict[str, tuple[str, str]] = {
    **{f"/submit/{name}": (name, "POST") for name in SUBMIT_ENDPOINTS},
    "/submit/edit": ("edits", "POST"),
    "/insight-face/swap": ("swap", "POST"),
    "/insight-face/video-swap": ("video-swap", "POST"),
    "/task/list": ("list", "GET"),
    "/task/queue": ("queue", "GET"),
    "/task/list-by-condition": ("list-by-condition", "POST"),
    "/task/list-by-ids": ("list-by-ids", "POST"),
    "/task/query": ("query", "POST"),
    "/account/list": ("account-list", "GET"),
}
ID_ROUTES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"/task/([^/]+)/fetch"), "fetch", "GET"),
    (re.compile(r"/task/([^/]+)/image-seed"), "image-seed", "GET"),
    (re.compile(r"/task/([^/]+)/cancel"), "cancel", "POST"),
    (re.compile(r"/account/([^/]+)/fetch"), "account", "GET"),
    (re.compile(r"/image/([^/]+)"), "image", "GET"),
)
ENDPOINTS_WITHOUT_BODY = frozenset({"cancel"})
MULTIPART_ENDPOINTS = frozenset({"swap", "video-swap"})


def _resolve_endpoint(path: str) -> tuple[str, str, str]:
    """(name, method, id in the path) of what is behind a path after /mj."""
    if path in ROUTES:
        return (*ROUTES[path], "")
    for pattern, name, method in ID_ROUTES:
        if found := pattern.fullmatch(path):
            return name, method, found[1]
    return "", "", ""
