"""The account's queues and the course of a task: when it starts, progresses, fails and ends.

Nothing happens between two requests. `advance` takes the changes
that are due off a heap, oldest first, so a task is always exactly
what the clock makes of it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from jupyter_mjci.emulator.midjourney.dialects import HOUR, Dialect
from jupyter_mjci.emulator.midjourney.tasks import (
    ACCEPT_DELAY,
    FAILURE,
    IN_PROGRESS,
    SPEED_MODE_FACTORS,
    SUBMITTED,
    SUCCESS,
    TASK_KINDS,
    Phase,
    Task,
)

# seconds after which a running task has failed
TASK_TIMEOUT = 300.0
# seconds between two looks for such tasks
TIMEOUT_CHECK_INTERVAL = 30.0
TIMEOUT_REASON = "任务超时"
QUEUE_TIMEOUT_REASON = "任务提交超时"
# seconds between two polls of a relay
RELAY_REFRESH_INTERVAL = 15.0
RELAY_TIMEOUT_REASON = "上游任务超时（超过1小时）"

# the numbers of the tasks that run and that wait
QueueNumbers = tuple[list[int], list[int]]


class AccountQueue:
    """The tasks that run and that wait, in order of arrival."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.running: dict[int, Task] = {}
        self.waiting: dict[int, Task] = {}

    def has_free_slot(self) -> bool:
        """Return whether another task may run."""
        return len(self.running) < self.max_running

    def is_full(self) -> bool:
        """Return whether a new task is refused."""
        return not self.has_free_slot() and len(self.waiting) >= self.max_waiting

    def remove(self, task: Task) -> None:
        """Remove a task, wherever it is."""
        self.running.pop(task.number, None)
        self.waiting.pop(task.number, None)


