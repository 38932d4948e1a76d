"""The magics: `%mj_*` and `%ci_*` from the call builders' own signatures, `%%ci_job`, and `%mjci`.

Every public method of `Midjourney` and `TencentCI` is a magic by itself; `Magics.table` names the
few with manners of their own. They are made when the first of them is wanted: what a shell has
before that is `loading`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import CallError, JobFailed, WaitTooLong
from jupyter_mjci.notebook import cards, commands, help
from jupyter_mjci.notebook.help import JOB, gives, has_prompt
from jupyter_mjci.notebook.line_parser import (
    MANY,
    Options,
    filled,
    lex,
    read_body,
    split_options,
    split_prompt,
)
from jupyter_mjci.notebook.params import arguments, params
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import StoredObject, TencentCI

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

SERVICES: Mapping[str, type] = {"mj": Midjourney, "ci": TencentCI}
IDS = ("task", "task_id", "job_id")  # parameters that may also name a variable holding a job
LISTINGS = ("Call[list[Job]]", "Pages[Job]")  # what calls give, as their signatures say it
TABLES = {"Call[list[Tree]]": None, "Pages[Tree]": None, "Pages[StoredObject]": StoredObject}
Build = Callable[["Session"], Any]


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic: what it does with a line (and a body), and what tells its help."""

    name: str
    run: Callable[..., Any]
    kind: str  # as IPython says it: line or line_cell
    tell: Callable[[], str]

    @property
    def help(self) -> str:
        return self.tell()


