"""The pictures that the words of a line name: `%mj_describe grid`, `%mj_blend job[0] fox.png`.

A word is a variable that holds a picture or a job; else it is for
the session, which knows paths, links and the IDs of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_mjci.client.image_input import find_job_source, is_existing_path, is_link
from jupyter_mjci.client.interpolation import find_value
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.params import Param

PICTURE_KINDS = ("picture", "pictures")


def resolve_pictures(
    params: Sequence[Param], values: Mapping[str, Any], namespace: Mapping[str, object]
) -> dict[str, Any]:
    """Replace the names of variables by the pictures and jobs that they hold.

    Args:
        params: the parameters of the builder
        values: what was written for them, by name
        namespace: the variables by name

    Raises:
        InvalidRequest: a word is a variable and a file, or names
            a variable without a picture
    """
    resolved = dict(values)
    for param in params:
        value = values.get(param.name)
        if param.kind not in PICTURE_KINDS or value is None:
            continue
        if isinstance(value, list):
            resolved[param.name] = [find_picture(word, namespace) for word in value]
        else:
            resolved[param.name] = find_picture(value, namespace)
    return resolved


def find_picture(word: str, namespace: Mapping[str, object]) -> Any:
    """Return the value of the variable that a word names, else the word: a path, a link or an ID.

    Raises:
        InvalidRequest: as `resolve_pictures`
    """
    if is_link(word) or word.startswith("data:"):
        return word
    value = find_value(word, namespace)
    is_file = is_existing_path(word)
    if value is None:
        if word.isidentifier() and not is_file:
            raise InvalidRequest(
                f"There is no variable and no file {word!r}.",
                hint="Give a variable that holds a job or a picture, a path, a link or a job's ID.",
            )
        return word
    if not _is_picture(value):
        if is_file:
            return word
        raise InvalidRequest(
            f"The variable {word!r} holds no picture but {type(value).__name__}.",
            hint="Give a job, a picture, or a path, a link or a job's ID as text.",
        )
    if is_file:
        raise InvalidRequest(
            f"{word!r} is a variable that holds a picture, and a file.",
            hint=f"Write ./{word} for the file, or rename the variable.",
        )
    return value


def _is_picture(value: object) -> bool:
    """Return whether a value may be a picture, or name one."""
    if isinstance(value, (str, bytes, bytearray)) or find_job_source(value) is not None:
        return True
    return any(hasattr(value, name) for name in ("save", "__array__", "read_bytes", "__await__"))
