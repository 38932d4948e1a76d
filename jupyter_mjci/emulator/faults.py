"""Faults on demand: what goes wrong, where, how often. Pure choosing and twisting; the doors do the
breaking.

A fault is asked at every request that its `route` and `service` cover. `after` lets the first
matches pass, `times` bounds how often it strikes, `probability` throws a seeded coin, so the same
requests meet the same faults in every run. The first fault in the list that strikes is the only one
a request meets.

    [[fault]]
    kind = "drop_after"                # the work is done, the answer is lost
    route = "POST /mj/submit/*"        # method and path; "*" matches anything, "/" included
    probability = 0.2
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any

from jupyter_mjci.emulator.http import Response

SERVICES = ("mj", "ci")

HTML_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Welcome</title></head>"
    b"<body><h1>It works!</h1><p>This is not the answer that you were looking for.</p></body></html>\n"
)


class FaultError(ValueError):
    """A fault that cannot be: names the table, its line, and what is known instead."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `KINDS` says which of the fields below the line a kind listens
    to.
    """

    kind: str
    route: str = "*"  # "METHOD /path/*", or only a path, or "*"
    service: str | None = None  # "mj", "ci", or both
    times: int | None = None  # how often at most; no bound by default
    after: int = 0  # how many matching requests pass unharmed first
    probability: float = 1.0
    # ---- what the kinds listen to
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
        """Whether a request is this fault's business."""
        if self.service not in (None, service):
            return False
        wanted, pattern = _compile_route(self.route)
        return wanted in ("*", method) and pattern(path) is not None


@lru_cache(maxsize=1024)
def _compile_route(route: str) -> tuple[str, Callable[[str], re.Match[str] | None]]:
    method, _, path = route.strip().rpartition(" ")
    return method.strip().upper() or "*", re.compile(translate(path)).match


# ---------------------------------------------------------------- what a fault does to an answer


def _keep_response(_: Fault, response: Response) -> Response:
    return response


def _replace_status(fault: Fault, _: Response) -> Response:
    kind = {"content-type": fault.content_type or "text/plain; charset=utf-8"}
    return Response(fault.status, (fault.body or "").encode(), {**kind, **fault.headers})


def _replace_content_type(fault: Fault, response: Response) -> Response:
    kept = {
        name: value for name, value in response.headers.items() if name.lower() != "content-type"
    }
    return replace(response, headers={**kept, "content-type": fault.content_type or "text/plain"})


