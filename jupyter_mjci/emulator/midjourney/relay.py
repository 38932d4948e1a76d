"""The relay that most vendors put in front of a proxy: what it refuses, and what it rewrites."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_mjci.emulator.http import Response
from jupyter_mjci.emulator.midjourney.bodies import TEXT_HEADERS, ErrorResponse, build_relay_error
from jupyter_mjci.emulator.midjourney.context import ProxyContext
from jupyter_mjci.emulator.midjourney.routes import ParsedRequest
from jupyter_mjci.emulator.midjourney.tasks import SUCCESS, parse_simple_change

RelayCheck = Callable[[ProxyContext, ParsedRequest], None]


def _require_field(name: str, message: str) -> RelayCheck:
    def check(_: ProxyContext, parsed: ParsedRequest) -> None:
        if not parsed.body.get(name):
            raise ErrorResponse(build_relay_error(message))

    return check


def _check_parent(proxy: ProxyContext, task_id: str, done: bool = True) -> None:
    """Check the parent, as it was at the relay's latest refresh."""
    parent = proxy.tasks_by_id.get(task_id)
    if parent is None:
        raise ErrorResponse(build_relay_error("task_not_found"))
    if done and proxy.get_relayed_phase(parent).status != SUCCESS:
        raise ErrorResponse(build_relay_error("task_status_not_success"))


def _check_change(proxy: ProxyContext, parsed: ParsedRequest) -> None:
    for name in ("taskId", "action", "index"):
        message = "task_id_is_required" if name == "taskId" else f"{name}_is_required"
        _require_field(name, message)(proxy, parsed)
    _check_parent(proxy, parsed.body.get_text("taskId"))


def _check_simple_change(proxy: ProxyContext, parsed: ParsedRequest) -> None:
    _require_field("content", "content_is_required")(proxy, parsed)
    change = parse_simple_change(parsed.body.get_text("content"))
    if change is None:
        raise ErrorResponse(build_relay_error("content_parse_failed"))
    _check_parent(proxy, change.task_id)


def _get_action_name(custom_id: str) -> str:
    """Return "upsample" of `MJ::JOB::upsample::1::…`, "Outpaint" of `MJ::Outpaint::…`."""
    parts = custom_id.split("::")
    if len(parts) < 2:
        return ""
    if parts[1] != "JOB":
        return parts[1]
    return parts[2] if len(parts) > 2 else ""


def _check_action(proxy: ProxyContext, parsed: ParsedRequest) -> None:
    _require_field("customId", "custom_id_is_required")(proxy, parsed)
    custom_id = parsed.body.get_text("customId")
    name = _get_action_name(custom_id)
    is_known = any(part in name for part in ("upsample", "variation", "pan", "reroll"))
    if not is_known and name not in ("Outpaint", "CustomZoom", "Inpaint"):
        message = f"unknown_action:{custom_id}" if name else "unknown_action"
        raise ErrorResponse(build_relay_error(message))
    _require_field("taskId", "task_id_is_required")(proxy, parsed)
    _check_parent(proxy, parsed.body.get_text("taskId"))


def _check_modal(proxy: ProxyContext, parsed: ParsedRequest) -> None:
    _require_field("taskId", "task_id_is_required")(proxy, parsed)
    _check_parent(proxy, parsed.body.get_text("taskId"), done=False)


def _check_swap(_: ProxyContext, parsed: ParsedRequest) -> None:
    if not parsed.body.get("sourceBase64") or not parsed.body.get("targetBase64"):
        raise ErrorResponse(build_relay_error("sour_base64_and_target_base64_is_required"))


def _check_seed(proxy: ProxyContext, parsed: ParsedRequest) -> None:
    if parsed.path_id not in proxy.tasks_by_id:
        raise ErrorResponse(build_relay_error("task_no_found"))


RELAY_CHECKS: dict[str, RelayCheck] = {
    "imagine": _require_field("prompt", "prompt_is_required"),
    "change": _check_change,
    "simple-change": _check_simple_change,
    "action": _check_action,
    "modal": _check_modal,
    "swap": _check_swap,
    "image-seed": _check_seed,
}


# Whose content type Go guesses, because the relay names none.
SNIFFED_ENDPOINTS = frozenset(
    """
    imagine change simple-change describe blend shorten action modal upload-discord-images edits
    video swap image-seed
    """.split()  # noqa: SIM905
)


def rewrite_response(parsed: ParsedRequest, response: Response) -> Response:
    """Turn codes 22 and most 21 into 1, and drop the content type, as the relay does."""
    if parsed.endpoint not in SNIFFED_ENDPOINTS:
        return response
    body = response.body.replace(b'"code":22', b'"code":1')
    custom_id = parsed.body.get_text("customId")
    if "Inpaint" not in custom_id and "CustomZoom" not in custom_id:
        body = body.replace(b'"code":21', b'"code":1')
    return Response(response.status, body, TEXT_HEADERS)
