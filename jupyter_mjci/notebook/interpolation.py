"""Replace `{{name}}` by the value of a variable.

Double braces are the only interpolation anywhere: `{a, b}` (a
permutation prompt) and `$5` are part of Midjourney's own prompt
syntax and must be sent unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from xml.sax.saxutils import escape as xml_escape

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest

PLACEHOLDER = re.compile(r"\{\{\s*([^{}\s](?:[^{}]*[^{}\s])?)\s*\}\}")


def interpolate(
    text: str, namespace: Mapping[str, object], escape: Callable[[str], str] = str
) -> str:
    """Replace every `{{name}}` by that variable's value; a job is replaced by its ID.

    A placeholder that is neither a known name nor a Python
    identifier is left unchanged.

    Args:
        text: the text with placeholders
        namespace: the variables by name
        escape: applied to each inserted value

    Raises:
        InvalidRequest: a name is not defined.
    """

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in namespace:
            return escape(_format_value(namespace[name]))
        if not name.isidentifier():
            return match[0]
        raise InvalidRequest(
            f"There is no variable {name!r} for {match[0]}.",
            hint="Define it first. Other braces, as in {a, b}, are left unchanged.",
        )

    return PLACEHOLDER.sub(replace, text)


def find_job(value: object) -> Job | None:
    """Return the value if it is a job, or the job that it follows (`.job`)."""
    job = value if isinstance(value, Job) else getattr(value, "job", None)
    return job if isinstance(job, Job) else None


def _format_value(value: object) -> str:
    job = find_job(value)
    return str(value) if job is None else job.id


def escape_xml(text: str) -> str:
    """Escape a text for XML content and attributes."""
    return xml_escape(text, {'"': "&quot;", "'": "&apos;"})


def escape_toml(text: str) -> str:
    """Escape a text for the inside of a TOML basic string."""
    # JSON escapes what TOML does, except DEL.
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")
