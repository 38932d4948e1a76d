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
from jupyter_mjci.client.image_input import kind_of
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import NotRecorded, SettingsError

FORMAT = 1
HEAD = "recording.json"
PICTURES = "pictures"
TOLD = (
    "mj_url",
    "mj_auth",
    "ci_bucket",
    "ci_region",
    "ci_endpoint",
    "cos_endpoint",
    "wait",
    "at_once",
)  # settings
SECRETS = (
    "mj_secret",
    "ci_secret_id",
    "ci_secret_key",
    "ci_token",
)  # of which is told only that they were there
MODES = ("record", "play", "off")

HEADERS = (
    "content-type",
    "pic-operations",
    "range",
    "x-cos-copy-source",
)  # of requests, that are kept
COMPARED = HEADERS[1:]
ANSWERED = re.compile(
    r"content-type|location|etag|last-modified|retry-after|content-range|x-(cos|ci)-(?!.*token).*"
)
TIMES = {
    "startcreationtime",
    "endcreationtime",
}  # query parameters that a second run may say differently
ABOUT = 60.0  # seconds that they differ by, where they mean the same
MARK = re.compile(
    r"\bmjci-(?:[0-9a-f]{32}|\d+)\b"
)  # our own marks in `state` and UserData; counted in old recordings
LONG = 1000  # characters: longer texts of a request are known by their hash

# Answers that tell of a job which still moves: there is more to come after them.
MOVING = re.compile(
    rb'"status"\s*:\s*"(NOT_START|SUBMITTED|IN_PROGRESS)"|<State>\s*(Submitted|Running|Auditing|Snapshoting)\s*</State>'
)
READING = re.compile(
    r"/list-by-(condition|ids)$|/(queue|list)$|/query$"
)  # POSTs that create nothing


def wanted(told: str, notebook: str = "") -> tuple[str, Path]:
    """The mode and the folder of `record`, `play` or `off`, each also with `:FOLDER`; by default
    the folder beside the notebook, by its name. Raises SettingsError where either is not known.
    """
    mode, _, folder = told.partition(":")
    mode = mode.strip() or "off"
    if mode not in MODES:
        raise SettingsError(
            f"replay is {told!r}.", hint=f"Use one of: {', '.join(MODES)}; or record:FOLDER."
        )
    if mode != "off" and not (folder or notebook):
        raise SettingsError(
            "Which recording?",
            why="This kernel was not told the name of its notebook.",
            hint=f"Name the folder: %mjci replay {mode} NAME.mjci, or MJCI_REPLAY={mode}:NAME.mjci.",
        )
    return mode, Path(folder.strip() or f"{notebook}.mjci")


def asked_for(mode: str, folder: str, environment: str, notebook: str) -> tuple[str, Path]:
    """The mode and the folder for what was said; a mode that was not said is the environment's,
    else to play a recording that is there, and to record where there is none.
    """
    told, _, place = environment.partition(":")
    said, where = wanted(f"{mode or told or 'play'}:{folder or place}", notebook)
    return (said if mode or told or (where / HEAD).is_file() else "record"), where


# --- time -----------------------------------------------------------------------------------------


class TapeClock:
    """Virtual time: all who wait are in one row, and whoever waits for the earliest moment is woken
    when nobody else has anything left to do. So times are those of the recording however fast it is
    played. Before it leaps, a cell that begins many things at once (`gather`, threads) is given the
    time to begin the next one.
    """

    PATIENCE = 30  # rounds of the loop: then everybody waits
    LEAP, GRACE = 0.5, 0.002  # so many seconds at once; real seconds in which nobody came

    def __init__(self, start: float) -> None:
        self._now = start
        self._row: list[tuple[float, float, int, anyio.Event]] = []
        self._came = self._awaited = (
            0  # how many have come; and when it was last seen that nobody else does
        )
        self._turning = False

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.until(self._now + max(0.0, seconds))

    async def until(self, moment: float, rank: float = math.inf) -> None:
        """Waits for a moment; of those who wait for the same one, the lower rank is woken first."""
        self._came += 1
        place = (moment, rank, self._came, anyio.Event())
        heapq.heappush(self._row, place)
        if not self._turning:
            self._turning = True
            self._turn(self.PATIENCE)
        try:
            await place[-1].wait()
        finally:
            if place in self._row:
                self._row.remove(place)
                heapq.heapify(self._row)

    def _turn(self, rounds: int) -> None:
        if rounds == 0 and self._row:
            if self._row[0][0] - self._now > self.LEAP and self._awaited != self._came:
                self._awaited = self._came
                asyncio.get_running_loop().call_later(self.GRACE, self._turn, self.PATIENCE)
                return
            moment, *_, gate = heapq.heappop(self._row)
            self._now = max(self._now, moment)
            gate.set()
            rounds = self.PATIENCE
        self._turning = bool(self._row)
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn, max(0, rounds - 1))


