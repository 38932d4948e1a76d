"""Faults on demand: what goes wrong, where, and how often. `fault_injection.py` carries them out.

A fault is considered at every request that its `route` and
`service` match. `after` lets the first matches pass, `times`
bounds how often it triggers, `probability` is drawn from a seeded
generator, so the same requests meet the same faults in every run.
The first fault in the list that triggers is the only one that a
request meets.

    [[fault]]
    kind = "drop_after"                # the work is done, the response is lost
    route = "POST /mj/submit/*"        # method and path; "*" matches anything, "/" included
    probability = 0.2
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any

from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.registry import load_services

HTML_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Welcome</title></head>"
    b"<body><h1>It works!</h1><p>This is not the answer that you were looking for.</p>"
    b"</body></html>\n"
)


class FaultError(ValueError):
    """A fault is not valid; the message names the table, its line and the valid values."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `FAULT_KINDS` says which of the options a kind has."""

    kind: str
    route: str = "*"  # "METHOD /path/*", or only a path, or "*"
    service: str | None = None  # "mj", "ci", or both
    # how often at most; no limit by default
    times: int | None = None
    after: int = 0  # how many matching requests pass first
    probability: float = 1.0
    # ---- options of the kinds
    seconds: float = 30.0
    rate: float = 64.0
    keep: float = 0.5
    status: int = 503
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    done: bool = False
    reset: bool = False
    remember: bool = False

    def __post_init__(self) -> None:
        problem = _find_problem(self)
        if problem:
            raise FaultError(problem)

    def matches(self, service: str, method: str, path: str) -> bool:
        """Return whether a request is one of the fault's route and service."""
        if self.service not in (None, service):
            return False
        route_method, match_path = _compile_route(self.route)
        return route_method in ("*", method) and match_path(path) is not None

    @property
    def executes(self) -> bool:
        """Whether the service does its work although the request goes wrong."""
        executes = FAULT_KINDS[self.kind].executes
        return self.done if executes is None else executes


@lru_cache(maxsize=1024)
def _compile_route(route: str) -> tuple[str, Callable[[str], re.Match[str] | None]]:
    method, _, path = route.strip().rpartition(" ")
    return method.strip().upper() or "*", re.compile(translate(path)).match


# ----------------------------------------------------------------
# what a fault does to a response


def _keep_response(_: Fault, response: Response) -> Response:
    return response


def _replace_status(fault: Fault, _: Response) -> Response:
    content_type = fault.content_type or "text/plain; charset=utf-8"
    headers = {"content-type": content_type, **fault.headers}
    return Response(fault.status, (fault.body or "").encode(), headers)


def _replace_content_type(fault: Fault, response: Response) -> Response:
    headers = dict(response.headers)
    for name in response.headers:
        if name.lower() == "content-type":
            del headers[name]
    headers["content-type"] = fault.content_type or "text/plain"
    return replace(response, headers=headers)


