"""Complete the lines of magics: commands, flags, choices, job IDs and button labels.

Only from local knowledge: completion never sends a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.job_body import list_body_keys
from jupyter_mjci.notebook.line_parser import BATCH_OPTIONS, OPTIONS
from jupyter_mjci.notebook.params import Builder, Param, parse_signature
from jupyter_mjci.services import Service, find_service, services

if TYPE_CHECKING:
    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from jupyter_mjci.notebook.magics import Magics
    from jupyter_mjci.session import Session

MAGIC_LINE = re.compile(r"^\s*(?:[^%=]+=\s*)?%{1,2}(mjci|(mj|ci)_(\w+))[ \t]+(.*)$", re.DOTALL)
# The fragment that is completed, and its completions.
Completions = tuple[str, list[str]]
NO_COMPLETIONS: Completions = ("", [])


def build_matcher_result(magics: Magics, context: CompletionContext) -> SimpleMatcherResult:
    """Return the completions of a cell in the form of IPython's completer."""
    from IPython.core.completer import SimpleCompletion

    fragment, texts = complete_line(
        magics, context.full_text, context.cursor_line, context.text_until_cursor
    )
    return {
        "completions": [SimpleCompletion(text, type="param") for text in texts],
        "suppress": bool(texts),
        "matched_fragment": fragment,
    }


def complete_line(magics: Magics, full_text: str, line: int, until_cursor: str) -> Completions:
    """Complete a line of a cell.

    Args:
        magics: the magics of the shell
        full_text: the whole cell
        line: the number of the line, from 0
        until_cursor: the line up to the cursor
    """
    if line > 0 and _has_cell_body(full_text):
        return _complete_toml_keys(until_cursor)
    match = MAGIC_LINE.match(until_cursor)
    if match is None:
        return NO_COMPLETIONS
    magic, service, name, rest = match.groups()
    if magic == "mjci":
        return _complete_mjci(rest)
    found = find_service(service)
    builder = getattr(found.api, name, None) if found else None
    if found is None or builder is None:
        return NO_COMPLETIONS
    return _complete_builder(magics, found, builder, rest)


def _complete_mjci(rest: str) -> Completions:
    command, blank, arguments = rest.partition(" ")
    names = commands.list_commands()
    if not blank:
        return rest, _filter_by_prefix(rest, names)
    if command not in names:
        return NO_COMPLETIONS
    params = commands.get_command_params(command)
    fragment, before = _split_last_word(arguments)
    candidates = _list_flag_choices(params, before)
    if not candidates:
        for param in params:
            if param.positional:
                candidates += param.choices
        candidates += _list_flags(params)
    return fragment, _filter_by_prefix(fragment, candidates)


def _has_cell_body(cell: str) -> bool:
    """Return whether a cell's body is a request, not a prompt."""
    magic = cell.partition("\n")[0].split(None, 1)[0] if cell.strip() else ""
    return any(each.parse_cell_body and magic == f"%{each.job_magic}" for each in services())


def _complete_builder(magics: Magics, service: Service, builder: Builder, rest: str) -> Completions:
    params = parse_signature(builder)
    fragment, before = _split_last_word(rest)
    choices = _list_flag_choices(params, before)
    if choices:
        return fragment, _filter_by_prefix(fragment, choices)
    if fragment.startswith("-"):
        takes_body = service.parse_cell_body and builder is service.get_job
        can_batch = takes_body or any(param.name == "prompt" for param in params)
        options = BATCH_OPTIONS if can_batch else OPTIONS
        return fragment, _filter_by_prefix(fragment, _list_flags((*params, *options)))
    names = [param.name for param in params if param.positional]
    if names[:1] in (["task"], ["task_id"], ["job_id"]) and not before.strip():
        return fragment, _filter_by_prefix(fragment, _list_job_ids(magics, service.key))
    if names[1:2] == ["button"]:
        # A button's label may contain blanks: the fragment is
        # everything after the task.
        task, _, fragment = rest.lstrip().partition(" ")
        return fragment, _filter_by_prefix(fragment, _list_button_labels(magics, service.key, task))
    return NO_COMPLETIONS


def _complete_toml_keys(until_cursor: str) -> Completions:
    """Complete the keys of a `%%ci_job` body, at the start of a line."""
    if not re.fullmatch(r"\w+", until_cursor):
        return NO_COMPLETIONS
    names = list_body_keys()
    return until_cursor, [f"{name} = " for name in _filter_by_prefix(until_cursor, names)]


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


def _filter_by_prefix(prefix: str, candidates: Iterable[str]) -> list[str]:
    prefix = prefix.casefold()
    return [text for text in candidates if text.casefold().startswith(prefix)]


def _list_job_ids(magics: Magics, service: str) -> list[str]:
    session = _get_session(magics)
    return [job.id for job in reversed(session.client.known_jobs(service))] if session else []


def _list_button_labels(magics: Magics, service: str, task: str) -> list[str]:
    job = magics.find_job(task)
    session = _get_session(magics)
    if job is None and session:
        known_jobs = session.client.known_jobs(service)
        job = next((known for known in known_jobs if known.id == task), None)
    return [button.name for button in job.buttons] if job else []


def _get_session(magics: Magics) -> Session | None:
    try:
        return magics.current_session.get()
    except MjciError:  # several sessions, none selected
        return None
