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
from jupyter_mjci.errors import InvalidRequest, JobFailed, WaitTimeout
from jupyter_mjci.notebook import commands, current_session, help, request_view
from jupyter_mjci.notebook.argument_parser import parse_arguments
from jupyter_mjci.notebook.help import JOB_ANNOTATION, has_prompt, return_annotation
from jupyter_mjci.notebook.interpolation import interpolate
from jupyter_mjci.notebook.job_body import parse_body
from jupyter_mjci.notebook.line_parser import (
    BATCH_OPTIONS,
    Options,
    split_options,
    split_prompt,
    tokenize,
)
from jupyter_mjci.notebook.params import parse_signature
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import StoredObject, TencentCI

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

SERVICE_APIS: Mapping[str, type] = {"mj": Midjourney, "ci": TencentCI}
JOB_ID_PARAMS = (
    "task",
    "task_id",
    "job_id",
)  # parameters that may also name a variable holding a job
JOB_LIST_ANNOTATIONS = (
    "Call[list[Job]]",
    "Paginator[Job]",
)  # what calls give, as their signatures say it
RECORD_LIST_ANNOTATIONS = {
    "Call[list[Element]]": None,
    "Paginator[Element]": None,
    "Paginator[StoredObject]": StoredObject,
}
CallFactory = Callable[["Session"], Any]


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic: what it does with a line (and a body), and what tells its help."""

    name: str
    run: Callable[..., Any]
    kind: str  # as IPython says it: line or line_cell
    build_help: Callable[[], str]

    @property
    def help(self) -> str:
        return self.build_help()


class Magics:
    """The magics of one shell; `get_config` tells what its `%config MJCI` says."""

    def __init__(self, ip: Any, get_config: Callable[[], Mapping[str, Any]] = dict) -> None:
        self.ip = ip
        self.current_session = current_session.CurrentSession(ip, get_config)
        self.commands = commands.Commands(ip, self.current_session)
        self._displayed_value: Any = None

    def iter_magics(self) -> Iterator[Magic]:
        """Every magic there is."""
        manners: dict[str, tuple[Callable[..., Any], str]] = {
            "mj_action": (self.action, "line"),
            "mj_cancel": (self.cancel, "line"),
            "ci_cancel": (self.cancel, "line"),
            "ci_job": (self.ci_job, "line_cell"),
        }
        for service, kind in SERVICE_APIS.items():
            for name, builder in vars(kind).items():
                magic = f"{service}_{name}"
                if name.startswith("_") or not callable(builder) or _is_python_only(builder):
                    continue
                ordinary = (
                    (self.run_prompt, "line_cell")
                    if has_prompt(builder)
                    else (self.run_simple, "line")
                )
                run, takes = manners.get(magic, ordinary)
                yield Magic(
                    magic,
                    partial(run, builder),
                    takes,
                    partial(help.build_magic_help, magic, builder),
                )
        yield Magic("mjci", self.mjci, "line", help.build_mjci_help)

    # --- what they do -----------------------------------------------------------------------------

    def run_simple(self, builder: Callable[..., Any], line: str) -> Any:
        """Words and flags are the builder's arguments."""
        read = self._parse_line(builder, line)
        return (
            None
            if read is None
            else self._run_call(
                _make_call_factory(builder, read[1]), read[0], return_annotation(builder)
            )
        )

    def run_prompt(self, builder: Callable[..., Any], line: str, cell: str | None = None) -> Any:
        """A prompt: everything between our options, or the cell's body, byte for byte."""
        known = parse_signature(builder)
        before = known[: [one.name for one in known].index("prompt")]
        with _as_usage_error():
            words, prompt = split_prompt(line, [one for one in known if one.name != "prompt"])
            options, words = split_options(words, BATCH_OPTIONS)
            if options.help:
                return self._publish_help(builder)
            for one in before:
                word, prompt = _split_first_word(prompt)
                words += [f"{one.flag}={word}"] if word else []
            if cell is not None and prompt:
                raise InvalidRequest(
                    f"What is {prompt!r} for?", hint="The prompt is the cell's body."
                )
            given = parse_arguments(builder, [*words, "--prompt="])
        given["prompt"] = prompt if cell is None else cell.strip("\r\n")

        def build(names: Mapping[str, Any]) -> CallFactory:
            return _make_call_factory(
                builder,
                self._resolve_ids(
                    {name: _interpolate_value(value, names) for name, value in given.items()}
                ),
            )

        if options.each:
            return self._run_each_row(
                build, json.dumps(given, ensure_ascii=False, default=str), options, builder
            )
        return self._run_call(build(self.ip.user_ns), options, return_annotation(builder))

    def action(self, builder: Callable[..., Any], line: str) -> Any:
        """A task and a button, which may be named by its label: then the task is asked for its
        buttons first.
        """
        read = self._parse_line(builder, line, rest="button")
        if read is None:
            return None
        options, given = read

        def build(session: Session) -> Any:
            return builder(
                session.mj, **{**given, "task": self._resolve_task(session, given, options)}
            )

        return self._run_call(build, options, JOB_ANNOTATION)

    def cancel(self, builder: Callable[..., Any], line: str) -> Any:
        """Cancels, then shows the job as it is now."""
        read = self._parse_line(builder, line)
        if read is None:
            return None
        options, given = read
        build, (job_id,) = _make_call_factory(builder, given), given.values()
        if options.dry_run:
            return self._run_call(build, options, "")
        self._send(build(self.current_session.get_or_connect()))
        describe = Midjourney.task if _service_name(builder) == "mj" else TencentCI.job
        return self._run_call(
            _make_call_factory(describe, {parse_signature(describe)[0].name: job_id}),
            options,
            JOB_ANNOTATION,
        )

    def ci_job(self, builder: Callable[..., Any], line: str, cell: str | None = None) -> Any:
        """On a line: a job by its id. On a cell: the job or batch that its body asks for."""
        if cell is None:
            return self.run_simple(builder, line)
        words = self._tokenize(line)
        with _as_usage_error():
            options, words = split_options(words, BATCH_OPTIONS)
            if options.help:
                return self._publish_help(builder)
            if words:
                raise InvalidRequest(
                    f"What is {words[0]!r} for?", hint="A job's parameters are in the cell's body."
                )

        def build(names: Mapping[str, Any]) -> CallFactory:
            asked = parse_body(cell, names)
            return lambda session: asked.build_call(session.ci)

        if options.each:
            return self._run_each_row(build, cell, options, builder)
        return self._run_call(build(self.ip.user_ns), options, JOB_ANNOTATION)

    def mjci(self, line: str) -> Any:
        """A command and its arguments."""
        words = tokenize(line)
        if not words or words[0] in ("-h", "--help", "help"):
            return self._publish_text(help.build_mjci_help())
        command = self._resolve_command(words[0])
        with _as_usage_error():
            options, rest = split_options(words[1:])
            if options.help:
                return self._publish_text(help.build_command_help(command))
            given = commands.parse_command_line(command, rest)
        return self._assign_output(options, getattr(self.commands, command)(**given))

    # --- how they do it ---------------------------------------------------------------------------

    def _resolve_command(self, word: str) -> str:
        with _as_usage_error():
            return commands.resolve_command(word)

    def _parse_line(
        self, builder: Callable[..., Any], line: str, rest: str = ""
    ) -> tuple[Options, dict[str, Any]] | None:
        """A line's options and arguments; or None, where it asked for help and has got it."""
        words = self._tokenize(line)
        with _as_usage_error():
            options, words = split_options(words)
            if not options.help:
                given = parse_arguments(builder, words, rest)
                return options, given if "task" in given else self._resolve_ids(given)
        self._publish_help(builder)
        return None

    def _tokenize(self, line: str) -> list[str]:
        return [interpolate(word, self.ip.user_ns) for word in tokenize(line)]

    def _resolve_ids(self, values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._resolve_id(value) if name in JOB_ID_PARAMS else value
            for name, value in values.items()
        }

    def _resolve_id(self, word: str) -> str:
        held = self._find_job(word)
        return word if held is None else held.id

    def _find_job(self, word: str) -> Job | None:
        """The job in a variable, whether it is one or follows one."""
        value = self.ip.user_ns.get(word)
        job = value if isinstance(value, Job) else getattr(value, "job", None)
        return job if isinstance(job, Job) else None

    def _resolve_task(
        self, session: Session, values: Mapping[str, Any], options: Options
    ) -> str | Job:
        """The task whose button is pressed: by a customId its id is enough, a label needs the task
        itself.
        """
        held, task_id = self._find_job(values["task"]), self._resolve_id(values["task"])
        if held is not None and held.buttons:
            return held
        if "::" in values["button"]:
            return task_id
        if not options.dry_run:
            found: Job = self._send(session.mj.task(task_id))
            return found
        for job in session.known_jobs("mj"):
            if job.id == task_id and job.buttons:
                return job
        raise InvalidRequest(
            f"The buttons of {task_id} are not known yet, and a dry run does not ask for them.",
            hint=f"Run %mj_task {task_id} first, or give a customId.",
        )

    def _run_call(self, build: CallFactory, options: Options, return_type: str) -> Any:
        """Sends a call and shows what comes of it. Returns the value, which is also kept where -o
        says.
        """
        from jupyter_mjci.notebook.interrupts import Interrupted

        session = self.current_session.get_or_connect()
        call = build(session)
        if options.dry_run:
            return self._display_request(session, getattr(call, "first_page", call))
        try:
            value = self._run_and_display(session, call, options, return_type)
        except (JobFailed, WaitTimeout, Interrupted) as error:
            if error.job is not None:
                self._assign_output(options, error.job)
            raise
        return self._assign_output(options, value)

    def _run_each_row(
        self,
        build: Callable[[Mapping[str, Any]], CallFactory],
        template: str,
        options: Options,
        builder: Callable[..., Any],
    ) -> Any:
        """A job for each row of a table, in one card. Gives the table with its jobs as a frame."""
        from jupyter_mjci.notebook import outputs, row_batch

        session, names = self.current_session.get_or_connect(), self.ip.user_ns
        rows = row_batch.load_table(options.each, names)
        calls = rows.build_calls(template, names, lambda row: build(row)(session))
        title = f"{_service_name(builder)}_{builder.__name__} --each {options.each}"
        if options.dry_run:
            if calls:
                self._display_request(session, calls[0])
            return self._publish_text(
                f"{title}: {len(calls)} requests{', of which this is the first' * bool(calls)}"
            )
        many = row_batch.RowBatch(title, rows, calls)
        try:
            many.run(session, options.at_once, outputs.select_output(self.ip))
        finally:
            made = self._assign_output(options, many.to_frame())
        return made

    def _run_and_display(
        self, session: Session, call: Any, options: Options, return_type: str
    ) -> Any:
        """A submission is followed in the cell from its sending on, so that it may wait for a full
        queue.
        """
        from jupyter_mjci.notebook import job_results

        creates = return_type == JOB_ANNOTATION and call.is_submission
        value = call if creates and not options.no_wait else self._send(call)
        if return_type == JOB_ANNOTATION:
            return self._display_job(session, value, options, raises=creates)
        if return_type in JOB_LIST_ANNOTATIONS:
            from jupyter_mjci.history.frames import jobs_to_frame

            return jobs_to_frame(value)
        if return_type in RECORD_LIST_ANNOTATIONS:
            from jupyter_mjci.history.frames import records_to_frame

            return records_to_frame(value, RECORD_LIST_ANNOTATIONS[return_type])
        if value is None:
            self._publish_text(f"{call.name}: done")
        return job_results.ObjectBytes(value) if isinstance(value, bytes) else value

    def _send(self, call: Any) -> Any:
        try:
            return call.run()
        except KeyboardInterrupt:
            from jupyter_mjci.notebook.interrupts import OUTCOME_UNKNOWN, Interrupted

            what = (
                OUTCOME_UNKNOWN
                if getattr(call, "is_submission", False)
                else "nobody waits for the answer any longer."
            )
            raise Interrupted(None, what) from None

    def _display_job(
        self, session: Session, job_or_call: Any, options: Options, raises: bool
    ) -> Any:
        from jupyter_mjci.notebook import job_display, job_future, outputs

        place = outputs.select_output(self.ip)
        if options.no_wait and job_or_call.status.is_active:
            self._displayed_value = job_future.JobFuture(session, job_or_call, place)
        else:
            self._displayed_value = job_display.display_job(
                session, job_or_call, place, raises=raises
            )
        return self._displayed_value

    def _assign_output(self, options: Options, value: Any) -> Any:
        if options.out:
            self.ip.push({options.out: value})
        return value

    def _display_request(self, session: Session, call: Any) -> None:
        request = session.transport.build_request(call)
        text = request_view.request_text(
            request.method, str(request.url), request.headers.multi_items(), call.body
        )
        self.ip.display_pub.publish(
            {"text/plain": text, "text/html": request_view.request_html(text)}, {}
        )

    def _publish_help(self, builder: Callable[..., Any]) -> None:
        self._publish_text(
            help.build_magic_help(f"{_service_name(builder)}_{builder.__name__}", builder)
        )

    def _publish_text(self, text: str) -> None:
        self.ip.display_pub.publish({"text/plain": text}, {})

    # --- what is shown already --------------------------------------------------------------------

    def clear_displayed(self) -> None:
        """A new cell begins."""
        self._displayed_value = None

    def was_displayed(self, value: Any) -> bool:
        """Whether the magic has shown this value itself; it is so once."""
        if value is None or value is not self._displayed_value:
            return False
        self._displayed_value = None
        return True


def _interpolate_value(value: Any, namespace: Mapping[str, Any]) -> Any:
    """What was written for one parameter, with its `{{name}}`s replaced."""
    if isinstance(value, list):
        return [_interpolate_value(one, namespace) for one in value]
    return interpolate(value, namespace) if isinstance(value, str) else value


def _is_python_only(builder: Callable[..., Any]) -> bool:
    """Whether it takes what cannot be written on a line; the body of %%ci_job says such
    requests.
    """
    return any(one.kind == "object" and one.required for one in parse_signature(builder))


def _service_name(builder: Callable[..., Any]) -> str:
    return "mj" if vars(Midjourney).get(builder.__name__) is builder else "ci"


def _make_call_factory(builder: Callable[..., Any], values: Mapping[str, Any]) -> CallFactory:
    return lambda session: builder(getattr(session, _service_name(builder)), **values)


def _split_first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(None, 1)[:2] or [""]
    return word, rest[0] if rest else ""


@contextmanager
def _as_usage_error() -> Iterator[None]:
    from IPython.core.error import UsageError

    try:
        yield
    except InvalidRequest as error:
        raise UsageError(str(error)) from None
