"""A task as JSON, by family: fields, texts, properties and buttons, made when it is requested."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.midjourney.captions import shorten_prompt
from jupyter_mjci.emulator.midjourney.context import ProxyContext
from jupyter_mjci.emulator.midjourney.image_store import build_snowflake
from jupyter_mjci.emulator.midjourney.tasks import (
    BUTTONS,
    CANCEL,
    FAILURE,
    IN_PROGRESS,
    MODAL,
    NOT_START,
    SUBMITTED,
    SUCCESS,
    TASK_KINDS,
    TERMINAL_STATUSES,
    VIDEO_KINDS,
    Phase,
    Task,
)


def render_java(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Render a task as the Java server does."""
    phase = task.phase
    prompt, english = get_prompts(proxy, task)
    return {
        "id": task.id,
        "properties": build_properties(proxy, task),
        "action": task.action,
        "status": phase.status,
        "prompt": prompt,
        "promptEn": english,
        "description": task.description,
        "state": task.state,
        "submitTime": task.submitted,
        "startTime": phase.start,
        "finishTime": phase.finish,
        "imageUrl": proxy.image_store.build_image_url(task),
        "progress": _format_progress(phase),
        "failReason": phase.reason,
    }


def _format_progress(phase: Phase) -> str | None:
    if phase.status in (FAILURE, CANCEL):
        return ""
    return None if phase.percent is None else f"{phase.percent}%"


