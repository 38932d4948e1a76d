"""A session's exchanges, recorded into a folder and played back: the same notebook next year,
without keys or network.

A recording is a folder `NAME.mjci` with one readable JSON file for each exchange, in the order of
the answers, and the pictures beside them under their content's hash. What signs or identifies a
request never gets in: a session that is recorded already sees the answers as they will be played
back.

Played back, a request is answered by the recorded exchange with the same method, host, path, query
and body; equal ones in their recorded order, whatever ran beside them. Time is virtual: it begins
when the recording began, moves when somebody waits, and is never ahead of what happens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from jupyter_mjci.client import redaction
from jupyter_mjci.errors import SettingsError

FORMAT_VERSION = 1
MANIFEST = "recording.json"
IMAGE_FOLDER = "pictures"
RECORDED_SETTINGS = (
    "mj_url",
    "mj_auth",
    "ci_bucket",
    "ci_region",
    "ci_endpoint",
    "cos_endpoint",
    "wait",
    "at_once",
)  # settings
SECRET_SETTINGS = (
    "mj_secret",
    "ci_secret_id",
    "ci_secret_key",
    "ci_token",
)  # of which is told only that they were there
MODES = ("record", "play", "off")

REQUEST_HEADERS = (
    "content-type",
    "pic-operations",
    "range",
    "x-cos-copy-source",
)  # of requests, that are kept
MATCH_ON_HEADERS = REQUEST_HEADERS[1:]
TIME_PARAMS = {
    "startcreationtime",
    "endcreationtime",
}  # query parameters that a second run may say differently
MARKER_RE = re.compile(
    r"\bmjci-(?:[0-9a-f]{32}|\d+)\b"
)  # our own marks in `state` and UserData; counted in old recordings
MAX_INLINE = 1000  # characters: longer texts of a request are known by their hash

SAFE_POST_RE = re.compile(
    r"/list-by-(condition|ids)$|/(queue|list)$|/query$"
)  # POSTs that create nothing


def parse_mode(value: str, notebook: str = "") -> tuple[str, Path]:
    """The mode and the folder of `record`, `play` or `off`, each also with `:FOLDER`; by default
    the folder beside the notebook, by its name. Raises SettingsError where either is not known.
    """
    mode, _, folder = value.partition(":")
    mode = mode.strip() or "off"
    if mode not in MODES:
        raise SettingsError(
            f"replay is {value!r}.", hint=f"Use one of: {', '.join(MODES)}; or record:FOLDER."
        )
    if mode != "off" and not (folder or notebook):
        raise SettingsError(
            "Which recording?",
            detail="This kernel was not told the name of its notebook.",
            hint=f"Name the folder: %mjci replay {mode} NAME.mjci, or MJCI_REPLAY={mode}:NAME.mjci.",
        )
    return mode, Path(folder.strip() or f"{notebook}.mjci")


def resolve_mode(mode: str, folder: str, environment: str, notebook: str) -> tuple[str, Path]:
    """The mode and the folder for what was said; a mode that was not said is the environment's,
    else to play a recording that is there, and to record where there is none.
    """
    told, _, place = environment.partition(":")
    said, where = parse_mode(f"{mode or told or 'play'}:{folder or place}", notebook)
    return (said if mode or told or (where / MANIFEST).is_file() else "record"), where


# --- an exchange ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request the one it is, without what signs it and without our own marks."""

    method: str
    host_path: str  # host and path
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: str

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" if value else name for name, value in self.query)
        return f"{self.method} {self.host_path}{'?' if query else ''}{query}"

    @property
    def without_times(self) -> RequestKey:
        kept = tuple(
            (name, "" if name.lower() in TIME_PARAMS else value) for name, value in self.query
        )
        return RequestKey(self.method, self.host_path, kept, self.headers, self.body)

    @property
    def times(self) -> list[float]:
        """The times that are asked for, in seconds; none of one that nobody can read."""
        with contextlib.suppress(ValueError):
            told = [value for name, value in self.query if name.lower() in TIME_PARAMS]
            return [datetime.fromisoformat(value).timestamp() for value in told]
        return []

    @property
    def full_text(self) -> str:
        return "\n".join(
            [str(self), *(f"{name}: {value}" for name, value in self.headers), self.body]
        )


def build_request_key(method: str, url: str, headers: Mapping[str, str], body: Any) -> RequestKey:
    """The identity of a request; `url` has the host that it is meant for, `body` is as a recording
    tells it.
    """
    parts = urlsplit(url)
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    query = sorted(
        (unquote(name), unquote(value))
        for name, _, value in pairs
        if not redaction.is_signature_param(name)
    )
    said = tuple((name, headers[name]) for name in MATCH_ON_HEADERS if name in headers)
    text = body if isinstance(body, str) else json.dumps(body, sort_keys=True, ensure_ascii=False)
    return RequestKey(
        method,
        f"{parts.netloc}{unquote(parts.path)}",
        tuple(query),
        said,
        MARKER_RE.sub("mjci-", text),
    )


