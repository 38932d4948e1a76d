"""The recording format: what makes two requests equal, and how exchanges are stored.

A recording is a folder `NAME.mjci` with one readable JSON file
per exchange, numbered in the order of the responses, and the
images beside them under their content's hash. Signatures, tokens
and secrets never get in: while recording, the session already
sees the responses as they will be replayed.

`recorder` writes a recording, `player` replays it, `replay_clock`
is the virtual time of a replay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote, urlsplit

import httpx

from jupyter_mjci.client import jsonlib, redaction
from jupyter_mjci.client.jsonlib import JsonObject
from jupyter_mjci.errors import SettingsError

FORMAT_VERSION = 1
MANIFEST = "recording.json"
IMAGE_FOLDER = "pictures"
EXCHANGE_FILES = "[0-9][0-9][0-9][0-9]*-*.json"
MODES = ("record", "play", "off")

# Request headers that are stored, and those of them that make two
# requests different.
REQUEST_HEADERS = ("content-type", "pic-operations", "range", "x-cos-copy-source")
MATCH_ON_HEADERS = REQUEST_HEADERS[1:]
# Query parameters whose values may differ in a later run.
TIME_PARAMS = {"startcreationtime", "endcreationtime"}
# Our own markers in `state` and UserData; recordings of older
# versions have counters.
MARKER_RE = re.compile(r"\bmjci-(?:[0-9a-f]{32}|\d+)\b")
# characters: longer texts of a request are stored as their hash
MAX_INLINE = 1000
# POSTs that create nothing.
SAFE_POST_RE = re.compile(r"/list-by-(condition|ids)$|/(queue|list)$|/query$")

RESTORE_HINT = "Restore it from its source, or record the notebook again: %mjci replay record."


def parse_mode(value: str, notebook: str = "") -> tuple[str, Path]:
    """Parse the setting `replay`: record, play or off, each optionally with `:FOLDER`.

    Args:
        value: the setting
        notebook: the notebook's name; the default folder is
            beside it, with its name

    Raises:
        SettingsError: the mode is unknown, or neither folder nor
            notebook is known
    """
    mode, _, folder = value.partition(":")
    mode = mode.strip() or "off"
    if mode not in MODES:
        raise SettingsError(
            f"{value!r} is not a valid value of replay.",
            hint=f"Use one of: {', '.join(MODES)}; or record:FOLDER.",
        )
    if mode != "off" and not (folder or notebook):
        raise SettingsError(
            "Which recording?",
            detail="The server did not tell this kernel the name of its notebook.",
            hint=f"Name it: %mjci replay {mode} NAME.mjci, or MJCI_REPLAY={mode}:NAME.mjci.",
        )
    return mode, Path(folder.strip() or f"{notebook}.mjci")


def resolve_mode(mode: str, folder: str, environment: str, notebook: str) -> tuple[str, Path]:
    """Return the mode and folder of `%mjci replay`, completed from the environment.

    Without a mode from either, an existing recording is replayed
    and a new one recorded.

    Args:
        mode: record, play, off or ""
        folder: the folder or ""
        environment: the value of MJCI_REPLAY, or ""
        notebook: the notebook's name, or ""
    """
    default_mode, _, default_folder = environment.partition(":")
    chosen = mode or default_mode
    resolved, path = parse_mode(f"{chosen or 'play'}:{folder or default_folder}", notebook)
    if not chosen and not (path / MANIFEST).is_file():
        resolved = "record"
    return resolved, path


# --- requests ---------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What identifies a request, without signatures, secrets and marker values."""

    method: str
    host_path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: str

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" if value else name for name, value in self.query)
        separator = "?" if query else ""
        return f"{self.method} {self.host_path}{separator}{query}"

    @property
    def without_times(self) -> RequestKey:
        query = [(name, "" if _is_time(name) else value) for name, value in self.query]
        return replace(self, query=tuple(query))

    @property
    def times(self) -> list[float]:
        """The requested times as POSIX timestamps; empty if one is unreadable."""
        values = [value for name, value in self.query if _is_time(name)]
        with contextlib.suppress(ValueError):
            return [datetime.fromisoformat(value).timestamp() for value in values]
        return []

    @property
    def full_text(self) -> str:
        headers = [f"{name}: {value}" for name, value in self.headers]
        return "\n".join([str(self), *headers, self.body])


