"""The stand-in of the Midjourney proxies: tasks that age by the clock, buttons, a queue, callbacks, picture links.

The families of servers differ in what they offer and how they word it, not in what a task is. So one `MidjourneyProxy`
keeps the tasks, and a `Dialect` (a row of `DIALECTS`) says which endpoints exist, how a client proves who it is, how
a task reads, and what an unknown path or id is answered with.

Nothing happens between two requests. `advance()` takes the changes that are due off a heap, oldest first, so a task
is always exactly what the clock makes of it. Pictures are drawn when somebody asks for their link (`pictures.py`).

For demonstrations a prompt may ask for trouble: `--fail` ends in FAILURE half way, `--stuck` stops at 46% until the
server gives up after five minutes, an impossible or unknown `--parameter` is refused at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import hmac
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from . import pictures
from .clock import Clock
from .wire import Answer, Delivery, Request

# ── the task ─────────────────────────────────────────────────────────────────────────────────────────────────────────

NOT_START, SUBMITTED, IN_PROGRESS, MODAL = "NOT_START", "SUBMITTED", "IN_PROGRESS", "MODAL"
SUCCESS, FAILURE, CANCEL = "SUCCESS", "FAILURE", "CANCEL"
ENDED = frozenset({SUCCESS, FAILURE, CANCEL})


class Phase(NamedTuple):
    """What changes about a task. Times are epoch milliseconds."""

    status: str
    percent: int | None = None
    start: int | None = None
    finish: int | None = None
    reason: str | None = None


@dataclass(slots=True, eq=False)
class Task:
    """One task, as small as it can be: links, buttons and properties are made when it is shown."""

    number: int
    id: str
    action: str
    kind: str  # a row of KINDS: how long it takes, what it shows, which buttons it gets
    op: str  # a row of PAINTERS: how its picture comes about
    prompt: str
    description: str
    submitted: int
    phase: Phase
    state: str | None = None
    hook: str | None = None
    parent: int = -1  # the parent's number
    move: str = ""  # which button of the parent (a key of MOVES)
    bot: str = "MID_JOURNEY"
    mode: str = ""
    sent: tuple[str, ...] = ()  # names of the pictures that came with it
    details: dict[str, Any] | None = None  # what only few tasks have: mask, motion, zoom …
    fate: str = ""  # how it will end, if not well: "stuck", or a failReason
    note: str = ""  # what the submission was answered with (relays show it)
    pressed: dict[str, int] | None = None  # buttons already pressed: key of MOVES -> number of the task it made
    step: int = 0
    due: float | None = None
    shown: Phase | None = None  # what a relay saw last
    changed: float = 0.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How a sort of task goes: seconds from accepted to done, progress on the way, the buttons at the end."""

    low: float
    high: float
    steps: tuple[int, ...]
    buttons: tuple[str, ...] = ()
    area: int = pictures.CELL


LONG = (0, 15, 31, 46, 62, 78, 93)
SHORT = (0, 46)


@dataclass(frozen=True, slots=True)
class Move:
    """A button: what it is called, what it makes of its parent, and whether it first asks for more (MODAL)."""

    key: str  # the customId with {h} for the picture's uuid
    label: str
    emoji: str
    word: str  # how the description names it
    action: str  # what the new task is called
    kind: str
    op: str
    args: Mapping[str, Any] = field(default_factory=dict)
    modal: str = "never"  # "never", "remix" (when remix is on) or "always"
    once: bool = True  # pressing it again gives the task it made before
    known: bool = True  # False: the service shows it but cannot do it


def _moves() -> Iterator[Move]:
    solo = "{h}::SOLO"
    for i in range(1, 5):
        yield Move(
            f"MJ::JOB::upsample::{i}::{{h}}", f"U{i}", "", f"U{i}", "UPSCALE", "upscale", "upscale", {"index": i}
        )
        yield Move(
            f"MJ::JOB::variation::{i}::{{h}}", f"V{i}", "", f"V{i}", "VARIATION", "grid", "vary",
            {"index": i, "strength": 0.35}, "remix",
        )  # fmt: skip
        yield Move(
            f"MJ::Job::PicReader::{i}", "", f"{i}️⃣", f"PicReader {i}", "IMAGINE", "grid", "imagine",
            {"index": i}, "always", once=False,
        )  # fmt: skip
        yield Move(
            f"MJ::JOB::video_virtual_upscale::{i}::{{h}}", f"U{i}", "", f"video U{i}", "UPSCALE", "filmed", "refilm",
            {"index": i},
        )  # fmt: skip
    for i in range(1, 6):
        yield Move(
            f"MJ::Job::PromptAnalyzer::{i}", "", f"{i}️⃣", f"PromptAnalyzer {i}", "IMAGINE", "grid", "imagine",
            {"index": i}, "always", once=False,
        )  # fmt: skip
    yield Move(
        "MJ::Job::PicReader::all", "Imagine all", "🎉", "PicReader all", "IMAGINE", "grid", "imagine", once=False
    )
    yield Move("MJ::Picread::Retry", "", "🔄", "Retry", "DESCRIBE", "describe", "retry", once=False)
    yield Move(
        f"MJ::JOB::reroll::0::{solo}", "", "🔄", "R", "REROLL", "grid", "reroll", modal="remix", once=False
    )  # fmt: skip
    for version in ("v7_2x", "v6", "v6r1", "v5_2x", "v5_4x"):
        for style in ("subtle", "creative"):
            name = f"upsample_{version}_{style}"
            change = {"strength": 0.0 if style == "subtle" else 0.06}
            label = f"Upscale ({style.capitalize()})"
            yield Move(f"MJ::JOB::{name}::1::{solo}", label, "upscale_1", name, "UPSCALE_HD", "hd", "enlarge", change)
    for style, label, strength in (("low", "Vary (Subtle)", 0.15), ("high", "Vary (Strong)", 0.55)):
        name = f"{style}_variation"
        args = {"index": 1, "strength": strength}
        yield Move(f"MJ::JOB::{name}::1::{solo}", label, "🪄", name, "VARIATION", "grid", "vary", args, "remix")
    yield Move(
        f"MJ::Inpaint::1::{solo}", "Vary (Region)", "🖌️", "Inpaint", "VARIATION", "grid", "inpaint",
        modal="always", once=False,
    )  # fmt: skip
    for percent, label, factor in ((50, "Zoom Out 2x", 2.0), (75, "Zoom Out 1.5x", 1.5), (100, "Make Square", 0.0)):
        zoom = {"factor": factor}
        yield Move(f"MJ::Outpaint::{percent}::1::{solo}", label, "🔍", label, "ZOOM", "grid", "zoom", zoom)
    yield Move(
        "MJ::CustomZoom::{h}", "Custom Zoom", "🔍", "CustomZoom", "ZOOM", "grid", "zoom", modal="always", once=False
    )  # fmt: skip
    for way, arrow in (("left", "⬅️"), ("right", "➡️"), ("up", "⬆️"), ("down", "⬇️")):
        name = f"pan_{way}"
        yield Move(f"MJ::JOB::{name}::1::{solo}", "", arrow, name, "PAN", "grid", "pan", {"way": way}, "remix")
    for motion in ("high", "low"):
        for tail, label in (("", f"Animate ({motion.capitalize()} motion)"), ("_extend", f"Extend ({motion})")):
            name = f"animate_{motion}{tail}"
            how = {"motion": motion}
            yield Move(f"MJ::JOB::{name}::1::{solo}", label, "🎞️", name, "VIDEO", "film", "film", how, "remix")
    yield Move("MJ::BOOKMARK::{h}", "", "❤️", "BOOKMARK", "ACTION", "grid", "vary", known=False)


MOVES: dict[str, Move] = {move.key: move for move in _moves()}
GRID = (
    *(f"MJ::JOB::upsample::{i}::{{h}}" for i in range(1, 5)),
    "MJ::JOB::reroll::0::{h}::SOLO",
    *(f"MJ::JOB::variation::{i}::{{h}}" for i in range(1, 5)),
)
SINGLE = (
    "MJ::JOB::low_variation::1::{h}::SOLO",
    "MJ::JOB::high_variation::1::{h}::SOLO",
    "MJ::Inpaint::1::{h}::SOLO",
    "MJ::Outpaint::50::1::{h}::SOLO",
    "MJ::Outpaint::75::1::{h}::SOLO",
    "MJ::CustomZoom::{h}",
    *(f"MJ::JOB::pan_{way}::1::{{h}}::SOLO" for way in ("left", "right", "up", "down")),
    *(f"MJ::JOB::animate_{motion}::1::{{h}}::SOLO" for motion in ("high", "low")),
    "MJ::JOB::reroll::0::{h}::SOLO",
)
ENLARGE = tuple(f"MJ::JOB::upsample_v7_2x_{style}::1::{{h}}::SOLO" for style in ("subtle", "creative"))
SQUARE = "MJ::Outpaint::100::1::{h}::SOLO"
READ = tuple(f"MJ::Job::PicReader::{i}" for i in (1, 2, 3, 4, "all"))

KINDS: dict[str, Kind] = {
    "grid": Kind(30, 60, LONG, GRID),
    "upscale": Kind(6, 12, SHORT, (*ENLARGE, *SINGLE), pictures.CELL * 4),
    "hd": Kind(20, 35, LONG, SINGLE, pictures.CELL * 16),
    "describe": Kind(8, 15, SHORT, (*READ[:4], "MJ::Picread::Retry", READ[4])),
    "shorten": Kind(4, 8, (), tuple(f"MJ::Job::PromptAnalyzer::{i}" for i in range(1, 6))),
    "swap": Kind(10, 20, SHORT, (), pictures.CELL * 4),
    "show": Kind(4, 8, (), GRID),
    "film": Kind(40, 80, LONG, tuple(f"MJ::JOB::video_virtual_upscale::{i}::{{h}}" for i in range(1, 5))),
    "filmed": Kind(10, 20, SHORT),
}
FILMS = frozenset({"film", "filmed"})
PACE = {"RELAX": 2.0, "TURBO": 0.5}  # against the seconds above, which are those of fast mode
LAG = 1.2  # seconds from having a slot to being accepted
KNOWN_PARAMETERS = frozenset(
    "ar aspect v version niji stylize s style chaos c quality q seed sameseed stop no iw tile weird w repeat r fast "  # noqa: SIM905
    "relax turbo video raw cref cw sref sw sv p profile personalize draft exp zoom hd ow oref motion loop bs end hq "
    "vibe test testp upbeta creative uplight fail stuck dref dw sd".split()
)
BANNED = ("bloody", "gore", "nude", "naked", "nsfw", "porn", "suicide", "torture", "massacre", "beheading")


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain; charset=utf-8"}
HTML = {"content-type": "text/html; charset=utf-8"}
GONE = Answer(404, b"This content is no longer available.", TEXT)
EMPTY = Answer(200, b"", {})


