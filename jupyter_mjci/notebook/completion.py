"""Complete the lines and bodies of magics.

Offered are commands, options with their values, Midjourney's own
flags with theirs, variables that hold jobs, IDs with their
prompts, buttons, the keys of a job's body, objects of the bucket,
and the words of picture rules. Only local knowledge is used:
completion never sends a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.interpolation import find_job
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.response_text import shorten
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.help import has_prompt
from jupyter_mjci.notebook.line_parser import BATCH_OPTIONS, OPTIONS
from jupyter_mjci.notebook.params import Builder, Param, list_job_params, parse_signature
from jupyter_mjci.services import Service, find_service

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from jupyter_mjci.notebook.magics import Magics

MAGIC_LINE = re.compile(
    r"^\s*(?:[^%=]+=\s*)?%{1,2}(mjci|([a-z][a-z0-9]+)_(\w+))[ \t]+(.*)$", re.DOTALL
)
MAX_JOBS = 50  # IDs that are offered
MAX_SUBJECT = 40  # characters of a prompt behind an ID


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may be inserted, and what it is, in a few words."""

    text: str
    description: str = "param"


# The fragment that is completed, and what it may become.
Completions = tuple[str, list[Candidate]]
NO_COMPLETIONS: Completions = ("", [])


def build_matcher_result(magics: Magics, context: CompletionContext) -> SimpleMatcherResult:
    """Return the completions of a cell in the form of IPython's completer."""
    from IPython.core.completer import SimpleCompletion

    fragment, candidates = find_candidates(
        magics, context.full_text, context.cursor_line, context.text_until_cursor
    )
    return {
        "completions": [
            SimpleCompletion(candidate.text, type=candidate.description) for candidate in candidates
        ],
        "suppress": bool(candidates),
        "matched_fragment": fragment,
    }


def complete_line(
    magics: Magics, full_text: str, line: int, until_cursor: str
) -> tuple[str, list[str]]:
    """Return the fragment and the texts of `find_candidates`."""
    fragment, candidates = find_candidates(magics, full_text, line, until_cursor)
    return fragment, [candidate.text for candidate in candidates]


def find_candidates(magics: Magics, full_text: str, line: int, until_cursor: str) -> Completions:
    """Complete a line of a cell.

    Args:
        magics: the magics of the shell
        full_text: the whole cell
        line: the number of the line, from 0
        until_cursor: the line up to the cursor
    """
    if line > 0 and full_text.startswith("%%"):
        return _complete_body(magics, full_text, until_cursor)
    match = MAGIC_LINE.match(until_cursor)
    if match is None:
        return NO_COMPLETIONS
    magic, service, name, rest = match.groups()
    if magic == "mjci":
        return _complete_mjci(magics, rest)
    found = find_service(service)
    builder = getattr(found.api, name, None) if found else None
    if found is None or builder is None:
        return NO_COMPLETIONS
    return _complete_builder(magics, found, builder, rest)


def _complete_mjci(magics: Magics, rest: str) -> Completions:
    command, blank, arguments = rest.partition(" ")
    names = commands.list_commands()
    if not blank:
        return rest, _filter_texts(rest, names)
    if command not in names:
        return NO_COMPLETIONS
    fragment, before = _split_last_word(arguments)
    if command == "use":
        return fragment, _filter(fragment, _list_sessions(magics))
    params = commands.get_command_params(command)
    option = before.split()[-1:]
    if option and option[0] in _VALUES_BY_OPTION:
        fragment = fragment.rpartition(",")[2]
        return fragment, _filter(fragment, _VALUES_BY_OPTION[option[0]](magics))
    texts = _list_flag_choices(params, before)
    if not texts:
        for param in params:
            if param.positional:
                texts += param.choices
        texts += _list_flags(params)
    return fragment, _filter_texts(fragment, texts)


def _complete_builder(magics: Magics, service: Service, builder: Builder, rest: str) -> Completions:
    params = parse_signature(builder)
    fragment, before = _split_last_word(rest)
    values = _find_option_values(magics, service, params, before, fragment)
    if values is not None:
        return values
    takes_prompt = has_prompt(builder)
    if takes_prompt:
        values = _complete_flag_value(service, before, fragment)
        if values is not None:
            return values
    if fragment.startswith("-"):
        takes_body = bool(service.parse_cell_body) and builder is service.get_job
        can_batch = takes_prompt or takes_body
        options = BATCH_OPTIONS if can_batch else OPTIONS
        texts = _filter_texts(fragment, _list_flags((*params, *options)))
        flags = _list_prompt_flags(service, before, fragment) if takes_prompt else []
        return fragment, [*flags, *texts]
    return _complete_positional(magics, service, params, rest, fragment, before)