def _is_time(name: str) -> bool:
    return name.lower() in TIME_PARAMS


class RecordedRequest(TypedDict):
    """A request as a recording stores it, without signatures and secrets."""

    method: str
    url: str
    headers: dict[str, str]
    body: object


def describe_request(
    request: httpx.Request, content: bytes, redact: Callable[[str], str]
) -> RecordedRequest:
    """Return a request as a recording stores it."""
    headers = {
        name: redact(request.headers[name]) for name in REQUEST_HEADERS if name in request.headers
    }
    return {
        "method": request.method,
        "url": redaction.strip_signature(get_target_url(request)),
        "headers": headers,
        "body": normalize_request_body(content, redact),
    }


def build_request_key(
    method: str, url: str, headers: Mapping[str, str], body: object
) -> RequestKey:
    """Build the key of a request from its stored form.

    Args:
        method: GET, POST, …
        url: the URL with the host that the request is meant for
        headers: the headers that are stored
        body: the body as a recording stores it: JSON, text or a
            hash
    """
    parts = urlsplit(url)
    query = []
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if pair and not redaction.is_signature_param(name):
            query.append((unquote(name), unquote(value)))
    text = body if isinstance(body, str) else json.dumps(body, sort_keys=True, ensure_ascii=False)
    return RequestKey(
        method=method,
        host_path=f"{parts.netloc}{unquote(parts.path)}",
        query=tuple(sorted(query)),
        headers=tuple((name, headers[name]) for name in MATCH_ON_HEADERS if name in headers),
        body=MARKER_RE.sub("mjci-", text),
    )


def get_target_url(request: httpx.Request) -> str:
    """Return the request's URL with the host of its Host header,
    which differs from the URL's own where an endpoint is
    configured.
    """
    host = request.headers.get("host") or request.url.netloc.decode()
    return f"{request.url.scheme}://{host}{request.url.raw_path.decode('ascii', 'replace')}"


def normalize_request_body(content: bytes, redact: Callable[[str], str]) -> object:
    """Return a request's stored body: JSON, text, or the hash of binary data."""
    if not content:
        return ""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return f"sha256:{hashlib.sha256(content).hexdigest()} ({len(content)} bytes)"
    try:
        value = json.loads(text)
    except ValueError:
        return _shorten(redact(text))
    return _shorten(redaction.redact_value(value, redact))


def _shorten(value: object) -> object:
    """Replace long strings by their hash, at any depth."""
    if isinstance(value, str):
        return value if len(value) <= MAX_INLINE else _hash_text(value)
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if isinstance(value, dict):
        return {name: _shorten(item) for name, item in value.items()}
    return value


def _hash_text(text: str) -> str:
    """Return a hash that does not depend on the markers in the
    text, followed by those markers, so that a replay can still
    map them.
    """
    digest = hashlib.sha256(MARKER_RE.sub("mjci-", text).encode()).hexdigest()
    return " ".join([f"sha256:{digest}", *MARKER_RE.findall(text)])


# --- exchanges --------------------------------------------


@dataclass(frozen=True, slots=True)
class Exchange:
    """A recorded request and its outcome: a response, or the error of a lost one.

    Args:
        name: the file's name
        number: its place in the recording, from 1
        request_key: what identifies the request
        responded_at: seconds from the recording's start to the
            response
        response: status, headers and json, text or file; or error
            and text
        markers: our own markers in the request
    """

    name: str
    number: int
    request_key: RequestKey
    responded_at: float
    response: JsonObject
    markers: tuple[str, ...] = ()

    @property
    def is_submission(self) -> bool:
        key = self.request_key
        return key.method == "POST" and not SAFE_POST_RE.search(key.host_path)