def _corrupt_body(_: Fault, response: Response) -> Response:
    """The first half, then bytes that neither JSON nor XML nor a picture can hold."""
    return replace(response, body=response.body[: len(response.body) // 2] + b'\x00<{"')


def _replace_with_html(fault: Fault, _: Response) -> Response:
    body = HTML_PAGE if fault.body is None else fault.body.encode()
    return Response(200, body, {"content-type": "text/html; charset=utf-8", **fault.headers})


@dataclass(frozen=True, slots=True)
class FaultKind:
    """How a kind of fault behaves: what it listens to, whether the request's work is done, the
    answer then.
    """

    options: tuple[str, ...] = ()
    executes: bool | None = True  # None: the fault's own `done` decides
    transform: Callable[[Fault, Response], Response] = _keep_response


FAULT_KINDS: dict[str, FaultKind] = {
    # the connection
    "refuse": FaultKind(executes=False),  # reset before the request is read
    "drop_before": FaultKind(("reset",), executes=False),  # dropped before the work is done
    "drop_after": FaultKind(("reset",)),  # the work is done, the answer lost
    "stall": FaultKind(("seconds",)),  # the work is done, the answer comes `seconds` later
    "slow": FaultKind(("rate",)),  # `rate` bytes a second
    "truncate": FaultKind(
        ("keep", "reset")
    ),  # only this share of the body, then the connection ends
    # the answer
    "status": FaultKind(
        ("status", "body", "headers", "content_type", "done"), None, _replace_status
    ),
    "content_type": FaultKind(("content_type",), True, _replace_content_type),
    "malformed": FaultKind((), True, _corrupt_body),
    "html": FaultKind(("body", "headers", "done"), None, _replace_with_html),
    # the service
    "stuck": FaultKind(),  # the job that the request is about changes no more
    "lost": FaultKind(),  # the job that the request is about vanishes
    "restart": FaultKind(
        ("remember",)
    ),  # the service forgets everything (or, with `remember`, only starts anew)
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
    """What is wrong with a fault, in words; None when nothing is."""
    if fault.kind not in FAULT_KINDS:
        return f"unknown kind {fault.kind!r}; known kinds: {', '.join(FAULT_KINDS)}"
    if fault.service not in (None, *SERVICES):
        return f"unknown service {fault.service!r}; known services: {', '.join(SERVICES)}"
    for name, (low, high) in _FIELD_RANGES.items():
        value = getattr(fault, name)
        if value is not None and not low <= value <= high:
            return f"{name} = {value!r} is outside {low:g} to {high:g}"
    known = {*_COMMON_FIELDS, *FAULT_KINDS[fault.kind].options}
    deaf = [
        f.name
        for f in fields(fault)
        if f.name not in known and getattr(fault, f.name) != _get_default(f)
    ]
    return (
        f"{fault.kind!r} does not listen to {deaf[0]!r}; it knows: {_list_allowed_fields(fault.kind)}"
        if deaf
        else None
    )


def _get_default(item: Any) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


def _list_allowed_fields(kind: str) -> str:
    return ", ".join((*_COMMON_FIELDS, *FAULT_KINDS[kind].options))


# ---------------------------------------------------------------- choosing


@dataclass(slots=True)
class _ActiveFault:
    """A fault and what it has seen so far."""

    fault: Fault
    rng: random.Random
    match_count: int = 0
    trigger_count: int = 0

    def should_trigger(self) -> bool:
        self.match_count += 1
        fault = self.fault
        if self.match_count <= fault.after or (
            fault.times is not None and self.trigger_count >= fault.times
        ):
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
    """The faults of one sandbox. `add` more at any time; `triggered` tells the latest, `count` how
    many in all.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self.seed = seed
        self.count = 0
        self.triggered: deque[TriggeredFault] = deque(maxlen=10_000)
        self._active: list[_ActiveFault] = []
        self._added_count = 0
        for fault in faults:
            self.add(fault)

    def __iter__(self) -> Any:
        return (armed.fault for armed in self._active)

    def __len__(self) -> int:
        return len(self._active)

    def add(self, fault: Fault | str, **settings: Any) -> Fault:
        """Arm one more: a `Fault`, or its kind and settings."""
        fault = Fault(fault, **settings) if isinstance(fault, str) else fault
        # Text, because random.Random seeds from text the same way in every process.
        self._active.append(_ActiveFault(fault, random.Random(f"{self.seed}/{self._added_count}")))
        self._added_count += 1
        return fault

    def clear(self) -> None:
        """Nothing goes wrong from here on."""
        self._active.clear()

    def select(self, service: str, method: str, path: str) -> Fault | None:
        """The fault that this request meets, if any."""
        for armed in self._active:
            if armed.fault.matches(service, method, path) and armed.should_trigger():
                self.count += 1
                self.triggered.append(TriggeredFault(armed.fault, service, method, path))
                return armed.fault
        return None


# ---------------------------------------------------------------- from a file


def load_faults(source: Path | str, *, seed: int = 0) -> Faults:
    """The faults of a TOML file (a path) or of TOML text. A top-level `seed` beats the one given
    here.
    """
    name, text = (
        (str(source), source.read_text("utf-8")) if isinstance(source, Path) else ("faults", source)
    )
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FaultError(f"{name}: {error}") from None
    unknown = [key for key in document if key not in ("seed", "fault")]
    if unknown:
        where = _describe_line(text.splitlines(), unknown[0], 0)
        raise FaultError(
            f"{name}{where}: unknown key {unknown[0]!r}; known: seed, [[fault]] tables"
        )
    tables = document.get("fault", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise FaultError(f'{name}: "fault" must be an array of tables: write [[fault]] above each')
    if type(document.get("seed", 0)) is not int:
        raise FaultError(f"{name}: seed must be a whole number")
    armed = [_parse_table(name, text, number, table) for number, table in enumerate(tables, 1)]
    return Faults(armed, seed=document.get("seed", seed))


def _parse_table(name: str, text: str, number: int, table: Mapping[str, Any]) -> Fault:
    lines = text.splitlines()
    start = _find_header_line(lines, number)

    def refuse(words: str, key: str | None = None) -> FaultError:
        where = (_describe_line(lines, key, start) if key else "") or (
            f", line {start}" if start else ""
        )
        return FaultError(f"{name}{where}: [[fault]] number {number}: {words}")

    if "kind" not in table:
        raise refuse(f"no kind; known kinds: {', '.join(FAULT_KINDS)}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in FAULT_KINDS:
        raise refuse(f"unknown kind {kind!r}; known kinds: {', '.join(FAULT_KINDS)}", "kind")
    for key, value in table.items():
        if key not in (*_COMMON_FIELDS, *FAULT_KINDS[kind].options):
            raise refuse(f"unknown key {key!r}; {kind!r} knows: {_list_allowed_fields(kind)}", key)
        if not isinstance(value, _FIELD_TYPES[key]) or (
            isinstance(value, bool) and bool not in _FIELD_TYPES[key]
        ):
            raise refuse(
                f"{key} = {value!r} must be {' or '.join(t.__name__ for t in _FIELD_TYPES[key])}",
                key,
            )
    if any(not isinstance(value, str) for value in table.get("headers", {}).values()):
        raise refuse("headers must map names to text", "headers")
    try:
        return Fault(**table)
    except FaultError as error:
        raise refuse(str(error)) from None


def _find_header_line(lines: list[str], number: int) -> int:
    """The 1-based line of the nth [[fault]] header; 0 when it is written some other way."""
    headers = [
        i
        for i, line in enumerate(lines, 1)
        if re.match(r"\s*\[\[\s*[\"']?fault[\"']?\s*\]\]", line)
    ]
    return headers[number - 1] if number <= len(headers) else 0


def _describe_line(lines: list[str], key: str, start: int) -> str:
    pattern = re.compile(rf"\s*[\[\"']*{re.escape(key)}[\"']?\s*[=.\]]")
    found = next(
        (i for i, line in enumerate(lines[start:], start + 1) if pattern.match(line)), None
    )
    return f", line {found}" if found else ""
