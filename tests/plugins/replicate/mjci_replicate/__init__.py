"""Replicate's predictions as a service of jupyter_mjci: `%rp_predict`, `session.rp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import httpx

from jupyter_mjci.client.calls import Paginator
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.transport import Clock, Endpoint
from jupyter_mjci.services import PollPolicy, Service, SyncSource
from mjci_replicate import responses, tracking
from mjci_replicate.api import Replicate
from mjci_replicate.settings import ReplicateSettings


def build_api(sender: Any, _: ReplicateSettings | None = None) -> Replicate:
    return Replicate(sender)


def build_endpoints(settings: ReplicateSettings, _: Clock) -> dict[str, Endpoint]:
    def authorize(request: httpx.Request, _: str) -> None:
        request.headers["Authorization"] = f"Bearer {settings.token.reveal()}"

    return {"rp": Endpoint(get_origin(settings), authorize=authorize)}


def get_origin(settings: ReplicateSettings) -> str:
    return settings.url.rstrip("/")


async def list_active(api: Replicate, _: Sequence[str]) -> list[Job]:
    return [job for job in await api.predictions() if job.status.is_active]


def list_sync_sources(
    api: Replicate, _actions: Sequence[str], _known: Sequence[str]
) -> list[SyncSource]:
    def build(since: datetime | None, until: datetime | None) -> Paginator[Job]:
        return api.predictions(
            limit=None,
            created_after=since.isoformat() if since else "",
            created_before=until.isoformat() if until else "",
        )

    # Newest first: only a listing that was read to its end could
    # be continued, so it is read as a whole.
    return [SyncSource("", build)]


def get_facts(job: Job) -> Iterable[tuple[str, str]]:
    seconds = responses.get_object(job.raw, "metrics").get("predict_time")
    yield "predict time", f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""
    yield "version", str(job.raw.get("version") or "")[:12]


SERVICE = Service(
    key="rp",
    label="Replicate",
    short_label="RP",
    api=Replicate,
    settings=ReplicateSettings,
    build_api=build_api,
    build_endpoints=build_endpoints,
    get_origin=get_origin,
    describe_connection=get_origin,
    id_pattern=re.compile(r"[a-z0-9]{26}"),
    id_help="Replicate's prediction IDs are 26 letters and digits.",
    job_magic="%rp_prediction",
    get_job=Replicate.prediction,
    cancel_job=Replicate.cancel,
    list_active=list_active,
    list_sync_sources=list_sync_sources,
    poll=PollPolicy(min_interval=0.5, typical_duration=10.0),
    tracking=tracking,
    fields=responses.FIELDS,
    parse_callback=responses.parse_record,
    parse_record=responses.parse_record,
    # One hour after a prediction ended, its output is deleted.
    # https://replicate.com/docs/topics/predictions/data-retention
    links_expire=True,
    secret_patterns=(("Replicate token", re.compile(r"(?<![A-Za-z0-9])r8_[A-Za-z0-9]{30,}")),),
    get_facts=get_facts,
    diagnose="mjci_replicate.api:diagnose",
)
