"""Replace `{{name}}` by the value of a variable.

Double braces are the only interpolation anywhere: `{a, b}` (a
permutation prompt) and `$5` are part of Midjourney's own prompt
syntax and must be sent unchanged.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from xml.sax.saxutils import escape as xml_escape

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest

PLACEHOLDER = re.compile(r"\{\{\s*([^{}\s](?:[^{}]*[^{}\s])?)\s*\}\}")


def interpolate(
    text: str, namespace: Mapping[str, object], escape: Callable[[str], str] = str
) -> str:
    """Replace every `{{name}}` by that variable's value; a job is replaced by its ID.

    A name may go on with attributes and items: `{{job.id}}`,
    `{{row["title"]}}`. A placeholder that is neither a known name
    nor such a path is left unchanged.

    Args:
        text: the text with placeholders
        namespace: the variables by name
        escape: applied to each inserted value

    Raises:
        InvalidRequest: a name or an attribute is not defined, or
            its value is no text.
    """

    def replace(match: re.Match[str]) -> str:
        path = match[1]
        if path not in namespace and not _PATH.fullmatch(path):
            return match[0]
        try:
            value = resolve_path(path, namespace)
        except LookupError as error:
            raise InvalidRequest(
                f"{error.args[0]} for {match[0]}.",
                hint="Define it first. Other braces, as in {a, b}, are left unchanged.",
            ) from None
        return escape(_format_value(path, value))

    return PLACEHOLDER.sub(replace, text)


def refuse_lists(text: str, namespace: Mapping[str, object]) -> None:
    """Refuse a `{{name}}` that holds a list: nobody means its brackets and quotation marks.

    Args:
        text: the text before interpolation
        namespace: the variables by name

    Raises:
        InvalidRequest: says what to write instead.
    """
    for match in PLACEHOLDER.finditer(text):
        path = match[1]
        value = find_value(path, namespace)
        if isinstance(value, (list, tuple)):
            kind = type(value).__name__
            raise InvalidRequest(
                f"{path} is a {kind}, not a text.",
                hint=f"Take an item: {{{{{path}[0]}}}}. A job for each row: --each.",
            )


def find_job(value: object) -> Job | None:
    """Return the value if it is a job, or the job that it follows (`.job`)."""
    job = value if isinstance(value, Job) else getattr(value, "job", None)
    return job if isinstance(job, Job) else None


def find_value(path: str, namespace: Mapping[str, object]) -> object:
    """Return the value of a variable, or of a path from it; None where there is none."""
    if path not in namespace and not _PATH.fullmatch(path):
        return None
    try:
        return resolve_path(path, namespace)
    except LookupError:
        return None


_NAME = r"[^\W\d]\w*"
_STEP = re.compile(rf"\.({_NAME})|\[(-?\d+|'[^']*'|\"[^\"]*\")\]")
_PATH = re.compile(rf"{_NAME}(?:{_STEP.pattern})*")


def resolve_path(path: str, namespace: Mapping[str, object]) -> object:
    """Return the value of a variable, with its attributes and items: `jobs[0].id`.

    Raises:
        LookupError: says what does not exist.
    """
    if path in namespace:
        return namespace[path]
    match = re.match(_NAME, path)
    name = match[0] if match else path
    if name not in namespace:
        raise LookupError(f"There is no variable {name!r}")
    value = namespace[name]
    known = name
    for step in _iter_steps(path[len(name) :]):
        value = _take_step(known, value, step)
        known += step[0]
    return value


def _iter_steps(text: str) -> Iterator[re.Match[str]]:
    return _STEP.finditer(text)


def _take_step(known: str, value: object, step: re.Match[str]) -> object:
    try:
        if step[1]:
            return getattr(value, step[1])
        key = ast.literal_eval(step[2])
        return value[key]  # type: ignore[index]
    except (AttributeError, LookupError, TypeError):
        kind = "attribute" if step[1] else "item"
        message = f"The variable {known!r} has no {kind} {step[1] or step[2]}"
        raise LookupError(message) from None


def _format_value(path: str, value: object) -> str:
    job = find_job(value)
    if job is not None:
        return job.id
    kind = _find_wrong_kind(value)
    if kind:
        raise InvalidRequest(
            f"{path} is {kind}, not a text.", hint="Nothing was sent. Assign it a text first."
        )
    return str(value)


def _find_wrong_kind(value: object) -> str:
    """Return what a value is whose text nobody means; "" for any other."""
    if value is None:
        return "None"
    if inspect.isroutine(value) or inspect.isclass(value):
        return "a function or class"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    kind = type(value)
    # arrays and tables have a shape
    if isinstance(value, (bytes, bytearray)) or getattr(value, "shape", None):
        return f"a {kind.__name__}"
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"a {kind.__name__} without a text"
    return ""


def escape_xml(text: str) -> str:
    """Escape a text for XML content and attributes."""
    return xml_escape(text, {'"': "&quot;", "'": "&apos;"})


def escape_toml(text: str) -> str:
    """Escape a text for the inside of a TOML basic string."""
    # JSON escapes what TOML does, except DEL.
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")
