"""Completion of our magics' lines: commands, flags, choices, ids and buttons. From local knowledge
only: a completer never sends a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.line_parser import BATCH_OPTIONS, OPTIONS
from jupyter_mjci.notebook.params import Param, parse_signature
from jupyter_mjci.services.tencent_ci.api import TencentCI

if TYPE_CHECKING:
    from jupyter_mjci.notebook.magics import Magics

MAGIC_LINE = re.compile(r"^\s*(?:[^%=]+=\s*)?%{1,2}(mjci|(mj|ci)_(\w+))[ \t]+(.*)$", re.DOTALL)


def build_matcher_result(magics: Magics, context: Any) -> Any:
    """What IPython's completer wants of a matcher."""
    from IPython.core.completer import SimpleCompletion

    fragment, found = complete_line(
        magics, context.full_text, context.cursor_line, context.text_until_cursor
    )
    return {
        "completions": [SimpleCompletion(text, type="param") for text in found],
        "suppress": bool(found),
        "matched_fragment": fragment,
    }


def complete_line(
    magics: Magics, full_text: str, line: int, until_cursor: str
) -> tuple[str, list[str]]:
    """The piece of the line that is completed, and what it may become."""
    if line > 0 and full_text.startswith("%%ci_job"):
        return _complete_toml_keys(until_cursor)
    found = MAGIC_LINE.match(until_cursor)
    if found is None:
        return "", []
    magic, service, name, rest = found.groups()
    if magic == "mjci":
        return _complete_mjci(rest)
    builder = getattr(_get_services()[service], name, None)
    return _complete_builder(magics, service, builder, rest) if builder else ("", [])


def _get_services() -> dict[str, type]:
    from jupyter_mjci.notebook.magics import SERVICE_APIS

    return dict(SERVICE_APIS)


def _complete_mjci(rest: str) -> tuple[str, list[str]]:
    command, blank, after = rest.partition(" ")
    if not blank:
        return rest, _filter_by_prefix(rest, commands.list_commands())
    if command not in commands.list_commands():
        return "", []
    known = commands.get_command_params(command)
    fragment, before = _split_last_word(after)
    positional = [choice for one in known if one.positional for choice in one.choices]
    return fragment, _filter_by_prefix(
        fragment, _list_flag_choices(known, before) or ([*positional, *_list_flags(known)])
    )


def _complete_builder(
    magics: Magics, service: str, builder: Any, rest: str
) -> tuple[str, list[str]]:
    known = parse_signature(builder)
    fragment, before = _split_last_word(rest)
    if values := _list_flag_choices(known, before):
        return fragment, _filter_by_prefix(fragment, values)
    if fragment.startswith("-"):
        many = builder is TencentCI.job or "prompt" in [one.name for one in known]
        return fragment, _filter_by_prefix(
            fragment, _list_flags((*known, *(BATCH_OPTIONS if many else OPTIONS)))
        )
    names = [one.name for one in known if one.positional]
    if names[:1] in (["task"], ["task_id"], ["job_id"]) and not before.strip():
        return fragment, _filter_by_prefix(fragment, _list_job_ids(magics, service))
    if names[1:2] == ["button"]:
        task, _, fragment = rest.lstrip().partition(" ")  # labels have blanks in them
        return fragment, _filter_by_prefix(fragment, _list_button_labels(magics, task))
    return "", []


def _complete_toml_keys(until_cursor: str) -> tuple[str, list[str]]:
    """The keys of the short form, at the beginning of a line."""
    if not re.fullmatch(r"\w+", until_cursor):
        return "", []
    known = dict.fromkeys(
        [*parse_signature(TencentCI.picture_job), *parse_signature(TencentCI.batch)]
    )
    return until_cursor, [
        f"{name} = "
        for name in _filter_by_prefix(until_cursor, dict.fromkeys(one.name for one in known))
    ]


def _split_last_word(text: str) -> tuple[str, str]:
    fragment = re.search(r"\S*$", text)
    word = fragment[0] if fragment else ""
    return word, text[: len(text) - len(word)]


def _list_flag_choices(known: Sequence[Param], before: str) -> list[str]:
    """The choices of the flag that stands just before."""
    words = before.split()
    return [choice for one in known if words and words[-1] == one.flag for choice in one.choices]


def _list_flags(known: Iterable[Param]) -> list[str]:
    return [one.flag for one in known]


def _filter_by_prefix(fragment: str, known: Iterable[str]) -> list[str]:
    return [one for one in known if one.casefold().startswith(fragment.casefold())]


def _list_job_ids(magics: Magics, service: str) -> list[str]:
    session = _get_session(magics)
    return [job.id for job in reversed(session.known_jobs(service))] if session else []


def _list_button_labels(magics: Magics, task: str) -> list[str]:
    held, session = magics._find_job(task), _get_session(magics)
    seen = session.known_jobs("mj") if session else ()
    job = held or next((job for job in seen if job.id == task), None)
    return [button.name for button in job.buttons] if job else []


def _get_session(magics: Magics) -> Any:
    try:
        return magics.current_session.get()[0]
    except MjciError:  # several, and none chosen
        return None