def _complete_positional(
    magics: Magics,
    service: Service,
    params: Sequence[Param],
    rest: str,
    fragment: str,
    before: str,
) -> Completions:
    names = [param.name for param in params if param.positional]
    if names and not before.strip():
        if names[0] in list_job_params():
            return fragment, _filter(fragment, _list_jobs(magics, service.key))
        if names[0] in service.param_values:
            return fragment, _filter(fragment, _list_param_values(magics, service, names[0]))
    if names[1:2] == ["button"]:
        # A button's label may contain blanks: the fragment is
        # everything after the task.
        task, _, fragment = rest.lstrip().partition(" ")
        return fragment, _filter_texts(fragment, _list_button_labels(magics, task))
    return NO_COMPLETIONS


# --- options and their values -----------------------------------


def _find_option_values(
    magics: Magics, service: Service, params: Sequence[Param], before: str, fragment: str
) -> Completions | None:
    """Return the values of the option directly before the fragment; None if there is none."""
    words = before.split()
    if not words or not words[-1].startswith("-"):
        return None
    option = words[-1]
    list_values = _VALUES_BY_OPTION.get(option)
    if list_values is not None:
        return fragment, _filter(fragment, list_values(magics))
    if option == "--rule":
        return _complete_rule(fragment)
    name = option[2:].replace("-", "_")
    if name in service.param_values:
        # In a list, what is behind the last comma.
        fragment = fragment.rpartition(",")[2]
        return fragment, _filter(fragment, _list_param_values(magics, service, name))
    choices = _list_flag_choices(params, before)
    return (fragment, _filter_texts(fragment, choices)) if choices else None


def _list_param_values(magics: Magics, service: Service, name: str) -> Iterable[Candidate]:
    """Return what the service's descriptor says of a parameter's values."""
    values = service.param_values[name]
    if values.job_field == "id":
        return _list_known_jobs(magics, service.key)
    if values.job_field == "subject":
        return _list_objects(magics, service.key)
    seen: list[str] = []
    if values.job_field:
        seen = [getattr(job, values.job_field) for job in _get_known(magics, service.key)]
    return map(Candidate, dict.fromkeys([*values.texts, *filter(None, seen)]))


def _list_tables(magics: Magics) -> Iterator[Candidate]:
    for name, value in _iter_variables(magics):
        is_frame = type(value).__name__ == "DataFrame"
        if is_frame or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            yield Candidate(name, f"{len(value)} rows")  # type: ignore[arg-type]


def _list_sessions(magics: Magics) -> Iterator[Candidate]:
    for name, value in _iter_variables(magics):
        if type(value).__name__ == "Session" and hasattr(value, "client"):
            yield Candidate(name, "session")


def _complete_flag_value(service: Service, before: str, fragment: str) -> Completions | None:
    """Return the values of the prompt's flag directly before the fragment."""
    words = before.split()
    syntax = service.prompt_syntax
    flag = syntax.FLAGS_BY_NAME.get(words[-1]) if syntax and words else None
    if flag is None or not flag.values:
        return None
    candidates = [Candidate(value, flag.help) for value in flag.values]
    return fragment, _filter(fragment, candidates)


def _list_prompt_flags(service: Service, before: str, fragment: str) -> list[Candidate]:
    """Return the flags that the prompt does not have yet."""
    syntax = service.prompt_syntax
    if syntax is None:
        return []
    by_name = syntax.FLAGS_BY_NAME
    written = {by_name[word].name for word in before.split() if word in by_name}
    candidates: list[Candidate] = []
    for flag in syntax.FLAGS:
        if flag.is_repeatable or flag.name not in written:
            candidates += [Candidate(name, _describe_flag(flag)) for name in flag.names]
    return _filter(fragment, candidates)


def _describe_flag(flag: Any) -> str:
    return flag.help if flag.kind == "switch" else f"{flag.help}: {flag.expected}"


# --- bodies of cells --------------------------------------------

_TOML_VALUE = re.compile(r"""^\s*([\w-]+)\s*=\s*\[?(?:.*[,\[])?\s*["']?([^"']*)$""")


def _complete_body(magics: Magics, full_text: str, until_cursor: str) -> Completions:
    """Complete a line of a cell's body: of a job, or of a prompt."""
    match = re.match(r"%%([a-z0-9]+)_(\w+)", full_text)
    service = find_service(match[1]) if match else None
    if match is None or service is None:
        return NO_COMPLETIONS
    builder = getattr(service.api, match[2], None)
    if service.parse_cell_body and builder is service.get_job:
        return _complete_toml(magics, service, until_cursor)
    if builder is None or not has_prompt(builder):
        return NO_COMPLETIONS
    fragment, before = _split_last_word(until_cursor)
    if fragment.startswith("-"):
        return fragment, _list_prompt_flags(service, before, fragment)
    return _complete_flag_value(service, before, fragment) or NO_COMPLETIONS


def _complete_toml(magics: Magics, service: Service, until_cursor: str) -> Completions:
    """Complete a key at the start of a line, or the value behind it."""
    params = {
        param.name: param for builder in service.body_builders for param in parse_signature(builder)
    }
    if re.fullmatch(r"\w*", until_cursor):
        keys = [Candidate(f"{name} = ", param.help) for name, param in params.items()]
        return until_cursor, _filter(until_cursor, keys)
    match = _TOML_VALUE.match(until_cursor)
    if match is None:
        return NO_COMPLETIONS
    key = match[1].replace("-", "_")
    fragment = match[2]
    if key == "rule":
        return _complete_rule(fragment)
    if key in service.param_values:
        return fragment, _filter(fragment, _list_param_values(magics, service, key))
    param = params.get(key)
    return fragment, _filter_texts(fragment, param.choices if param else ())