def compact(value: object) -> bytes:
    """JSON as these servers write it. Relays replace the very characters `"code":22`, so no space may get in."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer(value: object, status: int = 200) -> Answer:
    return Answer(status, compact(value), JSON)


class Refused(Exception):
    """Ends a request with an answer of its own."""

    def __init__(self, reply: Answer) -> None:
        super().__init__(reply.status)
        self.reply = reply


def submitted(
    code: int, description: str, result: object = None, properties: Mapping[str, Any] | None = None, status: int = 200
) -> Answer:
    """What every submit endpoint says."""
    said = {"code": code, "description": description, "result": result, "properties": dict(properties or {})}
    if code == 24:
        del said["result"]
    return answer(said, status)


def invalid(description: str, status: int = 200) -> Refused:
    return Refused(submitted(4, description, status=status))


# ── reading a body ───────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = frozenset(
    "prompt state notifyHook base64 botType taskId content action customId maskBase64 dimensions link language image "  # noqa: SIM905
    "endImage motion videoType sourceBase64 targetBase64 sourceUrl targetUrl jobId mode sort status description "
    "failReason id instanceId promptEn".split()
)
LISTS = frozenset({"base64Array", "ids", "statusSet"})
INTEGERS = frozenset({"index", "batchSize", "pageNumber", "pageSize"})
FLAGS = frozenset({"enableRemix", "loop", "chooseSameChannel"})
OBJECTS = frozenset({"accountFilter", "filter"})


class BadBody(Exception):
    """The body is no JSON object, or a field of it has a type that the server cannot take."""


class Body(dict[str, Any]):
    """The fields of a request, each of the type it should have; what is missing or null reads as nothing."""

    def text(self, name: str) -> str:
        return str(self.get(name) or "").strip()

    def texts(self, name: str) -> list[str]:
        return list(self.get(name) or [])

    def number(self, name: str, default: int = 0) -> int:
        value = self.get(name)
        return default if value is None else int(value)

    def flag(self, name: str) -> bool:
        return bool(self.get(name))

    def object(self, name: str) -> dict[str, Any]:
        return dict(self.get(name) or {})


def read_body(raw: bytes, strict: bool) -> Body:
    """Strict servers take a number for a text amiss; the Java ones turn one into the other."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadBody(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadBody("not an object")
    return Body((name, _fitting(name, value, strict)) for name, value in found.items())


def _fitting(name: str, value: Any, strict: bool) -> Any:
    if value is None:
        return None
    for names, fit in FITS:
        if name in names:
            return fit(name, value, strict)
    return value


def _as_text(name: str, value: Any, strict: bool) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if strict or isinstance(value, dict | list):
        raise BadBody(f"{name} must be a string")
    return json.dumps(value)


def _as_texts(name: str, value: Any, strict: bool) -> list[str]:
    if not isinstance(value, list):
        raise BadBody(f"{name} must be an array")
    return [_as_text(name, item, strict) for item in value if item is not None]


def _as_number(name: str, value: Any, strict: bool) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or (strict and isinstance(value, str)):
        raise BadBody(f"{name} must be an integer")
    if not re.fullmatch(r"-?\d{1,9}", str(value)):
        raise BadBody(f"{name} must be an integer")
    return int(value)


def _as_flag(name: str, value: Any, strict: bool) -> bool:
    if isinstance(value, bool):
        return value
    if not strict and value in ("true", "false", ""):
        return bool(value == "true")
    raise BadBody(f"{name} must be a boolean")


def _as_object(name: str, value: Any, _: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadBody(f"{name} must be an object")
    return value


FITS: tuple[tuple[frozenset[str], Callable[[str, Any, bool], Any]], ...] = (
    (TEXTS, _as_text),
    (LISTS, _as_texts),
    (INTEGERS, _as_number),
    (FLAGS, _as_flag),
    (OBJECTS, _as_object),
)

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,(.*)", re.S)


def decoded(text: str) -> bytes | None:
    """The bytes of a base64 text, None if it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def from_data_url(text: str) -> bytes | None:
    found = _DATA_URL.fullmatch(text.strip())
    return decoded(found[1]) if found else None


# ── dialects ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of servers differs from the others."""

    name: str
    prefix: re.Pattern[str]  # group 1: the speed mode, group 2: the rest of the path
    endpoints: frozenset[str]
    allows: Callable[[Headers, str], bool]
    no_entry: Callable[[Headers], Answer]
    no_path: Callable[[Request], Answer]
    no_method: Callable[[Request], Answer]
    no_task: Answer
    bad_body: Callable[[MidjourneyProxy, Request, str], Answer]
    view: Callable[[MidjourneyProxy, Task], dict[str, Any]]
    strict: bool = False
    raw_pictures: bool = False  # takes bare base64 and http links for pictures
    missing: int = 200  # HTTP status of "no such parent"
    full: tuple[int, str] = (23, "队列已满，请稍后尝试")
    confirm: str = "窗口等待"
    tells_prompt: bool = False  # 21 carries finalPrompt and remix
    adopts: bool = False  # a button pressed twice gives the first task
    names: Mapping[str, str] = field(default_factory=dict)  # renamed actions
    unsupported: tuple[str, ...] = ()  # customIds (their beginnings) turned down with code 4
    all_at_once: bool = False  # "Imagine all" starts four tasks
    signed: bool = True  # picture links expire
    relative: bool = False  # picture links have no host
    relax_lane: bool = False
    cancelled: tuple[str, str | None] = (CANCEL, None)
    newest: int | None = None  # the listing's length
    duplicates: bool = False
    hooks: bool = True
    relay: bool = False
    open_paths: tuple[str, ...] = ()
    routes_first: bool = False  # an unknown path is told even to strangers
    wait_limit: float | None = None


def _secret_header(headers: Headers, secret: str) -> bool:
    return _same(headers.get("mj-api-secret", ""), secret)


def _verbatim_header(headers: Headers, secret: str) -> bool:
    """Authorization wins, and nothing is stripped from it."""
    return _same(headers.get("authorization") or headers.get("mj-api-secret", ""), secret)


def _bearer(headers: Headers, secret: str) -> bool:
    """A bearer token; what follows it after a "-" would choose a channel."""
    given = _bare(headers.get("authorization", ""))
    if given in ("", "midjourney-proxy"):
        given = _bare(headers.get("mj-api-secret", ""))
    key = _bare(secret)
    return _same(given, key) or _same(given[: len(key) + 1], key + "-")


def _bare(token: str) -> str:
    return token.strip().removeprefix("Bearer ").removeprefix("bearer ").strip().removeprefix("sk-")


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode("utf-8", "replace"))


def _java_refusal(_: Headers) -> Answer:
    return Answer(401, b"", {})


def _trueai_refusal(headers: Headers) -> Answer:
    given = headers.get("authorization") or headers.get("mj-api-secret")
    return Answer(401, b"Invalid token." if given else b"Authorization header missing.", TEXT)


def _relay_refusal(headers: Headers) -> Answer:
    mark = hashlib.blake2b(repr(sorted(headers.items())).encode("utf-8", "replace"), digest_size=10).hexdigest()
    said = "无效的令牌" if headers.get("authorization") or headers.get("mj-api-secret") else "未提供令牌"
    return answer({"error": {"message": f"{said} (request id: {mark})", "type": "new_api_error"}}, 401)


CONTAINER_404 = (
    '<!doctype html><html lang="en"><head><title>HTTP Status 404 – Not Found</title></head><body>'
    "<h1>HTTP Status 404 – Not Found</h1><hr/><p>The requested resource is not available.</p></body></html>"
).encode()
FRONT_PAGE = (
    b'<!doctype html><html lang="zh"><head><meta charset="utf-8"/><title>New API</title></head>'
    b'<body><noscript>You need to enable JavaScript to run this app.</noscript><div id="root"></div></body></html>'
)


def _container_404(_: Request) -> Answer:
    return Answer(404, CONTAINER_404, HTML)


def _bare_404(_: Request) -> Answer:
    return Answer(404, b"", {})


def _bare_405(_: Request) -> Answer:
    return Answer(405, b"", {})


def _front_page(request: Request) -> Answer:
    if re.match(r"/(?:v1|api|assets)(?:/|$)", request.path):
        message = f"Invalid URL ({request.method} {request.path})"
        error = {"message": message, "type": "invalid_request_error", "param": "", "code": ""}
        return answer({"error": error}, 404)
    return Answer(200, FRONT_PAGE, HTML)


def _spring(status: int, error: str, moment: float, path: str) -> Answer:
    stamp = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return answer({"timestamp": stamp, "status": status, "error": error, "path": path}, status)


def _spring_405(request: Request) -> Answer:
    return answer({"status": 405, "error": "Method Not Allowed", "path": request.path}, 405)


def _spring_400(proxy: MidjourneyProxy, request: Request, _: str) -> Answer:
    return _spring(400, "Bad Request", proxy.clock.now(), request.path)


def _wrapped(proxy: MidjourneyProxy, _: Request, message: str) -> Answer:
    stamp = round(proxy.clock.now() * 1000)
    return answer({"success": False, "code": -1, "message": message, "timestamp": stamp})


def _relay_error(description: str, code: int = 4, status: int = 400) -> Answer:
    """Go writes the keys in order, and the description with a space and an empty result after it."""
    return answer({"code": code, "description": f"{description} ", "type": "upstream_error"}, status)


def _unbound(_: MidjourneyProxy, __: Request, ___: str) -> Answer:
    return _relay_error("bind_request_body_failed")


# ── how a task reads ─────────────────────────────────────────────────────────────────────────────────────────────────


def java_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    phase, (prompt, english) = task.phase, proxy.prompts(task)
    return {
        "id": task.id,
        "properties": proxy.properties(task),
        "action": task.action,
        "status": phase.status,
        "prompt": prompt,
        "promptEn": english,
        "description": task.description,
        "state": task.state,
        "submitTime": task.submitted,
        "startTime": phase.start,
        "finishTime": phase.finish,
        "imageUrl": proxy.image_url(task),
        "progress": _percent(phase),
        "failReason": phase.reason,
    }


def _percent(phase: Phase) -> str | None:
    if phase.status in (FAILURE, CANCEL):
        return ""
    return None if phase.percent is None else f"{phase.percent}%"


def plus_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    seen = java_view(proxy, task)
    seen["properties"] |= proxy.more_properties(task)
    seen["buttons"] = proxy.buttons(task)
    return seen


# What the .NET server's task has beyond the common fields, as it is while nothing is known.
TRUEAI_EXTRAS: dict[str, Any] = dict.fromkeys(
    "parentId botType realBotType userId nonce interactionMetadataId messageId remixModalMessageId instanceId "  # noqa: SIM905
    "subInstanceId promptFull language baseImageUrl thumbnailUrl partnerTaskId partnerTaskInfo officialTaskId "
    "officialTaskInfo seed seedError seedMessageId clientIp jobId replicateSource replicateTarget mode requestMode "
    "accountFilter url proxyUrl height width size contentType imageHeight imageWidth videoGenOriginImageUrl "
    "videoDuration frameCount videoUrl version storageOption videoType".split()
) | {
    "isWhite": False, "remixAutoSubmit": False, "remixModaling": False, "messageIds": [], "isCompleted": False,
    "imageUrls": [], "hasAIReviewRetried": False, "isThirdParty": False, "isPartner": False, "isPartnerRelax": False,
    "isOfficial": False, "isDiscord": True, "isReplicate": False, "videoUrls": [], "isHdVideo": False,
}  # fmt: skip


def trueai_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    seen = {**TRUEAI_EXTRAS, **plus_view(proxy, task)}
    parent = proxy.task_at(task.parent)
    seen |= {
        "parentId": parent.id if parent else None,
        "botType": task.bot,
        "realBotType": task.bot,
        "instanceId": proxy.instance,
        "nonce": proxy.nonce(task),
        "promptFull": seen["promptEn"],
        "isCompleted": task.phase.status in ENDED,
        "mode": task.mode or None,
        "displays": displays(proxy, task),
        "useTime": _use_time(task.phase),
        "remixModaling": task.phase.status == MODAL and task.move not in ALWAYS_MODAL,
    }
    return seen | (proxy.finished_extras(task) if task.phase.status == SUCCESS else {})


