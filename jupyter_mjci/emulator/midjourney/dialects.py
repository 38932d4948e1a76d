"""How the families of Midjourney proxies differ: a `Dialect` is a row of differences, `DIALECTS`
the table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyter_mjci.emulator.http import Answer, Request
from jupyter_mjci.emulator.midjourney.bodies import EMPTY, HTML, TEXT, answer, relay_error, same
from jupyter_mjci.emulator.midjourney.tasks import CANCEL, FAILURE, Task
from jupyter_mjci.emulator.midjourney.views import java_view, plus_view, relay_view, trueai_view

if TYPE_CHECKING:
    from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy

HOUR = 3600.0

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
    return same(headers.get("mj-api-secret", ""), secret)


def _verbatim_header(headers: Headers, secret: str) -> bool:
    """Authorization wins, and nothing is stripped from it."""
    return same(headers.get("authorization") or headers.get("mj-api-secret", ""), secret)


def _bearer(headers: Headers, secret: str) -> bool:
    """A bearer token; what follows it after a "-" would choose a channel."""
    given = _bare(headers.get("authorization", ""))
    if given in ("", "midjourney-proxy"):
        given = _bare(headers.get("mj-api-secret", ""))
    key = _bare(secret)
    return same(given, key) or same(given[: len(key) + 1], key + "-")


def _bare(token: str) -> str:
    return token.strip().removeprefix("Bearer ").removeprefix("bearer ").strip().removeprefix("sk-")


def _java_refusal(_: Headers) -> Answer:
    return Answer(401, b"", {})


def _trueai_refusal(headers: Headers) -> Answer:
    given = headers.get("authorization") or headers.get("mj-api-secret")
    return Answer(401, b"Invalid token." if given else b"Authorization header missing.", TEXT)


def _relay_refusal(headers: Headers) -> Answer:
    mark = hashlib.blake2b(
        repr(sorted(headers.items())).encode("utf-8", "replace"), digest_size=10
    ).hexdigest()
    said = (
        "无效的令牌"
        if headers.get("authorization") or headers.get("mj-api-secret")
        else "未提供令牌"
    )
    return answer(
        {"error": {"message": f"{said} (request id: {mark})", "type": "new_api_error"}}, 401
    )


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


def _unbound(_: MidjourneyProxy, __: Request, ___: str) -> Answer:
    return relay_error("bind_request_body_failed")


# ── the families
# ─────────────────────────────────────────────────────────────────────────────────────────────────────

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
    frozenset(
        [*_BASE, *_CHANGE, *(set(_PLUS) - {"list-by-ids", "cancel"}), "edits", "video", "image"]
    ),
    _bearer,
    _relay_refusal,
    _front_page,
    _front_page,
    relay_error("task_no_found"),
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


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (JAVA, PLUS, TRUEAI, _older(TRUEAI), NEW_API)
}
