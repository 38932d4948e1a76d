"""Replicate's HTTP API, https://replicate.com/docs/reference/http: its calls and responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Paginator
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import Outcome, Reason, Rule, ServiceCodes
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services import FieldSpec
from jupyter_mjci.services.json_service import (
    JobParser,
    JsonAnswers,
    JsonApi,
    build_status_parser,
    parse_iso_time,
    parse_json_or_text,
    parse_urls,
    to_text,
)
from jupyter_mjci.services.tracking import ListingTracking

# https://replicate.com/docs/topics/predictions/lifecycle
STATUSES = {
    "starting": Status.QUEUED,
    "processing": Status.RUNNING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELLED,
    "aborted": Status.CANCELLED,
}
CODES = ServiceCodes(
    answer_fields=frozenset({"id", "results"}),
    rules=(Rule(Reason.NOT_FOUND, Outcome.REFUSAL, words=re.compile("(?i)not found|not exist")),),
)
HINTS = {
    Reason.UNAUTHORIZED: "Set MJCI_RP_TOKEN: https://replicate.com/account/api-tokens.",
    Reason.QUOTA: "Add credit: https://replicate.com/account/billing.",
    Reason.NOT_FOUND: "Check the model's OWNER/NAME, or the prediction's ID.",
}


def parse_progress(logs: object, status: object) -> int | None:
    """Return the last percentage of a progress bar (tqdm) in the logs."""
    if status == "succeeded":
        return 100
    percents = re.findall(r"(\d{1,3})%\|", to_text(logs))
    return int(percents[-1]) if percents else None


def parse_subject(value: object) -> str:
    inputs = value if isinstance(value, dict) else {}
    return to_text(inputs.get("prompt")) or (jsonlib.dumps(inputs) if inputs else "")


FIELDS = (
    FieldSpec("id", ("id",), to_text, "text"),
    FieldSpec("action", ("model",), to_text, "text"),
    FieldSpec("status", ("status",), build_status_parser(STATUSES), "status"),
    FieldSpec("progress", ("logs", "status"), parse_progress),
    FieldSpec("subject", ("input",), parse_subject),
    FieldSpec("outputs", ("output",), parse_urls),
    FieldSpec("submitted", ("created_at",), parse_iso_time),
    FieldSpec("started", ("started_at",), parse_iso_time),
    FieldSpec("finished", ("completed_at",), parse_iso_time),
    FieldSpec("reason", ("error",), to_text, "text"),
    FieldSpec("webhook_url", ("webhook",), to_text),
)
ANSWERS = JsonAnswers("Replicate", JobParser("rp", FIELDS), CODES, HINTS)


def parse_record(record: object) -> list[Job]:
    """Return the job of a webhook or an export; none where it is another service's."""
    if isinstance(record, dict) and record.get("status") in STATUSES and "created_at" in record:
        return [ANSWERS.parse_job(record)]
    return []


class Replicate(JsonApi):
    """Builds calls; nothing is sent before `.run()` or `await`."""

    answers = ANSWERS

    def predict(
        self,
        prompt: str,
        *,
        model: str,
        input: Mapping[str, str] | None = None,
        wait: int = 0,
        webhook: str = "",
        webhook_events: Sequence[str] = (),
    ) -> Call[Job]:
        """Run an official model on a prompt.

        POST /v1/models/{owner}/{name}/predictions

        Args:
            prompt: what the model is asked for
            model: OWNER/NAME, such as black-forest-labs/flux-schnell
            input: further inputs of the model, each as JSON or as text
            wait: seconds (1 to 60) that the response may wait for the output
            webhook: a URL that is told of changes
            webhook_events: the changes: start, output, logs, completed; by default all
        """
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
            raise InvalidRequest(f"{model!r} is not a model.", hint="Write OWNER/NAME.")
        inputs = {name: parse_json_or_text(text) for name, text in (input or {}).items()}
        events = {"webhook": webhook, "webhook_events_filter": list(webhook_events)}
        body = {"input": {"prompt": prompt, **inputs}} | {k: v for k, v in events.items() if v}
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        path = f"/v1/models/{model}/predictions"
        return self.build_submission("predict", path, jsonlib.dumps(body).encode(), headers)

    def prediction(self, prediction_id: str) -> Call[Job]:
        """Fetch a prediction by its ID: GET /v1/predictions/{id}."""
        path = f"/v1/predictions/{prediction_id}"
        return self.build("prediction", "GET", path, ANSWERS.read_job)

    def predictions(
        self, *, limit: int | None = 100, created_after: str = "", created_before: str = ""
    ) -> Paginator[Job]:
        """List the account's predictions, newest first: GET /v1/predictions.

        Args:
            limit: how many, at most; None for all
            created_after: an ISO 8601 time
            created_before: an ISO 8601 time
        """
        window = {"created_after": created_after, "created_before": created_before}
        return self.build_listing("predictions", "/v1/predictions", window, limit)

    def cancel(self, prediction_id: str) -> Call[None]:
        """Cancel a prediction: POST /v1/predictions/{id}/cancel."""
        path = f"/v1/predictions/{prediction_id}/cancel"
        return self.build("cancel", "POST", path, ANSWERS.read_nothing)


def list_between(
    api: Replicate, since: datetime | None, until: datetime | None = None
) -> Paginator[Job]:
    after, before = (moment.isoformat() if moment else "" for moment in (since, until))
    return api.predictions(limit=None, created_after=after, created_before=before)


def build_matcher_of(call: Call[Job]) -> Callable[[Job], bool]:
    """Return whether a prediction has the model and the input of a call."""
    model = call.path.removeprefix("/v1/models/").removesuffix("/predictions")
    inputs = jsonlib.loads(call.body)["input"]
    return lambda job: job.action == model and job.raw.get("input") == inputs


# The API has neither an idempotency key nor a field for text of
# one's own, and inputs are deleted after an hour.
TRACKING = ListingTracking(Replicate, list_between, build_matcher_of)
