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
from jupyter_mjci.emulator.http import Answer, Delivery, Request
from jupyter_mjci.emulator.midjourney.bodies import (
    EMPTY,
    JSON,
    BadBody,
    Body,
    Refused,
    answer,
    compact,
    from_form,
    invalid,
    picture_answer,
    read_body,
    submitted,
)
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS, HOUR
from jupyter_mjci.emulator.midjourney.image_store import UUID, Gallery
from jupyter_mjci.emulator.midjourney.relay import RELAY_CHECKS, reworded
from jupyter_mjci.emulator.midjourney.tasks import (
    BANNED,
    CANCEL,
    CHANGES,
    ENDED,
    FAILURE,
    FILMS,
    IN_PROGRESS,
    KINDS,
    LAG,
    MODAL,
    MOVES,
    NOT_START,
    PACE,
    SQUARE,
    SUBMITTED,
    SUCCESS,
    Move,
    Phase,
    Task,
    fate_of,
    mode_of,
    parameters,
    read_change,
    same_button,
)
from jupyter_mjci.emulator.midjourney.views import displays

LATE = "上游任务超时（超过1小时）"
RATIOS = {"PORTRAIT": 2 / 3, "SQUARE": 1.0, "LANDSCAPE": 3 / 2}


class Ask(NamedTuple):
    """One request, taken apart."""

    request: Request
    endpoint: str
    mode: str
    about: str  # the id in the path
    body: Body


class Lane:
    """What runs and what waits, in order of arrival."""

    def __init__(self, running: int, waiting: int) -> None:
        self.limit, self.room = running, waiting
        self.running: dict[int, Task] = {}
        self.waiting: dict[int, Task] = {}

    def full(self) -> bool:
        return len(self.running) >= self.limit and len(self.waiting) >= self.room

    def drop(self, task: Task) -> None:
        self.running.pop(task.number, None)
        self.waiting.pop(task.number, None)


TIMEOUT, SWEEP = 300.0, 30.0  # a task that takes longer has failed; looked for this often
REFRESH = 15.0  # how often a relay asks
HOME = "http://mj.sandbox.localhost"
_ZOOM = re.compile(r"--zoom\s+(\d(?:\.\d{1,3})?)(?!\S)")


