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

from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.midjourney.bodies import (
    EMPTY_RESPONSE,
    HTML_HEADERS,
    TEXT_HEADERS,
    build_relay_error,
    json_response,
    secrets_equal,
)
from jupyter_mjci.emulator.midjourney.tasks import CANCEL, FAILURE, Task
from jupyter_mjci.emulator.midjourney.views import (
    render_java,
    render_plus,
    render_relay,
    render_trueai,
)

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
    is_authorized: Callable[[Headers, str], bool]
    unauthorized_response: Callable[[Headers], Response]
    not_found_response: Callable[[Request], Response]
    method_not_allowed_response: Callable[[Request], Response]
    unknown_task_response: Response
    invalid_body_response: Callable[[MidjourneyProxy, Request, str], Response]
    render_task: Callable[[MidjourneyProxy, Task], dict[str, Any]]
    strict_types: bool = False
    accepts_raw_images: bool = False  # takes bare base64 and http links for pictures
    missing_parent_status: int = 200  # HTTP status of "no such parent"
    queue_full: tuple[int, str] = (23, "队列已满，请稍后尝试")
    modal_message: str = "窗口等待"
    reports_final_prompt: bool = False  # 21 carries finalPrompt and remix
    reuses_button_tasks: bool = False  # a button pressed twice gives the first task
    action_names: Mapping[str, str] = field(default_factory=dict)  # renamed actions
    unsupported_buttons: tuple[
        str, ...
    ] = ()  # customIds (their beginnings) turned down with code 4
    supports_imagine_all: bool = False  # "Imagine all" starts four tasks
    signs_links: bool = True  # picture links expire
    relative_links: bool = False  # picture links have no host
    has_relax_queue: bool = False
    cancel_outcome: tuple[str, str | None] = (CANCEL, None)
    list_limit: int | None = None  # the listing's length
    duplicates_webhooks: bool = False
    sends_webhooks: bool = True
    is_relay: bool = False
    open_paths: tuple[str, ...] = ()
    routes_before_auth: bool = False  # an unknown path is told even to strangers
    queue_timeout: float | None = None


def _check_secret_header(headers: Headers, secret: str) -> bool:
    return secrets_equal(headers.get("mj-api-secret", ""), secret)


def _check_verbatim_header(headers: Headers, secret: str) -> bool:
    """Authorization wins, and nothing is stripped from it."""
    return secrets_equal(headers.get("authorization") or headers.get("mj-api-secret", ""), secret)


def _check_bearer_token(headers: Headers, secret: str) -> bool:
    """A bearer token; what follows it after a "-" would choose a channel."""
    given = _strip_token_prefix(headers.get("authorization", ""))
    if given in ("", "midjourney-proxy"):
        given = _strip_token_prefix(headers.get("mj-api-secret", ""))
    key = _strip_token_prefix(secret)
    return secrets_equal(given, key) or secrets_equal(given[: len(key) + 1], key + "-")


def _strip_token_prefix(token: str) -> str:
    return token.strip().removeprefix("Bearer ").removeprefix("bearer ").strip().removeprefix("sk-")


def _java_unauthorized(_: Headers) -> Response:
    return Response(401, b"", {})


def _trueai_unauthorized(headers: Headers) -> Response:
    given = headers.get("authorization") or headers.get("mj-api-secret")
    return Response(
        401, b"Invalid token." if given else b"Authorization header missing.", TEXT_HEADERS
    )


def _relay_unauthorized(headers: Headers) -> Response:
    mark = hashlib.blake2b(
        repr(sorted(headers.items())).encode("utf-8", "replace"), digest_size=10
    ).hexdigest()
    said = (
        "无效的令牌"
        if headers.get("authorization") or headers.get("mj-api-secret")
        else "未提供令牌"
    )
    return json_response(
        {"error": {"message": f"{said} (request id: {mark})", "type": "new_api_error"}}, 401
    )


CONTAINER_404_PAGE = (
    '<!doctype html><html lang="en"><head><title>HTTP Status 404 – Not Found</title></head><body>'
    "<h1>HTTP Status 404 – Not Found</h1><hr/><p>The requested resource is not available.</p></body></html>"
).encode()
NEW_API_INDEX_PAGE = (
    b'<!doctype html><html lang="zh"><head><meta charset="utf-8"/><title>New API</title></head>'
    b'<body><noscript>You need to enable JavaScript to run this app.</noscript><div id="root"></div></body></html>'
)


def _container_404(_: Request) -> Response:
    return Response(404, CONTAINER_404_PAGE, HTML_HEADERS)


def _bare_404(_: Request) -> Response:
    return Response(404, b"", {})


def _bare_405(_: Request) -> Response:
    return Response(405, b"", {})


def _index_page(request: Request) -> Response:
    if re.match(r"/(?:v1|api|assets)(?:/|$)", request.path):
        message = f"Invalid URL ({request.method} {request.path})"
        error = {"message": message, "type": "invalid_request_error", "param": "", "code": ""}
        return json_response({"error": error}, 404)
    return Response(200, NEW_API_INDEX_PAGE, HTML_HEADERS)


def _spring_error(status: int, error: str, moment: float, path: str) -> Response:
    stamp = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return json_response(
        {"timestamp": stamp, "status": status, "error": error, "path": path}, status
    )