class Magics:
    """The magics of one shell; `given` tells what its `%config MJCI` says."""

    def __init__(self, ip: Any, given: Callable[[], Mapping[str, Any]] = dict) -> None:
        self.ip = ip
        self.chosen = commands.Chosen(ip, given)
        self.commands = commands.Commands(ip, self.chosen)
        self._shown: Any = None

    def table(self) -> Iterator[Magic]:
        """Every magic there is."""
        manners: dict[str, tuple[Callable[..., Any], str]] = {
            "mj_action": (self.action, "line"),
            "mj_cancel": (self.cancel, "line"),
            "ci_cancel": (self.cancel, "line"),
            "ci_job": (self.ci_job, "line_cell"),
        }
        for service, kind in SERVICES.items():
            for name, builder in vars(kind).items():
                magic = f"{service}_{name}"
                if name.startswith("_") or not callable(builder) or _needs_python(builder):
                    continue
                ordinary = (
                    (self.verbatim, "line_cell") if has_prompt(builder) else (self.plain, "line")
                )
                run, takes = manners.get(magic, ordinary)
                yield Magic(
                    magic, partial(run, builder), takes, partial(help.of_magic, magic, builder)
                )
        yield Magic("mjci", self.mjci, "line", help.of_mjci)

    # --- what they do -----------------------------------------------------------------------------

    def plain(self, builder: Callable[..., Any], line: str) -> Any:
        """Words and flags are the builder's arguments."""
        read = self._read(builder, line)
        return (
            None
            if read is None
            else self._perform(_build(builder, read[1]), read[0], gives(builder))
        )

    def verbatim(self, builder: Callable[..., Any], line: str, cell: str | None = None) -> Any:
        """A prompt: everything between our options, or the cell's body, byte for byte."""
        known = params(builder)
        before = known[: [one.name for one in known].index("prompt")]
        with _a_wrong_line_is_a_usage_error():
            words, prompt = split_prompt(line, [one for one in known if one.name != "prompt"])
            options, words = split_options(words, MANY)
            if options.help:
                return self._say(builder)
            for one in before:
                word, prompt = _first_word(prompt)
                words += [f"{one.flag}={word}"] if word else []
            if cell is not None and prompt:
                raise CallError(f"What is {prompt!r} for?", hint="The prompt is the cell's body.")
            given = arguments(builder, [*words, "--prompt="])
        given["prompt"] = prompt if cell is None else cell.strip("\r\n")

        def build(names: Mapping[str, Any]) -> Build:
            return _build(
                builder,
                self._with_ids({name: _filled(value, names) for name, value in given.items()}),
            )

        if options.each:
            return self._perform_each(
                build, json.dumps(given, ensure_ascii=False, default=str), options, builder
            )
        return self._perform(build(self.ip.user_ns), options, gives(builder))

    def action(self, builder: Callable[..., Any], line: str) -> Any:
        """A task and a button, which may be named by its label: then the task is asked for its
        buttons first.
        """
        read = self._read(builder, line, rest="button")
        if read is None:
            return None
        options, given = read

        def build(session: Session) -> Any:
            return builder(session.mj, **{**given, "task": self._task(session, given, options)})

        return self._perform(build, options, JOB)

    def cancel(self, builder: Callable[..., Any], line: str) -> Any:
        """Cancels, then shows the job as it is now."""
        read = self._read(builder, line)
        if read is None:
            return None
        options, given = read
        build, (job_id,) = _build(builder, given), given.values()
        if options.dry_run:
            return self._perform(build, options, "")
        self._sent(build(self.chosen.session()))
        describe = Midjourney.task if _service(builder) == "mj" else TencentCI.job
        return self._perform(_build(describe, {params(describe)[0].name: job_id}), options, JOB)

    def ci_job(self, builder: Callable[..., Any], line: str, cell: str | None = None) -> Any:
        """On a line: a job by its id. On a cell: the job or batch that its body asks for."""
        if cell is None:
            return self.plain(builder, line)
        words = self._words(line)
        with _a_wrong_line_is_a_usage_error():
            options, words = split_options(words, MANY)
            if options.help:
                return self._say(builder)
            if words:
                raise CallError(
                    f"What is {words[0]!r} for?", hint="A job's parameters are in the cell's body."
                )

        def build(names: Mapping[str, Any]) -> Build:
            asked = read_body(cell, names)
            return lambda session: asked.call(session.ci)

        if options.each:
            return self._perform_each(build, cell, options, builder)
        return self._perform(build(self.ip.user_ns), options, JOB)

    def mjci(self, line: str) -> Any:
        """A command and its arguments."""
        words = lex(line)
        if not words or words[0] in ("-h", "--help", "help"):
            return self._publish(help.of_mjci())
        command = self._known(words[0])
        with _a_wrong_line_is_a_usage_error():
            options, rest = split_options(words[1:])
            if options.help:
                return self._publish(help.of_command(command))
            given = commands.read(command, rest)
        return self._keep(options, getattr(self.commands, command)(**given))

    # --- how they do it ---------------------------------------------------------------------------

    def _known(self, word: str) -> str:
        with _a_wrong_line_is_a_usage_error():
            return commands.wanted(word)

    def _read(
        self, builder: Callable[..., Any], line: str, rest: str = ""
    ) -> tuple[Options, dict[str, Any]] | None:
        """A line's options and arguments; or None, where it asked for help and has got it."""
        words = self._words(line)
        with _a_wrong_line_is_a_usage_error():
            options, words = split_options(words)
            if not options.help:
                given = arguments(builder, words, rest)
                return options, given if "task" in given else self._with_ids(given)
        self._say(builder)
        return None

    def _words(self, line: str) -> list[str]:
        return [filled(word, self.ip.user_ns) for word in lex(line)]

    def _with_ids(self, given: dict[str, Any]) -> dict[str, Any]:
        return {name: self._id(value) if name in IDS else value for name, value in given.items()}

    def _id(self, word: str) -> str:
        held = self._held(word)
        return word if held is None else held.id

    def _held(self, word: str) -> Job | None:
        """The job in a variable, whether it is one or follows one."""
        value = self.ip.user_ns.get(word)
        job = value if isinstance(value, Job) else getattr(value, "job", None)
        return job if isinstance(job, Job) else None

    def _task(self, session: Session, given: Mapping[str, Any], options: Options) -> str | Job:
        """The task whose button is pressed: by a customId its id is enough, a label needs the task
        itself.
        """
        held, task_id = self._held(given["task"]), self._id(given["task"])
        if held is not None and held.buttons:
            return held
        if "::" in given["button"]:
            return task_id
        if not options.dry_run:
            found: Job = self._sent(session.mj.task(task_id))
            return found
        for job in session.seen("mj"):
            if job.id == task_id and job.buttons:
                return job
        raise CallError(
            f"The buttons of {task_id} are not known yet, and a dry run does not ask for them.",
            hint=f"Run %mj_task {task_id} first, or give a customId.",
        )

    def _perform(self, build: Build, options: Options, gives: str) -> Any:
        """Sends a call and shows what comes of it. Returns the value, which is also kept where -o
        says.
        """
        from jupyter_mjci.notebook.job_display import Interrupted

        session = self.chosen.session()
        call = build(session)
        if options.dry_run:
            return self._show_request(session, getattr(call, "first", call))
        try:
            value = self._outcome(session, call, options, gives)
        except (JobFailed, WaitTooLong, Interrupted) as error:
            if error.job is not None:
                self._keep(options, error.job)
            raise
        return self._keep(options, value)

    def _perform_each(
        self,
        build: Callable[[Mapping[str, Any]], Build],
        template: str,
        options: Options,
        builder: Callable[..., Any],
    ) -> Any:
        """A job for each row of a table, in one card. Gives the table with its jobs as a frame."""
        from jupyter_mjci.notebook import job_display, row_batch

        session, names = self.chosen.session(), self.ip.user_ns
        rows = row_batch.table(options.each, names)
        calls = rows.calls(template, names, lambda row: build(row)(session))
        title = f"{_service(builder)}_{builder.__name__} --each {options.each}"
        if options.dry_run:
            if calls:
                self._show_request(session, calls[0])
            return self._publish(
                f"{title}: {len(calls)} requests{', of which this is the first' * bool(calls)}"
            )
        many = row_batch.Many(title, rows, calls)
        try:
            many.show(session, options.at_once, job_display.screen(self.ip))
        finally:
            made = self._keep(options, many.frame())
        return made

    def _outcome(self, session: Session, call: Any, options: Options, gives: str) -> Any:
        """A submission is followed in the cell from its sending on, so that it may wait for a full
        queue.
        """
        from jupyter_mjci.notebook import job_display

        creates = gives == JOB and call.creates
        value = call if creates and not options.no_wait else self._sent(call)
        if gives == JOB:
            return self._show_job(session, value, options, raises=creates)
        if gives in LISTINGS:
            from jupyter_mjci.history.frames import frame

            return frame(value)
        if gives in TABLES:
            from jupyter_mjci.history.frames import table_of

            return table_of(value, TABLES[gives])
        if value is None:
            self._publish(f"{call.name}: done")
        return job_display.Content(value) if isinstance(value, bytes) else value

    def _sent(self, call: Any) -> Any:
        try:
            return call.run()
        except KeyboardInterrupt:
            from jupyter_mjci.notebook.job_display import LOST, Interrupted

            what = (
                LOST
                if getattr(call, "creates", False)
                else "nobody waits for the answer any longer."
            )
            raise Interrupted(None, what) from None

    def _show_job(self, session: Session, what: Any, options: Options, raises: bool) -> Any:
        from jupyter_mjci.notebook import job_display

        place = job_display.screen(self.ip)
        if options.no_wait and what.status.moving:
            self._shown = job_display.Following(session, what, place)
        else:
            self._shown = job_display.show(session, what, place, raises=raises)
        return self._shown

    def _keep(self, options: Options, value: Any) -> Any:
        if options.out:
            self.ip.push({options.out: value})
        return value

    def _show_request(self, session: Session, call: Any) -> None:
        request = session.transport.prepare(call)
        text = cards.request_text(
            request.method, str(request.url), request.headers.multi_items(), call.body
        )
        self.ip.display_pub.publish({"text/plain": text, "text/html": cards.request_html(text)}, {})

    def _say(self, builder: Callable[..., Any]) -> None:
        self._publish(help.of_magic(f"{_service(builder)}_{builder.__name__}", builder))

    def _publish(self, text: str) -> None:
        self.ip.display_pub.publish({"text/plain": text}, {})

    # --- what is shown already --------------------------------------------------------------------

    def forget(self) -> None:
        """A new cell begins."""
        self._shown = None

    def is_shown(self, value: Any) -> bool:
        """Whether the magic has shown this value itself; it is so once."""
        if value is None or value is not self._shown:
            return False
        self._shown = None
        return True


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """What was written for one parameter, with its `{{name}}`s replaced."""
    if isinstance(value, list):
        return [_filled(one, names) for one in value]
    return filled(value, names) if isinstance(value, str) else value


def _needs_python(builder: Callable[..., Any]) -> bool:
    """Whether it takes what cannot be written on a line; the body of %%ci_job says such
    requests.
    """
    return any(one.kind == "object" and one.required for one in params(builder))


def _service(builder: Callable[..., Any]) -> str:
    return "mj" if vars(Midjourney).get(builder.__name__) is builder else "ci"


def _build(builder: Callable[..., Any], given: Mapping[str, Any]) -> Build:
    return lambda session: builder(getattr(session, _service(builder)), **given)


def _first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(None, 1)[:2] or [""]
    return word, rest[0] if rest else ""


@contextmanager
def _a_wrong_line_is_a_usage_error() -> Iterator[None]:
    from IPython.core.error import UsageError

    try:
        yield
    except CallError as error:
        raise UsageError(str(error)) from None
