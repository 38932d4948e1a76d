"""How a task reads, by family: fields, texts, properties and buttons, made when somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.midjourney.captions import shorten_prompt
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

if TYPE_CHECKING:
    from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy


def render_java(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    phase, (prompt, english) = task.phase, get_prompts(proxy, task)
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


def render_plus(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    seen = render_java(proxy, task)
    seen["properties"] |= build_plus_properties(proxy, task)
    seen["buttons"] = render_buttons(proxy, task)
    return seen


# What the .NET server's task has beyond the common fields, as it is while nothing is known.
TRUEAI_DEFAULTS: dict[str, Any] = dict.fromkeys(
    "parentId botType realBotType userId nonce interactionMetadataId messageId remixModalMessageId instanceId "  # noqa: SIM905
    "subInstanceId promptFull language baseImageUrl thumbnailUrl partnerTaskId partnerTaskInfo officialTaskId "
    "officialTaskInfo seed seedError seedMessageId clientIp jobId replicateSource replicateTarget mode requestMode "
    "accountFilter url proxyUrl height width size contentType imageHeight imageWidth videoGenOriginImageUrl "
    "videoDuration frameCount videoUrl version storageOption videoType".split()
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


def render_trueai(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    seen = {**TRUEAI_DEFAULTS, **render_plus(proxy, task)}
    parent = proxy.image_store.get_task(task.parent)
    seen |= {
        "parentId": parent.id if parent else None,
        "botType": task.bot,
        "realBotType": task.bot,
        "instanceId": proxy.instance_id,
        "nonce": build_nonce(proxy, task),
        "promptFull": seen["promptEn"],
        "isCompleted": task.phase.status in TERMINAL_STATUSES,
        "mode": task.mode or None,
        "displays": render_displays(proxy, task),
        "useTime": _format_duration(task.phase),
        "remixModaling": task.phase.status == MODAL and task.button not in ALWAYS_MODAL,
    }
    return seen | (render_result_fields(proxy, task) if task.phase.status == SUCCESS else {})


ALWAYS_MODAL = frozenset(move.key for move in BUTTONS.values() if move.modal_policy == "always")
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


def render_displays(proxy: MidjourneyProxy, task: Task) -> dict[str, str]:
    """The same for people: words and formatted times."""
    return {
        "status": STATUS_LABELS[task.phase.status],
        "submitTime": _format_time(task.submitted),
        "startTime": _format_time(task.phase.start),
        "finishTime": _format_time(task.phase.finish),
        "action": ACTION_LABELS.get(task.action, task.action),
        "discordInstanceId": proxy.instance_id,
    }


def _format_time(moment: int | None) -> str:
    return (
        datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else "-"
    )


def _format_duration(phase: Phase) -> str:
    return f"{(phase.finish - phase.start) / 1000:.2f} s" if phase.finish and phase.start else "-"


RELAY_ACTIONS = {  # a relay reads the action off the button
    "low_variation": "LOW_VARIATION",
    "high_variation": "HIGH_VARIATION",
    "Inpaint": "INPAINT",
    "CustomZoom": "CUSTOM_ZOOM",
    "R": "REROLL",
}


def render_relay(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """What the relay last heard; before its first refresh it knows only what was submitted."""
    phase, word = (
        proxy.get_relayed_phase(task),
        BUTTONS[task.button].short_name if task.button else "",
    )
    failed, english = phase.status == FAILURE, get_prompts(proxy, task)[1] if phase.status else ""
    final = (
        {"finalPrompt": build_final_prompt(proxy, task), "finalZhPrompt": ""}
        if phase.status == SUCCESS
        else None
    )
    return {
        "id": task.id,
        "action": RELAY_ACTIONS.get(word, task.action),
        "customId": "",
        "botType": "",
        "prompt": task.prompt,
        "promptEn": english,
        "description": task.submit_message,
        "state": (task.state or "") if phase.status else "",
        "submitTime": task.submitted,
        "startTime": phase.start or 0,
        "finishTime": phase.finish or 0,
        "imageUrl": proxy.build_relayed_url(task, phase),
        "videoUrl": proxy.build_relayed_url(task, phase)
        if task.kind in VIDEO_KINDS and final
        else "",
        "videoUrls": [],
        "status": phase.status,
        "progress": "100%" if failed else f"{phase.percent or 0}%",
        "failReason": phase.reason or "",
        "buttons": (render_buttons(proxy, task) or None) if phase.status == SUCCESS else None,
        "maskBase64": "",
        "properties": final,
    }


def get_prompts(proxy: MidjourneyProxy, task: Task) -> tuple[str, str]:
    """prompt and promptEn; a describe task's are the captions it found."""
    if task.kind != "describe" or task.phase.status != SUCCESS:
        return task.prompt, task.prompt
    if proxy.dialect.reports_final_prompt:
        return task.prompt, "\r\n".join(_number_lines(proxy.image_store.suggest_prompts(task)))
    text = "\n\n".join(_number_lines(proxy.image_store.suggest_prompts(task)))
    return text, text


