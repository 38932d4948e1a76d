"""The relay that most vendors put in front: what it turns down itself, and how it rewrites what
comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_mjci.emulator.http import Response
from jupyter_mjci.emulator.midjourney.bodies import TEXT_HEADERS, ErrorResponse, build_relay_error
from jupyter_mjci.emulator.midjourney.tasks import SUCCESS, parse_simple_change

if TYPE_CHECKING:
    from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy, ParsedRequest


def _require_field(name: str, message: str) -> Callable[[MidjourneyProxy, ParsedRequest], None]:
    def check(_: MidjourneyProxy, ask: ParsedRequest) -> None:
        if not ask.body.get(name):
            raise ErrorResponse(build_relay_error(message))

    return check


def _check_parent(proxy: MidjourneyProxy, task_id: str, done: bool = True) -> None:
    """A relay goes by what it last heard of the parent."""
    parent = proxy.tasks_by_id.get(task_id)
    if parent is None:
        raise ErrorResponse(build_relay_error("task_not_found"))
    if done and proxy.get_relayed_phase(parent).status != SUCCESS:
        raise ErrorResponse(build_relay_error("task_status_not_success"))


def _check_change(proxy: MidjourneyProxy, ask: ParsedRequest) -> None:
    for name, complaint in (
        ("taskId", "task_id_is_required"),
        ("action", "action_is_required"),
        ("index", "index_is_required"),
    ):
        _require_field(name, complaint)(proxy, ask)
    _check_parent(proxy, ask.body.get_text("taskId"))


def _check_simple_change(proxy: MidjourneyProxy, ask: ParsedRequest) -> None:
    _require_field("content", "content_is_required")(proxy, ask)
    found = parse_simple_change(ask.body.get_text("content"))
    if found is None:
        raise ErrorResponse(build_relay_error("content_parse_failed"))
    _check_parent(proxy, found[0])


def _check_action(proxy: MidjourneyProxy, ask: ParsedRequest) -> None:
    _require_field("customId", "custom_id_is_required")(proxy, ask)
    custom_id = ask.body.get_text("customId")
    parts = [*custom_id.split("::"), "", ""]
    word = parts[2] if parts[1] == "JOB" else parts[1]
    known = any(part in word for part in ("upsample", "variation", "pan", "reroll"))
    if not known and word not in ("Outpaint", "CustomZoom", "Inpaint"):
        raise ErrorResponse(
            build_relay_error(f"unknown_action:{custom_id}" if word else "unknown_action")
        )
    _require_field("taskId", "task_id_is_required")(proxy, ask)
    _check_parent(proxy, ask.body.get_text("taskId"))


def _check_modal(proxy: MidjourneyProxy, ask: ParsedRequest) -> None:
    _require_field("taskId", "task_id_is_required")(proxy, ask)
    _check_parent(proxy, ask.body.get_text("taskId"), done=False)


def _check_swap(_: MidjourneyProxy, ask: ParsedRequest) -> None:
    if not ask.body.get("sourceBase64") or not ask.body.get("targetBase64"):
        raise ErrorResponse(build_relay_error("sour_base64_and_target_base64_is_required"))


def _check_seed(proxy: MidjourneyProxy, ask: ParsedRequest) -> None:
    if ask.path_id not in proxy.tasks_by_id:
        raise ErrorResponse(build_relay_error("task_no_found"))


RELAY_CHECKS: dict[str, Callable[[MidjourneyProxy, ParsedRequest], None]] = {
    "imagine": _require_field("prompt", "prompt_is_required"),
    "change": _check_change,
    "simple-change": _check_simple_change,
    "action": _check_action,
    "modal": _check_modal,
    "swap": _check_swap,
    "image-seed": _check_seed,
}


# Where Go guesses the content type, because nobody named one.
SNIFFED_ENDPOINTS = frozenset(
    {
        *("imagine", "change", "simple-change", "describe", "blend", "shorten", "action", "modal"),
        *("upload-discord-images", "edits", "video", "swap", "image-seed"),
    }
)


def rewrite_response(ask: ParsedRequest, response: Response) -> Response:
    """A relay turns codes 22 and most 21 into 1, in the text of the answer, and names no content
    type.
    """
    if ask.endpoint not in SNIFFED_ENDPOINTS:
        return response
    body = response.body.replace(b'"code":22', b'"code":1')
    if not any(word in ask.body.get_text("customId") for word in ("Inpaint", "CustomZoom")):
        body = body.replace(b'"code":21', b'"code":1')
    return Response(response.status, body, TEXT_HEADERS)