# --- an exchange ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What makes a request the one it is, without what signs it and without our own marks."""

    method: str
    place: str  # host and path
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: str

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" if value else name for name, value in self.query)
        return f"{self.method} {self.place}{'?' if query else ''}{query}"

    @property
    def timeless(self) -> Asked:
        kept = tuple((name, "" if name.lower() in TIMES else value) for name, value in self.query)
        return Asked(self.method, self.place, kept, self.headers, self.body)

    @property
    def times(self) -> list[float]:
        """The times that are asked for, in seconds; none of one that nobody can read."""
        with contextlib.suppress(ValueError):
            told = [value for name, value in self.query if name.lower() in TIMES]
            return [datetime.fromisoformat(value).timestamp() for value in told]
        return []

    @property
    def whole(self) -> str:
        return "\n".join(
            [str(self), *(f"{name}: {value}" for name, value in self.headers), self.body]
        )


def asked(method: str, url: str, headers: Mapping[str, str], body: Any) -> Asked:
    """The identity of a request; `url` has the host that it is meant for, `body` is as a recording
    tells it.
    """
    parts = urlsplit(url)
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    query = sorted(
        (unquote(name), unquote(value))
        for name, _, value in pairs
        if not redaction.is_signing(name)
    )
    said = tuple((name, headers[name]) for name in COMPARED if name in headers)
    text = body if isinstance(body, str) else json.dumps(body, sort_keys=True, ensure_ascii=False)
    return Asked(
        method, f"{parts.netloc}{unquote(parts.path)}", tuple(query), said, MARK.sub("mjci-", text)
    )


def address(request: httpx.Request) -> str:
    """The request's URL with the host that it is meant for, which may be behind a door of another
    name.
    """
    host = request.headers.get("host") or request.url.netloc.decode()
    return f"{request.url.scheme}://{host}{request.url.raw_path.decode('ascii', 'replace')}"


def request_body(content: bytes, strip: Callable[[str], str]) -> Any:
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
        return _brief(redaction.stripped_value(json.loads(text), strip))
    except ValueError:
        return _brief(strip(text))


