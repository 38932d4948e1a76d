"""The relay that most vendors put in front: what it turns down itself, and how it rewrites what
comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_mjci.emulator.http import Answer
from jupyter_mjci.emulator.midjourney.bodies import TEXT, Refused, relay_error
from jupyter_mjci.emulator.midjourney.tasks import SUCCESS, read_change

if TYPE_CHECKING:
    from jupyter_mjci.emulator.midjourney.proxy import Ask, MidjourneyProxy


def _required(name: str, complaint: str) -> Callable[[MidjourneyProxy, Ask], None]:
    def check(_: MidjourneyProxy, ask: Ask) -> None:
        if not ask.body.get(name):
            raise Refused(relay_error(complaint))

    return check


def _relay_parent(proxy: MidjourneyProxy, task_id: str, done: bool = True) -> None:
    """A relay goes by what it last heard of the parent."""
    parent = proxy.known.get(task_id)
    if parent is None:
        raise Refused(relay_error("task_not_found"))
    if done and proxy.relayed(parent).status != SUCCESS:
        raise Refused(relay_error("task_status_not_success"))


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
        raise Refused(relay_error("content_parse_failed"))
    _relay_parent(proxy, found[0])


def _relay_action(proxy: MidjourneyProxy, ask: Ask) -> None:
    _required("customId", "custom_id_is_required")(proxy, ask)
    custom_id = ask.body.text("customId")
    parts = [*custom_id.split("::"), "", ""]
    word = parts[2] if parts[1] == "JOB" else parts[1]
    known = any(part in word for part in ("upsample", "variation", "pan", "reroll"))
    if not known and word not in ("Outpaint", "CustomZoom", "Inpaint"):
        raise Refused(relay_error(f"unknown_action:{custom_id}" if word else "unknown_action"))
    _required("taskId", "task_id_is_required")(proxy, ask)
    _relay_parent(proxy, ask.body.text("taskId"))


def _relay_modal(proxy: MidjourneyProxy, ask: Ask) -> None:
    _required("taskId", "task_id_is_required")(proxy, ask)
    _relay_parent(proxy, ask.body.text("taskId"), done=False)


def _relay_swap(_: MidjourneyProxy, ask: Ask) -> None:
    if not ask.body.get("sourceBase64") or not ask.body.get("targetBase64"):
        raise Refused(relay_error("sour_base64_and_target_base64_is_required"))


def _relay_seed(proxy: MidjourneyProxy, ask: Ask) -> None:
    if ask.about not in proxy.known:
        raise Refused(relay_error("task_no_found"))


RELAY_CHECKS: dict[str, Callable[[MidjourneyProxy, Ask], None]] = {
    "imagine": _required("prompt", "prompt_is_required"),
    "change": _relay_change,
    "simple-change": _relay_simple_change,
    "action": _relay_action,
    "modal": _relay_modal,
    "swap": _relay_swap,
    "image-seed": _relay_seed,
}


# Where Go guesses the content type, because nobody named one.
SNIFFED = frozenset(
    {
        *("imagine", "change", "simple-change", "describe", "blend", "shorten", "action", "modal"),
        *("upload-discord-images", "edits", "video", "swap", "image-seed"),
    }
)


def reworded(ask: Ask, reply: Answer) -> Answer:
    """A relay turns codes 22 and most 21 into 1, in the text of the answer, and names no content
    type.
    """
    if ask.endpoint not in SNIFFED:
        return reply
    body = reply.body.replace(b'"code":22', b'"code":1')
    if not any(word in ask.body.text("customId") for word in ("Inpaint", "CustomZoom")):
        body = body.replace(b'"code":21', b'"code":1')
    return Answer(reply.status, body, TEXT)
