"""What a person writes on a magic's line and in its body, read into plain values. Knows no IPython.

A prompt is nobody's syntax: our options are taken from the front and from the very end of its line,
and everything between is sent byte for byte. `{{name}}` is the only interpolation anywhere, because
`{a, b}` and `$5` mean something to Midjourney.
"""

from __future__ import annotations

import json
import keyword
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape as xml_escape

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest, suggest
from jupyter_mjci.notebook.params import Param, parse_signature, parse_tokens
from jupyter_mjci.services.tencent_ci.api import TencentCI, route_request


@dataclass(frozen=True, slots=True)
class Options:
    """What every magic understands."""

    out: str = ""
    no_wait: bool = False
    dry_run: bool = False
    help: bool = False
    each: str = ""
    at_once: int = 8


def _make_switch(flag: str, help: str) -> Param:
    return Param(flag.strip("-").replace("-", "_"), flag, "switch", False, False, (), help, False)


OUT = Param("out", "-o", "text", "", False, (), "keep the result in this variable", False)
NO_WAIT = _make_switch(
    "--no-wait", "return at once, with a card that goes on and a handle to await"
)
DRY_RUN = _make_switch("--dry-run", "send nothing, show the request")
HELP = _make_switch("--help", "show this help; also -h")
OPTIONS = (OUT, NO_WAIT, DRY_RUN, HELP)
EACH = Param(
    "each",
    "--each",
    "text",
    "",
    False,
    (),
    "a job for each row of this DataFrame (or list of dicts): {{column}} is filled in",
    False,
)
AT_ONCE = Param(
    "at_once", "--at-once", "integer", 8, False, (), "how many of them at a time (8)", False
)
BATCH_OPTIONS = (*OPTIONS, EACH, AT_ONCE)  # what a magic understands that can make many jobs


def tokenize(line: str) -> list[str]:
    """The words of a line, quotes taken off. An apostrophe that is never closed is text."""
    for quotes in ("'\"", '"', ""):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters, lexer.quotes = True, "", quotes
        try:
            return list(lexer)
        except ValueError:
            continue
    return line.split()


def split_options(
    words: Sequence[str], known: Sequence[Param] = OPTIONS
) -> tuple[Options, list[str]]:
    """Our own options, wherever they stand, and the other words. Raises CallError."""
    own = {one.flag: one for one in known}
    ours, others, left = [], [], list(words)
    while left:
        word = left.pop(0)
        flag = _SHORT_FLAGS.get(word.partition("=")[0], word.partition("=")[0])
        if flag not in own:
            others.append(word)
            continue
        ours.append(flag + word[len(word.partition("=")[0]) :])
        if own[flag].kind != "switch" and "=" not in word and left:
            ours.append(left.pop(0))
    told = parse_tokens(known, ours)
    for name, flag in _VARIABLE_OPTIONS.items():
        if name in told and (not told[name].isidentifier() or keyword.iskeyword(told[name])):
            raise InvalidRequest(f"{flag} wants the name of a variable, not {told[name]!r}.")
    return _validate_options(Options(**told), "at_once" in told), others


_SHORT_FLAGS = {"-h": "--help"}
_VARIABLE_OPTIONS = {"out": "-o", "each": "--each"}


def _validate_options(options: Options, at_once: bool) -> Options:
    if at_once and not options.each:
        raise InvalidRequest("--at-once is for --each.", hint=EACH.help)
    if options.each and options.no_wait:
        raise InvalidRequest("--each waits for its jobs: leave --no-wait out.")
    if options.at_once < 1:
        raise InvalidRequest(f"--at-once is at least 1, not {options.at_once}.")
    return options


def split_prompt(line: str, flags: Sequence[Param]) -> tuple[list[str], str]:
    """The words of our options at the front and at the very end of the line, and the prompt between
    them.
    """
    if line.strip() in ("--help", "-h"):
        return [line.strip()], ""
    known = {one.flag: one for one in (*flags, OUT, NO_WAIT, DRY_RUN, EACH, AT_ONCE)}
    known |= {f"--no-{one.flag[2:]}": one for one in flags if one.kind == "switch"}
    front, line = _take_leading_options(line, known)
    back, line = _take_trailing_options(line, known)
    if re.search(r"(?:^|\s)-o$", line.rstrip()):
        raise InvalidRequest("-o wants the name of a variable.")
    return front + back, line.strip()


_VALUE_PATTERN = r"(\"[^\"]*\"|'[^']*'|\S+)"
_FLAG_PATTERN = r"(-o|--[a-z][a-z-]*)"


def _take_leading_options(line: str, known: Mapping[str, Param]) -> tuple[list[str], str]:
    words: list[str] = []
    while found := re.match(rf"\s*{_FLAG_PATTERN}(?=[\s=]|$)", line):
        param = known.get(found[1])
        if param is None:
            break
        rest = line[found.end() :]
        if param.kind == "switch":
            words, line = [*words, found[1]], rest
            continue
        value = re.match(rf"(?:=|\s+){_VALUE_PATTERN}(?=\s|$)", rest)
        if value is None:
            raise InvalidRequest(
                f"{found[1]} needs a value: {found[1]} {param.metavar}.", hint=param.help
            )
        words, line = [*words, f"{found[1]}={_unquote(value[1])}"], rest[value.end() :]
    return words, line


def _take_trailing_options(line: str, known: Mapping[str, Param]) -> tuple[list[str], str]:
    words: list[str] = []
    while True:
        switch = re.search(rf"(?:^|\s){_FLAG_PATTERN}\s*$", line)
        if switch and switch[1] in known and known[switch[1]].kind == "switch":
            words, line = [switch[1], *words], line[: switch.start()]
            continue
        valued = re.search(rf"(?:^|\s){_FLAG_PATTERN}(?:=|\s+){_VALUE_PATTERN}\s*$", line)
        if not (valued and valued[1] in known and known[valued[1]].kind != "switch"):
            return words, line
        words, line = [f"{valued[1]}={_unquote(valued[2])}", *words], line[: valued.start()]


def _unquote(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


# --- interpolation --------------------------------------------------------------------------------


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


# --- the body of %%ci_job -------------------------------------------------------------------------


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