def _complete_rule(text: str) -> Completions:
    """Complete the last word of a picture rule: an operation, a key, or a value."""
    import jupyter_mjci.imaging.rule_syntax  # noqa: F401 - registers the operations
    from jupyter_mjci.imaging.registry import OPERATIONS

    step = text.rpartition("|")[2]
    fragment = step.rpartition("/")[2]
    before = step[: len(step) - len(fragment)]
    candidates: dict[str, Candidate] = {}
    for name, spec in OPERATIONS.items():
        if name.startswith(before):
            word, slash, _ = name[len(before) :].partition("/")
            candidates.setdefault(word, Candidate(word + slash, spec.help))
        for parameter in spec.parameters:
            owner = spec.name.rpartition("/")[0] if spec.key == parameter.name else spec.name
            if before.endswith(f"{owner}/{parameter.name}/"):
                candidates.update({value: Candidate(value) for value in parameter.choices})
            elif before.startswith(f"{owner}/"):
                candidates.setdefault(parameter.name, Candidate(parameter.name, parameter.help))
    return fragment, _filter(fragment, candidates.values())


# --- what is known ----------------------------------------------


def _iter_variables(magics: Magics) -> Iterator[tuple[str, object]]:
    """Yield the user's variables, the latest first."""
    for name, value in reversed(list(magics.ip.user_ns.items())):
        if not name.startswith("_"):
            yield name, value


def _list_jobs(magics: Magics, service: str) -> Iterator[Candidate]:
    """Yield the variables that hold jobs of a service, then the IDs."""
    for name, value in _iter_variables(magics):
        job = find_job(value)
        if job is not None and job.service == service:
            yield Candidate(name, _describe_job(job))
    yield from _list_known_jobs(magics, service)


def _list_known_jobs(magics: Magics, service: str) -> Iterator[Candidate]:
    for job in list(reversed(_get_known(magics, service)))[:MAX_JOBS]:
        yield Candidate(job.id, _describe_job(job))


def _get_known(magics: Magics, service: str | None = None) -> Sequence[Job]:
    """Return the jobs (of a service) that the session knows, oldest first."""
    session = magics.current_session.get_if_unique()
    return session.client.known_jobs(service) if session else ()


def _describe_job(job: Job) -> str:
    subject = shorten(job.subject, MAX_SUBJECT)
    words = [job.action] if job.status is Status.SUCCEEDED else [job.action, job.status.lower()]
    return f"{' '.join(words)}: {subject}" if subject else " ".join(words)


def _list_objects(magics: Magics, service: str) -> Iterator[Candidate]:
    """Yield the keys of objects: listed before, and inputs of jobs."""
    inputs = [job.subject for job in _get_known(magics, service)]
    keys = dict.fromkeys([*magics.known_objects, *inputs])
    return (Candidate(key, "object") for key in keys if key)


def _list_unresolved(magics: Magics) -> Iterator[Candidate]:
    """Yield the submissions of unknown outcome, by the IDs that `%mjci resume` names."""
    session = magics.current_session.get_if_unique()
    for row in session.unresolved_submissions() if session else ():
        yield Candidate(row.marker, f"{row.name}: {row.state}")


def _list_button_labels(magics: Magics, task: str) -> list[str]:
    job = magics.find_job(task)
    if job is None:
        job = next((known for known in _get_known(magics) if known.id == task), None)
    return [button.name for button in job.buttons] if job else []


# How the values of an option are listed, beyond its choices.
_VALUES_BY_OPTION: Mapping[str, Callable[[Magics], Iterable[Candidate]]] = {
    "--each": _list_tables,
    "--grid": _list_tables,
    "--session": _list_sessions,
    "--forget": _list_unresolved,
}


# --- words ------------------------------------------------------


def _split_last_word(text: str) -> tuple[str, str]:
    """Return the word at the end of the text ("" after a blank), and what is before it."""
    match = re.search(r"\S*$", text)
    word = match[0] if match else ""
    return word, text[: len(text) - len(word)]


def _list_flag_choices(params: Sequence[Param], before: str) -> list[str]:
    """Return the choices of the flag that comes directly before the fragment."""
    words = before.split()
    for param in params:
        if words and words[-1] == param.flag:
            return list(param.choices)
    return []


def _list_flags(params: Iterable[Param]) -> list[str]:
    return [param.flag for param in params]


def _filter_texts(prefix: str, texts: Iterable[str]) -> list[Candidate]:
    return _filter(prefix, map(Candidate, texts))


def _filter(prefix: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    prefix = prefix.casefold()
    return [each for each in candidates if each.text.casefold().startswith(prefix)]
