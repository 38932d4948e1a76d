"""How the families of Midjourney proxies differ: a `Dialect` is a row of differences.

"java" is novicezk/midjourney-proxy, "plus" its commercial
successor, "trueai" the .NET server (trueai-org/midjourney-proxy,
"trueai-9" before version 10), "new-api" the relay in front of
one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from jupyter_mjci.emulator.http import Request, Response, json_response
from jupyter_mjci.emulator.midjourney.bodies import (
    EMPTY_RESPONSE,
    HTML_HEADERS,
    TEXT_HEADERS,
    build_relay_error,
    secrets_equal,
)
from jupyter_mjci.emulator.midjourney.context import ProxyContext
from jupyter_mjci.emulator.midjourney.tasks import CANCEL, FAILURE, Task
from jupyter_mjci.emulator.midjourney.views import (
    render_java,
    render_plus,
    render_relay,
    render_trueai,
)

HOUR = 3600.0

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of servers differs from the others.

    `invalid_body_response` gets the request, what is wrong with
    its body, and the time.
    """

    name: str
    # group 1: the speed mode, group 2: the rest of the path
    prefix: re.Pattern[str]
    endpoints: frozenset[str]
    is_authorized: Callable[[Headers, str], bool]
    unauthorized_response: Callable[[Headers], Response]
    not_found_response: Callable[[Request], Response]
    method_not_allowed_response: Callable[[Request], Response]
    unknown_task_response: Response
    invalid_body_response: Callable[[Request, str, float], Response]
    render_task: Callable[[ProxyContext, Task], dict[str, Any]]
    strict_types: bool = False
    # accepts bare base64 and http links for pictures
    accepts_raw_images: bool = False
    # HTTP status of "no such parent"
    missing_parent_status: int = 200
    queue_full: tuple[int, str] = (23, "队列已满，请稍后尝试")
    modal_message: str = "窗口等待"
    # code 21 has finalPrompt and remix
    reports_final_prompt: bool = False
    # a button pressed twice returns the first task
    reuses_button_tasks: bool = False
    # renamed actions
    action_names: Mapping[str, str] = field(default_factory=dict)
    # prefixes of customIds refused with code 4
    unsupported_buttons: tuple[str, ...] = ()
    # "Imagine all" starts four tasks
    supports_imagine_all: bool = False
    signs_links: bool = True  # picture links expire
    relative_links: bool = False  # picture links have no host
    has_relax_queue: bool = False
    reads_account_filter: bool = False  # accountFilter.modes
    # status and failReason
    cancel_outcome: tuple[str, str | None] = (CANCEL, None)
    # the most tasks that task/list returns
    list_limit: int | None = None
    duplicates_webhooks: bool = False
    sends_webhooks: bool = True
    is_relay: bool = False
    open_paths: tuple[str, ...] = ()
    # an unknown path is reported without a valid secret
    routes_before_auth: bool = False
    queue_timeout: float | None = None  # seconds


def _check_secret_header(headers: Headers, secret: str) -> bool:
    return secrets_equal(headers.get("mj-api-secret", ""), secret)


def _check_verbatim_header(headers: Headers, secret: str) -> bool:
    """Check Authorization, else mj-api-secret, verbatim."""
    return secrets_equal(headers.get("authorization") or headers.get("mj-api-secret", ""), secret)


def _check_bearer_token(headers: Headers, secret: str) -> bool:
    """Check a bearer token; a "-" and what follows would choose a channel."""
    token = _strip_token_prefix(headers.get("authorization", ""))
    if token in ("", "midjourney-proxy"):
        token = _strip_token_prefix(headers.get("mj-api-secret", ""))
    key = _strip_token_prefix(secret)
    return secrets_equal(token, key) or secrets_equal(token[: len(key) + 1], key + "-")


def _strip_token_prefix(token: str) -> str:
    token = token.strip().removeprefix("Bearer ").removeprefix("bearer ")
    return token.strip().removeprefix("sk-")


def _java_unauthorized(_: Headers) -> Response:
    return Response(401, b"", {})


def _has_secret(headers: Headers) -> bool:
    return bool(headers.get("authorization") or headers.get("mj-api-secret"))


def _trueai_unauthorized(headers: Headers) -> Response:
    body = b"Invalid token." if _has_secret(headers) else b"Authorization header missing."
    return Response(401, body, TEXT_HEADERS)


def _relay_unauthorized(headers: Headers) -> Response:
    text = repr(sorted(headers.items())).encode("utf-8", "replace")
    request_id = hashlib.blake2b(text, digest_size=10).hexdigest()
    reason = "无效的令牌" if _has_secret(headers) else "未提供令牌"
    message = f"{reason} (request id: {request_id})"
    return json_response({"error": {"message": message, "type": "new_api_error"}}, 401)


