"""Replace `{{name}}` by the values of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape as xml_escape

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest


def interpolate(text: str, namespace: Mapping[str, Any], escape: Callable[[str], str] = str) -> str:
    """The text with every `{{name}}` replaced by that variable's value, a job's by its id.

    Raises CallError for an unknown name. What is neither known nor a name is left as it is.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in namespace:
            if not found[1].isidentifier():
                return found[0]
            raise InvalidRequest(
                f"There is no variable {found[1]!r} for {found[0]}.",
                hint="Define it first. Other braces, as in {a, b}, are left as they are.",
            )
        named = namespace[found[1]]
        job = named if isinstance(named, Job) else getattr(named, "job", None)
        return escape(job.id if isinstance(job, Job) else str(named))

    return PLACEHOLDER.sub(value, text)


PLACEHOLDER = re.compile(r"\{\{\s*([^{}\s](?:[^{}]*[^{}\s])?)\s*\}\}")


def escape_xml(text: str) -> str:
    return xml_escape(text, {'"': "&quot;", "'": "&apos;"})


def escape_toml(text: str) -> str:
    """A text as it stands inside the quotes of a TOML string."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")
