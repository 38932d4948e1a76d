"""Parse the body of `%%ci_job`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jupyter_mjci.errors import InvalidRequest, suggest
from jupyter_mjci.notebook.interpolation import escape_toml, escape_xml, interpolate
from jupyter_mjci.notebook.params import Param, parse_signature
from jupyter_mjci.services.tencent_ci.api import TencentCI, route_request


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a body asks for: a whole request for a path, or a builder's name and its arguments."""

    path: str = ""
    request: str = ""
    builder: str = ""
    arguments: Mapping[str, Any] | None = None

    def build_call(self, ci: TencentCI) -> Any:
        if self.path:
            return ci.request(self.path, self.request)
        return getattr(ci, self.builder)(**(self.arguments or {}))


def parse_body(body: str, namespace: Mapping[str, Any]) -> JobRequest:
    """The XML of the service's documents, or the short form in TOML, whose keys are the parameters
    of `picture_job`, or with a `name` of `batch`. Raises CallError with line and column, before
    anything is sent.
    """
    if not body.strip():
        raise InvalidRequest(
            "The body is empty.", hint='Write TOML (input = "in/a.jpg" …), or the <Request> XML.'
        )
    if body.lstrip().startswith("<"):
        text = interpolate(body, namespace, escape_xml)
        text = text.strip() if "<?xml" in text else text.rstrip()  # a declaration must stand first
        path, _ = route_request(text)
        return JobRequest(path, text.strip())
    return _parse_toml(interpolate(body, namespace, escape_toml))


def _parse_toml(body: str) -> JobRequest:
    try:
        told = tomllib.loads(body)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(body, error) from None
    builder = "batch" if "name" in told else "picture_job"
    known = {one.name: one for one in parse_signature(getattr(TencentCI, builder))}
    given = {}
    for key, value in told.items():
        param = known.get(key.replace("-", "_"))
        if param is None:
            raise InvalidRequest(
                f"{_format_line_number(body, key)}{builder} has no {key!r}.",
                hint=suggest(key, list(known)),
            )
        if not _is_valid(param, value):
            raise InvalidRequest(
                f"{_format_line_number(body, key)}{key} wants {_KIND_NAMES[param.kind]}, not {value!r}.",
                hint=param.help,
            )
        given[param.name] = value
    missing = [name for name, param in known.items() if param.required and name not in given]
    if missing:
        raise InvalidRequest(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
            hint=_MISSING_HINT,
        )
    return JobRequest(builder=builder, arguments=given)


_MISSING_HINT = "Nothing was sent. Add it to the body."


def _toml_error(body: str, error: tomllib.TOMLDecodeError) -> InvalidRequest:
    found = re.search(
        r"^(.*?)\s*\(at (?:line (\d+), column (\d+)|end of document)\)$", str(error), re.DOTALL
    )
    reason, line, column = (found[1], found[2], found[3]) if found else (str(error), None, None)
    lines = body.splitlines()
    line = line or str(len(lines))
    column = column or str(len(lines[-1]) + 1 if lines else 1)
    written = lines[int(line) - 1].strip()[:100] if int(line) <= len(lines) else ""
    return InvalidRequest(
        f"The body is not valid TOML: line {line}, column {column}.",
        detail=f"{reason}: {written}" if written else f"{reason}.",
        hint="Nothing was sent. Correct the line and run the cell again.",
    )


def _format_line_number(body: str, key: str) -> str:
    for number, line in enumerate(body.splitlines(), 1):
        if re.match(rf"\s*\[?[\"']?{re.escape(key)}\b", line):
            return f"Line {number}: "
    return ""


def _is_valid(param: Param, value: Any) -> bool:
    if param.kind == "texts" and isinstance(value, list):
        return all(isinstance(one, str) for one in value)
    if param.kind == "choice":
        return value in param.choices
    return isinstance(value, _PYTHON_TYPES[param.kind]) and (param.kind == "switch") == isinstance(
        value, bool
    )


_PYTHON_TYPES: Mapping[str, Any] = {
    "text": (str, datetime),
    "integer": int,
    "number": (int, float),
    "switch": bool,
    "texts": str,
    "pairs": dict,
    "object": dict,
}


_KIND_NAMES: Mapping[str, str] = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "switch": "true or false",
    "texts": "a list of texts",
    "pairs": "a table",
    "object": "a table",
    "choice": "one of its choices",
}