class MidjourneyProxy:
    """A Midjourney proxy of one family ("java", "plus", "trueai", "trueai-9", "new-api").

    `pace` stretches every task's duration; `failing` is the chance that a task fails; `running` and
    `waiting` are the account's limits; `remix` makes variations ask for a prompt first; `banned`
    are the refused words; `notify_hook` hears of tasks that name no hook of their own; `duplicates`
    and `disorder` are the chances that a callback comes twice or after its successor. `public_url`
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
        running: int = 3,
        waiting: int = 10,
        pace: float = 1.0,
        failing: float = 0.0,
        remix: bool = False,
        banned: Iterable[str] = BANNED,
        notify_hook: str = "",
        duplicates: float = 0.1,
        disorder: float = 0.05,
    ) -> None:
        self.clock, self.dialect, self.secret = clock, DIALECTS[dialect], secret
        self.public_url, self.pace, self.failing, self.remix = public_url, pace, failing, remix
        self.notify_hook, self.duplicates, self.disorder = notify_hook, duplicates, disorder
        self.outbox: list[Delivery] = []
        self._banned = re.compile(rf"\b({'|'.join(map(re.escape, banned)) or '(?!)'})\b", re.I)
        self._limits = (running, waiting)
        self._born = clock.now()
        self._here = HOME
        self._tasks: list[Task] = []
        kept = {"signed": self.dialect.signed, "raw_pictures": self.dialect.raw_pictures}
        self.gallery = Gallery(clock, seed, self._tasks, **kept)
        self._forget_all()

    @property
    def instance(self) -> str:
        """The account's id, which is also its channel's."""
        return self.gallery.channel

    def _forget_all(self) -> None:
        self._tasks.clear()
        self.gallery.clear()
        self.known: dict[str, Task] = {}
        self._lanes = {"": Lane(*self._limits), "RELAX": Lane(*self._limits)}
        self._heap: list[tuple[float, int]] = []
        self._held: dict[int, Delivery] = {}
        self._locate()

    def _locate(self) -> None:
        """Where links are to point."""
        self.gallery.origin = (
            "" if self.dialect.relative else (self.public_url or self._here).rstrip("/")
        )

    # ── the shape that every stand-in has ──

    def handle(self, request: Request) -> Answer:
        """Answer a request; whatever is wrong with it, in the service's own words."""
        try:
            if request.host and self.public_url is None:
                self._here = f"{request.scheme}://{request.host}"
            self._locate()
            self.advance()
            return self._answer(request)
        except Refused as refusal:
            return refusal.reply
        except BadBody as error:
            return self.dialect.bad_body(self, request, str(error))

    def advance(self) -> None:
        """Let everything happen that is due by now, in the order in which it is due."""
        now, heap = self.clock.now(), self._heap
        while heap and heap[0][0] <= now:
            due, number = heapq.heappop(heap)
            task = self._tasks[number]
            if task.due == due:
                self._step(task, due)

    def next_event(self) -> float | None:
        """When the next task changes by itself."""
        while self._heap and self._tasks[self._heap[0][1]].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def freeze(self, task_id: str) -> None:
        """The task changes no more by itself (for faults: a stuck progress)."""
        if task := self.known.get(task_id):
            task.due = None

    def forget(self, task_id: str) -> None:
        """The task is lost: nobody knows its id any more (its picture stays where it is)."""
        if task := self.known.pop(task_id, None):
            task.due = None
            self._leave(task, self.clock.now())

    def snapshot(self) -> dict[str, Any]:
        """Everything that a restart would lose, as JSON but for the bytes of the pictures that were
        sent.
        """
        return {
            "seed": self.gallery.seed,
            "born": self._born,
            "tasks": [[getattr(task, slot.name) for slot in fields(Task)] for task in self._tasks],
            "known": [task.number for task in self.known.values()],
            "lanes": {
                name: [[*lane.running], [*lane.waiting]] for name, lane in self._lanes.items()
            },
            "blobs": dict(self.gallery.blobs),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Take up what `snapshot` kept."""
        self._forget_all()
        self.gallery.seed, self._born = snapshot["seed"], snapshot["born"]
        self._tasks.extend(_thawed(row) for row in snapshot["tasks"])
        self.known = {self._tasks[number].id: self._tasks[number] for number in snapshot["known"]}
        self.gallery.blobs = dict(snapshot["blobs"])
        for name, (running, waiting) in snapshot["lanes"].items():
            self._lanes[name].running = {number: self._tasks[number] for number in running}
            self._lanes[name].waiting = {number: self._tasks[number] for number in waiting}
        self._heap = [(task.due, task.number) for task in self._tasks if task.due is not None]
        heapq.heapify(self._heap)

    # ── from a request to its endpoint ──

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/attachments/"):
            return self.gallery.follow(request)
        found = self.dialect.prefix.fullmatch(unquote(request.path))
        if not found:
            return self.dialect.no_path(request)
        endpoint, method, about = _endpoint(found[2] or "")
        known = endpoint in self.dialect.endpoints
        reply = None if known else self.dialect.no_path(request)
        if known and method != request.method.upper().replace("HEAD", "GET"):
            reply = self.dialect.no_method(request)
        if reply and self.dialect.routes_first:
            return reply
        self._check_entry(request, endpoint)
        if reply:
            return reply
        body = Body() if method == "GET" or endpoint in BODILESS else self._body(request, endpoint)
        return self._served(Ask(request, endpoint, mode_of(found[1]), about, body))

    def _check_entry(self, request: Request, endpoint: str) -> None:
        if not self.secret or endpoint in self.dialect.open_paths:
            return
        if not self.dialect.allows(request.headers, self.secret):
            raise Refused(self.dialect.no_entry(request.headers))

    def _body(self, request: Request, endpoint: str) -> Body:
        if endpoint in MULTIPART and "multipart/" in request.headers.get("content-type", ""):
            return from_form(request)
        return read_body(request.body, self.dialect.strict)

    def _served(self, ask: Ask) -> Answer:
        if not self.dialect.relay:
            return SERVED[ask.endpoint](self, ask)
        if check := RELAY_CHECKS.get(ask.endpoint):
            check(self, ask)
        return reworded(ask, SERVED[ask.endpoint](self, ask))

    # ── tasks by name and number ──

    def task_at(self, number: int) -> Task | None:
        return self._tasks[number] if 0 <= number < len(self._tasks) else None

    def _chance(self, *name: object) -> float:
        return image_generator.unit(self.gallery.seed, *name)

    # ── making tasks ──

    def _new(
        self, ask: Ask, action: str, kind: str, op: str, prompt: str, description: str
    ) -> Task:
        """A task that nobody knows yet."""
        body, now = ask.body, self.clock.now()
        number = len(self._tasks)
        task = Task(
            number=number,
            id=self._fresh_id(now, number),
            action=action,
            kind=kind,
            op=op,
            prompt=prompt,
            description=description,
            submitted=round(now * 1000),
            phase=Phase(NOT_START),
            state=body.get("state"),
            hook=body.text("notifyHook") or None,
            bot="NIJI_JOURNEY" if body.text("botType") == "NIJI_JOURNEY" else "MID_JOURNEY",
            mode=ask.mode or _wanted_mode(body, prompt),
            changed=now,
        )
        task.fate = fate_of(prompt) if kind != "describe" else ""
        if not task.fate and self._chance("fail", number) < self.failing:
            task.fate = "Internal error"
        return task

    def _fresh_id(self, now: float, number: int) -> str:
        """Milliseconds and three more digits; in a burst just the next number."""
        first = math.floor(now * 1000) * 1000 + self.gallery.number(("id", number), 500)
        last = int(self._tasks[-1].id) if self._tasks else 0
        return str(last + 1 if last // 1000 >= first // 1000 else first)

    def _keep(self, task: Task) -> None:
        self._tasks.append(task)
        self.known[task.id] = task

    def _child(self, ask: Ask, parent: Task, move: Move) -> Task:
        """The task that a button of `parent` makes."""
        prompt = self._prompt_behind(parent, move)
        task = self._new(
            ask,
            self._action(move, parent),
            move.kind,
            move.op,
            prompt,
            f"/up {parent.id} {move.word}",
        )
        task.parent, task.move, task.bot = parent.number, move.key, parent.bot
        if move.op == "retry":
            task.sent, task.description = parent.sent, parent.description
        return task

    def _action(self, move: Move, parent: Task) -> str:
        name = self.dialect.names.get(move.action, move.action)
        if name != "parent":
            return name
        return "IMAGINE" if parent.action == "UPSCALE" else parent.action

    def _prompt_behind(self, parent: Task, move: Move) -> str:
        if parent.kind in ("describe", "shorten") and move.op == "imagine":
            return self.gallery.proposals(parent)[int(move.args.get("index", 1)) - 1]
        return parent.prompt

    def _submit(self, task: Task) -> Answer:
        """Into the queue with it; the answer says whether it has to wait."""
        lane = self._lane(task)
        if lane.full():
            code, words = self.dialect.full
            return submitted(code, words, None, {"discordInstanceId": self.instance})
        if task.number == len(self._tasks):
            self._keep(task)
        return self._accepted(task, self._enter(task, lane, self.clock.now()))

    def _accepted(self, task: Task, ahead: int) -> Answer:
        about = {"discordInstanceId": self.instance}
        if self.dialect.tells_prompt:
            about["discordChannelId"] = self.gallery.channel
        if not ahead:
            task.note = "提交成功"
            return submitted(1, task.note, task.id, about)
        task.note = f"排队中，前面还有{ahead}个任务"
        return submitted(22, task.note, task.id, {"numberOfQueues": ahead, **about})

    def _ask_more(self, task: Task) -> Answer:
        """The task waits, outside every queue, for what submit/modal will say."""
        self._keep(task)
        self._set(task, Phase(MODAL), self.clock.now())
        task.note = self.dialect.confirm
        about = {"finalPrompt": task.prompt, "remix": True} if self.dialect.tells_prompt else {}
        return submitted(21, task.note, task.id, about)

    # ── the queue and the course of a task ──

    def _lane(self, task: Task) -> Lane:
        return self._lanes["RELAX" if task.mode == "RELAX" and self.dialect.relax_lane else ""]

    def _enter(self, task: Task, lane: Lane, now: float) -> int:
        """How many were already waiting. Those that run do not count, so the first one to wait
        hears of none.
        """
        ahead = len(lane.waiting)
        if len(lane.running) < lane.limit:
            self._begin(task, lane, now)
            return 0
        lane.waiting[task.number] = task
        if self.dialect.wait_limit:
            self._plan(task, now + self.dialect.wait_limit)
        return ahead

    def _begin(self, task: Task, lane: Lane, now: float) -> None:
        lane.running[task.number] = task
        task.step = 0
        self._plan(task, now + LAG * self.pace)

    def _plan(self, task: Task, due: float) -> None:
        task.due = due
        heapq.heappush(self._heap, (due, task.number))

    def _leave(self, task: Task, now: float) -> None:
        """Out of the queue; who waits longest takes the place."""
        lane = self._lane(task)
        lane.drop(task)
        while lane.waiting and len(lane.running) < lane.limit:
            after = lane.waiting.pop(next(iter(lane.waiting)))
            self._begin(after, lane, now)

    def _step(self, task: Task, now: float) -> None:
        """The next thing that happens to a task."""
        task.due = None
        if task.number in self._lane(task).waiting:
            return self._end(task, FAILURE, now, "任务提交超时")
        task.step += 1
        steps, moment = KINDS[task.kind].steps, round(now * 1000)
        if task.step == 1:
            self._set(task, Phase(SUBMITTED, 0, moment), now)
        elif self._fails_at(task):
            return self._end(task, FAILURE, now, "任务超时" if task.fate == "stuck" else task.fate)
        elif task.step - 2 < len(steps):
            self._set(task, Phase(IN_PROGRESS, steps[task.step - 2], task.phase.start), now)
        else:
            return self._end(task, SUCCESS, now)
        self._plan(task, self._next_due(task, now))
        return None

    def _fails_at(self, task: Task) -> bool:
        """A bad parameter is refused at once; trouble comes half way; a stuck task is given up."""
        if not task.fate:
            return False
        half = 2 + len(KINDS[task.kind].steps) // 2
        return task.step >= (2 if task.fate.startswith("[") else half + (task.fate == "stuck"))

    def _next_due(self, task: Task, now: float) -> float:
        if task.fate == "stuck" and task.step > 1 and self._fails_next(task):
            limit = (task.phase.start or 0) / 1000 + TIMEOUT
            return self._born + math.ceil((limit - self._born) / SWEEP) * SWEEP
        return now + self.duration(task) / (len(KINDS[task.kind].steps) + 1)

    def _fails_next(self, task: Task) -> bool:
        return task.step + 1 >= 3 + len(KINDS[task.kind].steps) // 2

    def duration(self, task: Task) -> float:
        """Seconds from accepted to done: the task's own, from seed, prompt and number."""
        kind = KINDS[task.kind]
        share = self._chance("duration", task.number, task.prompt)
        return (kind.low + (kind.high - kind.low) * share) * self.pace * PACE.get(task.mode, 1.0)

    def _end(self, task: Task, status: str, now: float, reason: str | None = None) -> None:
        task.due = None
        percent = 100 if status == SUCCESS else task.phase.percent
        self._leave(task, now)
        self._set(task, Phase(status, percent, task.phase.start, round(now * 1000), reason), now)

    def _set(self, task: Task, phase: Phase, now: float) -> None:
        if self.dialect.relay:
            if self._tick(now, before=True) >= task.changed:
                task.shown = task.phase
            task.changed = now
        task.phase = phase
        self._announce(task)

    # ── callbacks ──

    def _announce(self, task: Task) -> None:
        """Every change after the start is told, once; nobody listens to the answer."""
        hook = task.hook or self.notify_hook
        if not hook or not self.dialect.hooks or task.phase.status in (NOT_START, MODAL):
            return
        told = Delivery(hook, compact(self.dialect.view(self, task)), JSON)
        held = self._held.pop(task.number, None)
        late = self._chance("late", task.number, task.step) < self.disorder
        if late and held is None and task.phase.status not in ENDED:
            self._held[task.number] = told
            return
        twice = (
            self.dialect.duplicates
            and self._chance("twice", task.number, task.step) < self.duplicates
        )
        self.outbox += [told] * (2 if twice else 1) + ([held] if held else [])

    def button_keys(self, task: Task) -> tuple[str, ...]:
        if task.phase.status != SUCCESS:
            return ()
        keys = KINDS[task.kind].buttons
        if task.kind == "show" and len(self.gallery.recipe(task)) == 1:
            keys = KINDS["upscale"].buttons
        if (
            task.kind in ("upscale", "hd")
            and image_generator.ratio_of(self.gallery.recipe(task)[0]) != 1
        ):
            at = keys.index("MJ::CustomZoom::{h}")
            keys = (*keys[:at], SQUARE, *keys[at:])
        return keys

    # ── pictures that clients send ──

    def _refuse_banned(self, prompt: str) -> None:
        if found := self._banned.search(prompt):
            about = {"promptEn": prompt, "bannedWord": found[1].lower()}
            raise Refused(submitted(24, "可能包含敏感词", None, about))

    def _check_account(self, body: Body) -> None:
        """An accountFilter that fits no account finds none."""
        wanted = body.object("accountFilter") or body.object("filter")
        for key in ("instanceId", "channelId"):
            if wanted.get(key) and wanted[key] != self.instance:
                raise Refused(submitted(3, "无可用的账号实例"))

    # ── submit endpoints ──

    def imagine(self, ask: Ask) -> Answer:
        prompt = ask.body.text("prompt")
        if not prompt:
            raise invalid("prompt不能为空")
        single = [ask.body["base64"]] if ask.body.get("base64") else []
        names = tuple(
            self.gallery.received(text) for text in [*ask.body.texts("base64Array"), *single]
        )
        self._refuse_banned(prompt)
        self._check_account(ask.body)
        task = self._new(ask, "IMAGINE", "grid", "imagine", prompt, f"/imagine {prompt}")
        task.sent = names
        return self._submit(self._doubting(task))

    def _doubting(self, task: Task) -> Task:
        """Bytes that are no picture are taken, and fail later."""
        if not task.fate and not all(
            image_generator.is_picture(self.gallery.blobs[name]) for name in task.sent
        ):
            task.fate = "[Invalid image] The file could not be read as an image"
        return task

    def simple_change(self, ask: Ask) -> Answer:
        found = read_change(ask.body.text("content"))
        if found is None:
            raise invalid("content参数错误")
        return self._change(ask, *found)

    def change(self, ask: Ask) -> Answer:
        task_id, action = ask.body.text("taskId"), ask.body.text("action")
        if not task_id:
            raise invalid("taskId不能为空")
        if action not in CHANGES:
            raise invalid("action参数错误")
        return self._change(ask, task_id, action, ask.body.number("index"))

    def _change(self, ask: Ask, task_id: str, action: str, index: int) -> Answer:
        parent = self._parent(task_id)
        if parent.action not in ("IMAGINE", "VARIATION", "REROLL", "BLEND"):
            raise invalid("关联任务不允许执行变化")
        wrong = action != "REROLL" and not 1 <= index <= 4
        key = CHANGES[action].format(1 if wrong else index, h="{h}")
        return self._pressed(
            ask, parent, MOVES[key], "[Invalid index] No such picture" if wrong else ""
        )

    def _parent(self, task_id: str, done: bool = True) -> Task:
        parent = self.known.get(task_id)
        if parent is None:
            raise Refused(submitted(3, "关联任务不存在或已失效", status=self.dialect.missing))
        if done and parent.phase.status != SUCCESS:
            raise invalid("关联任务状态错误")
        return parent

    def act(self, ask: Ask) -> Answer:
        task_id, custom_id = ask.body.text("taskId"), ask.body.text("customId")
        if not task_id:
            raise invalid("taskId不能为空")
        if not custom_id:
            raise invalid("customId不能为空")
        parent = self._parent(task_id)
        key = custom_id.replace(self.gallery.uuid(parent), "{h}").replace(
            "MJ::CustomZoom::1::", "MJ::CustomZoom::"
        )
        move = MOVES.get(key)
        if (
            move is None
            or not move.known
            or custom_id.startswith(self.dialect.unsupported or ("\0",))
        ):
            raise invalid("不支持的操作类型")
        if key not in self.button_keys(parent) and not same_button(key, self.button_keys(parent)):
            raise invalid("关联按钮错误")
        self._check_account(ask.body)
        if key == "MJ::Job::PicReader::all":
            return self._imagine_all(ask, parent)
        return self._pressed(ask, parent, move)

    def _pressed(self, ask: Ask, parent: Task, move: Move, fate: str = "") -> Answer:
        """What a button does: give the task it made before, ask for more, or make one."""
        remix = (
            self.remix
            or ask.body.flag("enableRemix")
            or ask.body.object("accountFilter").get("remix") is True
        )
        modal = move.modal == "always" or (move.modal == "remix" and remix)
        if (
            self.dialect.adopts
            and move.once
            and not modal
            and (before := self._made_before(parent, move))
        ):
            about = {"status": before.phase.status, "imageUrl": self.gallery.image_url(before)}
            return submitted(21, "任务已存在", before.id, about)
        task = self._child(ask, parent, move)
        task.fate = fate or task.fate
        reply = self._ask_more(task) if modal else self._submit(task)
        if task.id in self.known:
            parent.pressed = {**(parent.pressed or {}), move.key: task.number}
        return reply

    def _made_before(self, parent: Task, move: Move) -> Task | None:
        task = self.gallery.task_at((parent.pressed or {}).get(move.key, -1))
        return (
            task
            if task and task.id in self.known and task.phase.status not in (FAILURE, CANCEL)
            else None
        )

    def _imagine_all(self, ask: Ask, parent: Task) -> Answer:
        """Four tasks at once, one for each caption."""
        made: list[str] = []
        for i in range(1, 5):
            task = self._child(ask, parent, MOVES[f"MJ::Job::PicReader::{i}"])
            task.state = f"{task.state or ''}::{i}"
            reply = self._submit(task)
            if task.id not in self.known:
                return submitted(1, "提交成功", ",".join(made)) if made else reply
            made.append(task.id)
        return submitted(1, "提交成功", ",".join(made), {"discordInstanceId": self.instance})

    def modal(self, ask: Ask) -> Answer:
        """The rest of what a MODAL task needs; it keeps its id."""
        task_id = ask.body.text("taskId")
        if not task_id:
            raise invalid("taskId不能为空")
        task = self._parent(task_id, done=False)
        if task.phase.status != MODAL and not self.dialect.tells_prompt:
            raise invalid("关联任务状态错误")
        prompt = ask.body.text("prompt") or task.prompt
        mask = (
            self.gallery.received(ask.body["maskBase64"]) if ask.body.text("maskBase64") else None
        )
        self._refuse_banned(prompt)
        if self._lane(task).full():
            return self._submit(task)
        self._confirm(task, ask.body, prompt, mask)
        return self._submit(task)

    def _confirm(self, task: Task, body: Body, prompt: str, mask: str | None) -> None:
        """The .NET server does not mind whether the task waits for this, and starts it once
        more.
        """
        task.due = None
        self._leave(task, self.clock.now())
        self.gallery.repaint(task)
        task.fate = fate_of(prompt)
        task.details = {**(task.details or {}), **({"mask": mask} if mask else {})}
        if task.move == "MJ::CustomZoom::{h}":
            found = _ZOOM.search(prompt if body.text("prompt") else f"{prompt} --zoom 2")
            factor = float(found[1]) if found else 0.0
            task.details["factor"] = max(1.0, factor)
            if not 1 <= factor <= 2:
                task.fate = "[Invalid parameter] --zoom must be between 1 and 2"
        task.prompt, task.phase = prompt, Phase(NOT_START)
        task.hook = body.text("notifyHook") or task.hook
        task.state = body.get("state") or task.state

    def describe(self, ask: Ask) -> Answer:
        text = ask.body.text("base64") or (
            ask.body.text("link") if self.dialect.raw_pictures else ""
        )
        if not text:
            raise invalid("base64不能为空")
        name = self.gallery.received(text)
        self._check_account(ask.body)
        task = self._new(ask, "DESCRIBE", "describe", "describe", "", f"/describe {name}.png")
        task.sent = (name,)
        return self._submit(self._doubting(task))

    def blend(self, ask: Ask) -> Answer:
        texts = ask.body.texts("base64Array")
        if not 2 <= len(texts) <= 5:
            raise invalid("base64List参数错误")
        dimensions = ask.body.get("dimensions", "SQUARE")
        if dimensions not in RATIOS:
            raise invalid("dimensions参数错误")
        names = tuple(self.gallery.received(text) for text in texts)
        self._check_account(ask.body)
        task = self._new(ask, "BLEND", "grid", "blend", "", f"/blend {len(names)} {dimensions}")
        task.sent, task.details = names, {"ratio": RATIOS[dimensions]}
        return self._submit(self._doubting(task))

    def shorten(self, ask: Ask) -> Answer:
        prompt = ask.body.text("prompt")
        if not prompt:
            raise invalid("prompt不能为空")
        self._refuse_banned(prompt)
        self._check_account(ask.body)
        return self._submit(
            self._new(ask, "SHORTEN", "shorten", "shorten", prompt, f"/shorten {prompt}")
        )

    def upload(self, ask: Ask) -> Answer:
        texts = ask.body.texts("base64Array")
        if not texts:
            raise invalid("base64Array不能为空")
        now = round(self.clock.now() * 1000)
        return submitted(
            1,
            "提交成功",
            [self.gallery.blob_url(self.gallery.received(text), now) for text in texts],
        )

    def edits(self, ask: Ask) -> Answer:
        return self._studio(ask, "EDIT", "edit")

    def retexture(self, ask: Ask) -> Answer:
        return self._studio(ask, "RETEXTURE", "retexture")

    def _studio(self, ask: Ask, action: str, op: str) -> Answer:
        prompt = ask.body.text("prompt")
        given = (
            ask.body.text("image")
            or ask.body.text("base64")
            or next(iter(ask.body.texts("base64Array")), "")
        )
        if not prompt or not given:
            raise invalid("prompt和image不能为空")
        names = (self.gallery.received(given),)
        mask = (
            self.gallery.received(ask.body["maskBase64"]) if ask.body.text("maskBase64") else None
        )
        self._refuse_banned(prompt)
        task = self._new(ask, action, "grid", op, prompt, f"/{op} {prompt}")
        task.sent, task.details = names, {"mask": mask} if mask else None
        return self._submit(self._doubting(task))

    def video(self, ask: Ask) -> Answer:
        body, prompt = ask.body, ask.body.text("prompt")
        parent_id, action = body.text("taskId"), body.text("action")
        if (not prompt and not parent_id) or (parent_id and action != "extend"):
            raise invalid("参数错误")
        if body.text("motion") not in ("", "low", "high") or body.number("batchSize", 4) not in (
            1,
            2,
            4,
        ):
            raise invalid("参数错误")
        parent = self._parent(parent_id) if parent_id else None
        names = (self.gallery.received(body.text("image")),) if body.text("image") else ()
        end = self.gallery.received(body.text("endImage")) if body.text("endImage") else None
        self._refuse_banned(prompt)
        task = self._new(
            ask,
            "VIDEO_EXTEND" if parent else "VIDEO",
            "film",
            "film" if parent else "video",
            prompt,
            "",
        )
        task.description, task.sent = f"/video {prompt}", names
        task.parent, task.prompt = (
            (parent.number, prompt or parent.prompt) if parent else (-1, prompt)
        )
        told = {
            "motion": body.text("motion") or "low",
            "batch": body.number("batchSize", 4),
            "end": end,
        }
        task.details = {
            **told,
            "loop": body.flag("loop"),
            "index": min(3, max(0, body.number("index"))) + 1,
        }
        return self._submit(self._doubting(task))

    def swap(self, ask: Ask) -> Answer:
        return self._swap(ask, "SWAP_FACE", "swap", "swap")

    def video_swap(self, ask: Ask) -> Answer:
        return self._swap(ask, "SWAP_VIDEO_FACE", "film", "swap")

    def _swap(self, ask: Ask, action: str, kind: str, op: str) -> Answer:
        given = [
            ask.body.text(f"{side}Base64")
            or (ask.body.text(f"{side}Url") if self.dialect.raw_pictures else "")
            for side in ("source", "target")
        ]
        if not all(given):
            raise invalid("sourceBase64和targetBase64不能为空")
        names = tuple(self.gallery.received(text) for text in given)
        self._check_account(ask.body)
        task = self._new(ask, action, kind, op, "", "/swap")
        task.sent = names
        if kind == "film":
            task.details = {"batch": 1}
            return self._submit(task)
        return self._submit(self._doubting(task))

    def show(self, ask: Ask) -> Answer:
        """Bring back a picture by the uuid in its name."""
        found = UUID.search(ask.body.text("jobId"))
        shown = self.gallery.by_uuid(found[0]) if found else None
        if shown is None or shown.phase.status != SUCCESS:
            raise invalid("jobId参数错误")
        task = self._new(
            ask, "SHOW", "show", "same", shown.prompt, f"/show {found[0] if found else ''}"
        )
        task.parent = shown.number
        return self._submit(task)

    # ── task endpoints ──

    def fetch(self, ask: Ask) -> Answer:
        task = self.known.get(ask.about)
        return answer(self.dialect.view(self, task)) if task else self.dialect.no_task

    def _views(self, tasks: Iterable[Task]) -> Answer:
        return answer([self.dialect.view(self, task) for task in tasks])

    def list_all(self, _: Ask) -> Answer:
        """Newest first."""
        known = [task for task in reversed(self._tasks) if self.known.get(task.id) is task]
        return self._views(known[: self.dialect.newest])

    def queue(self, _: Ask) -> Answer:
        return self._views(self._queued())

    def _queued(self) -> list[Task]:
        """Waiting and running, oldest first."""
        inside = [
            task
            for lane in self._lanes.values()
            for part in (lane.running, lane.waiting)
            for task in part.values()
        ]
        return sorted(inside, key=lambda task: task.number)

    def list_some(self, ask: Ask) -> Answer:
        return self._views(self._named(ask.body.texts("ids")))

    def list_by_ids(self, ask: Ask) -> Answer:
        tasks = self._named(ask.body.texts("ids"))
        return answer(
            [self.dialect.view(self, task) | {"displays": displays(self, task)} for task in tasks]
        )

    def _named(self, ids: list[str]) -> list[Task]:
        """Those in the queue first, so the order is not that of the ids."""
        found = list(
            {task_id: self.known[task_id] for task_id in ids if task_id in self.known}.values()
        )
        return sorted(
            found, key=lambda task: task.phase.status in ENDED or task.phase.status == MODAL
        )

    def query(self, ask: Ask) -> Answer:
        """Filtered and paged; any of a task's fields may be asked for."""
        body = ask.body
        found = [
            task
            for task in self._tasks
            if self.known.get(task.id) is task and self._matches(task, body)
        ]
        if not body.text("sort").endswith("asc"):
            found.reverse()
        page, size = (
            max(0, body.number("pageNumber")),
            min(1000, max(1, body.number("pageSize", 10))),
        )
        return answer(
            {
                "content": [
                    self.dialect.view(self, task)
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
            "instanceId": self.instance,
        }
        parts = {"prompt": task.prompt, "promptEn": task.prompt, "description": task.description}
        parts["failReason"] = task.phase.reason or ""
        return (
            all(not body.get(name) or body[name] == value for name, value in exact.items())
            and all(not body.get(name) or body[name] in value for name, value in parts.items())
            and (not body.get("ids") or task.id in body["ids"])
            and (not body.get("statusSet") or task.phase.status in body["statusSet"])
        )

    def image_seed(self, ask: Ask) -> Answer:
        task = self.known.get(ask.about)
        if task is None:
            raise Refused(submitted(3, "任务不存在或已失效", status=self.dialect.missing))
        if task.phase.status != SUCCESS or task.kind in ("describe", "shorten"):
            raise invalid("任务状态错误", 400 if self.dialect.missing == 404 else 200)
        return submitted(1, "成功", str(self.gallery.seed_of(task)))

    def cancel(self, ask: Ask) -> Answer:
        task = self.known.get(ask.about)
        if task and task.phase.status not in ENDED:
            status, reason = self.dialect.cancelled
            self._end(task, status, self.clock.now(), reason)
            return EMPTY if reason else answer({"code": 1, "description": "成功"})
        if self.dialect.cancelled[1]:
            return EMPTY
        return answer(
            {"code": 4, "description": "任务已结束"}
            if task
            else {"code": 3, "description": "任务不存在"}
        )

    # ── the rest ──

    def accounts(self, _: Ask) -> Answer:
        return answer([self._account()])

    def account(self, ask: Ask) -> Answer:
        return answer(self._account()) if ask.about == self.instance else EMPTY

    def _account(self) -> dict[str, Any]:
        """The real server shows the account's token here; this one has none to show."""
        running, waiting = self._limits
        return {
            "id": self.instance,
            "guildId": self.gallery.guild,
            "channelId": self.gallery.channel,
            "userToken": "sandbox-no-token",
            "userAgent": "Mozilla/5.0 (sandbox)",
            "enable": True,
            "coreSize": running,
            "queueSize": waiting,
            "timeoutMinutes": 5,
            "properties": {},
        }

    def relayed_image(self, ask: Ask) -> Answer:
        """A relay passes pictures on to anybody."""
        task = self.known.get(ask.about)
        if task is None:
            return answer({"error": "midjourney_task_not_found"}, 400)
        phase = self.relayed(task)
        if task.op in ("describe", "retry") and task.sent:
            return picture_answer(self.gallery.blobs[task.sent[0]])
        if phase.status == SUCCESS and task.op != "shorten":
            return self.gallery.shown(task, "cell 0 .webp" if task.kind in FILMS else "whole")
        if phase.status == IN_PROGRESS and phase.percent:
            return self.gallery.shown(task, f"preview {phase.percent}")
        return answer({"error": "http_get_image_failed"}, 500 if not phase.status else 404)

    # ── what a relay knows ──

    def _tick(self, now: float, before: bool = False) -> float:
        """The relay's latest refresh."""
        count = math.floor((now - self._born) / REFRESH)
        tick = self._born + count * REFRESH
        return tick - REFRESH if before and tick >= now else tick

    def relayed(self, task: Task) -> Phase:
        tick = self._tick(self.clock.now())
        limit = task.submitted / 1000 + HOUR
        if tick >= limit and (task.phase.finish is None or task.phase.finish / 1000 > limit):
            return Phase(FAILURE, 100, task.phase.start, round(limit * 1000), LATE)
        return task.phase if task.changed <= tick else task.shown or Phase("")

    def relayed_url(self, task: Task, phase: Phase) -> str:
        if task.op == "shorten" or phase.status not in (IN_PROGRESS, SUCCESS) or not phase.percent:
            return ""
        fresh = (
            ""
            if phase.status == SUCCESS
            else f"?rand={self.gallery.number((task.number, phase.percent), 10**19)}"
        )
        return f"{self.gallery.origin}/mj/image/{task.id}{fresh}"


def _thawed(row: list[Any]) -> Task:
    kept = dict(zip((slot.name for slot in fields(Task)), row, strict=True))
    kept["phase"] = Phase(*kept["phase"])
    kept["shown"] = Phase(*kept["shown"]) if kept["shown"] else None
    kept["sent"] = tuple(kept["sent"])
    return Task(**kept)


def _wanted_mode(body: Body, prompt: str) -> str:
    """accountFilter.modes before --fast, --relax or --turbo in the prompt."""
    modes = body.object("accountFilter").get("modes")
    if isinstance(modes, list) and modes and isinstance(modes[0], str):
        return mode_of(modes[0])
    named = [name.upper() for name in parameters(prompt) if mode_of(name)]
    return named[0] if named else ""


# ── endpoints
# ────────────────────────────────────────────────────────────────────────────────────────────────────────

SUBMITS = (
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
SERVED: dict[str, Callable[[MidjourneyProxy, Ask], Answer]] = {
    "imagine": MidjourneyProxy.imagine,
    "change": MidjourneyProxy.change,
    "simple-change": MidjourneyProxy.simple_change,
    "describe": MidjourneyProxy.describe,
    "blend": MidjourneyProxy.blend,
    "shorten": MidjourneyProxy.shorten,
    "action": MidjourneyProxy.act,
    "modal": MidjourneyProxy.modal,
    "upload-discord-images": MidjourneyProxy.upload,
    "edits": MidjourneyProxy.edits,
    "retexture": MidjourneyProxy.retexture,
    "video": MidjourneyProxy.video,
    "show": MidjourneyProxy.show,
    "swap": MidjourneyProxy.swap,
    "video-swap": MidjourneyProxy.video_swap,
    "fetch": MidjourneyProxy.fetch,
    "list": MidjourneyProxy.list_all,
    "queue": MidjourneyProxy.queue,
    "list-by-condition": MidjourneyProxy.list_some,
    "list-by-ids": MidjourneyProxy.list_by_ids,
    "query": MidjourneyProxy.query,
    "image-seed": MidjourneyProxy.image_seed,
    "cancel": MidjourneyProxy.cancel,
    "account-list": MidjourneyProxy.accounts,
    "account": MidjourneyProxy.account,
    "image": MidjourneyProxy.relayed_image,
}
PATHS: dict[str, tuple[str, str]] = {
    **{f"/submit/{name}": (name, "POST") for name in SUBMITS},
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
NAMED_PATHS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"/task/([^/]+)/fetch"), "fetch", "GET"),
    (re.compile(r"/task/([^/]+)/image-seed"), "image-seed", "GET"),
    (re.compile(r"/task/([^/]+)/cancel"), "cancel", "POST"),
    (re.compile(r"/account/([^/]+)/fetch"), "account", "GET"),
    (re.compile(r"/image/([^/]+)"), "image", "GET"),
)
BODILESS = frozenset({"cancel"})
MULTIPART = frozenset({"swap", "video-swap"})


def _endpoint(path: str) -> tuple[str, str, str]:
    """(name, method, id in the path) of what is behind a path after /mj."""
    if path in PATHS:
        return (*PATHS[path], "")
    for pattern, name, method in NAMED_PATHS:
        if found := pattern.fullmatch(path):
            return name, method, found[1]
    return "", "", ""
