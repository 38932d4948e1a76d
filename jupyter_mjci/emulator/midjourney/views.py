"""How a task reads, by family: fields, texts, properties and buttons, made when somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.midjourney.image_store import snowflake
from jupyter_mjci.emulator.midjourney.tasks import (
    CANCEL,
    ENDED,
    FAILURE,
    FILMS,
    IN_PROGRESS,
    KINDS,
    MODAL,
    MOVES,
    NOT_START,
    SUBMITTED,
    SUCCESS,
    Phase,
    Task,
)

if TYPE_CHECKING:
    from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy


def java_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    phase, (prompt, english) = task.phase, prompts(proxy, task)
    return {
        "id": task.id,
        "properties": properties(proxy, task),
        "action": task.action,
        "status": phase.status,
        "prompt": prompt,
        "promptEn": english,
        "description": task.description,
        "state": task.state,
        "submitTime": task.submitted,
        "startTime": phase.start,
        "finishTime": phase.finish,
        "imageUrl": proxy.gallery.image_url(task),
        "progress": _percent(phase),
        "failReason": phase.reason,
    }


def _percent(phase: Phase) -> str | None:
    if phase.status in (FAILURE, CANCEL):
        return ""
    return None if phase.percent is None else f"{phase.percent}%"


def plus_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    seen = java_view(proxy, task)
    seen["properties"] |= more_properties(proxy, task)
    seen["buttons"] = buttons(proxy, task)
    return seen


# What the .NET server's task has beyond the common fields, as it is while nothing is known.
TRUEAI_EXTRAS: dict[str, Any] = dict.fromkeys(
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


def trueai_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    seen = {**TRUEAI_EXTRAS, **plus_view(proxy, task)}
    parent = proxy.gallery.task_at(task.parent)
    seen |= {
        "parentId": parent.id if parent else None,
        "botType": task.bot,
        "realBotType": task.bot,
        "instanceId": proxy.instance,
        "nonce": nonce(proxy, task),
        "promptFull": seen["promptEn"],
        "isCompleted": task.phase.status in ENDED,
        "mode": task.mode or None,
        "displays": displays(proxy, task),
        "useTime": _use_time(task.phase),
        "remixModaling": task.phase.status == MODAL and task.move not in ALWAYS_MODAL,
    }
    return seen | (finished(proxy, task) if task.phase.status == SUCCESS else {})


ALWAYS_MODAL = frozenset(move.key for move in MOVES.values() if move.modal == "always")
STATUS_WORDS = {
    NOT_START: "未启动",
    SUBMITTED: "已提交",
    IN_PROGRESS: "执行中",
    MODAL: "窗口等待",
    SUCCESS: "成功",
    FAILURE: "失败",
    CANCEL: "已取消",
}
ACTION_WORDS = {
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
    return (
        datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else "-"
    )


def _use_time(phase: Phase) -> str:
    return f"{(phase.finish - phase.start) / 1000:.2f} s" if phase.finish and phase.start else "-"


RELAY_ACTIONS = {  # a relay reads the action off the button
    "low_variation": "LOW_VARIATION",
    "high_variation": "HIGH_VARIATION",
    "Inpaint": "INPAINT",
    "CustomZoom": "CUSTOM_ZOOM",
    "R": "REROLL",
}


def relay_view(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """What the relay last heard; before its first refresh it knows only what was submitted."""
    phase, word = proxy.relayed(task), MOVES[task.move].word if task.move else ""
    failed, english = phase.status == FAILURE, prompts(proxy, task)[1] if phase.status else ""
    final = (
        {"finalPrompt": final_prompt(proxy, task), "finalZhPrompt": ""}
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
        "buttons": (buttons(proxy, task) or None) if phase.status == SUCCESS else None,
        "maskBase64": "",
        "properties": final,
    }


def prompts(proxy: MidjourneyProxy, task: Task) -> tuple[str, str]:
    """prompt and promptEn; a describe task's are the captions it found."""
    if task.kind != "describe" or task.phase.status != SUCCESS:
        return task.prompt, task.prompt
    if proxy.dialect.tells_prompt:
        return task.prompt, "\r\n".join(_numbered(proxy.gallery.proposals(task)))
    text = "\n\n".join(_numbered(proxy.gallery.proposals(task)))
    return text, text