def render_plus(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Render a task as the "plus" server does: with buttons."""
    content = render_java(proxy, task)
    content["properties"] |= build_plus_properties(proxy, task)
    content["buttons"] = render_buttons(proxy, task)
    return content


# The fields of the .NET server's task beyond the common ones, while nothing is known of them.
TRUEAI_DEFAULTS: dict[str, Any] = dict.fromkeys(
    """
    parentId botType realBotType userId nonce interactionMetadataId messageId remixModalMessageId
    instanceId subInstanceId promptFull language baseImageUrl thumbnailUrl partnerTaskId
    partnerTaskInfo officialTaskId officialTaskInfo seed seedError seedMessageId clientIp jobId
    replicateSource replicateTarget mode requestMode accountFilter url proxyUrl height width size
    contentType imageHeight imageWidth videoGenOriginImageUrl videoDuration frameCount videoUrl
    version storageOption videoType
    """.split()  # noqa: SIM905
) | {
    "isWhite": False,
    "remixAutoSubmit": False,
    "remixModaling": False,
    "messageIds": [],
    "isCompleted": False,
    "imageUrls": [],
    "hasAIReviewRetried": False,
    "isThirdParty": False,
    "isPartner": False,
    "isPartnerRelax": False,
    "isOfficial": False,
    "isDiscord": True,
    "isReplicate": False,
    "videoUrls": [],
    "isHdVideo": False,
}


def render_trueai(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Render a task as the .NET server does."""
    content = {**TRUEAI_DEFAULTS, **render_plus(proxy, task)}
    parent = proxy.image_store.get_task(task.parent)
    content |= {
        "parentId": parent.id if parent else None,
        "botType": task.bot,
        "realBotType": task.bot,
        "instanceId": proxy.instance_id,
        "nonce": build_nonce(proxy, task),
        "promptFull": content["promptEn"],
        "isCompleted": task.phase.status in TERMINAL_STATUSES,
        "mode": task.mode or None,
        "displays": render_displays(proxy, task),
        "useTime": _format_duration(task.phase),
        "remixModaling": task.phase.status == MODAL and task.button not in ALWAYS_MODAL,
    }
    if task.phase.status == SUCCESS:
        content |= render_result_fields(proxy, task)
    return content


ALWAYS_MODAL = frozenset(
    button.key for button in BUTTONS.values() if button.modal_policy == "always"
)
STATUS_LABELS = {
    NOT_START: "未启动",
    SUBMITTED: "已提交",
    IN_PROGRESS: "执行中",
    MODAL: "窗口等待",
    SUCCESS: "成功",
    FAILURE: "失败",
    CANCEL: "已取消",
}
ACTION_LABELS = {
    "IMAGINE": "绘图",
    "UPSCALE": "放大",
    "VARIATION": "变换",
    "REROLL": "重新生成",
    "DESCRIBE": "图生文",
    "BLEND": "混图",
    "ZOOM": "变焦",
    "PAN": "平移",
    "SHORTEN": "提示词分析",
    "SWAP_FACE": "换脸",
    "VIDEO": "视频",
}


def render_displays(proxy: ProxyContext, task: Task) -> dict[str, str]:
    """Render the fields that are meant for people: labels and formatted times."""
    return {
        "status": STATUS_LABELS[task.phase.status],
        "submitTime": _format_time(task.submitted),
        "startTime": _format_time(task.phase.start),
        "finishTime": _format_time(task.phase.finish),
        "action": ACTION_LABELS.get(task.action, task.action),
        "discordInstanceId": proxy.instance_id,
    }


def _format_time(timestamp_ms: int | None) -> str:
    if not timestamp_ms:
        return "-"
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _format_duration(phase: Phase) -> str:
    if not phase.finish or not phase.start:
        return "-"
    return f"{(phase.finish - phase.start) / 1000:.2f} s"


# A relay derives the action from the button.
RELAY_ACTIONS = {
    "low_variation": "LOW_VARIATION",
    "high_variation": "HIGH_VARIATION",
    "Inpaint": "INPAINT",
    "CustomZoom": "CUSTOM_ZOOM",
    "R": "REROLL",
}


def render_relay(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Render a task as the relay does: with the state of its latest refresh.

    Before the first one it knows only what was submitted.
    """
    phase = proxy.get_relayed_phase(task)
    content = {
        "id": task.id,
        "action": _get_relay_action(task),
        "customId": "",
        "botType": "",
        "prompt": task.prompt,
        "promptEn": get_prompts(proxy, task)[1] if phase.status else "",
        "description": task.submit_message,
        "state": (task.state or "") if phase.status else "",
        "submitTime": task.submitted,
        "startTime": phase.start or 0,
        "finishTime": phase.finish or 0,
        "imageUrl": proxy.build_relayed_url(task, phase),
        "videoUrl": "",
        "videoUrls": [],
        "status": phase.status,
        "progress": "100%" if phase.status == FAILURE else f"{phase.percent or 0}%",
        "failReason": phase.reason or "",
        "buttons": None,
        "maskBase64": "",
        "properties": None,
    }
    if phase.status == SUCCESS:
        content |= _render_relay_result(proxy, task, phase)
    return content


def _render_relay_result(proxy: ProxyContext, task: Task, phase: Phase) -> dict[str, Any]:
    final_prompt = build_final_prompt(proxy, task)
    url = proxy.build_relayed_url(task, phase)
    return {
        "videoUrl": url if task.kind in VIDEO_KINDS else "",
        "buttons": render_buttons(proxy, task) or None,
        "properties": {"finalPrompt": final_prompt, "finalZhPrompt": ""},
    }


def _get_relay_action(task: Task) -> str:
    name = BUTTONS[task.button].short_name if task.button else ""
    return RELAY_ACTIONS.get(name, task.action)


def get_prompts(proxy: ProxyContext, task: Task) -> tuple[str, str]:
    """Return prompt and promptEn; those of a finished describe task are its captions."""
    if task.kind != "describe" or task.phase.status != SUCCESS:
        return task.prompt, task.prompt
    lines = _number_lines(proxy.image_store.suggest_prompts(task))
    if proxy.reports_final_prompt:
        return task.prompt, "\r\n".join(lines)
    text = "\n\n".join(lines)
    return text, text


def build_final_prompt(proxy: ProxyContext, task: Task) -> str:
    """Return the result of a text task; for a picture the prompt with the links sent with it."""
    if task.phase.status == SUCCESS and task.kind == "describe":
        return "\n\n".join(_number_lines(proxy.image_store.suggest_prompts(task)))
    if task.phase.status == SUCCESS and task.kind == "shorten":
        important, shorter = shorten_prompt(task.prompt)
        headings = ["## Important tokens", important, "## Shortened prompts"]
        return "\n".join([*headings, *_number_lines(shorter)])
    if task.op != "imagine":
        return task.prompt
    store = proxy.image_store
    links = [store.build_blob_url(blob, task.submitted) for blob in task.input_images]
    return " ".join([*links, task.prompt])


def build_properties(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Build what the server keeps about the bot's messages, more as the task goes on."""
    properties: dict[str, Any] = {
        "notifyHook": task.notify_hook,
        "discordInstanceId": proxy.instance_id,
        "nonce": build_nonce(proxy, task),
    }
    parent = proxy.image_store.get_task(task.parent)
    if parent:
        properties["referencedMessageId"] = proxy.image_store.build_message_id(parent)
    if task.phase.start:
        properties["finalPrompt"] = build_final_prompt(proxy, task)
    if task.phase.status == IN_PROGRESS or task.phase.percent:
        properties["progressMessageId"] = str(build_snowflake(task.phase.start or 0, task.number))
    if task.phase.status == SUCCESS:
        properties["messageId"] = proxy.image_store.build_message_id(task)
        properties["messageHash"] = proxy.image_store.build_uuid(task)
        properties["flags"] = 0
    return properties


def build_plus_properties(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Build the properties that only the "plus" server and its relatives have."""
    properties: dict[str, Any] = {
        "botType": task.bot,
        "discordChannelId": proxy.image_store.channel_id,
    }
    if task.phase.status == SUCCESS:
        mode = (task.mode or "fast").lower()
        properties["messageContent"] = f"**{task.prompt}** - <@1012983546824114217> ({mode})"
        if task.kind == "describe":
            properties["finalZhPrompt"] = ""
    return properties


def build_nonce(proxy: ProxyContext, task: Task) -> str:
    """Build the nonce of a task's Discord message."""
    low_bits = proxy.image_store.derive_number(("nonce", task.number), 2**22)
    return str(build_snowflake(task.submitted, low_bits))


def render_buttons(proxy: ProxyContext, task: Task) -> list[dict[str, Any]]:
    """Render the buttons of a task; style 3 marks those that were pressed."""
    keys = proxy.list_button_keys(task)
    if not keys:
        return []
    uuid = proxy.image_store.build_uuid(task)
    pressed = task.pressed_buttons or {}
    return [
        {
            "customId": key.replace("{h}", uuid),
            "emoji": BUTTONS[key].emoji,
            "label": BUTTONS[key].label,
            "type": 2,
            "style": 3 if key in pressed else 2,
        }
        for key in keys
    ]


def render_result_fields(proxy: ProxyContext, task: Task) -> dict[str, Any]:
    """Render the .NET server's fields of a finished task's pictures."""
    store = proxy.image_store
    content: dict[str, Any] = {
        "jobId": store.build_uuid(task),
        "messageId": store.build_message_id(task),
        "url": store.build_image_url(task),
    }
    if task.kind in VIDEO_KINDS:
        urls = [store.build_cell_url(task, i, ".webp") for i in range(store.count_videos(task))]
        videos = [{"url": url, "thumbnail": None} for url in urls]
        return content | {"videoUrl": urls[0], "videoUrls": videos}
    if task.kind in ("shorten", "describe"):
        return content
    grid = store.build_grid(task)
    width, height = image_generator.get_pixel_size(grid[0], TASK_KINDS[task.kind].area)
    if len(grid) > 1:  # two by two
        width, height = width * 2, height * 2
    cells = [_render_cell(proxy, task, cell) for cell in range(len(grid))]
    return content | {
        "imageUrls": cells,
        "thumbnailUrl": cells[0]["thumbnail"],
        "contentType": "image/png",
        "imageWidth": width,
        "imageHeight": height,
        "width": width,
        "height": height,
    }


def _render_cell(proxy: ProxyContext, task: Task, cell: int) -> dict[str, str]:
    store = proxy.image_store
    return {
        "url": store.build_cell_url(task, cell, ".png"),
        "thumbnail": store.build_cell_url(task, cell, "_640_N.webp"),
    }


def _number_lines(lines: Sequence[str]) -> list[str]:
    return [f"{number}️⃣ {line}" for number, line in enumerate(lines, 1)]
