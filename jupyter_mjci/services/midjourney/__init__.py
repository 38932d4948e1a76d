"""The Midjourney proxy: JSON tasks over `/mj/...`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from jupyter_mjci.client.calls import Call, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import mark
from jupyter_mjci.services import (
    JobChanges,
    ParamValues,
    PictureTarget,
    PollPolicy,
    Service,
    read_whole,
)
from jupyter_mjci.services.midjourney import (
    connection,
    fallbacks,
    magic_help,
    prompt_flags,
    reconciliation,
    responses,
)
from jupyter_mjci.services.midjourney.api import Midjourney


def _build_api(
    sender: Sender | None, settings: connection.MidjourneySettings | None = None
) -> Midjourney:
    return Midjourney(sender, (settings or connection.MidjourneySettings()).mode_by)


async def _fetch_jobs(mj: Midjourney, ids: Sequence[str]) -> Sequence[Job]:
    return await mj.tasks(ids)


def _fetch_changes(mj: Midjourney, known: Mapping[str, Job]) -> Call[JobChanges]:
    call = cast(Call[JobChanges], mj.tasks(list(known)))
    return replace(call, parse=partial(responses.parse_changes, known=known))


async def _list_active(mj: Midjourney, _: Sequence[str]) -> list[Job]:
    return await mj.queue()


SERVICE = Service(
    key="mj",
    label="Midjourney",
    short_label="MJ",
    api=Midjourney,
    settings=connection.MidjourneySettings,
    build_api=_build_api,
    build_endpoints=connection.build_endpoints,
    get_origin=connection.get_base_url,
    describe_connection=connection.describe_connection,
    id_pattern=re.compile(r"[0-9]+"),
    id_help="Midjourney task IDs are digits.",
    job_magic="%mj_task",
    button_magic="%mj_action",
    input_magic="%mj_modal",
    get_job=Midjourney.task,
    cancel_job=Midjourney.cancel,
    fetch_jobs=_fetch_jobs,
    fetch_changes=_fetch_changes,
    list_active=_list_active,
    # It has no time filter.
    list_sync_sources=read_whole(
        lambda mj, _since, _until: replace(mj.tasks(), parse=responses.parse_listed)
    ),
    poll=PollPolicy(batch_size=500, min_interval=4.0, typical_duration=45.0),
    tracking=reconciliation,
    fallbacks=fallbacks.FALLBACKS,
    fields=responses.FIELDS,
    parse_listing=responses.parse_listing,
    parse_callback=responses.parse_callback,
    parse_record=responses.parse_record,
    links_expire=True,
    get_kind=reconciliation.get_kind,
    get_facts=responses.get_facts,
    get_preview_url=responses.get_preview_url,
    get_poster_url=responses.get_poster_url,
    get_command=responses.get_command,
    get_picture_size=responses.get_picture_size,
    get_single_urls=responses.get_single_urls,
    get_step=responses.get_step,
    picture_targets=(
        PictureTarget("describe", mark("Describe"), "picture", "%mj_describe {picture}"),
        PictureTarget("blend", mark("Blend"), "pictures", "%mj_blend {picture},"),
        PictureTarget("edits", mark("Edit"), "picture", "%mj_edits PROMPT --picture {picture}"),
        PictureTarget("video", mark("Video"), "picture", "%mj_video PROMPT --picture {picture}"),
        PictureTarget(
            "imagine", mark("Reference"), "images", "%mj_imagine PROMPT --images {picture}"
        ),
    ),
    diagnose="jupyter_mjci.services.midjourney.diagnostics:diagnose_midjourney",
    magic_help=magic_help.MAGIC_HELP,
    prompt_syntax=prompt_flags,
    param_values={"ids": ParamValues(job_field="id")},
    session_methods={
        name: f"jupyter_mjci.services.midjourney.session_methods:{name}"
        for name in ("tasks", "queue")
    },
    panel="jupyter_mjci.notebook.panels.midjourney:MidjourneyPanel",
)