def get_target_url(request: httpx.Request) -> str:
    """The request's URL with the host that it is meant for, which may be behind a door of another
    name.
    """
    host = request.headers.get("host") or request.url.netloc.decode()
    return f"{request.url.scheme}://{host}{request.url.raw_path.decode('ascii', 'replace')}"


def normalize_request_body(content: bytes, redact: Callable[[str], str]) -> Any:
    """A request's body as a recording tells it: JSON as it is, text as text, anything else by its
    hash.
    """
    if not content:
        return ""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return f"sha256:{hashlib.sha256(content).hexdigest()} ({len(content)} bytes)"
    try:
        return _shorten(redaction.redact_value(json.loads(text), redact))
    except ValueError:
        return _shorten(redact(text))


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_INLINE else _hash_text(value)
    if isinstance(value, list):
        return [_shorten(one) for one in value]
    return (
        {name: _shorten(one) for name, one in value.items()} if isinstance(value, dict) else value
    )


def _hash_text(text: str) -> str:
    """A text's hash, whatever our marks in it are called; and they themselves, as an answer may
    tell of them.
    """
    digest = hashlib.sha256(MARKER_RE.sub("mjci-", text).encode()).hexdigest()
    return " ".join([f"sha256:{digest}", *MARKER_RE.findall(text)])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A recorded request and what came of it."""

    name: str
    number: int
    request_key: RequestKey
    responded_at: float  # seconds after the recording's beginning
    response: Mapping[str, Any]
    markers: tuple[str, ...] = ()

    @property
    def is_submission(self) -> bool:
        return self.request_key.method == "POST" and not SAFE_POST_RE.search(
            self.request_key.host_path
        )


def compute_checksum(exchange: Mapping[str, Any]) -> str:
    """What tells whether an exchange was changed since."""
    rest = {name: value for name, value in exchange.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def split_lines(text: str) -> str | list[str]:
    """Text as lines, where it has several: so it can be read, and compared by other programs."""
    lines = text.splitlines(keepends=True)
    return lines if len(lines) > 1 else text


def join_lines(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def build_response(
    recorded: Mapping[str, Any], folder: Path, markers: Mapping[str, str] | None = None
) -> httpx.Response:
    """The answer as a client gets it, recorded or played back."""
    if "file" in recorded:
        return httpx.Response(
            recorded["status"],
            headers=recorded["headers"],
            content=_load_file(folder, recorded["file"]),
        )
    text = (
        json.dumps(recorded["json"], ensure_ascii=False)
        if "json" in recorded
        else join_lines(recorded["text"])
    )
    if markers:
        text = MARKER_RE.sub(lambda found: markers.get(found[0], found[0]), text)
    return httpx.Response(recorded["status"], headers=recorded["headers"], content=text.encode())


def _load_file(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise SettingsError(f"{folder.name} is not whole: {name} is missing.", hint=RESTORE_HINT)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest()[:32] != path.stem:
        raise SettingsError(
            f"{folder.name}: {name} was changed since it was recorded.", hint=RESTORE_HINT
        )
    return content


RESTORE_HINT = "Get it again from where it came, or record the notebook again: %mjci replay record."


def load_recording(folder: Path) -> tuple[dict[str, Any], list[Exchange]]:
    """A recording's head and exchanges. Raises SettingsError where it is not whole."""
    if not (folder / MANIFEST).is_file():
        raise SettingsError(
            f"There is no recording in {folder}.", hint="Make one: %mjci replay record."
        )
    head = _load_json(folder / MANIFEST)
    if head.get("format") != FORMAT_VERSION:
        raise SettingsError(
            f"{folder.name} has the format {head.get('format')}, not {FORMAT_VERSION}.",
            hint=RESTORE_HINT,
        )
    files = {
        int(path.name.partition("-")[0]): path
        for path in folder.glob("[0-9][0-9][0-9][0-9]*-*.json")
    }
    missing = [
        f"{number:04d}" for number in range(1, int(head["exchanges"]) + 1) if number not in files
    ]
    if missing:
        raise SettingsError(
            f"{folder.name} is not whole: exchange {', '.join(missing)} is missing.",
            hint=RESTORE_HINT,
        )
    return head, [_load_exchange(files[number]) for number in sorted(files)]


def _load_exchange(path: Path) -> Exchange:
    told = _load_json(path)
    if told.get("seal") != compute_checksum(told):
        raise SettingsError(f"{path.name} was changed since it was recorded.", hint=RESTORE_HINT)
    request, answer = told["request"], told["answer"]
    if "file" in answer:
        _load_file(path.parent, answer["file"])
    key = build_request_key(request["method"], request["url"], request["headers"], request["body"])
    marks = MARKER_RE.findall(json.dumps(request["body"]))
    return Exchange(
        path.name,
        int(path.name.partition("-")[0]),
        key,
        float(told["answered"]),
        answer,
        tuple(marks),
    )


def _load_json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path.name} cannot be read.", detail=str(error), hint=RESTORE_HINT
        ) from None
    if not isinstance(told, dict):
        raise SettingsError(f"{path.name} is no exchange.", hint=RESTORE_HINT)
    return told