def build_final_prompt(proxy: MidjourneyProxy, task: Task) -> str:
    """The result of a text task; for a picture the prompt as the bot read it."""
    if task.phase.status == SUCCESS and task.kind == "describe":
        return "\n\n".join(_number_lines(proxy.image_store.suggest_prompts(task)))
    if task.phase.status == SUCCESS and task.kind == "shorten":
        important, shorter = shorten_prompt(task.prompt)
        return "\n".join(
            ["## Important tokens", important, "## Shortened prompts", *_number_lines(shorter)]
        )
    links = (
        [proxy.image_store.build_blob_url(blob, task.submitted) for blob in task.input_images]
        if task.op == "imagine"
        else []
    )
    return " ".join([*links, task.prompt])


def build_properties(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """What the server keeps about the bot's messages; grows while the task goes on."""
    kept: dict[str, Any] = {
        "notifyHook": task.notify_hook,
        "discordInstanceId": proxy.instance_id,
        "nonce": build_nonce(proxy, task),
    }
    if parent := proxy.image_store.get_task(task.parent):
        kept["referencedMessageId"] = proxy.image_store.build_message_id(parent)
    if task.phase.start:
        kept["finalPrompt"] = build_final_prompt(proxy, task)
    if task.phase.status == IN_PROGRESS or task.phase.percent:
        kept["progressMessageId"] = str(build_snowflake(task.phase.start or 0, task.number))
    if task.phase.status == SUCCESS:
        kept |= {
            "messageId": proxy.image_store.build_message_id(task),
            "messageHash": proxy.image_store.build_uuid(task),
            "flags": 0,
        }
    return kept


def build_plus_properties(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    more: dict[str, Any] = {"botType": task.bot, "discordChannelId": proxy.image_store.channel_id}
    if task.phase.status == SUCCESS:
        more["messageContent"] = (
            f"**{task.prompt}** - <@1012983546824114217> ({(task.mode or 'fast').lower()})"
        )
        more |= {"finalZhPrompt": ""} if task.kind == "describe" else {}
    return more


def build_nonce(proxy: MidjourneyProxy, task: Task) -> str:
    return str(
        build_snowflake(
            task.submitted, proxy.image_store.derive_number(("nonce", task.number), 2**22)
        )
    )


def render_buttons(proxy: MidjourneyProxy, task: Task) -> list[dict[str, Any]]:
    keys = proxy.list_button_keys(task)
    name, pressed = proxy.image_store.build_uuid(task) if keys else "", task.pressed_buttons or {}
    return [
        {
            "customId": key.replace("{h}", name),
            "emoji": BUTTONS[key].emoji,
            "label": BUTTONS[key].label,
            "type": 2,
            "style": 3 if key in pressed else 2,
        }
        for key in keys
    ]


def render_result_fields(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """The .NET server's view of a finished task's pictures."""
    extras: dict[str, Any] = {
        "jobId": proxy.image_store.build_uuid(task),
        "messageId": proxy.image_store.build_message_id(task),
        "url": proxy.image_store.build_image_url(task),
    }
    if task.kind in VIDEO_KINDS:
        films = [
            {"url": proxy.image_store.build_cell_url(task, i, ".webp"), "thumbnail": None}
            for i in range(proxy.image_store.count_videos(task))
        ]
        return extras | {"videoUrl": films[0]["url"], "videoUrls": films}
    if task.kind in ("shorten", "describe"):
        return extras
    grid = proxy.image_store.build_grid(task)
    width, height = image_generator.get_pixel_size(grid[0], TASK_KINDS[task.kind].area)
    times = 2 if len(grid) > 1 else 1
    cells = [
        {
            "url": proxy.image_store.build_cell_url(task, i, ".png"),
            "thumbnail": proxy.image_store.build_cell_url(task, i, "_640_N.webp"),
        }
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


def _number_lines(lines: Sequence[str]) -> list[str]:
    return [f"{number}️⃣ {line}" for number, line in enumerate(lines, 1)]