ALWAYS_MODAL = frozenset(move.key for move in MOVES.values() if move.modal == "always")
STATUS_WORDS = {
    NOT_START: "未启动", SUBMITTED: "已提交", IN_PROGRESS: "执行中", MODAL: "窗口等待",
    SUCCESS: "成功", FAILURE: "失败", CANCEL: "已取消",
}  # fmt: skip
ACTION_WORDS = {
    "IMAGINE": "绘图", "UPSCALE": "放大", "VARIATION": "变换", "REROLL": "重新生成", "DESCRIBE": "图生文",
    "BLEND": "混图", "ZOOM": "变焦", "PAN": "平移", "SHORTEN": "提示词分析", "SWAP_FACE": "换脸", "VIDEO": "视频",
}  # fmt: skip


def displays(proxy: MidjourneyProxy, task: Task) -> dict[str, str]:
    """The same for people: words and formatted times."""
    return {
        "status": STATUS_WORDS[task.phase.status],
        "submitTime": _readable(task.submitted),
        "startTime": _readable(task.phase.start),
        "finishTime": _readable(task.phase.finish),
        "action": ACTION_WORDS.get(task.action, task.action),
        "discordInstanceId": proxy.instance,
    }


def _readable(moment: int | None) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def _use_time(phase: Phase) -> str:
    return f"{(phase.finish - phase.start) / 1000:.2f} s" if phase.finish and phase.start else "-"


RELAY_ACTIONS = {  # a relay reads the action off the button
    "low_variation": "LOW_VARIATION", "high_variation": "HIGH_VARIATION", "Inpaint": "INPAINT",
    "CustomZoom": "CUSTOM_ZOOM", "R": "REROLL",
}  # fmt: skip
HOUR = 3600.0
LATE = "上游任务超时（超过1小时）"


def relay_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """What the relay last heard; before its first refresh it knows only what was submitted."""
    phase, word = proxy.relayed(task), MOVES[task.move].word if task.move else ""
    failed, english = phase.status == FAILURE, proxy.prompts(task)[1] if phase.status else ""
    final = {"finalPrompt": english, "finalZhPrompt": ""} if phase.status == SUCCESS else None
    return {
        "id": task.id,
        "action": RELAY_ACTIONS.get(word, task.action),
        "customId": "",
        "botType": "",
        "prompt": task.prompt,
        "promptEn": english,
        "description": task.note,
        "state": (task.state or "") if phase.status else "",
        "submitTime": task.submitted,
        "startTime": phase.start or 0,
        "finishTime": phase.finish or 0,
        "imageUrl": proxy.relayed_url(task, phase),
        "videoUrl": proxy.relayed_url(task, phase) if task.kind in FILMS and final else "",
        "videoUrls": [],
        "status": phase.status,
        "progress": "100%" if failed else f"{phase.percent or 0}%",
        "failReason": phase.reason or "",
        "buttons": (proxy.buttons(task) or None) if phase.status == SUCCESS else None,
        "maskBase64": "",
        "properties": final,
    }


_BASE = "imagine describe blend fetch list-by-condition".split()  # noqa: SIM905
_TASKS = "list queue".split()  # noqa: SIM905
_CHANGE = ["change", "simple-change"]
_PLUS = "action modal shorten upload-discord-images swap list-by-ids image-seed cancel".split()  # noqa: SIM905
_STUDIO = ["edits", "retexture", "video", "video-swap"]
_ACCOUNT = ["account-list", "account"]
_PLAIN = re.compile(r"()/mj(/.*)?")
_SPEEDS = re.compile(r"(?:/mj-(fast|turbo|relax))?/mj(/.*)?")
_MODES = re.compile(r"(?:/([^/]+))?/mj(/.*)?")

JAVA = Dialect(
    "java",
    _PLAIN,
    frozenset([*_BASE, *_CHANGE, *_TASKS, *_ACCOUNT]),
    _secret_header,
    _java_refusal,
    _container_404,
    _spring_405,
    EMPTY,
    _spring_400,
    java_view,
    duplicates=True,
)
PLUS = Dialect(
    "plus",
    _PLAIN,
    frozenset([*_BASE, *_CHANGE, *_TASKS, *_ACCOUNT, *_PLUS, "query"]),
    _secret_header,
    _java_refusal,
    _container_404,
    _spring_405,
    EMPTY,
    _spring_400,
    plus_view,
    adopts=True,
    names={"UPSCALE_HD": "UPSCALE"},
    unsupported=("MJ::BOOKMARK", "MJ::Job::PicReader::all"),
    duplicates=True,
)
TRUEAI = Dialect(
    "trueai",
    _SPEEDS,
    frozenset([*_BASE, "list", *_PLUS, *_STUDIO]),
    _verbatim_header,
    _trueai_refusal,
    _bare_404,
    _bare_405,
    Answer(204, b"", {}),
    _wrapped,
    trueai_view,
    strict=True,
    raw_pictures=True,
    missing=404,
    full=(9, "提交失败，队列已满，请稍后重试"),
    confirm="Waiting for window confirm",
    tells_prompt=True,
    names={"REROLL": "parent"},
    unsupported=("MJ::BOOKMARK", "MJ::Job::PromptAnalyzer"),
    all_at_once=True,
    signed=False,
    relative=True,
    relax_lane=True,
    cancelled=(FAILURE, "取消任务"),
    newest=100,
    wait_limit=HOUR,
)
NEW_API = Dialect(
    "new-api",
    _MODES,
    frozenset([*_BASE, *_CHANGE, *(set(_PLUS) - {"list-by-ids", "cancel"}), "edits", "video", "image"]),
    _bearer,
    _relay_refusal,
    _front_page,
    _front_page,
    _relay_error("task_no_found"),
    _unbound,
    relay_view,
    strict=True,
    adopts=True,
    names={"UPSCALE_HD": "UPSCALE"},
    unsupported=("MJ::BOOKMARK",),
    hooks=False,
    relay=True,
    open_paths=("image",),
    routes_first=True,
)


def _older(dialect: Dialect) -> Dialect:
    """The .NET server before version 10."""
    kept = {slot.name: getattr(dialect, slot.name) for slot in fields(dialect)}
    kept["name"] = "trueai-9"
    kept["endpoints"] = dialect.endpoints | {*_CHANGE, "queue", "show"}
    return Dialect(**kept)


DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (JAVA, PLUS, TRUEAI, _older(TRUEAI), NEW_API)}


# ── the proxy ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Ask(NamedTuple):
    """One request, taken apart."""

    request: Request
    endpoint: str
    mode: str
    about: str  # the id in the path
    body: Body


class Lane:
    """What runs and what waits, in order of arrival."""

    def __init__(self, running: int, waiting: int) -> None:
        self.limit, self.room = running, waiting
        self.running: dict[int, Task] = {}
        self.waiting: dict[int, Task] = {}

    def full(self) -> bool:
        return len(self.running) >= self.limit and len(self.waiting) >= self.room

    def drop(self, task: Task) -> None:
        self.running.pop(task.number, None)
        self.waiting.pop(task.number, None)


TIMEOUT, SWEEP = 300.0, 30.0  # a task that takes longer has failed; looked for this often
DAY = 86400
REFRESH = 15.0  # how often a relay asks
PIXELS = 48 * 1024 * 1024  # bytes of drawn pictures kept for the next time they are asked for
SNOWFLAKE_EPOCH = 1420070400000
USER = "sandbox_artist"
HOME = "http://mj.sandbox.localhost"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CELL = re.compile(r"_0_([0-3])(_640_N\.webp|\.png|\.webp)$")
_SEED = re.compile(r"--(?:seed|sameseed)\s+(\d{1,10})(?!\S)")
_ZOOM = re.compile(r"--zoom\s+(\d(?:\.\d{1,3})?)(?!\S)")
_PARAMETER = re.compile(r"(?<!\S)--([A-Za-z]\w*)")
_AR = re.compile(r"--(?:ar|aspect)\b\s*(\S*)")