def _corrupt_body(_: Fault, response: Response) -> Response:
    """Keep the first half, then add bytes that are valid in no JSON, XML or picture."""
    return replace(response, body=response.body[: len(response.body) // 2] + b'\x00<{"')


def _replace_with_html(fault: Fault, _: Response) -> Response:
    body = HTML_PAGE if fault.body is None else fault.body.encode()
    return Response(200, body, {"content-type": "text/html; charset=utf-8", **fault.headers})


@dataclass(frozen=True, slots=True)
class FaultKind:
    """How a kind of fault behaves.

    `options` are the fields of `Fault` that it uses, `executes`
    whether the service does its work (None: the fault's own
    `done` decides), `transform` makes the response.
    """

    options: tuple[str, ...] = ()
    executes: bool | None = True
    transform: Callable[[Fault, Response], Response] = _keep_response


_STATUS_OPTIONS = ("status", "body", "headers", "content_type", "done")

FAULT_KINDS: dict[str, FaultKind] = {
    # -- the connection
    # Reset before the request is read.
    "refuse": FaultKind(executes=False),
    # Dropped before the work is done.
    "drop_before": FaultKind(("reset",), executes=False),
    # Dropped when the work is done: the response is lost.
    "drop_after": FaultKind(("reset",)),
    # The work is done, the response comes `seconds` later.
    "stall": FaultKind(("seconds",)),
    # `rate` bytes a second.
    "slow": FaultKind(("rate",)),
    # Only the share `keep` of the body, then the connection ends.
    "truncate": FaultKind(("keep", "reset")),
    # -- the response
    "status": FaultKind(_STATUS_OPTIONS, None, _replace_status),
    "content_type": FaultKind(("content_type",), True, _replace_content_type),
    # A gateway answers `status` at once, and forwards the request
    # to the service `seconds` later.
    "forward_late": FaultKind(("seconds", *_STATUS_OPTIONS[:-1]), False, _replace_status),
    "malformed": FaultKind((), True, _corrupt_body),
    "html": FaultKind(("body", "headers", "done"), None, _replace_with_html),
    # -- the service
    # The job that the request is about no longer changes.
    "stuck": FaultKind(),
    # The job that the request is about vanishes.
    "lost": FaultKind(),
    # The service loses its jobs (with `remember` it keeps them).
    "restart": FaultKind(("remember",)),
}

_COMMON_FIELDS = ("kind", "route", "service", "times", "after", "probability")
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "route": (str,),
    "service": (str,),
    "times": (int,),
    "after": (int,),
    "probability": (int, float),
    "seconds": (int, float),
    "rate": (int, float),
    "keep": (int, float),
    "status": (int,),
    "body": (str,),
    "headers": (dict,),
    "content_type": (str,),
    "done": (bool,),
    "reset": (bool,),
    "remember": (bool,),
}
_FIELD_RANGES: dict[str, tuple[float, float]] = {
    "times": (0, float("inf")),
    "after": (0, float("inf")),
    "probability": (0, 1),
    "seconds": (0, float("inf")),
    "rate": (1e-9, float("inf")),
    "keep": (0, 1),
    "status": (200, 599),
}


def _find_problem(fault: Fault) -> str | None:
    """Return what is wrong with a fault, None if nothing is."""
    if fault.kind not in FAULT_KINDS:
        return f"unknown kind {fault.kind!r}; known kinds: {', '.join(FAULT_KINDS)}"
    if fault.service not in (None, *load_services()):
        return f"unknown service {fault.service!r}; known services: {', '.join(load_services())}"
    for name, (low, high) in _FIELD_RANGES.items():
        value = getattr(fault, name)
        if value is not None and not low <= value <= high:
            return f"{name} = {value!r} is outside {low:g} to {high:g}"
    known = {*_COMMON_FIELDS, *FAULT_KINDS[fault.kind].options}
    for item in fields(fault):
        if item.name not in known and getattr(fault, item.name) != _get_default(item):
            allowed = _list_allowed_fields(fault.kind)
            return f"{fault.kind!r} has no option {item.name!r}; it has: {allowed}"
    return None


def _get_default(item: Field[Any]) -> object:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return item.default


def _list_allowed_fields(kind: str) -> str:
    return ", ".join((*_COMMON_FIELDS, *FAULT_KINDS[kind].options))


# ----------------------------------------------------------------
# choosing


@dataclass(slots=True)
class _ActiveFault:
    """A fault, and how often it matched and triggered so far."""

    fault: Fault
    rng: random.Random
    match_count: int = 0
    trigger_count: int = 0

    def should_trigger(self) -> bool:
        """Count a matching request; return whether the fault happens to it."""
        self.match_count += 1
        fault = self.fault
        if self.match_count <= fault.after:
            return False
        if fault.times is not None and self.trigger_count >= fault.times:
            return False
        if fault.probability < 1 and self.rng.random() >= fault.probability:
            return False
        self.trigger_count += 1
        return True


@dataclass(frozen=True, slots=True)
class TriggeredFault:
    """A fault that happened, and to which request."""

    fault: Fault
    service: str
    method: str
    path: str


class Faults:
    """The faults of one sandbox; more can be added at any time.

    `count` is how many have triggered, `triggered` holds the
    latest of them, `held` the requests that are forwarded later.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self.seed = seed
        self.count = 0
        self.triggered: deque[TriggeredFault] = deque(maxlen=10_000)
        # Requests that a gateway still holds: when it forwards
        # them, the service and the request.
        self.held: list[tuple[float, str, Request]] = []
        self._active: list[_ActiveFault] = []
        self._added_count = 0
        for fault in faults:
            self.add(fault)

    def __iter__(self) -> Iterator[Fault]:
        return (active.fault for active in self._active)

    def __len__(self) -> int:
        return len(self._active)

    def add(self, fault: Fault | str, **settings: Any) -> Fault:
        """Add a fault: a `Fault`, or its kind and settings.

        Raises:
            FaultError: it is not valid
        """
        fault = Fault(fault, **settings) if isinstance(fault, str) else fault
        # Text, because random.Random seeds from text the same way
        # in every process.
        self._active.append(_ActiveFault(fault, random.Random(f"{self.seed}/{self._added_count}")))
        self._added_count += 1
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._active.clear()

    def select(self, service: str, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, if any."""
        for active in self._active:
            fault = active.fault
            if fault.matches(service, method, path) and active.should_trigger():
                self.count += 1
                self.triggered.append(TriggeredFault(fault, service, method, path))
                return fault
        return None


# ----------------------------------------------------------------
# from a file


def load_faults(source: Path | str, *, seed: int = 0) -> Faults:
    """Load faults from TOML.

    Args:
        source: the path of a file, or TOML text
        seed: the seed of the probabilities, unless the document
            has a top-level `seed`

    Returns:
        The faults, in the order of the document.

    Raises:
        FaultError: the document is not valid; the message names
            the line
    """
    document = _parse_document(source)
    seed = document.data.get("seed", seed)
    tables = document.data.get("fault", [])
    faults = [_parse_table(document, number, table) for number, table in enumerate(tables, 1)]
    return Faults(faults, seed=seed)


@dataclass(frozen=True, slots=True)
class _Document:
    """A TOML document: its name in messages, its lines and what they hold."""

    name: str
    lines: list[str]
    data: dict[str, Any]

    def describe_line(self, key: str, start: int) -> str:
        """Return ", line N" for the first line behind `start` that sets a key, or ""."""
        pattern = re.compile(rf"\s*[\[\"']*{re.escape(key)}[\"']?\s*[=.\]]")
        for number, line in enumerate(self.lines[start:], start + 1):
            if pattern.match(line):
                return f", line {number}"
        return ""

    def find_header_line(self, number: int) -> int:
        """Return the line of the nth [[fault]] header, 0 where it is written some other way."""
        header = re.compile(r"\s*\[\[\s*[\"']?fault[\"']?\s*\]\]")
        headers = [at for at, line in enumerate(self.lines, 1) if header.match(line)]
        return headers[number - 1] if number <= len(headers) else 0


def _parse_document(source: Path | str) -> _Document:
    name, text = "faults", source
    if isinstance(source, Path):
        name, text = str(source), source.read_text("utf-8")
    try:
        document = _Document(name, str(text).splitlines(), tomllib.loads(str(text)))
    except tomllib.TOMLDecodeError as error:
        raise FaultError(f"{name}: {error}") from None
    for key in document.data:
        if key not in ("seed", "fault"):
            where = document.describe_line(key, 0)
            raise FaultError(f"{name}{where}: unknown key {key!r}; known: seed, [[fault]] tables")
    tables = document.data.get("fault", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise FaultError(f'{name}: "fault" must be an array of tables: write [[fault]] above each')
    if type(document.data.get("seed", 0)) is not int:
        raise FaultError(f"{name}: seed must be a whole number")
    return document


def _parse_table(document: _Document, number: int, table: Mapping[str, Any]) -> Fault:
    start = document.find_header_line(number)

    def build_error(message: str, key: str = "") -> FaultError:
        where = document.describe_line(key, start) if key else ""
        if not where and start:
            where = f", line {start}"
        return FaultError(f"{document.name}{where}: [[fault]] number {number}: {message}")

    known_kinds = ", ".join(FAULT_KINDS)
    if "kind" not in table:
        raise build_error(f"no kind; known kinds: {known_kinds}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in FAULT_KINDS:
        raise build_error(f"unknown kind {kind!r}; known kinds: {known_kinds}", "kind")
    for key, value in table.items():
        problem = _find_field_problem(kind, key, value)
        if problem:
            raise build_error(problem, key)
    try:
        return Fault(**table)
    except FaultError as error:
        raise build_error(str(error)) from None


def _find_field_problem(kind: str, key: str, value: object) -> str | None:
    """Return what is wrong with a key of a table, or with the type of its value."""
    if key not in (*_COMMON_FIELDS, *FAULT_KINDS[kind].options):
        return f"unknown key {key!r}; {kind!r} has: {_list_allowed_fields(kind)}"
    types = _FIELD_TYPES[key]
    is_stray_bool = isinstance(value, bool) and bool not in types
    if not isinstance(value, types) or is_stray_bool:
        return f"{key} = {value!r} must be {' or '.join(kind.__name__ for kind in types)}"
    if isinstance(value, dict) and not all(isinstance(text, str) for text in value.values()):
        return f"{key} must map names to text"
    return None
