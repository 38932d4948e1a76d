"""Tencent Cloud Infinite (CI): signed XML jobs over the objects of a COS bucket."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import mark
from jupyter_mjci.services import (
    JobChanges,
    ParamValues,
    PictureTarget,
    PollPolicy,
    Service,
    SyncSource,
)
from jupyter_mjci.services.tencent_ci import (
    connection,
    facts,
    magic_help,
    reconciliation,
    responses,
)
from jupyter_mjci.services.tencent_ci.api import TencentCI

# The Tag of picture jobs. A listing is of one Tag: others are
# known from the journal.
PICTURE_TAG = "PicProcess"
ACTIVE_STATES = ("Submitted", "Running", "Pause")
STATES = ("All", "Submitted", "Running", "Success", "Failed", "Pause", "Cancel")
PARAM_VALUES = {
    "states": ParamValues(STATES),
    "tag": ParamValues((PICTURE_TAG, "ImageProcess"), "action"),
    **dict.fromkeys(("input", "object", "prefix", "key"), ParamValues(job_field="subject")),
}


def _build_api(
    sender: Sender | None, settings: connection.TencentCISettings | None = None
) -> TencentCI:
    if settings is None:
        return TencentCI(sender)
    return TencentCI(sender, bucket=settings.bucket, region=settings.region)


async def _fetch_jobs(ci: TencentCI, ids: Sequence[str]) -> Sequence[Job]:
    page = await ci.jobs(ids=ids).first_page
    return page.items


def _fetch_changes(ci: TencentCI, known: Mapping[str, Job]) -> Call[JobChanges]:
    call = cast(Call[JobChanges], ci.jobs(ids=list(known)).first_page)
    return replace(call, parse=_parse_changes)


def _parse_changes(response: Response) -> JobChanges:
    jobs = responses.parse_page(response).items
    return JobChanges(jobs, frozenset(job.id for job in jobs))


def is_batch(job: Job) -> bool:
    """Return whether the ID is that of a batch, which is fetched alone."""
    return job.id.startswith("b")


def _can_poll_in_bulk(job: Job) -> bool:
    return not is_batch(job)


async def _list_active(ci: TencentCI, known_tags: Sequence[str]) -> list[Job]:
    jobs: list[Job] = []
    for tag in dict.fromkeys((PICTURE_TAG, *known_tags)):
        jobs += await ci.jobs(tag=tag, states=ACTIVE_STATES)
    return jobs


def _list_sync_sources(
    ci: TencentCI, tags: Sequence[str], known_tags: Sequence[str]
) -> list[SyncSource]:
    """Return the listing of each Tag, oldest first: what was read once is not read again."""
    return [
        _build_sync_source(ci, tag) for tag in dict.fromkeys(tags or (PICTURE_TAG, *known_tags))
    ]


def _build_sync_source(ci: TencentCI, tag: str) -> SyncSource:
    def build(since: datetime | None, until: datetime | None) -> Paginator[Job]:
        pages = ci.jobs(tag=tag, order="Asc", start=since, end=until)

        def build_page_call(token: str) -> Call[Page[Job]]:
            call = pages.page(token)
            return replace(call, parse=responses.parse_listing_page)

        return Paginator(build_page_call)

    return SyncSource(f"synced ci {ci.bucket} {tag}", build)


def _list_children(ci: TencentCI, job: Job) -> Call[Page[Job]] | None:
    if not job.raw.get("Name") or not job.id:
        return None
    tag = responses.get_element(job.raw, "Operation").get("Tag")
    return ci.jobs(tag=responses.to_text(tag) or PICTURE_TAG, batch_id=job.id).first_page


SERVICE = Service(
    key="ci",
    label="Tencent CI",
    short_label="CI",
    api=TencentCI,
    settings=connection.TencentCISettings,
    build_api=_build_api,
    build_endpoints=connection.build_endpoints,
    get_origin=connection.get_bucket,
    describe_connection=connection.describe_connection,
    id_pattern=re.compile(r"[a-z][0-9a-z]{7,}"),
    id_help="Tencent CI job IDs are a letter, then letters and digits: j8d74…",
    job_magic="%ci_job",
    get_job=TencentCI.job,
    cancel_job=TencentCI.cancel,
    fetch_jobs=_fetch_jobs,
    fetch_changes=_fetch_changes,
    can_poll_in_bulk=_can_poll_in_bulk,
    list_active=_list_active,
    list_sync_sources=_list_sync_sources,
    list_children=_list_children,
    poll=PollPolicy(batch_size=50, min_interval=0.5, typical_duration=2.0),
    not_found_codes=frozenset({"not_found", "NonExistJobIds"}),
    tracking=reconciliation,
    fields=responses.FIELDS,
    missing_text="-",
    parse_rows=responses.parse_rows,
    parse_listing=responses.parse_listing,
    parse_text=responses.parse_text,
    parse_callback=responses.parse_callback,
    parse_record=responses.parse_record,
    get_kind=reconciliation.get_kind,
    get_facts=facts.get_facts,
    get_command=facts.get_command,
    describe_subject=facts.describe_subject,
    subject_is_key=True,
    diagnose="jupyter_mjci.services.tencent_ci.diagnostics:diagnose_tencent_ci",
    magic_help=magic_help.MAGIC_HELP,
    panel="jupyter_mjci.notebook.panels.tencent_ci:CIPanel",
    param_values=PARAM_VALUES,
    picture_targets=(
        PictureTarget(
            "process",
            mark("Rule"),
            "picture",
            "%ci_process input/{job}.png --picture {picture}"
            " --rules output/{job}.webp=imageMogr2/thumbnail/600x/format/webp",
        ),
    ),
    session_methods={
        "jobs": "jupyter_mjci.services.tencent_ci.session_methods:jobs",
        "upload": "jupyter_mjci.services.tencent_ci.session_methods:upload",
        "presign": "jupyter_mjci.services.tencent_ci.session_methods:presign",
        "preview": "jupyter_mjci.services.tencent_ci.session_methods:preview",
    },
    parse_cell_body="jupyter_mjci.notebook.job_body:parse_body",
    body_builders=(TencentCI.batch, TencentCI.picture_job),
)