class MidjourneyProxy:
    """A Midjourney proxy of one family ("java", "plus", "trueai", "trueai-9", "new-api").

    `pace` stretches every task's duration; `failing` is the chance that a task fails; `running` and `waiting` are the
    account's limits; `remix` makes variations ask for a prompt first; `banned` are the refused words; `notify_hook`
    hears of tasks that name no hook of their own; `duplicates` and `disorder` are the chances that a callback comes
    twice or after its successor. `public_url` starts the picture links; None means the address that the latest client
    used. Everything that is not told by a request comes from `seed` and the clock.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        dialect: str = "plus",
        secret: str = "sandbox-secret",
        seed: int = 0,
        public_url: str | None = None,
        running: int = 3,
        waiting: int = 10,
        pace: float = 1.0,
        failing: float = 0.0,
        remix: bool = False,
        banned: Iterable[str] = BANNED,
        notify_hook: str = "",
        duplicates: float = 0.1,
        disorder: float = 0.05,
    ) -> None:
        self.clock, self.dialect, self.secret, self.seed = clock, DIALECTS[dialect], secret, seed
        self.public_url, self.pace, self.failing, self.remix = public_url, pace, failing, remix
        self.notify_hook, self.duplicates, self.disorder = notify_hook, duplicates, disorder
        self.outbox: list[Delivery] = []
        self._banned = re.compile(rf"\b({'|'.join(map(re.escape, banned)) or '(?!)'})\b", re.I)
        self._limits = (running, waiting)
        self._born = clock.now()
        self._here = HOME
        self._forget_all()

    @property
    def channel(self) -> str:
        """The Discord channel, which is also the account's id."""
        return str(1_100_000_000_000_000_000 + self._number("channel", 10**17))

    @property
    def guild(self) -> str:
        return str(1_100_000_000_000_000_000 + self._number("guild", 10**17))

    instance = channel

    def _forget_all(self) -> None:
        self._tasks: list[Task] = []
        self._ids: dict[str, Task] = {}
        self._blobs: dict[str, bytes] = {}
        self._lanes = {"": Lane(*self._limits), "RELAX": Lane(*self._limits)}
        self._heap: list[tuple[float, int]] = []
        self._held: dict[int, Delivery] = {}
        self._drawn: OrderedDict[tuple[int, str], Answer] = OrderedDict()
        self._drawn_size = 0
        self._recipes: OrderedDict[int, pictures.Grid] = OrderedDict()
        self._read: OrderedDict[str, list[str]] = OrderedDict()

    # ── the shape that every stand-in has ──

    def handle(self, request: Request) -> Answer:
        """Answer a request; whatever is wrong with it, in the service's own words."""
        try:
            self.advance()
            if request.host and self.public_url is None:
                self._here = f"{request.scheme}://{request.host}"
            return self._answer(request)
        except Refused as refusal:
            return refusal.reply
        except BadBody as error:
            return self.dialect.bad_body(self, request, str(error))

    def advance(self) -> None:
        """Let everything happen that is due by now, in the order in which it is due."""
        now, heap = self.clock.now(), self._heap
        while heap and heap[0][0] <= now:
            due, number = heapq.heappop(heap)
            task = self._tasks[number]
            if task.due == due:
                self._step(task, due)

    def next_event(self) -> float | None:
        """When the next task changes by itself."""
        while self._heap and self._tasks[self._heap[0][1]].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def freeze(self, task_id: str) -> None:
        """The task changes no more by itself (for faults: a stuck progress)."""
        if task := self._ids.get(task_id):
            task.due = None

    def forget(self, task_id: str) -> None:
        """The task is lost: nobody knows its id any more (its picture stays where it is)."""
        if task := self._ids.pop(task_id, None):
            task.due = None
            self._leave(task, self.clock.now())

    def snapshot(self) -> dict[str, Any]:
        """Everything that a restart would lose, as JSON but for the bytes of the pictures that were sent."""
        return {
            "seed": self.seed,
            "born": self._born,
            "tasks": [[getattr(task, slot.name) for slot in fields(Task)] for task in self._tasks],
            "known": [task.number for task in self._ids.values()],
            "lanes": {name: [[*lane.running], [*lane.waiting]] for name, lane in self._lanes.items()},
            "blobs": dict(self._blobs),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Take up what `snapshot` kept."""
        self._forget_all()
        self.seed, self._born = snapshot["seed"], snapshot["born"]
        self._tasks = [_thawed(row) for row in snapshot["tasks"]]
        self._ids = {self._tasks[number].id: self._tasks[number] for number in snapshot["known"]}
        self._blobs = dict(snapshot["blobs"])
        for name, (running, waiting) in snapshot["lanes"].items():
            self._lanes[name].running = {number: self._tasks[number] for number in running}
            self._lanes[name].waiting = {number: self._tasks[number] for number in waiting}
        self._heap = [(task.due, task.number) for task in self._tasks if task.due is not None]
        heapq.heapify(self._heap)

    # ── from a request to its endpoint ──

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/attachments/"):
            return self._attachment(request)
        found = self.dialect.prefix.fullmatch(unquote(request.path))
        if not found:
            return self.dialect.no_path(request)
        endpoint, method, about = _endpoint(found[2] or "")
        known = endpoint in self.dialect.endpoints
        reply = None if known else self.dialect.no_path(request)
        if known and method != request.method.upper().replace("HEAD", "GET"):
            reply = self.dialect.no_method(request)
        if reply and self.dialect.routes_first:
            return reply
        self._check_entry(request, endpoint)
        if reply:
            return reply
        body = Body() if method == "GET" or endpoint in BODILESS else self._body(request, endpoint)
        return self._served(Ask(request, endpoint, _mode(found[1]), about, body))

    def _check_entry(self, request: Request, endpoint: str) -> None:
        if not self.secret or endpoint in self.dialect.open_paths:
            return
        if not self.dialect.allows(request.headers, self.secret):
            raise Refused(self.dialect.no_entry(request.headers))

    def _body(self, request: Request, endpoint: str) -> Body:
        if endpoint in MULTIPART and "multipart/" in request.headers.get("content-type", ""):
            return _from_form(request)
        return read_body(request.body, self.dialect.strict)

    def _served(self, ask: Ask) -> Answer:
        if not self.dialect.relay:
            return SERVED[ask.endpoint](self, ask)
        if check := RELAY_CHECKS.get(ask.endpoint):
            check(self, ask)
        return _reworded(ask, SERVED[ask.endpoint](self, ask))

    # ── tasks by name and number ──

    def task_at(self, number: int) -> Task | None:
        return self._tasks[number] if 0 <= number < len(self._tasks) else None

    def uuid(self, task: Task) -> str:
        """The picture's name; its end is the task's number, so that a link leads back to its task."""
        text = hashlib.blake2b(f"{self.seed}/uuid/{task.number}".encode(), digest_size=10).hexdigest()
        tail = f"{task.number ^ self._number('uuid', 2**48):012x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{tail}"

    def _by_uuid(self, uuid: str) -> Task | None:
        task = self.task_at(int(uuid[-12:], 16) ^ self._number("uuid", 2**48))
        return task if task and self.uuid(task) == uuid else None

    def nonce(self, task: Task) -> str:
        return str(_snowflake(task.submitted, self._number(("nonce", task.number), 2**22)))

    def _number(self, name: object, below: int) -> int:
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % below

    def _chance(self, *name: object) -> float:
        return pictures.unit(self.seed, *name)

    # ── making tasks ──

    def _new(self, ask: Ask, action: str, kind: str, op: str, prompt: str, description: str) -> Task:
        """A task that nobody knows yet."""
        body, now = ask.body, self.clock.now()
        number = len(self._tasks)
        task = Task(
            number=number,
            id=self._fresh_id(now, number),
            action=action,
            kind=kind,
            op=op,
            prompt=prompt,
            description=description,
            submitted=round(now * 1000),
            phase=Phase(NOT_START),
            state=body.get("state"),
            hook=body.text("notifyHook") or None,
            bot="NIJI_JOURNEY" if body.text("botType") == "NIJI_JOURNEY" else "MID_JOURNEY",
            mode=ask.mode or _wanted_mode(body, prompt),
            changed=now,
        )
        task.fate = fate_of(prompt) if kind != "describe" else ""
        if not task.fate and self._chance("fail", number) < self.failing:
            task.fate = "Internal error"
        return task

    def _fresh_id(self, now: float, number: int) -> str:
        """Milliseconds and three more digits; in a burst just the next number."""
        first = math.floor(now * 1000) * 1000 + self._number(("id", number), 500)
        last = int(self._tasks[-1].id) if self._tasks else 0
        return str(last + 1 if last // 1000 >= first // 1000 else first)

    def _keep(self, task: Task) -> None:
        self._tasks.append(task)
        self._ids[task.id] = task

    def _child(self, ask: Ask, parent: Task, move: Move) -> Task:
        """The task that a button of `parent` makes."""
        prompt = self._prompt_behind(parent, move)
        task = self._new(ask, self._action(move, parent), move.kind, move.op, prompt, f"/up {parent.id} {move.word}")
        task.parent, task.move, task.bot = parent.number, move.key, parent.bot
        if move.op == "retry":
            task.sent, task.description = parent.sent, parent.description
        return task

    def _action(self, move: Move, parent: Task) -> str:
        name = self.dialect.names.get(move.action, move.action)
        if name != "parent":
            return name
        return "IMAGINE" if parent.action == "UPSCALE" else parent.action

    def _prompt_behind(self, parent: Task, move: Move) -> str:
        if parent.kind in ("describe", "shorten") and move.op == "imagine":
            return self._proposals(parent)[int(move.args.get("index", 1)) - 1]
        return parent.prompt

    def _proposals(self, task: Task) -> list[str]:
        """The prompts that a describe or shorten task came up with."""
        if task.kind == "shorten":
            return pictures.shortened(task.prompt)[1]
        return self._captions(task.sent[0])

    def _captions(self, blob: str) -> list[str]:
        if blob not in self._read:
            self._read[blob] = pictures.captions(pictures.opened(self._blobs.get(blob, b"")))
            if len(self._read) > 1000:
                self._read.popitem(last=False)
        return self._read[blob]

    def _submit(self, task: Task) -> Answer:
        """Into the queue with it; the answer says whether it has to wait."""
        lane = self._lane(task)
        if lane.full():
            code, words = self.dialect.full
            return submitted(code, words, None, {"discordInstanceId": self.instance})
        if task.number == len(self._tasks):
            self._keep(task)
        return self._accepted(task, self._enter(task, lane, self.clock.now()))

    def _accepted(self, task: Task, ahead: int) -> Answer:
        about = {"discordInstanceId": self.instance}
        if self.dialect.tells_prompt:
            about["discordChannelId"] = self.channel
        if not ahead:
            task.note = "提交成功"
            return submitted(1, task.note, task.id, about)
        task.note = f"排队中，前面还有{ahead}个任务"
        return submitted(22, task.note, task.id, {"numberOfQueues": ahead, **about})

    def _ask_more(self, task: Task) -> Answer:
        """The task waits, outside every queue, for what submit/modal will say."""
        self._keep(task)
        self._set(task, Phase(MODAL), self.clock.now())
        task.note = self.dialect.confirm
        about = {"finalPrompt": task.prompt, "remix": True} if self.dialect.tells_prompt else {}
        return submitted(21, task.note, task.id, about)

    # ── the queue and the course of a task ──

    def _lane(self, task: Task) -> Lane:
        return self._lanes["RELAX" if task.mode == "RELAX" and self.dialect.relax_lane else ""]

    def _enter(self, task: Task, lane: Lane, now: float) -> int:
        """How many were already waiting. Those that run do not count, so the first one to wait hears of none."""
        ahead = len(lane.waiting)
        if len(lane.running) < lane.limit:
            self._begin(task, lane, now)
            return 0
        lane.waiting[task.number] = task
        if self.dialect.wait_limit:
            self._plan(task, now + self.dialect.wait_limit)
        return ahead

    def _begin(self, task: Task, lane: Lane, now: float) -> None:
        lane.running[task.number] = task
        task.step = 0
        self._plan(task, now + LAG * self.pace)

    def _plan(self, task: Task, due: float) -> None:
        task.due = due
        heapq.heappush(self._heap, (due, task.number))

    def _leave(self, task: Task, now: float) -> None:
        """Out of the queue; who waits longest takes the place."""
        lane = self._lane(task)
        lane.drop(task)
        while lane.waiting and len(lane.running) < lane.limit:
            after = lane.waiting.pop(next(iter(lane.waiting)))
            self._begin(after, lane, now)

    def _step(self, task: Task, now: float) -> None:
        """The next thing that happens to a task."""
        task.due = None
        if task.number in self._lane(task).waiting:
            return self._end(task, FAILURE, now, "任务提交超时")
        task.step += 1
        steps, moment = KINDS[task.kind].steps, round(now * 1000)
        if task.step == 1:
            self._set(task, Phase(SUBMITTED, 0, moment), now)
        elif self._fails_at(task):
            return self._end(task, FAILURE, now, "任务超时" if task.fate == "stuck" else task.fate)
        elif task.step - 2 < len(steps):
            self._set(task, Phase(IN_PROGRESS, steps[task.step - 2], task.phase.start), now)
        else:
            return self._end(task, SUCCESS, now)
        self._plan(task, self._next_due(task, now))
        return None

    def _fails_at(self, task: Task) -> bool:
        """A bad parameter is refused at once; trouble comes half way; a stuck task is given up."""
        if not task.fate:
            return False
        half = 2 + len(KINDS[task.kind].steps) // 2
        return task.step >= (2 if task.fate.startswith("[") else half + (task.fate == "stuck"))

    def _next_due(self, task: Task, now: float) -> float:
        if task.fate == "stuck" and task.step > 1 and self._fails_next(task):
            limit = (task.phase.start or 0) / 1000 + TIMEOUT
            return self._born + math.ceil((limit - self._born) / SWEEP) * SWEEP
        return now + self.duration(task) / (len(KINDS[task.kind].steps) + 1)

    def _fails_next(self, task: Task) -> bool:
        return task.step + 1 >= 3 + len(KINDS[task.kind].steps) // 2

    def duration(self, task: Task) -> float:
        """Seconds from accepted to done: the task's own, from seed, prompt and number."""
        kind = KINDS[task.kind]
        share = self._chance("duration", task.number, task.prompt)
        return (kind.low + (kind.high - kind.low) * share) * self.pace * PACE.get(task.mode, 1.0)

    def _end(self, task: Task, status: str, now: float, reason: str | None = None) -> None:
        task.due = None
        percent = 100 if status == SUCCESS else task.phase.percent
        self._leave(task, now)
        self._set(task, Phase(status, percent, task.phase.start, round(now * 1000), reason), now)

    def _set(self, task: Task, phase: Phase, now: float) -> None:
        if self.dialect.relay:
            if self._tick(now, before=True) >= task.changed:
                task.shown = task.phase
            task.changed = now
        task.phase = phase
        self._announce(task)

    # ── callbacks ──

    def _announce(self, task: Task) -> None:
        """Every change after the start is told, once; nobody listens to the answer."""
        hook = task.hook or self.notify_hook
        if not hook or not self.dialect.hooks or task.phase.status in (NOT_START, MODAL):
            return
        told = Delivery(hook, compact(self.dialect.view(self, task)), JSON)
        held = self._held.pop(task.number, None)
        late = self._chance("late", task.number, task.step) < self.disorder
        if late and held is None and task.phase.status not in ENDED:
            self._held[task.number] = told
            return
        twice = self.dialect.duplicates and self._chance("twice", task.number, task.step) < self.duplicates
        self.outbox += [told] * (2 if twice else 1) + ([held] if held else [])

    # ── how tasks look ──

    def prompts(self, task: Task) -> tuple[str, str]:
        """prompt and promptEn; a describe task's are the captions it found."""
        if task.kind != "describe" or task.phase.status != SUCCESS:
            return task.prompt, task.prompt
        if self.dialect.tells_prompt:
            return task.prompt, "\r\n".join(_numbered(self._proposals(task)))
        text = "\n\n".join(_numbered(self._proposals(task)))
        return text, text

    def final_prompt(self, task: Task) -> str:
        """The result of a text task; for a picture the prompt as the bot read it."""
        if task.phase.status == SUCCESS and task.kind == "describe":
            return "\n\n".join(_numbered(self._proposals(task)))
        if task.phase.status == SUCCESS and task.kind == "shorten":
            important, shorter = pictures.shortened(task.prompt)
            return "\n".join(["## Important tokens", important, "## Shortened prompts", *_numbered(shorter)])
        links = [self.blob_url(blob, task.submitted) for blob in task.sent] if task.op == "imagine" else []
        return " ".join([*links, task.prompt])

    def properties(self, task: Task) -> dict[str, Any]:
        """What the server keeps about the bot's messages; grows while the task goes on."""
        kept: dict[str, Any] = {"notifyHook": task.hook, "discordInstanceId": self.instance, "nonce": self.nonce(task)}
        if parent := self.task_at(task.parent):
            kept["referencedMessageId"] = self.message(parent)
        if task.phase.start:
            kept["finalPrompt"] = self.final_prompt(task)
        if task.phase.status == IN_PROGRESS or task.phase.percent:
            kept["progressMessageId"] = str(_snowflake(task.phase.start or 0, task.number))
        if task.phase.status == SUCCESS:
            kept |= {"messageId": self.message(task), "messageHash": self.uuid(task), "flags": 0}
        return kept

    def more_properties(self, task: Task) -> dict[str, Any]:
        more: dict[str, Any] = {"botType": task.bot, "discordChannelId": self.channel}
        if task.phase.status == SUCCESS:
            more["messageContent"] = f"**{task.prompt}** - <@1012983546824114217> ({(task.mode or 'fast').lower()})"
            more |= {"finalZhPrompt": ""} if task.kind == "describe" else {}
        return more

    def message(self, task: Task) -> str:
        return str(_snowflake(task.phase.finish or task.submitted, task.number))

    def finished_extras(self, task: Task) -> dict[str, Any]:
        """The .NET server's view of a finished task's pictures."""
        extras: dict[str, Any] = {
            "jobId": self.uuid(task),
            "messageId": self.message(task),
            "url": self.image_url(task),
        }
        if task.kind in FILMS:
            films = [{"url": self._cell_url(task, i, ".webp"), "thumbnail": None} for i in range(self._films(task))]
            return extras | {"videoUrl": films[0]["url"], "videoUrls": films}
        if task.kind in ("shorten", "describe"):
            return extras
        grid = self.recipe(task)
        width, height = pictures.size_of(grid[0], KINDS[task.kind].area)
        times = 2 if len(grid) > 1 else 1
        cells = [
            {"url": self._cell_url(task, i, ".png"), "thumbnail": self._cell_url(task, i, "_640_N.webp")}
            for i in range(len(grid))
        ]
        sizes = {"width": width * times, "height": height * times}
        return extras | {
            "imageUrls": cells,
            "thumbnailUrl": cells[0]["thumbnail"],
            "contentType": "image/png",
            "imageWidth": sizes["width"],
            "imageHeight": sizes["height"],
            **sizes,
        }

    def button_keys(self, task: Task) -> tuple[str, ...]:
        if task.phase.status != SUCCESS:
            return ()
        keys = KINDS[task.kind].buttons
        if task.kind == "show" and len(self.recipe(task)) == 1:
            keys = KINDS["upscale"].buttons
        if task.kind in ("upscale", "hd") and pictures.ratio_of(self.recipe(task)[0]) != 1:
            at = keys.index("MJ::CustomZoom::{h}")
            keys = (*keys[:at], SQUARE, *keys[at:])
        return keys

    def buttons(self, task: Task) -> list[dict[str, Any]]:
        keys = self.button_keys(task)
        name, pressed = self.uuid(task) if keys else "", task.pressed or {}
        return [
            {
                "customId": key.replace("{h}", name),
                "emoji": MOVES[key].emoji,
                "label": MOVES[key].label,
                "type": 2,
                "style": 3 if key in pressed else 2,
            }
            for key in keys
        ]

    # ── links ──

    def _origin(self) -> str:
        return "" if self.dialect.relative else (self.public_url or self._here).rstrip("/")

    def _link(self, message: int, name: str, moment: int) -> str:
        """An attachment's address, signed for a day from `moment` (ms) where links die."""
        path = f"/attachments/{self.channel}/{message}/{quote(name)}"
        if not self.dialect.signed:
            return self._origin() + path
        issued = moment // 1000
        expires = f"{issued + DAY:x}"
        return f"{self._origin()}{path}?ex={expires}&is={issued:x}&hm={self._signature(path, expires, f'{issued:x}')}"

    def _signature(self, path: str, expires: str, issued: str) -> str:
        text = f"{path}\n{expires}\n{issued}".encode("utf-8", "replace")
        return hmac.new(f"links/{self.seed}".encode(), text, hashlib.sha256).hexdigest()

    def image_url(self, task: Task) -> str | None:
        """The blurry preview while it is being made, then the picture; a described picture is the one that was sent."""
        if task.op in ("describe", "retry"):
            return self.blob_url(task.sent[0], task.submitted) if task.phase.start else None
        if task.op == "shorten":
            return None
        if task.phase.status == IN_PROGRESS and task.phase.percent:
            message = _snowflake(task.phase.start or 0, task.phase.percent)
            return self._link(message, f"{self.uuid(task)}_grid_0.webp", task.phase.start or 0)
        if task.phase.status != SUCCESS:
            return None
        end = "_0_0_640_N.webp" if task.kind in FILMS else ".png"
        return self._link(int(self.message(task)), self._file(task) + end, task.phase.finish or 0)

    def _file(self, task: Task) -> str:
        words = re.findall(r"[A-Za-z0-9]+", re.sub(r"https?://\S+|--\w+(?:\s+[\d:.]+)?", " ", task.prompt))
        slug = "_".join(words)[:48].strip("_")
        return "_".join(part for part in (USER, slug, self.uuid(task)) if part)

    def _cell_url(self, task: Task, cell: int, end: str) -> str:
        return self._link(int(self.message(task)), f"{self.uuid(task)}_0_{cell}{end}", task.phase.finish or 0)

    def _films(self, task: Task) -> int:
        return int((task.details or {}).get("batch", 1 if task.kind == "filmed" else 4))

    def blob_url(self, blob: str, moment: int) -> str:
        return self._link(_snowflake(moment, self._number(blob, 2**22)), f"{blob}.png", moment)

    # ── links, followed ──

    def _attachment(self, request: Request) -> Answer:
        """A picture; after a day, or with a signature that is not ours, it is gone."""
        if request.method.upper() not in ("GET", "HEAD"):
            return Answer(405, b"", {"allow": "GET, HEAD"})
        if self.dialect.signed and not self._link_lives(request):
            return GONE
        name = unquote(request.path).rpartition("/")[2]
        stem = name.partition(".")[0]
        if stem in self._blobs:
            return _picture(self._blobs[stem])
        found = _UUID.search(name)
        task = self._by_uuid(found[0]) if found else None
        if task is None or not self._visible(task, name):
            return GONE
        return self._picture_named(task, name, request.path)

    def _link_lives(self, request: Request) -> bool:
        given = {name: values[-1] for name, values in parse_qs(request.query[:1000]).items()}
        expires, issued = given.get("ex", ""), given.get("is", "")
        if not re.fullmatch(r"[0-9a-f]{1,12}", expires) or int(expires, 16) < self.clock.now():
            return False
        return _same(given.get("hm", ""), self._signature(request.path, expires, issued))

    def _visible(self, task: Task, name: str) -> bool:
        return task.phase.status == SUCCESS or "_grid_0.webp" in name

    def _picture_named(self, task: Task, name: str, path: str) -> Answer:
        if name.endswith("_grid_0.webp"):
            percent = int(path.split("/")[-2]) & 127 if path.split("/")[-2].isdigit() else 50
            return self._kept(task, f"preview {min(percent, 100)}")
        cell = _CELL.search(name)
        return self._kept(task, f"cell {cell[1]} {cell[2]}" if cell else "whole")

    def _kept(self, task: Task, what: str) -> Answer:
        """Draw, or take what was drawn a moment ago."""
        key = (task.number, what)
        if key in self._drawn:
            self._drawn.move_to_end(key)
            return self._drawn[key]
        reply = self._draw(task, *what.split(" "))
        self._drawn[key] = reply
        self._drawn_size += len(reply.body)
        while self._drawn_size > PIXELS and len(self._drawn) > 1:
            self._drawn_size -= len(self._drawn.popitem(last=False)[1].body)
        return reply

    def _draw(self, task: Task, what: str, part: str = "", end: str = "") -> Answer:
        grid, area = self.recipe(task), KINDS[task.kind].area
        if not grid:
            return GONE
        if what == "preview":
            return _picture(pictures.preview(grid, int(part)))
        if what == "whole":
            return _picture(pictures.png(pictures.together(grid, area)))
        chosen = grid[int(part) % len(grid)]
        if end == "_640_N.webp":
            return _picture(pictures.webp(chosen.draw(pictures.size_of(chosen, 640 * 640))))
        if end == ".webp" and task.kind in FILMS:
            return _picture(self._film(task, chosen, int(part)))
        return _picture(pictures.png(chosen.draw(pictures.size_of(chosen, area))))

    def _film(self, task: Task, start: pictures.Picture, number: int) -> bytes:
        """Moves on its own way for each of the four; one that was picked keeps the way of its parent's."""
        about = {**(MOVES[task.move].args if task.move else {}), **(task.details or {})}
        source = self.task_at(task.parent) if task.kind == "filmed" else task
        number = about.get("index", 1) - 1 if task.kind == "filmed" else number
        motion = 1.0 if about.get("motion") == "high" else 0.4
        end = pictures.photo(self._blobs[about["end"]]) if about.get("end") in self._blobs else None
        return pictures.film(start, motion, self.seed_of(source or task) + number, end, bool(about.get("loop")))

    # ── recipes ──

    def seed_of(self, task: Task) -> int:
        """What --seed says, else the task's own."""
        found = _SEED.search(task.prompt) if task.op == "imagine" else None
        return int(found[1]) % 2**32 if found else self._number(("seed", task.number), 2**32)

    def recipe(self, task: Task) -> pictures.Grid:
        """How to draw a task's pictures: the steps of its ancestors, from the root on."""
        chain: list[tuple[Task, Task]] = []
        at: Task | None = task
        while at is not None and at.number not in self._recipes:
            step = self._repeated(at)
            chain.append((at, step))
            at = None if step.op in ROOTS or self._starts_over(at, step) else self.task_at(step.parent)
        base = self._recipes[at.number] if at else ()
        for each, step in reversed(chain):
            base = self._painted(each, step, base)
            self._recipes[each.number] = base
        while len(self._recipes) > 2000:
            self._recipes.popitem(last=False)
        return base

    def _repeated(self, task: Task) -> Task:
        """Whose step a task repeats: its own, or, for a reroll, the nearest ancestor's that is no reroll."""
        at: Task | None = task
        while at is not None and at.op == "reroll":
            at = self.task_at(at.parent)
        return at or task

    def _starts_over(self, task: Task, step: Task) -> bool:
        """Rerolling a single picture imagines its prompt anew."""
        return task is not step and step.kind in ("upscale", "hd")

    def _painted(self, task: Task, step: Task, base: pictures.Grid) -> pictures.Grid:
        op = "imagine" if self._starts_over(task, step) else step.op
        about = {**(MOVES[step.move].args if step.move else {}), **(step.details or {})}
        return PAINTERS[op](self, Stroke(task.prompt, self.seed_of(task), about, step.sent, base))

    def sent(self, names: Sequence[str]) -> list[pictures.Photo]:
        return [pictures.photo(self._blobs.get(name, b"")) for name in names]

    def sent_mask(self, about: Mapping[str, Any]) -> bytes | None:
        return self._blobs.get(about.get("mask") or "")

    # ── pictures that clients send ──

    def _store(self, body: bytes) -> str:
        name = hashlib.sha256(body).hexdigest()[:32]
        self._blobs[name] = body
        return name

    def _received(self, text: str) -> str:
        """The name of a picture that came as a data URL (or, where allowed, as base64 or a link)."""
        body = from_data_url(text)
        if body is None and self.dialect.raw_pictures:
            body = self._linked(text) if re.match(r"https?://|/attachments/", text) else decoded(text)
        if body is None:
            raise invalid("base64格式错误")
        return self._store(body)

    def _linked(self, url: str) -> bytes:
        """What is behind a link: our own pictures are; for another host, which is never asked, one is imagined."""
        parts = urlsplit(url) if url.isascii() and "[" not in url else urlsplit("")
        if parts.path.startswith("/attachments/"):
            reply = self._attachment(Request("GET", "", parts.path, parts.query))
            if reply.status == 200:
                return reply.body
        words = " ".join(re.findall(r"[a-z]+", unquote(parts.path.rpartition("/")[2]).lower()))
        return pictures.png(pictures.imagined(words, self._number(url, 2**32))[0].draw((512, 512)))

    def _refuse_banned(self, prompt: str) -> None:
        if found := self._banned.search(prompt):
            about = {"promptEn": prompt, "bannedWord": found[1].lower()}
            raise Refused(submitted(24, "可能包含敏感词", None, about))

    def _check_account(self, body: Body) -> None:
        """An accountFilter that fits no account finds none."""
        wanted = body.object("accountFilter") or body.object("filter")
        for key in ("instanceId", "channelId"):
            if wanted.get(key) and wanted[key] != self.instance:
                raise Refused(submitted(3, "无可用的账号实例"))

    # ── submit endpoints ──

    def imagine(self, ask: Ask) -> Answer:
        prompt = ask.body.text("prompt")
        if not prompt:
            raise invalid("prompt不能为空")
        single = [ask.body["base64"]] if ask.body.get("base64") else []
        names = tuple(self._received(text) for text in [*ask.body.texts("base64Array"), *single])
        self._refuse_banned(prompt)
        self._check_account(ask.body)
        task = self._new(ask, "IMAGINE", "grid", "imagine", prompt, f"/imagine {prompt}")
        task.sent = names
        return self._submit(self._doubting(task))

    def _doubting(self, task: Task) -> Task:
        """Bytes that are no picture are taken, and fail later."""
        if not task.fate and not all(pictures.is_picture(self._blobs[name]) for name in task.sent):
            task.fate = "[Invalid image] The file could not be read as an image"
        return task

    def simple_change(self, ask: Ask) -> Answer:
        found = read_change(ask.body.text("content"))
        if found is None:
            raise invalid("content参数错误")
        return self._change(ask, *found)

    def change(self, ask: Ask) -> Answer:
        task_id, action = ask.body.text("taskId"), ask.body.text("action")
        if not task_id:
            raise invalid("taskId不能为空")
        if action not in CHANGES:
            raise invalid("action参数错误")
        return self._change(ask, task_id, action, ask.body.number("index"))

    def _change(self, ask: Ask, task_id: str, action: str, index: int) -> Answer:
        parent = self._parent(task_id)
        if parent.action not in ("IMAGINE", "VARIATION", "REROLL", "BLEND"):
            raise invalid("关联任务不允许执行变化")
        wrong = action != "REROLL" and not 1 <= index <= 4
        key = CHANGES[action].format(1 if wrong else index, h="{h}")
        return self._pressed(ask, parent, MOVES[key], "[Invalid index] No such picture" if wrong else "")

    def _parent(self, task_id: str, done: bool = True) -> Task:
        parent = self._ids.get(task_id)
        if parent is None:
            raise Refused(submitted(3, "关联任务不存在或已失效", status=self.dialect.missing))
        if done and parent.phase.status != SUCCESS:
            raise invalid("关联任务状态错误")
        return parent

    def act(self, ask: Ask) -> Answer:
        task_id, custom_id = ask.body.text("taskId"), ask.body.text("customId")
        if not task_id:
            raise invalid("taskId不能为空")
        if not custom_id:
            raise invalid("customId不能为空")
        parent = self._parent(task_id)
        key = custom_id.replace(self.uuid(parent), "{h}").replace("MJ::CustomZoom::1::", "MJ::CustomZoom::")
        move = MOVES.get(key)
        if move is None or not move.known or custom_id.startswith(self.dialect.unsupported or ("\0",)):
            raise invalid("不支持的操作类型")
        if key not in self.button_keys(parent) and not _same_button(key, self.button_keys(parent)):
            raise invalid("关联按钮错误")
        self._check_account(ask.body)
        if key == "MJ::Job::PicReader::all":
            return self._imagine_all(ask, parent)
        return self._pressed(ask, parent, move)

    def _pressed(self, ask: Ask, parent: Task, move: Move, fate: str = "") -> Answer:
        """What a button does: give the task it made before, ask for more, or make one."""
        modal = move.modal == "always" or (move.modal == "remix" and (self.remix or ask.body.flag("enableRemix")))
        if self.dialect.adopts and move.once and not modal and (before := self._made_before(parent, move)):
            about = {"status": before.phase.status, "imageUrl": self.image_url(before)}
            return submitted(21, "任务已存在", before.id, about)
        task = self._child(ask, parent, move)
        task.fate = fate or task.fate
        reply = self._ask_more(task) if modal else self._submit(task)
        if task.id in self._ids:
            parent.pressed = {**(parent.pressed or {}), move.key: task.number}
        return reply

    def _made_before(self, parent: Task, move: Move) -> Task | None:
        task = self.task_at((parent.pressed or {}).get(move.key, -1))
        return task if task and task.id in self._ids and task.phase.status not in (FAILURE, CANCEL) else None

    def _imagine_all(self, ask: Ask, parent: Task) -> Answer:
        """Four tasks at once, one for each caption."""
        made: list[str] = []
        for i in range(1, 5):
            task = self._child(ask, parent, MOVES[f"MJ::Job::PicReader::{i}"])
            task.state = f"{task.state or ''}::{i}"
            reply = self._submit(task)
            if task.id not in self._ids:
                return submitted(1, "提交成功", ",".join(made)) if made else reply
            made.append(task.id)
        return submitted(1, "提交成功", ",".join(made), {"discordInstanceId": self.instance})

    def modal(self, ask: Ask) -> Answer:
        """The rest of what a MODAL task needs; it keeps its id."""
        task_id = ask.body.text("taskId")
        if not task_id:
            raise invalid("taskId不能为空")
        task = self._parent(task_id, done=False)
        if task.phase.status != MODAL and not self.dialect.tells_prompt:
            raise invalid("关联任务状态错误")
        prompt = ask.body.text("prompt") or task.prompt
        mask = self._received(ask.body["maskBase64"]) if ask.body.text("maskBase64") else None
        self._refuse_banned(prompt)
        if self._lane(task).full():
            return self._submit(task)
        self._confirm(task, ask.body, prompt, mask)
        return self._submit(task)

    def _confirm(self, task: Task, body: Body, prompt: str, mask: str | None) -> None:
        """The .NET server does not mind whether the task waits for this, and starts it once more."""
        task.due = None
        self._leave(task, self.clock.now())
        self._recipes.pop(task.number, None)
        task.fate = fate_of(prompt)
        task.details = {**(task.details or {}), **({"mask": mask} if mask else {})}
        if task.move == "MJ::CustomZoom::{h}":
            found = _ZOOM.search(prompt if body.text("prompt") else f"{prompt} --zoom 2")
            factor = float(found[1]) if found else 0.0
            task.details["factor"] = max(1.0, factor)
            if not 1 <= factor <= 2:
                task.fate = "[Invalid parameter] --zoom must be between 1 and 2"
        task.prompt, task.phase = prompt, Phase(NOT_START)
        task.hook = body.text("notifyHook") or task.hook
        task.state = body.get("state") or task.state

    def describe(self, ask: Ask) -> Answer:
        text = ask.body.text("base64") or (ask.body.text("link") if self.dialect.raw_pictures else "")
        if not text:
            raise invalid("base64不能为空")
        name = self._received(text)
        self._check_account(ask.body)
        task = self._new(ask, "DESCRIBE", "describe", "describe", "", f"/describe {name}.png")
        task.sent = (name,)
        return self._submit(self._doubting(task))

    def blend(self, ask: Ask) -> Answer:
        texts = ask.body.texts("base64Array")
        if not 2 <= len(texts) <= 5:
            raise invalid("base64List参数错误")
        dimensions = ask.body.get("dimensions", "SQUARE")
        if dimensions not in RATIOS:
            raise invalid("dimensions参数错误")
        names = tuple(self._received(text) for text in texts)
        self._check_account(ask.body)
        task = self._new(ask, "BLEND", "grid", "blend", "", f"/blend {len(names)} {dimensions}")
        task.sent, task.details = names, {"ratio": RATIOS[dimensions]}
        return self._submit(self._doubting(task))

    def shorten(self, ask: Ask) -> Answer:
        prompt = ask.body.text("prompt")
        if not prompt:
            raise invalid("prompt不能为空")
        self._refuse_banned(prompt)
        self._check_account(ask.body)
        return self._submit(self._new(ask, "SHORTEN", "shorten", "shorten", prompt, f"/shorten {prompt}"))

    def upload(self, ask: Ask) -> Answer:
        texts = ask.body.texts("base64Array")
        if not texts:
            raise invalid("base64Array不能为空")
        now = round(self.clock.now() * 1000)
        return submitted(1, "提交成功", [self.blob_url(self._received(text), now) for text in texts])

    def edits(self, ask: Ask) -> Answer:
        return self._studio(ask, "EDIT", "edit")

    def retexture(self, ask: Ask) -> Answer:
        return self._studio(ask, "RETEXTURE", "retexture")

    def _studio(self, ask: Ask, action: str, op: str) -> Answer:
        prompt = ask.body.text("prompt")
        given = ask.body.text("image") or ask.body.text("base64") or next(iter(ask.body.texts("base64Array")), "")
        if not prompt or not given:
            raise invalid("prompt和image不能为空")
        names = (self._received(given),)
        mask = self._received(ask.body["maskBase64"]) if ask.body.text("maskBase64") else None
        self._refuse_banned(prompt)
        task = self._new(ask, action, "grid", op, prompt, f"/{op} {prompt}")
        task.sent, task.details = names, {"mask": mask} if mask else None
        return self._submit(self._doubting(task))

    def video(self, ask: Ask) -> Answer:
        body, prompt = ask.body, ask.body.text("prompt")
        parent_id, action = body.text("taskId"), body.text("action")
        if (not prompt and not parent_id) or (parent_id and action != "extend"):
            raise invalid("参数错误")
        if body.text("motion") not in ("", "low", "high") or body.number("batchSize", 4) not in (1, 2, 4):
            raise invalid("参数错误")
        parent = self._parent(parent_id) if parent_id else None
        names = (self._received(body.text("image")),) if body.text("image") else ()
        end = self._received(body.text("endImage")) if body.text("endImage") else None
        self._refuse_banned(prompt)
        task = self._new(ask, "VIDEO_EXTEND" if parent else "VIDEO", "film", "film" if parent else "video", prompt, "")
        task.description, task.sent = f"/video {prompt}", names
        task.parent, task.prompt = (parent.number, prompt or parent.prompt) if parent else (-1, prompt)
        told = {"motion": body.text("motion") or "low", "batch": body.number("batchSize", 4), "end": end}
        task.details = {**told, "loop": body.flag("loop"), "index": min(3, max(0, body.number("index"))) + 1}
        return self._submit(self._doubting(task))

    def swap(self, ask: Ask) -> Answer:
        return self._swap(ask, "SWAP_FACE", "swap", "swap")

    def video_swap(self, ask: Ask) -> Answer:
        return self._swap(ask, "SWAP_VIDEO_FACE", "film", "swap")

    def _swap(self, ask: Ask, action: str, kind: str, op: str) -> Answer:
        given = [
            ask.body.text(f"{side}Base64") or (ask.body.text(f"{side}Url") if self.dialect.raw_pictures else "")
            for side in ("source", "target")
        ]
        if not all(given):
            raise invalid("sourceBase64和targetBase64不能为空")
        names = tuple(self._received(text) for text in given)
        self._check_account(ask.body)
        task = self._new(ask, action, kind, op, "", "/swap")
        task.sent = names
        return self._submit(task if kind == "film" else self._doubting(task))

    def show(self, ask: Ask) -> Answer:
        """Bring back a picture by the uuid in its name."""
        found = _UUID.search(ask.body.text("jobId"))
        shown = self._by_uuid(found[0]) if found else None
        if shown is None or shown.phase.status != SUCCESS:
            raise invalid("jobId参数错误")
        task = self._new(ask, "SHOW", "show", "same", shown.prompt, f"/show {found[0] if found else ''}")
        task.parent = shown.number
        return self._submit(task)

    # ── task endpoints ──

    def fetch(self, ask: Ask) -> Answer:
        task = self._ids.get(ask.about)
        return answer(self.dialect.view(self, task)) if task else self.dialect.no_task

    def _views(self, tasks: Iterable[Task]) -> Answer:
        return answer([self.dialect.view(self, task) for task in tasks])

    def list_all(self, _: Ask) -> Answer:
        """Newest first."""
        known = [task for task in reversed(self._tasks) if self._ids.get(task.id) is task]
        return self._views(known[: self.dialect.newest])

    def queue(self, _: Ask) -> Answer:
        return self._views(self._queued())

    def _queued(self) -> list[Task]:
        """Waiting and running, oldest first."""
        inside = [
            task for lane in self._lanes.values() for part in (lane.running, lane.waiting) for task in part.values()
        ]
        return sorted(inside, key=lambda task: task.number)

    def list_some(self, ask: Ask) -> Answer:
        return self._views(self._named(ask.body.texts("ids")))

    def list_by_ids(self, ask: Ask) -> Answer:
        tasks = self._named(ask.body.texts("ids"))
        return answer([self.dialect.view(self, task) | {"displays": displays(self, task)} for task in tasks])

    def _named(self, ids: list[str]) -> list[Task]:
        """Those in the queue first, so the order is not that of the ids."""
        found = list({task_id: self._ids[task_id] for task_id in ids if task_id in self._ids}.values())
        return sorted(found, key=lambda task: task.phase.status in ENDED or task.phase.status == MODAL)

    def query(self, ask: Ask) -> Answer:
        """Filtered and paged; any of a task's fields may be asked for."""
        body = ask.body
        found = [task for task in self._tasks if self._ids.get(task.id) is task and self._matches(task, body)]
        if not body.text("sort").endswith("asc"):
            found.reverse()
        page, size = max(0, body.number("pageNumber")), min(1000, max(1, body.number("pageSize", 10)))
        return answer(
            {
                "content": [self.dialect.view(self, task) for task in found[page * size : page * size + size]],
                "totalElements": len(found),
                "totalPages": math.ceil(len(found) / size),
                "number": page,
                "size": size,
            }
        )

    def _matches(self, task: Task, body: Body) -> bool:
        exact = {
            "id": task.id, "action": task.action, "status": task.phase.status, "state": task.state,
            "instanceId": self.instance,
        }  # fmt: skip
        parts = {"prompt": task.prompt, "promptEn": task.prompt, "description": task.description}
        parts["failReason"] = task.phase.reason or ""
        return (
            all(not body.get(name) or body[name] == value for name, value in exact.items())
            and all(not body.get(name) or body[name] in value for name, value in parts.items())
            and (not body.get("ids") or task.id in body["ids"])
            and (not body.get("statusSet") or task.phase.status in body["statusSet"])
        )

    def image_seed(self, ask: Ask) -> Answer:
        task = self._ids.get(ask.about)
        if task is None:
            raise Refused(submitted(3, "任务不存在或已失效", status=self.dialect.missing))
        if task.phase.status != SUCCESS or task.kind in ("describe", "shorten"):
            raise invalid("任务状态错误", 400 if self.dialect.missing == 404 else 200)
        return submitted(1, "成功", str(self.seed_of(task)))

    def cancel(self, ask: Ask) -> Answer:
        task = self._ids.get(ask.about)
        if task and task.phase.status not in ENDED:
            status, reason = self.dialect.cancelled
            self._end(task, status, self.clock.now(), reason)
            return EMPTY if reason else answer({"code": 1, "description": "成功"})
        if self.dialect.cancelled[1]:
            return EMPTY
        return answer({"code": 4, "description": "任务已结束"} if task else {"code": 3, "description": "任务不存在"})

    # ── the rest ──

    def accounts(self, _: Ask) -> Answer:
        return answer([self._account()])

    def account(self, ask: Ask) -> Answer:
        return answer(self._account()) if ask.about == self.instance else EMPTY

    def _account(self) -> dict[str, Any]:
        """The real server shows the account's token here; this one has none to show."""
        running, waiting = self._limits
        return {
            "id": self.instance,
            "guildId": self.guild,
            "channelId": self.channel,
            "userToken": "sandbox-no-token",
            "userAgent": "Mozilla/5.0 (sandbox)",
            "enable": True,
            "coreSize": running,
            "queueSize": waiting,
            "timeoutMinutes": 5,
            "properties": {},
        }

    def relayed_image(self, ask: Ask) -> Answer:
        """A relay passes pictures on to anybody."""
        task = self._ids.get(ask.about)
        if task is None:
            return answer({"error": "midjourney_task_not_found"}, 400)
        phase = self.relayed(task)
        if task.op in ("describe", "retry") and task.sent:
            return _picture(self._blobs[task.sent[0]])
        if phase.status == SUCCESS and task.op != "shorten":
            return self._kept(task, "cell 0 .webp" if task.kind in FILMS else "whole")
        if phase.status == IN_PROGRESS and phase.percent:
            return self._kept(task, f"preview {phase.percent}")
        return answer({"error": "http_get_image_failed"}, 500 if not phase.status else 404)

    # ── what a relay knows ──

    def _tick(self, now: float, before: bool = False) -> float:
        """The relay's latest refresh."""
        count = math.floor((now - self._born) / REFRESH)
        tick = self._born + count * REFRESH
        return tick - REFRESH if before and tick >= now else tick

    def relayed(self, task: Task) -> Phase:
        tick = self._tick(self.clock.now())
        limit = task.submitted / 1000 + HOUR
        if tick >= limit and (task.phase.finish is None or task.phase.finish / 1000 > limit):
            return Phase(FAILURE, 100, task.phase.start, round(limit * 1000), LATE)
        return task.phase if task.changed <= tick else task.shown or Phase("")

    def relayed_url(self, task: Task, phase: Phase) -> str:
        if task.op == "shorten" or phase.status not in (IN_PROGRESS, SUCCESS) or not phase.percent:
            return ""
        fresh = "" if phase.status == SUCCESS else f"?rand={self._number((task.number, phase.percent), 10**19)}"
        return f"{self._origin()}/mj/image/{task.id}{fresh}"


def _thawed(row: list[Any]) -> Task:
    kept = dict(zip((slot.name for slot in fields(Task)), row, strict=True))
    kept["phase"] = Phase(*kept["phase"])
    kept["shown"] = Phase(*kept["shown"]) if kept["shown"] else None
    kept["sent"] = tuple(kept["sent"])
    return Task(**kept)


# ── small readings ───────────────────────────────────────────────────────────────────────────────────────────────────


def fate_of(prompt: str) -> str:
    """How a prompt will end, if not well: what demonstrations ask for, or what the bot refuses to read."""
    names = [name.lower() for name in _PARAMETER.findall(prompt)]
    if unknown := [f"--{name}" for name in names if name not in KNOWN_PARAMETERS]:
        return f"[Invalid parameter] Unrecognized parameter(s): {', '.join(unknown)}"
    if (found := _AR.search(prompt)) and not re.fullmatch(r"0*[1-9]\d{0,3}:0*[1-9]\d{0,3},?", found[1]):
        return f"[Invalid parameter] --ar needs two numbers like 3:2, not {found[1] or 'nothing'}"
    return (
        "stuck" if "stuck" in names else "The picture could not be made: --fail asked for it" if "fail" in names else ""
    )


def read_change(content: str) -> tuple[str, str, int] | None:
    """ "1712345678901234 u2" -> the task, what to do, and with which picture."""
    parts = content.split(" ")
    if len(parts) != 2 or not parts[0] or not parts[1]:
        return None
    letter, digit = parts[1][0].upper(), parts[1][1:2]
    if letter == "R":
        return parts[0], "REROLL", 1
    if letter in "UV" and digit in ("1", "2", "3", "4"):
        return parts[0], "UPSCALE" if letter == "U" else "VARIATION", int(digit)
    return None


CHANGES = {
    "UPSCALE": "MJ::JOB::upsample::{}::{h}",
    "VARIATION": "MJ::JOB::variation::{}::{h}",
    "REROLL": "MJ::JOB::reroll::0::{h}::SOLO",
}
RATIOS = {"PORTRAIT": 2 / 3, "SQUARE": 1.0, "LANDSCAPE": 3 / 2}


def _same_button(key: str, keys: Sequence[str]) -> bool:
    """Another version's name of a button that is there ("upsample_v6_2x_subtle")."""
    return MOVES[key].op == "enlarge" and any(MOVES[other].op == "enlarge" for other in keys)


def _numbered(lines: Sequence[str]) -> list[str]:
    return [f"{number}️⃣ {line}" for number, line in enumerate(lines, 1)]


def _snowflake(moment: int, low: int) -> int:
    return (max(0, moment - SNOWFLAKE_EPOCH) << 22) | (low & 0x3FFFFF)


def _mode(word: str | None) -> str:
    found = (word or "").removeprefix("mj-").upper()
    return found if found in ("FAST", "RELAX", "TURBO") else ""


def _wanted_mode(body: Body, prompt: str) -> str:
    """accountFilter.modes before --fast, --relax or --turbo in the prompt."""
    modes = body.object("accountFilter").get("modes")
    if isinstance(modes, list) and modes and isinstance(modes[0], str):
        return _mode(modes[0])
    named = [name.upper() for name in _PARAMETER.findall(prompt) if _mode(name)]
    return named[0] if named else ""


MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


def _picture(body: bytes) -> Answer:
    kind = next((name for start, name in MAGIC if body.startswith(start)), "application/octet-stream")
    return Answer(200, body, {"content-type": kind, "cache-control": "public, max-age=31536000"})


def _from_form(request: Request) -> Body:
    """The fields and files of a multipart form; files as data URLs, named like the JSON fields."""
    kind = request.headers["content-type"].encode("latin-1", "replace")
    message = message_from_bytes(b"content-type: " + kind + b"\r\n\r\n" + request.body)
    body = Body()
    for part in list(message.walk())[1:]:
        name = part.get_param("name", header="content-disposition")
        raw = part.get_payload(decode=True) if not part.is_multipart() else None
        if not isinstance(name, str) or not isinstance(raw, bytes):
            continue
        if part.get_filename() is None:
            body[name] = raw.decode("utf-8", "replace")
        else:
            body[f"{name}Base64"] = f"data:application/octet-stream;base64,{base64.b64encode(raw).decode()}"
    return body


# ── how pictures come about ──────────────────────────────────────────────────────────────────────────────────────────


class Stroke(NamedTuple):
    """What one step of a recipe is given."""

    prompt: str
    seed: int
    about: Mapping[str, Any]
    sent: tuple[str, ...]
    base: pictures.Grid

    @property
    def chosen(self) -> pictures.Picture:
        """The picture of the parent that the button named."""
        return self.base[min(int(self.about.get("index", 1)), len(self.base)) - 1]


def _imagine(proxy: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    grid = pictures.imagined(stroke.prompt, stroke.seed)
    if not stroke.sent:
        return grid
    photos, view = proxy.sent(stroke.sent), grid[0].view
    return tuple(
        pictures.Blended((*photos, cell), ((stroke.seed + number, 1.0),), view) for number, cell in enumerate(grid)
    )


def _vary(_: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    chosen = pictures.reworded(stroke.chosen, stroke.prompt)
    return pictures.varied(chosen, stroke.seed, stroke.about["strength"])


def _zoom(_: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    factor = stroke.about.get("factor", 2.0)
    return (
        pictures.zoomed(stroke.chosen, stroke.seed, factor) if factor else pictures.squared(stroke.chosen, stroke.seed)
    )


def _inpaint(proxy: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    return pictures.repainted(stroke.chosen, stroke.seed, stroke.prompt, proxy.sent_mask(stroke.about))


def _enlarge(_: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    strength = stroke.about["strength"]
    return (stroke.chosen.vary(stroke.seed, strength) if strength else stroke.chosen,)


def _swapped(proxy: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    source, target = proxy.sent(stroke.sent)
    return (pictures.Swapped(source, target),)


def _edit(proxy: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    return pictures.edited(proxy.sent(stroke.sent)[0], stroke.seed, stroke.prompt, proxy.sent_mask(stroke.about))


def _blend(proxy: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    return pictures.blended(proxy.sent(stroke.sent), stroke.seed, stroke.about["ratio"])


def _opening(proxy: MidjourneyProxy, stroke: Stroke) -> pictures.Grid:
    return tuple(proxy.sent(stroke.sent)) or pictures.imagined(stroke.prompt, stroke.seed)[:1]


PAINTERS: dict[str, Callable[[MidjourneyProxy, Stroke], pictures.Grid]] = {
    "imagine": _imagine,
    "blend": _blend,
    "describe": lambda proxy, stroke: tuple(proxy.sent(stroke.sent)),
    "retry": lambda proxy, stroke: tuple(proxy.sent(stroke.sent)),
    "shorten": lambda _, __: (),
    "swap": _swapped,
    "edit": _edit,
    "retexture": _edit,
    "video": _opening,
    "upscale": lambda _, stroke: (stroke.chosen,),
    "same": lambda _, stroke: stroke.base,
    "enlarge": _enlarge,
    "vary": _vary,
    "zoom": _zoom,
    "pan": lambda _, stroke: pictures.panned(stroke.chosen, stroke.seed, stroke.about["way"]),
    "inpaint": _inpaint,
    "film": lambda _, stroke: (stroke.chosen,),
    "refilm": lambda _, stroke: stroke.base[:1],
}
ROOTS = frozenset({"imagine", "blend", "describe", "retry", "shorten", "swap", "edit", "retexture", "video"})


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────

SUBMITS = (
    "imagine", "change", "simple-change", "describe", "blend", "shorten", "action", "modal", "upload-discord-images",
    "edits", "retexture", "video", "show",
)  # fmt: skip
SERVED: dict[str, Callable[[MidjourneyProxy, Ask], Answer]] = {
    "imagine": MidjourneyProxy.imagine,
    "change": MidjourneyProxy.change,
    "simple-change": MidjourneyProxy.simple_change,
    "describe": MidjourneyProxy.describe,
    "blend": MidjourneyProxy.blend,
    "shorten": MidjourneyProxy.shorten,
    "action": MidjourneyProxy.act,
    "modal": MidjourneyProxy.modal,
    "upload-discord-images": MidjourneyProxy.upload,
    "edits": MidjourneyProxy.edits,
    "retexture": MidjourneyProxy.retexture,
    "video": MidjourneyProxy.video,
    "show": MidjourneyProxy.show,
    "swap": MidjourneyProxy.swap,
    "video-swap": MidjourneyProxy.video_swap,
    "fetch": MidjourneyProxy.fetch,
    "list": MidjourneyProxy.list_all,
    "queue": MidjourneyProxy.queue,
    "list-by-condition": MidjourneyProxy.list_some,
    "list-by-ids": MidjourneyProxy.list_by_ids,
    "query": MidjourneyProxy.query,
    "image-seed": MidjourneyProxy.image_seed,
    "cancel": MidjourneyProxy.cancel,
    "account-list": MidjourneyProxy.accounts,
    "account": MidjourneyProxy.account,
    "image": MidjourneyProxy.relayed_image,
}
PATHS: dict[str, tuple[str, str]] = {
    **{f"/submit/{name}": (name, "POST") for name in SUBMITS},
    "/submit/edit": ("edits", "POST"),
    "/insight-face/swap": ("swap", "POST"),
    "/insight-face/video-swap": ("video-swap", "POST"),
    "/task/list": ("list", "GET"),
    "/task/queue": ("queue", "GET"),
    "/task/list-by-condition": ("list-by-condition", "POST"),
    "/task/list-by-ids": ("list-by-ids", "POST"),
    "/task/query": ("query", "POST"),
    "/account/list": ("account-list", "GET"),
}
NAMED_PATHS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"/task/([^/]+)/fetch"), "fetch", "GET"),
    (re.compile(r"/task/([^/]+)/image-seed"), "image-seed", "GET"),
    (re.compile(r"/task/([^/]+)/cancel"), "cancel", "POST"),
    (re.compile(r"/account/([^/]+)/fetch"), "account", "GET"),
    (re.compile(r"/image/([^/]+)"), "image", "GET"),
)
BODILESS = frozenset({"cancel"})
MULTIPART = frozenset({"swap", "video-swap"})


def _endpoint(path: str) -> tuple[str, str, str]:
    """(name, method, id in the path) of what is behind a path after /mj."""
    if path in PATHS:
        return (*PATHS[path], "")
    for pattern, name, method in NAMED_PATHS:
        if found := pattern.fullmatch(path):
            return name, method, found[1]
    return "", "", ""


# ── the relay in front ───────────────────────────────────────────────────────────────────────────────────────────────


def _required(name: str, complaint: str) -> Callable[[MidjourneyProxy, Ask], None]:
    def check(_: MidjourneyProxy, ask: Ask) -> None:
        if not ask.body.get(name):
            raise Refused(_relay_error(complaint))

    return check


def _relay_parent(proxy: MidjourneyProxy, task_id: str, done: bool = True) -> None:
    """A relay goes by what it last heard of the parent."""
    parent = proxy._ids.get(task_id)
    if parent is None:
        raise Refused(_relay_error("task_not_found"))
    if done and proxy.relayed(parent).status != SUCCESS:
        raise Refused(_relay_error("task_status_not_success"))


def _relay_change(proxy: MidjourneyProxy, ask: Ask) -> None:
    for name, complaint in (
        ("taskId", "task_id_is_required"),
        ("action", "action_is_required"),
        ("index", "index_is_required"),
    ):
        _required(name, complaint)(proxy, ask)
    _relay_parent(proxy, ask.body.text("taskId"))


def _relay_simple_change(proxy: MidjourneyProxy, ask: Ask) -> None:
    _required("content", "content_is_required")(proxy, ask)
    found = read_change(ask.body.text("content"))
    if found is None:
        raise Refused(_relay_error("content_parse_failed"))
    _relay_parent(proxy, found[0])


def _relay_action(proxy: MidjourneyProxy, ask: Ask) -> None:
    _required("customId", "custom_id_is_required")(proxy, ask)
    custom_id = ask.body.text("customId")
    parts = [*custom_id.split("::"), "", ""]
    word = parts[2] if parts[1] == "JOB" else parts[1]
    known = any(part in word for part in ("upsample", "variation", "pan", "reroll"))
    if not known and word not in ("Outpaint", "CustomZoom", "Inpaint"):
        raise Refused(_relay_error(f"unknown_action:{custom_id}" if word else "unknown_action"))
    _required("taskId", "task_id_is_required")(proxy, ask)
    _relay_parent(proxy, ask.body.text("taskId"))


def _relay_modal(proxy: MidjourneyProxy, ask: Ask) -> None:
    _required("taskId", "task_id_is_required")(proxy, ask)
    _relay_parent(proxy, ask.body.text("taskId"), done=False)


def _relay_swap(_: MidjourneyProxy, ask: Ask) -> None:
    if not ask.body.get("sourceBase64") or not ask.body.get("targetBase64"):
        raise Refused(_relay_error("sour_base64_and_target_base64_is_required"))


def _relay_seed(proxy: MidjourneyProxy, ask: Ask) -> None:
    if ask.about not in proxy._ids:
        raise Refused(_relay_error("task_no_found"))


RELAY_CHECKS: dict[str, Callable[[MidjourneyProxy, Ask], None]] = {
    "imagine": _required("prompt", "prompt_is_required"),
    "change": _relay_change,
    "simple-change": _relay_simple_change,
    "action": _relay_action,
    "modal": _relay_modal,
    "swap": _relay_swap,
    "image-seed": _relay_seed,
}


def _reworded(ask: Ask, reply: Answer) -> Answer:
    """A relay turns codes 22 and most 21 into 1, in the text of the answer, and names no content type."""
    if ask.endpoint not in SUBMITS and ask.endpoint not in ("swap", "image-seed"):
        return reply
    body = reply.body.replace(b'"code":22', b'"code":1')
    if not any(word in ask.body.text("customId") for word in ("Inpaint", "CustomZoom")):
        body = body.replace(b'"code":21', b'"code":1')
    return Answer(reply.status, body, TEXT)
