"""The magics: `%mj_*`, `%ci_*` and so on from the call builders, and `%mjci`.

Every public method of a service's API is a magic;
`Magics.iter_magics` lists the few that behave differently. This
module is imported when a magic is first used; what is registered
before that is in `extension`.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from jupyter_mjci.client.calls import Paginator
from jupyter_mjci.client.interpolation import find_job, find_value, interpolate, refuse_lists
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.outcomes import allow_unconfirmed
from jupyter_mjci.errors import (
    InvalidRequest,
    JobFailed,
    PreflightError,
    WaitTimeout,
    suggest,
)
from jupyter_mjci.jobs.grids import parse_grid
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.jobs.repetition import find_repeated
from jupyter_mjci.jobs.study_calls import StudyPlan, add_keys, add_places, build_rows
from jupyter_mjci.notebook import commands, request_view
from jupyter_mjci.notebook.argument_parser import parse_arguments
from jupyter_mjci.notebook.cards import follow_command, headline
from jupyter_mjci.notebook.current_session import (
    CurrentSession,
    GetConfig,
    SessionState,
)
from jupyter_mjci.notebook.help import (
    build_command_help,
    build_magic_help,
    build_mjci_help,
    has_prompt,
)
from jupyter_mjci.notebook.line_parser import (
    AS_IS,
    BATCH_OPTIONS,
    OPTIONS,
    Options,
    check_prompt_line,
    list_prompt_flags,
    split_options,
    split_prompt,
    tokenize,
)
from jupyter_mjci.notebook.params import (
    Builder,
    Param,
    ReturnType,
    get_return_type,
    list_job_params,
    parse_signature,
)
from jupyter_mjci.notebook.picture_names import PICTURE_KINDS, resolve_pictures
from jupyter_mjci.notebook.scope import Scope, find_scope
from jupyter_mjci.services import BUILT_IN, Service, load_attribute, services

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.session import Session

# The parameter, by builder, that takes all remaining words of a
# line.
REST_PARAMS = {"action": "button", "simple_change": "content"}
# Builders that check their arguments against the job that they
# answer, as far as it is known.
DIALOG_BUILDERS = ("modal",)
RETURNS_JOB = ReturnType(Job)
_OPTION_FLAGS = [option.flag for option in BATCH_OPTIONS]
# A call that is not yet bound to a session.
CallFactory = Callable[["Session"], Any]


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic: its name, what runs its line (and body), its
    kind in IPython's words (line or line_cell), and what builds
    its help.
    """

    name: str
    run: Callable[..., object]
    kind: str
    build_help: Callable[[], str]

    @property
    def help(self) -> str:
        return self.build_help()