def _brief(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONG else _hashed(value)
    if isinstance(value, list):
        return [_brief(one) for one in value]
    return {name: _brief(one) for name, one in value.items()} if isinstance(value, dict) else value


def _hashed(text: str) -> str:
    """A text's hash, whatever our marks in it are called; and they themselves, as an answer may
    tell of them.
    """
    digest = hashlib.sha256(MARK.sub("mjci-", text).encode()).hexdigest()
    return " ".join([f"sha256:{digest}", *MARK.findall(text)])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A recorded request and what came of it."""

    name: str
    number: int
    asked: Asked
    answered: float  # seconds after the recording's beginning
    answer: Mapping[str, Any]
    marks: tuple[str, ...] = ()

    @property
    def creates(self) -> bool:
        return self.asked.method == "POST" and not READING.search(self.asked.place)


def seal(told: Mapping[str, Any]) -> str:
    """What tells whether an exchange was changed since."""
    rest = {name: value for name, value in told.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _lines(text: str) -> str | list[str]:
    """Text as lines, where it has several: so it can be read, and compared by other programs."""
    lines = text.splitlines(keepends=True)
    return lines if len(lines) > 1 else text


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


# --- recording ------------------------------------------------------------------------------------


class Way(Protocol):
    """The door behind a recorder, made when it is first needed."""

    def __call__(self) -> httpx.AsyncBaseTransport: ...


class Recorder(httpx.AsyncBaseTransport):
    """A door that lets everything through and writes it down. A recording that is there already is
    replaced.

    `secrets` are stripped wherever they stand; `shrink` makes a picture smaller, before anybody
    sees it. `marks` is what the recorded session makes its marks of, which nobody else has: played
    back, they are the same.
    """

    def __init__(
        self,
        folder: Path,
        way: Way,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        secrets: Iterable[str] = (),
        shrink: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.folder, self.clock, self.shrink, self.marks = folder, clock, shrink, uuid4().hex
        self._way = way
        self._inner: httpx.AsyncBaseTransport | None = None
        self._engine: event_loop.Engine | None = None
        self._strip = partial(redaction.stripped, secrets=tuple(secrets))
        self._signed: dict[str, str] = {}  # links as they are shown, and as they work
        self._count = 0
        self._started = round(clock.now(), 3)
        self._head: dict[str, Any] = {
            "format": FORMAT,
            "started": self._started,
            "marks": self.marks,
            "exchanges": 0,
            "settings": {
                name: redaction.unsigned(value) for name, value in settings.items() if value
            },
        }
        clear(folder)
        self._write_head()

    @property
    def busy(self) -> int:
        return int(getattr(self._inner, "busy", 0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        sent = self.clock.now()
        told = {
            "method": request.method,
            "url": redaction.unsigned(address(request)),
            "headers": {
                name: self._strip(request.headers[name])
                for name in HEADERS
                if name in request.headers
            },
            "body": request_body(content, self._strip),
        }
        try:
            response = await self._door().handle_async_request(self._working(request, content))
            body = await response.aread()
            await response.aclose()
        except (httpx.TransportError, OSError) as error:
            self._write(
                told, sent, {"error": type(error).__name__, "text": self._strip(str(error))}
            )
            raise
        headers = {
            name: self._strip(self._remembered(value))
            for name, value in sorted(response.headers.items())
            if ANSWERED.fullmatch(name)
        }
        answer = {"status": response.status_code, "headers": headers, **self._kept(body)}
        self._write(told, sent, answer)
        return _response(answer, self.folder)

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()
            self._inner = None

    def _door(self) -> httpx.AsyncBaseTransport:
        engine = event_loop.engine()
        if self._inner is None or self._engine is not engine:
            self._inner, self._engine = self._way(), engine
        return self._inner

    def _working(self, request: httpx.Request, content: bytes) -> httpx.Request:
        """The request as it was meant: a link without its signature gets it back."""
        signed = self._signed.get(str(request.url))
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

    def _kept(self, body: bytes) -> dict[str, Any]:
        """An answer's body as it is told: JSON or text, stripped; anything else as a file of its
        own.
        """
        kind = kind_of(body)
        if kind or b"\0" in body:
            return {"file": self._file(body, kind)}
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return {"file": self._file(body, kind)}
        try:
            value = json.loads(text)
        except ValueError:
            return {"text": _lines(self._clean(text))}
        return {"json": redaction.stripped_value(value, self._clean)}

    def _file(self, body: bytes, kind: str) -> str:
        if kind and self.shrink is not None:
            body = self.shrink(body)
            kind = kind_of(body)
        name = f"{PICTURES}/{hashlib.sha256(body).hexdigest()[:32]}.{kind or 'bin'}"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
        return name

    def _clean(self, text: str) -> str:
        return self._strip(self._remembered(text))

    def _remembered(self, text: str) -> str:
        """The text itself; its signed links are kept in mind, to be fetched with their
        signatures.
        """
        for link in redaction.links(text):
            plain = redaction.unsigned(link)
            if plain != link:
                self._signed[str(httpx.URL(plain.replace("&amp;", "&")))] = link.replace(
                    "&amp;", "&"
                )
        return text

    def _write(self, told: Mapping[str, Any], sent: float, answer: Mapping[str, Any]) -> None:
        self._count += 1
        started, now = self._started, self.clock.now()
        exchange = {
            "sent": round(sent - started, 3),
            "answered": round(now - started, 3),
            "request": told,
            "answer": answer,
        }
        exchange["seal"] = seal(exchange)
        path = urlsplit(str(told["url"])).path
        slug = re.sub(r"[^A-Za-z0-9]+", "-", unquote(path)).strip("-")[:60]
        _write_json(self.folder / f"{self._count:04d}-{told['method']}-{slug}.json", exchange)
        self._write_head()

    def _write_head(self) -> None:
        self._head["exchanges"] = self._count
        _write_json(self.folder / HEAD, self._head)


def clear(folder: Path) -> None:
    """Makes the folder, or empties the recording that it holds. Raises SettingsError for a folder
    of anything else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / HEAD).is_file():
        raise SettingsError(
            f"{folder} holds something else than a recording.", hint="Give another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in [
        *folder.glob("[0-9][0-9][0-9][0-9]*-*.json"),
        *folder.glob(f"{PICTURES}/*"),
        folder / HEAD,
    ]:
        old.unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


