"""Parse the body of `%%ci_job`: the service's `<Request>` XML, or the short form in TOML.

Errors name line and column, and are raised before anything is
sent.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from xml.sax.saxutils import unescape

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.interpolation import escape_toml, escape_xml, interpolate
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest, suggest
from jupyter_mjci.notebook.params import Param, parse_signature
from jupyter_mjci.services.tencent_ci.api import TencentCI, check_rule, route_request


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The request of a body: either XML for a `path`, or a `builder` and its `arguments`."""

    path: str = ""
    request: str = ""
    builder: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)

    def build_call(self, ci: TencentCI, as_is: bool = False) -> Call[Job]:
        """Build the call; its rule is checked unless it is sent `as_is`."""
        if not self.path:
            arguments = {"as_is": as_is, **self.arguments}
            call: Call[Job] = getattr(ci, self.builder)(**arguments)
            return call
        for rule in () if as_is else _RULE.findall(self.request):
            check_rule(unescape(rule, {"&quot;": '"', "&apos;": "'"}))
        return ci.request(self.path, self.request)


_RULE = re.compile(r"<ProcessRule>\s*([^<]+?)\s*</ProcessRule>")


def parse_body(body: str, namespace: Mapping[str, object]) -> JobRequest:
    """Parse a body after replacing its `{{name}}` placeholders.

    The keys of the TOML form are the parameters of `picture_job`;
    with a `name`, those of `batch`.

    Raises:
        InvalidRequest: with line and column.
    """
    if not body.strip():
        raise InvalidRequest(
            "The body is empty.",
            hint='Write TOML (input = "in/a.jpg" …), or the <Request> XML.',
        )
    if body.lstrip().startswith("<"):
        text = interpolate(body, namespace, escape_xml)
        # An XML declaration must come first. Otherwise leading
        # lines stay, for the line numbers.
        text = text.strip() if "<?xml" in text else text.rstrip()
        path, _ = route_request(text)
        return JobRequest(path, text.strip())
    return _parse_toml(interpolate(body, namespace, escape_toml))


def _parse_toml(body: str) -> JobRequest:
    try:
        table = tomllib.loads(body)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(body, error) from None
    builder = "batch" if "name" in table else "picture_job"
    params = {param.name: param for param in parse_signature(getattr(TencentCI, builder))}
    arguments: dict[str, object] = {}
    for key, value in table.items():
        param = params.get(key.replace("-", "_"))
        line = _format_line_number(body, key)
        if param is None:
            raise InvalidRequest(
                f"{line}{key!r} is not a parameter of {builder}.",
                hint=suggest(key, list(params)),
            )
        if not _is_valid(param, value):
            raise InvalidRequest(
                f"{line}{key} must be {_KIND_NAMES[param.kind]}, not {value!r}.",
                hint=param.help,
            )
        arguments[param.name] = value
    _check_required(params, arguments)
    return JobRequest(builder=builder, arguments=arguments)


def list_body_keys() -> list[str]:
    """Return the keys of the TOML form."""
    params = (*parse_signature(TencentCI.picture_job), *parse_signature(TencentCI.batch))
    return list(dict.fromkeys(param.name for param in params))


def _check_required(params: Mapping[str, Param], arguments: Mapping[str, object]) -> None:
    missing = [name for name, param in params.items() if param.required and name not in arguments]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InvalidRequest(
            f"{' and '.join(missing)} {verb} missing.",
            hint="Nothing was sent. Add it to the body.",
        )


_TOML_POSITION = re.compile(
    r"^(.*?)\s*\(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL
)


def _toml_error(body: str, error: tomllib.TOMLDecodeError) -> InvalidRequest:
    """Build the error from tomllib's, which has its position only in the message."""
    lines = body.splitlines() or [""]
    reason = str(error)
    number = len(lines)
    column = len(lines[-1]) + 1
    match = _TOML_POSITION.match(reason)
    if match:
        reason = match[1]
        if match[2]:
            number = int(match[2])
            column = int(match[3])
    source = lines[number - 1].strip()[:100] if number <= len(lines) else ""
    hint = "Nothing was sent. Correct the line and run the cell again."
    if re.search("[“”‘’＂＇]", source):
        hint = 'Nothing was sent. Did you mean straight quotation marks (")?'
    elif re.match(r"[\w-]+\s*[:：]", source):
        key, value = re.split("[:：]", source, maxsplit=1)
        hint = f"Nothing was sent. Did you mean {key.strip()} = {value.strip()}?"
    return InvalidRequest(
        f"The body is not valid TOML: line {number}, column {column}.",
        detail=f"{reason}: {source}" if source else f"{reason}.",
        hint=hint,
    )


def _format_line_number(body: str, key: str) -> str:
    for number, line in enumerate(body.splitlines(), 1):
        if re.match(rf"\s*\[?[\"']?{re.escape(key)}\b", line):
            return f"Line {number}: "
    return ""


def _is_valid(param: Param, value: object) -> bool:
    if param.kind == "choice":
        return value in param.choices
    if param.kind == "texts" and isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    if isinstance(value, bool):  # bool is a subclass of int
        return param.kind == "switch"
    return isinstance(value, _PYTHON_TYPES[param.kind])


_PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "text": (str, datetime),
    "integer": int,
    "number": (int, float),
    "switch": bool,
    "texts": str,
    "pairs": dict,
    "object": dict,
}

_KIND_NAMES: Mapping[str, str] = {
    "text": "a string",
    "integer": "an integer",
    "number": "a number",
    "switch": "true or false",
    "texts": "a list of strings",
    "pairs": "a table",
    "object": "a table",
    "choice": "one of its choices",
}
