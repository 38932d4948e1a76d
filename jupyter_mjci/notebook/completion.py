"""Completion of our magics' lines: commands, flags, choices, ids and buttons. From local knowledge
only: a completer never sends a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.line_parser import MANY, OPTIONS
from jupyter_mjci.notebook.params import Param, params
from jupyter_mjci.services.tencent_ci.api import TencentCI

if TYPE_CHECKING:
    from jupyter_mjci.notebook.magics import Magics

LINE = re.compile(r"^\s*(?:[^%=]+=\s*)?%{1,2}(mjci|(mj|ci)_(\w+))[ \t]+(.*)$", re.DOTALL)


def matches(magics: Magics, context: Any) -> Any:
    """What IPython's completer wants of a matcher."""
    from IPython.core.completer import SimpleCompletion

    fragment, found = completions(
        magics, context.full_text, context.cursor_line, context.text_until_cursor
    )
    return {
        "completions": [SimpleCompletion(text, type="param") for text in found],
        "suppress": bool(found),
        "matched_fragment": fragment,
    }


def completions(
    magics: Magics, full_text: str, line: int, until_cursor: str
) -> tuple[str, list[str]]:
    """The piece of the line that is completed, and what it may become."""
    if line > 0 and full_text.startswith("%%ci_job"):
        return _keys(until_cursor)
    found = LINE.match(until_cursor)
    if found is None:
        return "", []
    magic, service, name, rest = found.groups()
    if magic == "mjci":
        return _of_mjci(rest)
    builder = getattr(_services()[service], name, None)
    return _of_builder(magics, service, builder, rest) if builder else ("", [])


def _services() -> dict[str, type]:
    from jupyter_mjci.notebook.magics import SERVICES

    return dict(SERVICES)


def _of_mjci(rest: str) -> tuple[str, list[str]]:
    command, blank, after = rest.partition(" ")
    if not blank:
        return rest, _starting(rest, commands.names())
    if command not in commands.names():
        return "", []
    known = commands.flags(command)
    fragment, before = _last_word(after)
    positional = [choice for one in known if one.positional for choice in one.choices]
    return fragment, _starting(fragment, _values(known, before) or ([*positional, *_flags(known)]))


def _of_builder(magics: Magics, service: str, builder: Any, rest: str) -> tuple[str, list[str]]:
    known = params(builder)
    fragment, before = _last_word(rest)
    if values := _values(known, before):
        return fragment, _starting(fragment, values)
    if fragment.startswith("-"):
        many = builder is TencentCI.job or "prompt" in [one.name for one in known]
        return fragment, _starting(fragment, _flags((*known, *(MANY if many else OPTIONS))))
    names = [one.name for one in known if one.positional]
    if names[:1] in (["task"], ["task_id"], ["job_id"]) and not before.strip():
        return fragment, _starting(fragment, _ids(magics, service))
    if names[1:2] == ["button"]:
        task, _, fragment = rest.lstrip().partition(" ")  # labels have blanks in them
        return fragment, _starting(fragment, _labels(magics, task))
    return "", []


def _keys(until_cursor: str) -> tuple[str, list[str]]:
    """The keys of the short form, at the beginning of a line."""
    if not re.fullmatch(r"\w+", until_cursor):
        return "", []
    known = dict.fromkeys([*params(TencentCI.picture_job), *params(TencentCI.batch)])
    return until_cursor, [
        f"{name} = " for name in _starting(until_cursor, dict.fromkeys(one.name for one in known))
    ]


def _last_word(text: str) -> tuple[str, str]:
    fragment = re.search(r"\S*$", text)
    word = fragment[0] if fragment else ""
    return word, text[: len(text) - len(word)]


def _values(known: Sequence[Param], before: str) -> list[str]:
    """The choices of the flag that stands just before."""
    words = before.split()
    return [choice for one in known if words and words[-1] == one.flag for choice in one.choices]


def _flags(known: Iterable[Param]) -> list[str]:
    return [one.flag for one in known]


def _starting(fragment: str, known: Iterable[str]) -> list[str]:
    return [one for one in known if one.casefold().startswith(fragment.casefold())]


def _ids(magics: Magics, service: str) -> list[str]:
    session = _session(magics)
    return [job.id for job in reversed(session.seen(service))] if session else []


def _labels(magics: Magics, task: str) -> list[str]:
    held, session = magics._held(task), _session(magics)
    seen = session.seen("mj") if session else ()
    job = held or next((job for job in seen if job.id == task), None)
    return [button.name for button in job.buttons] if job else []


def _session(magics: Magics) -> Any:
    try:
        return magics.chosen.present()[0]
    except MjciError:  # several, and none chosen
        return None