# --- playing --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """Equal requests in their recorded order, and how many of them were answered."""

    exchanges: list[Exchange] = field(default_factory=list)
    taken: int = 0

    @property
    def turn(self) -> float:
        """The place of the next one in the whole recording; infinite where none is left."""
        return self.exchanges[self.taken].number if self.taken < len(self.exchanges) else math.inf

    def away(self, wanted: Asked) -> float:
        """How many seconds the times that are asked for are from those that were."""
        return sum(
            abs(one - other)
            for one, other in zip(self.exchanges[0].asked.times, wanted.times, strict=False)
        )

    def take(self) -> Exchange | None:
        """The next one. The last is given again where nothing more can come after it."""
        if self.turn < math.inf:
            self.taken += 1
            return self.exchanges[self.taken - 1]
        last = self.exchanges[-1]
        return None if last.creates or "error" in last.answer or _moves(last) else last


def _moves(exchange: Exchange) -> bool:
    answer = exchange.answer
    text = json.dumps(answer["json"]) if "json" in answer else _joined(answer.get("text", ""))
    return MOVING.search(text.encode()) is not None


class Player(httpx.AsyncBaseTransport):
    """A door behind which a recording answers, at the recorded times of its own virtual clock.

    Jobs of a batch that were seen to end at one moment may change places, but once and for all.
    Raises NotRecorded for any other request, and SettingsError for a recording that is not whole.
    """

    busy = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head, exchanges = _read(folder)
        self.clock = TapeClock(float(self.head["started"]))
        self.marks = str(self.head.get("marks", ""))
        self.settings: dict[str, str] = {
            name: str(self.head["settings"].get(name, "")) for name in TOLD + SECRETS
        }
        self._rows: dict[Asked, Row] = defaultdict(Row)
        self._timeless: dict[Asked, list[Row]] = defaultdict(list)
        for exchange in exchanges:
            self._rows[exchange.asked].exchanges.append(exchange)
        for key, row in self._rows.items():
            self._timeless[key.timeless].append(row)
        self._marks: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        body = request_body(content, redaction.stripped)
        headers = {
            name: redaction.stripped(request.headers[name])
            for name in HEADERS
            if name in request.headers
        }
        wanted = asked(request.method, redaction.unsigned(address(request)), headers, body)
        row = self._row(wanted)
        exchange = row.take() if row else None
        if exchange is None:
            raise self._not_recorded(wanted, row)
        self._marks.update(
            zip(exchange.marks, MARK.findall(content.decode("utf-8", "replace")), strict=False)
        )
        await self.clock.until(float(self.head["started"]) + exchange.answered, exchange.number)
        if "error" in exchange.answer:
            raise _error(exchange.answer)
        return _response(exchange.answer, self.folder, self._marks)

    def _row(self, wanted: Asked) -> Row | None:
        """The requests that are equal but for the times that they ask for: those whose turn it is,
        if there are any among those of about the same time.
        """

        def fitting(row: Row) -> tuple[bool, bool, float, float]:
            away = row.away(wanted)
            return row.turn == math.inf, away > ABOUT, row.turn, away

        return min(self._timeless.get(wanted.timeless, ()), key=fitting, default=None)

    def _not_recorded(self, wanted: Asked, row: Row | None) -> NotRecorded:
        what = f"The recording has no answer to {str(wanted)[:200]}."
        hint = "Record the notebook again: %mjci replay record."
        if row is not None:
            last = row.exchanges[-1]
            times = f"{row.taken} time{'s' * (row.taken != 1)}"
            return NotRecorded(
                what,
                why=f"It was asked {times} when it was recorded, last in {last.name}.",
                hint=hint,
            )
        near = self._nearest(wanted)
        return NotRecorded(
            what,
            why=_difference(wanted, near) if near else "It holds no exchange at all.",
            hint=hint,
        )

    def _nearest(self, wanted: Asked) -> Exchange | None:
        def likeness(one: Asked) -> tuple[bool, bool, float]:
            alike = difflib.SequenceMatcher(
                None, one.whole[:2000], wanted.whole[:2000], autojunk=False
            )
            return one.method == wanted.method, one.place == wanted.place, alike.ratio()

        near = max(self._rows, key=likeness, default=None)
        return self._rows[near].exchanges[0] if near else None