CONTAINER_404_PAGE = (
    '<!doctype html><html lang="en"><head><title>HTTP Status 404 – Not Found</title></head><body>'
    "<h1>HTTP Status 404 – Not Found</h1><hr/><p>The requested resource is not available.</p>"
    "</body></html>"
).encode()
NEW_API_INDEX_PAGE = (
    b'<!doctype html><html lang="zh"><head><meta charset="utf-8"/><title>New API</title></head>'
    b"<body><noscript>You need to enable JavaScript to run this app.</noscript>"
    b'<div id="root"></div></body></html>'
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


def _spring_405(request: Request) -> Response:
    return json_response({"status": 405, "error": "Method Not Allowed", "path": request.path}, 405)


def _spring_400(request: Request, _: str, now: float) -> Response:
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    content = {"timestamp": timestamp, "status": 400, "error": "Bad Request", "path": request.path}
    return json_response(content, 400)


def _trueai_invalid_body(_: Request, message: str, now: float) -> Response:
    timestamp = round(now * 1000)
    content = {"success": False, "code": -1, "message": message, "timestamp": timestamp}
    return json_response(content)


def _relay_invalid_body(_: Request, __: str, ___: float) -> Response:
    return build_relay_error("bind_request_body_failed")


# ── the families ──

_BASE_ENDPOINTS = frozenset({"imagine", "describe", "blend", "fetch", "list-by-condition"})
_QUEUE_ENDPOINTS = frozenset({"list", "queue"})
_CHANGE_ENDPOINTS = frozenset({"change", "simple-change"})
_PLUS_ENDPOINTS = frozenset(
    {
        "action",
        "modal",
        "shorten",
        "upload-discord-images",
        "swap",
        "list-by-ids",
        "image-seed",
        "cancel",
    }
)
_STUDIO_ENDPOINTS = frozenset({"edits", "retexture", "video", "video-swap"})
_ACCOUNT_ENDPOINTS = frozenset({"account-list", "account"})
_JAVA_ENDPOINTS = _BASE_ENDPOINTS | _CHANGE_ENDPOINTS | _QUEUE_ENDPOINTS | _ACCOUNT_ENDPOINTS

_PLAIN_PREFIX = re.compile(r"()/mj(/.*)?")
_SPEED_PREFIX = re.compile(r"(?:/mj-(fast|turbo|relax))?/mj(/.*)?")
_ANY_MODE_PREFIX = re.compile(r"(?:/([^/]+))?/mj(/.*)?")

JAVA = Dialect(
    name="java",
    prefix=_PLAIN_PREFIX,
    endpoints=_JAVA_ENDPOINTS,
    is_authorized=_check_secret_header,
    unauthorized_response=_java_unauthorized,
    not_found_response=_container_404,
    method_not_allowed_response=_spring_405,
    unknown_task_response=EMPTY_RESPONSE,
    invalid_body_response=_spring_400,
    render_task=render_java,
    duplicates_webhooks=True,
)
PLUS = Dialect(
    name="plus",
    prefix=_PLAIN_PREFIX,
    endpoints=_JAVA_ENDPOINTS | _PLUS_ENDPOINTS | {"query"},
    is_authorized=_check_secret_header,
    unauthorized_response=_java_unauthorized,
    not_found_response=_container_404,
    method_not_allowed_response=_spring_405,
    unknown_task_response=EMPTY_RESPONSE,
    invalid_body_response=_spring_400,
    render_task=render_plus,
    reads_account_filter=True,
    reuses_button_tasks=True,
    action_names={"UPSCALE_HD": "UPSCALE"},
    unsupported_buttons=("MJ::BOOKMARK", "MJ::Job::PicReader::all"),
    duplicates_webhooks=True,
)
TRUEAI = Dialect(
    name="trueai",
    prefix=_SPEED_PREFIX,
    endpoints=_BASE_ENDPOINTS | _PLUS_ENDPOINTS | _STUDIO_ENDPOINTS | {"list"},
    is_authorized=_check_verbatim_header,
    unauthorized_response=_trueai_unauthorized,
    not_found_response=_bare_404,
    method_not_allowed_response=_bare_405,
    unknown_task_response=Response(204, b"", {}),
    invalid_body_response=_trueai_invalid_body,
    render_task=render_trueai,
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
    reads_account_filter=True,
    cancel_outcome=(FAILURE, "取消任务"),
    list_limit=100,
    queue_timeout=HOUR,
)
TRUEAI_9 = replace(
    TRUEAI,
    name="trueai-9",
    endpoints=TRUEAI.endpoints | _CHANGE_ENDPOINTS | {"queue", "show"},
)
NEW_API = Dialect(
    name="new-api",
    prefix=_ANY_MODE_PREFIX,
    endpoints=_BASE_ENDPOINTS
    | _CHANGE_ENDPOINTS
    | _PLUS_ENDPOINTS - {"list-by-ids", "cancel"}
    | {"edits", "video", "image"},
    is_authorized=_check_bearer_token,
    unauthorized_response=_relay_unauthorized,
    not_found_response=_index_page,
    method_not_allowed_response=_index_page,
    unknown_task_response=build_relay_error("task_no_found"),
    invalid_body_response=_relay_invalid_body,
    render_task=render_relay,
    strict_types=True,
    reuses_button_tasks=True,
    action_names={"UPSCALE_HD": "UPSCALE"},
    unsupported_buttons=("MJ::BOOKMARK",),
    sends_webhooks=False,
    is_relay=True,
    open_paths=("image",),
    routes_before_auth=True,
)

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (JAVA, PLUS, TRUEAI, TRUEAI_9, NEW_API)
}