class TaskScheduler:
    """Runs the tasks of an account.

    Args:
        tasks: all tasks, by number
        dialect: how this family of servers differs
        started_at: when the server started; timeouts and
            refreshes are counted from there
        max_running: how many tasks of a queue run at once
        max_waiting: how many may wait
        duration_factor: stretches the duration of every task
        derive_chance: a number from 0 to 1 that depends on the
            seed and its arguments
        on_phase_changed: called with every task that has changed
    """

    def __init__(
        self,
        tasks: list[Task],
        dialect: Dialect,
        started_at: float,
        *,
        max_running: int,
        max_waiting: int,
        duration_factor: float,
        derive_chance: Callable[..., float],
        on_phase_changed: Callable[[Task], None],
    ) -> None:
        self.tasks = tasks
        self.dialect = dialect
        self.started_at = started_at
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.duration_factor = duration_factor
        self.derive_chance = derive_chance
        self.on_phase_changed = on_phase_changed
        self.clear()

    def clear(self) -> None:
        """Empty the queues."""
        self._heap: list[tuple[float, int]] = []
        self._queues = {
            name: AccountQueue(self.max_running, self.max_waiting) for name in ("", "RELAX")
        }

    # ── queues ──

    def get_queue(self, task: Task) -> AccountQueue:
        """Return the queue of a task: some servers have one of their own for relaxed tasks."""
        if task.mode == "RELAX" and self.dialect.has_relax_queue:
            return self._queues["RELAX"]
        return self._queues[""]

    def list_queued(self) -> list[Task]:
        """Return the tasks that wait and run, oldest first."""
        tasks: list[Task] = []
        for queue in self._queues.values():
            tasks += queue.running.values()
            tasks += queue.waiting.values()
        return sorted(tasks, key=lambda task: task.number)

    def enqueue(self, task: Task, now: float) -> int:
        """Start a task, or let it wait.

        Returns:
            How many were already waiting. Running tasks do not
            count, so the first task to wait is told of none.
        """
        queue = self.get_queue(task)
        tasks_ahead = len(queue.waiting)
        if queue.has_free_slot():
            self._start(task, queue, now)
            return 0
        queue.waiting[task.number] = task
        if self.dialect.queue_timeout:
            self._schedule(task, now + self.dialect.queue_timeout)
        return tasks_ahead

    def dequeue(self, task: Task, now: float) -> None:
        """Remove a task from its queue; the task that waits longest takes its slot."""
        queue = self.get_queue(task)
        queue.remove(task)
        while queue.waiting and queue.has_free_slot():
            first = next(iter(queue.waiting))
            self._start(queue.waiting.pop(first), queue, now)

    def dump_queues(self) -> dict[str, QueueNumbers]:
        """Return the numbers of the tasks in each queue."""
        return {name: ([*queue.running], [*queue.waiting]) for name, queue in self._queues.items()}

    def load_queues(self, queues: dict[str, QueueNumbers]) -> None:
        """Restore what `dump_queues` returned, and schedule the tasks that have a due time."""
        for name, (running, waiting) in queues.items():
            self._queues[name].running = {number: self.tasks[number] for number in running}
            self._queues[name].waiting = {number: self.tasks[number] for number in waiting}
        self._heap = [(task.due, task.number) for task in self.tasks if task.due is not None]
        heapq.heapify(self._heap)

    # ── time ──

    def advance(self, now: float) -> None:
        """Let everything happen that is due, in the order in which it is due."""
        while self._heap and self._heap[0][0] <= now:
            due, number = heapq.heappop(self._heap)
            task = self.tasks[number]
            # else it was scheduled again since
            if task.due == due:
                self._advance_task(task, due)

    def next_event(self) -> float | None:
        """Return when the next task changes by itself (epoch seconds)."""
        while self._heap:
            due, number = self._heap[0]
            if self.tasks[number].due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def _schedule(self, task: Task, due: float) -> None:
        task.due = due
        heapq.heappush(self._heap, (due, task.number))

    # ── the course of a task ──

    def _start(self, task: Task, queue: AccountQueue, now: float) -> None:
        queue.running[task.number] = task
        task.step = 0
        self._schedule(task, now + ACCEPT_DELAY * self.duration_factor)

    def _advance_task(self, task: Task, now: float) -> None:
        """Take the next step of a task: accepted, progress, end."""
        task.due = None
        if task.number in self.get_queue(task).waiting:
            self.finish(task, FAILURE, now, QUEUE_TIMEOUT_REASON)
            return
        task.step += 1
        steps = TASK_KINDS[task.kind].progress_steps
        if task.step == 1:
            self.set_phase(task, Phase(SUBMITTED, 0, round(now * 1000)), now)
        elif self._fails_now(task):
            is_stuck = task.planned_failure == "stuck"
            self.finish(task, FAILURE, now, TIMEOUT_REASON if is_stuck else task.planned_failure)
            return
        elif task.step - 2 < len(steps):
            self.set_phase(task, Phase(IN_PROGRESS, steps[task.step - 2], task.phase.start), now)
        else:
            self.finish(task, SUCCESS, now)
            return
        self._schedule(task, self._compute_next_due(task, now))

    def _fails_now(self, task: Task) -> bool:
        """Return whether a planned failure happens at this step.

        A parameter that is not valid fails at once, other
        failures happen half-way, and a stuck task is given up a
        step later.
        """
        if not task.planned_failure:
            return False
        if task.planned_failure.startswith("["):
            return task.step >= 2
        last_step = self._get_half_way_step(task)
        if task.planned_failure == "stuck":
            last_step += 1
        return task.step >= last_step

    def _get_half_way_step(self, task: Task) -> int:
        return 2 + len(TASK_KINDS[task.kind].progress_steps) // 2

    def _compute_next_due(self, task: Task, now: float) -> float:
        if task.planned_failure == "stuck" and task.step >= self._get_half_way_step(task):
            # The server finds it at the first check after its
            # time has run out.
            timeout = (task.phase.start or 0) / 1000 + TASK_TIMEOUT
            checks = math.ceil((timeout - self.started_at) / TIMEOUT_CHECK_INTERVAL)
            return self.started_at + checks * TIMEOUT_CHECK_INTERVAL
        steps = len(TASK_KINDS[task.kind].progress_steps) + 1
        return now + self.compute_duration(task) / steps

    def compute_duration(self, task: Task) -> float:
        """Return the seconds from accepted to done, which depend on seed, prompt and number."""
        kind = TASK_KINDS[task.kind]
        share = self.derive_chance("duration", task.number, task.prompt)
        seconds = kind.min_seconds + (kind.max_seconds - kind.min_seconds) * share
        return seconds * self.duration_factor * SPEED_MODE_FACTORS.get(task.mode, 1.0)

    def finish(self, task: Task, status: str, now: float, reason: str | None = None) -> None:
        """End a task, and free its slot."""
        task.due = None
        percent = 100 if status == SUCCESS else task.phase.percent
        self.dequeue(task, now)
        phase = Phase(status, percent, task.phase.start, round(now * 1000), reason)
        self.set_phase(task, phase, now)

    def set_phase(self, task: Task, phase: Phase, now: float) -> None:
        """Change a task's phase, and report it."""
        if self.dialect.is_relay:
            if self._get_last_refresh(now, before=True) >= task.changed_at:
                task.last_relayed = task.phase
            task.changed_at = now
        task.phase = phase
        self.on_phase_changed(task)

    # ── what a relay knows ──

    def _get_last_refresh(self, now: float, before: bool = False) -> float:
        """Return the time of the relay's latest refresh, up to `now` or before it."""
        count = math.floor((now - self.started_at) / RELAY_REFRESH_INTERVAL)
        refreshed_at = self.started_at + count * RELAY_REFRESH_INTERVAL
        if before and refreshed_at >= now:
            return refreshed_at - RELAY_REFRESH_INTERVAL
        return refreshed_at

    def get_relayed_phase(self, task: Task, now: float) -> Phase:
        """Return a task's phase as the relay saw it at its latest refresh; "" before the first."""
        refreshed_at = self._get_last_refresh(now)
        limit = task.submitted / 1000 + HOUR
        finish = task.phase.finish
        if refreshed_at >= limit and (finish is None or finish / 1000 > limit):
            end = round(limit * 1000)
            return Phase(FAILURE, 100, task.phase.start, end, RELAY_TIMEOUT_REASON)
        if task.changed_at <= refreshed_at:
            return task.phase
        return task.last_relayed or Phase("")