def _difference(wanted: Asked, near: Exchange) -> str:
    """Which exchange is nearest, and what is different about it."""
    parts = [
        name
        for name in ("method", "place", "query", "headers", "body")
        if getattr(wanted, name) != getattr(near.asked, name)
    ]
    told = f"Nearest is {near.name} ({str(near.asked)[:200]})"
    if parts == ["body"]:
        return f"{told}, with another body: {_around(near.asked.body, wanted.body)}."
    return f"{told}: another {', '.join(parts).replace('place', 'host or path')}."


def _around(recorded: str, now: str, width: int = 60) -> str:
    """The place where two texts part."""
    start = next(
        (at for at, (one, other) in enumerate(zip(recorded, now, strict=False)) if one != other),
        min(len(recorded), len(now)),
    )
    begin = max(0, start - width // 3)
    return f"recorded …{recorded[begin : begin + width]}…, asked …{now[begin : begin + width]}…"


def _error(answer: Mapping[str, Any]) -> Exception:
    kind = getattr(httpx, str(answer["error"]), httpx.ReadError)
    return (
        kind(answer["text"])
        if issubclass(kind, httpx.TransportError)
        else httpx.ReadError(answer["text"])
    )


def _response(
    answer: Mapping[str, Any], folder: Path, marks: Mapping[str, str] | None = None
) -> httpx.Response:
    """The answer as a client gets it, recorded or played back."""
    if "file" in answer:
        return httpx.Response(
            answer["status"], headers=answer["headers"], content=_file(folder, answer["file"])
        )
    text = (
        json.dumps(answer["json"], ensure_ascii=False)
        if "json" in answer
        else _joined(answer["text"])
    )
    if marks:
        text = MARK.sub(lambda found: marks.get(found[0], found[0]), text)
    return httpx.Response(answer["status"], headers=answer["headers"], content=text.encode())


def _file(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise SettingsError(f"{folder.name} is not whole: {name} is missing.", hint=AGAIN)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest()[:32] != path.stem:
        raise SettingsError(f"{folder.name}: {name} was changed since it was recorded.", hint=AGAIN)
    return content


AGAIN = "Get it again from where it came, or record the notebook again: %mjci replay record."


def _read(folder: Path) -> tuple[dict[str, Any], list[Exchange]]:
    """A recording's head and exchanges. Raises SettingsError where it is not whole."""
    if not (folder / HEAD).is_file():
        raise SettingsError(
            f"There is no recording in {folder}.", hint="Make one: %mjci replay record."
        )
    head = _json(folder / HEAD)
    if head.get("format") != FORMAT:
        raise SettingsError(
            f"{folder.name} has the format {head.get('format')}, not {FORMAT}.", hint=AGAIN
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
            f"{folder.name} is not whole: exchange {', '.join(missing)} is missing.", hint=AGAIN
        )
    return head, [_exchange(files[number]) for number in sorted(files)]


def _exchange(path: Path) -> Exchange:
    told = _json(path)
    if told.get("seal") != seal(told):
        raise SettingsError(f"{path.name} was changed since it was recorded.", hint=AGAIN)
    request, answer = told["request"], told["answer"]
    if "file" in answer:
        _file(path.parent, answer["file"])
    key = asked(request["method"], request["url"], request["headers"], request["body"])
    marks = MARK.findall(json.dumps(request["body"]))
    return Exchange(
        path.name,
        int(path.name.partition("-")[0]),
        key,
        float(told["answered"]),
        answer,
        tuple(marks),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path.name} cannot be read.", why=str(error), hint=AGAIN) from None
    if not isinstance(told, dict):
        raise SettingsError(f"{path.name} is no exchange.", hint=AGAIN)
    return told