def final_prompt(proxy: MidjourneyProxy, task: Task) -> str:
    """The result of a text task; for a picture the prompt as the bot read it."""
    if task.phase.status == SUCCESS and task.kind == "describe":
        return "\n\n".join(_numbered(proxy.gallery.proposals(task)))
    if task.phase.status == SUCCESS and task.kind == "shorten":
        important, shorter = image_generator.shortened(task.prompt)
        return "\n".join(
            ["## Important tokens", important, "## Shortened prompts", *_numbered(shorter)]
        )
    links = (
        [proxy.gallery.blob_url(blob, task.submitted) for blob in task.sent]
        if task.op == "imagine"
        else []
    )
    return " ".join([*links, task.prompt])


def properties(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """What the server keeps about the bot's messages; grows while the task goes on."""
    kept: dict[str, Any] = {
        "notifyHook": task.hook,
        "discordInstanceId": proxy.instance,
        "nonce": nonce(proxy, task),
    }
    if parent := proxy.gallery.task_at(task.parent):
        kept["referencedMessageId"] = proxy.gallery.message(parent)
    if task.phase.start:
        kept["finalPrompt"] = final_prompt(proxy, task)
    if task.phase.status == IN_PROGRESS or task.phase.percent:
        kept["progressMessageId"] = str(snowflake(task.phase.start or 0, task.number))
    if task.phase.status == SUCCESS:
        kept |= {
            "messageId": proxy.gallery.message(task),
            "messageHash": proxy.gallery.uuid(task),
            "flags": 0,
        }
    return kept


def more_properties(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    more: dict[str, Any] = {"botType": task.bot, "discordChannelId": proxy.gallery.channel}
    if task.phase.status == SUCCESS:
        more["messageContent"] = (
            f"**{task.prompt}** - <@1012983546824114217> ({(task.mode or 'fast').lower()})"
        )
        more |= {"finalZhPrompt": ""} if task.kind == "describe" else {}
    return more


def nonce(proxy: MidjourneyProxy, task: Task) -> str:
    return str(snowflake(task.submitted, proxy.gallery.number(("nonce", task.number), 2**22)))


def buttons(proxy: MidjourneyProxy, task: Task) -> list[dict[str, Any]]:
    keys = proxy.button_keys(task)
    name, pressed = proxy.gallery.uuid(task) if keys else "", task.pressed or {}
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


def finished(proxy: MidjourneyProxy, task: Task) -> dict[str, Any]:
    """The .NET server's view of a finished task's pictures."""
    extras: dict[str, Any] = {
        "jobId": proxy.gallery.uuid(task),
        "messageId": proxy.gallery.message(task),
        "url": proxy.gallery.image_url(task),
    }
    if task.kind in FILMS:
        films = [
            {"url": proxy.gallery.cell_url(task, i, ".webp"), "thumbnail": None}
            for i in range(proxy.gallery.films(task))
        ]
        return extras | {"videoUrl": films[0]["url"], "videoUrls": films}
    if task.kind in ("shorten", "describe"):
        return extras
    grid = proxy.gallery.recipe(task)
    width, height = image_generator.size_of(grid[0], KINDS[task.kind].area)
    times = 2 if len(grid) > 1 else 1
    cells = [
        {
            "url": proxy.gallery.cell_url(task, i, ".png"),
            "thumbnail": proxy.gallery.cell_url(task, i, "_640_N.webp"),
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


def _numbered(lines: Sequence[str]) -> list[str]:
    return [f"{number}️⃣ {line}" for number, line in enumerate(lines, 1)]