def compute_checksum(exchange: JsonObject) -> str:
    """Return the checksum of an exchange, by which later changes are detected."""
    content = {name: value for name, value in exchange.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def split_lines(text: str) -> str | list[str]:
    """Return a text of several lines as their list, which can be read and diffed."""
    lines = text.splitlines(keepends=True)
    return lines if len(lines) > 1 else text


def join_lines(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def build_response(
    recorded: JsonObject, folder: Path, markers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Build the response that the client sees, while recording and in a replay.

    Args:
        recorded: the response as it is stored
        folder: the recording
        markers: recorded markers and what replaces them
    """
    if "file" in recorded:
        content = _load_file(folder, recorded["file"])
        return httpx.Response(recorded["status"], headers=recorded["headers"], content=content)
    if "json" in recorded:
        text = json.dumps(recorded["json"], ensure_ascii=False)
    else:
        text = join_lines(recorded["text"])
    if markers:
        text = MARKER_RE.sub(lambda match: markers.get(match[0], match[0]), text)
    return httpx.Response(recorded["status"], headers=recorded["headers"], content=text.encode())


# --- files ------------------------------------------------


def load_recording(folder: Path) -> tuple[JsonObject, list[Exchange]]:
    """Load a recording's manifest and exchanges.

    Raises:
        SettingsError: the recording does not exist, is incomplete
            or was changed
    """
    if not (folder / MANIFEST).is_file():
        raise SettingsError(
            f"There is no recording in {folder}.", hint="Make one: %mjci replay record."
        )
    manifest = _load_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT_VERSION:
        raise SettingsError(
            f"{folder.name} has the format {manifest.get('format')}, not {FORMAT_VERSION}.",
            hint=RESTORE_HINT,
        )
    files = {_get_number(path): path for path in folder.glob(EXCHANGE_FILES)}
    with require_valid(folder / MANIFEST):
        numbers = range(1, int(manifest["exchanges"]) + 1)
    missing = [f"{number:04d}" for number in numbers if number not in files]
    if missing:
        raise SettingsError(
            f"{folder.name} is incomplete: exchange {', '.join(missing)} is missing.",
            hint=RESTORE_HINT,
        )
    return manifest, [_load_exchange(files[number]) for number in sorted(files)]


def _load_exchange(path: Path) -> Exchange:
    content = _load_json(path)
    if content.get("seal") != compute_checksum(content):
        raise SettingsError(f"{path.name} was changed since it was recorded.", hint=RESTORE_HINT)
    with require_valid(path):
        return _parse_exchange(path, content)


def _parse_exchange(path: Path, content: JsonObject) -> Exchange:
    request: RecordedRequest = content["request"]
    response: JsonObject = content["answer"]
    if "file" in response:
        _load_file(path.parent, response["file"])
    return Exchange(
        name=path.name,
        number=_get_number(path),
        request_key=build_request_key(**request),
        responded_at=float(content["answered"]),
        response=response,
        markers=tuple(MARKER_RE.findall(json.dumps(request["body"]))),
    )


@contextlib.contextmanager
def require_valid(path: Path) -> Iterator[None]:
    """Turn what a file of other content makes us raise into the error that says so."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SettingsError(
            f"{path.name} is not a part of a recording.",
            detail=f"{type(error).__name__}: {error}"[:200],
            hint=RESTORE_HINT,
        ) from None


def _get_number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _load_json(path: Path) -> JsonObject:
    try:
        content = jsonlib.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path.name} cannot be read.", detail=str(error), hint=RESTORE_HINT
        ) from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path.name} is not a valid exchange.", hint=RESTORE_HINT)
    return content


def _load_file(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise SettingsError(f"{folder.name} is incomplete: {name} is missing.", hint=RESTORE_HINT)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest()[:32] != path.stem:
        raise SettingsError(
            f"{folder.name}: {name} was changed since it was recorded.", hint=RESTORE_HINT
        )
    return content
