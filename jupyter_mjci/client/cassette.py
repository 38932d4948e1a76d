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

import asyncio
import contextlib
import difflib
import hashlib
import heapq
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import anyio
import httpx

from jupyter_mjci.client import event_loop, redaction
from jupyter_mjci.client.image_input import detect_image_format
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import NotRecorded, SettingsError

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
RESPONSE_HEADERS = re.compile(
    r"content-type|location|etag|last-modified|retry-after|content-range|x-(cos|ci)-(?!.*token).*"
)
TIME_PARAMS = {
    "startcreationtime",
    "endcreationtime",
}  # query parameters that a second run may say differently
TIME_TOLERANCE = 60.0  # seconds that they differ by, where they mean the same
MARKER_RE = re.compile(
    r"\bmjci-(?:[0-9a-f]{32}|\d+)\b"
)  # our own marks in `state` and UserData; counted in old recordings
MAX_INLINE = 1000  # characters: longer texts of a request are known by their hash

# Answers that tell of a job which still moves: there is more to come after them.
ACTIVE_RE = re.compile(
    rb'"status"\s*:\s*"(NOT_START|SUBMITTED|IN_PROGRESS)"|<State>\s*(Submitted|Running|Auditing|Snapshoting)\s*</State>'
)
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


# --- time -----------------------------------------------------------------------------------------


class ReplayClock:
    """Virtual time: all who wait are in one row, and whoever waits for the earliest moment is woken
    when nobody else has anything left to do. So times are those of the recording however fast it is
    played. Before it leaps, a cell that begins many things at once (`gather`, threads) is given the
    time to begin the next one.
    """

    IDLE_ROUNDS = 30  # rounds of the loop: then everybody waits
    LONG_JUMP, GRACE_PERIOD = (
        0.5,
        0.002,
    )  # so many seconds at once; real seconds in which nobody came

    def __init__(self, start: float) -> None:
        self._now = start
        self._waiters: list[tuple[float, float, int, anyio.Event]] = []
        self._arrivals = self._arrivals_at_grace = (
            0  # how many have come; and when it was last seen that nobody else does
        )
        self._running = False

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now + max(0.0, seconds))

    async def sleep_until(self, deadline: float, priority: float = math.inf) -> None:
        """Waits for a moment; of those who wait for the same one, the lower rank is woken first."""
        self._arrivals += 1
        place = (deadline, priority, self._arrivals, anyio.Event())
        heapq.heappush(self._waiters, place)
        if not self._running:
            self._running = True
            self._advance(self.IDLE_ROUNDS)
        try:
            await place[-1].wait()
        finally:
            if place in self._waiters:
                self._waiters.remove(place)
                heapq.heapify(self._waiters)

    def _advance(self, rounds: int) -> None:
        if rounds == 0 and self._waiters:
            if (
                self._waiters[0][0] - self._now > self.LONG_JUMP
                and self._arrivals_at_grace != self._arrivals
            ):
                self._arrivals_at_grace = self._arrivals
                asyncio.get_running_loop().call_later(
                    self.GRACE_PERIOD, self._advance, self.IDLE_ROUNDS
                )
                return
            moment, *_, gate = heapq.heappop(self._waiters)
            self._now = max(self._now, moment)
            gate.set()
            rounds = self.IDLE_ROUNDS
        self._running = bool(self._waiters)
        if self._running:
            asyncio.get_running_loop().call_soon(self._advance, max(0, rounds - 1))


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


def _split_lines(text: str) -> str | list[str]:
    """Text as lines, where it has several: so it can be read, and compared by other programs."""
    lines = text.splitlines(keepends=True)
    return lines if len(lines) > 1 else text