def _spring_405(request: Request) -> Response:
    return json_response({"status": 405, "error": "Method Not Allowed", "path": request.path}, 405)


def _spring_400(proxy: MidjourneyProxy, request: Request, _: str) -> Response:
    return _spring_error(400, "Bad Request", proxy.clock.now(), request.path)


def _trueai_invalid_body(proxy: MidjourneyProxy, _: Request, message: str) -> Response:
    stamp = round(proxy.clock.now() * 1000)
    return json_response({"success": False, "code": -1, "message": message, "timestamp": stamp})


def _relay_invalid_body(_: MidjourneyProxy, __: Request, ___: str) -> Response:
    return build_relay_error("bind_request_body_failed")


# ── the families
# ─────────────────────────────────────────────────────────────────────────────────────────────────────

_BASE_ENDPOINTS = "imagine describe blend fetch list-by-condition".split()  # noqa: SIM905
_QUEUE_ENDPOINTS = "list queue".split()  # noqa: SIM905
_CHANGE_ENDPOINTS = ["change", "simple-change"]
_PLUS_ENDPOINTS = (
    "action modal shorten upload-discord-images swap list-by-ids image-seed cancel".split()
)  # noqa: SIM905
_STUDIO_ENDPOINTS = ["edits", "retexture", "video", "video-swap"]
_ACCOUNT_ENDPOINTS = ["account-list", "account"]
_PLAIN_PREFIX = re.compile(r"()/mj(/.*)?")
_SPEED_PREFIX = re.compile(r"(?:/mj-(fast|turbo|relax))?/mj(/.*)?")
_ANY_MODE_PREFIX = re.compile(r"(?:/([^/]+))?/mj(/.*)?")

JAVA = Dialect(
    "java",
    _PLAIN_PREFIX,
    frozenset([*_BASE_ENDPOINTS, *_CHANGE_ENDPOINTS, *_QUEUE_ENDPOINTS, *_ACCOUNT_ENDPOINTS]),
    _check_secret_header,
    _java_unauthorized,
    _container_404,
    _spring_405,
    EMPTY_RESPONSE,
    _spring_400,
    render_java,
    duplicates_webhooks=True,
)
PLUS = Dialect(
    "plus",
    _PLAIN_PREFIX,
    frozenset(
        [
            *_BASE_ENDPOINTS,
            *_CHANGE_ENDPOINTS,
            *_QUEUE_ENDPOINTS,
            *_ACCOUNT_ENDPOINTS,
            *_PLUS_ENDPOINTS,
            "query",
        ]
    ),
    _check_secret_header,
    _java_unauthorized,
    _container_404,
    _spring_405,
    EMPTY_RESPONSE,
    _spring_400,
    render_plus,
    reuses_button_tasks=True,
    action_names={"UPSCALE_HD": "UPSCALE"},
    unsupported_buttons=("MJ::BOOKMARK", "MJ::Job::PicReader::all"),
    duplicates_webhooks=True,
)
TRUEAI = Dialect(
    "trueai",
    _SPEED_PREFIX,
    frozenset([*_BASE_ENDPOINTS, "list", *_PLUS_ENDPOINTS, *_STUDIO_ENDPOINTS]),
    _check_verbatim_header,
    _trueai_unauthorized,
    _bare_404,
    _bare_405,
    Response(204, b"", {}),
    _trueai_invalid_body,
    render_trueai,
    strict_types=True,
    accepts_raw_images=True,
    missing_parent_status=404,
    queue_full=(9, "提交失败，队列已满，请稍后重试"),
    modal_message="Waiting for window confirm",
    reports_final_prompt=True,
    action_names={"REROLL": "parent"},
    unsupported_buttons=("MJ::BOOKMARK", "MJ::Job::PromptAnalyzer"),
    supports_imagine_all=True,
    signs_links=False,
    relative_links=True,
    has_relax_queue=True,
    cancel_outcome=(FAILURE, "取消任务"),
    list_limit=100,
    queue_timeout=HOUR,
)
NEW_API = Dialect(
    "new-api",
    _ANY_MODE_PREFIX,
    frozenset(
        [
            *_BASE_ENDPOINTS,
            *_CHANGE_ENDPOINTS,
            *(set(_PLUS_ENDPOINTS) - {"list-by-ids", "cancel"}),
            "edits",
            "video",
            "image",
        ]
    ),
    _check_bearer_token,
    _relay_unauthorized,
    _index_page,
    _index_page,
    build_relay_error("task_no_found"),
    _relay_invalid_body,
    render_relay,
    strict_types=True,
    reuses_button_tasks=True,
    action_names={"UPSCALE_HD": "UPSCALE"},
    unsupported_buttons=("MJ::BOOKMARK",),
    sends_webhooks=False,
    is_relay=True,
    open_paths=("image",),
    routes_before_auth=True,
)


def _build_trueai_9(dialect: Dialect) -> Dialect:
    """The .NET server before version 10."""
    kept = {slot.name: getattr(dialect, slot.name) for slot in fields(dialect)}
    kept["name"] = "trueai-9"
    kept["endpoints"] = dialect.endpoints | {*_CHANGE_ENDPOINTS, "queue", "show"}
    return Dialect(**kept)


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (JAVA, PLUS, TRUEAI, _build_trueai_9(TRUEAI), NEW_API)
}