class Magics:
    """The magics of one shell.

    Args:
        ip: the shell
        get_config: returns what `%config MJCI` sets
        state: the session in use when the extension was unloaded
    """

    def __init__(
        self,
        ip: InteractiveShell,
        get_config: GetConfig = dict,
        state: SessionState | None = None,
    ) -> None:
        self.ip = ip
        self.current_session = CurrentSession(ip, get_config, state)
        self.commands = commands.Commands(ip, self.current_session)
        self._displayed_value: object = None
        # Submissions whose cells ended before their jobs: the ID of
        # each job.
        # Keys of the bucket's objects that a listing has shown,
        # for the completion.
        self.known_objects: dict[str, None] = {}
        # The variables that the running line can name: of each
        # thread its own.
        self._running_scope = ContextVar[Scope | None]("scope", default=None)

    def iter_magics(self) -> Iterator[Magic]:
        """Yield every magic."""
        for service in services():
            yield from self.iter_service_magics(service)
        yield Magic("mjci", self._in_scope(self.mjci), "line", build_mjci_help)

    def iter_added_magics(self) -> Iterator[Magic]:
        """Yield the magics of services that other packages add."""
        for service in services():
            if service.key not in BUILT_IN:
                yield from self.iter_service_magics(service)

    def _in_scope(self, run: Callable[..., object]) -> Callable[..., object]:
        """Return a function that runs a magic with the variables of the code that calls it."""

        def run_in_scope(*line_and_cell: str) -> object:
            token = self._running_scope.set(find_scope(self.ip.user_ns))
            try:
                with self.current_session.restored_after_line():
                    return run(*line_and_cell)
            finally:
                self._running_scope.reset(token)

        return run_in_scope

    @property
    def _scope(self) -> Scope:
        return self._running_scope.get() or Scope(self.ip.user_ns)

    def iter_service_magics(self, service: Service) -> Iterator[Magic]:
        """Yield the magics of one service."""
        for method, builder in vars(service.api).items():
            if method.startswith("_") or not callable(builder) or _is_python_only(builder):
                continue
            name = f"{service.key}_{method}"
            run, kind = self._select_runner(service, builder)
            build_help = partial(build_magic_help, name, builder)
            yield Magic(name, self._in_scope(partial(run, builder)), kind, build_help)

    def _select_runner(
        self, service: Service, builder: Builder
    ) -> tuple[Callable[..., object], str]:
        """Return what runs the magic of a builder, and its kind."""
        if builder is service.cancel_job:
            return self.cancel, "line"
        if service.parse_cell_body and builder is service.get_job:
            return self.run_body, "line_cell"
        if [param.name for param in parse_signature(builder)][:2] == ["task", "button"]:
            return self.action, "line"
        if has_prompt(builder):
            return self.run_prompt, "line_cell"
        return self.run_simple, "line"

    # --- kinds of magics ----------------------------------------

    def run_simple(self, builder: Builder, line: str) -> object:
        """Run a magic whose words and flags are the builder's arguments."""
        parsed = self._parse_line(builder, line, REST_PARAMS.get(builder.__name__, ""))
        if parsed is None:
            return None
        options, arguments = parsed
        factory = _make_call_factory(builder, arguments)
        return self._run_call(factory, options, get_return_type(builder))

    def run_prompt(self, builder: Builder, line: str, cell: str | None = None) -> object:
        """Run a magic with a prompt: everything between our
        options, or the cell's body, byte for byte.
        """
        parsed = self._parse_prompt(builder, line, cell)
        if parsed is None:
            return None
        options, arguments, others_are_text = parsed
        other_flags = list(list_prompt_flags(parse_signature(builder)))
        syntax = _get_service(builder).prompt_syntax

        def build(namespace: Mapping[str, object]) -> CallFactory:
            if not arguments.get("as_is"):
                refuse_lists(arguments["prompt"] or "", namespace)
            values = {
                name: _interpolate_value(value, namespace) for name, value in arguments.items()
            }
            if syntax and values["prompt"] and not values.get("as_is"):
                syntax.check_prompt(
                    values["prompt"],
                    has_picture=True,
                    other_flags=other_flags,
                    others_are_text=others_are_text,
                )
                # The builder knows nothing of our options.
                values["as_is"] = others_are_text and syntax.is_refused(values["prompt"])
            values = resolve_pictures(parse_signature(builder), values, namespace)
            values = self._resolve_ids(values)
            if builder.__name__ in DIALOG_BUILDERS:
                values["task_id"] = self._find_known_job(values["task_id"])
            return _make_call_factory(builder, values)

        if options.each:
            template = json.dumps(arguments, ensure_ascii=False, default=str)
            return self._run_each_row(build, template, options, builder)
        if options.grid:
            return self._run_grid(build, arguments, options, builder)
        with _as_usage_error(PreflightError):
            factory = build(self._scope)
        return self._run_call(factory, options, get_return_type(builder))

    def action(self, builder: Builder, line: str) -> object:
        """Press a button of a task. To find a button by its label, the task is fetched first."""
        parsed = self._parse_line(builder, line, REST_PARAMS["action"])
        if parsed is None:
            return None
        options, arguments = parsed
        service = _get_service(builder)

        def build(session: Session) -> object:
            api = getattr(session, service.key)
            task = self._resolve_task(session, service, arguments, options)
            return builder(api, **{**arguments, "task": task})

        return self._run_call(build, options, RETURNS_JOB)

    def cancel(self, builder: Builder, line: str) -> object:
        """Cancel a job, then show it."""
        parsed = self._parse_line(builder, line)
        if parsed is None:
            return None
        options, arguments = parsed
        factory = _make_call_factory(builder, arguments)
        if options.dry_run:
            return self._run_call(factory, options, get_return_type(builder))
        with allow_unconfirmed():
            self._send(factory(self.current_session.get_or_connect()))
        (job_id,) = arguments.values()
        service = _get_service(builder)

        def describe(session: Session) -> object:
            return service.get_job(getattr(session, service.key), job_id)

        return self._run_call(describe, options, RETURNS_JOB)

    def run_body(self, builder: Builder, line: str, cell: str | None = None) -> object:
        """On a line, follow a job by its ID; on a cell, submit the job or batch of its body."""
        if cell is None:
            return self.run_simple(builder, line)
        service = _get_service(builder)
        parse_body = load_attribute(service.parse_cell_body)
        words = self._tokenize(line)
        with _as_usage_error():
            options, words = self._split_options(words, BATCH_OPTIONS)
            if options.help:
                self._publish_help(builder)
                return None
            as_is = words == [AS_IS.flag]
            if words and not as_is:
                flags = [param.flag for param in (*BATCH_OPTIONS, AS_IS)]
                hint = suggest(words[0], flags) if words[0].startswith("-") else ""
                raise InvalidRequest(
                    f"Unexpected argument {words[0]!r}.",
                    hint=hint or "A job's parameters are in the cell's body.",
                )

        def build(namespace: Mapping[str, object]) -> CallFactory:
            request = parse_body(cell, namespace)

            def build_call(session: Session) -> Any:
                with _as_usage_error(PreflightError):
                    return request.build_call(getattr(session, service.key), as_is)

            return build_call

        if options.each:
            return self._run_each_row(build, cell, options, builder)
        if options.grid:
            return self._run_grid(build, {"body": cell}, options, builder)
        return self._run_call(build(self._scope), options, RETURNS_JOB)

    def mjci(self, line: str) -> object:
        """Run a command of `%mjci`."""
        words = tokenize(line)
        if not words or words[0] in ("-h", "--help", "help"):
            self._publish_text(build_mjci_help())
            return None
        with _as_usage_error():
            command = commands.resolve_command(words[0])
            options, rest = self._split_options(words[1:])
            if options.help:
                self._publish_text(build_command_help(command))
                return None
            arguments = commands.parse_command_line(command, rest)
        return self._assign_output(options, getattr(self.commands, command)(**arguments))

    # --- parsing ------------------------------------------------

    def _parse_line(
        self, builder: Builder, line: str, rest: str = ""
    ) -> tuple[Options, dict[str, Any]] | None:
        """Return a line's options and arguments; None if it asked for help, which is then shown."""
        words = self._tokenize(line)
        with _as_usage_error():
            options, words = self._split_options(words)
            if options.help:
                self._publish_help(builder)
                return None
            arguments = parse_arguments(builder, words, rest, _OPTION_FLAGS)
            params = parse_signature(builder)
            arguments = resolve_pictures(params, arguments, self._scope)
        # The task of an action may be a variable that holds a job
        # with its buttons.
        if "task" not in arguments:
            arguments = self._resolve_ids(arguments)
        return options, arguments

    def _parse_prompt(
        self, builder: Builder, line: str, cell: str | None
    ) -> tuple[Options, dict[str, Any], bool] | None:
        """Parse as `_parse_line` does, for a builder with a
        prompt; also return whether `--` ended the options.
        """
        params = parse_signature(builder)
        names = [param.name for param in params]
        flags = [param for param in params if param.name != "prompt"]
        leading = params[: names.index("prompt")]
        with _as_usage_error():
            parsed = split_prompt(line, flags, len(leading))
            prompt = parsed.prompt
            if not parsed.ended and "--as-is" not in parsed.options:
                check_prompt_line(prompt)
            trailing: list[str] = []
            if _takes_pictures_after_prompt(params):
                prompt, trailing = _split_pictures(prompt, has_body=cell is not None)
            options, words = self._split_options(parsed.options, BATCH_OPTIONS)
            if options.help:
                self._publish_help(builder)
                return None
            # Positional parameters before the prompt take a word
            # each.
            for param in leading:
                word, prompt = _split_first_word(prompt)
                if word:
                    words.append(f"{param.flag}={word}")
            if cell is not None and prompt:
                raise InvalidRequest(
                    f"Unexpected argument {prompt!r}.",
                    hint="The prompt is the cell's body.",
                )
            words += ["--prompt=", *trailing]
            arguments = parse_arguments(builder, words, "", _OPTION_FLAGS)
        arguments["prompt"] = prompt if cell is None else cell.strip("\r\n")
        return options, arguments, parsed.ended

    def _split_options(
        self, words: Sequence[str], params: Sequence[Param] = OPTIONS
    ) -> tuple[Options, list[str]]:
        """Separate the options, and apply those that hold for the whole line."""
        options, rest = split_options(words, params)
        if options.out and self._scope.function:
            raise InvalidRequest(
                f"-o cannot assign a variable in the function {self._scope.function}.",
                detail="Only the function itself can assign its variables.",
                hint=f"Assign the value instead: {options.out} = %…",
            )
        if options.session:
            self.current_session.select_for_line(options.session, self._scope)
        return options, rest

    def _tokenize(self, line: str) -> list[str]:
        return [interpolate(word, self._scope) for word in tokenize(line)]

    def _resolve_ids(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Replace names of variables that hold a job by the job's ID."""
        resolved = dict(values)
        for name in list_job_params().intersection(resolved):
            resolved[name] = self._resolve_id(resolved[name])
        return resolved

    def _resolve_id(self, word: str) -> str:
        job = self.find_job(word)
        return word if job is None else job.id

    def _find_known_job(self, job_id: str) -> str | Job:
        """Return the job of an ID as last seen, else the ID."""
        session = self.current_session.get_if_unique()
        known = session.client.known_jobs() if session else ()
        return next((job for job in known if job.id == job_id), job_id)

    def find_job(self, word: str) -> Job | None:
        """Return the job in a variable, or the one that it follows."""
        return find_job(find_value(word, self._scope))

    def _resolve_task(
        self, session: Session, service: Service, values: Mapping[str, str], options: Options
    ) -> str | Job:
        """Return the task whose button is pressed: for a customId
        its ID is enough, for a label its buttons must be known.
        """
        job = self.find_job(values["task"])
        if job is not None and job.buttons:
            return job
        task_id = self._resolve_id(values["task"])
        if "::" in values["button"]:  # a customId
            return task_id
        if not options.dry_run:
            call = service.get_job(getattr(session, service.key), task_id)
            task: Job = self._send(call)
            return task
        for known in session.client.known_jobs(service.key):
            if known.id == task_id and known.buttons:
                return known
        raise InvalidRequest(
            f"The buttons of {task_id} are not known yet, and a dry run does not fetch them.",
            hint=f"Run {service.job_magic} {task_id} first, or use a customId.",
        )

    # --- running a call -----------------------------------------

    def _run_call(self, build: CallFactory, options: Options, return_type: ReturnType) -> object:
        """Send a call and show its result. Return the value, which is also assigned to `-o`."""
        from jupyter_mjci.notebook.interrupts import Interrupted

        session = self.current_session.get_or_connect()
        call = build(session)
        if options.dry_run:
            self._display_request(session, call)
            return None
        self._check_job_count(session, [call], options)
        try:
            value = self._run_and_display(session, call, options, return_type)
        except (JobFailed, WaitTimeout, Interrupted) as error:
            if error.job is not None:
                self._assign_output(options, error.job)
            raise
        return self._assign_output(options, value)

    def _check_job_count(self, session: Session, calls: list[Any], options: Options) -> None:
        with _as_usage_error():
            check_job_count(calls, session.settings, options.max_jobs, "--max-jobs ")

    def _run_each_row(
        self,
        build: Callable[[Mapping[str, object]], CallFactory],
        template: str,
        options: Options,
        builder: Builder,
    ) -> object:
        """Run a job for each row of a table, in one card. Return the table with its jobs."""
        from jupyter_mjci.notebook import row_batch
        from jupyter_mjci.notebook.outputs import select_output

        session = self.current_session.get_or_connect()
        with _as_usage_error(PreflightError):
            table = row_batch.load_table(options.each, self._scope)
            calls = table.build_calls(template, self._scope, lambda row: build(row)(session))
        title = f"{_get_magic_name(builder)} --each {options.each}"
        if options.dry_run:
            self._display_batch_request(session, title, calls)
            return None
        self._check_job_count(session, calls, options)
        batch = row_batch.RowBatch(title, table, calls)
        batch.note = _describe_repetition(session, calls)
        try:
            output = select_output(self.ip)
            batch.run(session, options.at_once, output, retry=options.retry)
        finally:
            frame = self._assign_output(options, batch.to_frame())
        return frame

    def _run_grid(
        self,
        build: Callable[[Mapping[str, object]], CallFactory],
        arguments: dict[str, Any],
        options: Options,
        builder: Builder,
    ) -> object:
        """Run a study over a grid and show its sheet. Return the study.

        Args:
            build: builds the call of a row from `arguments`
            arguments: what the line says, with placeholders; a
                place is added for each factor that has none
            options: the line's options
            builder: the magic's builder
        """
        from jupyter_mjci.jobs.study import Study
        from jupyter_mjci.notebook.outputs import select_output
        from jupyter_mjci.notebook.row_batch import GridBatch

        session = self.current_session.get_or_connect()
        title = f"{_get_magic_name(builder)} --grid {options.grid}"
        with _as_usage_error(PreflightError):
            rows = parse_grid(self._load_grid(options.grid))
            api = getattr(session, _get_service(builder).key)
            add_places(getattr(api, builder.__name__), arguments, rows)
            namespace = cast(Any, self._scope)
            calls = build_rows(rows, lambda row: build(ChainMap(dict(row), namespace))(session))
        if options.dry_run:
            self._display_batch_request(session, title, calls)
            return None
        study = Study(session, StudyPlan(title, rows, add_keys(calls)))
        self._check_job_count(session, study.list_missing(), options)
        try:
            output = select_output(self.ip)
            GridBatch(study).run(session, options.at_once, output, retry=options.retry)
        finally:
            self._assign_output(options, study)
        self._displayed_value = study
        return study

    def _load_grid(self, text: str) -> Any:
        """Return the value of a variable, else flags as they were written."""
        value = find_value(text, self._scope)
        if value is None and "=" not in text:
            raise InvalidRequest(
                f"There is no variable {text!r}.",
                hint='--grid takes a dict of lists, a DataFrame, or flags: --grid "seed=1,2".',
            )
        return text if value is None else value

    def _run_and_display(
        self, session: Session, call: Any, options: Options, return_type: ReturnType
    ) -> object:
        """Send a call and show its result.

        A submission is sent by the code that follows its job, so
        that the wait for a full queue counts into the wait for
        the job.
        """
        from jupyter_mjci.imaging.picture import Picture

        if return_type == RETURNS_JOB:
            is_submission: bool = call.is_submission
            note = _describe_repetition(session, [call])
            job_or_call = call
            if not is_submission or options.no_wait:
                job_or_call = self._send(call)
            return self._display_job(session, job_or_call, options, is_submission, note)
        value = self._send(call)
        if return_type.is_list and hasattr(return_type.item, "key"):
            self.known_objects.update(dict.fromkeys(item.key for item in value))
        if return_type.is_list:
            return _build_frame(value, return_type)
        if value is None:
            self._publish_text(f"{call.name}: done")
        return Picture(value) if isinstance(value, bytes) else value

    def _send(self, call: Any) -> Any:
        from jupyter_mjci.notebook.interrupts import (
            NO_RESPONSE,
            OUTCOME_UNKNOWN,
            Interrupted,
        )

        try:
            return call.run()
        except KeyboardInterrupt:
            is_submission = getattr(call, "is_submission", False)
            message = OUTCOME_UNKNOWN if is_submission else NO_RESPONSE
            raise Interrupted(None, message) from None

    def _display_job(
        self, session: Session, job_or_call: Any, options: Options, raises: bool, note: str
    ) -> object:
        from jupyter_mjci.notebook.job_display import display_job
        from jupyter_mjci.notebook.job_future import JobFuture
        from jupyter_mjci.notebook.outputs import select_output

        output = select_output(self.ip)
        output.note = note
        value: object
        if options.no_wait and job_or_call.status.is_active:
            value = JobFuture(session, job_or_call, output)
        else:
            value = display_job(session, job_or_call, output, raises=raises)
        self._displayed_value = value
        return value

    def _assign_output(self, options: Options, value: object) -> object:
        if options.out:
            self.ip.push({options.out: value})
        return value

    # --- showing texts ------------------------------------------

    def _display_request(self, session: Session, call: Any) -> None:
        if isinstance(call, Paginator):
            call = call.first_page
        request = session.client.transport.build_request(call)
        text = request_view.request_text(
            request.method, str(request.url), request.headers.multi_items(), call.body
        )
        data = {"text/plain": text, "text/html": request_view.request_html(text)}
        self.ip.display_pub.publish(data, {})

    def _display_batch_request(self, session: Session, title: str, calls: list[Any]) -> None:
        count = f"{title}: {len(calls)} requests"
        if calls:
            self._display_request(session, calls[0])
            count += ", of which this is the first"
        self._publish_text(count)

    def _publish_help(self, builder: Builder) -> None:
        self._publish_text(build_magic_help(_get_magic_name(builder), builder))

    def _publish_text(self, text: str) -> None:
        self.ip.display_pub.publish({"text/plain": text}, {})

    # --- values that are already displayed ----------------------

    def clear_displayed(self) -> None:
        """Forget the displayed value, at the start of a cell."""
        self._displayed_value = None

    def was_displayed(self, value: object) -> bool:
        """Return whether a magic has displayed this value itself. True at most once per value."""
        if value is None or value is not self._displayed_value:
            return False
        self._displayed_value = None
        return True


def _build_frame(values: Any, return_type: ReturnType) -> object:
    from jupyter_mjci.history.frames import jobs_to_frame, records_to_frame

    if return_type.item is Job:
        return jobs_to_frame(values)
    # A dataclass has columns even if the listing is empty;
    # elements have those that occur.
    item_type = return_type.item if isinstance(return_type.item, type) else None
    if item_type is not None and not is_dataclass(item_type):
        item_type = None
    return records_to_frame(values, item_type)


def _interpolate_value(value: Any, namespace: Mapping[str, object]) -> Any:
    """Replace placeholders in what was written for one parameter."""
    if isinstance(value, list):
        return [_interpolate_value(item, namespace) for item in value]
    return interpolate(value, namespace) if isinstance(value, str) else value


def _is_python_only(builder: Builder) -> bool:
    """Return whether a builder requires what cannot be written on
    a line. The body of %%ci_job can express such requests.
    """
    return any(param.kind == "object" and param.required for param in parse_signature(builder))


def _get_service(builder: Builder) -> Service:
    for service in services():
        if vars(service.api).get(builder.__name__) is builder:
            return service
    raise LookupError(f"{builder.__qualname__} is not a call builder.")


def _get_magic_name(builder: Builder) -> str:
    return f"{_get_service(builder).key}_{builder.__name__}"


def _make_call_factory(builder: Builder, values: Mapping[str, Any]) -> CallFactory:
    key = _get_service(builder).key

    def build(session: Session) -> Any:
        with _as_usage_error(PreflightError):
            return builder(getattr(session, key), **values)

    return build


def _describe_repetition(session: Session, calls: Sequence[Any]) -> str:
    """Return what to say where the same submissions are still going; "" where none is."""
    rows = find_repeated(session.client, calls)
    if not rows:
        return ""
    if len(calls) > 1:
        return (
            f"{len(rows)} submissions just like these are still going, as last seen. To follow "
            "them instead: %mjci resume"
        )
    job = session.journal.find_job(rows[-1].job_id) if rows[-1].job_id else None
    if job is None:
        return "A submission just like this has an unknown outcome. To search for it: %mjci resume"
    return (
        f"This submits again what is still going: {headline(job)}, as last seen. To follow that "
        f"job instead: {follow_command(job)}"
    )


def _takes_pictures_after_prompt(params: Sequence[Param]) -> bool:
    names = [param.name for param in params]
    following = params[names.index("prompt") + 1 :]
    return any(param.positional and param.kind in PICTURE_KINDS for param in following)


_QUOTED_PROMPT = re.compile(r"([\"'“])(.+?)(?:\1|(?<=“).*?”|”)\s+(\S.*)", re.DOTALL)


def _split_pictures(prompt: str, *, has_body: bool) -> tuple[str, list[str]]:
    """Return the prompt and the words of pictures behind it.

    They follow a prompt in quotation marks: `"make it blue"
    fox.png`. Where the prompt is the cell's body, they are all
    that the line has.
    """
    if has_body:
        return "", tokenize(prompt)
    match = _QUOTED_PROMPT.fullmatch(prompt)
    return (match[2], tokenize(match[3])) if match else (prompt, [])


def _split_first_word(text: str) -> tuple[str, str]:
    words = text.split(None, 1)
    if not words:
        return "", ""
    return words[0], words[1] if len(words) > 1 else ""


@contextmanager
def _as_usage_error(kind: type[InvalidRequest] = InvalidRequest) -> Iterator[None]:
    """Turn an invalid line into IPython's UsageError, which shows no traceback."""
    from IPython.core.error import UsageError

    try:
        yield
    except kind as error:
        raise UsageError(str(error)) from None