def _join_lines(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


# --- recording ------------------------------------------------------------------------------------


class TransportFactory(Protocol):
    """The door behind a recorder, made when it is first needed."""

    def __call__(self) -> httpx.AsyncBaseTransport: ...


class Recorder(httpx.AsyncBaseTransport):
    """A door that lets everything through and writes it down. A recording that is there already is
    replaced.

    `secrets` are stripped wherever they stand; `shrink` makes a picture smaller, before anybody
    sees it. `marker_seed` is what the recorded session makes its marks of, which nobody else has: played
    back, they are the same.
    """

    def __init__(
        self,
        folder: Path,
        make_transport: TransportFactory,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        secrets: Iterable[str] = (),
        shrink: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.folder, self.clock, self.shrink, self.marker_seed = folder, clock, shrink, uuid4().hex
        self._make_transport = make_transport
        self._inner: httpx.AsyncBaseTransport | None = None
        self._loop_thread: event_loop.LoopThread | None = None
        self._redact = partial(redaction.redact, secrets=tuple(secrets))
        self._signed_urls: dict[str, str] = {}  # links as they are shown, and as they work
        self._count = 0
        self._started_at = round(clock.now(), 3)
        self._manifest: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "started": self._started_at,
            "marks": self.marker_seed,
            "exchanges": 0,
            "settings": {
                name: redaction.strip_signature(value) for name, value in settings.items() if value
            },
        }
        prepare_folder(folder)
        self._write_manifest()

    @property
    def in_flight(self) -> int:
        return int(getattr(self._inner, "in_flight", 0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        sent = self.clock.now()
        told = {
            "method": request.method,
            "url": redaction.strip_signature(get_target_url(request)),
            "headers": {
                name: self._redact(request.headers[name])
                for name in REQUEST_HEADERS
                if name in request.headers
            },
            "body": normalize_request_body(content, self._redact),
        }
        try:
            response = await self._ensure_transport().handle_async_request(
                self._restore_signature(request, content)
            )
            body = await response.aread()
            await response.aclose()
        except (httpx.TransportError, OSError) as error:
            self._write_exchange(
                told, sent, {"error": type(error).__name__, "text": self._redact(str(error))}
            )
            raise
        headers = {
            name: self._redact(self._remember_signed_urls(value))
            for name, value in sorted(response.headers.items())
            if RESPONSE_HEADERS.fullmatch(name)
        }
        answer = {"status": response.status_code, "headers": headers, **self._serialize_body(body)}
        self._write_exchange(told, sent, answer)
        return _build_response(answer, self.folder)

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()
            self._inner = None

    def _ensure_transport(self) -> httpx.AsyncBaseTransport:
        engine = event_loop.get_loop_thread()
        if self._inner is None or self._loop_thread is not engine:
            self._inner, self._loop_thread = self._make_transport(), engine
        return self._inner

    def _restore_signature(self, request: httpx.Request, content: bytes) -> httpx.Request:
        """The request as it was meant: a link without its signature gets it back."""
        signed = self._signed_urls.get(str(request.url))
        if signed is None:
            return request
        headers = [
            (name, value) for name, value in request.headers.multi_items() if name.lower() != "host"
        ]
        return httpx.Request(
            request.method,
            signed,
            headers=headers,
            content=content or None,
            extensions=request.extensions,
        )

    def _serialize_body(self, body: bytes) -> dict[str, Any]:
        """An answer's body as it is told: JSON or text, stripped; anything else as a file of its
        own.
        """
        kind = detect_image_format(body)
        if kind or b"\0" in body:
            return {"file": self._save_file(body, kind)}
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return {"file": self._save_file(body, kind)}
        try:
            value = json.loads(text)
        except ValueError:
            return {"text": _split_lines(self._redact_text(text))}
        return {"json": redaction.redact_value(value, self._redact_text)}

    def _save_file(self, body: bytes, kind: str) -> str:
        if kind and self.shrink is not None:
            body = self.shrink(body)
            kind = detect_image_format(body)
        name = f"{IMAGE_FOLDER}/{hashlib.sha256(body).hexdigest()[:32]}.{kind or 'bin'}"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
        return name

    def _redact_text(self, text: str) -> str:
        return self._redact(self._remember_signed_urls(text))

    def _remember_signed_urls(self, text: str) -> str:
        """The text itself; its signed links are kept in mind, to be fetched with their
        signatures.
        """
        for link in redaction.find_urls(text):
            plain = redaction.strip_signature(link)
            if plain != link:
                self._signed_urls[str(httpx.URL(plain.replace("&amp;", "&")))] = link.replace(
                    "&amp;", "&"
                )
        return text

    def _write_exchange(
        self, request: Mapping[str, Any], sent: float, answer: Mapping[str, Any]
    ) -> None:
        self._count += 1
        started, now = self._started_at, self.clock.now()
        exchange = {
            "sent": round(sent - started, 3),
            "answered": round(now - started, 3),
            "request": request,
            "answer": answer,
        }
        exchange["seal"] = compute_checksum(exchange)
        path = urlsplit(str(request["url"])).path
        slug = re.sub(r"[^A-Za-z0-9]+", "-", unquote(path)).strip("-")[:60]
        _write_json(self.folder / f"{self._count:04d}-{request['method']}-{slug}.json", exchange)
        self._write_manifest()

    def _write_manifest(self) -> None:
        self._manifest["exchanges"] = self._count
        _write_json(self.folder / MANIFEST, self._manifest)


def prepare_folder(folder: Path) -> None:
    """Makes the folder, or empties the recording that it holds. Raises SettingsError for a folder
    of anything else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise SettingsError(
            f"{folder} holds something else than a recording.", hint="Give another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in [
        *folder.glob("[0-9][0-9][0-9][0-9]*-*.json"),
        *folder.glob(f"{IMAGE_FOLDER}/*"),
        folder / MANIFEST,
    ]:
        old.unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


# --- playing --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Track:
    """Equal requests in their recorded order, and how many of them were answered."""

    exchanges: list[Exchange] = field(default_factory=list)
    position: int = 0

    @property
    def next_number(self) -> float:
        """The place of the next one in the whole recording; infinite where none is left."""
        return (
            self.exchanges[self.position].number
            if self.position < len(self.exchanges)
            else math.inf
        )

    def compute_distance(self, key: RequestKey) -> float:
        """How many seconds the times that are asked for are from those that were."""
        return sum(
            abs(one - other)
            for one, other in zip(self.exchanges[0].request_key.times, key.times, strict=False)
        )

    def pop(self) -> Exchange | None:
        """The next one. The last is given again where nothing more can come after it."""
        if self.next_number < math.inf:
            self.position += 1
            return self.exchanges[self.position - 1]
        last = self.exchanges[-1]
        return None if last.is_submission or "error" in last.response or _is_active(last) else last


def _is_active(exchange: Exchange) -> bool:
    answer = exchange.response
    text = json.dumps(answer["json"]) if "json" in answer else _join_lines(answer.get("text", ""))
    return ACTIVE_RE.search(text.encode()) is not None


class Player(httpx.AsyncBaseTransport):
    """A door behind which a recording answers, at the recorded times of its own virtual clock.

    Jobs of a batch that were seen to end at one moment may change places, but once and for all.
    Raises NotRecorded for any other request, and SettingsError for a recording that is not whole.
    """

    in_flight = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest, exchanges = _load_recording(folder)
        self.clock = ReplayClock(float(self.manifest["started"]))
        self.marker_seed = str(self.manifest.get("marks", ""))
        self.settings: dict[str, str] = {
            name: str(self.manifest["settings"].get(name, ""))
            for name in RECORDED_SETTINGS + SECRET_SETTINGS
        }
        self._tracks: dict[RequestKey, Track] = defaultdict(Track)
        self._tracks_without_times: dict[RequestKey, list[Track]] = defaultdict(list)
        for exchange in exchanges:
            self._tracks[exchange.request_key].exchanges.append(exchange)
        for key, row in self._tracks.items():
            self._tracks_without_times[key.without_times].append(row)
        self._markers: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        body = normalize_request_body(content, redaction.redact)
        headers = {
            name: redaction.redact(request.headers[name])
            for name in REQUEST_HEADERS
            if name in request.headers
        }
        wanted = build_request_key(
            request.method, redaction.strip_signature(get_target_url(request)), headers, body
        )
        row = self._find_track(wanted)
        exchange = row.pop() if row else None
        if exchange is None:
            raise self._build_not_recorded_error(wanted, row)
        self._markers.update(
            zip(
                exchange.markers,
                MARKER_RE.findall(content.decode("utf-8", "replace")),
                strict=False,
            )
        )
        await self.clock.sleep_until(
            float(self.manifest["started"]) + exchange.responded_at, exchange.number
        )
        if "error" in exchange.response:
            raise _build_error(exchange.response)
        return _build_response(exchange.response, self.folder, self._markers)

    def _find_track(self, key: RequestKey) -> Track | None:
        """The requests that are equal but for the times that they ask for: those whose turn it is,
        if there are any among those of about the same time.
        """

        def fitting(row: Track) -> tuple[bool, bool, float, float]:
            away = row.compute_distance(key)
            return row.next_number == math.inf, away > TIME_TOLERANCE, row.next_number, away

        return min(self._tracks_without_times.get(key.without_times, ()), key=fitting, default=None)

    def _build_not_recorded_error(self, key: RequestKey, track: Track | None) -> NotRecorded:
        what = f"The recording has no answer to {str(key)[:200]}."
        hint = "Record the notebook again: %mjci replay record."
        if track is not None:
            last = track.exchanges[-1]
            times = f"{track.position} time{'s' * (track.position != 1)}"
            return NotRecorded(
                what,
                detail=f"It was asked {times} when it was recorded, last in {last.name}.",
                hint=hint,
            )
        near = self._find_nearest(key)
        return NotRecorded(
            what,
            detail=_describe_difference(key, near) if near else "It holds no exchange at all.",
            hint=hint,
        )

    def _find_nearest(self, key: RequestKey) -> Exchange | None:
        def likeness(one: RequestKey) -> tuple[bool, bool, float]:
            alike = difflib.SequenceMatcher(
                None, one.full_text[:2000], key.full_text[:2000], autojunk=False
            )
            return one.method == key.method, one.host_path == key.host_path, alike.ratio()

        near = max(self._tracks, key=likeness, default=None)
        return self._tracks[near].exchanges[0] if near else None


def _describe_difference(key: RequestKey, nearest: Exchange) -> str:
    """Which exchange is nearest, and what is different about it."""
    parts = [
        name
        for name in ("method", "host_path", "query", "headers", "body")
        if getattr(key, name) != getattr(nearest.request_key, name)
    ]
    told = f"Nearest is {nearest.name} ({str(nearest.request_key)[:200]})"
    if parts == ["body"]:
        return (
            f"{told}, with another body: {_excerpt_difference(nearest.request_key.body, key.body)}."
        )
    return f"{told}: another {', '.join(parts).replace('host_path', 'host or path')}."


def _excerpt_difference(recorded: str, actual: str, width: int = 60) -> str:
    """The place where two texts part."""
    start = next(
        (at for at, (one, other) in enumerate(zip(recorded, actual, strict=False)) if one != other),
        min(len(recorded), len(actual)),
    )
    begin = max(0, start - width // 3)
    return f"recorded …{recorded[begin : begin + width]}…, asked …{actual[begin : begin + width]}…"


def _build_error(recorded: Mapping[str, Any]) -> Exception:
    kind = getattr(httpx, str(recorded["error"]), httpx.ReadError)
    return (
        kind(recorded["text"])
        if issubclass(kind, httpx.TransportError)
        else httpx.ReadError(recorded["text"])
    )


def _build_response(
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
        else _join_lines(recorded["text"])
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


def _load_recording(folder: Path) -> tuple[dict[str, Any], list[Exchange]]:
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
