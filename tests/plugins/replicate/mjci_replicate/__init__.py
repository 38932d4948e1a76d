"""Replicate's predictions as a service of jupyter_mjci: `%rp_predict`, `session.rp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import Secret, SettingsSection, define_setting
from jupyter_mjci.services import PollPolicy, Service, read_whole
from jupyter_mjci.services.json_service import build_bearer_endpoints, get_base_url, get_value
from mjci_replicate.api import FIELDS, TRACKING, Replicate, list_between, parse_record


@dataclass(frozen=True, slots=True)
class ReplicateSettings(SettingsSection):
    """An account at Replicate: `[default.rp]` in a profile, `MJCI_RP_…` in the environment."""

    token: Secret = define_setting(
        Secret(""), "API token: r8_…", "REPLICATE_API_TOKEN", required=True, credential=True
    )
    url: str = define_setting("https://api.replicate.com", "Base URL of the API")


async def list_active(api: Replicate, _: Sequence[str]) -> list[Job]:
    return [job for job in await api.predictions() if job.status.is_active]


def get_facts(job: Job) -> Iterable[tuple[str, str]]:
    seconds = get_value(job.raw, "metrics.predict_time")
    yield "predict time", f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""


SERVICE = Service(
    key="rp",
    label="Replicate",
    short_label="RP",
    api=Replicate,
    settings=ReplicateSettings,
    build_api=lambda sender, _: Replicate(sender),
    build_endpoints=build_bearer_endpoints("rp"),
    get_origin=get_base_url,
    describe_connection=get_base_url,
    id_pattern=re.compile(r"[a-z0-9]{26}"),
    id_help="Replicate's prediction IDs are 26 letters and digits.",
    job_magic="%rp_prediction",
    get_job=Replicate.prediction,
    cancel_job=Replicate.cancel,
    list_active=list_active,
    list_sync_sources=read_whole(list_between),
    poll=PollPolicy(min_interval=0.5, typical_duration=10.0),
    tracking=TRACKING,
    fields=FIELDS,
    parse_callback=parse_record,
    parse_record=parse_record,
    # One hour after a prediction ended, its output is deleted.
    # https://replicate.com/docs/topics/predictions/data-retention
    links_expire=True,
    secret_patterns=(("Replicate token", re.compile(r"(?<![A-Za-z0-9])r8_[A-Za-z0-9]{30,}")),),
    get_facts=get_facts,
)
